//! A transcript as text.

use super::{Annotator, Event, Head, MAGIC, Provenance, Transcript, What};
use std::fmt::{self, Write as _};

/// Characters of a header line, of a field, or of what failed.
const TEXT: usize = 1024;

/// Any text as one bounded line, the same again when it is one already.
pub(super) fn one_line(text: &str) -> String {
    let line = crate::escape::line(text.trim());
    let line: String = line.chars().take(TEXT).collect();
    match line.trim() {
        "" => "unknown".to_owned(),
        line => line.to_owned(),
    }
}

/// Everything in front of the first event.
pub(crate) fn begin(out: &mut String, provenance: &Provenance) {
    let Provenance {
        peer,
        command,
        client,
        server,
        date,
        tool,
        redacted,
        expect,
    } = provenance;
    out.push_str(MAGIC);
    out.push('\n');
    let mut line = |key: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ok = writeln!(out, "{key}: {}", one_line(value));
    };
    line("peer", peer);
    line("command", command);
    line("client", client);
    line("server", server);
    line("date", date);
    line("tool", tool);
    line("redacted", redacted);
    for one in expect {
        line("expect", one);
    }
    out.push('\n');
}

/// One event with its comments.
pub(crate) fn event(out: &mut String, event: &Event) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| {
        DIGITS
            .get(usize::from(value))
            .map_or('0', |d| char::from(*d))
    };
    let Event {
        direction,
        at,
        what,
        comments,
    } = event;
    let _ok = write!(
        out,
        "{} +{}.{:06} ",
        direction.word(),
        at.as_secs(),
        at.subsec_micros()
    );
    match what {
        What::Head(Head { line, fields }) => {
            out.push_str("head ");
            out.push_str(&one_line(line));
            for (name, value) in fields {
                let _ok = write!(out, "\n| {name}: {}", one_line(value));
            }
        }
        What::Bytes(bytes) => {
            let _ok = write!(out, "{} ", bytes.len());
            out.reserve(bytes.len().saturating_mul(2));
            for byte in bytes {
                out.push(digit(byte >> 4));
                out.push(digit(byte & 0xf));
            }
        }
        What::End => out.push_str("end"),
        What::Failed(how) => {
            out.push_str("failed ");
            out.push_str(&one_line(how));
        }
    }
    out.push('\n');
    for comment in comments {
        let _ok = writeln!(out, "# {comment}");
    }
}

/// The last line.
pub(crate) fn end(out: &mut String, events: u64) {
    let _ok = writeln!(out, "pft end {events}");
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        begin(&mut text, &self.provenance);
        for one in &self.events {
            event(&mut text, one);
        }
        end(&mut text, u64::try_from(self.events.len()).unwrap_or(0));
        f.write_str(&text)
    }
}

impl Transcript {
    /// Writes all comments anew.
    pub fn annotate(&mut self) {
        let mut annotator = Annotator::new();
        for event in &mut self.events {
            event.comments = annotator.comments(event.direction, &event.what);
        }
    }
}
