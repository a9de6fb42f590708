//! `exec/`: chapter 12, the channel protocols of exec, as far as a gateway's client can see them without input.
//!
//! Not what port-forward is about; the specification has these protocols because the same layers carry them.

use crate::case::{Case, OK, Outcome, Role, Stop, Way};
use crate::probe::websocket::{BINARY, LAST, Message, Next, WebSocket};
use crate::run;
use crate::trial::Trial;
use serde_json::Value;
use std::collections::BTreeMap;
use tokio::time::Instant;

const GATEWAYS: &[Role] = &[Role::Gateway];
const ONCE: &[Way] = &[Way::Http];
const V5: &str = "v5.channel.k8s.io";

pub(super) const CASES: &[Case] = &[
    Case::must(
        "exec/channels",
        "Error output is on channel 2, the status on channel 3",
        &["12.1"],
        run!(channels),
    )
    .over(ONCE)
    .against(GATEWAYS)
    .why("Clients tell output, error output and the end of the command by these numbers.")
    .sends("exec over v4.channel.k8s.io of a command that fails with a text.")
    .accepts("Text on channel 2, JSON on channel 3, nothing on any other but an empty first message."),
    Case::must(
        "exec/one-status",
        "v4 ends with one status, for success too",
        &["12.4"],
        run!(one_status, "v4.channel.k8s.io"),
    )
    .over(ONCE)
    .against(GATEWAYS)
    .why("A client that gets no status cannot tell a command that ended from a connection that was lost.")
    .sends("exec of a command that ends well, over v4.")
    .accepts("One JSON object with status Success on channel 3."),
    Case::must(
        "exec/one-status-v5",
        "v5 ends with one status, for success too",
        &["12.4", "12.9"],
        run!(one_status, V5),
    )
    .over(ONCE)
    .against(GATEWAYS)
    .versions(30, u16::MAX)
    .why("kubectl exec speaks v5 where the gateway does.")
    .sends("exec of a command that ends well, over v5.")
    .accepts("One JSON object with status Success on channel 3; UNSUPPORTED if v5 is refused, as with its feature gate off."),
    Case::must(
        "exec/exit-code",
        "The exit code is in the status",
        &["12.5"],
        run!(exit_code),
    )
    .over(ONCE)
    .against(GATEWAYS)
    .why("kubectl exec ends with the command's code.")
    .sends("exec over v4 of a command that fails.")
    .accepts("Status Failure, reason NonZeroExitCode, a cause ExitCode with a number other than 0."),
    Case::should(
        "exec/no-such-command",
        "Other failures are InternalError",
        &["12.6"],
        run!(no_such_command),
    )
    .over(ONCE)
    .against(GATEWAYS)
    .why("A command that could not be run is no command that failed.")
    .sends("exec over v4 of a file that is not there.")
    .accepts("Status Failure, reason InternalError, code 500."),
];

/// What came on each channel, until Close or the end.
async fn exec(
    t: &Trial,
    protocol: &str,
    command: &[String],
) -> Result<BTreeMap<u8, Vec<u8>>, Stop> {
    let query: Vec<String> = command
        .iter()
        .map(|word| format!("command={}", escape(word)))
        .collect();
    let container = t
        .target
        .exec
        .as_ref()
        .map(|exec| exec.container.as_str())
        .unwrap_or_default();
    let container = if container.is_empty() {
        String::new()
    } else {
        format!("container={}&", escape(container))
    };
    let mut request = t.websocket_request(protocol, "");
    request.target = format!(
        "{{exec}}?{container}stdout=true&stderr=true&{}",
        query.join("&")
    );
    let (ready, answer) = t.ask(&request).await?;
    if protocol == V5 && (400..500).contains(&answer.status) {
        return Err(Stop::Unsupported(format!("exec over {V5}: {answer}")));
    }
    if answer.status != 101 {
        return Err(Stop::departure(
            format!("101 for exec over {protocol}"),
            answer.to_string(),
        ));
    }
    let mut websocket = WebSocket::new(ready.connection);
    let deadline = Instant::now() + t.patience;
    let mut channels: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    loop {
        match websocket.next(deadline).await? {
            Next::Message(Message::Binary(bytes)) => match bytes.split_first() {
                Some((channel, payload)) => channels.entry(*channel).or_default().extend(payload),
                None => return Err(Stop::departure("a channel number", "an empty message")),
            },
            Next::Message(Message::Text(_)) => {
                return Err(Stop::departure("binary messages", "a text message"));
            }
            Next::Message(Message::Ping(_)) => {}
            // A command of v4 without input may keep the connection until the client goes.
            Next::Message(_) | Next::Ended | Next::Late => break,
        }
        if channels.get(&3).is_some_and(|status| !status.is_empty()) {
            // It is the last.
            websocket.send(LAST | BINARY, &[0]).await?;
        }
    }
    Ok(channels)
}

