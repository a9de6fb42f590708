//! `chan/`: chapter 11, port-forward over channels, and the part of chapter 14 about many ports.

pub(super) mod end;
pub(super) mod messages;
pub(super) mod ports;

use super::check::{V4, V4_BASE64};
use crate::case::{CHANNELS, Case, OK, Outcome, Role, Stop, Way};
use crate::catalogue::pods::{hash_answer, hash_request};
use crate::probe::channels::Channels;
use crate::probe::websocket::{Message, Next, WebSocket};
use crate::run;
use crate::target::Service;
use crate::trial::Trial;
use std::time::Duration;
use tokio::time::Instant;

const HTTP: &[Way] = &[Way::V4];
/// Servers give the other direction a second once one has ended (clause 8.19).
const OVER: Duration = Duration::from_millis(1500);
/// For what should not come.
const QUIET: Duration = Duration::from_millis(300);
const PROXIES: &[Role] = &[Role::Gateway, Role::Node];

pub(super) const CASES: &[Case] = &[
    Case::must(
        "chan/nego/served",
        "Both forms of channels are served",
        &["11.4"],
        run!(served),
    )
    .over(CHANNELS)
    .why("kube-rs, Java, Python and Node clients know only these.")
    .sends("The handshake with the subprotocol of this way.")
    .accepts("101 that names it, and bytes through the echo."),
    Case::must(
        "chan/nego/first-known-wins",
        "The first known subprotocol of a list is taken",
        &["11.4"],
        run!(first_known_wins),
    )
    .over(CHANNELS)
    .why("The client's order says what it speaks best.")
    .sends("A list with an unknown name, then both known ones, that of this way first.")
    .accepts("101 that names the one of this way."),
    Case::must(
        "chan/nego/list-without-spaces",
        "The commas of the list need no spaces",
        &["11.4"],
        run!(list_without_spaces),
    )
    .over(CHANNELS)
    .why("Libraries join the names with a bare comma.")
    .sends("v9.channel.k8s.io,NAME,example.k8s.io")
    .accepts("101 that names the one of this way."),
    Case::should(
        "chan/nego/unknown",
        "Unknown subprotocols give 403",
        &["11.6"],
        run!(unknown),
    )
    .over(HTTP)
    .why("A client that was written for exec is told before it reads a port as data.")
    .sends("channel.k8s.io, base64.channel.k8s.io, v5.channel.k8s.io and example.k8s.io, each in a request of its own.")
    .accepts("403 for each."),
    Case::must(
        "chan/preface/every-channel",
        "Each channel begins with its port",
        &["11.8"],
        run!(every_channel),
    )
    .over(CHANNELS)
    .why("kube-rs fails if the first message of a channel is not the port that it asked for.")
    .sends("Three ports.")
    .accepts("First messages on channels 0 to 5, each with its port in two bytes, low byte first."),
    Case::must(
        "chan/preface/bytes",
        "The first messages are whole messages of the right form",
        &["11.8", "11.10"],
        run!(preface_bytes),
    )
    .over(CHANNELS)
    .why("kube-rs wants exactly three bytes; the base64 form four characters behind the channel.")
    .sends("One port.")
    .accepts("Channel number and port, no byte more: binary in one form, `0`, `1` and base64 in the other."),
    Case::must(
        "chan/preface/refused-port",
        "A port that refuses begins like any other",
        &["11.8", "11.13"],
        run!(preface_of_refused),
    )
    .over(CHANNELS)
    .why("A client that takes the first message for the port would take the error's text for it.")
    .sends("A port on which nothing listens.")
    .accepts("The port on both channels, then the text."),
    Case::must(
        "chan/channels/two-ports-apart",
        "Each port has two channels of its own",
        &["11.7"],
        run!(two_ports_apart),
    )
    .over(CHANNELS)
    .why("A byte on the wrong channel goes to another application.")
    .sends("The echo twice, other bytes to each, in turns.")
    .accepts("The bytes of each on channels 0 and 2, nothing but ports on 1 and 3."),
    Case::must(
        "chan/channels/same-port-twice",
        "A port that is listed twice has two connections",
        &["11.7"],
        run!(same_port_twice),
    )
    .over(CHANNELS)
    .why("A pool of connections is made so.")
    .sends("The hash service twice, with an upload to each at the same time.")
    .accepts("An answer for each."),
    Case::must(
        "chan/channels/twenty-ports",
        "The channel numbers go on beyond 9",
        &["11.7", "11.10"],
        run!(twenty_ports),
    )
    .over(CHANNELS)
    .why("In base64 channel 10 is `:`: a server that writes decimals breaks on the sixth port.")
    .sends("The echo 20 times; bytes to the first, the sixth and the last.")
    .accepts("Ports on all channels, the bytes back on the right ones."),
];

/// Opens channels with this list of subprotocols.
async fn offering(t: &Trial, list: &str) -> Outcome {
    let port = t.port(Service::Echo)?;
    let request = t.websocket_request(list, &t.ports_query(&[port]));
    let (ready, answer) = t.ask(&request).await?;
    let right = super::check::subprotocol(t);
    let named = answer.field("sec-websocket-protocol").unwrap_or_default();
    if answer.status != 101 || named != right {
        return Err(Stop::departure(
            format!("101 with {right} for {list:?}"),
            format!("{answer} with {named:?}"),
        ));
    }
    let websocket = WebSocket::new(ready.connection);
    let base64 = t.way == Way::V4Base64;
    let mut channels = Channels::new(websocket, base64, vec![port], t.patience);
    channels.prefaced().await?;
    channels.echo(0, b"as agreed").await?;
    in_form(&channels)
}

