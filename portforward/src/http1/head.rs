//! Request and response heads: parsed over httparse, then checked as a whole.

use super::HeadLimits;
use super::error::{EncodeError, HeadError, HeadErrorKind as Kind};
use super::fields::Fields;
use super::scan::{Role, Scanner};
use super::{Framing, encode, target};
use bytes::{Bytes, BytesMut};
use std::fmt;

/// The head of a request. Always HTTP/1.1 with a path for its target and one Host.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestHead {
    /// The method, as it was written.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The header fields.
    pub fields: Fields,
}

impl fmt::Debug for RequestHead {
    /// Method, path and field names; no query and no values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", &self.method)
            .field("path", &self.path())
            .field("fields", &self.fields)
            .finish_non_exhaustive()
    }
}

impl RequestHead {
    /// A head to be sent.
    #[must_use]
    pub fn new(method: impl Into<String>, target: impl Into<String>, fields: Fields) -> Self {
        Self {
            method: method.into(),
            target: target.into(),
            fields,
        }
    }

    /// The target up to the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target
            .split_once('?')
            .map_or(self.target.as_str(), |(path, _)| path)
    }

    /// The query, without `?`; empty when there is none.
    #[must_use]
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// The length of the body: the parser has refused everything else.
    #[must_use]
    pub fn content_length(&self) -> u64 {
        self.fields
            .get_str("content-length")
            .and_then(|v| v.parse().ok())
            .unwrap_or(0)
    }

    /// The bytes to send.
    ///
    /// # Errors
    /// Something in it would not stay in its place on the wire.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        encode::request(self)
    }

    /// Cuts a head out of `buf` when it is complete; what is behind it stays. `scanner` keeps the
    /// progress and must see every state of the same `buf`.
    pub(super) fn cut(
        scanner: &mut Scanner,
        buf: &mut BytesMut,
    ) -> Result<Option<Self>, HeadError> {
        let Some(len) = scanner.advance(buf)? else {
            return Ok(None);
        };
        let head = buf.split_to(len).freeze();
        let mut slots = vec![httparse::EMPTY_HEADER; scanner.field_capacity()];
        let mut parsed = httparse::Request::new(&mut slots);
        check_request_line(&head)?;
        match parsed.parse(&head) {
            Ok(httparse::Status::Complete(n)) if n == len => {}
            _ => return Err(HeadError::new(Kind::Malformed, 0)),
        }
        let fields = collect(parsed.headers, &head);
        check_request_fields(&fields, scanner)?;
        Ok(Some(Self {
            method: parsed.method.unwrap_or_default().to_owned(),
            target: parsed.path.unwrap_or_default().to_owned(),
            fields,
        }))
    }

    /// Parses a head that `buf` holds from its first byte; `None` when it is not complete.
    ///
    /// # Errors
    /// The head is refused; the connection must not be used further.
    pub fn parse(buf: &mut BytesMut, limits: &HeadLimits) -> Result<Option<Self>, HeadError> {
        Self::cut(&mut Scanner::new(Role::Request, *limits), buf)
    }
}

/// `METHOD SP TARGET SP HTTP/1.1`.
fn check_request_line(head: &[u8]) -> Result<(), HeadError> {
    let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
    let mut parts = line.split(|b| *b == b' ');
    let (Some(method), Some(path), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(HeadError::new(Kind::RequestLine, 0));
    };
    if !super::fields::is_token(method) {
        return Err(HeadError::new(Kind::RequestLine, 0));
    }
    let path_at = method.len().saturating_add(1);
    let version_at = path_at.saturating_add(path.len()).saturating_add(1);
    if version != b"HTTP/1.1" {
        let kind = if is_version(version) {
            Kind::Version
        } else {
            Kind::RequestLine
        };
        return Err(HeadError::new(kind, version_at));
    }
    target::check(path)
        .map_err(|(fault, at)| HeadError::new(Kind::Target(fault), path_at.saturating_add(at)))
}

