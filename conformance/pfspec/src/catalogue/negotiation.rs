//! `http/negotiation/`: chapter 6, which protocol is spoken behind the upgrade to SPDY.

use super::check::{answered, status, switched, upgraded};
use crate::case::{Case, OK, Outcome, Role, Seen, Stop, Way};
use crate::probe::http::{Answer, Request};
use crate::run;
use crate::trial::{PROTOCOL, Trial};

const FIELD: &str = "X-Stream-Protocol-Version";
const HTTP: &[Way] = &[Way::Http];
const BAD: &str = "400 with a text: `bad-request`. Behind a proxy also the 500 that it makes of an older runtime's empty 200: `older-runtime`.";

pub(super) const CASES: &[Case] = &[
    Case::must(
        "http/negotiation/list",
        "A line of the protocol header may be a list",
        &["6.7"],
        run!(list),
    )
    .over(HTTP)
    .why("Clients that speak more than one version offer them in one line.")
    .sends("X-Stream-Protocol-Version: example.k8s.io, portforward.k8s.io")
    .accepts("101 that names portforward.k8s.io, and a session."),
    Case::must(
        "http/negotiation/list-without-spaces",
        "The commas of the list need no spaces",
        &["6.7"],
        run!(list_without_spaces),
    )
    .over(HTTP)
    .why("Proxies and libraries join lines with a bare comma.")
    .sends("X-Stream-Protocol-Version: example.k8s.io,portforward.k8s.io")
    .accepts("101 that names portforward.k8s.io, and a session."),
    Case::must(
        "http/negotiation/list-with-empty-items",
        "Empty items of the list mean nothing",
        &["6.7"],
        run!(list_with_empty_items),
    )
    .over(HTTP)
    .why("Lists that were joined from empty parts are legal HTTP.")
    .sends("X-Stream-Protocol-Version: , ,portforward.k8s.io ,")
    .accepts("101 that names portforward.k8s.io, and a session."),
    Case::must(
        "http/negotiation/repeated",
        "The protocol header may come several times",
        &["6.7"],
        run!(repeated),
    )
    .over(HTTP)
    .why("client-go sends a line for each protocol: a server that reads the first line only refuses it.")
    .sends("A line with example.k8s.io, then one with portforward.k8s.io.")
    .accepts("101 that names portforward.k8s.io, and a session."),
    Case::must(
        "http/negotiation/repeated-lists",
        "Several lines may all be lists",
        &["6.7"],
        run!(repeated_lists),
    )
    .over(HTTP)
    .why("Both forms mix behind proxies that add a line of their own.")
    .sends("Two lines of three names each; the known name is the last of all.")
    .accepts("101 that names portforward.k8s.io, and a session."),
    Case::must(
        "http/negotiation/first-of-list",
        "The known name may stand before unknown ones",
        &["6.7", "6.8"],
        run!(first_of_list),
    )
    .over(HTTP)
    .why("The order is the client's: what stands behind the first known name has no effect.")
    .sends("X-Stream-Protocol-Version: portforward.k8s.io, example.k8s.io, v9.portforward.k8s.io")
    .accepts("101 that names portforward.k8s.io alone, and a session."),
    Case::must(
        "http/negotiation/named-twice",
        "A name that is offered twice is agreed once",
        &["6.7", "6.8"],
        run!(named_twice),
    )
    .over(HTTP)
    .why("kubectl compares the whole value of the answer with the name that it knows.")
    .sends("portforward.k8s.io in two lines.")
    .accepts("101 with one line that names it once."),
    Case::must(
        "http/negotiation/field-name-case",
        "The name of the protocol header is matched without case",
        &["6.7"],
        run!(field_name_case),
    )
    .over(HTTP)
    .why("Libraries of other languages and proxies that come from HTTP/2 send lower case.")
    .sends("x-stream-protocol-version on one connection, X-STREAM-PROTOCOL-VERSION on another.")
    .accepts("101 for both."),
    Case::must(
        "http/negotiation/one-name-in-answer",
        "The 101 names what was agreed, in one line",
        &["6.8"],
        run!(one_name_in_answer),
    )
    .over(HTTP)
    .why("kubectl ends with \"unable to negotiate protocol\" on any other value.")
    .sends("Three names, of which one is known.")
    .accepts("One line X-Stream-Protocol-Version: portforward.k8s.io."),
    Case::must(
        "http/negotiation/none-in-common",
        "No common protocol gives 403",
        &["6.12"],
        run!(none_in_common),
    )
    .over(HTTP)
    .why("The client shows what the server speaks, instead of a session that breaks later.")
    .sends("X-Stream-Protocol-Version: example.k8s.io")
    .accepts("403, with portforward.k8s.io in X-Accepted-Stream-Protocol-Versions."),
    Case::must(
        "http/negotiation/none-in-common-of-many",
        "Many unknown names give 403 as one does",
        &["6.12"],
        run!(none_in_common_of_many),
    )
    .over(HTTP)
    .why("A server that falls back to a default speaks what the client did not offer.")
    .sends("Two lines, of two names and one, all unknown.")
    .accepts("403, with portforward.k8s.io in X-Accepted-Stream-Protocol-Versions."),
    Case::must(
        "http/negotiation/names-are-whole",
        "A name is matched as a whole",
        &["6.12"],
        run!(names_are_whole),
    )
    .over(HTTP)
    .why("A later version of the protocol would have a name that contains this one.")
    .sends("v2.portforward.k8s.io, portforward.k8s.io.example and portforward.k8s, each in a request of its own.")
    .accepts("403 for each."),
    Case::must(
        "http/negotiation/protocol-of-exec",
        "The protocols of exec are not spoken here",
        &["6.12"],
        run!(protocol_of_exec),
    )
    .over(HTTP)
    .why("One library serves both; streams of exec would be taken for pairs.")
    .sends("X-Stream-Protocol-Version: v4.channel.k8s.io")
    .accepts("403."),
    Case::should(
        "http/negotiation/missing",
        "No protocol header gives 400",
        &["6.11"],
        run!(missing),
    )
    .over(HTTP)
    .versions(35, u16::MAX)
    .why("An empty 200 or a bare 500 tells the author of a client nothing.")
    .sends("The upgrade to SPDY without X-Stream-Protocol-Version.")
    .accepts(BAD),
    Case::should(
        "http/negotiation/empty",
        "An empty protocol header gives 400",
        &["6.11"],
        run!(empty),
    )
    .over(HTTP)
    .versions(35, u16::MAX)
    .why("As without the header.")
    .sends("X-Stream-Protocol-Version: with no value.")
    .accepts(BAD),
    Case::should(
        "http/negotiation/list-of-nothing",
        "A list of empty items gives 400",
        &["6.11"],
        run!(list_of_nothing),
    )
    .over(HTTP)
    .versions(35, u16::MAX)
    .why("As without the header.")
    .sends("X-Stream-Protocol-Version: , ,")
    .accepts(BAD),
];

