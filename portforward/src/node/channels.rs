//! The node's side of a channel WebSocket (PROTOCOL.md 4.2, 4.3): every port of the request is
//! connected to at once, and once.

use super::session::{Target, forward};
use super::{Dial, PodRef};
use crate::observe::{self, Event, Observer, Watch};
use crate::session::{Config, channels};
use crate::socket::Socket;
use bytes::BytesMut;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use wsstream::Format;

/// Serves one WebSocket to its end. When `stop` is over its ports end, and so does it.
pub(super) async fn serve<T, S>(
    io: T,
    early: BytesMut,
    (format, ports): (Format, Vec<u16>),
    (pod, config): (PodRef, Config),
    dialer: Arc<dyn Dial<S>>,
    stop: impl Future<Output = ()> + Send,
    observer: Option<Arc<dyn Observer>>,
) where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Socket + 'static,
{
    // The ports were checked when the request was.
    let Ok((streams, driver)) = channels::server(io, early, format, &ports, config) else {
        return;
    };
    let mut tasks = JoinSet::new();
    for pair in streams {
        let watch = Watch::new(observer.as_ref(), observe::Place::Session);
        watch.tell(|| Event::Paired { port: pair.port });
        let target = Target {
            pod: pod.clone(),
            port: pair.port,
            // A channel cannot say that the client has ended.
            half_close: false,
            can_end: false,
            watch,
        };
        tasks.spawn(forward(pair.data, pair.error, target, Arc::clone(&dialer)));
    }
    let mut driver = std::pin::pin!(driver);
    tokio::select! {
        biased;
        _ = &mut driver => {}
        () = stop => {
            tasks.abort_all();
            driver.await;
        }
    }
    while tasks.join_next().await.is_some() {}
}
