//! What a real server (moby/spdystream 0.5.1) did on 66 inputs, and what ours does on them: the
//! same, or a line in the crate's table of differences.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test"
)]

mod common;

use bytes::BytesMut;
use common::{Peer, headers};
use serde_json::Value;
use spdy::{Event, Frame, HeaderBlock, Ping};
use std::collections::BTreeMap;
use std::time::Instant;

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// Bytes that do not compress.
fn noise(n: usize) -> Vec<u8> {
    let mut state = 1u64;
    std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        b'!' + u8::try_from((state >> 33) % 90).unwrap()
    })
    .take(n)
    .collect()
}

/// Inputs that were too large to be written down.
fn large(name: &str) -> Vec<Vec<u8>> {
    let mut peer = Peer::new();
    let value = |n| [("port", noise(n))].into_iter().collect::<HeaderBlock>();
    let mut frames: Vec<Vec<u8>> = match name {
        "SYN_STREAM incompressible 5000-byte value (compressed >4096)" => {
            vec![peer.syn_with(1, value(5000))]
        }
        "SYN_STREAM incompressible 9000-byte value" => vec![peer.syn_with(1, value(9000))],
        "20000-byte incompressible" => {
            vec![peer.syn_with(1, value(20_000)), peer.syn_with(3, headers())]
        }
        "sweep of incompressible sizes" => (0..60u32)
            .map(|n| peer.syn_with(2 * n + 1, value(3300 + usize::try_from(n).unwrap() * 10)))
            .collect(),
        other => panic!("no input for {other}"),
    };
    frames.push(peer.frame(&Frame::Ping(Ping { id: 1 })));
    frames
}

/// What an application that takes everything sees and answers.
#[derive(Debug, PartialEq, Eq)]
struct Reaction {
    lives: bool,
    sent: Vec<String>,
    /// Bytes by stream.
    read: BTreeMap<u32, String>,
}

fn ours(input: &[Vec<u8>]) -> Reaction {
    let (mut peer, mut conn) = (Peer::new(), common::server());
    let mut wire = BytesMut::new();
    let (mut lives, mut sent, mut read) = (true, Vec::new(), BTreeMap::<u32, Vec<u8>>::new());
    for bytes in input {
        wire.extend_from_slice(bytes);
        let failed = conn.recv(Instant::now(), &mut wire).is_err();
        while let Some(event) = conn.poll_event() {
            match event {
                // Gone again if its reset was in the same bytes.
                Event::Opened { id, .. } if conn.has_stream(id) => {
                    conn.reply(id, &HeaderBlock::new(), false).unwrap();
                }
                Event::Data { id, payload, .. } => {
                    conn.consumed(id, payload.len());
                    read.entry(id.get()).or_default().extend(payload);
                }
                // A real peer ends at once; here the transport's end is what ends it.
                Event::GoAway { .. } => lives = false,
                _ => {}
            }
        }
        for frame in peer.sent(&mut conn) {
            sent.push(match frame {
                Frame::SynReply(f) => format!("SYN_REPLY fl=0 id={}", f.id),
                Frame::Ping(f) => format!("PING fl=0 id={}", f.id),
                Frame::RstStream(f) => {
                    format!("RST_STREAM fl=0 id={} status={}", f.id, f.status.get())
                }
                // Says farewell in words where the real peer just closes.
                Frame::GoAway(_) => continue,
                other => panic!("{other:?}"),
            });
        }
        if failed || !lives {
            lives = false;
            break;
        }
    }
    sent.sort();
    let text = |bytes: Vec<u8>| bytes.escape_ascii().to_string();
    Reaction {
        lives,
        sent,
        read: read
            .into_iter()
            .map(|(id, b)| (id, text(b)))
            .filter(|(_, t)| !t.is_empty())
            .collect(),
    }
}

fn theirs(row: &Value) -> Reaction {
    let list = |key: &str| {
        let items = row[key].as_array().unwrap().iter();
        items
            .map(|v| v.as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let mut sent = list("sent");
    sent.sort();
    let mut read = BTreeMap::new();
    for line in list("saw") {
        let Some((id, rest)) = line.split_once(" read ") else {
            continue;
        };
        let text = rest.split_once('"').unwrap().1.rsplit_once('"').unwrap().0;
        if !text.is_empty() {
            read.insert(id.parse().unwrap(), text.to_owned());
        }
    }
    Reaction {
        lives: row["lives"].as_bool().unwrap(),
        sent,
        read,
    }
}

/// The crate's table: what differs, by the name of the row.
fn listed() -> BTreeMap<String, [String; 3]> {
    include_str!("../src/reactions.md")
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            let cells: Vec<_> = line
                .trim_matches('|')
                .split('|')
                .map(|c| c.trim().to_owned())
                .collect();
            let [name, theirs, ours, why] = cells.try_into().unwrap();
            assert!(why.len() > 10, "{name} has no reason");
            (name, [theirs, ours, why])
        })
        .collect()
}

/// In the words of the table.
fn words(reaction: &Reaction) -> String {
    let mut parts = vec![if reaction.lives { "lives" } else { "ends" }.to_owned()];
    parts.extend(reaction.sent.iter().map(|frame| frame.replace(" fl=0", "")));
    parts.extend(
        reaction
            .read
            .iter()
            .map(|(id, text)| format!("reads {text} on {id}")),
    );
    parts.join(", ")
}

#[test]
fn every_reaction_is_the_same_or_listed() {
    let rows: Value =
        serde_json::from_str(include_str!("testdata/spdystream_server_reactions.json")).unwrap();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 66);
    let mut listed = listed();
    let mut wrong = Vec::new();
    for row in rows {
        let name = row["name"].as_str().unwrap();
        let input = match row["input"].as_array() {
            Some(frames) => frames.iter().map(|f| unhex(f.as_str().unwrap())).collect(),
            None => large(name),
        };
        let (ours, theirs) = (ours(&input), theirs(row));
        match listed.remove(name) {
            None if ours == theirs => {}
            Some([t, o, _]) if t == words(&theirs) && o == words(&ours) && ours != theirs => {}
            _ => wrong.push(format!(
                "| {name} | {} | {} | ? |",
                words(&theirs),
                words(&ours)
            )),
        }
    }
    let unknown: Vec<_> = listed.into_keys().collect();
    assert!(
        unknown.is_empty(),
        "lines of the table without a row: {unknown:?}"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
