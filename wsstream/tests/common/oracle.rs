//! WebSocket readers of other hands (tungstenite, fastwebsockets), to hold ours against.

use std::io::{self, Read, Write};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wsstream::fuzz::Seen;
use wsstream::{CloseCode, CloseFrame, ConnectionError, DecodeErrorKind, Kind, Role};

/// Bytes to read; where they end, more would come. What is written is dropped.
struct Wire<'a>(&'a [u8]);

impl Read for Wire<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buf)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Wire<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (taken, rest) = self.0.split_at(self.0.len().min(buf.remaining()));
        if taken.is_empty() {
            return Poll::Pending;
        }
        buf.put_slice(taken);
        self.0 = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn close(code: Option<u16>, reason: &str) -> Seen {
    let mut frame = CloseFrame::default();
    if let Some(code) = code.and_then(CloseCode::new) {
        frame = CloseFrame::new(code);
        reason.clone_into(&mut frame.reason);
    }
    Seen::Close(frame)
}

pub(crate) fn tungstenite(role: Role, bytes: &[u8]) -> (Vec<Seen>, Option<String>) {
    use tungstenite::protocol::{Role as Theirs, WebSocket, WebSocketConfig};
    use tungstenite::{Error, Message};
    let config = WebSocketConfig::default()
        .max_message_size(Some(1 << 16))
        .max_frame_size(Some(1 << 16));
    let theirs = if role == Role::Server {
        Theirs::Server
    } else {
        Theirs::Client
    };
    let mut socket = WebSocket::from_raw_socket(Wire(bytes), theirs, Some(config));
    let mut seen = Vec::new();
    loop {
        seen.push(match socket.read() {
            Ok(Message::Text(text)) => Seen::Message(Kind::Text, text.as_bytes().to_vec()),
            Ok(Message::Binary(bytes)) => Seen::Message(Kind::Binary, bytes.to_vec()),
            Ok(Message::Ping(bytes)) => Seen::Ping(bytes.to_vec()),
            Ok(Message::Pong(bytes)) => Seen::Pong(bytes.to_vec()),
            Ok(Message::Close(frame)) => {
                seen.push(match frame {
                    None => close(None, ""),
                    Some(frame) => close(Some(frame.code.into()), frame.reason.as_str()),
                });
                return (seen, None);
            }
            Ok(Message::Frame(_)) => unreachable!("never read"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return (seen, None);
            }
            Err(error) => return (seen, Some(format!("tungstenite: {error}"))),
        });
    }
}

pub(crate) fn fastwebsockets(role: Role, bytes: &[u8]) -> (Vec<Seen>, Option<String>) {
    use fastwebsockets::{FragmentCollector, OpCode, Role as Theirs, WebSocket};
    let theirs = if role == Role::Server {
        Theirs::Server
    } else {
        Theirs::Client
    };
    let mut socket = WebSocket::after_handshake(Wire(bytes), theirs);
    socket.set_auto_pong(false);
    // It refuses what is as long as its limit, the others what is longer.
    socket.set_max_message_size((1 << 16) + 1);
    let mut socket = FragmentCollector::new(socket);
    let mut seen = Vec::new();
    loop {
        let frame = {
            let reading = pin!(socket.read_frame());
            match reading.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => return (seen, None),
                Poll::Ready(Ok(frame)) => frame,
                Poll::Ready(Err(error)) => return (seen, Some(format!("fastwebsockets: {error}"))),
            }
        };
        let payload = frame.payload.to_vec();
        seen.push(match frame.opcode {
            OpCode::Text => Seen::Message(Kind::Text, payload),
            OpCode::Binary | OpCode::Continuation => Seen::Message(Kind::Binary, payload),
            OpCode::Ping => Seen::Ping(payload),
            OpCode::Pong => Seen::Pong(payload),
            OpCode::Close => {
                let code = payload.first_chunk().map(|c| u16::from_be_bytes(*c));
                let reason = payload.get(2..).unwrap_or_default();
                seen.push(close(code, &String::from_utf8_lossy(reason)));
                return (seen, None);
            }
        });
    }
}

/// What is an error here and need not be one elsewhere, and why.
pub(crate) fn allowed(ours: &ConnectionError) -> bool {
    use DecodeErrorKind as E;
    let ConnectionError::Protocol(error) = ours else {
        return false;
    };
    // RFC 6455 forbids it, and nobody else looks.
    let lengths = matches!(error.kind(), E::LengthNotMinimal(_) | E::LongControl);
    // Our limits; theirs are elsewhere.
    let limits = matches!(
        error.kind(),
        E::MessageTooBig(_) | E::TooManyFragments(_) | E::ControlFlood(_)
    );
    // They answer it too, and tell it as a Close of their own making.
    let code = matches!(error.kind(), E::CloseCode(_));
    lengths || limits || code
}

/// The same for fastwebsockets, which also takes frames that are masked where they must not be, or
/// are not where they must be, a new message behind a fragment, and a text whose last character is
/// not complete when its last fragment is empty.
pub(crate) fn allowed_fast(ours: &ConnectionError) -> bool {
    use DecodeErrorKind as E;
    let ConnectionError::Protocol(error) = ours else {
        return false;
    };
    allowed(ours)
        || matches!(
            error.kind(),
            E::Masked | E::Unmasked | E::Interleaved | E::Utf8
        )
}
