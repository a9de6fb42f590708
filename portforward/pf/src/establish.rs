//! The way to the pod: dial, upgrade, driver; a session for all connections, or a WebSocket for each.

use crate::api::{self, Action, ApiServer};
use crate::cli::{Isolate, Protocol};
use crate::dial::{self, Wire};
use crate::exit::{Exit, Failure, Hop};
use crate::output::Output;
use bytes::BytesMut;
use kube::Config;
use portforward::record::{Recorder, Tap};
use portforward::session::channels::{self, PortStreams};
use portforward::session::{self, CloseReason, Session};
use portforward::upgrade::{self, CHANNEL_V4, TUNNEL, UpgradeError, UpgradeRequest, Upgraded};
use portforward::websocket::WsByteStream;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How long a stream that nobody reads may hold up those that share its session. Short enough that they
/// do not notice; on a session of its own it may wait for ever.
const STALL: Duration = Duration::from_millis(700);

/// Bytes that TLS of a session encrypts before it writes them: a DATA frame of ours, in one call.
const WRITE_BUFFER: usize = 256 << 10;

/// As long as a session can be told to wait.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// How connections get to the pod.
pub(crate) enum Established {
    /// They share sessions; this is the first, and what opens more. The task ends with the
    /// connection.
    Session((Session, JoinHandle<CloseReason>), Box<Dialler>),
    /// Each has a WebSocket of its own.
    Channels(Arc<Channels>),
}

/// Upgrades a connection for the pod's ports.
///
/// # Errors
/// Exit code 3 for a refusal, 4 if the pod is gone, else 1.
pub(crate) async fn establish(
    config: &Config,
    api: &ApiServer,
    pod: &str,
    (protocol, isolate): (Protocol, Isolate),
    recorder: Option<Recorder>,
    output: &Output,
) -> Result<Established, Failure> {
    let place = Place {
        config: config.clone(),
        namespace: api.namespace().to_owned(),
        pod: pod.to_owned(),
        stall: match isolate {
            Isolate::Never => None,
            Isolate::Auto | Isolate::Always => Some(STALL),
        },
    };
    let spoken = |what: &str| output.trace(1, || format!("session: {what}"));
    let first = match protocol {
        Protocol::Channel => {
            let channels = Channels { place };
            channels.check().await?;
            spoken("none: a WebSocket (v4.channel.k8s.io) for each connection");
            return Ok(Established::Channels(Arc::new(channels)));
        }
        Protocol::Spdy => None,
        Protocol::Tunnel | Protocol::Auto => {
            match place.upgrade(Way::Tunnel, recorder.clone()).await? {
                Ok(first) => {
                    spoken("SPDY/3.1 in a WebSocket");
                    let way = Way::Tunnel;
                    return Ok(Established::Session(
                        first,
                        Box::new(Dialler { place, way }),
                    ));
                }
                Err(error) if protocol == Protocol::Auto && error.allows_fallback() => Some(error),
                Err(error) => return Err(place.explain(&error)),
            }
        }
    };
    if let Some(error) = &first {
        output.trace(1, || {
            let text = portforward::escape::line(&error.to_string());
            format!("no WebSocket ({text}): asking for SPDY/3.1")
        });
    }
    let (failure, second) = match place.upgrade(Way::Spdy, recorder).await {
        Ok(Ok(first)) => {
            spoken("SPDY/3.1");
            let way = Way::Spdy;
            return Ok(Established::Session(
                first,
                Box::new(Dialler { place, way }),
            ));
        }
        Ok(Err(error)) => (place.explain(&error), Some(error.to_string())),
        Err(failure) => (failure, None),
    };
    // Most often a server says the same to both.
    let first = first.map(|error| error.to_string());
    Err(match first.filter(|text| Some(text) != second.as_ref()) {
        Some(text) => failure.because(format!(
            "SPDY was the second try; the first, a WebSocket: {}",
            portforward::escape::line(&text)
        )),
        None => failure,
    })
}

/// Opens sessions like the first.
pub(crate) struct Dialler {
    place: Place,
    way: Way,
}

impl Dialler {
    /// Opens none: nobody listens there.
    #[cfg(test)]
    pub(crate) fn nowhere() -> Box<Self> {
        let place = Place {
            config: Config::new("http://127.0.0.1:1".parse().expect("a URL")),
            namespace: "ns".to_owned(),
            pod: "pod".to_owned(),
            stall: None,
        };
        let way = Way::Spdy;
        Box::new(Self { place, way })
    }

