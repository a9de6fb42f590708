//! `spdy/stream/`: chapter 4, opening and answering.

pub(super) mod ends;
pub(super) mod resets;

use super::spdy::{REFUSED, accepted, answer_to, no_frame, seen, tour};
use crate::case::{Case, OK, Outcome, Seen, Stop};
use crate::probe::session::{Fate, Pair, Session, data, fin, headers, syn_stream};
use crate::probe::wire::{FIN, Frame};
use crate::run;
use crate::target::Service;
use crate::trial::Trial;
use std::time::Duration;

pub(super) const CASES: &[Case] = &[
    Case::must(
        "spdy/stream/even-id",
        "A stream with an even id opens, or is refused, or ends the session",
        &["2.16", "4.1"],
        run!(even_id),
    )
    .why("Real servers do not look at parity; a server that keeps silent leaves the client waiting.")
    .sends("SYN_STREAM with id 2.")
    .accepts("`opens`, `resets`, or `ends-session`."),
    Case::must(
        "spdy/stream/server-opens-none",
        "The server opens no stream",
        &["4.2"],
        run!(opens_none),
    )
    .why("No client expects one; it would neither answer nor read.")
    .sends("Connections that succeed, fail, are refused and are reset.")
    .accepts("No SYN_STREAM, and no frame about a stream that the client did not open."),
    Case::must(
        "spdy/stream/id-0",
        "SYN_STREAM with id 0 ends the session",
        &["4.3"],
        run!(id_0),
    )
    .why("Id 0 means the session; a stream there would mix both.")
    .sends("SYN_STREAM with id 0, then PING.")
    .accepts("The session ends; the stream is not answered and PING not echoed."),
    Case::must(
        "spdy/stream/repeated-id",
        "A second SYN_STREAM with an open stream's id opens nothing",
        &["4.4"],
        run!(wrong_id, Wrong::Open),
    )
    .why("Two streams of one id would mix the bytes of two connections.")
    .sends("SYN_STREAM with the id of an open data stream.")
    .accepts("`resets`: status 1, and other connections go on; or `ends-session`."),
    Case::must(
        "spdy/stream/finished-id",
        "A finished stream's id opens nothing",
        &["4.4", "4.21"],
        run!(wrong_id, Wrong::Finished),
    )
    .why("Late frames of the first stream would reach the second.")
    .sends("SYN_STREAM with the id of a stream on which both sides have sent FIN.")
    .accepts("`resets`: status 1, and other connections go on; or `ends-session`."),
    Case::must(
        "spdy/stream/reset-id",
        "A reset stream's id opens nothing",
        &["4.4", "4.21"],
        run!(wrong_id, Wrong::Reset),
    )
    .why("Late frames of the first stream would reach the second.")
    .sends("SYN_STREAM with the id of a stream that the client has reset.")
    .accepts("`resets`: status 1, and other connections go on; or `ends-session`."),
    Case::must(
        "spdy/stream/lower-id",
        "A lower id that was never used opens nothing",
        &["4.4"],
        run!(wrong_id, Wrong::Gap),
    )
    .why("Ids rise; a client that goes back has lost count.")
    .sends("A pair behind a gap of random size, then SYN_STREAM with a random odd id in the gap.")
    .accepts("`resets`: status 1, and other connections go on; or `ends-session`."),
    Case::must(
        "spdy/stream/refused-id",
        "A refused stream's id opens nothing",
        &["4.4"],
        run!(wrong_id, Wrong::Refused),
    )
    .why("A client that tries again must take a new id.")
    .sends("SYN_STREAM that is refused, then a right one with the same id.")
    .accepts("`resets`: status 1, and other connections go on; or `ends-session`."),
    Case::must(
        "spdy/stream/gaps",
        "Ids may leave gaps",
        &["4.5"],
        run!(gaps),
    )
    .why("Clients that give up a stream before they send it leave a gap.")
    .sends("Ten pairs to the echo with random odd ids that rise, up to a million apart.")
    .accepts("The bytes back on each."),
    Case::must(
        "spdy/stream/highest-id",
        "The highest ids are accepted",
        &["4.5", "4.6"],
        run!(highest_id),
    )
    .why("A session that lives long comes to them.")
    .sends("A pair to the echo with ids 0x7ffffffd and 0x7fffffff.")
    .accepts("The bytes back, and a clean end."),
    Case::must(
        "spdy/stream/one-answer",
        "Each SYN_STREAM gets one answer",
        &["4.7"],
        run!(one_answer),
    )
    .why("Without an answer the client waits 30 seconds and fails the connection.")
    .sends("30 SYN_STREAM in random order: pairs to the echo, and streams without type and port.")
    .accepts("SYN_REPLY once for those of pairs, RST_STREAM and no SYN_REPLY for the others."),
    Case::must(
        "spdy/stream/reply-before-data",
        "SYN_REPLY comes before DATA of the same stream",
        &["4.8"],
        run!(reply_before_data),
    )
    .why("Real clients throw earlier DATA away without a sign: the first bytes of a download are missing.")
    .sends("16 pairs in one write, each with a byte for the echo behind its SYN_STREAM.")
    .accepts("SYN_REPLY first on every stream."),
    Case::must(
        "spdy/stream/reply-before-banner",
        "SYN_REPLY comes before what the pod sends by itself",
        &["4.8"],
        run!(reply_before_banner),
    )
    .why("Databases and mail servers speak first: their greeting would be lost.")
    .sends("16 pairs to the port that sends a banner, in one write.")
    .accepts("SYN_REPLY first on every stream, and the whole banner."),
    Case::should(
        "spdy/stream/plain-reply",
        "SYN_REPLY has no flags and no headers",
        &["4.9"],
        run!(plain_reply),
    )
    .why("No client reads headers there.")
    .sends("Connections that succeed, fail, are refused and are reset.")
    .accepts("Flags 0 and no pairs in each SYN_REPLY."),
    Case::must(
        "spdy/stream/data-at-once",
        "DATA may follow SYN_STREAM at once",
        &["4.10"],
        run!(data_at_once),
    )
    .why("Clients that do not wait save a round trip; the first bytes must not be lost.")
    .sends("Ten pairs to the echo with 1 to 5000 bytes behind each SYN_STREAM, all in one write.")
    .accepts("All bytes back on each."),
    Case::must(
        "spdy/stream/fin-at-once",
        "DATA and FIN may follow SYN_STREAM at once",
        &["4.10"],
        run!(fin_at_once),
    )
    .why("A short request is over before the server has answered SYN_STREAM.")
    .sends("Ten pairs to the echo, each with 1 to 3000 bytes and FIN behind its SYN_STREAM, all in one write.")
    .accepts("All bytes back and a clean end on each."),
    Case::must(
        "spdy/stream/syn-reply-for-unknown",
        "SYN_REPLY for a stream that was never opened has no effect",
        &["4.11"],
        run!(unexpected_reply, Wrong::Gap),
    )
    .why("It says nothing about the streams that there are.")
    .sends("SYN_REPLY for a random even and a random odd id.")
    .accepts("No RST_STREAM for them; other connections go on."),
    Case::must(
        "spdy/stream/syn-reply-for-own",
        "SYN_REPLY for a stream that the client opened has no effect",
        &["4.11"],
        run!(unexpected_reply, Wrong::Open),
    )
    .why("It says nothing that the server did not say itself.")
    .sends("SYN_REPLY for an open data stream to the echo.")
    .accepts("The stream goes on."),
    Case::must(
        "spdy/stream/syn-reply-for-finished",
        "SYN_REPLY for a stream that is over has no effect",
        &["4.11"],
        run!(unexpected_reply, Wrong::Finished),
    )
    .why("It says nothing about the streams that there are.")
    .sends("SYN_REPLY for both streams of a connection that has ended.")
    .accepts("No RST_STREAM for them; other connections go on."),
];

