//! API servers whose TLS is wrong. They and their certificates are made here.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use conformance::script::{Play, ScriptedServer};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig, ServerConnection,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

use crate::{Row, kubeconfig_of};

/// A certificate authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self(CertifiedIssuer::self_signed(
            params,
            KeyPair::generate()?,
        )?))
    }

    /// A server with a certificate of this authority.
    fn server(&self, name: &str, expired: bool) -> anyhow::Result<TlsServer> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        if expired {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.0)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        TlsServer::start(config)
    }
}

/// Shakes hands and hangs up.
struct TlsServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl TlsServer {
    fn start(config: ServerConfig) -> anyhow::Result<Self> {
        let config = Arc::new(config);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&stop);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if theirs.load(Ordering::SeqCst) {
                    return;
                }
                let config = Arc::clone(&config);
                // The client breaks most handshakes off.
                thread::spawn(move || drop(shake_hands(stream, config)));
            }
        });
        Ok(Self { address, stop })
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

fn shake_hands(mut stream: TcpStream, config: Arc<ServerConfig>) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut tls = ServerConnection::new(config)?;
    while tls.is_handshaking() {
        tls.complete_io(&mut stream)?;
    }
    tls.send_close_notify();
    tls.complete_io(&mut stream)?;
    Ok(())
}

/// A kubeconfig for this server that trusts this authority.
fn row(name: &'static str, says: &[&str], server: SocketAddr, trusted: &Authority) -> Row {
    let config = kubeconfig_of(
        &format!("server: https://{server}\ncertificate-authority: ca.crt"),
        "{}",
    );
    let server = format!("https://{server}");
    Row::new(name, 1, &[&[server.as_str()], says].concat())
        .kubeconfig(config)
        .file("ca.crt", trusted.0.pem())
}

pub(crate) fn check_all() -> anyhow::Result<()> {
    let ours = Authority::new()?;
    let other = Authority::new()?;
    let fine = ours.server("127.0.0.1", false)?;
    let expired = ours.server("127.0.0.1", true)?;
    let misnamed = ours.server("example.invalid", false)?;
    let plain = ScriptedServer::start(Play::pod(), Play::pod())?;
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let silent_at = silent.local_addr()?;
    let closed = "127.0.0.1:1".parse()?;

    let mut rows = vec![
        row(
            "certificate of another authority",
            &["certificate"],
            fine.address,
            &other,
        ),
        row(
            "certificate of another name",
            &["certificate"],
            misnamed.address,
            &ours,
        ),
        row(
            "certificate out of date",
            &["certificate", "xpired"],
            expired.address,
            &ours,
        ),
        row("server without TLS", &[], plain.address(), &ours),
        row("nobody listens", &["refused"], closed, &ours),
        row("hangs up after the handshake", &[], fine.address, &ours),
        row("never shakes hands", &["s"], silent_at, &ours).within(Duration::from_secs(40)),
    ];
    let mismatch = {
        let user = "client-certificate: me.crt\nclient-key: me.key";
        let (key, others_key) = (KeyPair::generate()?, KeyPair::generate()?);
        let certificate = CertificateParams::new(Vec::new())?.signed_by(&key, &ours.0)?;
        Row::new("client key of another certificate", 2, &["key"])
            .with(
                &format!(
                    "server: https://{}\ncertificate-authority: ca.crt",
                    fine.address
                ),
                user,
            )
            .file("ca.crt", ours.0.pem())
            .file("me.crt", certificate.pem())
            .file("me.key", others_key.serialize_pem())
    };
    rows.push(mismatch);
    let outcome = crate::check_all(rows, 8);
    ensure!(silent.local_addr().is_ok(), "the silent listener went away");
    outcome.context("TLS")
}
