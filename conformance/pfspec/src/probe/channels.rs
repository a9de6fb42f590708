//! Port-forward over channels as the judge holds it.

use super::connection::{End, Filled};
use super::wait::{self, Waits};
use super::websocket::{BINARY, LAST, Message, Next, TEXT, WebSocket};
use crate::case::Stop;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// What came on one channel.
#[derive(Debug, Clone, Default)]
pub struct Channel {
    /// Payload of the first message.
    pub first: Option<Vec<u8>>,
    /// Payload of all others.
    pub data: Vec<u8>,
    /// Messages, the first included.
    pub messages: usize,
}

/// A WebSocket with a channel pair for each port.
#[derive(Debug)]
pub struct Channels {
    /// The WebSocket.
    pub websocket: WebSocket,
    /// Base64 in text messages.
    pub base64: bool,
    /// Ports as they were asked for.
    pub ports: Vec<u16>,
    /// How long to wait for what should come at once.
    pub patience: Duration,
    by_number: BTreeMap<u8, Channel>,
    /// Messages that fit no channel protocol.
    pub odd: Vec<String>,
    /// How it ended, once it has.
    pub end: Option<End>,
}

impl Channels {
    /// Right behind the handshake.
    #[must_use]
    pub fn new(websocket: WebSocket, base64: bool, ports: Vec<u16>, patience: Duration) -> Self {
        Self {
            websocket,
            base64,
            ports,
            patience,
            by_number: BTreeMap::new(),
            odd: Vec::new(),
            end: None,
        }
    }

    /// What came on a channel.
    #[must_use]
    pub fn channel(&self, channel: u8) -> Channel {
        self.by_number.get(&channel).cloned().unwrap_or_default()
    }

    /// Bytes that came on a channel behind the first message.
    #[must_use]
    pub fn received(&self, channel: u8) -> usize {
        self.by_number.get(&channel).map_or(0, |got| got.data.len())
    }

    /// Whether the server has ended it, in whatever way.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.end.as_ref().is_some_and(End::is_of_server)
    }

    /// Sends a message on a channel.
    pub async fn send(&mut self, channel: u8, payload: &[u8]) -> Result<(), Stop> {
        if self.base64 {
            let mut text = vec![b'0'.wrapping_add(channel)];
            text.extend(BASE64_STANDARD.encode(payload).into_bytes());
            self.websocket.send(LAST | TEXT, &text).await
        } else {
            let message = [&[channel][..], payload].concat();
            self.websocket.send(LAST | BINARY, &message).await
        }
    }

    /// Waits until `done`, for [`Channels::patience`].
    ///
    /// # Errors
    /// A departure, `what` being expected, if the connection ends or the time is over before.
    pub async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Result<(), Stop> {
        self.until_within(what, self.patience, done).await
    }

    /// The same with a time.
    pub async fn until_within(
        &mut self,
        what: &str,
        patience: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> Result<(), Stop> {
        wait::until(self, what, patience, done).await
    }

    /// Waits for the first message on both channels of every port, and checks them.
    pub async fn prefaced(&mut self) -> Result<(), Stop> {
        let count = u8::try_from(self.ports.len() * 2).unwrap_or(u8::MAX);
        self.until("a first message on every channel", |channels| {
            let first = |channel| Some(channels.by_number.get(&channel)?.first.is_some());
            (0..count).all(|channel| first(channel) == Some(true))
        })
        .await?;
        for channel in 0..count {
            let port = self
                .ports
                .get(usize::from(channel / 2))
                .copied()
                .unwrap_or_default();
            let first = self.channel(channel).first.unwrap_or_default();
            if first != port.to_le_bytes() {
                return Err(Stop::departure(
                    format!("the port {port} in 2 bytes, lowest first, on channel {channel}"),
                    format!("{first:02x?}"),
                ));
            }
        }
        Ok(())
    }

    /// Passes bytes through a port that echoes; its number among the ports.
    pub async fn echo(&mut self, index: u8, bytes: &[u8]) -> Result<(), Stop> {
        let channel = index * 2;
        let before = self.received(channel);
        for part in bytes.chunks(16 << 10) {
            self.send(channel, part).await?;
        }
        let what = format!(
            "the {} bytes that were sent, back on channel {channel}",
            bytes.len()
        );
        let whole = before + bytes.len();
        self.until(&what, |channels| channels.received(channel) >= whole)
            .await?;
        if self.channel(channel).data.get(before..) != Some(bytes) {
            return Err(Stop::departure(what, "other bytes"));
        }
        Ok(())
    }

    /// Reads for a time, or until the connection ends.
    pub async fn read_for(&mut self, time: Duration) -> Result<(), Stop> {
        wait::read_for(self, time).await
    }

    /// Takes one message, waiting for it.
    pub async fn step(&mut self, deadline: Instant) -> Result<Filled, Stop> {
        if self.end.is_some() {
            return Ok(Filled::Ended);
        }
        Ok(match self.websocket.next(deadline).await? {
            Next::Late => Filled::Late,
            Next::Ended => {
                self.end.clone_from(&self.websocket.end);
                Filled::Ended
            }
            Next::Message(Message::Close(code, reason)) => {
                self.end = Some(End::Close(code, reason));
                Filled::More
            }
            Next::Message(Message::Ping(_) | Message::Pong(_)) => Filled::More,
            Next::Message(Message::Binary(bytes)) => {
                match bytes.split_first() {
                    Some((channel, payload)) if !self.base64 => self.take(*channel, payload),
                    _ => self
                        .odd
                        .push(format!("a binary message of {} bytes", bytes.len())),
                }
                Filled::More
            }
            Next::Message(Message::Text(bytes)) => {
                let decoded = bytes.split_first().and_then(|(digit, text)| {
                    let channel = digit.checked_sub(b'0')?;
                    Some((channel, BASE64_STANDARD.decode(text).ok()?))
                });
                match decoded {
                    Some((channel, payload)) if self.base64 => self.take(channel, &payload),
                    _ => self
                        .odd
                        .push(format!("a text message of {} bytes", bytes.len())),
                }
                Filled::More
            }
        })
    }

    fn take(&mut self, channel: u8, payload: &[u8]) {
        let channel = self.by_number.entry(channel).or_default();
        channel.messages += 1;
        match channel.first {
            None => channel.first = Some(payload.to_vec()),
            Some(_) => channel.data.extend(payload),
        }
    }

    /// What came, for a report.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        for (channel, got) in &self.by_number {
            parts.push(format!(
                "channel {channel}: {} messages, {} bytes behind the first",
                got.messages,
                got.data.len()
            ));
        }
        parts.extend(self.odd.iter().cloned());
        if parts.is_empty() {
            return "nothing".to_owned();
        }
        parts.join(", ")
    }
}

impl Waits for Channels {
    fn take_one(&mut self, deadline: Instant) -> impl Future<Output = Result<Filled, Stop>> + Send {
        self.step(deadline)
    }

    fn ended_by(&self) -> Option<&End> {
        self.end.as_ref()
    }

    fn came(&self) -> String {
        self.summary()
    }
}
