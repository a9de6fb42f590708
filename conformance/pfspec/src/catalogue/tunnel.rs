//! `tunnel/`: chapter 13, SPDY in WebSocket.

pub(super) mod end;
pub(super) mod messages;

use super::check::{V4, answered, status, status_object};
use super::upgrade::refusal::{NO_POD, ask_sibling};
use crate::case::{Case, OK, Outcome, Role, Seen, Stop, Way};
use crate::probe::http::{Answer, Request};
use crate::probe::session::{Carrier, Session};
use crate::probe::websocket::WebSocket;
use crate::run;
use crate::target::Service;
use crate::trial::{TUNNEL, Trial, accept};

const WAY: &[Way] = &[Way::Tunnel];
/// Whoever ends tunnels.
const ENDS: &[Role] = &[Role::Gateway, Role::Node];
const FIELD: &str = "Sec-WebSocket-Protocol";

pub(super) const CASES: &[Case] = &[
    Case::must(
        "tunnel/nego/switches",
        "The tunnel's subprotocol is served, and named in the 101",
        &["13.1", "13.6", "13.26"],
        run!(switches),
    )
    .over(WAY)
    .against(ENDS)
    .why("kubectl tries it first since 1.31; middleboxes let WebSocket pass and not SPDY (cilium-cli issue 3258).")
    .sends("The GET that kubectl sends.")
    .accepts("101 with one subprotocol, SPDY/3.1+portforward.k8s.io, and a session."),
    Case::must(
        "tunnel/nego/letter-case",
        "Tunnel requests are known by their headers in any case",
        &["13.2"],
        run!(letter_case),
    )
    .over(WAY)
    .against(ENDS)
    .why("A request that is not known for a tunnel goes to a runtime that does not serve it.")
    .sends("Upgrade: WebSocket with Connection: keep-alive, upgrade.")
    .accepts("101, and a session."),
    Case::must(
        "tunnel/nego/other-suffix",
        "A name that does not end with .k8s.io is no tunnel",
        &["13.2"],
        run!(other_suffix),
    )
    .over(WAY)
    .against(ENDS)
    .why("Such a request goes through the plain proxy, whose backend does not know the name.")
    .sends("SPDY/3.1+portforward.example.com, with the query of channels.")
    .accepts("A refusal."),
    Case::must(
        "tunnel/nego/other-prefix",
        "A name that does not begin with SPDY/3.1+ is no tunnel",
        &["13.2"],
        run!(other_prefix),
    )
    .over(WAY)
    .against(ENDS)
    .why("SPDY/3 frames as SPDY/3.1 does but has windows: the two must not be taken for each other.")
    .sends("SPDY/3+portforward.k8s.io and portforward.k8s.io, with the query of channels.")
    .accepts("A refusal of each."),
    Case::should(
        "tunnel/nego/anywhere-in-the-list",
        "The tunnel's name may stand anywhere in the list",
        &["13.3"],
        run!(anywhere),
    )
    .over(WAY)
    .against(ENDS)
    .why("A client that speaks tunnel and channels offers both.")
    .sends("The name first, in the middle and last of a list with names of channels, on connections of their own.")
    .accepts("101 that names the tunnel, and a session."),
    Case::should(
        "tunnel/nego/list-without-spaces",
        "The commas of the list need no spaces",
        &["13.3"],
        run!(list_without_spaces),
    )
    .over(WAY)
    .against(ENDS)
    .why("Libraries join the names with a bare comma.")
    .sends("v4.channel.k8s.io,SPDY/3.1+portforward.k8s.io")
    .accepts("101 that names the tunnel, and a session."),
    Case::should(
        "tunnel/nego/first-of-two-lines",
        "A second line of names does not hide the tunnel's",
        &["13.3"],
        run!(first_of_two_lines),
    )
    .over(WAY)
    .against(ENDS)
    .why("Libraries that send a line for each name put the best first.")
    .sends("A line with the tunnel's name, then one with v4.channel.k8s.io.")
    .accepts("101 that names the tunnel, and a session."),
    Case::must(
        "tunnel/nego/second-tunnel-name",
        "All tunnel names are offered to the backend",
        &["13.4", "13.6"],
        run!(second_name),
    )
    .over(WAY)
    .against(ENDS)
    .why("A later version of the protocol will be offered before this one.")
    .sends("SPDY/3.1+v9.portforward.k8s.io, SPDY/3.1+portforward.k8s.io")
    .accepts("101 that names the second, and a session."),
    Case::must(
        "tunnel/nego/stray-protocol-header",
        "X-Stream-Protocol-Version of a tunnel request has no effect",
        &["13.4"],
        run!(stray_header),
    )
    .over(WAY)
    .against(ENDS)
    .why("A client library that adds it to every request must not change what is agreed.")
    .sends("The handshake of the tunnel with X-Stream-Protocol-Version: example.k8s.io.")
    .accepts("101 that names the tunnel, and a session."),
    Case::must(
        "tunnel/nego/unknown-protocol",
        "An unknown protocol is refused by the backend, and the answer is HTTP",
        &["13.7", "13.5"],
        run!(unknown_protocol),
    )
    .over(WAY)
    .against(ENDS)
    .why("A 101 before the backend has answered leaves a session that breaks without a reason.")
    .sends("SPDY/3.1+example.k8s.io")
    .accepts("403 with X-Accepted-Stream-Protocol-Versions; no 101."),
    Case::must(
        "tunnel/nego/unknown-pod",
        "An unknown pod is told by HTTP, not by an early 101",
        &["13.5"],
        run!(unknown_pod),
    )
    .over(WAY)
    .against(&[Role::Gateway])
    .why("The client shows the message of the Status; behind a 101 there is no place for it.")
    .sends("The handshake of the tunnel for a pod that does not exist.")
    .accepts("404, a Status of reason NotFound."),
    Case::must(
        "tunnel/nego/other-version",
        "Another version of WebSocket gets 400",
        &["13.7", "10.5"],
        run!(other_version),
    )
    .over(WAY)
    .against(ENDS)
    .why("Faults of the handshake are found behind the backend's answer, and still have to be told.")
    .sends("Sec-WebSocket-Version: 12")
    .accepts("400 with Sec-WebSocket-Version: 13."),
    Case::must(
        "tunnel/nego/no-key",
        "A handshake without a key gets 400",
        &["13.7"],
        run!(no_key),
    )
    .over(WAY)
    .against(ENDS)
    .why("As with the version.")
    .sends("The handshake without Sec-WebSocket-Key.")
    .accepts("400 with Sec-WebSocket-Version: 13."),
    Case::must(
        "tunnel/nego/post",
        "POST gets 405",
        &["13.7"],
        run!(post),
    )
    .over(WAY)
    .against(ENDS)
    .why("WebSocket is GET only; the permissions of the two methods differ.")
    .sends("The handshake of the tunnel with POST.")
    .accepts("405 with Sec-WebSocket-Version: 13."),
    Case::observed(
        "tunnel/nego/at-the-node",
        "Whether the node ends tunnels itself",
        &["13.25"],
        run!(older_gateway),
    )
    .over(&[Way::Http])
    .against(&[Role::Node])
    .why("From 1.36 a gateway passes the request on to nodes that say they can (minikube change 22921).")
    .sends("The handshake of the tunnel.")
    .accepts("`served`, or `answered-` with the status."),
    Case::observed(
        "tunnel/nego/older-gateway",
        "What a gateway that has no tunnel answers",
        &["13.24"],
        run!(older_gateway),
    )
    .over(&[Way::Http])
    .against(&[Role::Gateway])
    .versions(29, 30)
    .why("Clients fall back to SPDY on any answer but 101 (kubernetes issue 133913).")
    .sends("The handshake of the tunnel.")
    .accepts("`served`, or `answered-` with the status."),
];

