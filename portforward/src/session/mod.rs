//! One upgraded connection: [`Session`] and [`Stream`] are the handles, [`Driver`] the one future
//! that owns protocol and socket.
//!
//! Handles and driver share small queues of [`bytes::Bytes`] and wakers only; no lock is held
//! around protocol logic or IO. The driver must be polled (spawned) for anything to move, and
//! everything ends with it: dropping the driver ends every stream with an error.

pub mod channels;
mod driver;
mod events;
#[cfg(all(feature = "fuzzing", feature = "gateway", feature = "node"))]
pub(crate) mod gauge;
mod lanes;
mod life;
#[cfg(all(test, pf_loom))]
mod models;
mod queues;
mod receive;
mod shared;
mod stream;
mod sync;
#[cfg(test)]
mod tests;

pub use driver::Driver;
pub use stream::{Stream, StreamFailure, stream_failure};

use bytes::BytesMut;
use shared::{Lane, Open, Request, Shared, StreamCell};
use spdy::{ConfigError, Connection, FlowControl, HeaderBlock, Role, RstStatus, StreamId};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::Instant;

/// Why a session ended. `Display` is fit for a user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// This side closed it ([`Session::close`], or the driver was dropped).
    #[error("closed by this side")]
    Local,
    /// The peer said GOAWAY and closed.
    #[error("the peer ended the connection (GOAWAY {status}, last stream {last_good})")]
    GoAway {
        /// Last stream of ours it processed, 0 for none.
        last_good: u32,
        /// What it said.
        status: spdy::GoAwayStatus,
    },
    /// End of stream without GOAWAY.
    #[error("the peer closed the connection")]
    Eof,
    /// End of stream inside a frame: something on the way cut the connection.
    #[error("the connection was cut inside a frame")]
    Cut,
    /// No byte came from the peer for this many seconds, PINGs notwithstanding.
    #[error("no sign of life from the other side for {0} s")]
    Silent(u64),
    /// Nothing happened on the connection for this many seconds.
    #[error("nothing happened for {0} s")]
    Idle(u64),
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Protocol(spdy::ConnectionError),
    /// The WebSocket ended other than by Close 1000, or its peer broke the channel protocol.
    #[error("{0}")]
    WebSocket(wsstream::ConnectionError),
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Transport(String),
}

/// Limits of a session beyond those of [`spdy::Limits`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Protocol limits and timers; its role is set by [`client`] and [`server`].
    pub spdy: spdy::Config,
    /// Bytes a stream may hold unread before reading of the whole connection pauses; every chunk
    /// counts 256 bytes more than its payload (B12, B14).
    pub stream_receive: usize,
    /// The same for all streams of the connection together (B14).
    pub session_receive: usize,
    /// Bytes a stream may have queued for sending, plus one chunk (B15), which for a client is a DATA frame of
    /// `spdy.data_payload`, but from 64 to 256 KiB, and as much again on its way to the queue.
    pub stream_send: usize,
    /// The same for the connection; each stream may still queue one chunk (B15).
    pub session_send: usize,
    /// Flow control with a peer that is ours: a client offers it on its first stream, a server that
    /// is offered it answers with SETTINGS, and from then on both count windows. Real peers take
    /// no notice, and get neither SETTINGS nor WINDOW_UPDATE (PROTOCOL.md 1.7). A client takes either from its peer for
    /// the agreement.
    pub windows: bool,
    /// A client keeps a stream that the pod does not read from blocking the others at a peer
    /// without flow control (PROTOCOL.md 1.7): it asks by PINGs how far the peer has come and
    /// sends no more than the peer's queue holds.
    pub lanes: bool,
    /// How long a stream of which nothing is read may pause the others before it is reset: this long
    /// where one of them has sent something and waits for the answer, else four times as long; four times as
    /// long too if all the while it has bytes of its own to send that cannot leave. One that is
    /// read, however slowly, is not reset, nor one beside which there is none, or only such as this side
    /// has ended (B14).
    pub stall: Duration,
    /// A client's session is over after this time without a byte of the peer, which is pinged
    /// (B27).
    pub dead_after: Duration,
    /// The same while streams are open on which bytes were sent: a real peer whose pod does not
    /// read them cannot answer.
    pub dead_after_sending: Duration,
    /// A server's session without streams is over after this time without a byte either way (B26).
    pub idle_empty: Duration,
    /// The same with streams.
    pub idle: Duration,
    /// Time for the last bytes to leave after [`Session::close`] (B29).
    pub drain: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            spdy: spdy(Role::Client),
            windows: true,
            lanes: true,
            stream_receive: 4 << 20,
            session_receive: 16 << 20,
            stream_send: 64 << 10,
            session_send: 4 << 20,
            stall: Duration::from_secs(4),
            dead_after: Duration::from_secs(30),
            dead_after_sending: Duration::from_secs(600),
            idle_empty: Duration::from_secs(600),
            idle: Duration::from_secs(4 * 3600),
            drain: Duration::from_secs(5),
        }
    }
}

