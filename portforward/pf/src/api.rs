//! Questions to the API server, each against a deadline, and what its refusals mean to the user.

use crate::exit::{Exit, Failure, Hop};
use crate::target::Kind;
use http::Response;
use http_body_util::{LengthLimitError, Limited};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tower::util::MapResponseLayer;

/// For one answer. The watch has its own.
const DEADLINE: Duration = Duration::from_secs(30);
/// For the version, which is nice to know and no more.
const VERSION: Duration = Duration::from_secs(3);
/// For a TCP connection to stand.
pub(crate) const CONNECT: Duration = Duration::from_secs(10);
/// Most bytes of one answer: some thousand pods, which may all stand behind one selector. The client
/// holds an answer in memory. A watch counts as one answer.
const ANSWER: usize = 32 << 20;

/// A client for one namespace.
pub(crate) struct ApiServer {
    client: Client,
    url: String,
    namespace: String,
}

/// An action, in RBAC's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Action {
    pub(crate) verb: &'static str,
    pub(crate) group: &'static str,
    pub(crate) resource: &'static str,
}

impl Action {
    pub(crate) const fn get(kind: Kind) -> Self {
        Self {
            verb: "get",
            group: kind.group(),
            resource: kind.resource(),
        }
    }

    pub(crate) const LIST_PODS: Self = Self {
        verb: "list",
        group: "",
        resource: "pods",
    };
    pub(crate) const WATCH_PODS: Self = Self {
        verb: "watch",
        group: "",
        resource: "pods",
    };
    pub(crate) const FORWARD: Self = Self {
        verb: "create",
        group: "",
        resource: "pods/portforward",
    };

    /// What is to be asked for, as a Role's `rules`.
    pub(crate) fn rule(self, namespace: &str) -> String {
        // A WebSocket asks by GET, for which `get` is needed as well.
        let get = if self == Self::FORWARD {
            "\"get\", "
        } else {
            ""
        };
        format!(
            "ask for this rule in a Role of namespace {namespace}, bound to you:\n\
             rules:\n\
             - apiGroups: [\"{}\"]\n  resources: [\"{}\"]\n  verbs: [{get}\"{}\"]",
            self.group, self.resource, self.verb
        )
    }
}

impl ApiServer {
    /// # Errors
    /// Exit code 2 if certificates or keys of the configuration are no good.
    pub(crate) fn new(config: &Config, namespace: &str) -> Result<Self, Failure> {
        Self::build(config, namespace, None)
    }

    /// As [`ApiServer::new`], with somebody who hears of each request and answer.
    ///
    /// # Errors
    /// As [`ApiServer::new`].
    pub(crate) fn overheard(
        config: &Config,
        namespace: &str,
        listener: Listener,
    ) -> Result<Self, Failure> {
        Self::build(config, namespace, Some(listener))
    }

