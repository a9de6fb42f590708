//! HTTP/1.1 requests as the judge writes them, and answers.

use super::connection::{Connection, Filled};
use super::log::{Layer, Log, Side};
use crate::case::Stop;
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

/// Largest head of an answer that is read.
const HEAD: usize = 64 << 10;
/// Largest body of an answer that is read.
const BODY: usize = 1 << 20;
/// How soon behind a refusal a server ends the connection, if it does.
const SOON: Duration = Duration::from_millis(20);
/// The same where it says that it will.
const ANNOUNCED: Duration = Duration::from_secs(1);

/// A request: a head as it will stand on the wire.
#[derive(Debug, Clone)]
pub struct Request {
    /// `POST`
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Fields in order, without those of identity.
    pub fields: Vec<(String, String)>,
    /// Bytes behind the head, in the same write.
    pub behind: Vec<u8>,
}

impl Request {
    /// Without any field.
    pub fn new(method: impl Into<String>, target: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            target: target.into(),
            fields: Vec::new(),
            behind: Vec::new(),
        }
    }

    /// Adds a field.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes all fields of this name away.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.fields
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    /// Takes all fields of this name away and adds one.
    #[must_use]
    pub fn set(self, name: &str, value: &str) -> Self {
        self.without(name).with(name, value)
    }

    /// The same with `{path}` in the target replaced, and with `Host` unless it is there.
    #[must_use]
    pub fn at(&self, path: &str, host: &str) -> Self {
        let mut request = self.clone();
        // The path that was given out may have a query of its own.
        let (bare, query) = path
            .split_once('?')
            .map_or((path, None), |(bare, query)| (bare, Some(query)));
        let exec = bare.strip_suffix("/portforward").unwrap_or(bare);
        for (name, bare) in [
            ("{path}", bare.to_owned()),
            ("{exec}", format!("{exec}/exec")),
        ] {
            if let Some(query) = query {
                let joined = format!("{bare}?{query}");
                request.target = request
                    .target
                    .replace(&format!("{name}?"), &format!("{joined}&"));
                request.target = request.target.replace(name, &joined);
            } else {
                request.target = request.target.replace(name, &bare);
            }
        }
        let is_host = |(name, _): &(String, String)| name.eq_ignore_ascii_case("host");
        if !request.fields.iter().any(is_host) {
            let host = ("Host".to_owned(), host.to_owned());
            request.fields.insert(0, host);
        }
        request
    }

    /// Ports that its query names; none if one of them is no port.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        let (_, query) = self.target.split_once('?').unwrap_or_default();
        let named = query.split('&').filter_map(|part| part.split_once('='));
        let values = named.filter(|(name, _)| matches!(*name, "port" | "ports"));
        let ports = values.flat_map(|(_, list)| list.split(','));
        let ports: Result<_, _> = ports.map(str::parse).collect();
        ports.unwrap_or_default()
    }

    /// The head, with the fields of identity behind the others.
    pub(crate) fn bytes(&self, identity: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.fields {
            bytes.extend(format!("{name}: {value}\r\n").into_bytes());
        }
        for (name, value) in identity {
            bytes.extend(name.as_bytes());
            bytes.extend(b": ");
            bytes.extend(value);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"\r\n");
        bytes.extend(&self.behind);
        bytes
    }
}

/// The head of an answer, and its body if it was read.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// 101
    pub status: u16,
    /// The text behind the status.
    pub reason: String,
    /// Fields in order.
    pub fields: Vec<(String, String)>,
    /// Body, if the answer is no 101.
    pub body: Vec<u8>,
    /// The first 200 characters of the body, secrets hidden before they were cut.
    start: String,
}

impl Answer {
    /// The first field of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut all = self.all(name);
        all.next()
    }

    /// All fields of this name.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let name = name.to_ascii_lowercase();
        let fields = self.fields.iter();
        fields
            .filter(move |(known, _)| known.to_ascii_lowercase() == name)
            .map(|(_, v)| v.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as a Status object, if it is one.
    #[must_use]
    pub fn status_object(&self) -> Option<serde_json::Value> {
        let value: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        (value.get("kind")?.as_str()? == "Status").then_some(value)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.reason)?;
        if !self.start.is_empty() {
            write!(f, " with body {:?}", self.start)?;
        }
        Ok(())
    }
}

