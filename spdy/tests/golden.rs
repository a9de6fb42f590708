//! What moby/spdystream 0.5.1 made of some hundred inputs (tests/testdata/README.md), and ours: both agree, but
//! for what is on the reviewed list.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test"
)]
#![cfg(feature = "fuzzing")]

#[path = "common/golden.rs"]
mod golden;

use golden::{LEFT_OUT, Row};
use spdy::fuzz::{Disagreement, End, Ours, REVIEWED, compare, ours, theirs};
use std::collections::BTreeMap;

/// By their names on the reviewed list, what is never recorded of the other's side.
const OURS_ALONE: [&str; 2] = ["length", "budget"];

fn all_rows() -> Vec<Row> {
    golden::parse(include_str!("testdata/go_spdystream_golden.txt"))
}

fn rows() -> Vec<Row> {
    let mut rows = all_rows();
    rows.retain(|row| row.answer != LEFT_OUT);
    rows
}

/// Where only ours is recorded, it refuses.
#[test]
fn what_is_ours_alone_is_refused() {
    let mut rows = all_rows();
    rows.retain(|row| row.answer == LEFT_OUT);
    assert!(rows.len() > 20, "{}", rows.len());
    for row in rows {
        let ours = ours(&row.bytes);
        assert!(
            matches!(ours.end, End::Refused(_)),
            "{}: {ours:?}",
            row.name
        );
    }
}

#[test]
fn agrees_with_go() {
    let mut found: BTreeMap<&str, u32> = BTreeMap::new();
    for row in rows() {
        let theirs = theirs(&row.answer).unwrap_or_else(|| panic!("{}: no answer", row.name));
        match compare(&ours(&row.bytes), &theirs) {
            Ok(None) => {}
            Ok(Some(known)) => *found.entry(known.name).or_default() += 1,
            Err(why) => panic!("{}: {why}", row.name),
        }
    }
    println!("{found:?}");
    // An entry that nothing shows is to go.
    let recorded = |known: &&Disagreement| !OURS_ALONE.contains(&known.name);
    for known in REVIEWED.iter().filter(recorded) {
        assert!(
            found.contains_key(known.name),
            "{}: {}",
            known.name,
            known.why
        );
    }
}

/// Whatever is not on the list is an error.
#[test]
fn other_answers_disagree() {
    let (mut seen, mut found) = (0, 0);
    for row in rows() {
        let (ours, right) = (ours(&row.bytes), theirs(&row.answer).unwrap());
        for nth in 0..right.frames.len().min(ours.frames.len()) {
            let mut other = right.clone();
            other.frames[nth].push('0');
            assert!(compare(&ours, &other).is_err(), "{}: frame {nth}", row.name);
            // Ours would have more frames, and then there has to be a reason.
            other.frames.truncate(nth);
            for end in [
                End::Clean,
                End::More,
                End::Cut,
                End::Refused("another".into()),
            ] {
                other.end = end;
                assert!(compare(&ours, &other).is_err(), "{}: {other:?}", row.name);
            }
        }
        if matches!(compare(&ours, &right), Ok(None)) && right.end == End::Clean {
            let mut other = right.clone();
            other.end = End::More;
            assert!(compare(&ours, &other).is_err(), "{}", row.name);
            other.frames.push("PING 1 flags 0".to_owned());
            assert!(compare(&ours, &other).is_err(), "{}", row.name);
            seen += 1;
        }
        found += right.frames.len();
    }
    assert!(seen > 100 && found > 500, "{seen}, {found}");
}

fn ours_of(name: &str) -> Ours {
    let row = all_rows().into_iter().find(|row| row.name == name);
    ours(&row.unwrap_or_else(|| panic!("no {name}")).bytes)
}

/// T46: of types with a fixed length only that is taken; of a header block what its end leaves open.
#[test]
fn lengths_of_eight_types() {
    for kind in [
        "SYN_STREAM",
        "SYN_REPLY",
        "RST_STREAM",
        "SETTINGS",
        "PING",
        "GOAWAY",
        "HEADERS",
        "WINDOW_UPDATE",
    ] {
        let right = ours_of(&format!("length {kind} 0"));
        assert!(
            right.end == End::Clean && right.frames.len() == 2,
            "{kind}: {right:?}"
        );
        for off in [
            "-1",
            "+1",
            "+5",
            "max",
            "none",
            "-1 not there",
            "+1 not there",
            "+5 not there",
        ] {
            let ours = ours_of(&format!("length {kind} {off}"));
            let has_block = right.frames.first().unwrap().contains('=') && kind != "SETTINGS";
            let refused = matches!(ours.end, End::Refused(_)) && ours.frames.is_empty();
            // Its pairs are there, and nothing else is read as one.
            let same = ours.frames.first() == right.frames.first();
            assert!(refused || has_block && same, "{kind} {off}: {ours:?}");
        }
    }
}

#[test]
fn all_types_are_taken_somewhere() {
    let rows = rows();
    assert!(rows.len() >= 500, "{} rows", rows.len());
    for kind in [
        "SYN_STREAM",
        "SYN_REPLY",
        "RST_STREAM",
        "SETTINGS",
        "PING",
        "GOAWAY",
        "HEADERS",
        "WINDOW_UPDATE",
        "DATA",
    ] {
        let both = |row: &&Row| {
            let line = |frames: &[String]| {
                frames
                    .iter()
                    .any(|line| line.split(' ').next() == Some(kind))
            };
            line(&ours(&row.bytes).frames) && line(&theirs(&row.answer).unwrap().frames)
        };
        assert!(rows.iter().filter(both).count() >= 10, "{kind}");
    }
}
