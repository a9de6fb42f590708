//! `chan/end/`: how connections and the WebSocket end.

use crate::case::{CHANNELS, Case, OK, Outcome, Seen, Stop, Way};
use crate::catalogue::pods::{hash_answer, hash_request};
use crate::probe::channels::Channels;
use crate::probe::connection::End;
use crate::probe::websocket::{CLOSE, LAST};
use crate::run;
use crate::target::Service;
use crate::trial::Trial;

pub(in crate::catalogue) const CASES: &[Case] = &[
    Case::must(
        "chan/end/last-connection",
        "The server closes with 1000 when the connection is over",
        &["11.18"],
        run!(last_connection),
    )
    .over(CHANNELS)
    .why("It is the only way in which a client learns that the pod's application has closed.")
    .sends("An upload to the hash service, which answers and closes.")
    .accepts("The answer, then Close 1000."),
    Case::must(
        "chan/end/refused-port",
        "A refused port ends with its text and Close 1000",
        &["11.18", "11.13"],
        run!(refused_port),
    )
    .over(CHANNELS)
    .why("The text must not be lost in the end that follows it at once.")
    .sends("A port on which nothing listens, alone.")
    .accepts("The text on channel 1, then Close 1000."),
    Case::must(
        "chan/end/last-of-two",
        "The server closes after the last connection, not after the first",
        &["11.18"],
        run!(last_of_two),
    )
    .over(CHANNELS)
    .why("A forward of two ports must outlive the restart of one service.")
    .sends("Two uploads to the hash service on two ports, the second after the first has ended.")
    .accepts("Both answers, then Close 1000."),
    Case::must(
        "chan/end/client-closes",
        "The client's Close ends the WebSocket",
        &["11.19"],
        run!(client_closes),
    )
    .over(CHANNELS)
    .why("Connections to the pod that stay open fill its tables, and its thread pools.")
    .sends("Close 1000 with two open connections.")
    .accepts("The end of the connection within the time to wait, of which servers use a second."),
    Case::must(
        "chan/end/client-closes-without-code",
        "The client's Close without a code ends the WebSocket",
        &["11.19"],
        run!(client_closes_without_code),
    )
    .over(CHANNELS)
    .why("kube-rs closes so.")
    .sends("Close without payload with an open connection.")
    .accepts("The end of the connection."),
    Case::must(
        "chan/end/client-vanishes",
        "The end of TCP ends the WebSocket",
        &["11.19"],
        run!(client_vanishes),
    )
    .over(CHANNELS)
    .why("A client that crashed sends no Close.")
    .sends("The end of the sending side of TCP with an open connection.")
    .accepts("The end of the connection."),
    Case::observed(
        "chan/end/one-of-two",
        "What tells the client that one of two connections has ended",
        &["11.17"],
        run!(one_of_two),
    )
    .over(CHANNELS)
    .why("A client cannot close its local connection if nothing tells it to.")
    .sends("An upload to the hash service, which answers and closes; the echo beside it.")
    .accepts("`quiet`: nothing; `signalled`: a message on a channel of the ended port; `ended`: the whole WebSocket."),
    Case::observed(
        "chan/end/number-255",
        "What a message to channel 255 does",
        &["11.17"],
        run!(number_255),
    )
    .over(&[Way::V4])
    .why("In v5 of exec it closes a channel; a client that tries it here loses half a connection or nothing.")
    .sends("The bytes ff 00, then bytes to the echo.")
    .accepts("`ignored`, `half-closed`, or `ended`."),
];

/// Waits for Close 1000.
async fn closed(channels: &mut Channels, why: &str) -> Result<(), Stop> {
    let what = format!("Close 1000 {why}");
    channels.until(&what, |c| c.end.is_some()).await?;
    match &channels.end {
        Some(End::Close(1000, _)) => Ok(()),
        end => {
            let end = end.as_ref().map(ToString::to_string).unwrap_or_default();
            let text = format!("{end}; before it: {}", channels.summary());
            Err(Stop::departure(what, text))
        }
    }
}

