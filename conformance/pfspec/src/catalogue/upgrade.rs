//! `http/upgrade/`: chapter 6 but for negotiation and permissions, and the parts of chapter 14 about heads.

pub(super) mod backend;
pub(super) mod heads;
pub(super) mod proxy;
pub(super) mod refusal;

use super::check::{answered, switched, upgraded};
use crate::case::{Case, OK, Outcome, Role, SESSIONS, Seen, Stop, Way};
use crate::probe::session::Session;
use crate::probe::wire;
use crate::run;
use crate::target::Service;
use crate::trial::Trial;
use std::time::Duration;

const HTTP: &[Way] = &[Way::Http];
const PROXIES: &[Role] = &[Role::Gateway, Role::Node];

pub(super) const CASES: &[Case] = &[
    Case::must(
        "http/upgrade/switches",
        "The 101 says what was agreed",
        &["6.8"],
        run!(switches),
    )
    .over(HTTP)
    .why("kubectl gives up on a 101 without one of the three fields.")
    .sends("The upgrade to SPDY as client-go sends it.")
    .accepts("101 with Connection: Upgrade, Upgrade: SPDY/3.1 and X-Stream-Protocol-Version: portforward.k8s.io, and a session."),
    Case::must(
        "http/upgrade/connection-list",
        "Connection need only contain upgrade",
        &["6.6"],
        run!(connection_list),
    )
    .over(HTTP)
    .why("Browsers and some libraries send `keep-alive, Upgrade`.")
    .sends("Connection: keep-alive, Upgrade")
    .accepts("101, and a session."),
    Case::must(
        "http/upgrade/connection-case",
        "Connection is matched without case",
        &["6.6"],
        run!(connection_case),
    )
    .over(HTTP)
    .why("Libraries write `upgrade`, and proxies respell it.")
    .sends("Connection: upgrade; on another connection UPGRADE.")
    .accepts("101, and a session, for both."),
    Case::must(
        "http/upgrade/upgrade-case",
        "Upgrade is matched without case",
        &["6.6"],
        run!(upgrade_case),
    )
    .over(HTTP)
    .why("kubectl sends `SPDY/3.1`, others `spdy/3.1`.")
    .sends("Upgrade: spdy/3.1; on another connection Spdy/3.1.")
    .accepts("101, and a session, for both."),
    Case::observed(
        "http/upgrade/upgrade-list",
        "Whether Upgrade may be a list that contains SPDY/3.1",
        &["6.6"],
        run!(upgrade_list),
    )
    .over(HTTP)
    .why("HTTP lets a client offer several protocols, best first.")
    .sends("Upgrade: example/1, SPDY/3.1")
    .accepts("`accepted`: 101 to SPDY/3.1, and a session; or `refused`."),
    Case::must(
        "http/upgrade/field-names-case",
        "The names of the upgrade headers are matched without case",
        &["6.6"],
        run!(field_names_case),
    )
    .over(HTTP)
    .why("Libraries that came from HTTP/2 write lower case.")
    .sends("The upgrade with `connection` and `upgrade`; on another connection `CONNECTION` and `UPGRADE`.")
    .accepts("101, and a session, for both."),
    Case::should(
        "http/upgrade/get",
        "GET is served as POST is",
        &["6.3"],
        run!(get),
    )
    .over(HTTP)
    .why("Some clients use one method for all upgrades; WebSocket knows GET only.")
    .sends("The upgrade to SPDY with GET.")
    .accepts("101, and a session."),
    Case::should(
        "http/upgrade/query-has-no-effect",
        "A query with ports has no effect on SPDY",
        &["6.2"],
        run!(query_has_no_effect),
    )
    .over(HTTP)
    .against(PROXIES)
    .why("Clients that serve both forms put the ports into every request.")
    .sends("The upgrade to SPDY with a query that names a port on which nothing listens; a pair to the echo.")
    .accepts("101, and the echo's bytes."),
    Case::must(
        "http/upgrade/alpn-http-1-1",
        "The ALPN name http/1.1 gets the upgrade",
        &["6.1"],
        run!(alpn_http_1_1),
    )
    .over(HTTP)
    .why("A server that prefers HTTP/2 and serves no upgrade there must leave this choice to the client.")
    .sends("TLS with ALPN http/1.1, the upgrade to SPDY.")
    .accepts("101."),
    Case::must(
        "http/upgrade/alpn-none",
        "No ALPN at all gets the upgrade",
        &["6.1"],
        run!(alpn_none),
    )
    .over(HTTP)
    .why("Clients of older libraries send no ALPN.")
    .sends("TLS without ALPN, the upgrade to SPDY.")
    .accepts("101."),
    Case::must(
        "http/upgrade/alpn-h2",
        "HTTP/2 gets no upgrade of HTTP/1.1",
        &["6.1"],
        run!(alpn_h2),
    )
    .over(HTTP)
    .why("kubernetes issue 39940: a client that agreed on h2 must learn at once that there is no port-forward.")
    .sends("TLS with ALPN h2 only, then the upgrade in the words of HTTP/1.1.")
    .accepts("A refused handshake, or no 101; 101 too if the server did not agree on h2."),
    Case::quality(
        "http/upgrade/early-bytes",
        "Bytes behind the request head are not lost",
        &["6.5"],
        run!(early_bytes),
    )
    .over(HTTP)
    .against(PROXIES)
    .why("A client that does not wait for the 101 gets a session that misses its first frames. k3s lost the first bytes of CONNECT tunnels so (k3s PR 6216).")
    .sends("The head and PING 1 in one write; PING 3 behind the 101.")
    .accepts("Both echoed, or a refusal."),
    Case::should(
        "http/upgrade/outlives-request-time-limit",
        "The time limit of requests does not end a session",
        &["6.24"],
        run!(outlives),
    )
    .over(SESSIONS)
    .against(PROXIES)
    .tags(&[crate::case::Tag::Slow])
    .within(120)
    .why("API servers end requests after 60 seconds; a debugger at a breakpoint is quiet for longer.")
    .sends("A pair to the echo, 65 seconds of nothing, bytes on the same pair.")
    .accepts("The bytes back."),
];

