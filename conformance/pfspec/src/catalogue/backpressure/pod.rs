//! `pf/backpressure/`: chapter 9, the pod does not read, or nobody is there who could.

use super::{MUCH, STALLED, unread};
use crate::case::{Case, OK, Outcome, Stop, Tag};
use crate::catalogue::pods::{comes, offered};
use crate::probe::log::{Layer, Side};
use crate::probe::session::{Carrier, Pair, Session, data};
use crate::probe::websocket::{self, BINARY, LAST};
use crate::probe::wire::Frame;
use crate::run;
use crate::target::Service;
use crate::trial::Trial;
use std::time::Duration;
use tokio::time::Instant;

/// How long a server may take to find out that a stream is stalled.
const PATIENT: Duration = Duration::from_secs(25);

/// How long a pod is late.
const LATE: Duration = Duration::from_secs(1);

pub(in crate::catalogue) const CASES: &[Case] = &[
    Case::quality(
        "pf/backpressure/pod-that-does-not-read",
        "A pod that does not read holds up its own connection alone",
        &["9.7", "9.5", "9.6"],
        run!(pod_does_not_read),
    )
    .tags(&[Tag::Load, Tag::Slow])
    .within(120)
    .why("One program that hangs must not stop the others.")
    .sends("48 MiB to a port that never reads, with bytes to the echo after each of them; then PING and a new pair to the echo.")
    .accepts("PING, and all bytes back, with a pause of 25 seconds at most; the stream may be reset."),
    Case::should(
        "pf/backpressure/pod-that-reads-late",
        "A pod that reads late gets everything",
        &["9.8", "9.1"],
        run!(pod_reads_late),
    )
    .tags(&[Tag::Load])
    .within(120)
    .why("A database that is busy for a moment must not lose a transaction.")
    .sends("A request that the pod answers after 2 seconds, and 1000 of 8 KiB each behind it. Where the pod cannot wait: bytes to the echo, of which none is read back, until the server takes no more for a second, since the pod waits to write; then all is read.")
    .accepts("An answer to each, in order; all bytes back, in order, and that the connection is open."),
    Case::should(
        "pf/backpressure/memory-for-a-stalled-pod",
        "What is kept for a pod that does not read is bounded",
        &["9.10"],
        run!(bounded_for_pod),
    )
    .tags(&[Tag::Hostile, Tag::Load])
    .within(180)
    .why("One client could fill the server's memory.")
    .sends("512 MiB to a port that never reads.")
    .accepts("That the server stops reading, resets the stream or ends the session."),
    Case::should(
        "pf/backpressure/memory-for-a-lone-stream",
        "What is kept for a stream without partner is bounded",
        &["9.10"],
        run!(bounded_for_lone),
    )
    .tags(&[Tag::Hostile, Tag::Load])
    .within(180)
    .why("One client could fill the server's memory without any pod.")
    .sends("512 MiB on a data stream without partner.")
    .accepts("That the server stops reading, resets the stream or ends the session."),
];

/// A pair to a port that never reads.
async fn never_read(t: &Trial) -> Result<(Session, Pair), Stop> {
    let mut s = t.session().await?;
    let pair = s.pair(t.port(Service::NeverReads)?).await?;
    // Nothing tells that somebody listens.
    s.read_for(Duration::from_millis(500)).await?;
    offered(&s, pair, Service::NeverReads)?;
    Ok((s, pair))
}

