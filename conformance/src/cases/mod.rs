//! Bytes through a forwarded port. Each function takes the local address of a forward to one of the
//! services of the demo pods (`cluster/echo/main.go` says what each does), and fails unless what comes
//! out is right to the byte and ends as it should.
//!
//! [`exchange`] asks and gets answers, [`bulk`] moves much, [`many`] opens many connections, [`ending`]
//! looks at how connections end, [`stuck`] at what one connection nobody reads does to others.

use std::{
    io::{self, Read as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

pub mod bulk;
pub mod ending;
pub mod exchange;
pub mod many;
pub mod sequence;
pub mod stuck;

pub use sequence::Sequence;

/// How long one read or write may make no progress.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection whose reads and writes have a deadline.
pub fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream =
        TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads to the end, which has to be a clean one.
pub fn read_to_end(stream: &mut TcpStream) -> anyhow::Result<Vec<u8>> {
    let mut all = Vec::new();
    stream
        .read_to_end(&mut all)
        .with_context(|| format!("after {} bytes, no clean end", all.len()))?;
    Ok(all)
}

/// Fails unless nothing more than the clean end comes.
pub fn nothing_more(stream: &mut TcpStream) -> anyhow::Result<()> {
    let rest = read_to_end(stream)?;
    if !rest.is_empty() {
        bail!("{} bytes more than were due", rest.len());
    }
    Ok(())
}

/// Fails unless the connection is reset (and not merely ended) in time. Returns how many bytes came
/// before.
pub fn expect_reset(stream: &mut TcpStream, within: Duration) -> anyhow::Result<u64> {
    let deadline = Instant::now() + within;
    let mut chunk = [0; 16 * 1024];
    let mut before = 0;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("no reset within {within:?}, after {before} bytes");
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk) {
            Ok(0) => bail!("an end like a clean one instead of a reset, after {before} bytes"),
            Ok(got) => before += got as u64,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(before),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let what = format!("no reset within {within:?}, after {before} bytes");
                return Err(error).context(what);
            }
        }
    }
}

/// Fails unless two runs of bytes are equal; says where they are not, instead of printing them.
pub fn same(got: &[u8], wanted: &[u8]) -> anyhow::Result<()> {
    if let Some(at) = got
        .iter()
        .zip(wanted)
        .position(|(got, wanted)| got != wanted)
    {
        bail!(
            "byte {at} is {:#04x} instead of {:#04x}",
            got[at],
            wanted[at]
        );
    }
    if got.len() != wanted.len() {
        bail!("{} bytes instead of {}", got.len(), wanted.len());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::Write as _,
        net::{Ipv4Addr, TcpListener},
        thread,
    };

    /// A server that takes one connection.
    fn serve(with: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        let address = listener.local_addr().expect("its address");
        thread::spawn(move || with(listener.accept().expect("a client").0));
        address
    }

    /// Closes with a byte unread, which resets.
    fn reset(stream: TcpStream) {
        stream.peek(&mut [0]).expect("a byte");
        drop(stream);
    }

    #[test]
    fn an_end_is_no_reset_and_a_reset_is_no_end() {
        let mut ended = connect(serve(drop)).expect("a connection");
        let error = expect_reset(&mut ended, PATIENCE).expect_err("an end is no reset");
        assert!(error.to_string().contains("instead of a reset"), "{error}");

        let mut cut = connect(serve(reset)).expect("a connection");
        cut.write_all(b"x").expect("a byte");
        assert_eq!(expect_reset(&mut cut, PATIENCE).expect("a reset"), 0);

        let mut cut = connect(serve(reset)).expect("a connection");
        cut.write_all(b"x").expect("a byte");
        assert!(nothing_more(&mut cut).is_err());
    }

    #[test]
    fn silence_is_no_reset() {
        let (say_done, done) = std::sync::mpsc::channel::<()>();
        let address = serve(move |open| {
            done.recv().expect_err("only its end is sent");
            drop(open);
        });
        let mut silent = connect(address).expect("a connection");
        assert!(expect_reset(&mut silent, Duration::from_millis(50)).is_err());
        drop(say_done);
    }

    #[test]
    fn cases_fail_on_a_server_that_lies() {
        let truncating = || serve(|mut stream| drop(stream.write_all(b"banne")));
        assert!(exchange::banner(truncating()).is_err());
        let flipping = serve(|mut stream| {
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() && stream.write_all(&[!byte[0]]).is_ok() {}
        });
        assert!(exchange::echo_once(flipping, 1).is_err());
        let wrong_hash = serve(|mut stream| {
            drop(stream.read_exact(&mut [0; 18]));
            drop(stream.write_all(&[b'0'; 64]));
            drop(stream.write_all(b"\n"));
        });
        assert!(bulk::upload(wrong_hash, 10).is_err());
        let zeros = serve(|mut stream| {
            drop(stream.read_exact(&mut [0; 8]));
            drop(stream.write_all(&[0; 10]));
        });
        assert!(bulk::download(zeros, 10).is_err());
        assert!(ending::early(truncating()).is_err());
        assert!(ending::late(truncating(), Duration::ZERO).is_err());
        assert!(ending::is_reset(truncating()).is_err());
        assert!(ending::echo_behind_half_close(truncating()).is_err());
    }

    #[test]
    fn differences_are_located() {
        assert!(same(b"abc", b"abc").is_ok());
        for (got, text) in [
            (&b"abd"[..], "byte 2"),
            (b"ab", "2 bytes instead of 3"),
            (b"abcd", "4 "),
        ] {
            let error = same(got, b"abc").expect_err(text);
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
