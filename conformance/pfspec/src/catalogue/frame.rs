//! `spdy/frame/`: chapter 2, SPDY frames.

use crate::case::{Case, OK, Outcome, Seen, Stop};
use crate::probe::session::data;
use crate::probe::wire::{self, FIN, Frame};
use crate::run;
use crate::target::Service;
use crate::trial::Trial;

pub(super) const CASES: &[Case] = &[
    Case::must(
        "spdy/frame/version-3",
        "Control frames of the server say version 3",
        &["2.1"],
        run!(version_3),
    )
    .why("A client that checks the version ends the session on any other.")
    .sends("A pair to the echo, PING, FIN.")
    .accepts("Version 3 in every control frame."),
    Case::must(
        "spdy/frame/byte-by-byte",
        "Frames may arrive cut at any byte",
        &["2.4"],
        run!(byte_by_byte),
    )
    .why("Proxies and TLS cut the stream of bytes anywhere.")
    .sends("A pair to the echo and 500 bytes, each byte in a write (a message of the tunnel) of its own.")
    .accepts("The bytes back."),
    Case::must(
        "spdy/frame/joined",
        "Frames may arrive joined in one write",
        &["2.4", "7.12"],
        run!(joined),
    )
    .why("Clients that open both streams without waiting send them in one segment.")
    .sends("SYN_STREAM error, FIN, SYN_STREAM data, DATA, PING in one write.")
    .accepts("The bytes back, and PING."),
    Case::must(
        "spdy/frame/data-of-any-length",
        "DATA of any legal length is accepted",
        &["2.5"],
        run!(any_length),
    )
    .why("Clients other than kubectl send frames of their own size.")
    .sends("DATA frames of 1, 100, 32 769, 65 536 and 1 000 000 bytes to the echo.")
    .accepts("All bytes back, in order."),
    Case::must(
        "spdy/frame/empty-data",
        "Empty DATA without FIN has no effect",
        &["2.7"],
        run!(empty_data),
    )
    .why("Some libraries flush with an empty frame.")
    .sends("Empty DATA on the data stream between payload.")
    .accepts("The bytes back, no FIN."),
    Case::observed(
        "spdy/frame/data-on-stream-0",
        "What DATA on stream 0 does",
        &["2.8"],
        run!(data_on_stream_0),
    )
    .sends("DATA on stream 0.")
    .accepts("`ignored`, or `ends-session`."),
    Case::must(
        "spdy/frame/unknown-data-flags",
        "Unknown flags of DATA are ignored",
        &["2.9"],
        run!(unknown_data_flags),
    )
    .sends("DATA with flags 0xfe to the echo.")
    .accepts("The payload back, no FIN."),
];

async fn version_3(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    // The judge reads no other version: it would be the end.
    s.alive("at the start").await?;
    s.works(t.port(Service::Echo)?, "at the start").await?;
    OK
}

async fn byte_by_byte(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    s.cut = Some(1);
    let bytes = t.dice.bytes(500);
    s.echo(port, &bytes).await?;
    OK
}

async fn joined(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let (pair, mut frames) = s.pair_frames(port);
    frames.push(data(pair.data, 0, b"all at once"));
    frames.push(Frame::Ping(1));
    s.send_all(&frames).await?;
    s.until("11 bytes back, and PING 1", |s| {
        s.received(pair.data) == 11 && s.pings.contains(&1)
    })
    .await?;
    OK
}

async fn any_length(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    let mut all = Vec::new();
    for length in [1, 100, 32_769, 65_536, 1_000_000] {
        let bytes = t.dice.bytes(length);
        s.send(&data(pair.data, 0, &bytes)).await?;
        all.extend(bytes);
    }
    s.until("all bytes back", |s| {
        s.received(pair.data) >= all.len() as u64
    })
    .await?;
    if s.stream(pair.data).data != all {
        return Err(Stop::departure("the bytes that were sent", "others"));
    }
    OK
}

async fn empty_data(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let pair = s.echo(port, b"before").await?;
    s.send(&data(pair.data, 0, b"")).await?;
    s.echo_on(pair, b"behind").await?;
    OK
}

async fn data_on_stream_0(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    s.alive("at the start").await?;
    s.send(&data(0, 0, b"for nobody")).await?;
    Ok(Seen::as_slug(
        match s.alive("after DATA on stream 0").await {
            Ok(()) => "ignored",
            Err(_) => "ends-session",
        },
    ))
}

async fn unknown_data_flags(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    s.raw(
        "DATA with flags 0xfe",
        &wire::data(pair.data, !FIN, b"flagged"),
    )
    .await?;
    s.until("7 bytes back", |s| s.received(pair.data) == 7)
        .await?;
    s.echo_on(pair, b"and open").await?;
    OK
}
