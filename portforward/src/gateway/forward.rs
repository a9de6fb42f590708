//! The upgrade-aware proxy to the node (PROTOCOL.md 2.5).
//!
//! Nothing of the client reaches the node but the request made here, until the node has agreed
//! with a 101 that was checked; what the client sent ahead is kept until then (T12).

use super::backend::Leg;
use super::{Shared, relay};
use crate::http1::{
    EncodeError, Fields, ReadError, RequestHead, ResponseHead, Version, read_body,
    read_response_head,
};
use crate::observe::{Event, Watch};
use crate::server::admit::Place;
use crate::server::answer::{Answer, finish, write};
use crate::server::websocket;
use crate::status::Status;
use crate::upgrade::SPDY_31;
use crate::websocket::WsByteStream;
use bytes::BytesMut;
use std::net::IpAddr;
use tokio::io::AsyncReadExt;
use tokio::time::{timeout, timeout_at};
use wsstream::Offer;

/// What client and node speak.
pub(super) enum Way {
    /// SPDY with both.
    Spdy,
    /// SPDY with the node, inside a WebSocket with the client (PROTOCOL.md 5.1).
    Tunnel(Offer),
    /// A WebSocket with both, of which the gateway understands nothing but the ports of the request, here
    /// as the node is asked for them.
    Channels(String),
}

impl Way {
    /// The `Upgrade` token towards the node.
    const fn token(&self) -> &'static str {
        match self {
            Self::Spdy | Self::Tunnel(_) => SPDY_31,
            Self::Channels(_) => "websocket",
        }
    }

    /// Whether what the node has chosen is what the client offered to tunnel. SPDY's and channels'
    /// choice is the client's to check, which sees it.
    fn was_offered(&self, answer: &ResponseHead) -> bool {
        let Self::Tunnel(offer) = self else {
            return true;
        };
        let inner = answer.fields.get_str("x-stream-protocol-version");
        inner.is_some_and(|inner| offer.protocols.contains(&websocket::tunnel_name(inner)))
    }
}

/// A forwarding that may begin.
pub(super) struct Forwarding {
    pub(super) node: String,
    pub(super) request: RequestHead,
    pub(super) way: Way,
    /// Its place among the user's forwardings.
    pub(super) session: Place<String>,
}

/// Carries a forwarding to its end. `early` is what the client sent behind its request.
pub(super) async fn serve<T: Leg>(
    shared: &Shared,
    watch: &Watch,
    mut io: T,
    mut early: BytesMut,
    forwarding: Forwarding,
) {
    let Forwarding {
        node,
        request,
        way,
        session,
    } = forwarding;
    let opening = open(shared, watch, &node, &request, &way);
    let opened = tokio::select! {
        opened = opening => opened,
        () = client_gone(&mut io, &mut early, shared.config.early) => return,
    };
    let refusal = match opened {
        Ok(Opened {
            answer,
            backend,
            behind,
        }) => {
            if let Way::Tunnel(offer) = way {
                let carried = tunnel(io, early, &offer, &answer, (backend, behind), watch);
                // Larger than the others.
                Box::pin(carried).await;
            } else {
                let mut first = BytesMut::from(&answer.as_received()[..]);
                first.unsplit(behind);
                relay::run(io, backend, early, first, watch).await;
            }
            drop(session);
            return;
        }
        Err(refusal) => refusal,
    };
    drop(session);
    watch.tell(|| Event::Refused {
        status: refusal.code(),
    });
    if refusal.write(&mut io, true).await.is_ok() {
        finish(&mut io).await;
    }
}

/// The client becomes a WebSocket only now that the node has agreed. What came behind the node's head
/// is its first message.
async fn tunnel<T: Leg>(
    mut io: T,
    early: BytesMut,
    offer: &Offer,
    answer: &ResponseHead,
    (backend, behind): (Box<dyn Leg>, BytesMut),
    watch: &Watch,
) {
    // Unless it ends well, it ends with a reset.
    io.reset_on_drop(true);
    let inner = answer.fields.get_str("x-stream-protocol-version");
    let selected = inner.map(websocket::tunnel_name);
    let Ok(head) = websocket::accepted(offer, selected.as_deref()) else {
        return;
    };
    if write(&mut io, &head).await.is_err() {
        return;
    }
    // The default is within its own ranges.
    if let Ok(client) = WsByteStream::server(io, early) {
        relay::run(client, backend, BytesMut::new(), behind, watch).await;
    }
}

