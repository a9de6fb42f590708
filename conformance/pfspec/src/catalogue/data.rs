//! `pf/data/`: chapter 8, the bytes.

use super::pods::{both_end, comes, comes_on, difference, hash_answer, hash_request, http_request};
use crate::case::{CHANNELS, Case, OK, Outcome, Stop};
use crate::dice::sequence;
use crate::probe::session::data;
use crate::run;
use crate::target::Service;
use crate::trial::Trial;
use std::time::Duration;

const WHY_BYTES: &str =
    "What is lost, doubled or changed here corrupts the user's data without any message.";

pub(super) const CASES: &[Case] = &[
    Case::must(
        "pf/data/every-byte",
        "Every value of a byte goes through unchanged",
        &["8.1"],
        run!(every_byte),
    )
    .why(WHY_BYTES)
    .sends("All 256 values, twice, in frames of one byte, and then in one frame.")
    .accepts("The same back."),
    Case::must(
        "pf/data/frames-of-any-size",
        "How bytes are cut into frames has no meaning",
        &["8.1"],
        run!(any_size),
    )
    .why(WHY_BYTES)
    .sends("300 000 bytes to the echo in frames of 1 to 9000 bytes, from the seed.")
    .accepts("The same back, in order."),
    Case::must(
        "pf/data/download",
        "What the pod sends arrives unchanged",
        &["8.1"],
        run!(download),
    )
    .why(WHY_BYTES)
    .sends("The wish for 2 000 003 bytes of a sequence that the judge knows.")
    .accepts("Exactly these, and no end while the client has not ended."),
    Case::must(
        "pf/data/upload",
        "What the client sends arrives unchanged",
        &["8.1"],
        run!(upload),
    )
    .why(WHY_BYTES)
    .sends("1 000 003 bytes to a port that answers with their hash.")
    .accepts("The right hash, the end of both streams, no text."),
    Case::must(
        "pf/data/server-talks-first",
        "A pod that talks first is heard",
        &["8.1"],
        run!(talks_first),
    )
    .why("Mail servers, MySQL and SSH send a line before they read one.")
    .sends("A pair, and nothing on it.")
    .accepts("The pod's banner."),
    Case::must(
        "pf/data/both-at-once",
        "Neither direction waits for the other",
        &["8.1"],
        run!(both_at_once),
    )
    .why("HTTP/2 and gRPC send both ways at all times.")
    .sends("A request that is answered at once, and 200 000 bytes more behind it without reading the answer first.")
    .accepts("The whole answer, no end, and a session that works."),
    Case::must(
        "pf/data/one-connection-for-each-pair",
        "Each pair has a connection of its own",
        &["8.2"],
        run!(own_connection),
    )
    .why("Two programs that share a connection see each other's bytes.")
    .sends("Two pairs to the echo; bytes on both in turn; FIN on the first.")
    .accepts("On each its own bytes back; the second goes on when the first is over."),
    Case::must(
        "pf/data/pods-end-behind-all-bytes",
        "The pod's end comes behind its last byte",
        &["8.18"],
        run!(end_behind_bytes),
    )
    .why("A download that is cut looks complete to every program that reads to the end.")
    .sends("An HTTP request for 3 000 000 bytes, after which the pod closes.")
    .accepts("Head, 3 000 000 bytes, and then FIN."),
    Case::must(
        "pf/data/pods-end-ends-both-streams",
        "When the pod has closed, both streams are ended",
        &["8.26", "8.18", "8.7"],
        run!(end_ends_both),
    )
    .why("kubectl keeps the local connection open until the error stream has ended; a program that waits for the end hangs.")
    .sends("A request that the pod answers and closes behind; FIN when the data stream has ended, as kubectl once the local program has closed.")
    .accepts("The answer, FIN on data and FIN on error, no text."),
    Case::quality(
        "pf/data/pods-end-at-once",
        "The end of what the pod sends is passed on at once",
        &["8.19"],
        run!(end_at_once),
    )
    .why("With runtimes that wait a second, each connection that the pod ends takes a second longer.")
    .sends("A pair to a port that sends a line and closes its sending side.")
    .accepts("The line and FIN within half a second of each other, the client's direction being open."),
    Case::must(
        "pf/data/success-has-no-text",
        "Success is an empty error stream that is ended",
        &["8.7"],
        run!(success),
    )
    .why("Any byte on the error stream is a failure to kubectl, which then gives the whole session up.")
    .sends("Pairs to the echo, the sink and the hash, one after the other, each ended by the client.")
    .accepts("FIN on both streams of each, and no text."),
    Case::must(
        "pf/data/nothing-behind-the-end",
        "Nothing comes on a stream that the server has ended",
        &["8.18", "4.12"],
        run!(nothing_behind),
    )
    .why("Clients drop such bytes, so that they are lost.")
    .sends("Ten pairs to a port that answers and closes.")
    .accepts("No frame but RST_STREAM behind FIN on any stream."),
    Case::must(
        "pf/data/channel-any-size",
        "Channels carry bytes unchanged however they are cut",
        &["11.11", "8.1"],
        run!(channel_any_size),
    )
    .over(CHANNELS)
    .why(WHY_BYTES)
    .sends("All 256 values and 200 000 bytes from the seed to the echo, in messages of 1 to 9000 bytes.")
    .accepts("The same back, in order."),
    Case::must(
        "pf/data/channel-download",
        "What the pod sends arrives unchanged on a channel",
        &["11.11", "8.1"],
        run!(channel_download),
    )
    .over(CHANNELS)
    .why(WHY_BYTES)
    .sends("The wish for 1 000 003 bytes of a sequence that the judge knows.")
    .accepts("Exactly these."),
    Case::must(
        "pf/data/channel-upload",
        "What the client sends on a channel arrives unchanged",
        &["11.11", "8.1"],
        run!(channel_upload),
    )
    .over(CHANNELS)
    .why(WHY_BYTES)
    .sends("500 003 bytes to a port that answers with their hash.")
    .accepts("The right hash, and no text on the error channel."),
    Case::must(
        "pf/data/channel-server-talks-first",
        "A pod that talks first is heard on a channel",
        &["11.11", "11.12", "8.1"],
        run!(channel_talks_first),
    )
    .over(CHANNELS)
    .why("Mail servers, MySQL and SSH send a line before they read one.")
    .sends("Nothing.")
    .accepts("The port, and the pod's banner."),
    Case::must(
        "pf/data/channel-ports-apart",
        "Each port of a WebSocket has its own connection",
        &["11.7", "8.2"],
        run!(channel_apart),
    )
    .over(CHANNELS)
    .why("Bytes of one port on the channel of another reach the wrong program.")
    .sends("The echo's port twice and the hash's between; bytes on all three in turn.")
    .accepts("On each its own answer; no text."),
    Case::must(
        "pf/data/channel-end-of-one",
        "A port whose pod has closed leaves the others alone",
        &["11.13", "8.18"],
        run!(channel_end_of_one),
    )
    .over(CHANNELS)
    .why("One connection that is over must not cost the others.")
    .sends("A request to a port that answers and closes; then bytes to the echo on the same WebSocket, for more than the second for which runtimes wait.")
    .accepts("The whole answer without a text, and all bytes back."),
];

