//! Real clients against `pf serve`.
//!
//! Where client-go does less than `pf` would, a case asserts what client-go does: any text on an error
//! stream ends its whole session, and a local connection that did not end well ends as if it had
//! (PROTOCOL.md 3.3 and 9.1).

use std::{ffi::OsString, io::Read as _, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use conformance::{
    cases::{connect, ending, exchange, many, nothing_more},
    peers::Peer,
    program::{Pf, PfProcess},
};

use crate::{SOON, Server, at_once, find};

/// A client, and how it is asked to forward ports of the pod `web`.
#[derive(Debug, Clone, Copy)]
struct Client<'a> {
    peer: Peer,
    command: &'a str,
}

const CLIENT_GO: Client<'_> = Client {
    peer: Peer::Client,
    command: "-transport spdy web",
};

/// Tries the tunnel first, as kubectl does.
const CLIENT_GO_FALLBACK: Client<'_> = Client {
    peer: Peer::Client,
    command: "-transport fallback -v 4 web",
};

const CLIENT_GO_0_26: Client<'_> = Client {
    peer: Peer::Client026,
    command: "web",
};

const KUBECTL: Client<'_> = Client {
    peer: Peer::Kubectl,
    command: "-v 4 port-forward pod/web",
};

/// A client that listens for as many ports as it was asked to, and the server of its own behind it.
struct Forward {
    process: PfProcess,
    at: Vec<SocketAddr>,
    server: Server,
}

impl Client<'_> {
    /// Runs a test with the client forwarding `ports`, or says that it does not.
    fn forward(
        self,
        ports: &str,
        test: impl FnOnce(Forward) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let Some(program) = find(self.peer)? else {
            return Ok(());
        };
        let server = Server::ours()?;
        let (process, at) = self.start(&program, &server, ports)?;
        test(Forward {
            process,
            at,
            server,
        })
    }

    fn start(
        self,
        program: &Path,
        server: &Server,
        ports: &str,
    ) -> anyhow::Result<(PfProcess, Vec<SocketAddr>)> {
        let mut words: Vec<OsString> = Vec::new();
        if self.peer == Peer::Kubectl {
            words.extend(["--cache-dir".into(), server.cache().into()]);
        }
        let rest = self.command.split(' ').chain(ports.split(' '));
        words.extend(rest.map(OsString::from));
        let process = Pf::new(words)
            .kubeconfig(&server.kubeconfig())
            .start_program(program)?;
        let lines = process.ready(ports.split(' ').count())?;
        Ok((process, lines.iter().map(|line| line.local).collect()))
    }
}

fn echo_and_http(client: Client<'_>) -> anyhow::Result<()> {
    client.forward(":7000 :8080", |Forward { at, .. }| {
        exchange::echo(at[0])?;
        exchange::http(at[1]).map(drop)
    })
}

fn bulk_each_way(client: Client<'_>) -> anyhow::Result<()> {
    client.forward(":7005 :7006", |Forward { at, .. }| {
        crate::bulk_each_way(at[0], at[1])
    })
}

fn two_hundred_connections_at_once(client: Client<'_>) -> anyhow::Result<()> {
    client.forward(":7000", |Forward { at, .. }| many::concurrent(at[0], 200))
}

fn three_hundred_connections_in_a_row(client: Client<'_>) -> anyhow::Result<()> {
    client.forward(":7000", |Forward { at, .. }| many::sequential(at[0], 300))
}

/// Ours passes the half-close on and waits for the answer, however late; the runtimes wait a second.
fn half_close(client: Client<'_>) -> anyhow::Result<()> {
    client.forward(":7007 :7000 :7008", |Forward { at, .. }| {
        at_once(10, |nth| match nth % 2 {
            0 => ending::early(at[0]),
            _ => ending::echo_behind_half_close(at[1]),
        })?;
        ending::late(at[2], Duration::from_secs(2))
    })
}

/// client-go then closes the local connection for good (PROTOCOL.md 3.3).
fn half_close_by_the_pod(client: Client<'_>) -> anyhow::Result<()> {
    client.forward(":7004", |Forward { at, .. }| {
        (0..5).try_for_each(|_| exchange::banner(at[0]).map(drop))
    })
}

