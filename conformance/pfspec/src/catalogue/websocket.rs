//! `ws/`: chapter 10, and the parts of chapter 14 about WebSocket frames.

pub(super) mod close;
pub(super) mod frames;
mod line;

use super::check::{request, status, subprotocol};
use crate::case::{Case, OK, Outcome, Seen, Stop, Way};
use crate::probe::http::{Answer, Request};
use crate::run;
use crate::trial::{Trial, accept_of};
use base64::prelude::{BASE64_STANDARD, Engine as _};

const BOTH: &[Way] = &[Way::Tunnel, Way::V4];
const ALL: &[Way] = &[Way::Tunnel, Way::V4, Way::V4Base64];

pub(super) const CASES: &[Case] = &[
    Case::must(
        "ws/handshake/accept",
        "The answer proves that the key was read",
        &["10.2"],
        run!(accept),
    )
    .over(ALL)
    .why("Every client compares it, so that a cache's old answer is no session.")
    .sends("The handshake with a random key.")
    .accepts("101 with Upgrade: websocket, Connection: Upgrade, the right Sec-WebSocket-Accept."),
    Case::must(
        "ws/handshake/letter-case",
        "Upgrade and Connection are matched without case",
        &["10.2", "13.2"],
        run!(letter_case),
    )
    .over(ALL)
    .why("Libraries write `WebSocket` and `upgrade`; proxies respell both.")
    .sends("Upgrade: WebSocket and Connection: upgrade; on another connection WEBSOCKET and UPGRADE.")
    .accepts("101 for both."),
    Case::must(
        "ws/handshake/connection-list",
        "Connection need only contain upgrade",
        &["10.2", "13.2"],
        run!(connection_list),
    )
    .over(ALL)
    .why("Firefox and some libraries send `keep-alive, Upgrade`.")
    .sends("Connection: keep-alive, Upgrade")
    .accepts("101."),
    Case::must(
        "ws/handshake/field-names-case",
        "The names of the fields are matched without case",
        &["10.2"],
        run!(field_names_case),
    )
    .over(ALL)
    .why("Python and Node libraries write lower case.")
    .sends("The handshake with all names in lower case.")
    .accepts("101."),
    Case::must(
        "ws/handshake/subprotocol-of-many",
        "The subprotocol of the 101 is one of those offered",
        &["10.4"],
        run!(subprotocol_of_many),
    )
    .over(ALL)
    .why("Client libraries fail the handshake on any other.")
    .sends("An unknown name, the name of this way and another unknown one, in one line.")
    .accepts("101 with one subprotocol, that of this way."),
    Case::must(
        "ws/handshake/no-subprotocol-of-its-own",
        "A server names no subprotocol that was not offered",
        &["10.4"],
        run!(none_of_its_own),
    )
    .over(BOTH)
    .why("A client that gets another protocol than it speaks reads its bytes wrongly.")
    .sends("Unknown names only (for the tunnel, names of tunnels).")
    .accepts("A refusal, or a 101 without subprotocol."),
    Case::must(
        "ws/handshake/none-offered",
        "To a request without subprotocol the 101 names none",
        &["10.4", "11.5"],
        run!(none_offered),
    )
    .over(&[Way::V4])
    .why("Libraries refuse a name that they have not offered; the empty field of real servers some refuse as well.")
    .sends("The handshake of channels without Sec-WebSocket-Protocol.")
    .accepts("`no-field`, `empty-field`, or `refused`."),
    Case::must(
        "ws/handshake/other-version",
        "Another version gets 400 and the right number",
        &["10.5"],
        run!(other_version),
    )
    .over(BOTH)
    .why("The number tells the client what to try next.")
    .sends("Sec-WebSocket-Version: 12")
    .accepts("400 with Sec-WebSocket-Version: 13."),
    Case::must(
        "ws/handshake/no-version",
        "No version gets 400",
        &["10.5"],
        run!(no_version),
    )
    .over(BOTH)
    .why("Drafts older than the standard framed in other ways.")
    .sends("The handshake without Sec-WebSocket-Version.")
    .accepts("400 with Sec-WebSocket-Version: 13."),
    Case::must(
        "ws/handshake/no-key",
        "Without key there is no 101",
        &["10.2"],
        run!(no_key),
    )
    .over(BOTH)
    .why("There is nothing to prove that the server has read.")
    .sends("The handshake without Sec-WebSocket-Key.")
    .accepts("A refusal."),
    Case::must(
        "ws/handshake/no-extension",
        "No extension is answered that was not offered",
        &["10.6"],
        run!(no_extension),
    )
    .over(ALL)
    .why("A client reads compressed frames as garbage.")
    .sends("The handshake without Sec-WebSocket-Extensions.")
    .accepts("101 without Sec-WebSocket-Extensions."),
    Case::must(
        "ws/handshake/extension-is-declined",
        "An offered extension is declined",
        &["10.6"],
        run!(extension_declined),
    )
    .over(ALL)
    .why("Browsers and the usual Node and Python libraries offer permessage-deflate unless told not to.")
    .sends("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
    .accepts("101 without Sec-WebSocket-Extensions."),
];

/// Asks for a WebSocket, and checks that it is one.
async fn opened(t: &Trial, request: &Request, to: &str) -> Result<Answer, Stop> {
    let (_, answer) = t.ask(request).await?;
    status(&answer, 101, to)?;
    let field = |name: &str| answer.field(name).unwrap_or_default().to_owned();
    let key = request
        .fields
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"));
    let key = key.map(|(_, value)| value.as_str()).unwrap_or_default();
    let good = field("upgrade").eq_ignore_ascii_case("websocket")
        && field("connection").to_ascii_lowercase().contains("upgrade")
        && field("sec-websocket-accept") == accept_of(key);
    if !good {
        return Err(Stop::departure(
            format!("Upgrade: websocket, Connection: Upgrade and the right accept for {to}"),
            format!("{:?}", answer.fields),
        ));
    }
    let named: Vec<&str> = answer.all("sec-websocket-protocol").collect();
    if named != [subprotocol(t)] {
        return Err(Stop::departure(
            format!("Sec-WebSocket-Protocol: {} for {to}", subprotocol(t)),
            format!("{named:?}"),
        ));
    }
    Ok(answer)
}

async fn accept(t: &mut Trial) -> Outcome {
    let key = BASE64_STANDARD.encode(t.dice.bytes(16));
    let request = request(t)?.set("Sec-WebSocket-Key", &key);
    opened(t, &request, "a random key").await?;
    OK
}

async fn letter_case(t: &mut Trial) -> Outcome {
    for (upgrade, connection) in [("WebSocket", "upgrade"), ("WEBSOCKET", "UPGRADE")] {
        let request = request(t)?
            .set("Upgrade", upgrade)
            .set("Connection", connection);
        let to = format!("Upgrade: {upgrade}, Connection: {connection}");
        opened(t, &request, &to).await?;
    }
    OK
}

async fn connection_list(t: &mut Trial) -> Outcome {
    let request = request(t)?.set("Connection", "keep-alive, Upgrade");
    opened(t, &request, "Connection: keep-alive, Upgrade").await?;
    OK
}

async fn field_names_case(t: &mut Trial) -> Outcome {
    let mut request = request(t)?;
    for (name, _) in &mut request.fields {
        *name = name.to_ascii_lowercase();
    }
    opened(t, &request, "names in lower case").await?;
    OK
}

async fn subprotocol_of_many(t: &mut Trial) -> Outcome {
    let list = format!("a.example, {}, b.example", subprotocol(t));
    let request = request(t)?.set("Sec-WebSocket-Protocol", &list);
    opened(t, &request, &list).await?;
    OK
}

async fn none_of_its_own(t: &mut Trial) -> Outcome {
    let offered = if t.way == Way::Tunnel {
        "SPDY/3.1+example.k8s.io, SPDY/3.1+v2.portforward.k8s.io"
    } else {
        "example.k8s.io, v2.portforward.k8s.io"
    };
    let request = request(t)?.set("Sec-WebSocket-Protocol", offered);
    let (_, answer) = t.ask(&request).await?;
    let named = answer.field("sec-websocket-protocol").unwrap_or_default();
    if answer.status == 101 && !named.is_empty() {
        return Err(Stop::departure(
            format!("no subprotocol that was not offered: {offered}"),
            format!("101 with {named:?}"),
        ));
    }
    if answer.status < 400 && answer.status != 101 {
        return Err(Stop::departure("101, or a refusal", answer.to_string()));
    }
    OK
}

async fn none_offered(t: &mut Trial) -> Outcome {
    let request = request(t)?.without("Sec-WebSocket-Protocol");
    let (_, answer) = t.ask(&request).await?;
    let named: Vec<&str> = answer.all("sec-websocket-protocol").collect();
    match (answer.status, named.as_slice()) {
        (101, []) => Ok(Seen::as_slug("no-field")),
        (101, [""]) => Ok(Seen::as_slug("empty-field")),
        (400.., _) => Ok(Seen::as_slug("refused")),
        _ => Err(Stop::departure(
            "101 without a subprotocol, or a refusal",
            format!("{answer} with {named:?}"),
        )),
    }
}

async fn refused_version(t: &Trial, request: &Request, to: &str) -> Outcome {
    let (_, answer) = t.ask(request).await?;
    status(&answer, 400, to)?;
    let versions: Vec<&str> = answer
        .all("sec-websocket-version")
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .collect();
    if !versions.contains(&"13") {
        return Err(Stop::departure(
            format!("Sec-WebSocket-Version: 13 in the 400 for {to}"),
            format!("{versions:?}"),
        ));
    }
    OK
}

async fn other_version(t: &mut Trial) -> Outcome {
    let request = request(t)?.set("Sec-WebSocket-Version", "12");
    refused_version(t, &request, "version 12").await
}

async fn no_version(t: &mut Trial) -> Outcome {
    let request = request(t)?.without("Sec-WebSocket-Version");
    refused_version(t, &request, "no version").await
}

async fn no_key(t: &mut Trial) -> Outcome {
    let request = request(t)?.without("Sec-WebSocket-Key");
    let (_, answer) = t.ask(&request).await?;
    if answer.status < 400 {
        return Err(Stop::departure(
            "a refusal without a key",
            answer.to_string(),
        ));
    }
    OK
}

async fn without_extension(t: &Trial, request: &Request, to: &str) -> Outcome {
    let answer = opened(t, request, to).await?;
    match answer.field("sec-websocket-extensions") {
        None | Some("") => OK,
        Some(extension) => Err(Stop::departure(
            format!("a 101 without extensions for {to}"),
            extension.to_owned(),
        )),
    }
}

async fn no_extension(t: &mut Trial) -> Outcome {
    without_extension(t, &request(t)?, "a handshake without extensions").await
}

async fn extension_declined(t: &mut Trial) -> Outcome {
    let request = request(t)?.with(
        "Sec-WebSocket-Extensions",
        "permessage-deflate; client_max_window_bits",
    );
    without_extension(t, &request, "an offer of permessage-deflate").await
}
