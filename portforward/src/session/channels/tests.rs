use super::life::QUIET;
use super::*;
use crate::client as carrier;
use crate::error_stream::ErrorStream;
use bytes::Buf;
use std::future::poll_fn;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use wsstream::{ChannelEvent, Channels};

const PATIENCE: Duration = Duration::from_secs(20);

type Ends = (Vec<PortStreams>, ChannelDriver<DuplexStream>);

fn ends(format: Format, ports: &[u16], room: usize) -> (Ends, Ends) {
    let (a, b) = duplex(room);
    let client = client(a, BytesMut::new(), format, ports, Config::default()).unwrap();
    let server = server(b, BytesMut::new(), format, ports, Config::default()).unwrap();
    (client, server)
}

async fn read_all(stream: &mut Stream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await?;
    Ok(all)
}

#[tokio::test]
async fn bytes_text_and_the_end_in_both_formats() {
    for format in [Format::Binary, Format::Base64] {
        let ((mut near, client), (mut far, server)) = ends(format, &[80, 81], 500);
        let (client, server) = (tokio::spawn(client), tokio::spawn(server));
        let big: Vec<u8> = (0..=250).cycle().take(200_000).collect();
        timeout(PATIENCE, near[0].data.replied())
            .await
            .unwrap()
            .unwrap();
        let up = big.clone();
        let mut streams = near.split_off(0);
        let second = streams.pop().unwrap();
        let mut first = streams.pop().unwrap();
        let talk = tokio::spawn(async move {
            first.data.write_all(&up).await.unwrap();
            let mut got = vec![0; up.len()];
            first.data.read_exact(&mut got).await.unwrap();
            assert!(got == up);
            assert_eq!(
                read_all(&mut first.data).await.unwrap(),
                b"",
                "Close is FIN"
            );
            assert_eq!(read_all(&mut first.error).await.unwrap(), b"");
        });
        let failing = tokio::spawn(async move {
            let mut second = second;
            let mut text = ErrorStream::new(second.error);
            let end = poll_fn(|cx| text.poll_end(cx)).await;
            assert_eq!(format!("{end:?}"), "Text(\"refused\")");
            assert_eq!(read_all(&mut second.data).await.unwrap(), b"");
        });
        // The server: echoes on one port, refuses the other.
        let mut two = far.pop().unwrap();
        two.error.write_all(b"refused").await.unwrap();
        two.error.shutdown().await.unwrap();
        two.data.reset(spdy::RstStatus::CANCEL);
        let mut one = far.pop().unwrap();
        let mut got = vec![0; big.len()];
        one.data.read_exact(&mut got).await.unwrap();
        one.data.write_all(&got).await.unwrap();
        one.data.shutdown().await.unwrap();
        one.error.shutdown().await.unwrap();
        assert_eq!(
            read_all(&mut one.error).await.unwrap(),
            b"",
            "nobody waits for an answer"
        );
        timeout(PATIENCE, talk).await.unwrap().unwrap();
        timeout(PATIENCE, failing).await.unwrap().unwrap();
        assert_eq!(
            timeout(PATIENCE, client).await.unwrap().unwrap(),
            CloseReason::Eof
        );
        assert_eq!(
            timeout(PATIENCE, server).await.unwrap().unwrap(),
            CloseReason::Local
        );
    }
}

/// client-java makes one message of a long write.
#[tokio::test]
async fn a_message_may_be_long() {
    const LENGTH: usize = 5 << 20;
    let mut message = vec![0x82, 0xff];
    message.extend(u64::try_from(LENGTH + 1).unwrap().to_be_bytes());
    // The key, the channel.
    message.extend([0, 0, 0, 0, 0]);
    message.resize(message.len() + LENGTH, b'a');
    assert!(received_by_pod(message, LENGTH).await == vec![b'a'; LENGTH]);
}

