//! The table of faults, by layer.

mod backend;
mod channel;
mod channel_frames;
mod data;
mod ends;
mod error;
mod frame;
mod handshake;
mod header;
mod http;
mod labels;
mod pair;
mod ports;
mod session;
mod still;
mod stream;
mod tunnel;
mod usual;
mod websocket;

use super::{Act, Fault, Side, Spdy, WebSocket, WsFrame};
use crate::case::{SESSIONS, Way};
use crate::probe::wire::{FIN, Frame};

type Breaks = &'static [&'static str];

/// In frames of the server.
const fn server(
    id: &'static str,
    title: &'static str,
    breaks: Breaks,
    act: fn(&mut Spdy, Frame),
) -> Fault {
    Fault::new(id, title, breaks, SESSIONS, Act::Server(act))
}

/// In frames of the client, their header blocks compressed anew.
const fn client(
    id: &'static str,
    title: &'static str,
    breaks: Breaks,
    act: fn(&mut Spdy, Frame),
) -> Fault {
    Fault::new(id, title, breaks, SESSIONS, Act::Client(act))
}

/// In what the frames of either do to those of the other.
const fn both(
    id: &'static str,
    title: &'static str,
    breaks: Breaks,
    act: fn(&mut Spdy, Side, Frame),
) -> Fault {
    Fault::new(id, title, breaks, SESSIONS, Act::Both(act))
}

/// Right behind the 101.
const fn begin(id: &'static str, title: &'static str, breaks: Breaks, act: fn(&mut Spdy)) -> Fault {
    Fault::new(id, title, breaks, SESSIONS, Act::Begin(act))
}

/// In what cannot be read.
const fn odd(
    id: &'static str,
    title: &'static str,
    breaks: Breaks,
    act: fn(&mut Spdy, &str),
) -> Fault {
    Fault::new(id, title, breaks, SESSIONS, Act::Odd(act))
}

/// In WebSocket frames of either.
const fn socket(
    id: &'static str,
    title: &'static str,
    breaks: Breaks,
    on: &'static [Way],
    act: fn(&mut WebSocket, Side, WsFrame),
) -> Fault {
    Fault::new(id, title, breaks, on, Act::WebSocket(act))
}

/// Whether the frame ends its sender's direction of a stream.
const fn is_fin(frame: &Frame) -> bool {
    matches!(frame, Frame::Data { flags, .. } if *flags & FIN != 0)
}

/// Every fault, in the order of the document.
#[must_use]
pub fn all() -> Vec<&'static Fault> {
    let groups: [&'static [Fault]; 19] = [
        http::FAULTS,
        backend::FAULTS,
        handshake::FAULTS,
        frame::FAULTS,
        header::FAULTS,
        stream::FAULTS,
        ends::FAULTS,
        session::FAULTS,
        labels::FAULTS,
        pair::FAULTS,
        data::FAULTS,
        error::FAULTS,
        websocket::FAULTS,
        tunnel::FAULTS,
        channel::FAULTS,
        channel_frames::FAULTS,
        ports::FAULTS,
        still::FAULTS,
        usual::FAULTS,
    ];
    groups.into_iter().flatten().collect()
}

/// The fault of this id.
#[must_use]
pub fn by_id(id: &str) -> Option<&'static Fault> {
    all().into_iter().find(|fault| fault.id == id)
}

#[cfg(test)]
mod tests {
    use super::all;
    use std::collections::BTreeSet;

    #[test]
    fn faults_are_distinct_and_cite_clauses() {
        let clauses: BTreeSet<String> = crate::spec::clauses()
            .into_iter()
            .map(|clause| clause.number)
            .collect();
        let mut ids = BTreeSet::new();
        for fault in all() {
            assert!(ids.insert(fault.id), "{} twice", fault.id);
            assert!(!fault.breaks.is_empty(), "{} breaks nothing", fault.id);
            assert!(!fault.on.is_empty(), "{} shows nowhere", fault.id);
            for number in fault.breaks {
                assert!(
                    clauses.contains(*number),
                    "{}: no clause {number}",
                    fault.id
                );
            }
        }
        assert!(ids.len() >= 120, "only {} faults", ids.len());
    }
}
