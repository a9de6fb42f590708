//! `spdy/header/`: chapter 3, blocks of refused and unknown streams, and blocks that cannot be read.

use super::noise;
use super::zlib::stored;
use crate::case::{Case, OK, Outcome, Seen};
use crate::catalogue::spdy::{REFUSED, pair_with_headers, seen};
use crate::probe::session::{Fate, headers, syn_stream_around};
use crate::probe::wire::{self, Deflater, Frame};
use crate::run;
use crate::target::Service;
use crate::trial::Trial;

pub(in crate::catalogue) const CASES: &[Case] = &[
    Case::must(
        "spdy/header/no-block-in-syn-stream",
        "SYN_STREAM without a block ends the session",
        &["3.14"],
        run!(no_block, wire::SYN_STREAM, 10, "SYN_STREAM"),
    )
    .why("A block without pairs has bytes; none at all means that both sides disagree on the stream.")
    .sends("SYN_STREAM of length 10, then PING.")
    .accepts("The session ends; PING is not echoed."),
    Case::must(
        "spdy/header/no-block-in-syn-reply",
        "SYN_REPLY without a block ends the session",
        &["3.14"],
        run!(no_block, wire::SYN_REPLY, 4, "SYN_REPLY"),
    )
    .why("A block without pairs has bytes; none at all means that both sides disagree on the stream.")
    .sends("SYN_REPLY of length 4, then PING.")
    .accepts("The session ends; PING is not echoed."),
    Case::must(
        "spdy/header/block-of-a-refused-stream",
        "The block of a refused stream is inflated",
        &["3.15"],
        run!(every_block, Skipped::Refused),
    )
    .why("A server that does not read it understands no block behind it: one bad connection costs all.")
    .sends("Refused streams with random headers, then pairs to the echo that repeat them.")
    .accepts("The bytes back."),
    Case::must(
        "spdy/header/block-of-a-repeated-id",
        "The block of a SYN_STREAM with a used id is inflated, or the session ends",
        &["3.15", "4.4"],
        run!(every_block, Skipped::Repeated),
    )
    .why("A server that does not read it understands no block behind it.")
    .sends("SYN_STREAM with an id that was used and random headers, then a pair to the echo that repeats them.")
    .accepts("`goes-on`: the bytes back; or `ends-session`."),
    Case::must(
        "spdy/header/block-of-an-unexpected-syn-reply",
        "The block of an unexpected SYN_REPLY is inflated",
        &["3.15", "4.11"],
        run!(every_block, Skipped::Reply),
    )
    .why("A server that does not read it understands no block behind it.")
    .sends("SYN_REPLY for streams that were never opened, with random headers, then a pair to the echo that repeats them.")
    .accepts("The bytes back."),
    Case::must(
        "spdy/header/block-of-unknown-headers",
        "The block of HEADERS for an unknown stream is inflated",
        &["3.15"],
        run!(every_block, Skipped::Headers),
    )
    .why("A server that does not read it understands no block behind it.")
    .sends("HEADERS for streams that were never opened, with random headers, then a pair to the echo that repeats them.")
    .accepts("The bytes back."),
    Case::must(
        "spdy/header/second-zlib-header",
        "A second zlib header ends the session",
        &["3.17", "3.9"],
        run!(bad_block, Bad::SecondHeader),
    )
    .why("A client that begins anew for each stream must learn of it, not get half of its streams.")
    .sends("A pair to the echo, then SYN_STREAM from a new compressor, then PING.")
    .accepts("The session ends; PING is not echoed."),
    Case::must(
        "spdy/header/reserved-deflate-block",
        "A deflate block of the reserved type ends the session",
        &["3.17"],
        run!(bad_block, Bad::Reserved),
    )
    .why("The compression state is lost: every later stream would be read wrong.")
    .sends("A pair to the echo, then SYN_STREAM with the byte 07 in front of its block, then PING.")
    .accepts("The session ends; PING is not echoed."),
    Case::must(
        "spdy/header/damaged-stored-block",
        "A stored block whose length is damaged ends the session",
        &["3.17"],
        run!(bad_block, Bad::Stored),
    )
    .why("The compression state is lost: every later stream would be read wrong.")
    .sends("A pair to the echo, then SYN_STREAM with a stored block whose two lengths contradict each other, then PING.")
    .accepts("The session ends; PING is not echoed."),
    Case::must(
        "spdy/header/fewer-pairs-than-counted",
        "A block with fewer pairs than its count ends the session",
        &["3.17"],
        run!(bad_block, Bad::Count),
    )
    .why("A server that waits for the rest takes the next stream's headers for it.")
    .sends("A pair to the echo, then SYN_STREAM with three pairs and the count 4, then PING.")
    .accepts("The session ends; PING is not echoed."),
    Case::must(
        "spdy/header/name-beyond-the-block",
        "A name longer than the rest of the block ends the session",
        &["3.17"],
        run!(bad_block, Bad::Name),
    )
    .why("A server that waits for the rest takes the next stream's headers for it.")
    .sends("A pair to the echo, then SYN_STREAM whose first name is said to have 1000 bytes, then PING.")
    .accepts("The session ends; PING is not echoed."),
    Case::must(
        "spdy/header/value-beyond-the-block",
        "A value longer than the rest of the block ends the session",
        &["3.17"],
        run!(bad_block, Bad::Value),
    )
    .why("A server that waits for the rest takes the next stream's headers for it.")
    .sends("A pair to the echo, then SYN_STREAM whose last value is said to have 10 bytes more, then PING.")
    .accepts("The session ends; PING is not echoed."),
    Case::must(
        "spdy/header/cut-block",
        "A block that ends within its compressed bytes ends the session",
        &["3.17"],
        run!(bad_block, Bad::Cut),
    )
    .why("A server that waits for the rest takes the next stream's headers for it.")
    .sends("A pair to the echo, then SYN_STREAM with the first half of its block, then PING.")
    .accepts("The session ends; PING is not echoed."),
    Case::must(
        "spdy/header/no-zlib-header",
        "Bytes that are no zlib stream end the session",
        &["3.17"],
        run!(no_zlib),
    )
    .why("A client that does not compress at all must learn of it.")
    .sends("SYN_STREAM with a block that is not compressed, then PING.")
    .accepts("The session ends; PING is not echoed."),
];

