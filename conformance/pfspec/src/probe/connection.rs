//! One connection to the server: bytes in, bytes out, how it ended, and a log of all of it.

use super::ending::Sign;
use super::log::{Layer, Log, Side};
use super::secrets;
use crate::case::Stop;
use bytes::BytesMut;
use pf_program::cluster::Io;
use std::borrow::Cow;
use std::fmt;
use std::io::{Error, ErrorKind};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::time::{Instant, timeout, timeout_at};

/// How long a server may take to read what it is sent.
const WRITE: Duration = Duration::from_secs(10);

/// Why bytes are not sent.
const ENDED: &str = "the connection has ended";

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// FIN, after close_notify with TLS.
    Closed,
    /// FIN without close_notify.
    Cut,
    /// RST.
    Reset,
    /// A Close frame with this code (1005: none) and reason.
    Close(u16, String),
    /// A server's mistake in framing, which the judge does not read on behind.
    Malformed(String),
    /// Something else.
    Failed(String),
}

impl End {
    /// Whether there is nothing more to come because the server has ended. Behind malformed bytes the judge reads no
    /// more, and the server may go on.
    #[must_use]
    pub fn is_of_server(&self) -> bool {
        !matches!(self, Self::Malformed(_))
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("connection closed"),
            Self::Cut => f.write_str("connection closed without close_notify of TLS"),
            Self::Reset => f.write_str("connection reset"),
            Self::Close(1005, _) => f.write_str("WebSocket Close without a code"),
            Self::Close(code, reason) => write!(f, "WebSocket Close {code} {reason:?}"),
            Self::Malformed(what) => write!(f, "malformed bytes of the server: {what}"),
            Self::Failed(what) => write!(f, "connection failed: {what}"),
        }
    }
}

impl From<&Error> for End {
    fn from(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => {
                Self::Reset
            }
            // What rustls calls a FIN without close_notify.
            ErrorKind::UnexpectedEof => Self::Cut,
            // Records that cannot be read, but for an alert, by which the server ends.
            ErrorKind::InvalidData if !is_alert(error) => Self::Malformed(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

fn is_alert(error: &Error) -> bool {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(tls, Some(rustls::Error::AlertReceived(_)))
}

/// What waiting for bytes came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// There are more bytes in the buffer.
    More,
    /// The connection has ended.
    Ended,
    /// Nothing until the deadline.
    Late,
}

/// One connection.
pub struct Connection {
    reader: ReadHalf<Box<dyn Io>>,
    writer: Option<WriteHalf<Box<dyn Io>>>,
    /// Bytes that came and were not looked at.
    pub buffer: BytesMut,
    /// How it ended, once it has.
    pub end: Option<End>,
    /// Where its bytes are logged.
    pub log: Log,
    /// Its number in the log.
    pub number: usize,
    /// Whether to read while a write waits. Not for cases about peers that do not read.
    pub reads_while_writing: bool,
    /// Of the write that failed: how the connection had ended by then.
    failed: Option<End>,
    hidden: Vec<Vec<u8>>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut s = f.debug_struct("Connection");
        s.field("number", &self.number)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Takes a connection over. `hidden` are values that are not to be logged.
    #[must_use]
    pub fn new(io: Box<dyn Io>, log: Log, mut hidden: Vec<Vec<u8>>) -> Self {
        hidden.retain(|secret| !secret.is_empty());
        let number = log.connection();
        let (reader, writer) = tokio::io::split(io);
        log.item(
            number,
            Side::Judge,
            Layer::Transport,
            "connected".to_owned(),
            &[],
        );
        Self {
            reader,
            writer: Some(writer),
            buffer: BytesMut::new(),
            end: None,
            log,
            number,
            reads_while_writing: true,
            failed: None,
            hidden,
        }
    }

    /// Adds a step to the ladder. What the judge would send on a direction that has ended is said to be not sent, and
    /// has no bytes.
    pub fn item(&self, side: Side, layer: Layer, text: impl Into<String>, bytes: &[u8]) {
        let (mut text, mut bytes) = (text.into(), bytes);
        if side == Side::Judge && layer != Layer::Transport && self.writer.is_none() {
            text = format!("not sent, the connection takes no more: {text}");
            bytes = &[];
        }
        self.log
            .item(self.number, side, layer, text, &self.shown(bytes));
    }

    /// Whether nothing has ended its sending side.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.writer.is_some()
    }

    /// Notes what ends this connection, or announces that.
    pub fn sign(&self, sign: Sign) {
        self.log.sign(self.number, sign);
    }

    /// Says in the ladder, behind what was to be sent, how much of it was not.
    fn not_sent(&self, left: usize, whole: usize, why: &str) {
        let text = format!("{left} of these {whole} bytes not sent: {why}");
        self.item(Side::Judge, Layer::Transport, text, &[]);
    }

    /// The bytes with secrets overwritten, as far as they are kept.
    fn shown<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        // Of megabytes behind the first nothing is kept: they are not to be copied and searched either.
        if bytes.is_empty() || self.hidden.is_empty() || self.log.is_full() {
            return Cow::Borrowed(bytes);
        }
        let mut shown = bytes.to_vec();
        secrets::blot(&self.hidden, &mut shown);
        Cow::Owned(shown)
    }

