//! What a running case has in hand: the target, its dice, its evidence.

use crate::case::{Role, Stop, Way};
use crate::dice::Dice;
use crate::probe::channels::Channels;
use crate::probe::connection::Connection;
use crate::probe::http::{Answer, Request};
use crate::probe::log::Log;
use crate::probe::session::{Carrier, Session};
use crate::probe::websocket::WebSocket;
use crate::target::{NoPlace, Place, Service, Target, Who, query_values};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use sha1::{Digest as _, Sha1};
use std::sync::Arc;
use std::time::Duration;

/// The protocol of port-forward over SPDY.
pub const PROTOCOL: &str = "portforward.k8s.io";
/// The subprotocol of the tunnel.
pub const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

/// The subprotocol of binary channels.
pub const V4: &str = "v4.channel.k8s.io";
/// The subprotocol of base64 channels.
pub const V4_BASE64: &str = "v4.base64.channel.k8s.io";

/// A running case.
#[derive(Debug)]
pub struct Trial {
    /// What is judged.
    pub target: Arc<Target>,
    /// On what this run of the case travels.
    pub way: Way,
    /// Random numbers of this run.
    pub dice: Dice,
    /// Evidence.
    pub log: Log,
    /// How long to wait for what should come at once.
    pub patience: Duration,
}

/// A connected request: where it goes and what its fields of identity are.
#[derive(Debug)]
pub struct Ready {
    /// The connection.
    pub connection: Connection,
    /// The ALPN protocol on which both agreed, where protocols were asked for by name.
    pub agreed: Option<Vec<u8>>,
    /// Fields of identity.
    pub(crate) identity: Vec<(String, Vec<u8>)>,
    /// Value of `Host`.
    pub(crate) host: String,
    path: String,
}

impl Ready {
    /// Sends a request as it is, with the fields of identity, and reads the answer.
    ///
    /// `{path}` in the target is replaced by the path of the pod's port-forward; `Host` is added unless it is there.
    pub async fn ask(&mut self, request: &Request, patience: Duration) -> Result<Answer, Stop> {
        self.send(request).await?;
        self.connection.answer(patience).await
    }

    /// The path of the pod's port-forward on this connection.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The path of another pod in the same namespace.
    ///
    /// # Errors
    /// UNSUPPORTED if paths name no pods.
    pub fn sibling(&self, pod: &str) -> Result<String, Stop> {
        let (rest, tail) = match self.path.strip_suffix("/portforward") {
            Some(rest) => (rest, "/portforward"),
            None => (self.path.as_str(), ""),
        };
        match rest.rsplit_once('/') {
            Some((above, _)) if above.contains("/pods") || above.contains("/portForward/") => {
                Ok(format!("{above}/{pod}{tail}"))
            }
            _ => Err(Stop::Unsupported(
                "the target's paths name no pods".to_owned(),
            )),
        }
    }

    /// Whether the head says who asks by a field of this name, in lower case.
    #[must_use]
    pub fn identifies_by(&self, name: &str) -> bool {
        self.identity.iter().any(|(known, _)| known == name)
    }

    /// Sends a request as [`Ready::ask`] does.
    pub async fn send(&mut self, request: &Request) -> Result<(), Stop> {
        let request = request.at(&self.path, &self.host);
        let bytes = request.bytes(&self.identity);
        self.connection.send_head(&request, &bytes).await
    }
}

impl Trial {
    /// Says in the ladder what the case does now.
    pub fn note(&self, text: impl Into<String>) {
        self.log.note(text);
    }

    /// The port of a service of the target's pod.
    ///
    /// # Errors
    /// UNSUPPORTED if its pod has none.
    pub fn port(&self, service: Service) -> Result<u16, Stop> {
        self.target
            .services
            .get(&service)
            .copied()
            .ok_or_else(|| Stop::Unsupported(format!("the pod has no port {}", service.name())))
    }

    /// The path of another pod.
    ///
    /// # Errors
    /// UNSUPPORTED if paths name no pods.
    pub fn path_of(&self, namespace: &str, pod: &str) -> Result<String, Stop> {
        self.target
            .reach
            .path_of(namespace, pod)
            .ok_or_else(|| Stop::Unsupported("the target's paths name no pods".to_owned()))
    }

