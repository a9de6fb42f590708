//! `spdy/stream/`: chapter 4, half-close, reset, late frames, HEADERS.

use crate::case::{Case, OK, Outcome, Stop, Tag};
use crate::catalogue::spdy::REFUSED;
use crate::probe::session::{Pair, Session, data};
use crate::probe::wire::{FIN, Frame};
use crate::run;
use crate::target::Service;
use crate::trial::Trial;
use std::time::{Duration, Instant};

pub(in crate::catalogue) const CASES: &[Case] = &[
    Case::must(
        "spdy/stream/fin-ends-one-direction",
        "FIN of the client leaves the other direction open",
        &["4.12"],
        run!(fin_of_the_client),
    )
    .why("Programs that read to the end before they answer depend on it.")
    .sends("300 bytes with FIN to the port that answers with their hash.")
    .accepts("The answer of 65 bytes, then a clean end."),
    Case::must(
        "spdy/stream/server-fin-ends-one-direction",
        "FIN of the server leaves the client's direction open",
        &["4.12"],
        run!(fin_of_the_server),
    )
    .why("A client may still be sending when the pod has said all it has to say.")
    .sends("A pair to the port that half-closes; after its FIN 20 000 bytes on the data stream, then FIN.")
    .accepts("No reset while the bytes are on their way; a clean end; the session works."),
    Case::must(
        "spdy/stream/fin-with-payload",
        "FIN on DATA with payload is honoured",
        &["4.13"],
        run!(fin_with, Some(b"the last word".as_slice())),
    )
    .why("Libraries other than kubectl's put FIN on their last payload.")
    .sends("DATA with payload and FIN to the echo.")
    .accepts("The payload back, and a clean end."),
    Case::must(
        "spdy/stream/fin-without-payload",
        "FIN on empty DATA is honoured",
        &["4.13"],
        run!(fin_with, None),
    )
    .why("This is how real clients end.")
    .sends("DATA to the echo, then empty DATA with FIN.")
    .accepts("The payload back, and a clean end."),
    Case::should(
        "spdy/stream/fin-on-syn-stream",
        "FIN on SYN_STREAM of the error stream is honoured",
        &["4.14"],
        run!(fin_on_error),
    )
    .why("It saves a frame for each connection.")
    .sends("A pair to the echo, FIN on the SYN_STREAM of its error stream, no FIN behind.")
    .accepts("The bytes back, and a clean end."),
    Case::should(
        "spdy/stream/fin-on-syn-stream-of-data",
        "FIN on SYN_STREAM of the data stream is honoured",
        &["4.14"],
        run!(fin_on_data),
    )
    .why("A client that has nothing to send can say so at once.")
    .sends("A pair to the echo, FIN on the SYN_STREAM of its data stream.")
    .accepts("A clean end without a byte."),
    Case::must(
        "spdy/stream/data-never-opened",
        "DATA for streams that were never opened is dropped",
        &["4.15"],
        run!(late, Late::Never),
    )
    .why("It may be left of a stream that was refused on the way.")
    .sends("40 DATA frames, with and without FIN, for random odd and even ids that were never opened.")
    .accepts("An open connection and a new one go on."),
    Case::must(
        "spdy/stream/data-after-fin",
        "DATA behind the client's FIN is dropped",
        &["4.15"],
        run!(late, Late::Fin),
    )
    .why("Real libraries do not keep an application from writing after it has closed.")
    .sends("DATA and FIN to the echo, and 40 more DATA frames, with and without FIN.")
    .accepts("The DATA before FIN back and nothing else; an open connection and a new one go on."),
    Case::must(
        "spdy/stream/data-after-reset",
        "DATA behind the client's reset is dropped",
        &["4.15"],
        run!(late, Late::Reset),
    )
    .why("Real libraries do not keep an application from writing after a reset.")
    .sends("A reset of a data stream, and 40 more DATA frames, with and without FIN.")
    .accepts("None of them back; an open connection and a new one go on."),
    Case::must(
        "spdy/stream/data-after-refusal",
        "DATA for a refused stream is dropped",
        &["4.15"],
        run!(late, Late::Refused),
    )
    .why("A client that does not wait for the answer has DATA on the way when the stream is refused.")
    .sends("A stream that is refused, and 40 DATA frames, with and without FIN.")
    .accepts("An open connection and a new one go on."),
    Case::must(
        "spdy/stream/data-after-the-end",
        "DATA for a stream that is over is dropped",
        &["4.15"],
        run!(late, Late::Over),
    )
    .why("Frames cross on the wire.")
    .sends("40 DATA frames, with and without FIN, for both streams of a connection that has ended.")
    .accepts("None of them back; an open connection and a new one go on."),
    Case::should(
        "spdy/stream/late-data-is-not-answered",
        "Late DATA is not answered",
        &["4.16"],
        run!(late, Late::Unanswered),
    )
    .why("One aborted upload brings thousands of such frames, and each answer costs both sides.")
    .sends("40 DATA frames for a connection that has ended, and for streams that were never opened.")
    .accepts("No frame for these streams."),
    Case::must(
        "spdy/stream/reset-is-for-one-stream",
        "A reset touches no other stream",
        &["4.17"],
        run!(reset_one),
    )
    .why("A browser that stops one download resets its stream; the other tabs go on.")
    .sends("Eight connections to the echo, half of them, chosen at random, reset.")
    .accepts("The bytes of the others back."),
    Case::must(
        "spdy/stream/reset-stops-the-server",
        "After a reset the server stops sending on that stream",
        &["4.17"],
        run!(reset_stops),
    )
    .tags(&[Tag::Load])
    .within(60)
    .why("A server that goes on fills the connection with bytes that nobody wants.")
    .sends("A pair to the port that sends 1 GiB, reset after 100 000 bytes; then PINGs.")
    .accepts("PING is answered, and soon no DATA comes on that stream any more."),
    Case::must(
        "spdy/stream/reset-is-not-answered",
        "A reset is not answered by a reset",
        &["4.19"],
        run!(reset_unanswered),
    )
    .why("Two peers that do so never stop.")
    .sends("Resets of open data streams.")
    .accepts("No RST_STREAM for these streams."),
    Case::must(
        "spdy/stream/reset-of-unknown",
        "A reset of a stream that was never opened is ignored",
        &["4.19"],
        run!(reset_unknown),
    )
    .why("Resets cross on the wire.")
    .sends("RST_STREAM for random odd and even ids that were never opened.")
    .accepts("No frame for these streams; the session works."),
    Case::must(
        "spdy/stream/reset-of-finished",
        "A reset of a stream that is over is ignored",
        &["4.19"],
        run!(reset_finished),
    )
    .why("Resets and FIN cross on the wire.")
    .sends("RST_STREAM twice for both streams of a connection that has ended, of one that was reset, and of a refused one.")
    .accepts("No RST_STREAM in return; the session works."),
    Case::must(
        "spdy/stream/one-after-the-other",
        "A session serves connections one after the other",
        &["4.21"],
        run!(one_after_the_other),
    )
    .why("Streams that are over and still held fill the session: kubernetes issue 100283.")
    .sends("60 connections to the half-closing port, one after the other.")
    .accepts("The banner and both ends on each."),
    Case::must(
        "spdy/stream/order",
        "The bytes of a stream stay in order, its end behind them",
        &["4.22"],
        run!(order),
    )
    .why("Workers that share out frames by anything but the stream mix its bytes.")
    .sends("Six connections to the echo, 30 numbered pieces of 1 to 3000 bytes on each, the connections mixed at random; FIN on each.")
    .accepts("Each one's pieces back in order, then a clean end."),
    Case::quality(
        "spdy/stream/headers-on-its-stream",
        "A stream goes on after HEADERS on it",
        &["4.24"],
        run!(headers_own),
    )
    .why("A client that sends trailers would hang its connection.")
    .sends("HEADERS on an open data stream to the echo, then DATA.")
    .accepts("The bytes back."),
    Case::quality(
        "spdy/stream/headers-and-other-streams",
        "HEADERS on one stream touches no other",
        &["4.24"],
        run!(headers_others),
    )
    .why("Connections that have nothing to do with each other should not stop each other.")
    .sends("HEADERS on an open data stream to the echo; then ten more connections.")
    .accepts("The bytes back on each of the ten."),
];

