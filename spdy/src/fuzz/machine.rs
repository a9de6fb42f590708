//! Z5. Two connections joined by a wire that can be cut and corrupted, local calls in any order.
//!
//! Invariants (RELIABILITY E.1): what arrives is a prefix of what was sent, and all of it when
//! both ended cleanly (I1); no byte of another stream (I2: each stream has its own pattern); credit
//! is conserved (I3); one FIN, nothing after an end (I4); ids rise with the right parity (I5); at
//! rest nothing of ours waits (I6); budgets hold (I7); nothing is left (I8).

use super::{Input, require};
use crate::{
    Config, Connection, Event, FlowControl, GoAwayStatus, HeaderBlock, HeaderEncoding, Opening,
    Role, RstStatus, StreamId,
};
use bytes::{Buf, Bytes, BytesMut};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// One direction of one stream.
#[derive(Default)]
struct Flow {
    sent: u64,
    fin_sent: bool,
    got: u64,
    fin_got: bool,
}

struct End {
    conn: Connection,
    input: BytesMut,
    /// Bytes on their way to this end.
    wire: BytesMut,
    failed: bool,
    last_opened: u32,
    /// Payload polled and not consumed.
    held: HashMap<StreamId, usize>,
    resets: HashMap<StreamId, u32>,
}

struct Pair {
    ends: [End; 2],
    now: Instant,
    ids: Vec<StreamId>,
    /// By stream and the index of the sender.
    flows: HashMap<(StreamId, usize), Flow>,
    /// Streams that anybody reset, or that a goodbye may have dropped.
    broken: HashSet<StreamId>,
    /// The wire was cut or corrupted: only what must hold on any wire is asked.
    tainted: bool,
    goodbye: bool,
}

fn pattern(id: StreamId, from: usize, at: u64) -> u8 {
    let mixed = at
        .wrapping_mul(31)
        .wrapping_add(u64::from(id.get()).wrapping_mul(101))
        .wrapping_add(u64::from(from == 1));
    mixed.to_le_bytes()[0]
}

fn config(role: Role, kind: u8, input: &mut Input<'_>) -> Config {
    let mut config = match kind {
        0 => Config::kubernetes(role),
        1 => Config::strict(role),
        // What a server of ours has beside a client of ours.
        3 if role == Role::Server => Config {
            flow_control: FlowControl::Agreed,
            ..Config::kubernetes(role)
        },
        _ => Config {
            flow_control: FlowControl::Detect,
            ..Config::kubernetes(role)
        },
    };
    config.header_encoding = match input.byte() % 3 {
        0 => HeaderEncoding::Deflate(6),
        _ => HeaderEncoding::Stored,
    };
    config.write_ahead = input.below(40_000).max(1);
    config.data_payload = input.below(40_000).max(1);
    config.ping_interval = None;
    // What is counted per time is not the subject here.
    for (name, value) in [
        ("pings", 10_000),
        ("rapid_resets", 1000),
        ("error_resets", 1024),
        ("settings", 100),
        ("queued_replies", 1000),
        ("glitches", 100_000),
        ("glitches_fatal", 100_000),
    ] {
        require(config.limits.set(name, value), "a limit of that name");
    }
    config
}

impl End {
    fn new(config: Config, now: Instant) -> Option<Self> {
        Some(Self {
            conn: Connection::new(config, now).ok()?,
            input: BytesMut::new(),
            wire: BytesMut::new(),
            failed: false,
            last_opened: 0,
            held: HashMap::new(),
            resets: HashMap::new(),
        })
    }
}

/// Runs the operations that `data` stands for.
pub fn pair(data: &[u8]) {
    let mut input = Input(data);
    let kind = input.byte() % 4;
    let now = Instant::now();
    let (client, server) = (
        config(Role::Client, kind, &mut input),
        config(Role::Server, kind, &mut input),
    );
    let (Some(client), Some(server)) = (End::new(client, now), End::new(server, now)) else {
        return;
    };
    let mut pair = Pair {
        ends: [client, server],
        now,
        ids: Vec::new(),
        flows: HashMap::new(),
        broken: HashSet::new(),
        tainted: false,
        goodbye: false,
    };
    while !input.is_empty() {
        pair.step(&mut input);
        pair.check_budgets();
    }
    pair.settle();
}

