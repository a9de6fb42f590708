//! One forwarded connection, cut or not, and what each end saw of it.

use super::relay::{Cut, Relay, Way};
use super::world::World;
use super::{Coding, Hop, Load};
use bytes::BytesMut;
use portforward::client::{Forwarder, Summary, carry};
use portforward::session::{self, channels};
use portforward::socket::Socket;
use portforward::upgrade::{self, CHANNEL_V4, TUNNEL, UpgradeRequest, Upgraded};
use portforward::websocket::WsByteStream;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Bytes of the load. Several frames, records and messages.
pub const LENGTH: usize = 40_000;
/// What the application says first, and the pod last.
const REQUEST: &[u8] = b"get!";
pub const ANSWER: &[u8] = b"ok";
/// Longer than any grace in the product: whoever takes this long hangs.
const HANGS: Duration = Duration::from_secs(60);

/// What a run is.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub coding: Coding,
    pub hop: Hop,
    pub load: Load,
    pub cut: Option<Cut>,
}

/// What a reader got, and how that ended.
#[derive(Debug, Clone)]
pub struct End {
    pub got: Vec<u8>,
    pub how: Result<(), ErrorKind>,
    /// The other application had ended its direction by then.
    pub other_ended: bool,
    /// The pod had read the request, and of a download written all.
    pub served: bool,
}

#[derive(Debug)]
pub struct Seen {
    pub app: End,
    /// `None`: nobody came to the pod.
    pub pod: Option<End>,
    pub result: Result<Summary, String>,
    /// What the relay let pass, up and down.
    pub passed: [Vec<u8>; 2],
}

pub fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|i| ((i * 31 + i / 253) % 256) as u8)
        .collect()
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Which of the two applications have ended their directions.
#[derive(Default)]
struct Ended {
    app: AtomicBool,
    pod: AtomicBool,
}

pub async fn run(world: &World, case: Case) -> Result<Seen, String> {
    timeout(HANGS, inner(world, case))
        .await
        .map_err(|_| "somebody waits for ever".to_owned())
}

async fn inner(world: &World, case: Case) -> Seen {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let name = format!("r{}", RUNS.fetch_add(1, Ordering::Relaxed));
    let ended = Arc::new(Ended::default());
    let over = Arc::new(Notify::new());
    let (port, pod) = pod(case, Arc::clone(&ended), Arc::clone(&over)).await;

    let relayed = match case.hop {
        Hop::ClientGatewayTls => world.gateway,
        Hop::GatewayNodeTls => world.tls_node,
        Hop::GatewayNodePlain | Hop::ClientNodePlain => world.plain_node,
    };
    let relay = Relay::start(relayed, case.cut).await.unwrap();
    match case.hop {
        Hop::ClientGatewayTls => world.pod(&name, "plain", world.plain_node),
        Hop::GatewayNodeTls => world.pod(&name, "tls", relay.address),
        Hop::GatewayNodePlain => world.pod(&name, "plain", relay.address),
        Hop::ClientNodePlain => {}
    }

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = TcpStream::connect(address).await.unwrap();
    let (local, _) = listener.accept().await.unwrap();
    let app = tokio::spawn(application(app, case.load, Arc::clone(&ended)));

    let forwarded = async {
        let io: io::Result<Box<dyn Io>> = match case.hop {
            Hop::ClientNodePlain => TcpStream::connect(relay.address).await.map(|io| {
                io.set_nodelay(true).unwrap();
                Box::new(io) as Box<dyn Io>
            }),
            Hop::ClientGatewayTls => world
                .connect_tls(relay.address)
                .await
                .map(|io| Box::new(io) as Box<dyn Io>),
            Hop::GatewayNodeTls | Hop::GatewayNodePlain => world
                .connect_tls(world.gateway)
                .await
                .map(|io| Box::new(io) as Box<dyn Io>),
        };
        match io {
            Ok(io) => forward(io, local, case.coding, &name, port).await,
            Err(error) => {
                local.abort().await;
                Err(format!("connect: {error}"))
            }
        }
    };
    let result = forwarded.await;
    let app = app.await.unwrap();
    over.notify_one();
    let pod = pod.await.unwrap();
    let passed = [relay.bytes(Way::Up), relay.bytes(Way::Down)];
    Seen {
        app,
        pod,
        result,
        passed,
    }
}

