//! One connection that does not move, and what becomes of the others.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use super::{Sequence, connect, exchange::echo_on};

/// What a chain of buffers may take of an upload that nobody reads.
const UPLOAD: u64 = 256 << 20;

/// What every new connection gets beside a stuck one.
pub const ANSWER: Duration = Duration::from_secs(10);

/// Port `neverreads`: sends until nothing more is taken. Returns the connection and what it took.
pub fn stuck_upload(address: SocketAddr) -> anyhow::Result<(TcpStream, u64)> {
    let mut stream = connect(address)?;
    stream.set_write_timeout(Some(Duration::from_secs(2)))?;
    let chunk = Sequence::first(1, 64 * 1024);
    let mut sent = 0;
    while sent < UPLOAD {
        match stream.write(&chunk) {
            Ok(took) => sent += took as u64,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                return Ok((stream, sent));
            }
            Err(error) => return Err(error).with_context(|| format!("after {sent} bytes sent")),
        }
    }
    bail!("{sent} bytes were taken that nobody reads")
}

/// Port `source`: begins a download and stops to read. Returns the connection once all buffers have
/// had time to fill.
pub fn unread_download(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut stream = connect(address)?;
    stream
        .read_exact(&mut [0; 1024])
        .context("the download does not begin")?;
    thread::sleep(Duration::from_secs(2));
    Ok(stream)
}

/// Port `echo`: `count` new connections one after another, each answered within [`ANSWER`]. Returns the
/// slowest.
pub fn new_connections(address: SocketAddr, count: u64) -> anyhow::Result<Duration> {
    let mut slowest = Duration::ZERO;
    for nth in 1..=count {
        let took = answered(address, nth)
            .with_context(|| format!("connection {nth} of {count} beside the stuck one"))?;
        slowest = slowest.max(took);
    }
    Ok(slowest)
}

/// As [`new_connections`], but all at once and only counted: how many were answered in time.
#[must_use]
pub fn count_answered(address: SocketAddr, count: u64) -> usize {
    let clients: Vec<_> = (1..=count)
        .map(|nth| thread::spawn(move || answered(address, nth).is_ok()))
        .collect();
    clients
        .into_iter()
        .filter_map(|client| client.join().ok())
        .filter(|&ok| ok)
        .count()
}

fn answered(address: SocketAddr, seed: u64) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let mut stream = connect(address)?;
    stream.set_read_timeout(Some(ANSWER))?;
    echo_on(&mut stream, seed, 64)?;
    Ok(began.elapsed())
}
