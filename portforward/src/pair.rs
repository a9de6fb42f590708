//! Joining the error and the data stream of one forwarded connection (PROTOCOL.md 3.1, 3.4), as a
//! server does. No IO and no clock.

use spdy::{HeaderBlock, StreamId};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Which stream of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamType {
    /// Carries failure text, from server to client.
    Error,
    /// Carries the bytes.
    Data,
}

impl StreamType {
    /// Value of the `streamtype` header.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Data => "data",
        }
    }
}

/// Headers that no pair can be made of; the stream is reset with CANCEL and no text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// `port` is missing.
    #[error("\"port\" header is required")]
    NoPort,
    /// `port` is not a decimal number of 1 to 65535.
    #[error("unable to parse {0:?} as a port")]
    BadPort(String),
    /// `streamtype` is missing.
    #[error("\"streamType\" header is required")]
    NoType,
    /// `streamtype` is neither `error` nor `data`.
    #[error("invalid stream type {0:?}")]
    BadType(String),
}

/// What a stream's header block says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Label {
    /// Which stream of the pair.
    pub kind: StreamType,
    /// The pod port.
    pub port: u16,
    /// What joins the pair.
    pub request: RequestId,
    /// The client keeps its direction open after the server's FIN and ends it by a FIN of its own.
    /// Others wait for the error stream's end, or reset (PROTOCOL.md 3.3).
    pub half_close: bool,
}

/// Header by which our clients say that they keep half-close; real servers ignore it
/// (PROTOCOL.md 3.1).
const HALF_CLOSE: &str = "half-close";

/// The request id of a pair, or what stands in for it.
pub type RequestId = Vec<u8>;

impl Label {
    /// Reads the headers of stream `id`. Without `requestid` the key is the error stream's own id,
    /// and for a data stream its id minus 2, as old clients rely on.
    ///
    /// # Errors
    /// See [`HeaderError`].
    pub fn read(id: StreamId, headers: &HeaderBlock) -> Result<Self, HeaderError> {
        let text =
            |value: &[u8]| String::from_utf8_lossy(value.get(..64).unwrap_or(value)).into_owned();
        let port = headers
            .get("port")
            .filter(|v| !v.is_empty())
            .ok_or(HeaderError::NoPort)?;
        let number = parse_port(port).ok_or_else(|| HeaderError::BadPort(text(port)))?;
        let kind = match headers.get("streamtype").filter(|v| !v.is_empty()) {
            None => return Err(HeaderError::NoType),
            Some(b"error") => StreamType::Error,
            Some(b"data") => StreamType::Data,
            Some(other) => return Err(HeaderError::BadType(text(other))),
        };
        let request = match headers.get("requestid") {
            Some(id) if !id.is_empty() => id.to_vec(),
            _ => match kind {
                StreamType::Error => id.to_string().into_bytes(),
                StreamType::Data => id.get().wrapping_sub(2).to_string().into_bytes(),
            },
        };
        Ok(Self {
            kind,
            port: number,
            request,
            half_close: headers.get(HALF_CLOSE) == Some(b"keep"),
        })
    }

    /// The header block of a client's stream.
    #[must_use]
    pub fn headers(kind: StreamType, port: u16, request: u64) -> HeaderBlock {
        let mut headers = HeaderBlock::new();
        headers.push("streamtype", kind.name());
        headers.push("port", port.to_string());
        headers.push("requestid", request.to_string());
        if kind == StreamType::Data {
            headers.push(HALF_CLOSE, "keep");
        }
        headers
    }
}

/// Digits only, leading zeros allowed, 1 to 65535.
fn parse_port(value: &[u8]) -> Option<u16> {
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let port: u16 = std::str::from_utf8(value).ok()?.parse().ok()?;
    (port > 0).then_some(port)
}

/// What became of an added stream.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Added<S> {
    /// Its partner has not come yet.
    Waiting,
    /// The pair is complete.
    Pair {
        /// The port both named.
        port: u16,
        /// Whether the data stream's client keeps half-close.
        half_close: bool,
        /// The data stream.
        data: S,
        /// The error stream.
        error: S,
    },
    /// A stream of this type waits already: the newcomer, to be reset.
    Duplicate(S),
    /// The two streams name different ports: both, to be reset (T10).
    PortMismatch(S, S),
    /// Too many streams wait: the newcomer, to be refused (B7).
    Full(S),
}

/// A stream whose partner did not come.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lone<S> {
    /// What its headers said.
    pub label: Label,
    /// The stream.
    pub stream: S,
}

/// Streams that wait for their partner.
#[derive(Debug)]
pub struct Pairing<S> {
    waiting: HashMap<RequestId, (Instant, Lone<S>)>,
    timeout: Duration,
    limit: usize,
}

impl<S> Pairing<S> {
    /// `timeout` for a partner to come (Kubernetes: 30 s), `limit` streams may wait (B7: 1,024).
    #[must_use]
    pub fn new(timeout: Duration, limit: usize) -> Self {
        Self {
            waiting: HashMap::new(),
            timeout,
            limit,
        }
    }

    /// Adds a stream. A completed pair is forgotten: its key may be used again.
    pub fn add(&mut self, now: Instant, label: Label, stream: S) -> Added<S> {
        match self.waiting.remove(&label.request) {
            Some((since, lone)) if lone.label.kind == label.kind => {
                self.waiting.insert(label.request, (since, lone));
                Added::Duplicate(stream)
            }
            Some((_, lone)) if lone.label.port != label.port => {
                Added::PortMismatch(lone.stream, stream)
            }
            Some((_, lone)) => {
                let half_close = label.half_close || lone.label.half_close;
                let (data, error) = match label.kind {
                    StreamType::Data => (stream, lone.stream),
                    StreamType::Error => (lone.stream, stream),
                };
                Added::Pair {
                    port: label.port,
                    half_close,
                    data,
                    error,
                }
            }
            None if self.waiting.len() >= self.limit => Added::Full(stream),
            None => {
                self.waiting
                    .insert(label.request.clone(), (now, Lone { label, stream }));
                Added::Waiting
            }
        }
    }

