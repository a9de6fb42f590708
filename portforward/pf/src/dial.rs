//! The way to the API server for the upgrade: TCP, TLS, and the head fields that say who we are.
//!
//! Not the kube client's connection: the upgrade needs HTTP/1.1 and no other, a large read buffer,
//! and the exact bytes behind the head.

use crate::api::{self, CONNECT};
use crate::exit::{Exit, Failure, Hop};
use crate::proxy::{self, Through};
use http::{HeaderMap, Request, Response, header};
use kube::Config;
use kube::client::{Body, ConfigExt as _};
use portforward::socket::keepalive;
use rustls::KeyLog;
use rustls::pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::{Layer as _, ServiceExt as _};

/// Bytes read from the kernel at once. TLS reads record by record, which without a buffer below it
/// costs two calls for 16 KiB.
const READ_BUFFER: usize = 256 << 10;
/// For credentials that have to be fetched.
const CREDENTIALS: Duration = Duration::from_secs(30);
/// For all of TCP and TLS.
const DEADLINE: Duration = CONNECT;
/// For one of several addresses, so that the next gets its turn.
const PER_ADDRESS: Duration = Duration::from_secs(3);

/// A connection to the API server, ready for a request head.
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<BufReader<TcpStream>>>),
}

/// What a dial has come to.
pub(crate) enum Dialled {
    /// Names are looked up; TCP begins.
    Address,
    Tcp(SocketAddr),
    Tls,
    /// This process has no file or port for another connection.
    Exhausted,
}

/// Connects to the server of the configuration.
///
/// # Errors
/// Exit code 1, or 2 for a configuration that cannot be used.
pub(crate) async fn connect(config: &Config) -> Result<Wire, Failure> {
    connect_telling(config, &mut |_| {}).await
}

/// As [`connect`]; `tell` hears of each step when it is done.
pub(crate) async fn connect_telling(
    config: &Config,
    tell: &mut (dyn FnMut(Dialled) + Send),
) -> Result<Wire, Failure> {
    connect_offering(config, Offer::default(), tell).await
}

/// What TLS is told beside the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    /// Protocols in ALPN.
    pub(crate) alpn: Vec<Vec<u8>>,
    /// Who hears of the keys.
    pub(crate) keys: Option<Arc<dyn KeyLog>>,
}

impl Default for Offer {
    fn default() -> Self {
        Self {
            // HTTP/2 has no upgrade.
            alpn: vec![b"http/1.1".to_vec()],
            keys: None,
        }
    }
}

/// As [`connect_telling`], with other things said in TLS. Through the proxy of the configuration if it has one: `tell`
/// hears of nothing then before the proxy has connected to the server.
///
/// # Errors
/// As [`connect`] has them.
pub(crate) async fn connect_offering(
    config: &Config,
    offer: Offer,
    tell: &mut (dyn FnMut(Dialled) + Send),
) -> Result<Wire, Failure> {
    let url = api::url_of(config);
    let fail = |text: String| {
        let text = format!("error upgrading connection: {text}");
        Failure::new(
            Exit::General,
            Hop::ApiServer(url.clone()),
            portforward::escape::line(&text),
        )
    };
    let now = Instant::now();
    let deadline = now.checked_add(DEADLINE).unwrap_or(now);
    let late = |what: &str| fail(format!("{what} took longer than {} s", DEADLINE.as_secs()));
    let tls = match config.cluster_url.scheme_str() {
        Some("http") => None,
        Some("https") | None => Some(tls(config, offer, &url)?),
        Some(other) => {
            let text = format!("cannot use the scheme {other} of the server's URL");
            return Err(Failure::new(
                Exit::Usage,
                Hop::ApiServer(url),
                portforward::escape::line(&text),
            ));
        }
    };
    let tcp = match timeout_at(deadline, tcp(config, tell)).await {
        Ok(tcp) => tcp.map_err(|error| fail(error.to_string()))?,
        Err(_) => return Err(late("connecting")),
    };
    let Some((connector, name)) = tls else {
        return Ok(Wire::Plain(tcp));
    };
    let tcp = BufReader::with_capacity(READ_BUFFER, tcp);
    match timeout_at(deadline, connector.connect(name, tcp)).await {
        Ok(Ok(stream)) => {
            tell(Dialled::Tls);
            Ok(Wire::Tls(Box::new(stream)))
        }
        Ok(Err(error)) => Err(fail(format!("tls: {error}"))
            .advise("check the certificate-authority and tls-server-name of the cluster entry")),
        Err(_) => Err(late("the TLS handshake")),
    }
}

