//! `spdy/frame/`: chapter 2, SPDY frames: how they arrive, and DATA.

pub(super) mod fields;
pub(super) mod lengths;

use super::spdy::{length_of, no_frame, seen, tour};
use crate::case::{Case, OK, Outcome, Stop, Tag};
use crate::dice::Dice;
use crate::probe::session::{Pair, Session, data, fin};
use crate::probe::wire::{self, FIN, Frame};
use crate::run;
use crate::target::Service;
use crate::trial::Trial;

pub(super) const CASES: &[Case] = &[
    Case::must(
        "spdy/frame/version-3",
        "Control frames of the server say version 3",
        &["2.1"],
        run!(version_3),
    )
    .why("A client that checks the version ends the session on any other.")
    .sends("Connections that succeed, fail, are refused and are reset; PING.")
    .accepts("80 03 at the start of every control frame."),
    Case::must(
        "spdy/frame/ping-of-another-version",
        "A control frame of another version is answered, or ends the session",
        &["2.1"],
        run!(another_version),
    )
    .why("A server that does neither leaves the client waiting.")
    .sends("PING of a random version other than 3.")
    .accepts("`goes-on`: answered as if it said 3, or not; `ends-session`."),
    Case::must(
        "spdy/frame/exact-lengths",
        "Frames of the server have the length of their type",
        &["2.2"],
        run!(exact_lengths),
    )
    .why("The next frame begins where the length says: a wrong one breaks the session at the client.")
    .sends("Connections that succeed, fail, are refused and are reset; PING.")
    .accepts("RST_STREAM, GOAWAY and WINDOW_UPDATE of 8, PING of 4 bytes; SYN_REPLY of 4 and its block."),
    Case::must(
        "spdy/frame/byte-by-byte",
        "Frames may arrive cut at any byte",
        &["2.4"],
        run!(byte_by_byte),
    )
    .why("Proxies and TLS cut the stream of bytes anywhere.")
    .sends("A pair to the echo and 500 bytes, each byte in a write (a message of the tunnel) of its own.")
    .accepts("The bytes back."),
    Case::must(
        "spdy/frame/cut-at-random",
        "Frames may arrive in pieces of any size",
        &["2.4"],
        run!(cut_at_random),
    )
    .why("A parser that expects whole heads, or whole frames, in a read works on a loopback and fails on the way through proxies.")
    .sends("Eight connections to the echo, interleaved with PING, each write cut to a random size of 1 to 40 bytes.")
    .accepts("Each connection's bytes back, and each PING."),
    Case::must(
        "spdy/frame/field-by-field",
        "Frames may arrive field by field",
        &["2.4"],
        run!(field_by_field),
    )
    .why("This is how the library behind kubectl writes: 2, 2, 4 bytes of head, then each field.")
    .sends("A pair to the echo, DATA, FIN, PING, each field in a write (a message of the tunnel) of its own.")
    .accepts("The bytes back, a clean end, PING."),
    Case::must(
        "spdy/frame/joined",
        "Frames may arrive joined in one write",
        &["2.4", "7.12"],
        run!(joined),
    )
    .why("Clients that open both streams without waiting send them in one segment.")
    .sends("SYN_STREAM error, FIN, SYN_STREAM data, DATA, PING in one write.")
    .accepts("The bytes back, and PING."),
    Case::must(
        "spdy/frame/many-joined-and-cut",
        "Many frames in a row may be cut anywhere",
        &["2.4"],
        run!(joined_and_cut),
    )
    .why("Under load one read brings the end of a frame, whole frames, and the beginning of another.")
    .sends("Twelve connections to the echo with DATA and FIN, all frames in a row, cut into pieces of 1 to 3000 bytes.")
    .accepts("Each connection's bytes back, and a clean end of each."),
    Case::must(
        "spdy/frame/data-of-any-length",
        "DATA of any legal length is accepted",
        &["2.5"],
        run!(any_length),
    )
    .why("Clients other than kubectl send frames of their own size.")
    .sends("DATA frames of 1, 100, 32 769, 65 536 and 1 000 000 bytes to the echo.")
    .accepts("All bytes back, in order."),
    Case::must(
        "spdy/frame/data-of-random-lengths",
        "DATA of random lengths keeps every byte in its place",
        &["2.5"],
        run!(random_lengths),
    )
    .why("Buffers of powers of two hide mistakes at other sizes.")
    .sends("40 DATA frames of 0 to 20 000 random bytes to the echo, cut into writes of 4093 bytes.")
    .accepts("All bytes back, in order."),
    Case::must(
        "spdy/frame/data-byte-frames",
        "DATA of one byte each is accepted in any number",
        &["2.5"],
        run!(byte_frames),
    )
    .why("Interactive programs send single keystrokes.")
    .sends("400 DATA frames of one byte to the echo, in one write.")
    .accepts("All bytes back, in order."),
    Case::must(
        "spdy/frame/largest-data",
        "The largest DATA is accepted",
        &["2.5", "2.2"],
        run!(largest_data),
    )
    .tags(&[Tag::Load, Tag::Slow])
    .within(150)
    .why("The length has 24 bits; a client may use them all.")
    .sends("One DATA frame of 16 777 215 bytes to the echo, then a byte.")
    .accepts("All bytes back, in order."),
    Case::quality(
        "spdy/frame/data-at-most-32-kib",
        "The server's DATA has at most 32 KiB",
        &["2.6"],
        run!(small_frames),
    )
    .why("While a large frame is on its way every other connection of the session waits.")
    .sends("Asks the pod for 200 000 bytes.")
    .accepts("No DATA above 32 768 bytes."),
    Case::must(
        "spdy/frame/empty-data",
        "Empty DATA without FIN has no effect",
        &["2.7"],
        run!(empty_data),
    )
    .why("Some libraries flush with an empty frame.")
    .sends("Empty DATA on the data stream between payload.")
    .accepts("The bytes back, no FIN."),
    Case::must(
        "spdy/frame/many-empty-data",
        "Empty DATA has no effect in any number and place",
        &["2.7"],
        run!(many_empty_data),
    )
    .why("A server that takes an empty frame for an end, or passes an empty write on as one, cuts a connection.")
    .sends("Empty DATA on both streams right behind SYN_STREAM, then 50 mixed at random with payload.")
    .accepts("The bytes back, and a clean end after FIN."),
];

