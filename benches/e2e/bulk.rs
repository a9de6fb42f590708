//! Much, one way.

use crate::child::Child;
use crate::far::{Far, Load};
use crate::measure::{Measure, Sample};
use crate::steps::{Cpu, GIB, MIB, PIECE, connect, in_time, read, stalled};
use anyhow::{Context, Result, bail};
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// What the source sends, bytes.
const DOWN: u64 = 1 << 30;
/// What is sent to the sink, bytes. To a pod a few more, by which its count is recognised.
const UP: u64 = 512 << 20;
/// How long the pod may take to have everything after the end was sent.
const DRAIN: Duration = Duration::from_secs(10);

/// From the connection to the last byte; then the end of file has to come.
pub(crate) fn download(child: &Child, far: &Far) -> Result<Vec<Sample>> {
    let load = Load::Download(DOWN);
    let cpu = Cpu::before(child, far)?;
    let began = Instant::now();
    let mut socket = connect(child.address(far.service(load))?)?;
    socket.write_all(&far.request(load))?;
    let mut buffer = vec![0; PIECE];
    let mut got = 0;
    let mut last = began;
    loop {
        let n = read(&mut socket, &mut buffer)
            .with_context(|| format!("after {got} of {DOWN} bytes"))?;
        if n == 0 {
            break;
        }
        check(&buffer[..n], got)?;
        got += n as u64;
        last = Instant::now();
        in_time(began)?;
    }
    if got != DOWN {
        bail!("short: got {got} of {DOWN} bytes");
    }
    drop(socket);
    let rate = got as f64 / MIB / (last - began).as_secs_f64();
    let (client, server) = cpu.since(child, far)?;
    let per_gib = got as f64 / GIB;
    let mut samples = vec![
        (Measure::DownRate, rate),
        (Measure::DownCpu, client / per_gib),
    ];
    samples.extend(server.map(|it| (Measure::DownServer, it / per_gib)));
    Ok(samples)
}

/// From the connection until the other end has all of it.
pub(crate) fn upload(child: &Child, far: &Far) -> Result<Vec<Sample>> {
    let (bytes, sunk) = match far.stats() {
        Some(pod) => (pod.unused_size(UP)?, pod.sunk()?),
        None => (UP, 0),
    };
    let load = Load::Upload(bytes);
    let piece: Vec<u8> = (0..PIECE).map(|at| at.to_le_bytes()[0]).collect();
    let cpu = Cpu::before(child, far)?;
    let began = Instant::now();
    let mut socket = connect(child.address(far.service(load))?)?;
    socket.write_all(&far.request(load))?;
    let mut sent = 0;
    while sent < bytes {
        let n = piece.len().min(usize::try_from(bytes - sent)?);
        socket
            .write_all(&piece[..n])
            .map_err(stalled)
            .with_context(|| format!("after {sent} of {bytes} bytes"))?;
        sent += n as u64;
        in_time(began)?;
    }
    let took = if let Some(pod) = far.stats() {
        socket.shutdown(Shutdown::Write)?;
        let deadline = Instant::now() + DRAIN;
        pod.wait_for_sunk(sunk + bytes, deadline)?;
        let took = began.elapsed();
        pod.wait_for_upload(bytes, deadline)?;
        took
    } else {
        counted(&mut socket, bytes)?;
        let took = began.elapsed();
        socket.shutdown(Shutdown::Write)?;
        if read(&mut socket, &mut [0])? != 0 {
            bail!("more than the server's count");
        }
        took
    };
    drop(socket);
    let (client, server) = cpu.since(child, far)?;
    let per_gib = bytes as f64 / GIB;
    let mut samples = vec![
        (Measure::UpRate, bytes as f64 / MIB / took.as_secs_f64()),
        (Measure::UpCpu, client / per_gib),
    ];
    samples.extend(server.map(|it| (Measure::UpServer, it / per_gib)));
    Ok(samples)
}

/// The smooth source's answer.
fn counted(socket: &mut TcpStream, bytes: u64) -> Result<()> {
    let mut answer = [0; 8];
    let mut filled = 0;
    while filled < answer.len() {
        match read(socket, &mut answer[filled..])? {
            0 => bail!("the end before the server's count"),
            n => filled += n,
        }
    }
    let counted = u64::from_be_bytes(answer);
    if counted != bytes {
        bail!("the server got {counted} of {bytes} bytes");
    }
    Ok(())
}

/// The byte at offset n is n, modulo 256. Two bytes of each piece show any shift.
pub(crate) fn check(piece: &[u8], offset: u64) -> Result<()> {
    let wanted = |at: u64| at.to_le_bytes()[0];
    let end = offset + piece.len() as u64;
    if piece.first() == Some(&wanted(offset)) && piece.last() == Some(&wanted(end - 1)) {
        return Ok(());
    }
    bail!("other bytes than sent between {offset} and {end}")
}
