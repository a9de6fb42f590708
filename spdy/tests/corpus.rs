//! The fuzz targets' bodies in plain tests: over their corpora, and over random bytes.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test"
)]
#![cfg(feature = "fuzzing")]

#[path = "common/oracle.rs"]
mod oracle;

use oracle::Oracle;
use proptest::prelude::*;
use std::path::Path;

fn inflate(data: &[u8]) {
    let mut oracle = Oracle::new();
    spdy::fuzz::inflate(data, |block| oracle.block(block));
}

fn encode(data: &[u8]) {
    let mut oracle = Oracle::new();
    spdy::fuzz::encode_blocks(data, |block| oracle.block(block));
}

/// Without Go: `golden.rs` holds ours against recorded answers.
fn beside_nobody(data: &[u8]) {
    spdy::fuzz::against_go(data, |_| None);
}

type Body = fn(&[u8]);

const TARGETS: [(&str, Body); 7] = [
    ("spdy_decode", spdy::fuzz::decode),
    ("spdy_round_trip", spdy::fuzz::round_trip),
    ("spdy_inflate", inflate),
    ("spdy_encode", encode),
    ("spdy_pair", spdy::fuzz::pair),
    ("spdy_model", spdy::fuzz::against_model),
    ("spdy_diff_go", beside_nobody),
];

#[test]
fn corpus() {
    for (target, body) in TARGETS {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../fuzz/corpus")
            .join(target);
        let mut count = 0;
        for entry in dir.read_dir().unwrap() {
            body(&std::fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 0, "no corpus for {target}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(data in prop::collection::vec(any::<u8>(), 0..1500)) {
        for (_, body) in TARGETS {
            body(&data);
        }
    }

    /// Long operation sequences.
    #[test]
    fn long_runs(data in prop::collection::vec(any::<u8>(), 2_000..4_000)) {
        spdy::fuzz::pair(&data);
    }
}