/// The handshake with other names.
fn offering(t: &Trial, list: &str) -> Request {
    t.websocket_request(TUNNEL, "").set(FIELD, list)
}

/// Asks, and checks that a tunnel comes about that carries a connection.
async fn tunnelled(t: &Trial, request: &Request, to: &str) -> Result<Session, Stop> {
    let (ready, answer) = t.ask(request).await?;
    status(&answer, 101, to)?;
    let named: Vec<&str> = answer.all(FIELD).collect();
    if named != [TUNNEL] || answer.field("sec-websocket-accept") != Some(&accept()) {
        return Err(Stop::departure(
            format!("{FIELD}: {TUNNEL} and the right accept in the 101 for {to}"),
            format!("{:?}", answer.fields),
        ));
    }
    let carrier = Carrier::Tunnel(WebSocket::new(ready.connection));
    let mut session = Session::new(carrier, t.patience);
    session.works(t.port(Service::Echo)?, "behind it").await?;
    Ok(session)
}

async fn switches(t: &mut Trial) -> Outcome {
    let request = t.websocket_request(TUNNEL, "");
    tunnelled(t, &request, "the handshake of kubectl").await?;
    OK
}

async fn letter_case(t: &mut Trial) -> Outcome {
    let request = t
        .websocket_request(TUNNEL, "")
        .set("Upgrade", "WebSocket")
        .set("Connection", "keep-alive, upgrade");
    tunnelled(t, &request, "other letters").await?;
    OK
}

