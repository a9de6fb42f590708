//! Accepting TLS connections within budgets (B24, T34).

use super::admit::{AcceptLimits, Handshakes, Place};
use crate::socket::keepalive;
use rustls::ServerConfig;
use std::net::IpAddr;
#[cfg(feature = "gateway")]
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Pause after an error that the next call would meet again, such as no free file descriptor
/// (F29).
const PAUSE: Duration = Duration::from_millis(100);

/// A connection past its TLS handshake.
pub(crate) struct Accepted {
    pub(crate) io: TlsStream<TcpStream>,
    #[cfg(feature = "gateway")]
    pub(crate) peer: SocketAddr,
    /// Its place among those that have not said what they want; to be dropped with the first head.
    pub(crate) place: Place<IpAddr>,
}

/// Counts of what the accept loop saw.
#[derive(Debug, Default)]
pub(crate) struct AcceptCounts {
    /// Dropped because too many were shaking hands.
    pub(crate) dropped: AtomicU64,
    /// TLS handshakes that failed or took too long.
    pub(crate) failed: AtomicU64,
}

/// Accepts for ever. Connections are tasks of this future: dropping it ends them all (T42).
pub(crate) async fn serve<F, Fut>(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    limits: AcceptLimits,
    counts: Arc<AcceptCounts>,
    handle: F,
) where
    F: Fn(Accepted) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let acceptor = TlsAcceptor::from(tls);
    let places = Handshakes::new(limits.total, limits.per_source);
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // A task that panicked took its connection with it and no other (T43).
            Some(_) = tasks.join_next() => continue,
        };
        let (tcp, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(_) => {
                sleep(PAUSE).await;
                continue;
            }
        };
        let Some(place) = places.enter(peer.ip()) else {
            counts.dropped.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let acceptor = acceptor.clone();
        let handle = handle.clone();
        let counts = Arc::clone(&counts);
        tasks.spawn(async move {
            // Small frames must not wait for more, and peers that vanish must show. Both fail only on
            // a broken socket, which shows soon enough.
            drop(tcp.set_nodelay(true));
            drop(keepalive(&tcp));
            match timeout(limits.time, acceptor.accept(tcp)).await {
                Ok(Ok(io)) => {
                    let accepted = Accepted {
                        io,
                        #[cfg(feature = "gateway")]
                        peer,
                        place,
                    };
                    handle(accepted).await;
                }
                Ok(Err(_)) | Err(_) => {
                    counts.failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
}

/// Errors of `accept` that are about the connection that was to be accepted.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as K;
    matches!(
        error.kind(),
        K::ConnectionAborted | K::ConnectionReset | K::ConnectionRefused | K::Interrupted
    )
}
