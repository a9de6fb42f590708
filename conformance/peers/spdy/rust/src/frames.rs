//! Frames and lines of JSON.

use std::{
    io::{BufRead as _, Read as _, Write as _},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use spdystream_rs::{Error, Frame, GoAwayStatus, RstStatus, frame::*, framer::Framer};
use tokio::io::{AsyncRead, ReadBuf};

use crate::Result;

/// Gives at most so many bytes per read.
struct Pieces(Vec<u8>, usize, usize);

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let Self(bytes, at, piece) = &mut *self;
        let n = to.remaining().min(*piece).min(bytes.len() - *at);
        to.put_slice(&bytes[*at..*at + n]);
        *at += n;
        Poll::Ready(Ok(()))
    }
}

fn pairs(headers: &HeaderMap) -> Value {
    let mut out = Map::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter();
        let values: Vec<_> = values
            .map(|v| String::from_utf8_lossy(v.as_bytes()))
            .collect();
        out.insert(name.to_string(), Value::from(values.join("\0")));
    }
    Value::Object(out)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn describe(frame: &Frame) -> Value {
    let fin = |flags: u8| flags & FLAG_FIN != 0;
    match frame {
        Frame::SynStream(f) => json!({"type": "SYN_STREAM", "id": f.stream_id,
            "associated": f.associated_stream_id, "priority": f.priority, "fin": fin(f.flags),
            "unidirectional": f.flags & FLAG_UNIDIRECTIONAL != 0, "headers": pairs(&f.headers)}),
        Frame::SynReply(f) => json!({"type": "SYN_REPLY", "id": f.stream_id, "fin": fin(f.flags),
            "headers": pairs(&f.headers)}),
        Frame::Headers(f) => json!({"type": "HEADERS", "id": f.stream_id, "fin": fin(f.flags),
            "headers": pairs(&f.headers)}),
        Frame::RstStream(f) => {
            json!({"type": "RST_STREAM", "id": f.stream_id, "status": f.status as u32})
        }
        Frame::Settings(f) => {
            let entries = f.settings.iter().map(|e| json!([e.flags, e.id, e.value]));
            json!({"type": "SETTINGS", "clear": fin(f.flags), "entries": entries.collect::<Vec<_>>()})
        }
        Frame::Ping(f) => json!({"type": "PING", "id": f.id}),
        Frame::GoAway(f) => {
            json!({"type": "GOAWAY", "last": f.last_good_stream_id, "status": f.status as u32})
        }
        Frame::WindowUpdate(f) => {
            json!({"type": "WINDOW_UPDATE", "id": f.stream_id, "delta": f.delta})
        }
        Frame::Data(f) => {
            json!({"type": "DATA", "id": f.stream_id, "fin": fin(f.flags), "data": hex(&f.data)})
        }
    }
}

pub(crate) async fn decode(chunk: Option<&String>) -> Result<()> {
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input)?;
    let piece = chunk.map_or(Ok(usize::MAX), |chunk| chunk.parse())?;
    let mut framer = Framer::new(tokio::io::sink(), Pieces(input, 0, piece));
    let mut out = std::io::stdout().lock();
    loop {
        match framer.read_frame().await {
            Ok(frame) => writeln!(out, "{}", describe(&frame))?,
            Err(Error::ConnectionClosed) => return Ok(()),
            Err(e) => {
                writeln!(out, "{}", json!({"error": e.to_string()}))?;
                return Ok(());
            }
        }
    }
}

fn number(line: &Value, field: &str) -> u32 {
    line[field]
        .as_u64()
        .and_then(|n| n.try_into().ok())
        .unwrap_or(0)
}

fn flag(line: &Value, field: &str, bit: u8) -> u8 {
    if line[field] == true { bit } else { 0 }
}

fn headers(line: &Value) -> Result<HeaderMap> {
    let mut out = HeaderMap::new();
    for (name, value) in line["headers"].as_object().into_iter().flatten() {
        let name = HeaderName::from_bytes(name.as_bytes())?;
        for value in value.as_str().unwrap_or_default().split('\0') {
            out.append(&name, HeaderValue::from_bytes(value.as_bytes())?);
        }
    }
    Ok(out)
}

fn frame(line: &Value) -> Result<Frame> {
    let stream_id = number(line, "id");
    let flags = flag(line, "fin", FLAG_FIN) | flag(line, "unidirectional", FLAG_UNIDIRECTIONAL);
    Ok(match line["type"].as_str().unwrap_or_default() {
        "SYN_STREAM" => Frame::SynStream(SynStreamFrame {
            stream_id,
            associated_stream_id: number(line, "associated"),
            priority: number(line, "priority").try_into()?,
            headers: headers(line)?,
            flags,
        }),
        "SYN_REPLY" => Frame::SynReply(SynReplyFrame {
            stream_id,
            headers: headers(line)?,
            flags,
        }),
        "HEADERS" => Frame::Headers(HeadersFrame {
            stream_id,
            headers: headers(line)?,
            flags,
        }),
        "RST_STREAM" => {
            let status = RstStatus::try_from(number(line, "status"));
            let status = status.map_err(|n| format!("no status {n}"))?;
            Frame::RstStream(RstStreamFrame { stream_id, status })
        }
        "SETTINGS" => {
            let part = |e: &Value, i: usize| e[i].as_u64().unwrap_or(0);
            let entries = line["entries"].as_array().into_iter().flatten();
            let settings = entries.map(|e| {
                Ok(Setting {
                    flags: part(e, 0).try_into()?,
                    id: part(e, 1).try_into()?,
                    value: part(e, 2).try_into()?,
                })
            });
            Frame::Settings(SettingsFrame {
                settings: settings.collect::<Result<_>>()?,
                flags: flag(line, "clear", FLAG_FIN),
            })
        }
        "PING" => Frame::Ping(PingFrame { id: stream_id }),
        "GOAWAY" => {
            let status = GoAwayStatus::try_from(number(line, "status"));
            Frame::GoAway(GoAwayFrame {
                last_good_stream_id: number(line, "last"),
                status: status.map_err(|n| format!("no status {n}"))?,
            })
        }
        "WINDOW_UPDATE" => Frame::WindowUpdate(WindowUpdateFrame {
            stream_id,
            delta: number(line, "delta"),
        }),
        "DATA" => {
            let digits = line["data"].as_str().unwrap_or_default();
            let bytes =
                (0..digits.len() / 2).map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16));
            Frame::Data(DataFrame {
                stream_id,
                flags,
                data: bytes.collect::<std::result::Result<Bytes, _>>()?,
            })
        }
        other => return Err(format!("cannot say {other}").into()),
    })
}

pub(crate) async fn encode() -> Result<()> {
    let mut out = Vec::new();
    let mut framer = Framer::new(&mut out, tokio::io::empty());
    for line in std::io::stdin().lock().lines() {
        framer
            .write_frame(&frame(&serde_json::from_str(&line?)?)?)
            .await?;
    }
    drop(framer);
    std::io::stdout().write_all(&out)?;
    Ok(())
}
