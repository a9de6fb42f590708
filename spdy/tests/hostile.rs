//! What hostile peers cost, by this process's own counters of memory and time (RELIABILITY B.2 and
//! D.3), one process a case.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

mod common;

use bytes::{Buf, Bytes, BytesMut};
use common::{Peer, connection, data, drain, events, headers, id};
use flate2::{Compress, Compression, FlushCompress};
use spdy::{
    Config, Connection, ConnectionError, DICTIONARY, Event, Frame, GoAway, GoAwayStatus,
    HeaderBlock, Headers, Ping, Role, RstStatus, RstStream, Setting, Settings, SynReply,
    WindowUpdate,
};
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

/// Names the case to a child.
const CASE: &str = "SPDY_HOSTILE_CASE";
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// A line of this process's status, in bytes.
fn status(field: &str) -> usize {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<usize>()
        .unwrap()
        * KIB
}

/// Time on a processor.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.try_into().unwrap(),
        time.tv_nsec.try_into().unwrap(),
    )
}

/// The most memory that `case` has beyond what there was before, and its processor time.
fn cost(case: impl FnOnce()) -> (usize, Duration) {
    // Resets the peak.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let (before, began) = (status("VmRSS:"), cpu());
    case();
    let took = cpu().saturating_sub(began);
    (status("VmHWM:").saturating_sub(before), took)
}

fn server() -> Connection {
    common::server()
}

fn recv(conn: &mut Connection, bytes: &[u8]) -> Result<(), ConnectionError> {
    conn.recv(Instant::now(), &mut BytesMut::from(bytes))
}

fn report(name: &str, memory: usize, time: Duration, note: &str) {
    println!("{name:<44} {:>6} KiB {time:>10.1?}  {note}", memory / KIB);
}

/// T1. A block of 16 KiB that inflates to 16 MiB.
fn bomb() {
    let mut zlib = Compress::new(Compression::best(), true);
    zlib.set_dictionary(DICTIONARY).unwrap();
    let mut block = Vec::with_capacity(MIB);
    zlib.compress_vec(&vec![0; 16 * MIB], &mut block, FlushCompress::Sync)
        .unwrap();
    block.truncate(16 * KIB);
    let mut wire = b"\x80\x03\0\x01".to_vec();
    wire.extend((block.len() as u32 + 10).to_be_bytes());
    wire.extend(b"\0\0\0\x01\0\0\0\0\0\0");
    wire.extend(&block);
    let (memory, time) = cost(|| assert!(recv(&mut server(), &wire).is_err()));
    report("T1 header bomb", memory, time, "");
    assert!(memory < MIB, "{memory}");
    let (memory, time) = cost(|| {
        for _ in 0..1000 {
            assert!(recv(&mut server(), &wire).is_err());
        }
    });
    report("T1 header bomb, 1,000 sessions", memory, time, "");
    assert!(memory < MIB, "{memory}");
    assert!(time / 1000 < Duration::from_millis(5), "{time:?}");
}

/// T2. Each length field at its maximum.
fn declared_lengths() {
    let control = |kind: u8| vec![0x80, 3, 0, kind, 0, 0xff, 0xff, 0xff];
    let block = |plain: &[u8]| {
        let n = plain.len() as u16;
        let mut wire = b"\x80\x03\0\x01".to_vec();
        wire.extend((u32::from(n) + 26).to_be_bytes());
        wire.extend(b"\0\0\0\x01\0\0\0\0\0\0\x78\xf9\xe3\xc6\xa7\xc2\0");
        wire.extend(n.to_le_bytes());
        wire.extend((!n).to_le_bytes());
        wire.extend(plain);
        wire.extend(b"\0\0\0\xff\xff");
        wire
    };
    let mut fields: Vec<(&str, Vec<u8>)> = [
        (1, "SYN_STREAM length"),
        (2, "SYN_REPLY length"),
        (3, "RST_STREAM length"),
        (4, "SETTINGS length"),
        (6, "PING length"),
        (7, "GOAWAY length"),
        (8, "HEADERS length"),
        (9, "WINDOW_UPDATE length"),
    ]
    .map(|(kind, name)| (name, control(kind)))
    .into();
    fields.extend([
        (
            "SETTINGS count",
            b"\x80\x03\0\x04\0\0\0\x0c\xff\xff\xff\xff\0\0\0\x01\0\0\0\x01".to_vec(),
        ),
        ("header count", block(b"\xff\xff\xff\xff")),
        ("name length", block(b"\0\0\0\x01\xff\xff\xff\xff")),
        (
            "value length",
            block(b"\0\0\0\x01\0\0\0\x01a\xff\xff\xff\xff"),
        ),
    ]);
    assert_eq!(fields.len(), 12);
    for (name, wire) in fields {
        let (memory, time) = cost(|| assert!(recv(&mut server(), &wire).is_err(), "{name}"));
        report(&format!("T2 {name}"), memory, time, "");
        assert!(memory < 256 * KIB, "{name}: {memory}");
    }
    // DATA of 16 MiB is legal: it costs what has arrived.
    let (memory, time) = cost(|| {
        let (mut peer, mut conn) = (Peer::light(), server());
        let syn = peer.syn(1);
        recv(&mut conn, &syn).unwrap();
        recv(&mut conn, b"\0\0\0\x01\0\xff\xff\xffx").unwrap();
    });
    report("T2 DATA length", memory, time, "");
    assert!(memory < 256 * KIB, "{memory}");
}

