//! What the command line says of any target: its pod's ports, its ways, TLS and credentials.

use super::endpoint::Route;
use super::{Exec, Service, usual_services};
use crate::case::{Role, Way};
use crate::keylog::KeyFile;
use anyhow::bail;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use kube::config::AuthInfo;
use percent_encoding::percent_decode_str;
use pf_program::cluster::{self, ProxyUrl};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The pod behind the target, and what the target is known to serve.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "The pod and the target")]
pub struct Describe {
    /// The service NAME is at port NUMBER of the pod (may be repeated)
    #[arg(long = "port", value_name = "NAME=NUMBER", value_parser = port)]
    pub ports: Vec<(Service, u16)>,
    /// The pod has no service NAME: cases that need it say UNSUPPORTED (may be repeated)
    #[arg(long = "no-port", value_name = "NAME", value_parser = service)]
    pub no_ports: Vec<Service>,
    /// The target has to serve these ways and no others: spdy, tunnel, v4, v4-base64; found out by its version, or by
    /// asking, unless given
    #[arg(long = "serves", value_name = "WAY", value_parser = way, value_delimiter = ',')]
    pub serves: Vec<Way>,
    /// A command in the pod's container that ends well, split at spaces: cases about exec run with this and the next
    #[arg(long, value_name = "COMMAND", requires = "exec_fails")]
    pub exec_succeeds: Option<String>,
    /// A command that writes to its error output and ends with a code other than 0
    #[arg(long, value_name = "COMMAND", requires = "exec_succeeds")]
    pub exec_fails: Option<String>,
    /// A command that reads its input to the end, writes it to its output and ends well, such as cat
    #[arg(long, value_name = "COMMAND", requires = "exec_fails")]
    pub exec_reads: Option<String>,
    /// The container for all of them
    #[arg(long, value_name = "NAME", requires = "exec_fails")]
    pub exec_container: Option<String>,
}

impl Describe {
    /// The ports of the pod.
    #[must_use]
    pub fn services(&self) -> BTreeMap<Service, u16> {
        let mut services = usual_services();
        services.extend(self.ports.iter().copied());
        services.retain(|service, _| !self.no_ports.contains(service));
        services
    }

    /// The commands for exec.
    pub(super) fn exec(&self) -> Option<Exec> {
        let split = |command: &String| command.split_whitespace().map(str::to_owned).collect();
        Some(Exec {
            container: self.exec_container.clone().unwrap_or_default(),
            succeeds: self.exec_succeeds.as_ref().map(split)?,
            fails: self.exec_fails.as_ref().map(split)?,
            reads: self.exec_reads.as_ref().map(split),
        })
    }

    /// The ways that such a target serves, and whether it has to be asked for the tunnel besides.
    #[must_use]
    pub(super) fn ways(&self, role: Role, minor: Option<u16>) -> (Vec<Way>, bool) {
        if !self.serves.is_empty() {
            return (self.serves.clone(), false);
        }
        let mut ways = vec![Way::Spdy, Way::V4, Way::V4Base64];
        // The first version that has it unless it is switched off.
        let since = match role {
            Role::Gateway => 31,
            Role::Node => 36,
            Role::Runtime => return (ways, false),
        };
        let has_it = minor.is_some_and(|minor| minor >= since);
        if has_it {
            ways.insert(1, Way::Tunnel);
        }
        (ways, !has_it)
    }
}

impl Describe {
    /// As the command line says it.
    pub(super) fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        for (service, number) in &self.ports {
            words.extend(["--port".to_owned(), format!("{}={number}", service.name())]);
        }
        for service in &self.no_ports {
            words.extend(["--no-port", service.name()].map(str::to_owned));
        }
        for way in &self.serves {
            words.extend(["--serves", way.name()].map(str::to_owned));
        }
        words.extend(flagged("--exec-succeeds", self.exec_succeeds.as_ref()));
        words.extend(flagged("--exec-fails", self.exec_fails.as_ref()));
        words.extend(flagged("--exec-reads", self.exec_reads.as_ref()));
        words.extend(flagged("--exec-container", self.exec_container.as_ref()));
        words
    }
}

