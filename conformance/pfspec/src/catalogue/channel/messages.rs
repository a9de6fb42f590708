//! `chan/data/`, `chan/messages/`, `chan/base64/`: what messages carry, and messages that carry nothing.

use super::in_form;
use crate::case::{CHANNELS, Case, OK, Outcome, Seen, Stop, Way};
use crate::catalogue::check::BULK;
use crate::catalogue::pods::{hash_answer, hash_request};
use crate::dice::sequence;
use crate::probe::channels::Channels;
use crate::probe::websocket::{BINARY, LAST, TEXT};
use crate::run;
use crate::target::Service;
use crate::trial::Trial;

const BASE64: &[Way] = &[Way::V4Base64];

pub(in crate::catalogue) const CASES: &[Case] = &[
    Case::must(
        "chan/data/any-boundaries",
        "Message boundaries mean nothing",
        &["11.11"],
        run!(any_boundaries),
    )
    .over(CHANNELS)
    .why("Clients send what they read from their socket, however much it was.")
    .sends("20 000 bytes to the echo in messages of 1 to 900 bytes.")
    .accepts("The bytes back, in order, however they are cut."),
    Case::must(
        "chan/data/all-values",
        "Every value of a byte passes",
        &["11.11", "11.10"],
        run!(all_values),
    )
    .over(CHANNELS)
    .why("A text message that is not encoded ends at the first byte that is no UTF-8.")
    .sends("The 256 values, in messages of all at once and of one each.")
    .accepts("The bytes back."),
    Case::must(
        "chan/data/upload",
        "An upload arrives whole",
        &["11.11"],
        run!(upload),
    )
    .over(CHANNELS)
    .within(60)
    .why("Restoring a dump through the forward is the commonest use of these clients.")
    .sends("1 MiB of random bytes to the hash service.")
    .accepts("The right hash."),
    Case::must(
        "chan/data/download",
        "A download arrives whole",
        &["11.11"],
        run!(download),
    )
    .over(CHANNELS)
    .within(60)
    .why("The same in the other direction.")
    .sends("A request for 1 MiB of a known sequence.")
    .accepts("The sequence."),
    Case::must(
        "chan/data/both-directions-at-once",
        "Both directions flow at the same time",
        &["11.11"],
        run!(both_directions),
    )
    .over(CHANNELS)
    .within(60)
    .why("A server that copies one way until it is empty stands still on an upload that is answered as it comes.")
    .sends("1 MiB to the echo, read only while writing.")
    .accepts("1 MiB back, in order."),
    Case::must(
        "chan/dial/at-start",
        "The port is dialled at the start",
        &["11.12"],
        run!(at_start),
    )
    .over(CHANNELS)
    .why("In MySQL, SMTP and SSH the server speaks first.")
    .sends("Nothing, to a service that greets.")
    .accepts("The greeting."),
    Case::must(
        "chan/dial/once",
        "There is no second connection on the same WebSocket",
        &["11.12"],
        run!(once),
    )
    .over(CHANNELS)
    .why("Bytes that were meant for the old connection would reach a new one in its middle.")
    .sends("An upload to the hash service, which answers and ends, then the same again; the echo beside it.")
    .accepts("One answer; the echo goes on."),
    Case::must(
        "chan/error/refused-port",
        "A refused port is told on its error channel, once",
        &["11.13"],
        run!(refused_port),
    )
    .over(CHANNELS)
    .why("It is all that the user learns of why there is no connection.")
    .sends("A port on which nothing listens, and the echo.")
    .accepts("One text on channel 1, nothing on channel 0, and bytes through the echo."),
    Case::should(
        "chan/error/text-names-the-port",
        "The text of a refused port names the port",
        &["8.12", "11.13"],
        run!(names_port),
    )
    .over(CHANNELS)
    .why("Logs hold the text without the channel that it came on.")
    .sends("A port on which nothing listens.")
    .accepts("A text that contains the port's number."),
    Case::must(
        "chan/error/others-go-on",
        "A connection that the pod resets leaves the others alone",
        &["11.13"],
        run!(others_go_on),
    )
    .over(CHANNELS)
    .why("One crashed service must not end the work on the others.")
    .sends("A port that resets its connections, and the echo.")
    .accepts("Bytes through the echo, at once and after half a second."),
    Case::must(
        "chan/messages/empty",
        "Empty messages are ignored",
        &["11.14"],
        run!(empty),
    )
    .over(CHANNELS)
    .why("Some libraries flush with an empty message; read as a channel number it is an end of file or a crash.")
    .sends("Two messages of no bytes, in the form of the subprotocol, between bytes to the echo.")
    .accepts("The bytes back, nothing else."),
    Case::must(
        "chan/messages/without-payload",
        "A message with a channel and no payload carries nothing",
        &["11.14", "11.11"],
        run!(without_payload),
    )
    .over(CHANNELS)
    .why("A client that reads nothing from its socket may still send it; it is no end of file.")
    .sends("The number of the data channel alone, between bytes to the echo.")
    .accepts("The bytes back, nothing else."),
    Case::should(
        "chan/messages/unknown-channel",
        "A message to a channel that does not exist is dropped",
        &["11.15"],
        run!(unknown_channel),
    )
    .over(CHANNELS)
    .why("A client with one port more than the server knows must not end the others.")
    .sends("Messages to channels 2, 9 and 79 of a WebSocket with one port, and to 255 in binary.")
    .accepts("Bytes through the echo; nothing of those messages comes back."),
    Case::should(
        "chan/messages/to-error-channel",
        "A message to an error channel is dropped",
        &["11.15"],
        run!(to_error_channel),
    )
    .over(CHANNELS)
    .why("Libraries that treat both channels alike write to it.")
    .sends("Bytes on channel 1.")
    .accepts("Bytes through the echo; nothing of the message comes back."),
    Case::must(
        "chan/base64/text-with-padding",
        "Messages are text, in standard base64 with padding",
        &["11.10"],
        run!(with_padding),
    )
    .over(BASE64)
    .why("Decoders of clients take one alphabet and want the padding.")
    .sends("1, 2, 3 and 4 bytes that need `+` and `/`, in standard base64, to the echo.")
    .accepts("Text messages in standard base64 with padding, with the bytes."),
    Case::should(
        "chan/base64/malformed",
        "Malformed base64 is dropped, or ends the connection",
        &["11.15"],
        run!(malformed),
    )
    .over(BASE64)
    .why("Half decoded it would put garbage into the stream.")
    .sends("A message to the echo with characters of no alphabet.")
    .accepts("`dropped`: bytes behind it pass, nothing of it comes back; or `ended`."),
];

