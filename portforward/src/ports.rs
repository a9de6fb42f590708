//! Port forms of the command line: `[LOCAL:]REMOTE`, as kubectl reads them.
//!
//! Pure: nothing here looks anything up. A remote end may be a *name*, which the caller turns into a
//! number with the help of a pod or a service.
//!
//! | form | local end | remote end |
//! |---|---|---|
//! | `5000` | 5000 | 5000 |
//! | `8888:5000` | 8888 | 5000 |
//! | `:5000`, `0:5000` | a free port | 5000 |
//! | `http` | the number behind the name | `http` |
//! | `8888:http`, `:http` | as written | `http` |
//!
//! Error texts are kubectl's, down to the words of Go's number parser, because scripts match them.

use std::{fmt, num::NonZeroU16, str::FromStr};

/// One wanted forward, as written on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortSpec {
    /// Where to listen.
    pub local: LocalPort,
    /// Where the bytes go.
    pub remote: RemotePort,
}

/// The local end of a [`PortSpec`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_enums,
    reason = "the grammar is closed; callers must treat every form"
)]
pub enum LocalPort {
    /// This very port.
    Fixed(NonZeroU16),
    /// Any free port (`0:` or an empty local part).
    Free,
    /// The number that the remote *name* stands for (a bare name was given): the container port for a
    /// pod, the service port for a service.
    OfName,
}

/// The remote end of a [`PortSpec`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_enums,
    reason = "the grammar is closed; callers must treat every form"
)]
pub enum RemotePort {
    /// A port number.
    Number(NonZeroU16),
    /// A port name, still to be looked up. Never empty, never all digits.
    Name(String),
}

impl fmt::Display for RemotePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Why a text is no port form. `Display` is kubectl's wording; it quotes the text, so escape it before
/// it reaches a terminal if the text comes from elsewhere than the command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// More than one colon.
    #[error("invalid port format '{0}'")]
    Format(String),
    /// The local part is no port number.
    #[error("error parsing local port '{text}': {cause}")]
    Local {
        /// The local part.
        text: String,
        /// What is wrong with it.
        cause: NumberError,
    },
    /// The remote part is a number, but no port number.
    #[error("error parsing remote port '{text}': {cause}")]
    Remote {
        /// The remote part.
        text: String,
        /// What is wrong with it.
        cause: NumberError,
    },
    /// Remote port 0.
    #[error("remote port must be > 0")]
    RemoteZero,
    /// Nothing behind the colon, or nothing at all.
    #[error("remote port cannot be empty")]
    RemoteEmpty,
}

/// Why a text is no number from 0 to 65535, worded as Go's `strconv` does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NumberError {
    /// Not a run of decimal digits.
    #[error("strconv.ParseUint: parsing {}: invalid syntax", GoQuoted(.0))]
    Syntax(String),
    /// A number above 65535.
    #[error("strconv.ParseUint: parsing {}: value out of range", GoQuoted(.0))]
    Range(String),
}

impl FromStr for PortSpec {
    type Err = PortError;

    fn from_str(form: &str) -> Result<Self, PortError> {
        let mut parts = form.split(':');
        let (first, second) = (parts.next().unwrap_or_default(), parts.next());
        if parts.next().is_some() {
            return Err(PortError::Format(form.to_owned()));
        }
        let Some(remote) = second else {
            return Self::bare(first);
        };
        // Left to right, so that of two faults the first is reported.
        let local = if first.is_empty() {
            LocalPort::Free
        } else {
            local(first)?
        };
        if remote.is_empty() {
            return Err(PortError::RemoteEmpty);
        }
        let remote = self::remote(remote)?;
        Ok(Self { local, remote })
    }
}

impl PortSpec {
    /// A form without a colon: one text for both ends.
    fn bare(text: &str) -> Result<Self, PortError> {
        if text.is_empty() {
            return Err(PortError::RemoteEmpty);
        }
        if is_name(text) {
            let remote = RemotePort::Name(text.to_owned());
            return Ok(Self {
                local: LocalPort::OfName,
                remote,
            });
        }
        // kubectl reads the text as the local port first, and words its fault so.
        let local = local(text)?;
        let remote = remote(text)?;
        Ok(Self { local, remote })
    }
}

fn local(text: &str) -> Result<LocalPort, PortError> {
    let number = number(text).map_err(|cause| PortError::Local {
        text: text.to_owned(),
        cause,
    })?;
    Ok(NonZeroU16::new(number).map_or(LocalPort::Free, LocalPort::Fixed))
}

fn remote(text: &str) -> Result<RemotePort, PortError> {
    if is_name(text) {
        return Ok(RemotePort::Name(text.to_owned()));
    }
    let number = number(text).map_err(|cause| PortError::Remote {
        text: text.to_owned(),
        cause,
    })?;
    NonZeroU16::new(number)
        .map(RemotePort::Number)
        .ok_or(PortError::RemoteZero)
}

