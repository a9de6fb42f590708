//! Client side of the HTTP/1.1 upgrade, to SPDY/3.1 (PROTOCOL.md 2.1, 2.2, 2.4) or to a WebSocket (4.1,
//! 5.1, 5.5).

use crate::escape;
use crate::http1::{
    Body, BodyEnd, BodyLimits, EncodeError, Fields, HeadLimits, ReadError, RequestHead,
    ResponseHead, Version, read_body, read_response_head,
};
use crate::record::{Recorder, Tap};
use crate::status::Status;
use crate::transcript::{Direction, Head};
use bytes::BytesMut;
use std::fmt;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout_at;
use wsstream::{AnswerError, Opening};

/// The protocol version spoken on the streams, the only one there is.
pub const PORT_FORWARD_V1: &str = "portforward.k8s.io";
/// The `Upgrade` token.
pub const SPDY_31: &str = "SPDY/3.1";
/// The subprotocol of SPDY inside a WebSocket.
pub const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// The subprotocol with a WebSocket for each connection.
pub const CHANNEL_V4: &str = "v4.channel.k8s.io";
/// Interim answers (1xx other than 101) that are passed over.
const INTERIM: usize = 5;
/// Time for the body of an answer that is no WebSocket.
const FIRST_BODY: Duration = Duration::from_secs(3);
/// Characters of a refusal that are shown; a body may be 64 KiB long (B22).
const SHOWN: usize = 4096;

/// What to ask, and of whom. `Debug` shows names only: values may be credentials (T36).
#[derive(Clone)]
#[allow(
    clippy::exhaustive_structs,
    reason = "three plain facts that callers put together; what else a request says is a field"
)]
pub struct UpgradeRequest {
    /// Path and query, such as `/api/v1/namespaces/default/pods/web/portforward`, with the path of
    /// the server's URL in front.
    pub path: String,
    /// Value of `Host`.
    pub host: String,
    /// Further fields: authorization, impersonation, user agent.
    pub fields: Vec<(String, Vec<u8>)>,
}

impl UpgradeRequest {
    /// A request without further fields.
    #[must_use]
    pub fn new(path: impl Into<String>, host: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            host: host.into(),
            fields: Vec::new(),
        }
    }

    /// The same with one field more.
    #[must_use]
    pub fn with_field(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }
}

impl fmt::Debug for UpgradeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.split('?').next().unwrap_or_default();
        let names: Vec<&str> = self.fields.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("UpgradeRequest")
            .field("path", &path)
            .field("host", &self.host)
            .field("fields", &names)
            .finish_non_exhaustive()
    }
}

/// A connection that now speaks SPDY.
#[allow(
    clippy::exhaustive_structs,
    reason = "taken apart by whoever runs the session"
)]
pub struct Upgraded<T> {
    /// The connection.
    pub io: T,
    /// Bytes that came behind the 101: the first of the session.
    pub early: BytesMut,
}

impl<T> fmt::Debug for Upgraded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgraded")
            .field("early", &self.early.len())
            .finish_non_exhaustive()
    }
}

/// Why there is no session. Texts of the other side are escaped and bounded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// A well-formed answer other than 101. `message` is the text of a Status, else the body, else
    /// empty; `reason` is the Status's word for programs, else the reason phrase.
    #[error("unable to upgrade connection: {}", if message.is_empty() { "empty server response" } else { message })]
    Refused {
        /// The HTTP status.
        status: u16,
        /// One word, or the reason phrase.
        reason: String,
        /// The text for people.
        message: String,
    },
    /// The answer is no head, or does not agree to what was asked.
    #[error("{0}")]
    BadResponse(String),
    /// A 101 that does not open the WebSocket that was asked for.
    #[error("unable to upgrade: {0}")]
    NotWebSocket(AnswerError),
    /// The request must not be sent so: a field that is ours to set, or a value that would break
    /// out of its line.
    #[error("the upgrade request is invalid: {0}")]
    BadRequest(String),
    /// No head of an answer in time.
    #[error("no answer within {0} s")]
    Timeout(u64),
    /// The connection ended without an answer.
    #[error("connection closed before an answer")]
    Closed,
    /// The connection failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl UpgradeError {
    /// Whether a client that asked for a tunnel is to ask for SPDY instead, on a new connection:
    /// there was an answer, and it was not the 101 that was asked for. kubectl's rule (PROTOCOL.md
    /// 5.5).
    #[must_use]
    pub const fn allows_fallback(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::NotWebSocket(_))
    }
}

impl From<EncodeError> for UpgradeError {
    fn from(error: EncodeError) -> Self {
        Self::BadRequest(error.to_string())
    }
}

