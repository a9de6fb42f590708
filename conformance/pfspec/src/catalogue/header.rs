//! `spdy/header/`: chapter 3, names and values.

pub(super) mod blocks;
pub(super) mod zlib;

use super::spdy::{REFUSED, answer_to, pair_with_headers, seen, tour};
use crate::case::{Case, OK, Outcome, Seen, Stop};
use crate::dice::Dice;
use crate::probe::session::{Fate, headers, syn_stream_around};
use crate::probe::wire::Frame;
use crate::run;
use crate::target::Service;
use crate::trial::Trial;

pub(super) const CASES: &[Case] = &[
    Case::must(
        "spdy/header/blocks-of-the-server",
        "Header blocks of the server are well formed",
        &["3.1", "3.2", "3.3", "3.9"],
        run!(blocks_of_the_server),
    )
    .why("A real client ends the session at a block that it cannot read.")
    .sends("Connections that succeed, fail, are refused and are reset: some ten SYN_REPLY.")
    .accepts("Counts and lengths of 32 bits that fill the block, names in lower case and once, one zlib stream."),
    Case::must(
        "spdy/header/surplus-bytes",
        "Bytes behind the last pair are ignored, or end the session at once or at the next block",
        &["3.1"],
        run!(surplus),
    )
    .why("Nobody sends them; a server that loses its place opens wrong streams.")
    .sends("A pair to the echo, three zero bytes behind the pairs of its first block; a PING; another pair.")
    .accepts("`goes-on`, or `ends-session`."),
    Case::must(
        "spdy/header/upper-case",
        "A name in upper case ends the session, or the stream, or is taken",
        &["2.16", "3.2"],
        run!(odd_header, &[("Port", "7000"), ("streamtype", "error"), ("requestid", "u")]),
    )
    .why("The documentation writes `streamType`; clients that send it so lose the session at real servers.")
    .sends("SYN_STREAM with `Port`.")
    .accepts("`ends-session`, `resets`, or `opens`."),
    Case::must(
        "spdy/header/repeated-name",
        "A repeated name is taken, or ends the stream or the session",
        &["2.16", "3.3"],
        run!(odd_header, &[("port", "7000"), ("port", "7000"), ("streamtype", "error"), ("requestid", "r")]),
    )
    .why("Real servers join the values; the draft asks for an error.")
    .sends("SYN_STREAM with `port` twice.")
    .accepts("`opens`, `resets`, or `ends-session`."),
    Case::must(
        "spdy/header/repeated-odd-name",
        "A repeated `:path` is taken, or ends the stream or the session",
        &["2.16", "3.3"],
        run!(odd_header, &[(":path", "/"), (":path", "/"), ("port", "7000"), ("streamtype", "error"), ("requestid", "r")]),
    )
    .why("Real servers end the session here and not at other names.")
    .sends("SYN_STREAM with `:path` twice.")
    .accepts("`ends-session`, `resets`, or `opens`."),
    Case::must(
        "spdy/header/empty-name",
        "A name of no length is taken, or ends the stream or the session",
        &["2.16", "3.5"],
        run!(odd_header, &[("", "x"), ("port", "7000"), ("streamtype", "error"), ("requestid", "n")]),
    )
    .why("Real servers take it; the draft forbids it.")
    .sends("SYN_STREAM with a header whose name is empty.")
    .accepts("`opens`, `resets`, or `ends-session`."),
    Case::should(
        "spdy/header/several-values",
        "A zero byte parts several values",
        &["3.4"],
        run!(several_values),
    )
    .why("Libraries join repeated headers this way.")
    .sends("A pair to the echo with a further header of three values.")
    .accepts("The bytes back."),
    Case::should(
        "spdy/header/first-of-several-values",
        "Of several values where one is wanted the first counts",
        &["3.4"],
        run!(first_value),
    )
    .why("Real servers take the first.")
    .sends("A pair whose `port` is that of the echo, a zero byte, and a port where nothing listens.")
    .accepts("The echo's bytes back."),
    Case::must(
        "spdy/header/empty-value",
        "A value of no length is accepted",
        &["3.5"],
        run!(empty_value),
    )
    .why("A further header without a value is legal.")
    .sends("A pair to the echo with a header whose value is empty.")
    .accepts("The bytes back."),
    Case::must(
        "spdy/header/empty-block",
        "A block without pairs is legal",
        &["3.5"],
        run!(empty_block),
    )
    .why("It refuses a stream at most: other connections must not suffer.")
    .sends("SYN_STREAM with a block of no pairs.")
    .accepts("An answer to the stream; the session works."),
    Case::must(
        "spdy/header/no-connection-headers",
        "The server sends no connection headers",
        &["3.6"],
        run!(no_connection_headers),
    )
    .why("A real client ends the session at them.")
    .sends("Connections that succeed, fail, are refused and are reset.")
    .accepts("No `connection`, `keep-alive`, `proxy-connection` or `transfer-encoding` in SYN_REPLY."),
    Case::must(
        "spdy/header/connection-headers",
        "Connection headers of the client end the session, or the stream, or are taken",
        &["2.16", "3.6"],
        run!(connection_headers),
    )
    .why("Nobody sends them; a server that does neither has lost its place.")
    .sends("For each of the five names a session with a SYN_STREAM that has it.")
    .accepts("The answer to each: `opens`, `resets` or `ends-session`."),
    Case::must(
        "spdy/header/any-order",
        "The order of pairs means nothing",
        &["3.7"],
        run!(any_order),
    )
    .why("The library behind kubectl writes them in another order each time.")
    .sends("Pairs to the echo with each of the six orders of the three headers.")
    .accepts("The bytes back."),
    Case::must(
        "spdy/header/further-headers",
        "Headers without meaning are ignored",
        &["3.8"],
        run!(further_headers),
    )
    .why("Clients and proxies add headers of their own.")
    .sends("Pairs to the echo with 1 to 20 further headers of random names and values, in random order.")
    .accepts("The bytes back."),
    Case::must(
        "spdy/header/bytes-above-7f",
        "Values of any bytes are accepted",
        &["3.8"],
        run!(any_bytes),
    )
    .why("Values of headers that the server does not use are none of its business.")
    .sends("A pair to the echo with a further header of all bytes from 0x01 to 0xff.")
    .accepts("The bytes back."),
    Case::should(
        "spdy/header/sixty-four-pairs",
        "Blocks of 64 pairs are accepted",
        &["3.16"],
        run!(many_pairs),
    )
    .why("A limit below what honest clients might send is a trap.")
    .sends("A pair to the echo with 61 further headers of random values.")
    .accepts("The bytes back."),
    Case::should(
        "spdy/header/value-of-8-kib",
        "Values of 8 KiB are accepted",
        &["3.16"],
        run!(large_value, 8192, false),
    )
    .why("Tracing headers and tokens have a few KiB.")
    .sends("A pair to the echo with a header of 8192 times the same byte.")
    .accepts("The bytes back."),
    Case::should(
        "spdy/header/compressed-block-of-several-kib",
        "Values that do not compress are accepted up to 8 KiB",
        &["3.16"],
        run!(large_value, 8192, true),
    )
    .why("A reader that inflates from a buffer of 4 KiB fails here.")
    .sends("A pair to the echo with a header of 8192 random bytes.")
    .accepts("The bytes back."),
    Case::should(
        "spdy/header/compressed-block-of-16-kib",
        "Compressed blocks of 16 KiB are accepted",
        &["3.16"],
        run!(large_block),
    )
    .why("A reader that inflates from a fixed buffer fails here.")
    .sends("A pair to the echo with four headers whose values, 4070 random bytes each, do not compress.")
    .accepts("The bytes back."),
    Case::should(
        "spdy/header/blocks-of-random-size",
        "Blocks of any size up to 16 KiB are accepted",
        &["3.16"],
        run!(random_blocks),
    )
    .why("Readers with fixed buffers fail at certain sizes only.")
    .sends("12 pairs to the echo with headers of 1 to 7000 random bytes.")
    .accepts("The bytes back on each."),
];