fn tls(
    config: &Config,
    offer: Offer,
    url: &str,
) -> Result<(TlsConnector, ServerName<'static>), Failure> {
    let mut client = config
        .rustls_client_config()
        .map_err(|error| api::unusable(url, &error))?;
    client.alpn_protocols = offer.alpn;
    if let Some(keys) = offer.keys {
        client.key_log = keys;
    }
    let name = server_name(config);
    let name = ServerName::try_from(name.to_owned()).map_err(|_| {
        let text = format!(
            "{} is no name for a server certificate",
            portforward::escape::line(name)
        );
        Failure::new(Exit::Usage, Hop::ApiServer(url.to_owned()), text)
    })?;
    Ok((TlsConnector::from(Arc::new(client)), name))
}

/// The name that the server's certificate must carry.
pub(crate) fn server_name(config: &Config) -> &str {
    config
        .tls_server_name
        .as_deref()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| proxy::host(&config.cluster_url))
}

/// Whether a connection failed for want of files or ports of this process or system, not because of the peer.
fn is_exhausted(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        let lacks = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
        if lacks
            .iter()
            .any(|lack| error.raw_os_error() == Some(lack.raw_os_error()))
        {
            return true;
        }
    }
    error.kind() == io::ErrorKind::AddrNotAvailable
}

/// To the server, or through the proxy.
async fn tcp(config: &Config, tell: &mut (dyn FnMut(Dialled) + Send)) -> io::Result<TcpStream> {
    let host = proxy::host(&config.cluster_url);
    let port = proxy::port(&config.cluster_url);
    match &config.proxy_url {
        None => to(host, port, tell).await,
        Some(url) => {
            let through = Through::of(url).map_err(io::Error::other)?;
            proxied(&through, host, port, tell).await
        }
    }
}

/// A connection to this host through a proxy.
///
/// # Errors
/// What failed, and that it was on the way to the proxy or behind it.
pub(crate) async fn proxied(
    through: &Through,
    host: &str,
    port: u16,
    tell: &mut (dyn FnMut(Dialled) + Send),
) -> io::Result<TcpStream> {
    let mut at = None;
    let mut listen = |dialled| match dialled {
        Dialled::Tcp(address) => at = Some(address),
        Dialled::Exhausted => tell(Dialled::Exhausted),
        Dialled::Address | Dialled::Tls => {}
    };
    let connected = to(&through.host, through.port, &mut listen).await;
    let mut stream = connected
        .map_err(|error| io::Error::new(error.kind(), format!("to the proxy: {error}")))?;
    through.ask(&mut stream, host, port).await?;
    if let Some(address) = at {
        tell(Dialled::Tcp(address));
    }
    Ok(stream)
}

/// Tries all addresses of the host in turn; one that does not answer leaves time for the next.
async fn to(
    host: &str,
    port: u16,
    tell: &mut (dyn FnMut(Dialled) + Send),
) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    tell(Dialled::Address);
    let patience = if addresses.len() > 1 {
        PER_ADDRESS
    } else {
        DEADLINE
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("no address for {host}"));
    for address in addresses {
        let connected = match timeout(patience, TcpStream::connect(address)).await {
            Ok(connected) => connected,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        match connected {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                keepalive(&stream)?;
                tell(Dialled::Tcp(address));
                return Ok(stream);
            }
            Err(error) => {
                if is_exhausted(&error) {
                    tell(Dialled::Exhausted);
                }
                last = io::Error::new(error.kind(), format!("dial tcp {address}: {error}"));
            }
        }
    }
    Err(last)
}

/// Path of a pod's port-forward request, behind the path of the server's URL.
pub(crate) fn path(config: &Config, namespace: &str, pod: &str) -> String {
    let prefix = config.cluster_url.path().trim_end_matches('/');
    format!("{prefix}/api/v1/namespaces/{namespace}/pods/{pod}/portforward")
}

/// A service that keeps the fields of a request and answers nothing.
#[derive(Clone)]
struct Capture(Arc<Mutex<HeaderMap>>);

impl tower::Service<Request<Body>> for Capture {
    type Response = Response<Body>;
    type Error = tower::BoxError;
    type Future = std::future::Ready<Result<Response<Body>, tower::BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), tower::BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if let Ok(mut seen) = self.0.lock() {
            *seen = request.headers().clone();
        }
        std::future::ready(Ok(Response::new(Body::empty())))
    }
}