/// Channels with one port, that of the echo, behind their first messages.
async fn echo(t: &Trial) -> Result<Channels, Stop> {
    one(t, Service::Echo).await
}

async fn one(t: &Trial, service: Service) -> Result<Channels, Stop> {
    let mut channels = t.channels(&[t.port(service)?]).await?;
    channels.prefaced().await?;
    Ok(channels)
}

/// Waits for the bytes on channel 0.
async fn back(channels: &mut Channels, bytes: &[u8]) -> Outcome {
    let what = format!("{} bytes on channel 0", bytes.len());
    let patience = BULK * channels.patience;
    channels
        .until_within(&what, patience, |c| c.channel(0).data.len() >= bytes.len())
        .await?;
    if channels.channel(0).data != bytes {
        return Err(Stop::departure(what, "other bytes"));
    }
    in_form(channels)
}

async fn any_boundaries(t: &mut Trial) -> Outcome {
    let mut channels = echo(t).await?;
    let bytes = t.dice.bytes(20_000);
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let size = t.dice.size(1, 900).min(rest.len());
        let (part, more) = rest.split_at(size);
        channels.send(0, part).await?;
        rest = more;
    }
    back(&mut channels, &bytes).await
}

async fn all_values(t: &mut Trial) -> Outcome {
    let mut channels = echo(t).await?;
    let values: Vec<u8> = (0..=255).collect();
    channels.send(0, &values).await?;
    for value in &values {
        channels.send(0, &[*value]).await?;
    }
    back(&mut channels, &values.repeat(2)).await
}

async fn upload(t: &mut Trial) -> Outcome {
    let mut channels = one(t, Service::Hash).await?;
    let bytes = t.dice.bytes(1 << 20);
    for part in hash_request(&bytes).chunks(32 << 10) {
        channels.send(0, part).await?;
    }
    back(&mut channels, &hash_answer(&bytes)).await
}

async fn download(t: &mut Trial) -> Outcome {
    const LENGTH: usize = 1 << 20;
    let mut channels = one(t, Service::Random).await?;
    channels.send(0, &(LENGTH as u64).to_be_bytes()).await?;
    back(&mut channels, &sequence(LENGTH as u64, LENGTH)).await
}

async fn both_directions(t: &mut Trial) -> Outcome {
    let mut channels = echo(t).await?;
    let bytes = t.dice.bytes(1 << 20);
    for part in bytes.chunks(16 << 10) {
        channels.send(0, part).await?;
    }
    back(&mut channels, &bytes).await
}

async fn at_start(t: &mut Trial) -> Outcome {
    let mut channels = one(t, Service::HalfClose).await?;
    back(&mut channels, b"banner\n").await
}

async fn once(t: &mut Trial) -> Outcome {
    let ports = [t.port(Service::Hash)?, t.port(Service::Echo)?];
    let mut channels = t.channels(&ports).await?;
    channels.prefaced().await?;
    let bytes = t.dice.bytes(100);
    let upload = hash_request(&bytes);
    channels.send(0, &upload).await?;
    back(&mut channels, &hash_answer(&bytes)).await?;
    // Servers give the client's direction up to a second before the connection is over.
    channels.read_for(super::OVER).await?;
    channels.send(0, &upload).await?;
    channels.echo(1, b"the other port").await?;
    channels.read_for(super::QUIET).await?;
    channels.echo(1, b"and again").await?;
    back(&mut channels, &hash_answer(&bytes)).await
}

