//! Frames of a peer that does anything.

use super::Input;
use crate::{
    Data, Frame, GoAway, GoAwayStatus, HeaderBlock, Headers, Ping, RstStatus, RstStream, Setting,
    Settings, StreamId, SynReply, SynStream, WindowUpdate,
};
use bytes::Bytes;

pub(super) fn small_id(input: &mut Input<'_>) -> StreamId {
    let id = u32::from(input.byte() % 24).max(1);
    StreamId::new(id).unwrap_or_else(|| unreachable!("1 to 23"))
}

/// Any frame, mostly for streams of small ids.
pub(super) fn peer_frame(input: &mut Input<'_>) -> Frame {
    let id = small_id(input);
    match input.byte() % 16 {
        0..=3 => Frame::SynStream(SynStream {
            id,
            associated: 0,
            priority: input.byte() & 7,
            slot: 0,
            fin: input.byte() < 30,
            unidirectional: input.byte() < 30,
            headers: HeaderBlock::new(),
        }),
        4 => Frame::SynReply(SynReply {
            id,
            fin: input.byte() < 50,
            headers: HeaderBlock::new(),
        }),
        5 => Frame::RstStream(RstStream {
            id,
            status: RstStatus::from_u32(u32::from(input.byte().max(1))),
        }),
        6 => Frame::Ping(Ping {
            id: u32::from(input.byte().max(1)),
        }),
        7 if input.byte() == 1 => Frame::GoAway(GoAway {
            last_good: 0,
            status: GoAwayStatus::OK,
        }),
        8 => Frame::Headers(Headers {
            id,
            fin: input.byte() < 50,
            headers: HeaderBlock::new(),
        }),
        9 | 10 => Frame::WindowUpdate(WindowUpdate {
            id: if input.flag() { 0 } else { id.get() },
            delta: match input.byte() {
                0 => 0,
                1 => StreamId::MAX,
                n => u32::from(n) << 8,
            },
        }),
        11 => Frame::Settings(Settings {
            clear: false,
            entries: vec![Setting {
                flags: 0,
                id: Setting::INITIAL_WINDOW_SIZE,
                value: match input.byte() {
                    255 => u32::MAX,
                    n => u32::from(n) << 9,
                },
            }],
        }),
        _ => Frame::Data(Data {
            id,
            payload: Bytes::from(vec![0; input.below(20_000)]),
            remaining: 0,
            fin: input.byte() < 30,
            flags: 0,
        }),
    }
}