impl Connection {
    /// Sends a head as it is.
    pub async fn send_head(&mut self, request: &Request, bytes: &[u8]) -> Result<(), Stop> {
        let text = format!("{} {}", request.method, request.target);
        self.item(Side::Judge, Layer::Http, text, bytes);
        self.write(bytes).await
    }

    /// Reads the head of an answer, and the body unless it is a 101. Other answers of 1xx are passed over.
    ///
    /// # Errors
    /// A departure if there is none within `patience`, or its body is malformed; INCONCLUSIVE if its body is larger than
    /// what is read.
    pub async fn answer(&mut self, patience: Duration) -> Result<Answer, Stop> {
        let deadline = Instant::now() + patience;
        loop {
            let mut answer = self.head(patience, deadline).await?;
            match answer.status {
                101 => return Ok(answer),
                // More come, and the answer behind them.
                100..200 => {}
                _ => {
                    self.body(&mut answer, deadline).await?;
                    let text = self.log.blot(&answer.text());
                    answer.start = text.trim().chars().take(200).collect();
                    self.see_end(&answer, patience).await;
                    return Ok(answer);
                }
            }
        }
    }

    /// Most cases ask nothing behind a refusal, and so would not see how the connection ended.
    async fn see_end(&mut self, answer: &Answer, patience: Duration) {
        let mut tokens = answer.all("connection").flat_map(|list| list.split(','));
        let limit = if tokens.any(|token| token.trim().eq_ignore_ascii_case("close")) {
            ANNOUNCED.min(patience)
        } else {
            SOON
        };
        if self.buffer.is_empty() {
            self.fill(Instant::now() + limit).await;
        }
    }

    async fn head(&mut self, patience: Duration, deadline: Instant) -> Result<Answer, Stop> {
        let none = |actual: String| Stop::departure("an HTTP answer", actual);
        let (answer, length) = loop {
            if let Some(read) = parse(&self.buffer, &self.log).map_err(&none)? {
                break read;
            }
            if self.buffer.len() > HEAD {
                return Err(none(format!("a head of more than {HEAD} bytes")));
            }
            match self.fill(deadline).await {
                Filled::More => {}
                Filled::Ended => {
                    let end = self
                        .end
                        .as_ref()
                        .map(ToString::to_string)
                        .unwrap_or_default();
                    return Err(none(format!("{end} after {} bytes", self.buffer.len())));
                }
                Filled::Late => return Err(none(format!("nothing within {patience:?}"))),
            }
        };
        let head = self.buffer.split_to(length);
        self.item(
            Side::Server,
            Layer::Http,
            format!("{} {}", answer.status, answer.reason),
            &head,
        );
        Ok(answer)
    }

    /// Reads a body, and not one byte behind it (RFC 9112, section 6.3).
    async fn body(&mut self, answer: &mut Answer, deadline: Instant) -> Result<(), Stop> {
        if matches!(answer.status, 204 | 304) {
            return Ok(());
        }
        let bad = |text: String| Stop::departure("a whole body of the answer", text);
        let chunked = answer
            .field("transfer-encoding")
            .and_then(|value| value.rsplit(',').next())
            .is_some_and(|last| last.trim().eq_ignore_ascii_case("chunked"));
        let length = match answer.field("content-length") {
            Some(value) if !chunked => Some(
                value
                    .trim()
                    .parse::<usize>()
                    .map_err(|_| bad(format!("Content-Length {value:?}")))?,
            ),
            _ => None,
        };
        if length.is_some_and(|length| length > BODY) {
            return Err(too_large());
        }
        loop {
            if chunked {
                if let Some((body, taken)) = dechunk(&self.buffer)? {
                    let whole = self.buffer.split_to(taken);
                    self.body_item(&body, &whole);
                    answer.body = body;
                    return Ok(());
                }
            } else if let Some(length) = length
                && self.buffer.len() >= length
            {
                answer.body = self.buffer.split_to(length).to_vec();
                break;
            }
            // Chunks have heads of their own, and extensions.
            if self.buffer.len() > 2 * BODY || (!chunked && self.buffer.len() > BODY) {
                return Err(too_large());
            }
            match self.fill(deadline).await {
                Filled::More => {}
                Filled::Ended if !chunked && length.is_none() => {
                    answer.body = self.buffer.split().to_vec();
                    break;
                }
                Filled::Ended => return Err(bad("the connection ended within it".to_owned())),
                Filled::Late => return Err(bad("it did not end".to_owned())),
            }
        }
        self.body_item(&answer.body, &answer.body);
        Ok(())
    }

