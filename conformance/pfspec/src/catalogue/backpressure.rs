//! `pf/backpressure/`: chapter 9, somebody does not read.

pub(super) mod pod;

use super::pods::{comes, comes_on, http_request};
use crate::case::{CHANNELS, Case, OK, Outcome, Stop, Tag};
use crate::dice::sequence;
use crate::probe::session::{Pair, Session, data, headers};
use crate::probe::wire::Frame;
use crate::run;
use crate::target::Service;
use crate::trial::Trial;
use std::time::Duration;
use tokio::time::Instant;

/// How long somebody has to stand still to be stalled.
const STALLED: Duration = Duration::from_secs(3);

/// Bytes that fit in no row of sockets between the judge and a pod.
const MUCH: usize = 48 << 20;

pub(super) const CASES: &[Case] = &[
    Case::must(
        "pf/backpressure/pause",
        "A download that is not read for two seconds loses nothing",
        &["9.1", "9.8"],
        run!(pause),
    )
    .why("A program that thinks between two reads must get every byte.")
    .sends("A download of 12 MB; nothing read for two seconds; then all.")
    .accepts("All bytes, in order."),
    Case::must(
        "pf/backpressure/slow-reader",
        "A download that is read slowly loses nothing",
        &["9.1", "9.8"],
        run!(slow_reader),
    )
    .why("Lines are slower than pods.")
    .sends("A download of 4 MB, read for 2 milliseconds in every 50 at first.")
    .accepts("All bytes, in order."),
    Case::must(
        "pf/backpressure/slow-reader-of-two",
        "Two downloads that are read slowly lose nothing",
        &["9.1"],
        run!(two_slow),
    )
    .why("What is kept for one stream must not be given to another.")
    .sends("Two downloads of other bytes on one session, not read for a second; then all.")
    .accepts("All bytes of both, in order."),
    Case::must(
        "pf/backpressure/both-ways",
        "Many bytes in both directions at once",
        &["9.3"],
        run!(both_ways),
    )
    .why("Two peers that both write and do not read stand still for ever.")
    .sends("8 MB to the echo while what comes back is read.")
    .accepts("All of it back, in order."),
    Case::must(
        "pf/backpressure/no-window",
        "A server sends without waiting for a window",
        &["9.3", "5.9"],
        run!(no_window),
    )
    .why("No deployed client sends WINDOW_UPDATE: a server that waits for one stops after 64 KiB.")
    .sends("Two downloads of 500 000 bytes on one session, and no WINDOW_UPDATE.")
    .accepts("All bytes of both."),
    Case::should(
        "pf/backpressure/reads-while-its-writes-wait",
        "A server reads while its writes wait",
        &["9.2"],
        run!(reads_while_waiting),
    )
    .tags(&[Tag::Load])
    .within(120)
    .why("If neither end reads while it writes, both stand still for ever.")
    .sends("A download of 1 GiB that is not read at all; once the server's writes wait, 48 MiB, more than sockets hold, to the sink on another pair.")
    .accepts("That the server takes them, each part within 10 seconds."),
    Case::should(
        "pf/backpressure/download-broken-off",
        "A download that is broken off does not stall the session",
        &["9.11"],
        run!(broken_off),
    )
    .within(60)
    .why("The next connection failed with `Timeout occurred` (kubernetes issue 74551, kubectl issue 1620).")
    .sends("Five downloads of 5 MB, each reset after its first bytes; bytes to the echo on a new pair after each.")
    .accepts("Bytes back within a few seconds each time."),
    Case::quality(
        "pf/backpressure/turns",
        "A small exchange does not wait for a bulk transfer",
        &["9.9"],
        run!(turns),
    )
    .tags(&[Tag::Load])
    .within(60)
    .why("Whoever types in one window while a download runs in another wants to see what is typed.")
    .sends("A download of 1 GiB that is read as it comes; ten exchanges of 10 bytes with the echo beside it; then a reset of the download.")
    .accepts("Each exchange while the download goes on."),
    Case::quality(
        "pf/backpressure/unread-stream-and-ping",
        "PING is answered beside a stream of which nobody takes the data",
        &["9.6"],
        run!(unread_ping),
    )
    .why("A client that takes the missing answer for a dead line gives all connections up.")
    .sends("A data stream without partner, 200 DATA frames of 100 bytes on it, PING.")
    .accepts("PING back."),
    Case::quality(
        "pf/backpressure/unread-stream-and-new-pair",
        "New connections work beside a stream of which nobody takes the data",
        &["9.5"],
        run!(unread_new_pair),
    )
    .why("One stalled program stops the whole session otherwise (spdystream issue 97).")
    .sends("A data stream without partner, 200 DATA frames of 100 bytes on it, a pair to the echo.")
    .accepts("Bytes back."),
    Case::quality(
        "pf/backpressure/unread-stream-and-same-remainder",
        "Streams whose ids have the same remainder by five go on beside an unread frame",
        &["9.5"],
        run!(same_remainder),
    )
    .why("A receiver of five workers stops every fifth stream for one frame that nobody takes.")
    .sends("A data stream without partner, one DATA frame on it, and five pairs to the echo: every remainder of ids is there.")
    .accepts("Bytes back on all five."),
    Case::should(
        "pf/backpressure/close-with-unread-data",
        "A session with data that nobody takes can be closed",
        &["9.12"],
        run!(close_unread),
    )
    .why("Otherwise the server keeps what belongs to clients that are long gone (spdystream issue 97).")
    .sends("A data stream without partner, 20 DATA frames on it, GOAWAY and the end of the judge's sending.")
    .accepts("The end of the connection within 5 seconds."),
    Case::should(
        "pf/backpressure/close-while-sending",
        "A session whose download is not read can be closed",
        &["9.12"],
        run!(close_while_sending),
    )
    .tags(&[Tag::Load])
    .within(60)
    .why("A client that goes away in the midst of a download must not leave a connection to the pod behind.")
    .sends("A download without end that is not read; GOAWAY; then all is read.")
    .accepts("The end of the connection."),
    Case::must(
        "pf/backpressure/channel-pause",
        "A download on a channel that is not read for two seconds loses nothing",
        &["9.1"],
        run!(channel_pause),
    )
    .over(CHANNELS)
    .why("A program that thinks between two reads must get every byte.")
    .sends("A download of 4 MB; nothing read for two seconds; then all.")
    .accepts("All bytes, in order."),
    Case::must(
        "pf/backpressure/channel-both-ways",
        "Many bytes in both directions of a channel at once",
        &["9.3"],
        run!(channel_both_ways),
    )
    .over(CHANNELS)
    .why("Two peers that both write and do not read stand still for ever.")
    .sends("3 MB to the echo while what comes back is read.")
    .accepts("All of it back, in order."),
];

