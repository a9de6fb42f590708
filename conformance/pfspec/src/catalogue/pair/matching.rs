//! Which streams make a pair.

use super::super::pods::{comes, hash_answer, hash_request};
use crate::case::{Case, OK, Outcome, Seen, Stop};
use crate::probe::session::{Pair, Session, headers, syn_stream};
use crate::run;
use crate::target::Service;
use crate::trial::Trial;
use std::time::Duration;

pub(crate) const CASES: &[Case] = &[
    Case::must(
        "pf/pair/request-ids-are-strings",
        "A request id may be any text",
        &["7.9"],
        run!(any_request_id),
    )
    .why("Clients other than kubectl use UUIDs and the like.")
    .sends("Pairs to the echo whose request ids are words, negative, longer than 64 bits, with spaces and slashes, 1000 characters long.")
    .accepts("Bytes back on each."),
    Case::must(
        "pf/pair/request-ids-are-compared-as-text",
        "Request ids are compared as text, and whole",
        &["7.9"],
        run!(compared_as_text),
    )
    .why("A server that reads numbers, or cuts long ids, mixes up connections.")
    .sends("Error streams with the ids 0, 00, A, a and two long ones that differ in their last character; then their data streams in another order, each to another port or with other bytes.")
    .accepts("Each pair has its own bytes."),
    Case::should(
        "pf/pair/legacy",
        "Without request ids the stream ids decide",
        &["7.17"],
        run!(legacy_absent),
    )
    .why("Clients of before Kubernetes 1.2 and hand-written ones send none.")
    .sends("An error stream and a data stream with the next id, both without request id.")
    .accepts("Bytes back."),
    Case::should(
        "pf/pair/legacy-empty",
        "An empty request id is none",
        &["7.17"],
        run!(legacy_empty),
    )
    .why("Real servers make no difference.")
    .sends("An error stream and a data stream with the next id, both with an empty request id.")
    .accepts("Bytes back."),
    Case::should(
        "pf/pair/legacy-many",
        "Pairs without request ids work beside each other and beside others",
        &["7.17"],
        run!(legacy_many),
    )
    .why("A server that keeps one place for all streams without request id serves one connection at a time.")
    .sends("Ten error streams without request id, each followed by its data stream, with pairs of request ids between, all in one write.")
    .accepts("Bytes back on all."),
    Case::should(
        "pf/pair/legacy-data-first",
        "Without request ids the data stream cannot come first",
        &["7.17"],
        run!(legacy_data_first),
    )
    .why("A server that pairs whatever comes next mixes up connections.")
    .sends("A data stream and then an error stream, without request ids, to a port that talks first.")
    .accepts("No banner; the session works."),
    Case::must(
        "pf/pair/request-id-again-beside",
        "A request id is free once its pair is whole",
        &["7.18"],
        run!(again_beside),
    )
    .why("A client may count from 0 again, or use one id for all its connections one after the other.")
    .sends("Five pairs with the same request id, each opened when the one before is whole; all stay open.")
    .accepts("On each its own bytes back."),
    Case::must(
        "pf/pair/request-id-again-behind",
        "A request id may be used again when its pair is over",
        &["7.18"],
        run!(again_behind),
    )
    .why("What is kept of a pair that is over must not stand in the way of the next.")
    .sends("Three pairs with the same request id, each opened when the one before has ended.")
    .accepts("Bytes back and a clean end on each."),
    Case::must(
        "pf/pair/duplicate-error",
        "A second error stream spoils nothing",
        &["7.19"],
        run!(duplicate_error),
    )
    .why("A client's mistake on one connection must not cost the session.")
    .sends("Two error streams with one request id, then the data stream, and bytes on it.")
    .accepts("The second answered or reset; the bytes back; the session works."),
    Case::must(
        "pf/pair/duplicate-data",
        "A second data stream spoils nothing",
        &["7.19"],
        run!(duplicate_data),
    )
    .why("A client's mistake on one connection must not cost the session; bytes must not go to the wrong stream.")
    .sends("Two data streams with one request id, then the error stream, and bytes on the first.")
    .accepts("The second answered or reset; the bytes back on the first alone; the session works."),
    Case::observed(
        "pf/pair/duplicate-answer",
        "What a second error stream gets",
        &["7.19"],
        run!(duplicate_answer),
    )
    .why("What a client can learn of its mistake.")
    .sends("Two error streams with one request id.")
    .accepts("`accepted-with-text`, `accepted-without-text`, `reset-with-text` or `reset-without-text`: the text comes on the first."),
];

