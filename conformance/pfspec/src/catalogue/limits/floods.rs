//! Floods of small frames, and bytes that are none.

use crate::case::{Case, OK, Outcome, Seen, Stop, Tag};
use crate::probe::connection::Filled;
use crate::probe::log::Side;
use crate::probe::session::{Carrier, Session, data, headers, syn_stream};
use crate::probe::wire::{self, Frame};
use crate::run;
use crate::target::Service;
use crate::trial::Trial;
use std::time::Duration;
use tokio::time::Instant;

const OR_ENDS: &str = "Bytes back on the same session or its end; another session works.";

pub(crate) const CASES: &[Case] = &[
    Case::should(
        "limits/open-and-reset",
        "Streams that are opened and reset in a loop cost little",
        &["14.6"],
        run!(rapid_reset),
    )
    .tags(&[Tag::Hostile, Tag::Load, Tag::Security])
    .within(180)
    .why("With HTTP/2 it was the largest flood ever seen (CVE-2023-44487).")
    .sends("10 000 pairs to the echo, each stream reset in the same write.")
    .accepts(OR_ENDS),
    Case::should(
        "limits/pings-unread",
        "Answers to PING that nobody reads make no queue without end",
        &["14.7"],
        run!(pings_unread),
    )
    .tags(&[Tag::Hostile, Tag::Load, Tag::Security])
    .within(180)
    .why("A queue of answers without end is a server's memory for a few bytes (CVE-2019-9512).")
    .sends("96 MiB of PING frames, none of whose answers is read.")
    .accepts("That the server stops reading, or ends the session; another session works."),
    Case::should(
        "limits/empty-data",
        "Endless empty DATA harms nothing",
        &["14.7"],
        run!(empty_data),
    )
    .tags(&[Tag::Hostile, Tag::Load, Tag::Security])
    .within(180)
    .why("Each frame costs work and brings nothing (CVE-2019-9518).")
    .sends("200 000 empty DATA frames on an open pair.")
    .accepts(OR_ENDS),
    Case::should(
        "limits/settings",
        "Endless SETTINGS harm nothing",
        &["14.7"],
        run!(settings),
    )
    .tags(&[Tag::Hostile, Tag::Load, Tag::Security])
    .within(180)
    .why("Each frame costs work and brings nothing (CVE-2019-9515).")
    .sends("100 000 SETTINGS frames.")
    .accepts(OR_ENDS),
    Case::should(
        "limits/window-updates",
        "Endless WINDOW_UPDATE frames harm nothing",
        &["14.7"],
        run!(window_updates),
    )
    .tags(&[Tag::Hostile, Tag::Load, Tag::Security])
    .within(180)
    .why("Windows that are added up overflow.")
    .sends("100 000 WINDOW_UPDATE frames with the largest value.")
    .accepts(OR_ENDS),
    Case::should(
        "limits/count-of-settings",
        "SETTINGS that promise many entries do not take the server down",
        &["14.1", "5.8"],
        run!(count_of_settings),
    )
    .tags(&[Tag::Hostile, Tag::Security])
    .why("One frame of 12 bytes took gigabytes of memory (CVE-2026-35469).")
    .sends("SETTINGS of 12 bytes whose count is 4 294 967 295.")
    .accepts(OR_ENDS),
    Case::should(
        "limits/declared-length",
        "Frames that declare 16 MiB and do not come do not take the server down",
        &["14.1"],
        run!(declared_length),
    )
    .tags(&[Tag::Hostile, Tag::Load, Tag::Security])
    .within(120)
    .why("Room that is made for a promise is memory for nine bytes.")
    .sends("Fifty sessions, on each the first bytes of a DATA or control frame of 16 MiB; then another session.")
    .accepts("That the other session works."),
    Case::must(
        "limits/cut-frame",
        "A frame that is cut by the end of the connection is no frame",
        &["14.18"],
        run!(cut_frame),
    )
    .why("A server that takes part of a frame for all of it opens streams that nobody asked for.")
    .sends("SYN_STREAM without its last four bytes, and the end of the judge's sending.")
    .accepts("The end of the connection and no SYN_REPLY; another session works."),
    Case::must(
        "limits/cut-data",
        "DATA that is cut by the end of the connection ends the session",
        &["14.18", "8.29"],
        run!(cut_data),
    )
    .why("The pod must not take half a message for a whole one and answer it.")
    .sends("A request to the hash whose last DATA frame with FIN lacks its last byte, and the end of the judge's sending.")
    .accepts("The end of the connection and no answer of the pod; another session works."),
    Case::should(
        "limits/random-bytes",
        "Random bytes end one session at most",
        &["14.19"],
        run!(random_bytes),
    )
    .tags(&[Tag::Hostile, Tag::Security])
    .within(90)
    .why("What is no SPDY must not cost others their connections.")
    .sends("On each of twenty sessions 1 to 3000 bytes from the seed, with a control frame's first bytes before some; beside them a session with an open pair.")
    .accepts("Bytes back on the open pair after each."),
    Case::should(
        "limits/mutated-frames",
        "Frames with wrong bits end one session at most",
        &["14.19"],
        run!(mutated),
    )
    .tags(&[Tag::Hostile, Tag::Security])
    .within(90)
    .why("A bit that is wrong reaches deeper than random bytes do.")
    .sends("On each of forty sessions the frames of a whole connection with one to four bytes changed; beside them a session with an open pair.")
    .accepts("Bytes back on the open pair after each."),
    Case::should(
        "limits/failed-sessions",
        "Failed sessions leave nothing behind that others need",
        &["14.20"],
        run!(failed_sessions),
    )
    .tags(&[Tag::Hostile, Tag::Load, Tag::Security])
    .within(300)
    .why("A server that loses a file or a task with each has none left one day (kubernetes issue 100283).")
    .sends("200 sessions, each with an open pair and a lone stream, that end in the midst of a frame; then another session.")
    .accepts("That the other session works."),
];

