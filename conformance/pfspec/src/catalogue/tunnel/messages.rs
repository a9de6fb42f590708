//! `tunnel/messages/`, `tunnel/fragments/`: how the bytes of SPDY are cut.

use super::{ENDS, WAY};
use crate::case::{Case, OK, Outcome, Stop, Tag};
use crate::catalogue::check::BULK;
use crate::probe::connection::End;
use crate::probe::session::{Carrier, Pair, Session, data};
use crate::probe::websocket::{BINARY, CONTINUATION, LAST, PING, TEXT};
use crate::probe::wire::Frame;
use crate::run;
use crate::target::Service;
use crate::trial::Trial;

pub(in crate::catalogue) const CASES: &[Case] = &[
    Case::must(
        "tunnel/messages/binary",
        "The server's messages are binary, and nothing but SPDY",
        &["13.10"],
        run!(binary),
    )
    .over(WAY)
    .against(ENDS)
    .why("kubectl ends the session on a text message.")
    .sends("A pair to the echo, 10 000 bytes, PING.")
    .accepts("Binary messages whose payloads are frames of SPDY."),
    Case::must(
        "tunnel/messages/as-kubectl-cuts",
        "A SYN_STREAM in eight messages and DATA in three",
        &["13.12"],
        run!(as_kubectl),
    )
    .over(WAY)
    .against(ENDS)
    .why("client-go writes every field of a frame as a message of its own.")
    .sends("A pair and DATA, cut as client-go does it, and an empty message for the payload of FIN.")
    .accepts("The bytes back, and a clean end."),
    Case::must(
        "tunnel/messages/any-cut",
        "A frame may be spread over any messages",
        &["13.12"],
        run!(any_cut),
    )
    .over(WAY)
    .against(ENDS)
    .why("Whatever buffers a client has, the bytes are the same.")
    .sends("A pair and 6000 bytes in ten frames, cut into messages of 0 to 60 bytes.")
    .accepts("The bytes back."),
    Case::must(
        "tunnel/messages/many-frames-in-one",
        "A message may hold many frames",
        &["13.12"],
        run!(many_frames),
    )
    .over(WAY)
    .against(ENDS)
    .why("A client that collects its frames sends fewer messages.")
    .sends("Two pairs, DATA on both, and PING, all in one message.")
    .accepts("The bytes of both back, and the PING."),
    Case::must(
        "tunnel/messages/frame-and-a-half",
        "A message may end within the next frame",
        &["13.12"],
        run!(frame_and_a_half),
    )
    .over(WAY)
    .against(ENDS)
    .why("A cut at a fixed size falls anywhere.")
    .sends("Ten DATA frames of 100 bytes in messages of 162 bytes.")
    .accepts("The bytes back."),
    Case::must(
        "tunnel/messages/empty",
        "Empty messages have no effect",
        &["13.12"],
        run!(empty),
    )
    .over(WAY)
    .against(ENDS)
    .why("client-go sends one for the payload of every empty DATA frame.")
    .sends("Empty messages before the first frame, within a frame and between frames.")
    .accepts("The bytes back."),
    Case::must(
        "tunnel/messages/text",
        "A text message ends the session",
        &["13.11"],
        run!(text),
    )
    .over(WAY)
    .against(ENDS)
    .why("A library that sends text has encoded the bytes: taken for SPDY they are garbage.")
    .sends("A text message that holds a PING of SPDY.")
    .accepts("The end of the session, and no echo of that PING."),
    Case::should(
        "tunnel/messages/one-mebibyte",
        "A message of 1 MiB passes",
        &["13.14"],
        run!(one_mebibyte),
    )
    .over(WAY)
    .within(60)
    .against(ENDS)
    .why("The tunnel gives a message no meaning, so its size does not matter.")
    .sends("64 DATA frames of 16 KiB to the echo in one message.")
    .accepts("The bytes back."),
    Case::should(
        "tunnel/messages/32-mebibytes",
        "A message of 32 MiB passes",
        &["13.14"],
        run!(large),
    )
    .over(WAY)
    .against(ENDS)
    .tags(&[Tag::Load])
    .within(60)
    .why("A receiver that handles messages as a stream need not hold the whole of one.")
    .sends("32 MiB of DATA to the sink in one message, then a PING.")
    .accepts("The PING back."),
    Case::must(
        "tunnel/fragments/any-cut",
        "A message may come in any number of fragments",
        &["13.13"],
        run!(fragments),
    )
    .over(WAY)
    .against(ENDS)
    .why("Libraries and proxies cut messages at their buffers.")
    .sends("A pair and 3000 bytes as one message, in fragments of 0 to 200 bytes.")
    .accepts("The bytes back."),
    Case::must(
        "tunnel/fragments/empty-last",
        "The last fragment may be empty",
        &["13.13"],
        run!(empty_last),
    )
    .over(WAY)
    .against(ENDS)
    .why("Real gateways end every long message so.")
    .sends("DATA of 12 000 bytes in a fragment, then an empty last one.")
    .accepts("The bytes back."),
    Case::must(
        "tunnel/fragments/empty-first",
        "The first fragment may be empty",
        &["13.13"],
        run!(empty_first),
    )
    .over(WAY)
    .against(ENDS)
    .why("A library that opens a message before it has bytes sends this.")
    .sends("An empty first fragment, then DATA; a message of three empty fragments behind it.")
    .accepts("The bytes back."),
    Case::must(
        "tunnel/fragments/control-frames-between",
        "Control frames may stand between any two fragments",
        &["13.13", "10.11"],
        run!(control_between),
    )
    .over(WAY)
    .against(ENDS)
    .why("A heartbeat comes when its timer says.")
    .sends("DATA in fragments of 1 to 90 bytes with a PING behind each.")
    .accepts("The bytes back."),
    Case::must(
        "tunnel/fragments/of-the-server",
        "What the server cuts is put together again",
        &["13.13", "13.10"],
        run!(of_the_server),
    )
    .over(WAY)
    .against(ENDS)
    .why("The borders of a gateway's buffers, at 4096 bytes, 8 KiB and 32 KiB, are where bytes get lost.")
    .sends("Payloads of 4000 to 4200, 8100 to 8300 and 32 700 to 32 800 bytes to the echo.")
    .accepts("The bytes back."),
];