async fn blocks_of_the_server(t: &mut Trial) -> Outcome {
    // The judge reads strictly: whatever is wrong is the end of the session.
    let mut s = tour(t).await?;
    for i in 0..10 {
        s.echo(t.port(Service::Echo)?, format!("connection {i}").as_bytes())
            .await?;
    }
    OK
}

async fn surplus(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let text = port.to_string();
    let mut block = crate::probe::wire::block(&headers("error", &text, "surplus"));
    block.extend([0; 3]);
    let id = s.next_id();
    let compressed = s.encoder.deflater.deflate(&block);
    s.raw(
        "SYN_STREAM with three bytes behind the pairs",
        &syn_stream_around(id, &compressed),
    )
    .await?;
    if s.fate("after bytes behind the pairs").await? == Fate::Ended {
        return Ok(seen(Fate::Ended));
    }
    let (pair, frames) = s.pair_frames(port);
    s.send_all(&frames).await?;
    let fate = s.fate("at the block behind").await?;
    if fate == Fate::GoesOn {
        super::spdy::accepted(&mut s, pair).await?;
        s.echo_on(pair, b"behind").await?;
    }
    Ok(seen(fate))
}

async fn odd_header(t: &mut Trial, headers: &[(&str, &str)]) -> Outcome {
    let mut s = t.session().await?;
    let id = s.open(headers).await?;
    let answer = answered(t, &mut s, id).await?;
    Ok(Seen::as_slug(answer))
}