/// TLS, and as whom to ask.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "TLS and credentials")]
pub struct Tls {
    /// Certificates (PEM) of the authorities that sign the server's; the system's unless given
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Client certificate (PEM)
    #[arg(long, value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// Key of the client certificate (PEM); the file of --cert unless given
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// File with a bearer token
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Do not look at the server's certificate
    #[arg(long, conflicts_with = "ca")]
    pub insecure: bool,
    /// Name that the server's certificate must carry, if not the one of the URL
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,
    /// Proxy through which to connect: http://HOST:PORT or socks5://HOST:PORT
    #[arg(long, value_name = "URL", value_parser = proxy)]
    pub proxy_url: Option<ProxyUrl>,
    /// What gets the keys of TLS.
    #[arg(skip)]
    pub(super) keys: Option<Arc<KeyFile>>,
}

/// Whatever it is, it is looked at later: it may hold a password, which clap would show.
#[expect(clippy::unnecessary_wraps, reason = "as clap asks for it")]
pub(super) fn proxy(text: &str) -> Result<ProxyUrl, std::convert::Infallible> {
    Ok(text.into())
}

/// The URL of a proxy that can be used.
///
/// # Errors
/// What is wrong with it.
pub(super) fn proxy_uri(url: Option<&ProxyUrl>) -> anyhow::Result<Option<http::Uri>> {
    let uri = url.map(ProxyUrl::uri).transpose();
    Ok(uri.map_err(|error| BadUse(format!("--proxy-url: {error}")))?)
}

impl Tls {
    /// As the command line says it.
    pub(super) fn words(&self) -> Vec<String> {
        let mut words = with_file("--ca", self.ca.as_ref());
        words.extend(with_file("--cert", self.cert.as_ref()));
        words.extend(with_file("--key", self.key.as_ref()));
        words.extend(with_file("--token-file", self.token_file.as_ref()));
        if self.insecure {
            words.push("--insecure".to_owned());
        }
        words.extend(flagged("--server-name", self.server_name.as_ref()));
        // Without its credentials.
        words.extend(flagged("--proxy-url", self.proxy_url.as_ref()));
        words
    }

    /// The way to a server at this URL without its path.
    ///
    /// # Errors
    /// As [`Tls::config`].
    pub(super) fn route(&self, origin: http::Uri) -> anyhow::Result<Route> {
        Ok(Route {
            config: self.config(origin)?,
            keys: self.keys.clone(),
        })
    }

    /// The same as the kube client has it, for a server at this URL without its path.
    ///
    /// # Errors
    /// Files that cannot be read or hold something else. No text has a secret.
    fn config(&self, origin: http::Uri) -> anyhow::Result<kube::Config> {
        let mut config = kube::Config::new(origin);
        config.accept_invalid_certs = self.insecure;
        config.tls_server_name.clone_from(&self.server_name);
        config.proxy_url = proxy_uri(self.proxy_url.as_ref())?;
        if let Some(file) = &self.ca {
            let read = || -> Result<Vec<Vec<u8>>, rustls::pki_types::pem::Error> {
                let all = CertificateDer::pem_file_iter(file)?;
                all.map(|one| one.map(|der| der.to_vec())).collect()
            };
            let bad = |text: String| BadUse(format!("--ca {}: {text}", file.display()));
            let roots = read().map_err(|error| bad(error.to_string()))?;
            if roots.is_empty() {
                bail!(bad("no certificate in it".to_owned()));
            }
            config.root_cert = Some(roots);
        }
        let mut who = AuthInfo::default();
        if let Some(file) = &self.cert {
            let key = self.key.as_ref().unwrap_or(file);
            let encoded = BASE64_STANDARD.encode(secret("--cert", file)?.as_bytes());
            who.client_certificate_data = Some(encoded);
            let encoded = BASE64_STANDARD.encode(secret("--key", key)?.as_bytes());
            who.client_key_data = Some(encoded.into());
        }
        if let Some(file) = &self.token_file {
            let token = secret("--token-file", file)?;
            let token = token.trim();
            if token.is_empty() {
                let text = format!("--token-file {}: it is empty", file.display());
                bail!(BadUse(text));
            }
            who.token = Some(token.to_owned().into());
        }
        config.auth_info = who;
        Ok(config)
    }
}