/// A node that has agreed.
struct Opened {
    answer: ResponseHead,
    backend: Box<dyn Leg>,
    /// What came behind its 101.
    behind: BytesMut,
}

/// Asks the node; every refusal comes with its answer to the client, and ends the connection to
/// the node (T13).
async fn open(
    shared: &Shared,
    watch: &Watch,
    node: &str,
    request: &RequestHead,
    way: &Way,
) -> Result<Opened, Answer> {
    let fail = |status: Status| Answer::status(&status);
    let config = &shared.config;
    let bytes = request.encode().map_err(|e| fail(Status::sending(&e)))?;
    watch.tell(|| Event::Dialling);
    let mut backend = match timeout(config.dial, shared.backend.connect(node)).await {
        Ok(Ok(backend)) => backend,
        Ok(Err(error)) => {
            let cause = error.to_string();
            let text = crate::escape::line(&cause);
            watch.tell(|| Event::DialFailed { cause });
            return Err(fail(Status::dialing(&text)));
        }
        Err(_) => {
            let cause = "i/o timeout";
            watch.tell(|| Event::DialFailed {
                cause: cause.to_owned(),
            });
            return Err(fail(Status::dialing(&cause)));
        }
    };
    watch.tell(|| Event::Dialled);
    // Unless it ends well, it ends with a reset.
    backend.reset_on_drop(true);
    let deadline = config.head.deadline();
    let late = || fail(Status::sending(&"no answer from the node in time"));
    match timeout_at(deadline, write(&mut backend, &bytes)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(fail(Status::sending(&error))),
        Err(_) => return Err(late()),
    }
    let mut behind = BytesMut::new();
    let answer = match read_response_head(&mut backend, &mut behind, &config.head, deadline).await {
        Ok(answer) => answer,
        Err(ReadError::Timeout) => return Err(late()),
        Err(error) => {
            return Err(fail(Status::internal(format!(
                "invalid answer from the node: {error}"
            ))));
        }
    };
    watch.tell(|| Event::Answered {
        status: answer.status,
    });
    match answer.status {
        101 if agrees(&answer, way) => Ok(Opened {
            answer,
            backend,
            behind,
        }),
        101 => Err(fail(Status::internal(
            "unable to upgrade: missing upgrade headers in response",
        ))),
        400.. => {
            let body = read_body(&mut backend, &mut behind, answer.framing(), &config.body).await;
            Err(Answer::relayed(
                answer.status,
                passed_back(answer.fields),
                body.bytes,
            ))
        }
        status => Err(fail(Status::invalid_upgrade(status))),
    }
}

/// The node switches to what was asked for, and to nothing else (T14).
fn agrees(answer: &ResponseHead, way: &Way) -> bool {
    let upgrade = answer.fields.get("upgrade");
    answer.version == Version::Http11
        && answer.fields.first_contains("connection", "upgrade")
        && upgrade.is_some_and(|v| v.eq_ignore_ascii_case(way.token().as_bytes()))
        && !answer.announces_body()
        && way.was_offered(answer)
}

