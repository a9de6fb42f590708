//! Z6. One connection beside a model of it: maps, no queues, no lanes, no optimisation. The same
//! calls and the same frames of a peer must give the same events, answers and bytes.
//!
//! After each step everything is polled, consumed and written, so that order between streams does
//! not matter. Budgets that count are wide; the model knows none.

use super::peer::{peer_frame, small_id};
use super::{Input, require};
use crate::codec::Encoder;
use crate::{
    Config, Connection, ConnectionErrorKind, Data, Decoder, Dialect, Event, Frame, HeaderBlock,
    HeaderEncoding, Headers, Limits, Opening, Role, RstStatus, RstStream, StreamId, WindowUpdate,
};
use bytes::{Buf, Bytes, BytesMut};
use std::collections::BTreeMap;
use std::time::Instant;

const WINDOW: i64 = 64 << 10;

#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts")]
struct Stream {
    may_send: bool,
    may_receive: bool,
    replied: bool,
    own: bool,
    /// What may be sent, what the peer may send, what is owed to it.
    window: i64,
    left: i64,
    owed: i64,
    headers: usize,
    /// Accepted from the caller and not yet allowed to leave.
    waiting: i64,
    fin_waiting: bool,
}

/// What is compared: events, frames other than DATA, and DATA by stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    events: Vec<String>,
    frames: Vec<String>,
    failed: bool,
}

struct Model {
    strict: bool,
    client: bool,
    streams: BTreeMap<u32, Stream>,
    next_id: u32,
    last_peer: u32,
    last_seen: u32,
    goaway: bool,
    window: i64,
    left: i64,
    owed: i64,
    peer_window: i64,
    seen: Seen,
}

impl Model {
    fn event(&mut self, text: String) {
        self.seen.events.push(text);
    }

    fn frame(&mut self, frame: &Frame) {
        self.seen.frames.push(format!("{frame:?}"));
    }

    fn stream(&self, own: bool, may_send: bool, may_receive: bool) -> Stream {
        Stream {
            may_send,
            may_receive,
            replied: false,
            own,
            window: self.peer_window,
            left: WINDOW,
            owed: 0,
            headers: 0,
            waiting: 0,
            fin_waiting: false,
        }
    }

    fn rst(&mut self, id: u32, status: RstStatus) {
        if let Some(id) = StreamId::new(id) {
            self.frame(&Frame::RstStream(RstStream { id, status }));
        }
    }

    /// The peer made us reset a stream.
    fn breach(&mut self, id: u32, status: RstStatus) {
        if self.streams.remove(&id).is_some() {
            self.event(format!("reset {id} {status}"));
        }
        self.rst(id, status);
    }

    fn fail(&mut self) {
        self.seen.failed = true;
    }

    fn end_if_done(&mut self, id: u32) {
        if self
            .streams
            .get(&id)
            .is_some_and(|s| !s.may_send && !s.may_receive && s.waiting == 0 && !s.fin_waiting)
        {
            self.streams.remove(&id);
        }
    }

    fn own_parity(&self, id: u32) -> bool {
        (id & 1 == 1) == self.client
    }

    fn was_opened(&self, id: u32) -> bool {
        if self.own_parity(id) {
            id < self.next_id
        } else {
            id <= self.last_seen
        }
    }

    fn credit_session(&mut self, n: i64) {
        self.owed += n;
        let due = self.owed >= WINDOW / 2 || self.owed >= self.left;
        if self.strict && self.owed > 0 && due {
            self.left += self.owed;
            let delta = u32::try_from(self.owed).unwrap_or(0);
            self.owed = 0;
            self.frame(&Frame::WindowUpdate(WindowUpdate { id: 0, delta }));
        }
    }