    fn build(
        config: &Config,
        namespace: &str,
        listener: Option<Listener>,
    ) -> Result<Self, Failure> {
        let url = url_of(config);
        let mut config = config.clone();
        config.connect_timeout = Some(CONNECT);
        // Whoever waits at a terminal is told at once.
        config.default_retry = false;
        let builder = ClientBuilder::try_from(config)
            .map_err(|error| unusable(&url, &error))?
            .with_layer(&MapResponseLayer::new(bounded));
        let client = match listener {
            None => builder.build(),
            Some(listener) => {
                let layer = tower::layer::layer_fn(move |inner| Overheard {
                    inner,
                    listener: Arc::clone(&listener),
                });
                builder.with_layer(&layer).build()
            }
        };
        Ok(Self {
            client,
            url,
            namespace: namespace.to_owned(),
        })
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The server's version, escaped, if it tells within a moment.
    pub(crate) async fn version(&self) -> Option<String> {
        let asked = tokio::time::timeout(VERSION, self.client.apiserver_version());
        let version = asked.await.ok()?.ok()?;
        Some(portforward::escape::line(&version.git_version))
    }

    /// Waits for an answer.
    ///
    /// # Errors
    /// Exit code 3 if it is a refusal, 4 if there is no such object, else 1.
    pub(crate) async fn ask<T>(
        &self,
        action: Action,
        answer: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(DEADLINE, answer).await {
            Ok(answer) => answer.map_err(|error| self.explain(action, &error)),
            Err(_) => Err(self.silent()),
        }
    }

    fn silent(&self) -> Failure {
        let text = format!(
            "Unable to connect to the server: no answer within {} s",
            DEADLINE.as_secs()
        );
        Failure::new(Exit::General, Hop::ApiServer(self.url.clone()), text)
    }

    pub(crate) fn explain(&self, action: Action, error: &kube::Error) -> Failure {
        match error {
            kube::Error::Api(status) => {
                self.refusal(action, status.code, &status.reason, &status.message)
            }
            other => self.broken(other),
        }
    }

    /// A failure the API server told about.
    pub(crate) fn refusal(
        &self,
        action: Action,
        code: u16,
        reason: &str,
        message: &str,
    ) -> Failure {
        let message = portforward::escape::text(message.trim());
        // What the kube library says of an answer that is no Status.
        let reason = if reason == "Failed to parse error data" {
            ""
        } else {
            reason
        };
        let reason = portforward::escape::line(reason);
        let hop = Hop::ApiServer(self.url.clone());
        let text = if reason.is_empty() {
            format!("Error from server: {message}")
        } else {
            format!("Error from server ({reason}): {message}")
        };
        let failure = match code {
            401 => return unauthorized(hop),
            403 => Failure::new(Exit::Auth, hop, text).advise(action.rule(&self.namespace)),
            404 => Failure::new(Exit::Target, hop, text).advise(format!(
                "check the name, the namespace ({}) and --context",
                self.namespace
            )),
            _ => Failure::new(Exit::General, hop, text),
        };
        if reason.is_empty() {
            // The text need not tell: it may be a page of a proxy on the way.
            failure.because(format!("HTTP {code}"))
        } else {
            failure
        }
    }

    fn broken(&self, error: &kube::Error) -> Failure {
        let hop = Hop::ApiServer(self.url.clone());
        if let kube::Error::Auth(error) = error {
            let text = format!("getting credentials: {error}");
            return Failure::new(Exit::Auth, hop, portforward::escape::line(&text));
        }
        if let kube::Error::SerdeError(error) = error {
            let text = format!("the server's answer cannot be read: {error}");
            return Failure::new(Exit::General, hop, portforward::escape::line(&text));
        }
        if causes(error).any(<dyn Error>::is::<LengthLimitError>) {
            let text = format!("the server's answer is longer than {} MiB", ANSWER >> 20);
            return Failure::new(Exit::General, hop, text).advise(
                "check the server of the cluster entry; if it is the right one, forward to a pod by name",
            );
        }
        let (text, kind) = deepest(error);
        let connect = |text: &str, advice: &str| {
            let text = format!("Unable to connect to the server: {text}");
            Failure::new(Exit::General, hop.clone(), text).advise(advice)
        };
        match kind {
            Some(io::ErrorKind::ConnectionRefused) => {
                let host = self.url.split("://").last().unwrap_or_default();
                let host = host.split('/').next().unwrap_or_default();
                let text = format!(
                    "The connection to the server {host} was refused - did you specify the right host or port?"
                );
                Failure::new(Exit::General, hop, text)
                    .advise("check that the cluster is up, and --context")
            }
            Some(io::ErrorKind::TimedOut) => {
                let text = format!("no answer within {} s", CONNECT.as_secs());
                connect(&text, REACH)
            }
            _ if text.contains("certificate") => connect(
                &text,
                "check certificate-authority and tls-server-name of the cluster entry",
            ),
            _ => connect(&text, REACH),
        }
    }
}

fn bounded<B>(answer: Response<B>) -> Response<Limited<B>> {
    answer.map(|body| Limited::new(body, ANSWER))
}

/// A request, or the status of its answer (`None`: there was none). Outside of authentication: heads
/// hold no credentials here.
pub(crate) enum Exchange<'a> {
    Asked(&'a http::Method, &'a http::Uri),
    Answered(Option<u16>),
}

