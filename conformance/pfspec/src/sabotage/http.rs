//! The heads of a connection in the middle.

use super::middle::Wire;
use super::{Act, Side};
use std::time::Duration;

/// Largest head that is read; what is larger passes.
pub(super) const HEAD: usize = 64 << 10;

/// A head: its start line and fields. Bytes are kept as the characters of the same number.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// `POST /path HTTP/1.1`, or `HTTP/1.1 101 Switching Protocols`.
    pub first: String,
    /// Names and values.
    pub fields: Vec<(String, String)>,
}

impl Head {
    pub(super) fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let text: String = bytes.get(..end)?.iter().map(|b| char::from(*b)).collect();
        let mut lines = text.split("\r\n");
        let first = lines.next()?.to_owned();
        let fields = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        Some((Self { first, fields }, end + 4))
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.first);
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        latin1(&text)
    }

    /// The first field of this name, or nothing.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.fields
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map_or("", |(_, value)| value.as_str())
    }

    /// Whether there is a field of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.fields
            .iter()
            .any(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    /// Takes all fields of this name away.
    pub fn remove(&mut self, name: &str) {
        self.fields
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    }

    /// Takes all fields of this name away and adds one.
    pub fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.fields.push((name.to_owned(), value.to_owned()));
    }

    /// The number of an answer's start line.
    #[must_use]
    pub fn status(&self) -> u16 {
        let mut words = self.first.split(' ');
        words
            .nth(1)
            .and_then(|word| word.parse().ok())
            .unwrap_or_default()
    }

    /// Whether the request asks for this protocol.
    #[must_use]
    pub fn upgrades_to(&self, protocol: &str) -> bool {
        self.get("upgrade").to_ascii_lowercase().contains(protocol)
    }
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| u8::try_from(c).unwrap_or(b'?'))
        .collect()
}

/// A request in the middle.
#[derive(Debug)]
pub struct Asked {
    /// Its head.
    pub head: Head,
    /// Bytes behind the head that came with it.
    pub behind: Vec<u8>,
    /// An answer instead of the server's.
    pub answer: Option<Vec<u8>>,
}

impl Asked {
    /// Answers with this status and a text.
    pub fn refuse(&mut self, status: &str, text: &str) {
        let length = text.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        self.answer = Some([head.as_bytes(), text.as_bytes()].concat());
    }

    /// Replaces a parameter's values in the query.
    pub fn rewrite_query(&mut self, rewrite: impl Fn(&str, &str) -> Option<String>) {
        let mut words: Vec<String> = self.head.first.split(' ').map(str::to_owned).collect();
        if let Some(target) = words.get_mut(1)
            && let Some((path, query)) = target.clone().split_once('?')
        {
            let parts: Vec<String> = query
                .split('&')
                .filter_map(|part| {
                    let (name, value) = part.split_once('=').unwrap_or((part, ""));
                    rewrite(name, value).map(|value| format!("{name}={value}"))
                })
                .collect();
            *target = format!("{path}?{}", parts.join("&"));
        }
        self.head.first = words.join(" ");
    }
}

/// An answer in the middle.
#[derive(Debug, Default)]
pub struct Reply {
    /// Its head.
    pub head: Head,
    /// Its body; of a 101, the bytes that follow in the same write.
    pub body: Vec<u8>,
    /// Bytes behind all that.
    pub behind: Vec<u8>,
    /// Wait before it.
    pub pause: Duration,
    /// Close the connection behind it.
    pub close: bool,
}

impl Reply {
    /// Makes it another answer.
    pub fn become_status(&mut self, status: &str) {
        self.head.first = format!("HTTP/1.1 {status}");
    }
}

/// What follows the heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing that is looked at.
    Copy,
    Spdy,
    Tunnel,
    Channels,
}

/// Reads the first request and the first answer.
#[derive(Debug)]
pub(super) struct HttpLayer {
    wire: Wire,
    act: Act,
    from_client: Vec<u8>,
    from_server: Vec<u8>,
    asked: Option<Head>,
    /// Bytes of the request's body that are still to pass.
    body: usize,
    server_ended: bool,
}

impl HttpLayer {
    pub(super) fn new(wire: Wire, act: Act) -> Self {
        Self {
            wire,
            act,
            from_client: Vec::new(),
            from_server: Vec::new(),
            asked: None,
            body: 0,
            server_ended: false,
        }
    }

    /// Whether bytes behind the request wait for its answer, because their meaning depends on it.
    fn holds(&self) -> bool {
        !matches!(
            self.act,
            Act::Nothing
                | Act::Request(_)
                | Act::Answer(_)
                | Act::HoldEnd(_)
                | Act::Lockstep
                | Act::LegB(_)
        )
    }

