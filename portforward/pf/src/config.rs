//! From kubeconfig files (or a pod's service account) to one `kube::Config` that has everything it
//! needs: no file is left to be read, no plugin to be run.
//!
//! Precedence is kubectl's: `--kubeconfig`, `KUBECONFIG` (a list, the first entry to say something
//! wins), `~/.kube/config`, in-cluster.

use crate::api;
use crate::exit::{Exit, Failure, Hop};
use crate::kubeconfig::{self, Sources};
use crate::output::Output;
use crate::plugin;
use crate::proxy::{self, Proxy, ProxyUrl};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::Uri;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use secrecy::{ExposeSecret as _, SecretString};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Which cluster, as the flags say.
#[expect(
    clippy::exhaustive_structs,
    reason = "filled in by two programs, flag by flag"
)]
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// `--kubeconfig`
    pub kubeconfig: Option<PathBuf>,
    /// `--context`
    pub context: Option<String>,
    /// `--cluster`
    pub cluster: Option<String>,
    /// `--user`
    pub user: Option<String>,
    /// What to do where a proxy applies.
    pub proxies: Proxies,
}

/// What to do where a proxy applies.
#[expect(clippy::exhaustive_enums, reason = "each program chooses one")]
#[derive(Debug, Clone, Default)]
pub enum Proxies {
    /// Say that it is not supported.
    #[default]
    Refused,
    /// Go through it, or through this one whatever applies.
    Used(Option<ProxyUrl>),
    /// Ask of none: only the credentials of the configuration are wanted.
    Ignored,
}

/// Where the configuration came from, in words and without any value of it.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    pub(crate) place: String,
    /// Where the credentials are from, if not from the configuration itself.
    pub(crate) credentials: Option<&'static str>,
}

/// Reads the configuration, gets credentials from a plugin if one is configured, and makes sure
/// that the API server can be reached without a proxy.
///
/// # Errors
/// Exit code 2 for a bad configuration, 3 for a plugin that gives nothing.
pub(crate) async fn load(selection: &Selection, output: &Output) -> Result<Config, Failure> {
    load_noting(selection, output, &mut Origin::default()).await
}

/// As [`load`]; `origin` tells as much as was found out, also on failure.
pub(crate) async fn load_noting(
    selection: &Selection,
    output: &Output,
    origin: &mut Origin,
) -> Result<Config, Failure> {
    let sources = Sources::find(
        selection.kubeconfig.clone(),
        std::env::var_os("KUBECONFIG").as_deref(),
        std::env::home_dir(),
    );
    let Some((kubeconfig, place)) = sources.read()? else {
        "the pod's service account".clone_into(&mut origin.place);
        return in_cluster(&sources, selection, output, origin).await;
    };
    output.trace(1, || format!("kubeconfig: {place}"));
    origin.place = format!("kubeconfig {place}");
    let config = from_kubeconfig(kubeconfig, selection, place.clone(), output).await?;
    complete(config, &place, output, origin).await
}

async fn in_cluster(
    sources: &Sources,
    selection: &Selection,
    output: &Output,
    origin: &mut Origin,
) -> Result<Config, Failure> {
    let mut config = Config::incluster().map_err(|error| {
        Failure::new(
            Exit::Usage,
            Hop::Kubeconfig(sources.names()),
            format!("no kubeconfig found, and not inside a cluster ({error})"),
        )
        .advise("name one with --kubeconfig or KUBECONFIG")
    })?;
    output.trace(1, || "configuration: the pod's service account".to_owned());
    let place = "of the pod's service account";
    if let Proxies::Used(_) = selection.proxies {
        config.proxy_url = proxy_of(&config.cluster_url, None, &selection.proxies, place)?;
    }
    complete(config, place, output, origin).await
}

