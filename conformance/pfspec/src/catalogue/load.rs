//! `load/`: many connections, many bytes.

use super::pods::{BULK, comes, comes_on, hash_answer, hash_request};
use crate::case::{CHANNELS, Case, OK, Outcome, Stop, Tag};
use crate::dice::sequence;
use crate::probe::session::{data, fin};
use crate::run;
use crate::target::Service;
use crate::trial::Trial;

/// Bytes of a bulk transfer.
const BYTES: usize = 64 << 20;

pub(super) const CASES: &[Case] = &[
    Case::must(
        "load/1000-one-after-another",
        "A session serves a thousand connections one after another",
        &["4.21", "9.13"],
        run!(one_after_another),
    )
    .tags(&[Tag::Load])
    .within(300)
    .why("Streams that are kept until the session ends are a leak (kubernetes issues 100283 and 112032).")
    .sends("A thousand pairs, one after the other, each with a request that the pod answers before it closes.")
    .accepts("Each answer, and FIN on both streams of each."),
    Case::must(
        "load/200-at-once",
        "Two hundred connections at once",
        &["7.11", "8.2"],
        run!(at_once),
    )
    .tags(&[Tag::Load])
    .within(300)
    .why("A page with many small files, or a test suite, opens that many.")
    .sends("200 pairs to the echo, opened without waiting; other bytes on each; bytes again when all have come back; FIN on each.")
    .accepts("On each its own bytes, and a clean end."),
    Case::must(
        "load/20-downloads-at-once",
        "Twenty downloads at once are all whole",
        &["9.3", "4.22"],
        run!(downloads),
    )
    .tags(&[Tag::Load])
    .within(300)
    .why("Image layers and database dumps are fetched side by side.")
    .sends("Twenty pairs, on each the wish for a megabyte of another sequence.")
    .accepts("Each whole and in order."),
    Case::must(
        "load/64-mib-up",
        "64 MiB from the client to the pod",
        &["8.1", "9.3"],
        run!(up),
    )
    .tags(&[Tag::Load])
    .within(300)
    .why("Database restores are larger.")
    .sends("64 MiB to a port that answers with their hash.")
    .accepts("The right hash."),
    Case::must(
        "load/64-mib-down",
        "64 MiB from the pod to the client",
        &["8.1", "9.3"],
        run!(down),
    )
    .tags(&[Tag::Load])
    .within(300)
    .why("Database dumps are larger.")
    .sends("The wish for 64 MiB of a sequence that the judge knows.")
    .accepts("Exactly these."),
    Case::must(
        "load/64-mib-both-ways",
        "64 MiB in each direction of one connection at once",
        &["9.3"],
        run!(both_ways),
    )
    .tags(&[Tag::Load])
    .within(300)
    .why("Two peers that both write and do not read stand still for ever.")
    .sends("64 MiB to the echo while what comes back is read; PING at the end.")
    .accepts("All of it back, in order, and PING."),
    Case::must(
        "load/20000-small-frames",
        "Twenty thousand frames of one byte",
        &["8.1", "9.1"],
        run!(small_frames),
    )
    .tags(&[Tag::Load])
    .within(300)
    .why("Terminals send each key by itself; a queue that counts frames fills up soon.")
    .sends("A request of 20 000 bytes, each in a DATA frame of its own, hundreds of them in one write.")
    .accepts("The right hash."),
    Case::must(
        "load/pairs-beside-bulk",
        "Connections come and go beside bulk transfers",
        &["9.3", "8.2"],
        run!(beside_bulk),
    )
    .tags(&[Tag::Load])
    .within(300)
    .why("A page loads its parts while a film plays.")
    .sends("A download of 16 MB; while it is read, fifty pairs with a short request each.")
    .accepts("Each answer, and the whole download."),
    Case::should(
        "load/30-sessions",
        "Thirty sessions one after another, each with connections",
        &["14.20", "8.29"],
        run!(sessions),
    )
    .tags(&[Tag::Load])
    .within(300)
    .why("Scripts start and end kubectl all day.")
    .sends("Thirty sessions, one after the other: a pair to the echo, bytes, and the end of TCP without any frame.")
    .accepts("Bytes back on each."),
    Case::must(
        "load/10-sessions-at-once",
        "Ten sessions at once",
        &["8.2", "8.1"],
        run!(sessions_at_once),
    )
    .tags(&[Tag::Load])
    .within(300)
    .why("Several users and several ports make several sessions to one pod.")
    .sends("Ten sessions; on each a pair to the echo and bytes of its own; then bytes again on all in turn.")
    .accepts("On each its own bytes."),
    Case::must(
        "load/channel-16-mib-up",
        "16 MiB from the client to the pod on a channel",
        &["11.11", "8.1"],
        run!(channel_up),
    )
    .over(CHANNELS)
    .tags(&[Tag::Load])
    .within(300)
    .why("Database restores are larger.")
    .sends("16 MiB to a port that answers with their hash.")
    .accepts("The right hash."),
    Case::must(
        "load/channel-16-mib-down",
        "16 MiB from the pod to the client on a channel",
        &["11.11", "8.1"],
        run!(channel_down),
    )
    .over(CHANNELS)
    .tags(&[Tag::Load])
    .within(300)
    .why("Database dumps are larger.")
    .sends("The wish for 16 MiB of a sequence that the judge knows.")
    .accepts("Exactly these."),
];