    /// Writes all bytes; says how the connection ended if it does not take them.
    ///
    /// # Errors
    /// A departure if the server does not read them within 10 seconds. That the connection ends is none: see
    /// [`Connection::end`].
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let deadline = Instant::now() + WRITE;
        let open = self.writer.is_some();
        let left = bytes.len() - self.push(bytes, deadline).await;
        if left > 0 && self.writer.is_some() {
            self.not_sent(left, bytes.len(), "not taken in time");
            return Err(Stop::departure(
                "that the server reads what it is sent",
                format!("{left} of {} bytes not taken within {WRITE:?}", bytes.len()),
            ));
        }
        if left > 0 && open {
            self.not_sent(left, bytes.len(), ENDED);
        }
        if let Some(writer) = &mut self.writer {
            // TLS keeps what the socket did not take.
            match timeout_at(deadline, writer.flush()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    self.writer = None;
                    self.failed = Some(end_of_write(&error));
                    let text = format!("the last bytes may not have been sent: {ENDED}");
                    self.item(Side::Judge, Layer::Transport, text, &[]);
                }
                Err(_) => {
                    return Err(Stop::departure(
                        "that the server reads what it is sent",
                        format!("the last bytes not taken within {WRITE:?}"),
                    ));
                }
            }
        }
        Ok(())
    }

    /// As [`Connection::write`], but gives up after `patience`; how many bytes were taken.
    pub async fn write_some(&mut self, bytes: &[u8], patience: Duration) -> usize {
        let open = self.writer.is_some();
        let taken = self.push(bytes, Instant::now() + patience).await;
        if taken < bytes.len() && open {
            let why = self.writer.as_ref().map_or(ENDED, |_| "not taken in time");
            self.not_sent(bytes.len() - taken, bytes.len(), why);
        }
        taken
    }

    /// Writes until all is taken, the server takes no more, or the time is over; how many bytes were taken, which are
    /// logged. What the server sent before it ended is still to be read.
    async fn push(&mut self, bytes: &[u8], deadline: Instant) -> usize {
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            let Some(writer) = &mut self.writer else {
                break;
            };
            let reads = self.reads_while_writing && self.end.is_none();
            let before = self.buffer.len();
            tokio::select! {
                wrote = writer.write(rest) => match wrote {
                    Ok(n) if n > 0 => {
                        let sent = self.shown(rest.get(..n).unwrap_or(rest));
                        self.log.chunk(self.number, Side::Judge, &sent);
                        taken += n;
                    }
                    Ok(_) => self.writer = None,
                    Err(error) => {
                        self.writer = None;
                        self.failed = Some(end_of_write(&error));
                    }
                },
                read = self.reader.read_buf(&mut self.buffer), if reads => {
                    self.note_read(read, before);
                }
                () = tokio::time::sleep_until(deadline) => break,
            }
        }
        taken
    }

    fn note_read(&mut self, read: std::io::Result<usize>, before: usize) -> Filled {
        let end = match read {
            Ok(0) => End::Closed,
            Ok(_) => {
                let new = self.buffer.get(before..).unwrap_or_default();
                self.log.chunk(self.number, Side::Server, new);
                return Filled::More;
            }
            Err(error) => End::from(&error),
        };
        // The system tells of a RST once: if the write has heard of it, the read behind it sees no more than an end.
        let was_reset = self.failed == Some(End::Reset) && matches!(end, End::Closed | End::Cut);
        self.ended(if was_reset { End::Reset } else { end })
    }

    fn ended(&mut self, end: End) -> Filled {
        self.item(Side::Server, Layer::Transport, end.to_string(), &[]);
        self.sign(Sign::Ended(end.clone()));
        self.end.get_or_insert(end);
        Filled::Ended
    }

    /// Waits for more bytes.
    pub async fn fill(&mut self, deadline: Instant) -> Filled {
        if self.end.is_some() {
            return Filled::Ended;
        }
        self.buffer.reserve(64 << 10);
        let before = self.buffer.len();
        match timeout_at(deadline, self.reader.read_buf(&mut self.buffer)).await {
            Ok(read) => self.note_read(read, before),
            Err(_) => Filled::Late,
        }
    }

    /// Closes the sending side only.
    pub async fn shut_down(&mut self) {
        self.item(Side::Judge, Layer::Transport, "half-close", &[]);
        self.sign(Sign::HalfClosed);
        if let Some(writer) = &mut self.writer {
            drop(timeout(WRITE, writer.shutdown()).await);
        }
        self.writer = None;
    }
}