async fn fin_of_the_client(t: &mut Trial) -> Outcome {
    const LENGTH: u64 = 300;
    let port = t.port(Service::Hash)?;
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    let mut bytes = LENGTH.to_be_bytes().to_vec();
    bytes.extend(t.dice.bytes(300));
    s.send(&data(pair.data, FIN, &bytes)).await?;
    s.clean_end(pair).await?;
    if s.received(pair.data) != 65 {
        return Err(Stop::departure(
            "64 digits and a newline behind the client's FIN",
            s.summary(),
        ));
    }
    OK
}

/// Runtimes close all of a pair a second after its first end: a judge who is as late as that has asked nothing.
const IN_TIME: Duration = Duration::from_millis(900);

async fn fin_of_the_server(t: &mut Trial) -> Outcome {
    for _ in 0..5 {
        if let Some(mut s) = after_servers_fin(t).await? {
            s.works(t.port(Service::Echo)?, "after all this").await?;
            return OK;
        }
    }
    Err(Stop::Inconclusive(format!(
        "this machine is too busy: to send 20000 bytes took it more than {IN_TIME:?}, five times"
    )))
}

/// `None` if the server has reset the stream when the judge was late.
async fn after_servers_fin(t: &mut Trial) -> Result<Option<Session>, Stop> {
    let mut s = t.session().await?;
    let begun = Instant::now();
    let pair = s.pair(t.port(Service::HalfClose)?).await?;
    s.until("the banner and FIN", |s| s.ended(pair.data))
        .await?;
    let bytes = t.dice.bytes(20_000);
    s.write(pair.data, &bytes).await?;
    s.alive("after DATA behind the server's FIN").await?;
    let was_reset = |s: &Session| !s.stream(pair.data).resets.is_empty();
    if !was_reset(&s) {
        s.finish(pair.data).await?;
    }
    let late = begun.elapsed() > IN_TIME;
    if was_reset(&s) && !late {
        let expected = format!("no RST_STREAM {} after the server's FIN", pair.data);
        return Err(Stop::departure(expected, s.summary()));
    }
    let end = s.clean_end(pair).await;
    if end.is_err() && late && was_reset(&s) {
        return Ok(None);
    }
    end.map(|()| Some(s))
}