/// What became of a stream, and that the session works unless it has ended.
async fn answered(
    t: &Trial,
    s: &mut crate::probe::session::Session,
    id: u32,
) -> Result<&'static str, Stop> {
    let answer = answer_to(s, id, "after such a header").await?;
    if answer == seen(Fate::Ended) {
        return Ok("ends-session");
    }
    s.works(t.port(Service::Echo)?, "after such a header")
        .await?;
    Ok(if s.replied(id) { "opens" } else { "resets" })
}

async fn several_values(t: &mut Trial) -> Outcome {
    with_headers(t, &[("x-several", "one\0two\0three")]).await
}

async fn empty_value(t: &mut Trial) -> Outcome {
    with_headers(t, &[("x-empty", "")]).await
}

/// Passes bytes through a pair whose streams have further headers.
async fn with_headers(t: &mut Trial, further: &[(&str, &str)]) -> Outcome {
    let mut s = t.session().await?;
    let pair = pair_with_headers(&mut s, t.port(Service::Echo)?, |headers| {
        for (name, value) in further {
            headers.push(((*name).to_owned(), (*value).to_owned()));
        }
        t.dice.shuffle(headers);
    })
    .await?;
    s.echo_on(pair, b"with further headers").await?;
    s.works(t.port(Service::Echo)?, "behind").await?;
    OK
}

async fn first_value(t: &mut Trial) -> Outcome {
    let closed = t.port(Service::Closed)?;
    let mut s = t.session().await?;
    let pair = pair_with_headers(&mut s, t.port(Service::Echo)?, |headers| {
        for (_, value) in headers.iter_mut().filter(|(name, _)| name == "port") {
            value.push_str(&format!("\0{closed}"));
        }
    })
    .await?;
    s.echo_on(pair, b"the first port").await?;
    OK
}

async fn empty_block(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let id = s.open(&[]).await?;
    s.until("SYN_REPLY or RST_STREAM", |s| s.replied(id) || s.ended(id))
        .await?;
    s.works(t.port(Service::Echo)?, "after a block without pairs")
        .await?;
    OK
}

/// Names of headers that belong to a connection and not to a stream.
pub(crate) const BARRED: [&str; 5] = [
    "connection",
    "host",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
];