/// Whether a session works after a flood or has ended; another one must work.
async fn harmless(t: &Trial, mut s: Session) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut other = t.session().await?;
    other.echo(port, b"another session").await?;
    match s.echo(port, b"the same session").await {
        Ok(_) => Ok(Seen::as_slug("goes-on")),
        Err(_) if s.is_over() || s.goaway.is_some() => Ok(Seen::as_slug("ends-session")),
        Err(stop) => Err(stop),
    }
}

/// Sends a frame many times, a thousand in a write, and looks at what comes between.
async fn flood(s: &mut Session, frame: &Frame, count: usize) -> Result<(), Stop> {
    let bytes = s.encoder.encode(frame).repeat(1000);
    for _ in 0..count / 1000 {
        s.raw("a thousand frames", &bytes).await?;
        while s.step(Instant::now()).await? == Filled::More {}
        if s.end.is_some() {
            break;
        }
    }
    Ok(())
}

async fn rapid_reset(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    for _ in 0..10_000 {
        let (pair, mut frames) = s.pair_frames(port);
        for id in [pair.error, pair.data] {
            frames.push(Frame::RstStream { id, status: 5 });
        }
        s.send_all(&frames).await?;
        while s.step(Instant::now()).await? == Filled::More {}
        if s.end.is_some() {
            break;
        }
    }
    harmless(t, s).await
}

async fn pings_unread(t: &mut Trial) -> Outcome {
    const PINGS: usize = 16 << 10;
    let mut s = t.session().await?;
    s.connection().reads_while_writing = false;
    let many = s.encoder.encode(&Frame::Ping(1)).repeat(PINGS);
    // As the frames are all alike, a message of the tunnel may hold them as well as a write.
    let layer = s.carrier.layer();
    let bytes = match s.carrier {
        Carrier::Plain(_) => many,
        Carrier::Tunnel(_) => {
            use crate::probe::websocket::{BINARY, LAST, frame};
            frame(LAST | BINARY, true, &many)
        }
    };
    let what = format!("{PINGS} times PING 1");
    let mut taken = 0;
    while taken < 96 << 20 {
        let connection = s.connection();
        connection.item(Side::Judge, layer, &what, &bytes);
        let some = connection.write_some(&bytes, Duration::from_secs(3)).await;
        taken += some;
        if some < bytes.len() {
            let mut other = t.session().await?;
            other
                .echo(t.port(Service::Echo)?, b"another session")
                .await?;
            return OK;
        }
    }
    // A server that has ended the session may go on to take what comes, and drop it.
    while s.step(Instant::now() + t.patience).await? == Filled::More && s.goaway.is_none() {}
    if s.is_over() || s.goaway.is_some() {
        return OK;
    }
    s.not_malformed("that the server stops reading, or ends the session")?;
    Err(Stop::departure(
        "that the server stops reading, or ends the session",
        "that it took 96 MiB of PING whose answers nobody reads",
    ))
}

async fn empty_data(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let pair = s.pair(t.port(Service::Echo)?).await?;
    flood(&mut s, &data(pair.data, 0, b""), 200_000).await?;
    harmless(t, s).await
}

async fn settings(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let frame = Frame::Settings {
        flags: 0,
        entries: vec![(0, 4, 100), (0, 7, 65536)],
    };
    flood(&mut s, &frame, 100_000).await?;
    harmless(t, s).await
}