async fn switches(t: &mut Trial) -> Outcome {
    upgraded(t, &t.spdy_request(), "the upgrade to SPDY").await?;
    OK
}

/// Every value of a field gets a session.
async fn any_of(t: &Trial, name: &str, values: &[&str]) -> Outcome {
    for value in values {
        let request = t.spdy_request().set(name, value);
        upgraded(t, &request, &format!("{name}: {value}")).await?;
    }
    OK
}

async fn connection_list(t: &mut Trial) -> Outcome {
    any_of(t, "Connection", &["keep-alive, Upgrade"]).await
}

async fn connection_case(t: &mut Trial) -> Outcome {
    any_of(t, "Connection", &["upgrade", "UPGRADE"]).await
}

async fn upgrade_case(t: &mut Trial) -> Outcome {
    any_of(t, "Upgrade", &["spdy/3.1", "Spdy/3.1"]).await
}

async fn upgrade_list(t: &mut Trial) -> Outcome {
    let request = t.spdy_request().set("Upgrade", "example/1, SPDY/3.1");
    let (_, answer) = t.ask(&request).await?;
    if answer.status != 101 {
        return Ok(Seen::as_slug("refused"));
    }
    any_of(t, "Upgrade", &["example/1, SPDY/3.1"]).await?;
    Ok(Seen::as_slug("accepted"))
}

async fn field_names_case(t: &mut Trial) -> Outcome {
    for upper in [false, true] {
        let mut request = t.spdy_request();
        for (name, _) in &mut request.fields {
            *name = if upper {
                name.to_ascii_uppercase()
            } else {
                name.to_ascii_lowercase()
            };
        }
        let to = if upper { "upper case" } else { "lower case" };
        upgraded(t, &request, &format!("field names in {to}")).await?;
    }
    OK
}

async fn get(t: &mut Trial) -> Outcome {
    let mut request = t.spdy_request().without("Content-Length");
    "GET".clone_into(&mut request.method);
    upgraded(t, &request, "the upgrade to SPDY with GET").await?;
    OK
}

async fn query_has_no_effect(t: &mut Trial) -> Outcome {
    let query = t.ports_query(&[t.port(Service::Closed)?]);
    let mut request = t.spdy_request();
    request.target.push_str(&query);
    upgraded(t, &request, &format!("the upgrade to SPDY with {query}")).await?;
    OK
}

async fn with_alpn(t: &Trial, protocols: &[&[u8]], to: &str) -> Outcome {
    let mut ready = t.connect_with_alpn(protocols).await?;
    let answer = ready.ask(&t.spdy_request(), t.patience).await?;
    switched(&answer, to)?;
    OK
}

async fn alpn_http_1_1(t: &mut Trial) -> Outcome {
    with_alpn(t, &[b"http/1.1"], "ALPN http/1.1").await
}

async fn alpn_none(t: &mut Trial) -> Outcome {
    with_alpn(t, &[], "no ALPN").await
}

async fn alpn_h2(t: &mut Trial) -> Outcome {
    // The handshake failed: nothing is served.
    let Ok(mut ready) = t.handshake_with_alpn(&[b"h2"]).await? else {
        return OK;
    };
    // A server that knows no ALPN agrees on nothing, and speaks HTTP/1.1 (RFC 7301).
    let agreed = ready.agreed.as_deref() == Some(b"h2");
    match ready.ask(&t.spdy_request(), t.patience).await {
        Ok(answer) if answer.status == 101 && agreed => Err(Stop::departure(
            "no 101 of HTTP/1.1 where h2 was agreed on",
            answer.to_string(),
        )),
        // The end of the connection, or what is no answer of HTTP/1.1.
        Ok(_) | Err(Stop::Departure { .. }) => OK,
        Err(stop) => Err(stop),
    }
}

async fn early_bytes(t: &mut Trial) -> Outcome {
    let mut request = t.spdy_request();
    request.behind = wire::control(3, wire::PING, 0, &1u32.to_be_bytes());
    let (ready, answer) = t.ask(&request).await?;
    if answer.status >= 400 {
        return Ok(Seen::as_slug("refused"));
    }
    switched(&answer, "an upgrade with bytes behind it")?;
    let carrier = crate::probe::session::Carrier::Plain(ready.connection);
    let mut session = Session::new(carrier, t.patience);
    session.send(&wire::Frame::Ping(3)).await?;
    session
        .until("PING 3 echoed", |s| s.pings.contains(&3))
        .await?;
    if session.pings != [1, 3] {
        return Err(Stop::departure(
            "PING 1, which came with the head, and PING 3 echoed",
            format!("echoes of {:?}", session.pings),
        ));
    }
    Ok(Seen::as_slug("kept"))
}

async fn outlives(t: &mut Trial) -> Outcome {
    let mut session = t.session().await?;
    let pair = session.echo(t.port(Service::Echo)?, b"before").await?;
    session.read_for(Duration::from_secs(65)).await?;
    session.echo_on(pair, b"behind").await?;
    OK
}
