//! Windows that begin late (`FlowControl::Detect`).
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test"
)]

mod common;

use bytes::{Buf, Bytes, BytesMut};
use common::{Peer, connection, drain, events, headers};
use spdy::{Config, Connection, Event, FlowControl, Frame, HeaderBlock, Role, RstStatus, StreamId};
use std::time::Instant;

fn end(role: Role) -> Connection {
    let mut config = Config::kubernetes(role);
    config.flow_control = FlowControl::Detect;
    config.data_payload = 0xff_ffff;
    config.limits.stream_receive = 4 << 20;
    config.limits.session_receive = 256 << 20;
    connection(config)
}

/// One end's output becomes the other's input; payload is consumed as it comes.
fn pass(from: &mut Connection, to: &mut Connection, wire: &mut BytesMut) -> usize {
    wire.clear();
    while from.outgoing().has_remaining() {
        let n = from.outgoing().chunk().len();
        wire.extend_from_slice(from.outgoing().chunk());
        from.outgoing().advance(n);
    }
    let mut got = 0;
    while !wire.is_empty() {
        to.recv(Instant::now(), wire).unwrap();
        while let Some(event) = to.poll_event() {
            if let Event::Data { id, payload, .. } = event {
                got += payload.len();
                to.consumed(id, payload.len());
            }
        }
    }
    got
}

fn send(conn: &mut Connection, stream: StreamId, payload: &Bytes) -> usize {
    conn.send(stream, &mut payload.clone(), false).unwrap()
}

/// More than 2 GiB before both ends agree: the credit for it is more than a frame can say.
#[test]
fn nothing_stalls_after_two_gigabytes_without_windows() {
    let (mut a, mut b, mut wire) = (end(Role::Client), end(Role::Server), BytesMut::new());
    let stream = a.open(&headers(), false).unwrap();
    pass(&mut a, &mut b, &mut wire);
    b.reply(stream, &HeaderBlock::new(), false).unwrap();
    pass(&mut b, &mut a, &mut wire);
    let chunk = Bytes::from(vec![7; 16_000_000]);
    for _ in 0..144 {
        assert_eq!(send(&mut a, stream, &chunk), chunk.len());
        assert_eq!(pass(&mut a, &mut b, &mut wire), chunk.len());
    }
    a.agree_flow_control();
    b.agree_flow_control();
    for _ in 0..3 {
        pass(&mut a, &mut b, &mut wire);
        pass(&mut b, &mut a, &mut wire);
    }
    assert!(a.has_flow_control() && b.has_flow_control());
    // A whole window is there, and not more.
    let window = Bytes::from(vec![7; 65_536]);
    assert_eq!(send(&mut a, stream, &window), 65_536);
    assert_eq!(send(&mut a, stream, &Bytes::from_static(b"x")), 1);
    assert_eq!(a.stats().queued_to_send, 1);
    assert_eq!(pass(&mut a, &mut b, &mut wire), 65_536);
    pass(&mut b, &mut a, &mut wire);
    assert_eq!(pass(&mut a, &mut b, &mut wire), 1);
    assert!(events(&mut a).is_empty() && drain(&mut a).is_empty());
}

/// What waits of a stream that was reset before windows counted has no credit ever: its reset leaves
/// without it, past those who wait for credit.
#[test]
fn a_reset_waits_for_no_credit() {
    let (mut conn, mut peer) = (end(Role::Client), Peer::new());
    let [live, gone] = [(); 2].map(|()| conn.open(&headers(), false).unwrap());
    conn.outgoing();
    // More than the windows, before they count; then as much waits as may.
    for stream in [live, live, live, gone] {
        send(&mut conn, stream, &Bytes::from(vec![0; 300_000]));
    }
    conn.reset(gone, RstStatus::CANCEL);
    assert_eq!(conn.stats().queued_to_send, 2 * (64 << 10));
    let mut config = vec![0x80, 3, 0, 4, 0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 7];
    config.extend(65_536u32.to_be_bytes());
    conn.recv(peer.now, &mut BytesMut::from(config.as_slice()))
        .unwrap();
    assert!(
        conn.has_flow_control(),
        "SETTINGS with an initial window say so"
    );
    let heeded = events(&mut conn);
    assert!(matches!(heeded[..], [.., Event::Settings { .. }]));
    let sent = peer.sent(&mut conn);
    assert!(
        matches!(sent.last(), Some(Frame::RstStream(reset)) if reset.id == gone),
        "{sent:?}"
    );
    assert!(
        !sent
            .iter()
            .any(|f| matches!(f, Frame::Data(d) if d.id == gone))
    );
    assert_eq!(conn.stats().queued_to_send, 64 << 10);
}

/// Who waits for an agreement by other means takes nothing that the peer sends for one.
#[test]
fn settings_and_updates_are_no_agreement() {
    let mut config = Config::kubernetes(Role::Server);
    config.flow_control = FlowControl::Agreed;
    config.limits.stream_receive = 4 << 20;
    config.limits.session_receive = 256 << 20;
    let (mut peer, mut conn) = (Peer::new(), connection(config));
    let update = |id| {
        Frame::WindowUpdate(spdy::WindowUpdate {
            id,
            delta: 0x7fff_ffff,
        })
    };
    let settings = Frame::Settings(spdy::Settings {
        clear: false,
        entries: vec![spdy::Setting {
            flags: 0,
            id: spdy::Setting::INITIAL_WINDOW_SIZE,
            value: 0,
        }],
    });
    let mut bytes = peer.syn(1);
    for frame in [settings, update(0), update(0), update(1), update(1)] {
        bytes.extend(peer.frame(&frame));
    }
    let (_, sent) = peer.feed(&mut conn, &bytes);
    assert!(sent.is_empty(), "{sent:?}");
    assert!(!conn.has_flow_control());
    let stream = StreamId::new(1).unwrap();
    conn.reply(stream, &HeaderBlock::new(), false).unwrap();
    // More than any window of the draft, without credit.
    let mut rest = Bytes::from(vec![1; 100_000]);
    while !rest.is_empty() {
        assert!(conn.send(stream, &mut rest, false).unwrap() > 0);
        drop(drain(&mut conn));
    }
    conn.agree_flow_control();
    assert!(conn.has_flow_control());
    // Credit counts from now on: what came before is forgotten, what was sent before counts as sent.
    let mut rest = Bytes::from(vec![1; 1 << 20]);
    let mut sent = 0;
    while let Ok(n @ 1..) = conn.send(stream, &mut rest, false) {
        sent += n;
        drop(drain(&mut conn));
    }
    assert_eq!(sent, 64 << 10);
}
