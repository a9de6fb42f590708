//! The HTTP front of the node: who may come in, which pod they mean, and the 101 (PROTOCOL.md 2.3,
//! 7.1). Kubelet and runtime in one, so their refusals come from here, in their words.

#[cfg(test)]
mod tests;

use super::{Agreed, PodRef, Protocol};
use crate::http1::{
    Fields, HeadLimits, ReadError, RequestHead, ResponseHead, query_pairs, read_request_head,
};
use crate::observe::{self, Event, Observer, Watch};
use crate::server::admit::{Counter, Place};
use crate::server::answer::{Answer, finish, invalid, push_date, write};
use crate::server::listen::{self, Accepted};
use crate::server::negotiate::{self, Wish};
use crate::server::websocket;
use crate::server::{AcceptLimits, listen::AcceptCounts};
use crate::tls;
use crate::upgrade::{PORT_FORWARD_V1, SPDY_31};
use bytes::BytesMut;
use std::collections::HashSet;
use std::fmt;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;
use wsstream::{Format, Subprotocol};

/// The pods of a node.
pub trait Pods: Send + Sync {
    /// Finds a pod by namespace and name, and by uid if one was asked for.
    ///
    /// # Errors
    /// There is none, or it cannot be forwarded to now.
    fn find(&self, namespace: &str, name: &str, uid: Option<&str>) -> Result<PodRef, NodeRefusal>;
}

/// Why a node does not forward to a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeRefusal {
    /// No pod of that name.
    NoPod,
    /// A pod of that name, with another uid.
    OtherUid,
    /// The runtime refuses, in its words.
    Runtime(String),
    /// Too much to do; the client may try again in a minute.
    Busy,
}

impl fmt::Display for NodeRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPod => f.write_str("pod does not exist"),
            Self::OtherUid => f.write_str("pod not found"),
            Self::Runtime(text) => f.write_str(text),
            Self::Busy => f.write_str("maximum number of in-flight requests exceeded"),
        }
    }
}

impl NodeRefusal {
    fn answer(&self) -> Answer {
        let text = self.to_string();
        match self {
            Self::NoPod | Self::OtherUid => Answer::text(404, text),
            Self::Runtime(_) => Answer::text(500, text),
            Self::Busy => Answer::text(429, text).with("Retry-After", "60"),
        }
    }
}

/// The limits of a front.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrontConfig {
    /// Connections before their request (B24).
    pub accept: AcceptLimits,
    /// Request heads (B21).
    pub head: HeadLimits,
    /// Upgraded connections (B25).
    pub sessions: usize,
    /// Common names that a client's certificate may carry: the gateway's, and nobody else's (T23).
    pub clients: HashSet<String>,
}

impl FrontConfig {
    /// The default limits, for one client.
    #[must_use]
    pub fn new(client: impl Into<String>) -> Self {
        Self {
            accept: AcceptLimits::default(),
            head: HeadLimits::default(),
            sessions: 8192,
            clients: HashSet::from([client.into()]),
        }
    }
}

