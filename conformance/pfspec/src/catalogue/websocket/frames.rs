//! `ws/frame/`, `ws/control/`: frames, right and wrong.

use super::line::Line;
use super::{ALL, BOTH};
use crate::case::{Case, OK, Outcome, Stop, Tag, Way};
use crate::probe::log::{Layer, Side};
use crate::probe::websocket::{BINARY, CONTINUATION, LAST, PING, PONG, frame, frame_in_form};
use crate::run;
use crate::trial::Trial;

const RESERVED: [u8; 3] = [0x40, 0x20, 0x10];

pub(in crate::catalogue) const CASES: &[Case] = &[
    Case::must(
        "ws/frame/server-does-not-mask",
        "Frames of the server are not masked, and have no reserved bits",
        &["10.7", "10.6"],
        run!(server_frames),
    )
    .over(ALL)
    .why("Clients end the connection on a masked frame.")
    .sends("Bytes to the echo, and PING.")
    .accepts("Frames without mask and reserved bits, lengths in their shortest form."),
    Case::must(
        "ws/frame/server-uses-shortest-length",
        "The server writes a length in its shortest form",
        &["10.9"],
        run!(server_lengths),
    )
    .over(ALL)
    .why("RFC 6455 section 5.2 asks for it, and strict libraries refuse other forms.")
    .sends("1 to 70 000 bytes to the echo.")
    .accepts("The bytes, in frames whose length takes no more bytes than needed."),
    Case::must(
        "ws/frame/lengths",
        "Lengths in each of the three forms are understood",
        &["10.9"],
        run!(lengths),
    )
    .over(BOTH)
    .why("The borders of the forms are where framing goes wrong.")
    .sends("Messages of 20, 125, 126, 127, 128, 65 535, 65 536 and 100 000 bytes to the echo.")
    .accepts("The bytes back."),
    Case::must(
        "ws/frame/byte-by-byte",
        "A frame may arrive byte by byte",
        &["10.9"],
        run!(byte_by_byte),
    )
    .over(ALL)
    .why("Proxies and TLS cut frames anywhere, within the length and the mask too.")
    .sends("Frames with 7-bit and 16-bit lengths, each byte in a write of its own.")
    .accepts("The bytes back."),
    Case::must(
        "ws/frame/joined",
        "Several frames may arrive at once",
        &["10.9"],
        run!(joined),
    )
    .over(ALL)
    .why("kubectl writes eight frames for one SYN_STREAM.")
    .sends("Ten messages and a PING between them, in one write.")
    .accepts("All bytes back in order, and the PONG."),
    Case::must(
        "ws/control/ping",
        "PING is answered by PONG with the same payload",
        &["10.10"],
        run!(ping),
    )
    .over(ALL)
    .why("Client libraries and load balancers take a missing PONG for a dead connection.")
    .sends("PING without payload, with 1 byte and with 20.")
    .accepts("A PONG for each, with its payload; bytes behind pass."),
    Case::must(
        "ws/control/longest-ping",
        "A PING of 125 bytes is answered in one frame",
        &["10.10", "10.12"],
        run!(longest_ping),
    )
    .over(ALL)
    .why("125 bytes are the most that a control frame may have.")
    .sends("PING with 125 random bytes.")
    .accepts("PONG with them."),
    Case::must(
        "ws/control/many-pings",
        "The latest of many PINGs is answered",
        &["10.10"],
        run!(many_pings),
    )
    .over(ALL)
    .why("A client that pings by a timer sends several before it reads.")
    .sends("20 PINGs and bytes to the echo, in one write.")
    .accepts("The bytes back, and a PONG for the last PING; those before it may be left out."),
    Case::must(
        "ws/control/unasked-pong",
        "A PONG that nobody asked for is ignored",
        &["10.10"],
        run!(unasked_pong),
    )
    .over(ALL)
    .why("Some clients send it as a heartbeat: RFC 6455 section 5.5.3 allows it.")
    .sends("PONG, empty and with 10 bytes.")
    .accepts("Bytes behind it pass."),
    Case::must(
        "ws/control/ping-between-fragments",
        "A PING between fragments is answered and does not disturb",
        &["10.11"],
        run!(between_fragments),
    )
    .over(&[Way::Tunnel])
    .why("A heartbeat comes when its timer says, whatever is being sent.")
    .sends("A message in three fragments, with PING and PONG between them.")
    .accepts("The PONG before the last fragment was sent, and the bytes back."),
    Case::should(
        "ws/frame/unmasked",
        "An unmasked frame ends the connection with 1002",
        &["10.8"],
        run!(unmasked),
    )
    .over(BOTH)
    .tags(&[Tag::Security])
    .why("Masks keep a browser's script from writing bytes of its choice through a proxy.")
    .sends("A message to the echo without mask.")
    .accepts("Close 1002, and nothing of the message back."),
    Case::should(
        "ws/frame/reserved-bits",
        "A reserved bit ends the connection",
        &["14.13"],
        run!(reserved_bits),
    )
    .over(BOTH)
    .why("Such a bit says that the payload is not what it seems, for example compressed.")
    .sends("A message to the echo with RSV1; RSV2 and RSV3 on connections of their own.")
    .accepts("The end of the connection."),
    Case::should(
        "ws/frame/undefined-opcodes",
        "An undefined opcode ends the connection",
        &["14.13"],
        run!(undefined_opcodes),
    )
    .over(BOTH)
    .why("Nobody knows what such a frame means; taken for data it corrupts them.")
    .sends("Frames with opcodes 3, 7, 11 and 15, each on a connection of its own.")
    .accepts("The end of the connection."),
    Case::should(
        "ws/frame/fragmented-ping",
        "A fragmented control frame ends the connection",
        &["14.13"],
        run!(fragmented_ping),
    )
    .over(BOTH)
    .why("Control frames are answered as they come; there is no place for their fragments.")
    .sends("PING without FIN.")
    .accepts("The end of the connection."),
    Case::should(
        "ws/frame/long-ping",
        "A control frame of more than 125 bytes ends the connection",
        &["14.13"],
        run!(long_ping),
    )
    .over(BOTH)
    .tags(&[Tag::Security])
    .why("Control frames are kept whole in memory.")
    .sends("PING with 126 bytes.")
    .accepts("The end of the connection."),
    Case::should(
        "ws/frame/stray-continuation",
        "A continuation of nothing ends the connection",
        &["14.13"],
        run!(stray_continuation),
    )
    .over(BOTH)
    .why("Bytes whose beginning is missing must not become data.")
    .sends("A continuation frame where no message is on its way.")
    .accepts("The end of the connection."),
    Case::should(
        "ws/frame/message-within-message",
        "A new message within fragments ends the connection",
        &["14.13"],
        run!(message_within_message),
    )
    .over(BOTH)
    .why("The end of the first message is missing; to go on would hide the loss.")
    .sends("A first fragment, then a whole message.")
    .accepts("The end of the connection."),
    Case::should(
        "ws/frame/length-of-64-bits",
        "A length with its top bit set ends the connection",
        &["14.12"],
        run!(top_bit),
    )
    .over(BOTH)
    .tags(&[Tag::Hostile, Tag::Security])
    .why("CVE-2020-27813: such a length was taken for a negative number.")
    .sends("A frame that declares 2^63 + 1 bytes.")
    .accepts("The end of the connection."),
];

