//! One connection of the man in the middle: four tasks, and a machine that they feed with what comes.

use super::channels::ChannelLayer;
use super::http::{HttpLayer, Then};
use super::spdy::SpdyLayer;
use super::websocket::WebSocketLayer;
use super::{Act, Fault, Side};
use bytes::BytesMut;
use pf_program::cluster::Io;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

/// Bytes that wait for one side before the other is read no more: what a real server would hold in its buffers.
const WAITING: usize = 256 << 10;

/// Longest life of a connection, whose judge may be gone.
pub(super) const LIFE: Duration = Duration::from_secs(90);

/// What waits for a side.
#[derive(Debug)]
enum Item {
    Bytes(Vec<u8>),
    /// Wait, and everything behind waits too.
    Sleep(Duration),
    End,
    Reset,
}

/// The way to one side.
#[derive(Debug, Clone)]
struct Queue {
    sender: mpsc::UnboundedSender<Item>,
    waiting: Arc<AtomicUsize>,
    space: Arc<Notify>,
}

impl Queue {
    fn new() -> (Self, mpsc::UnboundedReceiver<Item>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let queue = Self {
            sender,
            waiting: Arc::default(),
            space: Arc::default(),
        };
        (queue, receiver)
    }

    fn push(&self, item: Item) {
        if let Item::Bytes(bytes) = &item {
            self.waiting.fetch_add(bytes.len(), Ordering::SeqCst);
        }
        if let Err(mpsc::error::SendError(Item::Bytes(bytes))) = self.sender.send(item) {
            // The connection has ended.
            self.waiting.fetch_sub(bytes.len(), Ordering::SeqCst);
        }
    }

    async fn has_space(&self) {
        loop {
            let space = self.space.notified();
            if self.waiting.load(Ordering::SeqCst) < WAITING {
                return;
            }
            space.await;
        }
    }
}

/// Both ways out of the middle.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    client: Queue,
    server: Queue,
}

impl Wire {
    fn queue(&self, to: Side) -> &Queue {
        match to {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    pub(super) fn send(&self, to: Side, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.queue(to).push(Item::Bytes(bytes));
        }
    }

    /// What is sent behind waits as well.
    pub(super) fn pause(&self, to: Side, time: Duration) {
        self.queue(to).push(Item::Sleep(time));
    }

    /// What is sent behind does not wait.
    pub(super) fn send_later(&self, to: Side, time: Duration, bytes: Vec<u8>) {
        let queue = self.queue(to).clone();
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            queue.push(Item::Bytes(bytes));
        });
    }

    /// [`Wire::close`] after a time.
    pub(super) fn close_later(&self, time: Duration) {
        let wire = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            wire.close();
        });
    }

    /// FIN to both.
    pub(super) fn close(&self) {
        self.client.push(Item::End);
        self.server.push(Item::End);
    }

    /// RST to the client, FIN to the server.
    pub(super) fn reset(&self) {
        self.client.push(Item::Reset);
        self.server.push(Item::End);
    }
}

/// What becomes of the bytes behind a 101, or of heads.
pub(super) trait Layer: Send {
    /// Takes bytes of a side.
    fn feed(&mut self, from: Side, bytes: &[u8]);

    /// A side has ended; what was held back of it goes out as it came.
    fn ended(&mut self, from: Side);
}

/// Bytes as they came.
struct Copy(Wire);

impl Layer for Copy {
    fn feed(&mut self, from: Side, bytes: &[u8]) {
        self.0.send(from.other(), bytes.to_vec());
    }

    fn ended(&mut self, _from: Side) {}
}

struct Machine {
    fault: &'static Fault,
    wire: Wire,
    http: Option<HttpLayer>,
    layer: Box<dyn Layer>,
}

impl Machine {
    fn feed(&mut self, from: Side, bytes: &[u8]) {
        let Some(http) = &mut self.http else {
            self.layer.feed(from, bytes);
            return;
        };
        let Some(then) = http.feed(from, bytes) else {
            return;
        };
        let (wire, fault) = (self.wire.clone(), self.fault);
        let act = fault.act;
        let spdy = |tunnel: bool| -> Option<Box<dyn Layer>> {
            let acts = matches!(
                act,
                Act::Begin(_)
                    | Act::Server(_)
                    | Act::Client(_)
                    | Act::Both(_)
                    | Act::Odd(_)
                    | Act::TakeCut
            );
            acts.then(|| SpdyLayer::boxed(wire.clone(), act, tunnel))
        };
        let layer = match then {
            Then::Copy => None,
            Then::Spdy => spdy(false),
            Then::Tunnel => match act {
                Act::WebSocket(act) => Some(WebSocketLayer::boxed(wire.clone(), act)),
                _ => spdy(true),
            },
            Then::Channels => match act {
                Act::WebSocket(act) => Some(WebSocketLayer::boxed(wire.clone(), act)),
                Act::Channels(act) => Some(ChannelLayer::boxed(wire.clone(), act)),
                _ => None,
            },
        };
        self.layer = layer.unwrap_or_else(|| Box::new(Copy(self.wire.clone())));
        let (client, server) = http.rest();
        self.http = None;
        for (side, rest) in [(Side::Client, client), (Side::Server, server)] {
            if !rest.is_empty() {
                self.layer.feed(side, &rest);
            }
        }
    }

