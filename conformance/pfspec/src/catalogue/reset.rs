//! `pf/reset/`: chapter 8, RST_STREAM by the client and the end of the session.

use super::pods::{both_end, closed, closes, comes, hash_answer, hash_request, http_request, sunk};
use crate::case::{Case, OK, Outcome, Seen, Stop};
use crate::dice::sequence;
use crate::probe::session::{Carrier, Pair, Session, headers};
use crate::probe::wire::Frame;
use crate::run;
use crate::target::Service;
use crate::trial::Trial;
use std::time::Duration;

/// RST_STREAM status 5.
const CANCEL: u32 = 5;

pub(super) const CASES: &[Case] = &[
    Case::must(
        "pf/reset/keeps-the-session",
        "A reset of a data stream keeps the session",
        &["8.24"],
        run!(keeps_session),
    )
    .why("kubectl resets the data stream of every connection whose local program is gone.")
    .sends("Ten pairs to the echo, each reset after bytes went to and fro; bytes on another pair after each; a new pair.")
    .accepts("All bytes back on the others."),
    Case::must(
        "pf/reset/any-status",
        "A reset with any status is a reset",
        &["8.24"],
        run!(any_status),
    )
    .why("Clients differ in the status that they use.")
    .sends("Pairs to the echo, reset with status 1 to 11 and 1000.")
    .accepts("PING, and bytes back on a new pair, after each."),
    Case::must(
        "pf/reset/isolation",
        "Resets in the midst of transfers touch no other stream",
        &["8.24", "4.17"],
        run!(isolation),
    )
    .why("One program that breaks off must not cut another's download.")
    .sends("Ten downloads of 300 000 bytes at once; when some bytes have come, five of them reset.")
    .accepts("The other five whole."),
    Case::must(
        "pf/reset/in-an-endless-download",
        "A reset ends a download that has no end",
        &["8.24"],
        run!(endless),
    )
    .why("A user who breaks a download off (kubernetes issue 74551) does not want the rest of it over the line.")
    .sends("A download of 1 GiB; RST_STREAM after 1 MB; PING; a pair to the echo.")
    .accepts("Bytes back; the end of the error stream, before the download has come to its end, and no more of it behind."),
    Case::must(
        "pf/reset/in-an-upload",
        "A reset in the midst of an upload ends it",
        &["8.24"],
        run!(in_upload),
    )
    .why("A client may be killed while it sends.")
    .sends("Half of what a request promised to the hash, RST_STREAM, a pair to the echo.")
    .accepts("Bytes back; no answer on the stream that was reset."),
    Case::must(
        "pf/reset/before-the-answer",
        "A pair that is reset before it is answered harms nothing",
        &["8.24", "4.17"],
        run!(before_answer),
    )
    .why("A user who closes at once makes the reset overtake the answers.")
    .sends("SYN_STREAM error, SYN_STREAM data, RST_STREAM for the one, the other or both, in one write, thirty times; a pair to the echo.")
    .accepts("PING, and bytes back."),
    Case::must(
        "pf/reset/of-a-lone-stream",
        "A stream that waits for its partner may be reset",
        &["4.17", "7.21"],
        run!(lone),
    )
    .why("A client whose second stream was refused gives the first one back.")
    .sends("Ten lone error streams and ten lone data streams, each reset once it is answered; a pair to the echo.")
    .accepts("PING, and bytes back."),
    Case::should(
        "pf/reset/ends-the-error-stream",
        "After a reset of the data stream the error stream is ended",
        &["8.25", "8.26"],
        run!(ends_error),
    )
    .why("kubectl waits for the end of the error stream before it closes the local connection.")
    .sends("A pair to the echo, bytes, RST_STREAM on data.")
    .accepts("FIN or RST_STREAM on error: `fin`, `reset`, with or without text."),
    Case::should(
        "pf/reset/no-end-on-data",
        "There is no FIN on a stream that the client has reset",
        &["8.25", "4.17"],
        run!(no_end_on_data),
    )
    .why("A stream that was reset is over for both; further frames are for nobody.")
    .sends("A pair to the echo, bytes, RST_STREAM on data.")
    .accepts("Neither FIN nor RST_STREAM on it, when the error stream has ended and PING was answered."),
    Case::should(
        "pf/reset/of-the-error-stream",
        "A reset of the error stream leaves the data alone",
        &["8.25"],
        run!(of_error),
    )
    .why("A client that does not care for texts may give the error stream back.")
    .sends("A pair to the echo, RST_STREAM on error, then bytes on data and FIN.")
    .accepts("The bytes back, and the session works."),
    Case::should(
        "pf/reset/behind-the-servers-end",
        "A reset behind the server's FIN is accepted",
        &["8.23"],
        run!(behind_end),
    )
    .why("kubectl from 1.32 on sends one on every connection that the pod ended.")
    .sends("A request to a port that answers and closes; RST_STREAM on data when FIN has come; five times.")
    .accepts("The whole answer, the end of the error stream without a text, and a session that works."),
    Case::should(
        "pf/reset/twice",
        "A second reset and a reset of both streams are accepted",
        &["8.25", "4.19"],
        run!(twice),
    )
    .why("Clients reset all that they have when they end.")
    .sends("A pair to the echo; RST_STREAM on data twice and on error twice; PING; a new pair.")
    .accepts("PING, no RST_STREAM in return, and bytes back."),
    Case::must(
        "pf/reset/data-before-counts",
        "Bytes in front of a reset reach the pod",
        &["8.24", "4.18"],
        run!(data_before),
    )
    .alone()
    .why("A client that has sent all may reset instead of ending.")
    .sends("1 000 003 bytes to the sink and RST_STREAM right behind them; then a look at the pod's counts.")
    .accepts("That the sink has read as many bytes more."),
    Case::must(
        "pf/reset/closes-the-pods-connection",
        "After a reset the connection to the pod is closed",
        &["8.24"],
        run!(closes_connection),
    )
    .alone()
    .why("Connections that nobody uses fill a database's limit.")
    .sends("Five connections with an answer that has come, RST_STREAM on each; then a look at the pod's counts.")
    .accepts("That five connections have ended."),
    Case::must(
        "pf/reset/session-closed",
        "The end of TCP closes the connections to the pod",
        &["8.29", "13.18"],
        run!(session_closed),
    )
    .alone()
    .why("A laptop's lid ends sessions all the time.")
    .sends("Five connections with an answer that has come, and the end of the session's TCP connection; then a look at the pod's counts.")
    .accepts("That five connections have ended."),
    Case::must(
        "pf/reset/session-goaway",
        "GOAWAY closes the connections to the pod",
        &["8.29"],
        run!(session_goaway),
    )
    .alone()
    .within(60)
    .why("It is how kubectl ends.")
    .sends("Five connections with an answer that has come, GOAWAY; a look at the pod's counts, the TCP connection being open; if they are open, RST_STREAM on each and a second look.")
    .accepts("That five connections have ended: `ends-streams` with GOAWAY, `finishes` with RST_STREAM."),
    Case::must(
        "pf/reset/session-beside",
        "The end of one session leaves the others alone",
        &["8.29"],
        run!(session_beside),
    )
    .why("Several users forward to one pod.")
    .sends("Two sessions with a pair to the echo each; the first is cut; bytes on the second.")
    .accepts("Bytes back."),
    Case::observed(
        "pf/reset/what-follows",
        "What comes on a data stream after the client's reset",
        &["4.15", "8.25"],
        run!(what_follows),
    )
    .why("A client has to ignore it; how much there is differs.")
    .sends("A download of 300 000 000 bytes, more than is on its way at once, RST_STREAM after the first of them.")
    .accepts("`nothing-but-data`, `fin`, or `reset`: behind the reset, until the error stream has ended."),
];