    /// Another session.
    ///
    /// # Errors
    /// As [`establish`].
    pub(crate) async fn dial(&self) -> Result<(Session, JoinHandle<CloseReason>), Failure> {
        let upgraded = self.place.upgrade(self.way, None).await?;
        upgraded.map_err(|error| self.place.explain(&error))
    }
}

/// Which session.
#[derive(Clone, Copy)]
enum Way {
    Spdy,
    Tunnel,
}

/// Where it goes.
struct Place {
    config: Config,
    namespace: String,
    pod: String,
    /// How long a stream that nobody reads may hold up others before it is reset; `None`: for ever.
    stall: Option<Duration>,
}

impl Place {
    async fn request(&self, query: &str) -> Result<UpgradeRequest, Failure> {
        let path = dial::path(&self.config, &self.namespace, &self.pod);
        Ok(UpgradeRequest {
            path: format!("{path}{query}"),
            host: api::host_of(&self.config).to_owned(),
            fields: dial::fields(&self.config).await?,
        })
    }

    /// On a connection of its own.
    async fn upgrade(
        &self,
        way: Way,
        recorder: Option<Recorder>,
    ) -> Result<Result<(Session, JoinHandle<CloseReason>), UpgradeError>, Failure> {
        let request = self.request("").await?;
        let mut config = session::Config::default();
        config.stall = self.stall.unwrap_or(FOR_EVER);
        // A transcript is of what every client says.
        config.windows = recorder.is_none();
        config.lanes = recorder.is_none();
        Ok(match dial::connect(&self.config).await? {
            Wire::Plain(io) => upgrade(io, &request, way, recorder, config).await,
            Wire::Tls(mut io) => {
                io.get_mut().1.set_buffer_limit(Some(WRITE_BUFFER));
                upgrade(io, &request, way, recorder, config).await
            }
        })
    }

    fn explain(&self, error: &UpgradeError) -> Failure {
        explain(error, &self.config, &self.namespace, &self.pod)
    }
}

async fn upgrade<T>(
    io: T,
    request: &UpgradeRequest,
    way: Way,
    recorder: Option<Recorder>,
    config: session::Config,
) -> Result<(Session, JoinHandle<CloseReason>), UpgradeError>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    match (way, recorder) {
        (Way::Spdy, None) => start(upgrade::spdy(io, request).await?, config),
        (Way::Spdy, Some(recorder)) => {
            start(upgrade::spdy_recorded(io, request, recorder).await?, config)
        }
        (Way::Tunnel, recorder) => {
            let upgraded = upgrade::websocket(io, request, &[TUNNEL], recorder.as_ref()).await;
            let (Upgraded { io, early }, _) = upgraded?;
            let io = WsByteStream::client(io, early).map_err(io::Error::other)?;
            let early = BytesMut::new();
            match recorder {
                None => start(Upgraded { io, early }, config),
                // Inside the WebSocket, where the session is.
                Some(recorder) => {
                    let io = Tap::client(io, recorder, &[]);
                    start(Upgraded { io, early }, config)
                }
            }
        }
    }
}

fn start<T>(
    upgraded: Upgraded<T>,
    config: session::Config,
) -> Result<(Session, JoinHandle<CloseReason>), UpgradeError>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (session, driver) =
        session::client(upgraded.io, upgraded.early, config).map_err(io::Error::other)?;
    Ok((session, tokio::spawn(driver)))
}

/// A WebSocket for each connection.
pub(crate) struct Channels {
    place: Place,
}

impl Channels {
    /// Whether connections will be let through. Asked without a port, a node refuses in its own words,
    /// and no port of the pod is touched.
    async fn check(&self) -> Result<(), Failure> {
        let request = self.place.request("").await?;
        let answer = match dial::connect(&self.place.config).await? {
            Wire::Plain(io) => ask(io, &request).await,
            Wire::Tls(io) => ask(io, &request).await,
        };
        match answer {
            Err(UpgradeError::Refused {
                status: 400,
                message,
                ..
            }) if message.contains("\"port\"") => Ok(()),
            Ok(()) => Ok(()),
            Err(error) => Err(self.place.explain(&error)),
        }
    }