/// Opens a pair, error stream first, whose request id is this, or that has none, and waits for both answers.
async fn pair_as(s: &mut Session, port: u16, request: Option<&str>) -> Result<Pair, Stop> {
    let port = port.to_string();
    let mut ids = [0; 2];
    for (id, kind) in ids.iter_mut().zip(["error", "data"]) {
        let mut headers = vec![("streamtype", kind), ("port", port.as_str())];
        headers.extend(request.map(|request| ("requestid", request)));
        *id = s.open(&headers).await?;
    }
    let [error, data] = ids;
    let what = format!("SYN_REPLY for both streams with request id {request:?}");
    s.until(&what, |s| s.replied(error) && s.replied(data))
        .await?;
    Ok(Pair { error, data })
}

async fn any_request_id(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let long = "r".repeat(1000);
    let ids = [
        "abc",
        "-1",
        "1e3",
        "18446744073709551616",
        "00000000-0000-4000-8000-000000000000",
        "a b/c?d=e&f",
        "caf\u{e9}",
        &long,
    ];
    for id in ids {
        let pair = pair_as(&mut s, port, Some(id)).await?;
        s.echo_on(pair, id.as_bytes()).await?;
    }
    OK
}

async fn compared_as_text(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?.to_string();
    let mut s = t.session().await?;
    let mut pairs = Vec::new();
    for id in [
        "0",
        "00",
        "A",
        "a",
        "a-longer-request-id-1",
        "a-longer-request-id-2",
    ] {
        let error = s.open(&headers("error", &port, id)).await?;
        pairs.push((id, error, 0));
    }
    for (id, _, data) in pairs.iter_mut().rev() {
        *data = s.open(&headers("data", &port, id)).await?;
    }
    // Two streams of one type with one id would be left out, and their pairs be silent.
    for (id, _, data) in &pairs {
        s.write(*data, format!("of {id}").as_bytes()).await?;
    }
    for (id, error, data) in &pairs {
        let what = format!("the bytes of request {id:?} back on stream {data}");
        let wanted = format!("of {id}");
        comes(&mut s, *data, wanted.as_bytes(), t.patience, &what).await?;
        if s.received(*error) > 0 {
            let text = s.stream(*error).text();
            return Err(Stop::departure("no text", text));
        }
    }
    OK
}

async fn legacy_absent(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let pair = pair_as(&mut s, port, None).await?;
    s.echo_on(pair, b"no request id").await?;
    OK
}

async fn legacy_empty(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let pair = pair_as(&mut s, port, Some("")).await?;
    s.echo_on(pair, b"an empty request id").await?;
    OK
}

async fn legacy_many(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let text = port.to_string();
    let mut s = t.session().await?;
    let (mut frames, mut pairs) = (Vec::new(), Vec::new());
    for round in 0..20 {
        if round % 2 == 0 {
            let (error, data) = (s.next_id(), s.next_id());
            for (id, kind) in [(error, "error"), (data, "data")] {
                let headers = [("streamtype", kind), ("port", text.as_str())];
                frames.push(syn_stream(id, &headers));
            }
            pairs.push(Pair { error, data });
        } else {
            let (data, error) = (s.next_id(), s.next_id());
            let request = format!("r{round}");
            for (id, kind) in [(data, "data"), (error, "error")] {
                let headers = headers(kind, &text, &request);
                frames.push(syn_stream(id, &headers));
            }
            pairs.push(Pair { error, data });
        }
    }
    s.send_all(&frames).await?;
    s.until("SYN_REPLY for each stream", |s| {
        pairs
            .iter()
            .all(|pair| s.replied(pair.error) && s.replied(pair.data))
    })
    .await?;
    for pair in pairs {
        s.echo_on(pair, format!("{}", pair.data).as_bytes()).await?;
    }
    OK
}