async fn keeps_session(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let beside = s.pair(port).await?;
    for round in 0..10 {
        let pair = s.echo(port, b"to be reset").await?;
        s.reset(pair.data, CANCEL).await?;
        s.echo_on(beside, format!("round {round}").as_bytes())
            .await?;
    }
    s.echo(port, b"a new pair").await?;
    OK
}

async fn any_status(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    for status in (1..=11).chain([1000]) {
        let pair = s.echo(port, b"to be reset").await?;
        s.reset(pair.data, status).await?;
        s.alive(&format!("after RST_STREAM with status {status}"))
            .await?;
    }
    s.echo(port, b"a new pair").await?;
    OK
}

async fn isolation(t: &mut Trial) -> Outcome {
    const LENGTH: usize = 300_000;
    let port = t.port(Service::Random)?;
    let mut s = t.session().await?;
    let mut pairs = Vec::new();
    for _ in 0..10 {
        pairs.push(s.pair(port).await?);
    }
    for pair in &pairs {
        s.write(pair.data, &(LENGTH as u64).to_be_bytes()).await?;
    }
    t.dice.shuffle(&mut pairs);
    let (reset, whole) = pairs.split_at(5);
    for pair in reset {
        s.until("some bytes", |s| s.received(pair.data) > 0).await?;
        s.reset(pair.data, CANCEL).await?;
    }
    let wanted = sequence(LENGTH as u64, LENGTH);
    for pair in whole {
        let what = format!("the whole download on stream {}", pair.data);
        comes(&mut s, pair.data, &wanted, 2 * t.patience, &what).await?;
        if s.ended(pair.data) || s.received(pair.error) > 0 {
            let text = s.summary();
            return Err(Stop::departure("that the other pairs are open", text));
        }
    }
    OK
}

