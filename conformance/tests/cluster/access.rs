//! The ways to log in.

use anyhow::Context as _;
use conformance::cases::exchange;

use crate::{on_cluster, pf_as};

fn logs_in(user: &str) -> anyhow::Result<()> {
    on_cluster(|cluster| {
        let (_pf, at) = pf_as(cluster, user, "pod/bare :7000")
            .forward(1)
            .with_context(|| format!("as {user}"))?;
        exchange::echo(at[0])
    })
}

#[test]
fn client_certificate() -> anyhow::Result<()> {
    logs_in("forwarder")
}

#[test]
fn bearer_token() -> anyhow::Result<()> {
    logs_in("forwarder-token")
}

#[test]
fn token_file() -> anyhow::Result<()> {
    logs_in("forwarder-tokenfile")
}

#[test]
fn exec_plugin() -> anyhow::Result<()> {
    logs_in("forwarder-exec")
}

/// The verb that a SPDY upgrade, and since 1.35 every upgrade, needs.
#[test]
fn only_the_verb_create() -> anyhow::Result<()> {
    logs_in("create-only")
}