    /// When the next stream runs out of time.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let first = self.waiting.values().map(|(since, _)| *since).min()?;
        first.checked_add(self.timeout)
    }

    /// Streams out of time, the oldest first.
    pub fn expire(&mut self, now: Instant) -> Vec<Lone<S>> {
        let timeout = self.timeout;
        let late = |since: Instant| now.saturating_duration_since(since) >= timeout;
        let mut expired: Vec<_> = self
            .waiting
            .extract_if(|_, (since, _)| late(*since))
            .map(|(_, entry)| entry)
            .collect();
        expired.sort_by(|(a, lone), (b, other)| {
            (a, &lone.label.request).cmp(&(b, &other.label.request))
        });
        expired.into_iter().map(|(_, lone)| lone).collect()
    }

    /// Streams waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(pairs: &[(&str, &str)]) -> HeaderBlock {
        pairs.iter().copied().collect()
    }

    fn label(kind: StreamType, port: u16, request: &str) -> Label {
        Label {
            kind,
            port,
            request: request.into(),
            half_close: false,
        }
    }

    #[test]
    fn headers_are_read_as_real_servers_do() {
        let id = StreamId::new(5).unwrap();
        let port =
            |value: &str| Label::read(id, &block(&[("streamtype", "data"), ("port", value)]));
        for (value, want) in [("80", 80), ("0080", 80), ("65535", 65535), ("80\x0081", 80)] {
            assert_eq!(port(value).unwrap().port, want, "{value:?}");
        }
        for value in [
            "+80",
            " 80",
            "-1",
            "0",
            "65536",
            "http",
            "8 0",
            "99999999999",
        ] {
            assert!(
                matches!(port(value), Err(HeaderError::BadPort(_))),
                "{value:?}"
            );
        }
        assert_eq!(port(""), Err(HeaderError::NoPort));
        let kind = |pairs: &[(&str, &str)]| Label::read(id, &block(pairs)).map(|l| l.kind);
        assert_eq!(
            kind(&[("streamtype", "error"), ("port", "1")]),
            Ok(StreamType::Error)
        );
        assert_eq!(kind(&[("port", "1")]), Err(HeaderError::NoType));
        assert_eq!(
            kind(&[("streamtype", "Data"), ("port", "1")]),
            Err(HeaderError::BadType("Data".into()))
        );
        assert_eq!(kind(&[("streamtype", "data")]), Err(HeaderError::NoPort));
    }

    #[test]
    fn keys_without_request_id_follow_the_stream_ids() {
        let read = |id, kind| {
            Label::read(
                StreamId::new(id).unwrap(),
                &block(&[("streamtype", kind), ("port", "1")]),
            )
        };
        assert_eq!(read(1, "error").unwrap().request, b"1");
        assert_eq!(read(3, "data").unwrap().request, b"1");
    }

    #[test]
    fn pairs_in_both_orders_and_reused_keys() {
        let now = Instant::now();
        let mut pairing = Pairing::new(Duration::from_secs(30), 10);
        for (first, second) in [
            (StreamType::Error, StreamType::Data),
            (StreamType::Data, StreamType::Error),
        ] {
            assert_eq!(
                pairing.add(now, label(first, 80, "7"), first),
                Added::Waiting
            );
            assert_eq!(
                pairing.add(now, label(first, 80, "7"), first),
                Added::Duplicate(first)
            );
            let pair = Added::Pair {
                port: 80,
                half_close: false,
                data: StreamType::Data,
                error: StreamType::Error,
            };
            assert_eq!(pairing.add(now, label(second, 80, "7"), second), pair);
            assert!(pairing.is_empty());
        }
        pairing.add(now, label(StreamType::Error, 80, "7"), StreamType::Error);
        let mismatch = pairing.add(now, label(StreamType::Data, 81, "7"), StreamType::Data);
        assert_eq!(
            mismatch,
            Added::PortMismatch(StreamType::Error, StreamType::Data)
        );
        assert!(pairing.is_empty());
    }

    #[test]
    fn limit_and_time() {
        let start = Instant::now();
        let mut pairing = Pairing::new(Duration::from_secs(30), 2);
        let add = |pairing: &mut Pairing<u8>, seconds, key: &str| {
            pairing.add(
                start + Duration::from_secs(seconds),
                label(StreamType::Error, 1, key),
                0,
            )
        };
        assert_eq!(add(&mut pairing, 0, "a"), Added::Waiting);
        assert_eq!(add(&mut pairing, 5, "b"), Added::Waiting);
        assert_eq!(add(&mut pairing, 6, "c"), Added::Full(0));
        assert_eq!(
            pairing.next_deadline(),
            Some(start + Duration::from_secs(30))
        );
        assert!(pairing.expire(start + Duration::from_secs(29)).is_empty());
        let late = pairing.expire(start + Duration::from_secs(30));
        assert_eq!(late.len(), 1);
        assert_eq!(late[0].label.request, b"a");
        assert_eq!(pairing.len(), 1);
        assert_eq!(
            add(&mut pairing, 31, "a"),
            Added::Waiting,
            "a late partner begins a new pair"
        );
    }
}