    /// Whether an API server is judged.
    #[must_use]
    pub fn is_gateway(&self) -> bool {
        self.target.role == Role::Gateway
    }

    /// Connects; the request is still to be sent.
    pub async fn connect(&self) -> Result<Ready, Stop> {
        self.connect_as(Who::Forwarder).await
    }

    /// The same for a request that names these ports.
    pub async fn connect_for(&self, ports: &[u16]) -> Result<Ready, Stop> {
        let place = self.target.reach.place_for(Who::Forwarder, ports);
        self.placed(place.await)
    }

    /// The same as somebody else.
    pub async fn connect_as(&self, who: Who) -> Result<Ready, Stop> {
        self.placed(self.target.reach.place(who).await)
    }

    /// The same offering other protocols in ALPN.
    pub async fn connect_with_alpn(&self, protocols: &[&[u8]]) -> Result<Ready, Stop> {
        self.placed(self.target.reach.place_with_alpn(protocols).await)
    }

    /// The same; the inner error says why TLS failed.
    pub async fn handshake_with_alpn(
        &self,
        protocols: &[&[u8]],
    ) -> Result<Result<Ready, String>, Stop> {
        match self.target.reach.place_with_alpn(protocols).await {
            Err(NoPlace::NoTls(text)) => Ok(Err(text)),
            placed => self.placed(placed).map(Ok),
        }
    }

    fn placed(&self, placed: Result<Place, NoPlace>) -> Result<Ready, Stop> {
        let to = |what: &str| format!("{what} to the {}", self.target.role.server());
        match placed {
            Ok(place) => {
                let hidden = secrets(&place);
                self.log.hide(&hidden);
                Ok(Ready {
                    connection: Connection::new(place.io, self.log.clone(), hidden),
                    agreed: place.agreed,
                    identity: place.identity,
                    host: place.host,
                    path: place.path,
                })
            }
            Err(NoPlace::Unreachable(text)) => Err(Stop::departure(to("a connection"), text)),
            Err(NoPlace::NoTls(text)) => Err(Stop::departure(to("a connection with TLS"), text)),
            Err(NoPlace::NotOffered(text)) => Err(Stop::Unsupported(text)),
            Err(NoPlace::Elsewhere(text)) => Err(Stop::Inconclusive(text)),
        }
    }

    /// The right request for SPDY.
    #[must_use]
    pub fn spdy_request(&self) -> Request {
        spdy_upgrade()
    }

    /// The right request for a WebSocket with this subprotocol. `query` is empty or begins with `?`.
    #[must_use]
    pub fn websocket_request(&self, subprotocol: &str, query: &str) -> Request {
        websocket_upgrade(subprotocol, query)
    }

    /// The query that asks for ports, as the target names it.
    #[must_use]
    pub fn ports_query(&self, ports: &[u16]) -> String {
        ports_query(self.target.role, ports)
    }

    /// Connects, sends a request and reads the answer.
    pub async fn ask(&self, request: &Request) -> Result<(Ready, Answer), Stop> {
        self.ask_as(Who::Forwarder, request).await
    }

    /// The same as somebody else.
    pub async fn ask_as(&self, who: Who, request: &Request) -> Result<(Ready, Answer), Stop> {
        let place = self.target.reach.place_for(who, &request.ports());
        let mut ready = self.placed(place.await)?;
        let answer = ready.ask(request, self.patience).await?;
        Ok((ready, answer))
    }

    /// Opens a SPDY session on the way of this run.
    pub async fn session(&self) -> Result<Session, Stop> {
        let carrier = if self.way == Way::Tunnel {
            Carrier::Tunnel(self.websocket(TUNNEL, "").await?)
        } else {
            let (ready, answer) = self.ask(&self.spdy_request()).await?;
            if answer.status != 101 {
                return Err(self.not_upgraded("101 for the upgrade to SPDY", &answer));
            }
            Carrier::Plain(ready.connection)
        };
        Ok(Session::new(carrier, self.patience))
    }

