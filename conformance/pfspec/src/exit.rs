//! Exit codes, and the errors that end a run before it has any.

use std::fmt;
use std::process::ExitCode;

/// Exit codes, as `pfspec --help` documents them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All as expected.
    Expected = 0,
    /// Departures, or passes that the expectations do not know.
    Departures = 1,
    /// Bad arguments, bad expectations, a report that cannot be written.
    Usage = 2,
    /// The target cannot be reached, or nobody there forwards for us.
    Unreachable = 3,
    /// A bug, or a report that could not be written at the end.
    Internal = 4,
    /// No departure, but cases that came to nothing.
    Inconclusive = 5,
    /// Ctrl-C or SIGTERM.
    Interrupted = 130,
}

impl Exit {
    /// As the system knows it.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why there is no run: one message, one code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Code.
    pub exit: Exit,
    /// What failed, of what, and what helps.
    pub text: String,
}

impl Failure {
    /// A mistake of the user.
    pub fn usage(text: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            text: text.into(),
        }
    }

    /// A target that is not there.
    pub fn unreachable(text: impl Into<String>) -> Self {
        Self {
            exit: Exit::Unreachable,
            text: text.into(),
        }
    }

    /// A mistake of ours.
    pub fn internal(text: impl Into<String>) -> Self {
        Self {
            exit: Exit::Internal,
            text: text.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}
