//! Whole exchanges on a session: pairs, echoes, PINGs, and what became of it.

use super::{Carrier, End, Filled, Frame, Pair, Session, Stop, fin, headers, syn_stream};
use std::time::Duration;
use tokio::time::Instant;

/// What became of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes on: a PING was echoed.
    GoesOn,
    /// It has ended.
    Ended,
}

impl Fate {
    /// For [`crate::case::Seen`].
    #[must_use]
    pub fn slug(self) -> &'static str {
        match self {
            Self::GoesOn => "goes-on",
            Self::Ended => "ends-session",
        }
    }
}

impl Session {
    /// A request id that was not used on this session.
    pub fn request_id(&mut self) -> String {
        let id = self.next_request;
        self.next_request += 1;
        id.to_string()
    }

    /// Frames that open a pair as clients do: error stream, its FIN, data stream.
    pub fn pair_frames(&mut self, port: u16) -> (Pair, Vec<Frame>) {
        let (port, request) = (port.to_string(), self.request_id());
        let (error, data) = (self.next_id(), self.next_id());
        let frames = vec![
            syn_stream(error, &headers("error", &port, &request)),
            fin(error),
            syn_stream(data, &headers("data", &port, &request)),
        ];
        (Pair { error, data }, frames)
    }

    /// Opens a pair and waits for both answers.
    pub async fn pair(&mut self, port: u16) -> Result<Pair, Stop> {
        let (pair, frames) = self.pair_frames(port);
        for frame in &frames {
            self.send(frame).await?;
        }
        let replied = format!("SYN_REPLY for streams {} and {}", pair.error, pair.data);
        self.until(&replied, |session| {
            session.replied(pair.error) && session.replied(pair.data)
        })
        .await?;
        Ok(pair)
    }

    /// A PING that must come back, which shows that the session goes on.
    pub async fn alive(&mut self, after: &str) -> Result<(), Stop> {
        let id = self.ping().await?;
        let what = format!("that the session goes on {after}: PING {id} echoed");
        self.until(&what, |session| session.pings.contains(&id))
            .await
    }

    /// Opens a pair to an echo and passes `bytes` through it.
    pub async fn echo(&mut self, port: u16, bytes: &[u8]) -> Result<Pair, Stop> {
        let pair = self.pair(port).await?;
        self.echo_on(pair, bytes).await?;
        Ok(pair)
    }

    /// Passes bytes through an open pair to an echo.
    pub async fn echo_on(&mut self, pair: Pair, bytes: &[u8]) -> Result<(), Stop> {
        let before = self.received(pair.data);
        self.write(pair.data, bytes).await?;
        let whole = before + bytes.len() as u64;
        let what = format!(
            "the {} bytes that were sent, back on stream {}",
            bytes.len(),
            pair.data
        );
        self.until(&what, |session| {
            session.received(pair.data) >= whole || session.ended(pair.data)
        })
        .await?;
        let start = usize::try_from(before).unwrap_or(usize::MAX);
        let stream = self.stream(pair.data);
        if stream.data.get(start..) != Some(bytes) {
            return Err(Stop::departure(what, self.summary()));
        }
        Ok(())
    }

    /// The whole life of a connection to an echo: bytes through, FIN, both streams ended, no error text. Shows
    /// that the session works.
    pub async fn works(&mut self, port: u16, after: &str) -> Result<(), Stop> {
        let unharmed = |stop: Stop| match stop {
            Stop::Departure { expected, actual } => Stop::Departure {
                expected: format!("that the session works {after}: {expected}"),
                actual,
            },
            stop => stop,
        };
        let pair = self.echo(port, b"are you there?").await.map_err(unharmed)?;
        self.finish(pair.data).await?;
        self.clean_end(pair).await.map_err(unharmed)
    }

