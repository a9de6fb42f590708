//! The session with the pod: dial, upgrade, driver.

use crate::api::{self, Action, ApiServer};
use crate::dial::{self, Wire};
use crate::exit::{Exit, Failure, Hop};
use kube::Config;
use portforward::record::Recorder;
use portforward::session::{self, CloseReason, Session};
use portforward::upgrade::{self, UpgradeError, UpgradeRequest, Upgraded};
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;

/// A running session.
pub(crate) struct Established {
    pub(crate) session: Session,
    /// Ends with the connection.
    pub(crate) driver: JoinHandle<CloseReason>,
}

/// Upgrades a connection for the pod's ports.
///
/// # Errors
/// Exit code 3 for a refusal, 4 if the pod is gone, else 1.
pub(crate) async fn establish(
    config: &Config,
    api: &ApiServer,
    pod: &str,
    recorder: Option<Recorder>,
) -> Result<Established, Failure> {
    let request = UpgradeRequest {
        path: dial::path(config, api.namespace(), pod),
        host: api::host_of(config).to_owned(),
        fields: dial::fields(config).await?,
    };
    let result = match dial::connect(config).await? {
        Wire::Plain(io) => upgrade(io, &request, recorder).await,
        Wire::Tls(io) => upgrade(io, &request, recorder).await,
    };
    result.map_err(|error| explain(&error, config, api.namespace(), pod))
}

async fn upgrade<T>(
    io: T,
    request: &UpgradeRequest,
    recorder: Option<Recorder>,
) -> Result<Established, UpgradeError>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    Ok(match recorder {
        None => start(upgrade::spdy(io, request).await?)?,
        Some(recorder) => start(upgrade::spdy_recorded(io, request, recorder).await?)?,
    })
}

fn start<T>(upgraded: Upgraded<T>) -> Result<Established, UpgradeError>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (session, driver) =
        session::client(upgraded.io, upgraded.early, session::Config::default())
            .map_err(io::Error::other)?;
    Ok(Established {
        session,
        driver: tokio::spawn(driver),
    })
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
