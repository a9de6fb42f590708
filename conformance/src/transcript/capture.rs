//! Making transcripts: `pf --record`, local programs that do one thing each, and what came of it.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use portforward::transcript::Transcript;

use super::{Outcome, load};
use crate::{
    output::whole_lines,
    program::{Pf, PfProcess},
};

/// For each wait.
const SOON: Duration = Duration::from_secs(20);

/// What is recorded: a name, the pod's port, and what the local programs do.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// File name, without its ending.
    pub name: &'static str,
    port: u16,
    run: fn(&mut Stage<'_>) -> anyhow::Result<()>,
}

/// All of them. Together a few seconds: each ends before the first PING.
pub const SCENARIOS: [Scenario; 8] = [
    Scenario {
        name: "echo-4-bytes",
        port: 7000,
        run: |stage| {
            let mut one = stage.connect()?;
            one.exchange(b"ping", 4)?;
            one.half_close()?;
            stage.end(one)
        },
    },
    Scenario {
        name: "http-get",
        port: 8080,
        run: |stage| {
            let mut one = stage.connect()?;
            one.send(b"GET /bytes/1000 HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")?;
            stage.end(one)
        },
    },
    Scenario {
        name: "two-interleaved",
        port: 7000,
        run: |stage| {
            let mut one = stage.connect()?;
            one.exchange(b"first of one", 12)?;
            let mut two = stage.connect()?;
            two.exchange(b"first of two", 12)?;
            one.exchange(b"second of one", 13)?;
            two.exchange(b"second of two", 13)?;
            two.half_close()?;
            one.exchange(b"third of one", 12)?;
            one.half_close()?;
            stage.end(two)?;
            stage.end(one)
        },
    },
    Scenario {
        name: "refused-port",
        port: 7999,
        run: |stage| {
            let one = stage.connect()?;
            stage.end(one)
        },
    },
    Scenario {
        name: "reset-by-pod",
        port: 7003,
        run: |stage| {
            let one = stage.connect()?;
            stage.end(one)
        },
    },
    Scenario {
        name: "half-closed-by-pod",
        port: 7004,
        run: |stage| {
            let mut one = stage.connect()?;
            one.receive(7)?;
            stage.end(one)
        },
    },
    Scenario {
        name: "answer-before-half-close",
        port: 7006,
        run: |stage| {
            let mut one = stage.connect()?;
            one.exchange(&4096u64.to_be_bytes(), 4096)?;
            one.half_close()?;
            stage.end(one)
        },
    },
    Scenario {
        name: "echo-12-kb",
        port: 7000,
        run: |stage| {
            let mut one = stage.connect()?;
            let bytes: Vec<u8> = (0..12_000u32)
                .map(|i| ((i * 7) >> 3).to_le_bytes()[0])
                .collect();
            one.exchange(&bytes, bytes.len())?;
            one.half_close()?;
            stage.end(one)
        },
    },
];

/// Where a scenario plays.
#[derive(Debug)]
struct Stage<'a> {
    pf: &'a PfProcess,
    port: u16,
    at: SocketAddr,
    connections: u64,
    ended: Vec<Outcome>,
}

/// A local program's connection.
#[derive(Debug)]
struct Connection {
    request: u64,
    socket: TcpStream,
    received: Vec<u8>,
}

impl Scenario {
    /// Records it with `pf`, which needs a target but no ports, into `file`.
    pub fn record(self, pf: Pf, file: &Path) -> anyhow::Result<Transcript> {
        // Plain SPDY: what a tunnel carries is the same, behind other heads.
        let mut words = vec![
            "--protocol".into(),
            "spdy".into(),
            "--record".into(),
            file.into(),
        ];
        words.push(format!(":{}", self.port).into());
        let (mut process, at) = pf.args(words).forward(1)?;
        let mut stage = Stage {
            pf: &process,
            port: self.port,
            at: at[0],
            connections: 0,
            ended: Vec::new(),
        };
        (self.run)(&mut stage).with_context(|| self.name)?;
        let mut ended = stage.ended;
        ended.sort_by_key(|outcome| outcome.request);
        process.interrupt()?;
        let exit = process.wait_exit(SOON)?;
        ensure!(exit.code == Some(0), "{exit}");
        let mut transcript = load(file)?;
        transcript.provenance.expect = ended.iter().map(ToString::to_string).collect();
        fs::write(file, transcript.to_string())?;
        Ok(transcript)
    }
}

impl Stage<'_> {
    /// The next connection; `pf` has accepted it, so that their order is known.
    fn connect(&mut self) -> anyhow::Result<Connection> {
        let request = self.connections;
        self.connections += 1;
        let socket = TcpStream::connect(self.at)?;
        socket.set_read_timeout(Some(SOON))?;
        let line = format!("Handling connection for {}\n", self.at.port());
        let wanted = line.repeat(self.connections.try_into()?);
        self.pf.stdout_says(&wanted, SOON)?;
        Ok(Connection {
            request,
            socket,
            received: Vec::new(),
        })
    }

    /// Reads to the end.
    fn end(&mut self, mut connection: Connection) -> anyhow::Result<()> {
        let read = connection.socket.read_to_end(&mut connection.received);
        let end = match read {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(self.told()?),
            Err(error) => return Err(error.into()),
        };
        self.ended.push(Outcome {
            request: connection.request,
            port: self.port,
            received: connection.received,
            end,
        });
        Ok(())
    }

    /// What `pf` said of the connection.
    fn told(&self) -> anyhow::Result<String> {
        let before = format!(
            "error: an error occurred forwarding {} -> {}: ",
            self.at.port(),
            self.port
        );
        self.pf.stderr_says(&before, SOON)?;
        let text = self.pf.stderr();
        whole_lines(&text)
            .find_map(|line| line.strip_prefix(&before))
            .map(str::to_owned)
            .context("half a line")
    }
}

impl Connection {
    fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.socket.write_all(bytes)?)
    }

    fn receive(&mut self, count: usize) -> anyhow::Result<()> {
        let mut bytes = vec![0; count];
        self.socket.read_exact(&mut bytes)?;
        self.received.extend(bytes);
        Ok(())
    }

    fn exchange(&mut self, bytes: &[u8], count: usize) -> anyhow::Result<()> {
        self.send(bytes)?;
        self.receive(count)
    }

    fn half_close(&mut self) -> anyhow::Result<()> {
        Ok(self.socket.shutdown(Shutdown::Write)?)
    }
}
