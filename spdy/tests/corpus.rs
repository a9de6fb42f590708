//! Replays the fuzz corpus through the same bodies, in plain tests.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a test"
)]
#![cfg(feature = "fuzzing")]

use std::path::Path;

fn replay(target: &str, body: fn(&[u8])) {
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

#[test]
fn corpus() {
    replay("spdy_decode", spdy::fuzz::decode);
    replay("spdy_header_block", spdy::fuzz::header_block);
    replay("spdy_conn", spdy::fuzz::connection);
}