/// `HTTP/` and something that may be a version, known or not.
fn is_version(version: &[u8]) -> bool {
    matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit())
}

fn check_request_fields(fields: &Fields, scanner: &Scanner) -> Result<(), HeadError> {
    let mut host = false;
    let mut length = false;
    let mut encoding = None;
    for (i, field) in fields.iter().enumerate() {
        let fault = |kind| Err(HeadError::new(kind, scanner.field_offset(i)));
        let name = field.name();
        if name.eq_ignore_ascii_case("host") {
            if host {
                return fault(Kind::SecondHost);
            }
            if !is_host(field.value()) {
                return fault(Kind::HostValue);
            }
            host = true;
        } else if name.eq_ignore_ascii_case("content-length") {
            if length {
                return fault(Kind::SecondLength);
            }
            if encoding.is_some() {
                return fault(Kind::LengthAndEncoding);
            }
            if parse_length(field.value()).is_none() {
                return fault(Kind::LengthValue);
            }
            length = true;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if length {
                return fault(Kind::LengthAndEncoding);
            }
            encoding.get_or_insert(i);
        }
    }
    if let Some(i) = encoding {
        return Err(HeadError::new(Kind::Encoding, scanner.field_offset(i)));
    }
    if host {
        Ok(())
    } else {
        Err(HeadError::new(Kind::NoHost, 0))
    }
}

/// What can be the host and port of a URL.
fn is_host(value: &[u8]) -> bool {
    !value.is_empty()
        && value.iter().all(|b| {
            b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':' | b'[' | b']' | b'%')
        })
}

/// Digits only: no sign, no list, and below 2^63, as Go has it: what one reader takes and another refuses is
/// where a connection can be cut in two ways.
fn parse_length(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let length: u64 = text.parse().ok().filter(|_| digits)?;
    i64::try_from(length).is_ok().then_some(length)
}

fn collect(headers: &[httparse::Header<'_>], head: &Bytes) -> Fields {
    let mut fields = Fields::new();
    for header in headers {
        // A slice of the head, not a copy; an empty one is no part of it.
        let value = if header.value.is_empty() {
            Bytes::new()
        } else {
            head.slice_ref(header.value)
        };
        fields.push_parsed(header.name, &value);
    }
    fields
}

/// HTTP version of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Version {
    /// 1.0, as some proxies still answer; never with a 101.
    Http10,
    /// 1.1.
    Http11,
}

/// The head of a response.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResponseHead {
    /// Its version.
    pub version: Version,
    /// The status code, 100 to 599.
    pub status: u16,
    /// The reason phrase; may be empty. Not escaped.
    pub reason: String,
    /// The header fields.
    pub fields: Fields,
    raw: Bytes,
}

impl fmt::Debug for ResponseHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseHead")
            .field("version", &self.version)
            .field("status", &self.status)
            .field("reason", &self.reason)
            .field("fields", &self.fields)
            .finish_non_exhaustive()
    }
}

impl ResponseHead {
    /// Whether a body would follow, which a 101 does not have: one that announces it was not understood
    /// alike by all on the way.
    pub(crate) fn announces_body(&self) -> bool {
        let length = self.fields.get("content-length");
        self.fields.has("transfer-encoding") || length.is_some_and(|v| v != "0")
    }

    /// A head to be sent, with the usual reason phrase.
    #[must_use]
    pub fn new(status: u16, fields: Fields) -> Self {
        let reason = encode::reason_phrase(status).to_owned();
        Self {
            version: Version::Http11,
            status,
            reason,
            fields,
            raw: Bytes::new(),
        }
    }

    /// The bytes of the head as they were received, its empty line included; empty for a head that
    /// was made here.
    #[must_use]
    pub const fn as_received(&self) -> &Bytes {
        &self.raw
    }

