//! The loads, and what a client takes for each. CPU is read before a step and half a second after it, so
//! that what a client has left to do for it counts too.

use crate::child::{Child, ECHO, SINK, SOURCE};
use crate::measure::{Measure, Sample};
use crate::pod::Pod;
use anyhow::{Context, Result, anyhow, bail};
use benches::stats::percentile;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Barrier;
use std::time::{Duration, Instant};

pub(crate) const MIB: f64 = 1024.0 * 1024.0;
pub(crate) const GIB: f64 = 1024.0 * MIB;
/// What the pod's source sends, bytes.
pub(crate) const DOWN: u64 = 1 << 30;
/// What is sent to the pod's sink, bytes, and a few more by which the pod's count is recognised.
pub(crate) const UP: u64 = 512 << 20;
pub(crate) const PIECE: usize = 256 << 10;
const WARM_UP: usize = 50;
const ECHOES: usize = 2000;
const SET_UPS: usize = 500;
const SET_UPS_AT_ONCE: usize = 50;

/// No step takes longer than this and one wait.
const DEADLINE: Duration = Duration::from_secs(60);
/// No single read or write takes longer than this.
const WAIT: Duration = Duration::from_secs(10);
/// How long the pod may take to have everything after the end was sent.
const DRAIN: Duration = Duration::from_secs(10);
const SETTLE: Duration = Duration::from_millis(500);

#[derive(Clone, Copy)]
pub(crate) enum Step {
    Download,
    Upload,
    Memory,
    Echo,
    SetUp { at_once: usize },
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
        }
    }
}

impl Step {
    /// Whether the step loads the machine, and wants it idle before.
    pub(crate) fn loads(self) -> bool {
        !matches!(self, Self::Memory)
    }

    pub(crate) fn run(self, child: &Child, pod: &Pod) -> Result<Vec<Sample>> {
        match self {
            Self::Download => download(child),
            Self::Upload => upload(child, pod),
            Self::Memory => Ok(vec![(Measure::PeakMemory, child.peak_memory()?)]),
            Self::Echo => echo(child),
            Self::SetUp { at_once } => set_up(child, at_once),
        }
    }
}

/// From the connection to the last byte; then the end of file has to come.
fn download(child: &Child) -> Result<Vec<Sample>> {
    let before = child.cpu()?;
    let began = Instant::now();
    let mut socket = connect(child.address(SOURCE)?)?;
    let mut buffer = vec![0; PIECE];
    let mut got: u64 = 0;
    let mut last = began;
    loop {
        match read(&mut socket, &mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                check(&buffer[..n], got)?;
                got += n as u64;
                last = Instant::now();
            }
            Err(error) => {
                return Err(error).with_context(|| format!("after {got} of {DOWN} bytes"));
            }
        }
        in_time(began)?;
    }
    if got != DOWN {
        bail!("short: got {got} of {DOWN} bytes");
    }
    let rate = got as f64 / MIB / (last - began).as_secs_f64();
    let cpu = since(child, before)? / (got as f64 / GIB);
    Ok(vec![(Measure::DownRate, rate), (Measure::DownCpu, cpu)])
}

/// The source's byte at offset n is n, modulo 256. Two bytes of each piece show any shift.
pub(crate) fn check(piece: &[u8], offset: u64) -> Result<()> {
    let wanted = |at: u64| at.to_le_bytes()[0];
    let end = offset + piece.len() as u64;
    if piece.first() == Some(&wanted(offset)) && piece.last() == Some(&wanted(end - 1)) {
        return Ok(());
    }
    bail!("other bytes than sent between {offset} and {end}")
}

/// From the first byte until the pod has all of them.
fn upload(child: &Child, pod: &Pod) -> Result<Vec<Sample>> {
    let bytes = pod.unused_size(UP)?;
    let piece = vec![0x5a; PIECE];
    let mut sent: u64 = 0;
    let before = child.cpu()?;
    let began = Instant::now();
    let mut socket = connect(child.address(SINK)?)?;
    while sent < bytes {
        let n = piece.len().min(usize::try_from(bytes - sent)?);
        socket
            .write_all(&piece[..n])
            .map_err(stalled)
            .with_context(|| format!("after {sent} of {bytes} bytes"))?;
        sent += n as u64;
        in_time(began)?;
    }
    socket.shutdown(Shutdown::Write)?;
    pod.wait_for_upload(bytes, Instant::now() + DRAIN)?;
    let took = began.elapsed().as_secs_f64();
    let cpu = since(child, before)? / (bytes as f64 / GIB);
    let rate = bytes as f64 / MIB / took;
    Ok(vec![(Measure::UpRate, rate), (Measure::UpCpu, cpu)])
}

