//! Z13. What our decoder makes of bytes beside what the framer of moby/spdystream 0.5.1 makes of
//! them (`spdy-go-0.5.1 judge`, conformance/peers/spdy). Nothing here starts or reads a process.

use super::sequences::batch;
use crate::{Data, DecodeErrorKind, Decoder, Frame, HeaderBlock, Limits};
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// Frames of an input that are looked at; the judge stops there too.
const MOST_FRAMES: usize = 256;
/// Longer bytes are told by length and hash.
const MOST_SHOWN: usize = 24;

/// The frames of one direction, a line each, and how they end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "not published")]
pub struct Story<E> {
    /// In their order.
    pub frames: Vec<String>,
    /// How they end.
    pub end: End<E>,
}

/// How a direction ends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "not published")]
pub enum End<E> {
    /// Between two frames.
    Clean,
    /// Within a frame, about which nothing is known yet.
    More,
    /// Not looked at further.
    Cut,
    /// Not SPDY, or over a limit.
    Refused(E),
}

/// Ours.
pub type Ours = Story<DecodeErrorKind>;
/// The judge's, with its reason in its words.
pub type Theirs = Story<String>;

/// What [`Dialect::Kubernetes`](crate::Dialect::Kubernetes) makes of it.
#[must_use]
pub fn ours(bytes: &[u8]) -> Ours {
    let (mut decoder, mut input) = (Decoder::new(Limits::default()), BytesMut::from(bytes));
    let mut frames = Vec::new();
    while frames.len() < MOST_FRAMES {
        match decoder.decode(&mut input) {
            // All input is there: a piece of DATA is a frame that the input cuts.
            Ok(Some(Frame::Data(data))) if data.remaining > 0 => {
                let end = End::More;
                return Story { frames, end };
            }
            Ok(Some(frame)) => frames.push(tell(&frame)),
            Ok(None) => {
                let clean = input.is_empty() && decoder.is_between_frames();
                let end = if clean { End::Clean } else { End::More };
                return Story { frames, end };
            }
            Err(e) => {
                let end = End::Refused(e.kind().clone());
                return Story { frames, end };
            }
        }
        if input.is_empty() && decoder.is_between_frames() {
            let end = End::Clean;
            return Story { frames, end };
        }
    }
    Story {
        frames,
        end: End::Cut,
    }
}

/// An answer of the judge. `None`: it is none.
#[must_use]
pub fn theirs(answer: &str) -> Option<Theirs> {
    let mut frames: Vec<String> = answer.split('\n').map(str::to_owned).collect();
    let end = match frames.pop()?.as_str() {
        "end" => End::Clean,
        "more" => End::More,
        "cut" => End::Cut,
        end => End::Refused(end.strip_prefix("refused: ")?.to_owned()),
    };
    Some(Story { frames, end })
}

fn tell(frame: &Frame) -> String {
    match frame {
        Frame::SynStream(f) => format!(
            "SYN_STREAM {} flags {} associated {} priority {} slot {}{}",
            f.id.get(),
            u8::from(f.fin) | u8::from(f.unidirectional) << 1,
            f.associated,
            f.priority,
            f.slot,
            tell_headers(&f.headers)
        ),
        Frame::SynReply(f) => {
            let headers = tell_headers(&f.headers);
            format!(
                "SYN_REPLY {} flags {}{headers}",
                f.id.get(),
                u8::from(f.fin)
            )
        }
        Frame::Headers(f) => {
            let headers = tell_headers(&f.headers);
            format!("HEADERS {} flags {}{headers}", f.id.get(), u8::from(f.fin))
        }
        Frame::RstStream(f) => {
            format!(
                "RST_STREAM {} flags 0 status {}",
                f.id.get(),
                f.status.get()
            )
        }
        Frame::Settings(f) => {
            let mut line = format!("SETTINGS flags {}", u8::from(f.clear));
            for e in &f.entries {
                add(&mut line, format_args!(" {}.{}={}", e.flags, e.id, e.value));
            }
            line
        }
        Frame::Ping(f) => format!("PING {} flags 0", f.id),
        Frame::GoAway(f) => format!("GOAWAY {} flags 0 status {}", f.last_good, f.status.get()),
        Frame::WindowUpdate(f) => format!("WINDOW_UPDATE {} flags 0 delta {}", f.id, f.delta),
        Frame::Data(Data {
            id,
            payload,
            fin,
            flags,
            ..
        }) => format!(
            "DATA {} flags {} {}",
            id.get(),
            flags | u8::from(*fin),
            tell_bytes(payload)
        ),
        Frame::Unknown(f) => format!("UNKNOWN {} flags {} length {}", f.kind, f.flags, f.length),
    }
}