/// Checks that no message came in the other form.
pub(super) fn in_form(channels: &Channels) -> Outcome {
    match channels.odd.first() {
        None => OK,
        Some(odd) => Err(Stop::departure(
            "messages of this form of channels only",
            odd.clone(),
        )),
    }
}

async fn served(t: &mut Trial) -> Outcome {
    offering(t, super::check::subprotocol(t)).await
}

async fn first_known_wins(t: &mut Trial) -> Outcome {
    let (first, second) = if t.way == Way::V4 {
        (V4, V4_BASE64)
    } else {
        (V4_BASE64, V4)
    };
    offering(t, &format!("example.k8s.io, {first}, {second}")).await
}

async fn list_without_spaces(t: &mut Trial) -> Outcome {
    let name = super::check::subprotocol(t);
    offering(t, &format!("v9.channel.k8s.io,{name},example.k8s.io")).await
}

async fn unknown(t: &mut Trial) -> Outcome {
    let query = t.ports_query(&[t.port(Service::Echo)?]);
    for name in [
        "channel.k8s.io",
        "base64.channel.k8s.io",
        "v5.channel.k8s.io",
        "example.k8s.io",
    ] {
        let request = t.websocket_request(name, &query);
        super::check::answered(t, &request, 403, name).await?;
    }
    OK
}

async fn every_channel(t: &mut Trial) -> Outcome {
    let ports = [
        t.port(Service::Echo)?,
        t.port(Service::Sink)?,
        t.port(Service::Hash)?,
    ];
    let mut channels = t.channels(&ports).await?;
    channels.prefaced().await?;
    in_form(&channels)
}

async fn preface_bytes(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut channels = t.channels(&[port]).await?;
    let websocket = &mut channels.websocket;
    let deadline = Instant::now() + t.patience;
    let mut expected: Vec<Message> = [0u8, 1]
        .map(|channel| first_message(t, channel, port))
        .into();
    while !expected.is_empty() {
        match websocket.next(deadline).await? {
            Next::Message(message) if expected.contains(&message) => {
                expected.retain(|other| *other != message);
            }
            other => {
                return Err(Stop::departure(
                    format!("{expected:02x?}, in any order"),
                    format!("{other:02x?}"),
                ));
            }
        }
    }
    OK
}

/// The first message of a channel.
fn first_message(t: &Trial, channel: u8, port: u16) -> Message {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    let port = port.to_le_bytes();
    if t.way == Way::V4 {
        Message::Binary([&[channel], &port[..]].concat())
    } else {
        let text = format!("{channel}{}", BASE64_STANDARD.encode(port));
        Message::Text(text.into_bytes())
    }
}

async fn preface_of_refused(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Closed)?;
    let mut channels = t.channels(&[port]).await?;
    channels.prefaced().await?;
    channels
        .until("a text on channel 1", |c| !c.channel(1).data.is_empty())
        .await?;
    in_form(&channels)
}

async fn two_ports_apart(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut channels = t.channels(&[port, port]).await?;
    channels.prefaced().await?;
    for _ in 0..5 {
        for index in [0, 1] {
            let length = t.dice.size(1, 2000);
            let bytes = t.dice.bytes(length);
            channels.echo(index, &bytes).await?;
        }
    }
    for channel in [1, 3] {
        if channels.channel(channel).messages != 1 {
            return Err(Stop::departure(
                format!("nothing but the port on channel {channel}"),
                channels.summary(),
            ));
        }
    }
    in_form(&channels)
}

async fn same_port_twice(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Hash)?;
    let mut channels = t.channels(&[port, port]).await?;
    channels.prefaced().await?;
    let bytes = t.dice.bytes(500);
    let upload = hash_request(&bytes);
    let (start, rest) = upload.split_at(100);
    // One connection for both would get the halves in the wrong order.
    for part in [start, rest] {
        channels.send(0, part).await?;
        channels.send(2, part).await?;
    }
    let answer = hash_answer(&bytes);
    for channel in [0, 2] {
        let what = format!("the hash of what was sent on channel {channel}");
        channels
            .until(&what, |c| c.channel(channel).data.len() >= answer.len())
            .await?;
        if channels.channel(channel).data != answer {
            return Err(Stop::departure(what, "other bytes"));
        }
    }
    OK
}

async fn twenty_ports(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut channels = t.channels(&[port; 20]).await?;
    channels.prefaced().await?;
    for index in [0, 5, 19] {
        let bytes = t.dice.bytes(100);
        channels.echo(index, &bytes).await?;
    }
    let strange = (0..20u8)
        .filter(|index| ![0, 5, 19].contains(index))
        .any(|index| channels.channel(index * 2).messages > 1);
    if strange {
        return Err(Stop::departure(
            "bytes on channels 0, 10 and 38 only",
            channels.summary(),
        ));
    }
    in_form(&channels)
}
