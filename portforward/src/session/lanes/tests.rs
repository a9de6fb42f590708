//! A session towards a model of spdystream's receiver: one reader, five workers, queues of 50 frames
//! (PROTOCOL.md 1.7). What the model must never do is stop reading.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::mem_forget,
    reason = "a test"
)]

use super::super::{Config, Session, Stream, client};
use super::{FREE, LANES};
use bytes::{Bytes, BytesMut};
use spdy::{Decoder, Encoder, Frame, HeaderBlock, HeaderEncoding, Limits, SynReply};
use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::time::timeout;

const QUEUE: usize = 50;
const ALL: usize = 8 << 20;

/// What is known of a peer from outside.
#[derive(Default)]
struct Seen {
    /// Bytes that each stream's pod has taken.
    taken: HashMap<u32, usize>,
    /// The reader waits for a queue.
    wedged: bool,
    pings: usize,
    /// Names of frames that deployed servers do not expect.
    strange: Vec<String>,
}

impl Seen {
    /// A pod takes `n` bytes, up to its limit.
    fn take(&mut self, id: u32, n: usize, limit: Option<usize>) -> bool {
        let taken = self.taken.entry(id).or_default();
        let room = limit.is_none_or(|limit| *taken + n <= limit);
        *taken += if room { n } else { 0 };
        room
    }
}

#[derive(Clone)]
struct Peer {
    seen: Arc<Mutex<Seen>>,
    /// Streams whose pod takes this many bytes and no more.
    deaf: Arc<Mutex<HashMap<u32, usize>>>,
    answers_pings: bool,
    /// The time a worker takes for a frame.
    work: Duration,
}

impl Peer {
    fn new() -> Self {
        Self {
            seen: Arc::default(),
            deaf: Arc::default(),
            answers_pings: true,
            work: Duration::ZERO,
        }
    }

    fn start(&self) -> Session {
        let (a, b) = duplex(64 << 10);
        let mut config = Config::default();
        config.spdy.ping_interval = None;
        let (session, driver) = client(a, BytesMut::new(), config).unwrap();
        tokio::spawn(driver);
        tokio::spawn(self.clone().read(b));
        session
    }