/// An upload to the hash service on a channel, and its answer.
async fn hashed(t: &mut Trial, channels: &mut Channels, channel: u8) -> Result<(), Stop> {
    let bytes = t.dice.bytes(200);
    channels.send(channel, &hash_request(&bytes)).await?;
    let what = format!("the hash on channel {channel}");
    channels
        .until(&what, |c| c.channel(channel).data.len() >= 65)
        .await?;
    if channels.channel(channel).data != hash_answer(&bytes) {
        return Err(Stop::departure(what, "other bytes"));
    }
    Ok(())
}

async fn last_connection(t: &mut Trial) -> Outcome {
    let mut channels = t.channels(&[t.port(Service::Hash)?]).await?;
    channels.prefaced().await?;
    hashed(t, &mut channels, 0).await?;
    closed(&mut channels, "after the pod has closed").await?;
    OK
}

async fn refused_port(t: &mut Trial) -> Outcome {
    let mut channels = t.channels(&[t.port(Service::Closed)?]).await?;
    closed(&mut channels, "after a refused port").await?;
    if channels.channel(1).data.is_empty() {
        return Err(Stop::departure(
            "a text on channel 1 before Close",
            channels.summary(),
        ));
    }
    OK
}

async fn last_of_two(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Hash)?;
    let mut channels = t.channels(&[port, port]).await?;
    channels.prefaced().await?;
    hashed(t, &mut channels, 0).await?;
    channels.read_for(super::OVER).await?;
    hashed(t, &mut channels, 2).await?;
    closed(&mut channels, "after both connections have ended").await?;
    OK
}

/// Two connections of which both carry something.
async fn two(t: &Trial) -> Result<Channels, Stop> {
    let port = t.port(Service::Echo)?;
    let mut channels = t.channels(&[port, port]).await?;
    channels.prefaced().await?;
    channels.echo(0, b"first").await?;
    channels.echo(1, b"second").await?;
    Ok(channels)
}

async fn ended(channels: &mut Channels, why: &str) -> Outcome {
    let what = format!("the end of the WebSocket {why}");
    channels.until(&what, |c| c.end.is_some()).await?;
    match &channels.end {
        Some(End::Malformed(text)) => Err(Stop::departure(what, text.clone())),
        _ => OK,
    }
}

async fn client_closes(t: &mut Trial) -> Outcome {
    let mut channels = two(t).await?;
    channels.websocket.close(1000).await?;
    ended(&mut channels, "after the client's Close 1000").await
}

async fn client_closes_without_code(t: &mut Trial) -> Outcome {
    let mut channels = two(t).await?;
    channels.websocket.send(LAST | CLOSE, b"").await?;
    ended(&mut channels, "after the client's Close without a code").await
}

async fn client_vanishes(t: &mut Trial) -> Outcome {
    let mut channels = two(t).await?;
    channels.websocket.connection.shut_down().await;
    ended(&mut channels, "after the end of the client's TCP").await
}

async fn one_of_two(t: &mut Trial) -> Outcome {
    let ports = [t.port(Service::Hash)?, t.port(Service::Echo)?];
    let mut channels = t.channels(&ports).await?;
    channels.prefaced().await?;
    hashed(t, &mut channels, 0).await?;
    let answer = channels.channel(0).data.len();
    let before = channels.channel(0).messages;
    channels.read_for(super::OVER).await?;
    match channels.echo(1, b"alive").await {
        Ok(()) => {}
        Err(Stop::Departure { .. }) if channels.is_over() => return Ok(Seen::as_slug("ended")),
        Err(stop) => return Err(stop),
    }
    let (data, error) = (channels.channel(0), channels.channel(1));
    if data.data.len() > answer || data.messages > before || error.messages > 1 {
        return Ok(Seen::as_slug("signalled"));
    }
    Ok(Seen::as_slug("quiet"))
}

async fn number_255(t: &mut Trial) -> Outcome {
    let mut channels = t.channels(&[t.port(Service::Echo)?]).await?;
    channels.prefaced().await?;
    channels.send(255, &[0]).await?;
    match channels.echo(0, b"behind").await {
        Ok(()) => Ok(Seen::as_slug("ignored")),
        Err(Stop::Departure { .. }) if channels.is_over() => Ok(Seen::as_slug("ended")),
        Err(Stop::Departure { .. }) => Ok(Seen::as_slug("half-closed")),
        Err(stop) => Err(stop),
    }
}
