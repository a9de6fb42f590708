//! A gateway over in-memory pipes, in front of scripted nodes.

mod forwarding;
mod http2;
mod relaying;
mod requests;
#[cfg(feature = "node")]
mod vectors;

use super::*;
use crate::tls::Subject;
use bytes::BytesMut;
use serde_json::json;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::task::{Context, Poll};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};

/// One end of a pipe that knows whether its drop would be a reset, and that can break.
pub(super) struct Pipe {
    io: DuplexStream,
    resets: Arc<AtomicBool>,
    broken: Arc<AtomicBool>,
}

/// What a test sees of a [`Pipe`] it gave away.
#[derive(Clone, Default)]
struct Watcher {
    resets: Arc<AtomicBool>,
    broken: Arc<AtomicBool>,
}

impl Watcher {
    /// Whether the pipe ended, or would end, with a reset.
    fn resets(&self) -> bool {
        self.resets.load(Ordering::Relaxed)
    }

    /// From now on, the end of the stream is an error.
    fn break_it(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }
}

fn pipe(size: usize) -> (DuplexStream, Pipe, Watcher) {
    let (near, io) = duplex(size);
    let watcher = Watcher::default();
    (
        near,
        Pipe {
            io,
            resets: watcher.resets.clone(),
            broken: watcher.broken.clone(),
        },
        watcher,
    )
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = std::task::ready!(Pin::new(&mut self.io).poll_read(cx, buf));
        if buf.filled().len() == before && self.broken.load(Ordering::Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for Pipe {
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

impl Leg for Pipe {
    fn reset_on_drop(&self, reset: bool) {
        self.resets.store(reset, Ordering::Relaxed);
    }
}

/// What a node does with a connection.
type Script = Arc<dyn Fn(DuplexStream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A backend whose node runs a script, once per connection.
#[derive(Clone)]
struct Scripted {
    script: Script,
    connections: Arc<AtomicUsize>,
    watchers: Arc<Mutex<Vec<Watcher>>>,
}

impl Scripted {
    fn new<F, Fut>(script: F) -> Self
    where
        F: Fn(DuplexStream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let script: Script = Arc::new(move |io| Box::pin(script(io)));
        Self {
            script,
            connections: Arc::default(),
            watchers: Arc::default(),
        }
    }

    /// A node that reads the request, gives `answer`, and reads on to the end. What it read behind
    /// the request comes out of the channel.
    fn answering(
        answer: impl Into<Vec<u8>>,
    ) -> (
        Self,
        tokio::sync::mpsc::UnboundedReceiver<(String, Vec<u8>)>,
    ) {
        let answer: Arc<Vec<u8>> = Arc::new(answer.into());
        let (seen, out) = tokio::sync::mpsc::unbounded_channel();
        let backend = Self::new(move |mut io| {
            let (answer, seen) = (Arc::clone(&answer), seen.clone());
            async move {
                let head = read_head(&mut io).await;
                // Whatever came in the same breath must wait for the answer.
                tokio::task::yield_now().await;
                let _gone = io.write_all(&answer).await;
                let mut rest = Vec::new();
                let _gone = io.read_to_end(&mut rest).await;
                let _nobody = seen.send((head, rest));
            }
        });
        (backend, out)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// The newest connection's watcher.
    fn watcher(&self) -> Watcher {
        self.watchers.lock().unwrap().last().unwrap().clone()
    }
}

impl Backend for Scripted {
    fn connect(&self, node: &str) -> Connected {
        assert_eq!(node, "node-1");
        self.connections.fetch_add(1, Ordering::Relaxed);
        let (near, far, watcher) = pipe(1 << 16);
        self.watchers.lock().unwrap().push(watcher);
        tokio::spawn((self.script)(near));
        Box::pin(async move { Ok(Box::new(far) as Box<dyn Leg>) })
    }
}

async fn read_head(io: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match io.read_u8().await {
            Ok(b) => head.push(b),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// `admin` may all, `forwarder` forward only, `viewer` look up only, `getter` what a reader of old
/// times might: `get` on pods/portforward; `creator` has `create` on it and no `get`.
fn users() -> Users {
    let mut users = Users::new();
    for name in [
        "admin",
        "forwarder",
        "viewer",
        "getter",
        "creator",
        "nobody",
    ] {
        users.add_token(format!("{name}-canary"), name);
    }
    users
        .allow("admin", Rule::look_up())
        .allow("admin", Rule::forward());
    users
        .allow("forwarder", Rule::forward())
        .allow("viewer", Rule::look_up());
    users
        .allow("getter", Rule::new(["get"], ["pods/portforward"]))
        .allow("creator", Rule::new(["create"], ["pods/portforward"]));
    users
}

fn store() -> Arc<Store> {
    let store = Store::new();
    for (name, node) in [("web", Some("node-1")), ("pending", None)] {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod", "spec": {},
            "metadata": {"name": name, "namespace": "ns", "labels": {"app": name}},
        });
        if let Some(node) = node {
            pod["spec"]["nodeName"] = json!(node);
        }
        store.put(pod).unwrap();
    }
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "ns"}});
    store.put(deployment).unwrap();
    Arc::new(store)
}

fn gateway(backend: impl Backend + 'static) -> Gateway {
    Gateway::new(Config::default(), users(), store(), Arc::new(backend))
}

/// A node nobody should come to.
fn no_node() -> Scripted {
    Scripted::new(|_| async { panic!("a connection to the node") })
}

/// A client connection past its handshake.
fn connect(gateway: &Gateway) -> (DuplexStream, Watcher) {
    connect_as(gateway, None)
}

fn connect_as(gateway: &Gateway, subject: Option<Subject>) -> (DuplexStream, Watcher) {
    let (near, far, watcher) = pipe(1 << 16);
    let peer = SocketAddr::from(([192, 0, 2, 1], 4711));
    let place = Counter::<IpAddr>::new(1, 1).enter(peer.ip()).unwrap();
    tokio::spawn(connection::serve_requests(
        Arc::clone(&gateway.0),
        far,
        peer,
        subject,
        place,
    ));
    (near, watcher)
}

fn as_user(user: &str, request: &str) -> String {
    request.replacen(
        "\r\n",
        &format!("\r\nHost: x\r\nAuthorization: Bearer {user}-canary\r\n"),
        1,
    )
}

/// An upgrade request of `user`.
fn upgrade(user: &str) -> String {
    as_user(
        user,
        "POST /api/v1/namespaces/ns/pods/web/portforward HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
         X-Stream-Protocol-Version: portforward.k8s.io\r\nContent-Length: 0\r\n\r\n",
    )
}

const GOOD: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
    X-Stream-Protocol-Version: portforward.k8s.io\r\n\r\n";

/// An answer as far as tests look at it.
#[derive(Debug, PartialEq)]
struct Seen {
    status: u16,
    head: String,
    body: String,
}

impl Seen {
    fn message(&self) -> String {
        crate::status::Status::parse(self.body.as_bytes())
            .map(|s| s.message)
            .unwrap_or_default()
    }
}

/// Reads one answer.
async fn read_answer(io: &mut DuplexStream) -> Seen {
    let head = read_head(io).await;
    let status = head.get(9..12).and_then(|s| s.parse().ok()).unwrap_or(0);
    let length = head
        .lines()
        .find_map(|l| {
            l.to_ascii_lowercase()
                .strip_prefix("content-length: ")
                .map(str::to_owned)
        })
        .map_or(0, |l| l.parse().unwrap());
    let mut body = vec![0; length];
    io.read_exact(&mut body).await.unwrap();
    Seen {
        status,
        head,
        body: String::from_utf8(body).unwrap(),
    }
}

/// Sends `request` on a new connection, reads one answer, and says whether the connection was then
/// closed.
async fn ask(gateway: &Gateway, request: &str) -> (Seen, bool) {
    let (mut io, _) = connect(gateway);
    io.write_all(request.as_bytes()).await.unwrap();
    let seen = read_answer(&mut io).await;
    let closed = is_closed(&mut io).await;
    (seen, closed)
}

/// Whether the connection ends without a further byte, or says nothing.
async fn is_closed(io: &mut DuplexStream) -> bool {
    match tokio::time::timeout(Duration::from_millis(50), io.read_u8()).await {
        Ok(Err(_)) => true,
        Ok(Ok(b)) => panic!("unexpected byte {b:#x}"),
        Err(_) => false,
    }
}
