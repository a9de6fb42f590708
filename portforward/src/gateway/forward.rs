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
use crate::status::Status;
use crate::upgrade::SPDY_31;
use bytes::BytesMut;
use std::net::IpAddr;
use tokio::io::AsyncReadExt;
use tokio::time::{timeout, timeout_at};

/// A forwarding that may begin.
pub(super) struct Forwarding {
    pub(super) node: String,
    pub(super) request: RequestHead,
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
        session,
    } = forwarding;
    let opening = open(shared, watch, &node, &request);
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
            let mut first = BytesMut::from(&answer.as_received()[..]);
            first.unsplit(behind);
            relay::run(io, backend, early, first, watch).await;
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
        101 if agrees(&answer) => Ok(Opened {
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
fn agrees(answer: &ResponseHead) -> bool {
    answer.version == Version::Http11
        && answer.fields.first_contains("connection", "upgrade")
        && answer
            .fields
            .get("upgrade")
            .is_some_and(|v| v.eq_ignore_ascii_case(SPDY_31.as_bytes()))
        && !answer.fields.has("transfer-encoding")
        && answer.fields.get("content-length").is_none_or(|v| v == "0")
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
        if !hop && !is_identity(name) {
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
    fields.push_static("Upgrade", SPDY_31);
    Ok(RequestHead::new(
        head.method.clone(),
        format!("/portForward/{namespace}/{pod}"),
        fields,
    ))
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
        let out = request(&head, "ns", "p", IpAddr::from([127, 0, 0, 1]))
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
}
