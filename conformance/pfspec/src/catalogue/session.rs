//! `spdy/session/`: chapter 5, the beginning, PING, SETTINGS, windows.

pub(super) mod end;

use super::spdy::{no_frame, tour};
use crate::case::{Case, OK, Outcome, Seen, Stop, Tag};
use crate::probe::session::{Fate, Session};
use crate::probe::wire::{self, Frame};
use crate::run;
use crate::target::Service;
use crate::trial::Trial;
use std::time::Duration;

pub(super) const CASES: &[Case] = &[
    Case::must(
        "spdy/session/silent-at-the-start",
        "The server is silent until the client's first frame",
        &["5.1"],
        run!(silent),
    )
    .why("The real client throws away what comes in the same read as the 101: a greeting would break the session.")
    .sends("Nothing for 400 ms; then PING.")
    .accepts("No byte before; PING as the first frame."),
    Case::must(
        "spdy/session/first-frame",
        "The first frame of a session may be any of the client's",
        &["5.1"],
        run!(first_frame),
    )
    .why("Neither side waits for SETTINGS or anything else before it works.")
    .sends("One session each that begins with SYN_STREAM, PING, SETTINGS, WINDOW_UPDATE, RST_STREAM or DATA.")
    .accepts("Each session works."),
    Case::must(
        "spdy/session/ping",
        "PING with an odd id is echoed byte by byte",
        &["5.2"],
        run!(ping),
    )
    .why("kubectl pings every few seconds.")
    .sends("PING 1, 3, 5, and eight random odd ids, the highest among them.")
    .accepts("The same twelve bytes, once each."),
    Case::must(
        "spdy/session/pings-at-once",
        "Each of many PINGs is answered once",
        &["5.2"],
        run!(pings_at_once),
    )
    .why("A client that counts answers must not lose count.")
    .sends("40 PINGs with random odd ids in one write.")
    .accepts("Each id once."),
    Case::must(
        "spdy/session/ping-again",
        "A PING id may be used again",
        &["5.2"],
        run!(ping_again),
    )
    .why("The ids of the real client begin anew after 2147483646.")
    .sends("PING 7 three times, each after the answer to the one before.")
    .accepts("Three answers."),
    Case::must(
        "spdy/session/ping-under-load",
        "PING is answered while data flows",
        &["5.2"],
        run!(ping_under_load),
    )
    .why("A client with a deadline would take the session for dead.")
    .sends("200 000 bytes through the echo, a PING after each 10 000.")
    .accepts("The bytes back, and each PING."),
    Case::must(
        "spdy/session/server-does-not-ping",
        "The server begins no PING",
        &["5.2"],
        run!(no_ping),
    )
    .why("No real server does, and no client but kubectl's library is known to answer.")
    .sends("Connections that succeed, fail, are refused and are reset; PING.")
    .accepts("PINGs of the client's ids only."),
    Case::must(
        "spdy/session/even-ping",
        "PING with an even id is not echoed",
        &["5.3"],
        run!(even_ping),
    )
    .why("Two peers that echo everything echo one frame for ever.")
    .sends("PINGs with random even ids other than 0, among odd ones.")
    .accepts("The odd ones only; the session works."),
    Case::must(
        "spdy/session/ping-0",
        "PING with id 0 is not echoed",
        &["5.3"],
        run!(ping_0),
    )
    .why("0 is even: an echo of it could go on for ever.")
    .sends("PING 0.")
    .accepts("No echo: `goes-on`, or `ends-session`."),
    Case::must(
        "spdy/session/settings",
        "SETTINGS of every kind have no effect",
        &["5.7"],
        run!(settings, Settings::Usual),
    )
    .why("Libraries made for the web send it at the start of each session.")
    .sends("SETTINGS with the ids 1 to 8, flags and values at random; then a pair to the echo.")
    .accepts("The bytes back; no answer to SETTINGS."),
    Case::must(
        "spdy/session/settings-without-entries",
        "SETTINGS without entries have no effect",
        &["5.7"],
        run!(settings, Settings::Empty),
    )
    .why("A legal frame.")
    .sends("SETTINGS with count 0, with and without the flag CLEAR; then a pair to the echo.")
    .accepts("The bytes back; no answer to SETTINGS."),
    Case::must(
        "spdy/session/settings-unknown-ids",
        "SETTINGS with unknown ids have no effect",
        &["5.7"],
        run!(settings, Settings::Unknown),
    )
    .why("Later versions may define more.")
    .sends("SETTINGS with random ids above 8; then a pair to the echo.")
    .accepts("The bytes back; no answer to SETTINGS."),
    Case::must(
        "spdy/session/settings-no-streams",
        "SETTINGS that allow no streams change nothing",
        &["5.7"],
        run!(settings, Settings::NoStreams),
    )
    .why("The limit is about streams of the server, and there are none.")
    .sends("SETTINGS with 0 for concurrent streams; then a pair to the echo.")
    .accepts("The bytes back; no answer to SETTINGS."),
    Case::must(
        "spdy/session/settings-window",
        "An initial window in SETTINGS stops no data",
        &["5.7", "5.9"],
        run!(settings_window),
    )
    .why("Flow control is not in use: a server that heeds it stalls, since no client opens the window again.")
    .sends("SETTINGS with an initial window of 0 and of 1; asks the pod for 200 000 bytes.")
    .accepts("All bytes."),
    Case::must(
        "spdy/session/window-update",
        "WINDOW_UPDATE has no effect",
        &["5.7"],
        run!(window_update),
    )
    .why("Libraries made for the web send it for what they have read.")
    .sends("WINDOW_UPDATE for stream 0, an open stream, a finished one and random unknown ones.")
    .accepts("An open connection and a new one go on; no frame for unknown streams."),
    Case::must(
        "spdy/session/window-update-overflow",
        "WINDOW_UPDATE beyond every window has no effect",
        &["5.7"],
        run!(window_overflow),
    )
    .why("Nobody counts a window, so none can overflow.")
    .sends("WINDOW_UPDATE by 0x7fffffff three times for stream 0 and for an open stream.")
    .accepts("The connection goes on."),
    Case::should(
        "spdy/session/settings-count-too-high",
        "SETTINGS with more entries in its count than in its length end the session",
        &["5.8"],
        run!(settings_count, 9),
    )
    .why("A server that makes room for the count can be made to use up its memory: CVE-2026-35469.")
    .sends("SETTINGS with count 9 and one entry, then PING.")
    .accepts("The session ends; PING is not echoed."),
    Case::should(
        "spdy/session/settings-count-that-wraps",
        "A count of SETTINGS that wraps around in 32 bits ends the session",
        &["5.8"],
        run!(settings_count, 0x2000_0001),
    )
    .why("0x20000001 entries of 8 bytes are 8 bytes in 32-bit arithmetic.")
    .sends("SETTINGS with count 0x20000001 and one entry, then PING.")
    .accepts("The session ends; PING is not echoed."),
    Case::should(
        "spdy/session/settings-count-too-low",
        "SETTINGS with fewer entries in its count than in its length end the session",
        &["5.8"],
        run!(settings_count, 0),
    )
    .tags(&[Tag::Hostile, Tag::Security])
    .why("Two readers that disagree on where the next frame begins see different frames.")
    .sends("SETTINGS with count 0 and 24 bytes behind it that are two PINGs, then PING.")
    .accepts("The session ends; PING is not echoed."),
    Case::must(
        "spdy/session/no-window-on-a-stream",
        "The server waits for no window on a stream",
        &["5.9"],
        run!(no_window_stream),
    )
    .why("Real clients never send WINDOW_UPDATE: a download would stop after 64 KiB.")
    .sends("Asks the pod for 500 000 bytes on one stream.")
    .accepts("All bytes."),
    Case::must(
        "spdy/session/no-window-on-the-session",
        "The server waits for no window on the session",
        &["5.9"],
        run!(no_window_session),
    )
    .why("Real clients never send WINDOW_UPDATE: many small downloads would stop after 64 KiB.")
    .sends("Asks the pod for 20 000 bytes on each of 12 streams, at once.")
    .accepts("All bytes on each."),
    Case::must(
        "spdy/session/upload-without-window",
        "The server takes more than 64 KiB without opening a window",
        &["5.9", "2.5"],
        run!(upload),
    )
    .why("Real clients do not wait for WINDOW_UPDATE.")
    .sends("500 000 bytes to the echo on one stream.")
    .accepts("All bytes back."),
];

