use super::*;
use crate::session::{self, Config};
use crate::upgrade;
use spdy::HeaderBlock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;
use wsstream::{CloseCode, CloseFrame, Connection, Event, Kind};

const PATIENCE: Duration = Duration::from_secs(20);

fn pair(room: usize) -> (WsByteStream<DuplexStream>, WsByteStream<DuplexStream>) {
    let (a, b) = duplex(room);
    (
        WsByteStream::client(a, BytesMut::new()).unwrap(),
        WsByteStream::server(b, BytesMut::new()).unwrap(),
    )
}

#[tokio::test]
async fn bytes_both_ways_through_a_narrow_pipe() {
    let (mut a, mut b) = pair(777);
    let sent: Vec<u8> = (0..=250).cycle().take(300_000).collect();
    let echo = async {
        let (mut read, mut write) = tokio::io::split(&mut b);
        tokio::io::copy(&mut read, &mut write).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let talk = async {
        let (mut read, mut write) = tokio::io::split(&mut a);
        let up = async {
            write.write_all(&sent).await.unwrap();
            write.flush().await.unwrap();
        };
        let mut got = vec![0; sent.len()];
        let ((), read_all) = tokio::join!(up, read.read_exact(&mut got));
        read_all.unwrap();
        assert!(got == sent);
        write.shutdown().await.unwrap();
        assert_eq!(
            read.read(&mut [0; 9]).await.unwrap(),
            0,
            "Close 1000 is the end"
        );
    };
    timeout(PATIENCE, async { tokio::join!(echo, talk) })
        .await
        .unwrap();
}

/// Everything but Close 1000 is an error, and none that looks like an end of file.
#[tokio::test]
async fn what_cuts_the_stream_is_an_error() {
    enum How {
        Eof,
        Inside,
        Close(Option<u16>),
        Text,
        Garbage,
        CloseInside,
    }
    for how in [
        How::Eof,
        How::Inside,
        How::Close(None),
        How::Close(Some(1001)),
        How::Close(Some(1011)),
        How::Text,
        How::Garbage,
        How::CloseInside,
    ] {
        let (a, mut raw) = duplex(1 << 16);
        let mut client = WsByteStream::client(a, BytesMut::new()).unwrap();
        let mut peer = Connection::new(wsstream::Config::stream(Role::Server)).unwrap();
        peer.send(Kind::Binary, &mut "before".into(), true).unwrap();
        match how {
            How::Close(code) => {
                let code = code.and_then(CloseCode::new);
                peer.close(&code.map_or_else(CloseFrame::default, CloseFrame::new))
                    .unwrap();
            }
            How::Text => peer.send(Kind::Text, &mut "text".into(), true).unwrap(),
            _ => {}
        }
        let n = peer.outgoing().remaining();
        let mut bytes = peer.outgoing().copy_to_bytes(n).to_vec();
        match how {
            How::Inside => bytes.extend([0x82, 5, b'x']),
            How::Garbage => bytes.extend([0xFF; 4]),
            How::CloseInside => bytes.extend(b"\x02\x01x\x88\x02\x03\xE8"),
            _ => {}
        }
        raw.write_all(&bytes).await.unwrap();
        raw.shutdown().await.unwrap();
        let mut got = Vec::new();
        let error = client.read_to_end(&mut got).await.unwrap_err();
        assert!(got.starts_with(b"before"), "what came before is read first");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        let inner = error.get_ref().unwrap().downcast_ref::<ConnectionError>();
        assert!(inner.is_some(), "{error}");
        let again = client.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(again.to_string(), error.to_string());
    }
}

#[tokio::test]
async fn pings_are_answered_while_reading_and_what_waits_is_bounded() {
    let (a, mut raw) = duplex(64);
    let mut client = WsByteStream::client(a, BytesMut::new()).unwrap();
    raw.write_all(&[0x89, 1, b'p', 0x82, 1, b'd'])
        .await
        .unwrap();
    let mut byte = [0];
    client.read_exact(&mut byte).await.unwrap();
    assert_eq!(byte, *b"d");
    let mut pong = [0; 7];
    raw.read_exact(&mut pong).await.unwrap();
    assert_eq!(pong[..2], [0x8A, 0x81]);
    // Nobody reads: at most the bound and one message are taken.
    let mut taken = 0;
    let mut cx = Context::from_waker(Waker::noop());
    let much = vec![0; 1 << 20];
    while let Poll::Ready(n) = Pin::new(&mut client).poll_write(&mut cx, &much) {
        taken += n.unwrap();
    }
    assert!(taken <= GATHERED + MESSAGE, "{taken}");
}

/// Only a Close that has left can have been answered by closing.
#[tokio::test]
async fn an_end_before_our_close_has_left_is_a_cut() {
    let (a, mut raw) = duplex(64);
    let mut client = WsByteStream::client(a, BytesMut::new()).unwrap();
    client.write_all(&[1; 1000]).await.unwrap();
    let shutdown = timeout(Duration::from_millis(20), client.shutdown());
    assert!(shutdown.await.is_err(), "nobody reads");
    raw.write_all(b"\x82\x04half").await.unwrap();
    drop(raw);
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap_err();
    assert_eq!(got, b"half");
    // Also when writing tells first.
    let (a, mut raw) = duplex(64);
    let mut client = WsByteStream::client(a, BytesMut::new()).unwrap();
    raw.write_all(b"\x82\x04half").await.unwrap();
    drop(raw);
    client.shutdown().await.unwrap_err();
    client.read_to_end(&mut Vec::new()).await.unwrap_err();
}

/// PROTOCOL.md 5.4: who has said Close need not wait for the answer.
#[tokio::test]
async fn an_answer_to_close_that_does_not_arrive_is_no_error() {
    let (a, mut raw) = duplex(64);
    let mut client = WsByteStream::client(a, BytesMut::new()).unwrap();
    raw.write_all(b"\x82\x02ok\x88\x02\x03\xE8").await.unwrap();
    drop(raw);
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"ok");
    client.flush().await.unwrap();
    client.shutdown().await.unwrap();
    // What had been written before is another matter.
    let (a, mut raw) = duplex(64);
    let mut client = WsByteStream::client(a, BytesMut::new()).unwrap();
    client.write_all(&[1; 1000]).await.unwrap();
    raw.write_all(b"\x88\x02\x03\xE8").await.unwrap();
    drop(raw);
    assert_eq!(client.read(&mut [0; 9]).await.unwrap(), 0);
    client.flush().await.unwrap_err();
}

