//! Forwarded connections: whatever is dropped, neither application takes it for an end.

use super::{Joined, cancelled, each};
use bytes::BytesMut;
use portforward::client::{Forwarder, carry};
use portforward::node::{self, Agreed, Dial, PodRef};
use portforward::session::{self, Config, Stream, channels};
use portforward::socket::{self, Socket};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// An application's connection in memory, which knows how it ended.
struct Local {
    io: DuplexStream,
    abrupt: bool,
    /// Whether it ended by a reset; unset while it lives.
    reset: Arc<AtomicBool>,
}

fn local() -> (DuplexStream, Local, Arc<AtomicBool>) {
    let (near, io) = duplex(2);
    let reset = Arc::new(AtomicBool::new(false));
    let local = Local {
        io,
        abrupt: false,
        reset: Arc::clone(&reset),
    };
    (near, local, reset)
}

impl Drop for Local {
    fn drop(&mut self) {
        self.reset.store(self.abrupt, Ordering::SeqCst);
    }
}

impl AsyncRead for Local {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Local {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Socket for Local {
    fn poll_readable(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn set_abrupt(&mut self, on: bool) {
        self.abrupt = on;
    }

    async fn abort(mut self) {
        self.abrupt = true;
    }
}

/// The application asks and reads the answer to its end.
async fn asks(mut near: DuplexStream) -> DuplexStream {
    let mut got = Vec::new();
    let talk = async {
        near.write_all(b"question").await?;
        near.shutdown().await?;
        near.read_to_end(&mut got).await
    };
    // An end in between is what the rest looks at.
    let _ended = talk.await;
    near
}

async fn answers(mut data: Stream, mut error: Stream) -> io::Result<Vec<u8>> {
    let mut got = Vec::new();
    data.read_to_end(&mut got).await?;
    data.write_all(b"answer").await?;
    data.shutdown().await?;
    error.shutdown().await?;
    Ok(got)
}

#[tokio::test(start_paused = true)]
async fn a_dropped_forward_is_a_reset_on_both_sides() {
    let most = each(|polls| async move {
        let joined = Joined::new();
        let forwarder = Forwarder::new(joined.client.clone());
        let (near, local, reset) = local();
        let app = tokio::spawn(asks(near));
        let server = joined.server.clone();
        let runtime = tokio::spawn(async move {
            // Streams that are dropped before the driver has seen them do not come.
            let soon = Duration::from_secs(1);
            let error = timeout(soon, server.accept()).await.ok()??.accept()?;
            let data = timeout(soon, server.accept()).await.ok()??.accept()?;
            Some(answers(data, error).await)
        });
        let ended = cancelled(forwarder.forward(local, 80), polls).await;
        let whole = ended.is_some();
        if let Some(ended) = ended {
            ended.unwrap();
        }
        assert_ne!(reset.load(Ordering::SeqCst), whole, "after {polls} polls");
        app.await.unwrap();
        if let Some(got) = runtime.await.unwrap() {
            // The whole question, or an error: never a part that looks whole.
            assert!(got.is_err() || got.unwrap() == b"question");
        }
        joined.works().await;
        whole
    })
    .await;
    assert!(most > 5, "{most} polls are no test");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_carry_is_a_reset_on_both_sides() {
    each(|polls| async move {
        let (a, b) = duplex(16);
        let (format, config) = (wsstream::Format::Binary, Config::default());
        let (mut ours, driver) =
            channels::client(a, BytesMut::new(), format, &[80], config.clone()).unwrap();
        let ours_over = tokio::spawn(driver);
        let (mut theirs, driver) =
            channels::server(b, BytesMut::new(), format, &[80], config).unwrap();
        let theirs_over = tokio::spawn(driver);
        let (near, local, reset) = local();
        let app = tokio::spawn(asks(near));
        let theirs = theirs.pop().unwrap();
        let pod = tokio::spawn(async move {
            let (mut data, mut error) = (theirs.data, theirs.error);
            let mut got = [0; 8];
            data.read_exact(&mut got).await?;
            data.write_all(b"answer").await?;
            data.shutdown().await?;
            error.shutdown().await?;
            // A channel's end is its WebSocket's.
            let rest = data.read_to_end(&mut Vec::new()).await;
            io::Result::Ok(rest.is_err())
        });
        let ours = ours.pop().unwrap();
        let ended = cancelled(carry(local, ours.data, ours.error), polls).await;
        let whole = ended.is_some();
        if let Some(ended) = ended {
            ended.unwrap();
        }
        assert_ne!(reset.load(Ordering::SeqCst), whole, "after {polls} polls");
        app.await.unwrap();
        let seen = pod.await.unwrap();
        if let Err(error) = seen {
            assert_ne!(
                error.kind(),
                ErrorKind::UnexpectedEof,
                "a clean end of a part"
            );
        }
        ours_over.await.unwrap();
        theirs_over.await.unwrap();
        whole
    })
    .await;
}

struct To(std::net::SocketAddr);

impl Dial for To {
    fn dial(
        &self,
        _: &PodRef,
        _: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>> {
        Box::pin(socket::connect(self.0))
    }
}

/// A node that is dropped takes everything with it: pods read a reset, clients an error.
#[tokio::test]
async fn a_dropped_node_leaves_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialer = Arc::new(To(listener.local_addr().unwrap()));
    let (listener, dialer) = (&listener, &dialer);
    let most = each(|polls| async move {
        let (a, b) = duplex(64);
        let (session, driver) = session::client(a, BytesMut::new(), Config::default()).unwrap();
        let driver = tokio::spawn(driver);
        let (near, local, reset) = local();
        let app = tokio::spawn(asks(near));
        let forwarder = Forwarder::new(session.clone());
        let forward = tokio::spawn(async move { forwarder.forward(local, 80).await });
        let pod = async {
            // Whoever comes within this time has come.
            let accepted = timeout(Duration::from_millis(30), listener.accept()).await;
            let (mut socket, _) = accepted.ok()?.unwrap();
            let mut got = Vec::new();
            let end = socket.read_to_end(&mut got).await;
            if end.is_ok() {
                // Only after the whole question.
                assert_eq!(got, b"question");
                let _gone = socket.write_all(b"answer").await;
            }
            Some(end.is_ok())
        };
        let closes = async {
            let ended = forward.await.unwrap();
            session.close();
            ended
        };
        let agreed = Agreed::from(PodRef::new("n", "p", "u"));
        let stop = std::future::pending();
        let serve = node::serve_with(b, BytesMut::new(), agreed, dialer.clone(), stop, None);
        let (served, ended, _pod) = tokio::join!(cancelled(serve, polls), closes, pod);
        app.await.unwrap();
        driver.await.unwrap();
        assert_eq!(ended.is_err(), reset.load(Ordering::SeqCst));
        served.is_some()
    })
    .await;
    assert!(most > 5, "{most} polls are no test");
}

/// An abort that is dropped is still one.
#[tokio::test]
async fn a_dropped_abort_is_a_reset() {
    each(|polls| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        far.write_all(b"last words").await.unwrap();
        let whole = cancelled(far.abort(), polls).await.is_some();
        let mut got = Vec::new();
        let end = near.read_to_end(&mut got).await;
        assert_eq!(
            end.unwrap_err().kind(),
            ErrorKind::ConnectionReset,
            "after {polls} polls"
        );
        whole
    })
    .await;
}
