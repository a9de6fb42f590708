//! What can be wrong with a head, and where.

use std::fmt;
use std::io;

/// A head that is refused: why, and at which byte of it. Never quotes the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} (byte {offset} of the head)")]
#[non_exhaustive]
pub struct HeadError {
    /// What is wrong.
    pub kind: HeadErrorKind,
    /// Where: bytes from the start of the head.
    pub offset: usize,
}

impl HeadError {
    pub(crate) const fn new(kind: HeadErrorKind, offset: usize) -> Self {
        Self { kind, offset }
    }

    /// The status a server answers with: 431 when the head is too large (B21), else 400 (T16).
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self.kind {
            HeadErrorKind::TooLarge | HeadErrorKind::TooManyFields => 431,
            _ => 400,
        }
    }
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadErrorKind {
    /// The first line is empty.
    #[error("empty line in front of the start line")]
    EmptyStart,
    /// No end of the head within the limit.
    #[error("head too large")]
    TooLarge,
    /// More fields than the limit.
    #[error("too many header fields")]
    TooManyFields,
    /// The connection ended inside the head.
    #[error("head cut short")]
    Truncated,
    /// A line of a request ends without CR.
    #[error("line ends without CR")]
    BareLf,
    /// A CR that ends no line.
    #[error("CR inside a line")]
    BareCr,
    /// A zero byte.
    #[error("zero byte")]
    Nul,
    /// Another control character.
    #[error("control character")]
    Control,
    /// A line that begins with white space, once a way to continue the one before.
    #[error("folded header field")]
    Folded,
    /// A field line without a colon.
    #[error("header field without a colon")]
    NoColon,
    /// White space between name and colon.
    #[error("white space in front of the colon")]
    SpaceBeforeColon,
    /// A field name that is no token.
    #[error("invalid header field name")]
    FieldName,
    /// Not `METHOD SP TARGET SP VERSION`.
    #[error("malformed request line")]
    RequestLine,
    /// Not `VERSION SP CODE [SP REASON]`, or a code outside 100 to 599.
    #[error("malformed status line")]
    StatusLine,
    /// A version this role does not speak.
    #[error("HTTP version not supported")]
    Version,
    /// A request target that is refused.
    #[error("{0}")]
    Target(TargetFault),
    /// A request without Host.
    #[error("no Host")]
    NoHost,
    /// A second Host.
    #[error("second Host")]
    SecondHost,
    /// A Host that is no host.
    #[error("invalid Host")]
    HostValue,
    /// A second Content-Length, even an equal one.
    #[error("second Content-Length")]
    SecondLength,
    /// A Content-Length that is no number.
    #[error("invalid Content-Length")]
    LengthValue,
    /// Content-Length and Transfer-Encoding in one head.
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndEncoding,
    /// Transfer-Encoding in a request, or another one than `chunked` in a response.
    #[error("Transfer-Encoding not accepted")]
    Encoding,
    /// The parser proper refused what the checks above had let through.
    #[error("malformed head")]
    Malformed,
}

/// Why a request target is refused. One spelling per place, so that what is authorised is what is
/// served (T18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetFault {
    /// Absolute, authority or asterisk form.
    Form,
    /// `//`, or `/` at the end.
    EmptySegment,
    /// `.` or `..`.
    DotSegment,
    /// A percent escape in the path.
    Escape,
    /// A character that is not allowed in the path.
    Path,
    /// A character that is not allowed in the query.
    Query,
}

impl fmt::Display for TargetFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "request target is no path",
            Self::EmptySegment => "empty path segment",
            Self::DotSegment => "dot segment in the path",
            Self::Escape => "escape in the path",
            Self::Path => "character not allowed in the path",
            Self::Query => "character not allowed in the query",
        })
    }
}

/// Why no head could be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The connection ended before the first byte.
    #[error("connection closed")]
    Closed,
    /// The head was not complete at the deadline.
    #[error("no complete head in time")]
    Timeout,
    /// The head is refused.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A head that must not be sent. Names what, never quotes a value (T36).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The method is no token.
    #[error("invalid method")]
    Method,
    /// The target is no visible ASCII that begins with `/`.
    #[error("invalid request target")]
    Target,
    /// The status is outside 100 to 599.
    #[error("invalid status")]
    Status,
    /// The reason phrase holds a control character.
    #[error("invalid reason phrase")]
    Reason,
    /// A field name is no token.
    #[error("invalid header field name")]
    Name,
    /// The value of the named field holds CR, LF, NUL or another control character.
    #[error("invalid value of header field {0}")]
    Value(String),
}
