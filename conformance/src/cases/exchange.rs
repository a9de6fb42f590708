//! One connection, questions and answers.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
};

use anyhow::{Context as _, ensure};

use super::{Sequence, connect, nothing_more, read_to_end, same};

/// Port `echo`: messages of several sizes come back, the end follows ours.
pub fn echo(address: SocketAddr) -> anyhow::Result<()> {
    let mut stream = echo_and_stay(address)?;
    stream.shutdown(Shutdown::Write)?;
    nothing_more(&mut stream)
}

/// The same messages, without our end, which a channel cannot pass on.
pub fn echo_and_stay(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut stream = connect(address)?;
    for (seed, size) in (1..).zip([1, 2, 100, 4096, 16 * 1024, 32 * 1024 + 1]) {
        echo_on(&mut stream, seed, size).with_context(|| format!("message of {size} bytes"))?;
    }
    Ok(stream)
}

/// One message on an open connection to port `echo`.
pub fn echo_on(stream: &mut TcpStream, seed: u64, size: usize) -> anyhow::Result<()> {
    let message = Sequence::first(seed, size);
    stream.write_all(&message).context("sending")?;
    let mut answer = vec![0; size];
    stream.read_exact(&mut answer).context("the answer")?;
    same(&answer, &message)
}

/// One message on a connection of its own that the client closes.
pub fn echo_once(address: SocketAddr, seed: u64) -> anyhow::Result<()> {
    let mut stream = connect(address)?;
    echo_on(&mut stream, seed, 64)
}

/// Port `http`: the status code and body of `GET /`.
pub fn http(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream = connect(address)?;
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let answer = String::from_utf8(read_to_end(&mut stream)?).context("the answer is no text")?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .with_context(|| format!("an answer without a head: {answer:?}"))?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "not 200: {head}");
    ensure!(!body.is_empty(), "no body behind {head}");
    Ok(body.to_owned())
}

/// Port `halfclose`: the banner comes whole although the pod shuts down at once, the end is clean.
pub fn banner(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut stream = connect(address)?;
    same(&read_to_end(&mut stream)?, b"banner\n")?;
    Ok(stream)
}
