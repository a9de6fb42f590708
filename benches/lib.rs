//! What the benchmarks share: forwards, and what crosses as many sockets beside them, to one target.

pub mod h2_streams;
pub mod stats;
mod ways;

pub use ways::{Way, relay, start};

use bytes::BytesMut;
use portforward::node::{Dial, PodRef};
use portforward::tls::{self, ClientAuth, Identity};
use rustls::RootCertStore;
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Bytes read at a time below rustls: fewer system calls, as in pf.
pub const READ_BUFFER: usize = 256 << 10;

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

/// A server that reads a big-endian count of 8 bytes and as many bytes, and answers with one: not every
/// protocol can tell it that the client has ended.
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
                let mut left = socket.read_u64().await?;
                while left > 0 {
                    if socket.read_buf(&mut buffer).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    left = left.saturating_sub(u64::try_from(buffer.len()).unwrap_or(left));
                    buffer.clear();
                }
                socket.write_all(b"!").await?;
                // To its end, so that nothing is reset.
                socket.read_u8().await
            });
        }
    });
    Ok(address)
}

/// The other end of [`sink`]: sends a piece so many times on a connection of its own, and waits until all
/// has arrived.
///
/// # Errors
/// The connection failed, or the answer is another.
pub async fn fill(address: SocketAddr, piece: &[u8], times: usize) -> io::Result<()> {
    let mut socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let total = piece.len().checked_mul(times);
    let total = total.and_then(|total| u64::try_from(total).ok());
    let total = total.ok_or(io::ErrorKind::InvalidInput)?;
    socket.write_u64(total).await?;
    for _ in 0..times {
        socket.write_all(piece).await?;
    }
    match socket.read_u8().await? {
        b'!' => Ok(()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
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
        let io = BufReader::with_capacity(READ_BUFFER, io);
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        self.connector.connect(name, io).await
    }

    async fn accept<T: Io>(&self, io: T) -> io::Result<impl Io + use<T>> {
        self.acceptor
            .accept(BufReader::with_capacity(READ_BUFFER, io))
            .await
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}