async fn silent(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    s.read_for(Duration::from_millis(400)).await?;
    if !s.got.is_empty() || s.end.is_some() {
        let expected = "nothing before the client's first frame";
        return Err(Stop::departure(expected, s.summary()));
    }
    s.alive("after silence").await?;
    if s.got.len() != 1 {
        return Err(Stop::departure("PING as the first frame", s.summary()));
    }
    OK
}

async fn first_frame(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let frames = [
        None,
        Some(Frame::Ping(0x1001)),
        Some(Frame::Settings {
            flags: 0,
            entries: vec![(0, 7, 65536)],
        }),
        Some(Frame::WindowUpdate { id: 0, delta: 1000 }),
        Some(Frame::RstStream {
            id: 0x1001,
            status: 5,
        }),
        Some(crate::probe::session::data(0x1001, 0, b"for nobody")),
    ];
    for frame in frames {
        let mut s = t.session().await?;
        if let Some(frame) = &frame {
            s.send(frame).await?;
        }
        s.echo(port, b"behind any first frame").await?;
    }
    OK
}

/// Random odd ids, each another.
fn odd_ids(t: &mut Trial, count: usize) -> Vec<u32> {
    let mut ids = std::collections::BTreeSet::new();
    while ids.len() < count {
        let id = t.dice.between(0, 0x7fff_ffff) * 2 + 1;
        ids.insert(u32::try_from(id).unwrap_or(1));
    }
    let mut ids: Vec<u32> = ids.into_iter().collect();
    t.dice.shuffle(&mut ids);
    ids
}