/// The request with these lines of the protocol header.
fn offering(t: &Trial, lines: &[&str]) -> Request {
    let request = t.spdy_request().without(FIELD);
    lines
        .iter()
        .fold(request, |request, line| request.with(FIELD, line))
}

async fn agreed(t: &Trial, lines: &[&str]) -> Outcome {
    upgraded(t, &offering(t, lines), &format!("{lines:?}")).await?;
    OK
}

async fn list(t: &mut Trial) -> Outcome {
    agreed(t, &["example.k8s.io, portforward.k8s.io"]).await
}

async fn list_without_spaces(t: &mut Trial) -> Outcome {
    agreed(t, &["example.k8s.io,portforward.k8s.io"]).await
}

async fn list_with_empty_items(t: &mut Trial) -> Outcome {
    agreed(t, &[", ,portforward.k8s.io ,"]).await
}

async fn repeated(t: &mut Trial) -> Outcome {
    agreed(t, &["example.k8s.io", PROTOCOL]).await
}

async fn repeated_lists(t: &mut Trial) -> Outcome {
    agreed(
        t,
        &[
            "a.example, b.example,c.example",
            "d.example , e.example, portforward.k8s.io",
        ],
    )
    .await
}

async fn first_of_list(t: &mut Trial) -> Outcome {
    agreed(
        t,
        &["portforward.k8s.io, example.k8s.io, v9.portforward.k8s.io"],
    )
    .await
}

