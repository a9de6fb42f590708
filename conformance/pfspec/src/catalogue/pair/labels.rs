//! What the headers of a stream have to be.

use crate::case::{Case, OK, Outcome, Seen, Stop};
use crate::probe::session::{Pair, Session, headers};
use crate::run;
use crate::target::Service;
use crate::trial::Trial;

const REFUSED: &str = "RST_STREAM and no SYN_REPLY for both; PING answered; a good pair works.";
const WHY_PORT: &str = "A stream to no port that is accepted leaves the client waiting for a connection that cannot come.";
const WHY_TYPE: &str = "A stream of no known type that is accepted is served by nobody, and the client waits for ever.";

/// A case about a value of `port` that is to be refused on both types of streams.
macro_rules! bad_port {
    ($level:ident, $id:literal, $clauses:expr, $what:literal, $value:expr) => {
        Case::$level(
            concat!("pf/pair/port-", $id),
            concat!("A stream whose port is ", $what, " is refused"),
            $clauses,
            |t| Box::pin(refuses_port(t, $value)),
        )
        .why(WHY_PORT)
        .sends(concat!(
            "An error stream and a data stream whose port is ",
            $what,
            "."
        ))
        .accepts(REFUSED)
    };
}

/// A case about a value of `streamtype` that is to be refused.
macro_rules! bad_type {
    ($id:literal, $what:literal, $value:expr) => {
        Case::must(
            concat!("pf/pair/type-", $id),
            concat!("A stream whose type is ", $what, " is refused"),
            &["7.2", "7.7"],
            |t| Box::pin(refuses_type(t, $value)),
        )
        .why(WHY_TYPE)
        .sends(concat!("A stream whose type is ", $what, "."))
        .accepts("RST_STREAM and no SYN_REPLY; PING answered; a good pair works.")
    };
}

pub(crate) const CASES: &[Case] = &[
    bad_port!(must, "absent", &["7.4", "7.7"], "absent", None),
    bad_port!(must, "empty", &["7.4", "7.7"], "empty", Some("")),
    bad_port!(must, "zero", &["7.4", "7.7"], "0", Some("0")),
    bad_port!(must, "65536", &["7.4", "7.7"], "65536", Some("65536")),
    bad_port!(
        must,
        "beyond-64-bits",
        &["7.4", "7.7"],
        "18446744073709558616, which is 7000 in 64 bits",
        Some("18446744073709558616")
    ),
    bad_port!(
        must,
        "beyond-16-bits",
        &["7.4", "7.7"],
        "72536, which is 7000 in 16 bits",
        Some("72536")
    ),
    bad_port!(must, "negative", &["7.4", "7.7"], "-1", Some("-1")),
    bad_port!(must, "word", &["7.4", "7.7"], "http", Some("http")),
    bad_port!(must, "hexadecimal", &["7.4", "7.7"], "0x1b58", Some("0x1b58")),
    bad_port!(must, "fraction", &["7.4", "7.7"], "7000.0", Some("7000.0")),
    bad_port!(must, "with-rest", &["7.4", "7.7"], "7000abc", Some("7000abc")),
    bad_port!(should, "plus", &["7.5", "7.7"], "+7000", Some("+7000")),
    bad_port!(
        should,
        "space-before",
        &["7.5", "7.7"],
        "7000 behind a space",
        Some(" 7000")
    ),
    bad_port!(
        should,
        "space-behind",
        &["7.5", "7.7"],
        "7000 before a space",
        Some("7000 ")
    ),
    Case::should(
        "pf/pair/port-leading-zeros",
        "A port with leading zeros is the same port",
        &["7.5"],
        run!(leading_zeros),
    )
    .why("Real servers take it, so a client may send it.")
    .sends("A pair to the echo, its port with zeros before it.")
    .accepts("Bytes back."),
    Case::must(
        "pf/pair/port-highest",
        "Port 65535 is a port",
        &["7.4"],
        run!(highest_port),
    )
    .why("A limit that is off by one refuses it.")
    .sends("A pair to port 65535.")
    .accepts("SYN_REPLY on both streams."),
    bad_type!("absent", "absent", None),
    bad_type!("empty", "empty", Some("")),
    bad_type!("of-exec", "stdin", Some("stdin")),
    bad_type!("upper-case", "Data", Some("Data")),
    bad_type!("with-rest", "errors", Some("errors")),
    Case::must(
        "pf/pair/refusal-spoils-no-partner",
        "A refused stream does not take the place of the right one",
        &["7.7"],
        run!(partner_unspoiled),
    )
    .why("A client that corrects its mistake with the same request id must get its connection.")
    .sends("A good error stream; a data stream of the same request id with port 0; then one with the echo's port.")
    .accepts("RST_STREAM for the second, and bytes back on the third."),
    Case::must(
        "pf/pair/refusal-beside-data",
        "A refusal harms no pair that carries data",
        &["7.7"],
        run!(refusal_beside_data),
    )
    .why("One bad request must not cost the user the other connections.")
    .sends("An open pair to the echo; twenty streams with wrong headers; bytes on the pair after each.")
    .accepts("RST_STREAM for each, and all bytes back."),
    Case::observed(
        "pf/pair/refusal-status",
        "With which status a stream is refused",
        &["7.7"],
        run!(refusal_status),
    )
    .why("Clients do not look at it; reports of what peers do are of use to those who write clients.")
    .sends("A stream with port 0.")
    .accepts("`status-5` (CANCEL, as real servers), `status-3` (REFUSED_STREAM), or another."),
];

