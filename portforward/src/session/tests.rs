//! Two sessions joined by an in-memory pipe, and one against a hand-written peer.

#![allow(clippy::arithmetic_side_effects, clippy::mem_forget, reason = "a test")]

mod limits;
mod queue;
mod stall;
mod windows;

use super::*;
use bytes::{Buf, Bytes};
use spdy::{Encoder, Frame, HeaderEncoding, Limits};
use std::future::poll_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;

fn pair(pipe: usize) -> (Session, Session) {
    pair_with(pipe, Config::default())
}

fn pair_with(pipe: usize, config: Config) -> (Session, Session) {
    let (a, b) = duplex(pipe);
    let (client, driver) = client(a, BytesMut::new(), config.clone()).unwrap();
    tokio::spawn(driver);
    let (server, driver) = server(b, BytesMut::new(), config).unwrap();
    tokio::spawn(driver);
    (client, server)
}

fn headers() -> HeaderBlock {
    [("streamtype", "data"), ("port", "80")]
        .into_iter()
        .collect()
}

async fn open(client: &Session, server: &Session) -> (Stream, Stream) {
    let mut ours = client.open(headers()).unwrap();
    let theirs = server.accept().await.unwrap().accept().unwrap();
    ours.replied().await.unwrap();
    (ours, theirs)
}

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len)
        .map(|i| u8::try_from((i * 31 + i / 251 + seed) % 256).unwrap())
        .collect()
}

#[tokio::test]
async fn bytes_cross_whole_in_both_directions_through_a_tiny_pipe() {
    for pipe in [1, 7, 4096, 1 << 20] {
        let (client, server) = pair(pipe);
        let (mut ours, mut theirs) = open(&client, &server).await;
        let len = if pipe < 100 { 20_000 } else { 3_000_000 };
        let (up, down) = (pattern(len, 1), pattern(len, 2));
        let (up2, down2) = (up.clone(), down.clone());
        let peer = tokio::spawn(async move {
            let mut got = Vec::new();
            let (mut read, mut write) = tokio::io::split(&mut theirs);
            let (read, write) = tokio::join!(read.read_to_end(&mut got), async {
                write.write_all(&down2).await?;
                write.shutdown().await
            });
            read.unwrap();
            write.unwrap();
            assert!(got == up2);
        });
        let mut got = Vec::new();
        let (mut read, mut write) = tokio::io::split(&mut ours);
        let (read, write) = tokio::join!(read.read_to_end(&mut got), async {
            write.write_all(&up).await?;
            write.shutdown().await
        });
        read.unwrap();
        write.unwrap();
        assert!(got == down, "pipe of {pipe}");
        peer.await.unwrap();
    }
}

#[tokio::test]
async fn half_close_leaves_the_other_direction_open() {
    let (client, server) = pair(1 << 16);
    let (mut ours, mut theirs) = open(&client, &server).await;
    ours.write_all(b"question").await.unwrap();
    ours.shutdown().await.unwrap();
    let mut got = String::new();
    theirs.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "question");
    theirs.write_all(b"answer").await.unwrap();
    theirs.shutdown().await.unwrap();
    got.clear();
    ours.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "answer");
    assert_eq!(
        ours.write(b"x").await.unwrap_err().kind(),
        std::io::ErrorKind::BrokenPipe
    );
}

#[tokio::test]
async fn reset_is_an_error_after_what_came_before_it() {
    let (client, server) = pair(1 << 16);
    let (mut ours, mut theirs) = open(&client, &server).await;
    theirs.write_all(b"before").await.unwrap();
    theirs.flush().await.unwrap();
    theirs.reset(RstStatus::CANCEL);
    let mut got = Vec::new();
    let error = ours.read_to_end(&mut got).await.unwrap_err();
    assert_eq!(got, b"before");
    assert_eq!(
        stream_failure(&error),
        Some(&StreamFailure::Reset(RstStatus::CANCEL))
    );
    let error = ours.write_all(b"x").await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    // The session lives.
    open(&client, &server).await;
}