    /// The reader.
    async fn read(self, io: DuplexStream) {
        let (mut read, mut write) = split(io);
        let (out, mut queued) = tokio::sync::mpsc::unbounded_channel::<Frame>();
        let encoder = Encoder::new(HeaderEncoding::Stored, &Limits::default());
        tokio::spawn(async move {
            let mut encoder = encoder;
            while let Some(frame) = queued.recv().await {
                let mut bytes = BytesMut::new();
                encoder.encode(&frame, &mut bytes).unwrap();
                if write.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        });
        let mut lanes = Vec::new();
        for _ in 0..LANES {
            let (queue, frames) = tokio::sync::mpsc::channel(QUEUE);
            tokio::spawn(self.clone().work(frames, out.clone()));
            lanes.push(queue);
        }
        let mut decoder = Decoder::new(Limits::default());
        let (mut input, mut turn) = (BytesMut::new(), 0);
        // A frame of DATA is put into its queue whole.
        let mut part = BytesMut::new();
        loop {
            while let Some(mut frame) = decoder.decode(&mut input).unwrap() {
                if let Frame::Data(data) = &mut frame {
                    part.extend_from_slice(&data.payload);
                    if data.remaining > 0 {
                        continue;
                    }
                    data.payload = part.split().freeze();
                }
                let lane = match &frame {
                    Frame::SynStream(f) => f.id.get() as usize % LANES,
                    Frame::Data(f) => f.id.get() as usize % LANES,
                    Frame::RstStream(f) => f.id.get() as usize % LANES,
                    Frame::Ping(_) => {
                        turn += 1;
                        (turn - 1) % LANES
                    }
                    other => {
                        self.seen.lock().unwrap().strange.push(format!("{other:?}"));
                        0
                    }
                };
                if lanes[lane].capacity() == 0 {
                    self.seen.lock().unwrap().wedged = true;
                }
                lanes[lane].send(frame).await.unwrap();
                self.seen.lock().unwrap().wedged = false;
            }
            if read.read_buf(&mut input).await.unwrap_or(0) == 0 {
                return;
            }
        }
    }

    /// One worker: echoes what the pod takes.
    async fn work(
        self,
        mut frames: tokio::sync::mpsc::Receiver<Frame>,
        out: tokio::sync::mpsc::UnboundedSender<Frame>,
    ) {
        let send = |frame| drop(out.send(frame));
        while let Some(frame) = frames.recv().await {
            tokio::time::sleep(self.work).await;
            match frame {
                Frame::SynStream(syn) => send(Frame::SynReply(SynReply {
                    id: syn.id,
                    fin: false,
                    headers: HeaderBlock::new(),
                })),
                Frame::Ping(_) if !self.answers_pings => {}
                Frame::Ping(ping) => {
                    self.seen.lock().unwrap().pings += 1;
                    send(Frame::Ping(ping));
                }
                Frame::Data(data) => {
                    let id = data.id.get();
                    let n = data.payload.len();
                    loop {
                        let limit = self.deaf.lock().unwrap().get(&id).copied();
                        if self.seen.lock().unwrap().take(id, n, limit) {
                            break;
                        }
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    send(Frame::Data(data));
                }
                _ => {}
            }
        }
    }

    fn wedged(&self) -> bool {
        self.seen.lock().unwrap().wedged
    }
}

fn open(session: &Session) -> (Stream, Stream) {
    let headers = || [("port", "80")].into_iter().collect::<HeaderBlock>();
    let (error, data) = session.open_pair(headers(), headers()).unwrap();
    (data, error)
}

async fn id(stream: &mut Stream) -> u32 {
    stream.replied().await.unwrap();
    stream.cell.lock().id.unwrap().get()
}

async fn write(stream: &mut Stream, n: usize) {
    let mut bytes = Bytes::from(vec![7; n]);
    while !bytes.is_empty() {
        let mut piece = bytes.split_to(bytes.len().min(16 << 10));
        poll_fn(|cx| stream.poll_write_chunk(cx, &mut piece))
            .await
            .unwrap();
    }
}

/// Sends for ever, and reads nothing: returns how many bytes left.
async fn flood(mut stream: Stream) -> Stream {
    for _ in 0..4096 {
        if timeout(Duration::from_secs(2), write(&mut stream, 16 << 10))
            .await
            .is_err()
        {
            break;
        }
    }
    stream
}

async fn echo(stream: &mut Stream, times: usize) {
    for _ in 0..times {
        let sent = write(stream, 100);
        timeout(Duration::from_secs(1), sent).await.unwrap();
        let mut got = 0;
        while got < 100 {
            let chunk = poll_fn(|cx| stream.poll_read_chunk(cx));
            let chunk = timeout(Duration::from_secs(1), chunk).await;
            got += chunk.expect("no echo within 1 s").unwrap().unwrap().len();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_does_not_read_blocks_one_lane_only() {
    let peer = Peer::new();
    let session = peer.start();
    let (mut stalled, _error) = open(&session);
    let first = id(&mut stalled).await;
    peer.deaf.lock().unwrap().insert(first, 300 << 10);
    let stalled = tokio::spawn(flood(stalled));
    let _stalled = stalled.await.unwrap();
    assert!(!peer.wedged());
    assert_eq!(session.load().blocked_lanes, 1);
    assert_eq!(session.load().free_lanes, LANES - 1);
    // Beside it, in lanes of their own: also much, so that the peer is asked beside the blocked lane.
    let mut others = Vec::new();
    for _ in 1..LANES {
        let (data, error) = open(&session);
        others.push((data, error));
    }
    for (data, _) in &mut others {
        assert_ne!(id(data).await % 5, first % 5);
        echo(data, 100).await;
    }
    for (data, _) in &mut others {
        for _ in 0..40 {
            write(data, FREE as usize / 4).await;
            let mut got = 0;
            while got < FREE as usize / 4 {
                let chunk = poll_fn(|cx| data.poll_read_chunk(cx));
                let chunk = timeout(Duration::from_secs(1), chunk).await;
                got += chunk.expect("stalled").unwrap().unwrap().len();
            }
        }
        echo(data, 100).await;
    }
    assert!(!peer.wedged());
    assert!(peer.seen.lock().unwrap().strange.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_held_back_arrives_when_the_pod_reads_again() {
    let peer = Peer::new();
    let session = peer.start();
    let (mut data, _error) = open(&session);
    let id = id(&mut data).await;
    peer.deaf.lock().unwrap().insert(id, 200 << 10);
    let (mut read, mut send) = split(data);
    let upload = tokio::spawn(async move {
        send.write_all(&vec![7; ALL]).await.unwrap();
        send
    });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!peer.wedged());
    let before = peer.seen.lock().unwrap().taken[&id];
    assert!(before <= 200 << 10);
    peer.deaf.lock().unwrap().remove(&id);
    let mut got = vec![0; ALL];
    timeout(Duration::from_secs(5), read.read_exact(&mut got))
        .await
        .unwrap()
        .unwrap();
    upload.await.unwrap();
    assert_eq!(peer.seen.lock().unwrap().taken[&id], ALL);
    assert_eq!(session.load().blocked_lanes, 0);
}

/// With more uploads that stall than can be told apart, the sessions's other streams still have what
/// the queues hold.
#[tokio::test(start_paused = true)]
async fn two_uploads_that_stall_block_two_lanes() {
    let peer = Peer::new();
    let session = peer.start();
    let mut held = Vec::new();
    for _ in 0..2 {
        let (mut stalled, error) = open(&session);
        let id = id(&mut stalled).await;
        peer.deaf.lock().unwrap().insert(id, 200 << 10);
        let stalled = tokio::spawn(flood(stalled)).await.unwrap();
        held.push((stalled, error));
        assert!(!peer.wedged());
    }
    assert_eq!(session.load().blocked_lanes, 2);
    let (mut data, _error) = open(&session);
    echo(&mut data, 1000).await;
    assert!(!peer.wedged());
}

#[tokio::test(start_paused = true)]
async fn a_slow_peer_gets_everything_and_is_never_flooded() {
    let mut peer = Peer::new();
    peer.work = Duration::from_millis(20);
    let session = peer.start();
    let (mut data, _error) = open(&session);
    let id = id(&mut data).await;
    let (mut read, mut send) = split(data);
    let upload = tokio::spawn(async move {
        send.write_all(&vec![7; 4 << 20]).await.unwrap();
        send
    });
    let mut got = vec![0; 4 << 20];
    let reading = read.read_exact(&mut got);
    tokio::pin!(reading);
    loop {
        tokio::select! {
            done = &mut reading => {
                done.unwrap();
                break;
            }
            () = tokio::time::sleep(Duration::from_millis(5)) => assert!(!peer.wedged()),
        }
    }
    upload.await.unwrap();
    assert_eq!(peer.seen.lock().unwrap().taken[&id], 4 << 20);
}

/// Whoever answers no PING is not waited for.
#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_no_pings_is_sent_everything() {
    let mut peer = Peer::new();
    peer.answers_pings = false;
    let session = peer.start();
    let (mut data, _error) = open(&session);
    let id = id(&mut data).await;
    let (mut read, mut send) = split(data);
    let upload = tokio::spawn(async move {
        send.write_all(&vec![7; 8 << 20]).await.unwrap();
        send
    });
    let mut got = vec![0; 8 << 20];
    let reading = timeout(Duration::from_secs(10), read.read_exact(&mut got));
    reading.await.unwrap().unwrap();
    upload.await.unwrap();
    assert_eq!(peer.seen.lock().unwrap().taken[&id], 8 << 20);
}

/// Small talk costs no PINGs.
#[tokio::test(start_paused = true)]
async fn nobody_is_asked_because_of_little() {
    let peer = Peer::new();
    let session = peer.start();
    let (mut data, _error) = open(&session);
    echo(&mut data, 1000).await;
    assert_eq!(peer.seen.lock().unwrap().pings, 0);
}

/// Lanes go round: ten connections are two in each.
#[tokio::test(start_paused = true)]
async fn connections_are_spread_over_the_lanes() {
    let peer = Peer::new();
    let session = peer.start();
    let mut count = [0; LANES];
    let mut open_ones = Vec::new();
    for _ in 0..10 {
        let (mut data, mut error) = open(&session);
        let (data_id, error_id) = (id(&mut data).await, id(&mut error).await);
        assert_eq!(data_id % 5, error_id % 5);
        count[data_id as usize % LANES] += 1;
        open_ones.push((data, error));
    }
    assert_eq!(count, [2; LANES]);
    assert_eq!(session.load().free_lanes, 0);
    drop(open_ones);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(session.load().free_lanes, LANES);
}

/// No server without flow control gets SETTINGS or WINDOW_UPDATE, whatever it sends.
#[tokio::test(start_paused = true)]
async fn a_peer_without_windows_gets_none() {
    let peer = Peer::new();
    let session = peer.start();
    let (mut data, _error) = open(&session);
    for _ in 0..64 {
        write(&mut data, 64 << 10).await;
        let mut got = 0;
        while got < 64 << 10 {
            let chunk = poll_fn(|cx| data.poll_read_chunk(cx)).await;
            got += chunk.unwrap().unwrap().len();
        }
    }
    assert!(peer.seen.lock().unwrap().strange.is_empty());
}