/// All of what was read is handled, also where nothing more comes that would wake the driver.
#[tokio::test]
async fn many_messages_and_frames_may_come_at_once() {
    const COUNT: usize = 20 * EVENTS;
    let messages = [0x82, 0x82, 0, 0, 0, 0, 0, b'a'].repeat(COUNT);
    assert!(received_by_pod(messages, COUNT).await == vec![b'a'; COUNT]);
    let mut frames = vec![0x02, 0x81, 0, 0, 0, 0, 0];
    frames.extend([0x00, 0x81, 0, 0, 0, 0, b'a'].repeat(COUNT));
    assert!(received_by_pod(frames, COUNT).await == vec![b'a'; COUNT]);
}

/// The first `length` bytes of what a server makes of `bytes`.
async fn received_by_pod(bytes: Vec<u8>, length: usize) -> Vec<u8> {
    let (mut peer, b) = duplex(1 << 16);
    let config = Config::default();
    let (mut far, server) = server(b, BytesMut::new(), Format::Binary, &[80], config).unwrap();
    let server = tokio::spawn(server);
    let sender = tokio::spawn(async move {
        peer.write_all(&bytes).await.unwrap();
        peer
    });
    let mut got = vec![0; length];
    let received = far[0].data.read_exact(&mut got);
    timeout(PATIENCE, received).await.unwrap().unwrap();
    drop(sender.await.unwrap());
    server.await.unwrap();
    got
}

/// PROTOCOL.md 4.3: the pod sees the end of what the client sent, and has a moment.
#[tokio::test(start_paused = true)]
async fn a_client_that_closes_is_an_end_of_file_to_the_pod_and_then_gone() {
    let ((near, client), (mut far, server)) = ends(Format::Binary, &[80], 1 << 16);
    let (_client, server) = (tokio::spawn(client), tokio::spawn(server));
    let mut near = near;
    let mut streams = near.pop().unwrap();
    streams.data.write_all(b"last words").await.unwrap();
    streams.data.shutdown().await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    drop(streams);
    let mut pod = far.pop().unwrap();
    assert_eq!(read_all(&mut pod.data).await.unwrap(), b"last words");
    pod.data.write_all(b"to nobody").await.unwrap();
    let failure = poll_fn(|cx| pod.data.poll_failed(cx)).await;
    assert_eq!(failure, StreamFailure::SessionLost(CloseReason::Eof));
    assert_eq!(server.await.unwrap(), CloseReason::Eof);
}