impl Pair {
    fn step(&mut self, input: &mut Input<'_>) {
        let op = input.byte();
        let at = usize::from(op >> 7);
        match op & 0x1f {
            0 | 1 => self.open(at, input),
            2 => self.reply(at, input),
            3..=9 => self.send(at, input),
            10 => self.reset(at, input),
            11 | 12 => self.consume(at, input),
            13 => self.headers(at, input),
            14 => drop(self.ends[at].conn.ping(self.now)),
            15..=20 => {
                let n = input.below(70_000);
                self.deliver(at, n);
            }
            21..=24 => self.write(at, input.below(100_000)),
            25 => self.tick(input),
            26 if input.byte() == 7 => {
                self.goodbye = true;
                self.ends[at].conn.go_away(self.now, GoAwayStatus::OK);
            }
            27 if input.byte() == 7 => {
                self.tainted = true;
                let wire = &mut self.ends[at].wire;
                let place = input.below(wire.len().max(1));
                if let Some(byte) = wire.get_mut(place) {
                    *byte ^= input.byte();
                }
            }
            28 if input.byte() == 7 => {
                self.tainted = true;
                let wire = &mut self.ends[at].wire;
                let len = input.below(wire.len().max(1));
                wire.truncate(len);
            }
            // Bytes of no connection of ours.
            30 if input.byte() == 7 => {
                self.tainted = true;
                let n = usize::from(input.byte());
                let bytes = input.bytes(n);
                self.ends[at].wire.extend_from_slice(bytes);
            }
            29 => {
                for end in &mut self.ends {
                    end.conn.agree_flow_control();
                }
            }
            _ => self.events(at),
        }
    }

    fn open(&mut self, at: usize, input: &mut Input<'_>) {
        let opening = Opening {
            priority: input.byte() & 7,
            fin: input.byte() == 1,
            ..Opening::default()
        };
        let end = &mut self.ends[at];
        let headers = [("n", "v")].into_iter().collect();
        if let Ok(id) = end.conn.open_with(&headers, opening) {
            require(id.get() > end.last_opened, "ids rise");
            require(id.is_client() == (at == 0), "the right parity");
            end.last_opened = id.get();
            self.ids.push(id);
            self.flows.entry((id, at)).or_default().fin_sent = opening.fin;
        }
    }

    fn reply(&mut self, at: usize, input: &mut Input<'_>) {
        let fin = input.byte() == 1;
        if let Some(id) = input.pick(&self.ids)
            && self.ends[at]
                .conn
                .reply(id, &HeaderBlock::new(), fin)
                .is_ok()
        {
            self.flows.entry((id, at)).or_default().fin_sent = fin;
        }
    }

    fn send(&mut self, at: usize, input: &mut Input<'_>) {
        let (fin, len) = (input.byte() < 20, input.below(50_000));
        let Some(id) = input.pick(&self.ids) else {
            return;
        };
        let flow = self.flows.entry((id, at)).or_default();
        let range = flow.sent..flow.sent.saturating_add(len as u64);
        let mut data: Bytes = range.map(|i| pattern(id, at, i)).collect();
        if let Ok(n) = self.ends[at].conn.send(id, &mut data, fin) {
            require(!flow.fin_sent, "nothing is taken after FIN");
            require(data.len() == len.saturating_sub(n), "what is taken is told");
            flow.sent = flow.sent.saturating_add(n as u64);
            flow.fin_sent = fin && data.is_empty();
        }
    }

    fn headers(&mut self, at: usize, input: &mut Input<'_>) {
        let fin = input.byte() == 1;
        if let Some(id) = input.pick(&self.ids)
            && self.ends[at]
                .conn
                .headers(id, &HeaderBlock::new(), fin)
                .is_ok()
            && fin
        {
            self.flows.entry((id, at)).or_default().fin_sent = true;
        }
    }

    fn reset(&mut self, at: usize, input: &mut Input<'_>) {
        if let Some(id) = input.pick(&self.ids) {
            let end = &mut self.ends[at];
            if end.conn.has_stream(id) {
                self.broken.insert(id);
            }
            end.conn.reset(id, RstStatus::CANCEL);
            end.held.remove(&id);
            require(!end.conn.has_stream(id), "a reset stream is forgotten");
        }
    }

    fn consume(&mut self, at: usize, input: &mut Input<'_>) {
        let n = input.below(100_000);
        if let Some(id) = input.pick(&self.ids) {
            let end = &mut self.ends[at];
            let held = end.held.entry(id).or_default();
            let n = n.min(*held);
            *held = held.saturating_sub(n);
            end.conn.consumed(id, n);
        }
    }

    /// From this end's output to the other's wire.
    fn write(&mut self, at: usize, most: usize) {
        let out = self.ends[at].conn.outgoing();
        let n = out.remaining().min(most);
        let bytes = out.copy_to_bytes(n);
        self.ends[1 - at].wire.extend_from_slice(&bytes);
    }