fn add(line: &mut String, more: fmt::Arguments<'_>) {
    assert!(line.write_fmt(more).is_ok(), "a String takes everything");
}

/// As a map: order between names tells nothing, and Go keeps none.
fn tell_headers(block: &HeaderBlock) -> String {
    let mut by_name: BTreeMap<&[u8], Vec<&[u8]>> = BTreeMap::new();
    for (name, value) in block.iter() {
        let values = by_name.entry(name).or_default();
        values.extend(value.split(|b| *b == 0));
    }
    let mut line = String::new();
    for (name, values) in by_name {
        add(&mut line, format_args!(" {}", tell_bytes(name)));
        for (nth, value) in values.iter().enumerate() {
            let between = if nth == 0 { '=' } else { ',' };
            add(&mut line, format_args!("{between}{}", tell_bytes(value)));
        }
    }
    line
}

fn tell_bytes(bytes: &[u8]) -> String {
    let mut line = String::new();
    if bytes.len() > MOST_SHOWN {
        // FNV-1a.
        let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, b| {
            (hash ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3)
        });
        add(&mut line, format_args!("#{}-{hash:016x}", bytes.len()));
    } else {
        for b in bytes {
            add(&mut line, format_args!("{b:02x}"));
        }
    }
    line
}

/// The first thing that one has and the other has not: a frame's line, or the end.
type Next<'a, E> = Result<&'a str, &'a End<E>>;

impl<E> Story<E> {
    fn nth(&self, n: usize) -> Next<'_, E> {
        self.frames.get(n).map(String::as_str).ok_or(&self.end)
    }
}

/// Something about which both may disagree.
#[derive(Debug)]
pub struct Disagreement {
    /// In a word.
    pub name: &'static str,
    /// Why that is so.
    pub why: &'static str,
    is_it: fn(&Next<'_, DecodeErrorKind>, &Next<'_, String>) -> bool,
}

const HEADER_FRAMES: [&str; 3] = ["SYN_STREAM", "SYN_REPLY", "HEADERS"];

fn is_frame(line: &str, kind: &str) -> bool {
    line.strip_prefix(kind).is_some_and(|l| l.starts_with(' '))
}

/// Go takes this kind of frame, or may still do it.
fn taken(theirs: &Next<'_, String>, kind: &str) -> bool {
    match theirs {
        Ok(line) => is_frame(line, kind),
        Err(end) => matches!(end, End::More),
    }
}

fn is_budget(kind: &DecodeErrorKind) -> bool {
    use DecodeErrorKind as K;
    matches!(
        kind,
        K::FrameTooLarge { .. }
            | K::HeaderBlockTooLarge { .. }
            | K::HeaderPairs { .. }
            | K::HeaderField { .. }
            | K::SettingsEntries { .. }
    )
}

/// Whether ours ends by a rule of its own, a length or a budget: then no other reader is compared or recorded.
#[must_use]
pub fn is_ours_alone(ours: &Ours) -> bool {
    matches!(&ours.end, End::Refused(kind) if is_budget(kind) || matches!(kind, DecodeErrorKind::Length { .. }))
}

fn has_headers<E>(next: &Next<'_, E>) -> bool {
    next.is_ok_and(|line| HEADER_FRAMES.iter().any(|kind| is_frame(line, kind)))
}

