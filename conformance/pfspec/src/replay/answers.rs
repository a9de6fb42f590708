//! What a server has answered, so that two of them can be compared: by stream, since the order between streams is the
//! server's to choose, and with the bytes of DATA and of channels joined, since frames and messages are too.

use super::pings;
use crate::probe::connection::End;
use crate::probe::http::dechunk;
use crate::probe::websocket::head_of;
use crate::report::plain;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use std::collections::{BTreeMap, BTreeSet};

/// Lines of a difference.
const SHOWN: usize = 8;

/// Of a head's fields those that say what was agreed on; the others are of the day, or of the server's choice.
const FIELDS: [&str; 4] = [
    "connection",
    "sec-websocket-protocol",
    "upgrade",
    "x-stream-protocol-version",
];

/// To what of a connection an answer belongs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Heads,
    Session,
    Pings,
    Stream(u32),
    Channel(u8),
    Messages,
    End,
}

impl Part {
    fn name(&self) -> String {
        match self {
            Self::Heads => "HTTP".to_owned(),
            Self::Session => "session".to_owned(),
            Self::Pings => "PINGs".to_owned(),
            Self::Stream(id) => format!("stream {id}"),
            Self::Channel(number) => format!("channel {number}"),
            Self::Messages => "WebSocket".to_owned(),
            Self::End => "end".to_owned(),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) enum Answer {
    Text(String),
    /// A frame or a body, which is one of this text and these bytes, as far as they are known.
    Whole(String, Vec<u8>),
    Data {
        /// As far as it is known.
        start: Vec<u8>,
        length: usize,
        fin: bool,
    },
}

impl Answer {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Text(text) => plain(text),
            Self::Whole(text, bytes) => {
                let shown = bytes.get(..60).unwrap_or(bytes);
                format!("{}: \"{}\"", plain(text), shown.escape_ascii())
            }
            Self::Data { start, length, fin } => {
                let fin = if *fin { " and FIN" } else { "" };
                let shown = start.get(..60).unwrap_or(start);
                format!("{length} bytes{fin}: \"{}\"", shown.escape_ascii())
            }
        }
    }

    /// Whether this is no less than the other.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Data { length, fin, .. },
                Self::Data {
                    length: l, fin: f, ..
                },
            ) => length >= l && fin >= f,
            _ => true,
        }
    }

    /// Whether this is the other and more of it.
    fn continues(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Data { start, length, .. },
                Self::Data {
                    start: s,
                    length: l,
                    fin: false,
                },
            ) => length >= l && start.iter().zip(s).all(|(a, b)| a == b),
            _ => false,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a == b,
            // Their texts say how long they are.
            (Self::Whole(a, bytes), Self::Whole(b, others)) => {
                a == b && bytes.iter().zip(others).all(|(a, b)| a == b)
            }
            (
                Self::Data { start, length, fin },
                Self::Data {
                    start: s,
                    length: l,
                    fin: f,
                },
            ) => length == l && fin == f && start.iter().zip(s).all(|(a, b)| a == b),
            _ => false,
        }
    }
}

/// One step of a ladder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Came<'a> {
    pub(super) layer: &'a str,
    pub(super) text: &'a str,
    pub(super) bytes: &'a [u8],
    pub(super) length: usize,
}

/// The answers on one connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers {
    parts: BTreeMap<Part, Vec<Answer>>,
    /// The SPDY to which they are the answers.
    pub(super) sent: Vec<u8>,
}

