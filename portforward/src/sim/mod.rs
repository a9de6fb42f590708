//! A deterministic simulator: client, gateway's relay and node of this crate over a network in memory,
//! on one thread, with a clock that moves only when nobody has anything to do.
//!
//! One seed decides everything ([`seed`]), or a fuzzer's bytes do ([`bytes`]): what is spoken, how slow
//! and in which pieces bytes go, which task goes first, what breaks and when, what applications and
//! pods do. Checked in every run are the invariants of `SIMULATOR.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_lossless,
    clippy::print_stderr,
    clippy::mem_forget,
    reason = "test machinery: it panics where something is wrong"
)]

mod check;
mod dice;
mod network;
mod peers;
mod plan;
mod trace;
mod wire;
mod world;

use dice::Dice;
use plan::Plan;
use trace::Trace;

/// What a run was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Everything that happened, as one number: the same for the same seed.
    pub hash: u64,
    /// Reads, writes and frames.
    pub events: u64,
    /// Invariants that did not hold.
    pub wrong: Vec<String>,
}

/// The run of a seed.
#[must_use]
pub fn seed(seed: u64, log: bool) -> Report {
    run(Dice::seeded(seed), log)
}

/// The run that a fuzzer's bytes are.
///
/// # Panics
/// An invariant does not hold.
pub fn bytes(data: &[u8]) {
    let report = run(Dice::of_bytes(data), false);
    assert!(report.wrong.is_empty(), "{:#?}", report.wrong);
}

fn run(mut dice: Dice, log: bool) -> Report {
    let plan = Plan::draw(&mut dice);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        // One read of many small frames, each charged 256 bytes more.
        let received = plan.config.session_receive + (64 << 10) / 9 * 257;
        let trace = Trace::new(log, [received, plan.sending()]);
        world::run(plan, dice, &trace).await;
        let events = trace.events();
        let (hash, wrong) = trace.end();
        Report {
            hash,
            events,
            wrong,
        }
    })
}
