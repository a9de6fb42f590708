//! How a forward ends, and what needs no cluster to be said.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use conformance::{
    cases::{connect, exchange, expect_reset},
    program::Pf,
    relay::Relay,
};

use crate::{on_cluster, pf};

/// How soon the end of a forward has to be seen.
const END: Duration = Duration::from_secs(5);

#[test]
fn interrupt() -> anyhow::Result<()> {
    on_cluster(|cluster| {
        let (mut pf, at) = pf(cluster, "pod/bare :7000").forward(1)?;
        exchange::echo(at[0])?;
        pf.interrupt()?;
        let ended = pf.wait_exit(END)?;
        ensure!(ended.code == Some(0) && ended.stderr.is_empty(), "{ended}");
        Ok(())
    })
}

#[test]
fn interrupt_with_an_open_connection() -> anyhow::Result<()> {
    on_cluster(|cluster| {
        let (mut pf, at) = pf(cluster, "pod/bare :7000").forward(1)?;
        let mut open = connect(at[0])?;
        exchange::echo_on(&mut open, 1, 100)?;
        pf.interrupt()?;
        let ended = pf.wait_exit(END)?;
        ensure!(ended.code == Some(0) && ended.stderr.is_empty(), "{ended}");
        Ok(())
    })
}

#[test]
fn api_server_gone() -> anyhow::Result<()> {
    on_cluster(|cluster| {
        let relay = Relay::start(cluster.server())?;
        let kubeconfig = tempfile::NamedTempFile::new()?;
        let text = cluster.kubeconfig_via("forwarder", relay.address())?;
        std::fs::write(kubeconfig.path(), text)?;
        let (pf, at) = Pf::line("pod/bare :7000")
            .kubeconfig(kubeconfig.path())
            .forward(1)?;
        let mut open = connect(at[0])?;
        exchange::echo_on(&mut open, 1, 100)?;

        let began = Instant::now();
        relay.cut();
        expect_reset(&mut open, END).context("the open connection")?;
        let ended = pf.wait_exit(END)?;
        ended.failed_with(1, &["error: lost connection to pod"])?;
        ensure!(
            began.elapsed() < END,
            "it took {:?}: {ended}",
            began.elapsed()
        );
        Ok(())
    })
}

#[test]
fn api_server_gone_with_nothing_open() -> anyhow::Result<()> {
    on_cluster(|cluster| {
        let relay = Relay::start(cluster.server())?;
        let kubeconfig = tempfile::NamedTempFile::new()?;
        let text = cluster.kubeconfig_via("forwarder", relay.address())?;
        std::fs::write(kubeconfig.path(), text)?;
        let line = Pf::line("--no-reconnect pod/bare :7000").kubeconfig(kubeconfig.path());
        let (pf, _) = line.forward(1)?;
        relay.cut();
        pf.wait_exit(END)?
            .failed_with(1, &["error: lost connection to pod"])
    })
}

#[test]
fn protocols() -> anyhow::Result<()> {
    on_cluster(|cluster| {
        for protocol in ["auto", "tunnel", "spdy", "channel"] {
            let line = format!("--protocol {protocol} pod/bare :7000");
            let (_pf, at) = pf(cluster, &line).forward(1)?;
            exchange::echo_once(at[0], 1).with_context(|| protocol.to_owned())?;
        }
        Ok(())
    })
}

/// By the heads as they went over the wire: what was asked for is what was spoken.
#[test]
fn a_tunnel_is_a_tunnel() -> anyhow::Result<()> {
    on_cluster(|cluster| {
        let directory = tempfile::tempdir()?;
        for (protocol, upgrade) in [
            ("auto", "websocket"),
            ("tunnel", "websocket"),
            ("spdy", "SPDY/3.1"),
        ] {
            let file = directory.path().join(protocol);
            let line = format!("--protocol {protocol} pod/bare :7000 --record");
            let forward = pf(cluster, &line).args([file.clone().into_os_string()]);
            let (mut process, at) = forward.forward(1)?;
            exchange::echo_once(at[0], 1)?;
            process.interrupt()?;
            process.wait_exit(END)?;
            let text = std::fs::read_to_string(&file)?;
            let answer = text.split("HTTP/1.1 101 Switching Protocols").nth(1);
            let answer = answer.with_context(|| format!("no 101:\n{text}"))?;
            let agreed = format!("| upgrade: {upgrade}\n");
            ensure!(
                answer
                    .split("c>s")
                    .next()
                    .is_some_and(|head| head.contains(&agreed)),
                "{protocol}: {text}"
            );
        }
        Ok(())
    })
}