async fn one_after_another(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Hash)?;
    let mut s = t.session().await?;
    for round in 0..1000 {
        let bytes = format!("connection {round}").into_bytes();
        let pair = s.pair(port).await?;
        let request = hash_request(&bytes);
        s.send_all(&[data(pair.data, 0, &request), fin(pair.data)])
            .await?;
        let what = format!("the answer of connection {round}");
        let wanted = hash_answer(&bytes);
        comes(&mut s, pair.data, &wanted, t.patience, &what).await?;
        s.clean_end(pair).await?;
    }
    s.alive("after a thousand connections").await?;
    OK
}

async fn at_once(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let mut pairs = Vec::new();
    for _ in 0..200 {
        let (pair, mut frames) = s.pair_frames(port);
        frames.push(data(pair.data, 0, format!("on {}", pair.data).as_bytes()));
        s.send_all(&frames).await?;
        pairs.push(pair);
    }
    for pair in &pairs {
        let wanted = format!("on {}", pair.data);
        let what = format!("its own bytes back on stream {}", pair.data);
        comes(&mut s, pair.data, wanted.as_bytes(), BULK, &what).await?;
    }
    t.dice.shuffle(&mut pairs);
    for pair in &pairs {
        s.echo_on(*pair, format!("again on {}", pair.data).as_bytes())
            .await?;
    }
    for pair in &pairs {
        s.finish(pair.data).await?;
    }
    for pair in &pairs {
        s.clean_end(*pair).await?;
    }
    OK
}

async fn downloads(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Random)?;
    let mut s = t.session().await?;
    let mut pairs = Vec::new();
    for i in 0..20 {
        let pair = s.pair(port).await?;
        let length = 1_000_000 + i;
        s.write(pair.data, &(length as u64).to_be_bytes()).await?;
        pairs.push((pair, length));
    }
    for (pair, length) in pairs {
        let wanted = sequence(length as u64, length);
        let what = format!("the whole download on stream {}", pair.data);
        comes(&mut s, pair.data, &wanted, BULK, &what).await?;
    }
    OK
}

async fn up(t: &mut Trial) -> Outcome {
    let bytes = t.dice.bytes(BYTES);
    let mut s = t.session().await?;
    let pair = s.pair(t.port(Service::Hash)?).await?;
    s.write(pair.data, &(BYTES as u64).to_be_bytes()).await?;
    s.write(pair.data, &bytes).await?;
    let what = "the hash of what was sent";
    comes(&mut s, pair.data, &hash_answer(&bytes), BULK, what).await?;
    OK
}

