//! What proxies do behind the 101.

use super::PROXIES;
use crate::case::{Case, OK, Outcome, SESSIONS, Stop, Way};
use crate::catalogue::check::BULK;
use crate::probe::session::data;
use crate::run;
use crate::target::Service;
use crate::trial::Trial;

pub(in crate::catalogue) const CASES: &[Case] = &[
    Case::must(
        "http/upgrade/bytes-of-any-size",
        "Every byte reaches the other side, in pieces of any size",
        &["6.22"],
        run!(any_size),
    )
    .over(SESSIONS)
    .within(60)
    .why("Proxies that copy by lines, records or buffers of their own lose or hold bytes at their borders.")
    .sends("DATA of 1 to 70 000 bytes to the echo, cut into writes of other random sizes.")
    .accepts("The bytes back, in order."),
    Case::must(
        "http/upgrade/both-directions-at-once",
        "Both directions flow at the same time",
        &["6.22"],
        run!(both_directions),
    )
    .over(SESSIONS)
    .within(60)
    .why("A proxy that copies one way until it is empty stands still on a database dump.")
    .sends("1 MiB to the echo, read only while writing.")
    .accepts("1 MiB back, in order."),
    Case::must(
        "http/upgrade/single-bytes-are-not-held",
        "A proxy holds no byte back",
        &["6.22"],
        run!(single_bytes),
    )
    .over(SESSIONS)
    .why("A shell or an SQL prompt sends a key at a time and waits for it.")
    .sends("20 single bytes to the echo, each after the one before has come back.")
    .accepts("Each byte back."),
    Case::must(
        "http/upgrade/half-closed-tcp-ends",
        "The end of the client's direction ends the connection",
        &["6.23"],
        run!(half_closed),
    )
    .over(SESSIONS)
    .against(PROXIES)
    .why("A client that went away without a word must not hold a session, and its streams, for hours.")
    .sends("A pair to the echo, then the end of the sending side of TCP.")
    .accepts("The end of TCP."),
    Case::must(
        "http/upgrade/undeclared-port",
        "A port that no container declares is forwarded",
        &["6.28"],
        run!(undeclared_port),
    )
    .over(&[Way::Spdy, Way::Tunnel, Way::V4])
    .against(PROXIES)
    .why("Debug ports are seldom declared.")
    .sends("A connection to port 1, on which nothing listens and which nobody declares.")
    .accepts("101, streams (channels) that open, and the text of a refused dial: the pod was asked."),
];

async fn any_size(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut session = t.session().await?;
    let pair = session.pair(port).await?;
    let mut all = Vec::new();
    for _ in 0..12 {
        let size = t.dice.size(1, 70_000);
        let bytes = t.dice.bytes(size);
        session.cut = Some(t.dice.size(1 + size / 40, size + 8));
        session.send(&data(pair.data, 0, &bytes)).await?;
        all.extend(bytes);
    }
    let patience = BULK * session.patience;
    session
        .until_within("all bytes back", patience, |s| {
            s.received(pair.data) >= all.len() as u64 || s.ended(pair.data)
        })
        .await?;
    if session.stream(pair.data).data != all {
        return Err(Stop::departure(
            format!("the {} bytes that were sent", all.len()),
            format!("others: {}", session.summary()),
        ));
    }
    OK
}

async fn both_directions(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut session = t.session().await?;
    let pair = session.pair(port).await?;
    let bytes = t.dice.bytes(1 << 20);
    session.write(pair.data, &bytes).await?;
    let what = format!("{} bytes back", bytes.len());
    let patience = BULK * session.patience;
    session
        .until_within(&what, patience, |s| {
            s.received(pair.data) >= bytes.len() as u64 || s.ended(pair.data)
        })
        .await?;
    if session.stream(pair.data).data != bytes {
        return Err(Stop::departure(what, session.summary()));
    }
    OK
}

async fn single_bytes(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut session = t.session().await?;
    let pair = session.pair(port).await?;
    for byte in t.dice.bytes(20) {
        session.echo_on(pair, &[byte]).await?;
    }
    OK
}

async fn half_closed(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut session = t.session().await?;
    session.echo(port, b"a connection").await?;
    session.connection().shut_down().await;
    session
        .until_end("once the client has ended its direction of TCP")
        .await?;
    OK
}

async fn undeclared_port(t: &mut Trial) -> Outcome {
    const PORT: u16 = 1;
    let text = if t.way == Way::V4 {
        let mut channels = t.channels(&[PORT]).await?;
        channels.prefaced().await?;
        channels
            .until("text on channel 1", |c| !c.channel(1).data.is_empty())
            .await?;
        channels.channel(1).data
    } else {
        let mut session = t.session().await?;
        let pair = session.pair(PORT).await?;
        session
            .until("text on the error stream", |s| s.received(pair.error) > 0)
            .await?;
        session.stream(pair.error).data
    };
    let text = String::from_utf8_lossy(&text).into_owned();
    if text.to_ascii_lowercase().contains("connect") {
        return OK;
    }
    Err(Stop::departure(
        "a text about the dial to the pod",
        format!("{text:?}"),
    ))
}
