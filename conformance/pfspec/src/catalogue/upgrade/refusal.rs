//! Requests that get no upgrade.

use super::{HTTP, PROXIES, answered};
use crate::case::{Case, OK, Outcome, Role, Stop, Tag, Way};
use crate::catalogue::check::{closed, request, status, status_object};
use crate::probe::http::{Answer, Request};
use crate::run;
use crate::trial::{Ready, Trial};
use std::time::Duration;
use tokio::time::sleep;

const GATEWAY: &[Role] = &[Role::Gateway];
const NODE: &[Role] = &[Role::Node];
const RUNTIME: &[Role] = &[Role::Runtime];
const FORMS: &[Way] = &[Way::Spdy, Way::Tunnel, Way::V4];

/// The name of no pod.
pub(in crate::catalogue) const NO_POD: &str = "pfspec-no-such-pod";

pub(in crate::catalogue) const CASES: &[Case] = &[
    Case::must(
        "http/upgrade/post-without-upgrade",
        "A POST that is no upgrade gets 400",
        &["6.14"],
        run!(post_without_upgrade),
    )
    .over(HTTP)
    .against(GATEWAY)
    .why("A proxy on the way that drops the upgrade headers is found by this message.")
    .sends("POST without Connection and Upgrade.")
    .accepts("400, a Status of reason BadRequest, `Upgrade request required`."),
    Case::must(
        "http/upgrade/get-without-upgrade",
        "A GET that is no upgrade gets 400",
        &["6.14"],
        run!(get_without_upgrade),
    )
    .over(HTTP)
    .against(GATEWAY)
    .why("What a browser, or a WebSocket client behind a proxy that drops the headers, sends.")
    .sends("GET without Connection and Upgrade.")
    .accepts("400, a Status of reason BadRequest, `Upgrade request required`."),
    Case::must(
        "http/upgrade/upgrade-without-connection",
        "Upgrade without Connection is no upgrade",
        &["6.14"],
        run!(upgrade_without_connection),
    )
    .over(HTTP)
    .against(GATEWAY)
    .why("Connection names the fields of this hop; a proxy that drops it has not asked for the upgrade.")
    .sends("POST with Upgrade: SPDY/3.1 and Connection: keep-alive.")
    .accepts("400, a Status of reason BadRequest, `Upgrade request required`."),
    Case::should(
        "http/upgrade/other-upgrade",
        "Another upgrade gets 400",
        &["6.13"],
        run!(other_upgrade),
    )
    .over(HTTP)
    .why("A clear refusal is found; a 101 to something else is not.")
    .sends("Upgrade: example/1, and SPDY/2 and SPDY/3 on other connections.")
    .accepts("400 with a text for each."),
    Case::should(
        "http/upgrade/connection-without-upgrade",
        "Connection: Upgrade alone gets 400",
        &["6.13"],
        run!(connection_without_upgrade),
    )
    .over(HTTP)
    .why("Proxies that take Upgrade away and leave Connection send this.")
    .sends("The upgrade to SPDY without the field Upgrade.")
    .accepts("400 with a text."),
    Case::should(
        "http/upgrade/error-is-status-object",
        "The gateway's own errors are Status objects",
        &["6.15"],
        run!(error_is_status_object),
    )
    .over(HTTP)
    .against(GATEWAY)
    .why("kubectl shows the message of a Status; of another body it shows all of it.")
    .sends("A request that is no upgrade; one for a pod that does not exist.")
    .accepts("JSON with kind, apiVersion, status, message, reason and code, and Content-Type: application/json."),
    Case::must(
        "http/upgrade/unknown-pod",
        "An unknown pod gets 404",
        &["6.16"],
        run!(unknown_pod),
    )
    .over(FORMS)
    .against(GATEWAY)
    .why("The commonest mistake of a user.")
    .sends("The upgrade to SPDY, the tunnel and channels, for a pod that does not exist.")
    .accepts("404, a Status of reason NotFound with the name of the pod."),
    Case::must(
        "http/upgrade/unknown-namespace",
        "A pod of an unknown namespace gets 404",
        &["6.16"],
        run!(unknown_namespace),
    )
    .over(HTTP)
    .against(GATEWAY)
    .why("The namespace of the wrong context is as common a mistake as a wrong name.")
    .sends("The upgrade to SPDY for a pod of a namespace that does not exist.")
    .accepts("404 NotFound, or 403 Forbidden for a user who may forward in one namespace only."),
    Case::should(
        "http/upgrade/pod-without-node",
        "A pod that is not scheduled gets 400",
        &["6.17"],
        run!(pod_without_node),
    )
    .over(FORMS)
    .against(GATEWAY)
    .why("Users forward to pods that are still pending.")
    .sends("The upgrade to SPDY, the tunnel and channels, for the pod `pending`, which no node takes.")
    .accepts("400, a Status of reason BadRequest that says that there is no host."),
    Case::should(
        "http/upgrade/pod-unknown-to-node",
        "A node answers 404 for a pod that is not its own",
        &["6.26"],
        run!(pod_unknown_to_node),
    )
    .over(HTTP)
    .against(NODE)
    .why("A pod that has moved is found by this answer.")
    .sends("The upgrade to SPDY for a pod that does not exist.")
    .accepts("404 with a text."),
    Case::must(
        "http/upgrade/refusal-passes-through",
        "An error of the backend is passed on, and the connection closed",
        &["6.20"],
        run!(refusal_passes_through),
    )
    .over(HTTP)
    .against(PROXIES)
    .why("Only the runtime knows which protocols it speaks; its words have to reach the user.")
    .sends("The upgrade with an unknown protocol.")
    .accepts("The runtime's 403 with its header X-Accepted-Stream-Protocol-Versions, then the end of TCP."),
    Case::must(
        "http/upgrade/refused-connection-serves-nothing-else",
        "Behind a refused upgrade no request reaches the backend",
        &["14.15"],
        run!(nothing_else),
    )
    .over(HTTP)
    .against(PROXIES)
    .tags(&[Tag::Security])
    .why("CVE-2018-1002105: a connection to the node that was left open after a refused upgrade carried requests in the gateway's name.")
    .sends("An upgrade that the backend refuses; on the same connection a GET for a path that does not exist.")
    .accepts("The end of TCP, or the answer that a new connection gets."),
    Case::must(
        "http/upgrade/credentials-stay-at-the-gateway",
        "The user's credentials do not reach the backend",
        &["14.17"],
        run!(credentials_stay),
    )
    .over(HTTP)
    .against(GATEWAY)
    .tags(&[Tag::Security])
    .why("Whoever holds a node would hold the tokens of all who forward to it.")
    .sends("An upgrade that the runtime refuses with a list of the headers that it got.")
    .accepts("A list without Authorization. UNSUPPORTED if the runtime lists none."),
    Case::should(
        "http/upgrade/streaming-url-works-once",
        "A streaming URL works once",
        &["6.27"],
        run!(works_once),
    )
    .over(HTTP)
    .against(RUNTIME)
    .tags(&[Tag::Security])
    .why("The token is all that protects the runtime's port; a used one in a log must be worth nothing.")
    .sends("Two upgrades with one URL.")
    .accepts("101, then 404."),
    Case::should(
        "http/upgrade/streaming-url-expires",
        "A streaming URL works for a minute",
        &["6.27"],
        run!(expires),
    )
    .over(HTTP)
    .against(RUNTIME)
    .tags(&[Tag::Slow, Tag::Security])
    .within(120)
    .why("A URL that nobody used must not be left lying about.")
    .sends("An upgrade with a URL that is 65 seconds old.")
    .accepts("404."),
    Case::should(
        "http/upgrade/unknown-token",
        "An unknown token gets 404",
        &["6.27"],
        run!(unknown_token),
    )
    .over(HTTP)
    .against(RUNTIME)
    .tags(&[Tag::Security])
    .why("Tokens are guessed by whoever reaches the runtime's port.")
    .sends("An upgrade with another last character of the token.")
    .accepts("404."),
];

