//! `pf` beside other clients, in the same run: on a real cluster, on a server of Kubernetes' own code, or on a
//! smooth source; see README.md.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "a measuring program: its numbers are its own and far below 2^52, its indices too"
)]

mod args;
mod bulk;
mod carry;
mod child;
mod client;
mod cores;
mod far;
mod goals;
mod lean;
mod machine;
mod measure;
mod parts;
mod pod;
mod raw;
mod report;
mod rounds;
mod small;
mod smooth;
mod steps;
mod watch;

use anyhow::Result;
use args::{Order, Role};

fn main() {
    let status = match run() {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("e2e: {error:#}");
            1
        }
    };
    // Children are gone by now: run() owned them.
    std::process::exit(status);
}

fn run() -> Result<()> {
    match Order::of_command_line()? {
        Order::Be(Role::ServeSmooth(serve)) => on_runtime(smooth::run(serve)),
        Order::Be(Role::Carry(carry)) => on_runtime(carry::run(carry)),
        Order::Measure(args) => {
            watch::end_children_when_told_to_end()?;
            small::allow_many_files()?;
            rounds::run(&args)
        }
    }
}

/// One thread, as in pf.
fn on_runtime(run: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(run)
}