impl Answers {
    /// Adds one. `tunnelled` says that SPDY travels in the messages, which may be cut anywhere then.
    pub(super) fn add(&mut self, came: Came<'_>, tunnelled: bool) {
        if came.layer == "websocket"
            && !tunnelled
            && let Some((channel, payload, length)) = message(came)
        {
            let all = self.parts.entry(Part::Channel(channel)).or_default();
            join(all, &payload, length, false);
            return;
        }
        let mut words = came.text.split(' ');
        let (kind, id) = (words.next().unwrap_or_default(), words.next());
        let id = id.and_then(|id| id.parse().ok());
        let of_stream = matches!(
            kind,
            "SYN_STREAM" | "SYN_REPLY" | "RST_STREAM" | "HEADERS" | "WINDOW_UPDATE" | "DATA"
        );
        let part = match (came.layer, id) {
            ("http", _) => Part::Heads,
            ("transport", _) if self.is_refused() => return,
            ("transport", _) => Part::End,
            ("websocket", _) if tunnelled && !came.text.contains("Close") => return,
            ("spdy", Some(id)) if of_stream => Part::Stream(id),
            ("spdy", _) if kind == "PING" => Part::Pings,
            ("spdy", _) => Part::Session,
            _ => Part::Messages,
        };
        let part_is_end = part == Part::End;
        let all = self.parts.entry(part).or_default();
        if came.layer == "spdy" && kind == "DATA" {
            const HEAD: usize = 8;
            let new = came.bytes.get(HEAD..).unwrap_or_default();
            let ends = words.next() == Some("FIN");
            let more = came.length.saturating_sub(HEAD);
            join(all, new, more, ends);
        } else {
            all.push(match came.layer {
                "http" => of_http(came),
                "websocket" => Answer::Whole(came.text.to_owned(), came.bytes.to_vec()),
                _ if part_is_end => Answer::Text(ending(came.text)),
                _ => Answer::Text(came.text.to_owned()),
            });
        }
    }

    /// Whether all that came was HTTP, and no switch: most cases ask nothing behind that, and whether the end of such a
    /// connection is seen is a matter of milliseconds.
    fn is_refused(&self) -> bool {
        let switches =
            |answer: &Answer| matches!(answer, Answer::Text(text) if text.starts_with("101"));
        let only =
            |(part, all): (&Part, &Vec<Answer>)| *part == Part::Heads && !all.iter().any(switches);
        !self.parts.is_empty() && self.parts.iter().all(only)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.parts.values().map(Vec::len).sum()
    }

    fn of(&self, part: &Part) -> &[Answer] {
        self.parts.get(part).map_or(&[], Vec::as_slice)
    }

    /// Whether as much has come as of the other.
    pub(super) fn covers(&self, other: &Self) -> bool {
        other.parts.iter().all(|(part, wanted)| {
            let came = self.of(part);
            let last = wanted.len().saturating_sub(1);
            match (came.get(last), wanted.get(last)) {
                (Some(came), Some(wanted)) => came.covers(wanted),
                (None, Some(_)) => false,
                (_, None) => true,
            }
        })
    }

    /// What the other has otherwise: from the first difference of each part on, `-` before and `+` now.
    pub(super) fn difference(&self, other: &Self, connection: usize) -> Difference {
        let mut difference = Difference::default();
        let parts: BTreeSet<_> = self.parts.keys().chain(other.parts.keys()).collect();
        for part in parts {
            let (before, now) = (self.of(part), other.of(part));
            // How a connection ended that nobody read to its end is not known.
            if *part == Part::End && before.is_empty() {
                continue;
            }
            let (gone, new, is_other);
            if *part == Part::Pings {
                let is_whole = !self.of(&Part::End).is_empty();
                (gone, new) = pings::changes(before, now, &self.sent, is_whole);
                is_other = !gone.is_empty();
            } else {
                let same = before.iter().zip(now).take_while(|(a, b)| a.is_same(b));
                let same = same.count();
                let rest = |all: &[Answer]| all.get(same..).unwrap_or_default().to_vec();
                (gone, new) = (rest(before), rest(now));
                is_other = match (gone.as_slice(), new.first()) {
                    ([], _) => false,
                    ([last], Some(now)) => !now.continues(last),
                    _ => true,
                };
            }
            if gone.is_empty() && new.is_empty() {
                continue;
            }
            difference.is_other |= is_other;
            let text = &mut difference.text;
            text.push_str(&format!("  connection {connection}, {}\n", part.name()));
            for (sign, rest) in [('-', gone), ('+', new)] {
                for answer in rest.iter().take(SHOWN) {
                    text.push_str(&format!("  {sign} {}\n", answer.text()));
                }
                if rest.len() > SHOWN {
                    text.push_str(&format!("  {sign} {} more\n", rest.len() - SHOWN));
                }
                if rest.is_empty() {
                    text.push_str(&format!("  {sign} nothing\n"));
                }
            }
        }
        difference
    }
}

