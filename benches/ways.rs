//! Ways to carry connections to one target through two programs of a kind, joined by loopback TCP, plain or
//! TLS.

use crate::{Io, Tls, To, h2_streams};
use bytes::BytesMut;
use portforward::client::{self, Forwarder};
use portforward::node::{self, Agreed, PodRef, Protocol};
use portforward::session::{self, Config, channels};
use portforward::websocket::WsByteStream;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use wsstream::Format;

/// The port that is asked for; there is one target only.
const PORT: u16 = 80;

/// How connections are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Way {
    /// Our client and node, on one SPDY session.
    Spdy,
    /// The same session in a WebSocket.
    Tunnel,
    /// Our client and node, a WebSocket for each connection, v4 channels.
    Channels,
    /// Streams of the h2 crate on one connection, with large windows.
    H2,
    /// `tokio::io::copy_bidirectional` of 64 KiB twice, a connection for each.
    Relays,
}

impl Way {
    /// All of them; the last is what the others are compared with.
    pub const ALL: [Self; 5] = [
        Self::Spdy,
        Self::Tunnel,
        Self::Channels,
        Self::H2,
        Self::Relays,
    ];
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spdy => "spdy",
            Self::Tunnel => "tunnel",
            Self::Channels => "channels",
            Self::H2 => "h2",
            Self::Relays => "relays",
        })
    }
}

/// Accepts connections for ever, and carries each to `target`.
///
/// # Errors
/// A loopback socket cannot be made, or what is shared cannot be set up.
pub async fn start(way: Way, target: SocketAddr, tls: Option<&Tls>) -> io::Result<SocketAddr> {
    let near = TcpListener::bind("127.0.0.1:0").await?;
    let address = near.local_addr()?;
    match way {
        Way::Spdy | Way::Tunnel => {
            let forwarder = shared(way, target, tls).await?;
            tokio::spawn(async move {
                while let Ok((local, _)) = near.accept().await {
                    let forwarder = forwarder.clone();
                    tokio::spawn(async move { drop(forwarder.forward(local, PORT).await) });
                }
            });
        }
        Way::H2 => {
            let (client, server) = joined().await?;
            let sender = match tls {
                None => h2_streams::join(client, server, target).await?,
                Some(tls) => {
                    let (client, server) =
                        tokio::try_join!(tls.connect(client), tls.accept(server))?;
                    h2_streams::join(client, server, target).await?
                }
            };
            tokio::spawn(async move {
                while let Ok((local, _)) = near.accept().await {
                    tokio::spawn(h2_streams::carry(local, sender.clone()));
                }
            });
        }
        Way::Channels | Way::Relays => {
            let between = far_end(way, target, tls.cloned()).await?;
            let tls = tls.cloned();
            tokio::spawn(async move {
                while let Ok((local, _)) = near.accept().await {
                    let tls = tls.clone();
                    tokio::spawn(async move {
                        let far = TcpStream::connect(between).await?;
                        far.set_nodelay(true)?;
                        match tls {
                            None => one(way, local, far).await,
                            Some(tls) => one(way, local, tls.connect(far).await?).await,
                        }
                    });
                }
            });
        }
    }
    Ok(address)
}

async fn joined() -> io::Result<(TcpStream, TcpStream)> {
    let between = TcpListener::bind("127.0.0.1:0").await?;
    let client = TcpStream::connect(between.local_addr()?).await?;
    let (server, _) = between.accept().await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    Ok((client, server))
}

/// One session for all.
async fn shared(way: Way, target: SocketAddr, tls: Option<&Tls>) -> io::Result<Forwarder> {
    let (client, server) = joined().await?;
    match tls {
        None => session(way, client, server, target),
        Some(tls) => {
            let (client, server) = tokio::try_join!(tls.connect(client), tls.accept(server))?;
            session(way, client, server, target)
        }
    }
}

fn session(
    way: Way,
    client: impl Io,
    server: impl Io,
    target: SocketAddr,
) -> io::Result<Forwarder> {
    if way == Way::Spdy {
        tokio::spawn(serve(server, Protocol::Spdy, target));
        return forwarder(client);
    }
    tokio::spawn(serve(server, Protocol::Tunnel, target));
    forwarder(WsByteStream::client(client, BytesMut::new()).map_err(io::Error::other)?)
}

fn forwarder(io: impl Io) -> io::Result<Forwarder> {
    let (session, driver) =
        session::client(io, BytesMut::new(), Config::default()).map_err(io::Error::other)?;
    tokio::spawn(driver);
    Ok(Forwarder::new(session))
}

async fn serve(io: impl Io, protocol: Protocol, target: SocketAddr) {
    let agreed = Agreed::new(PodRef::new("default", "bench", "0"), protocol);
    let dialer = Arc::new(To(target));
    let for_ever = std::future::pending();
    node::serve_with(io, BytesMut::new(), agreed, dialer, for_ever, None).await;
}

/// The server's end of connections that carry one each.
async fn far_end(way: Way, target: SocketAddr, tls: Option<Tls>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                near.set_nodelay(true)?;
                match tls {
                    None => last(way, near, target).await,
                    Some(tls) => Box::pin(last(way, tls.accept(near).await?, target)).await,
                }
            });
        }
    });
    Ok(address)
}

/// The client's end of one of these.
async fn one(way: Way, local: TcpStream, far: impl Io) -> io::Result<()> {
    if way == Way::Relays {
        return relay(local, far).await;
    }
    let (early, config) = (BytesMut::new(), Config::default());
    let (streams, driver) =
        channels::client(far, early, Format::Binary, &[PORT], config).map_err(io::Error::other)?;
    tokio::spawn(driver);
    let pair = streams.into_iter().next().ok_or(io::ErrorKind::NotFound)?;
    client::carry(local, pair.data, pair.error)
        .await
        .map(drop)
        .map_err(io::Error::other)
}

async fn last(way: Way, near: impl Io, target: SocketAddr) -> io::Result<()> {
    if way == Way::Relays {
        return relay(near, TcpStream::connect(target).await?).await;
    }
    serve(near, Protocol::Channels(Format::Binary, vec![PORT]), target).await;
    Ok(())
}

/// Copies both ways, 64 KiB at a time, until both have ended.
///
/// # Errors
/// Either end failed.
pub async fn relay<A, B>(mut a: A, mut b: B) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let n = 64 << 10;
    tokio::io::copy_bidirectional_with_sizes(&mut a, &mut b, n, n)
        .await
        .map(drop)
}
