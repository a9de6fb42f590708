//! What pf is compared with beside the smooth source: a relay with a TLS connection for each connection (and one with the best record layer),
//! streams of one tuned h2 connection, and the lean client. Each is a process of its own.

use crate::child::SMOOTH;
use crate::{lean, raw, smooth};
use anyhow::{Context, Result};
use benches::{READ_BUFFER, h2_streams};
use clap::ValueEnum;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use portforward::tls;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Kind {
    Tls,
    TlsRaw,
    H2,
    LeanSpdy,
    LeanTunnel,
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
    let Carry {
        kind,
        address,
        directory,
    } = carry;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let local = listener.local_addr()?;
    match kind {
        Kind::Tls => {
            let connect = connector(&directory, smooth::RAW)?;
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
            let connect = connector(&directory, smooth::H2)?;
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
        Kind::TlsRaw => {
            let listener = blocking(listener)?;
            // This thread only waits to be told to end.
            std::thread::spawn(move || {
                if let Err(error) = raw::run(&listener, address, &directory) {
                    eprintln!("raw TLS relay: {error:#}");
                }
            });
        }
        Kind::LeanSpdy | Kind::LeanTunnel => {
            let listener = blocking(listener)?;
            let tunnel = matches!(kind, Kind::LeanTunnel);
            std::thread::spawn(move || {
                if let Err(error) = lean::run(&listener, address, &directory, tunnel) {
                    eprintln!("lean client: {error:#}");
                }
            });
        }
    }
    println!("Forwarding from {local} -> {}", SMOOTH.0);
    tokio::signal::ctrl_c().await.context("signals")
}

fn blocking(listener: TcpListener) -> io::Result<std::net::TcpListener> {
    let listener = listener.into_std()?;
    listener.set_nonblocking(false)?;
    Ok(listener)
}

/// None: not now.
pub(crate) fn ready(done: io::Result<usize>) -> Result<Option<usize>> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        done => Ok(Some(done?)),
    }
}

/// What a socket is waited for, and what it has: something to read, room to write. An end is both.
pub(crate) type InOut = (bool, bool);

/// Waits until one of two sockets has what is wanted of it.
pub(crate) fn wait(sockets: [(BorrowedFd<'_>, InOut); 2]) -> Result<[InOut; 2]> {
    let flags = |on, flag| if on { flag } else { PollFlags::empty() };
    let mut fds = sockets.map(|(socket, (input, output))| {
        let wanted = flags(input, PollFlags::POLLIN) | flags(output, PollFlags::POLLOUT);
        PollFd::new(socket, wanted)
    });
    poll(&mut fds, PollTimeout::NONE)?;
    Ok(fds.map(|fd| {
        let has = fd.revents().unwrap_or(PollFlags::all());
        let ended = has.intersects(PollFlags::POLLERR | PollFlags::POLLHUP);
        let has = |flag| ended || has.contains(flag);
        (has(PollFlags::POLLIN), has(PollFlags::POLLOUT))
    }))
}

async fn tls<T: AsyncRead + AsyncWrite + Unpin>(
    connector: &TlsConnector,
    io: T,
) -> io::Result<TlsStream<T>> {
    let name = ServerName::try_from(smooth::NAME).map_err(io::Error::other)?;
    connector.connect(name, io).await
}

fn connector(directory: &Path, alpn: &[u8]) -> Result<TlsConnector> {
    Ok(Arc::new(config(directory, alpn)?).into())
}

/// Trusts the smooth source.
pub(crate) fn config(directory: &Path, alpn: &[u8]) -> Result<ClientConfig> {
    let certificate = std::fs::read(directory.join(smooth::DER))?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(certificate))?;
    let mut config = tls::client_config(roots, None)?;
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(config)
}
