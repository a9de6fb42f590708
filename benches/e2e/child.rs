//! One running client: started, asked for its ports, its CPU time and memory, and ended.

use crate::watch;
use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{self, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(5);

/// A service of the demo pod, by its port there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Service(pub(crate) u16);

pub(crate) const ECHO: Service = Service(7000);
pub(crate) const SINK: Service = Service(7001);
pub(crate) const SOURCE: Service = Service(7002);
pub(crate) const STATS: Service = Service(8081);
/// The one service of the smooth source.
pub(crate) const SMOOTH: Service = Service(7000);

/// A client process that forwards. Dropping it kills it.
pub(crate) struct Child {
    name: String,
    process: process::Child,
    local: Vec<(Service, SocketAddr)>,
    said: Arc<Mutex<VecDeque<String>>>,
}

impl Child {
    /// Starts a program that says where it listens for `services` in kubectl's words.
    pub(crate) fn spawn(command: Command, name: String, services: &[Service]) -> Result<Self> {
        let (mut child, lines) = Self::begin(command, name)?;
        child
            .wait_for_ports(&lines, services)
            .with_context(|| format!("{} did not start{}", child.name, child.last_words()))?;
        Ok(child)
    }

    /// Starts a program that says `before` and something when it is ready.
    pub(crate) fn spawn_saying(
        command: Command,
        name: String,
        before: &str,
    ) -> Result<(Self, String)> {
        let (child, lines) = Self::begin(command, name)?;
        let line = lines
            .recv_timeout(START)
            .with_context(|| format!("{} did not start{}", child.name, child.last_words()))?;
        let said = line
            .strip_prefix(before)
            .context("it said something else")?;
        Ok((child, said.to_owned()))
    }

    fn begin(mut command: Command, name: String) -> Result<(Self, Receiver<String>)> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = command
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        watch::add(process.id());
        let said = Arc::new(Mutex::new(VecDeque::new()));
        let lines = process.stdout.take().map(lines);
        if let Some(stderr) = process.stderr.take() {
            remember(stderr, Arc::clone(&said));
        }
        let child = Self {
            name,
            process,
            local: Vec::new(),
            said,
        };
        Ok((child, lines.context("no standard output")?))
    }

    fn wait_for_ports(&mut self, lines: &Receiver<String>, services: &[Service]) -> Result<()> {
        let deadline = Instant::now() + START;
        while self.local.len() < services.len() {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = match lines.recv_timeout(left) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => bail!("no ports after {} s", START.as_secs()),
                Err(RecvTimeoutError::Disconnected) => bail!("it ended"),
            };
            if let Some(found) = forwarding(&line) {
                self.local.push(found);
            }
        }
        Ok(())
    }

    /// Where the client listens for `service`.
    pub(crate) fn address(&self, service: Service) -> Result<SocketAddr> {
        self.local
            .iter()
            .find(|(it, _)| *it == service)
            .map(|(_, address)| *address)
            .ok_or_else(|| anyhow!("port {} is not forwarded", service.0))
    }

    /// User and system time of the whole process so far, threads that ended included.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let clock = clock_getcpuclockid(self.pid()?).context("CPU clock")?;
        Ok(clock_gettime(clock).context("CPU clock")?.into())
    }

    /// The most memory that was resident at once so far, KiB.
    pub(crate) fn peak_memory(&self) -> Result<f64> {
        self.status("VmHWM:")
    }

    /// What is resident now, KiB.
    pub(crate) fn memory(&self) -> Result<f64> {
        self.status("VmRSS:")
    }

    fn status(&self, field: &str) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<f64>().ok())
            .with_context(|| format!("no {field} in /proc/PID/status"))
    }

    /// What the client last wrote to standard error, for a message.
    pub(crate) fn last_words(&self) -> String {
        let Ok(said) = self.said.lock() else {
            return String::new();
        };
        said.iter()
            .fold(String::new(), |all, line| all + "\n  said: " + line)
    }

    /// Ends the client by SIGINT, which has to end it successfully.
    pub(crate) fn stop(mut self) -> Result<()> {
        kill(self.pid()?, Signal::SIGINT)?;
        let deadline = Instant::now() + STOP;
        while Instant::now() < deadline {
            if let Some(status) = self.process.try_wait()? {
                watch::remove(self.process.id());
                if !status.success() {
                    bail!("{}: {status} after SIGINT{}", self.name, self.last_words());
                }
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!(
            "{}: still there {} s after SIGINT",
            self.name,
            STOP.as_secs()
        )
    }

    fn pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.process.id())?))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Errors mean that it has ended already, as after stop().
        drop(self.process.kill());
        drop(self.process.wait());
        watch::remove(self.process.id());
    }
}

/// Reads `from` to its end, and passes the lines on for as long as somebody wants them.
fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            // Nobody wants them: go on, a full pipe would stop the client.
            drop(sender.send(line));
        }
    });
    receiver
}

fn remember(from: impl Read + Send + 'static, said: Arc<Mutex<VecDeque<String>>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if let Ok(mut said) = said.lock() {
                said.push_back(line);
                if said.len() > 5 {
                    said.pop_front();
                }
            }
        }
    });
}

/// Reads `Forwarding from 127.0.0.1:40001 -> 7000`; the line for `[::1]` is not wanted.
fn forwarding(line: &str) -> Option<(Service, SocketAddr)> {
    let (local, remote) = line.strip_prefix("Forwarding from ")?.split_once(" -> ")?;
    let local: SocketAddr = local.parse().ok()?;
    (local.ip() == Ipv4Addr::LOCALHOST).then_some((Service(remote.trim().parse().ok()?), local))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ipv4_lines_name_a_port() {
        let found = forwarding("Forwarding from 127.0.0.1:40001 -> 7000");
        assert_eq!(found, Some((ECHO, "127.0.0.1:40001".parse().unwrap())));
        assert_eq!(forwarding("Forwarding from [::1]:40001 -> 7000"), None);
        assert_eq!(forwarding("Handling connection for 40001"), None);
    }
}
