//! `pf/half-close/`: chapter 8, one direction ends before the other.

use super::pods::{both_end, comes, hash_answer, hash_request, http_request, offered};
use crate::case::{Case, OK, Outcome, Stop};
use crate::dice::sequence;
use crate::probe::session::{Pair, Session, data, fin, headers};
use crate::probe::wire::FIN;
use crate::run;
use crate::target::Service;
use crate::trial::Trial;

pub(super) const CASES: &[Case] = &[
    Case::must(
        "pf/half-close/client-first",
        "The client ends, then the pod",
        &["8.7", "8.26"],
        run!(client_first),
    )
    .why("It is how most requests end.")
    .sends("Bytes to the echo, back; then FIN.")
    .accepts("FIN on both streams, no text."),
    Case::must(
        "pf/half-close/pod-first",
        "The pod ends, then the client",
        &["8.18", "8.26"],
        run!(pod_first),
    )
    .why("HTTP servers that close after an answer, and mail servers, end first.")
    .sends("Nothing until the pod's banner and end have come; then FIN.")
    .accepts("The banner and FIN on data; after the client's FIN, FIN on error, no text."),
    Case::must(
        "pf/half-close/both-at-once",
        "Client and pod end at the same time",
        &["8.20", "8.26"],
        run!(both_at_once),
    )
    .why("Ends that cross on the wire are frequent, and a race in many programs.")
    .sends("A request and FIN in one write, to a port that answers and closes; twenty times on one session.")
    .accepts("The whole answer, FIN on both streams, no text."),
    Case::must(
        "pf/half-close/pod-only",
        "The pod has closed and the client does not end",
        &["8.26", "8.18"],
        run!(pod_only),
    )
    .why("kubectl up to 1.31 waits for the end of the error stream before it closes the local connection, and sends no FIN before; a program that waits for that close hangs.")
    .sends("A request to a port that answers and closes; nothing more.")
    .accepts("The answer, and the end of both streams."),
    Case::must(
        "pf/half-close/nothing-sent",
        "A client that ends without a byte",
        &["8.26", "8.7"],
        run!(nothing_sent),
    )
    .why("Health probes open a connection and close it.")
    .sends("Pairs to the echo and to the sink, and FIN on each.")
    .accepts("FIN on both streams of each, no byte, no text."),
    Case::must(
        "pf/half-close/answer-behind-fin",
        "An answer that comes at once after the client's FIN arrives whole",
        &["8.20"],
        run!(answer_behind_fin),
    )
    .why("`echo request | nc` ends its sending before it reads.")
    .sends("A request and FIN, to a port that answers with 65 536 bytes.")
    .accepts("All of them, FIN on both streams, no text."),
    Case::must(
        "pf/half-close/answer-within-half-a-second",
        "An answer that comes 300 milliseconds after the client's FIN arrives whole",
        &["8.20"],
        run!(answer_soon),
    )
    .why("Servers think before they answer.")
    .sends("A request to a port that waits 300 milliseconds, and FIN.")
    .accepts("The answer."),
    Case::quality(
        "pf/half-close/answer-after-two-seconds",
        "An answer that comes 2 seconds after the client's FIN arrives whole",
        &["8.21"],
        run!(answer_late),
    )
    .why("A runtime that closes the connection a second after the client's FIN cuts the answer, and the client sees a clean end.")
    .sends("A request to a port that waits 2 seconds, and FIN.")
    .accepts("The answer."),
    Case::quality(
        "pf/half-close/pod-sees-the-end",
        "The pod sees that the client has ended, and can still answer",
        &["8.21"],
        run!(pod_sees_end),
    )
    .why("Programs that read to the end before they answer wait for ever otherwise.")
    .sends("A line and FIN, to a port that reads to the end before it answers.")
    .accepts("The answer."),
    Case::should(
        "pf/half-close/error-stream-last",
        "The error stream may be half-closed behind everything else",
        &["8.5"],
        run!(error_last),
    )
    .why("Clients that close all at the end do so.")
    .sends("A pair without FIN on the error stream; bytes; FIN on data; when both streams have ended, FIN on error; a new pair.")
    .accepts("A clean end, and bytes back on the new pair."),
    Case::must(
        "pf/half-close/fin-with-payload",
        "Bytes in the frame that has FIN are the last of the connection",
        &["8.20", "4.13"],
        run!(fin_with_payload),
    )
    .why("Clients that know the end of their data put FIN on its last frame.")
    .sends("A request whose last bytes are in a DATA frame with FIN.")
    .accepts("The answer to the whole request, FIN on both streams."),
    Case::must(
        "pf/half-close/beside-others",
        "Ends of one connection leave the others alone",
        &["8.7", "8.16"],
        run!(beside_others),
    )
    .why("Connections come and go all the time beside others.")
    .sends("Ten pairs to the echo; FIN on every second one; bytes on the others before, between and after.")
    .accepts("A clean end on five, all bytes back on the others, which stay open."),
    Case::quality(
        "pf/half-close/upload-behind-pods-end",
        "What the client sends after the pod's end stalls nobody",
        &["9.14", "8.19"],
        run!(upload_behind_end),
    )
    .why("A client whose request is longer than the pod cared to read must not stall the session.")
    .sends("A request to a port that answers and closes; when the data stream has ended, 2 MiB more on it; PING; a pair to the echo.")
    .accepts("PING, and bytes back."),
];