async fn ping(t: &mut Trial) -> Outcome {
    let mut ids = vec![1, 3, 5, u32::MAX];
    ids.extend(
        odd_ids(t, 7)
            .iter()
            .filter(|id| **id > 5 && **id != u32::MAX),
    );
    let mut s = t.session().await?;
    for id in &ids {
        s.send(&Frame::Ping(*id)).await?;
        s.until(&format!("PING {id} echoed"), |s| s.pings.contains(id))
            .await?;
    }
    s.read_for(Duration::from_millis(100)).await?;
    if s.pings != ids {
        return Err(Stop::departure(
            "each PING once",
            format!("{:?} for {ids:?}", s.pings),
        ));
    }
    no_frame(&s, "the same twelve bytes", |got| match got.frame {
        Frame::Ping(id) => {
            let expected = wire::control(3, wire::PING, 0, &id.to_be_bytes());
            (got.head != expected).then(|| format!("{:02x?}", got.head))
        }
        _ => Some(got.frame.text()),
    })?;
    OK
}

async fn pings_at_once(t: &mut Trial) -> Outcome {
    let mut ids = odd_ids(t, 40);
    let mut s = t.session().await?;
    let frames: Vec<_> = ids.iter().copied().map(Frame::Ping).collect();
    s.send_all(&frames).await?;
    s.until("40 PINGs echoed", |s| s.pings.len() >= 40).await?;
    s.read_for(Duration::from_millis(100)).await?;
    let mut got = s.pings.clone();
    got.sort_unstable();
    ids.sort_unstable();
    if got != ids {
        return Err(Stop::departure("each of 40 PINGs once", s.summary()));
    }
    OK
}

