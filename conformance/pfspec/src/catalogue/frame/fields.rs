//! `spdy/frame/`: chapter 2, flags, ids, statuses and types.

use crate::case::{Case, OK, Outcome, Stop};
use crate::catalogue::spdy::{REFUSED, changed_pair, no_frame, seen, tour};
use crate::probe::session::{Fate, data, syn_stream};
use crate::probe::wire::{self, FIN, Frame};
use crate::run;
use crate::target::Service;
use crate::trial::Trial;

pub(in crate::catalogue) const CASES: &[Case] = &[
    Case::must(
        "spdy/frame/no-data-on-stream-0",
        "The server sends no DATA on stream 0",
        &["2.8"],
        run!(no_data_on_stream_0),
    )
    .why("A real client ends the session at such a frame, and every connection with it.")
    .sends("Connections that succeed, fail, are refused and are reset; PING.")
    .accepts("DATA on streams that the client opened."),
    Case::must(
        "spdy/frame/data-on-stream-0",
        "DATA on stream 0 is ignored or ends the session",
        &["2.16", "2.8"],
        run!(data_on_stream_0),
    )
    .why("A server that does neither has lost its place in the stream of bytes.")
    .sends("DATA on stream 0.")
    .accepts("`goes-on`, or `ends-session`."),
    Case::should(
        "spdy/frame/unknown-data-flags",
        "Unknown flags of DATA are ignored",
        &["2.9"],
        run!(unknown_data_flags),
    )
    .why("SPDY/2 had a flag for compression there; real servers do not look at it.")
    .sends("DATA with each of the flags 0x02 to 0x80, and with all of them, to the echo.")
    .accepts("The payload back, no FIN."),
    Case::should(
        "spdy/frame/fin-beside-unknown-flags",
        "FIN counts beside unknown flags",
        &["2.9", "4.13"],
        run!(fin_beside_unknown),
    )
    .why("A server that compares the flags with 1 misses the end and keeps the connection open.")
    .sends("DATA with flags 0xff to the echo.")
    .accepts("The payload back, and a clean end."),
    Case::must(
        "spdy/frame/no-flags",
        "Control frames of the server have no flags they do not know",
        &["2.10"],
        run!(no_flags),
    )
    .why("Real clients end the session at PING or GOAWAY with a flag.")
    .sends("Connections that succeed, fail, are refused and are reset; PING.")
    .accepts("Flags 0 in RST_STREAM, PING, GOAWAY and WINDOW_UPDATE; 0 or FIN in SYN_REPLY and DATA."),
    Case::must(
        "spdy/frame/flags-on-ping",
        "PING with a flag is answered, ignored, or ends the session",
        &["2.16", "2.10"],
        run!(flagged, wire::PING, [0, 0, 0x10, 1], "PING"),
    )
    .why("Nobody sends it; the server may do anything but stand still.")
    .sends("PING with random flags.")
    .accepts("`goes-on`, or `ends-session`."),
    Case::must(
        "spdy/frame/flags-on-window-update",
        "WINDOW_UPDATE with a flag is ignored, or ends the session",
        &["2.16", "2.10"],
        run!(flagged, wire::WINDOW_UPDATE, [0, 0, 0, 0, 0, 1, 0, 0], "WINDOW_UPDATE"),
    )
    .why("Nobody sends it; the server may do anything but stand still.")
    .sends("WINDOW_UPDATE for stream 0 with random flags.")
    .accepts("`goes-on`, or `ends-session`."),
    Case::must(
        "spdy/frame/flags-on-rst-stream",
        "RST_STREAM with a flag is ignored, or ends the session",
        &["2.10"],
        run!(flagged, wire::RST_STREAM, [0, 0, 0x10, 1, 0, 0, 0, 5], "RST_STREAM"),
    )
    .why("Nobody sends it; the server may do anything but stand still.")
    .sends("RST_STREAM for a stream that was never opened, with random flags.")
    .accepts("`goes-on`, or `ends-session`."),
    Case::must(
        "spdy/frame/flags-on-goaway",
        "GOAWAY with a flag is ignored, or ends the session",
        &["2.10"],
        run!(flagged, wire::GOAWAY, [0; 8], "GOAWAY"),
    )
    .why("Nobody sends it; the server may do anything but stand still.")
    .sends("GOAWAY with random flags.")
    .accepts("`goes-on`, or `ends-session`."),
    Case::should(
        "spdy/frame/any-priority",
        "SYN_STREAM of any priority is accepted",
        &["2.11"],
        run!(any_priority),
    )
    .why("Libraries made for the web set priorities.")
    .sends("Pairs to the echo of each priority from 0 to 7, in random order.")
    .accepts("Each accepted; the bytes back."),
    Case::should(
        "spdy/frame/associated-stream",
        "An associated id that names no stream is accepted",
        &["2.11"],
        run!(associated),
    )
    .why("Real servers do not look at the field.")
    .sends("A pair to the echo with random associated ids.")
    .accepts("Accepted; the bytes back."),
    Case::should(
        "spdy/frame/spare-bits-of-syn-stream",
        "Spare bits and the slot of SYN_STREAM are not looked at",
        &["2.11"],
        run!(spare_bits),
    )
    .why("The slot had a meaning in SPDY/3; libraries may still fill it.")
    .sends("A pair to the echo, unused bits set and a random slot.")
    .accepts("Accepted; the bytes back."),
    Case::must(
        "spdy/frame/status-of-resets",
        "RST_STREAM of the server has a status other than 0",
        &["2.12"],
        run!(status_of_resets),
    )
    .why("A real client ends the session at status 0.")
    .sends("Five streams that are refused, and the other reasons that a server has to reset.")
    .accepts("Status 1 to 11."),
    Case::must(
        "spdy/frame/any-reset-status",
        "RST_STREAM of any status but 0 resets that stream",
        &["2.12"],
        run!(any_status),
    )
    .why("Clients choose the status freely; one that the server does not know must not cost the other connections.")
    .sends("Resets of open data streams with each status from 1 to 11, with 99, 2147483648 and 4294967295, and a random one; DATA behind each.")
    .accepts("The DATA behind is not echoed; the session works."),
    Case::must(
        "spdy/frame/reset-status-0",
        "RST_STREAM of status 0 ends the session, or the stream, or nothing",
        &["2.12"],
        run!(status_0),
    )
    .why("Nobody sends it; real servers end the session.")
    .sends("RST_STREAM with status 0 for an open stream.")
    .accepts("`goes-on`, or `ends-session`."),
    Case::must(
        "spdy/frame/no-frames-without-need",
        "The server sends no SETTINGS, HEADERS, WINDOW_UPDATE or other types",
        &["2.13"],
        run!(no_needless_frames),
    )
    .why("Real clients end the session at unknown types, and HEADERS stops their streams.")
    .sends("300 000 bytes through the echo; connections that fail, are refused and are reset; PING.")
    .accepts("SYN_REPLY, RST_STREAM, PING, GOAWAY and DATA."),
    Case::quality(
        "spdy/frame/type-5",
        "NOOP is skipped",
        &["2.14"],
        run!(skipped, Some(5)),
    )
    .why("A receiver that skips what it does not know leaves room for later versions.")
    .sends("A control frame of type 5 without payload.")
    .accepts("The session works."),
    Case::quality(
        "spdy/frame/type-10",
        "CREDENTIAL is skipped",
        &["2.14"],
        run!(skipped, Some(10)),
    )
    .why("A receiver that skips what it does not know leaves room for later versions.")
    .sends("A control frame of type 10 with random payload.")
    .accepts("The session works."),
    Case::quality(
        "spdy/frame/type-0",
        "Type 0 is skipped",
        &["2.14"],
        run!(skipped, Some(0)),
    )
    .why("A receiver that skips what it does not know leaves room for later versions.")
    .sends("A control frame of type 0 with random payload.")
    .accepts("The session works."),
    Case::quality(
        "spdy/frame/undefined-type",
        "Undefined types are skipped",
        &["2.14"],
        run!(skipped, None),
    )
    .why("A receiver that skips what it does not know leaves room for later versions.")
    .sends("A control frame of a random type above 10 with random payload.")
    .accepts("The session works."),
    Case::must(
        "spdy/frame/undefined-type-is-no-stall",
        "An undefined type is skipped or ends the session",
        &["2.16", "2.13"],
        run!(undefined_fate),
    )
    .why("A server that does neither has lost its place in the stream of bytes.")
    .sends("A control frame of type 11 with 12 bytes of payload.")
    .accepts("`goes-on`, or `ends-session`."),
    Case::must(
        "spdy/frame/unused-bits",
        "The bit before an id is 0 in the server's frames",
        &["2.15"],
        run!(unused_bits),
    )
    .why("A client that does not mask the bit takes the id for one that it does not know.")
    .sends("Connections that succeed, fail, are refused and are reset.")
    .accepts("Ids of 31 bits in SYN_REPLY, RST_STREAM and GOAWAY."),
    Case::must(
        "spdy/frame/unused-bit-of-syn-stream",
        "SYN_STREAM with the bit before its id set gets one answer",
        &["2.16", "2.15"],
        run!(unused_bit),
    )
    .why("Real servers answer with RST_STREAM; a stream without any answer hangs its connection.")
    .sends("SYN_STREAM for stream 1 with the unused bit set.")
    .accepts("`resets`, `opens`, or `ends-session`."),
];