/// T3. After a bad block nothing is accepted.
fn corrupt_blocks() {
    let mut accepted = 0;
    for n in 0..200usize {
        let (mut peer, mut conn) = (Peer::light(), server());
        let mut bad = peer.syn(1);
        let at = 18 + n % (bad.len() - 18);
        bad[at] ^= 1 << (n % 8);
        let ok = recv(&mut conn, &bad).is_ok();
        let before = conn.stats().frames_received;
        let next = peer.syn(3);
        let result = recv(&mut conn, &next);
        if !ok {
            assert!(result.is_err());
            accepted += conn.stats().frames_received - before;
        }
    }
    assert_eq!(accepted, 0);
    println!("T3 200 corrupted blocks: 0 frames accepted after an error");
}

/// T6. A million streams opened and reset.
fn rapid_reset() {
    let mut opened = 0;
    let (memory, time) = cost(|| {
        let (mut peer, mut conn) = (Peer::light(), server());
        let mut rounds = 0;
        for n in 0..1_000_000u32 {
            let mut wire = peer.syn(2 * n + 1);
            wire.extend(peer.reset(2 * n + 1));
            let result = recv(&mut conn, &wire);
            opened += events(&mut conn)
                .iter()
                .filter(|e| matches!(e, Event::Opened { .. }))
                .count();
            drain(&mut conn);
            rounds += 1;
            if result.is_err() {
                break;
            }
        }
        assert_eq!(rounds, 201);
    });
    report(
        "T6 open and reset",
        memory,
        time,
        &format!("{opened} streams reach the application"),
    );
    assert!(opened <= 201 && memory < 4 * MIB, "{opened} {memory}");
}

/// T7. Ten million PINGs to a connection whose answers nobody reads.
fn ping_flood() {
    let (memory, time) = cost(|| {
        let (mut peer, mut conn) = (Peer::light(), server());
        let ping = peer.frame(&Frame::Ping(Ping { id: 1 })).repeat(1000);
        let mut most = 0;
        let ended = (0..10_000).any(|_| {
            let ended = recv(&mut conn, &ping).is_err();
            most = most.max(conn.stats().queued_replies);
            ended
        });
        assert!(ended && most <= 256, "{most}");
    });
    report("T7 PING flood", memory, time, "");
    assert!(memory < MIB, "{memory}");
    // Rate limits aside, the queue alone holds: reading stops.
    let (memory, time) = cost(|| {
        let mut config = Config::kubernetes(Role::Server);
        config.limits.pings = 10_000;
        let (mut peer, mut conn) = (Peer::light(), connection(config));
        let mut input = BytesMut::from(
            peer.frame(&Frame::Ping(Ping { id: 1 }))
                .repeat(1000)
                .as_slice(),
        );
        conn.recv(peer.now, &mut input).unwrap();
        assert!(conn.is_blocked() && input.len() == 744 * 12);
    });
    report("T7 answers nobody reads", memory, time, "");
    assert!(memory < MIB, "{memory}");
}

