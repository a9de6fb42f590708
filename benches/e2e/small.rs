//! Little: a byte at a time, connections one after the other or at once, and ones that do nothing.

use crate::child::Child;
use crate::client::Client;
use crate::far::{Far, Load};
use crate::measure::{Measure, Sample};
use crate::steps::{Cpu, SETTLE, connect, in_time, read, stalled};
use anyhow::{Context, Result, anyhow, bail};
use benches::stats::percentile;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::time::{Duration, Instant};

const WARM_UP: usize = 50;
const ECHOES: usize = 2000;
const SET_UPS: usize = 500;
const SET_UPS_AT_ONCE: usize = 50;
const IDLE: usize = 1_000;
const MANY_IDLE: usize = 10_000;
/// Files that a program has open beside so many connections: a TLS relay has two for each.
const OTHER_FILES: u64 = 200;

/// One byte there and back again, over and over, on one connection.
pub(crate) fn echo(child: &Child, far: &Far) -> Result<Vec<Sample>> {
    let (address, hello) = greeting(child, far)?;
    let mut socket = connect(address)?;
    ping(&mut socket, &hello)?;
    for _ in 0..WARM_UP {
        ping(&mut socket, b"p")?;
    }
    let cpu = Cpu::before(child, far)?;
    let began = Instant::now();
    let mut took = Vec::with_capacity(ECHOES);
    for _ in 0..ECHOES {
        let sent = Instant::now();
        ping(&mut socket, b"p")?;
        took.push(micros(sent.elapsed()));
        in_time(began)?;
    }
    let (client, _) = cpu.since(child, far)?;
    took.sort_by(f64::total_cmp);
    Ok(vec![
        (Measure::EchoP50, percentile(&took, 50)),
        (Measure::EchoP99, percentile(&took, 99)),
        (Measure::EchoCpu, client * 1e6 / ECHOES as f64),
    ])
}

/// A connection, one byte, its echo, the end; for each of `at_once` threads over and over.
pub(crate) fn set_up(child: &Child, far: &Far, at_once: usize) -> Result<Vec<Sample>> {
    let (address, hello) = greeting(child, far)?;
    let times = if at_once == 1 {
        SET_UPS
    } else {
        SET_UPS_AT_ONCE
    };
    for _ in 0..5 {
        ping(&mut connect(address)?, &hello)?;
    }
    std::thread::sleep(SETTLE);
    let cpu = Cpu::before(child, far)?;
    let gate = Barrier::new(at_once + 1);
    let (mut all, wall) = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..at_once)
            .map(|_| {
                scope.spawn(|| {
                    gate.wait();
                    set_ups(address, &hello, times)
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
    let (client, _) = cpu.since(child, far)?;
    let cpu = client * 1e6 / all.len() as f64;
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

fn set_ups(address: SocketAddr, hello: &[u8], times: usize) -> Result<Vec<f64>> {
    let began = Instant::now();
    (0..times)
        .map(|done| {
            in_time(began)?;
            let start = Instant::now();
            connect(address)
                .and_then(|mut socket| ping(&mut socket, hello))
                .with_context(|| format!("connection {} of {times}", done + 1))?;
            Ok(micros(start.elapsed()))
        })
        .collect()
}

/// Connections that are held open after one echo each. Ten thousand are pf's alone: with a TLS connection for
/// each there would be little to learn from a gigabyte.
pub(crate) fn idle(client: Client, child: &Child, far: &Far) -> Result<Vec<Sample>> {
    let (address, hello) = greeting(child, far)?;
    let many = client.is_pf();
    let needed = if many { MANY_IDLE } else { 2 * IDLE } as u64 + OTHER_FILES;
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < needed {
        bail!("this needs {needed} open files, and {soft} are allowed");
    }
    let before = child.memory()?;
    let began = Instant::now();
    let mut open = Vec::new();
    let mut hold = |count: usize| {
        while open.len() < count {
            in_time(began)?;
            let mut socket = connect(address)?;
            ping(&mut socket, &hello).with_context(|| format!("beside {}", open.len()))?;
            open.push(socket);
        }
        std::thread::sleep(SETTLE);
        child.memory()
    };
    let each = (hold(IDLE)? - before) / IDLE as f64;
    let mut samples = vec![(Measure::IdleMemory, each)];
    if many {
        let all = hold(MANY_IDLE)? * 1024.0 / 1e6;
        samples.push((Measure::ManyIdleMemory, all));
    }
    Ok(samples)
}

/// For this program and its children: as many open files as may be.
pub(crate) fn allow_many_files() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("open files")
}

/// Where to, and with what a connection begins, its first byte to come back included.
fn greeting(child: &Child, far: &Far) -> Result<(SocketAddr, Vec<u8>)> {
    let mut hello = far.request(Load::Echo);
    hello.push(b'p');
    Ok((child.address(far.service(Load::Echo))?, hello))
}

fn ping(socket: &mut TcpStream, bytes: &[u8]) -> Result<()> {
    socket.write_all(bytes).map_err(stalled)?;
    let mut answer = [0];
    match read(socket, &mut answer)? {
        0 => bail!("the connection ended before the echo came"),
        _ if answer == *b"p" => Ok(()),
        _ => bail!("another byte came back"),
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
