//! What the benchmarks share: a forward and a plain relay between the same two loopback sockets.

use bytes::BytesMut;
use portforward::client::Forwarder;
use portforward::node::{self, Dial, PodRef};
use portforward::session::{self, Config};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

/// Dials one address, whatever the port.
struct To(SocketAddr);

impl Dial for To {
    fn dial(
        &self,
        _: &PodRef,
        _: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>> {
        Box::pin(TcpStream::connect(self.0))
    }
}

/// A server that reads everything and answers each connection's end with one byte.
///
/// # Errors
/// The address cannot be bound.
pub async fn sink() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = BytesMut::with_capacity(256 << 10);
                while let Ok(1..) = socket.read_buf(&mut buffer).await {
                    buffer.clear();
                }
                drop(tokio::io::AsyncWriteExt::write_all(&mut socket, b"!").await);
            });
        }
    });
    Ok(address)
}

/// Accepts connections and carries them to `target` through a client and a node of ours, which
/// share one plain TCP connection.
///
/// # Errors
/// A loopback socket cannot be made.
pub async fn forward(target: SocketAddr) -> io::Result<SocketAddr> {
    let between = TcpListener::bind("127.0.0.1:0").await?;
    let client = TcpStream::connect(between.local_addr()?).await?;
    let (server, _) = between.accept().await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (session, driver) = session::client(client, BytesMut::new(), Config::default());
    tokio::spawn(driver);
    let pod = PodRef::new("default", "bench", "0");
    tokio::spawn(node::serve(
        server,
        BytesMut::new(),
        pod,
        Arc::new(To(target)),
    ));
    let forwarder = Forwarder::new(session);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((local, _)) = listener.accept().await {
            let forwarder = forwarder.clone();
            tokio::spawn(async move { drop(forwarder.forward(local, 80).await) });
        }
    });
    Ok(address)
}

/// The same with two plain relays of 64 KiB buffers instead, so that as many sockets are crossed.
///
/// # Errors
/// A loopback socket cannot be made.
pub async fn plain_relays(target: SocketAddr) -> io::Result<SocketAddr> {
    relay(relay(target).await?).await
}

async fn relay(target: SocketAddr) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut a, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut b) = TcpStream::connect(target).await else {
                    return;
                };
                let n = 64 << 10;
                drop(tokio::io::copy_bidirectional_with_sizes(&mut a, &mut b, n, n).await);
            });
        }
    });
    Ok(address)
}
