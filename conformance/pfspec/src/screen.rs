//! What is printed: results on standard output, a live count and errors on standard error.

use crate::report::model::Record;
use std::io::{IsTerminal as _, Write as _, stderr, stdout};

/// Both streams.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says another thing of two streams"
)]
pub struct Screen {
    colours: bool,
    live: bool,
    /// Whether a count stands on the last line.
    shown: bool,
    /// Whether results go to standard output: not where a report does that programs read.
    pub gives_results: bool,
}

impl Default for Screen {
    fn default() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self {
            colours: stdout().is_terminal() && !plain && !dumb,
            live: stderr().is_terminal() && !dumb,
            shown: false,
            gives_results: true,
        }
    }
}

impl Screen {
    /// A line, or more, on standard output. A reader that has gone is no error.
    pub fn print(&mut self, text: &str) {
        self.clear();
        let mut out = stdout().lock();
        drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
    }

    /// The line of a result, unless standard output is for something else.
    pub fn result(&mut self, record: &Record) {
        if !self.gives_results {
            return;
        }
        let line = record.line();
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let colour = match (record.is_expected(), record.verdict.as_str()) {
            (false, "INCONCLUSIVE") => 33,
            (false, _) => 31,
            (true, "PASS") => 32,
            (true, "FAIL" | "SHOULD") => 33,
            _ => 36,
        };
        if self.colours {
            self.print(&format!("\u{1b}[{colour}m{word}\u{1b}[0m {rest}\n"));
        } else {
            self.print(&format!("{line}\n"));
        }
    }

    /// A line on standard error.
    pub fn say(&mut self, text: &str) {
        self.clear();
        drop(writeln!(stderr().lock(), "{text}"));
    }

    /// The live count, on a terminal.
    pub fn count(&mut self, text: &str) {
        if self.live {
            self.clear();
            let mut err = stderr().lock();
            drop(write!(err, "{text}").and_then(|()| err.flush()));
            self.shown = true;
        }
    }

    /// Takes the count away.
    pub fn clear(&mut self) {
        if self.shown {
            self.shown = false;
            drop(write!(stderr().lock(), "\r\u{1b}[K"));
        }
    }
}
