//! HTTP/1.1 requests as the judge writes them, and answers.

use super::connection::{Connection, Filled};
use super::log::{Layer, Side};
use crate::case::Stop;
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

/// Largest head of an answer that is read.
const HEAD: usize = 64 << 10;
/// Largest body of an answer that is read.
const BODY: usize = 1 << 20;

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
        let exec = path.strip_suffix("/portforward").unwrap_or(path);
        request.target = request.target.replace("{path}", path);
        request.target = request.target.replace("{exec}", &format!("{exec}/exec"));
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
        let text = self.text();
        let start: String = text.trim().chars().take(200).collect();
        if !start.is_empty() {
            write!(f, " with body {start:?}")?;
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

    /// Reads the head of an answer, and the body unless it is a 101.
    ///
    /// # Errors
    /// A departure if there is none within `patience`.
    pub async fn answer(&mut self, patience: Duration) -> Result<Answer, Stop> {
        let deadline = Instant::now() + patience;
        let none = |actual: String| Stop::departure("an HTTP answer", actual);
        let (mut answer, length) = loop {
            if let Some(read) = parse(&self.buffer).map_err(&none)? {
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
        if answer.status != 101 {
            self.body(&mut answer, deadline).await?;
        }
        Ok(answer)
    }

    async fn body(&mut self, answer: &mut Answer, deadline: Instant) -> Result<(), Stop> {
        let chunked = answer
            .field("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        let length = answer
            .field("content-length")
            .and_then(|value| value.parse::<usize>().ok());
        let bad = |text: &str| Stop::departure("a whole body of the answer", text);
        while self.buffer.len() <= BODY {
            if chunked {
                if let Some(body) = dechunk(&self.buffer) {
                    answer.body = body;
                    break;
                }
            } else if let Some(length) = length
                && self.buffer.len() >= length
            {
                answer.body = self.buffer.split_to(length).to_vec();
                break;
            }
            match self.fill(deadline).await {
                Filled::More => {}
                Filled::Ended if !chunked && length.is_none() => {
                    answer.body = self.buffer.split().to_vec();
                    break;
                }
                Filled::Ended => return Err(bad("the connection ended within it")),
                Filled::Late => return Err(bad("it did not end")),
            }
        }
        if !answer.body.is_empty() {
            let text = format!("body of {} bytes", answer.body.len());
            self.item(Side::Server, Layer::Http, text, &answer.body.clone());
        }
        Ok(())
    }
}

fn parse(bytes: &[u8]) -> Result<Option<(Answer, usize)>, String> {
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
                body: Vec::new(),
            };
            Ok(Some((answer, length)))
        }
        Err(error) => {
            let start: &[u8] = bytes.get(..60).unwrap_or(bytes);
            Err(format!(
                "no HTTP: {error}; it begins \"{}\"",
                start.escape_ascii()
            ))
        }
    }
}

/// The body, once its last chunk is there.
fn dechunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let Ok(httparse::Status::Complete((start, length))) = httparse::parse_chunk_size(bytes)
        else {
            return None;
        };
        let length = usize::try_from(length).ok()?;
        let chunk = bytes.get(start..start.checked_add(length)?)?;
        let rest = bytes.get(start + length..)?.strip_prefix(b"\r\n")?;
        if length == 0 {
            return Some(body);
        }
        body.extend(chunk);
        bytes = rest;
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
}