/// Starts a download that the judge knows: its pair and its bytes.
async fn download(t: &Trial, s: &mut Session, length: usize) -> Result<(Pair, Vec<u8>), Stop> {
    let pair = s.pair(t.port(Service::Random)?).await?;
    s.write(pair.data, &(length as u64).to_be_bytes()).await?;
    Ok((pair, sequence(length as u64, length)))
}

async fn pause(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let (pair, wanted) = download(t, &mut s, 12_000_000).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let what = "all of the download";
    comes(&mut s, pair.data, &wanted, 3 * t.patience, what).await?;
    if s.ended(pair.data) || s.received(pair.error) > 0 {
        let text = s.summary();
        return Err(Stop::departure("an open connection", text));
    }
    OK
}

async fn slow_reader(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let (pair, wanted) = download(t, &mut s, 4_000_000).await?;
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        s.read_for(Duration::from_millis(2)).await?;
    }
    let what = "all of the download";
    comes(&mut s, pair.data, &wanted, 2 * t.patience, what).await?;
    OK
}

async fn two_slow(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let (one, first) = download(t, &mut s, 3_000_000).await?;
    let (two, second) = download(t, &mut s, 3_000_001).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (pair, wanted) in [(one, first), (two, second)] {
        let what = format!("all of the download on stream {}", pair.data);
        comes(&mut s, pair.data, &wanted, 2 * t.patience, &what).await?;
    }
    OK
}

async fn both_ways(t: &mut Trial) -> Outcome {
    let bytes = t.dice.bytes(8_000_000);
    let mut s = t.session().await?;
    let pair = s.pair(t.port(Service::Echo)?).await?;
    s.write(pair.data, &bytes).await?;
    let what = "all that was sent, back";
    comes(&mut s, pair.data, &bytes, 2 * t.patience, what).await?;
    OK
}

async fn no_window(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let (one, first) = download(t, &mut s, 500_000).await?;
    let (two, second) = download(t, &mut s, 500_001).await?;
    for (pair, wanted) in [(one, first), (two, second)] {
        let what = "500000 bytes without a window";
        comes(&mut s, pair.data, &wanted, 2 * t.patience, what).await?;
    }
    OK
}

async fn reads_while_waiting(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    s.keeps = false;
    let sink = s.pair(t.port(Service::Sink)?).await?;
    let source = s.pair(t.port(Service::Source)?).await?;
    s.connection().reads_while_writing = false;
    // The server's writes begin to wait when all sockets on the way are full.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let part = data(sink.data, 0, &vec![b's'; 256 << 10]);
    for _ in 0..MUCH / (256 << 10) {
        s.send(&part).await?;
    }
    // An ended connection takes everything too.
    s.connection().reads_while_writing = true;
    s.reset(source.data, 5).await?;
    s.alive("after both").await?;
    OK
}

async fn broken_off(t: &mut Trial) -> Outcome {
    let echo = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    for _ in 0..5 {
        let pair = s.pair(t.port(Service::Http)?).await?;
        s.write(pair.data, &http_request("/bytes/5000000")).await?;
        s.until("the beginning of a download", |s| s.received(pair.data) > 0)
            .await?;
        s.reset(pair.data, 5).await?;
        s.echo(echo, b"the next connection").await?;
    }
    OK
}

