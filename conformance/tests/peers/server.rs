//! `pf` against the real streaming server, proxy and all; `-demo` gives its pod the demo services.

use std::{
    io::Read as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use conformance::{
    cases::{bulk, connect, ending, exchange, expect_reset, many, stuck},
    peers::Peer,
    program::Pf,
};

use crate::{SOON, Server, at_once, find};

/// What a connection may wait for one that is reset because of it.
const RECOVERED: Duration = Duration::from_secs(5);

fn on_server(test: impl FnOnce(Server) -> anyhow::Result<()>) -> anyhow::Result<()> {
    match find(Peer::Server)? {
        Some(program) => test(Server::real(&program)?),
        None => Ok(()),
    }
}

/// The server would take a tunnel as well, hence the flag.
fn pf(server: &Server, line: &str) -> Pf {
    Pf::line(&format!("--protocol spdy {line}")).kubeconfig(&server.kubeconfig())
}

#[test]
fn echo_and_http() -> anyhow::Result<()> {
    on_server(|server| {
        let (_pf, at) = pf(&server, "pod/peer :7000 :8080").forward(2)?;
        exchange::echo(at[0])?;
        let page = exchange::http(at[1])?;
        ensure!(page.starts_with("hello from peer "), "{page}");
        Ok(())
    })
}

/// Its proxy tunnels, its runtime end knows channels.
#[test]
fn tunnel_and_channels() -> anyhow::Result<()> {
    on_server(|server| {
        for how in ["auto", "tunnel", "channel"] {
            let line = format!("--protocol {how} -v1 pod/peer :7000 :7005");
            let forward = Pf::line(&line).kubeconfig(&server.kubeconfig());
            let (process, at) = forward.forward(2)?;
            let said = if how == "channel" {
                "v4.channel"
            } else {
                "in a WebSocket"
            };
            process.stderr_says(said, SOON)?;
            exchange::echo_and_stay(at[0]).context(how)?;
            bulk::upload(at[1], 64 << 20).context(how)?;
        }
        Ok(())
    })
}

/// An old gateway hands a tunnel's request on: SPDY follows, once.
#[test]
fn falls_back_where_there_is_no_tunnel() -> anyhow::Result<()> {
    let Some(program) = find(Peer::Server)? else {
        return Ok(());
    };
    let server = Server::real_with(&program, "-tunnel=false")?;
    let forward = Pf::line("-v1 pod/peer :7000").kubeconfig(&server.kubeconfig());
    let (process, at) = forward.forward(1)?;
    process.stderr_says("session: SPDY/3.1\n", SOON)?;
    exchange::echo(at[0])?;
    let said = process.stderr();
    ensure!(said.matches("asking for SPDY/3.1").count() == 1, "{said}");
    Ok(())
}

#[test]
fn bulk_each_way() -> anyhow::Result<()> {
    on_server(|server| {
        let (_pf, at) = pf(&server, "pod/peer :7005 :7006").forward(2)?;
        crate::bulk_each_way(at[0], at[1])
    })
}

#[test]
fn two_hundred_connections_at_once() -> anyhow::Result<()> {
    on_server(|server| {
        let (_pf, at) = pf(&server, "pod/peer :7000").forward(1)?;
        many::concurrent(at[0], 200)
    })
}

/// Those that only wait for the runtime's last word ask for no sessions of their own: 14 before.
#[test]
fn three_hundred_connections_in_a_row() -> anyhow::Result<()> {
    on_server(|server| {
        let (pf, at) = pf(&server, "-v1 pod/peer :7000").forward(1)?;
        many::sequential(at[0], 300)?;
        let said = pf.stderr();
        ensure!(!said.contains("sessions: 5"), "{said}");
        Ok(())
    })
}

/// Where all share one session, and the server has no flow control: what is not read stops the others until it
/// is reset, and no longer.
#[test]
fn one_session_recovers_from_an_unread_download() -> anyhow::Result<()> {
    on_server(|server| {
        let (pf, at) = pf(&server, "--max-sessions 1 pod/peer :7002 :7000").forward(2)?;
        let mut other = connect(at[1])?;
        exchange::echo_on(&mut other, 1, 100).context("before")?;
        let _download = stuck::unread_download(at[0])?;
        let asked = Instant::now();
        exchange::echo_on(&mut other, 2, 100).context("the connection opened before")?;
        let waited = asked.elapsed();
        let slowest = stuck::new_connections(at[1], 20)?;
        println!("MEASURED beside an unread download: {waited:?} at first, {slowest:?} then");
        ensure!(waited.max(slowest) < RECOVERED, "{waited:?}, {slowest:?}");
        pf.stderr_says("not read for too long", SOON)
    })
}

/// As far as the runtimes have it: the answer does not wait for the pod to see our end.
#[test]
fn half_close() -> anyhow::Result<()> {
    on_server(|server| {
        let (_pf, at) = pf(&server, "pod/peer :7007").forward(1)?;
        at_once(5, |_| ending::early(at[0]))
    })
}

#[test]
fn half_close_by_the_pod() -> anyhow::Result<()> {
    on_server(|server| {
        let (_pf, at) = pf(&server, "pod/peer :7004").forward(1)?;
        exchange::banner(at[0]).map(drop)
    })
}

/// The connections of port 7999 or 7003 are reset, one after another; all others live.
fn ends_badly(server: &Server, port: u16, text: &str) -> anyhow::Result<()> {
    let (mut pf, at) = pf(server, &format!("pod/peer :{port} :7000")).forward(2)?;
    let mut other = connect(at[1])?;
    exchange::echo_on(&mut other, 1, 100).context("before")?;
    for nth in 1..=3 {
        ending::is_reset(at[0]).with_context(|| format!("connection {nth}"))?;
        exchange::echo_on(&mut other, 2, 100).context("the connection opened before")?;
    }
    pf.stderr_says(text, SOON)?;
    exchange::echo(at[1]).context("a new connection after")?;
    pf.still_runs()
}

#[test]
fn refused_port() -> anyhow::Result<()> {
    on_server(|server| ends_badly(&server, 7999, "connection refused"))
}

#[test]
fn pod_that_resets() -> anyhow::Result<()> {
    on_server(|server| ends_badly(&server, 7003, "connection reset by peer"))
}

#[test]
fn aborted_downloads() -> anyhow::Result<()> {
    on_server(|server| {
        let (mut pf, at) = pf(&server, "pod/peer :7002 :7000").forward(2)?;
        ending::aborted_downloads(at[0], 30)?;
        exchange::echo(at[1]).context("after them")?;
        pf.still_runs()
    })
}

#[test]
fn named_ports() -> anyhow::Result<()> {
    on_server(|server| {
        let names = [("http", 8080), ("echo", 7000), ("closed", 7999)];
        let pf = pf(&server, "pod/peer :http :echo :closed").start()?;
        let lines = pf.ready(names.len())?;
        let remotes: Vec<_> = lines.iter().map(|line| line.remote).collect();
        ensure!(
            remotes.iter().eq(names.iter().map(|(_, port)| port)),
            "{remotes:?}"
        );
        exchange::http(lines[0].local)?;
        exchange::echo(lines[1].local)
    })
}

/// Whatever was open is reset: an end would look like a complete transfer.
#[test]
fn server_killed() -> anyhow::Result<()> {
    on_server(|server| {
        let line = "--no-reconnect pod/peer :7000 :7002";
        let (pf, at) = pf(&server, line).forward(2)?;
        let mut idle = connect(at[0])?;
        exchange::echo_on(&mut idle, 1, 100)?;
        let mut download = connect(at[1])?;
        download.read_exact(&mut vec![0; 1 << 20])?;
        server.kill();
        let soon = Duration::from_secs(5);
        expect_reset(&mut idle, soon).context("the idle connection")?;
        expect_reset(&mut download, soon).context("the download")?;
        pf.wait_exit(soon)?
            .failed_with(1, &["error: lost connection to pod"])
    })
}
