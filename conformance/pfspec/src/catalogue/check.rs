//! What several groups check in the same way: answers to upgrade requests.

use crate::case::{Stop, Way};
use crate::probe::connection::Filled;
use crate::probe::http::{Answer, Request};
use crate::probe::session::{Carrier, Session};
use crate::target::{Service, Who};
use crate::trial::{self, PROTOCOL, Ready, Trial};
pub(super) use crate::trial::{V4, V4_BASE64};
use tokio::time::Instant;

/// How many times longer than an answer many bytes may take: machines that judge are busy.
pub(super) const BULK: u32 = 6;

/// The right request for the way of this run; channels ask for the echo.
pub(super) fn request(t: &Trial) -> Result<Request, Stop> {
    let ports = match t.way {
        Way::V4 | Way::V4Base64 => vec![t.port(Service::Echo)?],
        Way::Spdy | Way::Tunnel | Way::Http => Vec::new(),
    };
    Ok(trial::upgrade(t.way, t.target.role, &ports))
}

/// The subprotocol of this run's WebSocket.
pub(super) fn subprotocol(t: &Trial) -> &'static str {
    trial::subprotocol(t.way)
}

/// Checks the status of an answer.
pub(super) fn status(answer: &Answer, code: u16, to: &str) -> Result<(), Stop> {
    if answer.status == code {
        return Ok(());
    }
    Err(Stop::departure(
        format!("{code} for {to}"),
        answer.to_string(),
    ))
}

/// Asks, and checks the status of the answer.
pub(super) async fn answered(
    t: &Trial,
    request: &Request,
    code: u16,
    to: &str,
) -> Result<(Ready, Answer), Stop> {
    answered_as(t, Who::Forwarder, request, code, to).await
}

/// The same as somebody else.
pub(super) async fn answered_as(
    t: &Trial,
    who: Who,
    request: &Request,
    code: u16,
    to: &str,
) -> Result<(Ready, Answer), Stop> {
    let (ready, answer) = t.ask_as(who, request).await?;
    status(&answer, code, to)?;
    Ok((ready, answer))
}

/// Checks that the answer is a Status object with this code and reason; gives its message.
pub(super) fn status_object(answer: &Answer, code: u16, reason: &str) -> Result<String, Stop> {
    let expected = format!("a Status object with code {code} and reason {reason}");
    let Some(object) = answer.status_object() else {
        return Err(Stop::departure(expected, answer.to_string()));
    };
    let text = |name: &str| {
        let value = object.get(name).and_then(|value| value.as_str());
        value.unwrap_or_default().to_owned()
    };
    let number = object.get("code").and_then(serde_json::Value::as_u64);
    if answer.status != code || number != Some(u64::from(code)) || text("reason") != reason {
        return Err(Stop::departure(expected, answer.to_string()));
    }
    Ok(text("message"))
}

/// Checks the head of a 101 to a request for SPDY as a real client does.
pub(super) fn switched(answer: &Answer, to: &str) -> Result<(), Stop> {
    status(answer, 101, to)?;
    let field = |name: &str| answer.field(name).unwrap_or_default().to_owned();
    let contains = |name: &str, part: &str| field(name).to_ascii_lowercase().contains(part);
    if !contains("connection", "upgrade") || !contains("upgrade", "spdy/3.1") {
        return Err(Stop::departure(
            format!("Connection: Upgrade and Upgrade: SPDY/3.1 in the 101 for {to}"),
            format!(
                "Connection: {:?}, Upgrade: {:?}",
                field("connection"),
                field("upgrade")
            ),
        ));
    }
    let named: Vec<&str> = answer.all("x-stream-protocol-version").collect();
    if named != [PROTOCOL] {
        return Err(Stop::departure(
            format!("X-Stream-Protocol-Version: {PROTOCOL} in the 101 for {to}"),
            format!("{named:?}"),
        ));
    }
    Ok(())
}

/// Asks for SPDY with this request, and checks that a session comes about that carries a connection.
pub(super) async fn upgraded(t: &Trial, request: &Request, to: &str) -> Result<Session, Stop> {
    let (ready, answer) = t.ask(request).await?;
    switched(&answer, to)?;
    let mut session = Session::new(Carrier::Plain(ready.connection), t.patience);
    session.works(t.port(Service::Echo)?, "behind it").await?;
    Ok(session)
}

/// Waits for the end of a connection on which nothing more is expected; what comes before is counted.
pub(super) async fn closed(t: &Trial, ready: &mut Ready, why: &str) -> Result<(), Stop> {
    let deadline = Instant::now() + t.patience;
    loop {
        match ready.connection.fill(deadline).await {
            Filled::More => {}
            Filled::Ended => return Ok(()),
            Filled::Late => {
                let text = format!("it is open after {:?}", t.patience);
                return Err(Stop::departure(format!("the end of TCP {why}"), text));
            }
        }
    }
}