/// T8. Ten million empty DATA frames; tiny ones that nobody polls.
fn empty_and_tiny() {
    let (memory, time) = cost(|| {
        let (mut peer, mut conn) = (Peer::light(), server());
        let syn = peer.syn(1);
        recv(&mut conn, &syn).unwrap();
        let flood = data(1, false, b"").repeat(1000);
        assert!((0..10_000).any(|_| recv(&mut conn, &flood).is_err()));
    });
    report("T8 empty DATA", memory, time, "");
    assert!(
        memory < MIB && time < Duration::from_secs(2),
        "{memory} {time:?}"
    );
    let mut read = 0;
    let (memory, time) = cost(|| {
        let (mut peer, mut conn) = (Peer::light(), server());
        let syn = peer.syn(1);
        recv(&mut conn, &syn).unwrap();
        let tiny = data(1, false, b"x").repeat(1000);
        let mut input = BytesMut::new();
        for _ in 0..10_000 {
            input.extend_from_slice(&tiny);
            conn.recv(peer.now, &mut input).unwrap();
            if !input.is_empty() {
                break;
            }
        }
        assert!(conn.is_full());
        read = conn.stats().queued_events;
    });
    report(
        "T8 tiny DATA that nobody polls",
        memory,
        time,
        &format!("{read} frames, then no more"),
    );
    assert!(memory < 16 * MIB, "{memory}");
}

/// T10. Streams that are never answered.
fn unanswered() {
    let (memory, time) = cost(|| {
        let (mut peer, mut conn) = (Peer::light(), server());
        let mut refused = 0;
        for n in 0..20_000u32 {
            let syn = peer.syn(2 * n + 1);
            recv(&mut conn, &syn).unwrap();
            events(&mut conn);
            refused += peer.sent(&mut conn).len();
        }
        assert_eq!((conn.stream_count(), refused), (2048, 20_000 - 2048));
    });
    report("T10 20,000 unanswered streams", memory, time, "2,048 held");
    assert!(memory < 2 * MIB, "{memory}");
}

/// B15, filled one byte at a time: as much memory as is charged, about.
fn single_bytes() {
    let mut config = Config::kubernetes(Role::Client);
    config.write_ahead = 1;
    let mut conn = connection(config);
    let streams: Vec<_> = (0..65)
        .map(|_| conn.open(&headers(), false).unwrap())
        .collect();
    let (memory, time) = cost(|| {
        for stream in streams {
            while conn.send(stream, &mut Bytes::from_static(b"x"), false) == Ok(1) {}
        }
        assert_eq!(conn.stats().queued_to_send, 4 * MIB);
    });
    report("4 MiB queued one byte at a time", memory, time, "");
    assert!(memory < 8 * MIB, "{memory}");
}

/// T46. Lengths that do not fit their type: two readers must not see different frames.
fn smuggling() {
    let mut accepted = Vec::new();
    let mut peer = Peer::light();
    let frames = [
        ("SYN_STREAM", peer.syn(1)),
        (
            "SYN_REPLY",
            peer.frame(&Frame::SynReply(SynReply {
                id: id(1),
                fin: false,
                headers: headers(),
            })),
        ),
        (
            "RST_STREAM",
            peer.frame(&Frame::RstStream(RstStream {
                id: id(1),
                status: RstStatus::CANCEL,
            })),
        ),
        (
            "SETTINGS",
            peer.frame(&Frame::Settings(Settings {
                clear: false,
                entries: vec![Setting {
                    flags: 0,
                    id: 1,
                    value: 1,
                }],
            })),
        ),
        ("PING", peer.frame(&Frame::Ping(Ping { id: 1 }))),
        (
            "GOAWAY",
            peer.frame(&Frame::GoAway(GoAway {
                last_good: 0,
                status: GoAwayStatus::OK,
            })),
        ),
        (
            "HEADERS",
            peer.frame(&Frame::Headers(Headers {
                id: id(1),
                fin: false,
                headers: HeaderBlock::new(),
            })),
        ),
        (
            "WINDOW_UPDATE",
            peer.frame(&Frame::WindowUpdate(WindowUpdate { id: 1, delta: 1 })),
        ),
    ];
    for (name, frame) in frames {
        let legal = frame.len() - 8;
        // A header block has no fixed length: the part in front of it has.
        let lengths = match name {
            "SYN_STREAM" => vec![0, 9, 0xff_ffff],
            "SYN_REPLY" | "HEADERS" => vec![0, 3, 0xff_ffff],
            _ => vec![0, legal - 1, legal + 1, legal + 5, 0xff_ffff],
        };
        for length in lengths {
            let mut wire = frame.clone();
            let short = (length as u32).to_be_bytes();
            wire[5..8].copy_from_slice(&short[1..]);
            wire.resize(8 + length.min(100_000), 0);
            let (_, mut conn) = (Peer::light(), server());
            if recv(&mut conn, &wire).is_ok() {
                accepted.push((name, length));
            }
        }
    }
    assert!(accepted.is_empty(), "{accepted:?}");
    println!("T46 34 wrong lengths of 8 types: none accepted");
}