/// Whether kubectl would look the text up as a name: it does so with whatever its signed integer parser
/// refuses, so `+80` and `-1` are (bad) numbers. One departure: a run of digits too long for that parser
/// is a number out of range here, where kubectl asks the pod for a port of that name.
fn is_name(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Go's `strconv.ParseUint(text, 10, 16)`: digits only (no sign), leading zeros allowed.
fn number(text: &str) -> Result<u16, NumberError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NumberError::Syntax(text.to_owned()));
    }
    text.parse()
        .map_err(|_| NumberError::Range(text.to_owned()))
}

/// Text in double quotes, escaped much as Go's `strconv.Quote` does.
struct GoQuoted<'a>(&'a str);

impl fmt::Display for GoQuoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                c if u32::from(c) < 0x20 || c == '\u{7f}' => write!(f, "\\x{:02x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u16) -> NonZeroU16 {
        NonZeroU16::new(number).unwrap()
    }

    fn fixed(number: u16) -> LocalPort {
        LocalPort::Fixed(port(number))
    }

    #[test]
    fn good_forms() {
        let number = |n| RemotePort::Number(port(n));
        let name = |s: &str| RemotePort::Name(s.to_owned());
        let table = [
            ("5000", fixed(5000), number(5000)),
            ("1", fixed(1), number(1)),
            ("65535", fixed(65535), number(65535)),
            ("00080", fixed(80), number(80)),
            ("8888:5000", fixed(8888), number(5000)),
            ("80:80", fixed(80), number(80)),
            ("65535:1", fixed(65535), number(1)),
            (":5000", LocalPort::Free, number(5000)),
            ("0:5000", LocalPort::Free, number(5000)),
            ("000:5000", LocalPort::Free, number(5000)),
            ("http", LocalPort::OfName, name("http")),
            ("8888:http", fixed(8888), name("http")),
            (":http", LocalPort::Free, name("http")),
            ("0:http", LocalPort::Free, name("http")),
            ("p1", LocalPort::OfName, name("p1")),
            ("8080:9p", fixed(8080), name("9p")),
            ("0x50", LocalPort::OfName, name("0x50")),
            ("8080:1_000", fixed(8080), name("1_000")),
            ("http-metrics", LocalPort::OfName, name("http-metrics")),
        ];
        for (form, local, remote) in table {
            assert_eq!(form.parse(), Ok(PortSpec { local, remote }), "{form}");
        }
    }

    #[test]
    fn bad_forms_in_kubectls_words() {
        let table = [
            ("", "remote port cannot be empty"),
            (":", "remote port cannot be empty"),
            ("8080:", "remote port cannot be empty"),
            ("1:2:3", "invalid port format '1:2:3'"),
            ("::80", "invalid port format '::80'"),
            ("a:b:c", "invalid port format 'a:b:c'"),
            ("0", "remote port must be > 0"),
            ("0:0", "remote port must be > 0"),
            (":0", "remote port must be > 0"),
            ("8080:0", "remote port must be > 0"),
            (
                "70000",
                r#"error parsing local port '70000': strconv.ParseUint: parsing "70000": value out of range"#,
            ),
            (
                "65536:80",
                r#"error parsing local port '65536': strconv.ParseUint: parsing "65536": value out of range"#,
            ),
            (
                "80:65536",
                r#"error parsing remote port '65536': strconv.ParseUint: parsing "65536": value out of range"#,
            ),
            (
                "80:99999999999999999999",
                r#"error parsing remote port '99999999999999999999': strconv.ParseUint: parsing "99999999999999999999": value out of range"#,
            ),
            (
                "abc:80",
                r#"error parsing local port 'abc': strconv.ParseUint: parsing "abc": invalid syntax"#,
            ),
            (
                "-1",
                r#"error parsing local port '-1': strconv.ParseUint: parsing "-1": invalid syntax"#,
            ),
            (
                "+80",
                r#"error parsing local port '+80': strconv.ParseUint: parsing "+80": invalid syntax"#,
            ),
            (
                "80:-1",
                r#"error parsing remote port '-1': strconv.ParseUint: parsing "-1": invalid syntax"#,
            ),
            (
                " 80:80",
                r#"error parsing local port ' 80': strconv.ParseUint: parsing " 80": invalid syntax"#,
            ),
            (
                "a\"\\\n:80",
                "error parsing local port 'a\"\\\n': strconv.ParseUint: parsing \"a\\\"\\\\\\n\": invalid syntax",
            ),
            (
                "http:",
                r#"error parsing local port 'http': strconv.ParseUint: parsing "http": invalid syntax"#,
            ),
        ];
        for (form, text) in table {
            let error = form.parse::<PortSpec>().unwrap_err();
            assert_eq!(error.to_string(), text, "{form}");
        }
    }

    #[test]
    fn every_number_is_itself() {
        for n in 1..=u16::MAX {
            let spec: PortSpec = n.to_string().parse().unwrap();
            assert_eq!(spec.local, fixed(n));
            assert_eq!(spec.remote, RemotePort::Number(port(n)));
        }
    }
}