async fn no_block(t: &mut Trial, kind: u16, length: usize, name: &str) -> Outcome {
    let mut s = t.session().await?;
    s.alive("at the start").await?;
    let mut payload = vec![0, 0, 0, 1];
    payload.resize(length, 0);
    s.dies_of(
        &format!("{name} without a block"),
        &wire::control(3, kind, 0, &payload),
    )
    .await?;
    OK
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skipped {
    Refused,
    Repeated,
    Reply,
    Headers,
}

async fn every_block(t: &mut Trial, skipped: Skipped) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    // A first block that is used, so that the server has an inflater in any case.
    s.echo(port, b"at the start").await?;
    for i in 0..3 {
        let value = noise(&mut t.dice, 100);
        let pairs = vec![("x-again".to_owned(), value.clone())];
        let never = 0x1001 + 2 * i;
        match skipped {
            Skipped::Refused => {
                let mut list = REFUSED.to_vec();
                list.push(("x-again", &value));
                let id = s.open(&list).await?;
                s.until("RST_STREAM for a stream without type and port", |s| {
                    s.ended(id)
                })
                .await?;
            }
            Skipped::Repeated => {
                s.open_as(1, &[("x-again", &value)]).await?;
                if s.fate("after a repeated id").await? == Fate::Ended {
                    return Ok(seen(Fate::Ended));
                }
            }
            Skipped::Reply => {
                s.send(&Frame::SynReply {
                    id: never,
                    flags: 0,
                    headers: pairs,
                })
                .await?;
            }
            Skipped::Headers => {
                s.send(&Frame::Headers {
                    id: never,
                    flags: 0,
                    headers: pairs,
                })
                .await?;
            }
        }
        let pair = pair_with_headers(&mut s, port, |headers| {
            headers.push(("x-again".to_owned(), value.clone()));
        })
        .await?;
        s.echo_on(pair, b"understood").await?;
    }
    Ok(if skipped == Skipped::Repeated {
        seen(Fate::GoesOn)
    } else {
        Seen::AS_ASKED
    })
}

#[derive(Debug, Clone, Copy)]
enum Bad {
    SecondHeader,
    Reserved,
    Stored,
    Count,
    Name,
    Value,
    Cut,
}

async fn bad_block(t: &mut Trial, bad: Bad) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    s.echo(port, b"at the start").await?;
    let text = port.to_string();
    let mut plain = wire::block(&headers("error", &text, "bad"));
    // The count, the length of the first name, that of the last value (`bad`).
    let last = plain.len() - 4;
    let field = match bad {
        Bad::Count => Some((3, 1)),
        Bad::Name => Some((6, 3)),
        Bad::Value => Some((last, 10)),
        _ => None,
    };
    if let Some((at, more)) = field
        && let Some(byte) = plain.get_mut(at)
    {
        *byte += more;
    }
    let mut block = match bad {
        Bad::SecondHeader => Deflater::new(6).deflate(&plain),
        Bad::Stored => {
            let mut block = stored(&plain);
            if let Some(byte) = block.get_mut(3) {
                *byte ^= 1 << t.dice.between(0, 7);
            }
            block
        }
        _ => s.encoder.deflater.deflate(&plain),
    };
    match bad {
        Bad::Reserved => block.insert(0, 7),
        Bad::Cut => block.truncate(block.len() / 2),
        _ => {}
    }
    let id = s.next_id();
    let what = format!("SYN_STREAM {id} with a bad block ({bad:?})");
    s.dies_of(&what, &syn_stream_around(id, &block)).await?;
    OK
}

async fn no_zlib(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    s.alive("at the start").await?;
    let plain = wire::block(&headers("error", "7000", "0"));
    s.dies_of(
        "SYN_STREAM with a block that is not compressed",
        &syn_stream_around(1, &plain),
    )
    .await?;
    OK
}
