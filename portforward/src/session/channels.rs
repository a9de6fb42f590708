//! The streams of a `v4.channel.k8s.io` WebSocket (PROTOCOL.md 4): the same [`Stream`]s as those of a
//! SPDY session, two for each port of the request.
//!
//! One WebSocket is one connection to each of its ports: there is no opening, no reset and no
//! half-close. What a stream asks for that cannot be said is answered here: FIN is kept to
//! ourselves, a reset closes the WebSocket once nothing else is on it, and Close 1000 is the FIN of
//! all streams.

mod life;

use super::shared::{End, Shared, StreamCell, wake_all};
use super::stream::{Stream, StreamFailure};
use super::{CloseReason, Config};
use crate::transport::{ReadSize, poll_read_once};
use crate::websocket::poll_write_out;
use bytes::{Bytes, BytesMut};
use life::Clock;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};
use wsstream::{
    CloseCode, CloseFrame, ConnectionError, Format, PortChannels, PortEvent, PortsError, Role,
    SendError,
};

/// Rounds per poll before other tasks get a turn.
const ROUNDS: usize = 16;
/// Events taken before the rest gets a turn.
const EVENTS: usize = 64;
/// Messages are made only while less than this waits for the socket.
const WRITE_AHEAD: usize = 128 << 10;
/// Bytes of a message. Real servers read whole messages into memory.
const MESSAGE: usize = 32 << 10;
/// How long the peer's last bytes are awaited after ours have left.
const LINGER: Duration = Duration::from_secs(1);
/// Error text that a server collects (B23).
const TEXT: usize = 4 << 10;

/// The two streams of a port.
#[derive(Debug)]
#[non_exhaustive]
pub struct PortStreams {
    /// The port.
    pub port: u16,
    /// Bytes both ways.
    pub data: Stream,
    /// Failure text, from server to client.
    pub error: Stream,
}

/// Why there are no streams: the call makes no sense, and nothing has happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The ports.
    #[error("{0}")]
    Ports(#[from] PortsError),
    /// A limit of the configuration.
    #[error("{0}")]
    Config(#[from] spdy::ConfigError),
}

/// Moves the bytes of one WebSocket; resolves with the reason of its end. Must be polled: spawn it.
///
/// # Cancel safety
/// Dropping it ends the WebSocket and the transport at once: every stream is an error to its reader.
#[must_use = "nothing moves unless the driver is polled"]
pub struct ChannelDriver<T> {
    io: T,
    role: Role,
    input: BytesMut,
    read_size: ReadSize,
    channels: PortChannels,
    ports: Vec<Port>,
    shared: Arc<Shared>,
    config: Config,
    requests: Vec<Arc<StreamCell>>,
    timer: Pin<Box<Sleep>>,
    clock: Clock,
    eof: bool,
    needs_flush: bool,
    /// Why nothing is written any more; what the peer sent before is still read, until then.
    write_failed: Option<(CloseReason, Instant)>,
    phase: Phase,
}

struct Port {
    data: Arc<StreamCell>,
    error: Arc<StreamCell>,
    /// Error text that a server will send with the end of the error stream.
    text: Vec<u8>,
    text_sent: bool,
    /// Nothing more will be sent.
    over: bool,
}

enum Phase {
    Open,
    /// Close has been queued; it leaves, and the transport is closed.
    Closing(CloseReason, Instant),
    /// The peer's last bytes are read, so that closing the socket does not destroy ours.
    Linger(CloseReason),
    Done(CloseReason),
}

impl<T> fmt::Debug for ChannelDriver<T> {
    /// Never the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelDriver")
            .field("ports", &self.ports.len())
            .finish_non_exhaustive()
    }
}

/// The client's side of a WebSocket whose request named `ports`; `early` is what was read behind the
/// answer's head.
///
/// # Errors
/// See [`StartError`].
pub fn client<T>(
    io: T,
    early: BytesMut,
    format: Format,
    ports: &[u16],
    config: Config,
) -> Result<(Vec<PortStreams>, ChannelDriver<T>), StartError> {
    start(io, early, Role::Client, format, ports, config)
}

/// The server's side; `early` is what came behind the request's head. Every port is to be connected
/// to at once.
///
/// # Errors
/// See [`StartError`].
pub fn server<T>(
    io: T,
    early: BytesMut,
    format: Format,
    ports: &[u16],
    config: Config,
) -> Result<(Vec<PortStreams>, ChannelDriver<T>), StartError> {
    start(io, early, Role::Server, format, ports, config)
}

