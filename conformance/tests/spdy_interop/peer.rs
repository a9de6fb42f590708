//! The peers' programs. Each ends by itself: at the end of its input or connection, or after two minutes.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use anyhow::{Context as _, ensure};
use conformance::peers::Peer;

/// A peer's program, found.
pub(crate) struct Program(PathBuf);

/// Where it is, or nothing for a test that skips.
pub(crate) fn find(peer: Peer) -> anyhow::Result<Option<Program>> {
    let current = thread::current();
    Ok(peer.find(current.name().unwrap_or("a test"))?.map(Program))
}

/// What a program printed, having ended.
pub(crate) struct Ended {
    /// Exit code 0.
    pub(crate) well: bool,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Program {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Runs it to its end with `input` on its standard input.
    pub(crate) fn run(&self, args: &[&str], input: &[u8]) -> anyhow::Result<Ended> {
        let mut running = self.start(args, Stdio::piped())?;
        let mut stdin = running.0.stdin.take().context("stdin")?;
        thread::scope(|scope| {
            scope.spawn(move || {
                // A peer that refuses a frame reads no further.
                drop(stdin.write_all(input));
            });
            running.end()
        })
    }

    /// `server`: the port it listens on, and the process.
    pub(crate) fn serve(&self) -> anyhow::Result<(u16, Running)> {
        let mut running = self.start(&["server"], Stdio::null())?;
        let mut line = String::new();
        let stdout = running.0.stdout.as_mut().context("stdout")?;
        // One byte at a time: what follows is read later.
        BufReader::with_capacity(1, stdout).read_line(&mut line)?;
        let port = line.strip_prefix("port ").map(str::trim);
        let port = port.and_then(|port| port.parse().ok());
        match port {
            Some(port) => Ok((port, running)),
            None => anyhow::bail!("no port but {line:?}; {}", running.end()?.stderr),
        }
    }

    /// `client PORT BYTES`, and the word `headers` if it is to try HEADERS.
    pub(crate) fn dial(&self, port: u16, bytes: u64, headers: bool) -> anyhow::Result<Running> {
        let args = ["client", &port.to_string(), &bytes.to_string(), "headers"];
        self.start(&args[..3 + usize::from(headers)], Stdio::null())
    }

    fn start(&self, args: &[&str], stdin: Stdio) -> anyhow::Result<Running> {
        let mut command = Command::new(&self.0);
        command.args(args).stdin(stdin);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn();
        child
            .map(Running)
            .with_context(|| format!("{} {args:?}", self.0.display()))
    }
}

/// A program that runs; killed when dropped.
pub(crate) struct Running(Child);

impl Running {
    /// Waits for its end.
    pub(crate) fn end(mut self) -> anyhow::Result<Ended> {
        let mut stderr = self.0.stderr.take().context("stderr")?;
        let mut stdout = self.0.stdout.take().context("stdout")?;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        thread::scope(|scope| {
            scope.spawn(|| drop(stderr.read_to_end(&mut err)));
            stdout.read_to_end(&mut out)
        })?;
        let status = self.0.wait()?;
        Ok(Ended {
            well: status.success(),
            stdout: out,
            stderr: String::from_utf8_lossy(&err).into_owned(),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Ended {
    /// Its standard output, if it ended well.
    pub(crate) fn good(self) -> anyhow::Result<Vec<u8>> {
        ensure!(
            self.well,
            "the peer failed: {} (it had said {:?})",
            self.stderr.trim(),
            String::from_utf8_lossy(self.stdout.get(..400).unwrap_or(&self.stdout))
        );
        Ok(self.stdout)
    }
}