async fn no_connection_headers(t: &mut Trial) -> Outcome {
    let s = tour(t).await?;
    for got in &s.got {
        let Frame::SynReply { headers, .. } = &got.frame else {
            continue;
        };
        // `host` is barred in SYN_STREAM only.
        let barred = |name: &str| name != "host" && BARRED.contains(&name);
        if let Some((name, _)) = headers.iter().find(|(name, _)| barred(name)) {
            let text = format!("{name} in {}", got.frame.text());
            return Err(Stop::departure("no connection header", text));
        }
    }
    OK
}

async fn connection_headers(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?.to_string();
    let mut answers = Vec::new();
    for name in BARRED {
        let mut s = t.session().await?;
        let mut list = headers("error", &port, name).to_vec();
        list.push((name, "x"));
        let id = s.open(&list).await?;
        answers.push(answered(t, &mut s, id).await?);
    }
    answers.dedup();
    Ok(Seen::as_slug(answers.join(",")))
}

async fn any_order(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let pair = pair_with_headers(&mut s, t.port(Service::Echo)?, |headers| {
            *headers = order
                .iter()
                .filter_map(|i| headers.get(*i).cloned())
                .collect();
        })
        .await?;
        s.echo_on(pair, b"in any order").await?;
    }
    OK
}

fn text(dice: &mut Dice, low: usize, high: usize) -> String {
    let length = dice.size(low, high);
    dice.bytes(length)
        .iter()
        .map(|byte| char::from(b'a' + byte % 26))
        .collect()
}

/// Bytes above 0x20, all of them, so that they hardly compress.
pub(super) fn noise(dice: &mut Dice, length: usize) -> String {
    dice.bytes(length)
        .iter()
        .map(|byte| char::from((*byte).max(0x21)))
        .collect()
}

async fn further_headers(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    for _ in 0..6 {
        let pair = pair_with_headers(&mut s, t.port(Service::Echo)?, |headers| {
            for i in 0..t.dice.size(1, 20) {
                let name = format!("x-{i}-{}", text(&mut t.dice, 1, 20));
                headers.push((name, text(&mut t.dice, 0, 40)));
            }
            t.dice.shuffle(headers);
        })
        .await?;
        s.echo_on(pair, b"with further headers").await?;
    }
    OK
}

async fn any_bytes(t: &mut Trial) -> Outcome {
    let all: String = (1u8..=255).map(char::from).collect();
    with_headers(t, &[("x-bytes", &all)]).await
}

async fn many_pairs(t: &mut Trial) -> Outcome {
    let further: Vec<_> = (0..61)
        .map(|i| (format!("x-{i}"), text(&mut t.dice, 0, 30)))
        .collect();
    let further: Vec<_> = further
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    with_headers(t, &further).await
}

async fn large_value(t: &mut Trial, length: usize, random: bool) -> Outcome {
    let value = if random {
        noise(&mut t.dice, length)
    } else {
        "v".repeat(length)
    };
    with_headers(t, &[("x-large", &value)]).await
}

async fn large_block(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    // Only the first of both streams: the second block would say that it is the same again.
    let mut values: Vec<_> = (0..4).map(|_| noise(&mut t.dice, 4070)).collect();
    let pair = pair_with_headers(&mut s, t.port(Service::Echo)?, |headers| {
        for (i, value) in values.drain(..).enumerate() {
            headers.push((format!("x-large-{i}"), value));
        }
    })
    .await?;
    s.echo_on(pair, b"behind a large block").await?;
    s.works(t.port(Service::Echo)?, "behind a large block")
        .await?;
    OK
}

async fn random_blocks(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    for _ in 0..12 {
        let pair = pair_with_headers(&mut s, t.port(Service::Echo)?, |headers| {
            let length = t.dice.size(1, 7000);
            headers.push(("x-random".to_owned(), noise(&mut t.dice, length)));
        })
        .await?;
        s.echo_on(pair, b"behind a random block").await?;
    }
    // A refused stream's block counts as well.
    s.open(REFUSED).await?;
    s.works(t.port(Service::Echo)?, "behind random blocks")
        .await?;
    OK
}