    /// Opens a WebSocket, and checks the handshake.
    pub async fn websocket(&self, subprotocol: &str, query: &str) -> Result<WebSocket, Stop> {
        let request = self.websocket_request(subprotocol, query);
        let (ready, answer) = self.ask(&request).await?;
        let expected = format!("101 for the WebSocket with {subprotocol}");
        if answer.status != 101 {
            return Err(self.not_upgraded(&expected, &answer));
        }
        let got = answer.field("sec-websocket-protocol").unwrap_or_default();
        if answer.field("sec-websocket-accept") != Some(&accept()) || got != subprotocol {
            let text = format!("101 with subprotocol {got:?}, or a wrong Sec-WebSocket-Accept");
            return Err(Stop::departure(expected, text));
        }
        Ok(WebSocket::new(ready.connection))
    }

    /// A right upgrade that is refused. If it is the first of its case, the case has not begun.
    fn not_upgraded(&self, expected: &str, answer: &Answer) -> Stop {
        if self.log.has_answer("101") {
            Stop::departure(expected, answer.to_string())
        } else {
            Stop::no_answer(expected, answer.to_string())
        }
    }

    /// Opens channels for ports in the form of this run; the first messages are still to be waited for.
    pub async fn channels(&self, ports: &[u16]) -> Result<Channels, Stop> {
        let base64 = self.way == Way::V4Base64;
        let query = self.ports_query(ports);
        let websocket = self.websocket(subprotocol(self.way), &query).await?;
        Ok(Channels::new(
            websocket,
            base64,
            ports.to_vec(),
            self.patience,
        ))
    }
}

/// The fields of identity that nobody is to see, and the values of the path's query.
pub(crate) fn secrets(place: &Place) -> Vec<Vec<u8>> {
    // Whom one speaks for is no secret.
    let public = |name: &str| name == "user-agent" || name.starts_with("impersonate-");
    let fields = place.identity.iter().filter(|(name, _)| !public(name));
    let mut values: Vec<Vec<u8>> = fields.map(|(_, value)| value.clone()).collect();
    values.extend(query_values(&place.path));
    values
}

fn ports_query(role: Role, ports: &[u16]) -> String {
    // A gateway calls it `ports`, a node and a runtime `port`.
    let name = match role {
        Role::Gateway => "ports",
        Role::Node | Role::Runtime => "port",
    };
    let list: Vec<String> = ports.iter().map(ToString::to_string).collect();
    format!("?{name}={}", list.join(","))
}

/// The subprotocol of a way's WebSocket.
pub(crate) fn subprotocol(way: Way) -> &'static str {
    match way {
        Way::V4 => V4,
        Way::V4Base64 => V4_BASE64,
        Way::Tunnel | Way::Spdy | Way::Http => TUNNEL,
    }
}

/// The right request for a way; channels ask for `ports`.
pub(crate) fn upgrade(way: Way, role: Role, ports: &[u16]) -> Request {
    match way {
        Way::Spdy | Way::Http => spdy_upgrade(),
        Way::Tunnel => websocket_upgrade(TUNNEL, ""),
        Way::V4 | Way::V4Base64 => websocket_upgrade(subprotocol(way), &ports_query(role, ports)),
    }
}

fn spdy_upgrade() -> Request {
    Request::new("POST", "{path}")
        .with("Connection", "Upgrade")
        .with("Upgrade", "SPDY/3.1")
        .with("X-Stream-Protocol-Version", PROTOCOL)
        .with("Content-Length", "0")
}

fn websocket_upgrade(subprotocol: &str, query: &str) -> Request {
    Request::new("GET", format!("{{path}}{query}"))
        .with("Connection", "Upgrade")
        .with("Upgrade", "websocket")
        .with("Sec-WebSocket-Version", "13")
        .with("Sec-WebSocket-Key", KEY)
        .with("Sec-WebSocket-Protocol", subprotocol)
}

/// The key of every handshake of the judge: that of RFC 6455, section 1.3.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The answer to [`KEY`].
#[must_use]
pub fn accept() -> String {
    accept_of(KEY)
}

/// The answer to any key.
#[must_use]
pub fn accept_of(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64_STANDARD.encode(hash.finalize())
}