async fn no_data_on_stream_0(t: &mut Trial) -> Outcome {
    let s = tour(t).await?;
    no_frame(&s, "no DATA on stream 0", |got| {
        matches!(got.frame, Frame::Data { id: 0, .. }).then(|| got.frame.text())
    })?;
    OK
}

async fn data_on_stream_0(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    s.alive("at the start").await?;
    s.send(&data(0, 0, b"for nobody")).await?;
    Ok(seen(s.fate("after DATA on stream 0").await?))
}

async fn unknown_data_flags(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    for (i, flags) in (1..8).map(|bit| 1 << bit).chain([!FIN]).enumerate() {
        let what = format!("DATA with flags {flags:#04x}");
        s.raw(&what, &wire::data(pair.data, flags, b"flagged"))
            .await?;
        let whole = (i as u64 + 1) * 7;
        s.until(&format!("7 bytes back after {what}"), |s| {
            s.received(pair.data) == whole
        })
        .await?;
    }
    s.echo_on(pair, b"and open").await?;
    OK
}

async fn fin_beside_unknown(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let pair = s.pair(port).await?;
    s.raw(
        "DATA with flags 0xff",
        &wire::data(pair.data, 0xff, b"flagged"),
    )
    .await?;
    s.clean_end(pair).await?;
    if s.stream(pair.data).data != b"flagged" {
        return Err(Stop::departure("\"flagged\" back", s.summary()));
    }
    OK
}

