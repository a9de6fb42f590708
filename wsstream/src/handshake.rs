//! The opening handshake (RFC 6455 §4) as functions of heads that somebody else has read: nothing
//! here is HTTP but the fields that concern a WebSocket.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use std::fmt;

use crate::mask::NoEntropy;

/// Appended to the client's key (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The only version there is (RFC 6455 §4.1).
const VERSION: &[u8] = b"13";

/// A field of a head: name and value, the value without spaces around it.
pub type Field<'a> = (&'a str, &'a [u8]);

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key` (RFC 6455 §4.2.2). `None` if the key is not
/// base64 of 16 bytes.
///
/// ```
/// let accept = wsstream::accept_key("dGhlIHNhbXBsZSBub25jZQ==");
/// assert_eq!(accept.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
/// ```
#[must_use]
pub fn accept_key(key: &str) -> Option<String> {
    if STANDARD.decode(key).ok()?.len() != 16 {
        return None;
    }
    let digest = Sha1::new()
        .chain_update(key.as_bytes())
        .chain_update(GUID)
        .finalize();
    Some(STANDARD.encode(digest))
}

/// How a server reads a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rules {
    /// As RFC 6455 has it: `Connection` and `Upgrade` are lists of tokens, all lines of
    /// `Sec-WebSocket-Protocol` count, one key, an Origin only from the host that is asked.
    Strict,
    /// As deployed servers do (PROTOCOL.md 5.1): `upgrade` anywhere in any line of `Connection`, only the
    /// first line of the other fields, any Origin.
    Deployed,
}

/// Why a request gets no WebSocket. `Display` is for a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Not GET.
    Method,
    /// Below HTTP/1.1.
    HttpVersion,
    /// `Connection` does not say `upgrade`.
    Connection,
    /// `Upgrade` is not `websocket`.
    Upgrade,
    /// `Sec-WebSocket-Version` is not 13.
    Version,
    /// `Sec-WebSocket-Key` is not base64 of 16 bytes, or not there, or there twice.
    Key,
    /// A page of another origin asks, which a browser would let it (T31).
    Origin,
}

impl Refusal {
    /// The HTTP status to answer with. With 400 and 405 real servers name the version they speak:
    /// `Sec-WebSocket-Version: 13`.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Method => 405,
            Self::Origin => 403,
            _ => 400,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Method => "a WebSocket is opened with GET",
            Self::HttpVersion => "a WebSocket needs HTTP/1.1",
            Self::Connection => "Connection does not say upgrade",
            Self::Upgrade => "Upgrade is not websocket",
            Self::Version => "Sec-WebSocket-Version is not 13",
            Self::Key => "Sec-WebSocket-Key is not base64 of 16 bytes",
            Self::Origin => "the request comes from a page of another origin",
        })
    }
}

impl std::error::Error for Refusal {}

/// What a client offers: a request that may be answered with 101. `Debug` counts the subprotocols: among
/// them a browser may send its bearer token.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Offer {
    /// The value for `Sec-WebSocket-Accept`.
    pub accept: String,
    /// Subprotocols, in the client's order of preference. Names with anything but visible ASCII are left
    /// out.
    pub protocols: Vec<String>,
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer")
            .field("protocols", &self.protocols.len())
            .finish_non_exhaustive()
    }
}

