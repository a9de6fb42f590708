//! The client role: one session, many forwarded connections (PROTOCOL.md 3.2, 3.3).

use crate::copy::{DownEnd, Relay, UpEnd};
use crate::error_stream::{ErrorEnd, ErrorStream};
use crate::escape;
use crate::pair::{Label, StreamType};
use crate::session::{CloseReason, Session, Stream, StreamFailure, stream_failure};
use crate::socket::Socket;
use spdy::RstStatus;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// How long SYN_REPLY may take (PROTOCOL.md appendix B).
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the end of the error stream is awaited, once the data stream has ended, before the
/// local socket is told: a real runtime sends FIN first and the failure text behind it.
const VERDICT_GRACE: Duration = Duration::from_secs(1);
/// How long the error stream is awaited once both directions are over. Real clients wait for ever.
const LAST_WAIT: Duration = Duration::from_secs(30);

/// What one forwarded connection carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Bytes from the local socket to the pod.
    pub sent: u64,
    /// Bytes from the pod to the local socket.
    pub received: u64,
    /// The error stream has ended, without text. Else the node has not said so in time, and the
    /// data stream's two ends are all that is known.
    pub confirmed: bool,
}

/// Why one forwarded connection failed. The session lives on, but for
/// [`ForwardError::SessionLost`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// What the error stream said, escaped for terminals.
    #[error("{0}")]
    Remote(String),
    /// A stream ended without text where an end of file was due.
    #[error("{what}: {failure}")]
    Stream {
        /// Which stream, and so which hop.
        what: &'static str,
        /// How it ended.
        failure: StreamFailure,
    },
    /// This side opened no stream: too many are open, or the session is going away.
    #[error("no stream could be opened on this session: {0}")]
    NotOpened(spdy::OpenError),
    /// No SYN_REPLY in time.
    #[error("Timeout occurred: the node did not accept the stream within 30 s")]
    Timeout,
    /// The session ended under it.
    #[error("session lost: {0}")]
    SessionLost(CloseReason),
    /// The local socket failed.
    #[error("local connection: {0}")]
    Local(String),
}

impl ForwardError {
    fn from_failure(what: &'static str, failure: StreamFailure) -> Self {
        match failure {
            StreamFailure::SessionLost(reason) => Self::SessionLost(reason),
            StreamFailure::NotOpened(error) => Self::NotOpened(error),
            failure => Self::Stream { what, failure },
        }
    }

    fn from_io(what: &'static str, error: &io::Error) -> Self {
        match stream_failure(error) {
            Some(failure) => Self::from_failure(what, failure.clone()),
            None => Self::Local(error.to_string()),
        }
    }
}

/// Carries one accepted local connection over a pair of streams that is there already: one whose
/// WebSocket was opened for it ([`crate::session::channels`]). As [`Forwarder::forward`] in
/// everything else.
///
/// # Errors
/// See [`ForwardError`].
///
/// # Cancel safety
/// As [`Forwarder::forward`].
pub fn carry<S: Socket>(
    mut local: S,
    data: Stream,
    error: Stream,
) -> impl Future<Output = Result<Summary, ForwardError>> + Send {
    // Not in the future: one that is dropped before it is polled is no clean end either.
    local.set_abrupt(true);
    async move {
        Forwarded::new(local, data, error, HalfClosed::default())
            .run()
            .await
    }
}

/// Counts a connection whose local side has sent its last byte, among others, while it waits for the pod's.
#[derive(Debug, Default)]
struct HalfClosed {
    all: Arc<AtomicUsize>,
    counted: bool,
}

