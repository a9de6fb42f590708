//! A SPDY session as the judge holds it: sends anything, keeps what comes, and waits for what should come.

use super::connection::{Connection, End, Filled};
use super::ending::Sign;
use super::log::{Layer, Side};
use super::wait::{self, Waits};
use super::websocket::{BINARY, LAST, Message, Next, WebSocket};
use super::wire::{self, Decoder, Encoder, FIN, Frame, Pairs};
use crate::case::Stop;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

mod exchange;
pub use exchange::Fate;

/// On what a session travels.
#[derive(Debug)]
pub enum Carrier {
    /// The upgraded connection.
    Plain(Connection),
    /// Binary messages.
    Tunnel(WebSocket),
}

impl Carrier {
    /// What bytes are of that are written to the connection as they are.
    #[must_use]
    pub fn layer(&self) -> Layer {
        match self {
            Self::Plain(_) => Layer::Spdy,
            Self::Tunnel(_) => Layer::WebSocket,
        }
    }
}

/// What came on one stream.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    /// Header blocks of SYN_REPLY.
    pub replies: Vec<Pairs>,
    /// Payload of all DATA.
    pub data: Vec<u8>,
    /// FIN has come.
    pub fin: bool,
    /// Statuses of RST_STREAM.
    pub resets: Vec<u32>,
    /// Frames that came behind FIN or RST_STREAM, but for RST_STREAM behind FIN.
    pub late: Vec<String>,
    /// DATA came before SYN_REPLY.
    pub data_before_reply: bool,
    /// When each of FIN and RST_STREAM came first.
    pub ended_at: Option<Instant>,
}

impl Stream {
    /// Whether the server has ended its direction.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.fin || !self.resets.is_empty()
    }

    /// The payload as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.data).into_owned()
    }
}

/// A frame that came, when, and its bytes.
#[derive(Debug, Clone)]
pub struct Got {
    /// When.
    pub at: Instant,
    /// What it says; payload of DATA is in [`Stream::data`] and not here.
    pub frame: Frame,
    /// The first 64 bytes.
    pub head: Vec<u8>,
}

/// The two streams of a forwarded connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Error stream.
    pub error: u32,
    /// Data stream.
    pub data: u32,
}

/// How long a server may take for what it should do at once, unless the run says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A SPDY session.
#[derive(Debug)]
pub struct Session {
    /// On what it travels.
    pub carrier: Carrier,
    /// What writes frames.
    pub encoder: Encoder,
    decoder: Decoder,
    /// All frames that came, in order.
    pub got: Vec<Got>,
    streams: BTreeMap<u32, Stream>,
    /// Ids of PINGs that came.
    pub pings: Vec<u32>,
    /// Last stream and status of GOAWAY, if it came.
    pub goaway: Option<(u32, u32)>,
    /// How it ended, once it has.
    pub end: Option<End>,
    /// How long to wait for what should come at once.
    pub patience: Duration,
    /// Bytes in a write, and in a message of the tunnel; everything at once unless set.
    pub cut: Option<usize>,
    /// Keep the payload of DATA; else it is counted in `dropped`.
    pub keeps: bool,
    /// Bytes of payload that were not kept, by stream.
    pub dropped: BTreeMap<u32, u64>,
    next_id: u32,
    next_ping: u32,
    next_request: u32,
}

impl Session {
    /// Right behind the 101.
    #[must_use]
    pub fn new(carrier: Carrier, patience: Duration) -> Self {
        let mut session = Self {
            carrier,
            encoder: Encoder::default(),
            decoder: Decoder::default(),
            got: Vec::new(),
            streams: BTreeMap::new(),
            pings: Vec::new(),
            goaway: None,
            end: None,
            patience,
            cut: None,
            keeps: true,
            dropped: BTreeMap::new(),
            next_id: 1,
            next_ping: 1,
            next_request: 0,
        };
        if let Carrier::Plain(connection) = &mut session.carrier {
            session.decoder.buffer = connection.buffer.split();
        }
        session
    }

    /// The connection below.
    pub fn connection(&mut self) -> &mut Connection {
        match &mut self.carrier {
            Carrier::Plain(connection) => connection,
            Carrier::Tunnel(websocket) => &mut websocket.connection,
        }
    }

    /// What came on a stream.
    #[must_use]
    pub fn stream(&self, id: u32) -> Stream {
        self.streams.get(&id).cloned().unwrap_or_default()
    }

    /// The same without a copy; `None` if nothing came.
    #[must_use]
    pub fn peek(&self, id: u32) -> Option<&Stream> {
        self.streams.get(&id)
    }

