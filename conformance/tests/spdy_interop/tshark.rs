//! Wireshark's dissector on bytes of ours: each frame is found, each field is right, and nothing is marked
//! as malformed but what is listed here.

use std::{collections::BTreeMap, fs, process::Command};

use anyhow::{Context as _, ensure};
use conformance::peers::Peer;
use spdy::Frame;
use tempfile::TempDir;

use crate::frames::{self, Case, ENCODINGS, cases, hex};

/// The acceptor's port; the opener's is another.
const PORT: u16 = 6121;
/// Bytes of a segment at most.
const SEGMENT: usize = 16_000;
/// Between several values of one field: in none of the list.
const UNIT: &str = "\u{1f}";

const FIELDS: [&str; 19] = [
    "spdy.type",
    "spdy.flags",
    "spdy.length",
    "spdy.streamid",
    "spdy.associated.streamid",
    "spdy.priority",
    "spdy.slot",
    "spdy.header.name",
    "spdy.header.value",
    "spdy.rst_stream_status",
    "spdy.setting.id",
    "spdy.setting.value",
    "spdy.ping_id",
    "spdy.goaway_last_good_stream_id",
    "spdy.goaway_status",
    "spdy.window_update_delta",
    "spdy.data",
    "_ws.expert.message",
    "_ws.malformed",
];

/// What it says of one frame: fields that are there.
type Row = BTreeMap<&'static str, String>;