/// Sends on a stream until the server takes no more, has reset it, or all was sent; whether all was.
async fn fill(s: &mut Session, id: u32, length: usize) -> Result<bool, Stop> {
    let part: Frame = data(id, 0, &vec![b'f'; 256 << 10]);
    for _ in 0..length / (256 << 10) {
        if !s.try_send(&part, STALLED).await {
            return Ok(false);
        }
        // What came is looked at without waiting.
        while s.step(Instant::now()).await? == crate::probe::connection::Filled::More {}
        s.not_malformed("that the server stops reading, or ends what it does not want")?;
        if s.ended(id) || s.is_over() {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn pod_does_not_read(t: &mut Trial) -> Outcome {
    let (mut s, pair) = never_read(t).await?;
    let echo = s.echo(t.port(Service::Echo)?, b"before").await?;
    let stands = || {
        Stop::departure(
            "that the session goes on beside a pod that does not read",
            "that it stands still, or has ended",
        )
    };
    let part = data(pair.data, 0, &vec![b'f'; 256 << 10]);
    for _ in 0..MUCH >> 20 {
        for _ in 0..4 {
            if !s.try_send(&part, PATIENT).await {
                return Err(stands());
            }
        }
        s.echo_on(echo, b"beside it").await.map_err(|_| stands())?;
        if s.ended(pair.data) {
            break;
        }
        offered(&s, pair, Service::NeverReads)?;
    }
    s.alive("beside a pod that does not read")
        .await
        .map_err(|_| stands())?;
    s.echo(t.port(Service::Echo)?, b"a new pair")
        .await
        .map_err(|_| stands())?;
    OK
}

async fn pod_reads_late(t: &mut Trial) -> Outcome {
    if let Some(text) = asked_many(t).await? {
        let wanted: Vec<usize> = (1..=REQUESTS).collect();
        if lengths(&text) != wanted {
            return Err(Stop::departure(
                format!("answers to {REQUESTS} requests, in their order"),
                format!("to {}", lengths(&text).len()),
            ));
        }
        return OK;
    }
    waits_to_write(t).await
}

/// Requests in a row, of 8 KiB each.
const REQUESTS: usize = 1000;

/// Asks a port that waits before it answers and reads nothing meanwhile, and sends it 8 MB of further requests; the
/// further answers. `None` if the pod's HTTP does not know how to wait.
async fn asked_many(t: &Trial) -> Result<Option<String>, Stop> {
    let asked = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: pod\r\n{more}\r\n");
    let mut s = t.session().await?;
    let pair = s.pair(t.port(Service::Http)?).await?;
    s.write(pair.data, asked("/slow?ms=2000", "").as_bytes())
        .await?;
    let pad = format!("X-Pad: {}\r\n", "p".repeat(8 << 10));
    for length in 1..=REQUESTS {
        let mut more = pad.clone();
        if length == REQUESTS {
            more.push_str("Connection: close\r\n");
        }
        let request = asked(&format!("/bytes/{length}"), &more);
        s.write(pair.data, request.as_bytes()).await?;
        if s.ended(pair.data) {
            return Ok(None);
        }
    }
    s.until_within("the pod's end behind its answers", 3 * t.patience, |s| {
        s.ended(pair.data) && s.ended(pair.error)
    })
    .await?;
    let text = s.stream(pair.data).text();
    let Some((_, further)) = text.split_once("waited 2000 ms\n") else {
        return Ok(None);
    };
    if s.received(pair.error) > 0 {
        let text = s.stream(pair.error).text();
        return Err(Stop::departure("no text", text));
    }
    Ok(Some(further.to_owned()))
}

/// The lengths that heads of answers name, in their order.
fn lengths(answers: &str) -> Vec<usize> {
    answers
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .filter_map(|(_, length)| length.trim().parse().ok())
        .collect()
}

/// Sends to the echo until it reads no more, since it waits to write.
async fn waits_to_write(t: &mut Trial) -> Outcome {
    // Both directions have to be full.
    const MOST: usize = 2 * MUCH;
    let mut s = t.session().await?;
    let pair = s.pair(t.port(Service::Echo)?).await?;
    // Of no length that frames or buffers have: what is lost or moved shows.
    let block = t.dice.bytes((256 << 10) - 1);
    let mut sent = Vec::new();
    s.connection().reads_while_writing = false;
    let rest = loop {
        if sent.len() > MOST {
            return Err(Stop::Inconclusive(format!(
                "all {MOST} bytes were taken: the pod may have read them at once"
            )));
        }
        sent.extend(&block);
        let bytes = carried(&mut s, &data(pair.data, 0, &block));
        let layer = match s.carrier {
            Carrier::Plain(_) => Layer::Spdy,
            Carrier::Tunnel(_) => Layer::WebSocket,
        };
        let what = format!("DATA {} {} bytes", pair.data, block.len());
        s.connection().item(Side::Judge, layer, what, &bytes);
        let taken = s.connection().write_some(&bytes, LATE).await;
        if taken < bytes.len() {
            break bytes.get(taken..).unwrap_or_default().to_vec();
        }
    };
    s.connection().reads_while_writing = true;
    s.connection().write(&rest).await?;
    let what = "all that was sent, back";
    comes(&mut s, pair.data, &sent, 6 * t.patience, what).await?;
    s.alive("after both").await?;
    if s.ended(pair.data) || s.received(pair.error) > 0 {
        let text = s.summary();
        return Err(Stop::departure("an open connection", text));
    }
    OK
}

/// The bytes of a frame, as a message in the tunnel.
fn carried(s: &mut Session, frame: &Frame) -> Vec<u8> {
    let bytes = s.encoder.encode(frame);
    match s.carrier {
        Carrier::Plain(_) => bytes,
        Carrier::Tunnel(_) => websocket::frame(LAST | BINARY, true, &bytes),
    }
}

/// Whether a server takes 512 MiB of which nobody takes any.
async fn bounded(s: &mut Session, id: u32) -> Outcome {
    if fill(s, id, 512 << 20).await? {
        return Err(Stop::departure(
            "that the server stops reading, resets the stream or ends the session",
            "that it took 512 MiB which nobody reads",
        ));
    }
    OK
}

async fn bounded_for_pod(t: &mut Trial) -> Outcome {
    let (mut s, pair) = never_read(t).await?;
    bounded(&mut s, pair.data).await
}

async fn bounded_for_lone(t: &mut Trial) -> Outcome {
    let (mut s, id) = unread(t, 0, 0).await?;
    bounded(&mut s, id).await
}
