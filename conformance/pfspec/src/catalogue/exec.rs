//! `exec/`: chapter 12, the channel protocols of exec, as far as a gateway's client can see them.
//!
//! Not what port-forward is about; the specification has these protocols because the same layers carry them.

use crate::case::{Case, OK, Outcome, Role, Stop, Way};
use crate::probe::websocket::{BINARY, LAST, Message, Next, WebSocket};
use crate::run;
use crate::trial::Trial;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

const GATEWAYS: &[Role] = &[Role::Gateway];
const ONCE: &[Way] = &[Way::Http];
const V5: &str = "v5.channel.k8s.io";

/// How long a command has to go on without the end of its input.
const QUIET: Duration = Duration::from_millis(700);

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
    Case::must(
        "exec/end-of-input",
        "In v5 a message to channel 255 ends the input alone",
        &["12.7"],
        run!(end_of_input),
    )
    .over(ONCE)
    .against(GATEWAYS)
    .versions(30, u16::MAX)
    .why("`kubectl exec -i` with a file as input waits for ever where the command does not learn its end, and loses output where the end is that of all.")
    .sends("exec over v5 of a command that reads its input to the end (--exec-reads): a line on channel 0, some time later ff 00.")
    .accepts("No status in the 0.7 seconds before ff 00; behind it the line on channel 1 and one status Success. UNSUPPORTED if v5 is refused, or there is no such command."),
];

/// What came on each channel.
type ByChannel = BTreeMap<u8, Vec<u8>>;

/// What came on each channel of a command without input, until Close or the end.
async fn exec(t: &Trial, protocol: &str, command: &[String]) -> Result<ByChannel, Stop> {
    let mut websocket = start(t, protocol, "", command).await?;
    let mut channels = ByChannel::new();
    let deadline = Instant::now() + t.patience;
    while take(&mut websocket, &mut channels, deadline).await? {
        if has_status(&channels) {
            // It is the last.
            websocket.send(LAST | BINARY, &[0]).await?;
        }
    }
    Ok(channels)
}

/// Runs a command, with this query before the words of the command.
async fn start(
    t: &Trial,
    protocol: &str,
    more: &str,
    command: &[String],
) -> Result<WebSocket, Stop> {
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
        "{{exec}}?{container}{more}stdout=true&stderr=true&{}",
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
    Ok(WebSocket::new(ready.connection))
}

/// Takes a message; whether there was one.
async fn take(
    websocket: &mut WebSocket,
    channels: &mut ByChannel,
    deadline: Instant,
) -> Result<bool, Stop> {
    match websocket.next(deadline).await? {
        Next::Message(Message::Binary(bytes)) => match bytes.split_first() {
            Some((channel, payload)) => channels.entry(*channel).or_default().extend(payload),
            None => return Err(Stop::departure("a channel number", "an empty message")),
        },
        Next::Message(Message::Text(_)) => {
            return Err(Stop::departure("binary messages", "a text message"));
        }
        Next::Message(Message::Ping(_) | Message::Pong(_)) => {}
        // A command of v4 without input may keep the connection until the client goes.
        Next::Message(_) | Next::Ended | Next::Late => return Ok(false),
    }
    Ok(true)
}

fn has_status(channels: &ByChannel) -> bool {
    channels.get(&3).is_some_and(|status| !status.is_empty())
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

fn status(channels: &ByChannel) -> Result<Value, Stop> {
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
        return Err(Stop::departure(
            "text on channel 2 and none on others",
            format!("channels and lengths {:?}", lengths(&got)),
        ));
    }
    OK
}

async fn one_status(t: &mut Trial, protocol: &str) -> Outcome {
    let got = exec(t, protocol, &commands(t)?.succeeds).await?;
    success(&got, protocol)
}

/// Checks that the one status is that of success.
fn success(channels: &ByChannel, protocol: &str) -> Outcome {
    let status = status(channels)?;
    if status.get("status").and_then(Value::as_str) != Some("Success") {
        return Err(Stop::departure(
            format!("Success over {protocol}"),
            status.to_string(),
        ));
    }
    OK
}

async fn end_of_input(t: &mut Trial) -> Outcome {
    const LINE: &[u8] = b"to the end\n";
    let Some(command) = &commands(t)?.reads else {
        let text = "no command that reads its input is known of the pod";
        return Err(Stop::Unsupported(text.to_owned()));
    };
    let mut websocket = start(t, V5, "stdin=true&", command).await?;
    let mut channels = ByChannel::new();
    websocket
        .send(LAST | BINARY, &[&[0], LINE].concat())
        .await?;
    let until = Instant::now() + QUIET;
    while take(&mut websocket, &mut channels, until).await? {}
    if let Some(end) = &websocket.end {
        let text = format!("{end}; on channels {:?}", lengths(&channels));
        return Err(Stop::departure("a command that reads its input", text));
    }
    if has_status(&channels) {
        let status = status(&channels)?.to_string();
        return Err(Stop::departure("no status before the end of input", status));
    }
    websocket.send(LAST | BINARY, &[255, 0]).await?;
    let deadline = Instant::now() + t.patience;
    while take(&mut websocket, &mut channels, deadline).await? {}
    let output = channels.get(&1).map(Vec::as_slice).unwrap_or_default();
    if output != LINE {
        let text = format!("\"{}\"", output.escape_ascii());
        return Err(Stop::departure("what was its input on channel 1", text));
    }
    success(&channels, V5)
}

/// Channels, and how many bytes came on each.
fn lengths(channels: &ByChannel) -> Vec<(u8, usize)> {
    let lengths = channels.iter();
    lengths
        .map(|(channel, bytes)| (*channel, bytes.len()))
        .collect()
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