impl Offer {
    /// Reads a request: method, whether it is HTTP/1.1, and its fields.
    ///
    /// # Errors
    /// See [`Refusal`]; of several, the first in the order of method, version of HTTP, `Connection`,
    /// `Upgrade`, `Origin`, version, key.
    pub fn read(
        method: &str,
        http11: bool,
        fields: &[Field<'_>],
        rules: Rules,
    ) -> Result<Self, Refusal> {
        if method != "GET" {
            return Err(Refusal::Method);
        }
        if !http11 {
            return Err(Refusal::HttpVersion);
        }
        let all = |name: &'static str| Lines { fields, name };
        let (upgrade, connection) = match rules {
            Rules::Strict => (
                all("upgrade")
                    .tokens()
                    .any(|t| t.eq_ignore_ascii_case(b"websocket")),
                all("connection")
                    .tokens()
                    .any(|t| t.eq_ignore_ascii_case(b"upgrade")),
            ),
            Rules::Deployed => (
                all("upgrade")
                    .first()
                    .is_some_and(|v| v.eq_ignore_ascii_case(b"websocket")),
                all("connection").iter().any(|v| contains(v, b"upgrade")),
            ),
        };
        if !connection {
            return Err(Refusal::Connection);
        }
        if !upgrade {
            return Err(Refusal::Upgrade);
        }
        if rules == Rules::Strict && !same_origin(fields) {
            return Err(Refusal::Origin);
        }
        let one = |name| {
            let mut lines = all(name).iter();
            let first = lines.next()?;
            (rules == Rules::Deployed || lines.next().is_none()).then_some(first)
        };
        if one("sec-websocket-version") != Some(VERSION) {
            return Err(Refusal::Version);
        }
        let accept = one("sec-websocket-key")
            .and_then(|key| accept_key(std::str::from_utf8(key).ok()?))
            .ok_or(Refusal::Key)?;
        let lines = match rules {
            Rules::Strict => usize::MAX,
            Rules::Deployed => 1,
        };
        let protocols = all("sec-websocket-protocol")
            .iter()
            .take(lines)
            .flat_map(tokens)
            .filter(|name| is_name(name))
            .filter_map(|name| std::str::from_utf8(name).ok().map(str::to_owned))
            .collect();
        Ok(Self { accept, protocols })
    }

    /// The fields of the answer that selects `protocol`, behind `HTTP/1.1 101 Switching Protocols`. Without one the field is left out: an empty one,
    /// as real servers send, breaks clients (PROTOCOL.md 4.1). `None`: it was not offered.
    #[must_use]
    pub fn accepted(&self, protocol: Option<&str>) -> Option<Vec<(&'static str, String)>> {
        let mut fields = vec![
            ("Upgrade", "websocket".to_owned()),
            ("Connection", "Upgrade".to_owned()),
            ("Sec-WebSocket-Accept", self.accept.clone()),
        ];
        if let Some(name) = protocol {
            let offered = self.protocols.iter().find(|p| *p == name)?;
            fields.push(("Sec-WebSocket-Protocol", offered.clone()));
        }
        Some(fields)
    }
}

/// Whether no foreign page asks (T31): without `Origin` it is no browser; with one it must be of the
/// host that is asked, or any page on the web could use a browser's credentials.
#[must_use]
pub fn same_origin(fields: &[Field<'_>]) -> bool {
    let lines = |name| Lines { fields, name };
    let mut origins = lines("origin").iter();
    let Some(origin) = origins.next() else {
        return true;
    };
    if origins.next().is_some() {
        return false;
    }
    let authority = [b"http://".as_slice(), b"https://"]
        .iter()
        .find_map(|scheme| {
            let (head, rest) = origin.split_at_checked(scheme.len())?;
            head.eq_ignore_ascii_case(scheme).then_some(rest)
        });
    let host = lines("host").first();
    match (authority, host) {
        (Some(authority), Some(host)) => !host.is_empty() && authority.eq_ignore_ascii_case(host),
        _ => false,
    }
}

/// Why an answer opens no WebSocket. `Display` is fit for a user.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerError {
    /// Another status than 101: an ordinary answer, with a body of its own.
    Status(u16),
    /// 101 in HTTP/1.0.
    HttpVersion,
    /// `Connection` does not say `upgrade`.
    Connection,
    /// `Upgrade` is not `websocket`.
    Upgrade,
    /// `Sec-WebSocket-Accept` is not the answer to the key that was sent.
    Accept,
    /// An extension that was not asked for.
    Extension,
    /// A subprotocol was offered and none, or another one, was selected: its name.
    Protocol(Option<String>),
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Status(status) => return write!(f, "the server answered {status}, not 101"),
            Self::Protocol(Some(name)) => {
                return write!(
                    f,
                    "the server selected the subprotocol {name:?}, which was not offered"
                );
            }
            Self::HttpVersion => "the server switches protocols in HTTP/1.0",
            Self::Connection => "the answer's Connection does not say upgrade",
            Self::Upgrade => "the answer's Upgrade is not websocket",
            Self::Accept => "the answer's Sec-WebSocket-Accept does not fit the key",
            Self::Extension => "the server selected an extension that was not offered",
            Self::Protocol(None) => "the server selected none of the subprotocols offered",
        };
        f.write_str(text)
    }
}

impl std::error::Error for AnswerError {}

/// A client's half of the handshake: one request and the answer to it.
#[derive(Clone)]
pub struct Opening {
    key: String,
    protocols: Vec<String>,
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening")
            .field("protocols", &self.protocols.len())
            .finish_non_exhaustive()
    }
}

/// Why there is no request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpeningError {
    /// The system has no random bytes.
    Entropy(NoEntropy),
    /// A subprotocol that is no name (visible ASCII without a comma): its index. It would be another field, or
    /// two names.
    Protocol(usize),
}

impl fmt::Display for OpeningError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entropy(error) => write!(f, "{error}"),
            Self::Protocol(n) => write!(f, "the subprotocol at index {n} is no name"),
        }
    }
}