/// The WebSocket of a session on this way.
fn websocket(session: &mut Session) -> Option<&mut crate::probe::websocket::WebSocket> {
    match &mut session.carrier {
        Carrier::Tunnel(websocket) => Some(websocket),
        Carrier::Plain(_) => None,
    }
}

/// Sends one message or fragment.
async fn message(session: &mut Session, first: u8, payload: &[u8]) -> Result<(), Stop> {
    match websocket(session) {
        Some(websocket) => websocket.send(first, payload).await,
        None => Ok(()),
    }
}

/// The bytes of frames.
fn encoded(session: &mut Session, frames: &[Frame]) -> Vec<u8> {
    frames
        .iter()
        .flat_map(|frame| session.encoder.encode(frame))
        .collect()
}

/// Waits for all bytes of a pair.
async fn back(session: &mut Session, pair: Pair, bytes: &[u8]) -> Outcome {
    let what = format!("{} bytes back on stream {}", bytes.len(), pair.data);
    let patience = BULK * session.patience;
    session
        .until_within(&what, patience, |s| {
            s.received(pair.data) >= bytes.len() as u64 || s.ended(pair.data)
        })
        .await?;
    if session.stream(pair.data).data != bytes {
        return Err(Stop::departure(what, session.summary()));
    }
    OK
}

async fn binary(t: &mut Trial) -> Outcome {
    let mut session = t.session().await?;
    let bytes = t.dice.bytes(10_000);
    session.echo(t.port(Service::Echo)?, &bytes).await?;
    // A text message, or bytes that are no frame, would have ended the session.
    session.alive("behind the bytes").await?;
    OK
}