    fn receive(&mut self, frame: &Frame) {
        match frame {
            Frame::SynStream(f) => {
                let id = f.id.get();
                self.last_seen = self.last_seen.max(id);
                if self.goaway {
                } else if self.strict && (self.own_parity(id) || id < self.last_peer) {
                    self.fail();
                } else if id <= self.last_peer {
                    self.breach(id, RstStatus::PROTOCOL_ERROR);
                } else {
                    self.last_peer = id;
                    let ours = self.own_parity(id);
                    if self.streams.contains_key(&id) {
                        return self.breach(id, RstStatus::PROTOCOL_ERROR);
                    }
                    if (self.client && !self.strict) || (ours && id < self.next_id) {
                        return self.rst(id, RstStatus::REFUSED_STREAM);
                    }
                    if ours {
                        self.next_id = id + 2;
                    }
                    let stream = self.stream(false, !f.unidirectional, !f.fin);
                    self.streams.insert(id, stream);
                    self.event(format!("opened {id} {}", f.fin));
                    self.end_if_done(id);
                }
            }
            Frame::SynReply(f) => {
                let (id, strict, opened) = (f.id.get(), self.strict, self.was_opened(f.id.get()));
                match self.streams.get_mut(&id) {
                    Some(s) if s.own && !s.replied && (s.may_receive || !strict) => {
                        s.replied = true;
                        s.may_receive &= !f.fin;
                        self.event(format!("replied {id} {}", f.fin));
                        self.end_if_done(id);
                    }
                    Some(_) if strict => self.breach(id, RstStatus::STREAM_IN_USE),
                    None if strict && !opened => self.breach(id, RstStatus::INVALID_STREAM),
                    _ => {}
                }
            }
            Frame::RstStream(f) => {
                let known = self.streams.remove(&f.id.get()).is_some();
                let text = known.then(|| format!("reset {} {}", f.id, f.status));
                self.seen.events.extend(text);
            }
            Frame::Data(f) => self.receive_data(f),
            Frame::Headers(f) => self.receive_headers(f),
            Frame::Ping(f) if (f.id & 1 == 1) != self.client => self.frame(frame),
            Frame::GoAway(f) => {
                self.goaway = true;
                self.event(format!("goaway {}", f.last_good));
            }
            Frame::WindowUpdate(f) if self.strict => self.receive_credit(*f),
            Frame::Settings(f) if self.strict => {
                if let Some(entry) = f.entries.first() {
                    let shift = i64::from(entry.value) - self.peer_window;
                    self.peer_window = i64::from(entry.value);
                    for s in self.streams.values_mut() {
                        s.window += shift;
                    }
                    if entry.value > StreamId::MAX
                        || self
                            .streams
                            .values()
                            .any(|s| s.window > i64::from(StreamId::MAX))
                    {
                        return self.fail();
                    }
                }
                self.event("settings".to_owned());
            }
            _ => {}
        }
    }

    fn receive_data(&mut self, f: &Data) {
        let (id, n) = (f.id.get(), f.payload.len() as i64);
        if self.strict {
            self.left -= n;
            if self.left < 0 {
                return self.fail();
            }
            if self.left == 0 {
                self.credit_session(0);
            }
        }
        let (strict, opened) = (self.strict, self.was_opened(id));
        let breach = match self.streams.get_mut(&id) {
            None => (!opened).then_some(RstStatus::INVALID_STREAM),
            Some(s) if !s.may_receive => Some(RstStatus::STREAM_ALREADY_CLOSED),
            Some(s) if strict && s.own && !s.replied => Some(RstStatus::PROTOCOL_ERROR),
            Some(s) => {
                if strict {
                    s.left -= n;
                }
                if s.left < 0 {
                    Some(RstStatus::FLOW_CONTROL_ERROR)
                } else {
                    if n == 0 && !f.fin {
                        return;
                    }
                    s.may_receive = !f.fin;
                    let may_receive = s.may_receive;
                    self.event(format!("data {id} {n} {}", f.fin));
                    self.end_if_done(id);
                    // Consumed at once.
                    if let Some(s) = self.streams.get_mut(&id).filter(|_| strict) {
                        s.owed += n;
                        if s.owed >= WINDOW / 2 && may_receive {
                            let delta = u32::try_from(s.owed).unwrap_or(0);
                            s.left += s.owed;
                            s.owed = 0;
                            self.frame(&Frame::WindowUpdate(WindowUpdate { id, delta }));
                        }
                    }
                    return self.credit_session(n);
                }
            }
        };
        self.credit_session(n);
        if let Some(status) = breach.filter(|_| strict) {
            self.breach(id, status);
        }
    }

    fn receive_headers(&mut self, f: &Headers) {
        let id = f.id.get();
        let (strict, opened) = (self.strict, self.was_opened(id));
        let Some(s) = self.streams.get_mut(&id) else {
            if strict && !opened {
                self.breach(id, RstStatus::INVALID_STREAM);
            }
            return;
        };
        s.headers += 1;
        if s.headers > 8 {
            self.breach(id, RstStatus::PROTOCOL_ERROR);
        } else if !s.may_receive {
            if strict {
                self.breach(id, RstStatus::STREAM_ALREADY_CLOSED);
            }
        } else if s.own && !s.replied {
            if strict {
                self.breach(id, RstStatus::PROTOCOL_ERROR);
            }
        } else {
            s.may_receive = !f.fin;
            self.event(format!("headers {id} {}", f.fin));
            self.end_if_done(id);
        }
    }

