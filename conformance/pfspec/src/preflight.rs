//! Before the first case: is there anybody who forwards for us?

use crate::case::{Stop, Way};
use crate::dice::Dice;
use crate::exit::Failure;
use crate::probe::http::Answer;
use crate::probe::log::Log;
use crate::report::one_line;
use crate::target::{Target, Who};
use crate::trial::{TUNNEL, Trial};
use std::sync::Arc;
use std::time::Duration;

/// Asks once for each way, until one is served.
///
/// # Errors
/// Unreachable: no connection, no HTTP, nobody who knows us, no such pod or URL, or no way that is served.
pub async fn check(target: &Arc<Target>, patience: Duration) -> Result<(), Failure> {
    let trial = Trial {
        target: target.clone(),
        way: Way::Http,
        dice: Dice::new(0, "preflight"),
        log: Log::default(),
        patience,
    };
    let mut answers = Vec::new();
    for way in &target.ways {
        let request = match way {
            Way::Spdy => trial.spdy_request(),
            Way::Tunnel => trial.websocket_request(TUNNEL, ""),
            Way::V4 | Way::V4Base64 => {
                let port = target.services.values().next().copied().unwrap_or(80);
                let subprotocol = if *way == Way::V4 {
                    "v4.channel.k8s.io"
                } else {
                    "v4.base64.channel.k8s.io"
                };
                trial.websocket_request(subprotocol, &trial.ports_query(&[port]))
            }
            Way::Http => continue,
        };
        let fail = |text: String| Failure::unreachable(one_line(&trial.log.blot(&text)));
        // Apart, so that it is said which of both failed.
        let mut ready = match trial.connect_as(Who::Forwarder).await {
            Ok(ready) => ready,
            Err(Stop::Departure { actual, .. }) => {
                return Err(fail(format!("cannot reach the target: {actual}")));
            }
            Err(stop) => return Err(fail(format!("cannot ask the target: {stop}"))),
        };
        let answer = match ready.ask(&request, patience).await {
            Ok(answer) => answer,
            Err(Stop::Departure { actual, .. }) => {
                return Err(fail(format!(
                    "the target does not speak HTTP/1.1: asked for {}, got {actual}; is this the right port, and is \
                     http or https right?",
                    way.name()
                )));
            }
            Err(stop) => return Err(fail(format!("cannot ask the target: {stop}"))),
        };
        match answer.status {
            101 => return Ok(()),
            401 => {
                let text = format!("the target does not know who we are: {}", said(&answer));
                return Err(fail(text));
            }
            403 => {
                let text = format!("we may not forward to this pod: {}", said(&answer));
                return Err(fail(text));
            }
            404 | 410 => {
                let text = format!("no such pod, or a URL that has expired: {}", said(&answer));
                return Err(fail(text));
            }
            _ => answers.push(format!(
                "{}: {}",
                way.name(),
                trial.log.blot(&said(&answer))
            )),
        }
    }
    Err(Failure::unreachable(one_line(&format!(
        "nothing here forwards ports, expected 101 for one way at least, got {}; --no-preflight judges it all the same",
        answers.join("; ")
    ))))
}

fn said(answer: &Answer) -> String {
    let message = answer
        .status_object()
        .and_then(|status| Some(status.get("message")?.as_str()?.to_owned()));
    match message {
        Some(message) => {
            let message: String = message.chars().take(400).collect();
            format!("{} {message}", answer.status)
        }
        None => answer.to_string(),
    }
}
