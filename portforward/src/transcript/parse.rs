//! Text to transcript. Strict about form: lines that this library does not write, or too few of them,
//! are damage. There is no checksum: a digit changed in the payload is not noticed here, only where
//! the comments beside it are checked against the frames.

use super::{
    Direction, Event, Head, MAGIC, MAX_FILE, MAX_LINE, Provenance, Transcript, What, heads, write,
};
use bytes::Bytes;
use std::io::{self, Read};
use std::time::Duration;

/// What is wrong with a transcript, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
#[non_exhaustive]
pub struct ParseError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub fault: String,
}

type Fault = String;

fn fault<T>(text: &str) -> Result<T, Fault> {
    Err(text.to_owned())
}

impl Transcript {
    /// Reads a transcript, at most [`MAX_FILE`] bytes of it.
    ///
    /// # Errors
    /// The source fails, or (kind [`io::ErrorKind::InvalidData`], around a [`ParseError`]) it is
    /// no transcript, or a damaged one.
    pub fn read(source: impl Read) -> io::Result<Self> {
        let limit = u64::try_from(MAX_FILE)
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        let mut bytes = Vec::new();
        source.take(limit).read_to_end(&mut bytes)?;
        Self::parse(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Parses a transcript.
    ///
    /// # Errors
    /// It is none, or a damaged one.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let mut parser = Parser::default();
        let mut number = 0usize;
        let mut read = 0usize;
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            number = number.saturating_add(1);
            read = read.saturating_add(line.len());
            let result = if read > MAX_FILE {
                Err(format!("the file is larger than {MAX_FILE} bytes"))
            } else {
                text(line).and_then(|line| parser.line(line))
            };
            result.map_err(|fault| ParseError {
                line: number,
                fault,
            })?;
        }
        parser.finish().map_err(|fault| ParseError {
            line: number.saturating_add(1),
            fault,
        })
    }
}

/// A line without its end.
fn text(line: &[u8]) -> Result<&str, Fault> {
    if line.len() > MAX_LINE {
        return Err(format!("the line is longer than {MAX_LINE} bytes"));
    }
    let Some(line) = line.strip_suffix(b"\n") else {
        return fault("the line has no end: the file was cut");
    };
    let line = std::str::from_utf8(line).map_err(|_| "the line is not UTF-8".to_owned())?;
    if line.ends_with('\r') {
        return fault("the line ends in CR LF: the file was converted");
    }
    if line.chars().any(char::is_control) {
        return fault("the line holds a control character");
    }
    Ok(line)
}

#[derive(Default)]
struct Parser {
    state: State,
    header: Vec<(&'static str, String)>,
    events: Vec<Event>,
    client: Progress,
    server: Progress,
}

#[derive(Default, Clone, Copy)]
enum State {
    #[default]
    Magic,
    Header,
    Events,
    Over,
}

/// How far one direction is.
#[derive(Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    #[default]
    Heads,
    Bytes,
    Over,
}

/// All but the last once, and in this order.
const KEYS: [&str; 8] = [
    "peer", "command", "client", "server", "date", "tool", "redacted", "expect",
];

impl Parser {
    fn line(&mut self, line: &str) -> Result<(), Fault> {
        match self.state {
            State::Magic => {
                self.state = State::Header;
                match line.strip_prefix("pft ") {
                    _ if line == MAGIC => Ok(()),
                    Some(version) if version.bytes().all(|b| b.is_ascii_digit()) => Err(format!(
                        "format version {version} is not known, only {MAGIC}"
                    )),
                    _ => Err(format!(
                        "this is no transcript: it does not begin with {MAGIC}"
                    )),
                }
            }
            State::Header if line.is_empty() => {
                self.state = State::Events;
                match KEYS.get(self.header.len()) {
                    // Behind the last of those that must be there.
                    None | Some(&"expect") => Ok(()),
                    Some(missing) => Err(format!("the header has no `{missing}`")),
                }
            }
            State::Header => self.header_line(line),
            State::Events => match line.strip_prefix("pft end ") {
                Some(count) => self.last_line(count),
                None => self.event_line(line),
            },
            State::Over => fault("something follows the last line"),
        }
    }

    fn header_line(&mut self, line: &str) -> Result<(), Fault> {
        let Some((key, value)) = line.split_once(": ") else {
            return fault("no header line `KEY: VALUE`, nor the empty line behind the header");
        };
        let last = KEYS.len().saturating_sub(1);
        let due = KEYS.get(self.header.len().min(last)).copied();
        let Some(due) = due.filter(|due| *due == key) else {
            return Err(format!("`{}` is due here", due.unwrap_or_default()));
        };
        if write::one_line(value) != value {
            return Err(format!(
                "the value of `{due}` is empty, too long or not plain"
            ));
        }
        if due == "date" && !is_date(value) {
            return fault("the date is not of the form 2026-11-25T18:30:00Z");
        }
        self.header.push((due, value.to_owned()));
        Ok(())
    }