fn escape(word: &str) -> String {
    word.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

fn status(channels: &BTreeMap<u8, Vec<u8>>) -> Result<Value, Stop> {
    let bytes = channels.get(&3).map(Vec::as_slice).unwrap_or_default();
    serde_json::from_slice(bytes).map_err(|_| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        Stop::departure("one JSON object on channel 3", format!("{text:?}"))
    })
}

fn commands(t: &Trial) -> Result<&crate::target::Exec, Stop> {
    let none = || Stop::Unsupported("no commands to run are known of the pod".to_owned());
    t.target.exec.as_ref().ok_or_else(none)
}

async fn channels(t: &mut Trial) -> Outcome {
    let got = exec(t, "v4.channel.k8s.io", &commands(t)?.fails).await?;
    let text = got.get(&2).is_some_and(|text| !text.is_empty());
    let others = got
        .iter()
        .any(|(channel, bytes)| !matches!(channel, 2 | 3) && !bytes.is_empty());
    status(&got)?;
    if !text || others {
        let lengths: Vec<_> = got
            .iter()
            .map(|(channel, bytes)| (channel, bytes.len()))
            .collect();
        return Err(Stop::departure(
            "text on channel 2 and none on others",
            format!("channels and lengths {lengths:?}"),
        ));
    }
    OK
}

async fn one_status(t: &mut Trial, protocol: &str) -> Outcome {
    let got = exec(t, protocol, &commands(t)?.succeeds).await?;
    let status = status(&got)?;
    if status.get("status").and_then(Value::as_str) != Some("Success") {
        return Err(Stop::departure(
            format!("Success over {protocol}"),
            status.to_string(),
        ));
    }
    OK
}

async fn exit_code(t: &mut Trial) -> Outcome {
    let got = exec(t, "v4.channel.k8s.io", &commands(t)?.fails).await?;
    let status = status(&got)?;
    let text = |pointer: &str| {
        status
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let code: u32 = text("/details/causes/0/message")
        .parse()
        .unwrap_or_default();
    if (
        text("/status"),
        text("/reason"),
        text("/details/causes/0/reason"),
    ) != ("Failure", "NonZeroExitCode", "ExitCode")
        || code == 0
    {
        return Err(Stop::departure(
            "Failure, NonZeroExitCode, ExitCode and the code",
            status.to_string(),
        ));
    }
    OK
}

async fn no_such_command(t: &mut Trial) -> Outcome {
    commands(t)?;
    let got = exec(
        t,
        "v4.channel.k8s.io",
        &["/there-is-no-such-file".to_owned()],
    )
    .await?;
    let status = status(&got)?;
    let reason = status
        .get("reason")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let code = status
        .get("code")
        .and_then(Value::as_u64)
        .unwrap_or_default();
    if (reason, code) != ("InternalError", 500) {
        return Err(Stop::departure(
            "InternalError and code 500",
            status.to_string(),
        ));
    }
    OK
}
