//! Models: the real driver and its real handles under every order of their steps that three preemptions
//! allow. What is lost, a wake-up above all, shows as a deadlock.
//!
//! `RUSTFLAGS="--cfg pf_loom" cargo test -p portforward --lib loom`

#![allow(clippy::arithmetic_side_effects, reason = "a test")]

use super::*;
use ::loom::sync::{Condvar, Mutex};
use ::loom::thread;
use bytes::{Bytes, BytesMut};
use spdy::{Decoder, Frame, Limits};
use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Wake, Waker};
use tokio::io::{AsyncWriteExt as _, ReadBuf};

/// Runs a model within bounds. The runtime is there for its clock only; nothing runs on it.
fn model(test: impl Fn() + Send + Sync + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let _clock = runtime.enter();
    let mut builder = ::loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 20_000;
    let orders = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&orders);
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        test();
    });
    let orders = orders.load(Ordering::Relaxed);
    assert!(orders > 2, "only {orders} orders: the threads do not meet");
    println!("{orders} orders");
}

/// A waker that a thread can sleep on.
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

/// Polls whenever woken, and never else.
fn wait<F: Future>(future: F) -> F::Output {
    let bell = Arc::new(Bell {
        rung: Mutex::new(false),
        changed: Condvar::new(),
    });
    let waker = Waker::from(Arc::clone(&bell));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let mut rung = bell.rung.lock().unwrap();
        while !*rung {
            rung = bell.changed.wait(rung).unwrap();
        }
        *rung = false;
    }
}