/// Reading answers pings with what the writer waits for: each is woken for itself.
#[tokio::test]
async fn halves_on_two_tasks() {
    const MUCH: usize = 1 << 20;
    let (a, raw) = duplex(4096);
    let client = WsByteStream::client(a, BytesMut::new()).unwrap();
    let (mut read, mut write) = tokio::io::split(client);
    let (mut raw_read, mut raw_write) = tokio::io::split(raw);
    let writing = tokio::spawn(async move {
        write.write_all(&vec![7; MUCH]).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let reading = tokio::spawn(async move { read.read(&mut [0; 9]).await });
    let peer = async {
        let mut seen = 0;
        let mut piece = [0; 512];
        for turn in 0.. {
            // The reader is woken by each, and finds nothing to hand on.
            if turn % 32 == 0 {
                raw_write.write_all(b"\x8A\x00").await.unwrap();
            }
            let n = raw_read.read(&mut piece).await.unwrap();
            if n == 0 {
                break;
            }
            seen += n;
            tokio::task::yield_now().await;
        }
        seen
    };
    let seen = timeout(PATIENCE, peer).await.unwrap();
    assert!(seen > MUCH);
    timeout(PATIENCE, writing).await.unwrap().unwrap();
    drop(raw_write);
    drop(raw_read);
    let end = timeout(PATIENCE, reading).await.unwrap().unwrap();
    assert_eq!(end.unwrap(), 0, "Close had left");
}

/// The pair of a forwarded connection leaves as one message.
#[tokio::test]
async fn a_spdy_session_runs_inside() {
    let (a, b) = duplex(1 << 16);
    let client = WsByteStream::client(a, BytesMut::new()).unwrap();
    let (session, driver) = session::client(client, BytesMut::new(), Config::default()).unwrap();
    let driver = tokio::spawn(driver);
    let mut headers = HeaderBlock::new();
    headers.push("streamtype", "data");
    let _one = session.open(headers.clone()).unwrap();
    let _two = session.open(headers).unwrap();
    let mut raw = BytesMut::new();
    let mut b = b;
    let mut peer = Connection::new(wsstream::Config::stream(Role::Server)).unwrap();
    let mut messages = 0;
    let mut streams = 0;
    while streams < 2 {
        b.read_buf(&mut raw).await.unwrap();
        while let Some(event) = peer
            .poll_event(Instant::now().into_std(), &mut raw)
            .unwrap()
        {
            let Event::Message {
                begins, payload, ..
            } = event
            else {
                continue;
            };
            messages += usize::from(begins);
            streams += payload.windows(4).filter(|w| *w == [0x80, 3, 0, 1]).count();
        }
    }
    assert_eq!(messages, 1, "two SYN_STREAMs, one message");
    session.close();
    drop(b);
    timeout(PATIENCE, driver).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_request_and_its_answers() {
    let ask = |answer: String| async move {
        let (near, mut far) = duplex(1 << 16);
        let request = upgrade::UpgradeRequest::new("/p?ports=80", "h");
        let client = tokio::spawn(async move {
            let protocols = [upgrade::TUNNEL];
            upgrade::websocket(near, &request, &protocols, None)
                .await
                .map(|(up, p)| (up.early, p))
        });
        let mut head = vec![0; 4096];
        let n = far.read(&mut head).await.unwrap();
        let head = String::from_utf8_lossy(&head[..n]).into_owned();
        assert!(head.starts_with("GET /p?ports=80 HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"), "{head}");
        assert!(
            head.contains("Sec-WebSocket-Protocol: SPDY/3.1+portforward.k8s.io\r\n"),
            "{head}"
        );
        assert!(
            !head.contains("Content-Length") && !head.contains("X-Stream"),
            "{head}"
        );
        let key = head
            .split("Sec-WebSocket-Key: ")
            .nth(1)
            .unwrap()
            .split('\r')
            .next()
            .unwrap();
        let accept = wsstream::accept_key(key).unwrap();
        far.write_all(answer.replace("ACCEPT", &accept).as_bytes())
            .await
            .unwrap();
        far.shutdown().await.unwrap();
        client.await.unwrap()
    };
    let good = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Accept: ACCEPT\r\nSec-WebSocket-Protocol: SPDY/3.1+portforward.k8s.io\r\n\r\nearly";
    let (early, selected) = ask(good.to_owned()).await.unwrap();
    assert_eq!(
        (&early[..], selected.as_str()),
        (&b"early"[..], upgrade::TUNNEL)
    );
    // PROTOCOL.md 5.5: every answer that is not the 101 asked for, and nothing else.
    let table = [
        (good.replace("ACCEPT", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), true),
        (good.replace("Sec-WebSocket-Protocol", "X-Other"), true),
        (
            good.replace(
                "Protocol: SPDY/3.1+portforward.k8s.io",
                "Protocol: v4.channel.k8s.io",
            ),
            true,
        ),
        (
            good.replace("Upgrade: websocket", "Upgrade: SPDY/3.1"),
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(),
            true,
        ),
        (
            "HTTP/1.1 301 Moved\r\nLocation: /\r\nContent-Length: 0\r\n\r\n".to_owned(),
            true,
        ),
        (
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_owned(),
            true,
        ),
        (
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_owned(),
            true,
        ),
        (
            "HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n".to_owned(),
            true,
        ),
        (String::new(), false),
        ("SSH-2.0-x\r\n\r\n".to_owned(), false),
    ];
    for (answer, fallback) in table {
        let error = ask(answer.clone()).await.unwrap_err();
        assert_eq!(error.allows_fallback(), fallback, "{answer}: {error}");
    }
}

/// A transport that notes the slices of each write, and takes `room` bytes.
struct Noting {
    vectored: bool,
    room: usize,
    writes: Vec<Vec<usize>>,
    wire: BytesMut,
}

impl AsyncRead for Noting {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Noting {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.room == 0 {
            return Poll::Pending;
        }
        let before = self.wire.len();
        for buf in bufs {
            let n = buf.len().min(self.room);
            self.room = self.room.saturating_sub(n);
            self.wire.extend_from_slice(&buf[..n]);
        }
        self.writes.push(bufs.iter().map(|buf| buf.len()).collect());
        Poll::Ready(Ok(self.wire.len().saturating_sub(before)))
    }

    fn is_write_vectored(&self) -> bool {
        self.vectored
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What a client writes leaves with a flush, or once a DATA frame of ours has come together: then in one write.
#[tokio::test]
async fn a_clients_messages_leave_together() {
    let io = Noting {
        vectored: true,
        room: usize::MAX,
        writes: Vec::new(),
        wire: BytesMut::new(),
    };
    let config = wsstream::Config::stream(Role::Client);
    let mut stream = WsByteStream::new(io, BytesMut::new(), config).unwrap();
    stream.write_all(&vec![7; 4 * MESSAGE]).await.unwrap();
    assert_eq!(stream.io.writes, [[64 << 10; 4]]);
    stream.write_all(b"little").await.unwrap();
    assert_eq!(stream.io.writes.len(), 1);
    stream.flush().await.unwrap();
    assert_eq!(stream.io.writes.len(), 2);
}

/// Whether it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Behind a socket that is full what is gathered stays bounded, no flush is said to be done, and a read that finds room
/// wakes who writes.
#[tokio::test]
async fn gathered_behind_a_full_socket() {
    let io = Noting {
        vectored: true,
        room: 100 << 10,
        writes: Vec::new(),
        wire: BytesMut::new(),
    };
    let config = wsstream::Config::stream(Role::Client);
    let mut stream = WsByteStream::new(io, BytesMut::new(), config).unwrap();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    let (much, mut taken) = (vec![7; 1 << 20], 0);
    while let Poll::Ready(n) = Pin::new(&mut stream).poll_write(&mut cx, &much) {
        taken += n.unwrap();
    }
    let most = (100 << 10) + GATHERED + MESSAGE;
    assert!((GATHERED..=most).contains(&taken), "{taken}");
    assert!(Pin::new(&mut stream).poll_flush(&mut cx).is_pending());
    assert!(!woken.0.load(Ordering::Relaxed));
    stream.io.room = 1;
    let mut nothing = [0];
    let mut nothing = ReadBuf::new(&mut nothing);
    let read =
        Pin::new(&mut stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut nothing);
    assert!(read.is_pending());
    assert!(woken.0.load(Ordering::Relaxed));
    stream.io.room = usize::MAX;
    stream.flush().await.unwrap();
    assert!(stream.tunnel.outgoing().is_empty());
}

/// A server's payload goes to the socket from where it lies, in one write with its head; wherever that is cut, the rest
/// follows. A transport without vectored writes, and a client, write one buffer.
#[tokio::test]
async fn a_servers_payload_is_written_where_it_lies() {
    let bytes: Vec<u8> = (0..=250).cycle().take(20_000).collect();
    let make = |role, vectored, room| {
        let io = Noting {
            vectored,
            room,
            writes: Vec::new(),
            wire: BytesMut::new(),
        };
        WsByteStream::new(io, BytesMut::new(), wsstream::Config::stream(role)).unwrap()
    };
    for (role, vectored, writes) in [
        (Role::Server, true, vec![4, 8, 16_384, 3608]),
        (Role::Server, false, vec![20_004]),
        (Role::Client, true, vec![20_008]),
    ] {
        for room in [0, 3, 4, 10, 4 + 16_392, 20_003, usize::MAX] {
            let mut stream = make(role, vectored, room);
            let (head, payload) = bytes.split_at(8);
            let (payload, tail) = payload.split_at(16_384);
            let slices = [head, payload, tail].map(IoSlice::new);
            let n = stream.write_vectored(&slices).await.unwrap();
            assert_eq!(n, 20_000);
            // A client gathers.
            assert!(role == Role::Server || stream.io.writes.is_empty());
            let mut cx = Context::from_waker(Waker::noop());
            let flushed = Pin::new(&mut stream).poll_flush(&mut cx);
            assert_eq!(flushed.is_ready(), room == usize::MAX);
            if room > 0 {
                assert_eq!(stream.io.writes[0], writes);
            }
            if room == usize::MAX {
                assert_eq!(stream.io.writes.len(), 1);
            }
            stream.io.room = usize::MAX;
            stream.flush().await.unwrap();
            let other = match role {
                Role::Client => Role::Server,
                Role::Server => Role::Client,
            };
            let mut peer = Connection::new(wsstream::Config::new(other)).unwrap();
            let came = peer.poll_event(Instant::now().into_std(), &mut stream.io.wire);
            let Ok(Some(Event::Message { payload, ends, .. })) = came else {
                panic!("{came:?}");
            };
            assert!(ends && payload == bytes, "{role:?} {room}");
            assert!(stream.io.wire.is_empty());
        }
    }
}

/// A frame of at most 125 bytes with this first byte.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [9, 8, 7, 6];
    let length = u8::try_from(payload.len()).unwrap();
    assert!(length < 126);
    let bytes = payload.iter().zip(key.iter().cycle());
    let head = [&[first, 0x80 | length][..], &key].concat();
    head.into_iter().chain(bytes.map(|(b, k)| b ^ k)).collect()
}

/// Frames that came together are told a few bytes at a time, and all of them before what ends the stream.
#[tokio::test]
async fn what_came_at_once_is_read_a_little_at_a_time() {
    let long: Vec<u8> = (0..120).collect();
    let frames = [
        masked(0x89, b"ping"),
        masked(0x82, &long),
        masked(0x02, b"one "),
        masked(0x80, b""),
        masked(0x02, b"two"),
        masked(0x8a, b"pong"),
        masked(0x00, &long),
        masked(0x80, b"!"),
    ]
    .concat();
    let expected = [&long[..], b"one two", &long, b"!"].concat();
    for (end, clean) in [
        (masked(0x88, &1000_u16.to_be_bytes()), true),
        (masked(0x88, &1011_u16.to_be_bytes()), false),
        (masked(0x81, b"text"), false),
    ] {
        for at_once in [1, 7, 4096] {
            let (mut a, b) = duplex(4096);
            a.write_all(&[&frames[..], &end].concat()).await.unwrap();
            let mut stream = WsByteStream::server(b, BytesMut::new()).unwrap();
            let (mut got, mut buffer) = (Vec::new(), vec![0; at_once]);
            let last = loop {
                match timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap() {
                    Ok(n @ 1..) => got.extend_from_slice(&buffer[..n]),
                    other => break other,
                }
            };
            assert_eq!(got, expected, "{at_once}");
            assert_eq!(last.is_ok(), clean, "{at_once}: {last:?}");
        }
    }
}