    /// What came behind the heads and was not passed on: of the client, of the server.
    pub(super) fn rest(&mut self) -> (Vec<u8>, Vec<u8>) {
        (
            std::mem::take(&mut self.from_client),
            std::mem::take(&mut self.from_server),
        )
    }

    pub(super) fn feed(&mut self, from: Side, bytes: &[u8]) -> Option<Then> {
        match from {
            Side::Client => {
                self.from_client.extend(bytes);
                self.client()
            }
            Side::Server => {
                self.from_server.extend(bytes);
                self.server()
            }
        }
    }

    pub(super) fn ended(&mut self, from: Side) {
        if from == Side::Client {
            let rest = std::mem::take(&mut self.from_client);
            self.wire.send(Side::Server, rest);
        } else {
            self.server_ended = true;
            self.server();
            let rest = std::mem::take(&mut self.from_server);
            self.wire.send(Side::Client, rest);
        }
    }

    fn client(&mut self) -> Option<Then> {
        if self.asked.is_none() {
            let Some((head, length)) = Head::parse(&self.from_client) else {
                return (self.from_client.len() > HEAD).then_some(Then::Copy);
            };
            let rest = self.from_client.split_off(length);
            let original = std::mem::replace(&mut self.from_client, rest);
            self.body = head.get("content-length").parse().unwrap_or(0);
            if let Act::Request(act) = self.act {
                let mut asked = Asked {
                    head: head.clone(),
                    behind: std::mem::take(&mut self.from_client),
                    answer: None,
                };
                act(&mut asked);
                if let Some(answer) = asked.answer {
                    self.wire.send(Side::Client, answer);
                    self.wire.close();
                    return Some(Then::Copy);
                }
                self.wire.send(Side::Server, asked.head.bytes());
                self.wire.send(Side::Server, asked.behind);
            } else {
                self.wire.send(Side::Server, original);
            }
            self.asked = Some(head);
        }
        let pass = if self.holds() {
            self.body.min(self.from_client.len())
        } else {
            self.from_client.len()
        };
        self.body = self.body.saturating_sub(pass);
        let rest = self.from_client.split_off(pass);
        let passed = std::mem::replace(&mut self.from_client, rest);
        self.wire.send(Side::Server, passed);
        None
    }

    fn server(&mut self) -> Option<Then> {
        let Some((head, length)) = Head::parse(&self.from_server) else {
            return (self.from_server.len() > HEAD).then_some(Then::Copy);
        };
        // An answer before the whole request has come is no less an answer.
        let asked = self.asked.clone().unwrap_or_default();
        let switches = head.status() == 101;
        let mut then = Then::Copy;
        if switches {
            let subprotocol = head.get("sec-websocket-protocol").to_ascii_lowercase();
            then = if head
                .get("upgrade")
                .to_ascii_lowercase()
                .contains("spdy/3.1")
            {
                Then::Spdy
            } else if subprotocol.starts_with("spdy/3.1+") {
                Then::Tunnel
            } else if subprotocol.contains("channel.k8s.io") {
                Then::Channels
            } else {
                Then::Copy
            };
        }
        let Act::Answer(act) = self.act else {
            let rest = self.from_server.split_off(length);
            let original = std::mem::replace(&mut self.from_server, rest);
            self.wire.send(Side::Client, original);
            return Some(then);
        };
        let mut body = Vec::new();
        if !switches {
            let there = self.from_server.len() - length;
            match head.get("content-length").parse::<usize>() {
                Ok(whole) if there < whole && !self.server_ended => return None,
                Ok(_) => {}
                // Chunks would have to be read to be changed.
                Err(_) if head.has("transfer-encoding") => return Some(Then::Copy),
                Err(_) if !self.server_ended => return None,
                Err(_) => {}
            }
            body = self.from_server.split_off(length);
        } else if self.from_server.len() > length {
            let rest = self.from_server.split_off(length);
            self.from_server = rest;
        } else {
            self.from_server.clear();
        }
        let mut reply = Reply {
            head,
            body,
            behind: Vec::new(),
            pause: Duration::ZERO,
            close: false,
        };
        act(&asked, &mut reply);
        if !switches {
            self.from_server.clear();
            if reply.head.has("content-length") {
                reply
                    .head
                    .set("Content-Length", &reply.body.len().to_string());
            }
        }
        if !reply.pause.is_zero() {
            self.wire.pause(Side::Client, reply.pause);
        }
        let bytes = [reply.head.bytes(), reply.body, reply.behind].concat();
        self.wire.send(Side::Client, bytes);
        if reply.close {
            self.wire.close();
        }
        Some(then)
    }
}
