//! Client and node roles joined directly: real TCP sockets at both ends, in-memory pipe between.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "a test"
)]
#![cfg(feature = "node")]

mod by_hand;

use bytes::BytesMut;
use portforward::client::{ForwardError, Forwarder, Summary};
use portforward::node::{self, Dial, PodRef};
use portforward::session::{self, CloseReason, Config};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Every port is that port of loopback.
struct Loopback;

impl Dial for Loopback {
    fn dial(
        &self,
        _: &PodRef,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>> {
        Box::pin(TcpStream::connect(("127.0.0.1", port)))
    }
}

type Forwarded = JoinHandle<Result<Summary, ForwardError>>;

struct Cluster {
    forwarder: Forwarder,
    node: JoinHandle<()>,
}

impl Cluster {
    fn start() -> Self {
        let (a, b) = duplex(1 << 16);
        let (session, driver) = session::client(a, BytesMut::new(), Config::default()).unwrap();
        tokio::spawn(driver);
        let pod = PodRef::new("default", "web", "u1");
        let node = tokio::spawn(node::serve(b, BytesMut::new(), pod, Arc::new(Loopback)));
        Self {
            forwarder: Forwarder::new(session),
            node,
        }
    }

    /// The application's end of a forwarded connection to `port`.
    async fn connect(&self, port: u16) -> (TcpStream, Forwarded) {
        connect(&self.forwarder, port).await
    }
}

async fn connect(forwarder: &Forwarder, port: u16) -> (TcpStream, Forwarded) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (local, _) = listener.accept().await.unwrap();
    let forwarder = forwarder.clone();
    (
        app,
        tokio::spawn(async move { forwarder.forward(local, port).await }),
    )
}

/// A pod port served by `serve`, one task per connection.
async fn pod<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> u16
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(socket));
        }
    });
    port
}

async fn echo_pod() -> u16 {
    pod(|mut socket| async move {
        let (mut read, mut write) = socket.split();
        tokio::io::copy(&mut read, &mut write).await.ok();
        write.shutdown().await.ok();
    })
    .await
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| ((i * 31 + i / 253) % 256) as u8).collect()
}

async fn check_echo(cluster: &Cluster, port: u16) {
    let (mut app, forwarded) = cluster.connect(port).await;
    app.write_all(b"ping").await.unwrap();
    let mut got = [0; 4];
    app.read_exact(&mut got).await.unwrap();
    assert_eq!(got, *b"ping");
    drop(app);
    timeout(Duration::from_secs(5), forwarded)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn eight_mebibytes_each_way() {
    let cluster = Cluster::start();
    let (app, forwarded) = cluster.connect(echo_pod().await).await;
    let bytes = pattern(8 << 20);
    let (mut read, mut write) = app.into_split();
    let sent = bytes.clone();
    let writer = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
        write
    });
    let mut got = Vec::new();
    read.read_to_end(&mut got).await.unwrap();
    assert!(got == bytes);
    writer.await.unwrap();
    let summary = forwarded.await.unwrap().unwrap();
    assert_eq!((summary.sent, summary.received), (8 << 20, 8 << 20));
}

/// The real runtime loses this answer (PROTOCOL.md 7.3); our roles keep it.
#[tokio::test]
async fn an_answer_long_after_the_half_close_is_kept() {
    let port = pod(|mut socket| async move {
        let mut question = Vec::new();
        socket.read_to_end(&mut question).await.unwrap();
        sleep(Duration::from_millis(2500)).await;
        socket.write_all(b"late answer to ").await.unwrap();
        socket.write_all(&question).await.unwrap();
    })
    .await;
    let cluster = Cluster::start();
    let (mut app, forwarded) = cluster.connect(port).await;
    app.write_all(b"question").await.unwrap();
    app.shutdown().await.unwrap();
    let until = Instant::now() + Duration::from_secs(2);
    while cluster.forwarder.half_closed() == 0 && Instant::now() < until {
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(cluster.forwarder.half_closed(), 1);
    let mut got = String::new();
    app.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "late answer to question");
    forwarded.await.unwrap().unwrap();
    assert_eq!(cluster.forwarder.half_closed(), 0);
}

