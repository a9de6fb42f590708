//! The node's side of a session: pairs, dials the pod, copies (PROTOCOL.md 3.4, 3.5, 7.3).
//!
//! What differs from containerd, for the better: the client's half-close is passed to the pod and
//! its answer awaited; with clients that keep half-close the pod's is passed on too, with others a
//! close by the pod ends the pair after 1 s without a byte; a failure never shows as FIN on the
//! data stream.

use super::{Agreed, Dial, PodRef, Protocol, channels};
use crate::copy::{DownEnd, Relay, UpEnd};
use crate::observe::{self, Event, Observer, Watch, Way};
use crate::pair::{Added, Label, Lone, Pairing, StreamType};
use crate::session::{self, Config, Session, Stream};
use crate::socket::Socket;
use crate::websocket::WsByteStream;
use bytes::BytesMut;
use spdy::RstStatus;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// Time for the second stream of a pair to come (B7).
const PAIR_TIMEOUT: Duration = Duration::from_secs(30);
/// Streams that may wait for their partner (B7).
const UNPAIRED: usize = 1024;
/// Forwarded connections per session.
const FORWARDS: usize = 1024;
/// Time to reach the pod port (B28).
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a failed pod's last bytes to leave.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client that does not keep half-close may be quiet after the pod's end. The runtime's
/// own rule gives it this long in all (PROTOCOL.md 7.3).
const QUIET: Duration = Duration::from_secs(1);
/// Time for what had arrived to be passed on after one direction failed.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves one upgraded connection to its end. Everything it starts ends with it.
///
/// # Cancel safety
/// Dropping the future ends all forwarded connections of the session.
pub async fn serve<T, S>(io: T, early: BytesMut, pod: PodRef, dialer: Arc<dyn Dial<S>>)
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Socket + 'static,
{
    serve_with(io, early, pod, dialer, std::future::pending(), None).await;
}

/// As [`serve`], until `stop` is over: then the session ends in order, with GOAWAY as its last
/// word. An `observer` hears of what happens.
///
/// # Cancel safety
/// As [`serve`].
pub async fn serve_with<T, S>(
    io: T,
    early: BytesMut,
    agreed: impl Into<Agreed>,
    dialer: Arc<dyn Dial<S>>,
    stop: impl Future<Output = ()> + Send,
    observer: Option<Arc<dyn Observer>>,
) where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Socket + 'static,
{
    // The default is within its own ranges: a test of `session` says so.
    let config = Config::default();
    serve_config(io, early, agreed.into(), config, dialer, stop, observer).await;
}

/// As [`serve_with`], with limits of the caller's. Nothing happens if they are out of their ranges.
pub(crate) async fn serve_config<T, S>(
    io: T,
    early: BytesMut,
    agreed: Agreed,
    config: Config,
    dialer: Arc<dyn Dial<S>>,
    stop: impl Future<Output = ()> + Send,
    observer: Option<Arc<dyn Observer>>,
) where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Socket + 'static,
{
    let Agreed { pod, protocol } = agreed;
    match protocol {
        Protocol::Spdy => serve_spdy(io, early, pod, config, dialer, stop, observer).await,
        Protocol::Tunnel => {
            // The default is within its own ranges.
            if let Ok(io) = WsByteStream::server(io, early) {
                serve_spdy(io, BytesMut::new(), pod, config, dialer, stop, observer).await;
            }
        }
        Protocol::Channels(format, ports) => {
            let ports = (format, ports);
            channels::serve(io, early, ports, (pod, config), dialer, stop, observer).await;
        }
    }
}

async fn serve_spdy<T, S>(
    io: T,
    early: BytesMut,
    pod: PodRef,
    config: Config,
    dialer: Arc<dyn Dial<S>>,
    stop: impl Future<Output = ()> + Send,
    observer: Option<Arc<dyn Observer>>,
) where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Socket + 'static,
{
    let Ok((session, driver)) = session::server(io, early, config) else {
        return;
    };
    let stopping = async {
        tokio::select! {
            biased;
            () = stop => session.close(),
            _ = session.closed() => {}
        }
    };
    let pairs = serve_pairs(session.clone(), pod, dialer, observer);
    tokio::join!(driver, pairs, stopping);
}

