//! `idle/`: chapter 5, sessions and connections on which little happens.

use crate::case::{CHANNELS, Case, OK, Outcome, Stop, Tag};
use crate::probe::session::Session;
use crate::run;
use crate::target::Service;
use crate::trial::Trial;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(65);

pub(super) const CASES: &[Case] = &[
    Case::must(
        "idle/session-with-ping",
        "A session on which only PING goes lives for more than a minute",
        &["5.18", "5.2"],
        run!(with_ping),
    )
    .tags(&[Tag::Slow])
    .within(90)
    .why("kubectl waits for hours for the next connection (kubernetes issue 19231).")
    .sends("PING every 5 seconds for 65 seconds; a pair to the echo.")
    .accepts("Each PING back, no PING of the server, and bytes back."),
    Case::should(
        "idle/session-in-silence",
        "A session on which nothing goes lives for more than a minute",
        &["5.17", "5.2"],
        run!(in_silence),
    )
    .tags(&[Tag::Slow])
    .within(90)
    .why("Not every client pings; servers wait for hours by default.")
    .sends("PING; nothing for 65 seconds; PING; a pair to the echo.")
    .accepts("PING, no PING of the server, and bytes back."),
    Case::must(
        "idle/quiet-connection-with-ping",
        "A connection on which nothing goes lives for more than a minute beside PING",
        &["5.18", "5.2"],
        run!(quiet_connection),
    )
    .tags(&[Tag::Slow])
    .within(90)
    .why("Pools of database connections are quiet most of the time.")
    .sends("Bytes to the echo; PING every 5 seconds for 65 seconds; bytes again, on the same pair.")
    .accepts("All bytes back, and no PING of the server."),
    Case::must(
        "idle/half-closed-connection",
        "PING and new pairs work beside a connection whose pod has ended",
        &["5.18"],
        run!(half_closed),
    )
    .why("A connection that is over, or nearly so, must not cost the session.")
    .sends("A pair to a port that ends its sending at once; PING twice in two seconds; a pair to the echo.")
    .accepts("PING, and bytes back."),
    Case::should(
        "idle/channel-in-silence",
        "A WebSocket on whose channels nothing goes lives for more than a minute",
        &["5.17", "11.18"],
        run!(channel),
    )
    .over(CHANNELS)
    .tags(&[Tag::Slow])
    .within(90)
    .why("Servers wait for hours by default; the client libraries send no PING.")
    .sends("Bytes to the echo; nothing for 65 seconds; bytes again.")
    .accepts("All bytes back."),
];

/// Reads for a time, with a PING that must come back every so often.
async fn ping_for(s: &mut Session, time: Duration, every: Duration) -> Result<(), Stop> {
    let end = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < end {
        s.alive("while nothing else goes").await?;
        s.read_for(every).await?;
    }
    Ok(())
}

/// No server begins a PING (clause 5.2): each that came is the echo of one that was sent, of id 1, 3, 5 and so on.
fn no_ping_of_the_server(s: &Session) -> Result<(), Stop> {
    if s.pings
        .iter()
        .copied()
        .eq((1..).step_by(2).take(s.pings.len()))
    {
        return Ok(());
    }
    let expected = "echoes of the client's PINGs, and no PING of the server";
    Err(Stop::departure(expected, format!("PINGs {:?}", s.pings)))
}

async fn with_ping(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    ping_for(&mut s, MINUTE, Duration::from_secs(5)).await?;
    s.echo(t.port(Service::Echo)?, b"after a minute").await?;
    no_ping_of_the_server(&s)?;
    OK
}

async fn in_silence(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    s.alive("at the start").await?;
    s.read_for(MINUTE).await?;
    s.alive("after a minute").await?;
    s.echo(t.port(Service::Echo)?, b"after a minute").await?;
    no_ping_of_the_server(&s)?;
    OK
}

async fn quiet_connection(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let pair = s.echo(t.port(Service::Echo)?, b"before").await?;
    ping_for(&mut s, MINUTE, Duration::from_secs(5)).await?;
    s.echo_on(pair, b"after a minute").await?;
    no_ping_of_the_server(&s)?;
    OK
}

async fn half_closed(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    let pair = s.pair(t.port(Service::HalfClose)?).await?;
    s.until("the pod's banner", |s| s.received(pair.data) == 7)
        .await?;
    let (time, every) = (Duration::from_secs(2), Duration::from_secs(1));
    ping_for(&mut s, time, every).await?;
    s.echo(t.port(Service::Echo)?, b"after two seconds").await?;
    OK
}

async fn channel(t: &mut Trial) -> Outcome {
    let mut c = t.channels(&[t.port(Service::Echo)?]).await?;
    c.prefaced().await?;
    c.echo(0, b"before").await?;
    c.read_for(MINUTE).await?;
    c.echo(0, b"after a minute").await?;
    OK
}
