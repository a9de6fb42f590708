//! What cannot be reached from outside.

use super::*;
use crate::config::Role;
use bytes::Buf;

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