async fn from_kubeconfig(
    mut kubeconfig: Kubeconfig,
    selection: &Selection,
    place: String,
    output: &Output,
) -> Result<Config, Failure> {
    let fail = |text: String| Failure::new(Exit::Usage, Hop::Kubeconfig(place.clone()), text);
    let context = selection
        .context
        .clone()
        .or_else(|| kubeconfig.current_context.clone())
        .filter(|context| !context.is_empty());
    let Some(context) = context else {
        return Err(
            fail("current-context is not set".to_owned()).advise("choose one with --context")
        );
    };
    let missing =
        |text: &str, name: &str| fail(text.replace("NAME", &portforward::escape::line(name)));
    let Some(chosen) = kubeconfig
        .contexts
        .iter()
        .find(|named| named.name == context)
        .and_then(|named| named.context.clone())
    else {
        let known: Vec<&str> = kubeconfig
            .contexts
            .iter()
            .map(|named| named.name.as_str())
            .collect();
        let known = portforward::escape::line(&known.join(", "));
        return Err(missing(
            "context was not found for specified context: NAME",
            &context,
        )
        .advise(format!("contexts there are: {known}")));
    };
    let cluster_name = selection.cluster.clone().unwrap_or(chosen.cluster);
    let Some(cluster) = kubeconfig
        .clusters
        .iter_mut()
        .find(|named| named.name == cluster_name)
        .and_then(|named| named.cluster.as_mut())
    else {
        return Err(missing(
            "no server found for cluster \"NAME\"",
            &cluster_name,
        ));
    };
    kubeconfig::settle_cluster(cluster).map_err(fail)?;
    let proxy_url = cluster.proxy_url.take();
    let user_name = selection.user.clone().or(chosen.user).unwrap_or_default();
    match kubeconfig
        .auth_infos
        .iter_mut()
        .find(|named| named.name == user_name)
        .and_then(|named| named.auth_info.as_mut())
    {
        Some(user) => kubeconfig::settle_user(user).map_err(fail)?,
        // As kubectl: a context may name a user that is not there, a flag may not.
        None if selection.user.is_some() => {
            return Err(missing("auth info \"NAME\" does not exist", &user_name));
        }
        None => {}
    }
    output.trace(1, || {
        portforward::escape::line(&format!(
            "context {context}, cluster {cluster_name}, user {user_name}"
        ))
    });
    let options = KubeConfigOptions {
        context: Some(context),
        cluster: Some(cluster_name),
        user: Some(user_name),
    };
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|error| fail(kubeconfig::describe(&error)))?;
    let proxy_url = proxy_url.as_deref();
    config.proxy_url = proxy_of(&config.cluster_url, proxy_url, &selection.proxies, &place)?;
    Ok(config)
}

/// The proxy through which the server is to be reached, if there is one.
fn proxy_of(
    server: &Uri,
    proxy_url: Option<&str>,
    proxies: &Proxies,
    place: &str,
) -> Result<Option<Uri>, Failure> {
    let fail = |text: String| Failure::new(Exit::Usage, Hop::Kubeconfig(place.to_owned()), text);
    let used = |url: &ProxyUrl, whose: &str| {
        let uri = url.uri().map_err(|error| fail(format!("{whose}: {error}")));
        uri.map(Some)
    };
    match proxies {
        Proxies::Used(Some(url)) => return used(url, "--proxy-url"),
        Proxies::Ignored => return Ok(None),
        Proxies::Used(None) | Proxies::Refused => {}
    }
    let refused = matches!(proxies, Proxies::Refused);
    let environment = |name: &str| std::env::var(name).ok();
    match proxy::applying(server, proxy_url, environment) {
        None => Ok(None),
        Some(Proxy::Kubeconfig) if refused => {
            Err(fail("proxy-url is not supported yet".to_owned())
                .advise("use a cluster entry without proxy-url, or kubectl port-forward"))
        }
        Some(Proxy::Kubeconfig) => used(&proxy_url.unwrap_or_default().into(), "proxy-url"),
        Some(Proxy::Environment(variable)) if refused => {
            let host = proxy::host(server);
            let text = format!("the proxy of {variable} is not supported yet");
            Err(fail(text).advise(format!(
                "add {host} to NO_PROXY if it can be reached directly; or use kubectl port-forward"
            )))
        }
        Some(Proxy::Environment(variable)) => {
            let mut value = Zeroizing::new(environment(variable).unwrap_or_default());
            // As Go's HTTP client: a host alone is enough here.
            if !value.contains("://") {
                value = Zeroizing::new(format!("http://{}", *value));
            }
            used(&value.as_str().into(), &format!("the proxy of {variable}"))
        }
    }
}