async fn refused_port(t: &mut Trial) -> Outcome {
    let ports = [t.port(Service::Closed)?, t.port(Service::Echo)?];
    let mut channels = t.channels(&ports).await?;
    channels.prefaced().await?;
    channels
        .until("a text on channel 1", |c| !c.channel(1).data.is_empty())
        .await?;
    channels.echo(1, b"the other port").await?;
    channels.read_for(super::QUIET).await?;
    channels.echo(1, b"and again").await?;
    let (data, error) = (channels.channel(0), channels.channel(1));
    if error.messages != 2 || data.messages != 1 || channels.channel(3).messages != 1 {
        return Err(Stop::departure(
            "one text on channel 1, no data on channel 0, no text on channel 3",
            channels.summary(),
        ));
    }
    if std::str::from_utf8(&error.data).is_err() {
        return Err(Stop::departure("a text in UTF-8", "other bytes"));
    }
    in_form(&channels)
}

async fn names_port(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Closed)?;
    let mut channels = t.channels(&[port]).await?;
    channels.prefaced().await?;
    channels
        .until("a text on channel 1", |c| !c.channel(1).data.is_empty())
        .await?;
    let data = channels.channel(1).data;
    let text = String::from_utf8_lossy(&data);
    if !text.contains(&port.to_string()) {
        return Err(Stop::departure(
            format!("a text with {port}"),
            format!("{text:?}"),
        ));
    }
    OK
}

async fn others_go_on(t: &mut Trial) -> Outcome {
    let ports = [t.port(Service::Reset)?, t.port(Service::Echo)?];
    let mut channels = t.channels(&ports).await?;
    channels.prefaced().await?;
    channels.echo(1, b"at once").await?;
    channels.read_for(super::QUIET).await?;
    channels.echo(1, b"and later").await?;
    OK
}

async fn empty(t: &mut Trial) -> Outcome {
    let mut channels = echo(t).await?;
    channels.echo(0, b"before").await?;
    let own = if t.way == Way::V4 { BINARY } else { TEXT };
    channels.websocket.send(LAST | own, b"").await?;
    channels.websocket.send(LAST | own, b"").await?;
    channels.echo(0, b"behind").await?;
    back(&mut channels, b"beforebehind").await
}

async fn without_payload(t: &mut Trial) -> Outcome {
    let mut channels = echo(t).await?;
    channels.echo(0, b"before").await?;
    channels.send(0, b"").await?;
    channels.send(0, b"").await?;
    channels.echo(0, b"behind").await?;
    back(&mut channels, b"beforebehind").await
}

/// Nothing of a message to these channels does anything.
async fn dropped(t: &Trial, numbers: &[u8]) -> Outcome {
    let mut channels = echo(t).await?;
    for number in numbers {
        channels.send(*number, b"for nobody").await?;
    }
    let what = "bytes through the echo behind messages that are to be dropped";
    channels
        .echo(0, b"for somebody")
        .await
        .map_err(|stop| match stop {
            Stop::Departure { actual, .. } => Stop::departure(what, actual),
            stop => stop,
        })?;
    if channels.channel(1).messages != 1 {
        return Err(Stop::departure(
            "nothing on the error channel",
            channels.summary(),
        ));
    }
    back(&mut channels, b"for somebody").await
}

async fn unknown_channel(t: &mut Trial) -> Outcome {
    // Beyond 79 the character of base64 would be no ASCII.
    let numbers: &[u8] = if t.way == Way::V4 {
        &[2, 9, 79, 255]
    } else {
        &[2, 9, 79]
    };
    dropped(t, numbers).await
}

async fn to_error_channel(t: &mut Trial) -> Outcome {
    dropped(t, &[1]).await
}

async fn with_padding(t: &mut Trial) -> Outcome {
    let mut channels = echo(t).await?;
    for bytes in [
        &b"\xfb"[..],
        b"\xff\xef",
        b"\xfb\xef\xbe",
        b"\xff\xff\xff\xfe",
    ] {
        channels.echo(0, bytes).await?;
    }
    in_form(&channels)
}

async fn malformed(t: &mut Trial) -> Outcome {
    let mut channels = echo(t).await?;
    channels.websocket.send(LAST | TEXT, b"0!*!*").await?;
    channels.send(0, b"behind").await?;
    channels
        .until("the bytes behind, or the end", |c| {
            c.is_over() || c.received(0) >= 6
        })
        .await?;
    in_form(&channels)?;
    match channels.channel(0).data.as_slice() {
        b"behind" => Ok(Seen::as_slug("dropped")),
        b"" => Ok(Seen::as_slug("ended")),
        other => Err(Stop::departure(
            "nothing of the malformed message",
            format!("\"{}\" from the echo", other.escape_ascii()),
        )),
    }
}
