//! What cases have in common when they talk to the services of the pod.

use crate::case::Stop;
use crate::probe::channels::Channels;
use crate::probe::session::{Pair, Session};
use crate::report::hex;
use crate::target::Service;
use crate::trial::Trial;
use ring::digest;
use std::time::Duration;

/// How long an answer with very many bytes may take.
pub(super) const BULK: Duration = Duration::from_secs(60);

/// What the service `hash` is to be sent.
pub(super) fn hash_request(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_be_bytes()[..], bytes].concat()
}

/// What the service `hash` answers.
pub(super) fn hash_answer(bytes: &[u8]) -> Vec<u8> {
    let hash = digest::digest(&digest::SHA256, bytes);
    let mut line = hex(hash.as_ref());
    line.push('\n');
    line.into_bytes()
}

/// A request to a service that speaks HTTP. It closes once it has answered.
pub(super) fn http_request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n").into_bytes()
}

/// Where two lists of bytes differ first, in words.
pub(super) fn difference(got: &[u8], wanted: &[u8]) -> Option<String> {
    if got == wanted {
        return None;
    }
    let at = got.iter().zip(wanted).take_while(|(a, b)| a == b).count();
    Some(format!(
        "{} bytes of {}, as wanted up to byte {at}",
        got.len(),
        wanted.len()
    ))
}

/// Waits for exactly these bytes from the beginning of a stream.
pub(super) async fn comes(
    s: &mut Session,
    id: u32,
    wanted: &[u8],
    within: Duration,
    what: &str,
) -> Result<(), Stop> {
    let whole = wanted.len() as u64;
    s.until_within(what, within, |s| s.received(id) >= whole || s.ended(id))
        .await?;
    match difference(s.peek(id).map_or(&[][..], |stream| &stream.data), wanted) {
        None => Ok(()),
        Some(text) => Err(Stop::departure(what, format!("{text}; {}", s.summary()))),
    }
}

/// The same on a channel.
pub(super) async fn comes_on(
    c: &mut Channels,
    channel: u8,
    wanted: &[u8],
    within: Duration,
    what: &str,
) -> Result<(), Stop> {
    c.until_within(what, within, |c| c.received(channel) >= wanted.len())
        .await?;
    match difference(&c.channel(channel).data, wanted) {
        None => Ok(()),
        Some(text) => Err(Stop::departure(what, text)),
    }
}

/// Waits until the server has ended both streams of a pair, in whatever way.
pub(super) async fn both_end(s: &mut Session, pair: Pair, after: &str) -> Result<(), Stop> {
    let what = format!(
        "the end of the data stream {} and of the error stream {} {after}",
        pair.data, pair.error
    );
    s.until(&what, |s| s.ended(pair.data) && s.ended(pair.error))
        .await
}

/// Waits for the text of a failure, and the end of both streams.
pub(super) async fn fails(s: &mut Session, pair: Pair, after: &str) -> Result<String, Stop> {
    let what = format!(
        "a text on the error stream {} {after}, and the end of both streams",
        pair.error
    );
    s.until(&what, |s| s.ended(pair.data) && s.ended(pair.error))
        .await?;
    let text = s.stream(pair.error).text();
    if text.is_empty() {
        return Err(Stop::departure(what, format!("no text; {}", s.summary())));
    }
    Ok(text)
}

/// UNSUPPORTED if a text says that nobody listens at a port of which the pod should make a service.
pub(super) fn offered(s: &Session, pair: Pair, service: Service) -> Result<(), Stop> {
    match s.peek(pair.error) {
        Some(error) if !error.data.is_empty() => Err(Stop::Unsupported(format!(
            "nobody listens at the pod's port {}",
            service.name()
        ))),
        _ => Ok(()),
    }
}

/// How many connections to a service have come to an end, as the pod counts them.
pub(super) async fn closed(t: &Trial, service: Service) -> Result<u64, Stop> {
    let seen = stats(t).await?;
    let count = |of: &str| {
        let count = seen.get(of).and_then(|seen| seen.get(service.name()));
        count
            .and_then(serde_json::Value::as_u64)
            .unwrap_or_default()
    };
    Ok(count("total").saturating_sub(count("open")))
}

/// How many bytes the service `sink` has read, on all its connections.
pub(super) async fn sunk(t: &Trial) -> Result<u64, Stop> {
    let seen = stats(t).await?;
    let sunk = seen.get("sunk").and_then(serde_json::Value::as_u64);
    Ok(sunk.unwrap_or_default())
}

/// What the pod's services have seen.
async fn stats(t: &Trial) -> Result<serde_json::Value, Stop> {
    let mut s = t.session().await?;
    let pair = s.pair(t.port(Service::Stats)?).await?;
    // With 1.0 the answer is not in chunks.
    s.write(pair.data, b"GET /stats HTTP/1.0\r\n\r\n").await?;
    both_end(&mut s, pair, "behind the counts of the pod").await?;
    offered(&s, pair, Service::Stats)?;
    let text = s.stream(pair.data).text();
    let body = text
        .split_once("\r\n\r\n")
        .map(|(_, body)| body)
        .unwrap_or_default();
    serde_json::from_str(body)
        .map_err(|error| Stop::Inconclusive(format!("the counts of the pod: {error}: {text:?}")))
}

/// Waits until the pod has counted `more` ends of connections to a service beyond `before`. Only for cases that run
/// alone: the count is of all connections.
pub(super) async fn closes(
    t: &Trial,
    service: Service,
    before: u64,
    more: u64,
    within: Duration,
    after: &str,
) -> Result<(), Stop> {
    let deadline = tokio::time::Instant::now() + within;
    loop {
        let now = closed(t, service).await?;
        if now >= before + more {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            return Err(Stop::departure(
                format!("that the {more} connections to the pod end {after}"),
                format!("{} ended within {within:?}", now.saturating_sub(before)),
            ));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