    fn deliver(&mut self, at: usize, n: usize) {
        let end = &mut self.ends[at];
        let n = n.min(end.wire.len());
        let bytes = end.wire.split_to(n);
        end.input.unsplit(bytes);
        let received = end.conn.recv(self.now, &mut end.input);
        if end.failed {
            require(received.is_err(), "an error stays");
        }
        if let Err(error) = received {
            require(
                self.tainted || self.goodbye || end.failed,
                &format!("an honest peer is no error: {error}"),
            );
            end.failed = true;
        }
        self.events(at);
    }

    fn events(&mut self, at: usize) {
        let mut events = Vec::new();
        while let Some(event) = self.ends[at].conn.poll_event() {
            events.push(event);
        }
        for event in events {
            self.event(at, event);
        }
    }

    fn event(&mut self, at: usize, event: Event) {
        let from = 1 - at;
        let (id, payload, fin) = match event {
            Event::Data { id, payload, fin } => (id, payload, fin),
            Event::Opened { id, fin, .. }
            | Event::Replied { id, fin, .. }
            | Event::Headers { id, fin, .. } => (id, Bytes::new(), fin),
            Event::Reset { id, .. } => {
                self.broken.insert(id);
                let count = self.ends[at].resets.entry(id).or_default();
                *count = count.saturating_add(1);
                require(*count == 1, "one reset");
                return;
            }
            _ => return,
        };
        let reset = self.ends[at].resets.contains_key(&id);
        require(!reset, "nothing after a reset");
        let end = &mut self.ends[at];
        if end.conn.has_stream(id) || !self.broken.contains(&id) {
            let held = end.held.entry(id).or_default();
            *held = held.saturating_add(payload.len());
        } else {
            end.conn.consumed(id, payload.len());
        }
        if self.tainted {
            return;
        }
        let flow = self.flows.entry((id, from)).or_default();
        require(!flow.fin_got, "nothing after FIN");
        for byte in &payload {
            require(
                *byte == pattern(id, from, flow.got),
                "the bytes of this stream",
            );
            flow.got = flow.got.saturating_add(1);
        }
        require(flow.got <= flow.sent, "no more than was sent");
        flow.fin_got = fin;
        require(
            !fin || (flow.fin_sent && flow.got == flow.sent),
            "FIN at the end",
        );
    }

    fn tick(&mut self, input: &mut Input<'_>) {
        let step = Duration::from_millis(input.below(3000) as u64);
        self.now = self.now.checked_add(step).unwrap_or(self.now);
        for end in &mut self.ends {
            if end.conn.handle_timeout(self.now).is_err() {
                require(
                    self.goodbye || end.failed,
                    "only a goodbye has a deadline here",
                );
                end.failed = true;
            }
        }
    }

    fn check_budgets(&self) {
        for end in &self.ends {
            let stats = end.conn.stats();
            require(stats.queued_to_send <= 4 << 20, "B15");
            require(stats.queued_replies <= 1000, "B10");
            require(
                stats.peer_streams <= 2048 && stats.own_streams <= 2048,
                "B6",
            );
            require(stats.unconsumed <= (16 << 20) + (1 << 17), "B14");
        }
    }

    /// Everything is written, delivered and consumed: what was sent has arrived.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut moved = false;
            for at in [0, 1] {
                self.write(at, usize::MAX);
                moved |= !self.ends[1 - at].wire.is_empty();
                self.deliver(1 - at, usize::MAX);
                let end = &mut self.ends[1 - at];
                for (id, n) in end.held.drain() {
                    moved |= n > 0;
                    end.conn.consumed(id, n);
                }
            }
            if !moved {
                break;
            }
        }
        if self.tainted || self.ends.iter().any(|end| end.failed) {
            return;
        }
        for end in &mut self.ends {
            require(end.input.is_empty(), "all was read");
            require(end.conn.outgoing().is_empty(), "all was written");
            let stats = end.conn.stats();
            // Of a stream that was opened beside a goodbye the other end knows nothing.
            require(stats.queued_to_send == 0 || self.goodbye, "no stall");
            require(stats.unconsumed == 0, "nothing is left unread");
        }
        if self.goodbye {
            return;
        }
        for ((id, _), flow) in &self.flows {
            if !self.broken.contains(id) {
                require(flow.got == flow.sent, "every byte");
                require(flow.fin_got == flow.fin_sent, "every FIN");
            }
        }
        for id in &self.ids {
            let ended = |from: usize| self.flows.get(&(*id, from)).is_some_and(|f| f.fin_sent);
            if self.broken.contains(id) || (ended(0) && ended(1)) {
                for end in &self.ends {
                    require(
                        !end.conn.has_stream(*id),
                        "a stream that ended is forgotten",
                    );
                }
            }
        }
        let [a, b] = &self.ends;
        a.conn.check_credit(&b.conn);
        b.conn.check_credit(&a.conn);
    }
}