/// Asks for SPDY/3.1 and checks the answer as PROTOCOL.md 2.2 says, with the limits of B21 and
/// B22. A redirect is a refusal like any other: credentials go to no second place (T14).
///
/// # Errors
/// See [`UpgradeError`]; the connection is closed.
///
/// # Cancel safety
/// Not cancel safe: the connection is lost with the future, and whether the server saw the request
/// is unknown.
pub async fn spdy<T: AsyncRead + AsyncWrite + Unpin>(
    io: T,
    request: &UpgradeRequest,
) -> Result<Upgraded<T>, UpgradeError> {
    spdy_within(io, request, &HeadLimits::default(), &BodyLimits::default()).await
}

/// As [`spdy()`], with limits of the caller's.
///
/// # Errors
/// As [`spdy()`].
///
/// # Cancel safety
/// As [`spdy()`].
pub async fn spdy_within<T: AsyncRead + AsyncWrite + Unpin>(
    io: T,
    request: &UpgradeRequest,
    limits: &HeadLimits,
    body: &BodyLimits,
) -> Result<Upgraded<T>, UpgradeError> {
    let (upgraded, _) = negotiate(io, request, &Ask::Spdy, (limits, body), None).await?;
    Ok(upgraded)
}

/// Asks for a WebSocket with one of `protocols`, in order of preference, and checks the answer: the
/// subprotocol that was selected.
///
/// # Errors
/// See [`UpgradeError`]; the connection is closed.
///
/// # Cancel safety
/// As [`spdy()`].
pub async fn websocket<T: AsyncRead + AsyncWrite + Unpin>(
    io: T,
    request: &UpgradeRequest,
    protocols: &[&str],
    recorder: Option<&Recorder>,
) -> Result<(Upgraded<T>, String), UpgradeError> {
    let opening = Opening::new(protocols).map_err(std::io::Error::other)?;
    let (head, mut body) = (HeadLimits::default(), BodyLimits::default());
    // Another attempt may follow, and will hear the same.
    body.time = FIRST_BODY;
    negotiate(
        io,
        request,
        &Ask::WebSocket(opening),
        (&head, &body),
        recorder,
    )
    .await
}

/// What is asked for.
enum Ask {
    Spdy,
    WebSocket(Opening),
}

/// As [`spdy()`], and all of it is recorded: the heads as far as they may be, then the session.
///
/// # Errors
/// As [`spdy()`].
///
/// # Cancel safety
/// As [`spdy()`].
pub async fn spdy_recorded<T: AsyncRead + AsyncWrite + Unpin>(
    io: T,
    request: &UpgradeRequest,
    recorder: Recorder,
) -> Result<Upgraded<Tap<T>>, UpgradeError> {
    let (head, body) = (HeadLimits::default(), BodyLimits::default());
    let (Upgraded { io, early }, _) =
        negotiate(io, request, &Ask::Spdy, (&head, &body), Some(&recorder)).await?;
    Ok(Upgraded {
        io: Tap::client(io, recorder, &early),
        early,
    })
}

async fn negotiate<T: AsyncRead + AsyncWrite + Unpin>(
    mut io: T,
    request: &UpgradeRequest,
    ask: &Ask,
    (limits, body): (&HeadLimits, &BodyLimits),
    recorder: Option<&Recorder>,
) -> Result<(Upgraded<T>, String), UpgradeError> {
    let request = request_head(request, ask)?;
    let head = request.encode()?;
    let deadline = limits.deadline();
    let late = || UpgradeError::Timeout(limits.time.as_secs());
    let send = async {
        io.write_all(&head).await?;
        io.flush().await
    };
    timeout_at(deadline, send).await.map_err(|_| late())??;
    if let Some(recorder) = recorder {
        recorder.head(Direction::ClientToServer, Head::of_request(&request));
    }

    let mut early = BytesMut::new();
    let mut interim = 0usize;
    let answer = loop {
        let answer = read_response_head(&mut io, &mut early, limits, deadline)
            .await
            .map_err(|error| match error {
                ReadError::Closed => UpgradeError::Closed,
                ReadError::Timeout => late(),
                ReadError::Io(error) => error.into(),
                error @ ReadError::Head(_) => {
                    UpgradeError::BadResponse(format!("invalid answer to the upgrade: {error}"))
                }
            })?;
        if let Some(recorder) = recorder {
            recorder.head(Direction::ServerToClient, Head::of_response(&answer));
        }
        match answer.status {
            100 | 102..=199 if interim < INTERIM => {
                interim = interim.saturating_add(1);
            }
            100 | 102..=199 => {
                return Err(UpgradeError::BadResponse(
                    "too many interim answers to the upgrade".to_owned(),
                ));
            }
            _ => break answer,
        }
    };
    if answer.status == 101 {
        let selected = match ask {
            Ask::Spdy => {
                check_accepted(&answer)?;
                PORT_FORWARD_V1.to_owned()
            }
            Ask::WebSocket(opening) => check_websocket(&answer, opening)?,
        };
        return Ok((Upgraded { io, early }, selected));
    }
    if matches!(answer.status, 300..=399) {
        let message = format!("redirects are not followed ({})", answer.status);
        return Err(UpgradeError::Refused {
            status: answer.status,
            reason: escape::line(&answer.reason),
            message,
        });
    }
    let body = read_body(&mut io, &mut early, answer.framing(), body).await;
    Err(refused(&answer, &body))
}