/// Accepts streams until the session is over, then waits for what it started.
async fn serve_pairs<S: Socket + 'static>(
    session: Session,
    pod: PodRef,
    dialer: Arc<dyn Dial<S>>,
    observer: Option<Arc<dyn Observer>>,
) {
    let mut pairing = Pairing::new(PAIR_TIMEOUT, UNPAIRED);
    let mut tasks = JoinSet::new();
    loop {
        let deadline = pairing.next_deadline().map(Instant::from_std);
        let incoming = tokio::select! {
            // The same order each time; what comes often is last.
            biased;
            () = async { sleep_until(deadline.unwrap_or_else(Instant::now)).await }, if deadline.is_some() => {
                for lone in pairing.expire(Instant::now().into_std()) {
                    tasks.spawn(expire(lone));
                }
                continue;
            }
            // Finished pairs are forgotten as they end.
            Some(_) = tasks.join_next() => continue,
            incoming = session.accept() => incoming,
        };
        let Some(incoming) = incoming else { break };
        let Ok(label) = Label::read(incoming.id, &incoming.headers) else {
            incoming.reject(RstStatus::CANCEL);
            continue;
        };
        let Some(stream) = incoming.accept() else {
            continue;
        };
        match pairing.add(Instant::now().into_std(), label, stream) {
            Added::Waiting => {}
            // A pair that was reset frees its streams before its task ends.
            Added::Pair {
                mut data,
                mut error,
                ..
            } if tasks.len() >= FORWARDS => {
                data.reset(RstStatus::REFUSED_STREAM);
                error.reset(RstStatus::REFUSED_STREAM);
            }
            Added::Pair {
                port,
                half_close,
                data,
                error,
            } => {
                let watch = Watch::new(observer.as_ref(), observe::Place::Session);
                watch.tell(|| Event::Paired { port });
                let target = Target {
                    pod: pod.clone(),
                    port,
                    half_close,
                    can_end: true,
                    watch,
                };
                tasks.spawn(forward(data, error, target, Arc::clone(&dialer)));
            }
            Added::Duplicate(mut stream) => stream.reset(RstStatus::CANCEL),
            Added::Full(mut stream) => stream.reset(RstStatus::REFUSED_STREAM),
            Added::PortMismatch(mut a, mut b) => {
                a.reset(RstStatus::CANCEL);
                b.reset(RstStatus::CANCEL);
            }
        }
    }
    while tasks.join_next().await.is_some() {}
}

/// A stream whose partner did not come: an error stream says so, a data stream is reset.
async fn expire(lone: Lone<Stream>) {
    let Lone { label, mut stream } = lone;
    if label.kind == StreamType::Error {
        let request = String::from_utf8_lossy(&label.request).into_owned();
        write_error(
            &mut stream,
            &format!("(request={request}) timed out waiting for streams"),
        )
        .await;
    } else {
        stream.reset(RstStatus::CANCEL);
    }
}

/// Where a pair leads.
pub(super) struct Target {
    pub(super) pod: PodRef,
    pub(super) port: u16,
    /// The client keeps half-close.
    pub(super) half_close: bool,
    /// The client has a way to end its direction of a stream.
    pub(super) can_end: bool,
    pub(super) watch: Watch,
}

