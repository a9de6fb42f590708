//! Many connections, at once and one after another.

use std::net::SocketAddr;

use anyhow::Context as _;

use super::{
    connect,
    exchange::{echo_on, echo_once},
};

/// Port `echo`: opens `count` connections, all of them before any is used, then talks on each twice.
pub fn concurrent(address: SocketAddr, count: u64) -> anyhow::Result<()> {
    let mut streams = Vec::new();
    for nth in 1..=count {
        streams.push(connect(address).with_context(|| format!("opening connection {nth}"))?);
    }
    for round in 0..2 {
        for (nth, stream) in (1..).zip(&mut streams) {
            echo_on(stream, nth + round * count, 1000)
                .with_context(|| format!("connection {nth} of {count}, round {round}"))?;
        }
    }
    Ok(())
}

/// Port `echo`: `count` connections one after another, each closed by the client.
pub fn sequential(address: SocketAddr, count: u64) -> anyhow::Result<()> {
    for nth in 1..=count {
        echo_once(address, nth).with_context(|| format!("connection {nth} of {count}"))?;
    }
    Ok(())
}