/// 400 by the gateway itself.
async fn no_upgrade(t: &Trial, request: &Request, to: &str) -> Outcome {
    let (_, answer) = t.ask(request).await?;
    let message = status_object(&answer, 400, "BadRequest")?;
    let expected = "Upgrade request required";
    if message != expected {
        return Err(Stop::departure(
            format!("message {expected:?} for {to}"),
            format!("{message:?}"),
        ));
    }
    OK
}

async fn post_without_upgrade(t: &mut Trial) -> Outcome {
    let request = Request::new("POST", "{path}").with("Content-Length", "0");
    no_upgrade(t, &request, "a POST that is no upgrade").await
}

async fn get_without_upgrade(t: &mut Trial) -> Outcome {
    no_upgrade(t, &Request::new("GET", "{path}"), "a plain GET").await
}

async fn upgrade_without_connection(t: &mut Trial) -> Outcome {
    let request = t.spdy_request().set("Connection", "keep-alive");
    no_upgrade(t, &request, "Upgrade without Connection: Upgrade").await
}

fn has_text(answer: &Answer) -> Result<(), Stop> {
    if answer.text().trim().is_empty() {
        let text = format!("{} with an empty body", answer.status);
        return Err(Stop::departure("an answer that says why", text));
    }
    Ok(())
}