/// One pair: dial, copy, verdict.
pub(super) async fn forward<S: Socket>(
    mut data: Stream,
    error: Stream,
    target: Target,
    dialer: Arc<dyn Dial<S>>,
) {
    let Target {
        pod,
        port,
        half_close,
        can_end,
        watch,
    } = target;
    let failed = |cause: &str| {
        format!(
            "error forwarding port {port} to pod {}, uid {}: {cause}",
            pod.name, pod.uid
        )
    };
    watch.tell(|| Event::Dialling);
    let dialled = tokio::select! {
        // A socket that is there already is dealt with as one.
        biased;
        dialled = timeout(DIAL_TIMEOUT, dialer.dial(&pod, port)) => dialled,
        // Nobody waits for it any more. What came in front of a reset is still for the pod (conformance/spec 8.24).
        () = poll_fn(|cx| match data.poll_failed(cx) {
            Poll::Ready(_) if data.held() == 0 => Poll::Ready(()),
            _ => Poll::Pending,
        }) => return,
    };
    let socket = match dialled {
        Ok(Ok(socket)) => socket,
        Ok(Err(e)) => {
            let cause = e.to_string();
            let text = failed(&cause);
            watch.tell(|| Event::DialFailed { cause });
            return fail(data, error, &text).await;
        }
        Err(_) => {
            let seconds = DIAL_TIMEOUT.as_secs();
            let cause = format!("no answer from the port within {seconds} s");
            let text = failed(&cause);
            watch.tell(|| Event::DialFailed { cause });
            return fail(data, error, &text).await;
        }
    };
    watch.tell(|| Event::Dialled);
    // Small answers must not wait for more.
    socket.send_at_once();
    match Carried::new(socket, data, half_close, watch).run().await {
        Ok(data) => end_both(data.filter(|_| can_end), error).await,
        Err((data, cause)) => fail(data, error, &failed(&cause)).await,
    }
}

/// What the pod sent before it failed, then the text, then the reset: the data stream never ends
/// in FIN on failure. What a client that agreed on flow control has given no credit for is not sent.
async fn fail(mut data: Stream, mut error: Stream, text: &str) {
    // A client that does not read cannot hold the verdict back for long.
    drop(timeout(FLUSH_TIMEOUT, data.flush()).await);
    let told = tell(&mut error, text).await;
    // A client may look no further than the reset.
    drop(timeout(FLUSH_TIMEOUT, error.flush()).await);
    // Before waiting for anything of the client: it may keep the error stream open.
    data.reset(RstStatus::CANCEL);
    if told {
        client_ended(&mut error).await;
    }
}

/// Text and FIN. `false`: the client has gone, and nobody wants to know.
async fn tell(error: &mut Stream, text: &str) -> bool {
    error.write_all(text.as_bytes()).await.is_ok() && error.shutdown().await.is_ok()
}

async fn write_error(error: &mut Stream, text: &str) {
    if tell(error, text).await {
        client_ended(error).await;
    }
}

/// Ends the error stream. `data` is there if the client has not ended its direction of it: most do once they know how
/// it went, and a reset on its way to them would look as if something had failed. What they send instead is reset.
async fn end_both(data: Option<Stream>, mut error: Stream) {
    if error.shutdown().await.is_err() {
        return;
    }
    let ended = async {
        if let Some(mut data) = data {
            let first = poll_fn(|cx| data.poll_read_chunk(cx));
            drop(timeout(FLUSH_TIMEOUT, first).await);
        }
    };
    tokio::join!(ended, client_ended(&mut error));
}

/// A moment for clients that half-close the error stream late: dropped before both sides have, it would
/// be reset.
async fn client_ended(error: &mut Stream) {
    let ended = async { while let Ok(Some(_)) = poll_fn(|cx| error.poll_read_chunk(cx)).await {} };
    drop(timeout(FLUSH_TIMEOUT, ended).await);
}

/// The copy between a pod socket and a data stream.
struct Carried<S> {
    relay: Relay<S>,
    up_over: bool,
    down_over: bool,
    /// The client keeps half-close: it ends its direction itself.
    half_close: bool,
    watch: Watch,
    /// First bytes told, of the pod's and of the client's.
    told: (bool, bool),
}

impl<S: Socket> Carried<S> {
    fn new(socket: S, data: Stream, half_close: bool, watch: Watch) -> Self {
        Self {
            relay: Relay::new(socket, data),
            up_over: false,
            down_over: false,
            half_close,
            watch,
            told: (false, false),
        }
    }

    fn tell_first_bytes(&mut self) {
        if self.relay.up > 0 && !self.told.0 {
            self.told.0 = true;
            let way = Way::ToClient;
            self.watch.tell(|| Event::FirstBytes { way });
        }
        if self.relay.down > 0 && !self.told.1 {
            self.told.1 = true;
            let way = Way::ToPod;
            self.watch.tell(|| Event::FirstBytes { way });
        }
    }

    fn tell_end(&self, failure: Option<&str>) {
        self.watch.tell(|| Event::Ended {
            to_pod: self.relay.down,
            to_client: self.relay.up,
            failure: failure.map(str::to_owned),
        });
    }