/// Appends one packet: raw IPv4, TCP, without checksums.
fn packet(file: &mut Vec<u8>, ports: [u16; 2], seq: u32, payload: &[u8]) -> anyhow::Result<()> {
    let length = u16::try_from(40 + payload.len())?;
    file.extend_from_slice(&[0; 8]);
    file.extend_from_slice(&u32::from(length).to_le_bytes());
    file.extend_from_slice(&u32::from(length).to_le_bytes());
    let [high, low] = length.to_be_bytes();
    file.extend_from_slice(&[0x45, 0, high, low, 0, 0, 0, 0, 64, 6, 0, 0]);
    file.extend_from_slice(&[127, 0, 0, 1, 127, 0, 0, 1]);
    for port in ports {
        file.extend_from_slice(&port.to_be_bytes());
    }
    file.extend_from_slice(&seq.to_be_bytes());
    // Acknowledges the first byte; ACK and PSH.
    file.extend_from_slice(&[0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
    file.extend_from_slice(payload);
    Ok(())
}

/// The capture file: each frame in segments of its own.
fn capture(directions: [(&[u8], [u16; 2]); 2]) -> anyhow::Result<Vec<u8>> {
    let mut file = Vec::new();
    file.extend_from_slice(&0xa1b2_c3d4_u32.to_le_bytes());
    file.extend_from_slice(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file.extend_from_slice(&0xffff_u32.to_le_bytes());
    // Raw IP.
    file.extend_from_slice(&101_u32.to_le_bytes());
    for (mut bytes, ports) in directions {
        let mut seq = 1;
        while let Some(head) = bytes.first_chunk::<8>() {
            let length = u32::from_be_bytes([0, head[5], head[6], head[7]]);
            let (frame, rest) = bytes.split_at(8 + usize::try_from(length)?);
            for segment in frame.chunks(SEGMENT) {
                packet(&mut file, ports, seq, segment)?;
                seq += u32::try_from(segment.len())?;
            }
            bytes = rest;
        }
    }
    Ok(file)
}

/// Whether the acceptor sends it. The dissector has one inflater for SYN_STREAM with odd ids and one for all
/// other header blocks, whoever sends them: HEADERS are right only from the acceptor.
fn is_answer(frame: &Frame) -> bool {
    match frame {
        Frame::SynStream(syn) => !syn.id.is_client(),
        Frame::SynReply(_) | Frame::Headers(_) => true,
        _ => false,
    }
}

fn expected(case: &Case, length: u32) -> Row {
    let mut row = Row::new();
    let flag = |fin: bool, other: bool| u8::from(fin) | u8::from(other) << 1;
    let mut flags = vec![0];
    let mut block = None;
    let mut put = |field, value: u32| row.insert(field, value.to_string());
    put("spdy.length", length);
    match &case.frame {
        Frame::SynStream(f) => {
            put("spdy.type", 1);
            put("spdy.streamid", f.id.get());
            put("spdy.associated.streamid", f.associated);
            put("spdy.priority", f.priority.into());
            put("spdy.slot", f.slot.into());
            flags = vec![flag(f.fin, f.unidirectional)];
            block = Some(&f.headers);
        }
        Frame::SynReply(f) => {
            put("spdy.type", 2);
            put("spdy.streamid", f.id.get());
            flags = vec![flag(f.fin, false)];
            block = Some(&f.headers);
        }
        Frame::Headers(f) => {
            put("spdy.type", 8);
            put("spdy.streamid", f.id.get());
            flags = vec![flag(f.fin, false)];
            block = Some(&f.headers);
        }
        Frame::RstStream(f) => {
            put("spdy.type", 3);
            put("spdy.streamid", f.id.get());
            put("spdy.rst_stream_status", f.status.get());
        }
        Frame::Settings(f) => {
            put("spdy.type", 4);
            flags = vec![flag(f.clear, false)];
            flags.extend(f.entries.iter().map(|e| e.flags));
            let ids = f.entries.iter().map(|e| e.id.to_string());
            let values = f.entries.iter().map(|e| e.value.to_string());
            row.insert("spdy.setting.id", ids.collect::<Vec<_>>().join(UNIT));
            row.insert("spdy.setting.value", values.collect::<Vec<_>>().join(UNIT));
        }
        Frame::Ping(f) => {
            put("spdy.type", 6);
            put("spdy.ping_id", f.id);
        }
        Frame::GoAway(f) => {
            put("spdy.type", 7);
            put("spdy.goaway_last_good_stream_id", f.last_good);
            put("spdy.goaway_status", f.status.get());
        }
        Frame::WindowUpdate(f) => {
            put("spdy.type", 9);
            put("spdy.streamid", f.id);
            put("spdy.window_update_delta", f.delta);
        }
        Frame::Data(f) => {
            put("spdy.streamid", f.id.get());
            flags = vec![flag(f.fin, false)];
            let empty = f.payload.is_empty();
            let data = if empty {
                "<MISSING>".to_owned()
            } else {
                hex(&f.payload)
            };
            row.insert("spdy.data", data);
        }
        _ => {}
    }
    let flags = flags.iter().map(|f| format!("0x{f:02x}"));
    row.insert("spdy.flags", flags.collect::<Vec<_>>().join(UNIT));
    if let Some(block) = block {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let names: Vec<_> = block.iter().map(|(n, _)| text(n)).collect();
        let values: Vec<_> = block.iter().map(|(_, v)| text(v)).collect();
        row.insert("spdy.header.name", names.join(UNIT));
        row.insert("spdy.header.value", values.join(UNIT));
    }
    quirks(case, &mut row);
    row.retain(|_, value| !value.is_empty());
    row
}

/// Where it says something else.
fn quirks(case: &Case, row: &mut Row) {
    let mut values = |from: &str, to: &str| {
        if let Some(value) = row.get_mut("spdy.header.value") {
            *value = value.replace(from, to);
        }
    };
    match case.name.as_str() {
        // Strings end at a 0 byte for it.
        "block several values" => values("one\0two\0three", "one"),
        // It takes values for ASCII.
        "block not ascii" => values("ü", "\u{fffd}\u{fffd}"),
        // Not in its table, as it is not in the draft's; real peers take it.
        "reset 99" => {
            let why = "Invalid status code for RST_STREAM: 99".to_owned();
            row.insert("_ws.expert.message", why);
        }
        // Its table has 11 for INTERNAL_ERROR, as draft 3 had; in 3.1 it is 2.
        "goaway 2" => {
            let why = "Invalid status code for GOAWAY: 2".to_owned();
            row.insert("_ws.expert.message", why);
        }
        _ => {}
    }
}

#[test]
fn dissects_all_frames() -> anyhow::Result<()> {
    let Some(program) = Peer::Tshark.find("dissects_all_frames")? else {
        return Ok(());
    };
    let list = cases();
    let (answers, rest): (Vec<_>, Vec<_>) = list.iter().partition(|c| is_answer(&c.frame));
    let directory = TempDir::new()?;
    for encoding in ENCODINGS {
        let bytes = |cases: &[&Case]| frames::encode(encoding, cases.iter().map(|c| &c.frame));
        let (opener, acceptor) = (bytes(&rest)?, bytes(&answers)?);
        let file = directory.path().join("capture");
        let there = (&opener[..], [40_000, PORT]);
        let back = (&acceptor[..], [PORT, 40_000]);
        fs::write(&file, capture([there, back])?)?;
        let mut command = Command::new(&program);
        command.arg("-r").arg(&file);
        command.args(["-d", &format!("tcp.port=={PORT},spdy"), "-Y", "spdy"]);
        command.args(["-T", "fields", "-E", "separator=/t", "-E"]);
        command.arg(format!("aggregator={UNIT}"));
        for field in FIELDS {
            command.args(["-e", field]);
        }
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "tshark: {said}");
        let text = String::from_utf8(output.stdout)?;
        let mut rows = text.lines();
        let lengths = lengths(&opener).chain(lengths(&acceptor));
        for (case, length) in rest.iter().chain(&answers).zip(lengths) {
            let row = rows
                .next()
                .with_context(|| format!("nothing of {}", case.name))?;
            let found: Row = FIELDS
                .into_iter()
                .zip(row.split('\t'))
                .filter(|(_, value)| !value.is_empty())
                .map(|(field, value)| (field, value.to_owned()))
                .collect();
            let wanted = expected(case, length);
            for field in FIELDS {
                let (found, wanted) = (found.get(field), wanted.get(field));
                ensure!(
                    found == wanted,
                    "{encoding:?}, {}, {field}: {found:.300?} instead of {wanted:.300?}",
                    case.name
                );
            }
        }
        ensure!(rows.next().is_none(), "more than we sent");
    }
    Ok(())
}

/// The lengths of the frames.
fn lengths(mut bytes: &[u8]) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let head = bytes.first_chunk::<8>()?;
        let length = u32::from_be_bytes([0, head[5], head[6], head[7]]);
        bytes = bytes.get(8 + usize::try_from(length).ok()?..)?;
        Some(length)
    })
}