async fn every_byte(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    let all: Vec<u8> = (0..=u8::MAX).collect();
    for byte in &all {
        s.send(&data(pair.data, 0, &[*byte])).await?;
    }
    s.send(&data(pair.data, 0, &all)).await?;
    let wanted = [&all[..], &all[..]].concat();
    let what = "each byte back, twice";
    comes(&mut s, pair.data, &wanted, t.patience, what).await?;
    OK
}

async fn any_size(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    let bytes = t.dice.bytes(300_000);
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let size = t.dice.size(1, 9000).min(rest.len());
        let (part, behind) = rest.split_at(size);
        s.send(&data(pair.data, 0, part)).await?;
        rest = behind;
    }
    let what = "the 300000 bytes back";
    comes(&mut s, pair.data, &bytes, 2 * t.patience, what).await?;
    OK
}

async fn download(t: &mut Trial) -> Outcome {
    const LENGTH: usize = 2_000_003;
    let port = t.port(Service::Random)?;
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    s.write(pair.data, &(LENGTH as u64).to_be_bytes()).await?;
    let wanted = sequence(LENGTH as u64, LENGTH);
    let what = "the bytes of the sequence";
    comes(&mut s, pair.data, &wanted, 2 * t.patience, what).await?;
    s.alive("after the download").await?;
    if s.ended(pair.data) || s.ended(pair.error) {
        let text = s.summary();
        return Err(Stop::departure("no end while neither side ended", text));
    }
    OK
}

