//! A WebSocket that carries an echo, tunnel or channels: what a case about frames needs.

use crate::case::{Stop, Way};
use crate::probe::channels::Channels;
use crate::probe::connection::{Connection, End};
use crate::probe::session::{Carrier, Pair, Session, data};
use crate::probe::websocket::{BINARY, LAST, TEXT, WebSocket};
use crate::target::Service;
use crate::trial::{TUNNEL, Trial};
use base64::prelude::{BASE64_STANDARD, Engine as _};

/// The carrier of an echo.
pub(super) enum Line {
    /// A pair of streams.
    Tunnel(Box<Session>, Pair),
    /// Channel 0.
    Channels(Box<Channels>),
}

impl Line {
    /// Opens one on the way of this run.
    pub(super) async fn open(t: &Trial) -> Result<Self, Stop> {
        let port = t.port(Service::Echo)?;
        if t.way != Way::Tunnel {
            let mut channels = t.channels(&[port]).await?;
            channels.prefaced().await?;
            return Ok(Self::Channels(Box::new(channels)));
        }
        let carrier = Carrier::Tunnel(t.websocket(TUNNEL, "").await?);
        let mut session = Session::new(carrier, t.patience);
        let pair = session.pair(port).await?;
        Ok(Self::Tunnel(Box::new(session), pair))
    }

    /// Bytes of a message around what it carries.
    pub(super) fn overhead(&self) -> usize {
        match self {
            Self::Tunnel(..) => 8,
            Self::Channels(_) => 1,
        }
    }

    /// First byte and payload of a message that carries bytes to the echo.
    pub(super) fn message(&mut self, bytes: &[u8]) -> (u8, Vec<u8>) {
        match self {
            Self::Tunnel(session, pair) => {
                let frame = data(pair.data, 0, bytes);
                (LAST | BINARY, session.encoder.encode(&frame))
            }
            Self::Channels(channels) if channels.base64 => {
                let text = format!("0{}", BASE64_STANDARD.encode(bytes));
                (LAST | TEXT, text.into_bytes())
            }
            Self::Channels(_) => (LAST | BINARY, [&[0], bytes].concat()),
        }
    }

    /// The WebSocket; the tunnel's session has no other carrier.
    pub(super) fn websocket(&mut self) -> Option<&mut WebSocket> {
        match self {
            Self::Channels(channels) => Some(&mut channels.websocket),
            Self::Tunnel(session, _) => match &mut session.carrier {
                Carrier::Tunnel(websocket) => Some(websocket),
                Carrier::Plain(_) => None,
            },
        }
    }

    /// The connection below.
    pub(super) fn connection(&mut self) -> &mut Connection {
        match self {
            Self::Channels(channels) => &mut channels.websocket.connection,
            Self::Tunnel(session, _) => session.connection(),
        }
    }

    /// Sends one masked frame.
    pub(super) async fn frame(&mut self, first: u8, payload: &[u8]) -> Result<(), Stop> {
        match self.websocket() {
            Some(websocket) => websocket.send(first, payload).await,
            None => Ok(()),
        }
    }

    /// Sends bytes as they are.
    pub(super) async fn raw(&mut self, what: &str, bytes: &[u8]) -> Result<(), Stop> {
        match self.websocket() {
            Some(websocket) => websocket.raw(what, bytes).await,
            None => Ok(()),
        }
    }

    /// Bytes that came back so far.
    fn back(&self) -> Vec<u8> {
        match self {
            Self::Tunnel(session, pair) => session.stream(pair.data).data,
            Self::Channels(channels) => channels.channel(0).data,
        }
    }

    /// Whether nothing came back.
    pub(super) fn empty(&self) -> bool {
        self.back().is_empty()
    }

    /// Whether what came back is the beginning of this, and not all of it.
    pub(super) fn has_part_of(&self, bytes: &[u8]) -> bool {
        let back = self.back();
        back.len() < bytes.len() && bytes.starts_with(&back)
    }

    /// Waits until all that came back is this.
    pub(super) async fn expect(&mut self, all: &[u8], why: &str) -> Result<(), Stop> {
        let what = format!("{} bytes of the echo {why}", all.len());
        match self {
            Self::Tunnel(session, pair) => {
                let id = pair.data;
                session
                    .until(&what, |s| s.received(id) >= all.len() as u64)
                    .await?;
            }
            Self::Channels(channels) => {
                channels
                    .until(&what, |c| c.channel(0).data.len() >= all.len())
                    .await?;
            }
        }
        if self.back() != all {
            return Err(Stop::departure(what, "other bytes"));
        }
        Ok(())
    }

    /// Sends bytes to the echo in one message and waits for them; what came back before is kept.
    pub(super) async fn echo(&mut self, bytes: &[u8], why: &str) -> Result<(), Stop> {
        let mut all = self.back();
        all.extend(bytes);
        let (first, payload) = self.message(bytes);
        self.frame(first, &payload).await?;
        self.expect(&all, why).await
    }

    /// Waits for a PONG with this payload.
    pub(super) async fn ponged(&mut self, payload: &[u8]) -> Result<(), Stop> {
        let what = format!("PONG with {} bytes as in the PING", payload.len());
        let has = |websocket: &WebSocket| websocket.pongs.iter().any(|pong| pong == payload);
        match self {
            Self::Channels(channels) => channels.until(&what, |c| has(&c.websocket)).await,
            Self::Tunnel(session, _) => {
                session
                    .until(
                        &what,
                        |s| matches!(&s.carrier, Carrier::Tunnel(websocket) if has(websocket)),
                    )
                    .await
            }
        }
    }

    /// Waits for the end of the connection or of the WebSocket.
    pub(super) async fn end(&mut self, why: &str) -> Result<End, Stop> {
        self.end_or(why, |_| false).await
    }

    /// The same where these bytes must not come back from the echo.
    pub(super) async fn end_not_echo(&mut self, bytes: &[u8], why: &str) -> Result<End, Stop> {
        let came = |back: &[u8]| back.windows(bytes.len()).any(|part| part == bytes);
        self.end_or(why, came).await
    }

    async fn end_or(&mut self, why: &str, stop: impl Fn(&[u8]) -> bool) -> Result<End, Stop> {
        let what = format!("the end of the connection {why}");
        let end = match self {
            Self::Channels(channels) => {
                channels
                    .until(&what, |c| c.end.is_some() || stop(&c.channel(0).data))
                    .await?;
                channels.end.clone()
            }
            Self::Tunnel(session, pair) => {
                let id = pair.data;
                session
                    .until(&what, |s| s.end.is_some() || stop(&s.stream(id).data))
                    .await?;
                session.end.clone()
            }
        };
        match end {
            None => Err(Stop::departure(what, "it goes on")),
            Some(End::Malformed(text)) => Err(Stop::departure(what, text)),
            Some(end) => Ok(end),
        }
    }
}