async fn endless(t: &mut Trial) -> Outcome {
    const WHOLE: u64 = 1 << 30;
    // A runtime may go on for a second.
    const SOON: Duration = Duration::from_secs(3);
    let (port, echo) = (t.port(Service::Source)?, t.port(Service::Echo)?);
    let mut s = t.session().await?;
    s.keeps = false;
    let pair = s.pair(port).await?;
    s.until("1 MB", |s| s.received(pair.data) > 1 << 20).await?;
    s.reset(pair.data, CANCEL).await?;
    let began = tokio::time::Instant::now();
    s.alive("after a reset").await?;
    let fresh = s.pair(echo).await?;
    s.write(fresh.data, b"after the download").await?;
    s.until("bytes back on a new pair", |s| s.received(fresh.data) == 18)
        .await?;
    s.until_within("the end of the error stream", 3 * t.patience, |s| {
        s.ended(pair.error)
    })
    .await?;
    let took = began.elapsed();
    s.alive("after the download").await?;
    let came = s.received(pair.data);
    s.read_for(Duration::from_millis(100)).await?;
    if s.received(pair.data) != came || (came >= WHOLE && took > SOON) {
        return Err(Stop::departure(
            "an end of the download soon after the reset",
            format!("{} bytes of it, {took:?} later", s.received(pair.data)),
        ));
    }
    OK
}

async fn in_upload(t: &mut Trial) -> Outcome {
    let (port, echo) = (t.port(Service::Hash)?, t.port(Service::Echo)?);
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    let request = hash_request(&t.dice.bytes(400_000));
    s.write(pair.data, request.get(..200_000).unwrap_or_default())
        .await?;
    s.reset(pair.data, CANCEL).await?;
    s.echo(echo, b"after the upload").await?;
    if s.received(pair.data) > 0 {
        let text = s.stream(pair.data).text();
        return Err(Stop::departure("no answer to half of a request", text));
    }
    OK
}

async fn before_answer(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    for round in 0..30 {
        let (pair, mut frames) = s.pair_frames(port);
        let reset = |id| Frame::RstStream { id, status: CANCEL };
        if round % 3 != 1 {
            frames.push(reset(pair.data));
        }
        if round % 3 != 0 {
            frames.push(reset(pair.error));
        }
        s.send_all(&frames).await?;
    }
    s.alive("after streams that were reset at once").await?;
    s.echo(port, b"a good pair").await?;
    OK
}