async fn upload(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Hash)?;
    let bytes = t.dice.bytes(1_000_003);
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    s.write(pair.data, &hash_request(&bytes)).await?;
    let what = "the hash of what was sent";
    let wanted = hash_answer(&bytes);
    comes(&mut s, pair.data, &wanted, 2 * t.patience, what).await?;
    s.finish(pair.data).await?;
    s.clean_end(pair).await?;
    OK
}

async fn talks_first(t: &mut Trial) -> Outcome {
    let port = t.port(Service::HalfClose)?;
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    let what = "the banner";
    comes(&mut s, pair.data, b"banner\n", t.patience, what).await?;
    OK
}

async fn both_at_once(t: &mut Trial) -> Outcome {
    let (port, echo) = (t.port(Service::Early)?, t.port(Service::Echo)?);
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    s.write(pair.data, b"go\n").await?;
    let more = t.dice.bytes(200_000);
    s.write(pair.data, &more).await?;
    let what = "the whole answer";
    let wanted = sequence(65536, 65536);
    comes(&mut s, pair.data, &wanted, t.patience, what).await?;
    s.echo(echo, b"and the session works").await?;
    if s.ended(pair.data) || s.received(pair.error) > 0 {
        let text = s.summary();
        return Err(Stop::departure("an open connection", text));
    }
    OK
}

async fn own_connection(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let (one, two) = (s.pair(port).await?, s.pair(port).await?);
    for round in 0..5 {
        s.echo_on(one, format!("one {round}").as_bytes()).await?;
        s.echo_on(two, format!("two {round}").as_bytes()).await?;
    }
    s.finish(one.data).await?;
    s.clean_end(one).await?;
    s.echo_on(two, b"two goes on").await?;
    OK
}

async fn end_behind_bytes(t: &mut Trial) -> Outcome {
    const LENGTH: usize = 3_000_000;
    let port = t.port(Service::Http)?;
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    let request = http_request(&format!("/bytes/{LENGTH}"));
    s.write(pair.data, &request).await?;
    s.until_within("FIN behind the answer", 2 * t.patience, |s| {
        s.ended(pair.data)
    })
    .await?;
    let stream = s.stream(pair.data);
    let head = stream.data.windows(4).position(|part| part == b"\r\n\r\n");
    let body = stream.data.len() - head.map_or(stream.data.len(), |at| at + 4);
    if body != LENGTH || !stream.fin || !stream.late.is_empty() {
        return Err(Stop::departure(
            format!("a body of {LENGTH} bytes and then FIN"),
            format!("a body of {body} bytes; {}", s.summary()),
        ));
    }
    OK
}

async fn end_ends_both(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Hash)?;
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    s.write(pair.data, &hash_request(b"")).await?;
    s.until("FIN on the data stream once the pod has closed", |s| {
        s.ended(pair.data)
    })
    .await?;
    let what = "the answer of the pod";
    comes(&mut s, pair.data, &hash_answer(b""), t.patience, what).await?;
    s.finish(pair.data).await?;
    s.clean_end(pair).await?;
    OK
}

async fn end_at_once(t: &mut Trial) -> Outcome {
    let port = t.port(Service::HalfClose)?;
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    let what = "the banner";
    comes(&mut s, pair.data, b"banner\n", t.patience, what).await?;
    s.read_for(Duration::from_millis(500)).await?;
    if !s.ended(pair.data) {
        return Err(Stop::departure(
            "FIN on the data stream within half a second of the pod's end",
            "none",
        ));
    }
    OK
}

async fn success(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    for service in [Service::Echo, Service::Sink, Service::Hash] {
        let pair = s.pair(t.port(service)?).await?;
        s.write(pair.data, &hash_request(b"to any of them")).await?;
        s.finish(pair.data).await?;
        s.clean_end(pair).await?;
    }
    OK
}

async fn nothing_behind(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Hash)?;
    let mut s = t.session().await?;
    let mut pairs = Vec::new();
    for _ in 0..10 {
        let pair = s.pair(port).await?;
        s.write(pair.data, &hash_request(b"some bytes")).await?;
        s.finish(pair.data).await?;
        pairs.push(pair);
    }
    for pair in &pairs {
        both_end(&mut s, *pair, "after the answer").await?;
    }
    s.alive("after ten connections").await?;
    for id in pairs.iter().flat_map(|pair| [pair.error, pair.data]) {
        let late = s.stream(id).late;
        if !late.is_empty() {
            let what = format!("nothing behind the end of stream {id}");
            return Err(Stop::departure(what, late.join(", ")));
        }
    }
    OK
}

