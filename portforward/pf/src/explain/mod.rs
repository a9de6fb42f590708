//! `pf explain`: one real forwarded connection, drawn as it happened.
//!
//! The connection goes the way of every other; what is added watches from outside: a listener on
//! the look-ups, a wrapper around the upgraded connection, and on the embedded cluster an observer
//! in gateway and node.

mod args;
mod draw;
mod hops;
mod notes;
mod probe;
mod tap;
mod trace;

pub(crate) use args::{Args, Request};

use crate::api::{self, ApiServer, Exchange};
use crate::config::{self, Origin};
use crate::dial::{self, Dialled, Wire as Connection};
use crate::embedded;
use crate::establish;
use crate::exit::{Exit, Failure, Hop};
use crate::output::Output;
use crate::resolve::{Resolved, resolve};
use crate::signals::Signals;
use draw::Picture;
use hops::Collector;
use k8s_openapi::api::core::v1::Pod;
use kube::Config;
use portforward::client::{ForwardError, Forwarder, Summary};
use portforward::ports::RemotePort;
use portforward::session;
use portforward::upgrade::{self, PORT_FORWARD_V1, SPDY_31, UpgradeRequest};
use std::io::Write as _;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tap::Wire;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use trace::{Actor, Key, Trace};

/// For pf's side to end once the app has: a real runtime's end comes a second late.
const AFTER: Duration = Duration::from_secs(3);
/// The same where the app did not wait for the pod's end either.
const BROKE_OFF: Duration = Duration::from_millis(300);
/// For the session to end in order.
const CLOSE: Duration = Duration::from_secs(5);

/// What the drawing is of.
#[derive(Debug, Default)]
struct Facts {
    target: String,
    asked: String,
    namespace: Option<String>,
    pod: Option<String>,
    node: Option<String>,
    host_network: bool,
    /// Ports that the pod calls http.
    http: Vec<u16>,
    port: Option<u16>,
    embedded: bool,
    protocol: Option<&'static str>,
    sent: usize,
    received: usize,
    /// The upgrade request in the drawing, if it was answered with 101.
    upgraded: Option<Key>,
}

/// Makes the connection and draws it, also if it fails.
///
/// # Errors
/// What failed, after it was drawn.
pub(crate) async fn run(request: Request, output: &Output) -> Result<(), Failure> {
    let collector = Arc::new(Collector::default());
    let embedded = if request.embedded {
        let cluster = embedded::start_observed(collector.clone()).await;
        Some(cluster.map_err(|error| {
            let text = portforward::escape::text(&format!("{error:#}"));
            Failure::new(Exit::General, Hop::ApiServer("embedded".to_owned()), text)
        })?)
    } else {
        None
    };
    let trace = Trace::new();
    let log = request.wire_log.as_deref();
    let wire = Wire::new(&trace, log)
        .map_err(|error| Failure::usage(format!("cannot write the wire log: {error}")))?;
    let mut forward = Forward {
        request: &request,
        output,
        trace: trace.clone(),
        wire: wire.clone(),
        place: SELF,
        drawn: false,
        facts: Facts {
            target: request.target.to_string(),
            asked: request.asked(),
            embedded: request.embedded,
            ..Facts::default()
        },
    };
    let mut signals = Signals::new()?;
    let result = tokio::select! {
        result = forward.run(embedded.as_ref()) => result,
        () = signals.next() => {
            Err(Failure::new(Exit::General, Hop::CommandLine, "ended by a signal"))
        }
    };
    if matches!(&result, Err(failure) if failure.is_local()) {
        forward.place = SELF;
    }
    if let Err(failure) = &result
        && !forward.drawn
    {
        let text = failure.to_string();
        let text = text.lines().next().unwrap_or_default();
        trace.failed(forward.place, Instant::now(), text);
    }
    if embedded.is_some() {
        for _ in 0..20 {
            if collector.is_over() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        collector.draw(&trace);
    } else {
        notes::add_unseen(&forward.facts, &trace);
    }
    let (steps, dropped) = trace.finish();
    let error = result.as_ref().err().map(ToString::to_string);
    let picture = Picture {
        facts: &forward.facts,
        steps: &steps,
        dropped,
        notes: &notes::of(&forward.facts),
        exit: result
            .as_ref()
            .map_or_else(|failure| failure.exit as u8, |()| 0),
        error: error.as_deref(),
    };
    // Not through the outputs' queue: a slow reader still gets all of it.
    let drawing = picture.draw(request.format);
    let mut stdout = std::io::stdout().lock();
    let shown = stdout
        .write_all(drawing.as_bytes())
        .and_then(|()| stdout.flush())
        // A reader that has seen enough is none of our business.
        .or_else(|error| match error.kind() {
            std::io::ErrorKind::BrokenPipe => Ok(()),
            _ => Err(Failure::new(
                Exit::General,
                Hop::CommandLine,
                format!("cannot write the drawing: {error}"),
            )),
        });
    let logged = wire.finish().map_err(|error| unwritten(&error));
    // What failed first is what is told.
    result.and(shown).and(logged)
}

fn unwritten(error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::General,
        Hop::Local,
        format!("cannot write the wire log: {error}"),
    )
}