async fn client_first(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let pair = s.echo(port, b"and no more").await?;
    if s.ended(pair.data) {
        let text = s.summary();
        return Err(Stop::departure("no end before the client's", text));
    }
    s.finish(pair.data).await?;
    s.clean_end(pair).await?;
    OK
}

async fn pod_first(t: &mut Trial) -> Outcome {
    let port = t.port(Service::HalfClose)?;
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    s.until("the pod's end on the data stream", |s| s.ended(pair.data))
        .await?;
    let what = "the pod's banner";
    comes(&mut s, pair.data, b"banner\n", t.patience, what).await?;
    s.finish(pair.data).await?;
    s.clean_end(pair).await?;
    OK
}

async fn both_at_once(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Hash)?;
    let mut s = t.session().await?;
    for round in 0..20 {
        let bytes = format!("round {round}").into_bytes();
        let (pair, mut frames) = s.pair_frames(port);
        frames.push(data(pair.data, 0, &hash_request(&bytes)));
        frames.push(fin(pair.data));
        s.send_all(&frames).await?;
        let what = format!("the whole answer in round {round}");
        let wanted = hash_answer(&bytes);
        comes(&mut s, pair.data, &wanted, t.patience, &what).await?;
        s.clean_end(pair).await?;
    }
    OK
}

async fn pod_only(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Hash)?;
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    s.write(pair.data, &hash_request(b"asked")).await?;
    let what = "the answer";
    let wanted = hash_answer(b"asked");
    comes(&mut s, pair.data, &wanted, t.patience, what).await?;
    both_end(&mut s, pair, "though the client has not ended").await?;
    OK
}

async fn nothing_sent(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    for service in [Service::Echo, Service::Sink] {
        let pair = s.pair(t.port(service)?).await?;
        s.finish(pair.data).await?;
        s.clean_end(pair).await?;
        if s.received(pair.data) > 0 {
            let text = s.summary();
            return Err(Stop::departure("no byte", text));
        }
    }
    OK
}

async fn answer_behind_fin(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Early)?;
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    s.send_all(&[data(pair.data, 0, b"go\n"), fin(pair.data)])
        .await?;
    let what = "the whole answer behind the client's FIN";
    let wanted = sequence(65536, 65536);
    comes(&mut s, pair.data, &wanted, t.patience, what).await?;
    s.clean_end(pair).await?;
    OK
}

/// Asks a port that waits before it answers, and sends FIN; whether the answer came.
///
/// By HTTP, as the test image does it; if that is not known there, by the service that reads to the end first.
async fn slow_answer(t: &Trial, milliseconds: u64) -> Result<bool, Stop> {
    let mut s = t.session().await?;
    let pair = s.pair(t.port(Service::Http)?).await?;
    s.write(
        pair.data,
        &http_request(&format!("/slow?ms={milliseconds}")),
    )
    .await?;
    s.finish(pair.data).await?;
    both_end(&mut s, pair, "after the client's FIN").await?;
    let text = s.stream(pair.data).text();
    if text.contains(&format!("waited {milliseconds} ms")) {
        return Ok(true);
    }
    if text.is_empty() {
        return Ok(false);
    }
    // It has an answer to that path, but does not know it.
    waits_for_end(&mut s, t, milliseconds).await
}

