//! The loads, and what they have in common. CPU is read before a step and half a second after it, so that what
//! a client has left to do for it counts too.

use crate::child::Child;
use crate::client::Client;
use crate::far::Far;
use crate::measure::{Measure, Sample};
use crate::{bulk, small};
use anyhow::{Context, Result, anyhow, bail};
use std::fmt;
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

pub(crate) const MIB: f64 = 1024.0 * 1024.0;
pub(crate) const GIB: f64 = 1024.0 * MIB;
/// Bytes read or written at a time.
pub(crate) const PIECE: usize = 256 << 10;
pub(crate) const SETTLE: Duration = Duration::from_millis(500);
/// No step takes longer than this and one wait.
const DEADLINE: Duration = Duration::from_secs(60);
/// No single read or write takes longer than this.
const WAIT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy)]
pub(crate) enum Step {
    Download,
    Upload,
    Memory,
    Echo,
    SetUp { at_once: usize },
    Idle,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Download => f.write_str("download"),
            Self::Upload => f.write_str("upload"),
            Self::Memory => f.write_str("peak RSS"),
            Self::Echo => f.write_str("echo"),
            Self::SetUp { at_once: 1 } => f.write_str("set-up"),
            Self::SetUp { at_once } => write!(f, "set-up, {at_once} at once"),
            Self::Idle => f.write_str("idle connections"),
        }
    }
}

impl Step {
    /// Whether the step loads the machine, and wants it idle before.
    pub(crate) const fn loads(self) -> bool {
        !matches!(self, Self::Memory | Self::Idle)
    }

    pub(crate) fn run(self, client: Client, child: &Child, far: &Far) -> Result<Vec<Sample>> {
        match self {
            Self::Download => bulk::download(child, far),
            Self::Upload => bulk::upload(child, far),
            Self::Memory => Ok(vec![(Measure::PeakMemory, child.peak_memory()? / 1024.0)]),
            Self::Echo => small::echo(child, far),
            Self::SetUp { at_once } => small::set_up(child, far, at_once),
            Self::Idle => small::idle(client, child, far),
        }
    }
}

/// What client and server had used when a step began.
pub(crate) struct Cpu {
    client: Duration,
    server: Option<Duration>,
}

impl Cpu {
    pub(crate) fn before(child: &Child, far: &Far) -> Result<Self> {
        Ok(Self {
            client: child.cpu()?,
            server: far.cpu()?,
        })
    }

    /// The seconds of both since then, when they have settled.
    pub(crate) fn since(self, child: &Child, far: &Far) -> Result<(f64, Option<f64>)> {
        std::thread::sleep(SETTLE);
        let client = child.cpu()?.saturating_sub(self.client).as_secs_f64();
        let server = far.cpu()?.zip(self.server);
        let server = server.map(|(now, before)| now.saturating_sub(before).as_secs_f64());
        Ok((client, server))
    }
}

pub(crate) fn connect(address: SocketAddr) -> Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&address, WAIT).context("connecting")?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(WAIT))?;
    socket.set_write_timeout(Some(WAIT))?;
    Ok(socket)
}

pub(crate) fn read(socket: &mut TcpStream, buffer: &mut [u8]) -> Result<usize> {
    loop {
        match socket.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(stalled(error)),
            Ok(n) => return Ok(n),
        }
    }
}

pub(crate) fn stalled(error: std::io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => anyhow!("stalled for {} s", WAIT.as_secs()),
        _ => error.into(),
    }
}

pub(crate) fn in_time(began: Instant) -> Result<()> {
    if began.elapsed() < DEADLINE {
        return Ok(());
    }
    bail!("not done after {} s", DEADLINE.as_secs())
}
