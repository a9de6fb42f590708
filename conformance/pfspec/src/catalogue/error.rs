//! `pf/error/`: chapter 8, failures.

use super::pods::{both_end, comes, fails};
use crate::case::{CHANNELS, Case, OK, Outcome, Seen, Stop};
use crate::probe::session::{Pair, Session, data, fin, headers};
use crate::probe::wire::Frame;
use crate::run;
use crate::target::Service;
use crate::trial::Trial;

pub(super) const CASES: &[Case] = &[
    Case::must(
        "pf/error/refused-port-has-text",
        "That nobody listens at the pod's port is told on the error stream",
        &["8.10"],
        run!(refused),
    )
    .why("It is the most frequent failure of all, and the user has nothing else to go by.")
    .sends("A pair to a port where nobody listens.")
    .accepts("A text on the error stream and the end of both streams: `fin` or `reset` on error, each in its order behind the text."),
    Case::must(
        "pf/error/nothing-on-data",
        "A failure puts no bytes on the data stream",
        &["8.10", "8.1"],
        run!(nothing_on_data),
    )
    .why("A text among the data would reach the program as if the pod had sent it.")
    .sends("A pair to a port where nobody listens, with bytes for it.")
    .accepts("A text on the error stream, and no byte on the data stream."),
    Case::must(
        "pf/error/text-behind-clients-fin",
        "The text comes although the client has half-closed the error stream",
        &["8.6"],
        run!(behind_fin),
    )
    .why("kubectl half-closes the error stream long before the failure.")
    .sends("An error stream with FIN, answered by PING; then the data stream, to a port where nobody listens.")
    .accepts("The text on the error stream."),
    Case::must(
        "pf/error/text-without-clients-fin",
        "The text comes although the client has not half-closed the error stream",
        &["8.10"],
        run!(without_fin),
    )
    .why("A server that waits for the client's FIN first would leave both waiting.")
    .sends("A pair to a port where nobody listens, without FIN on the error stream.")
    .accepts("The text, and the end of both streams."),
    Case::must(
        "pf/error/text-behind-data-and-fin",
        "The text comes although the client has sent all and ended",
        &["8.10", "7.12"],
        run!(all_sent),
    )
    .why("A client with a short request has sent it before the failure is known.")
    .sends("SYN_STREAM error, FIN, SYN_STREAM data, DATA, FIN to a port where nobody listens, in one write.")
    .accepts("The text, and the end of both streams."),
    Case::should(
        "pf/error/text-is-plain",
        "The text is UTF-8, of one line, without a newline at its end",
        &["8.11"],
        run!(plain),
    )
    .why("Clients print it behind words of their own; it is no JSON and has no status code.")
    .sends("A pair to a port where nobody listens.")
    .accepts("UTF-8 without control characters that is no JSON."),
    Case::should(
        "pf/error/text-in-one-frame",
        "The text comes in one DATA frame",
        &["8.11"],
        run!(one_frame),
    )
    .why("Clients that take the first frame for the whole text exist.")
    .sends("A pair to a port where nobody listens.")
    .accepts("One DATA frame with payload on the error stream."),
    Case::should(
        "pf/error/text-names-the-port",
        "The text names the pod's port",
        &["8.12"],
        run!(names_port),
    )
    .why("A user who forwards ten ports must know which one is meant.")
    .sends("A pair to a port where nobody listens.")
    .accepts("The port's number in the text."),
    Case::should(
        "pf/error/text-says-refused",
        "The text says that the connection was refused",
        &["8.12"],
        run!(says_refused),
    )
    .why("`connection refused` is what users search for.")
    .sends("A pair to a port where nobody listens.")
    .accepts("`refused` in the text, in any case."),
    Case::should(
        "pf/error/text-has-the-usual-form",
        "The text begins as that of the real servers",
        &["8.11"],
        run!(usual_form),
    )
    .why("Programs look for `error forwarding port` in kubectl's output to know that the pod is not ready yet.")
    .sends("A pair to a port where nobody listens.")
    .accepts("`error forwarding port P to pod `."),
    Case::must(
        "pf/error/keeps-the-session",
        "A failure keeps the session",
        &["8.16"],
        run!(keeps_session),
    )
    .why("A port that is not up yet must not cost the connections to others (kubernetes issue 111825).")
    .sends("Ten pairs to a port where nobody listens, one after the other, with bytes on a pair to the echo after each; then a new pair to the echo.")
    .accepts("A text for each of the ten, and all bytes back."),
    Case::must(
        "pf/error/many-at-once",
        "Failures at the same time have a text each",
        &["8.16", "8.10"],
        run!(many_at_once),
    )
    .why("A browser retries with many connections at once.")
    .sends("Fifty pairs to a port where nobody listens, without waiting; then a pair to the echo.")
    .accepts("A text on each error stream, the end of each stream, and bytes back."),
    Case::should(
        "pf/error/upload-to-refused-port",
        "What the client still sends to a failed pair is dropped",
        &["9.11", "8.16"],
        run!(upload_refused),
    )
    .why("If nobody takes it, the session stalls for all (kubernetes issue 74551, kubectl issue 1368).")
    .sends("A pair to a port where nobody listens, 2 MiB of DATA on it without looking at the answer, PING, a pair to the echo.")
    .accepts("The text, PING, and bytes back."),
    Case::must(
        "pf/error/reset-by-pod-ends-both",
        "A reset by the pod ends both streams and keeps the session",
        &["8.26", "8.16"],
        run!(reset_ends),
    )
    .why("Databases and TLS probes reset connections (kubernetes issues 74551 and 111825).")
    .sends("Five pairs to a port that resets, one after the other, then one to the echo.")
    .accepts("The end of both streams on each, and bytes back."),
    Case::quality(
        "pf/error/reset-by-pod-is-no-success",
        "A reset by the pod does not look like a clean end",
        &["8.17"],
        run!(reset_not_clean),
    )
    .why("A program that reads to the end takes a part for the whole.")
    .sends("A pair to a port that resets the connection at once.")
    .accepts("A text on the error stream, or RST_STREAM on one of the two: `text`, `text-and-reset`, or `reset`."),
    Case::must(
        "pf/error/channel-refused-port",
        "That nobody listens is told on the error channel, and the other ports go on",
        &["11.13", "8.10"],
        run!(channel_refused),
    )
    .over(CHANNELS)
    .why("The text is all that a client learns: nothing else on a channel ends.")
    .sends("A port where nobody listens, and the echo.")
    .accepts("A text on the first port's error channel and none on the other's; nothing on its data channel; bytes back on the echo's."),
    Case::must(
        "pf/error/channel-text-once",
        "The text of a failure comes in one message and once",
        &["11.13"],
        run!(channel_once),
    )
    .over(CHANNELS)
    .why("Nothing marks the end of the text: a client takes the message for all of it.")
    .sends("A port where nobody listens, and the echo; bytes to both.")
    .accepts("Two messages on the error channel: the port, the text."),
    Case::should(
        "pf/error/channel-text-is-plain",
        "The text on a channel is plain, and names the port",
        &["8.11", "8.12", "11.13"],
        run!(channel_plain),
    )
    .over(CHANNELS)
    .why("It is shown to the user as it is.")
    .sends("A port where nobody listens.")
    .accepts("UTF-8 without control characters, with the port's number in it."),
    Case::quality(
        "pf/error/channel-reset-by-pod",
        "A reset by the pod is told on the error channel",
        &["8.17"],
        run!(channel_reset),
    )
    .over(CHANNELS)
    .why("On a channel nothing else tells a connection that was cut from one that is quiet.")
    .sends("A port that resets, and the echo.")
    .accepts("A text on the first port's error channel; bytes back on the echo's."),
];

