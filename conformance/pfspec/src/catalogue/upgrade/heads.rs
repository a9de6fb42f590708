//! Heads of requests that are long or slow.

use super::HTTP;
use crate::case::{Case, OK, Outcome, Seen, Stop, Tag};
use crate::probe::connection::Filled;
use crate::probe::http::Request;
use crate::probe::log::{Layer, Side};
use crate::run;
use crate::trial::Trial;
use std::time::Duration;
use tokio::time::Instant;

pub(in crate::catalogue) const CASES: &[Case] = &[
    Case::should(
        "http/upgrade/head-of-any-size",
        "The size of a request head is limited",
        &["14.8"],
        run!(endless_head),
    )
    .over(HTTP)
    .tags(&[Tag::Hostile, Tag::Security])
    .why("A head is held in memory before anybody knows who sends it.")
    .sends("A head of up to 32 MiB of fields.")
    .accepts("431, 400 or another refusal, or the end of TCP, before its end."),
    Case::should(
        "http/upgrade/head-of-usual-size",
        "A head of 8 KiB is accepted",
        &["14.8"],
        run!(usual_head),
    )
    .over(HTTP)
    .why("Tokens of identity providers with many groups take some KiB; a limit must lie above.")
    .sends("The upgrade to SPDY with fields of 8 KiB in all.")
    .accepts("101."),
    Case::should(
        "http/upgrade/slow-head",
        "A head that comes byte by byte does not hold a place for ever",
        &["14.8"],
        run!(slow_head),
    )
    .over(HTTP)
    .tags(&[Tag::Hostile, Tag::Slow, Tag::Security])
    .within(150)
    .why("A thousand such connections cost an attacker nothing and the server all its places.")
    .sends("A head of which a byte comes each second, for two minutes.")
    .accepts("A refusal, or the end of TCP."),
];

/// A field of 1000 bytes.
fn filling() -> String {
    "a".repeat(1000)
}

async fn usual_head(t: &mut Trial) -> Outcome {
    let mut request = t.spdy_request();
    for i in 0..8 {
        request = request.with(&format!("X-Pfspec-{i}"), &filling());
    }
    let (_, answer) = t.ask(&request).await?;
    super::switched(&answer, "a head of 8 KiB")?;
    OK
}

async fn endless_head(t: &mut Trial) -> Outcome {
    const LIMIT: usize = 32 << 20;
    let mut ready = t.connect().await?;
    let connection = &mut ready.connection;
    let start = b"POST / HTTP/1.1\r\nHost: example\r\n";
    connection.item(Side::Judge, Layer::Http, "POST /", start);
    connection.write(start).await?;
    let fields = format!("X-Pfspec: {}\r\n", filling()).repeat(64);
    let mut sent = 0;
    while sent < LIMIT && connection.end.is_none() && connection.buffer.is_empty() {
        connection.item(
            Side::Judge,
            Layer::Raw,
            "fields of a head",
            fields.as_bytes(),
        );
        let taken = connection.write_some(fields.as_bytes(), t.patience).await;
        sent += taken;
        if taken < fields.len() {
            break;
        }
    }
    if connection.buffer.is_empty() && connection.end.is_none() {
        // What was written last may still be on its way.
        connection.fill(Instant::now() + t.patience).await;
    }
    if connection.buffer.is_empty() && connection.end.is_none() {
        return Err(Stop::departure(
            "a refusal, or the end of TCP",
            format!("{sent} bytes of a head taken, and nothing answered"),
        ));
    }
    OK
}

async fn slow_head(t: &mut Trial) -> Outcome {
    const BYTES: usize = 120;
    let mut ready = t.connect().await?;
    let request = Request::new("POST", ready.path()).with("X-Pfspec", &filling());
    let head = request.bytes(&[]);
    let connection = &mut ready.connection;
    for byte in head.iter().take(BYTES) {
        connection.item(Side::Judge, Layer::Raw, "a byte of a head", &[*byte]);
        connection.write(&[*byte]).await?;
        match connection
            .fill(Instant::now() + Duration::from_secs(1))
            .await
        {
            Filled::Late => {}
            Filled::More => return Ok(Seen::as_slug("answered")),
            Filled::Ended => return Ok(Seen::as_slug("closed")),
        }
    }
    Err(Stop::departure(
        "a refusal, or the end of TCP",
        format!("nothing after {BYTES} seconds of an unfinished head"),
    ))
}