/// The forward under way.
struct Forward<'a> {
    request: &'a Request,
    output: &'a Output,
    trace: Trace,
    wire: Wire,
    /// Between whom a failure is to be drawn.
    place: (Actor, Actor),
    /// ... if it has not been.
    drawn: bool,
    facts: Facts,
}

const SELF: (Actor, Actor) = (Actor::Pf, Actor::Pf);
const ASK: (Actor, Actor) = (Actor::Pf, Actor::Server);
const ANSWER: (Actor, Actor) = (Actor::Server, Actor::Pf);

impl Forward<'_> {
    async fn run(&mut self, embedded: Option<&embedded::Embedded>) -> Result<(), Failure> {
        let config = self.configuration(embedded).await?;
        let namespace = self
            .request
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let namespace = if namespace.is_empty() {
            "default".to_owned()
        } else {
            namespace
        };
        crate::target::check_name("namespace", &namespace)
            .map_err(|text| Failure::usage(portforward::escape::line(&text)))?;
        self.facts.namespace = Some(namespace.clone());

        let (server, found, port) = self.look_up(&config, &namespace).await?;
        self.place = SELF;
        let request = UpgradeRequest {
            path: dial::path(&config, &namespace, &found.pod),
            host: api::host_of(&config).to_owned(),
            fields: dial::fields(&config).await?,
        };
        self.place = ASK;
        match self.dial(&config).await? {
            Connection::Plain(io) => self.upgrade(io, &request, &config, &server, port).await,
            Connection::Tls(io) => self.upgrade(io, &request, &config, &server, port).await,
        }
    }

    async fn configuration(
        &self,
        embedded: Option<&embedded::Embedded>,
    ) -> Result<Config, Failure> {
        let since = Instant::now();
        let mut origin = Origin::default();
        let config = match embedded {
            Some(cluster) => {
                "the embedded cluster".clone_into(&mut origin.place);
                cluster.config.clone()
            }
            None => config::load_noting(&self.request.selection, self.output, &mut origin).await?,
        };
        let text = format!("{}: {}", origin.place, notes::credentials(&config, &origin));
        self.trace.span(SELF, since, &text);
        Ok(config)
    }

    /// The pod and the port, with every request drawn.
    async fn look_up(
        &mut self,
        config: &Config,
        namespace: &str,
    ) -> Result<(ApiServer, Resolved, NonZeroU16), Failure> {
        let asked = Mutex::new(Instant::now());
        let trace = self.trace.clone();
        let listener = Arc::new(move |exchange: Exchange<'_>| {
            let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
            match exchange {
                Exchange::Asked(method, uri) => {
                    *asked = Instant::now();
                    let path = uri.path_and_query().map_or("/", |path| path.as_str());
                    trace.now(ASK, &format!("{method} {path}"));
                }
                Exchange::Answered(status) => {
                    let text = status.map_or_else(|| "no answer".to_owned(), |s| s.to_string());
                    let now = Instant::now();
                    let took = now.saturating_duration_since(*asked);
                    trace.step(ANSWER, now, Some(took), &text);
                }
            }
        });
        let server = ApiServer::overheard(config, namespace, listener)?;
        self.place = ANSWER;
        let specs = std::slice::from_ref(&self.request.port);
        let (target, patience) = (&self.request.target, self.request.patience);
        let found = resolve(&server, target, specs, patience, self.output).await?;
        self.place = SELF;
        let port = found.forwards.first().map(|forward| forward.remote);
        let port = port.ok_or_else(|| Failure::usage("no port"))?;
        self.facts.pod = Some(found.pod.clone());
        self.facts.port = Some(port.get());
        let spec = found.object.spec.as_ref();
        let node = spec.and_then(|spec| spec.node_name.as_deref());
        self.facts.node = node.map(portforward::escape::line);
        self.facts.host_network = spec.and_then(|spec| spec.host_network) == Some(true);
        self.facts.http = http_ports(&found.object);
        let text = format!(
            "{} port {} is pod/{} port {port}",
            self.facts.target, self.facts.asked, found.pod
        );
        self.trace.now(SELF, &text);
        Ok((server, found, port))
    }

    async fn dial(&self, config: &Config) -> Result<Connection, Failure> {
        let mut since = Instant::now();
        let trace = &self.trace;
        let connection = dial::connect_telling(config, &mut |done| {
            match done {
                Dialled::Address | Dialled::Exhausted => {}
                Dialled::Tcp(address) => {
                    trace.span(ASK, since, &format!("TCP to {address}"));
                }
                Dialled::Tls => return,
            }
            since = Instant::now();
        })
        .await?;
        if let Connection::Tls(io) = &connection {
            let tls = io.get_ref().1;
            let version = tls.protocol_version().and_then(|v| v.as_str());
            let version = version.unwrap_or("TLS").replace("TLSv1_", "TLS 1.");
            let alpn = match tls.alpn_protocol() {
                Some(name) => portforward::escape::bytes(name),
                None => "none".to_owned(),
            };
            let name = dial::server_name(config);
            let text = format!("{version}, ALPN {alpn}, server name {name}");
            trace.span(ASK, since, &text);
        }
        Ok(connection)
    }

    async fn upgrade<T>(
        &mut self,
        io: T,
        request: &UpgradeRequest,
        config: &Config,
        server: &ApiServer,
        port: NonZeroU16,
    ) -> Result<(), Failure>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let since = Instant::now();
        // As the look-ups are drawn: without what stands before it in the server's URL.
        let api = request.path.rfind("/api/v1/namespaces/");
        let path = api.and_then(|at| request.path.get(at..));
        let path = path.unwrap_or("/(left-out)");
        let text = format!("POST {path} (Upgrade: {SPDY_31}, {PORT_FORWARD_V1})");
        let asked = self.trace.now(ASK, &text);
        self.place = ANSWER;
        let pod = self.facts.pod.clone().unwrap_or_default();
        let answer = upgrade::spdy(io, request).await;
        let now = Instant::now();
        let took = Some(now.saturating_duration_since(since));
        let upgraded = match answer {
            Ok(upgraded) => upgraded,
            Err(error) => {
                if let upgrade::UpgradeError::Refused {
                    status, message, ..
                } = &error
                {
                    let allowed = match status {
                        401 => "not authenticated",
                        // The runtime refuses a protocol with the same code.
                        403 if !message.starts_with("unable to upgrade") => "not authorised",
                        _ => "refused",
                    };
                    let text = format!("{status}: {allowed}");
                    self.trace.step(ANSWER, now, took, &text);
                }
                let namespace = server.namespace();
                return Err(establish::explain(&error, config, namespace, &pod));
            }
        };
        let text = format!("101: authorised, {SPDY_31}, {PORT_FORWARD_V1}");
        self.trace.step(ANSWER, now, took, &text);
        self.facts.protocol = Some(SPDY_31);
        self.facts.upgraded = Some(asked);
        self.wire.passed(false, &upgraded.early);
        self.place = SELF;
        let io = self.wire.wrap(upgraded.io);
        self.carry(io, upgraded.early, port).await
    }

    /// One connection over a session of its own, then the end of both.
    async fn carry<T>(
        &mut self,
        io: T,
        early: bytes::BytesMut,
        port: NonZeroU16,
    ) -> Result<(), Failure>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        // One connection needs neither, and the drawing is of what every client says.
        let mut config = session::Config::default();
        config.windows = false;
        config.lanes = false;
        let (session, driver) = session::client(io, early, config)
            .map_err(|e| Failure::new(Exit::General, Hop::Local, e.to_string()))?;
        let driver = tokio::spawn(driver);
        let (app, local) = self.local_connection().await?;
        self.place = (Actor::Runtime, Actor::Pf);
        let forwarder = Forwarder::new(session.clone());
        let to_send = self.to_send(port);
        let carried = {
            let carried = async {
                let result = forwarder.forward(local, port.get()).await;
                (Instant::now(), result)
            };
            let probe = probe::run(app, &to_send, &self.trace);
            tokio::pin!(carried, probe);
            let (carried, probed) = tokio::select! {
                result = &mut carried => (Some(result), probe.await),
                probed = &mut probe => {
                    let after = if probed.broke_off { BROKE_OFF } else { AFTER };
                    (timeout(after, &mut carried).await.ok(), probed)
                }
            };
            (self.facts.sent, self.facts.received) = (probed.sent, probed.received);
            carried.map(|(at, result)| (at, result, probed.broke_off))
        };
        let verdict = self.verdict(carried, port);
        let since = Instant::now();
        session.close();
        let reason = match timeout(CLOSE, driver).await {
            Ok(Ok(reason)) => reason.to_string(),
            _ => "not in time".to_owned(),
        };
        let text = format!("session over: {reason}");
        self.trace
            .step(SELF, Instant::now(), Some(since.elapsed()), &text);
        verdict
    }

    /// What pf says of how the connection ended.
    fn verdict(
        &mut self,
        carried: Option<(Instant, Result<Summary, ForwardError>, bool)>,
        port: NonZeroU16,
    ) -> Result<(), Failure> {
        match carried {
            None => {
                self.trace
                    .now(SELF, "no end of both streams in time: pf resets them");
                Ok(())
            }
            Some((at, Ok(summary), _)) => {
                let verdict = if summary.confirmed {
                    "the error stream is empty"
                } else {
                    "the error stream has not ended"
                };
                let text = format!(
                    "verdict: clean, {} bytes out, {} back; {verdict}",
                    summary.sent, summary.received
                );
                self.trace.step(SELF, at, None, &text);
                Ok(())
            }
            Some((at, Err(ForwardError::Local(_)), true)) => {
                self.trace.step(SELF, at, None, "the app is gone");
                Ok(())
            }
            Some((at, Err(error), _)) => {
                let pod = self.facts.pod.as_deref().unwrap_or_default();
                let namespace = self.facts.namespace.as_deref().unwrap_or_default();
                let pod = format!("pod/{pod} in namespace {namespace}");
                // Who said so, or who would have: only what came on the streams is the node's.
                let (place, between) = match &error {
                    ForwardError::SessionLost(_) => (Hop::Way(pod), ANSWER),
                    ForwardError::Local(_) | ForwardError::NotOpened(_) => (Hop::Local, SELF),
                    _ => (Hop::Node(pod), self.place),
                };
                let text = portforward::escape::line(error.to_string().trim());
                self.trace
                    .failed(between, at, &format!("verdict: failed: {text}"));
                self.drawn = true;
                let text = format!("an error occurred forwarding port {port}: {text}");
                Err(Failure::new(Exit::General, place, text))
            }
        }
    }

    /// A real connection between the app and pf.
    async fn local_connection(&self) -> Result<(TcpStream, TcpStream), Failure> {
        let since = Instant::now();
        let connected = async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let app = TcpStream::connect(listener.local_addr()?).await?;
            loop {
                let (local, peer) = listener.accept().await?;
                // Anybody may connect to a port of this machine.
                if peer == app.local_addr()? {
                    app.set_nodelay(true)?;
                    local.set_nodelay(true)?;
                    return Ok((app, local));
                }
            }
        };
        let both = connected.await.map_err(|error: std::io::Error| {
            let text = format!("cannot connect on the loopback interface: {error}");
            Failure::new(Exit::General, Hop::Local, text)
        })?;
        self.trace
            .span((Actor::App, Actor::Pf), since, "TCP to a port of pf's");
        Ok(both)
    }

    /// What `--send` says, or what suits the port.
    fn to_send(&self, port: NonZeroU16) -> Vec<u8> {
        if let Some(send) = &self.request.send {
            return send.clone();
        }
        let number = |number: u16| matches!(number, 80 | 8080);
        let asked = match &self.request.port.remote {
            RemotePort::Number(asked) => number(asked.get()),
            RemotePort::Name(name) => name == "http",
        };
        if asked || number(port.get()) || self.facts.http.contains(&port.get()) {
            let agent = crate::USER_AGENT;
            return format!(
                "HEAD / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {agent}\r\nConnection: close\r\n\r\n"
            )
            .into_bytes();
        }
        Vec::new()
    }
}

/// Ports that the pod calls http.
fn http_ports(pod: &Pod) -> Vec<u16> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers
        .flat_map(|container| container.ports.iter().flatten())
        .filter(|port| port.name.as_deref() == Some("http"))
        .filter_map(|port| u16::try_from(port.container_port).ok())
        .collect()
}