async fn legacy_data_first(t: &mut Trial) -> Outcome {
    let (port, echo) = (
        t.port(Service::HalfClose)?.to_string(),
        t.port(Service::Echo)?,
    );
    let mut s = t.session().await?;
    let data = s.open(&[("streamtype", "data"), ("port", &port)]).await?;
    let error = s.open(&[("streamtype", "error"), ("port", &port)]).await?;
    s.until("an answer to both streams", |s| {
        [data, error]
            .iter()
            .all(|id| s.replied(*id) || s.ended(*id))
    })
    .await?;
    s.read_for(Duration::from_millis(300)).await?;
    s.alive("beside two streams that are no pair").await?;
    if s.received(data) > 0 {
        let text = s.summary();
        return Err(Stop::departure("that the two are no pair", text));
    }
    s.echo(echo, b"a good pair").await?;
    OK
}

async fn again_beside(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let mut pairs = Vec::new();
    for round in 0..5 {
        let pair = pair_as(&mut s, port, Some("7")).await?;
        // The pair is whole when its bytes come back.
        s.echo_on(pair, format!("pair {round}").as_bytes()).await?;
        pairs.push(pair);
    }
    for pair in pairs {
        s.echo_on(pair, format!("again on {}", pair.data).as_bytes())
            .await?;
    }
    OK
}

async fn again_behind(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Hash)?;
    let mut s = t.session().await?;
    for _ in 0..3 {
        let pair = pair_as(&mut s, port, Some("7")).await?;
        let request = hash_request(b"again");
        s.write(pair.data, &request).await?;
        s.finish(pair.data).await?;
        let wanted = hash_answer(b"again");
        let what = "the answer of the pod";
        comes(&mut s, pair.data, &wanted, t.patience, what).await?;
        s.clean_end(pair).await?;
    }
    OK
}

/// Opens a stream that must be answered: the first of its type.
async fn first(s: &mut Session, kind: &str, port: u16) -> Result<u32, Stop> {
    let id = s.open(&headers(kind, &port.to_string(), "twice")).await?;
    s.until(&format!("SYN_REPLY for the {kind} stream"), |s| {
        s.replied(id)
    })
    .await?;
    Ok(id)
}

/// Opens a second stream of a type, which may be answered or reset.
async fn second(s: &mut Session, kind: &str, port: u16) -> Result<u32, Stop> {
    let id = s.open(&headers(kind, &port.to_string(), "twice")).await?;
    let what = format!("SYN_REPLY or RST_STREAM for a second {kind} stream");
    s.until(&what, |s| s.replied(id) || s.ended(id)).await?;
    Ok(id)
}

async fn duplicate_error(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let error = first(&mut s, "error", port).await?;
    second(&mut s, "error", port).await?;
    let data = first(&mut s, "data", port).await?;
    s.echo_on(Pair { error, data }, b"the first").await?;
    s.alive("after a second error stream").await?;
    s.echo(port, b"another pair").await?;
    OK
}

async fn duplicate_data(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let data = first(&mut s, "data", port).await?;
    let other = second(&mut s, "data", port).await?;
    let error = first(&mut s, "error", port).await?;
    s.echo_on(Pair { error, data }, b"the first").await?;
    if s.received(other) > 0 {
        let text = s.summary();
        return Err(Stop::departure("nothing on the second data stream", text));
    }
    s.alive("after a second data stream").await?;
    s.echo(port, b"another pair").await?;
    OK
}

async fn duplicate_answer(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let error = first(&mut s, "error", port).await?;
    let other = second(&mut s, "error", port).await?;
    // The text and the answer come from different workers, and a server need not send the text.
    let told = |s: &Session| s.received(error) > 0;
    match s
        .until("a text or RST_STREAM", |s| told(s) || s.ended(other))
        .await
    {
        Err(Stop::Departure { .. }) if s.end.is_none() => {}
        waited => waited?,
    }
    if !told(&s) {
        s.read_for(Duration::from_millis(400)).await?;
    }
    Ok(Seen::as_slug(
        match (s.ended(other), s.received(error) > 0) {
            (false, true) => "accepted-with-text",
            (false, false) => "accepted-without-text",
            (true, true) => "reset-with-text",
            (true, false) => "reset-without-text",
        },
    ))
}
