//! `authz/`: chapter 6, who may forward.

use super::check::{answered_as, request, status_object};
use super::upgrade::refusal::NO_POD;
use crate::case::{Case, OK, Outcome, Role, Stop, Tag, Way};
use crate::probe::http::Request;
use crate::run;
use crate::target::Who;
use crate::trial::Trial;

const HTTP: &[Way] = &[Way::Http];
const FORMS: &[Way] = &[Way::Spdy, Way::Tunnel, Way::V4];
const WEBSOCKETS: &[Way] = &[Way::Tunnel, Way::V4];
const GATEWAY: &[Role] = &[Role::Gateway];
const PROXIES: &[Role] = &[Role::Gateway, Role::Node];
const SECURITY: &[Tag] = &[Tag::Security];

pub(super) const CASES: &[Case] = &[
    Case::must(
        "authz/anonymous",
        "Without identity there is no forward",
        &["6.29"],
        run!(anonymous),
    )
    .over(FORMS)
    .against(PROXIES)
    .tags(SECURITY)
    .why("Every port of every pod would be open to whoever reaches the server.")
    .sends("The upgrade to SPDY, the tunnel and channels, without credentials.")
    .accepts("401; 403 where anonymous users are let in and may not forward."),
    Case::must(
        "authz/unknown-token",
        "A token that nobody has given out gets 401",
        &["6.29"],
        run!(unknown_token),
    )
    .over(FORMS)
    .against(PROXIES)
    .tags(SECURITY)
    .why("401 makes a client fetch new credentials; 403 does not.")
    .sends("The upgrade to SPDY, the tunnel and channels, with a bearer token that is not known.")
    .accepts("401."),
    Case::must(
        "authz/other-scheme",
        "Another scheme of Authorization is no identity",
        &["6.29"],
        run!(other_scheme),
    )
    .over(HTTP)
    .against(PROXIES)
    .tags(SECURITY)
    .why("A server that looks at the value only takes a password for a token.")
    .sends("Authorization: Basic with a user and a password.")
    .accepts("401; 403 where anonymous users are let in."),
    Case::must(
        "authz/empty-token",
        "An empty token is no identity",
        &["6.29"],
        run!(empty_token),
    )
    .over(HTTP)
    .against(PROXIES)
    .tags(SECURITY)
    .why("A user without a token must not be the one whose token is empty.")
    .sends("Authorization: Bearer with nothing behind it.")
    .accepts("401; 403 where anonymous users are let in."),
    Case::must(
        "authz/anonymous-learns-no-names",
        "Without identity the answer for an unknown pod is the same",
        &["6.29"],
        run!(anonymous_learns_no_names),
    )
    .over(HTTP)
    .against(GATEWAY)
    .tags(SECURITY)
    .why("404 for one name and 401 for another tells strangers which pods there are.")
    .sends("The upgrade to SPDY without credentials, for a pod that exists and one that does not.")
    .accepts("The same status, 401 or 403."),
    Case::should(
        "authz/unauthorized-is-status-object",
        "The 401 is a Status object",
        &["6.15", "6.29"],
        run!(unauthorized_is_status_object),
    )
    .over(HTTP)
    .against(GATEWAY)
    .why("kubectl shows the message of a Status, and advises to log in on this reason.")
    .sends("The upgrade to SPDY with a token that is not known.")
    .accepts("A Status of reason Unauthorized."),
    Case::must(
        "authz/post-needs-create",
        "POST needs the verb create",
        &["6.30"],
        run!(post_needs_create),
    )
    .over(HTTP)
    .against(GATEWAY)
    .tags(SECURITY)
    .why("Roles such as `view` may look at pods and must not reach into them.")
    .sends("The upgrade to SPDY as somebody who may look up and not forward.")
    .accepts("403, a Status of reason Forbidden."),
    Case::must(
        "authz/nobody",
        "A user without any role may not forward",
        &["6.30"],
        run!(nobody),
    )
    .over(HTTP)
    .against(GATEWAY)
    .tags(SECURITY)
    .why("Being known is no permission.")
    .sends("The upgrade to SPDY as somebody who may nothing.")
    .accepts("403, a Status of reason Forbidden."),
    Case::must(
        "authz/check-before-lookup",
        "The permission is checked before the pod is looked up",
        &["6.30"],
        run!(check_before_lookup),
    )
    .over(HTTP)
    .against(GATEWAY)
    .tags(SECURITY)
    .why("404 for one name and 403 for another tells which pods there are.")
    .sends("The upgrade to SPDY for a pod that does not exist, as somebody who may nothing.")
    .accepts("403, a Status of reason Forbidden."),
    Case::must(
        "authz/get-does-not-replace-create",
        "The verb get is not enough for POST",
        &["6.30"],
        run!(get_does_not_replace_create),
    )
    .over(HTTP)
    .against(GATEWAY)
    .tags(SECURITY)
    .why("Roles that may get everything are given out as harmless (kubernetes issue 78741, of pods/exec).")
    .sends("The upgrade to SPDY with POST as somebody with get and not create.")
    .accepts("403, a Status of reason Forbidden."),
    Case::should(
        "authz/get-needs-get",
        "GET needs the verb get, or what is more",
        &["6.31"],
        run!(get_needs_get),
    )
    .over(FORMS)
    .against(GATEWAY)
    .tags(SECURITY)
    .why("WebSocket uses GET: a check of POST only would leave the side door open.")
    .sends("GET for SPDY, the tunnel and channels, as somebody who may look up and not forward.")
    .accepts("403, a Status of reason Forbidden."),
    Case::should(
        "authz/create-does-not-replace-get",
        "The verb create is not enough for GET",
        &["6.31"],
        run!(create_does_not_replace_get),
    )
    .over(WEBSOCKETS)
    .against(GATEWAY)
    .why("kubectl falls back to SPDY for such a user; gateways that differ hide it until the move to another cluster.")
    .sends("The tunnel and channels as somebody with create and not get.")
    .accepts("403, a Status of reason Forbidden."),
    Case::should(
        "authz/websocket-needs-create",
        "A WebSocket needs the verb create as well",
        &["6.32"],
        run!(websocket_needs_create),
    )
    .over(WEBSOCKETS)
    .against(GATEWAY)
    .tags(SECURITY)
    .versions(35, u16::MAX)
    .why("Without it whoever may read all may forward (as kubernetes issue 78741 says of pods/exec).")
    .sends("The tunnel and channels as somebody with get and not create.")
    .accepts("403, a Status of reason Forbidden."),
    Case::should(
        "authz/websocket-check-before-lookup",
        "The check of create comes before the pod is looked up",
        &["6.32"],
        run!(websocket_check_before_lookup),
    )
    .over(WEBSOCKETS)
    .against(GATEWAY)
    .tags(SECURITY)
    .versions(35, u16::MAX)
    .why("404 for one name and 403 for another tells which pods there are.")
    .sends("The tunnel and channels for a pod that does not exist, as somebody without create.")
    .accepts("403, a Status of reason Forbidden."),
];