/// Opens a stream with these headers, which must be refused.
async fn refuses(s: &mut Session, headers: &[(&str, &str)]) -> Result<u32, Stop> {
    let id = s.open(headers).await?;
    let what = format!("RST_STREAM and no SYN_REPLY for stream {id} with {headers:?}");
    s.until(&what, |s| s.ended(id) || s.replied(id)).await?;
    let stream = s.stream(id);
    match stream.resets.first() {
        Some(status) if stream.replies.is_empty() && stream.data.is_empty() => Ok(*status),
        _ => Err(Stop::departure(what, s.summary())),
    }
}

/// The headers of a stream, but for those that are absent.
async fn refuses_some(
    s: &mut Session,
    kind: Option<&str>,
    port: Option<&str>,
    request: &str,
) -> Result<u32, Stop> {
    let mut headers = Vec::new();
    headers.extend(kind.map(|kind| ("streamtype", kind)));
    headers.extend(port.map(|port| ("port", port)));
    headers.push(("requestid", request));
    refuses(s, &headers).await
}

async fn refuses_port(t: &mut Trial, port: Option<&str>) -> Outcome {
    let echo = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    for kind in ["error", "data"] {
        let request = s.request_id();
        refuses_some(&mut s, Some(kind), port, &request).await?;
    }
    s.alive("after a refused stream").await?;
    s.echo(echo, b"a good pair").await?;
    OK
}

async fn refuses_type(t: &mut Trial, kind: Option<&str>) -> Outcome {
    let echo = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let request = s.request_id();
    refuses_some(&mut s, kind, Some(&echo.to_string()), &request).await?;
    s.alive("after a refused stream").await?;
    s.echo(echo, b"a good pair").await?;
    OK
}

async fn leading_zeros(t: &mut Trial) -> Outcome {
    let port = format!("{:010}", t.port(Service::Echo)?);
    let mut s = t.session().await?;
    let error = s.open(&headers("error", &port, "0")).await?;
    let data = s.open(&headers("data", &port, "0")).await?;
    s.until("SYN_REPLY on both streams", |s| {
        s.replied(error) && s.replied(data)
    })
    .await?;
    let pair = Pair { error, data };
    s.echo_on(pair, b"the same port").await?;
    OK
}

async fn highest_port(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    // Whether somebody listens there is no matter.
    s.pair(u16::MAX).await?;
    OK
}

async fn partner_unspoiled(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?.to_string();
    let mut s = t.session().await?;
    let headers = |kind, port| [("streamtype", kind), ("port", port), ("requestid", "again")];
    let error = s.open(&headers("error", &port)).await?;
    s.until("SYN_REPLY for the error stream", |s| s.replied(error))
        .await?;
    refuses(&mut s, &headers("data", "0")).await?;
    let data = s.open(&headers("data", &port)).await?;
    s.until("SYN_REPLY for the data stream", |s| s.replied(data))
        .await?;
    let pair = Pair { error, data };
    s.echo_on(pair, b"after a mistake").await?;
    OK
}

async fn refusal_beside_data(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    for round in 0..20 {
        let request = s.request_id();
        let (kind, port) = [("data", "0"), ("error", "x"), ("stdin", "80"), ("", "")]
            .into_iter()
            .cycle()
            .nth(round)
            .unwrap_or_default();
        refuses_some(&mut s, Some(kind), Some(port), &request).await?;
        s.echo_on(pair, format!("round {round}").as_bytes()).await?;
    }
    OK
}

async fn refusal_status(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let status = refuses_some(&mut s, Some("data"), Some("0"), "0").await?;
    Ok(Seen::as_slug(format!("status-{status}")))
}