async fn no_flags(t: &mut Trial) -> Outcome {
    let s = tour(t).await?;
    no_frame(&s, "no flags but FIN of SYN_REPLY and DATA", |got| {
        let flags = *got.head.get(4)?;
        let known = match got.frame {
            Frame::SynReply { .. } | Frame::Data { .. } => FIN,
            _ => 0,
        };
        (flags & !known != 0).then(|| format!("flags {flags:#04x} in {}", got.frame.text()))
    })?;
    OK
}

async fn flagged<const N: usize>(
    t: &mut Trial,
    kind: u16,
    payload: [u8; N],
    name: &str,
) -> Outcome {
    let flags = u8::try_from(t.dice.between(1, 255)).unwrap_or(1);
    let mut s = t.session().await?;
    s.alive("at the start").await?;
    let what = format!("{name} with flags {flags:#04x}");
    s.raw(&what, &wire::control(3, kind, flags, &payload))
        .await?;
    Ok(seen(s.fate(&format!("after {what}")).await?))
}

async fn any_priority(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let mut priorities: Vec<u8> = (0..8).collect();
    t.dice.shuffle(&mut priorities);
    for wanted in priorities {
        let pair = changed_pair(&mut s, port, |frame| {
            if let Frame::SynStream { priority, .. } = frame {
                *priority = wanted;
            }
        })
        .await?;
        s.echo_on(pair, b"whatever the priority").await?;
    }
    OK
}

async fn associated(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let dice = &mut t.dice;
    let pair = changed_pair(&mut s, port, |frame| {
        if let Frame::SynStream { associated, .. } = frame {
            *associated = u32::try_from(dice.between(1, 0x7fff_ffff)).unwrap_or(77);
        }
    })
    .await?;
    s.echo_on(pair, b"associated with nothing").await?;
    OK
}

async fn spare_bits(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let (pair, frames) = s.pair_frames(port);
    for frame in &frames {
        let mut bytes = s.encoder.encode(frame);
        if matches!(frame, Frame::SynStream { .. })
            && let Some([priority, slot]) = bytes.get_mut(16..18)
        {
            *priority |= 0x1f;
            *slot = u8::try_from(t.dice.between(1, 255)).unwrap_or(1);
        }
        s.raw(&frame.text(), &bytes).await?;
    }
    crate::catalogue::spdy::accepted(&mut s, pair).await?;
    s.echo_on(pair, b"spare").await?;
    OK
}