#[tokio::test]
async fn a_pod_that_half_closes_first_still_receives_all() {
    let (seen, mut all) = tokio::sync::mpsc::unbounded_channel();
    let port = pod(move |mut socket| {
        let seen = seen.clone();
        async move {
            socket.write_all(b"banner").await.unwrap();
            socket.shutdown().await.unwrap();
            let mut got = Vec::new();
            socket.read_to_end(&mut got).await.unwrap();
            seen.send(got).unwrap();
        }
    })
    .await;
    let cluster = Cluster::start();
    let (mut app, forwarded) = cluster.connect(port).await;
    let mut banner = String::new();
    app.read_to_string(&mut banner).await.unwrap();
    assert_eq!(banner, "banner");
    let bytes = pattern(1 << 20);
    app.write_all(&bytes).await.unwrap();
    app.shutdown().await.unwrap();
    assert!(all.recv().await.unwrap() == bytes);
    forwarded.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_close_by_the_pod_ends_at_once() {
    let port = pod(|mut socket| async move {
        socket.write_all(b"bye").await.unwrap();
    })
    .await;
    let cluster = Cluster::start();
    let (mut app, _forwarded) = cluster.connect(port).await;
    let mut got = String::new();
    let start = Instant::now();
    app.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "bye");
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_refused_port_tells_why_and_harms_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = listener.local_addr().unwrap().port();
    drop(listener);
    let cluster = Cluster::start();
    let echo = echo_pod().await;
    let (mut other, _) = cluster.connect(echo).await;
    other.write_all(b"a").await.unwrap();
    let (mut app, forwarded) = cluster.connect(closed).await;
    assert_eq!(
        app.read(&mut [0; 10]).await.unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    let error = forwarded.await.unwrap().unwrap_err().to_string();
    assert!(
        error.contains(&format!("error forwarding port {closed} to pod web")),
        "{error}"
    );
    assert!(error.contains("refused"), "{error}");
    assert_eq!(other.read_u8().await.unwrap(), b'a');
    other.write_all(b"b").await.unwrap();
    assert_eq!(other.read_u8().await.unwrap(), b'b');
    check_echo(&cluster, echo).await;
}

/// What arrived before the reset is delivered, then the application reads an error.
#[tokio::test]
async fn a_pod_that_resets_is_a_reset_here() {
    let port = pod(|mut socket| async move {
        socket.write_all(&pattern(100_000)).await.unwrap();
        sleep(Duration::from_millis(100)).await;
        socket.set_zero_linger().unwrap();
    })
    .await;
    let cluster = Cluster::start();
    let (mut app, forwarded) = cluster.connect(port).await;
    let mut got = Vec::new();
    let error = app.read_to_end(&mut got).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(got == pattern(100_000), "{} bytes", got.len());
    assert!(matches!(
        forwarded.await.unwrap(),
        Err(ForwardError::Remote(_))
    ));
    check_echo(&cluster, echo_pod().await).await;
}

#[tokio::test]
async fn an_application_that_resets_is_a_reset_at_the_pod() {
    let (seen, mut results) = tokio::sync::mpsc::unbounded_channel();
    let port = pod(move |mut socket| {
        let seen = seen.clone();
        async move {
            socket.write_all(b"hello").await.unwrap();
            let mut got = Vec::new();
            seen.send(socket.read_to_end(&mut got).await.map_err(|e| e.kind()))
                .unwrap();
        }
    })
    .await;
    let cluster = Cluster::start();
    let (mut app, forwarded) = cluster.connect(port).await;
    app.read_exact(&mut [0; 5]).await.unwrap();
    app.set_zero_linger().unwrap();
    drop(app);
    let result = timeout(Duration::from_secs(5), results.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(result, Err(ErrorKind::ConnectionReset));
    assert!(matches!(
        forwarded.await.unwrap(),
        Err(ForwardError::Local(_))
    ));
    check_echo(&cluster, echo_pod().await).await;
}

/// An application that goes away while the pod still sends stops neither pod nor session.
#[tokio::test]
async fn a_hundred_aborted_downloads() {
    let port = pod(|mut socket| async move {
        let piece = vec![1; 64 << 10];
        while socket.write_all(&piece).await.is_ok() {}
    })
    .await;
    let cluster = Cluster::start();
    for _ in 0..100 {
        let (mut app, forwarded) = cluster.connect(port).await;
        app.read_exact(&mut [0; 1000]).await.unwrap();
        drop(app);
        timeout(Duration::from_secs(5), forwarded)
            .await
            .unwrap()
            .unwrap()
            .unwrap_err();
    }
    check_echo(&cluster, echo_pod().await).await;
}

#[tokio::test]
async fn a_lost_session_is_a_reset_at_both_ends() {
    let (seen, mut results) = tokio::sync::mpsc::unbounded_channel();
    let port = pod(move |mut socket| {
        let seen = seen.clone();
        async move {
            socket.write_all(b"hello").await.unwrap();
            seen.send(socket.read(&mut [0; 10]).await.map_err(|e| e.kind()))
                .unwrap();
        }
    })
    .await;
    let cluster = Cluster::start();
    let (mut app, forwarded) = cluster.connect(port).await;
    app.read_exact(&mut [0; 5]).await.unwrap();
    cluster.node.abort();
    assert_eq!(
        app.read(&mut [0; 10]).await.unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    assert!(matches!(
        forwarded.await.unwrap(),
        Err(ForwardError::SessionLost(_))
    ));
    // The pod's connection went down with the node's task: it must not look like a clean end.
    let result = timeout(Duration::from_secs(5), results.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(result, Err(ErrorKind::ConnectionReset));
    let (mut app, forwarded) = cluster.connect(port).await;
    assert_eq!(
        app.read(&mut [0; 10]).await.unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    assert!(matches!(
        forwarded.await.unwrap(),
        Err(ForwardError::SessionLost(CloseReason::Eof))
    ));
}

/// The pod hears of a client's reset also while it reads nothing and says nothing.
#[tokio::test]
async fn a_reset_reaches_a_pod_that_does_not_read() {
    let (seen, mut results) = tokio::sync::mpsc::unbounded_channel();
    let port = pod(move |mut socket| {
        let seen = seen.clone();
        async move {
            sleep(Duration::from_millis(2500)).await;
            let mut got = Vec::new();
            seen.send(socket.read_to_end(&mut got).await.map_err(|e| e.kind()))
                .unwrap();
        }
    })
    .await;
    let cluster = Cluster::start();
    let (mut app, forwarded) = cluster.connect(port).await;
    let piece = vec![1; 64 << 10];
    while let Ok(n) = timeout(Duration::from_millis(300), app.write(&piece)).await {
        n.unwrap();
    }
    app.set_zero_linger().unwrap();
    drop(app);
    timeout(Duration::from_secs(5), forwarded)
        .await
        .unwrap()
        .unwrap()
        .unwrap_err();
    let result = timeout(Duration::from_secs(8), results.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(result, Err(ErrorKind::ConnectionReset));
}

/// A pod that answers early and closes with the upload unread: the answer arrives.
#[tokio::test]
async fn an_early_answer_to_an_upload_is_delivered() {
    let port = pod(|mut socket| async move {
        socket.read_exact(&mut [0; 1000]).await.unwrap();
        socket.write_all(b"413 too large").await.unwrap();
    })
    .await;
    let cluster = Cluster::start();
    for _ in 0..5 {
        let (app, _forwarded) = cluster.connect(port).await;
        let (mut read, mut write) = app.into_split();
        let piece = pattern(64 << 10);
        let upload = tokio::spawn(async move { while write.write_all(&piece).await.is_ok() {} });
        let mut got = Vec::new();
        let end = timeout(Duration::from_secs(10), read.read_to_end(&mut got))
            .await
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&got), "413 too large");
        assert!(end.is_err(), "the upload failed, and that shows");
        upload.await.unwrap();
    }
}

/// A session of an old client with the node, and a pair of it, the error stream first.
async fn pair_of_an_old_client(port: u16) -> (session::Session, session::Stream, session::Stream) {
    pair_dialled(Loopback, port).await
}

/// Such a pair, whose port the node reaches that way.
async fn pair_dialled(
    dialer: impl Dial + 'static,
    port: u16,
) -> (session::Session, session::Stream, session::Stream) {
    let (a, b) = duplex(1 << 16);
    let (session, driver) = session::client(a, BytesMut::new(), Config::default()).unwrap();
    tokio::spawn(driver);
    tokio::spawn(node::serve(
        b,
        BytesMut::new(),
        PodRef::new("n", "p", "u"),
        Arc::new(dialer),
    ));
    let port = port.to_string();
    let headers = |kind| {
        [
            ("streamtype", kind),
            ("port", port.as_str()),
            ("requestid", "0"),
        ]
        .into_iter()
        .collect()
    };
    let mut error = session.open(headers("error")).unwrap();
    error.shutdown().await.unwrap();
    let data = session.open(headers("data")).unwrap();
    (session, error, data)
}

/// As [`Loopback`], but it takes a while.
struct Slow;

impl Dial for Slow {
    fn dial(
        &self,
        pod: &PodRef,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>> {
        let dialled = Loopback.dial(pod, port);
        Box::pin(async {
            sleep(Duration::from_millis(300)).await;
            dialled.await
        })
    }
}

/// A reset overtakes no bytes, also not while the pod is being dialled (conformance/spec 8.24); with none in front of
/// it the pod hears of nothing.
#[tokio::test]
async fn a_reset_while_the_pod_is_dialled() {
    for sent in [100_000, 0] {
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let port = pod(move |mut socket| {
            let tell = tell.clone();
            async move {
                let mut got = Vec::new();
                let read = socket.read_to_end(&mut got).await;
                tell.send((read.map_err(|e| e.kind()), got.len())).unwrap();
            }
        })
        .await;
        let (_session, _error, mut data) = pair_dialled(Slow, port).await;
        data.write_all(&vec![7; sent]).await.unwrap();
        data.flush().await.unwrap();
        data.reset(spdy::RstStatus::CANCEL);
        let got = timeout(Duration::from_secs(2), told.recv()).await;
        let expected = (sent > 0).then_some(Some((Err(ErrorKind::ConnectionReset), sent)));
        assert_eq!(got.ok(), expected);
    }
}

/// Such a pair of which the pod has said `bye` and closed, and which the node has ended too.
async fn ended_by_the_pod() -> (session::Session, session::Stream) {
    let port = pod(|mut socket| async move { socket.write_all(b"bye").await.unwrap() }).await;
    let (session, mut error, mut data) = pair_of_an_old_client(port).await;
    let mut got = Vec::new();
    data.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"bye");
    let text = timeout(Duration::from_secs(3), error.read_to_end(&mut got))
        .await
        .unwrap();
    assert_eq!(text.unwrap(), 0, "success has no text");
    (session, data)
}

/// A client that neither resets nor half-closes the data stream after the pod's end, as kubectl up
/// to 1.31, still gets the end of the error stream that it waits for. Its end afterwards is no failure; what it sends
/// instead is told to be lost.
#[tokio::test]
async fn a_close_by_the_pod_ends_the_pair_for_old_clients() {
    let (_session, mut data) = ended_by_the_pod().await;
    sleep(Duration::from_millis(300)).await;
    data.shutdown().await.unwrap();
    let failed = timeout(Duration::from_millis(300), failure(&mut data)).await;
    assert!(failed.is_err(), "{failed:?}");

    let (_session, mut data) = ended_by_the_pod().await;
    data.write_all(b"too late").await.unwrap();
    let failed = timeout(Duration::from_secs(3), failure(&mut data)).await;
    assert!(failed.unwrap().to_string().contains("reset"));
}

/// Who is quiet there is the pod: what the client has said waits for it, and is not taken for nothing.
#[tokio::test]
async fn an_upload_waits_for_a_pod_that_has_ended_and_reads_late() {
    const MUCH: usize = 16 << 20;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let port = pod(move |mut socket| {
        let tell = tell.clone();
        async move {
            socket.shutdown().await.unwrap();
            sleep(Duration::from_millis(2500)).await;
            let mut got = Vec::new();
            let read = socket.read_to_end(&mut got).await;
            tell.send((read.map_err(|e| e.kind()), got.len())).unwrap();
        }
    })
    .await;
    let (_session, _error, mut data) = pair_of_an_old_client(port).await;
    data.write_all(&vec![7; MUCH]).await.unwrap();
    data.shutdown().await.unwrap();
    let got = timeout(Duration::from_secs(20), told.recv()).await.unwrap();
    assert_eq!(got, Some((Ok(MUCH), MUCH)));
}

async fn failure(stream: &mut session::Stream) -> session::StreamFailure {
    std::future::poll_fn(|cx| stream.poll_failed(cx)).await
}
