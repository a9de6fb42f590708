//! In which order the streams of pairs are opened.

use super::super::pods::{comes, fails};
use crate::case::{Case, OK, Outcome, Seen, Stop};
use crate::probe::session::{Pair, Session, data, fin, headers, syn_stream};
use crate::probe::wire::Frame;
use crate::run;
use crate::target::Service;
use crate::trial::Trial;
use std::time::Duration;

pub(crate) const CASES: &[Case] = &[
    Case::must(
        "pf/pair/error-is-answered-alone",
        "The error stream is answered before the data stream is there",
        &["7.13"],
        run!(error_alone),
    )
    .why("kubectl opens the data stream only when the error stream has been answered; it would wait 30 seconds and give up.")
    .sends("SYN_STREAM error; once it is answered, FIN and SYN_STREAM data; once that is answered, bytes.")
    .accepts("SYN_REPLY for each, the bytes back, and nothing on the error stream."),
    Case::must(
        "pf/pair/data-is-answered-alone",
        "The data stream is answered before the error stream is there",
        &["7.13", "7.11"],
        run!(data_alone),
    )
    .why("Streams that are opened at the same time arrive in any order (kubernetes issue 13673).")
    .sends("SYN_STREAM data; once it is answered, SYN_STREAM error; once that is answered, bytes.")
    .accepts("SYN_REPLY for each, and the bytes back."),
    Case::must(
        "pf/pair/answered-before-the-pod",
        "Both streams are answered whatever becomes of the pod's port",
        &["7.13"],
        run!(answered_before_pod),
    )
    .why("A client that has no SYN_REPLY waits 30 seconds and then reports a timeout instead of the reason.")
    .sends("A pair to a port where nobody listens.")
    .accepts("SYN_REPLY on both streams, before the failure."),
    Case::must(
        "pf/pair/whole-in-one-segment",
        "A whole connection may come in one segment",
        &["7.12"],
        run!(one_segment),
    )
    .why("Clients that wait for no answers save round trips.")
    .sends("SYN_STREAM error, FIN, SYN_STREAM data, DATA and FIN in one write.")
    .accepts("The bytes back, FIN on both streams, no text."),
    Case::must(
        "pf/pair/every-order",
        "The frames that open a pair may come in every order",
        &["7.11", "4.10"],
        run!(every_order),
    )
    .why("Clients differ in what they send first; frames of different streams change places (kubernetes issue 13673).")
    .sends("Ten pairs, one for each order of SYN_STREAM and FIN on error among SYN_STREAM, DATA and FIN on data; each frame in a write of its own.")
    .accepts("On each pair its bytes back and FIN on both streams."),
    Case::must(
        "pf/pair/every-order-in-one-segment",
        "The frames that open a pair may come in every order in one segment",
        &["7.12", "7.11"],
        run!(every_order_joined),
    )
    .why("TCP joins what is written soon one after the other.")
    .sends("The ten orders of `pf/pair/every-order`, each in one write.")
    .accepts("On each pair its bytes back and FIN on both streams."),
    Case::must(
        "pf/pair/interleaved",
        "One hundred pairs may be opened in any mix",
        &["7.11"],
        run!(interleaved),
    )
    .why("A browser opens many connections at once, and their streams mix (kubernetes issue 13673).")
    .sends("The 200 SYN_STREAMs of 100 pairs, in an order from the seed; when all are answered, other bytes on each, again in another order.")
    .accepts("SYN_REPLY for each, and on each pair its own bytes back."),
    Case::must(
        "pf/pair/interleaved-ports",
        "Pairs to several ports that are opened in any mix reach their own ports",
        &["7.11", "8.16"],
        run!(interleaved_ports),
    )
    .why("A stream of one connection that is matched with one of another sends data to the wrong program.")
    .sends("The streams of 60 pairs in an order from the seed: 20 to the echo, 20 to a port that talks first, 20 to one where nobody listens.")
    .accepts("Bytes back on the first, the banner on the second, a text on the third."),
    Case::should(
        "pf/pair/error-stream-open",
        "A pair is served although the client has not half-closed the error stream",
        &["8.5"],
        run!(error_open),
    )
    .why("Not every client half-closes it: nothing says that it has to.")
    .sends("A pair without FIN on the error stream; bytes; FIN on the data stream.")
    .accepts("The bytes back, and the end of both streams."),
    Case::must(
        "pf/pair/lone-stream-dials-nothing",
        "The pod is dialled for a whole pair, not for one stream",
        &["8.2", "7.20"],
        run!(lone_dials_nothing),
    )
    .why("A connection without an error stream could not report a failure, and a pod would see connections that nobody made.")
    .sends("A data stream to a port that talks first, and no error stream for half a second.")
    .accepts("SYN_REPLY and nothing more until the error stream comes; then the banner."),
    Case::must(
        "pf/pair/data-before-the-partner",
        "What is sent on the data stream before the error stream is there is kept",
        &["4.10", "7.11"],
        run!(data_before_partner),
    )
    .why("A client that opens the data stream first and sends at once must not lose the beginning of its request.")
    .sends("A data stream and five DATA frames on it; when PING has been answered, the error stream.")
    .accepts("All five back, in order."),
    Case::observed(
        "pf/pair/ports-differ",
        "Which port is dialled if the streams of a pair name two",
        &["7.6"],
        run!(ports_differ),
    )
    .why("A proxy that checks the port of the error stream alone would be passed by.")
    .sends("An error stream to a port where nobody listens with a data stream to the echo.")
    .accepts("`data-port`, `error-port`, or `refused`."),
    Case::observed(
        "pf/pair/two-ports-in-one-header",
        "What a port of two values does",
        &["7.6", "7.5"],
        run!(two_values),
    )
    .why("A proxy that reads the last value and a server that takes the first do not mean the same port.")
    .sends("Both streams with `port` of two values, joined by a zero byte: the echo, and a port where nobody listens.")
    .accepts("`first`, `last`, or `refused`."),
];

