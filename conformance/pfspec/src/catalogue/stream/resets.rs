//! `spdy/stream/`: chapter 4, resets, and what streams have to do with each other: turns, order, HEADERS.

use super::ends::{never, over};
use crate::case::{Case, OK, Outcome, Stop, Tag};
use crate::catalogue::spdy::REFUSED;
use crate::probe::session::{Pair, Session, data};
use crate::probe::wire::Frame;
use crate::run;
use crate::target::Service;
use crate::trial::Trial;
use std::time::Duration;

pub(in crate::catalogue) const CASES: &[Case] = &[
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
