//! Every future of the library, dropped after every number of polls: what its `# Cancel safety` says
//! holds, what is left works on, and nothing is left over.
#![cfg(all(feature = "gateway", feature = "node"))]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests: a panic is the verdict"
)]

mod docs;
mod forwards;

use bytes::{Bytes, BytesMut};
use portforward::http1::{BodyLimits, HeadLimits, read_request_head, read_response_head};
use portforward::record::{self, Recorder};
use portforward::session::{self, Config, Session, Stream};
use portforward::transcript::Provenance;
use portforward::upgrade::{self, CHANNEL_V4, TUNNEL, UpgradeRequest};
use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

/// More polls than any of these needs: who asks for more spins.
const MOST: usize = 5000;

/// Polls as often as woken, `polls` times at most, then drops.
async fn cancelled<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// A case for each number of polls, until one came to its end: how many there were.
async fn each<F: Future<Output = bool>>(mut case: impl FnMut(usize) -> F) -> usize {
    for polls in 0..MOST {
        let before = Handle::current().metrics().num_alive_tasks();
        let whole = timeout(Duration::from_secs(60), case(polls)).await;
        let whole = whole.unwrap_or_else(|_| panic!("hangs when dropped after {polls} polls"));
        // Tasks end when they are polled again.
        for _ in 0..500 {
            if Handle::current().metrics().num_alive_tasks() <= before {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        let after = Handle::current().metrics().num_alive_tasks();
        assert!(
            after <= before,
            "{} tasks left after {polls} polls",
            after - before
        );
        if whole {
            return polls;
        }
    }
    panic!("no end in {MOST} polls");
}

/// Client and server joined by a pipe of few bytes, so that there is much to wait for.
struct Joined {
    client: Session,
    server: Session,
}

impl Joined {
    fn new() -> Self {
        let (a, b) = duplex(16);
        let mut config = Config::default();
        config.stream_send = 8;
        let (client, driver) = session::client(a, BytesMut::new(), config.clone()).unwrap();
        tokio::spawn(driver);
        let (server, driver) = session::server(b, BytesMut::new(), config).unwrap();
        tokio::spawn(driver);
        Self { client, server }
    }

    async fn open(&self) -> (Stream, Stream) {
        let ours = self
            .client
            .open([("a", "b")].into_iter().collect())
            .unwrap();
        let theirs = self.server.accept().await.unwrap().accept().unwrap();
        (ours, theirs)
    }

    /// It carries bytes as if nothing had been.
    async fn works(&self) {
        let (mut ours, mut theirs) = self.open().await;
        let (sent, got) = tokio::join!(
            async {
                ours.write_all(b"there").await?;
                ours.shutdown().await
            },
            async {
                let mut got = Vec::new();
                theirs.read_to_end(&mut got).await.map(|_| got)
            }
        );
        sent.unwrap();
        assert_eq!(got.unwrap(), b"there");
    }
}

#[tokio::test(start_paused = true)]
async fn accept_loses_no_stream() {
    each(|polls| async move {
        let joined = Joined::new();
        let mut ours = joined
            .client
            .open([("a", "b")].into_iter().collect())
            .unwrap();
        let first = cancelled(joined.server.accept(), polls).await;
        let whole = first.is_some();
        let incoming = match first {
            Some(incoming) => incoming,
            None => joined.server.accept().await,
        };
        let _theirs = incoming.unwrap().accept().unwrap();
        ours.replied().await.unwrap();
        joined.works().await;
        whole
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn replied_and_closed_can_be_asked_again() {
    each(|polls| async move {
        let joined = Joined::new();
        let (mut ours, _theirs) = joined.open().await;
        let replied = cancelled(ours.replied(), polls).await;
        ours.replied().await.unwrap();
        assert!(
            cancelled(joined.client.closed(), polls.min(1))
                .await
                .is_none()
        );
        joined.works().await;
        joined.server.close();
        let closed = cancelled(joined.client.closed(), polls).await;
        let reason = joined.client.closed().await;
        assert!(closed.as_ref().is_none_or(|closed| *closed == reason));
        replied.is_some() && closed.is_some()
    })
    .await;
}

/// Reads and writes that are dropped on their way: every byte once, in order.
#[tokio::test(start_paused = true)]
async fn reads_and_writes_neither_lose_nor_double() {
    each(|polls| async move {
        let joined = Joined::new();
        let (mut ours, mut theirs) = joined.open().await;
        let writer = tokio::spawn(async move {
            let mut whole = true;
            for piece in [&b"one"[..], b"two, which is longer than the queue", b"3"] {
                let mut chunk = Bytes::copy_from_slice(piece);
                let write = poll_fn(|cx| ours.poll_write_chunk(cx, &mut chunk));
                whole &= cancelled(write, polls).await.is_some();
                assert!(chunk.is_empty() || chunk == piece, "a part of it was taken");
                if !chunk.is_empty() {
                    let again = poll_fn(|cx| ours.poll_write_chunk(cx, &mut chunk));
                    again.await.unwrap();
                }
                whole &= cancelled(ours.flush(), polls).await.is_some();
            }
            whole &= cancelled(ours.shutdown(), polls).await.is_some();
            ours.shutdown().await.unwrap();
            (ours, whole)
        });
        let (mut got, mut whole) = (Vec::new(), true);
        loop {
            let read = cancelled(poll_fn(|cx| theirs.poll_read_chunk(cx)), polls).await;
            whole &= read.is_some();
            let chunk = match read {
                Some(chunk) => chunk,
                None => poll_fn(|cx| theirs.poll_read_chunk(cx)).await,
            };
            let Some(chunk) = chunk.unwrap() else { break };
            got.extend_from_slice(&chunk);
            let mut few = [0; 2];
            let read = cancelled(theirs.read(&mut few), polls).await;
            if let Some(n) = read {
                got.extend_from_slice(&few[..n.unwrap()]);
            }
        }
        assert_eq!(got, b"onetwo, which is longer than the queue3");
        let (_ours, wrote) = writer.await.unwrap();
        joined.works().await;
        whole && wrote
    })
    .await;
}

/// The connection goes with the future, and nothing else does.
#[tokio::test(start_paused = true)]
async fn a_dropped_upgrade_closes_its_connection() {
    const SPDY: &str = "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
        X-Stream-Protocol-Version: portforward.k8s.io\r\n\r\n";
    async fn serve(mut io: DuplexStream) -> io::Result<()> {
        let mut early = BytesMut::new();
        let limits = HeadLimits::default();
        let head = read_request_head(&mut io, &mut early, &limits, limits.deadline()).await;
        let head = head.map_err(io::Error::other)?;
        let answer = match head.fields.get_str("sec-websocket-key") {
            None => SPDY.to_owned(),
            Some(key) => format!(
                "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: {TUNNEL}\r\n\r\n",
                wsstream::accept_key(key).unwrap()
            ),
        };
        io.write_all(answer.as_bytes()).await?;
        io.read_to_end(&mut Vec::new()).await.map(drop)
    }
    let request = UpgradeRequest::new("/x", "h");
    for which in 0..4 {
        let request = &request;
        let most = each(|polls| async move {
            let (near, far) = duplex(8);
            let server = tokio::spawn(serve(far));
            let (limits, body) = (HeadLimits::default(), BodyLimits::default());
            let whole = match which {
                0 => cancelled(upgrade::spdy(near, request), polls)
                    .await
                    .map(|r| drop(r.unwrap())),
                1 => cancelled(upgrade::spdy_within(near, request, &limits, &body), polls)
                    .await
                    .map(|r| drop(r.unwrap())),
                2 => {
                    let offered = [TUNNEL, CHANNEL_V4];
                    cancelled(upgrade::websocket(near, request, &offered, None), polls)
                        .await
                        .map(|r| drop(r.unwrap()))
                }
                _ => cancelled(upgrade::spdy_recorded(near, request, recorder()), polls)
                    .await
                    .map(|r| drop(r.unwrap())),
            };
            // It sees the end, however far it came.
            let _ended = server.await.unwrap();
            whole.is_some()
        })
        .await;
        assert!(most > 5, "{most} polls are no test");
    }
}

fn recorder() -> Recorder {
    let provenance = Provenance::new("a", "b", "c", "d", "e");
    record::start(Vec::new(), &provenance, |_| {}).unwrap().0
}

#[tokio::test(start_paused = true)]
async fn a_head_can_be_read_on() {
    let request = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\nbehind";
    let response = b"HTTP/1.1 200 OK\r\nServer: s\r\n\r\nbehind";
    each(|polls| async move {
        let mut whole = true;
        for (wire, is_request) in [(&request[..], true), (response, false)] {
            let (mut near, mut far) = duplex(3);
            let writer = tokio::spawn(async move { far.write_all(wire).await.map(|()| far) });
            let mut buf = BytesMut::new();
            let limits = HeadLimits::default();
            let at = limits.deadline();
            if is_request {
                let head = cancelled(read_request_head(&mut near, &mut buf, &limits, at), polls);
                let head = if let Some(head) = head.await {
                    head
                } else {
                    whole = false;
                    read_request_head(&mut near, &mut buf, &limits, at).await
                };
                assert_eq!(head.unwrap().path(), "/x");
            } else {
                let head = cancelled(read_response_head(&mut near, &mut buf, &limits, at), polls);
                let head = if let Some(head) = head.await {
                    head
                } else {
                    whole = false;
                    read_response_head(&mut near, &mut buf, &limits, at).await
                };
                assert_eq!(head.unwrap().status, 200);
            }
            while buf.len() < 6 {
                near.read_buf(&mut buf).await.unwrap();
            }
            assert_eq!(buf, b"behind"[..]);
            writer.await.unwrap().unwrap();
        }
        whole
    })
    .await;
}