/// One byte there and back again, over and over, on one connection.
fn echo(child: &Child) -> Result<Vec<Sample>> {
    let mut socket = connect(child.address(ECHO)?)?;
    for _ in 0..WARM_UP {
        ping(&mut socket)?;
    }
    let before = child.cpu()?;
    let began = Instant::now();
    let mut took = Vec::with_capacity(ECHOES);
    for _ in 0..ECHOES {
        let sent = Instant::now();
        ping(&mut socket)?;
        took.push(micros(sent.elapsed()));
        in_time(began)?;
    }
    let cpu = since(child, before)? * 1e6 / ECHOES as f64;
    took.sort_by(f64::total_cmp);
    Ok(vec![
        (Measure::EchoP50, percentile(&took, 50)),
        (Measure::EchoP99, percentile(&took, 99)),
        (Measure::EchoCpu, cpu),
    ])
}

/// A connection, one byte, its echo, the end; for each of `at_once` threads over and over.
fn set_up(child: &Child, at_once: usize) -> Result<Vec<Sample>> {
    let address = child.address(ECHO)?;
    let times = if at_once == 1 {
        SET_UPS
    } else {
        SET_UPS_AT_ONCE
    };
    for _ in 0..5 {
        ping(&mut connect(address)?)?;
    }
    std::thread::sleep(SETTLE);
    let before = child.cpu()?;
    let gate = Barrier::new(at_once + 1);
    let (all, wall) = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..at_once)
            .map(|_| {
                scope.spawn(|| {
                    gate.wait();
                    set_ups(address, times)
                })
            })
            .collect();
        gate.wait();
        let began = Instant::now();
        let mut all = Vec::new();
        for thread in threads {
            let took = thread.join().map_err(|_| anyhow!("a thread panicked"))??;
            all.extend(took);
        }
        Ok::<_, anyhow::Error>((all, began.elapsed()))
    })?;
    let mut all = all;
    let cpu = since(child, before)? * 1e6 / all.len() as f64;
    let rate = all.len() as f64 / wall.as_secs_f64();
    all.sort_by(f64::total_cmp);
    let (p50, p99) = (percentile(&all, 50), percentile(&all, 99));
    let names = match at_once {
        1 => [
            Measure::SetUpRate,
            Measure::SetUpP50,
            Measure::SetUpP99,
            Measure::SetUpCpu,
        ],
        _ => [
            Measure::SetUp16Rate,
            Measure::SetUp16P50,
            Measure::SetUp16P99,
            Measure::SetUp16Cpu,
        ],
    };
    Ok(names.into_iter().zip([rate, p50, p99, cpu]).collect())
}

fn set_ups(address: SocketAddr, times: usize) -> Result<Vec<f64>> {
    let began = Instant::now();
    (0..times)
        .map(|done| {
            in_time(began)?;
            let start = Instant::now();
            connect(address)
                .and_then(|mut socket| ping(&mut socket))
                .with_context(|| format!("connection {} of {times}", done + 1))?;
            Ok(micros(start.elapsed()))
        })
        .collect()
}

pub(crate) fn connect(address: SocketAddr) -> Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&address, WAIT).context("connecting")?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(WAIT))?;
    socket.set_write_timeout(Some(WAIT))?;
    Ok(socket)
}

fn ping(socket: &mut TcpStream) -> Result<()> {
    socket.write_all(b"p").map_err(stalled)?;
    let mut answer = [0];
    match read(socket, &mut answer)? {
        0 => bail!("the connection ended before the echo came"),
        _ if answer == *b"p" => Ok(()),
        _ => bail!("another byte came back"),
    }
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

/// The client's CPU seconds since `before`, when it has settled.
pub(crate) fn since(child: &Child, before: Duration) -> Result<f64> {
    std::thread::sleep(SETTLE);
    Ok(child.cpu()?.saturating_sub(before).as_secs_f64())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
