//! What the tests of the connection share: a peer that writes frames by hand.
#![allow(dead_code, reason = "each test uses a part")]

use bytes::{Buf, BytesMut};
use spdy::{
    Config, Connection, Decoder, Dialect, Encoder, Event, Frame, HeaderBlock, HeaderEncoding,
    Limits, Role, RstStatus, RstStream, StreamId, SynStream,
};
use std::time::Instant;

pub(crate) fn id(n: u32) -> StreamId {
    StreamId::new(n).unwrap()
}

pub(crate) fn headers() -> HeaderBlock {
    [("streamtype", "data"), ("port", "80")]
        .into_iter()
        .collect()
}

pub(crate) fn connection(config: Config) -> Connection {
    Connection::new(config, Instant::now()).unwrap()
}

pub(crate) fn server() -> Connection {
    connection(Config::kubernetes(Role::Server))
}

pub(crate) fn client() -> Connection {
    connection(Config::kubernetes(Role::Client))
}

pub(crate) fn events(conn: &mut Connection) -> Vec<Event> {
    std::iter::from_fn(|| conn.poll_event()).collect()
}

/// All that waits to be written, also what becomes frames only when there is room.
pub(crate) fn drain(conn: &mut Connection) -> BytesMut {
    let mut wire = BytesMut::new();
    loop {
        let out = conn.outgoing();
        if !out.has_remaining() {
            return wire;
        }
        let n = out.remaining();
        wire.extend_from_slice(&out.copy_to_bytes(n));
    }
}

/// A peer that writes frames by hand.
pub(crate) struct Peer {
    pub(crate) encoder: Encoder,
    pub(crate) decoder: Decoder,
    pub(crate) now: Instant,
}

impl Peer {
    pub(crate) fn new() -> Self {
        Self::of(Dialect::Kubernetes)
    }

    pub(crate) fn of(dialect: Dialect) -> Self {
        // The hand may write what the connection refuses.
        let mut limits = Limits::default();
        for name in [
            "header_block",
            "header_block_inflated",
            "header_pairs",
            "header_name",
            "header_value",
        ] {
            assert!(limits.set(name, 1 << 20));
        }
        Self {
            encoder: Encoder::new(HeaderEncoding::Deflate(6), &limits),
            decoder: Decoder::with_dialect(dialect, Limits::default()),
            now: Instant::now(),
        }
    }

    /// One without a compressor's memory.
    pub(crate) fn light() -> Self {
        Self {
            encoder: Encoder::new(HeaderEncoding::Stored, &Limits::default()),
            ..Self::new()
        }
    }

    pub(crate) fn syn(&mut self, n: u32) -> Vec<u8> {
        self.syn_with(n, headers())
    }

    pub(crate) fn syn_with(&mut self, n: u32, headers: HeaderBlock) -> Vec<u8> {
        self.frame(&Frame::SynStream(SynStream {
            id: id(n),
            associated: 0,
            priority: 0,
            slot: 0,
            fin: false,
            unidirectional: false,
            headers,
        }))
    }

    pub(crate) fn reset(&mut self, n: u32) -> Vec<u8> {
        self.frame(&Frame::RstStream(RstStream {
            id: id(n),
            status: RstStatus::CANCEL,
        }))
    }

    pub(crate) fn frame(&mut self, frame: &Frame) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        self.encoder.encode(frame, &mut bytes).unwrap();
        bytes.to_vec()
    }

    /// Feeds bytes; returns events and the frames sent in answer.
    pub(crate) fn feed(&mut self, conn: &mut Connection, bytes: &[u8]) -> (Vec<Event>, Vec<Frame>) {
        conn.recv(self.now, &mut BytesMut::from(bytes)).unwrap();
        (events(conn), self.sent(conn))
    }

    pub(crate) fn sent(&mut self, conn: &mut Connection) -> Vec<Frame> {
        let mut wire = drain(conn);
        std::iter::from_fn(|| self.decoder.decode(&mut wire).unwrap()).collect()
    }
}

/// A DATA frame by hand.
pub(crate) fn data(stream: u32, fin: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = stream.to_be_bytes().to_vec();
    let length = u32::try_from(payload.len()).unwrap();
    frame.extend((u32::from(fin) << 24 | length).to_be_bytes());
    frame.extend(payload);
    frame
}