async fn fin_with(t: &mut Trial, payload: Option<&[u8]>) -> Outcome {
    let mut s = t.session().await?;
    let pair = s.echo(t.port(Service::Echo)?, b"before").await?;
    let last = payload.unwrap_or_default();
    s.send(&data(pair.data, FIN, last)).await?;
    s.clean_end(pair).await?;
    let whole = [b"before", last].concat();
    if s.stream(pair.data).data != whole {
        return Err(Stop::departure(
            format!("{:?} back", String::from_utf8_lossy(&whole)),
            format!("{:?}", s.stream(pair.data).text()),
        ));
    }
    OK
}

/// Opens a pair to the echo with FIN on one SYN_STREAM, and without FIN behind that of the error stream.
async fn opened_with_fin(t: &Trial, s: &mut Session, on_data: bool) -> Result<Pair, Stop> {
    let (pair, mut frames) = s.pair_frames(t.port(Service::Echo)?);
    let marked = if on_data { pair.data } else { pair.error };
    for frame in &mut frames {
        match frame {
            Frame::SynStream { id, flags, .. } if *id == marked => *flags = FIN,
            // FIN has come on its SYN_STREAM.
            Frame::Data { id, .. } if *id == marked => continue,
            _ => {}
        }
        s.send(frame).await?;
    }
    crate::catalogue::spdy::accepted(s, pair).await?;
    Ok(pair)
}

async fn fin_on_error(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let pair = opened_with_fin(t, &mut s, false).await?;
    s.echo_on(pair, b"all the same").await?;
    s.finish(pair.data).await?;
    s.clean_end(pair).await?;
    OK
}