    /// How the body of an answer to anything but HEAD is delimited.
    #[must_use]
    pub fn framing(&self) -> Framing {
        if matches!(self.status, 100..=199 | 204 | 304) {
            return Framing::Length(0);
        }
        if self.fields.has("transfer-encoding") {
            return Framing::Chunked;
        }
        self.fields
            .get("content-length")
            .and_then(|v| parse_length(v))
            .map_or(Framing::UntilClose, Framing::Length)
    }

    /// The bytes to send.
    ///
    /// # Errors
    /// Something in it would not stay in its place on the wire.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        encode::response(self)
    }

    /// As [`RequestHead::cut`].
    pub(super) fn cut(
        scanner: &mut Scanner,
        buf: &mut BytesMut,
    ) -> Result<Option<Self>, HeadError> {
        let Some(len) = scanner.advance(buf)? else {
            return Ok(None);
        };
        let head = buf.split_to(len).freeze();
        let mut slots = vec![httparse::EMPTY_HEADER; scanner.field_capacity()];
        let mut parsed = httparse::Response::new(&mut slots);
        let (version, status) = check_status_line(&head)?;
        match parsed.parse(&head) {
            Ok(httparse::Status::Complete(n)) if n == len => {}
            _ => return Err(HeadError::new(Kind::Malformed, 0)),
        }
        let fields = collect(parsed.headers, &head);
        check_response_fields(&fields, scanner)?;
        let reason = parsed.reason.unwrap_or_default().to_owned();
        Ok(Some(Self {
            version,
            status,
            reason,
            fields,
            raw: head,
        }))
    }

    /// Parses a head that `buf` holds from its first byte; `None` when it is not complete.
    ///
    /// # Errors
    /// The head is refused; the connection must not be used further.
    pub fn parse(buf: &mut BytesMut, limits: &HeadLimits) -> Result<Option<Self>, HeadError> {
        Self::cut(&mut Scanner::new(Role::Response, *limits), buf)
    }
}

/// `HTTP/1.x SP CODE [SP REASON]`.
fn check_status_line(head: &[u8]) -> Result<(Version, u16), HeadError> {
    let line = head
        .split(|b| matches!(b, b'\r' | b'\n'))
        .next()
        .unwrap_or_default();
    let (version, rest) = line
        .split_at_checked(8)
        .ok_or(HeadError::new(Kind::StatusLine, 0))?;
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        other if is_version(other) => return Err(HeadError::new(Kind::Version, 0)),
        _ => return Err(HeadError::new(Kind::StatusLine, 0)),
    };
    let code = match rest {
        [b' ', code @ ..] if code.len() == 3 => code,
        [b' ', a, b, c, b' ', ..] => &[*a, *b, *c],
        _ => return Err(HeadError::new(Kind::StatusLine, 8)),
    };
    match parse_length(code).and_then(|n| u16::try_from(n).ok()) {
        Some(status @ 100..=599) => Ok((version, status)),
        _ => Err(HeadError::new(Kind::StatusLine, 9)),
    }
}

fn check_response_fields(fields: &Fields, scanner: &Scanner) -> Result<(), HeadError> {
    let mut length = false;
    let mut encoding = false;
    for (i, field) in fields.iter().enumerate() {
        let fault = |kind| Err(HeadError::new(kind, scanner.field_offset(i)));
        let name = field.name();
        if name.eq_ignore_ascii_case("content-length") {
            match (length, encoding) {
                (true, _) => return fault(Kind::SecondLength),
                (_, true) => return fault(Kind::LengthAndEncoding),
                _ => {}
            }
            if parse_length(field.value()).is_none() {
                return fault(Kind::LengthValue);
            }
            length = true;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if length {
                return fault(Kind::LengthAndEncoding);
            }
            if encoding || !field.value().eq_ignore_ascii_case(b"chunked") {
                return fault(Kind::Encoding);
            }
            encoding = true;
        }
    }
    Ok(())
}