async fn even_id(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?.to_string();
    let mut s = t.session().await?;
    s.alive("at the start").await?;
    s.open_as(2, &headers("error", &port, "even")).await?;
    answer_to(&mut s, 2, "after a stream with an even id").await
}

async fn opens_none(t: &mut Trial) -> Outcome {
    let mut s = tour(t).await?;
    let last = s.next_id();
    no_frame(&s, "frames about streams of the client only", |got| {
        let id = got.frame.stream()?;
        let foreign = id % 2 == 0 || id >= last;
        (foreign || matches!(got.frame, Frame::SynStream { .. })).then(|| got.frame.text())
    })?;
    OK
}

async fn id_0(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?.to_string();
    let mut s = t.session().await?;
    s.alive("at the start").await?;
    let bytes = s
        .encoder
        .encode(&syn_stream(0, &headers("error", &port, "zero")));
    s.dies_of("SYN_STREAM with id 0", &bytes).await?;
    if s.replied(0) {
        return Err(Stop::departure("no SYN_REPLY for stream 0", s.summary()));
    }
    OK
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Open,
    Finished,
    Reset,
    Gap,
    Refused,
}

/// A session, and an id whose stream has come to what `wrong` says.
async fn with_id(t: &mut Trial, wrong: Wrong) -> Result<(Session, u32, Option<Pair>), Stop> {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let mut open = None;
    let id = match wrong {
        Wrong::Open => {
            let pair = s.echo(port, b"before").await?;
            open = Some(pair);
            pair.data
        }
        Wrong::Finished => {
            let pair = s.echo(port, b"before").await?;
            s.finish(pair.data).await?;
            s.clean_end(pair).await?;
            pair.data
        }
        Wrong::Reset => {
            let pair = s.echo(port, b"before").await?;
            s.reset(pair.data, 5).await?;
            pair.data
        }
        Wrong::Gap => {
            let gap = u32::try_from(t.dice.between(10, 1_000_000)).unwrap_or(10);
            s.skip_to(gap * 2 + 1);
            s.echo(port, b"before").await?;
            u32::try_from(t.dice.between(0, u64::from(gap) - 1)).unwrap_or(3) * 2 + 1
        }
        Wrong::Refused => {
            let id = s.open(REFUSED).await?;
            s.until("RST_STREAM for a stream without type and port", |s| {
                s.ended(id)
            })
            .await?;
            id
        }
    };
    Ok((s, id, open))
}