async fn server_frames(t: &mut Trial) -> Outcome {
    let mut line = Line::open(t).await?;
    line.echo(&t.dice.bytes(300), "behind the handshake")
        .await?;
    line.frame(LAST | PING, b"?").await?;
    // The judge's reader takes masks and reserved bits for the end.
    line.ponged(b"?").await?;
    OK
}

async fn server_lengths(t: &mut Trial) -> Outcome {
    let mut line = Line::open(t).await?;
    for length in [1, 120, 130, 5000, 70_000] {
        line.echo(&t.dice.bytes(length), "of any length").await?;
    }
    let long = line.websocket().map(|w| w.long_forms.clone());
    match long.unwrap_or_default().first() {
        None => OK,
        Some(text) => Err(Stop::departure(
            "lengths in their shortest form",
            format!("a longer form: {text}"),
        )),
    }
}

async fn lengths(t: &mut Trial) -> Outcome {
    let mut line = Line::open(t).await?;
    for length in [20, 125, 126, 127, 128, 65_535, 65_536, 100_000] {
        let bytes = t.dice.bytes(length - line.overhead());
        line.echo(&bytes, &format!("of a message of {length} bytes"))
            .await?;
    }
    OK
}

async fn byte_by_byte(t: &mut Trial) -> Outcome {
    let mut line = Line::open(t).await?;
    let mut all = Vec::new();
    for length in [40, 300] {
        let bytes = t.dice.bytes(length);
        let (first, payload) = line.message(&bytes);
        let wire = frame(first, true, &payload);
        let what = format!("a message of {} bytes, byte by byte", payload.len());
        let connection = line.connection();
        connection.item(Side::Judge, Layer::WebSocket, what, &wire);
        for byte in wire {
            connection.write(&[byte]).await?;
        }
        all.extend(bytes);
    }
    line.expect(&all, "whose frames came byte by byte").await?;
    OK
}

async fn joined(t: &mut Trial) -> Outcome {
    let mut line = Line::open(t).await?;
    let (mut all, mut wire) = (Vec::new(), Vec::new());
    for number in 0..10u8 {
        let length = t.dice.size(1, 400);
        let bytes = t.dice.bytes(length);
        let (first, payload) = line.message(&bytes);
        wire.extend(frame(first, true, &payload));
        if number == 4 {
            wire.extend(frame(LAST | PING, true, b"between"));
        }
        all.extend(bytes);
    }
    line.raw("ten messages and PING", &wire).await?;
    line.expect(&all, "whose frames came at once").await?;
    line.ponged(b"between").await?;
    OK
}

async fn ping(t: &mut Trial) -> Outcome {
    let mut line = Line::open(t).await?;
    for length in [0, 1, 20] {
        let payload = t.dice.bytes(length);
        line.frame(LAST | PING, &payload).await?;
        line.ponged(&payload).await?;
    }
    line.echo(b"behind", "behind PING").await?;
    OK
}

