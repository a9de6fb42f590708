//! What cannot be reached from outside.

use super::*;
use crate::config::Role;
use crate::error::{Initiator, OpenError};
use bytes::Buf;
use std::error::Error as _;

fn drain(conn: &mut Connection) {
    while conn.outgoing().has_remaining() {
        let n = conn.outgoing().remaining();
        conn.outgoing().advance(n);
    }
}

/// PROTOCOL.md 1.9: a real client that has passed 0x7ffffffe goes on with 1.
#[test]
fn ping_ids_wrap_to_the_first() {
    for (role, last, first) in [
        (Role::Client, 0x7fff_ffff, 1),
        (Role::Server, 0x7fff_fffe, 2),
    ] {
        let now = Instant::now();
        let mut conn = Connection::new(Config::kubernetes(role), now).unwrap();
        conn.next_ping_id = last - 2;
        let ids = [(); 4].map(|()| conn.ping(now).unwrap());
        assert_eq!(ids, [last - 2, last, first, first + 2]);
        drain(&mut conn);
    }
}

/// A compressor does not fail by anything that can be given to it.
#[test]
fn without_its_compression_context_a_connection_fails() {
    let now = Instant::now();
    let mut conn = Connection::new(Config::kubernetes(Role::Client), now).unwrap();
    let error = EncodeError::TooLong(1);
    assert_eq!(conn.encode_failed(error.clone()), error);
    assert!(
        conn.open(&[("a", "b")].into_iter().collect(), false)
            .is_ok()
    );
    conn.encode_failed(EncodeError::Deflate);
    let open = conn.open(&[("a", "b")].into_iter().collect(), false);
    assert_eq!(open, Err(OpenError::Failed));
    let error = conn.recv(now, &mut BytesMut::new()).unwrap_err();
    let kind = ConnectionErrorKind::Encode(EncodeError::Deflate);
    assert_eq!(error.kind(), &kind);
    assert_eq!(error.initiator(), Initiator::Library);
    assert_eq!(error.status(), GoAwayStatus::INTERNAL_ERROR);
    let words = "header compression failed";
    assert_eq!(error.source().unwrap().to_string(), words);
    assert!(!conn.is_done(), "GOAWAY says so");
    drain(&mut conn);
    assert!(conn.is_done());
}

/// The fuzz bodies would see it.
#[test]
#[should_panic(expected = "the connection's windows agree")]
fn lost_credit_is_seen() {
    let now = Instant::now();
    let end = |role| Connection::new(Config::strict(role), now).unwrap();
    let (mut a, b) = (end(Role::Client), end(Role::Server));
    a.check_credit(&b);
    a.send_window.take(1);
    a.check_credit(&b);
}

/// One end may know of windows before the other does.
#[test]
fn windows_that_do_not_count_are_not_compared() {
    let now = Instant::now();
    let mut a = Connection::new(Config::strict(Role::Client), now).unwrap();
    let b = Connection::new(Config::kubernetes(Role::Server), now).unwrap();
    a.send_window.take(1);
    a.check_credit(&b);
    b.check_credit(&a);
}