    /// The streams of a new connection to a port of the pod; `running` is held until its WebSocket has
    /// ended.
    ///
    /// # Errors
    /// Exit code 4 if the pod is gone, else as [`establish`].
    pub(crate) fn open(
        self: Arc<Self>,
        port: u16,
        running: mpsc::Sender<()>,
    ) -> Pin<Box<dyn Future<Output = Result<PortStreams, Failure>> + Send>> {
        Box::pin(async move {
            let request = self.place.request(&format!("?ports={port}")).await?;
            let opened = match dial::connect(&self.place.config).await? {
                Wire::Plain(io) => open(io, &request, port, running).await,
                Wire::Tls(io) => open(io, &request, port, running).await,
            };
            opened.map_err(|error| self.place.explain(&error))
        })
    }
}

async fn ask<T: AsyncRead + AsyncWrite + Unpin>(
    io: T,
    request: &UpgradeRequest,
) -> Result<(), UpgradeError> {
    upgrade::websocket(io, request, &[CHANNEL_V4], None)
        .await
        .map(drop)
}

async fn open<T>(
    io: T,
    request: &UpgradeRequest,
    port: u16,
    running: mpsc::Sender<()>,
) -> Result<PortStreams, UpgradeError>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let upgraded = upgrade::websocket(io, request, &[CHANNEL_V4], None).await?;
    let (Upgraded { io, early }, _) = upgraded;
    let config = session::Config::default();
    let (mut streams, driver) =
        channels::client(io, early, wsstream::Format::Binary, &[port], config)
            .map_err(io::Error::other)?;
    // Ends with its streams, having said goodbye.
    tokio::spawn(async move {
        driver.await;
        drop(running);
    });
    streams
        .pop()
        .ok_or_else(|| io::Error::other("a WebSocket without ports").into())
}

pub(crate) fn explain(
    error: &UpgradeError,
    config: &Config,
    namespace: &str,
    pod: &str,
) -> Failure {
    let server = Hop::ApiServer(api::url_of(config));
    let node = Hop::Node(format!("pod/{pod} in namespace {namespace}"));
    let text = portforward::escape::text(&format!("error upgrading connection: {error}"));
    let text = text.trim_end();
    let UpgradeError::Refused {
        status,
        reason,
        message,
    } = error
    else {
        return Failure::new(Exit::General, server, text);
    };
    let failure = match status {
        401 => return api::unauthorized(server),
        // The runtime refuses a protocol with the same code.
        403 if message.starts_with("unable to upgrade") => Failure::new(Exit::General, node, text),
        403 => Failure::new(Exit::Auth, server, text).advise(Action::FORWARD.rule(namespace)),
        404 => Failure::new(Exit::Target, server, text)
            .advise("the pod is gone: run pf again for its successor"),
        // Gateway, kubelet and runtime all use it; the text tells which.
        500.. => Failure::new(Exit::General, node, text),
        _ => Failure::new(Exit::General, server, text),
    };
    // The text need not tell: it may be a page of a proxy on the way, or nothing.
    failure.because(format!("HTTP {status} {reason}").trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, message: &str) -> Failure {
        let error = UpgradeError::Refused {
            status,
            reason: String::new(),
            message: message.to_owned(),
        };
        let config = Config::new("https://127.0.0.1:6443".parse().unwrap());
        explain(&error, &config, "ns", "web")
    }

    #[test]
    fn refusals_and_their_codes() {
        let forbidden =
            "pods \"web\" is forbidden: User \"u\" cannot create resource \"pods/portforward\"";
        let table = [
            (401, "Unauthorized", Exit::Auth),
            (403, forbidden, Exit::Auth),
            (
                403,
                "unable to upgrade: unable to negotiate protocol",
                Exit::General,
            ),
            (404, "pods \"web\" not found", Exit::Target),
            (400, "pod web does not have a host assigned", Exit::General),
            (
                500,
                "error dialing backend: dial tcp 10.0.0.1:10250: i/o timeout",
                Exit::General,
            ),
            (302, "", Exit::General),
        ];
        for (status, message, exit) in table {
            assert_eq!(refused(status, message).exit, exit, "{status} {message}");
        }
        let text = refused(403, forbidden).to_string();
        assert!(
            text.starts_with(&format!(
                "error: error upgrading connection: unable to upgrade connection: {forbidden}\n"
            )),
            "{text}"
        );
        assert!(text.contains("resources: [\"pods/portforward\"]"), "{text}");
        let text = refused(500, "").to_string();
        assert!(
            text.contains("unable to upgrade connection: empty server response"),
            "{text}"
        );
        assert!(text.contains("node of pod/web in namespace ns"), "{text}");
        assert!(text.ends_with("\n  why: HTTP 500"), "{text}");
    }
}
