//! `spdy/header/`: chapter 3, compression.

use super::noise;
use crate::case::{Case, OK, Outcome, Stop};
use crate::catalogue::spdy::{pair_around, pair_with_headers, seen, tour};
use crate::probe::session::{Fate, Session, headers, syn_stream, syn_stream_around};
use crate::probe::wire::{self, Deflater, Frame};
use crate::run;
use crate::target::Service;
use crate::trial::Trial;
use flate2::FlushCompress;

pub(in crate::catalogue) const CASES: &[Case] = &[
    Case::must(
        "spdy/header/one-zlib-stream",
        "The client's blocks are one zlib stream",
        &["3.9"],
        run!(one_stream),
    )
    .why("Every client compresses so; a server that begins anew for each block opens the first stream only.")
    .sends("30 pairs to the echo with headers that repeat earlier random ones, streams of several pairs mixed.")
    .accepts("The bytes back on each."),
    Case::must(
        "spdy/header/dictionary",
        "The server's zlib stream uses the SPDY/3 dictionary",
        &["3.10"],
        run!(dictionary),
    )
    .why("Clients set the dictionary before they inflate; without FDICT some fail.")
    .sends("A pair.")
    .accepts("FDICT and e3 c6 a7 c2 in the zlib header of the first SYN_REPLY."),
    Case::must(
        "spdy/header/without-dictionary",
        "A zlib stream without dictionary works or ends the session",
        &["3.10"],
        run!(without_dictionary),
    )
    .why("Real servers take it; no client may count on it.")
    .sends("A pair to the echo, compressed without dictionary.")
    .accepts("`goes-on`: the bytes back; or `ends-session`."),
    Case::must(
        "spdy/header/another-dictionary",
        "A zlib stream with another dictionary ends the session",
        &["3.17", "3.10"],
        run!(another_dictionary),
    )
    .why("The dictionary of SPDY/2 is another; what is inflated with the wrong one is rubbish.")
    .sends("SYN_STREAM compressed with a dictionary of random bytes, then PING.")
    .accepts("The session ends; PING is not echoed."),
    Case::must(
        "spdy/header/flush",
        "Each block of the server ends with a flush",
        &["3.11"],
        run!(flush),
    )
    .why("A client that waits for `00 00 ff ff` waits for ever.")
    .sends("Connections that succeed, fail, are refused and are reset.")
    .accepts("00 00 ff ff at the end of each SYN_REPLY."),
    Case::must(
        "spdy/header/full-flush",
        "A full flush is as good as a sync flush",
        &["3.11"],
        run!(full_flush),
    )
    .why("Libraries offer either.")
    .sends("Pairs to the echo, each block ended by a full flush.")
    .accepts("The bytes back on each."),
    Case::must(
        "spdy/header/no-flush",
        "A block without the flush marker works or ends the session",
        &["3.11"],
        run!(no_flush),
    )
    .why("Real servers read the first block and fail at the next; nobody leaves the marker off.")
    .sends("SYN_STREAM without the last four bytes of its block, PING; a pair.")
    .accepts("`goes-on`, or `ends-session`."),
    Case::must(
        "spdy/header/final-block",
        "No block is taken behind the end of the zlib stream",
        &["3.17", "3.11"],
        run!(final_block),
    )
    .why("A server that drops the second stream only leaves the session without header blocks.")
    .sends("SYN_STREAM whose block ends with a final deflate block and the Adler-32, then SYN_STREAM with more of the same.")
    .accepts("The session ends, at the first or the second."),
    Case::must(
        "spdy/header/level-0",
        "Blocks of deflate level 0 are accepted",
        &["3.12"],
        run!(level, 0),
    )
    .why("Clients may leave compression out, against attacks on it or for speed.")
    .sends("Pairs to the echo, compressed at level 0.")
    .accepts("The bytes back."),
    Case::must(
        "spdy/header/level-1",
        "Blocks of deflate level 1 are accepted",
        &["3.12"],
        run!(level, 1),
    )
    .why("Clients choose the level.")
    .sends("Pairs to the echo, compressed at level 1.")
    .accepts("The bytes back."),
    Case::must(
        "spdy/header/level-9",
        "Blocks of deflate level 9 are accepted",
        &["3.12"],
        run!(level, 9),
    )
    .why("Clients choose the level.")
    .sends("Pairs to the echo, compressed at level 9.")
    .accepts("The bytes back."),
    Case::must(
        "spdy/header/stored-blocks",
        "Stored deflate blocks without a compressor are accepted",
        &["3.12"],
        run!(stored_blocks),
    )
    .why("A client without a compressor writes them.")
    .sends("Pairs to the echo, each header block in stored blocks of random sizes, empty ones among them.")
    .accepts("The bytes back."),
    Case::must(
        "spdy/header/fixed-codes",
        "Deflate blocks with fixed codes are accepted",
        &["3.12"],
        run!(fixed_codes),
    )
    .why("Small encoders write literals in fixed codes and nothing else.")
    .sends("Pairs to the echo, every byte a literal of the fixed codes.")
    .accepts("The bytes back."),
    Case::must(
        "spdy/header/dynamic-codes",
        "Deflate blocks with dynamic codes are accepted",
        &["3.12"],
        run!(dynamic_codes),
    )
    .why("Large blocks get codes of their own.")
    .sends("Pairs to the echo with headers of 4000 random letters.")
    .accepts("The bytes back."),
    Case::should(
        "spdy/header/any-window",
        "Any legal zlib window is accepted",
        &["3.13"],
        run!(any_window),
    )
    .why("Clients in small memory use small windows.")
    .sends("Sessions whose zlib headers say windows of 512 bytes to 32 KiB, stored blocks within.")
    .accepts("The bytes back on each."),
];