    fn ended(&mut self, from: Side, reset: bool) {
        match &mut self.http {
            Some(http) => http.ended(from),
            None => self.layer.ended(from),
        }
        // Without a session there is nothing to hold.
        if self.fault.act.holds(from) && self.http.is_none() {
            return;
        }
        if self.fault.act.holds(Side::Server) && from == Side::Client {
            self.wire.client.push(Item::End);
        }
        let item = if reset { Item::Reset } else { Item::End };
        self.wire.queue(from.other()).push(item);
    }
}

/// Begins to stand between `far` and the connection that it gives back.
pub(super) async fn start(far: Box<dyn Io>, fault: &'static Fault) -> std::io::Result<TcpStream> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let (near, accepted) = tokio::try_join!(
        TcpStream::connect(listener.local_addr()?),
        listener.accept()
    )?;
    near.set_nodelay(true)?;
    let (mine, _) = accepted;
    mine.set_nodelay(true)?;
    tokio::spawn(async move {
        drop(timeout(LIFE, stand_between(mine, far, fault)).await);
    });
    Ok(near)
}

async fn stand_between(near: TcpStream, far: Box<dyn Io>, fault: &'static Fault) {
    let (to_client, for_client) = Queue::new();
    let (to_server, for_server) = Queue::new();
    let wire = Wire {
        client: to_client.clone(),
        server: to_server.clone(),
    };
    let machine = Arc::new(Mutex::new(Machine {
        fault,
        http: Some(HttpLayer::new(wire.clone(), fault.act)),
        layer: Box::new(Copy(wire.clone())),
        wire,
    }));
    let (far_read, far_write) = tokio::io::split(far);
    let (near_read, near_write) = near.into_split();
    let mut waits_for = vec![to_server.clone()];
    if matches!(fault.act, Act::Lockstep) {
        waits_for.push(to_client.clone());
    }
    let up = read(near_read, Side::Client, machine.clone(), waits_for);
    let down = read(far_read, Side::Server, machine, vec![to_client.clone()]);
    let write_up = async {
        let mut far_write = far_write;
        write(&mut far_write, for_server, &to_server).await;
        far_write
    };
    let write_down = async {
        let mut near_write = near_write;
        let reset = write(&mut near_write, for_client, &to_client).await;
        if reset {
            // Dropping it now sends RST.
            drop(near_write.as_ref().set_zero_linger());
        }
        (near_write, reset)
    };
    tokio::pin!(up, down, write_up, write_down);
    let (mut up_over, mut down_over, mut write_up_over) = (false, false, false);
    // Once the client has been told the end, nothing else counts but what it still sends: unread bytes would turn
    // the FIN into RST.
    let (_near_write, reset) = loop {
        tokio::select! {
            aborted = &mut up, if !up_over => {
                if aborted {
                    return;
                }
                up_over = true;
            }
            _ = &mut down, if !down_over => down_over = true,
            _ = &mut write_up, if !write_up_over => write_up_over = true,
            done = &mut write_down => break done,
        }
    };
    if !reset {
        let rest = async {
            tokio::join!(
                async {
                    if !up_over {
                        up.await;
                    }
                },
                async {
                    if !write_up_over {
                        write_up.await;
                    }
                }
            )
        };
        drop(timeout(Duration::from_secs(2), rest).await);
    }
}

/// Reads a side while none of the queues is full. Whether the connection was aborted by this side.
async fn read(
    mut from: impl AsyncRead + Unpin,
    side: Side,
    machine: Arc<Mutex<Machine>>,
    waits_for: Vec<Queue>,
) -> bool {
    let mut buffer = BytesMut::with_capacity(32 << 10);
    loop {
        for queue in &waits_for {
            queue.has_space().await;
        }
        buffer.clear();
        buffer.reserve(32 << 10);
        let read = from.read_buf(&mut buffer).await;
        let mut machine = machine.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(n) if n > 0 => machine.feed(side, &buffer),
            end => {
                let kind = end.err().map(|error| error.kind());
                let reset = matches!(
                    kind,
                    Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
                );
                machine.ended(side, reset);
                return reset
                    && side == Side::Client
                    && !matches!(machine.fault.act, Act::HoldEnd(_) | Act::TakeCut);
            }
        }
    }
}

/// Whether it ends with a reset.
async fn write(
    to: &mut (impl AsyncWrite + Unpin),
    mut items: mpsc::UnboundedReceiver<Item>,
    queue: &Queue,
) -> bool {
    let mut works = true;
    while let Some(item) = items.recv().await {
        match item {
            Item::Bytes(bytes) => {
                if works {
                    works = to.write_all(&bytes).await.is_ok() && to.flush().await.is_ok();
                }
                queue.waiting.fetch_sub(bytes.len(), Ordering::SeqCst);
                queue.space.notify_waiters();
            }
            Item::Sleep(time) => tokio::time::sleep(time).await,
            Item::End => {
                drop(timeout(Duration::from_secs(5), to.shutdown()).await);
                break;
            }
            Item::Reset => return true,
        }
    }
    // What comes behind the end is of no use any more.
    items.close();
    while let Ok(item) = items.try_recv() {
        if let Item::Bytes(bytes) = item {
            queue.waiting.fetch_sub(bytes.len(), Ordering::SeqCst);
        }
    }
    queue.space.notify_waiters();
    false
}