/// What differs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// Lines of it; none if nothing does.
    pub(super) text: String,
    /// Something came instead of something else. Else only more has come, behind where the run before stopped reading.
    pub(super) is_other: bool,
}

/// With or without close_notify is one ending: the same server does both, as its last write and its end race.
fn ending(text: &str) -> String {
    let cut = text == End::Cut.to_string();
    if cut {
        End::Closed.to_string()
    } else {
        text.to_owned()
    }
}

/// A head by its status and [`FIELDS`], or a body by its bytes, however its chunks are cut.
fn of_http(came: Came<'_>) -> Answer {
    if came.text.starts_with("body of ") {
        let is_whole = came.bytes.len() == came.length;
        let body = dechunk(came.bytes).ok().flatten().map(|(body, _)| body);
        let body =
            body.filter(|body| is_whole && came.text == format!("body of {} bytes", body.len()));
        let bytes = body.unwrap_or_else(|| came.bytes.to_vec());
        return Answer::Whole(came.text.to_owned(), bytes);
    }
    let head = String::from_utf8_lossy(came.bytes);
    let mut fields: Vec<String> = Vec::new();
    for line in head.lines().skip(1) {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        let (name, value) = (name.to_ascii_lowercase(), value.trim());
        if FIELDS.contains(&name.as_str()) {
            let is_token = matches!(name.as_str(), "connection" | "upgrade");
            let value = if is_token {
                value.to_ascii_lowercase()
            } else {
                value.to_owned()
            };
            fields.push(format!(", {name}: {value}"));
        }
    }
    fields.sort_unstable();
    let status = came.text.split(' ').next().unwrap_or_default();
    Answer::Text(format!("{status}{}", fields.concat()))
}

/// Adds bytes behind those before them.
fn join(all: &mut Vec<Answer>, new: &[u8], more: usize, ends: bool) {
    match all.last_mut() {
        Some(Answer::Data { start, length, fin }) if !*fin => {
            // Behind bytes that were not kept nothing can be compared.
            if start.len() == *length {
                start.extend(new);
            }
            *length += more;
            *fin = ends;
        }
        _ => all.push(Answer::Data {
            start: new.to_vec(),
            length: more,
            fin: ends,
        }),
    }
}