/// Hears of exchanges when they happen.
pub(crate) type Listener = Arc<dyn Fn(Exchange<'_>) + Send + Sync>;

/// A service with a [`Listener`].
struct Overheard<S> {
    inner: S,
    listener: Listener,
}

impl<S, B> tower::Service<http::Request<Body>> for Overheard<S>
where
    S: tower::Service<http::Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        (self.listener)(Exchange::Asked(request.method(), request.uri()));
        let listener = Arc::clone(&self.listener);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
            listener(Exchange::Answered(status));
            answer
        })
    }
}

/// Advice for a server that does not answer.
const REACH: &str = "check the server of the cluster entry, and the network or VPN towards it";

/// Host and port as the server's URL has them, without the user and password that may stand before.
pub(crate) fn host_of(config: &Config) -> &str {
    let authority = config
        .cluster_url
        .authority()
        .map_or("", |authority| authority.as_str());
    authority.rsplit('@').next().unwrap_or_default()
}

/// The server of the configuration, for messages: without secrets, without a final slash.
pub(crate) fn url_of(config: &Config) -> String {
    let uri = &config.cluster_url;
    let scheme = uri.scheme_str().unwrap_or("https");
    let url = format!("{scheme}://{}{}", host_of(config), uri.path());
    portforward::escape::line(url.trim_end_matches('/'))
}

pub(crate) fn unauthorized(hop: Hop) -> Failure {
    let text = "You must be logged in to the server (Unauthorized)";
    Failure::new(Exit::Auth, hop, text)
        .advise("log in anew: the credentials of this context are missing, wrong or out of date")
}

/// Certificates, keys or a server name that cannot be used.
pub(crate) fn unusable(url: &str, error: &kube::Error) -> Failure {
    // Below kube's own layer, which says only that; it names what is wrong, and why.
    let text = error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string);
    let text = portforward::escape::line(&text);
    let hop = Hop::Kubeconfig(format!("entry of {url}"));
    Failure::new(
        Exit::Usage,
        hop,
        format!("cannot use the configuration: {text}"),
    )
}

/// Text of the first cause, escaped (the layers above say only where it passed), and its kind if it is of the
/// system.
fn deepest(error: &kube::Error) -> (String, Option<io::ErrorKind>) {
    let kinds = causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>());
    let kind = kinds.map(io::Error::kind).last();
    let text = causes(error).last().map(ToString::to_string);
    (portforward::escape::line(&text.unwrap_or_default()), kind)
}