async fn as_kubectl(t: &mut Trial) -> Outcome {
    let mut session = t.session().await?;
    let (pair, mut frames) = session.pair_frames(t.port(Service::Echo)?);
    frames.push(data(pair.data, 0, b"hello"));
    for frame in &frames {
        let bytes = session.encoder.encode(frame);
        let cuts: &[usize] = match frame {
            Frame::SynStream { .. } => &[2, 2, 4, 4, 4, 1, 1],
            _ => &[4, 4],
        };
        let mut rest = bytes.as_slice();
        for cut in cuts {
            let (part, more) = rest.split_at((*cut).min(rest.len()));
            message(&mut session, LAST | BINARY, part).await?;
            rest = more;
        }
        // Empty for FIN.
        message(&mut session, LAST | BINARY, rest).await?;
    }
    back(&mut session, pair, b"hello").await?;
    session.finish(pair.data).await?;
    session.clean_end(pair).await?;
    OK
}

/// A pair to the echo with bytes in this many frames: encoded.
fn pair_with(session: &mut Session, port: u16, bytes: &[u8], count: usize) -> (Pair, Vec<u8>) {
    let (pair, mut frames) = session.pair_frames(port);
    let size = bytes.len().div_ceil(count).max(1);
    frames.extend(bytes.chunks(size).map(|part| data(pair.data, 0, part)));
    let wire = encoded(session, &frames);
    (pair, wire)
}

async fn any_cut(t: &mut Trial) -> Outcome {
    let mut session = t.session().await?;
    let bytes = t.dice.bytes(6000);
    let (pair, wire) = pair_with(&mut session, t.port(Service::Echo)?, &bytes, 10);
    let mut rest = wire.as_slice();
    while !rest.is_empty() {
        let (part, more) = rest.split_at(t.dice.size(0, 60).min(rest.len()));
        message(&mut session, LAST | BINARY, part).await?;
        rest = more;
    }
    back(&mut session, pair, &bytes).await
}

async fn many_frames(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut session = t.session().await?;
    let (first, mut wire) = pair_with(&mut session, port, b"one", 1);
    let (second, more) = pair_with(&mut session, port, b"another", 2);
    wire.extend(more);
    wire.extend(encoded(&mut session, &[Frame::Ping(1)]));
    message(&mut session, LAST | BINARY, &wire).await?;
    back(&mut session, first, b"one").await?;
    back(&mut session, second, b"another").await?;
    session
        .until("PING 1 echoed", |s| s.pings.contains(&1))
        .await?;
    OK
}

async fn frame_and_a_half(t: &mut Trial) -> Outcome {
    let mut session = t.session().await?;
    let pair = session.pair(t.port(Service::Echo)?).await?;
    let bytes = t.dice.bytes(1000);
    let frames: Vec<Frame> = bytes
        .chunks(100)
        .map(|part| data(pair.data, 0, part))
        .collect();
    let wire = encoded(&mut session, &frames);
    for part in wire.chunks(162) {
        message(&mut session, LAST | BINARY, part).await?;
    }
    back(&mut session, pair, &bytes).await
}

async fn empty(t: &mut Trial) -> Outcome {
    let mut session = t.session().await?;
    message(&mut session, LAST | BINARY, b"").await?;
    let (pair, wire) = pair_with(&mut session, t.port(Service::Echo)?, b"around", 2);
    let (start, rest) = wire.split_at(5);
    for part in [start, b"", b"", rest, b""] {
        message(&mut session, LAST | BINARY, part).await?;
    }
    back(&mut session, pair, b"around").await
}

async fn text(t: &mut Trial) -> Outcome {
    let mut session = t.session().await?;
    session.alive("at the start").await?;
    let ping = encoded(&mut session, &[Frame::Ping(101)]);
    message(&mut session, LAST | TEXT, &ping).await?;
    // A server that takes no notice of it goes on and echoes this one.
    let barrier = encoded(&mut session, &[Frame::Ping(103)]);
    message(&mut session, LAST | BINARY, &barrier).await?;
    session
        .until("the end of the session after a text message", |s| {
            s.end.is_some() || s.pings.contains(&103)
        })
        .await?;
    let taken = session.pings.contains(&101);
    match &session.end {
        Some(End::Malformed(what)) => Err(Stop::departure("the end", what.clone())),
        Some(_) if !taken => OK,
        _ => Err(Stop::departure(
            "the end of the session after a text message, and nothing of it taken",
            session.summary(),
        )),
    }
}