/// A pair to a port where nobody listens, and the text of its failure.
async fn failed(t: &mut Trial) -> Result<(Session, Pair, String), Stop> {
    let port = t.port(Service::Closed)?;
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    let text = fails(&mut s, pair, "where nobody listens").await?;
    Ok((s, pair, text))
}

async fn refused(t: &mut Trial) -> Outcome {
    let (mut s, pair, _) = failed(t).await?;
    s.alive("after a failed pair").await?;
    let error = s.stream(pair.error);
    if !error.late.is_empty() {
        let what = "nothing behind the end of the error stream";
        return Err(Stop::departure(what, error.late.join(", ")));
    }
    let slug = if error.fin { "fin" } else { "reset" };
    Ok(Seen::as_slug(slug))
}

async fn nothing_on_data(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Closed)?;
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    s.write(pair.data, b"GET / HTTP/1.1\r\n\r\n").await?;
    fails(&mut s, pair, "where nobody listens").await?;
    if s.received(pair.data) > 0 {
        let text = s.stream(pair.data).text();
        return Err(Stop::departure("no byte on the data stream", text));
    }
    OK
}

/// Opens the error stream of a pair to a port where nobody listens.
async fn error_stream(s: &mut Session, port: &str) -> Result<u32, Stop> {
    let error = s.open(&headers("error", port, "0")).await?;
    s.until("SYN_REPLY for the error stream", |s| s.replied(error))
        .await?;
    Ok(error)
}