impl HalfClosed {
    fn count(&mut self) {
        self.counted = true;
        self.all.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for HalfClosed {
    fn drop(&mut self) {
        if self.counted {
            self.all.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Opens pairs on a session and carries local connections over them. Clones share the session.
#[derive(Clone, Debug)]
pub struct Forwarder {
    session: Session,
    next_request: Arc<AtomicU64>,
    half_closed: Arc<AtomicUsize>,
}

impl Forwarder {
    /// The session must be a client's.
    #[must_use]
    pub fn new(session: Session) -> Self {
        Self {
            session,
            next_request: Arc::default(),
            half_closed: Arc::default(),
        }
    }

    /// The session itself.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Connections under way whose local side has sent its last byte. A real runtime ends them within a
    /// second of having it (PROTOCOL.md 7.3).
    #[must_use]
    pub fn half_closed(&self) -> usize {
        self.half_closed.load(Ordering::Relaxed)
    }

    /// Carries one accepted local connection to `port` of the pod, to its end. One connection's
    /// failure touches no other. On any abnormal end the local socket is reset, never closed
    /// cleanly, after all that arrived was delivered.
    ///
    /// # Errors
    /// See [`ForwardError`].
    ///
    /// # Cancel safety
    /// Dropping the future, polled or not, resets the streams and the socket.
    pub fn forward<S: Socket>(
        &self,
        mut local: S,
        port: u16,
    ) -> impl Future<Output = Result<Summary, ForwardError>> + Send + use<S> {
        local.set_abrupt(true);
        let forwarder = self.clone();
        async move {
            let request = forwarder.next_request.fetch_add(1, Ordering::Relaxed);
            match forwarder.open(port, request) {
                Ok((data, error)) => {
                    let half_closed = HalfClosed {
                        all: forwarder.half_closed,
                        counted: false,
                    };
                    Forwarded::new(local, data, error, half_closed).run().await
                }
                Err(reason) => {
                    local.abort().await;
                    Err(ForwardError::SessionLost(reason))
                }
            }
        }
    }

    /// Error stream first, half-closed at once, as every real client does. Nothing waits for
    /// SYN_REPLY: the pair and the first bytes leave together, and a refusal shows as a reset.
    fn open(&self, port: u16, request: u64) -> Result<(Stream, Stream), CloseReason> {
        let headers = |kind| Label::headers(kind, port, request);
        let (error, data) = self
            .session
            .open_pair(headers(StreamType::Error), headers(StreamType::Data))?;
        Ok((data, error))
    }
}

/// One forwarded connection under way.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about two streams and a socket"
)]
struct Forwarded<S> {
    relay: Relay<S>,
    error: ErrorStream,
    replied: bool,
    up_over: bool,
    half_closed: HalfClosed,
    /// All that came on the data stream was delivered.
    down_over: bool,
    /// ... and it ended in FIN.
    fin: bool,
    /// The local socket has been told.
    fin_passed: bool,
    /// How the error stream ended.
    verdict: Option<ErrorEnd>,
    /// The failure. What is delivered and said within the grace still counts.
    failure: Option<ForwardError>,
    timer: Pin<Box<Sleep>>,
    timer_on: bool,
}

enum Step {
    Replied,
    Failed(StreamFailure),
    Verdict(ErrorEnd),
    Up(UpEnd),
    Down(DownEnd),
    Timer,
}

impl<S: Socket> Forwarded<S> {
    /// In a box: futures that hand it on would each hold it once more.
    fn new(local: S, data: Stream, error: Stream, half_closed: HalfClosed) -> Box<Self> {
        let start = Instant::now();
        Box::new(Self {
            relay: Relay::new(local, data),
            error: ErrorStream::new(error),
            replied: false,
            up_over: false,
            half_closed,
            down_over: false,
            fin: false,
            fin_passed: false,
            verdict: None,
            failure: None,
            timer: Box::pin(sleep_until(
                start.checked_add(REPLY_TIMEOUT).unwrap_or(start),
            )),
            timer_on: true,
        })
    }

    async fn run(mut self: Box<Self>) -> Result<Summary, ForwardError> {
        loop {
            let step = self.step().await;
            if let Some(result) = self.take_step(step) {
                return Box::pin(self.finish(result)).await;
            }
        }
    }

    async fn step(&mut self) -> Step {
        poll_fn(|cx| {
            if !self.replied && self.relay.data.poll_replied(cx).is_ready() {
                self.replied = true;
                return Poll::Ready(Step::Replied);
            }
            if let Poll::Ready(end) = self.relay.poll_down(cx) {
                return Poll::Ready(Step::Down(end));
            }
            if let Poll::Ready(end) = self.relay.poll_up(cx) {
                return Poll::Ready(Step::Up(end));
            }
            // After the data, so that all that arrived is delivered before a failure counts.
            if self.verdict.is_none()
                && let Poll::Ready(end) = self.error.poll_end(cx)
            {
                return Poll::Ready(Step::Verdict(end));
            }
            // Last: also seen while the local side reads nothing, but what it reads goes first.
            if self.failure.is_none()
                && !self.is_all_here()
                && let Poll::Ready(failure) = self.relay.data.poll_failed(cx)
            {
                return Poll::Ready(Step::Failed(failure));
            }
            if self.timer_on && self.timer.as_mut().poll(cx).is_ready() {
                self.timer_on = false;
                return Poll::Ready(Step::Timer);
            }
            Poll::Pending
        })
        .await
    }

    /// `Some` ends the forwarded connection.
    fn take_step(&mut self, step: Step) -> Option<Result<(), ForwardError>> {
        match step {
            Step::Replied => {
                if self.failure.is_none() && !self.fin {
                    self.timer_on = false;
                }
                None
            }
            // The reason may follow on the error stream.
            Step::Failed(failure) => {
                self.fail(ForwardError::from_failure("the data stream", failure))
            }
            Step::Up(UpEnd::Eof) => {
                self.up_over = true;
                self.half_closed.count();
                self.after_both()
            }
            Step::Up(UpEnd::Socket(e)) | Step::Down(DownEnd::Socket(e)) => {
                // Nobody is left to talk to: the pod hears of it at once.
                self.relay.data.reset(RstStatus::CANCEL);
                Some(Err(ForwardError::Local(e.to_string())))
            }
            // The same reset shows in the other direction, behind the data that came before it.
            Step::Up(UpEnd::Stream) => {
                self.up_over = true;
                None
            }
            Step::Down(DownEnd::Fin) => {
                (self.down_over, self.fin) = (true, true);
                if self.verdict == Some(ErrorEnd::Clean) {
                    return Some(Ok(()));
                }
                if self.failure.is_none() {
                    self.arm(VERDICT_GRACE);
                }
                self.settle()
            }
            Step::Down(DownEnd::Stream(e)) => {
                self.down_over = true;
                self.fail(ForwardError::from_io("the data stream", &e))
            }
            Step::Verdict(end) => {
                self.verdict = Some(end.clone());
                match end {
                    // Either stream may end first; both must.
                    ErrorEnd::Clean if self.fin => Some(Ok(())),
                    ErrorEnd::Clean => self.settle(),
                    // The best reason there is.
                    ErrorEnd::Text(text) => {
                        self.failure = None;
                        self.fail(ForwardError::Remote(escape::text(&text)))
                    }
                    ErrorEnd::Failed(failure) => {
                        self.fail(ForwardError::from_failure("the error stream", failure))
                    }
                }
            }
            Step::Timer if self.failure.is_some() => self.failure.take().map(Err),
            Step::Timer if self.fin_passed => {
                let text = self.error.text_so_far();
                Some(text.map_or(Ok(()), |text| {
                    Err(ForwardError::Remote(escape::text(&text)))
                }))
            }
            // Failed, if the error stream says so, ended or not.
            Step::Timer if self.fin && self.error.text_so_far().is_some() => {
                let text = self.error.text_so_far().unwrap_or_default();
                Some(Err(ForwardError::Remote(escape::text(&text))))
            }
            // The pod has half-closed, or its failure is slow to come: the local side is told.
            Step::Timer if self.fin => {
                self.fin_passed = true;
                if let Err(e) = self.shut_down_local() {
                    self.relay.data.reset(RstStatus::CANCEL);
                    return Some(Err(ForwardError::Local(e.to_string())));
                }
                self.after_both()
            }
            Step::Timer => Some(Err(ForwardError::Timeout)),
        }
    }

    /// The pod's bytes, its end and a clean verdict have arrived: what happens to the session now takes
    /// nothing from a local side that is slow to read.
    fn is_all_here(&self) -> bool {
        self.verdict == Some(ErrorEnd::Clean) && self.relay.data.has_ended()
    }

    /// Remembers the first failure; what arrived is still delivered and the error stream still
    /// heard, for a moment.
    fn fail(&mut self, error: ForwardError) -> Option<Result<(), ForwardError>> {
        if self.failure.is_none() {
            self.failure = Some(error);
            self.arm(VERDICT_GRACE);
        }
        self.settle()
    }

    /// A failure with nothing left to deliver or to hear.
    fn settle(&mut self) -> Option<Result<(), ForwardError>> {
        if self.down_over && self.verdict.is_some() {
            self.failure.take().map(Err)
        } else {
            None
        }
    }

    /// With both directions over only the error stream is missing.
    fn after_both(&mut self) -> Option<Result<(), ForwardError>> {
        if self.up_over && self.fin_passed && self.failure.is_none() {
            self.arm(LAST_WAIT);
        }
        None
    }

    fn arm(&mut self, after: Duration) {
        let now = Instant::now();
        self.timer
            .as_mut()
            .reset(now.checked_add(after).unwrap_or(now));
        self.timer_on = true;
    }

    /// FIN to the local socket.
    fn shut_down_local(&mut self) -> io::Result<()> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match Pin::new(&mut self.relay.socket).poll_shutdown(&mut context) {
            Poll::Ready(Err(e)) if e.kind() != io::ErrorKind::NotConnected => Err(e),
            _ => Ok(()),
        }
    }

    async fn finish(
        mut self: Box<Self>,
        result: Result<(), ForwardError>,
    ) -> Result<Summary, ForwardError> {
        match result {
            Ok(()) => {
                let summary = Summary {
                    sent: self.relay.up,
                    received: self.relay.down,
                    confirmed: matches!(self.verdict, Some(ErrorEnd::Clean)),
                };
                if !self.fin_passed
                    && let Err(e) = self.shut_down_local()
                {
                    return Err(ForwardError::Local(e.to_string()));
                }
                self.relay.release();
                Ok(summary)
            }
            Err(error) => {
                // Streams first: the pod need not wait for a slow local reader.
                let Self {
                    relay, error: said, ..
                } = *self;
                let Relay { socket, data, .. } = relay;
                drop((data, said));
                socket.abort().await;
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpStream;

    /// What each idle connection holds (L4): a future that hands the state on by value held it five times.
    #[test]
    fn the_future_is_small() {
        fn size<F: Future>(_: fn(Box<Forwarded<TcpStream>>) -> F) -> usize {
            size_of::<F>()
        }
        let (run, state) = (size(Forwarded::run), size_of::<Forwarded<TcpStream>>());
        assert!(run <= 128 && state <= 448, "{run}, {state}");
    }
}