async fn one_stream(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let port = t.port(Service::Echo)?;
    let mut known: Vec<String> = (0..3).map(|_| noise(&mut t.dice, 60)).collect();
    let mut waiting = Vec::new();
    for _ in 0..30 {
        let (pair, mut frames) = s.pair_frames(port);
        for frame in &mut frames {
            if let Frame::SynStream { headers, .. } = frame {
                t.dice.shuffle(&mut known);
                headers.push(("x-again".to_owned(), known.concat()));
                t.dice.shuffle(headers);
            }
            s.send(frame).await?;
        }
        if t.dice.between(0, 4) == 0 {
            known.pop();
            known.push(noise(&mut t.dice, 60));
        }
        s.send(&crate::probe::session::data(pair.data, 0, b"one of many"))
            .await?;
        waiting.push(pair);
    }
    for pair in waiting {
        s.until(&format!("11 bytes back on stream {}", pair.data), |s| {
            s.received(pair.data) == 11
        })
        .await?;
    }
    OK
}

async fn dictionary(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    s.pair(t.port(Service::Echo)?).await?;
    let first = s
        .got
        .iter()
        .find(|got| matches!(got.frame, Frame::SynReply { .. }));
    let head = first
        .and_then(|got| got.head.get(12..18))
        .unwrap_or_default();
    let with = matches!(head, [method, flags, id @ ..]
        if method & 0x0f == 8 && flags & 0x20 != 0 && *id == [0xe3, 0xc6, 0xa7, 0xc2]);
    if !with {
        return Err(Stop::departure(
            "a zlib header with FDICT and e3 c6 a7 c2 in the first SYN_REPLY",
            format!("{head:02x?}"),
        ));
    }
    OK
}

async fn without_dictionary(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    s.encoder.deflater = Deflater::with_dictionary(None);
    fate_of_pair(t, &mut s, "after a zlib stream without dictionary").await
}

/// Opens a pair to the echo; either bytes pass through it, or the session ends.
async fn fate_of_pair(t: &Trial, s: &mut Session, after: &str) -> Outcome {
    let (pair, frames) = s.pair_frames(t.port(Service::Echo)?);
    s.send_all(&frames).await?;
    let fate = s.fate(after).await?;
    if fate == Fate::GoesOn {
        s.until("SYN_REPLY for the pair, as the session goes on", |s| {
            s.replied(pair.error) && s.replied(pair.data)
        })
        .await?;
        s.echo_on(pair, b"and it works").await?;
    }
    Ok(seen(fate))
}

async fn another_dictionary(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let dictionary = t.dice.bytes(1000);
    s.encoder.deflater = Deflater::with_dictionary(Some(&dictionary));
    let frame = syn_stream(1, &headers("error", "7000", "0"));
    let bytes = s.encoder.encode(&frame);
    s.dies_of("SYN_STREAM with another dictionary", &bytes)
        .await?;
    OK
}

async fn flush(t: &mut Trial) -> Outcome {
    let s = tour(t).await?;
    for got in &s.got {
        // A longer one is not kept whole; real ones have 20 bytes.
        if matches!(got.frame, Frame::SynReply { .. })
            && got.head.len() < 64
            && !got.head.ends_with(&[0, 0, 0xff, 0xff])
        {
            let text = format!("{:02x?}", got.head);
            return Err(Stop::departure("00 00 ff ff at the end of SYN_REPLY", text));
        }
    }
    OK
}

async fn full_flush(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let mut deflater = Deflater::new(6);
    for _ in 0..4 {
        let pair = pair_around(&mut s, port, |plain| {
            deflater.deflate_with(plain, FlushCompress::Full)
        })
        .await?;
        s.echo_on(pair, b"after a full flush").await?;
    }
    OK
}

