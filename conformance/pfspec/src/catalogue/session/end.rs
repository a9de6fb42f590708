//! `spdy/session/`: chapter 5, GOAWAY and the end.

use crate::case::{Case, OK, Outcome, Seen, Stop};
use crate::catalogue::pods::{both_end, fails, hash_request};
use crate::catalogue::spdy::seen;
use crate::probe::log::Side;
use crate::probe::session::{Fate, Got, data};
use crate::probe::wire::{self, Frame};
use crate::run;
use crate::target::Service;
use crate::trial::Trial;
use std::time::Duration;
use tokio::time::Instant;

pub(in crate::catalogue) const CASES: &[Case] = &[
    Case::should(
        "spdy/session/goaway-of-the-server",
        "GOAWAY of the server names its last accepted stream",
        &["5.10"],
        run!(goaway_of_the_server),
    )
    .why("A client can tell from it which connections never began.")
    .sends("One to four connections to the echo; then what ends the session: SYN_STREAM with id 0.")
    .accepts("`named`: GOAWAY with the id of the last accepted stream, and status 0, 1 or 2; or `none`."),
    Case::should(
        "spdy/session/goaway-of-the-server-without-streams",
        "GOAWAY of the server names 0 if there was no stream",
        &["5.10"],
        run!(goaway_without_streams),
    )
    .why("A client can tell from it which connections never began.")
    .sends("What ends the session as its first frame: SYN_STREAM with id 0.")
    .accepts("`named`: GOAWAY with 0, and status 0, 1 or 2; or `none`."),
    Case::should(
        "spdy/session/no-goaway-beside-streams",
        "The server sends no GOAWAY while a connection is open",
        &["5.12"],
        run!(no_goaway_beside),
    )
    .why("A client that reads GOAWAY opens nothing more, and kubectl ends all its connections.")
    .sends("A pair to the echo that stays open; beside it two pairs that come to their end and one to a port where nobody listens; PING, and bytes on the first.")
    .accepts("Bytes back, and no GOAWAY."),
    Case::must(
        "spdy/session/goaway-without-streams",
        "GOAWAY of the client on a session without streams",
        &["5.11"],
        run!(goaway_idle),
    )
    .why("This is how kubectl ends.")
    .sends("GOAWAY of last stream 0 and status 0.")
    .accepts("`ends-session`, or `goes-on` with PING still answered."),
    Case::must(
        "spdy/session/goaway-of-any-kind",
        "GOAWAY of any last stream and status is taken",
        &["5.11"],
        run!(goaway_any),
    )
    .why("Clients put their own last stream there, and a status when they fail.")
    .sends("In four sessions with a pair to the echo GOAWAY with a random last stream and status 0, 1, 2 or a random one.")
    .accepts("The same as for status 0: `ends-session`, or `goes-on`."),
    Case::must(
        "spdy/session/no-stream-after-goaway",
        "No stream is accepted after the client's GOAWAY",
        &["5.13"],
        run!(no_stream_after),
    )
    .why("A connection that begins on a session that ends is lost.")
    .sends("A pair to the echo; GOAWAY and a new pair in one write.")
    .accepts("No SYN_REPLY for the new pair."),
    Case::must(
        "spdy/session/goaway-ends-open-streams-or-not",
        "GOAWAY of the client with an open stream",
        &["5.11"],
        run!(goaway_open),
    )
    .why("Real servers end the open streams; the draft lets them finish. A server that does neither hangs them.")
    .sends("A pair to the echo, GOAWAY, then DATA.")
    .accepts("`ends-session`, or `finishes`: the bytes back."),
    Case::must(
        "spdy/session/close-without-goaway",
        "A close without GOAWAY ends the session",
        &["5.14"],
        run!(close),
    )
    .why("Clients are killed; what they leave must not stay.")
    .sends("Three connections to the echo, then the end of the connection.")
    .accepts("The server ends the connection too; a new session works."),
    Case::must(
        "spdy/session/close-at-once",
        "A close right behind the 101 ends the session",
        &["5.14"],
        run!(close_at_once),
    )
    .why("Clients are killed; what they leave must not stay.")
    .sends("Nothing; the end of the connection.")
    .accepts("The server ends the connection too, with GOAWAY or without a frame."),
    Case::must(
        "spdy/session/both-directions-end",
        "The server ends both directions of the connection",
        &["5.16"],
        run!(both_directions),
    )
    .why("A connection of which one direction stays open keeps its place in every proxy on the way.")
    .sends("What ends the session: SYN_STREAM with id 0; after the server's end empty DATA, again and again.")
    .accepts("Writing fails in the end."),
    Case::must(
        "spdy/session/end-is-for-one-session",
        "The end of one session touches no other",
        &["5.14"],
        run!(one_session),
    )
    .why("Sessions of one user, and of several, meet at one server.")
    .sends("Three sessions to the echo; one ends by GOAWAY, one by a bad frame, in random order.")
    .accepts("The third goes on."),
];

const FATAL: &str = "SYN_STREAM with id 0";

fn fatal(s: &mut crate::probe::session::Session) -> Vec<u8> {
    s.encoder.encode(&crate::probe::session::syn_stream(
        0,
        &[("streamtype", "error")],
    ))
}

async fn goaway_of_the_server(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let mut last = 0;
    for _ in 0..t.dice.size(1, 4) {
        last = s.echo(port, b"before").await?.data;
    }
    names(&mut s, last).await
}

async fn goaway_without_streams(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    names(&mut s, 0).await
}