    fn body_item(&self, body: &[u8], whole: &[u8]) {
        if !whole.is_empty() {
            let text = format!("body of {} bytes", body.len());
            self.item(Side::Server, Layer::Http, text, whole);
        }
    }
}

/// No server need be brief.
fn too_large() -> Stop {
    Stop::Inconclusive(format!(
        "a body of more than {BODY} bytes, which the judge does not read"
    ))
}

fn parse(bytes: &[u8], log: &Log) -> Result<Option<(Answer, usize)>, String> {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(bytes) {
        Ok(httparse::Status::Partial) => Ok(None),
        Ok(httparse::Status::Complete(length)) => {
            let answer = Answer {
                status: response.code.unwrap_or_default(),
                reason: response.reason.unwrap_or_default().to_owned(),
                fields: response
                    .headers
                    .iter()
                    .map(|field| {
                        let value = String::from_utf8_lossy(field.value).into_owned();
                        (field.name.to_owned(), value)
                    })
                    .collect(),
                ..Answer::default()
            };
            Ok(Some((answer, length)))
        }
        Err(error) => {
            // Hidden before it is cut.
            let mut shown = bytes.get(..HEAD).unwrap_or(bytes).to_vec();
            log.blot_bytes(&mut shown);
            let start: &[u8] = shown.get(..60).unwrap_or(&shown);
            Err(format!(
                "no HTTP: {error}; it begins \"{}\"",
                start.escape_ascii()
            ))
        }
    }
}