fn once<F: Future + Unpin>(future: &mut F) {
    assert!(
        pin!(future)
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
}

/// What the peer sends and has got. Both only the driver's thread touches.
#[derive(Clone, Default)]
struct Peer(Arc<std::sync::Mutex<(VecDeque<Bytes>, BytesMut, bool)>>);

impl Peer {
    fn sends(&self, bytes: Bytes) {
        self.0.lock().unwrap().0.push_back(bytes);
    }

    /// The frames it got.
    fn got(&self) -> Vec<Frame> {
        let mut decoder = Decoder::new(Limits::default());
        let mut bytes = self.0.lock().unwrap().1.clone();
        std::iter::from_fn(|| decoder.decode(&mut bytes).unwrap()).collect()
    }

    fn payload(&self) -> Vec<u8> {
        let data = |frame| match frame {
            Frame::Data(data) => Some(data.payload),
            _ => None,
        };
        self.got().into_iter().filter_map(data).flatten().collect()
    }

    fn goodbyes(&self) -> usize {
        let is = |frame: &&Frame| matches!(frame, Frame::GoAway(_));
        self.got().iter().filter(is).count()
    }

    fn resets(&self) -> usize {
        let is = |frame: &&Frame| matches!(frame, Frame::RstStream(_));
        self.got().iter().filter(is).count()
    }
}

impl AsyncRead for Peer {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inner = self.0.lock().unwrap();
        match inner.0.pop_front() {
            Some(bytes) => buf.put_slice(&bytes),
            None if inner.2 => {}
            None => return Poll::Pending,
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap().1.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().unwrap().2 = true;
        Poll::Ready(Ok(()))
    }
}

/// Small enough for one chunk to fill.
fn tiny() -> Config {
    Config {
        stream_send: 4,
        stream_receive: 300,
        ..Config::default()
    }
}

fn start(config: Config) -> (Session, Driver<Peer>, Peer) {
    let peer = Peer::default();
    let (session, driver) = client(peer.clone(), BytesMut::new(), config).unwrap();
    (session, driver, peer)
}

/// A session with one stream. Of what it has received, 300 bytes pause the session, whatever the stream
/// may hold: with one stream the two cannot be told apart otherwise, and the order of two is not loom's
/// to choose.
fn start_open(config: Config) -> (Session, Driver<Peer>, Peer, Stream) {
    let (session, mut driver, peer) = start(config);
    if driver.config.stream_receive > 300 {
        driver.config.session_receive = 300;
    }
    let stream = session.open(HeaderBlock::new()).unwrap();
    once(&mut driver);
    (session, driver, peer, stream)
}

fn data(text: &'static [u8], fin: bool) -> Bytes {
    let mut bytes = vec![
        0,
        0,
        0,
        1,
        u8::from(fin),
        0,
        0,
        u8::try_from(text.len()).unwrap(),
    ];
    bytes.extend_from_slice(text);
    bytes.into()
}

async fn chunk(stream: &mut Stream) -> io::Result<Option<Bytes>> {
    std::future::poll_fn(|cx| stream.poll_read_chunk(cx)).await
}

/// A writer that finds no room sleeps; the driver that makes room wakes it. Nothing is lost or doubled.
#[test]
fn loom_writes_and_takes() {
    model(|| {
        let (session, driver, peer, mut stream) = start_open(tiny());
        let writer = thread::spawn(move || {
            wait(async {
                stream.write_all(b"first").await.unwrap();
                stream.write_all(b"second").await.unwrap();
                stream.flush().await.unwrap();
            });
            drop(stream);
            drop(session);
        });
        assert_eq!(wait(driver), CloseReason::Local);
        writer.join().unwrap();
        assert_eq!(peer.payload(), b"firstsecond");
        assert_eq!((peer.resets(), peer.goodbyes()), (1, 1));
    });
}

/// The driver stops reading because too much is unread; whoever reads then makes it go on.
fn pauses(stream_receive: usize) {
    model(move || {
        let config = Config {
            stream_receive,
            ..tiny()
        };
        let (session, driver, peer, mut stream) = start_open(config);
        peer.sends(data(b"one", false));
        peer.sends(data(b"two", false));
        peer.sends(data(b"three", true));
        let reader = thread::spawn(move || {
            let got = wait(async {
                let mut got = Vec::new();
                while let Some(chunk) = chunk(&mut stream).await.unwrap() {
                    got.extend_from_slice(&chunk);
                }
                got
            });
            assert_eq!(got, b"onetwothree");
            drop(stream);
            drop(session);
        });
        wait(driver);
        reader.join().unwrap();
    });
}

#[test]
fn loom_a_reader_lifts_the_pause_of_its_session() {
    pauses(1 << 20);
}

#[test]
fn loom_a_reader_lifts_the_pause_of_its_stream() {
    pauses(300);
}

/// A reader that goes away makes room too.
#[test]
fn loom_a_dropped_reader_lifts_the_pause() {
    model(|| {
        let (session, mut driver, peer, stream) = start_open(tiny());
        peer.sends(data(b"one", false));
        peer.sends(data(b"two", false));
        once(&mut driver);
        peer.sends(data(b"three", false));
        let reader = thread::spawn(move || drop(stream));
        let closer = thread::spawn(move || {
            wait(session.closed());
        });
        // Ends only if it reads on and sees the end of file.
        peer.0.lock().unwrap().2 = true;
        wait(driver);
        reader.join().unwrap();
        closer.join().unwrap();
        assert!(peer.0.lock().unwrap().0.is_empty(), "it did not read on");
    });
}

/// A reset that meets writes on their way: the peer hears of it once, and who waits for the stream is
/// told.
#[test]
fn loom_resets_and_requests() {
    model(|| {
        let (session, driver, peer, mut stream) = start_open(tiny());
        let resetter = thread::spawn(move || {
            once(&mut Box::pin(std::future::poll_fn(|cx| {
                let mut bytes = Bytes::from_static(b"first");
                assert!(stream.poll_write_chunk(cx, &mut bytes).is_ready());
                Poll::<()>::Pending
            })));
            stream.reset(RstStatus::CANCEL);
            let failure = wait(std::future::poll_fn(|cx| stream.poll_failed(cx)));
            assert_eq!(failure, StreamFailure::ResetLocally(RstStatus::CANCEL));
            drop(stream);
            drop(session);
        });
        wait(driver);
        resetter.join().unwrap();
        assert_eq!((peer.resets(), peer.goodbyes()), (1, 1));
    });
}

/// Two ask for the end, one by dropping the last handle.
#[test]
fn loom_the_end_is_asked_for_twice() {
    model(|| {
        let (session, driver, peer) = start(tiny());
        let other = session.clone();
        let closer = thread::spawn(move || {
            other.close();
            wait(other.closed())
        });
        let dropper = thread::spawn(move || drop(session));
        assert_eq!(wait(driver), CloseReason::Local);
        assert_eq!(closer.join().unwrap(), CloseReason::Local);
        dropper.join().unwrap();
        assert_eq!(peer.goodbyes(), 1);
    });
}

/// A stream that is asked for while the driver goes: refused, or over.
#[test]
fn loom_opening_while_the_driver_goes() {
    model(|| {
        let (session, driver, _peer) = start(tiny());
        let opener = thread::spawn(move || {
            let Ok(mut stream) = session.open(HeaderBlock::new()) else {
                return;
            };
            assert!(wait(chunk(&mut stream)).is_err());
            assert!(wait(stream.replied()).is_err());
        });
        drop(driver);
        opener.join().unwrap();
    });
}