async fn named_twice(t: &mut Trial) -> Outcome {
    agreed(t, &[PROTOCOL, PROTOCOL]).await
}

async fn field_name_case(t: &mut Trial) -> Outcome {
    for name in [FIELD.to_ascii_lowercase(), FIELD.to_ascii_uppercase()] {
        let request = t.spdy_request().without(FIELD).with(&name, PROTOCOL);
        upgraded(t, &request, &name).await?;
    }
    OK
}

async fn one_name_in_answer(t: &mut Trial) -> Outcome {
    let request = offering(t, &["a.example, portforward.k8s.io", "b.example"]);
    let (_, answer) = t.ask(&request).await?;
    switched(&answer, "three names of which one is known")?;
    OK
}

/// 403, and the names that are known.
async fn forbidden(t: &Trial, lines: &[&str]) -> Result<Answer, Stop> {
    let to = format!("the unknown protocols {lines:?}");
    let (_, answer) = answered(t, &offering(t, lines), 403, &to).await?;
    Ok(answer)
}

fn names_what_is_known(answer: &Answer) -> Outcome {
    let field = "X-Accepted-Stream-Protocol-Versions";
    let known: Vec<&str> = answer
        .all(field)
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .collect();
    if known.contains(&PROTOCOL) {
        return OK;
    }
    Err(Stop::departure(
        format!("{field} with {PROTOCOL} in the 403"),
        format!("{known:?}"),
    ))
}

async fn none_in_common(t: &mut Trial) -> Outcome {
    names_what_is_known(&forbidden(t, &["example.k8s.io"]).await?)
}

async fn none_in_common_of_many(t: &mut Trial) -> Outcome {
    names_what_is_known(&forbidden(t, &["foo, bar", "baz"]).await?)
}

async fn names_are_whole(t: &mut Trial) -> Outcome {
    for name in [
        "v2.portforward.k8s.io",
        "portforward.k8s.io.example",
        "portforward.k8s",
    ] {
        forbidden(t, &[name]).await?;
    }
    OK
}

async fn protocol_of_exec(t: &mut Trial) -> Outcome {
    forbidden(t, &["v4.channel.k8s.io"]).await?;
    OK
}

/// The version that is known is the cluster's; a runtime behind a proxy may be older (clauses 1.2, 6.11 and 6.19).
fn is_of_older_runtime(role: Role, answer: &Answer) -> bool {
    role != Role::Runtime && answer.status == 500 && answer.text().contains("status code 200")
}

async fn bad_request(t: &Trial, lines: &[&str]) -> Outcome {
    let to = format!("an upgrade with the protocol header {lines:?}");
    let (_, answer) = t.ask(&offering(t, lines)).await?;
    if is_of_older_runtime(t.target.role, &answer) {
        return Ok(Seen::as_slug("older-runtime"));
    }
    status(&answer, 400, &to)?;
    if answer.text().trim().is_empty() {
        return Err(Stop::departure("a text in the 400", "an empty body"));
    }
    Ok(Seen::as_slug("bad-request"))
}

async fn missing(t: &mut Trial) -> Outcome {
    bad_request(t, &[]).await
}

async fn empty(t: &mut Trial) -> Outcome {
    bad_request(t, &[""]).await
}

async fn list_of_nothing(t: &mut Trial) -> Outcome {
    bad_request(t, &[", ,"]).await
}