async fn ping_again(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    for i in 1..=3 {
        s.send(&Frame::Ping(7)).await?;
        s.until(&format!("PING 7 echoed, answer {i}"), |s| {
            s.pings.len() == i
        })
        .await?;
    }
    OK
}

async fn ping_under_load(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let pair = s.pair(t.port(Service::Echo)?).await?;
    let bytes = t.dice.bytes(200_000);
    let mut pings = Vec::new();
    for part in bytes.chunks(10_000) {
        s.write(pair.data, part).await?;
        pings.push(s.ping().await?);
    }
    s.until("200 000 bytes back, and 20 PINGs", |s| {
        s.received(pair.data) >= 200_000 && pings.iter().all(|id| s.pings.contains(id))
    })
    .await?;
    if s.stream(pair.data).data != bytes || s.pings.len() != pings.len() {
        let expected = "the bytes that were sent, and each PING once";
        return Err(Stop::departure(expected, s.summary()));
    }
    OK
}

async fn no_ping(t: &mut Trial) -> Outcome {
    let mut s = tour(t).await?;
    s.read_for(Duration::from_millis(200)).await?;
    // The client's own: two PINGs of the tour.
    no_frame(&s, "no PING but those of the client", |got| {
        matches!(got.frame, Frame::Ping(id) if id != 1 && id != 3).then(|| got.frame.text())
    })?;
    OK
}

async fn even_ping(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    for _ in 0..8 {
        let id = t.dice.between(1, 0x7fff_ffff) * 2;
        s.send(&Frame::Ping(u32::try_from(id).unwrap_or(2))).await?;
        s.alive("after PING with an even id").await?;
    }
    s.works(t.port(Service::Echo)?, "after PINGs with even ids")
        .await?;
    no_frame(&s, "no echo of an even id", |got| {
        matches!(got.frame, Frame::Ping(id) if id % 2 == 0).then(|| got.frame.text())
    })?;
    OK
}