async fn fin_on_data(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let pair = opened_with_fin(t, &mut s, true).await?;
    s.clean_end(pair).await?;
    if s.received(pair.data) != 0 {
        return Err(Stop::departure("no byte", s.summary()));
    }
    s.works(t.port(Service::Echo)?, "after FIN on SYN_STREAM")
        .await?;
    OK
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Late {
    Never,
    Fin,
    Reset,
    Refused,
    Over,
    Unanswered,
}

/// Ids that were never opened, and never will be in the case.
fn never(t: &mut Trial, count: usize) -> Vec<u32> {
    (0..count)
        .map(|_| u32::try_from(t.dice.between(0x1000, 0x7fff_ffff)).unwrap_or(0x1001))
        .collect()
}

async fn over(t: &Trial, s: &mut Session) -> Result<Pair, Stop> {
    let pair = s.echo(t.port(Service::Echo)?, b"before").await?;
    s.finish(pair.data).await?;
    s.clean_end(pair).await?;
    Ok(pair)
}

async fn late(t: &mut Trial, late: Late) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let open = s.echo(port, b"open").await?;
    let ids = match late {
        Late::Never => never(t, 8),
        Late::Fin => {
            let pair = s.echo(port, b"before").await?;
            s.finish(pair.data).await?;
            vec![pair.data]
        }
        Late::Reset => {
            let pair = s.echo(port, b"before").await?;
            s.reset(pair.data, 5).await?;
            vec![pair.data]
        }
        Late::Refused => vec![s.open(REFUSED).await?],
        Late::Over | Late::Unanswered => {
            let pair = over(t, &mut s).await?;
            let mut ids = vec![pair.error, pair.data];
            if late == Late::Unanswered {
                ids.extend(never(t, 2));
            }
            ids
        }
    };
    let resets: usize = ids.iter().map(|id| s.stream(*id).resets.len()).sum();
    for id in ids.iter().cycle().take(40) {
        let flags = if t.dice.between(0, 9) == 0 { FIN } else { 0 };
        let length = t.dice.size(0, 500);
        let bytes = t.dice.bytes(length);
        s.send(&data(*id, flags, &bytes)).await?;
    }
    s.echo_on(open, b"still open").await?;
    s.works(port, "after late DATA").await?;
    for id in &ids {
        let stream = s.stream(*id);
        if !stream.data.is_empty() && stream.data != b"before" {
            let expected = format!("no late byte back on stream {id}");
            return Err(Stop::departure(expected, s.summary()));
        }
    }
    if late == Late::Unanswered {
        s.read_for(Duration::from_millis(100)).await?;
        let now: usize = ids.iter().map(|id| s.stream(*id).resets.len()).sum();
        if now > resets || ids.iter().any(|id| !s.stream(*id).late.is_empty()) {
            return Err(Stop::departure("no answer to late DATA", s.summary()));
        }
    }
    OK
}

async fn reset_one(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let mut pairs = Vec::new();
    for _ in 0..8 {
        pairs.push(s.echo(port, b"before").await?);
    }
    t.dice.shuffle(&mut pairs);
    let (reset, kept) = pairs.split_at(4);
    for (gone, kept) in reset.iter().zip(kept) {
        let bytes = t.dice.bytes(5000);
        s.write(kept.data, bytes.get(..2500).unwrap_or_default())
            .await?;
        s.reset(gone.data, 5).await?;
        s.write(kept.data, bytes.get(2500..).unwrap_or_default())
            .await?;
        let what = format!("5000 bytes back on stream {}", kept.data);
        s.until(&what, |s| s.received(kept.data) >= 5006).await?;
        if s.stream(kept.data).data.get(6..) != Some(&bytes[..]) {
            return Err(Stop::departure(what, s.summary()));
        }
    }
    for pair in kept {
        s.finish(pair.data).await?;
    }
    for pair in kept {
        s.clean_end(*pair).await?;
    }
    OK
}

async fn reset_stops(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Source)?;
    let mut s = t.session().await?;
    s.keeps = false;
    // A slow machine has many bytes on their way by then.
    s.patience *= 3;
    let pair = s.pair(port).await?;
    s.until("100 000 bytes", |s| s.received(pair.data) >= 100_000)
        .await?;
    s.reset(pair.data, 5).await?;
    // What was on its way comes first; then, soon, nothing between two PINGs.
    s.alive("after a reset").await?;
    let deadline = tokio::time::Instant::now() + s.patience;
    loop {
        let before = s.received(pair.data);
        s.read_for(Duration::from_millis(100)).await?;
        s.alive("after a reset").await?;
        if s.received(pair.data) == before {
            break;
        }
        if tokio::time::Instant::now() > deadline {
            let expected = format!("the end of DATA {} after its reset", pair.data);
            return Err(Stop::departure(
                expected,
                format!("{} bytes by now", s.received(pair.data)),
            ));
        }
    }
    OK
}