/// Opens a stream of a pair and waits for the answer.
async fn opened(s: &mut Session, kind: &str, port: u16, request: &str) -> Result<u32, Stop> {
    let id = s.open(&headers(kind, &port.to_string(), request)).await?;
    s.until(
        &format!("SYN_REPLY for the {kind} stream {id} alone"),
        |s| s.replied(id),
    )
    .await?;
    Ok(id)
}

async fn error_alone(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let error = opened(&mut s, "error", port, "0").await?;
    s.finish(error).await?;
    let data = opened(&mut s, "data", port, "0").await?;
    s.echo_on(Pair { error, data }, b"one after the other")
        .await?;
    if s.received(error) > 0 || s.ended(error) {
        let text = s.summary();
        return Err(Stop::departure("an open, empty error stream", text));
    }
    OK
}

async fn data_alone(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let data = opened(&mut s, "data", port, "0").await?;
    let error = opened(&mut s, "error", port, "0").await?;
    s.echo_on(Pair { error, data }, b"the other way round")
        .await?;
    OK
}

async fn answered_before_pod(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Closed)?;
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    for id in [pair.error, pair.data] {
        let stream = s.stream(id);
        if stream.data_before_reply {
            let text = s.summary();
            return Err(Stop::departure(
                format!("SYN_REPLY before anything else on stream {id}"),
                text,
            ));
        }
    }
    fails(&mut s, pair, "where nobody listens").await?;
    OK
}

async fn one_segment(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let (pair, mut frames) = s.pair_frames(port);
    frames.push(data(pair.data, 0, b"all of it"));
    frames.push(fin(pair.data));
    s.send_all(&frames).await?;
    ends_with(&mut s, pair, b"all of it").await?;
    OK
}

/// Waits for bytes and the clean end of a pair.
async fn ends_with(s: &mut Session, pair: Pair, bytes: &[u8]) -> Result<(), Stop> {
    let what = format!("its {} bytes back on stream {}", bytes.len(), pair.data);
    let patience = s.patience;
    comes(s, pair.data, bytes, patience, &what).await?;
    s.clean_end(pair).await
}