/// The request of PROTOCOL.md 2.1, or of 4.1 and 5.1.
fn request_head(request: &UpgradeRequest, ask: &Ask) -> Result<RequestHead, UpgradeError> {
    const OURS: [&str; 6] = [
        "host",
        "connection",
        "upgrade",
        "content-length",
        "transfer-encoding",
        "x-stream-protocol-version",
    ];
    let websocket = matches!(ask, Ask::WebSocket(_));
    let mut fields = Fields::new();
    fields.push("Host", request.host.clone())?;
    if matches!(ask, Ask::Spdy) {
        fields.push_static("Content-Length", "0");
    }
    for (name, value) in &request.fields {
        let lower = name.to_ascii_lowercase();
        if OURS.contains(&&*lower) || (websocket && lower.starts_with("sec-websocket-")) {
            return Err(UpgradeError::BadRequest(format!(
                "field {name} is not the caller's to set"
            )));
        }
        fields.push(name, value.clone())?;
    }
    let opening = match ask {
        Ask::Spdy => {
            fields.push_static("Connection", "Upgrade");
            fields.push_static("Upgrade", SPDY_31);
            fields.push_static("X-Stream-Protocol-Version", PORT_FORWARD_V1);
            return Ok(RequestHead::new("POST", request.path.clone(), fields));
        }
        Ask::WebSocket(opening) => opening,
    };
    for (name, value) in opening.fields() {
        fields.push(name, value)?;
    }
    Ok(RequestHead::new("GET", request.path.clone(), fields))
}

fn check_websocket(answer: &ResponseHead, opening: &Opening) -> Result<String, UpgradeError> {
    if answer.announces_body() {
        // Not the 101 that was asked for: SPDY may be tried.
        return Err(UpgradeError::Refused {
            status: answer.status,
            reason: escape::line(&answer.reason),
            message: "the server's answer to a WebSocket announces a body".to_owned(),
        });
    }
    let http11 = answer.version == Version::Http11;
    let selected = opening.check(answer.status, http11, &answer.fields.view());
    Ok(selected
        .map_err(UpgradeError::NotWebSocket)?
        .unwrap_or_default())
}

/// A 101 must agree to what was asked, in every part.
fn check_accepted(answer: &ResponseHead) -> Result<(), UpgradeError> {
    let bad = |text: String| Err(UpgradeError::BadResponse(text));
    if answer.version != Version::Http11 {
        return bad("the server switches protocols in HTTP/1.0".to_owned());
    }
    for (name, needed) in [("Connection", "upgrade"), ("Upgrade", "spdy/3.1")] {
        if !answer.fields.first_contains(name, needed) {
            let got = answer
                .fields
                .get(name)
                .map_or_else(|| "nothing".to_owned(), |v| quote(v));
            return bad(format!(
                "unable to upgrade: the answer's {name} should contain \"{needed}\", the server sent {got}"
            ));
        }
    }
    check_no_body(answer)?;
    let mut versions = answer.fields.all("X-Stream-Protocol-Version");
    let first = versions.next().map_or(&b""[..], |v| v);
    if first != PORT_FORWARD_V1.as_bytes() || versions.any(|v| v != PORT_FORWARD_V1) {
        return bad(format!(
            "unable to negotiate protocol: client supports \"{PORT_FORWARD_V1}\", server returned {}",
            quote(first)
        ));
    }
    Ok(())
}

fn check_no_body(answer: &ResponseHead) -> Result<(), UpgradeError> {
    if answer.announces_body() {
        let text = "the server switches protocols and announces a body";
        return Err(UpgradeError::BadResponse(text.to_owned()));
    }
    Ok(())
}

/// A short, escaped quotation of a field value.
fn quote(value: &[u8]) -> String {
    let (shown, more) = match value.get(..128) {
        Some(shown) if value.len() > 128 => (shown, "..."),
        _ => (value, ""),
    };
    format!("\"{}{more}\"", escape::bytes(shown).replace('\n', "\\n"))
}

/// PROTOCOL.md 2.4.
fn refused(answer: &ResponseHead, body: &Body) -> UpgradeError {
    let status = answer.status;
    let phrase = escape::line(&answer.reason);
    if !matches!(body.end, BodyEnd::Complete | BodyEnd::TooLong) {
        let message = "unable to read error from server response".to_owned();
        return UpgradeError::Refused {
            status,
            reason: phrase,
            message,
        };
    }
    match Status::parse(&body.bytes) {
        Ok(object) => UpgradeError::Refused {
            status,
            reason: if object.reason.is_empty() {
                phrase
            } else {
                shorten(&escape::line(&object.reason))
            },
            message: shorten(&escape::text(&object.message)),
        },
        Err(_) => UpgradeError::Refused {
            status,
            reason: phrase,
            message: shorten(&escape::bytes(body.bytes.trim_ascii())),
        },
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