/// Its FIN reaches nobody: it does not wait for ever.
#[tokio::test(start_paused = true)]
async fn a_client_that_has_ended_waits_only_while_the_pod_talks() {
    let ((near, client), (mut far, server)) = ends(Format::Binary, &[80], 1 << 16);
    let (client, _server) = (tokio::spawn(client), tokio::spawn(server));
    let mut near = near;
    let mut streams = near.pop().unwrap();
    streams.data.shutdown().await.unwrap();
    let begun = Instant::now();
    for _ in 0..3 {
        tokio::time::sleep(QUIET / 2).await;
        far[0].data.write_all(b"x").await.unwrap();
        streams.data.read_exact(&mut [0]).await.unwrap();
    }
    let error = read_all(&mut streams.data).await.unwrap_err();
    let failure = super::super::stream_failure(&error).unwrap();
    assert_eq!(failure, &StreamFailure::NoHalfClose(10));
    assert!(begun.elapsed() >= QUIET * 5 / 2 && begun.elapsed() < QUIET * 3);
    client.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_gone_is_noticed() {
    // Silent.
    let (a, _b) = duplex(1 << 16);
    let (_streams, driver) =
        client(a, BytesMut::new(), Format::Binary, &[80], Config::default()).unwrap();
    assert_eq!(driver.await, CloseReason::Silent(30));
    // Cut, and closed without the code that is an end.
    for (bytes, expected) in [
        (&b""[..], ConnectionError::Eof),
        (&b"\x82\x03\x00"[..], ConnectionError::Cut),
        (
            &b"\x88\x00"[..],
            ConnectionError::Closed(CloseFrame::default()),
        ),
    ] {
        let (a, mut b) = duplex(1 << 16);
        let (mut streams, driver) =
            client(a, BytesMut::new(), Format::Binary, &[80], Config::default()).unwrap();
        b.write_all(bytes).await.unwrap();
        b.shutdown().await.unwrap();
        let reason = CloseReason::WebSocket(expected);
        assert_eq!(driver.await, reason);
        let error = read_all(&mut streams[0].data).await.unwrap_err();
        assert_eq!(
            super::super::stream_failure(&error),
            Some(&StreamFailure::SessionLost(reason))
        );
    }
}

/// What nobody reads stays with the peer, and arrives when it is read.
#[tokio::test]
async fn an_unread_download_pauses() {
    let ((near, client), (mut far, server)) = ends(Format::Binary, &[80], 1 << 16);
    let (_client, _server) = (tokio::spawn(client), tokio::spawn(server));
    let mut near = near;
    let mut streams = near.pop().unwrap();
    let mut pod = far.pop().unwrap();
    let total = 16 << 20;
    let sender = tokio::spawn(async move {
        pod.data.write_all(&vec![7; total]).await.unwrap();
        pod.data.shutdown().await.unwrap();
        pod.error.shutdown().await.unwrap();
        read_all(&mut pod.error).await.unwrap();
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!sender.is_finished());
    let held = streams.data.held();
    assert!(
        held <= Config::default().stream_receive + (1 << 20),
        "{held}"
    );
    let got = timeout(PATIENCE, read_all(&mut streams.data))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(got.len(), total);
    sender.await.unwrap();
}

/// The whole client role over a WebSocket of its own.
#[tokio::test]
async fn a_local_connection_is_carried() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut app = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (local, _) = listener.accept().await.unwrap();
    let ((mut near, client), (mut far, server)) = ends(Format::Binary, &[80], 1 << 16);
    let (_client, _server) = (tokio::spawn(client), tokio::spawn(server));
    let streams = near.pop().unwrap();
    let carried = tokio::spawn(carrier::carry(local, streams.data, streams.error));
    app.write_all(b"ping").await.unwrap();
    let mut pod = far.pop().unwrap();
    pod.data.read_exact(&mut [0; 4]).await.unwrap();
    pod.data.write_all(b"pong").await.unwrap();
    pod.data.shutdown().await.unwrap();
    pod.error.shutdown().await.unwrap();
    let mut got = Vec::new();
    timeout(PATIENCE, app.read_to_end(&mut got))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(got, b"pong");
    let summary = timeout(PATIENCE, carried).await.unwrap().unwrap().unwrap();
    assert_eq!(
        (summary.sent, summary.received, summary.confirmed),
        (4, 4, true)
    );
}

/// Real servers read frame by frame (PROTOCOL.md 4.2): ours are whole messages, of bounded size.
#[tokio::test]
async fn no_message_is_fragmented() {
    let (a, mut b) = duplex(1 << 22);
    let (mut streams, driver) =
        client(a, BytesMut::new(), Format::Binary, &[80], Config::default()).unwrap();
    let driver = tokio::spawn(driver);
    streams[0].data.write_all(&vec![1; 1 << 20]).await.unwrap();
    streams[0].data.flush().await.unwrap();
    drop(streams);
    driver.await.unwrap();
    let mut raw = BytesMut::new();
    while b.read_buf(&mut raw).await.unwrap() > 0 {}
    let mut rest = &raw[..];
    let mut frames = 0;
    while let Some((head, n)) = wsstream::Head::parse(rest, true).unwrap() {
        assert!(head.fin && head.length <= (MESSAGE + 1) as u64, "{head:?}");
        rest.advance(n + usize::try_from(head.length).unwrap());
        frames += 1;
    }
    assert!(frames > 16);
    let mut server = Channels::new(wsstream::Config::new(Role::Server), Format::Binary).unwrap();
    let mut bytes = 0;
    while let Some(event) = server
        .poll_event(std::time::Instant::now(), &mut raw)
        .unwrap()
    {
        if let ChannelEvent::Data { payload, .. } = event {
            bytes += payload.len();
        }
    }
    assert_eq!(bytes, 1 << 20);
}