async fn behind_fin(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Closed)?.to_string();
    let mut s = t.session().await?;
    let error = error_stream(&mut s, &port).await?;
    s.finish(error).await?;
    s.alive("after FIN on the error stream").await?;
    let data = s.open(&headers("data", &port, "0")).await?;
    fails(&mut s, Pair { error, data }, "behind the client's FIN").await?;
    OK
}

async fn without_fin(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Closed)?.to_string();
    let mut s = t.session().await?;
    let error = error_stream(&mut s, &port).await?;
    let data = s.open(&headers("data", &port, "0")).await?;
    fails(&mut s, Pair { error, data }, "without the client's FIN").await?;
    OK
}

async fn all_sent(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Closed)?;
    let mut s = t.session().await?;
    let (pair, mut frames) = s.pair_frames(port);
    frames.push(data(pair.data, 0, b"a short request"));
    frames.push(fin(pair.data));
    s.send_all(&frames).await?;
    fails(&mut s, pair, "although all was sent before").await?;
    OK
}

async fn plain(t: &mut Trial) -> Outcome {
    let (s, pair, _) = failed(t).await?;
    is_plain(&s.stream(pair.error).data)?;
    OK
}

/// UTF-8, of one line, and no JSON.
fn is_plain(bytes: &[u8]) -> Result<(), Stop> {
    let plain = str::from_utf8(bytes).is_ok_and(|text| {
        !text.is_empty() && !text.chars().any(char::is_control) && !text.starts_with(['{', '['])
    });
    if plain {
        return Ok(());
    }
    let text = format!("{:?}", String::from_utf8_lossy(bytes));
    Err(Stop::departure("a plain text of one line in UTF-8", text))
}

async fn one_frame(t: &mut Trial) -> Outcome {
    let (s, pair, text) = failed(t).await?;
    // The payload was taken out of what is kept; its length stands in the head.
    let frames = s.got.iter().filter(|got| {
        matches!(got.frame, Frame::Data { id, .. } if id == pair.error)
            && got.head.get(5..8) != Some(&[0; 3])
    });
    match frames.count() {
        1 => OK,
        n => Err(Stop::departure(
            "the text in one DATA frame",
            format!("{text:?} in {n} frames"),
        )),
    }
}

async fn names_port(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Closed)?.to_string();
    let (_, _, text) = failed(t).await?;
    has(&text, &port)
}

/// Whether a text has these words.
fn has(text: &str, words: &str) -> Outcome {
    if text.to_lowercase().contains(&words.to_lowercase()) {
        return OK;
    }
    let what = format!("{words:?} in the text on the error stream");
    Err(Stop::departure(what, format!("{text:?}")))
}

async fn says_refused(t: &mut Trial) -> Outcome {
    let (_, _, text) = failed(t).await?;
    has(&text, "refused")
}

async fn usual_form(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Closed)?;
    let (_, _, text) = failed(t).await?;
    let words = format!("error forwarding port {port} to pod ");
    if text.starts_with(&words) {
        return OK;
    }
    let what = format!("a text that begins with {words:?}");
    Err(Stop::departure(what, format!("{text:?}")))
}

async fn keeps_session(t: &mut Trial) -> Outcome {
    let (port, echo) = (t.port(Service::Closed)?, t.port(Service::Echo)?);
    let mut s = t.session().await?;
    let beside = s.pair(echo).await?;
    for round in 0..10 {
        let pair = s.pair(port).await?;
        fails(&mut s, pair, "where nobody listens").await?;
        s.echo_on(beside, format!("round {round}").as_bytes())
            .await?;
    }
    s.echo(echo, b"a new pair").await?;
    OK
}

async fn many_at_once(t: &mut Trial) -> Outcome {
    let (port, echo) = (t.port(Service::Closed)?, t.port(Service::Echo)?);
    let mut s = t.session().await?;
    let mut pairs = Vec::new();
    for _ in 0..50 {
        let (pair, frames) = s.pair_frames(port);
        s.send_all(&frames).await?;
        pairs.push(pair);
    }
    for pair in pairs {
        fails(&mut s, pair, "where nobody listens").await?;
    }
    s.echo(echo, b"and the session works").await?;
    OK
}

