//! Local and pod sockets: what the copy loop needs beyond reading and writing.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};

/// Longest wait for a slow reader to take what arrived before an abnormal end (DESIGN, truncation
/// rule).
const DELIVER: Duration = Duration::from_secs(1);

/// Makes the kernel ask an idle peer for a sign of life, so that one that vanished shows within
/// half a minute. No TCP user timeout: it would also end the connection to a living peer that does
/// not read for that long (a pod in a debugger). With bytes on their way the kernel asks nothing;
/// there the session's own deadlines decide.
///
/// # Errors
/// The socket is broken.
pub fn keepalive(stream: &TcpStream) -> io::Result<()> {
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5));
    #[cfg(not(windows))]
    let keepalive = keepalive.with_retries(3);
    socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Connects for a forwarded connection. Until a clean end says otherwise the socket is abrupt
/// ([`Socket::set_abrupt`]), and that from before it is connected: whoever drops this future, or the
/// socket, leaves no end of file behind that nobody sent (T35).
///
/// # Errors
/// As [`TcpStream::connect`].
///
/// # Cancel safety
/// The connection is lost with the future; its peer sees a reset, if it has seen anything.
pub async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_zero_linger()?;
    socket.connect(address).await
}

/// A byte stream that can also end abnormally.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + Send {
    /// Ready when reading would not block, so that idle connections hold no buffer. May be ready
    /// too early.
    ///
    /// # Errors
    /// The socket failed.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Whether dropping the socket resets the connection instead of closing it cleanly. The copy
    /// loop turns it on first and off at a clean end, so that no early exit looks like one.
    fn set_abrupt(&mut self, on: bool);

    /// Small writes leave at once instead of waiting for more.
    fn send_at_once(&self) {}

    /// Ends the connection so that its peer reads an error, not an end of file (T35), after it
    /// was given up to a second to take what was written (where the kernel can tell: Linux and
    /// Android; elsewhere at once).
    ///
    /// # Cancel safety
    /// Dropping the future, polled or not, resets the connection at once.
    fn abort(self) -> impl Future<Output = ()> + Send;
}

impl Socket for TcpStream {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }

    fn set_abrupt(&mut self, on: bool) {
        // Fails only on a socket that is broken already.
        drop(socket2::SockRef::from(&*self).set_linger(on.then_some(Duration::ZERO)));
    }

    fn send_at_once(&self) {
        // Fails only on a socket that is broken already.
        drop(self.set_nodelay(true));
    }

    fn abort(mut self) -> impl Future<Output = ()> + Send {
        self.set_abrupt(true);
        deliver(self)
    }
}

/// Gives the peer its time, then drops the socket, which is abrupt.
async fn deliver(socket: TcpStream) {
    // A reset discards what the kernel has not sent yet. With this mark set, writable means
    // that nothing is left unsent; registering the socket anew asks the kernel for its state
    // as it is now, not for the next change.
    let unsent = |socket: TcpStream| -> io::Result<TcpStream> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        socket2::SockRef::from(&socket).set_tcp_notsent_lowat(1)?;
        TcpStream::from_std(socket.into_std()?)
    };
    let Ok(socket) = unsent(socket) else { return };
    // Out of time or broken: the reset says so.
    drop(tokio::time::timeout(DELIVER, socket.writable()).await);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// An accepted connection of which nothing is known yet must not look like one that ended.
    #[tokio::test]
    async fn a_dropped_connect_is_a_reset() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let polled = std::future::poll_fn(|cx| {
            // The kernel connects while the future waits to be polled again.
            let mut connecting = Box::pin(connect(address));
            Poll::Ready(connecting.as_mut().poll(cx).is_ready())
        });
        polled.await;
        let (mut accepted, _) = listener.accept().await.unwrap();
        let error = accepted.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let kept = connect(address).await.unwrap();
        let (mut accepted, _) = listener.accept().await.unwrap();
        drop(kept);
        assert!(accepted.read(&mut [0]).await.is_err());
    }

    /// A slow reader still gets everything that was written before the abort, then an error.
    #[tokio::test]
    async fn abort_delivers_then_resets() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut reader = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (mut socket, _) = listener.accept().await.unwrap();
        // More than the reader's kernel buffer, so that some is unsent at first.
        let mut written = 0usize;
        let piece = vec![7u8; 64 << 10];
        while let Ok(n) =
            tokio::time::timeout(Duration::from_millis(50), socket.write(&piece)).await
        {
            written += n.unwrap();
        }
        let abort = tokio::spawn(socket.abort());
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut got = 0;
        let mut buf = vec![0; 64 << 10];
        let error = loop {
            match reader.read(&mut buf).await {
                Ok(0) => panic!("a clean end after {got} of {written} bytes"),
                Ok(n) => got += n,
                Err(e) => break e,
            }
        };
        assert_eq!(got, written);
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        abort.await.unwrap();
    }
}
