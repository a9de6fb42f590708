//! `spdy/frame/`: wrong lengths (2.3), frames that end early (14.18), bytes that are no frames (14.19).

use crate::case::{Case, OK, Outcome, Stop, Tag};
use crate::probe::session::{Session, data};
use crate::probe::wire::{self, Frame};
use crate::run;
use crate::target::Service;
use crate::trial::Trial;
use std::time::Duration;

const WHY: &str = "Two readers that disagree on where the next frame begins see different frames.";
const ENDS: &str = "The session ends; PING behind the frame is not echoed.";

pub(in crate::catalogue) const CASES: &[Case] = &[
    Case::should(
        "spdy/frame/length-of-ping-short",
        "PING shorter than 4 bytes ends the session",
        &["2.3"],
        run!(wrong, wire::PING, 0, 3, "PING"),
    )
    .tags(&[Tag::Hostile, Tag::Security])
    .why(WHY)
    .sends("PING with a length of 0 to 3 bytes, all its fields there nevertheless, then PING.")
    .accepts(ENDS),
    Case::should(
        "spdy/frame/length-of-ping-long",
        "PING longer than 4 bytes ends the session",
        &["2.3"],
        run!(wrong, wire::PING, 16, 16, "PING"),
    )
    .tags(&[Tag::Hostile, Tag::Security])
    .why(WHY)
    .sends("PING with a PING in its length behind its fields, then PING.")
    .accepts(ENDS),
    Case::should(
        "spdy/frame/length-of-rst-stream-short",
        "RST_STREAM shorter than 8 bytes ends the session",
        &["2.3"],
        run!(wrong, wire::RST_STREAM, 0, 7, "RST_STREAM"),
    )
    .tags(&[Tag::Hostile, Tag::Security])
    .why(WHY)
    .sends("RST_STREAM with a length of 0 to 7 bytes, all its fields there nevertheless, then PING.")
    .accepts(ENDS),
    Case::should(
        "spdy/frame/length-of-rst-stream-long",
        "RST_STREAM longer than 8 bytes ends the session",
        &["2.3"],
        run!(wrong, wire::RST_STREAM, 20, 20, "RST_STREAM"),
    )
    .tags(&[Tag::Hostile, Tag::Security])
    .why(WHY)
    .sends("RST_STREAM with a PING in its length behind its fields, then PING.")
    .accepts(ENDS),
    Case::should(
        "spdy/frame/length-of-goaway-short",
        "GOAWAY shorter than 8 bytes ends the session",
        &["2.3"],
        run!(wrong, wire::GOAWAY, 0, 7, "GOAWAY"),
    )
    .tags(&[Tag::Hostile, Tag::Security])
    .why(WHY)
    .sends("GOAWAY with a length of 0 to 7 bytes (SPDY/2 had 4), all its fields there nevertheless, then PING.")
    .accepts(ENDS),
    Case::should(
        "spdy/frame/length-of-goaway-long",
        "GOAWAY longer than 8 bytes ends the session",
        &["2.3"],
        run!(wrong, wire::GOAWAY, 20, 20, "GOAWAY"),
    )
    .tags(&[Tag::Hostile, Tag::Security])
    .why(WHY)
    .sends("GOAWAY with a PING in its length behind its fields, then PING.")
    .accepts(ENDS),
    Case::should(
        "spdy/frame/length-of-window-update-short",
        "WINDOW_UPDATE shorter than 8 bytes ends the session",
        &["2.3"],
        run!(wrong, wire::WINDOW_UPDATE, 0, 7, "WINDOW_UPDATE"),
    )
    .tags(&[Tag::Hostile, Tag::Security])
    .why(WHY)
    .sends("WINDOW_UPDATE with a length of 0 to 7 bytes, all its fields there nevertheless, then PING.")
    .accepts(ENDS),
    Case::should(
        "spdy/frame/length-of-window-update-long",
        "WINDOW_UPDATE longer than 8 bytes ends the session",
        &["2.3"],
        run!(wrong, wire::WINDOW_UPDATE, 20, 20, "WINDOW_UPDATE"),
    )
    .tags(&[Tag::Hostile, Tag::Security])
    .why(WHY)
    .sends("WINDOW_UPDATE with a PING in its length behind its fields, then PING.")
    .accepts(ENDS),
    Case::should(
        "spdy/frame/length-of-syn-stream",
        "SYN_STREAM too short for its fields ends the session",
        &["2.3"],
        run!(wrong, wire::SYN_STREAM, 0, 9, "SYN_STREAM"),
    )
    .tags(&[Tag::Hostile, Tag::Security])
    .why(WHY)
    .sends("SYN_STREAM with a length of 0 to 9 bytes, all its fields there nevertheless, then PING.")
    .accepts(ENDS),
    Case::should(
        "spdy/frame/length-of-syn-reply",
        "SYN_REPLY too short for its id ends the session",
        &["2.3"],
        run!(wrong, wire::SYN_REPLY, 0, 3, "SYN_REPLY"),
    )
    .tags(&[Tag::Hostile, Tag::Security])
    .why(WHY)
    .sends("SYN_REPLY with a length of 0 to 3 bytes, all its fields there nevertheless, then PING.")
    .accepts(ENDS),
    Case::should(
        "spdy/frame/length-of-settings",
        "SETTINGS too short for its count ends the session",
        &["2.3"],
        run!(wrong, wire::SETTINGS, 0, 3, "SETTINGS"),
    )
    .tags(&[Tag::Hostile, Tag::Security])
    .why(WHY)
    .sends("SETTINGS with a length of 0 to 3 bytes, all its fields there nevertheless, then PING.")
    .accepts(ENDS),
    Case::must(
        "spdy/frame/cut-ping",
        "A PING that is cut by the end is not taken",
        &["14.18"],
        run!(cut, false),
    )
    .why("Connections break within frames; what came of one may not count.")
    .sends("All but a random number of the last bytes of a PING, then the end of the connection.")
    .accepts("The connection ends; the PING is not echoed."),
    Case::must(
        "spdy/frame/cut-syn-stream",
        "A SYN_STREAM that is cut by the end opens nothing",
        &["14.18"],
        run!(cut, true),
    )
    .why("Connections break within frames; what came of one may not count.")
    .sends("All but a random number of the last bytes of a SYN_STREAM, then the end of the connection.")
    .accepts("The connection ends; the stream is not answered."),
    Case::must(
        "spdy/frame/cut-data",
        "A session that is cut within DATA ends",
        &["14.18", "5.14"],
        run!(cut_data),
    )
    .why("A server that waits for the rest keeps the pod's connection for ever.")
    .sends("The head of DATA of 60 000 bytes and a random part of it, then the end of the connection.")
    .accepts("The connection ends."),
    Case::should(
        "spdy/frame/random-bytes",
        "Random bytes harm no other session",
        &["14.19"],
        run!(random_bytes),
    )
    .tags(&[Tag::Hostile, Tag::Security])
    .why("A port that anybody in the cluster can reach gets such bytes from scanners.")
    .sends("20 sessions with up to 8 KiB of random bytes each.")
    .accepts("A session that was there before, and a new one, work."),
    Case::should(
        "spdy/frame/random-frames",
        "Frames of random content harm no other session",
        &["14.19"],
        run!(random_frames),
    )
    .tags(&[Tag::Hostile, Tag::Security])
    .why("Right heads with random content reach code that random bytes do not.")
    .sends("20 sessions with 30 frames of random types, flags and content each.")
    .accepts("A session that was there before, and a new one, work."),
    Case::should(
        "spdy/frame/damaged-frames",
        "Damaged sessions harm no other session",
        &["14.19"],
        run!(damaged_frames),
    )
    .tags(&[Tag::Hostile, Tag::Security])
    .why("A right session with a few wrong bytes reaches code that random frames do not.")
    .sends("20 sessions to the echo with 1 to 4 wrong bytes each.")
    .accepts("A session that was there before, and a new one, work."),
];

