//! Much in one direction, judged by SHA-256.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use anyhow::{Context as _, ensure};
use ring::digest::{Context as Sha256, SHA256};

use super::{Sequence, connect, nothing_more, read_to_end};

const CHUNK: usize = 256 * 1024;

/// Port `hash`: sends `length` bytes and compares the pod's SHA-256 with ours.
pub fn upload(address: SocketAddr, length: u64) -> anyhow::Result<()> {
    let mut stream = connect(address)?;
    stream.write_all(&length.to_be_bytes())?;
    let ours = upload_bytes(&mut stream, length)?;
    let theirs = String::from_utf8(read_to_end(&mut stream)?).context("the answer is no text")?;
    ensure!(
        theirs == format!("{ours}\n"),
        "SHA-256 is {theirs:?} there and {ours} here"
    );
    Ok(())
}

fn upload_bytes(stream: &mut TcpStream, length: u64) -> anyhow::Result<String> {
    let mut sequence = Sequence::new(length);
    each_chunk(length, |sent, chunk| {
        sequence.fill(chunk);
        stream
            .write_all(chunk)
            .with_context(|| format!("after {sent} bytes sent"))
    })
}

/// Port `random`: receives `length` bytes and compares their SHA-256 with that of the bytes that are
/// due.
pub fn download(address: SocketAddr, length: u64) -> anyhow::Result<()> {
    let mut stream = download_and_stay(address, length)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    nothing_more(&mut stream)
}

/// The same bytes, without our end, which a channel cannot pass on.
pub fn download_and_stay(address: SocketAddr, length: u64) -> anyhow::Result<TcpStream> {
    let mut stream = connect(address)?;
    stream.write_all(&length.to_be_bytes())?;
    let got = each_chunk(length, |received, chunk| {
        stream
            .read_exact(chunk)
            .with_context(|| format!("after {received} bytes received"))
    })?;
    let mut sequence = Sequence::new(length);
    let wanted = each_chunk(length, |_, chunk| {
        sequence.fill(chunk);
        Ok(())
    })?;
    ensure!(got == wanted, "SHA-256 is {got} instead of {wanted}");
    Ok(stream)
}

/// Lets `step` fill chunks until `length` bytes are through; returns their SHA-256.
fn each_chunk(
    length: u64,
    mut step: impl FnMut(u64, &mut [u8]) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let mut hash = Sha256::new(&SHA256);
    let mut buffer = vec![0; CHUNK];
    let mut done = 0;
    while done < length {
        let size = usize::try_from(length - done).unwrap_or(CHUNK).min(CHUNK);
        step(done, &mut buffer[..size])?;
        hash.update(&buffer[..size]);
        done += size as u64;
    }
    Ok(hash
        .finish()
        .as_ref()
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}")))
}