fn start<T>(
    io: T,
    early: BytesMut,
    role: Role,
    format: Format,
    numbers: &[u16],
    config: Config,
) -> Result<(Vec<PortStreams>, ChannelDriver<T>), StartError> {
    config.check()?;
    // What comes goes on as it comes, so the length of a message costs nothing. Real servers take
    // 32 MiB (golang.org/x/net/websocket), and client-java 27.0.0 sends writes of many MiB as one.
    let channels = PortChannels::new(wsstream::Config::stream(role), format, numbers)?;
    let shared = Shared::new(config.stream_send, config.session_send, super::CHUNK);
    let shared = Arc::new(shared);
    #[cfg(all(feature = "fuzzing", feature = "gateway", feature = "node"))]
    super::gauge::note(&shared);
    let port = |_: &u16| Port {
        data: Arc::default(),
        error: Arc::default(),
        text: Vec::new(),
        text_sent: false,
        over: false,
    };
    let ports: Vec<Port> = numbers.iter().map(port).collect();
    let stream = |cell: &Arc<StreamCell>| Stream::new(Arc::clone(cell), Arc::clone(&shared));
    let streams = ports.iter().zip(numbers).map(|(port, number)| PortStreams {
        port: *number,
        data: stream(&port.data),
        error: stream(&port.error),
    });
    let streams = streams.collect();
    let now = Instant::now();
    let driver = ChannelDriver {
        io,
        role,
        input: early,
        read_size: ReadSize::new(),
        channels,
        ports,
        shared,
        config,
        requests: Vec::new(),
        timer: Box::pin(sleep_until(now)),
        clock: Clock::new(now),
        eof: false,
        needs_flush: false,
        write_failed: None,
        phase: Phase::Open,
    };
    Ok((streams, driver))
}

impl<T> ChannelDriver<T> {
    /// What handles did since the last round.
    fn handle_requests(&mut self, cx: &Context<'_>) -> Result<(), CloseReason> {
        self.shared.take(&mut self.requests, cx.waker());
        for cell in self.requests.drain(..) {
            cell.lock().listed = false;
        }
        for index in 0..self.ports.len() {
            self.attend(index).map_err(|error| match error {
                SendError::Entropy(error) => {
                    CloseReason::WebSocket(ConnectionError::Entropy(error))
                }
                error => CloseReason::Transport(error.to_string()),
            })?;
        }
        Ok(())
    }

    /// Sends what a port's streams have, while there is room. What cannot be sent must not leave a hole before
    /// what can: it ends the WebSocket.
    fn attend(&mut self, index: usize) -> Result<(), SendError> {
        let Some(port) = self.ports.get_mut(index) else {
            return Ok(());
        };
        if port.over {
            return Ok(());
        }
        let closed = self.clock.closed.is_some();
        let mut state = port.data.lock();
        while let Some(mut chunk) = state.sending.pop_front() {
            let mut taken = 0usize;
            while !chunk.is_empty() && (closed || self.channels.outgoing().len() < WRITE_AHEAD) {
                let mut piece = chunk.split_to(chunk.len().min(MESSAGE));
                let n = piece.len();
                // After the peer's Close there is nobody to send to.
                if !closed {
                    self.channels.send(index, &mut piece)?;
                }
                taken = taken.saturating_add(n);
            }
            let whole = chunk.is_empty();
            state.taken(taken, chunk, &self.shared);
            if !whole {
                break;
            }
        }
        let writer = state.writer_with_room(&self.shared);
        let sent = state.sending.is_empty();
        // FIN cannot be said. For a server the port is over with it; a client waits for the pod.
        state.fin_sent |= state.fin && sent;
        let reset = state.reset.is_some();
        let data_over = reset || state.fin_sent;
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        if self.role == Role::Client {
            port.over = reset;
            return Ok(());
        }
        let error_over = port.collect_text(&self.shared);
        if sent && !port.text_sent && (error_over || data_over) && !port.text.is_empty() {
            port.text_sent = true;
            let text = String::from_utf8_lossy(&port.text).into_owned();
            if !closed {
                self.channels.send_error(index, &text)?;
            }
        }
        port.over |= error_over && (data_over || port.text_sent) && (sent || reset);
        Ok(())
    }

    fn on_event(&mut self, event: PortEvent) -> Option<CloseReason> {
        match event {
            PortEvent::Ready(index) => {
                let port = self.ports.get(index)?;
                for cell in [&port.data, &port.error] {
                    let mut state = cell.lock();
                    state.replied = true;
                    let opener = state.opener.take();
                    drop(state);
                    if let Some(opener) = opener {
                        opener.wake();
                    }
                }
                None
            }
            PortEvent::Data(index, bytes) => {
                let cell = Arc::clone(&self.ports.get(index)?.data);
                self.deliver(&cell, bytes);
                None
            }
            PortEvent::Error(index, bytes) => {
                let cell = Arc::clone(&self.ports.get(index)?.error);
                self.deliver(&cell, bytes);
                None
            }
            PortEvent::Closed(frame) => self.on_closed(frame),
            _ => None,
        }
    }