async fn version_3(t: &mut Trial) -> Outcome {
    let s = tour(t).await?;
    // The judge reads no other version, but a reason that names the frame serves better.
    no_frame(&s, "80 03 at the start of each control frame", |got| {
        let control = !matches!(got.frame, Frame::Data { .. });
        (control && got.head.get(..2) != Some(&[0x80, 0x03])).then(|| got.frame.text())
    })?;
    OK
}

async fn another_version(t: &mut Trial) -> Outcome {
    let version = match t.dice.between(0, 0x7ffe) {
        3 => 0x7fff,
        version => u16::try_from(version).unwrap_or(2),
    };
    let mut s = t.session().await?;
    s.alive("at the start").await?;
    let ping = wire::control(version, wire::PING, 0, &0x1001u32.to_be_bytes());
    s.raw(&format!("PING of version {version}"), &ping).await?;
    let after = format!("after a PING of version {version}");
    Ok(seen(s.fate(&after).await?))
}

async fn exact_lengths(t: &mut Trial) -> Outcome {
    let s = tour(t).await?;
    no_frame(&s, "frames of the length of their type", |got| {
        let length = length_of(got)?;
        let fits = match got.frame {
            Frame::RstStream { .. } | Frame::Goaway { .. } | Frame::WindowUpdate { .. } => {
                length == 8
            }
            Frame::Ping(_) => length == 4,
            // Four bytes of id, and a block that is never empty.
            Frame::SynReply { .. } | Frame::Headers { .. } => length > 4,
            Frame::SynStream { .. } => length > 10,
            Frame::Settings { .. } => length >= 4 && length % 8 == 4,
            Frame::Data { .. } | Frame::Other { .. } => true,
        };
        (!fits).then(|| format!("{} of {length} bytes", got.frame.text()))
    })?;
    OK
}

async fn byte_by_byte(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    s.cut = Some(1);
    let bytes = t.dice.bytes(500);
    s.echo(port, &bytes).await?;
    OK
}

async fn cut_at_random(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let mut pairs = Vec::new();
    for _ in 0..8 {
        let (pair, frames) = s.pair_frames(port);
        let length = t.dice.size(1, 300);
        let bytes = t.dice.bytes(length);
        for frame in frames.iter().chain([&data(pair.data, 0, &bytes)]) {
            s.cut = Some(t.dice.size(1, 40));
            s.send(frame).await?;
        }
        s.ping().await?;
        pairs.push((pair, bytes));
    }
    s.until("8 PINGs echoed", |s| s.pings.len() == 8).await?;
    came_back(&mut s, &pairs).await?;
    OK
}

/// Waits for what was sent to the echo on each pair.
async fn came_back(s: &mut Session, pairs: &[(Pair, Vec<u8>)]) -> Result<(), Stop> {
    for (pair, bytes) in pairs {
        let what = format!("{} bytes back on stream {}", bytes.len(), pair.data);
        s.until(&what, |s| {
            s.received(pair.data) >= bytes.len() as u64 || s.ended(pair.data)
        })
        .await?;
        if s.stream(pair.data).data != *bytes {
            return Err(Stop::departure(what, format!("others; {}", s.summary())));
        }
    }
    Ok(())
}