async fn lone(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let text = port.to_string();
    let mut s = t.session().await?;
    for round in 0..20 {
        let kind = if round % 2 == 0 { "error" } else { "data" };
        let request = s.request_id();
        let id = s.open(&headers(kind, &text, &request)).await?;
        s.until("SYN_REPLY", |s| s.replied(id)).await?;
        s.reset(id, CANCEL).await?;
    }
    s.alive("after lone streams that were reset").await?;
    s.echo(port, b"a good pair").await?;
    OK
}

/// A pair to the echo with bytes to and fro, whose data stream was reset.
async fn reset_pair(t: &Trial) -> Result<(Session, Pair), Stop> {
    let mut s = t.session().await?;
    let pair = s.echo(t.port(Service::Echo)?, b"to be reset").await?;
    s.reset(pair.data, CANCEL).await?;
    Ok((s, pair))
}

async fn ends_error(t: &mut Trial) -> Outcome {
    let (mut s, pair) = reset_pair(t).await?;
    s.until("FIN or RST_STREAM on the error stream", |s| {
        s.ended(pair.error)
    })
    .await?;
    let error = s.stream(pair.error);
    Ok(Seen::as_slug(match (error.fin, error.data.is_empty()) {
        (true, true) => "fin",
        (true, false) => "text-and-fin",
        (false, true) => "reset",
        (false, false) => "text-and-reset",
    }))
}

async fn no_end_on_data(t: &mut Trial) -> Outcome {
    let (mut s, pair) = reset_pair(t).await?;
    s.until("FIN or RST_STREAM on the error stream", |s| {
        s.ended(pair.error)
    })
    .await?;
    s.alive("after a reset").await?;
    if s.ended(pair.data) {
        let text = s.summary();
        return Err(Stop::departure("no end of a stream that is over", text));
    }
    OK
}

async fn of_error(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let pair = s.echo(port, b"before").await?;
    s.reset(pair.error, CANCEL).await?;
    s.alive("after a reset of the error stream").await?;
    s.echo_on(pair, b"behind").await?;
    s.finish(pair.data).await?;
    s.echo(port, b"a new pair").await?;
    OK
}

async fn behind_end(t: &mut Trial) -> Outcome {
    let (port, echo) = (t.port(Service::Hash)?, t.port(Service::Echo)?);
    let mut s = t.session().await?;
    for _ in 0..5 {
        let pair = s.pair(port).await?;
        s.write(pair.data, &hash_request(b"asked")).await?;
        s.until("the pod's end", |s| s.ended(pair.data)).await?;
        s.reset(pair.data, CANCEL).await?;
        both_end(&mut s, pair, "after a reset behind FIN").await?;
        let what = "the whole answer";
        let wanted = hash_answer(b"asked");
        comes(&mut s, pair.data, &wanted, t.patience, what).await?;
        if s.received(pair.error) > 0 {
            let text = s.stream(pair.error).text();
            return Err(Stop::departure("no text", text));
        }
    }
    s.echo(echo, b"and the session works").await?;
    OK
}

async fn twice(t: &mut Trial) -> Outcome {
    let (mut s, pair) = reset_pair(t).await?;
    for id in [pair.data, pair.error, pair.error] {
        s.reset(id, CANCEL).await?;
    }
    s.alive("after four resets").await?;
    let in_return = s.stream(pair.data).resets.len();
    if in_return > 0 {
        let text = s.summary();
        return Err(Stop::departure("no RST_STREAM in return", text));
    }
    s.echo(t.port(Service::Echo)?, b"a new pair").await?;
    OK
}

