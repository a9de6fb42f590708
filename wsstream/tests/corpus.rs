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

use proptest::prelude::*;
use std::path::Path;
use wsstream::fuzz;

fn tungstenite(data: &[u8]) {
    fuzz::differential(data, oracle::tungstenite, oracle::allowed);
}

fn fastwebsockets(data: &[u8]) {
    fuzz::differential(data, oracle::fastwebsockets, oracle::allowed_fast);
}

type Body = fn(&[u8]);

const TARGETS: [(&str, Body); 6] = [
    ("ws_decode", fuzz::decode),
    ("ws_differential", tungstenite),
    ("ws_differential", fastwebsockets),
    ("ws_handshake", fuzz::handshake),
    ("ws_tunnel", fuzz::tunnel),
    ("ws_channels", fuzz::channels),
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
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(data in prop::collection::vec(any::<u8>(), 0..1500)) {
        for (_, body) in TARGETS {
            body(&data);
        }
    }
}
