//! Whether a target can be judged at all, asked once before the first case.

use super::{NoPlace, Place, Target, Who};
use crate::case::{Role, Stop, Way};
use crate::probe::connection::Connection;
use crate::probe::http::{Answer, Request};
use crate::probe::log::Log;
use crate::probe::session::PATIENCE;
use crate::report::one_line;
use crate::trial;
use std::fmt;
use std::time::Duration;

/// Why a target cannot be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trouble {
    /// No connection.
    Connect,
    /// A connection and no TLS on it.
    Tls,
    /// Whoever gives out addresses gives none.
    Address,
    /// 401
    Unauthenticated,
    /// 403
    Forbidden,
    /// 404
    NotFound,
    /// Answers in something else than HTTP, or not at all.
    NotHttp,
    /// HTTP, and no upgrade.
    NoUpgrade,
}

/// A target that cannot be judged; `Display` says why and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// The kind of reason.
    pub trouble: Trouble,
    text: String,
}

impl Unusable {
    fn new(trouble: Trouble, text: impl Into<String>) -> Self {
        Self {
            trouble,
            text: text.into(),
        }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Unusable {}

/// Asks once for each way of the target, until one is served.
///
/// # Errors
/// What no case needs to be run for: there is no server, or it lets nobody in, or is something else.
pub async fn check(target: &Target, patience: Duration) -> Result<(), Unusable> {
    check_ways(target, &target.ways, patience).await
}

/// The same for those of the target's ways that are among `ways`; for all of them if none is.
///
/// # Errors
/// As [`check`].
pub async fn check_ways(target: &Target, ways: &[Way], patience: Duration) -> Result<(), Unusable> {
    let asked = target.ways.iter().copied();
    let mut asked: Vec<Way> = asked.filter(|way| ways.contains(way)).collect();
    if asked.is_empty() {
        asked.clone_from(&target.ways);
    }
    let log = Log::default();
    served(target, &asked, patience, &log)
        .await
        .map_err(|unusable| Unusable {
            text: one_line(&log.blot(&unusable.text)),
            ..unusable
        })
}

async fn served(
    target: &Target,
    ways: &[Way],
    patience: Duration,
    log: &Log,
) -> Result<(), Unusable> {
    let mut answers = Vec::new();
    let mut silent = Vec::new();
    for way in ways {
        let answer = match upgrade(target, *way, patience, log).await {
            Ok(answer) => answer,
            // It may have an answer to another question.
            Err(none) if none.trouble == Trouble::NotHttp => {
                answers.push(format!("{} gives no answer", way.name()));
                silent.push(none);
                continue;
            }
            Err(none) => return Err(none),
        };
        if answer.status == 101 {
            if target.role != Role::Runtime {
                return Ok(());
            }
            // A token that serves once would make every case fail but the first.
            let again = upgrade(target, *way, patience, log).await?;
            return match again.status {
                101 => Ok(()),
                _ => Err(refused(target, &again, true, log)),
            };
        }
        let unusable = refused(target, &answer, false, log);
        if unusable.trouble != Trouble::NoUpgrade {
            return Err(unusable);
        }
        answers.push(format!("{} gives {}", way.name(), said(&answer, log)));
    }
    if silent.len() == answers.len()
        && let Some(first) = silent.into_iter().next()
    {
        return Err(first);
    }
    let text = format!(
        "{}: an HTTP server, and nothing here forwards ports, expected 101 for one way at least: {}; check the path, whether the pod runs, and \
         whether a proxy in between lets upgrades through; --no-preflight judges it all the same",
        target.name,
        answers.join("; ")
    );
    Err(Unusable::new(Trouble::NoUpgrade, text))
}

/// Whether the target switches to the tunnel; `false` too if it cannot be asked.
pub(super) async fn has_tunnel(target: &Target) -> bool {
    let request = trial::upgrade(Way::Tunnel, target.role, &[]);
    let Ok(place) = target.reach.place(Who::Forwarder).await else {
        return false;
    };
    let answer = ask(place, &request, PATIENCE, &Log::default()).await;
    answer.is_ok_and(|answer| {
        answer.status == 101 && answer.field("sec-websocket-protocol") == Some(trial::TUNNEL)
    })
}

/// Whether the target answers a right request in HTTP, whatever it says.
pub(crate) async fn answers(target: &Target, patience: Duration) -> bool {
    let request = trial::upgrade(Way::Spdy, target.role, &[]);
    let asked = async {
        let place = target.reach.place(Who::Forwarder).await.ok()?;
        ask(place, &request, patience, &Log::default()).await.ok()
    };
    // A dial may take longer than an answer.
    let answer = tokio::time::timeout(patience * 2, asked).await;
    answer.is_ok_and(|answer| answer.is_some())
}

async fn upgrade(
    target: &Target,
    way: Way,
    patience: Duration,
    log: &Log,
) -> Result<Answer, Unusable> {
    let mut ports = Vec::new();
    if matches!(way, Way::V4 | Way::V4Base64) {
        ports.push(target.services.values().next().copied().unwrap_or(80));
    }
    let request = trial::upgrade(way, target.role, &ports);
    let place = target.reach.place_for(Who::Forwarder, &ports).await;
    let place = place.map_err(|none| no_place(target, none))?;
    ask(place, &request, patience, log)
        .await
        .map_err(|stop| no_answer(target, &stop))
}

async fn ask(
    place: Place,
    request: &Request,
    patience: Duration,
    log: &Log,
) -> Result<Answer, Stop> {
    let request = request.at(&place.path, &place.host);
    let secrets = trial::secrets(&place);
    log.hide(&secrets);
    let mut connection = Connection::new(place.io, log.clone(), secrets);
    let bytes = request.bytes(&place.identity);
    connection.send_head(&request, &bytes).await?;
    connection.answer(patience).await
}

fn no_place(target: &Target, none: NoPlace) -> Unusable {
    match none {
        NoPlace::NoTls(text) => {
            let advice = if text.contains("InvalidContentType") || text.contains("corrupt message")
            {
                "perhaps it serves plain HTTP, and its URL begins with http://"
            } else {
                "check the certificate authority (--ca, or the kubeconfig's), the name in the certificate (--server-name), \
                 or see --insecure"
            };
            let text = format!("{}: no TLS with it: {text}; {advice}", target.name);
            Unusable::new(Trouble::Tls, text)
        }
        NoPlace::Unreachable(text) => {
            let text = format!(
                "{}: cannot reach the target: {text}; check that it runs, its address, and what stands between",
                target.name
            );
            Unusable::new(Trouble::Connect, text)
        }
        NoPlace::Elsewhere(text) if text.contains("to the proxy: ") => {
            let advice = match target.role {
                Role::Gateway => {
                    "check --proxy-url, or the proxy of the kubeconfig or the environment"
                }
                Role::Node | Role::Runtime => "check --proxy-url",
            };
            let text = format!("{}: {text}; {advice}", target.name);
            Unusable::new(Trouble::Address, text)
        }
        NoPlace::NotOffered(text) | NoPlace::Elsewhere(text) => {
            Unusable::new(Trouble::Address, format!("{}: {text}", target.name))
        }
    }
}

fn no_answer(target: &Target, stop: &Stop) -> Unusable {
    let actual = match stop {
        Stop::Departure { actual, .. } => actual.clone(),
        other => other.to_string(),
    };
    // A server with TLS 1.3 refuses a client certificate after the client has taken the handshake for done.
    if actual.contains("fatal alert") {
        let text = format!(
            "{}: the server ended TLS: {actual}; check the client certificate (--cert, --key, or the kubeconfig's)",
            target.name
        );
        return Unusable::new(Trouble::Tls, text);
    }
    let advice = if actual.contains(r#"begins "\x15\x03"#) {
        "it speaks TLS: its URL begins with https://"
    } else {
        "check the address"
    };
    let text = format!(
        "{}: what is there does not speak HTTP/1.1: {actual}; {advice}",
        target.name
    );
    Unusable::new(Trouble::NotHttp, text)
}

/// One line of what the server said, without secrets: they are no longer found once it is cut.
fn said(answer: &Answer, log: &Log) -> String {
    let message = answer
        .status_object()
        .and_then(|status| Some(status.get("message")?.as_str()?.to_owned()));
    match message {
        Some(message) => {
            let message: String = log.blot(&message).chars().take(400).collect();
            format!("{} {message:?}", answer.status)
        }
        None => answer.to_string(),
    }
}

fn refused(target: &Target, answer: &Answer, again: bool, log: &Log) -> Unusable {
    let said = said(answer, log);
    let (trouble, text) = match answer.status {
        401 => {
            let advice = match target.role {
                Role::Gateway => "check the user of the kubeconfig, or --token-file or --cert",
                Role::Node | Role::Runtime => {
                    "check --cert and --key, or --token-file: a kubelet takes tokens only with webhook authentication"
                }
            };
            let text = format!("it does not know who we are: {said}; {advice}");
            (Trouble::Unauthenticated, text)
        }
        403 => {
            let rule = match target.role {
                Role::Gateway => {
                    "needed are the verbs get and create on pods/portforward in the pod's namespace \
                     (rules to apply: those that `pfspec rbac` prints)"
                }
                Role::Node => {
                    "needed are the verbs get and create on nodes/proxy, in a ClusterRole"
                }
                Role::Runtime => {
                    "a runtime has no rights of its own: what stands before it refuses"
                }
            };
            (
                Trouble::Forbidden,
                format!("we may not forward to this pod: {said}; {rule}"),
            )
        }
        404 | 410 if again => (
            Trouble::NotFound,
            format!(
                "its URL served once and then no more: {said}; a runtime's URLs do so: use --cri SOCKET, or --url-cmd \
                 with a command that prints a fresh URL"
            ),
        ),
        404 | 410 => {
            let what = match target.role {
                Role::Gateway | Role::Node => "no such pod",
                Role::Runtime => "no such pod, or a URL that has expired",
            };
            let advice = match target.role {
                Role::Gateway => "check --pod: the pod has to be there and to run",
                Role::Node => "check --pod: the pod has to run on this node (and --uid)",
                Role::Runtime => {
                    "check the path; a runtime's URL serves once, within a minute: use --cri SOCKET or --url-cmd"
                }
            };
            (Trouble::NotFound, format!("{what}: {said}; {advice}"))
        }
        _ if answer.text().contains("HTTP request to an HTTPS server") => (
            Trouble::NotHttp,
            "it speaks TLS: its URL begins with https://".to_owned(),
        ),
        _ => (Trouble::NoUpgrade, said),
    };
    Unusable::new(trouble, format!("{}: {text}", target.name))
}