async fn wrong(t: &mut Trial, kind: u16, low: usize, high: usize, name: &str) -> Outcome {
    let length = t.dice.size(low, high);
    let mut s = t.session().await?;
    s.alive("at the start").await?;
    // The fields are those of a frame that is ignored: a stream, or a PING of the server, that there never was. They
    // are there whole even if the length is too short, so that who does not look at the length goes on.
    let mut payload = match kind {
        wire::PING => vec![0, 0, 0x10, 0],
        wire::RST_STREAM => vec![0, 0, 0x10, 1, 0, 0, 0, 5],
        wire::WINDOW_UPDATE => vec![0, 0, 0, 0, 0, 1, 0, 0],
        wire::SYN_STREAM => vec![0, 0, 0x10, 1, 0, 0, 0, 0, 0, 0],
        wire::SYN_REPLY => vec![0, 0, 0x10, 1],
        wire::SETTINGS => vec![0; 4],
        _ => vec![0; 8],
    };
    if length > payload.len() {
        // And what is too long goes on with a PING for who begins to read there.
        payload.extend(s.encoder.encode(&Frame::Ping(0x7001)));
    }
    let claimed = u32::try_from(length).unwrap_or_default();
    let what = format!("{name} of {claimed} bytes");
    s.dies_of(
        &what,
        &wire::control_claiming(3, kind, 0, claimed, &payload),
    )
    .await?;
    OK
}

