//! Streams that wait for their partner.

use super::super::pods::comes;
use crate::case::{Case, OK, Outcome, Seen, Stop, Tag};
use crate::probe::session::{Pair, Session, headers};
use crate::run;
use crate::target::Service;
use crate::trial::Trial;
use std::time::Duration;
use tokio::time::Instant;

/// The longest that a server may take to give up a stream that waits for 30 seconds.
const GIVEN_UP: Duration = Duration::from_secs(45);

pub(crate) const CASES: &[Case] = &[
    Case::should(
        "pf/pair/partner-after-20-seconds",
        "A stream waits at least 20 seconds for its partner",
        &["7.20"],
        run!(late_partner),
    )
    .tags(&[Tag::Slow])
    .within(60)
    .why("A client on a slow line needs a round trip between its two streams, and the session may be stalled by another one.")
    .sends("An error stream, PING every 5 seconds, the data stream after 20 seconds.")
    .accepts("Bytes back."),
    Case::should(
        "pf/pair/lone-error-is-told",
        "An error stream without partner is given up after 30 seconds, with a text or an end",
        &["7.20"],
        run!(lone_error_told),
    )
    .tags(&[Tag::Slow])
    .within(90)
    .why("A stream that is kept for ever is a leak, and its client learns nothing.")
    .sends("An error stream, and PING every 5 seconds.")
    .accepts("A text, FIN or RST_STREAM after 20 to 45 seconds."),
    Case::quality(
        "pf/pair/lone-error-is-ended",
        "An error stream that waited in vain is ended",
        &["7.22"],
        run!(lone_error_ended),
    )
    .tags(&[Tag::Slow])
    .within(90)
    .why("kubectl reads the error stream to its end: a text on one that never ends has no effect.")
    .sends("An error stream, and PING every 5 seconds.")
    .accepts("FIN or RST_STREAM within 45 seconds."),
    Case::quality(
        "pf/pair/lone-data-is-ended",
        "A data stream that waited in vain is ended",
        &["7.22"],
        run!(lone_data_ended),
    )
    .tags(&[Tag::Slow])
    .within(90)
    .why("Nothing else tells the client that its connection never was.")
    .sends("A data stream, and PING every 5 seconds.")
    .accepts("FIN or RST_STREAM within 45 seconds."),
    Case::must(
        "pf/pair/timeout-harms-no-other",
        "A pair that timed out harms no other",
        &["7.21"],
        run!(harms_no_other),
    )
    .tags(&[Tag::Slow])
    .within(90)
    .why("One connection whose second stream never came must not cost the user the others.")
    .sends("A pair to the echo that carries bytes now and then; beside it a lone error stream and a lone data stream, for 40 seconds; then a new pair.")
    .accepts("All bytes back, on the old pair and on the new one."),
    Case::must(
        "pf/pair/late-partner-begins-anew",
        "A partner that comes too late begins a new pair",
        &["7.21"],
        run!(begins_anew),
    )
    .tags(&[Tag::Slow])
    .within(90)
    .why("What is left of the old stream must not be joined with a new connection.")
    .sends("An error stream; 40 seconds later a data stream with its request id, and then another error stream with that id; bytes and FIN.")
    .accepts("The two that came late are a pair: bytes back, FIN on both, and nothing more on the first."),
];

/// Waits while PING keeps the session alive, until `done` or the time is over; whether it was done.
async fn wait(
    s: &mut Session,
    time: Duration,
    done: impl Fn(&Session) -> bool,
) -> Result<bool, Stop> {
    let deadline = Instant::now() + time;
    loop {
        let next = Instant::now() + Duration::from_secs(5);
        while Instant::now() < next.min(deadline) {
            if done(s) {
                return Ok(true);
            }
            s.step(next.min(deadline)).await?;
            if s.end.is_some() {
                s.alive("while a stream waits for its partner").await?;
            }
        }
        if Instant::now() >= deadline {
            return Ok(done(s));
        }
        s.alive("while a stream waits for its partner").await?;
    }
}

/// Opens one stream of a pair.
async fn lone(s: &mut Session, kind: &str, port: u16, request: &str) -> Result<u32, Stop> {
    let id = s.open(&headers(kind, &port.to_string(), request)).await?;
    s.until(&format!("SYN_REPLY for the {kind} stream"), |s| {
        s.replied(id)
    })
    .await?;
    Ok(id)
}

async fn late_partner(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let error = lone(&mut s, "error", port, "late").await?;
    wait(&mut s, Duration::from_secs(20), |s| {
        s.received(error) > 0 || s.ended(error)
    })
    .await?;
    let data = lone(&mut s, "data", port, "late").await?;
    s.echo_on(Pair { error, data }, b"after 20 seconds").await?;
    OK
}

async fn lone_error_told(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let error = lone(&mut s, "error", port, "alone").await?;
    let began = Instant::now();
    let told = wait(&mut s, GIVEN_UP, |s| {
        s.received(error) > 0 || s.ended(error)
    })
    .await?;
    let what = "a text, FIN or RST_STREAM on the error stream after 20 to 45 seconds";
    if !told || began.elapsed() < Duration::from_secs(20) {
        let text = format!("after {:?}: {}", began.elapsed(), s.summary());
        return Err(Stop::departure(what, text));
    }
    Ok(Seen::as_slug(if s.received(error) > 0 {
        "text"
    } else {
        "end"
    }))
}

async fn ends(t: &Trial, kind: &str) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let id = lone(&mut s, kind, port, "alone").await?;
    if wait(&mut s, GIVEN_UP, |s| s.ended(id)).await? {
        return OK;
    }
    Err(Stop::departure(
        format!("FIN or RST_STREAM on the {kind} stream within {GIVEN_UP:?}"),
        "an open stream",
    ))
}

async fn lone_error_ended(t: &mut Trial) -> Outcome {
    ends(t, "error").await
}

async fn lone_data_ended(t: &mut Trial) -> Outcome {
    ends(t, "data").await
}

async fn harms_no_other(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let pair = s.echo(port, b"before").await?;
    lone(&mut s, "error", port, "alone 1").await?;
    lone(&mut s, "data", port, "alone 2").await?;
    for round in 0..8 {
        wait(&mut s, Duration::from_secs(5), |_| false).await?;
        s.echo_on(pair, format!("round {round}").as_bytes()).await?;
    }
    s.echo(port, b"a new pair").await?;
    OK
}

async fn begins_anew(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let old = lone(&mut s, "error", port, "late").await?;
    wait(&mut s, Duration::from_secs(40), |_| false).await?;
    let seen_of_old = |s: &Session| (s.received(old), s.ended(old));
    let before = seen_of_old(&s);
    let data = lone(&mut s, "data", port, "late").await?;
    let error = lone(&mut s, "error", port, "late").await?;
    s.write(data, b"the new ones").await?;
    let what = format!("bytes back on stream {data}, whose partner is not stream {old}");
    comes(&mut s, data, b"the new ones", t.patience, &what).await?;
    s.finish(data).await?;
    s.clean_end(Pair { error, data }).await?;
    s.alive("after the end of the new pair").await?;
    if seen_of_old(&s) != before {
        let what = format!("nothing more on stream {old}, which was given up");
        return Err(Stop::departure(what, s.summary()));
    }
    OK
}