async fn wrong_id(t: &mut Trial, wrong: Wrong) -> Outcome {
    let port = t.port(Service::Echo)?;
    let (mut s, id, _) = with_id(t, wrong).await?;
    let (replies, resets) = (s.stream(id).replies.len(), s.stream(id).resets.len());
    let text = port.to_string();
    s.open_as(id, &headers("error", &text, "again")).await?;
    let after = format!("after SYN_STREAM {id} once more");
    if s.fate(&after).await? == Fate::Ended {
        return Ok(seen(Fate::Ended));
    }
    s.until(
        &format!("RST_STREAM {id}, or the end of the session, {after}"),
        |s| s.stream(id).resets.len() > resets,
    )
    .await?;
    let stream = s.stream(id);
    if stream.replies.len() > replies || stream.resets.last() != Some(&1) {
        let expected = format!("RST_STREAM {id} with status 1 and no SYN_REPLY");
        return Err(Stop::departure(expected, s.summary()));
    }
    s.works(port, &after).await?;
    Ok(Seen::as_slug("resets"))
}

async fn gaps(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let mut id = 1;
    for _ in 0..10 {
        id += 2 * u32::try_from(t.dice.between(2, 500_000)).unwrap_or(2);
        s.skip_to(id);
        s.echo(port, b"behind a gap").await?;
        id += 2;
    }
    OK
}

async fn highest_id(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    s.skip_to(0x7fff_fffd);
    s.works(port, "with the highest ids").await?;
    s.alive("after the highest ids").await?;
    OK
}

async fn one_answer(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?.to_string();
    let mut s = t.session().await?;
    let mut lists = Vec::new();
    for i in 0..10 {
        let request = i.to_string();
        for kind in ["error", "data"] {
            let list = headers(kind, &port, &request).map(|(n, v)| (n.to_owned(), v.to_owned()));
            lists.push((true, list.to_vec()));
        }
        lists.push((false, vec![("requestid".to_owned(), request)]));
    }
    t.dice.shuffle(&mut lists);
    let mut streams = Vec::new();
    for (opens, list) in &lists {
        let list: Vec<_> = list
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        streams.push((s.open(&list).await?, *opens));
    }
    s.until("an answer to each of 30 streams", |s| {
        streams.iter().all(|(id, _)| s.replied(*id) || s.ended(*id))
    })
    .await?;
    // Second answers would come with the first, or at once behind.
    s.alive("after 30 streams").await?;
    s.read_for(Duration::from_millis(100)).await?;
    for (id, opens) in streams {
        let stream = s.stream(id);
        let answers = (stream.replies.len(), stream.resets.len());
        if answers != (usize::from(opens), usize::from(!opens)) {
            let expected = if opens { "SYN_REPLY" } else { "RST_STREAM" };
            return Err(Stop::departure(
                format!("one {expected} for stream {id}, and no other answer"),
                format!("{} SYN_REPLY and {} RST_STREAM", answers.0, answers.1),
            ));
        }
    }
    OK
}