    /// Whether SYN_REPLY came on a stream.
    #[must_use]
    pub fn replied(&self, id: u32) -> bool {
        self.peek(id)
            .is_some_and(|stream| !stream.replies.is_empty())
    }

    /// Bytes that came on a stream.
    #[must_use]
    pub fn received(&self, id: u32) -> u64 {
        let kept = self.peek(id).map_or(0, |stream| stream.data.len() as u64);
        kept + self.dropped.get(&id).copied().unwrap_or(0)
    }

    /// Whether the server has ended its direction of a stream.
    #[must_use]
    pub fn ended(&self, id: u32) -> bool {
        self.peek(id).is_some_and(Stream::ended)
    }

    /// Whether the server has ended it, in whatever way.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.end.as_ref().is_some_and(End::is_of_server)
    }

    /// The next odd id.
    pub fn next_id(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id += 2;
        id
    }

    /// Goes on with ids from here.
    pub fn skip_to(&mut self, id: u32) {
        self.next_id = id;
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: &Frame) -> Result<(), Stop> {
        self.announce(frame);
        let bytes = self.encoder.encode(frame);
        self.raw_as(&frame.text(), Layer::Spdy, &bytes).await
    }

    /// Sends several frames in one write.
    pub async fn send_all(&mut self, frames: &[Frame]) -> Result<(), Stop> {
        let mut all = Vec::new();
        for frame in frames {
            self.announce(frame);
            let bytes = self.encoder.encode(frame);
            self.connection()
                .item(Side::Judge, Layer::Spdy, frame.text(), &bytes);
            all.extend(bytes);
        }
        self.carry(&all).await
    }

    fn announce(&mut self, frame: &Frame) {
        if let Frame::Goaway { status, .. } = frame {
            self.connection().sign(Sign::SentGoaway(*status));
        }
    }

    /// Sends bytes that need not be a frame; `what` says what they are.
    pub async fn raw(&mut self, what: &str, bytes: &[u8]) -> Result<(), Stop> {
        self.raw_as(what, Layer::Raw, bytes).await
    }

    async fn raw_as(&mut self, what: &str, layer: Layer, bytes: &[u8]) -> Result<(), Stop> {
        self.connection().item(Side::Judge, layer, what, bytes);
        self.carry(bytes).await
    }

    /// Writes to the carrier, cut as [`Session::cut`] says. An ended connection is no error: what it sent before is
    /// what the case asks about.
    async fn carry(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let size = self.cut.unwrap_or(bytes.len()).max(1);
        for part in bytes.chunks(size) {
            match &mut self.carrier {
                Carrier::Plain(connection) => connection.write(part).await?,
                Carrier::Tunnel(websocket) => websocket.send(LAST | BINARY, part).await?,
            }
        }
        Ok(())
    }

    /// Sends a frame for at most `patience`; whether the server took all of it. If not, the session is of no more use
    /// for sending.
    pub async fn try_send(&mut self, frame: &Frame, patience: Duration) -> bool {
        let mut bytes = self.encoder.encode(frame);
        self.connection()
            .item(Side::Judge, Layer::Spdy, frame.text(), &bytes);
        if matches!(self.carrier, Carrier::Tunnel(_)) {
            let text = super::websocket::name(LAST | BINARY, bytes.len());
            bytes = super::websocket::frame(LAST | BINARY, true, &bytes);
            self.connection()
                .item(Side::Judge, Layer::WebSocket, text, &bytes);
        }
        self.connection().write_some(&bytes, patience).await == bytes.len()
    }

    /// Opens a stream with the next id; does not wait for an answer.
    pub async fn open(&mut self, headers: &[(&str, &str)]) -> Result<u32, Stop> {
        let id = self.next_id();
        self.open_as(id, headers).await?;
        Ok(id)
    }

    /// Opens a stream with any id.
    pub async fn open_as(&mut self, id: u32, headers: &[(&str, &str)]) -> Result<(), Stop> {
        let frame = syn_stream(id, headers);
        self.send(&frame).await
    }

    /// Sends payload in DATA frames of at most 16 KiB.
    pub async fn write(&mut self, id: u32, payload: &[u8]) -> Result<(), Stop> {
        for part in payload.chunks(16 << 10) {
            self.send(&Frame::Data {
                id,
                flags: 0,
                payload: part.to_vec(),
            })
            .await?;
        }
        Ok(())
    }

    /// Sends an empty DATA with FIN.
    pub async fn finish(&mut self, id: u32) -> Result<(), Stop> {
        self.send(&fin(id)).await
    }

    /// Sends RST_STREAM.
    pub async fn reset(&mut self, id: u32, status: u32) -> Result<(), Stop> {
        self.send(&Frame::RstStream { id, status }).await
    }

    /// Waits until `done`, for [`Session::patience`].
    ///
    /// # Errors
    /// A departure, `what` being expected, if the session ends or the time is over before.
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

    /// Reads for a time, or until the session ends.
    pub async fn read_for(&mut self, time: Duration) -> Result<(), Stop> {
        wait::read_for(self, time).await
    }

    /// Waits for the end of the session.
    ///
    /// # Errors
    /// A departure if it has not ended after [`Session::patience`], or malformed bytes were the end.
    pub async fn until_end(&mut self, why: &str) -> Result<End, Stop> {
        self.until_end_within(why, self.patience).await
    }

    /// The same with a time.
    pub async fn until_end_within(&mut self, why: &str, patience: Duration) -> Result<End, Stop> {
        let what = format!("the end of the session {why}");
        self.until_within(&what, patience, Self::is_over).await?;
        Ok(self.end.clone().unwrap_or(End::Closed))
    }

    /// Takes one frame, waiting for it.
    pub async fn step(&mut self, deadline: Instant) -> Result<Filled, Stop> {
        loop {
            // Nothing is read behind malformed bytes.
            if self.end.is_some() {
                return Ok(Filled::Ended);
            }
            match self.decoder.frame() {
                Ok(Some((frame, bytes))) => {
                    self.apply(frame, &bytes);
                    return Ok(Filled::More);
                }
                Ok(None) => {}
                Err(what) => {
                    let at = self.connection().number;
                    let text = format!("malformed: {what}");
                    self.connection()
                        .log
                        .item(at, Side::Server, Layer::Raw, text, &[]);
                    let end = End::Malformed(what);
                    self.connection().sign(Sign::Ended(end.clone()));
                    self.end.get_or_insert(end);
                    return Ok(Filled::Ended);
                }
            }
            match &mut self.carrier {
                Carrier::Plain(connection) => {
                    // A write may have read as well.
                    if connection.buffer.is_empty() {
                        match connection.fill(deadline).await {
                            Filled::More => {}
                            Filled::Ended if connection.buffer.is_empty() => {
                                self.end.clone_from(&connection.end);
                                continue;
                            }
                            Filled::Ended => {}
                            Filled::Late => return Ok(Filled::Late),
                        }
                    }
                    let new = connection.buffer.split();
                    self.decoder.buffer.unsplit(new);
                }
                Carrier::Tunnel(websocket) => match websocket.next(deadline).await? {
                    Next::Message(Message::Binary(bytes)) => {
                        self.decoder.buffer.extend_from_slice(&bytes);
                    }
                    Next::Message(Message::Text(_)) => {
                        let what = "a text message in a tunnel";
                        let text = format!("malformed: {what}");
                        websocket
                            .connection
                            .item(Side::Server, Layer::Raw, text, &[]);
                        let end = End::Malformed(what.to_owned());
                        websocket.connection.sign(Sign::Ended(end.clone()));
                        self.end = Some(end);
                    }
                    // No frame, but what a case may wait for.
                    Next::Message(_) => return Ok(Filled::More),
                    Next::Ended => self.end.clone_from(&websocket.end),
                    Next::Late => return Ok(Filled::Late),
                },
            }
        }
    }

    fn apply(&mut self, mut frame: Frame, bytes: &[u8]) {
        let now = Instant::now();
        self.connection()
            .item(Side::Server, Layer::Spdy, frame.text(), bytes);
        if let Some(id) = frame.stream() {
            let stream = self.streams.entry(id).or_default();
            // FIN on the other stream may be followed by RST_STREAM on both: not late.
            let over = !stream.resets.is_empty()
                || (stream.fin && !matches!(frame, Frame::RstStream { .. }));
            if over && !matches!(frame, Frame::WindowUpdate { .. }) {
                stream.late.push(frame.text());
            }
            let mut ends = false;
            match &mut frame {
                Frame::SynReply { headers, flags, .. } => {
                    stream.replies.push(headers.clone());
                    ends = *flags & FIN != 0;
                }
                Frame::Data { payload, flags, .. } => {
                    stream.data_before_reply |= stream.replies.is_empty();
                    let payload = std::mem::take(payload);
                    if self.keeps {
                        stream.data.extend(payload);
                    } else {
                        *self.dropped.entry(id).or_default() += payload.len() as u64;
                    }
                    ends = *flags & FIN != 0;
                }
                Frame::Headers { flags, .. } => ends = *flags & FIN != 0,
                Frame::RstStream { status, .. } => {
                    stream.resets.push(*status);
                    stream.ended_at.get_or_insert(now);
                }
                _ => {}
            }
            if ends {
                stream.fin = true;
                stream.ended_at.get_or_insert(now);
            }
        }
        match &frame {
            Frame::Ping(id) => self.pings.push(*id),
            Frame::Goaway { last, status } => {
                self.connection().sign(Sign::Goaway(*status));
                self.goaway.get_or_insert((*last, *status));
            }
            _ => {}
        }
        self.got.push(Got {
            at: now,
            frame,
            head: bytes.get(..64).unwrap_or(bytes).to_vec(),
        });
    }

    /// The latest frames, for a report.
    #[must_use]
    pub fn summary(&self) -> String {
        const SHOWN: usize = 8;
        let skipped = self.got.len().saturating_sub(SHOWN);
        let mut parts: Vec<String> = Vec::new();
        if skipped > 0 {
            parts.push(format!("({skipped} frames)"));
        }
        for got in self.got.iter().skip(skipped) {
            // The payload was taken out; its length is that of the frame.
            parts.push(match &got.frame {
                Frame::Data { id, flags, .. } => {
                    let [.., a, b, c] = got.head.first_chunk::<8>().copied().unwrap_or_default();
                    let fin = if flags & FIN == 0 { "" } else { " FIN" };
                    format!("DATA {id}{fin} {} bytes", u32::from_be_bytes([0, a, b, c]))
                }
                frame => frame.text(),
            });
        }
        if parts.is_empty() {
            return "nothing".to_owned();
        }
        parts.join(", ")
    }
}