async fn upload_refused(t: &mut Trial) -> Outcome {
    let (port, echo) = (t.port(Service::Closed)?, t.port(Service::Echo)?);
    let mut s = t.session().await?;
    let (pair, frames) = s.pair_frames(port);
    s.send_all(&frames).await?;
    let part = vec![b'u'; 16 << 10];
    for _ in 0..128 {
        s.write(pair.data, &part).await?;
    }
    s.alive("after an upload to nobody").await?;
    fails(&mut s, pair, "where nobody listens").await?;
    s.echo(echo, b"and the session works").await?;
    OK
}

async fn reset_ends(t: &mut Trial) -> Outcome {
    let (port, echo) = (t.port(Service::Reset)?, t.port(Service::Echo)?);
    let mut s = t.session().await?;
    let beside = s.pair(echo).await?;
    for _ in 0..5 {
        let pair = s.pair(port).await?;
        both_end(&mut s, pair, "after the pod's reset").await?;
        s.echo_on(beside, b"beside").await?;
    }
    let pair = s.echo(echo, b"a new pair").await?;
    let wanted = b"a new pair";
    comes(&mut s, pair.data, wanted, t.patience, "bytes back").await?;
    OK
}

async fn reset_not_clean(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Reset)?;
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    both_end(&mut s, pair, "after the pod's reset").await?;
    let (error, stream) = (s.stream(pair.error), s.stream(pair.data));
    let reset = !error.resets.is_empty() || !stream.resets.is_empty();
    match (error.data.is_empty(), reset) {
        (false, false) => Ok(Seen::as_slug("text")),
        (false, true) => Ok(Seen::as_slug("text-and-reset")),
        (true, true) => Ok(Seen::as_slug("reset")),
        (true, false) => Err(Stop::departure(
            "a text on the error stream, or RST_STREAM",
            "FIN on both and no text",
        )),
    }
}

async fn channel_refused(t: &mut Trial) -> Outcome {
    let (port, echo) = (t.port(Service::Closed)?, t.port(Service::Echo)?);
    let mut c = t.channels(&[port, echo]).await?;
    c.prefaced().await?;
    c.until("a text on channel 1", |c| c.received(1) > 0)
        .await?;
    c.echo(1, b"the other port").await?;
    if c.received(0) + c.received(3) > 0 {
        let text = c.summary();
        return Err(Stop::departure("nothing on channels 0 and 3", text));
    }
    OK
}

async fn channel_once(t: &mut Trial) -> Outcome {
    let (port, echo) = (t.port(Service::Closed)?, t.port(Service::Echo)?);
    let mut c = t.channels(&[port, echo]).await?;
    c.prefaced().await?;
    c.until("a text on channel 1", |c| c.received(1) > 0)
        .await?;
    for round in 0..3 {
        c.send(0, b"to nobody").await?;
        c.echo(1, format!("round {round}").as_bytes()).await?;
    }
    match c.channel(1).messages {
        2 => OK,
        n => Err(Stop::departure(
            "two messages on channel 1: the port and the text",
            format!("{n}: {}", c.summary()),
        )),
    }
}

async fn channel_plain(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Closed)?;
    let mut c = t.channels(&[port]).await?;
    c.until("a text on channel 1", |c| c.received(1) > 0)
        .await?;
    let bytes = c.channel(1).data;
    is_plain(&bytes)?;
    has(&String::from_utf8_lossy(&bytes), &port.to_string())
}

async fn channel_reset(t: &mut Trial) -> Outcome {
    let (port, echo) = (t.port(Service::Reset)?, t.port(Service::Echo)?);
    let mut c = t.channels(&[port, echo]).await?;
    c.prefaced().await?;
    c.echo(1, b"the other port").await?;
    match c.until("a text on channel 1", |c| c.received(1) > 0).await {
        Ok(()) => OK,
        Err(Stop::Departure { expected, .. }) => Err(Stop::departure(expected, "none")),
        Err(stop) => Err(stop),
    }
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn what_is_plain() {
        assert!(is_plain(b"error forwarding port 80").is_ok());
        for text in [&b""[..], b"{\"a\":1}", b"a\n", b"\xff"] {
            assert!(is_plain(text).is_err(), "{text:?}");
        }
    }
}