/// For each order of two frames among three, a new pair and its frames. The bytes of each pair are its number.
fn orders(s: &mut Session, port: u16) -> Vec<(Pair, Vec<u8>, Vec<Frame>)> {
    let port = port.to_string();
    let mut all = Vec::new();
    for order in (0u8..32).filter(|order| order.count_ones() == 2) {
        let request = s.request_id();
        let payload = format!("pair {request} in order {order:05b}").into_bytes();
        let (mut error, mut stream) = (None, None);
        let mut frames = Vec::new();
        for place in 0..5 {
            if order >> place & 1 == 1 {
                frames.push(match error {
                    None => {
                        let id = *error.insert(s.next_id());
                        syn_stream(id, &headers("error", &port, &request))
                    }
                    Some(id) => fin(id),
                });
            } else {
                frames.push(match stream {
                    None => {
                        let id = s.next_id();
                        stream = Some((id, 0));
                        syn_stream(id, &headers("data", &port, &request))
                    }
                    Some((id, 0)) => {
                        stream = Some((id, 1));
                        data(id, 0, &payload)
                    }
                    Some((id, _)) => fin(id),
                });
            }
        }
        let (error, (data, _)) = (error.unwrap_or_default(), stream.unwrap_or_default());
        all.push((Pair { error, data }, payload, frames));
    }
    all
}

async fn every_order(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let all = orders(&mut s, port);
    for (.., frames) in &all {
        for frame in frames {
            s.send(frame).await?;
        }
    }
    for (pair, payload, _) in &all {
        ends_with(&mut s, *pair, payload).await?;
    }
    OK
}

async fn every_order_joined(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let all = orders(&mut s, port);
    for (.., frames) in &all {
        s.send_all(frames).await?;
    }
    for (pair, payload, _) in &all {
        ends_with(&mut s, *pair, payload).await?;
    }
    OK
}

/// Opens a pair to each of these ports, all streams in an order from the dice.
async fn open_mixed(t: &mut Trial, s: &mut Session, ports: &[u16]) -> Result<Vec<Pair>, Stop> {
    let mut streams: Vec<(usize, &str)> = (0..ports.len())
        .flat_map(|i| [(i, "error"), (i, "data")])
        .collect();
    t.dice.shuffle(&mut streams);
    let mut pairs = vec![Pair { error: 0, data: 0 }; ports.len()];
    for (i, kind) in streams {
        let (Some(port), Some(pair)) = (ports.get(i), pairs.get_mut(i)) else {
            continue;
        };
        let id = s
            .open(&headers(kind, &port.to_string(), &i.to_string()))
            .await?;
        if kind == "error" {
            pair.error = id;
            s.finish(id).await?;
        } else {
            pair.data = id;
        }
    }
    s.until("SYN_REPLY for each stream", |s| {
        pairs
            .iter()
            .all(|pair| s.replied(pair.error) && s.replied(pair.data))
    })
    .await?;
    Ok(pairs)
}

async fn interleaved(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let mut pairs = open_mixed(t, &mut s, &[port; 100]).await?;
    t.dice.shuffle(&mut pairs);
    for pair in &pairs {
        let bytes = format!("bytes of stream {}", pair.data);
        s.write(pair.data, bytes.as_bytes()).await?;
    }
    for pair in &pairs {
        let bytes = format!("bytes of stream {}", pair.data);
        let what = format!("its own bytes back on stream {}", pair.data);
        let patience = t.patience;
        comes(&mut s, pair.data, bytes.as_bytes(), patience, &what).await?;
    }
    OK
}

