//! One connection's fate is its own: our client and our node, which agree on flow control.
//!
//! `PF_ISOLATION_SECONDS` sets how long each load lasts (2 unless told); the goals are those of 60 s.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "a test"
)]
#![cfg(feature = "node")]

use bytes::BytesMut;
use portforward::client::Forwarder;
use portforward::node::{self, Dial, PodRef};
use portforward::session::{self, Config, Session};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// What counts as a stall.
const STALL: Duration = Duration::from_secs(1);

/// One load at a time: they are measured.
static ALONE: Mutex<()> = Mutex::const_new(());

fn seconds() -> Duration {
    let seconds = std::env::var("PF_ISOLATION_SECONDS");
    Duration::from_secs(seconds.map_or(2, |text| text.parse().unwrap()))
}

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

/// Client and node over TCP.
async fn start() -> (Forwarder, Session) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let a = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (b, _) = listener.accept().await.unwrap();
    a.set_nodelay(true).unwrap();
    b.set_nodelay(true).unwrap();
    let (session, driver) = session::client(a, BytesMut::new(), Config::default()).unwrap();
    tokio::spawn(driver);
    let pod = PodRef::new("default", "web", "u1");
    tokio::spawn(node::serve(b, BytesMut::new(), pod, Arc::new(Loopback)));
    (Forwarder::new(session.clone()), session)
}

async fn connect(forwarder: &Forwarder, port: u16) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    app.set_nodelay(true).unwrap();
    let (local, _) = listener.accept().await.unwrap();
    local.set_nodelay(true).unwrap();
    let forwarder = forwarder.clone();
    tokio::spawn(async move { forwarder.forward(local, port).await });
    app
}

/// A pod port.
async fn pod<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> u16
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            socket.set_nodelay(true).unwrap();
            tokio::spawn(serve(socket));
        }
    });
    port
}

async fn echo_pod() -> u16 {
    pod(|mut socket| async move {
        let (mut read, mut write) = socket.split();
        drop(tokio::io::copy(&mut read, &mut write).await);
    })
    .await
}

/// Sends for ever.
async fn source_pod() -> u16 {
    pod(|mut socket| async move { while socket.write_all(&vec![7; 64 << 10]).await.is_ok() {} })
        .await
}

/// Reads nothing.
async fn deaf_pod() -> u16 {
    pod(|socket| async move {
        sleep(Duration::from_secs(3600)).await;
        drop(socket);
    })
    .await
}

/// Round trips on one connection, one byte each 10 ms.
async fn round_trips(mut app: TcpStream, time: Duration) -> Vec<Duration> {
    let (mut took, until) = (Vec::new(), Instant::now() + time);
    while Instant::now() < until {
        let sent = Instant::now();
        app.write_all(b"x").await.unwrap();
        app.read_exact(&mut [0]).await.unwrap();
        took.push(sent.elapsed());
        sleep(Duration::from_millis(10)).await;
    }
    took
}

/// The longest and the 99th percentile.
fn longest_and_p99(mut all: Vec<Duration>) -> (Duration, Duration) {
    all.sort_unstable();
    (all[all.len() - 1], all[all.len() * 99 / 100])
}

/// Longest and 99th percentile of the round trips of `n` connections.
async fn echoes(
    forwarder: &Forwarder,
    port: u16,
    n: usize,
    time: Duration,
) -> (Duration, Duration) {
    let mut tasks = JoinSet::new();
    for _ in 0..n {
        tasks.spawn(round_trips(connect(forwarder, port).await, time));
    }
    longest_and_p99(tasks.join_all().await.concat())
}

/// L12: a download that nobody reads and an upload that no pod reads, beside 99 echoes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_connections_hold_up_nobody() {
    let _alone = ALONE.lock().await;
    let (echo, source, deaf) = (echo_pod().await, source_pod().await, deaf_pod().await);
    let (forwarder, _session) = start().await;
    let (_, alone) = echoes(&forwarder, echo, 99, seconds()).await;
    let unread = connect(&forwarder, source).await;
    let mut unheard = connect(&forwarder, deaf).await;
    let flood =
        tokio::spawn(async move { while unheard.write_all(&vec![7; 64 << 10]).await.is_ok() {} });
    sleep(Duration::from_millis(300)).await;
    let (longest, beside) = echoes(&forwarder, echo, 99, seconds()).await;
    let ratio = beside.as_secs_f64() / alone.as_secs_f64();
    println!(
        "99 echoes: p99 {alone:?} alone, {beside:?} beside the stalled: {ratio:.2}; longest {longest:?}"
    );
    assert!(longest < STALL, "{longest:?}");
    assert!(!flood.is_finished());
    // The stalled one is whole: what it holds is read, and it goes on.
    let mut unread = unread;
    let (mut got, mut buffer) = (0, vec![0; 64 << 10]);
    while got < 64 << 20 {
        let read = timeout(Duration::from_secs(10), unread.read(&mut buffer)).await;
        let n = read
            .unwrap_or_else(|_| panic!("stopped after {got} bytes"))
            .unwrap();
        assert!(n > 0 && buffer[..n].iter().all(|b| *b == 7));
        got += n;
    }
}