impl std::error::Error for OpeningError {}

impl Opening {
    /// A request that offers `protocols`, with a key of its own.
    ///
    /// # Errors
    /// See [`OpeningError`].
    pub fn new(protocols: &[&str]) -> Result<Self, OpeningError> {
        let mut key = [0; 16];
        getrandom::fill(&mut key).map_err(|_| OpeningError::Entropy(NoEntropy))?;
        Self::with_key(key, protocols)
    }

    /// The same with a given key, for tests and replays.
    ///
    /// # Errors
    /// [`OpeningError::Protocol`].
    pub fn with_key(key: [u8; 16], protocols: &[&str]) -> Result<Self, OpeningError> {
        if let Some(at) = protocols.iter().position(|p| !is_name(p.as_bytes())) {
            return Err(OpeningError::Protocol(at));
        }
        Ok(Self {
            key: STANDARD.encode(key),
            protocols: protocols.iter().map(|&p| p.to_owned()).collect(),
        })
    }

    /// The fields that make a GET the request, but for `Host` and what names or proves the user. No extension
    /// is offered.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![
            ("Connection", "Upgrade".to_owned()),
            ("Upgrade", "websocket".to_owned()),
            ("Sec-WebSocket-Version", "13".to_owned()),
            ("Sec-WebSocket-Key", self.key.clone()),
        ];
        if !self.protocols.is_empty() {
            fields.push(("Sec-WebSocket-Protocol", self.protocols.join(", ")));
        }
        fields
    }

    /// Checks the answer (RFC 6455 §4.1): the subprotocol that was selected. If any was offered,
    /// one must be.
    ///
    /// # Errors
    /// See [`AnswerError`]. All of them are what kubectl takes for an upgrade failure
    /// (PROTOCOL.md 5.5).
    pub fn check(
        &self,
        status: u16,
        http11: bool,
        fields: &[Field<'_>],
    ) -> Result<Option<String>, AnswerError> {
        if status != 101 {
            return Err(AnswerError::Status(status));
        }
        if !http11 {
            return Err(AnswerError::HttpVersion);
        }
        let all = |name: &'static str| Lines { fields, name };
        let says = |name, token: &[u8]| all(name).tokens().any(|t| t.eq_ignore_ascii_case(token));
        if !says("upgrade", b"websocket") {
            return Err(AnswerError::Upgrade);
        }
        if !says("connection", b"upgrade") {
            return Err(AnswerError::Connection);
        }
        let mut accepts = all("sec-websocket-accept").iter();
        let accept = accepts.next();
        let expected = accept_key(&self.key);
        if accept.is_none()
            || accept != expected.as_deref().map(str::as_bytes)
            || accepts.next().is_some()
        {
            return Err(AnswerError::Accept);
        }
        if all("sec-websocket-extensions")
            .iter()
            .any(|v| !v.is_empty())
        {
            return Err(AnswerError::Extension);
        }
        let mut selected = all("sec-websocket-protocol").iter();
        match (selected.next(), selected.next()) {
            (None, _) if self.protocols.is_empty() => Ok(None),
            (None | Some([]), None) if !self.protocols.is_empty() => {
                Err(AnswerError::Protocol(None))
            }
            (Some([]), None) => Ok(None),
            (Some(name), None) => match self.protocols.iter().find(|p| p.as_bytes() == name) {
                Some(name) => Ok(Some(name.clone())),
                None => Err(AnswerError::Protocol(Some(shown(name)))),
            },
            (first, _) => Err(AnswerError::Protocol(first.map(shown))),
        }
    }
}

/// A foreign name, short.
fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name.get(..128).unwrap_or(name)).into_owned()
}

/// The lines of one field.
#[derive(Clone, Copy)]
struct Lines<'a> {
    fields: &'a [Field<'a>],
    name: &'static str,
}

impl<'a> Lines<'a> {
    fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        self.fields
            .iter()
            .filter(move |(name, _)| name.eq_ignore_ascii_case(self.name))
            .map(|(_, value)| *value)
    }

    fn first(self) -> Option<&'a [u8]> {
        self.iter().next()
    }

    fn tokens(self) -> impl Iterator<Item = &'a [u8]> {
        self.iter().flat_map(tokens)
    }
}

/// Whether it can stand in a list of subprotocols as one of them.
fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| b.is_ascii_graphic() && *b != b',')
}

/// A list of tokens separated by commas.
fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|b| *b == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

fn contains(value: &[u8], lower: &[u8]) -> bool {
    value
        .windows(lower.len().max(1))
        .any(|w| w.eq_ignore_ascii_case(lower))
}

#[cfg(test)]
mod tests;
