//! RFC 6455 as the judge writes and reads it; not the crate `wsstream`, as in [`super::wire`].

use super::connection::{Connection, End, Filled};
use super::ending::Sign;
use super::log::{Layer, Side};
use crate::case::Stop;
use bytes::{Buf as _, BytesMut};
use tokio::time::Instant;

/// Continuation.
pub const CONTINUATION: u8 = 0;
/// Text.
pub const TEXT: u8 = 1;
/// Binary.
pub const BINARY: u8 = 2;
/// Close.
pub const CLOSE: u8 = 8;
/// Ping.
pub const PING: u8 = 9;
/// Pong.
pub const PONG: u8 = 10;

/// Bit of the last frame of a message.
pub const LAST: u8 = 0x80;

/// Largest message that is read.
const MESSAGE: usize = 64 << 20;

/// A frame: first byte (FIN, RSV, opcode), length in the shortest form or not, masked or not.
#[must_use]
pub fn frame(first: u8, masked: bool, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let form = if length < 126 {
        1
    } else if length < 65536 {
        2
    } else {
        8
    };
    frame_in_form(first, masked, form, payload)
}

/// The same with the length in 1, 2 or 8 bytes.
#[must_use]
pub fn frame_in_form(first: u8, masked: bool, form: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mask = if masked { 0x80 } else { 0 };
    match form {
        1 => bytes.push(mask | u8::try_from(payload.len()).unwrap_or(125)),
        2 => {
            bytes.push(mask | 126);
            bytes.extend(
                u16::try_from(payload.len())
                    .unwrap_or(u16::MAX)
                    .to_be_bytes(),
            );
        }
        _ => {
            bytes.push(mask | 127);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    if masked {
        // Unpredictable masks protect old proxies from a browser's scripts; here is neither.
        let key = [0x37, 0xfa, 0x21, 0x3d];
        bytes.extend(key);
        let start = bytes.len();
        bytes.extend(payload);
        mask_with(key, bytes.get_mut(start..).unwrap_or_default());
    } else {
        bytes.extend(payload);
    }
    bytes
}

/// Eight bytes at once: builds for tests, which are not optimised, send many megabytes too.
fn mask_with(key: [u8; 4], payload: &mut [u8]) {
    let [a, b, c, d] = key;
    let eight = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (whole, rest) = payload.as_chunks_mut::<8>();
    for part in whole {
        *part = (u64::from_ne_bytes(*part) ^ eight).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A whole text message.
    Text(Vec<u8>),
    /// A whole binary message.
    Binary(Vec<u8>),
    /// PING.
    Ping(Vec<u8>),
    /// PONG.
    Pong(Vec<u8>),
    /// Close, with code (1005: none) and reason.
    Close(u16, String),
}

/// What waiting for a message came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// One message.
    Message(Message),
    /// The connection has ended, or Close has come.
    Ended,
    /// Nothing until the deadline.
    Late,
}

/// A WebSocket connection after its handshake.
#[derive(Debug)]
pub struct WebSocket {
    /// The connection.
    pub connection: Connection,
    /// Whether PING is answered, as it has to be.
    pub answers: bool,
    /// PONGs that came.
    pub pongs: Vec<Vec<u8>>,
    /// Frames whose length is not in the shortest form.
    pub long_forms: Vec<String>,
    /// How it ended, once it has.
    pub end: Option<End>,
    /// Fragments of the message that is on its way, and its opcode.
    partial: Option<(u8, Vec<u8>)>,
    closed: bool,
}

impl WebSocket {
    /// After the handshake.
    #[must_use]
    pub fn new(connection: Connection) -> Self {
        Self {
            connection,
            answers: true,
            pongs: Vec::new(),
            long_forms: Vec::new(),
            end: None,
            partial: None,
            closed: false,
        }
    }

    /// Sends one masked frame.
    pub async fn send(&mut self, first: u8, payload: &[u8]) -> Result<(), Stop> {
        self.raw(&name(first, payload.len()), &frame(first, true, payload))
            .await
    }

    /// Sends bytes as they are.
    pub async fn raw(&mut self, what: &str, bytes: &[u8]) -> Result<(), Stop> {
        if let Some(code) = close_sent(bytes)
            && self.connection.is_writable()
        {
            self.connection.sign(Sign::SentClose(code));
        }
        self.connection
            .item(Side::Judge, Layer::WebSocket, what, bytes);
        self.connection.write(bytes).await
    }

    /// Sends Close with a code.
    pub async fn close(&mut self, code: u16) -> Result<(), Stop> {
        self.closed = true;
        self.send(LAST | CLOSE, &code.to_be_bytes()).await
    }

    fn malformed(&mut self, what: &str) -> Next {
        let text = format!("malformed: {what}");
        self.connection
            .item(Side::Server, Layer::WebSocket, text, &[]);
        self.ended(End::Malformed(what.to_owned()));
        Next::Ended
    }

    fn ended(&mut self, end: End) {
        self.connection.sign(Sign::Ended(end.clone()));
        self.end.get_or_insert(end);
    }

    /// The next message.
    pub async fn next(&mut self, deadline: Instant) -> Result<Next, Stop> {
        loop {
            if self.end.is_some() {
                return Ok(Next::Ended);
            }
            match read(&mut self.connection.buffer) {
                Err(what) => return Ok(self.malformed(&what)),
                Ok(None) => match self.connection.fill(deadline).await {
                    Filled::More => {}
                    Filled::Late => return Ok(Next::Late),
                    Filled::Ended => {
                        self.end.clone_from(&self.connection.end);
                        return Ok(Next::Ended);
                    }
                },
                Ok(Some((first, payload, whole))) => {
                    let text = name(first, payload.len());
                    if whole.len() > payload.len() + shortest_head(payload.len()) {
                        self.long_forms.push(text.clone());
                    }
                    self.connection
                        .item(Side::Server, Layer::WebSocket, text, &whole);
                    if let Some(next) = self.take(first, payload).await? {
                        return Ok(next);
                    }
                }
            }
        }
    }

    async fn take(&mut self, first: u8, payload: Vec<u8>) -> Result<Option<Next>, Stop> {
        let last = first & LAST != 0;
        if first & 0x70 != 0 {
            return Ok(Some(self.malformed("reserved bits")));
        }
        let message = match first & 15 {
            PING => {
                if self.answers {
                    self.send(LAST | PONG, &payload).await?;
                }
                Message::Ping(payload)
            }
            PONG => {
                self.pongs.push(payload.clone());
                Message::Pong(payload)
            }
            CLOSE => {
                let (code, reason) = match close_of(&payload) {
                    Ok(read) => read,
                    Err(what) => return Ok(Some(self.malformed(&what))),
                };
                self.ended(End::Close(code, reason.clone()));
                if !self.closed && self.answers {
                    self.closed = true;
                    self.send(LAST | CLOSE, payload.get(..2).unwrap_or_default())
                        .await?;
                }
                Message::Close(code, reason)
            }
            opcode @ (TEXT | BINARY) => {
                if self.partial.is_some() {
                    return Ok(Some(self.malformed("a new message within fragments")));
                }
                self.partial = Some((opcode, payload));
                return Ok(last.then(|| self.whole()).flatten());
            }
            CONTINUATION => {
                let Some((_, partial)) = &mut self.partial else {
                    return Ok(Some(self.malformed("a continuation of nothing")));
                };
                partial.extend(payload);
                if partial.len() > MESSAGE {
                    return Ok(Some(self.malformed("a message of more than 64 MiB")));
                }
                return Ok(last.then(|| self.whole()).flatten());
            }
            _ => return Ok(Some(self.malformed("an unknown opcode"))),
        };
        Ok(Some(Next::Message(message)))
    }

    fn whole(&mut self) -> Option<Next> {
        let (opcode, payload) = self.partial.take()?;
        Some(Next::Message(if opcode == TEXT {
            Message::Text(payload)
        } else {
            Message::Binary(payload)
        }))
    }
}

/// The code, 1005 for none, if these bytes of the judge begin with a Close.
fn close_sent(bytes: &[u8]) -> Option<u16> {
    let (first, second) = (bytes.first()?, bytes.get(1)?);
    if first & 15 != CLOSE {
        return None;
    }
    let mut rest = bytes.get(head_of(*second)..)?;
    let mut key = [0; 4];
    if second & 0x80 != 0 {
        key = *rest.split_off(..4)?.first_chunk()?;
    }
    let [a, b, ..] = key;
    Some(match rest {
        [high, low, ..] => u16::from_be_bytes([high ^ a, low ^ b]),
        _ => 1005,
    })
}

/// Bytes before the mask, or the payload where there is none, of a frame with this second byte.
pub(crate) fn head_of(second: u8) -> usize {
    match second & 0x7f {
        126 => 4,
        127 => 10,
        _ => 2,
    }
}

/// Code and reason of a Close; 1005 and nothing if it has none (RFC 6455, sections 5.5.1 and 7.4).
fn close_of(payload: &[u8]) -> Result<(u16, String), String> {
    let Some((mut code, reason)) = payload.split_at_checked(2) else {
        return match payload {
            [] => Ok((1005, String::new())),
            _ => Err("a Close of 1 byte".to_owned()),
        };
    };
    let code = code.get_u16();
    if matches!(code, 0..1000 | 1005 | 1006 | 1015) {
        return Err(format!(
            "a Close with code {code}, which no frame may carry"
        ));
    }
    match std::str::from_utf8(reason) {
        Ok(reason) => Ok((code, reason.to_owned())),
        Err(_) => Err("a Close whose reason is no UTF-8".to_owned()),
    }
}

/// Bytes before the payload of an unmasked frame whose length is in the shortest form.
fn shortest_head(length: usize) -> usize {
    match length {
        0..126 => 2,
        126..65536 => 4,
        _ => 10,
    }
}

pub(super) fn name(first: u8, length: usize) -> String {
    let name = match first & 15 {
        CONTINUATION => "continuation",
        TEXT => "text",
        BINARY => "binary",
        CLOSE => "Close",
        PING => "Ping",
        PONG => "Pong",
        _ => "unknown opcode",
    };
    let more = if first & LAST == 0 {
        ", more follow"
    } else {
        ""
    };
    format!("WebSocket {name}, {length} bytes{more}")
}

/// First byte, payload and bytes of a whole frame.
type Read = (u8, Vec<u8>, Vec<u8>);

fn read(buffer: &mut BytesMut) -> Result<Option<Read>, String> {
    let (Some(&first), Some(&second)) = (buffer.first(), buffer.get(1)) else {
        return Ok(None);
    };
    if second & 0x80 != 0 {
        return Err("a masked frame of a server".to_owned());
    }
    let (head, length) = match second {
        126 => match buffer.get(2..4) {
            None => return Ok(None),
            Some(mut field) => (4, u64::from(field.get_u16())),
        },
        127 => match buffer.get(2..10) {
            None => return Ok(None),
            Some(mut field) => (10, field.get_u64()),
        },
        short => (2, u64::from(short)),
    };
    if first & 8 != 0 && (second > 125 || first & LAST == 0) {
        return Err("a control frame that is long or in fragments".to_owned());
    }
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MESSAGE {
        return Err(format!("a frame of {length} bytes"));
    }
    if buffer.len() < head + length {
        return Ok(None);
    }
    let whole = buffer.split_to(head + length).to_vec();
    let payload = whole.get(head..).unwrap_or_default().to_vec();
    Ok(Some((first, payload, whole)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::log::Log;
    use std::time::Duration;
    use tokio::io::AsyncWriteExt as _;

    #[test]
    fn closes_of_the_judge() {
        let code = 1001u16.to_be_bytes();
        for (bytes, sent) in [
            (frame(LAST | CLOSE, true, &code), Some(1001)),
            (frame(LAST | CLOSE, false, &code), Some(1001)),
            (frame_in_form(LAST | CLOSE, true, 2, &code), Some(1001)),
            (frame(LAST | CLOSE, true, b""), Some(1005)),
            (frame(LAST | PING, true, &code), None),
            (vec![LAST | CLOSE], None),
        ] {
            assert_eq!(close_sent(&bytes), sent, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn closes() {
        let table: [(&[u8], Result<u16, &str>); 9] = [
            (b"", Ok(1005)),
            (b"\x03\xe8", Ok(1000)),
            (b"\x0f\xa0why \xc3\xa9", Ok(4000)),
            (b"\x03", Err("a Close of 1 byte")),
            (b"\x03\xe8\xc3", Err("no UTF-8")),
            (b"\0\0", Err("code 0,")),
            (b"\x03\xe7", Err("code 999,")),
            (b"\x03\xed", Err("code 1005,")),
            (b"\x03\xee", Err("code 1006,")),
        ];
        for (payload, expected) in table {
            let (near, mut far) = tokio::io::duplex(1 << 10);
            let log = Log::default();
            let connection = Connection::new(Box::new(near), log.clone(), Vec::new());
            let mut websocket = WebSocket::new(connection);
            far.write_all(&frame(LAST | CLOSE, false, payload))
                .await
                .unwrap();
            let next = websocket
                .next(Instant::now() + Duration::from_secs(5))
                .await;
            drop(next.unwrap());
            let (items, ..) = log.take();
            let malformed = items
                .iter()
                .find(|item| item.text.starts_with("malformed: "));
            match (&websocket.end, expected) {
                (Some(End::Close(code, _)), Ok(expected)) => {
                    assert_eq!(*code, expected);
                    assert!(malformed.is_none());
                }
                (Some(End::Malformed(what)), Err(words)) => {
                    assert!(what.contains(words), "{what}");
                    assert_eq!(malformed.unwrap().text, format!("malformed: {what}"));
                }
                other => panic!("{payload:?}: {other:?}"),
            }
        }
    }
}
