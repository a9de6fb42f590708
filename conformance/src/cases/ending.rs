//! How connections end: half-close, resets, refusals, aborts.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};

use super::{Sequence, connect, exchange::banner, expect_reset, nothing_more, read_to_end, same};

/// How long a reset may take: a runtime waits one second for the other direction first.
const RESET: Duration = Duration::from_secs(15);

/// Port `early`: half-closes right behind the question; the answer, which does not wait for that,
/// comes whole.
pub fn early(address: SocketAddr) -> anyhow::Result<()> {
    const ANSWER: u16 = u16::MAX;
    let mut stream = connect(address)?;
    stream.write_all(b"go\n")?;
    stream.shutdown(Shutdown::Write)?;
    let answer = read_to_end(&mut stream)?;
    let length = usize::from(ANSWER) + 1;
    same(&answer, &Sequence::first(length as u64, length))
}

/// Port `early` over channels, which have no half-close: the answer comes whole, and then, since the pod
/// is not told and says no more, a reset instead of an end.
pub fn early_without_half_close(address: SocketAddr) -> anyhow::Result<()> {
    let mut stream = connect(address)?;
    stream.write_all(b"go\n")?;
    stream.shutdown(Shutdown::Write)?;
    let came = expect_reset(&mut stream, RESET)?;
    ensure!(came == 1 << 16, "{came} bytes before the reset");
    Ok(())
}

/// Port `late`: half-closes, and the answer comes that long after the pod has seen it.
pub fn late(address: SocketAddr, after: Duration) -> anyhow::Result<()> {
    let mut stream = connect(address)?;
    stream.write_all(format!("{}\nmore", after.as_millis()).as_bytes())?;
    let began = Instant::now();
    stream.shutdown(Shutdown::Write)?;
    let answer = read_to_end(&mut stream)?;
    let took = began.elapsed();
    same(&answer, b"late\n").with_context(|| format!("after {took:?}"))?;
    ensure!(took >= after, "the answer came after {took:?} already");
    Ok(())
}

/// Port `echo`: half-closes behind 200 KiB that come back whole all the same.
pub fn echo_behind_half_close(address: SocketAddr) -> anyhow::Result<()> {
    let mut stream = connect(address)?;
    let message = Sequence::first(3, 200 * 1024);
    let writer = {
        let (mut stream, message) = (stream.try_clone()?, message.clone());
        thread::spawn(move || {
            stream.write_all(&message)?;
            stream.shutdown(Shutdown::Write)
        })
    };
    let answer = read_to_end(&mut stream)?;
    writer.join().ok().context("the writer panicked")??;
    same(&answer, &message)
}

/// Port `halfclose`: the pod half-closes first and reads on; our direction stays open, longer than a
/// runtime would leave it.
pub fn upload_behind_half_close(address: SocketAddr) -> anyhow::Result<()> {
    let mut stream = banner(address)?;
    for piece in 1..=5 {
        thread::sleep(Duration::from_millis(500));
        stream
            .write_all(&Sequence::first(piece, 100 * 1024))
            .with_context(|| format!("piece {piece}, sent behind the pod's half-close"))?;
    }
    stream.shutdown(Shutdown::Write)?;
    let error = stream.take_error()?;
    ensure!(error.is_none(), "the connection broke: {error:?}");
    nothing_more(&mut stream)
}

/// A port where the connection cannot be made or is reset: ours has to be reset, and nothing comes.
pub fn is_reset(address: SocketAddr) -> anyhow::Result<()> {
    let mut stream = connect(address)?;
    let before = expect_reset(&mut stream, RESET)?;
    ensure!(before == 0, "{before} bytes before the reset");
    Ok(())
}

/// Port `source`: reads a part of a long download and closes, `times` times.
pub fn aborted_downloads(address: SocketAddr, times: u32) -> anyhow::Result<()> {
    for nth in 1..=times {
        let mut stream = connect(address)?;
        let mut part = vec![0; 256 * 1024];
        stream
            .read_exact(&mut part)
            .with_context(|| format!("download {nth} of {times}"))?;
    }
    Ok(())
}