async fn interleaved_ports(t: &mut Trial) -> Outcome {
    let services = [Service::Echo, Service::HalfClose, Service::Closed];
    let mut ports = Vec::new();
    for service in services {
        ports.extend([t.port(service)?; 20]);
    }
    let mut s = t.session().await?;
    let pairs = open_mixed(t, &mut s, &ports).await?;
    for pair in pairs.iter().take(20) {
        s.write(pair.data, b"echo").await?;
    }
    for (i, pair) in pairs.iter().enumerate() {
        let (wanted, what) = match i / 20 {
            0 => (&b"echo"[..], "4 bytes back from the echo"),
            1 => (&b"banner\n"[..], "the banner of a port that talks first"),
            _ => {
                fails(&mut s, *pair, "where nobody listens").await?;
                continue;
            }
        };
        let what = format!("{what} on stream {}", pair.data);
        comes(&mut s, pair.data, wanted, t.patience, &what).await?;
        if s.received(pair.error) > 0 {
            let text = s.stream(pair.error).text();
            return Err(Stop::departure("no text where a pod is reached", text));
        }
    }
    OK
}

async fn error_open(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let error = opened(&mut s, "error", port, "0").await?;
    let data = opened(&mut s, "data", port, "0").await?;
    let pair = Pair { error, data };
    s.echo_on(pair, b"the error stream is open").await?;
    s.finish(data).await?;
    s.clean_end(pair).await?;
    OK
}

async fn lone_dials_nothing(t: &mut Trial) -> Outcome {
    let port = t.port(Service::HalfClose)?;
    let mut s = t.session().await?;
    let data = opened(&mut s, "data", port, "0").await?;
    s.read_for(Duration::from_millis(500)).await?;
    s.alive("beside a stream without partner").await?;
    if s.received(data) > 0 || s.ended(data) {
        let text = s.summary();
        return Err(Stop::departure("nothing before the pair is whole", text));
    }
    opened(&mut s, "error", port, "0").await?;
    let what = "the banner once the pair is whole";
    comes(&mut s, data, b"banner\n", t.patience, what).await?;
    OK
}

async fn data_before_partner(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let data = opened(&mut s, "data", port, "0").await?;
    for part in [b"1111", b"2222", b"3333", b"4444", b"5555"] {
        s.write(data, part).await?;
    }
    s.alive("with data on a stream without partner").await?;
    opened(&mut s, "error", port, "0").await?;
    let what = "all that was sent before the pair was whole, back";
    comes(&mut s, data, b"11112222333344445555", t.patience, what).await?;
    OK
}

async fn ports_differ(t: &mut Trial) -> Outcome {
    let (closed, echo) = (t.port(Service::Closed)?, t.port(Service::Echo)?);
    let mut s = t.session().await?;
    let error = s.open(&headers("error", &closed.to_string(), "0")).await?;
    let data = s.open(&headers("data", &echo.to_string(), "0")).await?;
    s.write(data, b"who is there?").await?;
    answered(&mut s, Pair { error, data }, "data-port", "error-port").await
}

async fn two_values(t: &mut Trial) -> Outcome {
    let (closed, echo) = (t.port(Service::Closed)?, t.port(Service::Echo)?);
    let mut s = t.session().await?;
    let port = format!("{echo}\0{closed}");
    let error = s.open(&headers("error", &port, "0")).await?;
    let data = s.open(&headers("data", &port, "0")).await?;
    s.write(data, b"who is there?").await?;
    answered(&mut s, Pair { error, data }, "first", "last").await
}

/// Whether the echo answers, the closed port, or the pair is refused.
async fn answered(
    s: &mut Session,
    pair: Pair,
    echo: &'static str,
    closed: &'static str,
) -> Outcome {
    s.until("bytes, a text or a refusal", |s| {
        s.received(pair.data) > 0 || s.received(pair.error) > 0 || refused(s, pair)
    })
    .await?;
    let slug = if refused(s, pair) {
        "refused"
    } else if s.received(pair.data) > 0 {
        echo
    } else {
        closed
    };
    Ok(Seen::as_slug(slug))
}

/// Whether one of the streams was reset without a text.
fn refused(s: &Session, pair: Pair) -> bool {
    let reset = |id| s.peek(id).is_some_and(|stream| !stream.resets.is_empty());
    s.received(pair.error) == 0 && (reset(pair.error) || reset(pair.data))
}