async fn turns(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let echo = s.echo(t.port(Service::Echo)?, b"before").await?;
    let source = s.pair(t.port(Service::Source)?).await?;
    s.keeps = false;
    s.until("the beginning of a download", |s| {
        s.received(source.data) > 100_000
    })
    .await?;
    for _ in 0..10 {
        let whole = s.received(echo.data) + 10;
        s.write(echo.data, b"ten bytes!").await?;
        s.until("ten bytes back beside a download", |s| {
            s.received(echo.data) == whole || s.ended(source.data)
        })
        .await?;
    }
    if s.ended(source.data) {
        return Err(Stop::departure(
            "ten exchanges while a download of 1 GiB goes on",
            "fewer",
        ));
    }
    s.reset(source.data, 5).await?;
    OK
}

/// A data stream without partner, with so many DATA frames of so many bytes on it.
async fn unread(t: &Trial, frames: usize, bytes: usize) -> Result<(Session, u32), Stop> {
    let port = t.port(Service::Echo)?.to_string();
    let mut s = t.session().await?;
    let id = s.open(&headers("data", &port, "unread")).await?;
    s.until("SYN_REPLY for the data stream", |s| s.replied(id))
        .await?;
    for _ in 0..frames {
        s.send(&data(id, 0, &vec![b'u'; bytes])).await?;
    }
    Ok((s, id))
}

/// A result that is the same in every run: what was expected, or that it did not come.
async fn within_three_seconds(
    what: &'static str,
    going_on: impl Future<Output = Result<(), Stop>>,
) -> Result<(), Stop> {
    match tokio::time::timeout(STALLED, going_on).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Stop::Unsupported(text))) => Err(Stop::Unsupported(text)),
        _ => Err(Stop::departure(what, "that it stands still, or has ended")),
    }
}

async fn unread_ping(t: &mut Trial) -> Outcome {
    let (mut s, _) = unread(t, 200, 100).await?;
    within_three_seconds("PING back", s.alive("beside an unread stream")).await?;
    OK
}

async fn unread_new_pair(t: &mut Trial) -> Outcome {
    let (mut s, _) = unread(t, 200, 100).await?;
    let port = t.port(Service::Echo)?;
    let works = async { s.echo(port, b"a new pair").await.map(drop) };
    within_three_seconds("bytes back on a new pair", works).await?;
    OK
}

async fn same_remainder(t: &mut Trial) -> Outcome {
    let (mut s, _) = unread(t, 1, 1).await?;
    let port = t.port(Service::Echo)?;
    let works = async {
        for _ in 0..5 {
            s.echo(port, b"one of five").await?;
        }
        Ok(())
    };
    within_three_seconds("bytes back on five new pairs", works).await?;
    OK
}

async fn close_unread(t: &mut Trial) -> Outcome {
    let (mut s, _) = unread(t, 20, 100).await?;
    s.send(&Frame::Goaway { last: 0, status: 0 }).await?;
    s.connection().shut_down().await;
    s.until_end("after GOAWAY").await?;
    OK
}

async fn close_while_sending(t: &mut Trial) -> Outcome {
    // More than any line brings while a server lets its streams finish, however fast (clause 5.11).
    const ENDLESS: u64 = 1 << 50;
    let mut s = t.session().await?;
    s.keeps = false;
    s.connection().reads_while_writing = false;
    let pair = s.pair(t.port(Service::Random)?).await?;
    s.write(pair.data, &ENDLESS.to_be_bytes()).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    s.send(&Frame::Goaway { last: 0, status: 0 }).await?;
    s.connection().reads_while_writing = true;
    let deadline = Instant::now() + 4 * t.patience;
    // Gateways may notice the end of a session in a tunnel only when the client writes again.
    while s.end.is_none() && Instant::now() < deadline {
        s.send(&Frame::Ping(1)).await?;
        s.read_for(Duration::from_millis(250)).await?;
    }
    s.not_malformed("the end of the session")?;
    if !s.is_over() {
        return Err(Stop::departure("the end of the session", "none"));
    }
    OK
}

async fn channel_pause(t: &mut Trial) -> Outcome {
    const LENGTH: usize = 4_000_000;
    let mut c = t.channels(&[t.port(Service::Random)?]).await?;
    c.prefaced().await?;
    c.send(0, &(LENGTH as u64).to_be_bytes()).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let wanted = sequence(LENGTH as u64, LENGTH);
    let what = "all of the download";
    comes_on(&mut c, 0, &wanted, 2 * t.patience, what).await?;
    OK
}

async fn channel_both_ways(t: &mut Trial) -> Outcome {
    let bytes = t.dice.bytes(3_000_000);
    let mut c = t.channels(&[t.port(Service::Echo)?]).await?;
    c.prefaced().await?;
    for part in bytes.chunks(32 << 10) {
        c.send(0, part).await?;
    }
    let what = "all that was sent, back";
    comes_on(&mut c, 0, &bytes, 2 * t.patience, what).await?;
    OK
}
