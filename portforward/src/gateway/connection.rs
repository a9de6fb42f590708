//! One HTTP/1.1 connection: requests in turn, until one of them becomes a forwarding.

use super::backend::Leg;
use super::forward::{self, Forwarding};
use super::request::{Client, Decision};
use super::watch::{self, Chunked};
use super::{Shared, http2};
use crate::http1::{ReadError, RequestHead, read_request_head};
use crate::observe::Event;
use crate::server::admit::Place;
use crate::server::answer::{Answer, finish};
use crate::server::listen::Accepted;
use crate::server::negotiate::{self, Wish};
use crate::status::Status;
use crate::tls::{self, Subject};
use bytes::BytesMut;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

/// Serves a connection past its handshake, in the protocol that the handshake chose.
pub(super) async fn serve(shared: Arc<Shared>, accepted: Accepted) {
    let Accepted { io, peer, place } = accepted;
    // A certificate that passed the handshake and still cannot be read is nobody's.
    let Ok(subject) = tls::peer_subject(io.get_ref().1) else {
        return;
    };
    if io.get_ref().1.alpn_protocol() == Some(tls::ALPN_HTTP2) {
        http2::serve(Client::new(shared, peer, subject), io, place).await;
    } else {
        serve_requests(shared, io, peer, subject, place).await;
    }
}

/// Serves an HTTP/1.1 connection of a known peer.
pub(super) async fn serve_requests<T: Leg>(
    shared: Arc<Shared>,
    io: T,
    peer: SocketAddr,
    subject: Option<Subject>,
    place: Place<IpAddr>,
) {
    let client = Client::new(shared, peer, subject);
    Connection { client }.serve(io, place).await;
}

struct Connection {
    client: Client,
}

/// What becomes of the connection after a request.
enum Next {
    /// The next request.
    Another,
    /// The end, after what was said.
    Close,
    /// The end, because the peer is gone.
    Gone,
    /// A forwarding.
    Forward(Box<Forwarding>),
}

impl Connection {
    async fn serve<T: Leg>(self, mut io: T, place: Place<IpAddr>) {
        let limits = self.client.shared.config.head;
        let mut buf = BytesMut::new();
        let mut place = Some(place);
        loop {
            if place.is_none() && !self.wait(&mut io, &mut buf).await {
                return;
            }
            let head = read_request_head(&mut io, &mut buf, &limits, limits.deadline()).await;
            place = None;
            let next = match head {
                Ok(head) => self.request(&mut io, &mut buf, head).await,
                Err(ReadError::Head(error)) => {
                    let status = Status::new(error.status(), "BadRequest", error.to_string());
                    say(&mut io, &status).await
                }
                Err(ReadError::Closed | ReadError::Timeout | ReadError::Io(_)) => Ok(Next::Gone),
            };
            match next {
                Ok(Next::Another) => {}
                Ok(Next::Close) => return finish(&mut io).await,
                Ok(Next::Gone) | Err(_) => return,
                Ok(Next::Forward(forwarding)) => {
                    let Client { shared, watch, .. } = &self.client;
                    return forward::serve(shared, watch, io, buf, *forwarding).await;
                }
            }
        }
    }

    /// Waits for the first byte of a further request.
    async fn wait<T: Leg>(&self, io: &mut T, buf: &mut BytesMut) -> bool {
        !buf.is_empty()
            || matches!(timeout(self.client.shared.config.idle, io.read_buf(buf)).await, Ok(Ok(n)) if n > 0)
    }

    async fn request<T: Leg>(
        &self,
        io: &mut T,
        buf: &mut BytesMut,
        head: RequestHead,
    ) -> io::Result<Next> {
        self.client.watch.tell(|| Event::Request {
            method: head.method.clone(),
            path: head.path().to_owned(),
        });
        let wish = negotiate::wish(&head.fields);
        let closes = head
            .fields
            .list("connection")
            .any(|t| t.eq_ignore_ascii_case(b"close"));
        // Bytes behind a request for an upgrade are of no HTTP: whatever the answer, no request is
        // read from them (T12). A body is never expected, so where it ends is not known.
        let last = closes || wish != Wish::Stay || head.content_length() > 0;
        match self.client.decide(&head, wish) {
            Decision::Forward(forwarding) => Ok(Next::Forward(forwarding)),
            Decision::Answer(refusal, hang_up) => answer(io, refusal, last || hang_up).await,
            Decision::Watch(query, wanted) => {
                let store = &self.client.shared.store;
                let open = watch::serve(&mut Chunked { io, buf }, store, &query, &wanted).await?;
                Ok(if open && !last {
                    Next::Another
                } else {
                    Next::Close
                })
            }
        }
    }
}

async fn answer<T: Leg>(io: &mut T, answer: Answer, close: bool) -> io::Result<Next> {
    answer.write(io, close).await?;
    Ok(if close { Next::Close } else { Next::Another })
}

async fn say<T: Leg>(io: &mut T, status: &Status) -> io::Result<Next> {
    answer(io, Answer::status(status), true).await
}
