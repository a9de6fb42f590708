//! TLS for connections that are to be upgraded: HTTP/1.1, certificates always checked (T23, T40;
//! PROTOCOL.md 2.1: an upgrade is not served over HTTP/2, which is for a gateway's REST alone).

mod subject;

pub use subject::{Subject, SubjectError};

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, ServerConnection};
use std::fmt;
use std::sync::Arc;

/// The only protocol that can be upgraded; all that is offered unless it says otherwise.
pub const ALPN: &[u8] = b"http/1.1";

/// What a gateway serves objects by as well.
#[cfg(feature = "gateway")]
pub const ALPN_HTTP2: &[u8] = b"h2";

/// A certificate chain and its key. `Debug` shows neither.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// The chain begins with the certificate of `key`.
    #[must_use]
    pub const fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        Self { chain, key }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("chain", &self.chain.len())
            .finish_non_exhaustive()
    }
}

/// What a server asks of its clients.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientAuth {
    /// No certificate.
    None,
    /// A certificate, if there is one, must be signed by one of these.
    Optional(Arc<RootCertStore>),
    /// No handshake without a certificate signed by one of these.
    Required(Arc<RootCertStore>),
}

/// Why a configuration cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The certificate, key or version is not usable.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// No usable root to check clients against.
    #[error(transparent)]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// The TLS of a gateway or a node: TLS 1.2 or 1.3, ALPN `http/1.1`.
///
/// # Errors
/// The identity or the roots are not usable.
pub fn server_config(identity: Identity, clients: ClientAuth) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let verifier =
        |roots| WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
    let builder = match clients {
        ClientAuth::None => builder.with_no_client_auth(),
        ClientAuth::Optional(roots) => {
            builder.with_client_cert_verifier(verifier(roots).allow_unauthenticated().build()?)
        }
        ClientAuth::Required(roots) => builder.with_client_cert_verifier(verifier(roots).build()?),
    };
    let mut config = builder.with_single_cert(identity.chain, identity.key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

/// The TLS of a gateway whose clients may look objects up by HTTP/2 too: as [`server_config`], with
/// ALPN `h2` before `http/1.1`.
///
/// # Errors
/// The identity or the roots are not usable.
#[cfg(feature = "gateway")]
pub fn gateway_config(identity: Identity, clients: ClientAuth) -> Result<ServerConfig, TlsError> {
    let mut config = server_config(identity, clients)?;
    config.alpn_protocols = vec![ALPN_HTTP2.to_vec(), ALPN.to_vec()];
    Ok(config)
}

/// The TLS of a client that wants an upgrade. The server's certificate and name are always
/// checked.
///
/// # Errors
/// The identity is not usable.
pub fn client_config(
    roots: impl Into<Arc<RootCertStore>>,
    identity: Option<Identity>,
) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(Identity { chain, key }) => builder.with_client_auth_cert(chain, key)?,
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

/// Who the client of a finished handshake is, by its certificate; `None` when it gave none. The
/// handshake has checked that it is signed by one of the roots.
///
/// # Errors
/// The certificate's subject cannot be read without doubt.
pub fn peer_subject(connection: &ServerConnection) -> Result<Option<Subject>, SubjectError> {
    match connection.peer_certificates().and_then(<[_]>::first) {
        None => Ok(None),
        Some(certificate) => Subject::of(certificate).map(Some),
    }
}
