//! Which frames an event completes, in words.

use super::{Direction, What};
use crate::escape;
use bytes::BytesMut;
use spdy::{Decoder, Frame, HeaderBlock, Limits};
use std::fmt::Write as _;

/// Bytes of a DATA frame that are shown.
const SHOWN: usize = 32;

/// Writes the comment lines of events, which must come in order.
#[derive(Debug)]
pub struct Annotator {
    client: Side,
    server: Side,
}

#[derive(Debug)]
struct Side {
    decoder: Decoder,
    input: BytesMut,
    /// A DATA frame that is not whole: bytes so far, and the first of them.
    partial: (usize, Vec<u8>),
    failed: bool,
}

impl Default for Annotator {
    fn default() -> Self {
        Self::new()
    }
}

impl Annotator {
    /// At the beginning of a transcript.
    #[must_use]
    pub fn new() -> Self {
        let side = || Side {
            decoder: Decoder::new(Limits::default()),
            input: BytesMut::new(),
            partial: (0, Vec::new()),
            failed: false,
        };
        Self {
            client: side(),
            server: side(),
        }
    }

    /// The comments of the next event.
    pub fn comments(&mut self, direction: Direction, what: &What) -> Vec<String> {
        let side = match direction {
            Direction::ClientToServer => &mut self.client,
            Direction::ServerToClient => &mut self.server,
        };
        let mut out = Vec::new();
        match what {
            What::Bytes(bytes) => side.bytes(bytes, &mut out),
            What::End if side.is_inside_frame() => out.push("cut inside a frame".to_owned()),
            What::End | What::Head(_) | What::Failed(_) => {}
        }
        out
    }
}

impl Side {
    fn is_inside_frame(&self) -> bool {
        let between = self.decoder.is_between_frames() && self.input.is_empty();
        !self.failed && !between
    }

    fn bytes(&mut self, bytes: &[u8], out: &mut Vec<String>) {
        if self.failed {
            return;
        }
        self.input.extend_from_slice(bytes);
        loop {
            match self.decoder.decode(&mut self.input) {
                Ok(Some(frame)) => out.extend(self.frame(&frame)),
                Ok(None) => return,
                Err(error) => {
                    self.failed = true;
                    self.input = BytesMut::new();
                    out.push(escape::line(&format!("cannot be decoded: {error}")));
                    return;
                }
            }
        }
    }

    fn frame(&mut self, frame: &Frame) -> Option<String> {
        Some(match frame {
            Frame::Data(data) => {
                let (count, first) = &mut self.partial;
                *count = count.saturating_add(data.payload.len());
                let room = SHOWN.saturating_sub(first.len());
                first.extend(data.payload.iter().take(room));
                if data.remaining > 0 {
                    return None;
                }
                let (count, first) = std::mem::take(&mut self.partial);
                let more = if count > first.len() { "..." } else { "" };
                let text = escape::line(&escape::bytes(&first));
                let fin = fin(data.fin);
                format!("DATA {}{fin}: {count} bytes \"{text}\"{more}", data.id)
            }
            Frame::SynStream(f) => {
                let mut text = format!("SYN_STREAM {}{}", f.id, fin(f.fin));
                // Always so in Kubernetes, so told only if not.
                if f.unidirectional || f.associated != 0 || f.priority != 0 || f.slot != 0 {
                    // Writing to a String cannot fail.
                    let _ok = write!(
                        text,
                        " unidirectional={} associated={} priority={} slot={}",
                        f.unidirectional, f.associated, f.priority, f.slot
                    );
                }
                text + &headers(&f.headers)
            }
            Frame::SynReply(f) => {
                format!("SYN_REPLY {}{}{}", f.id, fin(f.fin), headers(&f.headers))
            }
            Frame::Headers(f) => {
                format!("HEADERS {}{}{}", f.id, fin(f.fin), headers(&f.headers))
            }
            Frame::RstStream(f) => format!("RST_STREAM {}: {}", f.id, f.status),
            Frame::GoAway(f) => format!("GOAWAY last {}: {}", f.last_good, f.status),
            Frame::Ping(f) => format!("PING {}", f.id),
            Frame::WindowUpdate(f) => format!("WINDOW_UPDATE {}: {} bytes", f.id, f.delta),
            Frame::Settings(f) => format!("SETTINGS: {} entries", f.entries.len()),
            Frame::Unknown(f) => format!("type {}: {} bytes", f.kind, f.length),
            _ => "a frame of another kind".to_owned(),
        })
    }
}

const fn fin(fin: bool) -> &'static str {
    if fin { " fin" } else { "" }
}

/// Bytes of a header block that are shown: real ones are far shorter, and a hostile one must not
/// make comments of hundreds of megabytes.
const BLOCK_SHOWN: usize = 1024;

fn headers(block: &HeaderBlock) -> String {
    let mut text = String::new();
    let mut room = BLOCK_SHOWN;
    for (i, (name, value)) in block.iter().enumerate() {
        let lead = if i == 0 { ": " } else { " " };
        let size = name.len().saturating_add(value.len());
        if size > room {
            text.push_str(lead);
            text.push_str("...");
            break;
        }
        room = room.saturating_sub(size);
        let show = |bytes| escape::line(&escape::bytes(bytes));
        let _ok = write!(text, "{lead}{}=\"{}\"", show(name), show(value));
    }
    text
}