fn refused(theirs: &Next<'_, String>, whys: &[&str]) -> bool {
    matches!(theirs, Err(End::Refused(why)) if whys.contains(&why.as_str()))
}

/// A name with a byte that is not ASCII, or too long to be shown.
fn has_foreign_name(line: &str) -> bool {
    line.split(' ')
        .filter_map(|pair| pair.split_once('='))
        .any(|(name, _)| {
            let foreign = |digit: &u8| matches!(digit, b'8'..=b'9' | b'a'..=b'f');
            name.starts_with('#') || name.as_bytes().iter().step_by(2).any(foreign)
        })
}

/// HEADERS with an even id and a header `host`.
fn is_even_with_host(line: &str) -> bool {
    let id = line
        .strip_prefix("HEADERS ")
        .and_then(|l| l.split(' ').next());
    id.is_some_and(|id| id.ends_with(['0', '2', '4', '6', '8'])) && line.contains(" 686f7374=")
}

/// The reviewed list: where ours refuses and Go goes on, or the other way. There is no entry for
/// one frame that both take for different ones.
pub static REVIEWED: [Disagreement; 13] = [
    Disagreement {
        name: "length",
        why: "ours refuses: the length is not that of the type; the other is not compared",
        is_it: |ours, _| matches!(ours, Err(End::Refused(DecodeErrorKind::Length { .. }))),
    },
    Disagreement {
        name: "flags",
        why: "ours refuses: flags that the type does not have",
        is_it: |ours, theirs| {
            matches!(ours, Err(End::Refused(DecodeErrorKind::Flags { frame, .. }))
            if taken(theirs, frame))
        },
    },
    Disagreement {
        name: "reserved bit",
        why: "ours refuses: the top bit of an id or a delta, which Go keeps as part of it",
        is_it: |ours, theirs| {
            matches!(ours, Err(End::Refused(DecodeErrorKind::ReservedBit(frame)))
            if taken(theirs, frame))
        },
    },
    Disagreement {
        name: "stream 0",
        why: "ours refuses: at the head of DATA, Go at its end",
        is_it: |ours, theirs| {
            matches!(
                (ours, theirs),
                (
                    Err(End::Refused(DecodeErrorKind::StreamZero("DATA"))),
                    Err(End::More)
                )
            )
        },
    },
    Disagreement {
        name: "budget",
        why: "ours refuses: over a limit (B1 to B4, B11); the other is not compared",
        is_it: |ours, _| matches!(ours, Err(End::Refused(kind)) if is_budget(kind)),
    },
    Disagreement {
        name: "surplus",
        why: "ours refuses: bytes behind the last pair of a block; Go has them begin the next",
        is_it: |ours, theirs| {
            matches!(ours, Err(End::Refused(DecodeErrorKind::HeaderSurplus(_))))
                && has_headers(theirs)
        },
    },
    Disagreement {
        name: "garbage",
        why: "ours refuses: what does not inflate, behind the last pair of a block; Go inflates up to \
              that pair",
        is_it: |ours, theirs| {
            matches!(ours, Err(End::Refused(DecodeErrorKind::Inflate(_)))) && has_headers(theirs)
        },
    },
    Disagreement {
        name: "unknown type",
        why: "ours takes: types that SPDY/3.1 does not have are skipped and counted (B30)",
        is_it: |ours, theirs| {
            ours.is_ok_and(|line| is_frame(line, "UNKNOWN"))
                && refused(theirs, &["invalid control frame"])
        },
    },
    Disagreement {
        name: "repeated name",
        why: "ours takes: any; Go those that it writes otherwise in HTTP/1, such as `port`",
        is_it: |ours, theirs| {
            has_headers(ours) && refused(theirs, &["multiple headers with same name"])
        },
    },
    Disagreement {
        name: "name not ASCII",
        why: "ours takes: only ASCII has letters to be lower-case; Go knows Unicode's, and refuses \
              what is not UTF-8",
        is_it: |ours, theirs| {
            ours.is_ok_and(has_foreign_name) && refused(theirs, &["header was not lowercased"])
        },
    },
    Disagreement {
        name: "host",
        why: "ours takes: `host` in HEADERS; Go not for even ids, by the rules of requests",
        is_it: |ours, theirs| {
            ours.is_ok_and(is_even_with_host)
                && refused(theirs, &["frame contained invalid header"])
        },
    },
    Disagreement {
        name: "block not ended",
        why: "ours takes: a block behind one that has no empty stored block at its end; Go reads on only \
              behind such an end",
        is_it: |ours, theirs| {
            let whys = ["unexpected EOF", "compressed payload size was incorrect"];
            has_headers(ours) && refused(theirs, &whys)
        },
    },
    Disagreement {
        name: "not whole",
        why: "ours waits: a control frame is judged when all of it is there",
        is_it: |ours, theirs| {
            let early = match theirs {
                // Of those that are not all there nothing is compared.
                Ok(line) => is_frame(line, "SETTINGS"),
                Err(end) => matches!(end, End::Refused(_)),
            };
            early && matches!(ours, Err(End::More))
        },
    },
];