async fn status_of_resets(t: &mut Trial) -> Outcome {
    let mut s = tour(t).await?;
    for _ in 0..5 {
        let id = s.open(REFUSED).await?;
        s.until("RST_STREAM for a stream without type and port", |s| {
            s.ended(id)
        })
        .await?;
    }
    no_frame(&s, "RST_STREAM with a status from 1 to 11", |got| {
        matches!(got.frame, Frame::RstStream { status, .. } if !(1..=11).contains(&status))
            .then(|| got.frame.text())
    })?;
    OK
}

async fn any_status(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let random = u32::try_from(t.dice.between(12, u64::from(u32::MAX))).unwrap_or(100);
    for status in (1..=11).chain([99, 1 << 31, u32::MAX, random]) {
        let pair = s.echo(port, b"before").await?;
        s.reset(pair.data, status).await?;
        s.send(&data(pair.data, 0, b"behind")).await?;
        s.echo(port, b"on another stream").await?;
        s.alive(&format!("after RST_STREAM of status {status}"))
            .await?;
        if s.received(pair.data) != 6 {
            return Err(Stop::departure(
                format!("no echo of DATA behind RST_STREAM of status {status}"),
                s.summary(),
            ));
        }
    }
    s.works(port, "after all these resets").await?;
    OK
}

async fn status_0(t: &mut Trial) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let pair = s.echo(port, b"before").await?;
    s.reset(pair.data, 0).await?;
    let fate = s.fate("after RST_STREAM of status 0").await?;
    if fate == Fate::GoesOn {
        s.works(port, "after RST_STREAM of status 0").await?;
    }
    Ok(seen(fate))
}

async fn no_needless_frames(t: &mut Trial) -> Outcome {
    let mut s = tour(t).await?;
    let bytes = t.dice.bytes(300_000);
    s.echo(t.port(Service::Echo)?, &bytes).await?;
    no_frame(
        &s,
        "no frames but SYN_REPLY, RST_STREAM, PING, GOAWAY and DATA",
        |got| {
            let needed = matches!(
                got.frame,
                Frame::SynReply { .. }
                    | Frame::RstStream { .. }
                    | Frame::Ping(_)
                    | Frame::Goaway { .. }
                    | Frame::Data { .. }
            );
            (!needed).then(|| got.frame.text())
        },
    )?;
    OK
}

async fn skipped(t: &mut Trial, kind: Option<u16>) -> Outcome {
    let port = t.port(Service::Echo)?;
    let mut s = t.session().await?;
    let kind = match kind {
        Some(kind) => kind,
        None => u16::try_from(t.dice.between(11, 0xffff)).unwrap_or(11),
    };
    let length = if kind == 5 { 0 } else { t.dice.size(0, 100) };
    let payload = t.dice.bytes(length);
    let what = format!("a control frame of type {kind} and {length} bytes");
    s.raw(&what, &wire::control(3, kind, 0, &payload)).await?;
    s.works(port, &format!("after {what}")).await?;
    OK
}

async fn undefined_fate(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    s.alive("at the start").await?;
    s.raw(
        "a control frame of type 11",
        &wire::control(3, 11, 0, &[0; 12]),
    )
    .await?;
    Ok(seen(s.fate("after a frame of type 11").await?))
}

async fn unused_bits(t: &mut Trial) -> Outcome {
    let s = tour(t).await?;
    no_frame(&s, "0 in the bit before an id", |got| {
        let about_an_id = matches!(
            got.frame,
            Frame::SynReply { .. }
                | Frame::RstStream { .. }
                | Frame::Goaway { .. }
                | Frame::WindowUpdate { .. }
                | Frame::Headers { .. }
        );
        (about_an_id && got.head.get(8)? & 0x80 != 0).then(|| format!("1 in {}", got.frame.text()))
    })?;
    OK
}

async fn unused_bit(t: &mut Trial) -> Outcome {
    let mut s = t.session().await?;
    s.alive("at the start").await?;
    let frame = syn_stream(1, &crate::probe::session::headers("error", "7000", "0"));
    let mut bytes = s.encoder.encode(&frame);
    if let Some(byte) = bytes.get_mut(8) {
        *byte |= 0x80;
    }
    let what = "SYN_STREAM 1 with the unused bit set";
    s.raw(what, &bytes).await?;
    // The judge reads ids without the bit: the answer is one for stream 1 in any case.
    let answer = crate::catalogue::spdy::answer_to(&mut s, 1, &format!("after {what}")).await?;
    Ok(answer)
}
