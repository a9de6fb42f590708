//! Connects to one server as somebody: what all targets with a URL share.

use super::{NoPlace, Place, Who};
use crate::keylog::KeyFile;
use kube::config::AuthInfo;
use pf_program::cluster::{self, Stage};
use rustls::KeyLog;
use std::sync::Arc;

/// As whom to connect, and what to offer in ALPN.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    who: Who,
    alpn: Option<Vec<Vec<u8>>>,
}

impl Asked {
    pub(super) fn by(who: Who) -> Self {
        Self { who, alpn: None }
    }

    pub(super) fn offering(protocols: &[&[u8]]) -> Self {
        Self {
            who: Who::Forwarder,
            alpn: Some(protocols.iter().map(|name| name.to_vec()).collect()),
        }
    }
}

/// A server, and the file that gets the keys of TLS with it.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) config: kube::Config,
    pub(super) keys: Option<Arc<KeyFile>>,
}

impl Route {
    /// Connects with the credentials of the configuration, without them, or with wrong ones.
    pub(super) async fn connect(&self, path: &str, asked: Asked) -> Result<Place, NoPlace> {
        connect(&self.config, self.keys.clone(), path, asked).await
    }
}

/// As [`Route::connect`].
pub(super) async fn connect(
    config: &kube::Config,
    keys: Option<Arc<KeyFile>>,
    path: &str,
    asked: Asked,
) -> Result<Place, NoPlace> {
    let config = &as_somebody(config, asked.who)?;
    let keys = keys.map(|keys| -> Arc<dyn KeyLog> { keys });
    let other = |error: cluster::Unreachable| NoPlace::Elsewhere(what_failed(&error));
    let identity = cluster::credentials(config).await.map_err(other)?;
    let is_by_name = asked.alpn.is_some();
    if is_by_name && config.cluster_url.scheme_str() == Some("http") {
        return Err(NoPlace::NotOffered("the target has no TLS".to_owned()));
    }
    let io = cluster::connect(config, asked.alpn, keys).await;
    let host = config.cluster_url.authority().map(ToString::to_string);
    let (io, agreed) = io.map_err(|error| no_place(&error))?;
    Ok(Place {
        io,
        agreed: agreed.filter(|_| is_by_name),
        host: host.unwrap_or_default(),
        path: path.to_owned(),
        identity,
    })
}

/// What is the judge's own, such as a name that cannot be looked up or too many open files, is not laid to the server.
fn no_place(error: &cluster::Unreachable) -> NoPlace {
    let text = what_failed(error);
    match error.stage() {
        Stage::Tcp => NoPlace::Unreachable(text),
        Stage::Tls => NoPlace::NoTls(text),
        _ => NoPlace::Elsewhere(format!("no connection could be tried: {text}")),
    }
}

/// The first line. Those behind it say where, for a program that knows API servers and kubeconfigs alone: the caller knows
/// what kind of server it is.
fn what_failed(error: &cluster::Unreachable) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

fn as_somebody(config: &kube::Config, who: Who) -> Result<kube::Config, NoPlace> {
    let mut config = config.clone();
    match who {
        Who::Forwarder => {}
        Who::Anonymous | Who::Stranger => {
            if !says_who(&config.auth_info) {
                let text = "the target asks nobody who they are";
                return Err(NoPlace::NotOffered(text.to_owned()));
            }
            config.auth_info = AuthInfo::default();
            if who == Who::Stranger {
                config.auth_info.token = Some("a-token-that-nobody-has".into());
            }
        }
        Who::Viewer | Who::Nobody | Who::CreateOnly | Who::GetOnly => {
            let text = "no credentials of somebody with other rights";
            return Err(NoPlace::NotOffered(text.to_owned()));
        }
    }
    Ok(config)
}

fn says_who(who: &AuthInfo) -> bool {
    who.token.is_some()
        || who.token_file.is_some()
        || who.username.is_some()
        || who.client_certificate.is_some()
        || who.client_certificate_data.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_credentials_there_is_no_stranger() {
        let mut config = kube::Config::new("http://h".parse().unwrap());
        assert!(as_somebody(&config, Who::Forwarder).is_ok());
        for who in [Who::Anonymous, Who::Stranger, Who::Viewer] {
            let none = as_somebody(&config, who);
            assert!(matches!(none, Err(NoPlace::NotOffered(_))), "{who:?}");
        }
        config.auth_info.token = Some("t".into());
        let anonymous = as_somebody(&config, Who::Anonymous).unwrap();
        assert!(!says_who(&anonymous.auth_info));
        let stranger = as_somebody(&config, Who::Stranger).unwrap();
        assert!(says_who(&stranger.auth_info));
    }

    #[tokio::test]
    async fn where_it_failed() {
        drop(rustls::crypto::ring::default_provider().install_default());
        let at = |url: String| async move {
            let config = kube::Config::new(url.parse().unwrap());
            connect(&config, None, "/", Asked::by(Who::Forwarder))
                .await
                .unwrap_err()
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { while listener.accept().await.is_ok() {} });
        let one_line = |text: &str| !text.contains('\n') && !text.contains("API server");
        let none = at(format!("https://127.0.0.1:{port}")).await;
        assert!(
            matches!(&none, NoPlace::NoTls(text) if one_line(text)),
            "{none:?}"
        );
        let none = at("https://127.0.0.1:1".to_owned()).await;
        assert!(
            matches!(&none, NoPlace::Unreachable(text) if one_line(text)),
            "{none:?}"
        );
        // A name that nobody can have (RFC 6761).
        let none = at("https://no-such-host.invalid".to_owned()).await;
        assert!(
            matches!(&none, NoPlace::Elsewhere(text) if one_line(text)),
            "{none:?}"
        );
    }
}