async fn no_goaway_beside(t: &mut Trial) -> Outcome {
    let (hash, closed) = (t.port(Service::Hash)?, t.port(Service::Closed)?);
    let mut s = t.session().await?;
    let beside = s.echo(t.port(Service::Echo)?, b"before").await?;
    for round in 0..2 {
        let pair = s.pair(hash).await?;
        s.write(pair.data, &hash_request(&[round])).await?;
        s.finish(pair.data).await?;
        both_end(&mut s, pair, "behind the answer").await?;
    }
    let pair = s.pair(closed).await?;
    fails(&mut s, pair, "where nobody listens").await?;
    s.alive("beside a connection").await?;
    s.echo_on(beside, b"behind").await?;
    match s.goaway {
        None => OK,
        Some((last, _)) => Err(Stop::departure(
            "no GOAWAY while a connection is open",
            format!("GOAWAY of last stream {last}"),
        )),
    }
}

async fn names(s: &mut crate::probe::session::Session, last: u32) -> Outcome {
    let bytes = fatal(s);
    s.dies_of(FATAL, &bytes).await?;
    // Not each server sends one in such a case, and it may be lost on the way.
    match s.goaway {
        Some((named, status)) if named != last || status > 2 => Err(Stop::departure(
            format!("GOAWAY of last stream {last} and status 0, 1 or 2"),
            s.summary(),
        )),
        Some(_) => Ok(Seen::as_slug("named")),
        None => Ok(Seen::as_slug("none")),
    }
}

async fn goaway_idle(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    s.alive("at the start").await?;
    s.send(&Frame::Goaway { last: 0, status: 0 }).await?;
    // One that ends the session may still answer a PING that it takes together with GOAWAY.
    s.read_for(Duration::from_millis(500)).await?;
    Ok(seen(s.fate("after GOAWAY").await?))
}

async fn goaway_any(t: &mut Trial) -> Outcome {
    let random = u32::try_from(t.dice.between(3, u64::from(u32::MAX))).unwrap_or(3);
    let mut fates = Vec::new();
    for status in [0, 1, 2, random] {
        let last = u32::try_from(t.dice.between(1, 0x7fff_ffff)).unwrap_or(1);
        let mut s = t.session().await?;
        // A server may end a session that has nothing left to do, sooner or later than it takes the PING.
        s.echo(t.port(Service::Echo)?, b"before").await?;
        s.send(&Frame::Goaway { last, status }).await?;
        let after = format!("after GOAWAY {last} of status {status}");
        fates.push(s.fate(&after).await?);
    }
    fates.dedup();
    match fates[..] {
        [fate] => Ok(seen(fate)),
        _ => Err(Stop::departure(
            "the same after GOAWAY of any status",
            format!("{fates:?}"),
        )),
    }
}

async fn no_stream_after(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    s.echo(port, b"before").await?;
    let (pair, mut frames) = s.pair_frames(port);
    frames.insert(0, Frame::Goaway { last: 0, status: 0 });
    s.send_all(&frames).await?;
    s.fate("after GOAWAY and a new pair").await?;
    s.read_for(Duration::from_millis(200)).await?;
    if s.replied(pair.error) || s.replied(pair.data) {
        let expected = "no SYN_REPLY for streams behind GOAWAY";
        return Err(Stop::departure(expected, s.summary()));
    }
    OK
}

async fn goaway_open(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let pair = s.echo(t.port(Service::Echo)?, b"before").await?;
    s.send(&Frame::Goaway { last: 0, status: 0 }).await?;
    if s.fate("after GOAWAY").await? == Fate::Ended {
        return Ok(seen(Fate::Ended));
    }
    s.echo_on(pair, b"behind").await?;
    Ok(Seen::as_slug("finishes"))
}

async fn close(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    for _ in 0..3 {
        s.echo(port, b"before").await?;
    }
    s.hang_up().await?;
    s.until_end("after that of the client").await?;
    let mut s = t.session().await?;
    s.works(port, "after another one was closed").await?;
    OK
}

async fn close_at_once(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    s.hang_up().await?;
    s.until_end("after that of the client").await?;
    let goaway = |got: &Got| matches!(got.frame, Frame::Goaway { last: 0, .. });
    if !s.got.iter().all(goaway) {
        let expected = "no frame but GOAWAY, which names no stream";
        return Err(Stop::departure(expected, s.summary()));
    }
    OK
}

async fn both_directions(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    s.alive("at the start").await?;
    let bytes = fatal(&mut s);
    s.dies_of(FATAL, &bytes).await?;
    // In a tunnel the server waits for the client's Close as well.
    s.hang_up_tunnel().await?;
    let frame = wire::data(0x1001, 0, b"");
    let layer = s.carrier.layer();
    let deadline = Instant::now() + s.patience;
    loop {
        let connection = s.connection();
        connection.item(Side::Judge, layer, "8 bytes behind the end", &frame);
        if connection.write_some(&frame, Duration::from_secs(1)).await < frame.len() {
            break;
        }
        if Instant::now() > deadline {
            let expected = "that writing fails once the server has ended the connection";
            let text = format!("bytes taken for {:?}", s.patience);
            return Err(Stop::departure(expected, text));
        }
        // The answer to what was written is what makes the next write fail.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    OK
}

async fn one_session(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut third = t.session().await?;
    let pair = third.echo(port, b"before").await?;
    let mut ways = [true, false];
    t.dice.shuffle(&mut ways);
    for by_goaway in ways {
        let mut s = t.session().await?;
        let own = s.echo(port, b"before").await?;
        s.send(&data(own.data, 0, b"on its way")).await?;
        if by_goaway {
            s.send(&Frame::Goaway { last: 0, status: 0 }).await?;
            s.fate("after GOAWAY").await?;
        } else {
            let bytes = fatal(&mut s);
            s.dies_of(FATAL, &bytes).await?;
        }
        third.echo_on(pair, b"beside").await?;
    }
    third.works(port, "after the end of others").await?;
    OK
}
