//! What the benchmarks share: a forward, and relays that cross as many sockets, to one target.

use bytes::BytesMut;
use portforward::client::Forwarder;
use portforward::node::{self, Dial, PodRef};
use portforward::session::{self, Config};
use portforward::tls::{self, ClientAuth, Identity};
use rustls::RootCertStore;
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

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

/// Certificate, key and what trusts them, for one run.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
}

impl Tls {
    /// A self-signed `localhost`.
    ///
    /// # Errors
    /// The certificate cannot be made.
    pub fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let certificate = made.cert.der().clone();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone())?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
        let server = tls::server_config(Identity::new(vec![certificate], key), ClientAuth::None)?;
        let client = tls::client_config(roots, None)?;
        Ok(Self {
            connector: Arc::new(client).into(),
            acceptor: Arc::new(server).into(),
        })
    }

    async fn connect<T: Io>(&self, io: T) -> io::Result<impl Io + use<T>> {
        // A large buffer below rustls saves system calls, as in pf.
        let io = BufReader::with_capacity(256 << 10, io);
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        self.connector.connect(name, io).await
    }

    async fn accept<T: Io>(&self, io: T) -> io::Result<impl Io + use<T>> {
        self.acceptor
            .accept(BufReader::with_capacity(256 << 10, io))
            .await
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// Accepts connections and carries them to `target` through a client and a node of ours, which
/// share one connection, plain or TLS.
///
/// # Errors
/// A loopback socket cannot be made.
pub async fn forward(target: SocketAddr, tls: Option<&Tls>) -> io::Result<SocketAddr> {
    let between = TcpListener::bind("127.0.0.1:0").await?;
    let client = TcpStream::connect(between.local_addr()?).await?;
    let (server, _) = between.accept().await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let forwarder = match tls {
        None => join(client, server, target)?,
        Some(tls) => {
            let (client, server) = tokio::try_join!(tls.connect(client), tls.accept(server))?;
            join(client, server, target)?
        }
    };
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

fn join(client: impl Io, server: impl Io, target: SocketAddr) -> io::Result<Forwarder> {
    let (session, driver) =
        session::client(client, BytesMut::new(), Config::default()).map_err(io::Error::other)?;
    tokio::spawn(driver);
    let pod = PodRef::new("default", "bench", "0");
    tokio::spawn(node::serve(
        server,
        BytesMut::new(),
        pod,
        Arc::new(To(target)),
    ));
    Ok(Forwarder::new(session))
}

/// Two relays of 64 KiB buffers with one connection each per forwarded connection, plain or TLS
/// between them: as many sockets are crossed, and nothing else is done.
///
/// # Errors
/// A loopback socket cannot be made.
pub async fn relays(target: SocketAddr, tls: Option<&Tls>) -> io::Result<SocketAddr> {
    let (outer, inner) = (
        TcpListener::bind("127.0.0.1:0").await?,
        TcpListener::bind("127.0.0.1:0").await?,
    );
    let (address, between) = (outer.local_addr()?, inner.local_addr()?);
    let accepting = tls.cloned();
    tokio::spawn(async move {
        while let Ok((near, _)) = inner.accept().await {
            let tls = accepting.clone();
            tokio::spawn(async move {
                let far = TcpStream::connect(target).await?;
                match tls {
                    None => copy(near, far).await,
                    Some(tls) => copy(tls.accept(near).await?, far).await,
                }
            });
        }
    });
    let connecting = tls.cloned();
    tokio::spawn(async move {
        while let Ok((near, _)) = outer.accept().await {
            let tls = connecting.clone();
            tokio::spawn(async move {
                let far = TcpStream::connect(between).await?;
                match tls {
                    None => copy(near, far).await,
                    Some(tls) => copy(near, tls.connect(far).await?).await,
                }
            });
        }
    });
    Ok(address)
}

async fn copy(mut a: impl Io, mut b: impl Io) -> io::Result<()> {
    let n = 64 << 10;
    tokio::io::copy_bidirectional_with_sizes(&mut a, &mut b, n, n)
        .await
        .map(drop)
}