async fn reset_unanswered(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let mut ids = Vec::new();
    for status in [5, 1, 3, 6, 7] {
        let pair = s.echo(port, b"before").await?;
        s.reset(pair.data, status).await?;
        ids.push(pair.data);
    }
    s.works(port, "after resets").await?;
    s.read_for(Duration::from_millis(100)).await?;
    for id in ids {
        if !s.stream(id).resets.is_empty() {
            let expected = format!("no RST_STREAM {id} in return");
            return Err(Stop::departure(expected, s.summary()));
        }
    }
    OK
}

async fn reset_unknown(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let ids = never(t, 10);
    for id in &ids {
        s.reset(*id, 5).await?;
    }
    s.works(port, "after resets of streams that never were")
        .await?;
    for id in ids {
        if s.peek(id).is_some() {
            let expected = format!("no frame for stream {id}");
            return Err(Stop::departure(expected, s.summary()));
        }
    }
    OK
}

async fn reset_finished(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let finished = over(t, &mut s).await?;
    let reset = s.echo(port, b"to be reset").await?;
    s.reset(reset.data, 5).await?;
    let refused = s.open(REFUSED).await?;
    s.until("RST_STREAM for a stream without type and port", |s| {
        s.ended(refused)
    })
    .await?;
    for id in [finished.error, finished.data, reset.data, refused] {
        for _ in 0..2 {
            s.reset(id, 5).await?;
        }
    }
    s.works(port, "after resets of streams that are over")
        .await?;
    s.read_for(Duration::from_millis(100)).await?;
    for (id, before) in [
        (finished.error, 0),
        (finished.data, 0),
        (reset.data, 0),
        (refused, 1),
    ] {
        if s.stream(id).resets.len() != before {
            let expected = format!("no RST_STREAM {id} in return");
            return Err(Stop::departure(expected, s.summary()));
        }
    }
    OK
}

async fn one_after_the_other(t: &mut Trial) -> Outcome {
    let port = t.port(Service::HalfClose)?;
    let mut s = t.session().await?;
    for i in 0..60 {
        let pair = s.pair(port).await?;
        s.finish(pair.data).await?;
        s.clean_end(pair).await?;
        if s.stream(pair.data).data != b"banner\n" {
            let expected = format!("the banner on connection {i}");
            return Err(Stop::departure(expected, s.summary()));
        }
    }
    OK
}

async fn order(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let mut connections = Vec::new();
    let mut turns = Vec::new();
    for i in 0..6 {
        connections.push((s.pair(port).await?, Vec::new()));
        turns.extend([i; 30]);
    }
    t.dice.shuffle(&mut turns);
    for (number, i) in turns.into_iter().enumerate() {
        let Some((pair, sent)) = connections.get_mut(i) else {
            continue;
        };
        let length = t.dice.size(1, 3000);
        let mut piece = format!("[{number}]").into_bytes();
        piece.extend(t.dice.bytes(length));
        s.send(&data(pair.data, 0, &piece)).await?;
        sent.extend(piece);
    }
    for (pair, _) in &connections {
        s.finish(pair.data).await?;
    }
    for (pair, sent) in &connections {
        s.clean_end(*pair).await?;
        let stream = s.stream(pair.data);
        if stream.data != *sent {
            let at = stream.data.iter().zip(sent).take_while(|(a, b)| a == b);
            return Err(Stop::departure(
                format!("the {} bytes of stream {} in order", sent.len(), pair.data),
                format!(
                    "{} bytes, the first {} of them right",
                    stream.data.len(),
                    at.count()
                ),
            ));
        }
    }
    OK
}

/// HEADERS on the data stream of an open connection to the echo.
async fn headers_sent(t: &Trial, s: &mut Session) -> Result<Pair, Stop> {
    let pair = s.echo(t.port(Service::Echo)?, b"before").await?;
    s.send(&Frame::Headers {
        id: pair.data,
        flags: 0,
        headers: vec![("x-trailer".to_owned(), "1".to_owned())],
    })
    .await?;
    Ok(pair)
}

/// How long the cases of HEADERS wait: a server that stands still does so for good.
const SHORT: Duration = Duration::from_secs(2);

async fn headers_own(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let pair = headers_sent(t, &mut s).await?;
    s.patience = s.patience.min(SHORT);
    s.echo_on(pair, b"behind HEADERS").await?;
    OK
}

async fn headers_others(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    headers_sent(t, &mut s).await?;
    s.patience = s.patience.min(SHORT);
    for i in 0..10 {
        s.echo(port, format!("connection {i}").as_bytes()).await?;
    }
    OK
}
