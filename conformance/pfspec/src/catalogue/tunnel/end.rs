//! `tunnel/end/`: how a tunnel ends.

use super::{ENDS, WAY};
use crate::case::{Case, OK, Outcome, Stop};
use crate::probe::connection::End;
use crate::probe::session::{Carrier, Session, syn_stream};
use crate::probe::websocket::{BINARY, CLOSE, LAST, frame};
use crate::probe::wire::{self, Frame};
use crate::run;
use crate::target::Service;
use crate::trial::Trial;
use std::time::Duration;

pub(in crate::catalogue) const CASES: &[Case] = &[
    Case::must(
        "tunnel/end/close-with-any-code",
        "Close with any code ends the session",
        &["13.17"],
        run!(any_code),
    )
    .over(WAY)
    .against(ENDS)
    .why("kubectl sends 1000, browsers 1001, libraries that failed 1011 or a code of their own.")
    .sends("Close 1000, 1001, 1011 and 4000, and one without a code, each on a tunnel with an open connection.")
    .accepts("The end of the connection."),
    Case::must(
        "tunnel/end/nothing-behind-close",
        "Nothing behind Close is taken as SPDY",
        &["13.17"],
        run!(nothing_behind),
    )
    .over(WAY)
    .against(ENDS)
    .why("Whoever has said Close says no more: bytes behind it are a mistake or an attack.")
    .sends("Close 1000 and a message with PING of SPDY, in one write.")
    .accepts("The end of the connection without an echo of the PING."),
    Case::must(
        "tunnel/end/tcp-ends",
        "The end of TCP ends the session",
        &["13.17"],
        run!(tcp_ends),
    )
    .over(WAY)
    .against(ENDS)
    .why("A laptop that went to sleep sends no Close; its streams must not stay.")
    .sends("The end of the sending side of TCP with an open connection.")
    .accepts("The end of the connection."),
    Case::must(
        "tunnel/end/session-ends",
        "The end of the SPDY session ends the tunnel",
        &["13.27"],
        run!(session_ends),
    )
    .over(WAY)
    .against(ENDS)
    .why("A client whose tunnel goes nowhere waits for ever.")
    .sends("A SYN_STREAM with id 0, which ends the session at the runtime; then a PING of SPDY twice a second.")
    .accepts("The end of the connection."),
    Case::should(
        "tunnel/end/close-1000",
        "A tunnel that ends with its session ends with Close 1000",
        &["13.16"],
        run!(close_1000),
    )
    .over(WAY)
    .against(ENDS)
    .why("Client libraries report an end without Close as abnormal, and hide the reason that came before.")
    .sends("A SYN_STREAM with id 0, which ends the session at the runtime; then a PING of SPDY twice a second.")
    .accepts("Close 1000."),
    Case::quality(
        "tunnel/end/at-once",
        "The end of the session is passed on at once",
        &["13.19"],
        run!(at_once),
    )
    .over(WAY)
    .against(ENDS)
    .why("A client that does not happen to send anything does not learn that its session is gone.")
    .sends("A SYN_STREAM with id 0, which ends the session at the runtime, and nothing more.")
    .accepts("The end of the connection within 2 seconds."),
];

/// A tunnel with an open connection.
async fn busy(t: &Trial) -> Result<Session, Stop> {
    let mut session = t.session().await?;
    session
        .echo(t.port(Service::Echo)?, b"a connection")
        .await?;
    Ok(session)
}

async fn send(session: &mut Session, what: &str, bytes: &[u8]) -> Result<(), Stop> {
    match &mut session.carrier {
        Carrier::Tunnel(websocket) => websocket.raw(what, bytes).await,
        Carrier::Plain(_) => Ok(()),
    }
}

async fn ends(session: &mut Session, why: &str) -> Result<End, Stop> {
    session.until_end(why).await
}

async fn any_code(t: &mut Trial) -> Outcome {
    for code in [Some(1000u16), Some(1001), Some(1011), Some(4000), None] {
        let mut session = busy(t).await?;
        let payload = code.map(|code| code.to_be_bytes().to_vec());
        let bytes = frame(LAST | CLOSE, true, &payload.unwrap_or_default());
        let what = match code {
            Some(code) => format!("Close {code}"),
            None => "Close without a code".to_owned(),
        };
        send(&mut session, &what, &bytes).await?;
        ends(&mut session, &format!("after {what}")).await?;
    }
    OK
}

async fn nothing_behind(t: &mut Trial) -> Outcome {
    let mut session = t.session().await?;
    session.alive("at the start").await?;
    let mut bytes = frame(LAST | CLOSE, true, &1000u16.to_be_bytes());
    let ping = wire::control(3, wire::PING, 0, &101u32.to_be_bytes());
    bytes.extend(frame(LAST | BINARY, true, &ping));
    send(&mut session, "Close 1000 and PING of SPDY", &bytes).await?;
    ends(&mut session, "after Close 1000").await?;
    if session.pings.contains(&101) {
        return Err(Stop::departure(
            "no echo of what came behind Close",
            session.summary(),
        ));
    }
    OK
}

async fn tcp_ends(t: &mut Trial) -> Outcome {
    let mut session = busy(t).await?;
    session.connection().shut_down().await;
    ends(&mut session, "after the end of the client's TCP").await?;
    OK
}

/// Ends the session at the runtime.
async fn break_off(session: &mut Session) -> Result<(), Stop> {
    session.alive("at the start").await?;
    session.send(&syn_stream(0, &[])).await
}

/// Real gateways pass the end on with the client's next message; kubectl's is its PING.
async fn ends_while_pinging(session: &mut Session) -> Result<End, Stop> {
    let rounds = 2 * session.patience.as_secs();
    for round in 0..rounds {
        session.read_for(Duration::from_millis(500)).await?;
        if session.end.is_some() {
            break;
        }
        let id = u32::try_from(1001 + 2 * round).unwrap_or(1001);
        session.send(&Frame::Ping(id)).await?;
    }
    ends(session, "after the end of the session").await
}

async fn session_ends(t: &mut Trial) -> Outcome {
    let mut session = t.session().await?;
    break_off(&mut session).await?;
    ends_while_pinging(&mut session).await?;
    OK
}

async fn close_1000(t: &mut Trial) -> Outcome {
    let mut session = t.session().await?;
    break_off(&mut session).await?;
    match ends_while_pinging(&mut session).await? {
        End::Close(1000, _) => OK,
        end => Err(Stop::departure(
            "Close 1000 after the end of the session",
            end.to_string(),
        )),
    }
}

async fn at_once(t: &mut Trial) -> Outcome {
    let mut session = t.session().await?;
    break_off(&mut session).await?;
    let soon = Duration::from_secs(2);
    session
        .until_end_within("while the client is silent", soon)
        .await?;
    OK
}