    /// The peer's Close: from a server the FIN of all streams, if it is 1000; from a client the
    /// FIN of what it sent.
    fn on_closed(&mut self, frame: CloseFrame) -> Option<CloseReason> {
        let sound = match (self.role, frame.code) {
            (_, Some(CloseCode::NORMAL)) => true,
            // Clients of other hands say nothing, or that they go.
            (Role::Server, code) => matches!(code, None | Some(CloseCode::GOING_AWAY)),
            (Role::Client, _) => false,
        };
        if !sound {
            return Some(CloseReason::WebSocket(ConnectionError::Closed(frame)));
        }
        for port in &self.ports {
            for cell in [&port.data, &port.error] {
                let mut state = cell.lock();
                state.end.get_or_insert(End::Fin);
                let reader = state.reader.take();
                drop(state);
                if let Some(reader) = reader {
                    reader.wake();
                }
            }
        }
        self.clock.closed = Some(Instant::now());
        (self.role == Role::Client).then_some(CloseReason::Eof)
    }

    fn deliver(&mut self, cell: &Arc<StreamCell>, bytes: Bytes) {
        let mut state = cell.lock();
        if state.reader_gone || state.end.is_some() || bytes.is_empty() {
            return;
        }
        self.clock.data = Instant::now();
        state.receive(bytes, &self.shared);
        // Whoever reads makes room, and is to say so.
        state.pausing = state.received_bytes > self.config.stream_receive;
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Every stream is over but for what is unread.
    fn finish(&mut self, reason: &CloseReason) {
        let lost = StreamFailure::SessionLost(reason.clone());
        for port in &self.ports {
            for cell in [&port.data, &port.error] {
                let mut state = cell.lock();
                state.drop_sends(&self.shared);
                let wakers = match (&state.end, reason) {
                    // The server's Close is the end of both directions, and no failure.
                    (Some(End::Fin), CloseReason::Eof) if self.role == Role::Client => {
                        state.write_over = Some(lost.clone());
                        state.take_wakers()
                    }
                    _ => state.fail(&lost),
                };
                drop(state);
                wake_all(wakers);
            }
        }
    }

    /// Queues our Close and ends.
    fn close(&mut self, reason: CloseReason) {
        let code = self.close_code(&reason);
        // Without a masking key there is no Close; the transport ends all the same.
        drop(self.channels.close(&CloseFrame::new(code)));
        self.finish(&reason);
        let now = Instant::now();
        self.phase = Phase::Closing(reason, now.checked_add(self.config.drain).unwrap_or(now));
    }

    /// 1000 is an end that both sides may take for FIN: only where every port came to one.
    fn close_code(&self, reason: &CloseReason) -> CloseCode {
        let ended = |port: &Port| {
            let state = port.data.lock();
            let over = state.sending.is_empty() && state.fin_sent;
            over || port.text_sent
                || matches!((&state.end, self.role), (Some(End::Fin), Role::Client))
        };
        match reason {
            CloseReason::Local | CloseReason::Eof if self.ports.iter().all(ended) => {
                CloseCode::NORMAL
            }
            CloseReason::Idle(_) => CloseCode::GOING_AWAY,
            _ => CloseCode::INTERNAL,
        }
    }
}

impl Port {
    /// Takes what was written to the error stream. Whether that is all.
    fn collect_text(&mut self, shared: &Shared) -> bool {
        let mut state = self.error.lock();
        let chunks = std::mem::take(&mut state.sending);
        for chunk in chunks {
            let room = TEXT.saturating_sub(self.text.len());
            self.text
                .extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        }
        state.drop_sends(shared);
        state.fin_sent |= state.fin;
        let over = state.fin || state.reset.is_some();
        if over {
            // There is no answer to it: nobody need wait.
            state.end.get_or_insert(End::Fin);
        }
        let (writer, reader) = (state.take_writer(), state.reader.take());
        drop(state);
        for waker in [writer, reader].into_iter().flatten() {
            waker.wake();
        }
        over
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> ChannelDriver<T> {
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        for _ in 0..ROUNDS {
            self.handle_requests(cx)?;
            let all_over = self.ports.iter().all(|port| port.over);
            if all_over {
                return Err(CloseReason::Local);
            }
            let before = self.channels.outgoing().len();
            if self.write_failed.is_none()
                && let Poll::Ready(Err(error)) = self.poll_write(cx)
            {
                // What the peer sent before it closed may still be there to read.
                let now = Instant::now();
                let until = now.checked_add(self.config.drain).unwrap_or(now);
                self.write_failed = Some((CloseReason::Transport(error.to_string()), until));
            }
            let mut progress = before > 0 && self.channels.outgoing().is_empty();
            progress |= self.may_read() && self.read_some(cx)?;
            if progress {
                continue;
            }
            let next = self.deadlines()?;
            if !self.channels.outgoing().is_empty() && before == 0 {
                continue;
            }
            if self.timer.deadline() != next {
                self.timer.as_mut().reset(next);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Takes events, or reads. `Ok(true)`: there was something.
    fn read_some(&mut self, cx: &mut Context<'_>) -> Result<bool, CloseReason> {
        if self.clock.closed.is_some() || self.eof {
            return Ok(false);
        }
        let now = Instant::now().into_std();
        let mut taken = 0usize;
        loop {
            let event = self.channels.poll_event(now, &mut self.input);
            match event.map_err(CloseReason::WebSocket)? {
                Some(event) => {
                    if let Some(reason) = self.on_event(event) {
                        return Err(reason);
                    }
                    taken = taken.saturating_add(1);
                    // There may be more, for which nobody wakes us.
                    if taken == EVENTS || !self.may_read() {
                        return Ok(true);
                    }
                }
                None if taken > 0 => return Ok(true),
                None => break,
            }
        }
        match poll_read_once(&mut self.io, &mut self.input, &mut self.read_size, cx) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(0)) => {
                self.eof = true;
                match (self.channels.end_of_input(&self.input), &self.write_failed) {
                    (Ok(()), _) => Ok(true),
                    (Err(_), Some((reason, _))) => Err(reason.clone()),
                    (Err(error), None) => Err(CloseReason::WebSocket(error)),
                }
            }
            Poll::Ready(Ok(_)) => {
                self.clock.inbound = Instant::now();
                self.clock.any = self.clock.inbound;
                Ok(true)
            }
            Poll::Ready(Err(error)) => Err(CloseReason::Transport(error.to_string())),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.channels.outgoing().is_empty() {
            self.clock.any = Instant::now();
            self.needs_flush = true;
            std::task::ready!(poll_write_out(&mut self.io, self.channels.outgoing(), cx))?;
        }
        if self.needs_flush {
            // TLS takes more than it has sent.
            std::task::ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_closing(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        loop {
            match &self.phase {
                Phase::Open => return Poll::Pending,
                Phase::Done(reason) => return Poll::Ready(reason.clone()),
                Phase::Closing(reason, deadline) => {
                    let (reason, deadline) = (reason.clone(), *deadline);
                    if self.timer.deadline() != deadline {
                        self.timer.as_mut().reset(deadline);
                    }
                    if self.timer.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(reason);
                    }
                    match self.poll_write(cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Err(_)) => return Poll::Ready(reason),
                        Poll::Ready(Ok(())) => {}
                    }
                    match Pin::new(&mut self.io).poll_shutdown(cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Err(_)) => return Poll::Ready(reason),
                        Poll::Ready(Ok(())) => {}
                    }
                    let now = Instant::now();
                    let linger = now.checked_add(LINGER).unwrap_or(now);
                    self.timer.as_mut().reset(linger.min(deadline));
                    self.phase = Phase::Linger(reason);
                }
                Phase::Linger(reason) => {
                    let reason = reason.clone();
                    if self.timer.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(reason);
                    }
                    loop {
                        self.input.clear();
                        match poll_read_once(&mut self.io, &mut self.input, &mut self.read_size, cx)
                        {
                            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(reason),
                            Poll::Ready(Ok(_)) => {}
                            Poll::Pending => return Poll::Pending,
                        }
                    }
                }
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Future for ChannelDriver<T> {
    type Output = CloseReason;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let this = &mut *self;
        if matches!(this.phase, Phase::Open) {
            match this.poll_open(cx) {
                Ok(()) => return Poll::Pending,
                Err(reason) => this.close(reason),
            }
        }
        let reason = std::task::ready!(this.poll_closing(cx));
        this.phase = Phase::Done(reason.clone());
        Poll::Ready(reason)
    }
}

impl<T> Drop for ChannelDriver<T> {
    fn drop(&mut self) {
        if matches!(self.phase, Phase::Open) {
            self.finish(&CloseReason::Local);
        }
    }
}

#[cfg(test)]
mod tests;
