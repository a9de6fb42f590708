//! Windows, with peers that have them: far more than fits in one goes both ways and does not stall.

use anyhow::{Context as _, ensure};
use conformance::say;
use spdy::{Config, HeaderEncoding};
use std::time::Instant;

use crate::{
    peer::find,
    session::{NETTY, NODE, Plan},
};

const GIB: u64 = 1 << 30;

/// So many bytes each way on one stream, both windows of 64 KiB, and a PING between.
fn through_a_window(plan: &Plan, length: u64) -> anyhow::Result<()> {
    let plan = Plan {
        config: Config::strict,
        ..plan.clone()
    };
    let Some(program) = find(plan.peer)? else {
        return Ok(());
    };
    let mib_per_s = |began: Instant| u128::from(length >> 20) * 1000 / began.elapsed().as_millis();
    plan.ours_opens(&program, HeaderEncoding::Stored, |client| {
        let began = Instant::now();
        client.source(length).context("theirs sends")?;
        let down = mib_per_s(began);
        client.ping()?;
        ensure!(client.driver.has_flow_control(), "no windows");
        let began = Instant::now();
        client.sink(length).context("ours sends")?;
        let up = mib_per_s(began);
        say(&format!(
            "{:?}: {down} MiB/s from it, {up} MiB/s to it",
            plan.peer
        ));
        Ok(())
    })
}

#[test]
fn node_one_gib_each_way() -> anyhow::Result<()> {
    through_a_window(&NODE, GIB)
}

/// The same, opened by the peer.
#[test]
fn node_opens_one_gib_each_way() -> anyhow::Result<()> {
    let plan = Plan { long: GIB, ..NODE };
    match find(plan.peer)? {
        Some(program) => plan.theirs_opens(&program, HeaderEncoding::Deflate(6)),
        None => Ok(()),
    }
}

#[test]
fn netty_a_quarter_each_way() -> anyhow::Result<()> {
    through_a_window(&NETTY, GIB / 4)
}