#[tokio::test]
async fn dropping_a_stream_resets_it_and_no_other() {
    let (client, server) = pair(1 << 16);
    let (ours, mut theirs) = open(&client, &server).await;
    let (mut other, mut other_theirs) = open(&client, &server).await;
    drop(ours);
    assert!(theirs.read_u8().await.is_err());
    other.write_all(b"x").await.unwrap();
    assert_eq!(other_theirs.read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn a_refused_stream_says_so() {
    let (client, server) = pair(1 << 16);
    let mut ours = client.open(headers()).unwrap();
    server.accept().await.unwrap().reject(RstStatus::CANCEL);
    assert_eq!(
        ours.replied().await,
        Err(StreamFailure::Reset(RstStatus::CANCEL))
    );
    let mut ours = client.open(headers()).unwrap();
    drop(server.accept().await.unwrap());
    assert_eq!(
        ours.replied().await,
        Err(StreamFailure::Reset(RstStatus::REFUSED_STREAM))
    );
}

#[tokio::test]
async fn close_is_orderly_and_tells_everyone() {
    let (client, server) = pair(1 << 16);
    let (mut ours, mut theirs) = open(&client, &server).await;
    client.close();
    assert_eq!(client.closed().await, CloseReason::Local);
    assert!(matches!(
        server.closed().await,
        CloseReason::GoAway { last_good: 0, .. }
    ));
    assert!(server.accept().await.is_none());
    assert!(ours.read_u8().await.is_err());
    assert!(theirs.read_u8().await.is_err());
    assert_eq!(client.open(headers()).unwrap_err(), CloseReason::Local);
}

#[tokio::test]
async fn dropping_every_handle_closes() {
    let (client, server) = pair(1 << 16);
    drop(client);
    assert!(matches!(server.closed().await, CloseReason::GoAway { .. }));
}

#[tokio::test]
async fn dropping_the_driver_ends_every_stream_with_an_error() {
    let (a, b) = duplex(1 << 16);
    let (client, driver) = client(a, BytesMut::new(), Config::default()).unwrap();
    let task = tokio::spawn(driver);
    let mut stream = client.open(headers()).unwrap();
    tokio::task::yield_now().await;
    task.abort();
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(
        stream_failure(&error),
        Some(&StreamFailure::SessionLost(CloseReason::Local))
    );
    assert_eq!(client.closed().await, CloseReason::Local);
    drop(b);
}

/// A driver and the raw other end of its pipe.
fn raw(role: Role) -> (Session, DuplexStream, JoinHandle<CloseReason>) {
    let (a, b) = duplex(1 << 20);
    let start = if role == Role::Client { client } else { server };
    let (session, driver) = start(a, BytesMut::new(), Config::default()).unwrap();
    (session, b, tokio::spawn(driver))
}

#[tokio::test]
async fn end_of_stream_is_named_by_where_it_came() {
    for (bytes, want) in [
        (&b""[..], CloseReason::Eof),
        (b"\0\0\0\x01\0\0\0\x05ab", CloseReason::Cut),
        (b"\x80\x03\0\x06\0", CloseReason::Cut),
        (
            b"\x80\x03\0\x07\0\0\0\x08\0\0\0\0\0\0\0\0",
            CloseReason::GoAway {
                last_good: 0,
                status: spdy::GoAwayStatus::OK,
            },
        ),
    ] {
        let (session, mut peer, driver) = raw(Role::Client);
        peer.write_all(bytes).await.unwrap();
        drop(peer);
        assert_eq!(driver.await.unwrap(), want);
        assert_eq!(session.reason(), Some(want));
    }
}

#[tokio::test]
async fn a_broken_peer_is_told_with_goaway() {
    let (session, mut peer, driver) = raw(Role::Server);
    peer.write_all(b"\x80\x03\0\x06\0\0\0\x04\0\0\0\0")
        .await
        .unwrap();
    let mut answer = [0; 16];
    peer.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, *b"\x80\x03\0\x07\0\0\0\x08\0\0\0\0\0\0\0\x01");
    drop(peer);
    assert!(matches!(driver.await.unwrap(), CloseReason::Protocol(_)));
    assert!(
        session
            .closed()
            .await
            .to_string()
            .contains("PING with id 0")
    );
}

#[tokio::test]
async fn early_bytes_count() {
    let (a, mut peer) = duplex(1 << 16);
    let early = BytesMut::from(&b"\x80\x03\0\x06\0\0\0\x04\0\0\0\x09"[..]);
    let (_session, driver) = server(a, early, Config::default()).unwrap();
    tokio::spawn(driver);
    let mut answer = [0; 12];
    peer.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer[8..], [0, 0, 0, 9]);
}