async fn channel_any_size(t: &mut Trial) -> Outcome {
    let mut c = t.channels(&[t.port(Service::Echo)?]).await?;
    c.prefaced().await?;
    let bytes = [(0..=u8::MAX).collect(), t.dice.bytes(200_000)].concat();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let size = t.dice.size(1, 9000).min(rest.len());
        let (part, behind) = rest.split_at(size);
        c.send(0, part).await?;
        rest = behind;
    }
    let what = "all bytes back on channel 0";
    comes_on(&mut c, 0, &bytes, 2 * t.patience, what).await?;
    OK
}

async fn channel_download(t: &mut Trial) -> Outcome {
    const LENGTH: usize = 1_000_003;
    let mut c = t.channels(&[t.port(Service::Random)?]).await?;
    c.prefaced().await?;
    c.send(0, &(LENGTH as u64).to_be_bytes()).await?;
    let wanted = sequence(LENGTH as u64, LENGTH);
    let what = "the bytes of the sequence";
    comes_on(&mut c, 0, &wanted, 2 * t.patience, what).await?;
    OK
}

async fn channel_upload(t: &mut Trial) -> Outcome {
    let mut c = t.channels(&[t.port(Service::Hash)?]).await?;
    c.prefaced().await?;
    let bytes = t.dice.bytes(500_003);
    for part in hash_request(&bytes).chunks(10_000) {
        c.send(0, part).await?;
    }
    let what = "the hash of what was sent";
    comes_on(&mut c, 0, &hash_answer(&bytes), 2 * t.patience, what).await?;
    if c.received(1) > 0 {
        let text = String::from_utf8_lossy(&c.channel(1).data).into_owned();
        return Err(Stop::departure("no text", text));
    }
    OK
}

async fn channel_talks_first(t: &mut Trial) -> Outcome {
    let mut c = t.channels(&[t.port(Service::HalfClose)?]).await?;
    c.prefaced().await?;
    comes_on(&mut c, 0, b"banner\n", t.patience, "the banner").await?;
    OK
}

async fn channel_apart(t: &mut Trial) -> Outcome {
    let (echo, hash) = (t.port(Service::Echo)?, t.port(Service::Hash)?);
    let mut c = t.channels(&[echo, hash, echo]).await?;
    c.prefaced().await?;
    let mut wanted = [Vec::new(), Vec::new()];
    for round in 0..5 {
        for (channel, list) in [0, 4].into_iter().zip(&mut wanted) {
            let bytes = format!("channel {channel}, round {round}\n").into_bytes();
            c.send(channel, &bytes).await?;
            list.extend(bytes);
        }
    }
    c.send(2, &hash_request(b"between")).await?;
    let answer = hash_answer(b"between");
    let [first, last] = &wanted;
    for (channel, bytes) in [(0, first), (2, &answer), (4, last)] {
        let what = format!("its own bytes on channel {channel}");
        comes_on(&mut c, channel, bytes, t.patience, &what).await?;
    }
    // Nothing more may come on any of them.
    c.echo(0, b"once more").await?;
    let counts = [1, 3, 5].map(|channel| c.received(channel));
    if counts != [0; 3] {
        let text = c.summary();
        return Err(Stop::departure("no text on an error channel", text));
    }
    match difference(&c.channel(4).data, last) {
        None => OK,
        Some(text) => Err(Stop::departure("its own bytes on channel 4", text)),
    }
}

async fn channel_end_of_one(t: &mut Trial) -> Outcome {
    let (hash, echo) = (t.port(Service::Hash)?, t.port(Service::Echo)?);
    let mut c = t.channels(&[hash, echo]).await?;
    c.prefaced().await?;
    c.send(0, &hash_request(b"one of two")).await?;
    let what = "the answer of the pod";
    comes_on(&mut c, 0, &hash_answer(b"one of two"), t.patience, what).await?;
    for round in 0..4 {
        c.echo(1, format!("round {round}").as_bytes()).await?;
        c.read_for(Duration::from_millis(400)).await?;
    }
    c.echo(1, b"and still").await?;
    if c.received(1) + c.received(3) > 0 {
        let text = c.summary();
        return Err(Stop::departure("no text on an error channel", text));
    }
    OK
}