    /// Both ends of file passed on: `Ok`, with the data stream if the client's was only taken for granted. A pod
    /// socket that failed: the data stream and the cause. A client that reset or vanished: `Ok`, after the pod socket
    /// was reset.
    async fn run(mut self) -> Result<Option<Stream>, (Stream, String)> {
        let mut quiet = false;
        while !(self.up_over && self.down_over) {
            let cause = match self.step_or_quiet().await {
                Step::Up(UpEnd::Eof) => {
                    self.up_over = true;
                    self.watch.tell(|| Event::EndOfFile { way: Way::ToClient });
                    continue;
                }
                Step::Down(DownEnd::Fin) => {
                    self.down_over = true;
                    self.watch.tell(|| Event::EndOfFile { way: Way::ToPod });
                    match poll_fn(|cx| Pin::new(&mut self.relay.socket).poll_shutdown(cx)).await {
                        Err(e) if e.kind() != io::ErrorKind::NotConnected => {
                            format!("shutdown: {e}")
                        }
                        _ => continue,
                    }
                }
                Step::Quiet => {
                    self.down_over = true;
                    quiet = true;
                    continue;
                }
                Step::Up(UpEnd::Socket(e)) => format!("read from the pod: {e}"),
                Step::Down(DownEnd::Socket(e)) => {
                    // What the pod said before it stopped reading is still to be passed on.
                    if !self.up_over {
                        drop(timeout(LAST_WORDS, poll_fn(|cx| self.relay.poll_up(cx))).await);
                    }
                    format!("write to the pod: {e}")
                }
                end @ (Step::Up(UpEnd::Stream) | Step::Down(DownEnd::Stream(_)) | Step::Failed) => {
                    // What arrived before is offered to the pod, for a moment.
                    if !self.down_over && !matches!(end, Step::Down(_)) {
                        drop(timeout(LAST_WORDS, poll_fn(|cx| self.relay.poll_down(cx))).await);
                    }
                    self.tell_end(Some("the client reset the stream or is gone"));
                    let Relay { socket, data, .. } = self.relay;
                    drop(data);
                    socket.abort().await;
                    return Ok(None);
                }
            };
            self.tell_end(Some(&cause));
            return Err((self.relay.data, cause));
        }
        self.tell_end(None);
        let data = self.relay.release();
        Ok(quiet.then_some(data))
    }

    /// As [`Carried::step`]; but once the pod has ended, a client that does not keep half-close
    /// and sends nothing for a moment is taken to have ended too. It waits for the error stream.
    async fn step_or_quiet(&mut self) -> Step {
        if self.half_close || !self.up_over {
            return self.step().await;
        }
        loop {
            let before = self.relay.down;
            match timeout(QUIET, self.step()).await {
                Ok(step) => return step,
                Err(_) if self.relay.down != before => {}
                // It is still being told what the pod said,
                Err(_) if !self.is_sent() => {}
                // or it is the pod that is quiet: it has not taken what the client said.
                Err(_) if self.relay.data.held() > 0 => {}
                Err(_) => return Step::Quiet,
            }
        }
    }

    /// All that the pod said has left the stream's queue, or cannot.
    fn is_sent(&mut self) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        Pin::new(&mut self.relay.data)
            .poll_flush(&mut context)
            .is_ready()
    }

    async fn step(&mut self) -> Step {
        poll_fn(|cx| {
            let down = self.relay.poll_down(cx);
            let up = match &down {
                Poll::Ready(_) => Poll::Pending,
                Poll::Pending => self.relay.poll_up(cx),
            };
            self.tell_first_bytes();
            if let Poll::Ready(end) = down {
                return Poll::Ready(Step::Down(end));
            }
            if let Poll::Ready(end) = up {
                return Poll::Ready(Step::Up(end));
            }
            // Also seen while the pod reads nothing and says nothing.
            self.relay.data.poll_failed(cx).map(|_| Step::Failed)
        })
        .await
    }
}

enum Step {
    Up(UpEnd),
    Down(DownEnd),
    Failed,
    /// The pod has ended and the client says no more.
    Quiet,
}