#[tokio::test]
async fn an_unread_stream_pauses_alone_and_is_reset_in_company() {
    let config = Config {
        stream_receive: 64 << 10,
        stall: Duration::from_millis(500),
        ..Config::default()
    };
    let (client, server) = pair_with(1 << 16, config);
    let (mut unread, mut writer) = open(&client, &server).await;
    let sent = tokio::spawn(async move {
        let piece = Bytes::from(vec![7; 16 << 10]);
        let mut n = 0usize;
        loop {
            let mut chunk = piece.clone();
            match poll_fn(|cx| writer.poll_write_chunk(cx, &mut chunk)).await {
                Ok(()) => n += piece.len(),
                Err(e) => return (n, e),
            }
        }
    });
    // Alone: paused, however long.
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert!(!sent.is_finished());
    let mut piece = vec![0; 1000];
    unread.read_exact(&mut piece).await.unwrap();
    // In company: reset, and the others go on.
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(client.open(headers()).unwrap());
    }
    let (_, error) = tokio::time::timeout(Duration::from_secs(5), sent)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        stream_failure(&error),
        Some(&StreamFailure::Reset(RstStatus::FLOW_CONTROL_ERROR))
    );
    for other in &mut others {
        let mut theirs = server.accept().await.unwrap().accept().unwrap();
        theirs.write_all(b"y").await.unwrap();
        assert_eq!(other.read_u8().await.unwrap(), b'y');
    }
    let mut rest = Vec::new();
    let error = unread.read_to_end(&mut rest).await.unwrap_err();
    assert!(
        matches!(stream_failure(&error), Some(StreamFailure::Stalled(_))),
        "{error}"
    );
}

/// Slow is not stalled: a stream that is read, however slowly, is never reset, in company too.
#[tokio::test]
async fn a_slow_reader_gets_everything() {
    let config = Config {
        stream_receive: 64 << 10,
        stall: Duration::from_millis(100),
        ..Config::default()
    };
    let (client, server) = pair_with(1 << 16, config);
    let _company = [
        client.open(headers()).unwrap(),
        client.open(headers()).unwrap(),
    ];
    for _ in 0..2 {
        std::mem::forget(server.accept().await.unwrap().accept().unwrap());
    }
    let (mut slow, mut writer) = open(&client, &server).await;
    let bytes = pattern(1 << 20, 3);
    let sent = bytes.clone();
    tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
        std::future::pending::<()>().await;
    });
    let mut got = Vec::new();
    let mut piece = vec![0; 32 << 10];
    loop {
        let n = slow.read(&mut piece).await.unwrap();
        if n == 0 {
            break;
        }
        got.extend_from_slice(&piece[..n]);
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    assert!(got == bytes);
}