/// Channel, payload as far as it is known, and its length, of a whole message of a channel protocol.
fn message(came: Came<'_>) -> Option<(u8, Vec<u8>, usize)> {
    const WHOLE_TEXT: u8 = 0x81;
    const WHOLE_BINARY: u8 = 0x82;
    let first = came.bytes.first()?;
    let head = head_of(*came.bytes.get(1)?);
    let (channel, rest) = came.bytes.get(head..)?.split_first()?;
    let length = came.length.checked_sub(head + 1)?;
    match *first {
        WHOLE_BINARY => Some((*channel, rest.to_vec(), length)),
        // Where its end is not known, neither is what it decodes to.
        WHOLE_TEXT if rest.len() == length => {
            let decoded = BASE64_STANDARD.decode(rest).ok()?;
            let length = decoded.len();
            Some((channel.checked_sub(b'0')?, decoded, length))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(list: &[(&str, &str, &[u8])]) -> Answers {
        let mut answers = Answers::default();
        for (layer, text, payload) in list {
            let bytes = [&[0; 8][..], payload].concat();
            let came = Came {
                layer,
                text,
                bytes: &bytes,
                length: bytes.len(),
            };
            answers.add(came, true);
        }
        answers
    }

    #[test]
    fn order_and_cuts_are_no_difference() {
        let a = answers(&[
            ("http", "101 Switching Protocols", b""),
            ("websocket", "WebSocket binary, 30 bytes", b""),
            ("spdy", "SYN_REPLY 1", b""),
            ("spdy", "SYN_REPLY 3", b""),
            ("spdy", "DATA 3 4 bytes \"ab\"", b"ab"),
            ("spdy", "DATA 3 FIN 2 bytes \"cd\"", b"cd"),
            ("spdy", "PING 1", b""),
        ]);
        let b = answers(&[
            ("http", "101 Switching Protocols", b""),
            ("spdy", "SYN_REPLY 3", b""),
            ("spdy", "PING 1", b""),
            ("spdy", "DATA 3 FIN 4 bytes \"abcd\"", b"abcd"),
            ("spdy", "SYN_REPLY 1", b""),
        ]);
        assert_eq!(a.difference(&b, 1), Difference::default());
        assert!(a.covers(&b) && b.covers(&a));
        assert_eq!(a.count(), 5);
    }

    #[test]
    fn heads_and_bodies() {
        let of = |text: &str, bytes: &str| {
            let mut answers = Answers::default();
            answers.add(
                Came {
                    layer: "http",
                    text,
                    bytes: bytes.as_bytes(),
                    length: bytes.len(),
                },
                false,
            );
            answers
        };
        let same = |a: &Answers, b: &Answers| a.difference(b, 1) == Difference::default();
        let a = of(
            "101 Switching Protocols",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\nConnection: Upgrade\r\nDate: x\r\n\r\n",
        );
        let b = of(
            "101 Go",
            "HTTP/1.1 101 Go\r\nconnection: upgrade\r\nUpgrade:spdy/3.1\r\nDate: y\r\n\r\n",
        );
        let c = of("101 Go", "HTTP/1.1 101 Go\r\nConnection: Upgrade\r\n\r\n");
        assert!(same(&a, &b) && !same(&a, &c) && a.difference(&c, 1).is_other);
        let whole = of("body of 4 bytes", "abcd");
        let chunks = of("body of 4 bytes", "1\r\na\r\n3\r\nbcd\r\n0\r\n\r\n");
        assert!(same(&whole, &chunks) && !same(&whole, &of("body of 4 bytes", "abce")));
    }

    #[test]
    fn what_differs() {
        let a = answers(&[
            ("spdy", "SYN_REPLY 1", b""),
            ("spdy", "DATA 1 FIN 2 bytes", b"ab"),
            ("transport", "connection closed", b""),
        ]);
        let b = answers(&[
            ("spdy", "SYN_REPLY 1", b""),
            ("spdy", "DATA 1 1 bytes", b"a"),
        ]);
        assert!(a.covers(&b) && !b.covers(&a));
        let difference = a.difference(&b, 2);
        assert!(difference.is_other);
        assert_eq!(
            difference.text,
            "  connection 2, stream 1\n  - 2 bytes and FIN: \"ab\"\n  + 1 bytes: \"a\"\n  \
             connection 2, end\n  - connection closed\n  + nothing\n"
        );
    }

    #[test]
    fn the_end_of_a_refused_connection() {
        let end = ("transport", "connection closed", &b""[..]);
        for (head, is_compared) in [
            ("400 Bad Request", false),
            ("101 Switching Protocols", true),
        ] {
            let head = ("http", head, &b""[..]);
            let (open, ended) = (answers(&[head]), answers(&[head, end]));
            assert_eq!(open.covers(&ended), !is_compared);
            assert_eq!(ended.difference(&open, 1).is_other, is_compared);
            assert_eq!(ended.count(), 1 + usize::from(is_compared));
        }
        // Without any answer it is all that there is.
        assert!(answers(&[end]).difference(&answers(&[]), 1).is_other);
    }

    #[test]
    fn endings_and_pings() {
        let closed = ("transport", "connection closed", &b""[..]);
        let cut = (
            "transport",
            "connection closed without close_notify of TLS",
            &b""[..],
        );
        let [three, five] = ["PING 3", "PING 5"].map(|text| ("spdy", text, &b""[..]));
        let (a, b) = (
            answers(&[three, five, cut]),
            answers(&[five, three, closed]),
        );
        assert_eq!(a.difference(&b, 1), Difference::default());
        assert_eq!(b.difference(&a, 1), Difference::default());
        let reset = ("transport", "connection reset", &b""[..]);
        assert!(a.difference(&answers(&[three, five, reset]), 1).is_other);
        assert!(a.difference(&answers(&[three, three, cut]), 1).is_other);
        // Not read to its end.
        let (mut a, b) = (answers(&[three]), answers(&[five]));
        assert!(a.difference(&b, 1).is_other);
        a.sent = [
            [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 3],
            [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 5],
        ]
        .concat();
        assert_eq!(a.difference(&b, 1), Difference::default());
    }

    #[test]
    fn what_was_not_kept_is_not_compared() {
        let of = |bytes: &[u8]| {
            let mut answers = Answers::default();
            for text in ["DATA 1 90 bytes", "DATA 1 90 bytes"] {
                let came = Came {
                    layer: "spdy",
                    text,
                    bytes,
                    length: 98,
                };
                answers.add(came, false);
            }
            answers
        };
        let (whole, part) = (of(&[7; 98]), of(&[7; 20]));
        assert_eq!(whole.difference(&part, 1), Difference::default());
        assert!(whole.difference(&of(&[8; 20]), 1).is_other);
    }

    #[test]
    fn more_is_no_other_answer() {
        let a = answers(&[
            ("spdy", "SYN_REPLY 1", b""),
            ("spdy", "DATA 3 2 bytes", b"ab"),
        ]);
        let b = answers(&[
            ("spdy", "SYN_REPLY 1", b""),
            ("spdy", "RST_STREAM 1 CANCEL", b""),
            ("spdy", "DATA 3 FIN 4 bytes", b"abcd"),
            ("transport", "connection closed", b""),
        ]);
        let difference = a.difference(&b, 1);
        assert!(!difference.is_other && difference.text.contains("  + RST_STREAM 1 CANCEL\n"));
        assert!(!difference.text.contains("closed"));
        assert!(b.difference(&a, 1).is_other);
    }

    #[test]
    fn messages_of_channels() {
        let of = |messages: &[&[u8]]| {
            let mut answers = Answers::default();
            for bytes in messages {
                let came = Came {
                    layer: "websocket",
                    text: "WebSocket message",
                    bytes,
                    length: bytes.len(),
                };
                answers.add(came, false);
            }
            answers
        };
        let whole = of(&[b"\x82\x04\0abc", b"\x82\x02\x01x"]);
        let cut = of(&[b"\x82\x02\x01x", b"\x82\x03\0ab", b"\x82\x02\0c"]);
        let base64 = of(&[b"\x81\x050YWJj", b"\x81\x051eA=="]);
        assert_eq!(whole.difference(&cut, 1), Difference::default());
        assert_eq!(whole.difference(&base64, 1), Difference::default());
        let other = of(&[b"\x82\x04\0abd", b"\x82\x02\x01x"]);
        assert_eq!(
            whole.difference(&other, 1).text,
            "  connection 1, channel 0\n  - 3 bytes: \"abc\"\n  + 3 bytes: \"abd\"\n"
        );
        // The code of a Close, and what a PONG says.
        let (a, b) = (of(&[b"\x88\x02\x03\xe8"]), of(&[b"\x88\x02\x03\xe9"]));
        assert!(a.difference(&b, 1).is_other && !a.difference(&a, 1).is_other);
        // What is no such message is compared as it is.
        assert_eq!(of(&[b"\x88\0", b"\x81\x020!"]).count(), 2);
    }
}
