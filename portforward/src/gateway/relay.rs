//! Plain bytes both ways, until either side ends (PROTOCOL.md 2.5).
//!
//! A clean end of one side is passed on as a clean end, anything else as a reset: a client must be
//! able to tell a session that ended from one that was cut (T35).

use super::backend::Leg;
use crate::observe::{Event, Watch, Way};
use crate::server::answer::finish;
use crate::transport::{ReadSize, poll_read_strict};
use bytes::BytesMut;
use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, split};
use tokio::time::timeout;

/// Time for the rest of a backend's bytes after it stopped taking ours.
const DRAIN: Duration = Duration::from_secs(5);

/// How a direction ended.
enum End {
    /// The reading side ended in good order.
    Clean,
    /// The reading side broke.
    ReadFailed,
    /// The writing side broke.
    WriteFailed,
}

/// Runs the relay to its end. `to_backend` and `to_client` go first.
pub(crate) async fn run<C: Leg, B: Leg>(
    client: C,
    backend: B,
    mut to_backend: BytesMut,
    mut to_client: BytesMut,
    watch: &Watch,
) {
    // Whatever ends this, even a drop, ends both with a reset; only a clean end takes it back.
    client.reset_on_drop(true);
    backend.reset_on_drop(true);
    // The answer to the upgrade is none of the session's bytes.
    let (mut up_bytes, mut down_bytes) = (0, 0);
    let (mut client_read, mut client_write) = split(client);
    let (mut backend_read, mut backend_write) = split(backend);
    let (from_client, from_backend) = {
        let up = copy(
            &mut client_read,
            &mut backend_write,
            &mut to_backend,
            (watch, Way::ToPod),
            &mut up_bytes,
        );
        let down = copy(
            &mut backend_read,
            &mut client_write,
            &mut to_client,
            (watch, Way::ToClient),
            &mut down_bytes,
        );
        tokio::pin!(up, down);
        // First one, then the other: fair, and the same each time.
        let mut turn = false;
        let first = poll_fn(|cx| {
            turn = !turn;
            if turn && let Poll::Ready(end) = up.as_mut().poll(cx) {
                return Poll::Ready((Some(end), None));
            }
            if let Poll::Ready(end) = down.as_mut().poll(cx) {
                return Poll::Ready((None, Some(end)));
            }
            if !turn && let Poll::Ready(end) = up.as_mut().poll(cx) {
                return Poll::Ready((Some(end), None));
            }
            Poll::Pending
        });
        match first.await {
            // It may have said its last words before it stopped listening.
            (Some(End::WriteFailed), _) => (None, timeout(DRAIN, down).await.ok()),
            ends => ends,
        }
    };
    let mut client = client_read.unsplit(client_write);
    let mut backend = backend_read.unsplit(backend_write);
    watch.tell(|| Event::Ended {
        to_pod: up_bytes,
        to_client: down_bytes,
        failure: match (&from_client, &from_backend) {
            (_, Some(End::Clean)) | (Some(End::Clean), _) => None,
            _ => Some("a connection broke".to_owned()),
        },
    });
    match (from_client, from_backend) {
        (_, Some(End::Clean)) => {
            drop(backend);
            client.reset_on_drop(false);
            finish(&mut client).await;
        }
        (Some(End::Clean), _) => {
            backend.reset_on_drop(false);
            if client.answers_the_end() {
                client.reset_on_drop(false);
                tokio::join!(finish(&mut client), finish(&mut backend));
            } else {
                drop(client);
                finish(&mut backend).await;
            }
        }
        _ => {}
    }
}

/// Copies until the reader ends or either side breaks. Every byte that was read is written before
/// that is noticed.
async fn copy<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    reader: &mut R,
    writer: &mut W,
    buf: &mut BytesMut,
    (watch, way): (&Watch, Way),
    bytes: &mut u64,
) -> End {
    // One buffer of at most 64 KiB a direction (F12).
    let mut size = ReadSize::new();
    loop {
        if !buf.is_empty() {
            if push(writer, buf).await.is_err() {
                return End::WriteFailed;
            }
            buf.clear();
        }
        match poll_fn(|cx| poll_read_strict(reader, buf, &mut size, cx)).await {
            Ok(0) => return End::Clean,
            Ok(n) => {
                if *bytes == 0 {
                    watch.tell(|| Event::FirstBytes { way });
                }
                *bytes = bytes.saturating_add(u64::try_from(n).unwrap_or(u64::MAX));
            }
            Err(_) => return End::ReadFailed,
        }
    }
}

async fn push<W: AsyncWrite + Unpin>(writer: &mut W, buf: &[u8]) -> io::Result<()> {
    writer.write_all(buf).await?;
    writer.flush().await
}