    fn event_line(&mut self, line: &str) -> Result<(), Fault> {
        if let Some(field) = line.strip_prefix("| ") {
            return self.field(field);
        }
        if let Some(comment) = line.strip_prefix("# ") {
            let Some(event) = self.events.last_mut() else {
                return fault("a comment without an event");
            };
            event.comments.push(comment.to_owned());
            return Ok(());
        }
        let mut words = line.splitn(4, ' ');
        let (direction, progress) = match words.next() {
            Some("c>s") => (Direction::ClientToServer, &mut self.client),
            Some("s>c") => (Direction::ServerToClient, &mut self.server),
            _ => return fault("the line begins with none of `c>s`, `s>c`, `|`, `#`, `pft end`"),
        };
        let at = words
            .next()
            .and_then(time)
            .ok_or("no time of the form +SECONDS.MICROSECONDS")?;
        if self.events.last().is_some_and(|last| at < last.at) {
            return fault("the time is before that of the event in front");
        }
        let what = what(words.next().unwrap_or_default(), words.next())?;
        let due = match &what {
            What::Head(_) => Progress::Heads,
            What::Bytes(_) => Progress::Bytes,
            What::End | What::Failed(_) => Progress::Over,
        };
        if *progress == Progress::Over {
            return fault("the direction has ended already");
        }
        if due < *progress {
            return fault("a head behind bytes of the session");
        }
        *progress = due;
        self.events.push(Event {
            direction,
            at,
            what,
            comments: Vec::new(),
        });
        Ok(())
    }

    fn field(&mut self, line: &str) -> Result<(), Fault> {
        let Some(Event {
            what: What::Head(head),
            comments,
            ..
        }) = self.events.last_mut()
        else {
            return fault("a field without a head");
        };
        if !comments.is_empty() {
            return fault("a field behind a comment");
        }
        let Some((name, value)) = line.split_once(": ") else {
            return fault("no field `| NAME: VALUE`");
        };
        // The name is not repeated: nobody knows what is behind it.
        if !heads::is_allowed(name) {
            return fault("a field that no transcript may hold");
        }
        if write::one_line(value) != value {
            return fault("the field's value is empty, too long or not plain");
        }
        head.fields.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    fn last_line(&mut self, count: &str) -> Result<(), Fault> {
        self.state = State::Over;
        match decimal(count) {
            Some(count) if count == self.events.len() => Ok(()),
            Some(count) => Err(format!(
                "{count} events are announced, {} are there",
                self.events.len()
            )),
            None => fault("no number of events"),
        }
    }

    fn finish(self) -> Result<Transcript, Fault> {
        match self.state {
            State::Over => {}
            State::Magic => return fault("the file is empty"),
            State::Header | State::Events => {
                return fault("the last line, `pft end`, is missing: the file was cut");
            }
        }
        let of = |key: &str| {
            let values = self.header.iter().filter(|(k, _)| *k == key);
            values.map(|(_, value)| value.clone()).collect::<Vec<_>>()
        };
        let one = |key: &str| of(key).concat();
        Ok(Transcript {
            provenance: Provenance {
                peer: one("peer"),
                command: one("command"),
                client: one("client"),
                server: one("server"),
                date: one("date"),
                tool: one("tool"),
                redacted: one("redacted"),
                expect: of("expect"),
            },
            events: self.events,
        })
    }
}

/// What stands behind the time.
fn what(word: &str, rest: Option<&str>) -> Result<What, Fault> {
    match (word, rest) {
        ("end", None) => Ok(What::End),
        ("failed", Some(how)) if write::one_line(how) == how => Ok(What::Failed(how.to_owned())),
        ("head", Some(line)) if write::one_line(line) == line && line.contains("HTTP/1.") => {
            Ok(What::Head(Head {
                line: line.to_owned(),
                fields: Vec::new(),
            }))
        }
        ("head", _) => fault("no request line or status line"),
        ("failed", _) => fault("no word on how it failed"),
        (count, Some(hex)) => {
            let count = decimal(count).filter(|count| *count > 0);
            let count = count.ok_or("no number of bytes, `head`, `end` or `failed`")?;
            let bytes = unhex(hex)?;
            if bytes.len() != count {
                let text = format!("{count} bytes are announced, {} are there", bytes.len());
                return Err(text);
            }
            Ok(What::Bytes(Bytes::from(bytes)))
        }
        (_, None) => fault("the event is cut, or is none of bytes, `head`, `end`, `failed`"),
    }
}

fn unhex(hex: &str) -> Result<Vec<u8>, Fault> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => b.checked_sub(b'0'),
        b'a'..=b'f' => b.checked_sub(b'a').and_then(|v| v.checked_add(10)),
        _ => None,
    };
    let pairs = hex.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return fault("an odd number of hexadecimal digits");
    }
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect::<Option<_>>()
        .ok_or_else(|| "no hexadecimal digits (0 to 9, a to f)".to_owned())
}

/// Digits without sign and leading zeros.
fn decimal(text: &str) -> Option<usize> {
    let number: usize = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// `+S.UUUUUU`.
fn time(text: &str) -> Option<Duration> {
    let (seconds, micros) = text.strip_prefix('+')?.split_once('.')?;
    let seconds = u32::try_from(decimal(seconds)?).ok()?;
    if micros.len() != 6 || !micros.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos = micros.parse::<u32>().ok()?.checked_mul(1000)?;
    Some(Duration::new(seconds.into(), nanos))
}

fn is_date(text: &str) -> bool {
    let form = "dddd-dd-ddTdd:dd:ddZ";
    text.len() == form.len()
        && text.bytes().zip(form.bytes()).all(|(b, f)| match f {
            b'd' => b.is_ascii_digit(),
            other => b == other,
        })
}

#[cfg(test)]
mod tests;