async fn no_flush(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let text = port.to_string();
    let id = s.next_id();
    let mut block = s
        .encoder
        .deflater
        .deflate(&wire::block(&headers("error", &text, "bare")));
    block.truncate(block.len().saturating_sub(4));
    s.raw(
        "SYN_STREAM without 00 00 ff ff",
        &syn_stream_around(id, &block),
    )
    .await?;
    if s.fate("after a block without flush").await? == Fate::Ended {
        return Ok(seen(Fate::Ended));
    }
    fate_of_pair(t, &mut s, "behind a block without flush").await
}

async fn final_block(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let port = t.port(Service::Echo)?.to_string();
    let mut deflater = Deflater::new(6);
    let block = deflater.deflate_with(
        &wire::block(&headers("error", &port, "final")),
        FlushCompress::Finish,
    );
    let id = s.next_id();
    s.raw(
        "SYN_STREAM that ends the zlib stream",
        &syn_stream_around(id, &block),
    )
    .await?;
    if s.fate("after the end of the zlib stream").await? == Fate::Ended {
        return OK;
    }
    let more = Deflater::new(6).deflate(&wire::block(&headers("data", &port, "final")));
    let id = s.next_id();
    s.dies_of(
        "a block behind the end of the zlib stream",
        &syn_stream_around(id, &more),
    )
    .await?;
    OK
}

async fn level(t: &mut Trial, level: u32) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    s.encoder.deflater = Deflater::new(level);
    for i in 0..4 {
        s.echo(port, format!("connection {i}").as_bytes()).await?;
    }
    OK
}

/// Two bytes of zlib header for a window of 2^(8 + `window`) bytes, with FDICT, and the dictionary's Adler-32.
fn zlib_header(window: u8) -> Vec<u8> {
    let method = (window << 4) | 8;
    let rest = (u16::from(method) * 256 + 0x20) % 31;
    let check = u8::try_from((31 - rest) % 31).unwrap_or_default();
    vec![method, 0x20 | check, 0xe3, 0xc6, 0xa7, 0xc2]
}

/// A stored deflate block.
pub(super) fn stored(plain: &[u8]) -> Vec<u8> {
    let length = u16::try_from(plain.len()).unwrap_or(u16::MAX);
    let mut bytes = vec![0];
    bytes.extend(length.to_le_bytes());
    bytes.extend((!length).to_le_bytes());
    bytes.extend(plain);
    bytes
}

async fn stored_blocks(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let mut header = zlib_header(7);
    for _ in 0..4 {
        let pair = pair_around(&mut s, port, |plain| {
            let mut block = std::mem::take(&mut header);
            let mut rest = plain;
            while !rest.is_empty() {
                let (part, behind) = rest.split_at(t.dice.size(0, 30).min(rest.len()));
                block.extend(stored(part));
                rest = behind;
            }
            block.extend(stored(b""));
            block
        })
        .await?;
        s.echo_on(pair, b"stored").await?;
    }
    OK
}

/// One deflate block of literals in fixed codes, and the flush.
fn fixed(plain: &[u8]) -> Vec<u8> {
    let mut bits: Vec<bool> = vec![false, true, false];
    let mut code = |value: u16, length: u32| {
        bits.extend((0..length).rev().map(|bit| value >> bit & 1 == 1));
    };
    for byte in plain {
        match byte {
            0..=143 => code(0x30 + u16::from(*byte), 8),
            144.. => code(0x190 + u16::from(*byte) - 144, 9),
        }
    }
    code(0, 7);
    // The head of an empty stored block.
    bits.extend([false; 3]);
    let mut bytes: Vec<u8> = bits
        .chunks(8)
        .map(|bits| {
            bits.iter()
                .enumerate()
                .fold(0, |byte, (i, bit)| byte | (u8::from(*bit) << i))
        })
        .collect();
    bytes.extend([0, 0, 0xff, 0xff]);
    bytes
}

async fn fixed_codes(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let mut header = zlib_header(7);
    for _ in 0..3 {
        let pair = pair_around(&mut s, port, |plain| {
            let mut block = std::mem::take(&mut header);
            block.extend(fixed(plain));
            block
        })
        .await?;
        s.echo_on(pair, b"fixed").await?;
    }
    OK
}

async fn dynamic_codes(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    for _ in 0..3 {
        let pair = pair_with_headers(&mut s, port, |headers| {
            let letters = t.dice.bytes(4000);
            // Some letters much more often than others.
            let letters = letters
                .iter()
                .map(|byte| char::from(b'a' + byte % 5 * (byte / 64)));
            headers.push(("x-letters".to_owned(), letters.collect()));
        })
        .await?;
        s.echo_on(pair, b"dynamic").await?;
    }
    OK
}

async fn any_window(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    for window in 1..=7 {
        let mut s = t.session().await?;
        let mut header = zlib_header(window);
        let pair = pair_around(&mut s, port, |plain| {
            let mut block = std::mem::take(&mut header);
            block.extend(stored(plain));
            block.extend(stored(b""));
            block
        })
        .await?;
        s.echo_on(pair, b"through any window").await?;
    }
    OK
}