async fn window_updates(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let pair = s.pair(t.port(Service::Echo)?).await?;
    for id in [0, pair.data] {
        let delta = 0x7fff_ffff;
        flood(&mut s, &Frame::WindowUpdate { id, delta }, 50_000).await?;
    }
    harmless(t, s).await
}

async fn count_of_settings(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let payload = [&u32::MAX.to_be_bytes()[..], &[0; 8]].concat();
    let bytes = wire::control(3, wire::SETTINGS, 0, &payload);
    s.raw("SETTINGS of 12 bytes with count 4294967295", &bytes)
        .await?;
    harmless(t, s).await
}

async fn declared_length(t: &mut Trial) -> Outcome {
    let mut waiting = Vec::new();
    for round in 0..50 {
        let mut s = t.session().await?;
        let bytes: &[u8] = if round % 2 == 0 {
            &[0, 0, 0, 1, 0, 0xff, 0xff, 0xff, 0]
        } else {
            &[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff, 0]
        };
        s.raw("the beginning of a frame of 16 MiB", bytes).await?;
        waiting.push(s);
    }
    let mut other = t.session().await?;
    other
        .echo(t.port(Service::Echo)?, b"another session")
        .await?;
    drop(waiting);
    OK
}

async fn cut_frame(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    s.alive("at the start").await?;
    let id = s.next_id();
    let frame = syn_stream(id, &headers("error", &port.to_string(), "0"));
    let mut bytes = s.encoder.encode(&frame);
    bytes.truncate(bytes.len().saturating_sub(4));
    s.raw("SYN_STREAM without its last four bytes", &bytes)
        .await?;
    s.hang_up().await?;
    s.until_end("within SYN_STREAM").await?;
    if s.replied(id) {
        return Err(Stop::departure("no answer to part of a frame", s.summary()));
    }
    let mut other = t.session().await?;
    other.echo(port, b"another session").await?;
    OK
}

async fn cut_data(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let pair = s.pair(t.port(Service::Hash)?).await?;
    let request = super::super::pods::hash_request(b"cut");
    let mut bytes = wire::data(pair.data, wire::FIN, &request);
    bytes.pop();
    s.raw("DATA with FIN without its last byte", &bytes).await?;
    s.hang_up().await?;
    s.until_end("within DATA").await?;
    if s.received(pair.data) > 0 {
        let text = s.stream(pair.data).text();
        return Err(Stop::departure("no answer to half a request", text));
    }
    let mut other = t.session().await?;
    other
        .echo(t.port(Service::Echo)?, b"another session")
        .await?;
    OK
}

async fn random_bytes(t: &mut Trial) -> Outcome {
    let mut beside = t.session().await?;
    let pair = beside.pair(t.port(Service::Echo)?).await?;
    for round in 0..20 {
        let mut s = t.session().await?;
        let length = t.dice.size(1, 3000);
        let mut bytes = t.dice.bytes(length);
        if round % 2 == 0 {
            // A frame of a type that is known.
            let kind = u8::try_from(t.dice.between(1, 9)).unwrap_or(1);
            bytes.splice(..0, [0x80, 3, 0, kind]);
        }
        s.raw("random bytes", &bytes).await?;
        beside
            .echo_on(pair, format!("round {round}").as_bytes())
            .await?;
    }
    OK
}

async fn mutated(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut beside = t.session().await?;
    let pair = beside.pair(port).await?;
    for round in 0..40 {
        let mut s = t.session().await?;
        let (own, mut frames) = s.pair_frames(port);
        frames.push(data(own.data, 0, b"some bytes"));
        frames.push(Frame::Ping(1));
        let mut bytes = Vec::new();
        for frame in &frames {
            bytes.extend(s.encoder.encode(frame));
        }
        for _ in 0..t.dice.size(1, 4) {
            let at = t.dice.size(0, bytes.len() - 1);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= u8::try_from(t.dice.between(1, 255)).unwrap_or(1);
            }
        }
        s.raw("the frames of a connection, some bytes changed", &bytes)
            .await?;
        beside
            .echo_on(pair, format!("round {round}").as_bytes())
            .await?;
    }
    OK
}

async fn failed_sessions(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    for _ in 0..200 {
        let mut s = t.session().await?;
        s.echo(port, b"before the failure").await?;
        let lone = headers("error", "7000", "lone");
        s.open(&lone).await?;
        s.raw("half of a frame", &[0x80, 3, 0]).await?;
    }
    let mut other = t.session().await?;
    other.echo(port, b"another session").await?;
    OK
}