async fn other_upgrade(t: &mut Trial) -> Outcome {
    for name in ["example/1", "SPDY/2", "SPDY/3"] {
        let request = t.spdy_request().set("Upgrade", name);
        let (_, answer) = answered(t, &request, 400, &format!("Upgrade: {name}")).await?;
        has_text(&answer)?;
    }
    OK
}

async fn connection_without_upgrade(t: &mut Trial) -> Outcome {
    let request = t.spdy_request().without("Upgrade");
    let (_, answer) = answered(t, &request, 400, "Connection: Upgrade alone").await?;
    has_text(&answer)?;
    OK
}

/// Everything that a Status of a failure has.
fn whole_status(answer: &Answer) -> Result<(), Stop> {
    let expected = "a whole Status object as application/json";
    let Some(object) = answer.status_object() else {
        return Err(Stop::departure(expected, answer.to_string()));
    };
    let kind = answer.field("content-type").unwrap_or_default();
    let is = |name: &str, value: &str| object.get(name).and_then(|v| v.as_str()) == Some(value);
    let says = |name: &str| {
        let value = object.get(name).and_then(|v| v.as_str());
        value.is_some_and(|text| !text.is_empty())
    };
    let code = object.get("code").and_then(serde_json::Value::as_u64);
    if is("apiVersion", "v1")
        && is("status", "Failure")
        && says("message")
        && says("reason")
        && code == Some(u64::from(answer.status))
        && kind.starts_with("application/json")
    {
        return Ok(());
    }
    let text = format!("Content-Type {kind:?}, {answer}");
    Err(Stop::departure(expected, text))
}

async fn error_is_status_object(t: &mut Trial) -> Outcome {
    let plain = Request::new("POST", "{path}").with("Content-Length", "0");
    let (_, answer) = answered(t, &plain, 400, "a request that is no upgrade").await?;
    whole_status(&answer)?;
    let (_, answer) = ask_sibling(t, NO_POD, t.spdy_request()).await?;
    status(&answer, 404, "an unknown pod")?;
    whole_status(&answer)?;
    OK
}

/// Asks for another pod of the namespace.
pub(in crate::catalogue) async fn ask_sibling(
    t: &Trial,
    pod: &str,
    mut request: Request,
) -> Result<(Ready, Answer), Stop> {
    let mut ready = t.connect().await?;
    request.target = request.target.replace("{path}", &ready.sibling(pod)?);
    let answer = ready.ask(&request, t.patience).await?;
    Ok((ready, answer))
}

async fn unknown_pod(t: &mut Trial) -> Outcome {
    let (_, answer) = ask_sibling(t, NO_POD, request(t)?).await?;
    let message = status_object(&answer, 404, "NotFound")?;
    if !message.contains(NO_POD) {
        return Err(Stop::departure(
            format!("a message that names {NO_POD}"),
            format!("{message:?}"),
        ));
    }
    OK
}

async fn unknown_namespace(t: &mut Trial) -> Outcome {
    let mut request = t.spdy_request();
    request.target = t.path_of("pfspec-no-such-namespace", NO_POD)?;
    let (_, answer) = t.ask(&request).await?;
    if answer.status == 403 {
        status_object(&answer, 403, "Forbidden")?;
    } else {
        status_object(&answer, 404, "NotFound")?;
    }
    OK
}