/// Asks the service that reads to the end first.
async fn waits_for_end(s: &mut Session, t: &Trial, milliseconds: u64) -> Result<bool, Stop> {
    let pair = s.pair(t.port(Service::Late)?).await?;
    s.write(pair.data, format!("{milliseconds}\n").as_bytes())
        .await?;
    s.finish(pair.data).await?;
    both_end(s, pair, "after the client's FIN").await?;
    offered(s, pair, Service::Late)?;
    Ok(s.stream(pair.data).data == b"late\n")
}

async fn answer_soon(t: &mut Trial) -> Outcome {
    if slow_answer(t, 300).await? {
        return OK;
    }
    let what = "the answer of a pod that waits 300 milliseconds";
    Err(Stop::departure(what, "an end without it"))
}

async fn answer_late(t: &mut Trial) -> Outcome {
    if slow_answer(t, 2000).await? {
        return OK;
    }
    let what = "the answer of a pod that waits 2 seconds";
    Err(Stop::departure(what, "an end without it"))
}

async fn pod_sees_end(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    if waits_for_end(&mut s, t, 0).await? {
        return OK;
    }
    let what = "the answer of a pod that reads to the end before it answers";
    Err(Stop::departure(what, "an end without it"))
}

async fn error_last(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let text = port.to_string();
    let mut s = t.session().await?;
    let error = s.open(&headers("error", &text, "last")).await?;
    let data = s.open(&headers("data", &text, "last")).await?;
    let pair = Pair { error, data };
    s.echo_on(pair, b"before the ends").await?;
    s.finish(data).await?;
    s.clean_end(pair).await?;
    s.finish(error).await?;
    s.alive("after the last FIN").await?;
    s.echo(port, b"a new pair").await?;
    OK
}

async fn fin_with_payload(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Hash)?;
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    let request = hash_request(b"the last bytes come with FIN");
    let (first, last) = request.split_at(20);
    s.write(pair.data, first).await?;
    s.send(&data(pair.data, FIN, last)).await?;
    let what = "the answer to the whole request";
    let wanted = hash_answer(b"the last bytes come with FIN");
    comes(&mut s, pair.data, &wanted, t.patience, what).await?;
    s.clean_end(pair).await?;
    OK
}

async fn beside_others(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let mut pairs = Vec::new();
    for _ in 0..10 {
        pairs.push(s.echo(port, b"before").await?);
    }
    for pair in pairs.iter().step_by(2) {
        s.finish(pair.data).await?;
    }
    for pair in pairs.iter().skip(1).step_by(2) {
        s.echo_on(*pair, b"between").await?;
    }
    for pair in pairs.iter().step_by(2) {
        s.clean_end(*pair).await?;
    }
    for pair in pairs.iter().skip(1).step_by(2) {
        s.echo_on(*pair, b"after").await?;
        if s.ended(pair.error) || s.received(pair.error) > 0 {
            let text = s.summary();
            return Err(Stop::departure("open, empty error streams", text));
        }
    }
    OK
}

async fn upload_behind_end(t: &mut Trial) -> Outcome {
    let (port, echo) = (t.port(Service::Hash)?, t.port(Service::Echo)?);
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    s.write(pair.data, &hash_request(b"short")).await?;
    s.until("the pod's end on the data stream", |s| s.ended(pair.data))
        .await?;
    let part = vec![b'u'; 16 << 10];
    for _ in 0..128 {
        s.write(pair.data, &part).await?;
    }
    s.alive("after an upload behind the pod's end").await?;
    s.echo(echo, b"and the session works").await?;
    s.finish(pair.data).await?;
    both_end(&mut s, pair, "after all").await?;
    OK
}