async fn down(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let pair = s.pair(t.port(Service::Random)?).await?;
    s.write(pair.data, &(BYTES as u64).to_be_bytes()).await?;
    let wanted = sequence(BYTES as u64, BYTES);
    let what = "the bytes of the sequence";
    comes(&mut s, pair.data, &wanted, BULK, what).await?;
    OK
}

async fn both_ways(t: &mut Trial) -> Outcome {
    let bytes = t.dice.bytes(BYTES);
    let mut s = t.session().await?;
    let pair = s.pair(t.port(Service::Echo)?).await?;
    s.write(pair.data, &bytes).await?;
    let what = "all that was sent, back";
    comes(&mut s, pair.data, &bytes, BULK, what).await?;
    s.alive("after 64 MiB in each direction").await?;
    OK
}

async fn small_frames(t: &mut Trial) -> Outcome {
    let bytes = t.dice.bytes(20_000);
    let mut s = t.session().await?;
    let pair = s.pair(t.port(Service::Hash)?).await?;
    for part in hash_request(&bytes).chunks(500) {
        let frames: Vec<_> = part
            .iter()
            .map(|byte| data(pair.data, 0, &[*byte]))
            .collect();
        s.send_all(&frames).await?;
    }
    let what = "the hash of what was sent";
    comes(&mut s, pair.data, &hash_answer(&bytes), BULK, what).await?;
    OK
}

async fn beside_bulk(t: &mut Trial) -> Outcome {
    const LENGTH: usize = 16_000_000;
    let port = t.port(Service::Hash)?;
    let mut s = t.session().await?;
    let bulk = s.pair(t.port(Service::Random)?).await?;
    s.write(bulk.data, &(LENGTH as u64).to_be_bytes()).await?;
    for round in 0..50 {
        let bytes = format!("beside {round}").into_bytes();
        let pair = s.pair(port).await?;
        s.write(pair.data, &hash_request(&bytes)).await?;
        s.finish(pair.data).await?;
        let what = format!("the answer of connection {round} beside a download");
        let wanted = hash_answer(&bytes);
        comes(&mut s, pair.data, &wanted, BULK, &what).await?;
    }
    let wanted = sequence(LENGTH as u64, LENGTH);
    comes(&mut s, bulk.data, &wanted, BULK, "the whole download").await?;
    OK
}

async fn sessions(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    for round in 0..30 {
        let mut s = t.session().await?;
        s.echo(port, format!("session {round}").as_bytes()).await?;
    }
    OK
}

async fn sessions_at_once(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut all = Vec::new();
    for i in 0..10 {
        let mut s = t.session().await?;
        let pair = s.echo(port, format!("session {i}").as_bytes()).await?;
        all.push((s, pair));
    }
    for (i, (s, pair)) in all.iter_mut().enumerate() {
        s.echo_on(*pair, format!("again {i}").as_bytes()).await?;
        if s.received(pair.error) > 0 {
            let text = s.summary();
            return Err(Stop::departure("no text", text));
        }
    }
    OK
}

async fn channel_up(t: &mut Trial) -> Outcome {
    let bytes = t.dice.bytes(16 << 20);
    let mut c = t.channels(&[t.port(Service::Hash)?]).await?;
    c.prefaced().await?;
    c.send(0, &(bytes.len() as u64).to_be_bytes()).await?;
    for part in bytes.chunks(32 << 10) {
        c.send(0, part).await?;
    }
    let what = "the hash of what was sent";
    comes_on(&mut c, 0, &hash_answer(&bytes), BULK, what).await?;
    OK
}

async fn channel_down(t: &mut Trial) -> Outcome {
    const LENGTH: usize = 16 << 20;
    let mut c = t.channels(&[t.port(Service::Random)?]).await?;
    c.prefaced().await?;
    c.send(0, &(LENGTH as u64).to_be_bytes()).await?;
    let wanted = sequence(LENGTH as u64, LENGTH);
    let what = "the bytes of the sequence";
    comes_on(&mut c, 0, &wanted, BULK, what).await?;
    OK
}