fn secret(flag: &str, file: &Path) -> anyhow::Result<zeroize::Zeroizing<String>> {
    let read = cluster::read_secret(file);
    Ok(read.map_err(|error| BadUse(format!("{flag} {}: {error}", file.display())))?)
}

/// A URL in its two parts: scheme and authority, and the path with the query.
///
/// # Errors
/// What is wrong with it.
pub(super) fn url(text: &str) -> anyhow::Result<(http::Uri, String)> {
    let bad = |text: String| anyhow::Error::new(BadUse(text));
    let uri: http::Uri = text
        .parse()
        .map_err(|error| bad(format!("{:?} is no URL: {error}", shown(text))))?;
    let scheme = uri.scheme_str().unwrap_or_default();
    let Some(authority) = uri
        .authority()
        .filter(|_| matches!(scheme, "http" | "https"))
    else {
        let text = format!(
            "{:?} is no URL that begins with http:// or https://",
            shown(text)
        );
        return Err(bad(text));
    };
    if authority.as_str().contains('@') {
        let text =
            "no credentials in a URL: they would stand in reports; use --token-file or --cert";
        return Err(bad(text.to_owned()));
    }
    // None as well for a number beyond all ports: another server would be asked.
    if cluster::named_port(&uri).is_some() && uri.port_u16().is_none() {
        let text = format!("{:?}: its port is no number up to 65535", shown(text));
        return Err(bad(text));
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let origin = format!("{scheme}://{authority}").parse()?;
    Ok((origin, path.to_owned()))
}

/// A URL as reports may show it: the values of its query, and credentials in it, are elided.
pub(super) fn shown(url: &str) -> String {
    let (head, query) = url.split_once('?').unwrap_or((url, ""));
    let mut text = match head.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            match authority.rsplit_once('@') {
                Some((_, host)) => format!("{scheme}://***@{host}{path}"),
                None => head.to_owned(),
            }
        }
        None => head.to_owned(),
    };
    let mut sign = '?';
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let name = part.split_once('=').map(|(name, _)| format!("{name}="));
        text.push_str(&format!("{sign}{}***", name.unwrap_or_default()));
        sign = '&';
    }
    text
}

/// The values of a query, as they stand there and decoded: tokens, for all one knows.
pub(crate) fn query_values(path: &str) -> Vec<Vec<u8>> {
    let (_, query) = path.split_once('?').unwrap_or_default();
    let mut values = Vec::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let value = part.split_once('=').map_or(part, |(_, value)| value);
        values.push(value.as_bytes().to_vec());
        let decoded: Vec<u8> = percent_decode_str(value).collect();
        if decoded != value.as_bytes() {
            values.push(decoded);
        }
    }
    values
}

/// A mistake on the command line.
#[derive(Debug)]
pub(super) struct BadUse(pub String);

impl std::fmt::Display for BadUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadUse {}

/// A flag and its value, if it was given.
pub(super) fn flagged(flag: &str, value: Option<impl ToString>) -> Vec<String> {
    value.map_or_else(Vec::new, |value| vec![flag.to_owned(), value.to_string()])
}

/// The same with a file.
pub(super) fn with_file(flag: &str, file: Option<&PathBuf>) -> Vec<String> {
    flagged(flag, file.map(|file| file.display()))
}

/// `NAMESPACE/NAME` of a pod.
///
/// # Errors
/// If it is none.
pub(super) fn pod(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name))
            if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
        {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err("expected NAMESPACE/NAME".to_owned()),
    }
}

fn service(name: &str) -> Result<Service, String> {
    let all = Service::ALL;
    let found = all.iter().find(|(_, known, _)| *known == name);
    found.map(|(service, ..)| *service).ok_or_else(|| {
        let known: Vec<&str> = all.iter().map(|(_, name, _)| *name).collect();
        format!("no service {name:?}; there are {}", known.join(", "))
    })
}

fn port(text: &str) -> Result<(Service, u16), String> {
    let (name, number) = text
        .split_once('=')
        .ok_or("expected NAME=NUMBER, e.g. echo=7000")?;
    match number.parse() {
        Ok(number) if number > 0 => Ok((service(name)?, number)),
        _ => Err(format!("{number:?} is no port")),
    }
}