async fn longest_ping(t: &mut Trial) -> Outcome {
    let mut line = Line::open(t).await?;
    let payload = t.dice.bytes(125);
    line.frame(LAST | PING, &payload).await?;
    line.ponged(&payload).await?;
    line.echo(b"behind", "behind PING").await?;
    OK
}

async fn many_pings(t: &mut Trial) -> Outcome {
    let mut line = Line::open(t).await?;
    let mut wire = Vec::new();
    for number in 1..=20u8 {
        wire.extend(frame(LAST | PING, true, &[number]));
    }
    let (first, payload) = line.message(b"behind");
    wire.extend(frame(first, true, &payload));
    line.raw("20 PINGs and a message", &wire).await?;
    line.ponged(&[20]).await?;
    line.expect(b"behind", "behind 20 PINGs").await?;
    OK
}

async fn unasked_pong(t: &mut Trial) -> Outcome {
    let mut line = Line::open(t).await?;
    for payload in [&b""[..], b"0123456789"] {
        line.frame(LAST | PONG, payload).await?;
        line.echo(b"behind", "behind an unasked PONG").await?;
    }
    OK
}

async fn between_fragments(t: &mut Trial) -> Outcome {
    let mut line = Line::open(t).await?;
    let bytes = t.dice.bytes(3000);
    let (_, payload) = line.message(&bytes);
    let mut parts = payload.chunks(1003);
    line.frame(BINARY, parts.next().unwrap_or_default()).await?;
    line.frame(LAST | PING, b"first").await?;
    line.ponged(b"first").await?;
    line.frame(CONTINUATION, parts.next().unwrap_or_default())
        .await?;
    line.frame(LAST | PONG, b"unasked").await?;
    line.frame(LAST | PING, b"second").await?;
    line.ponged(b"second").await?;
    line.frame(LAST | CONTINUATION, parts.next().unwrap_or_default())
        .await?;
    line.expect(&bytes, "with PINGs between its fragments")
        .await?;
    OK
}

async fn unmasked(t: &mut Trial) -> Outcome {
    let mut line = Line::open(t).await?;
    let (first, payload) = line.message(b"unmasked");
    line.raw("an unmasked message", &frame(first, false, &payload))
        .await?;
    let end = line.end("after an unmasked frame").await?;
    if !matches!(end, crate::probe::connection::End::Close(1002, _)) {
        return Err(Stop::departure(
            "Close 1002 after an unmasked frame",
            end.to_string(),
        ));
    }
    if !line.empty() {
        return Err(Stop::departure(
            "nothing of the unmasked message",
            "its bytes back from the echo",
        ));
    }
    OK
}

/// Each of these bytes ends the connection.
async fn fatal(t: &Trial, what: &str, bytes: &[u8]) -> Result<(), Stop> {
    let mut line = Line::open(t).await?;
    line.raw(what, bytes).await?;
    // What hides it as the beginning of something longer is over with this.
    let (first, payload) = line.message(b"and behind");
    line.raw("a message", &frame(first, true, &payload)).await?;
    line.end_not_echo(b"and behind", &format!("after {what}"))
        .await?;
    Ok(())
}

async fn reserved_bits(t: &mut Trial) -> Outcome {
    for bit in RESERVED {
        // Channel 0 for channels, the beginning of a frame for the tunnel.
        let bytes = frame(LAST | BINARY | bit, true, &[0, 0, 0, 1, 0, 0, 0, 0]);
        fatal(t, &format!("the reserved bit {bit:#04x}"), &bytes).await?;
    }
    OK
}

async fn undefined_opcodes(t: &mut Trial) -> Outcome {
    for opcode in [3, 7, 11, 15] {
        let bytes = frame(LAST | opcode, true, &[0, 0, 0, 1, 0, 0, 0, 0]);
        fatal(t, &format!("opcode {opcode}"), &bytes).await?;
    }
    OK
}

async fn fragmented_ping(t: &mut Trial) -> Outcome {
    fatal(t, "PING without FIN", &frame(PING, true, b"a part")).await?;
    OK
}

async fn long_ping(t: &mut Trial) -> Outcome {
    let bytes = frame_in_form(LAST | PING, true, 2, &[b'a'; 126]);
    fatal(t, "PING with 126 bytes", &bytes).await?;
    OK
}

async fn stray_continuation(t: &mut Trial) -> Outcome {
    let bytes = frame(LAST | CONTINUATION, true, &[0, 0, 0, 1, 0, 0, 0, 0]);
    fatal(t, "a continuation of nothing", &bytes).await?;
    OK
}

async fn message_within_message(t: &mut Trial) -> Outcome {
    let bytes = frame(BINARY, true, &[0, 0, 0, 1]);
    fatal(t, "a first fragment without the others", &bytes).await?;
    OK
}

async fn top_bit(t: &mut Trial) -> Outcome {
    let mut bytes = vec![LAST | BINARY, 0xff];
    bytes.extend(((1u64 << 63) + 1).to_be_bytes());
    bytes.extend([1, 2, 3, 4]);
    fatal(t, "a length of 2^63 + 1", &bytes).await?;
    OK
}