/// The text arrives. It costs client-go its session, and what else was open ends as if complete
/// (PROTOCOL.md 3.3, 9.1 and 9.6); `pf` would reset the one connection and keep the others. The server
/// is none the worse for it: another session that was there goes on.
fn ends_badly(client: Client<'_>, port: u16, text: &str) -> anyhow::Result<()> {
    client.forward(&format!(":{port} :7000"), |forward| {
        let Forward {
            process,
            at,
            mut server,
        } = forward;
        let (_second, beside) = Pf::line("pod/web :7000")
            .kubeconfig(&server.kubeconfig())
            .forward(1)?;
        let mut beside = connect(beside[0])?;
        exchange::echo_on(&mut beside, 1, 100).context("before, in the other session")?;
        let mut other = connect(at[1])?;
        exchange::echo_on(&mut other, 1, 100).context("before")?;
        nothing_more(&mut connect(at[0])?).context("the connection itself")?;
        nothing_more(&mut other).context("the connection opened before")?;
        let said = format!("error forwarding port {port} to pod");
        process
            .wait_exit(SOON)?
            .failed_with(1, &[&said, text, "error: lost connection to pod"])?;
        exchange::echo_on(&mut beside, 2, 100).context("the other session")?;
        server.still_runs()
    })
}

fn refused_port(client: Client<'_>) -> anyhow::Result<()> {
    ends_badly(client, 7999, "connection refused")
}

fn pod_that_resets(client: Client<'_>) -> anyhow::Result<()> {
    ends_badly(client, 7003, "reset by peer")
}

/// The client sees it at once. Locally it is an end like that of a complete transfer (PROTOCOL.md 9.6).
fn server_killed(client: Client<'_>) -> anyhow::Result<()> {
    client.forward(":7000", |forward| {
        let Forward {
            process,
            at,
            server,
        } = forward;
        let mut open = connect(at[0])?;
        exchange::echo_on(&mut open, 1, 100)?;
        server.kill();
        nothing_more(&mut open)?;
        process
            .wait_exit(SOON)?
            .failed_with(1, &["error: lost connection to pod"])
    })
}

/// Ctrl-C ends the client well; what it left behind does not bother the server.
fn interrupt(client: Client<'_>) -> anyhow::Result<()> {
    client.forward(":7000 :7002", |forward| {
        let Forward {
            mut process,
            at,
            mut server,
        } = forward;
        let mut open = connect(at[0])?;
        exchange::echo_on(&mut open, 1, 100)?;
        let mut download = connect(at[1])?;
        download.read_exact(&mut vec![0; 1 << 20])?;
        process.interrupt()?;
        let ended = process.wait_exit(SOON)?;
        ensure!(ended.code == Some(0), "{ended}");
        let (_next, at) = Pf::line("pod/web :7000")
            .kubeconfig(&server.kubeconfig())
            .forward(1)?;
        exchange::echo(at[0]).context("the next client")?;
        server.still_runs()
    })
}

/// A module of tests for each client: its name says which one failed.
macro_rules! for_each_client {
    ($cases:tt $($name:ident = $client:expr;)*) => {
        $(mod $name { for_each_client!(@tests $client, $cases); })*
    };
    (@tests $client:expr, [$($case:ident)*]) => {
        $(
            #[test]
            fn $case() -> anyhow::Result<()> {
                super::$case($client)
            }
        )*
    };
}

for_each_client! {
    [
        echo_and_http
        bulk_each_way
        two_hundred_connections_at_once
        three_hundred_connections_in_a_row
        half_close
        half_close_by_the_pod
        refused_port
        pod_that_resets
        server_killed
        interrupt
    ]
    client_go = super::CLIENT_GO;
    client_go_fallback = super::CLIENT_GO_FALLBACK;
    client_go_0_26 = super::CLIENT_GO_0_26;
    kubectl = super::KUBECTL;
}

/// That it is a tunnel: the WebSocket was asked for, and nobody fell back to SPDY.
#[test]
fn clients_tunnel_and_do_not_fall_back() -> anyhow::Result<()> {
    for client in [CLIENT_GO_FALLBACK, KUBECTL] {
        client.forward(":7000", |Forward { process, at, .. }| {
            process.stderr_says("Before WebSocket Upgrade Connection", SOON)?;
            exchange::echo(at[0])?;
            let said = process.stderr();
            ensure!(!said.contains("fallback to secondary dialer"), "{said}");
            Ok(())
        })?;
    }
    Ok(())
}

/// What only kubectl looks up: client-go's forwarder takes numbers of a pod's ports.
#[test]
fn kubectl_looks_up_names_and_targets() -> anyhow::Result<()> {
    let table = [
        ("pod/web", ":http :echo"),
        ("web", ":8080 :7000"),
        ("svc/web", ":80 :http"),
        ("deployment/web", ":http"),
    ];
    for (target, ports) in table {
        let command = "port-forward ".to_owned() + target;
        let client = Client {
            peer: Peer::Kubectl,
            command: &command,
        };
        client
            .forward(ports, |Forward { at, .. }| exchange::http(at[0]).map(drop))
            .with_context(|| command.clone())?;
    }
    Ok(())
}