fn way(name: &str) -> Result<Way, String> {
    let all = crate::case::ALL_WAYS;
    let found = all.iter().find(|way| way.name() == name).copied();
    found.ok_or_else(|| format!("no way {name:?}; there are spdy, tunnel, v4 and v4-base64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let (origin, path) = url("https://h:10250/a/b?x=1").unwrap();
        assert_eq!(
            (origin.to_string(), path.as_str()),
            ("https://h:10250/".to_owned(), "/a/b?x=1")
        );
        assert_eq!(url("http://[::1]:80").unwrap().1, "/");
        for bad in ["", "h:10250", "/path", "ftp://h/", "https://", "http://a b"] {
            assert!(url(bad).is_err(), "{bad}");
        }
        for bad in [
            "http://h:99999/",
            "http://[::1]:abc/",
            "http://h:-1/",
            "http://h:/",
        ] {
            let text = url(bad).unwrap_err().to_string();
            assert!(text.contains("its port"), "{bad}: {text}");
        }
        let secret = url("https://me:hunter2@h/").unwrap_err().to_string();
        assert!(!secret.contains("hunter2"), "{secret}");
    }

    #[test]
    fn urls_as_they_are_shown() {
        let table = [
            ("https://h:1/p", "https://h:1/p"),
            ("https://h/p?", "https://h/p"),
            (
                "https://h/p?token=a%20b&x=&sec",
                "https://h/p?token=***&x=***&***",
            ),
            ("https://me:hunter2@h/p@q", "https://***@h/p@q"),
            ("https://me:hun/ter2", "https://me:hun/ter2"),
            ("word?a=b", "word?a=***"),
        ];
        for (url, expected) in table {
            assert_eq!(shown(url), expected);
        }
        let bad = url("ftp://h/?token=hunter2").unwrap_err().to_string();
        assert!(!bad.contains("hunter2"), "{bad}");
        let values = query_values("/p?token=a%2fb%&x=&sec");
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        assert_eq!(values, [&b"a%2fb%"[..], b"a/b%", b"", b"sec"]);
        assert!(query_values("/p").is_empty());
    }

    #[test]
    fn services_of_a_pod() {
        let describe = Describe {
            ports: vec![port("echo=7").unwrap()],
            no_ports: vec![service("sink").unwrap()],
            ..Describe::default()
        };
        let services = describe.services();
        assert_eq!(services.get(&Service::Echo), Some(&7));
        assert_eq!(services.get(&Service::Sink), None);
        assert_eq!(services.get(&Service::Closed), Some(&7999));
        for bad in ["echo", "echo=", "echo=0", "echo=70000", "none=1"] {
            assert!(port(bad).is_err(), "{bad}");
        }
        assert!(pod("a/b").is_ok());
        for bad in ["a", "/b", "a/", "a/b/c"] {
            assert!(pod(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ways_by_version() {
        let open = Describe::default();
        let with = |role, minor| {
            let (ways, asks) = open.ways(role, minor);
            (ways.contains(&Way::Tunnel), asks)
        };
        assert_eq!(with(Role::Gateway, Some(31)), (true, false));
        assert_eq!(with(Role::Gateway, Some(30)), (false, true));
        assert_eq!(with(Role::Gateway, None), (false, true));
        assert_eq!(with(Role::Node, Some(36)), (true, false));
        assert_eq!(with(Role::Node, Some(35)), (false, true));
        assert_eq!(with(Role::Runtime, Some(37)), (false, false));
        let told = Describe {
            serves: vec![way("tunnel").unwrap()],
            ..Describe::default()
        };
        assert_eq!(told.ways(Role::Runtime, None), (vec![Way::Tunnel], false));
    }

    #[test]
    fn secrets_are_in_no_text() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "s3cret-token\n").unwrap();
        let tls = Tls {
            token_file: Some(file),
            ..Tls::default()
        };
        let config = tls.config("https://h".parse().unwrap()).unwrap();
        assert!(!format!("{config:?}{tls:?}").contains("s3cret-token"));
        let missing = Tls {
            cert: Some("/no/such/file".into()),
            ..Tls::default()
        };
        let error = missing.config("https://h".parse().unwrap()).unwrap_err();
        assert!(
            format!("{error:#}").contains("--cert /no/such/file"),
            "{error:#}"
        );
    }
}