/// Opens pairs in one write, each with what `more` adds.
async fn pairs_at_once(
    s: &mut Session,
    port: u16,
    count: usize,
    mut more: impl FnMut(Pair) -> Vec<Frame>,
) -> Result<Vec<Pair>, Stop> {
    let (mut pairs, mut all) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (pair, frames) = s.pair_frames(port);
        all.extend(frames);
        all.extend(more(pair));
        pairs.push(pair);
    }
    s.send_all(&all).await?;
    Ok(pairs)
}

fn replied_first(s: &Session, pairs: &[Pair]) -> Result<(), Stop> {
    for id in pairs.iter().flat_map(|pair| [pair.error, pair.data]) {
        if s.stream(id).data_before_reply {
            let expected = format!("SYN_REPLY {id} before DATA {id}");
            return Err(Stop::departure(expected, s.summary()));
        }
    }
    Ok(())
}

async fn reply_before_data(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let pairs = pairs_at_once(&mut s, port, 16, |pair| vec![data(pair.data, 0, b"!")]).await?;
    s.until("a byte back on each of 16 streams, and SYN_REPLY", |s| {
        pairs
            .iter()
            .all(|pair| s.received(pair.data) == 1 && s.replied(pair.data))
    })
    .await?;
    replied_first(&s, &pairs)?;
    OK
}

async fn reply_before_banner(t: &mut Trial) -> Outcome {
    let port = t.port(Service::HalfClose)?;
    let mut s = t.session().await?;
    let pairs = pairs_at_once(&mut s, port, 16, |_| Vec::new()).await?;
    s.until("the banner on each of 16 streams, and SYN_REPLY", |s| {
        pairs
            .iter()
            .all(|pair| s.received(pair.data) >= 7 && s.replied(pair.data))
    })
    .await?;
    replied_first(&s, &pairs)?;
    for pair in pairs {
        if s.stream(pair.data).data != b"banner\n" {
            let text = s.stream(pair.data).text();
            return Err(Stop::departure("\"banner\\n\"", format!("{text:?}")));
        }
    }
    OK
}

async fn plain_reply(t: &mut Trial) -> Outcome {
    let s = tour(t).await?;
    no_frame(
        &s,
        "SYN_REPLY without flags and headers",
        |got| match &got.frame {
            Frame::SynReply { flags, headers, .. } if *flags != 0 || !headers.is_empty() => {
                Some(got.frame.text())
            }
            _ => None,
        },
    )?;
    OK
}

async fn data_at_once(t: &mut Trial) -> Outcome {
    at_once(t, 5000, false).await
}

async fn fin_at_once(t: &mut Trial) -> Outcome {
    at_once(t, 3000, true).await
}

async fn at_once(t: &mut Trial, most: usize, ends: bool) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let mut sent = Vec::new();
    let pairs = pairs_at_once(&mut s, port, 10, |pair| {
        let length = t.dice.size(1, most);
        let bytes = t.dice.bytes(length);
        // FIN now in the last frame, now in one of its own.
        let joined = ends && t.dice.between(0, 1) == 0;
        let mut frames = vec![data(pair.data, if joined { FIN } else { 0 }, &bytes)];
        if ends && !joined {
            frames.push(fin(pair.data));
        }
        sent.push(bytes);
        frames
    })
    .await?;
    for (pair, bytes) in pairs.into_iter().zip(sent) {
        accepted(&mut s, pair).await?;
        let what = format!("{} bytes back on stream {}", bytes.len(), pair.data);
        s.until(&what, |s| s.received(pair.data) >= bytes.len() as u64)
            .await?;
        if s.stream(pair.data).data != bytes {
            return Err(Stop::departure(what, format!("others; {}", s.summary())));
        }
        if ends {
            s.clean_end(pair).await?;
        }
    }
    OK
}

async fn unexpected_reply(t: &mut Trial, wrong: Wrong) -> Outcome {
    let port = t.port(Service::Echo)?;
    let (mut s, id, open) = with_id(t, wrong).await?;
    let other = match wrong {
        Wrong::Gap => u32::try_from(t.dice.between(1, 1_000_000)).unwrap_or(1) * 2,
        _ => id - 2,
    };
    for id in [id, other] {
        s.send(&Frame::SynReply {
            id,
            flags: 0,
            headers: Vec::new(),
        })
        .await?;
    }
    if let Some(pair) = open {
        s.echo_on(pair, b"behind").await?;
    }
    s.works(port, "after an unexpected SYN_REPLY").await?;
    for id in [id, other] {
        if !s.stream(id).resets.is_empty() {
            let expected = format!("no RST_STREAM {id} after an unexpected SYN_REPLY");
            return Err(Stop::departure(expected, s.summary()));
        }
    }
    OK
}
