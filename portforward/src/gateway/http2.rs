//! Objects by HTTP/2: the same requests, rights and answers as by HTTP/1.1. No forwarding, which
//! is an upgrade and therefore HTTP/1.1 (PROTOCOL.md 2.1).

use super::backend::Leg;
use super::request::{Client, Decision};
use super::watch::{self, Watcher};
use crate::http1::{HeadLimits, RequestHead, ResponseHead};
use crate::server::admit::Place;
use crate::server::answer::{Answer, WRITE_TIME};
use crate::server::negotiate::Wish;
use crate::status::Status;
use bytes::{BufMut, Bytes, BytesMut};
use h2::SendStream;
use h2::server::{Builder, Connection, SendResponse};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// Requests of one connection at a time. kubectl has a dozen watches at most.
const STREAMS: u32 = 100;
/// Answer bytes of one request that may wait for the client.
const UNSENT: usize = 64 * 1024;
/// Streams that a client opened and reset before we looked at them; more end the connection.
const RESET: usize = 20;
/// How long a connection that we end may take to end.
const LINGER: Duration = Duration::from_secs(1);

/// Serves a connection. `place` is kept until the first request.
pub(super) async fn serve<T: Leg>(client: Client, io: T, place: Place<IpAddr>) {
    let limits = client.shared.config.head;
    let idle = client.shared.config.idle;
    let first = limits.deadline();
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(limits.bytes).unwrap_or(u32::MAX))
        .max_send_buffer_size(UNSENT)
        .max_pending_accept_reset_streams(RESET);
    let Ok(Ok(mut connection)) = timeout_at(first, builder.handshake(io)).await else {
        return;
    };

    let mut place = Some(place);
    let mut requests = JoinSet::new();
    let mut deadline = first;
    loop {
        tokio::select! {
            next = connection.accept() => {
                let Some(Ok((request, respond))) = next else { return };
                place = None;
                let client = client.clone();
                requests.spawn(async move { answer(&client, request, respond).await });
            }
            Some(done) = requests.join_next() => {
                // Who is of no use here is shown the door, as by HTTP/1.1.
                // A goodbye alone would leave it the connection: it need not be heard.
                if client.is_nobody() {
                    break;
                }
                if matches!(done, Ok(Ok(true))) {
                    connection.graceful_shutdown();
                }
                let now = Instant::now();
                deadline = now.checked_add(idle).unwrap_or(now);
            }
            () = sleep_until(deadline), if requests.is_empty() => break,
        }
    }
    drop(place);
    leave(connection).await;
}

/// Says GOAWAY and waits for the end, but not for long.
async fn leave<T: Leg>(mut connection: Connection<T, Bytes>) {
    connection.graceful_shutdown();
    let ended = async { while let Some(Ok(_)) = connection.accept().await {} };
    drop(timeout(LINGER, ended).await);
}

/// Answers one request; whether the connection has no further use. A request body is never read:
/// the window of the stream is the limit of what comes, and the answer's end resets the rest.
async fn answer(
    client: &Client,
    request: Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> io::Result<bool> {
    let (parts, _body) = request.into_parts();
    let head = match head_of(&parts, &client.shared.config.head) {
        Ok(head) => head,
        Err(status) => {
            return send(&mut respond, Answer::status(&status))
                .await
                .map(|()| client.is_nobody());
        }
    };
    // `Connection` and `Upgrade` are malformed in HTTP/2: nobody can wish for anything.
    match client.decide(&head, Wish::Stay) {
        Decision::Answer(answer, hang_up) => {
            send(&mut respond, answer).await?;
            Ok(hang_up)
        }
        Decision::Watch(query, wanted) => {
            let mut watcher = Stream {
                respond,
                body: None,
            };
            watch::serve(&mut watcher, &client.shared.store, &query, &wanted).await?;
            Ok(false)
        }
        Decision::Forward(_) => {
            send(&mut respond, Answer::status(&Status::upgrade_required())).await?;
            Ok(false)
        }
    }
}

/// The same request in HTTP/1.1, read by the same parser: what is refused there is refused here,
/// and a path has one spelling (T18).
fn head_of(parts: &http::request::Parts, limits: &HeadLimits) -> Result<RequestHead, Status> {
    let mut text = BytesMut::new();
    let target = parts
        .uri
        .path_and_query()
        .map_or("", |target| target.as_str());
    for part in [parts.method.as_str(), " ", target, " HTTP/1.1\r\n"] {
        text.put_slice(part.as_bytes());
    }
    let mut field = |name: &str, value: &[u8]| {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            text.put_slice(part);
        }
    };
    let authority = parts.uri.authority();
    if let Some(authority) = authority {
        field("Host", authority.as_str().as_bytes());
    }
    for (name, value) in &parts.headers {
        // `:authority` stands for it (RFC 9113, 8.3.1).
        if authority.is_none() || name != header::HOST {
            field(name.as_str(), value.as_bytes());
        }
    }
    text.put_slice(b"\r\n");
    match RequestHead::parse(&mut text, limits) {
        Ok(Some(head)) if text.is_empty() => Ok(head),
        Ok(_) => Err(Status::bad_request("malformed request")),
        Err(error) => Err(Status::new(error.status(), "BadRequest", error.to_string())),
    }
}