/// No identity: 401, or 403 where anonymous users are let in.
async fn kept_out(t: &Trial, request: &Request, who: &str) -> Result<u16, Stop> {
    let (_, answer) = t.ask_as(Who::Anonymous, request).await?;
    if matches!(answer.status, 401 | 403) {
        return Ok(answer.status);
    }
    Err(Stop::departure(
        format!("401 (or 403 where anonymous users are let in) for {who}"),
        answer.to_string(),
    ))
}

async fn anonymous(t: &mut Trial) -> Outcome {
    kept_out(t, &request(t)?, "a request without credentials").await?;
    OK
}

async fn unknown_token(t: &mut Trial) -> Outcome {
    let request = request(t)?;
    answered_as(t, Who::Stranger, &request, 401, "an unknown token").await?;
    OK
}

async fn other_scheme(t: &mut Trial) -> Outcome {
    let request = t
        .spdy_request()
        .with("Authorization", "Basic YWRtaW46YWRtaW4=");
    kept_out(t, &request, "Authorization: Basic").await?;
    OK
}

async fn empty_token(t: &mut Trial) -> Outcome {
    let request = t.spdy_request().with("Authorization", "Bearer ");
    kept_out(t, &request, "an empty token").await?;
    OK
}

/// The request for a pod that does not exist.
async fn for_no_pod(t: &Trial, mut request: Request) -> Result<Request, Stop> {
    let path = t.connect().await?.sibling(NO_POD)?;
    request.target = request.target.replace("{path}", &path);
    Ok(request)
}

async fn anonymous_learns_no_names(t: &mut Trial) -> Outcome {
    let known = t.spdy_request();
    let unknown = for_no_pod(t, known.clone()).await?;
    let first = kept_out(t, &known, "a pod that exists").await?;
    let second = kept_out(t, &unknown, "a pod that does not exist").await?;
    if first != second {
        return Err(Stop::departure(
            "one status for both pods",
            format!("{first} for the pod that exists, {second} for the other"),
        ));
    }
    OK
}

async fn unauthorized_is_status_object(t: &mut Trial) -> Outcome {
    let (_, answer) = t.ask_as(Who::Stranger, &t.spdy_request()).await?;
    status_object(&answer, 401, "Unauthorized")?;
    OK
}

async fn forbidden(t: &Trial, who: Who, request: &Request) -> Outcome {
    let (_, answer) = t.ask_as(who, request).await?;
    let message = status_object(&answer, 403, "Forbidden")?;
    if !message.contains("forbidden") {
        return Err(Stop::departure(
            "a message that says what is forbidden",
            format!("{message:?}"),
        ));
    }
    OK
}

async fn post_needs_create(t: &mut Trial) -> Outcome {
    forbidden(t, Who::Viewer, &t.spdy_request()).await
}

async fn nobody(t: &mut Trial) -> Outcome {
    forbidden(t, Who::Nobody, &t.spdy_request()).await
}

async fn check_before_lookup(t: &mut Trial) -> Outcome {
    let request = for_no_pod(t, t.spdy_request()).await?;
    forbidden(t, Who::Nobody, &request).await
}

async fn get_does_not_replace_create(t: &mut Trial) -> Outcome {
    forbidden(t, Who::GetOnly, &t.spdy_request()).await
}

async fn get_needs_get(t: &mut Trial) -> Outcome {
    let mut request = request(t)?;
    "GET".clone_into(&mut request.method);
    forbidden(t, Who::Viewer, &request).await
}

async fn create_does_not_replace_get(t: &mut Trial) -> Outcome {
    forbidden(t, Who::CreateOnly, &request(t)?).await
}

async fn websocket_needs_create(t: &mut Trial) -> Outcome {
    forbidden(t, Who::GetOnly, &request(t)?).await
}

async fn websocket_check_before_lookup(t: &mut Trial) -> Outcome {
    let request = for_no_pod(t, request(t)?).await?;
    forbidden(t, Who::GetOnly, &request).await
}