/// The head fields of authentication and impersonation, as the kube client would send them, and who
/// we are. Their values are secrets.
///
/// # Errors
/// Exit code 3 if there are no credentials to be had.
pub(crate) async fn fields(config: &Config) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let url = api::url_of(config);
    // Not the error's own text alone: it may come from far below.
    let fail = |text: String| {
        let text = format!("getting credentials: {text}");
        Failure::new(
            Exit::Auth,
            Hop::ApiServer(url.clone()),
            portforward::escape::line(&text),
        )
    };
    let seen = Arc::new(Mutex::new(HeaderMap::new()));
    let capture = Capture(Arc::clone(&seen));
    let extra = config
        .extra_headers_layer()
        .map_err(|error| api::unusable(&url, &error))?;
    let service = extra.layer(capture);
    let request = Request::new(Body::empty());
    let auth = config
        .auth_layer()
        .map_err(|error| fail(error.to_string()))?;
    let sent = async {
        match auth {
            Some(auth) => auth.layer(service).oneshot(request).await,
            None => service.oneshot(request).await,
        }
    };
    // An identity provider may have to be asked for a new token.
    match timeout(CREDENTIALS, sent).await {
        Ok(sent) => drop(sent.map_err(|error| fail(error.to_string()))?),
        Err(_) => {
            return Err(fail(format!(
                "no answer within {} s",
                CREDENTIALS.as_secs()
            )));
        }
    }
    let mut headers = seen.lock().map(|seen| seen.clone()).unwrap_or_default();
    headers.remove(header::USER_AGENT);
    let mut fields: Vec<(String, Vec<u8>)> = headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    fields.push((
        header::USER_AGENT.as_str().to_owned(),
        crate::USER_AGENT.as_bytes().to_vec(),
    ));
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> Config {
        Config::new(url.parse().unwrap())
    }

    #[test]
    fn paths_and_hosts() {
        let table = [
            ("https://127.0.0.1:6443", "", "127.0.0.1:6443"),
            ("https://api.example.com/", "", "api.example.com"),
            ("https://user@[::1]:6443/", "", "[::1]:6443"),
            (
                "https://rancher/k8s/clusters/c-1",
                "/k8s/clusters/c-1",
                "rancher",
            ),
            (
                "https://rancher/k8s/clusters/c-1/",
                "/k8s/clusters/c-1",
                "rancher",
            ),
        ];
        for (url, prefix, expected) in table {
            let config = config(url);
            assert_eq!(
                path(&config, "ns", "web"),
                format!("{prefix}/api/v1/namespaces/ns/pods/web/portforward")
            );
            assert_eq!(api::host_of(&config), expected);
        }
    }

    async fn fields_of(config: &Config) -> Vec<(String, String)> {
        let fields = fields(config).await.unwrap();
        fields
            .into_iter()
            .map(|(name, value)| (name, String::from_utf8(value).unwrap()))
            .collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[tokio::test]
    async fn fields_of_every_kind_of_user() {
        let agent = pair("user-agent", crate::USER_AGENT);
        let mut config = config("https://127.0.0.1:6443");
        assert_eq!(fields_of(&config).await, std::slice::from_ref(&agent));

        config.auth_info.token = Some("t0ken".into());
        assert_eq!(
            fields_of(&config).await,
            [pair("authorization", "Bearer t0ken"), agent.clone()]
        );

        config.auth_info.impersonate = Some("jane".to_owned());
        config.auth_info.impersonate_groups = Some(vec!["a".to_owned(), "b".to_owned()]);
        let fields = fields_of(&config).await;
        for field in [
            pair("authorization", "Bearer t0ken"),
            pair("impersonate-user", "jane"),
            pair("impersonate-group", "a"),
            pair("impersonate-group", "b"),
            agent,
        ] {
            assert!(fields.contains(&field), "{field:?}");
        }

        config.auth_info.token = None;
        config.auth_info.username = Some("u".to_owned());
        config.auth_info.password = Some("p".into());
        let fields = fields_of(&config).await;
        assert!(fields.contains(&pair("authorization", "Basic dTpw")));
    }

    /// A line break in a token cannot add a head field.
    #[tokio::test]
    async fn no_field_can_be_smuggled_in() {
        let mut config = config("https://127.0.0.1:6443");
        config.auth_info.impersonate = Some("jane\r\nx-evil: 1".to_owned());
        let failure = fields(&config).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
    }

    #[tokio::test]
    async fn nobody_there() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        drop(taken);
        let config = config(&format!("http://127.0.0.1:{port}"));
        let Err(failure) = connect(&config).await else {
            panic!("connected to nobody")
        };
        assert_eq!(failure.exit, Exit::General);
        let text = failure.to_string();
        assert!(
            text.starts_with(&format!(
                "error: error upgrading connection: dial tcp 127.0.0.1:{port}"
            )),
            "{text}"
        );
    }

    #[tokio::test]
    async fn plain_http_works() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let config = config(&format!("http://{}", listener.local_addr().unwrap()));
        assert!(matches!(connect(&config).await, Ok(Wire::Plain(_))));
    }

    #[tokio::test]
    async fn other_schemes_do_not() {
        let Err(failure) = connect(&config("ftp://127.0.0.1")).await else {
            panic!("ftp")
        };
        assert_eq!(failure.exit, Exit::Usage);
    }
}
