//! What the suites under `tests/` share. They run the program `pf` as its users do: arguments and a
//! kubeconfig in, lines, bytes and an exit code out; nothing here looks inside it, but for [`transcript`],
//! which replays recorded sessions on the library.
//!
//! | suite | `pf` talks to | needs |
//! |---|---|---|
//! | `tests/embedded.rs` | its own cluster, `pf --embedded` | nothing |
//! | `tests/cluster/` | the real cluster of `cluster/` | `cluster/up`, or it says that it skips |
//! | `tests/peers/` | Kubernetes' own streaming server; its clients, and libraries of other languages, talk to `pf serve` | `peers/{go,clients}/build`, or it says that it skips |
//! | `tests/spdy_interop/` | (the crate `spdy`) other implementations of SPDY/3.1 | `peers/spdy/build` and tshark, or it says that it skips |
//! | `tests/ws_interop/` | (the crate `wsstream`) other implementations of WebSocket, and the Autobahn TestSuite | `peers/ws/build`, or it says that it skips |
//! | `tests/replay.rs` | (the library) what real peers said, from `transcripts/` | nothing |
//! | `tests/record.rs` | its own cluster, recording | nothing |
//! | `tests/bad_input/` | servers and files of the suite that are wrong in one way each | nothing |
//!
//! Room by room: [`program`] finds and drives the program, [`output`] waits for and reads what it
//! prints, [`cluster`] finds the real cluster, [`peers`] Kubernetes' programs, [`cases`] moves bytes through a forwarded port and
//! judges what comes out, [`relay`] is a TCP relay that can be cut, [`script`] an API server that
//! says what it is told to.
//!
//! Everything ends by itself: each wait has a deadline, and a `pf` that is dropped is killed by its
//! own handle. Unix only.

pub mod cases;
pub mod cluster;
pub mod cutter;
pub mod output;
pub mod peers;
pub mod program;
pub mod relay;
pub mod script;
pub mod transcript;

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::bail;

/// Tells whoever runs the suite something even where the test harness swallows what tests print.
pub fn say(text: &str) {
    use std::io::Write as _;
    // A closed standard error is no reason to fail a test.
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

/// What a test does for want of something, `why` being what it wants: it says loudly that it skips, and
/// passes. An error instead where `CI` is set, or the variable `required` is 1.
pub fn skip(test: &str, required: &str, why: &anyhow::Error, remedy: &str) -> anyhow::Result<()> {
    let ci = env::var_os("CI").is_some_and(|value| !value.is_empty());
    if ci || env::var_os(required).is_some_and(|value| value == "1") {
        bail!("this run may not skip: {why:#}; {remedy}");
    }
    say(&format!("SKIPPED {test}: {why:#}; {remedy}"));
    Ok(())
}

/// What the variable `named` names; unless set, `default` in the user's cache directory.
fn cache(named: &str, default: &str) -> anyhow::Result<PathBuf> {
    match (env::var_os(named), env::var_os("HOME")) {
        (Some(named), _) => Ok(PathBuf::from(named)),
        (None, Some(home)) => Ok(Path::new(&home).join(".cache").join(default)),
        (None, None) => bail!("neither {named} nor HOME is set"),
    }
}