/// The body of chunks and the bytes that they take with their trailers, once the last of them is there.
pub(crate) fn dechunk(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Stop> {
    let bad = |text: String| Stop::departure("a body of chunks as HTTP/1.1 has them", text);
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let (start, length) = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete(read)) => read,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(bad(format!("no size of a chunk at byte {at} of the body"))),
        };
        at += start;
        let rest = bytes.get(at..).unwrap_or_default();
        if length == 0 {
            let mut fields = [httparse::EMPTY_HEADER; 100];
            return match httparse::parse_headers(rest, &mut fields) {
                Ok(httparse::Status::Complete((taken, _))) => Ok(Some((body, at + taken))),
                Ok(httparse::Status::Partial) => Ok(None),
                Err(error) => Err(bad(format!("trailers: {error}"))),
            };
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > BODY || body.len() + length > BODY {
            return Err(too_large());
        }
        let Some(chunk) = rest.get(..length) else {
            return Ok(None);
        };
        let behind = rest.get(length..).unwrap_or_default();
        if !behind.starts_with(b"\r\n") {
            return match behind {
                [] | [b'\r'] => Ok(None),
                _ => Err(bad(format!("a chunk of other than its {length} bytes"))),
            };
        }
        body.extend(chunk);
        at += length + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_a_query() {
        let table: [(&str, &[u16]); 7] = [
            ("{path}", &[]),
            ("{path}?", &[]),
            ("{path}?port=80", &[80]),
            ("{path}?ports=80,81&ports=82", &[80, 81, 82]),
            ("{path}?x=1&port=7", &[7]),
            ("{path}?port=80,x", &[]),
            ("{path}?port=70000", &[]),
        ];
        for (target, ports) in table {
            assert_eq!(Request::new("GET", target).ports(), ports, "{target}");
        }
    }

    /// A connection on which this came, and nothing more comes.
    async fn heard(bytes: &[u8]) -> (Connection, tokio::io::DuplexStream) {
        use tokio::io::AsyncWriteExt as _;
        let (near, mut far) = tokio::io::duplex(4 << 20);
        far.write_all(bytes).await.unwrap();
        let connection = Connection::new(Box::new(near), Log::default(), Vec::new());
        (connection, far)
    }

    const PATIENCE: Duration = Duration::from_millis(500);

    #[tokio::test]
    async fn a_body_ends_where_it_ends() {
        let bodies = [
            "Content-Length: 2\r\n\r\nhi",
            "Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nhi\r\n0\r\n\r\n",
            "Transfer-Encoding: gzip, Chunked\r\n\r\n1\r\nh\r\n01\r\ni\r\n0\r\nA: b\r\nC: d\r\n\r\n",
        ];
        for body in bodies {
            let bytes = format!("HTTP/1.1 400 Bad\r\n{body}HTTP/1.1 204 None\r\n\r\n");
            for cut in [bytes.len(), bytes.len() - 1, 60] {
                let (first, last) = bytes.as_bytes().split_at(cut.min(bytes.len()));
                let (mut connection, mut far) = heard(first).await;
                let rest = last.to_vec();
                tokio::spawn(async move {
                    use tokio::io::AsyncWriteExt as _;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    far.write_all(&rest).await.unwrap();
                    std::future::pending::<()>().await;
                });
                let answer = connection.answer(PATIENCE).await.unwrap();
                assert_eq!(
                    (answer.status, answer.text().as_str()),
                    (400, "hi"),
                    "{body}"
                );
                let answer = connection.answer(PATIENCE).await.unwrap();
                assert_eq!((answer.status, answer.text().as_str()), (204, ""), "{body}");
                assert!(connection.buffer.is_empty());
            }
        }
    }

    #[tokio::test]
    async fn answers_before_the_answer() {
        let (mut connection, _far) = heard(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
              HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\nHTTP/1.1 101 Switching\r\n\r\nspdy",
        )
        .await;
        assert_eq!(connection.answer(PATIENCE).await.unwrap().status, 304);
        assert_eq!(connection.answer(PATIENCE).await.unwrap().status, 101);
        assert_eq!(&connection.buffer[..], b"spdy");
    }

    #[tokio::test]
    async fn bodies_that_cannot_be_read() {
        let large = "x".repeat(BODY + 1);
        let table = [
            (
                "Transfer-Encoding: chunked\r\n\r\nhello\r\n".to_owned(),
                "no size",
            ),
            (
                "Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n".to_owned(),
                "its 2 bytes",
            ),
            (
                "Transfer-Encoding: chunked\r\n\r\n0\r\n: b\r\n\r\n".to_owned(),
                "trailers",
            ),
            ("Content-Length: -1\r\n\r\n".to_owned(), "Content-Length"),
        ];
        for (body, words) in table {
            let (mut connection, _far) =
                heard(format!("HTTP/1.1 400 Bad\r\n{body}").as_bytes()).await;
            let stop = connection.answer(PATIENCE).await.unwrap_err();
            assert!(matches!(stop, Stop::Departure { .. }), "{stop}");
            assert!(stop.to_string().contains(words), "{stop}");
        }
        for body in [
            format!("\r\n{large}"),
            format!("Content-Length: {}\r\n\r\n{large}", large.len()),
            format!(
                "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n",
                large.len()
            ),
        ] {
            let (mut connection, _far) =
                heard(format!("HTTP/1.1 200 OK\r\n{body}").as_bytes()).await;
            let stop = connection.answer(PATIENCE).await.unwrap_err();
            assert!(matches!(stop, Stop::Inconclusive(_)), "{stop}");
        }
    }
}