async fn refused(t: &Trial, names: &[&str]) -> Outcome {
    let query = t.ports_query(&[t.port(Service::Echo)?]);
    for name in names {
        let request = t.websocket_request(name, &query);
        let (_, answer) = t.ask(&request).await?;
        if answer.status < 400 {
            return Err(Stop::departure(
                format!("a refusal of {name}"),
                answer.to_string(),
            ));
        }
    }
    OK
}

async fn other_suffix(t: &mut Trial) -> Outcome {
    refused(t, &["SPDY/3.1+portforward.example.com"]).await
}

async fn other_prefix(t: &mut Trial) -> Outcome {
    refused(t, &["SPDY/3+portforward.k8s.io", "portforward.k8s.io"]).await
}

async fn anywhere(t: &mut Trial) -> Outcome {
    for list in [
        format!("{TUNNEL}, {V4}, example.k8s.io"),
        format!("example.k8s.io, {TUNNEL}, {V4}"),
        format!("{V4}, example.k8s.io, {TUNNEL}"),
    ] {
        tunnelled(t, &offering(t, &list), &list).await?;
    }
    OK
}

async fn list_without_spaces(t: &mut Trial) -> Outcome {
    let list = format!("{V4},{TUNNEL}");
    tunnelled(t, &offering(t, &list), &list).await?;
    OK
}

async fn first_of_two_lines(t: &mut Trial) -> Outcome {
    let request = t.websocket_request(TUNNEL, "").with(FIELD, V4);
    tunnelled(t, &request, "two lines of names").await?;
    OK
}

async fn second_name(t: &mut Trial) -> Outcome {
    let list = format!("SPDY/3.1+v9.portforward.k8s.io, {TUNNEL}");
    tunnelled(t, &offering(t, &list), &list).await?;
    OK
}

async fn stray_header(t: &mut Trial) -> Outcome {
    let request = t
        .websocket_request(TUNNEL, "")
        .with("X-Stream-Protocol-Version", "example.k8s.io");
    tunnelled(t, &request, "a request with a stray protocol header").await?;
    OK
}

async fn unknown_protocol(t: &mut Trial) -> Outcome {
    let name = "SPDY/3.1+example.k8s.io";
    let (_, answer) = answered(t, &offering(t, name), 403, name).await?;
    let field = "X-Accepted-Stream-Protocol-Versions";
    if answer.field(field).is_none() {
        return Err(Stop::departure(
            format!("the backend's field {field}"),
            answer.to_string(),
        ));
    }
    OK
}

async fn unknown_pod(t: &mut Trial) -> Outcome {
    let request = t.websocket_request(TUNNEL, "");
    let (_, answer) = ask_sibling(t, NO_POD, request).await?;
    status_object(&answer, 404, "NotFound")?;
    OK
}

fn names_version(answer: &Answer) -> Outcome {
    match answer.field("sec-websocket-version") {
        Some("13") => OK,
        other => Err(Stop::departure(
            format!("Sec-WebSocket-Version: 13 in the {}", answer.status),
            format!("{other:?}"),
        )),
    }
}

async fn other_version(t: &mut Trial) -> Outcome {
    let request = t
        .websocket_request(TUNNEL, "")
        .set("Sec-WebSocket-Version", "12");
    let (_, answer) = answered(t, &request, 400, "version 12").await?;
    names_version(&answer)
}

async fn no_key(t: &mut Trial) -> Outcome {
    let request = t.websocket_request(TUNNEL, "").without("Sec-WebSocket-Key");
    let (_, answer) = answered(t, &request, 400, "no key").await?;
    names_version(&answer)
}

async fn post(t: &mut Trial) -> Outcome {
    let mut request = t.websocket_request(TUNNEL, "").with("Content-Length", "0");
    "POST".clone_into(&mut request.method);
    let (_, answer) = answered(t, &request, 405, "POST").await?;
    names_version(&answer)
}

async fn older_gateway(t: &mut Trial) -> Outcome {
    let (_, answer) = t.ask(&t.websocket_request(TUNNEL, "")).await?;
    Ok(Seen::as_slug(match answer.status {
        101 => "served".to_owned(),
        code => format!("answered-{code}"),
    }))
}
