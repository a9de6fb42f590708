//! How WebSockets end, and what must not look like an end: what a strict review found.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test"
)]

use bytes::{BufMut as _, Bytes, BytesMut};
use portforward::session::{Config, channels};
use portforward::websocket::WsByteStream;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf, duplex,
    split,
};
use tokio::time::timeout;
use wsstream::{Format, Role};

/// As tokio-rustls: write takes, flush moves.
struct Lazy {
    inner: DuplexStream,
    held: Vec<u8>,
}
impl AsyncRead for Lazy {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}
impl Lazy {
    fn push(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            match Pin::new(&mut self.inner).poll_write(cx, &held) {
                Poll::Ready(Ok(n)) => self.held = held[n..].to_vec(),
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => {
                    self.held = held;
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
impl AsyncWrite for Lazy {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.held.len() > 64 << 10 && self.push(cx)?.is_pending() {
            return Poll::Pending;
        }
        self.held.extend_from_slice(buf);
        let _moved: Poll<()> = self.push(cx)?;
        Poll::Ready(Ok(buf.len()))
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.push(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.push(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// what the TLS layer holds is never flushed once the socket was full.
#[tokio::test(start_paused = true)]
async fn flush_that_was_pending_is_forgotten() {
    let (near, mut far) = duplex(1000);
    let (mut streams, driver) = channels::server(
        Lazy {
            inner: near,
            held: Vec::new(),
        },
        BytesMut::new(),
        Format::Binary,
        &[80],
        Config::default(),
    )
    .unwrap();
    let _d = tokio::spawn(driver);
    let mut one = streams.pop().unwrap();
    one.data.write_all(&vec![7; 20_000]).await.unwrap();
    let mut got = vec![0; 10 + 20_004];
    tokio::time::sleep(Duration::from_secs(1)).await;
    timeout(Duration::from_secs(60), far.read_exact(&mut got))
        .await
        .expect("the rest never leaves")
        .unwrap();
}

/// The same with real TLS would need certificates; the same mock on the tunnel, for comparison.
#[tokio::test(start_paused = true)]
async fn tunnel_pong_in_a_full_tls_layer_is_never_flushed() {
    let (near, far) = duplex(64);
    let mut ws = WsByteStream::server(
        Lazy {
            inner: near,
            held: Vec::new(),
        },
        BytesMut::new(),
    )
    .unwrap();
    let reader = tokio::spawn(async move {
        let mut b = [0; 16];
        ws.read(&mut b).await
    });
    // 10 pings of 100 bytes
    let mut wire = Vec::new();
    for _ in 0..10 {
        wire.extend([0x89, 0x80 | 0x64, 0, 0, 0, 0]);
        wire.extend([b'p'; 100]);
    }
    let (mut fr, mut fw) = split(far);
    let w = tokio::spawn(async move {
        fw.write_all(&wire).await.unwrap();
        std::future::pending::<()>().await;
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut got = vec![0; 1020];
    let r = timeout(Duration::from_secs(60), fr.read_exact(&mut got)).await;
    drop((reader, w));
    r.expect("pongs stay in the TLS layer").unwrap();
}

type Streams = Vec<channels::PortStreams>;
type Driver = channels::ChannelDriver<DuplexStream>;

fn pair(ports: &[u16]) -> (Streams, Driver, Streams, Driver) {
    let (a, b) = duplex(1 << 16);
    let (cs, cd) =
        channels::client(a, BytesMut::new(), Format::Binary, ports, Config::default()).unwrap();
    let (ss, sd) =
        channels::server(b, BytesMut::new(), Format::Binary, ports, Config::default()).unwrap();
    (cs, cd, ss, sd)
}

/// the server is stopped (node/channels.rs `stop`: tasks aborted) in the middle of a download.
#[tokio::test(start_paused = true)]
async fn aborted_server_stream_is_no_clean_end_at_the_client() {
    let (mut c, cd, mut s, sd) = pair(&[80]);
    let (_cd, _sd) = (tokio::spawn(cd), tokio::spawn(sd));
    let mut s = s.pop().unwrap();
    s.data.write_all(b"half of").await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    drop(s); // abort: neither FIN nor text
    let mut c = c.pop().unwrap();
    let mut got = Vec::new();
    let end = c.data.read_to_end(&mut got).await;
    assert_eq!(got, b"half of");
    assert!(end.is_err(), "clean EOF after an abort: {end:?}");
}

/// idle timeout of a server with an open pod connection.
#[tokio::test(start_paused = true)]
async fn idle_server_is_no_clean_end_at_the_client() {
    let (a, mut b) = duplex(1 << 16);
    let (s, sd) =
        channels::server(a, BytesMut::new(), Format::Binary, &[80], Config::default()).unwrap();
    let _driver = tokio::spawn(sd);
    let mut got = Vec::new();
    b.read_to_end(&mut got).await.unwrap();
    drop(s);
    assert_ne!(
        &got[10..14],
        &[0x88, 2, 3, 0xe8],
        "Close 1000 for an idle timeout"
    );
}

/// client resets its stream (local application died with RST): the pod must not see a clean EOF.
#[tokio::test(start_paused = true)]
async fn reset_client_stream_is_no_clean_end_at_the_pod() {
    let (mut c, cd, mut s, sd) = pair(&[80]);
    let (_cd, _sd) = (tokio::spawn(cd), tokio::spawn(sd));
    let mut c = c.pop().unwrap();
    c.data.write_all(b"half of").await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    c.data.reset(spdy::RstStatus::CANCEL);
    let mut s = s.pop().unwrap();
    let mut got = Vec::new();
    let end = s.data.read_to_end(&mut got).await;
    assert!(end.is_err(), "clean EOF to the pod after an abort: {end:?}");
}

/// Close 1011 / 1002 of a client.
#[tokio::test(start_paused = true)]
async fn close_1011_of_a_client_is_no_clean_end_at_the_pod() {
    for code in [1011u16, 1002] {
        let (a, mut b) = duplex(1 << 16);
        let (mut s, sd) =
            channels::server(a, BytesMut::new(), Format::Binary, &[80], Config::default()).unwrap();
        let _sd = tokio::spawn(sd);
        let mut wire = vec![
            0x82, 0x83, 0, 0, 0, 0, 0, b'h', b'a', 0x88, 0x82, 0, 0, 0, 0,
        ];
        wire.extend(code.to_be_bytes());
        b.write_all(&wire).await.unwrap();
        let mut got = Vec::new();
        let end = s[0].data.read_to_end(&mut got).await;
        assert!(
            end.is_err(),
            "clean EOF to the pod after Close {code}: {end:?}"
        );
    }
}

struct BrokenWrite {
    data: Bytes,
    broken: bool,
}
impl AsyncRead for BrokenWrite {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let n = buf.remaining().min(self.data.len());
        buf.put_slice(&self.data.split_to(n));
        Poll::Ready(Ok(()))
    }
}
impl AsyncWrite for BrokenWrite {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.broken {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        } else {
            Poll::Ready(Ok(buf.len()))
        }
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// the server has answered, closed with 1000 and gone; our write breaks; its last words wait in the socket.
#[tokio::test(start_paused = true)]
async fn last_words_are_read_when_a_write_breaks() {
    let mut wire = BytesMut::new();
    wire.put_slice(&[0x82, 3, 0, 80, 0, 0x82, 3, 1, 80, 0]);
    wire.put_slice(&[0x82, 4, 0, b'4', b'1', b'3', 0x88, 2, 3, 0xe8]);
    let io = BrokenWrite {
        data: wire.freeze(),
        broken: true,
    };
    let (mut c, cd) = channels::client(
        io,
        BytesMut::new(),
        Format::Binary,
        &[80],
        Config::default(),
    )
    .unwrap();
    c[0].data.write_all(b"upload").await.unwrap();
    let _driver = tokio::spawn(cd);
    let mut got = Vec::new();
    let end = c[0].data.read_to_end(&mut got).await;
    assert_eq!(got, b"413");
    assert!(end.is_ok(), "{end:?}");
}

/// QUIET is counted from the last byte of the peer, not from our FIN.
#[tokio::test(start_paused = true)]
async fn quiet_begins_with_the_end() {
    let (mut c, cd, mut s, sd) = pair(&[80]);
    let (_cd, _sd) = (tokio::spawn(cd), tokio::spawn(sd));
    let mut c = c.pop().unwrap();
    c.data.replied().await.unwrap();
    tokio::time::sleep(Duration::from_secs(9)).await;
    c.data.write_all(b"question").await.unwrap();
    c.data.shutdown().await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    s[0].data.write_all(b"answer").await.unwrap();
    let mut got = [0; 6];
    let r = c.data.read_exact(&mut got).await;
    assert!(r.is_ok(), "2 s after the end: {r:?}");
}

/// writes after the server's Close: do they ever end?
#[tokio::test(start_paused = true)]
async fn writes_behind_the_servers_close_end() {
    let (mut c, cd, mut s, sd) = pair(&[80]);
    let (cd, _sd) = (tokio::spawn(cd), tokio::spawn(sd));
    let mut s1 = s.pop().unwrap();
    s1.data.shutdown().await.unwrap();
    s1.error.shutdown().await.unwrap();
    cd.await.unwrap();
    let w = timeout(Duration::from_secs(3600), async {
        c[0].data.write_all(b"x").await?;
        c[0].data.flush().await
    })
    .await;
    assert!(matches!(w, Ok(Err(_))), "{w:?}");
}

/// a server that may not read does not notice that its client is gone.
#[tokio::test(start_paused = true)]
async fn a_paused_server_notices_that_its_client_is_gone() {
    let (mut c, cd, s, sd) = pair(&[80, 81]);
    let (cd, sd) = (tokio::spawn(cd), tokio::spawn(sd));
    let mut c0 = c.remove(0);
    // The pod does not read.
    let up = tokio::spawn(async move {
        drop(c0.data.write_all(&vec![1; 8 << 20]).await);
        std::future::pending::<()>().await;
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    // The other port: is it alive?
    let mut s = s;
    c[0].data.write_all(b"hello").await.unwrap();
    // The stalled port is given up; the other goes on.
    let other = timeout(Duration::from_secs(600), s[1].data.read_exact(&mut [0; 5])).await;
    assert!(matches!(other, Ok(Ok(5))), "{other:?}");
    cd.abort();
    up.abort();
    let ended = timeout(Duration::from_secs(1800), sd).await;
    assert!(ended.is_ok(), "half an hour after the client vanished");
}

/// WsByteStream with a small budget of the caller's.
#[tokio::test(start_paused = true)]
async fn a_small_budget_is_back_pressure_and_no_broken_pipe() {
    let (near, _far) = duplex(16);
    let mut config = wsstream::Config::stream(Role::Server);
    config.limits.outgoing = 1000;
    let mut ws = WsByteStream::new(near, BytesMut::new(), config).unwrap();
    let r = timeout(Duration::from_secs(1), async {
        for _ in 0..100 {
            ws.write_all(&[1; 100]).await?;
        }
        io::Result::Ok(())
    })
    .await;
    assert!(r.is_err(), "must wait: {r:?}");
}

/// cut inside a message after our own Close.
#[tokio::test(start_paused = true)]
async fn cut_inside_a_message_after_our_close() {
    let (near, mut far) = duplex(1 << 16);
    let mut ws = WsByteStream::client(near, BytesMut::new()).unwrap();
    ws.shutdown().await.unwrap();
    far.write_all(&[0x82, 10, 1, 2, 3]).await.unwrap();
    drop(far);
    let mut got = Vec::new();
    let r = ws.read_to_end(&mut got).await;
    assert!(r.is_err(), "clean EOF after a cut: {r:?} {got:?}");
}

/// what waits for a full socket excuses silence.
#[tokio::test(start_paused = true)]
async fn a_pod_that_does_not_read_is_not_dead_after_30_s() {
    let (a, b) = duplex(1 << 12);
    let (mut c, cd) =
        channels::client(a, BytesMut::new(), Format::Binary, &[80], Config::default()).unwrap();
    let cd = tokio::spawn(cd);
    let mut c0 = c.pop().unwrap();
    let (_br, mut bw) = split(b);
    bw.write_all(&[0x82, 3, 0, 80, 0, 0x82, 3, 1, 80, 0])
        .await
        .unwrap();
    // As much as the stream and the driver hold.
    c0.data.write_all(&vec![1; 150 << 10]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    // One byte of the pod, which then stops reading (a breakpoint).
    bw.write_all(&[0x82, 2, 0, b'x']).await.unwrap();
    let e = timeout(Duration::from_secs(60), cd).await;
    assert!(e.is_err(), "{e:?}");
}
