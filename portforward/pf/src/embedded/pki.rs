//! The certificates of one embedded cluster: made at its start, kept in memory
//! only, worthless once the process has ended.
//!
//! Two authorities: one for what users see (the gateway's server certificate and
//! the users' own), one for the connection between gateway and node. A user's
//! certificate therefore opens the gateway but never the node directly.

use std::{fmt, net::IpAddr, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, Error,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use time::{Duration, OffsetDateTime};

/// The users; each has a client certificate.
pub(crate) const USERS: [&str; 5] = ["admin", "viewer", "getter", "creator", "nobody"];

/// Whose certificate the node asks for.
pub(crate) const GATEWAY: &str = "embedded gateway";

/// The names under which gateway and node are reached.
const SERVER_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// What both servers, and the gateway as the node's client, speak; the gateway HTTP/2 as well.
const ALPN: &[u8] = portforward::tls::ALPN;

/// For clients whose clock is behind.
const BACKDATED: Duration = Duration::hours(1);

/// A cluster that runs longer has to be started again.
const VALID: Duration = Duration::days(365);

/// The key material of one embedded cluster.
pub(crate) struct Pki {
    cluster_ca: Authority,
    node_ca: Authority,
    gateway: Identity,
    gateway_as_client: Identity,
    node: Identity,
    users: Vec<(&'static str, Identity)>,
}

impl Pki {
    /// Makes both authorities and everything they sign; their keys are then gone. The gateway is
    /// also reached at `address`.
    pub(crate) fn new(address: Option<IpAddr>) -> Result<Self, Error> {
        let cluster_ca = issuer("embedded cluster CA")?;
        let node_ca = issuer("embedded node CA")?;
        Ok(Self {
            gateway: Identity::server("embedded gateway", address, &cluster_ca)?,
            gateway_as_client: Identity::client(GATEWAY, &node_ca)?,
            node: Identity::server("embedded node", None, &node_ca)?,
            users: USERS
                .into_iter()
                .map(|user| Ok((user, Identity::client(user, &cluster_ca)?)))
                .collect::<Result<_, Error>>()?,
            cluster_ca: Authority::of(&cluster_ca),
            node_ca: Authority::of(&node_ca),
        })
    }

    /// The authority to trust for the gateway.
    pub(crate) fn ca_der(&self) -> &CertificateDer<'static> {
        &self.cluster_ca.der
    }

    /// The same in PEM.
    pub(crate) fn ca_pem(&self) -> &str {
        &self.cluster_ca.pem
    }

    /// The certificate and the key of one of [`USERS`].
    pub(crate) fn client_pem(&self, user: &str) -> Option<(&str, &str)> {
        let (_, identity) = self.users.iter().find(|(name, _)| *name == user)?;
        Some((&identity.certificate_pem, &identity.key_pem))
    }

    /// For the gateway's listener. A certificate is optional, a token serves as well;
    /// one that is shown has to be ours.
    pub(crate) fn gateway_server(&self) -> Result<Arc<ServerConfig>, rustls::Error> {
        let verifier = WebPkiClientVerifier::builder_with_provider(
            self.cluster_ca.roots()?.into(),
            provider(),
        )
        .allow_unauthenticated()
        .build()
        .map_err(|e| rustls::Error::General(e.to_string()))?;
        let http2 = portforward::tls::ALPN_HTTP2;
        self.gateway.server_config(verifier, &[http2, ALPN])
    }

    /// For the node's listener: the gateway and nobody else may connect.
    pub(crate) fn node_server(&self) -> Result<Arc<ServerConfig>, rustls::Error> {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.node_ca.roots()?.into(), provider())
                .build()
                .map_err(|e| rustls::Error::General(e.to_string()))?;
        self.node.server_config(verifier, &[ALPN])
    }

    /// For the gateway's connections to the node.
    pub(crate) fn node_client(&self) -> Result<Arc<ClientConfig>, rustls::Error> {
        let own = &self.gateway_as_client;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.node_ca.roots()?)
            .with_client_auth_cert(vec![own.certificate.clone()], own.key.clone_key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(config.into())
    }
}

impl fmt::Debug for Pki {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pki").finish_non_exhaustive() // the keys are secret
    }
}

/// A bearer token of 256 bits, in hexadecimal.
pub(crate) fn random_token() -> Result<String, Error> {
    let mut bytes = [0; 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::RingUnspecified)?;
    Ok(super::pods::hex(&bytes))
}

/// Never the process's default provider: which one that is, or whether there is
/// one, depends on the rest of the program.
fn provider() -> Arc<CryptoProvider> {
    rustls::crypto::ring::default_provider().into()
}

/// What remains of an authority once it has signed all it will.
struct Authority {
    der: CertificateDer<'static>,
    pem: String,
}

impl Authority {
    fn of(issuer: &CertifiedIssuer<'_, KeyPair>) -> Self {
        Self {
            der: issuer.der().clone(),
            pem: issuer.pem(),
        }
    }

    fn roots(&self) -> Result<RootCertStore, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone())?;
        Ok(roots)
    }
}

/// A certificate with its key. No `Debug`, for the key's sake.
struct Identity {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    key: PrivateKeyDer<'static>,
    key_pem: String,
}