async fn data_before(t: &mut Trial) -> Outcome {
    const LENGTH: usize = 1_000_003;
    let before = sunk(t).await?;
    let mut s = t.session().await?;
    let pair = s.pair(t.port(Service::Sink)?).await?;
    let bytes = t.dice.bytes(LENGTH);
    s.write(pair.data, &bytes).await?;
    s.reset(pair.data, CANCEL).await?;
    let deadline = tokio::time::Instant::now() + t.patience;
    loop {
        let more = sunk(t).await?.saturating_sub(before);
        if more >= LENGTH as u64 {
            return OK;
        }
        if tokio::time::Instant::now() > deadline {
            return Err(Stop::departure(
                format!("that the pod gets the {LENGTH} bytes in front of the reset"),
                format!("{more} within {:?}", t.patience),
            ));
        }
        s.read_for(Duration::from_millis(100)).await?;
    }
}

/// Five connections to the pod that are up for sure, and how many had ended before.
async fn five(t: &Trial) -> Result<(Session, Vec<Pair>, u64), Stop> {
    let before = closed(t, Service::Early).await?;
    let port = t.port(Service::Early)?;
    let mut s = t.session().await?;
    let mut pairs = Vec::new();
    for _ in 0..5 {
        let pair = s.pair(port).await?;
        s.write(pair.data, b"go\n").await?;
        pairs.push(pair);
    }
    for pair in &pairs {
        s.until("the answer of the pod", |s| s.received(pair.data) == 65536)
            .await?;
    }
    Ok((s, pairs, before))
}

async fn closes_connection(t: &mut Trial) -> Outcome {
    let (mut s, pairs, before) = five(t).await?;
    for pair in &pairs {
        s.reset(pair.data, CANCEL).await?;
    }
    closes(t, Service::Early, before, 5, t.patience, "after RST_STREAM").await?;
    s.alive("after RST_STREAM").await?;
    OK
}

async fn session_closed(t: &mut Trial) -> Outcome {
    let (s, _, before) = five(t).await?;
    drop(s);
    closes(t, Service::Early, before, 5, t.patience, "with the session").await?;
    OK
}

async fn session_goaway(t: &mut Trial) -> Outcome {
    let (mut s, pairs, before) = five(t).await?;
    s.send(&Frame::Goaway { last: 0, status: 0 }).await?;
    // Who lets open streams finish (clause 5.11) may wait for them for a moment.
    let within = 2 * t.patience;
    match closes(t, Service::Early, before, 5, within, "after GOAWAY").await {
        Ok(()) => return Ok(Seen::as_slug("ends-streams")),
        Err(Stop::Departure { .. }) => {}
        Err(stop) => return Err(stop),
    }
    for pair in &pairs {
        s.reset(pair.data, CANCEL).await?;
    }
    let after = "with their streams after GOAWAY";
    closes(t, Service::Early, before, 5, t.patience, after).await?;
    Ok(Seen::as_slug("finishes"))
}

async fn session_beside(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let (mut one, mut two) = (t.session().await?, t.session().await?);
    one.echo(port, b"one").await?;
    let pair = two.echo(port, b"two").await?;
    // No GOAWAY, and no Close frame.
    match one.carrier {
        Carrier::Plain(connection) => drop(connection),
        Carrier::Tunnel(websocket) => drop(websocket),
    }
    two.echo_on(pair, b"two goes on").await?;
    two.alive("when another session is cut").await?;
    two.echo(port, b"a new pair").await?;
    OK
}

async fn what_follows(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Http)?;
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    s.write(pair.data, &http_request("/bytes/300000000"))
        .await?;
    s.until("some bytes", |s| s.received(pair.data) > 0).await?;
    s.reset(pair.data, CANCEL).await?;
    s.until("the end of the error stream", |s| s.ended(pair.error))
        .await?;
    s.alive("after a reset").await?;
    let stream = s.stream(pair.data);
    Ok(Seen::as_slug(
        match (stream.fin, stream.resets.is_empty()) {
            (true, _) => "fin",
            (false, false) => "reset",
            (false, true) => "nothing-but-data",
        },
    ))
}
