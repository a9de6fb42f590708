//! The crate `wsstream` against other implementations of WebSocket, in both roles, and judged by the
//! Autobahn TestSuite.
//!
//! Needs the programs of `conformance/peers/ws/build`; without them the tests say so and pass, unless
//! `CI` is set or `PF_REQUIRE_PEERS=1`.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
};

use anyhow::{Context as _, ensure};
use conformance::peers::Peer;

mod autobahn;
mod libraries;
mod socket;

/// Where a peer's program is, or nothing for a test that skips.
fn find(peer: Peer) -> anyhow::Result<Option<PathBuf>> {
    let current = thread::current();
    peer.find(current.name().unwrap_or("a test"))
}

/// A program under way, killed when dropped.
struct Running(Child);

impl Running {
    fn start(program: &PathBuf, args: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn();
        child
            .map(Self)
            .with_context(|| format!("{} {args:?}", program.display()))
    }

    /// The line `port N` that a server prints first.
    fn port(&mut self) -> anyhow::Result<SocketAddr> {
        let stdout = self.0.stdout.as_mut().context("stdout")?;
        let mut line = String::new();
        // One byte at a time: what follows is read later.
        BufReader::with_capacity(1, stdout).read_line(&mut line)?;
        let port = line.strip_prefix("port ").map(str::trim);
        let port = port.and_then(|port| port.parse::<u16>().ok());
        let port = port.with_context(|| format!("no port but {line:?}"))?;
        Ok(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// What it printed, having ended well.
    fn end(mut self) -> anyhow::Result<String> {
        let mut stderr = self.0.stderr.take().context("stderr")?;
        let told = thread::spawn(move || {
            let mut text = String::new();
            drop(stderr.read_to_string(&mut text));
            text
        });
        let mut stdout = String::new();
        self.0
            .stdout
            .take()
            .context("stdout")?
            .read_to_string(&mut stdout)?;
        let status = self.0.wait()?;
        let told = told.join().unwrap_or_default();
        ensure!(status.success(), "{status}\n{stdout}\n{told}");
        Ok(stdout)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A listener on loopback.
fn listen() -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let at = listener.local_addr()?;
    Ok((listener, at))
}