/// Hard ceilings of B14.
const STREAM_RECEIVE: usize = 4 << 20;
const SESSION_RECEIVE: usize = 256 << 20;

impl Config {
    /// Whether every limit is within its range: nothing is 0, nothing above its ceiling, no stream may
    /// hold more than its session, and an end may not wait for ever.
    ///
    /// # Errors
    /// Names the first that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.spdy.check()?;
        let ranges = [
            ("session_receive", self.session_receive, SESSION_RECEIVE),
            (
                "stream_receive",
                self.stream_receive,
                STREAM_RECEIVE.min(self.session_receive),
            ),
            ("session_send", self.session_send, usize::MAX),
            ("stream_send", self.stream_send, self.session_send),
        ];
        let within = |value, ceiling| (1..=ceiling).contains(&value);
        if let Some((name, ..)) = ranges.iter().find(|(_, n, most)| !within(*n, *most)) {
            return Err(ConfigError::Range(name));
        }
        // Beyond this an instant cannot be told, and the deadline would not exist.
        let ever = Duration::from_secs(365 * 24 * 3600);
        let times = [
            ("stall", self.stall, ever),
            ("dead_after", self.dead_after, self.dead_after_sending),
            ("dead_after_sending", self.dead_after_sending, ever),
            ("idle_empty", self.idle_empty, self.idle),
            ("idle", self.idle, ever),
            ("drain", self.drain, Duration::from_secs(60)),
        ];
        match times
            .iter()
            .find(|(_, time, most)| time.is_zero() || time > most)
        {
            Some((name, ..)) => Err(ConfigError::Range(name)),
            None => Ok(()),
        }
    }
}

/// Header by which a client offers flow control on its first stream; real servers ignore it
/// (PROTOCOL.md 3.1).
const FLOW_CONTROL: &str = "flow-control";
/// What a stream may hold unread at a peer that counts windows (B14).
const STREAM_WINDOW: u32 = 1 << 20;
/// The same for a session.
const SESSION_WINDOW: u32 = 16 << 20;

/// Bytes read from a socket at a time, unless a session says otherwise. With a head of 8 bytes, and a WebSocket's
/// head of 8 around it, they fill four TLS records of 16 KiB. A little more, and TLS makes a tiny record of the rest,
/// often in a write of its own.
pub(crate) const CHUNK: usize = (64 << 10) - 8 - 8;
/// Payload of a client's DATA frames: with its head of 8 bytes one fills four such messages of a tunnel. With a
/// quarter of it an upload stands still while a lane's few frames are confirmed.
const DATA_PAYLOAD: usize = 4 * (CHUNK + 8) - 8;

fn spdy(role: Role) -> spdy::Config {
    let mut config = spdy::Config::kubernetes(role);
    config.stream_window = STREAM_WINDOW;
    config.session_window = SESSION_WINDOW;
    config.limits.stream_receive = 4 << 20;
    if role == Role::Client {
        config.data_payload = DATA_PAYLOAD;
    }
    config
}

/// How much a session carries, for those who choose among several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Load {
    /// Lanes of the peer that no stream is in, of 5 (PROTOCOL.md 1.7); all where streams cannot block
    /// each other.
    pub free_lanes: usize,
    /// Lanes that a pod blocks by reading nothing, or by reading long frames at less than some 20 MB/s.
    pub blocked_lanes: usize,
    /// Bytes received that nobody has read yet.
    pub unread: usize,
    /// Payload so far, in both directions.
    pub moved: u64,
}

