//! What pf is compared with beside the smooth source: a relay with a TLS connection for each connection, and
//! streams of one tuned h2 connection. Each is a process of its own.

use crate::child::SMOOTH;
use crate::smooth;
use anyhow::{Context, Result};
use benches::{READ_BUFFER, h2_streams};
use clap::ValueEnum;
use portforward::tls;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, ServerName};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Kind {
    Tls,
    H2,
}

/// Carries connections to a smooth source.
#[derive(clap::Args)]
pub(crate) struct Carry {
    kind: Kind,
    address: SocketAddr,
    directory: PathBuf,
}

/// Until SIGINT.
pub(crate) async fn run(carry: Carry) -> Result<()> {
    let Carry { kind, address, .. } = carry;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let local = listener.local_addr()?;
    let connect = match kind {
        Kind::Tls => connector(&carry.directory, smooth::RAW)?,
        Kind::H2 => connector(&carry.directory, smooth::H2)?,
    };
    match kind {
        Kind::Tls => {
            tokio::spawn(async move {
                while let Ok((near, _)) = listener.accept().await {
                    let connect = connect.clone();
                    tokio::spawn(async move {
                        let far = TcpStream::connect(address).await?;
                        far.set_nodelay(true)?;
                        near.set_nodelay(true)?;
                        benches::relay(near, tls(&connect, far).await?).await
                    });
                }
            });
        }
        Kind::H2 => {
            let far = TcpStream::connect(address).await?;
            far.set_nodelay(true)?;
            let far = tls(&connect, BufReader::with_capacity(READ_BUFFER, far)).await?;
            let sender = h2_streams::connect(far).await?;
            tokio::spawn(async move {
                while let Ok((near, _)) = listener.accept().await {
                    tokio::spawn(h2_streams::carry(near, sender.clone()));
                }
            });
        }
    }
    println!("Forwarding from {local} -> {}", SMOOTH.0);
    tokio::signal::ctrl_c().await.context("signals")
}

async fn tls<T: AsyncRead + AsyncWrite + Unpin>(
    connector: &TlsConnector,
    io: T,
) -> io::Result<TlsStream<T>> {
    let name = ServerName::try_from(smooth::NAME).map_err(io::Error::other)?;
    connector.connect(name, io).await
}

fn connector(directory: &Path, alpn: &[u8]) -> Result<TlsConnector> {
    let certificate = std::fs::read(directory.join(smooth::DER))?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(certificate))?;
    let mut config = tls::client_config(roots, None)?;
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(Arc::new(config).into())
}