async fn cut(t: &mut Trial, stream: bool) -> Outcome {
    let mut s = t.session().await?;
    s.alive("at the start").await?;
    let (pair, frames) = s.pair_frames(t.port(Service::Echo)?);
    let frame = frames
        .into_iter()
        .next()
        .filter(|_| stream)
        .unwrap_or(Frame::Ping(0x1001));
    let bytes = s.encoder.encode(&frame);
    let kept = t.dice.size(1, bytes.len() - 1);
    let what = format!("the first {kept} bytes of {}", frame.text());
    s.raw(&what, bytes.get(..kept).unwrap_or_default()).await?;
    s.hang_up().await?;
    s.until_end(&format!("after {what}")).await?;
    if s.pings.contains(&0x1001) || s.peek(pair.error).is_some_and(|s| !s.replies.is_empty()) {
        let expected = format!("that {what} are not taken for the whole");
        return Err(Stop::departure(expected, s.summary()));
    }
    OK
}

async fn cut_data(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let pair = s.echo(t.port(Service::Echo)?, b"before").await?;
    let bytes = wire::data(pair.data, 0, &t.dice.bytes(60_000));
    let kept = t.dice.size(1, bytes.len() - 1);
    let what = format!("the first {kept} bytes of DATA of 60000");
    s.raw(&what, bytes.get(..kept).unwrap_or_default()).await?;
    s.hang_up().await?;
    s.until_end(&format!("after {what}")).await?;
    OK
}

/// Sends `bytes` on a session of their own, each, while another stays open; both it and a new one work then.
async fn harmless(
    t: &mut Trial,
    mut bytes: impl FnMut(&mut Trial, &mut Session) -> Vec<u8>,
) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut before = t.session().await?;
    let pair = before.echo(port, b"before").await?;
    for _ in 0..20 {
        let mut s = t.session().await?;
        let sent = bytes(t, &mut s);
        s.raw("bytes that are no SPDY", &sent).await?;
        // It may wait for more: then this is all that it gets.
        s.read_for(Duration::from_millis(20)).await?;
    }
    before.echo_on(pair, b"behind").await?;
    before.works(port, "beside broken sessions").await?;
    let mut behind = t.session().await?;
    behind.works(port, "after broken sessions").await?;
    OK
}

async fn random_bytes(t: &mut Trial) -> Outcome {
    harmless(t, |t, _| {
        let length = t.dice.size(1, 8192);
        t.dice.bytes(length)
    })
    .await
}

async fn random_frames(t: &mut Trial) -> Outcome {
    harmless(t, |t, _| {
        let mut all = Vec::new();
        for _ in 0..30 {
            let length = t.dice.size(0, 64);
            let payload = t.dice.bytes(length);
            let kind = u16::try_from(t.dice.between(0, 11)).unwrap_or_default();
            let flags = u8::try_from(t.dice.between(0, 3)).unwrap_or_default();
            if kind == 11 {
                let id = u32::try_from(t.dice.between(0, 9)).unwrap_or_default();
                all.extend(wire::data(id, flags, &payload));
            } else {
                all.extend(wire::control(3, kind, flags, &payload));
            }
        }
        all
    })
    .await
}

async fn damaged_frames(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    harmless(t, |t, s| {
        let (pair, mut frames) = s.pair_frames(port);
        frames.push(data(pair.data, 0, b"through a damaged session"));
        frames.push(Frame::Ping(1));
        frames.extend(s.pair_frames(port).1);
        let mut bytes: Vec<u8> = Vec::new();
        for frame in &frames {
            bytes.extend(s.encoder.encode(frame));
        }
        for _ in 0..t.dice.size(1, 4) {
            let at = t.dice.size(0, bytes.len() - 1);
            let wrong = u8::try_from(t.dice.between(1, 255)).unwrap_or(1);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= wrong;
            }
        }
        bytes
    })
    .await
}