/// Handle to a session; clones share it. When the last one is dropped the session closes as with
/// [`Session::close`].
#[derive(Clone, Debug)]
pub struct Session {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    incoming: Mutex<mpsc::Receiver<Incoming>>,
    closed: watch::Receiver<Option<CloseReason>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.request_close();
    }
}

/// The client's side of an upgraded connection; `early` is what was read behind the 101 head.
///
/// # Errors
/// A limit of `config` is out of its range.
pub fn client<T>(
    io: T,
    early: BytesMut,
    config: Config,
) -> Result<(Session, Driver<T>), ConfigError>
where
    T: AsyncRead + AsyncWrite + Send + Unpin,
{
    start(io, early, config, Role::Client)
}

/// The server's side; `early` is what came behind the request head. Sends nothing before the
/// client's first frame: the Go client loses bytes right behind the 101 (PROTOCOL.md 2.2).
///
/// # Errors
/// A limit of `config` is out of its range.
pub fn server<T>(
    io: T,
    early: BytesMut,
    config: Config,
) -> Result<(Session, Driver<T>), ConfigError>
where
    T: AsyncRead + AsyncWrite + Send + Unpin,
{
    start(io, early, config, Role::Server)
}

fn start<T>(
    io: T,
    early: BytesMut,
    mut config: Config,
    role: Role,
) -> Result<(Session, Driver<T>), ConfigError> {
    config.spdy.role = role;
    if config.windows {
        // A client that has not asked for it may send SETTINGS and WINDOW_UPDATE all the same, and they mean
        // nothing (PROTOCOL.md 1.7). A real server sends neither, so that a client takes them for the answer.
        config.spdy.flow_control = if role == Role::Server {
            FlowControl::Agreed
        } else {
            FlowControl::Detect
        };
    }
    if role == Role::Server {
        config.spdy.ping_interval = None;
    }
    config.check()?;
    let conn = Connection::new(config.spdy.clone(), Instant::now().into_std())?;
    let chunk = if role == Role::Client {
        config.spdy.data_payload.clamp(CHUNK, DATA_PAYLOAD)
    } else {
        CHUNK
    };
    let shared = Shared::new(config.stream_send, config.session_send, chunk);
    let shared = Arc::new(shared);
    #[cfg(all(feature = "fuzzing", feature = "gateway", feature = "node"))]
    gauge::note(&shared);
    // As many as the peer may open (B6); one that was reset meanwhile still has its place.
    let (admit, incoming) = mpsc::channel(config.spdy.limits.peer_streams.max(1));
    let (closing, closed) = watch::channel(None);
    let driver = Driver::new(io, early, conn, config, Arc::clone(&shared), admit, closing);
    let inner = Inner {
        shared,
        incoming: Mutex::new(incoming),
        closed,
    };
    let session = Session {
        inner: Arc::new(inner),
    };
    Ok((session, driver))
}

impl Session {
    /// Opens a stream; SYN_STREAM leaves with the next poll of the driver, in the order of calls.
    /// A refusal by the peer or the protocol shows on the stream ([`Stream::replied`]).
    ///
    /// # Errors
    /// The session is over.
    pub fn open(&self, headers: HeaderBlock) -> Result<Stream, CloseReason> {
        if let Some(reason) = self.reason() {
            return Err(reason);
        }
        let (cell, stream) = self.stream(headers, Lane::Any);
        self.inner.shared.enqueue(&cell);
        // It may have ended between the two: then nobody will look at the request.
        if let Some(reason) = self.reason() {
            return Err(reason);
        }
        Ok(stream)
    }