async fn pod_without_node(t: &mut Trial) -> Outcome {
    let (_, answer) = ask_sibling(t, "pending", request(t)?).await?;
    if answer.status == 404 {
        return Err(Stop::Unsupported(
            "the namespace has no pod `pending` that no node takes".to_owned(),
        ));
    }
    let message = status_object(&answer, 400, "BadRequest")?;
    if !message.contains("host") {
        return Err(Stop::departure(
            "a message that says that the pod has no host",
            format!("{message:?}"),
        ));
    }
    OK
}

async fn pod_unknown_to_node(t: &mut Trial) -> Outcome {
    let (_, answer) = ask_sibling(t, NO_POD, t.spdy_request()).await?;
    status(&answer, 404, "a pod that is not on the node")?;
    has_text(&answer)?;
    OK
}

/// The upgrade that the runtime refuses.
fn refused_request(t: &Trial) -> Request {
    t.spdy_request()
        .set("X-Stream-Protocol-Version", "example.k8s.io")
}

async fn refusal_passes_through(t: &mut Trial) -> Outcome {
    let request = refused_request(t);
    let (mut ready, answer) = answered(t, &request, 403, "an unknown protocol").await?;
    let field = "X-Accepted-Stream-Protocol-Versions";
    if answer.field(field).is_none() {
        return Err(Stop::departure(
            format!("the backend's field {field}"),
            answer.to_string(),
        ));
    }
    closed(t, &mut ready, "behind the refusal").await?;
    OK
}

async fn nothing_else(t: &mut Trial) -> Outcome {
    let other = Request::new("GET", "/pfspec-no-such-path");
    let (_, fresh) = t.ask(&other).await?;
    let (mut ready, _) = answered(t, &refused_request(t), 403, "an unknown protocol").await?;
    t.note("another request on the refused connection");
    match ready.ask(&other, t.patience).await {
        Ok(answer) if answer.status == fresh.status && answer.body == fresh.body => OK,
        Err(_) if ready.connection.end.is_some() => OK,
        Ok(answer) => Err(Stop::departure(
            format!("the end of TCP, or the answer of a new connection: {fresh}"),
            answer.to_string(),
        )),
        Err(stop) => Err(stop),
    }
}

async fn credentials_stay(t: &mut Trial) -> Outcome {
    let mut ready = t.connect().await?;
    if !ready.identifies_by("authorization") {
        let text = "the user is not known by the field Authorization";
        return Err(Stop::Unsupported(text.to_owned()));
    }
    let request = t.spdy_request().set("Upgrade", "example/1");
    let answer = ready.ask(&request, t.patience).await?;
    let text = answer.text();
    if !text.contains("X-Stream-Protocol-Version") {
        let text = "the runtime does not list the headers that it gets";
        return Err(Stop::Unsupported(text.to_owned()));
    }
    // The body itself may hold the secret, so it is not shown.
    if text.to_ascii_lowercase().contains("authorization") {
        return Err(Stop::departure(
            "headers without Authorization at the runtime",
            "a list of headers with Authorization",
        ));
    }
    OK
}

/// The path of one streaming URL, which differs from that of the next.
async fn token_path(t: &Trial) -> Result<String, Stop> {
    let path = t.connect().await?.path().to_owned();
    if t.connect().await?.path() == path {
        let text = "the target's URL is not for one use";
        return Err(Stop::Unsupported(text.to_owned()));
    }
    Ok(path)
}

fn to_path(t: &Trial, path: &str) -> Request {
    let mut request = t.spdy_request();
    path.clone_into(&mut request.target);
    request
}

async fn works_once(t: &mut Trial) -> Outcome {
    let request = to_path(t, &token_path(t).await?);
    answered(t, &request, 101, "the first use of the URL").await?;
    answered(t, &request, 404, "the second use of the URL").await?;
    OK
}

async fn expires(t: &mut Trial) -> Outcome {
    let request = to_path(t, &token_path(t).await?);
    sleep(Duration::from_secs(65)).await;
    answered(t, &request, 404, "a URL of 65 seconds").await?;
    OK
}

async fn unknown_token(t: &mut Trial) -> Outcome {
    let mut path = token_path(t).await?;
    let last = path.pop();
    path.push(if last == Some('A') { 'B' } else { 'A' });
    let request = to_path(t, &path);
    answered(t, &request, 404, "an unknown token").await?;
    OK
}