/// T44. Ids at any stride cost the same.
fn strides() {
    let mut times = Vec::new();
    for stride in [2u32, 1 << 16] {
        let mut config = Config::kubernetes(Role::Server);
        config.limits.peer_streams = 32 << 10;
        config.limits.unanswered_streams = 32 << 10;
        let (mut peer, mut conn) = (Peer::light(), connection(config));
        let wire: Vec<_> = (0..32_768u32)
            .map(|n| peer.syn((n * stride + 1) & 0x7fff_ffff))
            .take(32_767)
            .collect();
        let (_, time) = cost(|| {
            for syn in &wire {
                recv(&mut conn, syn).unwrap();
                events(&mut conn);
            }
        });
        assert_eq!(conn.stream_count(), 32_767);
        times.push(time);
    }
    println!("T44 32,767 ids at strides 2 and 65,536: {times:?}");
    assert!(times[1] < times[0] * 3 / 2, "{times:?}");
}

/// L3, L5, L6. What idle streams and connections hold.
fn idle() {
    const STREAMS: usize = 20_000;
    const CONNECTIONS: usize = 1000;
    let mut config = Config::kubernetes(Role::Client);
    config.limits.own_streams = 32 << 10;
    let mut conn = connection(config);
    let block = headers();
    let before = status("VmRSS:");
    for _ in 0..STREAMS {
        conn.open(&block, false).unwrap();
        let n = conn.outgoing().remaining();
        conn.outgoing().advance(n);
    }
    let each = status("VmRSS:").saturating_sub(before) / STREAMS;
    println!("L3 idle stream: {each} B");
    assert!(each <= 512, "{each}");
    drop(conn);

    let before = status("VmRSS:");
    let mut all: Vec<_> = (0..CONNECTIONS).map(|_| server()).collect();
    let each = status("VmRSS:").saturating_sub(before) / CONNECTIONS;
    println!("L6 idle connection before the first header block: {each} B");
    assert!(each <= 8 * KIB, "{each}");
    for conn in &mut all {
        let mut peer = Peer::light();
        let syn = peer.syn(1);
        recv(conn, &syn).unwrap();
        events(conn);
        conn.reply(id(1), &HeaderBlock::new(), true).unwrap();
        peer.feed(conn, &data(1, true, b"x"));
        conn.consumed(id(1), 1);
        assert_eq!(conn.stream_count(), 0);
    }
    let each = status("VmRSS:").saturating_sub(before) / CONNECTIONS;
    println!("L5 idle connection after it: {each} B");
    assert!(each <= 64 * KIB, "{each}");
}

fn main() {
    if !std::path::Path::new("/proc/self/clear_refs").exists() {
        println!("hostile: skipped, as there are no counters of Linux here");
        assert!(std::env::var_os("CI").is_none(), "CI has them");
        return;
    }
    let cases: [(&str, fn()); 11] = [
        ("bomb", bomb),
        ("declared_lengths", declared_lengths),
        ("corrupt_blocks", corrupt_blocks),
        ("rapid_reset", rapid_reset),
        ("ping_flood", ping_flood),
        ("empty_and_tiny", empty_and_tiny),
        ("unanswered", unanswered),
        ("single_bytes", single_bytes),
        ("smuggling", smuggling),
        ("strides", strides),
        ("idle", idle),
    ];
    let wanted = std::env::var(CASE).ok();
    if let Some((_, case)) = cases
        .iter()
        .find(|(name, _)| wanted.as_deref() == Some(*name))
    {
        return case();
    }
    // Each in a process of its own: what one frees, the next would use.
    for (name, _) in cases {
        let status = Command::new(std::env::current_exe().unwrap())
            .env(CASE, name)
            .status()
            .unwrap();
        assert!(status.success(), "{name}");
    }
}