    /// Opens the two streams of a forwarded connection, the error stream first and half-closed at once,
    /// in a lane that they share with as few others as possible. As [`Session::open`] else.
    ///
    /// # Errors
    /// The session is over.
    pub fn open_pair(
        &self,
        error: HeaderBlock,
        data: HeaderBlock,
    ) -> Result<(Stream, Stream), CloseReason> {
        if let Some(reason) = self.reason() {
            return Err(reason);
        }
        let (error_cell, error) = self.stream(error, Lane::New);
        error_cell.lock().fin = true;
        let (data_cell, data) = self.stream(data, Lane::Of(Arc::clone(&error_cell)));
        self.inner.shared.enqueue(&error_cell);
        self.inner.shared.enqueue(&data_cell);
        if let Some(reason) = self.reason() {
            return Err(reason);
        }
        Ok((error, data))
    }

    fn stream(&self, headers: HeaderBlock, lane: Lane) -> (Arc<StreamCell>, Stream) {
        let cell = Arc::new(StreamCell::default());
        cell.lock().open = Some(Open { headers, lane });
        let stream = Stream::new(Arc::clone(&cell), Arc::clone(&self.inner.shared));
        (cell, stream)
    }

    /// Whether the peer has agreed to flow control, so that streams cannot hold each other up.
    #[must_use]
    pub fn has_windows(&self) -> bool {
        self.inner.shared.windows.load(Ordering::Relaxed)
    }

    /// How much it carries now.
    #[must_use]
    pub fn load(&self) -> Load {
        let shared = &self.inner.shared;
        Load {
            free_lanes: shared.free_lanes.load(Ordering::Relaxed),
            blocked_lanes: shared.blocked_lanes.load(Ordering::Relaxed),
            unread: shared.received_bytes.load(Ordering::Relaxed),
            moved: shared.moved.load(Ordering::Relaxed),
        }
    }

    /// The next stream that the peer opened; `None` when the session is over.
    ///
    /// # Cancel safety
    /// Nothing is lost when this future is dropped.
    pub async fn accept(&self) -> Option<Incoming> {
        self.inner.incoming.lock().await.recv().await
    }

    /// Waits for the end of the session.
    ///
    /// # Cancel safety
    /// Nothing is lost when this future is dropped.
    pub async fn closed(&self) -> CloseReason {
        let mut closed = self.inner.closed.clone();
        let reason = closed.wait_for(Option::is_some).await;
        // The sender is gone without a reason only if the driver was dropped.
        reason
            .ok()
            .and_then(|r| r.clone())
            .unwrap_or(CloseReason::Local)
    }

    /// Why the session ended, if it has.
    #[must_use]
    pub fn reason(&self) -> Option<CloseReason> {
        #[cfg(all(test, pf_loom))]
        self.inner.shared.meet();
        self.inner.closed.borrow().clone()
    }

    /// Ends the session: streams still open are reset, what is queued leaves, GOAWAY goes last,
    /// then the transport is closed.
    pub fn close(&self) {
        self.inner.shared.request_close();
    }
}

/// A stream that the peer opened. Dropped unanswered, it is refused.
#[derive(Debug)]
pub struct Incoming {
    /// Its id.
    pub id: StreamId,
    /// Its header block.
    pub headers: HeaderBlock,
    stream: Option<Stream>,
    shared: Arc<Shared>,
    /// What it counts as unread while nobody has taken it.
    charge: usize,
}

impl Incoming {
    fn new(id: StreamId, headers: HeaderBlock, stream: Stream, shared: Arc<Shared>) -> Self {
        let charge = headers.encoded_len();
        shared.received_bytes.fetch_add(charge, Ordering::SeqCst);
        Self {
            id,
            headers,
            stream: Some(stream),
            shared,
            charge,
        }
    }

    /// Sends SYN_REPLY.
    #[must_use]
    pub fn accept(mut self) -> Option<Stream> {
        let stream = self.stream.take()?;
        stream.request(Request::Reply);
        Some(stream)
    }

    /// Sends RST_STREAM instead; Kubernetes uses [`RstStatus::CANCEL`] (PROTOCOL.md 3.1).
    pub fn reject(mut self, status: RstStatus) {
        if let Some(mut stream) = self.stream.take() {
            stream.reset(status);
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.shared.uncharge_received(self.charge);
        if let Some(mut stream) = self.stream.take() {
            stream.reset(RstStatus::REFUSED_STREAM);
        }
    }
}