/// Two relays in a row, a connection each: as many hops as client and node.
async fn relays(port: u16) -> u16 {
    let relay = async |to: u16| {
        pod(move |mut near| async move {
            let mut far = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
            far.set_nodelay(true).unwrap();
            drop(copy_bidirectional_with_sizes(&mut near, &mut far, 64 << 10, 64 << 10).await);
        })
        .await
    };
    relay(relay(port).await).await
}

/// Reads and drops, until it is aborted.
fn drain(mut app: TcpStream) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(1..) = app.read(&mut buffer).await {}
    })
}

/// L14: one echo beside four downloads that take what there is, on one session, and the same through relays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_leaves_room_for_an_echo() {
    let _alone = ALONE.lock().await;
    let (echo, source) = (echo_pod().await, source_pod().await);
    let (echo_relay, source_relay) = (relays(echo).await, relays(source).await);
    let to = async |port| {
        let app = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        app.set_nodelay(true).unwrap();
        app
    };
    let (forwarder, _session) = start().await;
    let mut ratios = Vec::new();
    // In turn, so that what else the machine does meets both.
    for _ in 0..3 {
        let mut bulk = Vec::new();
        for _ in 0..4 {
            bulk.push(drain(connect(&forwarder, source).await));
        }
        let (_, ours) = echoes(&forwarder, echo, 1, seconds()).await;
        bulk.iter().for_each(JoinHandle::abort);
        sleep(Duration::from_millis(300)).await;
        let mut bulk = Vec::new();
        for _ in 0..4 {
            bulk.push(drain(to(source_relay).await));
        }
        let (_, relayed) = longest_and_p99(round_trips(to(echo_relay).await, seconds()).await);
        bulk.iter().for_each(JoinHandle::abort);
        sleep(Duration::from_millis(300)).await;
        println!("echo p99 beside 4 downloads: {ours:?}, through relays {relayed:?}");
        ratios.push(ours.as_secs_f64() / relayed.as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2}", ratios[1]);
    // The goal is that of 10 s; short runs have their p99 from two echoes.
    let goal = if seconds() >= Duration::from_secs(10) {
        3.0
    } else {
        10.0
    };
    assert!(ratios[1] <= goal, "{ratios:?}");
}

/// L16: a thousand downloads that nobody reads hold no more than the session's budgets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_stall_is_bounded() {
    let _alone = ALONE.lock().await;
    let source = source_pod().await;
    let (forwarder, session) = start().await;
    let mut apps = Vec::new();
    for _ in 0..1000 {
        apps.push(connect(&forwarder, source).await);
    }
    let until = Instant::now() + seconds();
    let mut most = 0;
    while Instant::now() < until {
        most = most.max(session.load().unread);
        sleep(Duration::from_millis(5)).await;
    }
    println!("1,000 unread downloads: at most {} KiB unread", most >> 10);
    assert!(most > 0);
    // Each chunk is charged 256 bytes beside its payload; one read may go over.
    assert!(most <= 17 << 20, "{most}");
}

/// L15: eight bulk downloads get the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_streams_share_fairly() {
    let _alone = ALONE.lock().await;
    let source = source_pod().await;
    let (forwarder, _session) = start().await;
    let counts: Vec<Arc<AtomicU64>> = (0..8).map(|_| Arc::default()).collect();
    let mut readers: Vec<JoinHandle<()>> = Vec::new();
    for count in &counts {
        let mut app = connect(&forwarder, source).await;
        let count = Arc::clone(count);
        readers.push(tokio::spawn(async move {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(n @ 1..) = app.read(&mut buffer).await {
                count.fetch_add(n as u64, Ordering::Relaxed);
            }
        }));
    }
    sleep(Duration::from_millis(300)).await;
    let before: Vec<u64> = counts.iter().map(|c| c.load(Ordering::Relaxed)).collect();
    sleep(seconds()).await;
    let got = counts.iter().zip(before);
    let got: Vec<f64> = got
        .map(|(c, before)| (c.load(Ordering::Relaxed) - before) as f64)
        .collect();
    let (sum, squares) = (
        got.iter().sum::<f64>(),
        got.iter().map(|x| x * x).sum::<f64>(),
    );
    let jain = sum * sum / (8.0 * squares);
    println!(
        "Jain index of 8 bulk downloads: {jain:.4}, {:.0} MiB/s",
        sum / seconds().as_secs_f64() / 1_048_576.0
    );
    // The goal is that of 10 s; in less a machine that does other things shows.
    let goal = if seconds() >= Duration::from_secs(10) {
        0.99
    } else {
        0.9
    };
    assert!(jain >= goal, "{jain} {got:?}");
    for reader in readers {
        reader.abort();
    }
}