async fn field_by_field(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let (pair, mut frames) = s.pair_frames(port);
    frames.push(data(pair.data, 0, b"by fields"));
    frames.push(fin(pair.data));
    frames.push(Frame::Ping(1));
    for frame in &frames {
        let bytes = s.encoder.encode(frame);
        let fields: &[usize] = match frame {
            Frame::SynStream { .. } => &[2, 2, 4, 4, 4, 1, 1],
            Frame::Ping(_) => &[2, 2, 4, 4],
            _ => &[4, 4],
        };
        let mut rest = &bytes[..];
        for length in fields.iter().copied().chain([bytes.len()]) {
            let (field, behind) = rest.split_at(length.min(rest.len()));
            rest = behind;
            if !field.is_empty() {
                s.raw("a field", field).await?;
            }
        }
    }
    s.until("PING 1", |s| s.pings.contains(&1)).await?;
    came_back(&mut s, &[(pair, b"by fields".to_vec())]).await?;
    s.clean_end(pair).await?;
    OK
}

async fn joined(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let (pair, mut frames) = s.pair_frames(port);
    frames.push(data(pair.data, 0, b"all at once"));
    frames.push(Frame::Ping(1));
    s.send_all(&frames).await?;
    s.until("11 bytes back, and PING 1", |s| {
        s.received(pair.data) == 11 && s.pings.contains(&1)
    })
    .await?;
    OK
}

async fn joined_and_cut(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let (mut bytes, mut pairs) = (Vec::new(), Vec::new());
    for _ in 0..12 {
        let (pair, mut frames) = s.pair_frames(port);
        let length = t.dice.size(1, 2000);
        let payload = t.dice.bytes(length);
        frames.push(data(pair.data, 0, &payload));
        frames.push(fin(pair.data));
        for frame in &frames {
            bytes.extend(s.encoder.encode(frame));
        }
        pairs.push((pair, payload));
    }
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(t.dice.size(1, 3000).min(rest.len()));
        s.raw("a piece of many frames", piece).await?;
        rest = behind;
    }
    came_back(&mut s, &pairs).await?;
    for (pair, _) in pairs {
        s.clean_end(pair).await?;
    }
    OK
}

/// Sends payloads, each in one DATA frame, to the echo.
async fn echoed(
    s: &mut Session,
    port: u16,
    payloads: impl IntoIterator<Item = Vec<u8>>,
) -> Result<Pair, Stop> {
    let pair = s.pair(port).await?;
    let mut all = Vec::new();
    for payload in payloads {
        s.send(&data(pair.data, 0, &payload)).await?;
        all.extend(payload);
    }
    came_back(s, &[(pair, all)]).await?;
    Ok(pair)
}

async fn any_length(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let payloads = [1, 100, 32_769, 65_536, 1_000_000].map(|length| t.dice.bytes(length));
    echoed(&mut s, port, payloads).await?;
    OK
}

async fn random_lengths(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    s.cut = Some(4093);
    let payload = |dice: &mut Dice| {
        let length = dice.size(0, 20_000);
        dice.bytes(length)
    };
    let payloads: Vec<_> = (0..40).map(|_| payload(&mut t.dice)).collect();
    echoed(&mut s, port, payloads).await?;
    OK
}

async fn byte_frames(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    let bytes = t.dice.bytes(400);
    let frames: Vec<_> = bytes
        .iter()
        .map(|byte| data(pair.data, 0, &[*byte]))
        .collect();
    s.send_all(&frames).await?;
    came_back(&mut s, &[(pair, bytes)]).await?;
    OK
}

async fn largest_data(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    // All that time the server may be busy with it.
    s.patience *= 12;
    let bytes = t.dice.bytes(0x00ff_ffff);
    let pair = echoed(&mut s, port, [bytes]).await?;
    s.echo_on(pair, b"!").await?;
    OK
}

async fn small_frames(t: &mut Trial) -> Outcome {
    const ASKED: u64 = 200_000;
    let port = t.port(Service::Random)?;
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    s.write(pair.data, &ASKED.to_be_bytes()).await?;
    s.until("200 000 bytes", |s| s.received(pair.data) >= ASKED)
        .await?;
    no_frame(&s, "DATA of at most 32 768 bytes", |got| {
        let length = length_of(got)?;
        (matches!(got.frame, Frame::Data { .. }) && length > 32_768)
            .then(|| format!("DATA of {length} bytes"))
    })?;
    OK
}

async fn empty_data(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let pair = s.echo(port, b"before").await?;
    s.send(&data(pair.data, 0, b"")).await?;
    s.echo_on(pair, b"behind").await?;
    OK
}

async fn many_empty_data(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let (pair, opening) = s.pair_frames(port);
    let mut frames = Vec::new();
    for frame in opening {
        let opened = match &frame {
            Frame::SynStream { id, .. } => Some(*id),
            _ => None,
        };
        frames.push(frame);
        frames.extend(opened.map(|id| data(id, 0, b"")));
    }
    s.send_all(&frames).await?;
    let mut payloads = vec![Vec::new(); 50];
    payloads.extend((0..20).map(|_| t.dice.bytes(9)));
    t.dice.shuffle(&mut payloads);
    for payload in &payloads {
        s.send(&data(pair.data, 0, payload)).await?;
    }
    came_back(&mut s, &[(pair, payloads.concat())]).await?;
    s.send(&data(pair.data, FIN, b"")).await?;
    s.clean_end(pair).await?;
    OK
}
