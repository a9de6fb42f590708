//! Z13. Sequences of frames, read by ours and by the framer of moby/spdystream 0.5.1.
//!
//! Its program is `$PF_PEERS_DIR/bin/spdy-go-0.5.1`, by default below `$HOME/.cache/pf-peers`, and comes with
//! `conformance/peers/spdy/build go`. With `PF_SPDY_GO=golden` nothing is started, and only what is right
//! by construction is checked; plain tests then hold ours against recorded answers.
#![no_main]

#[path = "../../spdy/tests/common/judge.rs"]
mod judge;

use judge::Judge;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};

static JUDGE: LazyLock<Option<Mutex<Judge>>> = LazyLock::new(|| {
    if std::env::var_os("PF_SPDY_GO").is_some_and(|how| how == "golden") {
        return None;
    }
    let cache =
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/pf-peers");
    let peers = std::env::var_os("PF_PEERS_DIR").map_or_else(cache, PathBuf::from);
    let program = peers.join("bin/spdy-go-0.5.1");
    match Judge::start(&program) {
        Ok(judge) => Some(Mutex::new(judge)),
        Err(e) => panic!(
            "{}: {e}; run conformance/peers/spdy/build go, or set PF_SPDY_GO=golden to do without",
            program.display()
        ),
    }
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    spdy::fuzz::against_go(data, |inputs| {
        let judge = JUDGE.as_ref()?;
        let mut judge = judge.lock().expect("no fuzz body goes on behind a panic");
        Some(judge.ask(inputs).expect("the Go program has gone"))
    });
});