    fn receive_credit(&mut self, f: WindowUpdate) {
        let most = i64::from(StreamId::MAX);
        if f.id == 0 {
            self.window += i64::from(f.delta);
            if self.window > most {
                self.fail();
            }
        } else if let Some(s) = self.streams.get_mut(&f.id) {
            if f.delta == 0 {
                return self.breach(f.id, RstStatus::PROTOCOL_ERROR);
            }
            s.window += i64::from(f.delta);
            if s.window > most {
                self.breach(f.id, RstStatus::FLOW_CONTROL_ERROR);
            }
        }
    }

    /// DATA that left: allowed, and as much as is allowed.
    fn data_left(&mut self, left: &BTreeMap<u32, (i64, bool)>) {
        let strict = self.strict;
        for (id, (n, fin)) in left {
            let Some(s) = self.streams.get_mut(id) else {
                panic!("DATA of stream {id}, which the model does not know");
            };
            require(*n <= s.waiting, "no more than was given");
            s.waiting -= n;
            if strict {
                s.window -= n;
                self.window -= n;
                require(s.window >= 0 || *n == 0, "within the stream's window");
                require(
                    self.window >= 0 || *n == 0,
                    "within the connection's window",
                );
            }
            require(!fin || (s.fin_waiting && s.waiting == 0), "FIN behind all");
            s.fin_waiting &= !fin;
        }
        for (id, s) in &self.streams {
            let may = !strict || (s.window > 0 && self.window > 0);
            require(
                s.waiting == 0 || !may,
                &format!("stream {id} waits for nothing"),
            );
            require(!s.fin_waiting || s.waiting > 0, "a FIN waits for nothing");
        }
        let ids: Vec<u32> = self.streams.keys().copied().collect();
        for id in ids {
            self.end_if_done(id);
        }
    }
}

fn label(event: &Event) -> Option<String> {
    Some(match event {
        Event::Opened { id, fin, .. } => format!("opened {id} {fin}"),
        Event::Replied { id, fin, .. } => format!("replied {id} {fin}"),
        Event::Data { id, payload, fin } => format!("data {id} {} {fin}", payload.len()),
        Event::Reset { id, status } => format!("reset {id} {status}"),
        Event::Headers { id, fin, .. } => format!("headers {id} {fin}"),
        Event::GoAway { last_good, .. } => format!("goaway {last_good}"),
        Event::Settings { .. } => "settings".to_owned(),
        Event::Pong { .. } | Event::Writable { .. } => return None,
    })
}

/// The connection, polled dry after each step.
struct Real {
    conn: Connection,
    encoder: Encoder,
    decoder: Decoder,
    now: Instant,
    seen: Seen,
    data: BTreeMap<u32, (i64, bool)>,
}

impl Real {
    fn receive(&mut self, frame: &Frame) {
        let mut wire = BytesMut::new();
        require(self.encoder.encode(frame, &mut wire).is_ok(), "encodes");
        if let Err(e) = self.conn.recv(self.now, &mut wire) {
            require(
                !matches!(e.kind(), ConnectionErrorKind::Decode(_)),
                "what we write is SPDY",
            );
            self.seen.failed = true;
        }
    }

    fn poll(&mut self) {
        while let Some(event) = self.conn.poll_event() {
            self.seen.events.extend(label(&event));
            if let Event::Data { id, payload, .. } = event {
                self.conn.consumed(id, payload.len());
            }
        }
        let mut wire = BytesMut::new();
        loop {
            let out = self.conn.outgoing();
            let n = out.remaining();
            if n == 0 {
                break;
            }
            wire.extend_from_slice(&out.copy_to_bytes(n));
        }
        while let Ok(Some(frame)) = self.decoder.decode(&mut wire) {
            match frame {
                Frame::Data(f) => {
                    let entry = self.data.entry(f.id.get()).or_default();
                    require(!entry.1, "nothing after FIN");
                    entry.0 += f.payload.len() as i64;
                    entry.1 = f.fin;
                }
                // Header blocks are not compared: the model has none.
                Frame::SynStream(_) | Frame::SynReply(_) => {}
                frame => self.seen.frames.push(format!("{frame:?}")),
            }
        }
        require(wire.is_empty(), "whole frames leave");
    }
}