/// What would be found out only when connecting, or taken for something else.
fn check_server(config: &Config) -> Result<(), String> {
    let server = &config.cluster_url;
    if server.host().is_none_or(str::is_empty) {
        return Err("the server of the cluster is no URL with a host".to_owned());
    }
    if let Some(scheme) = server.scheme_str()
        && !matches!(scheme, "http" | "https")
    {
        let scheme = portforward::escape::line(scheme);
        return Err(format!(
            "unsupported protocol scheme \"{scheme}\" of the cluster's server"
        ));
    }
    // None as well for a number beyond all ports.
    if let Some(port) = proxy::named_port(server).filter(|port| !port.is_empty())
        && server.port_u16().is_none()
    {
        let port = portforward::escape::line(port);
        return Err(format!("invalid port {port} of the cluster's server"));
    }
    Ok(())
}

/// Checks of what was read, credentials that come from a file or a plugin, and the warning about
/// an unverified server.
async fn complete(
    mut config: Config,
    place: &str,
    output: &Output,
    origin: &mut Origin,
) -> Result<Config, Failure> {
    let fail = |text: String| Failure::new(Exit::Usage, Hop::Kubeconfig(place.to_owned()), text);
    check_server(&config).map_err(fail)?;
    if config.root_cert.as_ref().is_some_and(Vec::is_empty) {
        // No root at all would read as a server that nobody vouches for.
        let text = "unable to load root certificates: unable to parse bytes as PEM block";
        return Err(fail(text.to_owned())
            .advise("check certificate-authority and certificate-authority-data of the cluster"));
    }
    if config.accept_invalid_certs {
        output.note(format!(
            "warning: the certificate of {} is not verified (insecure-skip-tls-verify)",
            api::url_of(&config)
        ));
    }
    let user = &mut config.auth_info;
    user.token = user
        .token
        .take()
        .filter(|token| !token.expose_secret().is_empty());
    if let Some(file) = user.token_file.take().filter(|file| !file.is_empty()) {
        match kubeconfig::read_text(Path::new(&file)) {
            Ok(token) => {
                user.token = Some(SecretString::from(token.trim()));
                origin.credentials = Some("a token file");
            }
            // As kubectl: a token in the file itself serves as well.
            Err(_) if user.token.is_some() => {}
            Err(error) => {
                let file = portforward::escape::line(&file);
                return Err(fail(format!("unable to read tokenFile {file}: {error}")));
            }
        }
    }
    if let Some(token) = &user.token {
        kubeconfig::check_token(token.expose_secret()).map_err(fail)?;
    }
    let has_identity = user.client_certificate_data.is_some() && user.client_key_data.is_some();
    if let Some(exec) = user.exec.take()
        && user.token.is_none()
        && user.username.is_none()
        && !has_identity
    {
        origin.credentials = Some("a credential plugin");
        let credentials = plugin::run(&exec).await?;
        user.token = credentials.token;
        if let Some((certificate, key)) = credentials.identity {
            let key = Zeroizing::new(BASE64_STANDARD.encode(key.expose_secret()));
            user.client_certificate_data = Some(BASE64_STANDARD.encode(certificate));
            user.client_key_data = Some(SecretString::from(key.as_str()));
        }
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Once;

    const FILE: &str = "
current-context: a
contexts:
- {name: a, context: {cluster: one, user: tok, namespace: shop}}
- {name: b, context: {cluster: two, user: absent}}
- {name: c, context: {cluster: absent}}
- {name: p, context: {cluster: proxied, user: tok}}
clusters:
- {name: one, cluster: {server: 'https://127.0.0.1:6443'}}
- {name: two, cluster: {server: 'https://127.0.0.2:6443/prefix', insecure-skip-tls-verify: true}}
- {name: proxied, cluster: {server: 'https://127.0.0.3', proxy-url: 'http://user:canary-s3cret@proxy:1'}}
users:
- {name: tok, user: {token: canary-s3cret}}
- {name: empty, user: {token: '', tokenFile: ''}}
";

    async fn load(selection: &Selection) -> Result<Config, Failure> {
        load_from(FILE, selection).await
    }

    async fn load_from(text: &str, selection: &Selection) -> Result<Config, Failure> {
        static CRYPTO: Once = Once::new();
        CRYPTO.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let output = Output::new(0).unwrap();
        let kubeconfig = Kubeconfig::from_yaml(text).unwrap();
        let config = from_kubeconfig(kubeconfig, selection, "F".to_owned(), &output).await?;
        complete(config, "F", &output, &mut Origin::default()).await
    }

    fn named(context: &str) -> Selection {
        Selection {
            context: Some(context.to_owned()),
            ..Selection::default()
        }
    }

    #[tokio::test]
    async fn current_and_chosen_context() {
        let config = load(&Selection::default()).await.unwrap();
        assert_eq!(config.default_namespace, "shop");
        assert_eq!(
            config.auth_info.token.unwrap().expose_secret(),
            "canary-s3cret"
        );

        // A user that is not there is nobody, as with kubectl.
        let config = load(&named("b")).await.unwrap();
        assert_eq!(config.cluster_url.path(), "/prefix");
        assert!(config.accept_invalid_certs && config.auth_info.token.is_none());

        let selection = Selection {
            user: Some("tok".to_owned()),
            cluster: Some("one".to_owned()),
            ..named("b")
        };
        let config = load(&selection).await.unwrap();
        assert_eq!(config.cluster_url.host(), Some("127.0.0.1"));
        assert!(config.auth_info.token.is_some());

        let selection = Selection {
            user: Some("empty".to_owned()),
            ..Selection::default()
        };
        assert!(load(&selection).await.unwrap().auth_info.token.is_none());
    }

    #[tokio::test]
    async fn what_is_not_there() {
        let cluster = Selection {
            cluster: Some("zz".to_owned()),
            ..Selection::default()
        };
        let user = Selection {
            user: Some("zz".to_owned()),
            ..Selection::default()
        };
        let table = [
            (
                named("zz"),
                "context was not found for specified context: zz",
            ),
            (named("c"), "no server found for cluster \"absent\""),
            (cluster, "no server found for cluster \"zz\""),
            (user, "auth info \"zz\" does not exist"),
        ];
        for (selection, text) in table {
            let failure = load(&selection).await.unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.to_string().contains(text), "{failure}");
        }
    }

    #[tokio::test]
    async fn servers() {
        let fault = async |server: &str| {
            let config = Config::new(server.parse().unwrap());
            let output = Output::new(0).unwrap();
            let failure = complete(config, "F", &output, &mut Origin::default())
                .await
                .err()?;
            assert_eq!(failure.exit, Exit::Usage);
            Some(failure.to_string())
        };
        for server in [
            "https://h",
            "HTTPS://h:65535/",
            "http://[::1]",
            "http://u:1@[::1]:0/p",
            "https://h:",
        ] {
            assert_eq!(fault(server).await, None, "{server}");
        }
        for (server, text) in [
            ("http://127.0.0.1:99999", "invalid port 99999"),
            ("https://u@[::1]:65536/p", "invalid port 65536"),
            ("ftp://h", "unsupported protocol scheme \"ftp\""),
            ("/p", "no URL with a host"),
        ] {
            let fault = fault(server).await.unwrap();
            assert!(fault.contains(text), "{fault}");
        }
    }

    /// T36: such a token cannot be sent, and is not shown.
    #[tokio::test]
    async fn tokens_that_no_header_can_carry() {
        let text = FILE.replace("token: canary-s3cret", "token: \"canary-s3cret\\r\\nX: y\"");
        let failure = load_from(&text, &Selection::default()).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        let text = failure.to_string();
        assert!(
            text.contains("the token holds a line break or another control character"),
            "{text}"
        );
        assert!(!text.contains("canary"), "{text}");
    }

    /// It would be taken for a list of none.
    #[tokio::test]
    async fn certificate_authorities_that_are_no_pem() {
        let data = BASE64_STANDARD.encode("hello world");
        let text = FILE.replace(
            "6443'",
            &format!("6443', certificate-authority-data: {data}"),
        );
        let failure = load_from(&text, &Selection::default()).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        let text = failure.to_string();
        assert!(
            text.starts_with(
                "error: unable to load root certificates: unable to parse bytes as PEM block\n"
            ),
            "{text}"
        );
    }

    /// A proxy's URL may hold a password.
    #[tokio::test]
    async fn proxies_are_refused_and_not_quoted() {
        let failure = load(&named("p")).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        let text = failure.to_string();
        assert!(
            text.contains("proxy-url is not supported yet\n  where: kubeconfig F"),
            "{text}"
        );
        assert!(!text.contains("canary"), "{text}");

        // Who wants the credentials alone goes through none, whatever it is.
        let selection = Selection {
            proxies: Proxies::Ignored,
            ..named("p")
        };
        let file = FILE.replace("http://user", "https://user");
        let config = load_from(&file, &selection).await.unwrap();
        assert!(config.proxy_url.is_none() && config.auth_info.token.is_some());
    }
}