/// Keeps what the client sends ahead, up to `limit`; beyond that it is left in the socket. Returns
/// when the connection has failed.
async fn client_gone<T: Leg>(io: &mut T, early: &mut BytesMut, limit: usize) {
    loop {
        if early.len() >= limit {
            return std::future::pending().await;
        }
        let room = limit.saturating_sub(early.len());
        let mut limited = io.take(u64::try_from(room).unwrap_or(u64::MAX));
        if early.capacity() == early.len() {
            early.reserve(1024);
        }
        match limited.read_buf(early).await {
            // It will say no more, and may still wait for the answer.
            Ok(0) => return std::future::pending().await,
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// Fields that concern one hop only.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields that would let a client speak in another's name at the node, or hand its credentials on
/// (T21).
fn is_identity(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    matches!(
        name.as_str(),
        "authorization" | "cookie" | "forwarded" | "x-real-ip" | "expect" | "origin"
    ) || ["impersonate-", "x-remote-", "x-forwarded-"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// The request to the node: method and end-to-end fields as they came, hop-by-hop fields anew,
/// nobody's identity but the gateway's own, and the client's address appended.
pub(super) fn request(
    head: &RequestHead,
    namespace: &str,
    pod: &str,
    client: IpAddr,
    way: &Way,
) -> Result<RequestHead, EncodeError> {
    let named: Vec<Vec<u8>> = head
        .fields
        .list("connection")
        .map(<[u8]>::to_ascii_lowercase)
        .collect();
    let mut fields = Fields::new();
    for field in &head.fields {
        let name = field.name();
        let hop = HOP_BY_HOP.iter().any(|h| name.eq_ignore_ascii_case(h))
            || named
                .iter()
                .any(|n| n.eq_ignore_ascii_case(name.as_bytes()));
        let ours = matches!(way, Way::Tunnel(_)) && is_of_tunnel(name);
        if hop || ours || is_identity(name) {
            continue;
        }
        if name.eq_ignore_ascii_case("sec-websocket-protocol") {
            fields.push(name, without_token(field.value()))?;
        } else {
            fields.push(name, field.value().clone())?;
        }
    }
    let mut hops: Vec<String> = head
        .fields
        .list("x-forwarded-for")
        .map(|v| String::from_utf8_lossy(v).into_owned())
        .collect();
    hops.push(client.to_string());
    fields.push("X-Forwarded-For", hops.join(", "))?;
    fields.push_static("Connection", "Upgrade");
    fields.push_static("Upgrade", way.token());
    let mut method = head.method.clone();
    let mut path = format!("/portForward/{namespace}/{pod}");
    match way {
        Way::Spdy => {}
        Way::Tunnel(_) => {
            "POST".clone_into(&mut method);
            for inner in websocket::tunnelled(&head.fields) {
                fields.push("X-Stream-Protocol-Version", inner)?;
            }
            fields.push_static("Content-Length", "0");
        }
        Way::Channels(ports) => {
            // Without ports the node says what is missing.
            if !ports.is_empty() {
                path.push_str("?port=");
                path.push_str(ports);
            }
        }
    }
    Ok(RequestHead::new(method, path, fields))
}

/// Subprotocols without the one that carries a browser's bearer token, which is a credential for the
/// gateway and not for the node (T21).
fn without_token(value: &[u8]) -> Vec<u8> {
    let names = value.split(|b| *b == b',').map(<[u8]>::trim_ascii);
    let kept: Vec<&[u8]> = names.filter(|name| !name.starts_with(TOKEN)).collect();
    kept.join(&b", "[..])
}

const TOKEN: &[u8] = b"base64url.bearer.authorization.k8s.io.";

/// Fields of a tunnel's request that mean something to the gateway only.
fn is_of_tunnel(name: &str) -> bool {
    const NAMES: [&str; 6] = [
        "sec-websocket-protocol",
        "sec-websocket-key",
        "sec-websocket-version",
        "sec-websocket-extensions",
        "x-stream-protocol-version",
        "content-length",
    ];
    NAMES.iter().any(|n| name.eq_ignore_ascii_case(n))
}

/// What of a node's refusal goes on to the client.
fn passed_back(mut fields: Fields) -> Fields {
    let named: Vec<Vec<u8>> = fields
        .list("connection")
        .map(<[u8]>::to_ascii_lowercase)
        .collect();
    fields.retain(|field| {
        let name = field.name();
        !HOP_BY_HOP.iter().any(|h| name.eq_ignore_ascii_case(h))
            && !named
                .iter()
                .any(|n| n.eq_ignore_ascii_case(name.as_bytes()))
            && !["location", "set-cookie", "www-authenticate"]
                .iter()
                .any(|n| name.eq_ignore_ascii_case(n))
    });
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T21: what a client says about identity does not arrive.
    #[test]
    fn only_the_gateways_word_reaches_the_node() {
        let mut fields = Fields::new();
        fields.push("Host", "gateway:6443").unwrap();
        let forged = [
            "Authorization",
            "Cookie",
            "Proxy-Authorization",
            "Impersonate-User",
            "Impersonate-Group",
            "Impersonate-Uid",
            "Impersonate-Extra-scopes",
            "X-Remote-User",
            "X-Remote-Group",
            "X-Remote-Uid",
            "X-Remote-Extra-Acme",
            "x-remote-anything",
            "X-Forwarded-Host",
            "X-Forwarded-Proto",
            "X-Forwarded-Port",
            "X-Forwarded-User",
            "X-Forwarded-Client-Cert",
            "Forwarded",
            "X-Real-Ip",
            "X-Secret-Hop",
            "HTTP2-Settings",
        ];
        for name in forged {
            fields.push(name, "canary").unwrap();
        }
        for (name, value) in [
            ("Connection", "keep-alive, Upgrade, X-Secret-Hop"),
            ("Connection", "http2-settings"),
            ("Upgrade", "spdy/3.1"),
            ("X-Forwarded-For", "192.0.2.7"),
            ("X-Stream-Protocol-Version", "portforward.k8s.io"),
            ("Kubectl-Command", "kubectl port-forward"),
            ("Content-Length", "0"),
        ] {
            fields.push(name, value).unwrap();
        }
        let head = RequestHead::new("POST", "/api/v1/x?canary=canary", fields);
        let out = request(&head, "ns", "p", IpAddr::from([127, 0, 0, 1]), &Way::Spdy)
            .unwrap()
            .encode()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&out),
            "POST /portForward/ns/p HTTP/1.1\r\nHost: gateway:6443\r\nX-Stream-Protocol-Version: portforward.k8s.io\r\n\
             Kubectl-Command: kubectl port-forward\r\nContent-Length: 0\r\nX-Forwarded-For: 192.0.2.7, 127.0.0.1\r\n\
             Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n"
        );
        assert!(forged.len() >= 20);
    }

    /// What the node is asked in the three ways, and that a token hidden in a subprotocol is not
    /// among it.
    #[test]
    fn requests_of_websockets() {
        let build = |query: &str, protocols: &'static str, way: &Way| {
            let mut fields = Fields::new();
            for (name, value) in [
                ("Host", "h"),
                ("Connection", "Upgrade"),
                ("Upgrade", "websocket"),
                ("Sec-WebSocket-Version", "13"),
                ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
                ("Sec-WebSocket-Protocol", protocols),
            ] {
                fields.push(name, value).unwrap();
            }
            let head = RequestHead::new("GET", format!("/x{query}"), fields);
            let client = IpAddr::from([127, 0, 0, 1]);
            let out = request(&head, "ns", "p", client, way).unwrap();
            String::from_utf8(out.encode().unwrap().to_vec()).unwrap()
        };
        let hidden = "v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.Y2FuYXJ5";
        let channels = |ports: &str| build("?ports=1", hidden, &Way::Channels(ports.to_owned()));
        let text = channels("80,81,82");
        assert!(
            text.starts_with("GET /portForward/ns/p?port=80,81,82 HTTP/1.1\r\n"),
            "{text}"
        );
        assert!(text.contains("Upgrade: websocket\r\n") && text.contains("Sec-WebSocket-Key: "));
        assert!(
            text.contains("Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n"),
            "{text}"
        );
        assert!(!text.contains("Y2FuYXJ5"), "{text}");
        assert!(channels("").starts_with("GET /portForward/ns/p HTTP"));

        let offered = "SPDY/3.1+portforward.k8s.io,SPDY/3.1+b.k8s.io, v4.channel.k8s.io";
        let fields: &[wsstream::Field<'_>] = &[
            ("Connection", b"Upgrade"),
            ("Upgrade", b"websocket"),
            ("Sec-WebSocket-Version", b"13"),
            ("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let offer = Offer::read("GET", true, fields, wsstream::Rules::Deployed).unwrap();
        assert_eq!(
            build("?ports=1", offered, &Way::Tunnel(offer)),
            "POST /portForward/ns/p HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 127.0.0.1\r\n\
             Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
             X-Stream-Protocol-Version: portforward.k8s.io\r\nX-Stream-Protocol-Version: b.k8s.io\r\n\
             Content-Length: 0\r\n\r\n"
        );
    }
}