/// Runs the operations that `data` stands for on both.
pub fn against_model(data: &[u8]) {
    let mut input = Input(data);
    let (strict, client) = (input.flag(), input.flag());
    let role = if client { Role::Client } else { Role::Server };
    let mut config = if strict {
        Config::strict(role)
    } else {
        Config::kubernetes(role)
    };
    config.ping_interval = None;
    let wide = [
        "pings",
        "rapid_resets",
        "error_resets",
        "settings",
        "empty_data",
    ];
    for (name, value) in wide.into_iter().zip([10_000, 1000, 1024, 100, 10_000]) {
        config.limits.set(name, value);
    }
    config.limits.glitches = 100_000;
    config.limits.glitches_fatal = 100_000;
    let now = Instant::now();
    let dialect = config.dialect;
    let Ok(conn) = Connection::new(config, now) else {
        return;
    };
    let mut real = Real {
        conn,
        encoder: Encoder::new(HeaderEncoding::Stored, &Limits::default()),
        decoder: Decoder::with_dialect(dialect, Limits::default()),
        now,
        seen: Seen::default(),
        data: BTreeMap::new(),
    };
    let mut model = Model {
        strict: dialect == Dialect::Spdy31,
        client,
        streams: BTreeMap::new(),
        next_id: if client { 1 } else { 2 },
        last_peer: 0,
        last_seen: 0,
        goaway: false,
        window: WINDOW,
        left: WINDOW,
        owed: 0,
        peer_window: WINDOW,
        seen: Seen::default(),
    };
    real.poll();
    real.seen = Seen::default();
    for _ in 0..100 {
        if input.is_empty() || model.seen.failed {
            break;
        }
        step(&mut model, &mut real, &mut input);
        real.poll();
        require(real.seen.failed == model.seen.failed, "both fail or none");
        if model.seen.failed {
            break;
        }
        require(
            real.seen == model.seen,
            &format!("{:?} is not the model's {:?}", real.seen, model.seen),
        );
        model.data_left(&std::mem::take(&mut real.data));
        real.seen = Seen::default();
        model.seen = Seen::default();
        let ids: Vec<u32> = model.streams.keys().copied().collect();
        require(real.conn.stream_count() == ids.len(), "as many streams");
    }
}

fn step(model: &mut Model, real: &mut Real, input: &mut Input<'_>) {
    match input.byte() % 16 {
        0 | 1 => {
            let opening = Opening {
                unidirectional: input.byte() < 30,
                ..Opening::default()
            };
            let opened = real.conn.open_with(&HeaderBlock::new(), opening);
            require(
                opened.is_ok() != model.goaway,
                "opens unless goodbye was said",
            );
            if let Ok(id) = opened {
                require(id.get() == model.next_id, "the next id");
                let stream = model.stream(true, true, !opening.unidirectional);
                model.streams.insert(id.get(), stream);
                model.next_id += 2;
            }
        }
        2 | 3 => {
            let id = small_id(input);
            let replied = real.conn.reply(id, &HeaderBlock::new(), false).is_ok();
            let strict = model.strict;
            let may = model
                .streams
                .get(&id.get())
                .is_some_and(|s| !s.own && !s.replied && (s.may_send || !strict));
            require(replied == may, "replies to what waits for it");
            if let Some(s) = model.streams.get_mut(&id.get()).filter(|_| may) {
                s.replied = true;
            }
        }
        4..=6 => {
            let (id, fin) = (small_id(input), input.byte() < 60);
            let mut payload = Bytes::from(vec![0; input.below(60_000)]);
            let sent = real.conn.send(id, &mut payload, fin);
            let stream = model.streams.get_mut(&id.get());
            match stream.filter(|s| s.may_send && (s.own || s.replied)) {
                None => require(sent.is_err(), "cannot be sent"),
                Some(s) => {
                    let Ok(n) = sent else {
                        panic!("{sent:?} of a stream that may send");
                    };
                    s.waiting += n as i64;
                    if fin && payload.is_empty() {
                        s.fin_waiting = true;
                        s.may_send = false;
                    }
                }
            }
        }
        7 => {
            let id = small_id(input);
            real.conn.reset(id, RstStatus::CANCEL);
            if model.streams.remove(&id.get()).is_some() {
                model.rst(id.get(), RstStatus::CANCEL);
            }
        }
        _ => {
            let frame = peer_frame(input);
            real.receive(&frame);
            model.receive(&frame);
        }
    }
}