async fn one_mebibyte(t: &mut Trial) -> Outcome {
    let mut session = t.session().await?;
    let bytes = t.dice.bytes(1 << 20);
    let (pair, wire) = pair_with(&mut session, t.port(Service::Echo)?, &bytes, 64);
    message(&mut session, LAST | BINARY, &wire).await?;
    back(&mut session, pair, &bytes).await
}

async fn large(t: &mut Trial) -> Outcome {
    let mut session = t.session().await?;
    let bytes = vec![0x5a; 32 << 20];
    let (_, mut wire) = pair_with(&mut session, t.port(Service::Sink)?, &bytes, 1024);
    wire.extend(encoded(&mut session, &[Frame::Ping(1)]));
    message(&mut session, LAST | BINARY, &wire).await?;
    session
        .until_within("PING 1 behind 32 MiB echoed", BULK * t.patience, |s| {
            s.pings.contains(&1)
        })
        .await?;
    OK
}

/// Sends bytes as one message in these fragments.
async fn in_fragments(session: &mut Session, parts: &[&[u8]]) -> Result<(), Stop> {
    for (number, part) in parts.iter().enumerate() {
        let opcode = if number == 0 { BINARY } else { CONTINUATION };
        let last = if number + 1 == parts.len() { LAST } else { 0 };
        message(session, last | opcode, part).await?;
    }
    Ok(())
}

async fn fragments(t: &mut Trial) -> Outcome {
    let mut session = t.session().await?;
    let bytes = t.dice.bytes(3000);
    let (pair, wire) = pair_with(&mut session, t.port(Service::Echo)?, &bytes, 3);
    let (mut parts, mut rest) = (Vec::new(), wire.as_slice());
    while !rest.is_empty() {
        let (part, more) = rest.split_at(t.dice.size(0, 200).min(rest.len()));
        parts.push(part);
        rest = more;
    }
    in_fragments(&mut session, &parts).await?;
    back(&mut session, pair, &bytes).await
}

async fn empty_last(t: &mut Trial) -> Outcome {
    let mut session = t.session().await?;
    let pair = session.pair(t.port(Service::Echo)?).await?;
    let bytes = t.dice.bytes(12_000);
    let wire = encoded(&mut session, &[data(pair.data, 0, &bytes)]);
    in_fragments(&mut session, &[&wire, b""]).await?;
    back(&mut session, pair, &bytes).await
}

async fn empty_first(t: &mut Trial) -> Outcome {
    let mut session = t.session().await?;
    let pair = session.pair(t.port(Service::Echo)?).await?;
    let bytes = t.dice.bytes(200);
    let wire = encoded(&mut session, &[data(pair.data, 0, &bytes)]);
    in_fragments(&mut session, &[b"", &wire]).await?;
    in_fragments(&mut session, &[b"", b"", b""]).await?;
    back(&mut session, pair, &bytes).await?;
    session.alive("behind empty fragments").await?;
    OK
}

async fn control_between(t: &mut Trial) -> Outcome {
    let mut session = t.session().await?;
    let bytes = t.dice.bytes(2000);
    let (pair, wire) = pair_with(&mut session, t.port(Service::Echo)?, &bytes, 2);
    let mut rest = wire.as_slice();
    let mut opcode = BINARY;
    while !rest.is_empty() {
        let (part, more) = rest.split_at(t.dice.size(1, 90).min(rest.len()));
        message(&mut session, opcode, part).await?;
        message(&mut session, LAST | PING, b"between").await?;
        (opcode, rest) = (CONTINUATION, more);
    }
    message(&mut session, LAST | CONTINUATION, b"").await?;
    back(&mut session, pair, &bytes).await
}

async fn of_the_server(t: &mut Trial) -> Outcome {
    let mut session = t.session().await?;
    let pair = session.pair(t.port(Service::Echo)?).await?;
    for (low, high) in [(4000, 4200), (8100, 8300), (32_700, 32_800)] {
        for _ in 0..3 {
            let length = t.dice.size(low, high);
            let bytes = t.dice.bytes(length);
            session.echo_on(pair, &bytes).await?;
        }
    }
    session.alive("behind them").await?;
    OK
}