/// What the program does with an accepted connection, from the upgrade to the end of the session.
async fn forward(
    io: Box<dyn Io>,
    local: TcpStream,
    coding: Coding,
    name: &str,
    port: u16,
) -> Result<Summary, String> {
    let query = match coding {
        Coding::Channels => format!("?ports={port}"),
        _ => String::new(),
    };
    let path = format!("/api/v1/namespaces/ns/pods/{name}/portforward{query}");
    let request = UpgradeRequest::new(path, "gateway");
    let upgraded = match coding {
        Coding::Spdy => upgrade::spdy(io, &request).await,
        Coding::Tunnel => upgrade::websocket(io, &request, &[TUNNEL], None)
            .await
            .map(|(upgraded, _)| upgraded),
        Coding::Channels => upgrade::websocket(io, &request, &[CHANNEL_V4], None)
            .await
            .map(|(upgraded, _)| upgraded),
    };
    let Upgraded { io, early } = match upgraded {
        Ok(upgraded) => upgraded,
        Err(error) => {
            local.abort().await;
            return Err(format!("upgrade: {error}"));
        }
    };
    let config = session::Config::default();
    let (io, early): (Box<dyn Io>, _) = match coding {
        Coding::Tunnel => (
            Box::new(WsByteStream::client(io, early).unwrap()),
            BytesMut::new(),
        ),
        _ => (io, early),
    };
    if coding == Coding::Channels {
        let format = wsstream::Format::Binary;
        let (mut streams, driver) = channels::client(io, early, format, &[port], config).unwrap();
        let driver = tokio::spawn(driver);
        let streams = streams.pop().unwrap();
        let result = carry(local, streams.data, streams.error).await;
        driver.await.unwrap();
        return result.map_err(|error| error.to_string());
    }
    let (session, driver) = session::client(io, early, config).unwrap();
    let driver = tokio::spawn(driver);
    let forwarder = Forwarder::new(session.clone());
    let result = forwarder.forward(local, port).await;
    session.close();
    driver.await.unwrap();
    result.map_err(|error| error.to_string())
}

/// The application at the local end.
async fn application(mut app: TcpStream, load: Load, ended: Arc<Ended>) -> End {
    let end = |ended: &Ended| {
        ended.app.store(true, Ordering::SeqCst);
    };
    let mut got = Vec::new();
    let result = async {
        match load {
            Load::Download => {
                app.write_all(REQUEST).await?;
                app.read_to_end(&mut got).await?;
                end(&ended);
                // The pod may have gone already.
                drop(app.shutdown().await);
            }
            Load::Upload => {
                app.write_all(REQUEST).await?;
                app.write_all(&pattern(LENGTH)).await?;
                end(&ended);
                app.shutdown().await?;
                app.read_to_end(&mut got).await?;
            }
        }
        io::Result::Ok(())
    };
    let result = result.await;
    End {
        got,
        how: result.map_err(|error| error.kind()),
        other_ended: ended.pod.load(Ordering::SeqCst),
        served: true,
    }
}

/// The application in the pod; who waits for it learns what it saw of its one connection.
async fn pod(case: Case, ended: Arc<Ended>, over: Arc<Notify>) -> (u16, JoinHandle<Option<End>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        // A cut that is early enough lets nobody come.
        let nobody = async {
            over.notified().await;
            sleep(Duration::from_millis(300)).await;
        };
        let (mut socket, _) = tokio::select! {
            accepted = listener.accept() => accepted.unwrap(),
            () = nobody => return None,
        };
        let (mut got, mut served) = (Vec::new(), false);
        let result = async {
            let mut request = [0; 4];
            socket.read_exact(&mut request).await?;
            served = case.load == Load::Upload;
            match case.load {
                Load::Download => {
                    socket.write_all(&pattern(LENGTH)).await?;
                    served = true;
                    ended.pod.store(true, Ordering::SeqCst);
                    socket.shutdown().await?;
                    socket.read_to_end(&mut got).await?;
                }
                // A channel has no end that the pod could see.
                Load::Upload if case.coding == Coding::Channels => {
                    while got.len() < LENGTH {
                        if socket.read_buf(&mut got).await? == 0 {
                            return Ok(());
                        }
                    }
                    ended.pod.store(true, Ordering::SeqCst);
                    socket.write_all(ANSWER).await?;
                }
                Load::Upload => {
                    socket.read_to_end(&mut got).await?;
                    if got.len() == LENGTH {
                        ended.pod.store(true, Ordering::SeqCst);
                        socket.write_all(ANSWER).await?;
                    }
                }
            }
            io::Result::Ok(())
        };
        let result = result.await;
        // `read_exact` has its own word for an end of file.
        let how = match result.map_err(|error| error.kind()) {
            Err(ErrorKind::UnexpectedEof) => Ok(()),
            how => how,
        };
        Some(End {
            got,
            how,
            other_ended: ended.app.load(Ordering::SeqCst),
            served,
        })
    });
    (port, task)
}