#[tokio::test]
async fn a_thousand_streams_share_a_session() {
    let (client, server) = pair(1 << 16);
    let echo = tokio::spawn(async move {
        for _ in 0..1000 {
            let mut theirs = server.accept().await.unwrap().accept().unwrap();
            tokio::spawn(async move {
                let mut got = Vec::new();
                theirs.read_to_end(&mut got).await.unwrap();
                theirs.write_all(&got).await.unwrap();
                theirs.shutdown().await.unwrap();
            });
        }
        server
    });
    let mut tasks = Vec::new();
    for i in 0..1000 {
        let mut stream = client.open(headers()).unwrap();
        tasks.push(tokio::spawn(async move {
            let bytes = pattern(5000 + i, i);
            stream.write_all(&bytes).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut got = Vec::new();
            stream.read_to_end(&mut got).await.unwrap();
            assert!(got == bytes);
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    drop(echo.await.unwrap());
}

/// Data that a peer sends before its SYN_REPLY is delivered, not dropped as the Go client does.
#[tokio::test]
async fn data_before_syn_reply_is_delivered() {
    let (session, mut peer, _driver) = raw(Role::Client);
    let mut stream = session.open(headers()).unwrap();
    let mut wire = BytesMut::from(&b"\0\0\0\x01\0\0\0\x02hi"[..]);
    let reply = spdy::SynReply {
        id: StreamId::new(1).unwrap(),
        fin: true,
        headers: HeaderBlock::new(),
    };
    let mut encoder = Encoder::new(HeaderEncoding::Deflate(9), &Limits::default());
    encoder.encode(&Frame::SynReply(reply), &mut wire).unwrap();
    peer.write_all_buf(&mut wire).await.unwrap();
    assert!(!wire.has_remaining());
    let mut got = String::new();
    stream.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "hi");
}

/// FIN ends the reader's side only: a reset or a lost session behind it still reaches the writer.
#[tokio::test]
async fn a_failure_behind_fin_reaches_the_writer() {
    for lost in [false, true] {
        let (client, server) = pair(1 << 16);
        let (mut ours, mut theirs) = open(&client, &server).await;
        theirs.shutdown().await.unwrap();
        assert_eq!(ours.read(&mut [0; 4]).await.unwrap(), 0);
        if lost {
            server.close();
            client.closed().await;
        } else {
            theirs.reset(RstStatus::CANCEL);
            poll_fn(|cx| ours.poll_failed(cx)).await;
        }
        let wrote =
            tokio::time::timeout(Duration::from_secs(5), ours.write_all(&pattern(1 << 20, 0)))
                .await;
        assert!(wrote.unwrap().is_err(), "lost: {lost}");
        assert!(ours.shutdown().await.is_err());
    }
}

/// Both in one read: the protocol has forgotten the stream before its FIN is told.
#[tokio::test]
async fn a_reset_right_behind_fin_reaches_the_writer() {
    let (session, mut peer, _driver) = raw(Role::Client);
    let mut stream = session.open(headers()).unwrap();
    let fin = b"\0\0\0\x01\x01\0\0\0";
    let reset = b"\x80\x03\0\x03\0\0\0\x08\0\0\0\x01\0\0\0\x05";
    peer.write_all(&[&fin[..], reset].concat()).await.unwrap();
    let failed = poll_fn(|cx| stream.poll_failed(cx));
    let failure = tokio::time::timeout(Duration::from_secs(5), failed).await;
    assert_eq!(failure.unwrap(), StreamFailure::Reset(RstStatus::CANCEL));
    assert_eq!(stream.read(&mut [0; 4]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_stream_reset_before_it_left_fails() {
    let (client, _server) = pair(1 << 16);
    let mut stream = client.open(headers()).unwrap();
    stream.reset(RstStatus::CANCEL);
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_u8()).await;
    let error = read.unwrap().unwrap_err();
    assert_eq!(
        stream_failure(&error),
        Some(&StreamFailure::ResetLocally(RstStatus::CANCEL))
    );
}

/// A stream that has ended can still be the one that nobody reads.
#[tokio::test]
async fn a_finished_unread_stream_does_not_stop_the_others() {
    let config = Config {
        stream_receive: 64 << 10,
        stall: Duration::from_millis(500),
        ..Config::default()
    };
    let (client, server) = pair_with(1 << 20, config);
    let (mut unread, mut writer) = open(&client, &server).await;
    let (mut other, mut other_theirs) = open(&client, &server).await;
    let _its_error_stream = open(&client, &server).await;
    unread.shutdown().await.unwrap();
    writer.read_to_end(&mut Vec::new()).await.unwrap();
    writer.write_all(&pattern(200 << 10, 7)).await.unwrap();
    writer.shutdown().await.unwrap();
    other_theirs.write_all(b"y").await.unwrap();
    let got = tokio::time::timeout(Duration::from_secs(5), other.read_u8()).await;
    assert_eq!(got.unwrap().unwrap(), b'y');
    let error = unread.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert!(
        matches!(stream_failure(&error), Some(StreamFailure::Stalled(_))),
        "{error}"
    );
}

/// Only a stream that causes a pause is reset for it, however little is unread elsewhere.
#[tokio::test]
async fn an_idle_stream_is_not_blamed_for_a_slow_one() {
    let config = Config {
        stream_receive: 64 << 10,
        stall: Duration::from_millis(100),
        ..Config::default()
    };
    let (client, server) = pair_with(1 << 16, config);
    let (mut idle, mut idle_theirs) = open(&client, &server).await;
    idle_theirs.write_all(b"later").await.unwrap();
    let (mut slow, mut writer) = open(&client, &server).await;
    let _third = open(&client, &server).await;
    tokio::spawn(async move { writer.write_all(&pattern(1 << 20, 1)).await });
    let mut piece = vec![0; 16 << 10];
    for _ in 0..20 {
        slow.read_exact(&mut piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let mut got = [0; 5];
    idle.read_exact(&mut got).await.unwrap();
    assert_eq!(got, *b"later");
}

/// Whole frames that arrived are delivered, though answers were waiting and the peer has gone.
#[tokio::test]
async fn frames_before_the_end_of_stream_count_even_behind_a_flood() {
    let (ours, mut peer) = duplex(1 << 20);
    let mut config = Config::default();
    // More PINGs than answers that may wait (B10).
    config.spdy.limits.pings = 1000;
    let (session, driver) = server(ours, BytesMut::new(), config).unwrap();
    tokio::spawn(driver);
    let mut wire = BytesMut::new();
    let syn = spdy::SynStream {
        id: StreamId::new(1).unwrap(),
        associated: 0,
        priority: 0,
        slot: 0,
        fin: false,
        unidirectional: false,
        headers: headers(),
    };
    let mut encoder = Encoder::new(HeaderEncoding::Stored, &Limits::default());
    encoder.encode(&Frame::SynStream(syn), &mut wire).unwrap();
    for _ in 0..600 {
        wire.extend_from_slice(b"\x80\x03\0\x06\0\0\0\x04\0\0\0\x01");
    }
    wire.extend_from_slice(b"\0\0\0\x01\x01\0\0\x02hi");
    peer.write_all_buf(&mut wire).await.unwrap();
    drop(peer);
    let mut stream = session.accept().await.unwrap().accept().unwrap();
    let mut got = String::new();
    stream.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "hi");
}

/// A peer that closes with our bytes unread: what it had sent is read all the same.
#[tokio::test]
async fn a_write_error_loses_nothing_that_arrived() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = tokio::net::TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    let (session, driver) = client(ours, BytesMut::new(), Config::default()).unwrap();
    let mut stream = session.open(headers()).unwrap();
    let mut wire = BytesMut::from(&b"\0\0\0\x01\x01\0\0\x06answer"[..]);
    peer.write_all_buf(&mut wire).await.unwrap();
    peer.set_zero_linger().unwrap();
    drop(peer);
    tokio::time::sleep(Duration::from_millis(50)).await;
    tokio::spawn(driver);
    let mut got = String::new();
    stream.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "answer");
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_found_dead() {
    let (session, peer, driver) = raw(Role::Client);
    let start = Instant::now();
    assert_eq!(driver.await.unwrap(), CloseReason::Silent(30));
    assert_eq!(start.elapsed().as_secs(), 30);
    drop((session, peer));
    // With bytes on their way that may be blocking it, it has more time.
    let (session, peer, driver) = raw(Role::Client);
    let mut stream = session.open(headers()).unwrap();
    stream.write_all(b"x").await.unwrap();
    let start = Instant::now();
    assert_eq!(driver.await.unwrap(), CloseReason::Silent(600));
    assert_eq!(start.elapsed().as_secs(), 600);
    drop(peer);
}

#[tokio::test(start_paused = true)]
async fn an_idle_server_session_ends() {
    let (session, peer, driver) = raw(Role::Server);
    assert_eq!(driver.await.unwrap(), CloseReason::Idle(600));
    drop((session, peer));
}

#[tokio::test(start_paused = true)]
async fn goaway_ends_the_session_even_if_the_peer_does_not_close() {
    let (session, mut peer, driver) = raw(Role::Client);
    let _stream = session.open(headers()).unwrap();
    peer.write_all(b"\x80\x03\0\x07\0\0\0\x08\0\0\0\0\0\0\0\0")
        .await
        .unwrap();
    let start = Instant::now();
    assert!(matches!(driver.await.unwrap(), CloseReason::GoAway { .. }));
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn debug_output_has_no_payload() {
    let (client, server) = pair(1 << 16);
    let (ours, mut theirs) = open(&client, &server).await;
    theirs.write_all(b"hunter2").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let shown = format!("{ours:?} {theirs:?} {client:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}