/// Sends a whole answer.
async fn send(respond: &mut SendResponse<Bytes>, answer: Answer) -> io::Result<()> {
    let (head, body) = answer.into_parts();
    let mut stream = respond
        .send_response(response(&head)?, body.is_empty())
        .map_err(failed)?;
    if body.is_empty() {
        return Ok(());
    }
    push(&mut stream, body, true).await
}

fn response(head: &ResponseHead) -> io::Result<Response<()>> {
    let invalid = |error: http::Error| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut fields = HeaderMap::with_capacity(head.fields.len());
    for field in &head.fields {
        let name =
            HeaderName::from_bytes(field.name().as_bytes()).map_err(|e| invalid(e.into()))?;
        let value =
            HeaderValue::from_maybe_shared(field.value().clone()).map_err(|e| invalid(e.into()))?;
        fields.append(name, value);
    }
    let mut response = Response::builder()
        .status(head.status)
        .body(())
        .map_err(invalid)?;
    *response.headers_mut() = fields;
    Ok(response)
}

/// Sends bytes as the client takes them, within [`WRITE_TIME`].
async fn push(stream: &mut SendStream<Bytes>, mut bytes: Bytes, last: bool) -> io::Result<()> {
    let sent = async {
        while !bytes.is_empty() {
            stream.reserve_capacity(bytes.len());
            while stream.capacity() == 0 {
                match poll_fn(|cx| stream.poll_capacity(cx)).await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(failed(error)),
                    None => return Err(io::ErrorKind::BrokenPipe.into()),
                }
            }
            let part = bytes.split_to(stream.capacity().min(bytes.len()));
            let end = last && bytes.is_empty();
            stream.send_data(part, end).map_err(failed)?;
        }
        Ok(())
    };
    timeout(WRITE_TIME, sent)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn failed(error: h2::Error) -> io::Error {
    io::Error::other(error)
}

/// A watcher by HTTP/2.
struct Stream {
    respond: SendResponse<Bytes>,
    body: Option<SendStream<Bytes>>,
}

impl Stream {
    fn body(&mut self) -> io::Result<&mut SendStream<Bytes>> {
        self.body
            .as_mut()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Watcher for Stream {
    async fn begin(&mut self) -> io::Result<()> {
        let head = ResponseHead::new(200, watch::head_fields());
        let body = self.respond.send_response(response(&head)?, false);
        self.body = Some(body.map_err(failed)?);
        Ok(())
    }

    async fn line(&mut self, line: String) -> io::Result<()> {
        push(self.body()?, line.into(), false).await
    }

    async fn end(&mut self) -> io::Result<()> {
        self.body()?.send_data(Bytes::new(), true).map_err(failed)
    }

    async fn gone(&mut self) -> io::Result<()> {
        let body = self.body()?;
        poll_fn(|cx| body.poll_reset(cx)).await.map_err(failed)?;
        Ok(())
    }
}