impl Drop for Connection {
    /// What a write has heard of, and no read behind it.
    fn drop(&mut self) {
        if let (None, Some(end)) = (&self.end, self.failed.take()) {
            self.sign(Sign::Ended(end));
        }
    }
}

/// A broken pipe is told where FIN had come, and RST only for what was sent behind it: not how the server ended.
fn end_of_write(error: &Error) -> End {
    match error.kind() {
        ErrorKind::BrokenPipe => End::Failed(error.to_string()),
        _ => End::from(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The write hears of the RST, and then the read, or nobody.
    #[tokio::test]
    async fn a_reset_that_a_write_hears_of() {
        for reads in [true, false] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let place = listener.local_addr().unwrap();
            let near = tokio::net::TcpStream::connect(place).await.unwrap();
            let (far, _) = listener.accept().await.unwrap();
            far.set_zero_linger().unwrap();
            drop(far);
            let log = Log::default();
            let mut connection = Connection::new(Box::new(near), log.clone(), Vec::new());
            connection.reads_while_writing = false;
            let deadline = Instant::now() + Duration::from_secs(5);
            while connection.writer.is_some() && Instant::now() < deadline {
                connection.write(b"abc").await.unwrap();
            }
            if reads {
                assert_eq!(connection.fill(deadline).await, Filled::Ended);
                assert_eq!(connection.end, Some(End::Reset));
            }
            drop(connection);
            let texts: Vec<String> = log.endings().into_iter().map(|e| e.text).collect();
            assert_eq!(texts, ["RST"], "{reads}");
        }
    }

    #[tokio::test]
    async fn what_was_not_sent() {
        // It takes 8 bytes and ends.
        let (near, far) = tokio::io::duplex(8);
        let log = Log::default();
        let mut connection = Connection::new(Box::new(near), log.clone(), Vec::new());
        connection.reads_while_writing = false;
        let taken = connection
            .write_some(b"0123456789", Duration::from_millis(50))
            .await;
        assert_eq!(taken, 8);
        drop(far);
        connection.write(b"abc").await.unwrap();
        connection.item(Side::Judge, Layer::Raw, "def", b"def");
        connection.write(b"def").await.unwrap();
        let (items, chunks, total) = log.take();
        let texts: Vec<&str> = items.iter().map(|item| item.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "connected",
                "2 of these 10 bytes not sent: not taken in time",
                "3 of these 3 bytes not sent: the connection has ended",
                "not sent, the connection takes no more: def",
            ]
        );
        assert!(items.iter().all(|item| item.bytes.is_empty()));
        let sent: Vec<u8> = chunks
            .iter()
            .flat_map(|chunk| chunk.bytes.clone())
            .collect();
        assert_eq!((sent.as_slice(), total), (&b"01234567"[..], 8));
    }
}