impl Waits for Session {
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

/// SYN_STREAM without flags.
#[must_use]
pub fn syn_stream(id: u32, headers: &[(&str, &str)]) -> Frame {
    Frame::SynStream {
        id,
        associated: 0,
        flags: 0,
        priority: 0,
        headers: headers
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect(),
    }
}

/// The headers of a stream of a pair.
#[must_use]
pub fn headers<'a>(kind: &'a str, port: &'a str, request: &'a str) -> [(&'a str, &'a str); 3] {
    [("streamtype", kind), ("port", port), ("requestid", request)]
}

/// Empty DATA with FIN.
#[must_use]
pub fn fin(id: u32) -> Frame {
    data(id, FIN, b"")
}

/// DATA.
#[must_use]
pub fn data(id: u32, flags: u8, payload: &[u8]) -> Frame {
    Frame::Data {
        id,
        flags,
        payload: payload.to_vec(),
    }
}

/// A whole SYN_STREAM with any compressed block.
#[must_use]
pub fn syn_stream_around(id: u32, compressed: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    payload.extend(id.to_be_bytes());
    payload.extend([0; 6]);
    payload.extend(compressed);
    wire::control(3, wire::SYN_STREAM, 0, &payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::log::Log;
    use tokio::io::AsyncWriteExt as _;

    #[tokio::test]
    async fn garbage_is_no_end() {
        let (near, mut far) = tokio::io::duplex(1 << 10);
        let connection = Connection::new(Box::new(near), Log::default(), Vec::new());
        let mut session = Session::new(Carrier::Plain(connection), PATIENCE);
        // A frame of a version that there is not, a whole one behind it, and the end.
        let mut bytes = wire::control(2, wire::PING, 0, &1u32.to_be_bytes());
        bytes.extend(wire::control(3, wire::PING, 0, &3u32.to_be_bytes()));
        far.write_all(&bytes).await.unwrap();
        drop(far);
        let stop = session.until_end("here").await.unwrap_err();
        assert!(stop.to_string().contains("malformed bytes"), "{stop}");
        session.read_for(Duration::from_millis(50)).await.unwrap();
        assert_eq!(session.pings, [0u32; 0]);
    }

    #[tokio::test]
    async fn an_end_behind_frames() {
        let (near, mut far) = tokio::io::duplex(1 << 10);
        let connection = Connection::new(Box::new(near), Log::default(), Vec::new());
        let mut session = Session::new(Carrier::Plain(connection), PATIENCE);
        let ping = wire::control(3, wire::PING, 0, &2u32.to_be_bytes());
        far.write_all(&ping).await.unwrap();
        drop(far);
        assert_eq!(session.until_end("here").await.unwrap(), End::Closed);
        assert_eq!(session.pings, [2]);
    }
}