impl Identity {
    fn server(
        name: &str,
        address: Option<IpAddr>,
        issuer: &CertifiedIssuer<'_, KeyPair>,
    ) -> Result<Self, Error> {
        let mut names = SERVER_NAMES.map(String::from).to_vec();
        names.extend(address.map(|address| address.to_string()));
        let mut params = params(name, names)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        Self::signed(params, issuer)
    }

    fn client(name: &str, issuer: &CertifiedIssuer<'_, KeyPair>) -> Result<Self, Error> {
        let mut params = params(name, Vec::new())?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Self::signed(params, issuer)
    }

    fn signed(
        mut params: CertificateParams,
        issuer: &CertifiedIssuer<'_, KeyPair>,
    ) -> Result<Self, Error> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, issuer)?;
        Ok(Self {
            certificate_pem: certificate.pem(),
            certificate: certificate.into(),
            key_pem: key.serialize_pem(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        })
    }

    fn server_config(
        &self,
        verifier: Arc<dyn ClientCertVerifier>,
        alpn: &[&[u8]],
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())?;
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(config.into())
    }
}

fn issuer(name: &str) -> Result<CertifiedIssuer<'static, KeyPair>, Error> {
    let mut params = params(name, Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

fn params(name: &str, alternative_names: Vec<String>) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(alternative_names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = OffsetDateTime::now_utc();
    params.not_before = now.saturating_sub(BACKDATED);
    params.not_after = now.saturating_add(VALID);
    Ok(params)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{ServerName, pem::PemObject};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    /// What the server took from the client's certificate, if both sides agreed.
    async fn handshake(
        server: Arc<ServerConfig>,
        client: Arc<ClientConfig>,
        name: &'static str,
    ) -> std::io::Result<Option<String>> {
        let (near, far) = duplex(1 << 16);
        let connect = async {
            let name = ServerName::try_from(name).unwrap();
            let mut tls = TlsConnector::from(client).connect(name, near).await?;
            tls.write_all(b"x").await?;
            // With TLS 1.3 the client learns only now that it was refused.
            tls.read_u8().await
        };
        let accept = async {
            let mut tls = TlsAcceptor::from(server).accept(far).await?;
            tls.read_u8().await?;
            tls.write_all(b"x").await?;
            tls.flush().await?;
            assert_eq!(tls.get_ref().1.alpn_protocol(), Some(ALPN));
            let subject = portforward::tls::peer_subject(tls.get_ref().1).unwrap();
            Ok(subject.map(|subject| subject.name))
        };
        tokio::try_join!(accept, connect).map(|(user, _)| user)
    }

    fn user_client(pki: &Pki, user: Option<&str>) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates({
                let mut roots = RootCertStore::empty();
                roots.add(pki.ca_der().clone()).unwrap();
                roots
            });
        let mut config = match user {
            None => builder.with_no_client_auth(),
            Some(user) => {
                let (certificate, key) = pki.client_pem(user).unwrap();
                builder
                    .with_client_auth_cert(
                        vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                        PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                    )
                    .unwrap()
            }
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.into()
    }

    #[tokio::test]
    async fn gateway_knows_its_users() {
        let pki = Pki::new(None).unwrap();
        for name in SERVER_NAMES {
            let server = pki.gateway_server().unwrap();
            let user = handshake(server, user_client(&pki, None), name).await;
            assert_eq!(user.unwrap(), None);
        }
        for user in USERS {
            let server = pki.gateway_server().unwrap();
            let client = user_client(&pki, Some(user));
            let seen = handshake(server, client, "127.0.0.1").await;
            assert_eq!(seen.unwrap().as_deref(), Some(user));
        }
        assert!(pki.client_pem("somebody").is_none());
    }

    #[tokio::test]
    async fn certificates_of_another_cluster_are_refused() {
        let (pki, other) = (Pki::new(None).unwrap(), Pki::new(None).unwrap());
        let server = pki.gateway_server().unwrap();
        let client = user_client(&other, Some("nobody"));
        assert!(handshake(server, client, "localhost").await.is_err());
        let server = pki.node_server().unwrap();
        let client = other.node_client().unwrap();
        assert!(handshake(server, client, "localhost").await.is_err());
    }

    #[tokio::test]
    async fn node_takes_the_gateway_only() {
        let pki = Pki::new(None).unwrap();
        let server = pki.node_server().unwrap();
        let gateway = handshake(server.clone(), pki.node_client().unwrap(), "127.0.0.1");
        assert_eq!(gateway.await.unwrap().as_deref(), Some(GATEWAY));
        for user in [None, Some("nobody")] {
            // Trusts the node's authority, so that only its own certificate is at fault.
            let mut config = (*user_client(&pki, user)).clone();
            config
                .dangerous()
                .set_certificate_verifier(node_verifier(&pki));
            let result = handshake(server.clone(), config.into(), "127.0.0.1").await;
            assert!(result.is_err(), "{user:?}");
        }
    }

    fn node_verifier(pki: &Pki) -> Arc<dyn rustls::client::danger::ServerCertVerifier> {
        rustls::client::WebPkiServerVerifier::builder_with_provider(
            pki.node_ca.roots().unwrap().into(),
            provider(),
        )
        .build()
        .unwrap()
    }

    #[test]
    fn nothing_secret_is_shown() {
        assert_eq!(format!("{:?}", Pki::new(None).unwrap()), "Pki { .. }");
        let token = random_token().unwrap();
        assert_eq!(token.len(), 64);
        assert_ne!(token, random_token().unwrap());
    }
}