/// The error and what is below it, from the top.
fn causes(error: &kube::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let top: &(dyn Error + 'static) = error;
    std::iter::successors(Some(top), |&cause| cause.source())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::client::Body;

    fn server() -> ApiServer {
        let config = Config::new("https://127.0.0.1:6443/".parse().unwrap());
        let service = tower::service_fn(|_: http::Request<Body>| async {
            Err::<Response<Body>, _>(io::Error::other("unused"))
        });
        ApiServer {
            client: Client::new(service, "default"),
            url: url_of(&config),
            namespace: "ns".to_owned(),
        }
    }

    #[tokio::test]
    async fn refusals_and_their_codes() {
        let get = Action::get(Kind::Deployment);
        let table = [
            (
                401,
                "Unauthorized",
                Exit::Auth,
                "error: You must be logged in to the server (Unauthorized)\n",
            ),
            (
                403,
                "Forbidden",
                Exit::Auth,
                "Error from server (Forbidden): text\n",
            ),
            (
                404,
                "NotFound",
                Exit::Target,
                "Error from server (NotFound): text\n",
            ),
            (500, "", Exit::General, "Error from server: text\n"),
            (
                503,
                "ServiceUnavailable",
                Exit::General,
                "Error from server (ServiceUnavailable): text\n",
            ),
        ];
        for (code, reason, exit, start) in table {
            let failure = server().refusal(get, code, reason, "text\n");
            assert_eq!(failure.exit, exit);
            let text = failure.to_string();
            assert!(text.starts_with(start), "{text}");
            assert!(text.contains("API server https://127.0.0.1:6443"), "{text}");
        }
    }

    #[tokio::test]
    async fn the_missing_rule_is_told() {
        let text = server()
            .refusal(Action::FORWARD, 403, "Forbidden", "no")
            .to_string();
        assert!(
            text.ends_with(
                "namespace ns, bound to you:\n    rules:\n    - apiGroups: [\"\"]\n      resources: [\"pods/portforward\"]\n      verbs: [\"get\", \"create\"]"
            ),
            "{text}"
        );
        let rule = Action::get(Kind::Job).rule("ns");
        assert!(
            rule.contains("[\"batch\"]") && rule.contains("[\"jobs\"]"),
            "{rule}"
        );
    }

    #[test]
    fn urls_for_messages() {
        let table = [
            ("https://127.0.0.1:6443", "https://127.0.0.1:6443"),
            ("https://u:canary@[::1]:6443/", "https://[::1]:6443"),
            ("http://rancher/k8s/c-1/", "http://rancher/k8s/c-1"),
        ];
        for (server, url) in table {
            assert_eq!(url_of(&Config::new(server.parse().unwrap())), url);
        }
    }

    /// T26: what a server says cannot move the cursor.
    #[tokio::test]
    async fn texts_are_escaped() {
        let text = server()
            .refusal(Action::LIST_PODS, 500, "\u{1b}[2J", "a\u{202e}b\r\u{9b}c")
            .to_string();
        assert!(
            !text.contains(['\u{1b}', '\u{202e}', '\r', '\u{9b}']),
            "{text:?}"
        );
    }

    /// The body of a refusal that is no Status need not name the HTTP status.
    #[tokio::test]
    async fn refusals_of_something_else() {
        let get = Action::get(Kind::Pod);
        let text = server()
            .refusal(get, 503, "Failed to parse error data", "<h1>later</h1>")
            .to_string();
        assert!(
            text.starts_with("Error from server: <h1>later</h1>\n"),
            "{text}"
        );
        assert!(text.ends_with("\n  why: HTTP 503"), "{text}");
        let text = server()
            .refusal(get, 500, "InternalError", "no")
            .to_string();
        assert!(!text.contains("why"), "{text}");
    }

    #[tokio::test]
    async fn answers_are_bounded() {
        let service = |length| {
            tower::service_fn(move |_: http::Request<Body>| async move {
                Ok::<_, io::Error>(Response::new(Body::from(vec![b'x'; length])))
            })
        };
        let answer = async |length| {
            let client = ClientBuilder::new(service(length), "default")
                .with_layer(&MapResponseLayer::new(bounded))
                .build();
            client.request_text(http::Request::default()).await
        };
        assert_eq!(answer(ANSWER).await.unwrap().len(), ANSWER);
        let failure = server().broken(&answer(ANSWER + 1).await.unwrap_err());
        assert_eq!(failure.exit, Exit::General);
        let text = failure.to_string();
        assert!(
            text.starts_with("error: the server's answer is longer than 32 MiB\n"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn refused_connections_in_kubectls_words() {
        let io = io::Error::from(io::ErrorKind::ConnectionRefused);
        let failure = server().broken(&kube::Error::Service(Box::new(io)));
        assert_eq!(failure.exit, Exit::General);
        assert!(failure.to_string().starts_with(
            "error: The connection to the server 127.0.0.1:6443 was refused - did you specify the right host or port?"
        ));
    }
}