/// The listener of a node.
#[derive(Clone)]
pub struct Front {
    config: Arc<FrontConfig>,
    pods: Arc<dyn Pods>,
    sessions: Arc<Counter<()>>,
    accepts: Arc<AcceptCounts>,
    observer: Option<Arc<dyn Observer>>,
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Front {
    /// A front for some pods.
    #[must_use]
    pub fn new(config: FrontConfig, pods: Arc<dyn Pods>) -> Self {
        let sessions = Counter::new(config.sessions, usize::MAX);
        Self {
            config: Arc::new(config),
            pods,
            sessions,
            accepts: Arc::default(),
            observer: None,
        }
    }

    /// The same with somebody who watches.
    #[must_use]
    pub fn with_observer(mut self, observer: Option<Arc<dyn Observer>>) -> Self {
        self.observer = observer;
        self
    }

    /// Serves for ever; `tls` must require client certificates
    /// ([`ClientAuth::Required`](crate::tls::ClientAuth)). Each upgraded connection is given to
    /// `session`, with the bytes that came behind its request.
    ///
    /// # Cancel safety
    /// Dropping the future ends every connection.
    pub async fn serve<F, Fut>(
        &self,
        listener: TcpListener,
        tls: impl Into<Arc<rustls::ServerConfig>>,
        session: F,
    ) where
        F: Fn(TlsStream<TcpStream>, BytesMut, Agreed) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let front = self.clone();
        let handle = move |accepted: Accepted| {
            let (front, session) = (front.clone(), session.clone());
            async move {
                let Accepted { mut io, place, .. } = accepted;
                let client = tls::peer_subject(io.get_ref().1)
                    .ok()
                    .flatten()
                    .map(|s| s.name);
                let mut early = BytesMut::new();
                let agreed = front.agree(&mut io, &mut early, client.as_deref()).await;
                drop(place);
                // The place among the sessions is kept until the session ends.
                if let Ok(Some((agreed, _session))) = agreed {
                    session(io, early, agreed).await;
                }
            }
        };
        listen::serve(
            listener,
            tls.into(),
            self.config.accept,
            Arc::clone(&self.accepts),
            handle,
        )
        .await;
    }

    /// Reads the request and answers it: what is agreed, or `None` when the connection is
    /// done with. `client` is the common name of the client's certificate.
    ///
    /// Behind the 101 nothing is sent: a real client would lose it (PROTOCOL.md 2.2). Bytes behind
    /// the request are left in `buf`; the first of the session.
    pub(crate) async fn agree<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        io: &mut T,
        buf: &mut BytesMut,
        client: Option<&str>,
    ) -> io::Result<Option<(Agreed, Place<()>)>> {
        let watch = Watch::new(self.observer.as_ref(), observe::Place::Front);
        // Before anything is read: who is not known is not listened to.
        let refusal = if client.is_some_and(|name| self.config.clients.contains(name)) {
            match read_request_head(io, buf, &self.config.head, self.config.head.deadline()).await {
                Ok(head) => match self.look_up(&head, &watch) {
                    Ok((agreed, answer, place)) => {
                        watch.tell(|| Event::Answered { status: 101 });
                        write(io, &answer?).await?;
                        return Ok(Some((agreed, place)));
                    }
                    Err(refusal) => refusal,
                },
                Err(ReadError::Head(error)) => Answer::error(error.status(), &error.to_string()),
                Err(_) => return Ok(None),
            }
        } else {
            Answer::text(401, "Unauthorized")
        };
        watch.tell(|| Event::Refused {
            status: refusal.code(),
        });
        refusal.write(io, true).await?;
        finish(io).await;
        Ok(None)
    }

    /// Which pod and what is spoken, in the order and words of kubelet and runtime; and the 101.
    fn look_up(
        &self,
        head: &RequestHead,
        watch: &Watch,
    ) -> Result<(Agreed, io::Result<bytes::Bytes>, Place<()>), Answer> {
        watch.tell(|| Event::Request {
            method: head.method.clone(),
            path: head.path().to_owned(),
        });
        let parts: Vec<&str> = head.path().split('/').collect();
        let (namespace, name, uid) = match *parts.as_slice() {
            ["", "portForward", namespace, name] => (namespace, name, None),
            ["", "portForward", namespace, name, uid] => (namespace, name, Some(uid)),
            _ => return Err(Answer::error(404, "404 page not found")),
        };
        if !matches!(head.method.as_str(), "GET" | "POST") {
            return Err(Answer::text(405, "405: Method Not Allowed").with("Allow", "GET, POST"));
        }
        let pod = self
            .pods
            .find(namespace, name, uid)
            .map_err(|refusal| refusal.answer())?;
        let wish = negotiate::wish(&head.fields);
        if wish == Wish::Stay {
            // A kubelet answers so; a gateway never asks it.
            return Err(Answer::error(500, "Upgrade request required"));
        }
        if head.content_length() > 0 {
            return Err(Answer::error(400, "an upgrade request has no body"));
        }
        let (protocol, answer) = if wish == Wish::WebSocket {
            agree_websocket(head)?
        } else {
            negotiate::protocol_version(&head.fields)?;
            if wish == Wish::Other {
                return Err(negotiate::missing_headers(&head.fields));
            }
            (Protocol::Spdy, accepted())
        };
        let session = self
            .sessions
            .enter(())
            .ok_or_else(|| NodeRefusal::Busy.answer())?;
        Ok((Agreed::new(pod, protocol), answer, session))
    }
}