/// Whether both agree; if not, what on the reviewed list it is.
///
/// # Errors
/// They take one frame for different ones, or disagree about something else.
pub fn compare(ours: &Ours, theirs: &Theirs) -> Result<Option<&'static Disagreement>, String> {
    let both = ours.frames.iter().zip(&theirs.frames);
    if let Some((nth, (ours, theirs))) = both.enumerate().find(|(_, (o, t))| o != t) {
        return Err(format!(
            "frame {nth} is two different ones:\n ours {ours}\n   Go {theirs}"
        ));
    }
    let common = ours.frames.len().min(theirs.frames.len());
    let (ours, theirs) = (ours.nth(common), theirs.nth(common));
    match (&ours, &theirs) {
        (Err(End::Clean), Err(End::Clean))
        | (Err(End::More), Err(End::More))
        | (Err(End::Cut), Err(End::Cut))
        | (Err(End::Refused(_)), Err(End::Refused(_))) => return Ok(None),
        _ => {}
    }
    match REVIEWED.iter().find(|d| (d.is_it)(&ours, &theirs)) {
        Some(known) => Ok(Some(known)),
        None => Err(format!(
            "behind {common} frames alike:\n ours {ours:?}\n   Go {theirs:?}"
        )),
    }
}

/// Inputs made of `data`, ours and the judge's. `judge` is given all of them and answers each in
/// turn, or is not there: then only what is right by construction is checked. Gives the number of
/// frames that were compared.
pub fn against_go(data: &[u8], judge: impl FnOnce(&[&[u8]]) -> Option<Vec<String>>) -> usize {
    let batch = batch(data);
    let inputs: Vec<&[u8]> = batch.iter().map(|s| s.bytes.as_slice()).collect();
    let answers = judge(&inputs);
    assert!(
        answers.as_ref().is_none_or(|a| a.len() == inputs.len()),
        "an answer for each input"
    );
    let mut compared = 0;
    for (nth, sequence) in batch.iter().enumerate() {
        let ours = ours(&sequence.bytes);
        let right = ours.end == End::Clean && ours.frames.len() == sequence.frames;
        let shown = || Bytes::copy_from_slice(&sequence.bytes);
        assert!(
            right || sequence.odd,
            "ours refuses what is right: {ours:?}\n{:?}",
            shown()
        );
        let Some(answer) = answers.as_ref().and_then(|a| a.get(nth)) else {
            continue;
        };
        let Some(theirs) = theirs(answer) else {
            panic!("no answer: {answer}\n{:?}", shown());
        };
        match compare(&ours, &theirs) {
            Ok(None) => {}
            Ok(Some(_)) if sequence.odd => {}
            Ok(Some(known)) => panic!("right, and yet: {}\n{:?}", known.why, shown()),
            Err(why) => panic!("{why}\n{:?}", shown()),
        }
        compared += ours.frames.len().max(theirs.frames.len());
    }
    compared
}
