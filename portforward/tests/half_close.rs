//! Half-close in all its orders, from the application through client, gateway and node to the pod
//! and back, with answers that come long after the end.
#![cfg(all(feature = "gateway", feature = "node"))]
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::exhaustive_enums,
    clippy::exhaustive_structs,
    reason = "tests: a panic is the verdict; the world is shared"
)]

#[path = "cut/world.rs"]
mod world;

use bytes::BytesMut;
use portforward::client::Forwarder;
use portforward::session::{self, Config};
use portforward::upgrade::{self, TUNNEL, UpgradeRequest, Upgraded};
use portforward::websocket::WsByteStream;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use world::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Spdy,
    Tunnel,
    Channels,
}

/// What one of the two applications does, in this order.
#[derive(Clone, Copy, Debug)]
enum Do {
    /// Sends so many bytes.
    Send(usize),
    Fin,
    /// Reads to the other's end: so many bytes.
    End(usize),
    /// Ten seconds.
    Wait,
}

/// Bytes of a load that no buffer on the way holds.
const MUCH: usize = 3 << 20;

/// The application's part and the pod's.
type Row = (&'static str, &'static [Do], &'static [Do]);

const ROWS: &[Row] = {
    use Do::{End, Fin, Send, Wait};
    &[
        (
            "client first",
            &[Send(9), Fin, End(7)],
            &[End(9), Send(7), Fin],
        ),
        (
            "pod first",
            &[End(7), Send(9), Fin],
            &[Send(7), Fin, End(9)],
        ),
        (
            "both at once",
            &[Send(9), Fin, End(7)],
            &[Send(7), Fin, End(9)],
        ),
        (
            "client only, nothing back",
            &[Send(9), Fin, End(0)],
            &[End(9), Fin],
        ),
        (
            "pod only, nothing back",
            &[End(7), Fin],
            &[Send(7), Fin, End(0)],
        ),
        ("nothing at all", &[Fin, End(0)], &[Fin, End(0)]),
        (
            "client first, much back",
            &[Send(9), Fin, End(MUCH)],
            &[End(9), Send(MUCH), Fin],
        ),
        (
            "pod first, much back",
            &[End(7), Send(MUCH), Fin],
            &[Send(7), Fin, End(MUCH)],
        ),
        (
            "client first, answer 10 s after its end",
            &[Send(9), Fin, End(7)],
            &[End(9), Wait, Send(7), Fin],
        ),
        (
            "pod first, answer 10 s after its end",
            &[End(7), Wait, Send(9), Fin],
            &[Send(7), Fin, End(9)],
        ),
        (
            "client first, half of the answer 10 s late",
            &[Send(9), Fin, End(14)],
            &[Send(7), End(9), Wait, Send(7), Fin],
        ),
    ]
};

fn byte(at: usize, who: u8) -> u8 {
    (at % 251) as u8 ^ who
}

/// Plays a part. `who` tells the bytes of the two apart.
async fn play(mut socket: TcpStream, part: &[Do], who: u8) -> Result<(), String> {
    let mut sent = 0;
    for step in part {
        match *step {
            Do::Send(n) => {
                let bytes: Vec<u8> = (sent..sent + n).map(|at| byte(at, who)).collect();
                sent += n;
                let written = socket.write_all(&bytes).await;
                written.map_err(|error| format!("{step:?}: {error}"))?;
            }
            Do::Fin => socket
                .shutdown()
                .await
                .map_err(|error| format!("{step:?}: {error}"))?,
            Do::End(n) => {
                let mut got = Vec::new();
                let end = socket.read_to_end(&mut got).await;
                let ended = end.map_err(|error| format!("{step:?}: {error} behind {}", got.len()));
                let want: Vec<u8> = (0..n).map(|at| byte(at, who ^ 1)).collect();
                if got != want {
                    return Err(format!("{step:?}: {} bytes", got.len()));
                }
                ended?;
            }
            Do::Wait => sleep(Duration::from_secs(10)).await,
        }
    }
    Ok(())
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

async fn forwarder(world: &World, coding: Coding) -> Forwarder {
    let name = format!("{coding:?}").to_lowercase();
    world.pod(&name, "tls", world.tls_node);
    let io = world.connect_tls(world.gateway).await.unwrap();
    let path = format!("/api/v1/namespaces/ns/pods/{name}/portforward");
    let request = UpgradeRequest::new(path, "gateway");
    let (io, early): (Box<dyn Io>, _) = if coding == Coding::Spdy {
        let Upgraded { io, early } = upgrade::spdy(io, &request).await.unwrap();
        (Box::new(io), early)
    } else {
        let upgraded = upgrade::websocket(io, &request, &[TUNNEL], None).await;
        let Upgraded { io, early } = upgraded.unwrap().0;
        (
            Box::new(WsByteStream::client(io, early).unwrap()),
            BytesMut::new(),
        )
    };
    let (session, driver) = session::client(io, early, Config::default()).unwrap();
    tokio::spawn(driver);
    Forwarder::new(session)
}

async fn connected() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let near = TcpStream::connect(listener.local_addr()?).await?;
    Ok((near, listener.accept().await?.0))
}

async fn row(forwarder: Forwarder, (name, app, pod): Row) -> Result<(), String> {
    let (near, local) = connected().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let forward = forwarder.forward(local, port);
    let pod = async { play(listener.accept().await.unwrap().0, pod, 1).await };
    let all = async { tokio::join!(forward, play(near, app, 0), pod) };
    let ended = timeout(Duration::from_secs(60), all).await;
    let (summary, app, pod) = ended.map_err(|_| format!("{name}: no end"))?;
    app.map_err(|error| format!("{name}: application: {error}"))?;
    pod.map_err(|error| format!("{name}: pod: {error}"))?;
    match summary {
        Ok(summary) if summary.confirmed => Ok(()),
        other => Err(format!("{name}: {other:?}")),
    }
}

/// All rows over one session each of SPDY and tunnel, at the same time: ten seconds of waiting in all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_order_of_ends() {
    let world = Arc::new(World::start().await);
    let mut rows = JoinSet::new();
    for coding in [Coding::Spdy, Coding::Tunnel] {
        let forwarder = forwarder(&world, coding).await;
        for of in ROWS {
            let forwarder = forwarder.clone();
            rows.spawn(async move { (coding, row(forwarder, *of).await) });
        }
    }
    let mut faults = Vec::new();
    while let Some(done) = rows.join_next().await {
        if let (coding, Err(fault)) = done.unwrap() {
            faults.push(format!("{coding:?}: {fault}"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