/// The 101 to SPDY.
fn accepted() -> io::Result<bytes::Bytes> {
    let mut fields = Fields::new();
    fields.push_static("Connection", "Upgrade");
    fields.push_static("Upgrade", SPDY_31);
    fields.push_static("X-Stream-Protocol-Version", PORT_FORWARD_V1);
    push_date(&mut fields);
    ResponseHead::new(101, fields).encode().map_err(invalid)
}

/// A tunnel (PROTOCOL.md 5.6), or channels (4.1).
fn agree_websocket(head: &RequestHead) -> Result<(Protocol, io::Result<bytes::Bytes>), Answer> {
    let tunnelled = websocket::tunnelled(&head.fields);
    if !tunnelled.is_empty() {
        if !tunnelled.iter().any(|name| name == PORT_FORWARD_V1) {
            return Err(negotiate::no_common_version(&tunnelled));
        }
        let offer = websocket::offer(head)?;
        let name = websocket::tunnel_name(PORT_FORWARD_V1);
        return Ok((Protocol::Tunnel, websocket::accepted(&offer, Some(&name))));
    }
    let ports = ports(head.query()).map_err(|text| Answer::error(400, &text))?;
    let offer = websocket::offer(head)?;
    let known = |name: &&String| {
        let name = Subprotocol::parse(name);
        matches!(name, Subprotocol::ChannelV4 | Subprotocol::Base64ChannelV4)
    };
    let selected = offer.protocols.iter().find(known).cloned();
    if selected.is_none() && !offer.protocols.is_empty() {
        let text =
            "unsupported subprotocol: v4.channel.k8s.io and v4.base64.channel.k8s.io are served";
        return Err(Answer::error(403, text));
    }
    let (format, limit) = match selected.as_deref().map(Subprotocol::parse) {
        Some(Subprotocol::Base64ChannelV4) => (Format::Base64, wsstream::MAX_PORTS_BASE64),
        _ => (Format::Binary, wsstream::MAX_PORTS),
    };
    if ports.len() > limit {
        let text = format!("at most {limit} ports can be forwarded on one connection");
        return Err(Answer::error(400, &text));
    }
    let answer = websocket::accepted(&offer, selected.as_deref());
    Ok((Protocol::Channels(format, ports), answer))
}

/// The ports of a query, in the words of a kubelet where they are none.
fn ports(query: &str) -> Result<Vec<u16>, String> {
    let values: Vec<String> = query_pairs(query)
        .flatten()
        .filter(|(name, _)| name == "port")
        .map(|(_, value)| value)
        .collect();
    if values.is_empty() {
        return Err("query parameter \"port\" is required".to_owned());
    }
    let mut ports = Vec::new();
    for value in values.iter().flat_map(|value| value.split(',')) {
        if value.is_empty() {
            return Err("query parameter \"port\" cannot be empty".to_owned());
        }
        let digits = value.bytes().all(|b| b.is_ascii_digit());
        match value.parse::<u16>() {
            Ok(0) => return Err(format!("port \"{value}\" must be > 0")),
            Ok(port) if digits => ports.push(port),
            _ => {
                let shown = crate::escape::line(&value.chars().take(64).collect::<String>());
                let reason = if digits {
                    "value out of range"
                } else {
                    "invalid syntax"
                };
                return Err(format!(
                    "unable to parse \"{shown}\" as a port: strconv.ParseUint: parsing \"{shown}\": {reason}"
                ));
            }
        }
    }
    Ok(ports)
}