async fn ping_0(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    s.alive("at the start").await?;
    s.send(&Frame::Ping(0)).await?;
    let fate = s.fate("after PING 0").await?;
    if fate == Fate::GoesOn {
        s.alive("after PING 0").await?;
    }
    if s.pings.contains(&0) {
        return Err(Stop::departure("no echo of PING 0", s.summary()));
    }
    Ok(Seen::as_slug(fate.slug()))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settings {
    Usual,
    Empty,
    Unknown,
    NoStreams,
}

async fn settings(t: &mut Trial, which: Settings) -> Outcome {
    let mut s = t.session().await?;
    let mut number = |low, high| u32::try_from(t.dice.between(low, high)).unwrap_or_default();
    let mut entries: Vec<(u8, u32, u32)> = match which {
        Settings::Usual => (1..=8)
            .map(|id| {
                let flags = u8::try_from(number(0, 3)).unwrap_or_default();
                (flags, id, number(0, u64::from(u32::MAX)))
            })
            .collect(),
        Settings::Empty => Vec::new(),
        Settings::Unknown => (0..10)
            .map(|_| (0, number(9, 0x00ff_ffff), number(0, u64::from(u32::MAX))))
            .collect(),
        Settings::NoStreams => vec![(0, 4, 0)],
    };
    t.dice.shuffle(&mut entries);
    for flags in [0, 1] {
        s.send(&Frame::Settings {
            flags,
            entries: entries.clone(),
        })
        .await?;
    }
    s.works(t.port(Service::Echo)?, "after SETTINGS").await?;
    no_frame(&s, "no answer to SETTINGS", |got| {
        matches!(
            got.frame,
            Frame::Settings { .. } | Frame::WindowUpdate { .. } | Frame::Goaway { .. }
        )
        .then(|| got.frame.text())
    })?;
    OK
}

/// Asks the pod for bytes on a new pair; its data stream.
async fn ask(t: &Trial, s: &mut Session, bytes: u64) -> Result<u32, Stop> {
    let pair = s.pair(t.port(Service::Random)?).await?;
    s.write(pair.data, &bytes.to_be_bytes()).await?;
    Ok(pair.data)
}

/// Waits for all the bytes that were asked for, and compares them.
async fn arrives(s: &mut Session, id: u32, bytes: u64) -> Result<(), Stop> {
    let what = format!("{bytes} bytes on stream {id}");
    s.until(&what, |s| s.received(id) >= bytes || s.ended(id))
        .await?;
    let length = usize::try_from(bytes).unwrap_or_default();
    if s.stream(id).data != crate::dice::sequence(bytes, length) {
        return Err(Stop::departure(what, format!("others; {}", s.summary())));
    }
    Ok(())
}

async fn settings_window(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    for window in [0, 1] {
        s.send(&Frame::Settings {
            flags: 0,
            entries: vec![(0, 7, window)],
        })
        .await?;
        let id = ask(t, &mut s, 200_000).await?;
        arrives(&mut s, id, 200_000).await?;
    }
    OK
}

async fn window_update(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let over = s.echo(port, b"before").await?;
    s.finish(over.data).await?;
    s.clean_end(over).await?;
    let open = s.echo(port, b"before").await?;
    let unknown: Vec<u32> = (0..4)
        .map(|_| u32::try_from(t.dice.between(0x1000, 0x7fff_ffff)).unwrap_or(0x1001))
        .collect();
    let mut ids = vec![0, over.data, over.error, open.data];
    ids.extend(&unknown);
    t.dice.shuffle(&mut ids);
    for id in ids {
        let delta = u32::try_from(t.dice.between(1, 100_000)).unwrap_or(1);
        s.send(&Frame::WindowUpdate { id, delta }).await?;
    }
    s.echo_on(open, b"behind").await?;
    s.works(port, "after WINDOW_UPDATE").await?;
    if let Some(id) = unknown.iter().find(|id| s.peek(**id).is_some()) {
        return Err(Stop::departure(
            format!("no frame for stream {id}"),
            s.summary(),
        ));
    }
    OK
}

async fn window_overflow(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let open = s.echo(t.port(Service::Echo)?, b"before").await?;
    for _ in 0..3 {
        for id in [0, open.data] {
            s.send(&Frame::WindowUpdate {
                id,
                delta: 0x7fff_ffff,
            })
            .await?;
        }
    }
    s.echo_on(open, b"behind").await?;
    s.alive("after WINDOW_UPDATE beyond every window").await?;
    OK
}

async fn settings_count(t: &mut Trial, count: u32) -> Outcome {
    let mut s = t.session().await?;
    s.alive("at the start").await?;
    let mut payload = count.to_be_bytes().to_vec();
    if count == 0 {
        // As long as three entries: for who takes what is behind the count for frames.
        for _ in 0..2 {
            payload.extend(s.encoder.encode(&Frame::Ping(0x7001)));
        }
    } else {
        payload.extend([0, 0, 0, 7, 0, 1, 0, 0]);
    }
    let what = format!("SETTINGS with count {count} and {} bytes", payload.len());
    s.dies_of(&what, &wire::control(3, wire::SETTINGS, 0, &payload))
        .await?;
    OK
}

async fn no_window_stream(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let id = ask(t, &mut s, 500_000).await?;
    arrives(&mut s, id, 500_000).await?;
    OK
}

async fn no_window_session(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let mut ids = Vec::new();
    for i in 0..12 {
        // Not the same bytes on two streams.
        let bytes = 20_000 + i;
        ids.push((ask(t, &mut s, bytes).await?, bytes));
    }
    for (id, bytes) in ids {
        arrives(&mut s, id, bytes).await?;
    }
    OK
}

async fn upload(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let bytes = t.dice.bytes(500_000);
    s.echo(t.port(Service::Echo)?, &bytes).await?;
    OK
}