    /// Waits until both streams of a pair have ended without an error text.
    pub async fn clean_end(&mut self, pair: Pair) -> Result<(), Stop> {
        let what = format!("FIN on streams {} and {}", pair.data, pair.error);
        self.until(&what, |session| {
            session.ended(pair.data) && session.ended(pair.error)
        })
        .await?;
        let (error, data) = (self.stream(pair.error), self.stream(pair.data));
        if !error.data.is_empty() || !error.resets.is_empty() || !data.resets.is_empty() {
            return Err(Stop::departure(
                format!("a clean end: {what}, and no text"),
                format!("text {:?}; {}", error.text(), self.summary()),
            ));
        }
        Ok(())
    }

    /// Finds out whether the session goes on or has ended.
    ///
    /// # Errors
    /// A departure if neither is seen within [`Session::patience`], or the server sent what is no frame.
    pub async fn fate(&mut self, after: &str) -> Result<Fate, Stop> {
        // Gateways may notice the end of a session in a tunnel only when the client writes again: hence more PINGs.
        const AGAIN: Duration = Duration::from_millis(250);
        let deadline = Instant::now() + self.patience;
        let mut sent = Vec::new();
        let answered =
            |session: &Self, sent: &[u32]| session.pings.iter().any(|id| sent.contains(id));
        while Instant::now() < deadline && self.end.is_none() && !answered(self, &sent) {
            sent.push(self.ping().await?);
            let again = Instant::now() + AGAIN;
            while !answered(self, &sent) && self.step(again).await? == Filled::More {}
        }
        let what = format!("PING echoed, or the end of the session, {after}");
        if answered(self, &sent) {
            return Ok(Fate::GoesOn);
        }
        if self.end.is_none() {
            let text = format!("neither within {:?}: {}", self.patience, self.summary());
            return Err(Stop::departure(what, text));
        }
        self.not_malformed(&what)?;
        Ok(Fate::Ended)
    }

    /// Sends a frame, or bytes that are none, that ends the session, and waits for the end. No frame behind is taken:
    /// a PING in the same write, or later, is not echoed.
    pub async fn dies_of(&mut self, what: &str, bytes: &[u8]) -> Result<(), Stop> {
        const BEHIND: u32 = 0x7001;
        let mut bytes = bytes.to_vec();
        bytes.extend(self.encoder.encode(&Frame::Ping(BEHIND)));
        self.raw(what, &bytes).await?;
        let fate = self.fate(&format!("after {what}")).await?;
        if fate == Fate::GoesOn || self.pings.contains(&BEHIND) {
            return Err(Stop::departure(
                format!("the end of the session after {what}, and nothing taken behind it"),
                self.summary(),
            ));
        }
        Ok(())
    }

    /// Sends the next PING; its id.
    pub async fn ping(&mut self) -> Result<u32, Stop> {
        let id = self.next_ping;
        self.next_ping += 2;
        self.send(&Frame::Ping(id)).await?;
        Ok(id)
    }

    /// Ends the connection without GOAWAY: FIN, or Close with 1000 in the tunnel.
    pub async fn hang_up(&mut self) -> Result<(), Stop> {
        if let Carrier::Plain(connection) = &mut self.carrier {
            connection.shut_down().await;
        }
        self.hang_up_tunnel().await
    }

    /// In a tunnel, sends Close with 1000; nothing else.
    pub async fn hang_up_tunnel(&mut self) -> Result<(), Stop> {
        match &mut self.carrier {
            Carrier::Plain(_) => Ok(()),
            Carrier::Tunnel(websocket) => websocket.close(1000).await,
        }
    }

    /// # Errors
    /// Inconclusive: the judge has stopped reading at bytes that are no frame, and cannot say what it waits for.
    pub fn not_malformed(&self, what: &str) -> Result<(), Stop> {
        match &self.end {
            Some(end @ End::Malformed(_)) => Err(Stop::no_answer(what, end.to_string())),
            _ => Ok(()),
        }
    }
}
