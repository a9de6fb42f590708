//! Transcripts of sessions with real peers, replayed without them.
//!
//! Two strengths. [`parse`]: the recorded bytes give the frames that the comments tell, however they
//! are split. [`reenact`]: our client goes through it again, against a peer that says what the real
//! one said; what it sends, and what comes out at the local sockets, must be what it was.
//! [`capture`] makes transcripts.

use std::{fmt, fs, path::Path};

use anyhow::{Context as _, bail, ensure};
use bytes::{Bytes, BytesMut};
use portforward::transcript::{Annotator, Direction, Transcript, What};
use ring::digest;
use spdy::{Data, Decoder, Frame, Limits};

pub mod capture;
mod carrier;
mod reenact;
mod view;

pub use reenact::{reenact, reenact_client_go};

/// How one forwarded connection ended; `Display` is a transcript's `expect` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Which connection, counted from 0.
    pub request: u64,
    /// The pod's port.
    pub port: u16,
    /// All that the local socket received.
    pub received: Vec<u8>,
    /// Its end: an end of file, or a reset and what the user was told.
    pub end: Result<(), String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            request,
            port,
            received,
            end,
        } = self;
        let length = received.len();
        let hash = hex(digest::digest(&digest::SHA256, received).as_ref());
        write!(
            f,
            "request {request} port {port}: {length} bytes, sha256 {hash}"
        )?;
        match end {
            Ok(()) => f.write_str(", then end"),
            Err(text) => write!(f, ", then reset: {text}"),
        }
    }
}

/// As a transcript has them.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
    let pair = |byte: &u8| [digit(byte >> 4), digit(byte & 0xf)];
    bytes.iter().flat_map(pair).collect()
}

/// Reads a transcript.
pub fn load(file: &Path) -> anyhow::Result<Transcript> {
    let shown = file.display();
    let source = fs::File::open(file).with_context(|| shown.to_string())?;
    Transcript::read(source).with_context(|| shown.to_string())
}

/// The events' bytes of one direction.
fn pieces(transcript: &Transcript, direction: Direction) -> impl Iterator<Item = &Bytes> {
    transcript
        .events
        .iter()
        .filter_map(move |event| match &event.what {
            What::Bytes(bytes) if event.direction == direction => Some(bytes),
            _ => None,
        })
}

/// Decodes, and joins the parts of each DATA frame.
#[derive(Debug)]
pub(crate) struct Frames {
    decoder: Decoder,
    input: BytesMut,
    data: BytesMut,
}

impl Frames {
    pub(crate) fn new() -> Self {
        Self {
            decoder: Decoder::new(Limits::default()),
            input: BytesMut::new(),
            data: BytesMut::new(),
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> anyhow::Result<Vec<Frame>> {
        self.input.extend_from_slice(bytes);
        let mut frames = Vec::new();
        while let Some(frame) = self.decoder.decode(&mut self.input)? {
            match frame {
                Frame::Data(part) => {
                    self.data.extend_from_slice(&part.payload);
                    if part.remaining == 0 {
                        let payload = self.data.split().freeze();
                        frames.push(Frame::Data(Data { payload, ..part }));
                    }
                }
                frame => frames.push(frame),
            }
        }
        Ok(frames)
    }
}

/// The weaker replay: both directions decode, at the recorded boundaries, byte by byte and in one
/// piece, to the same frames, and these are the ones in the comments. Gives their number.
pub fn parse(transcript: &Transcript) -> anyhow::Result<usize> {
    let mut count = 0;
    for direction in [Direction::ClientToServer, Direction::ServerToClient] {
        let decode = |pieces: &mut dyn Iterator<Item = &[u8]>| -> anyhow::Result<Vec<Frame>> {
            let mut frames = Frames::new();
            let mut all = Vec::new();
            for piece in pieces {
                all.extend(frames.push(piece)?);
            }
            Ok(all)
        };
        let whole: Vec<u8> = pieces(transcript, direction).flatten().copied().collect();
        let recorded = decode(&mut pieces(transcript, direction).map(|piece| &piece[..]))?;
        ensure!(
            recorded == decode(&mut whole.chunks(1))?,
            "{direction:?}: byte by byte, the frames are others"
        );
        ensure!(
            recorded == decode(&mut std::iter::once(&whole[..]))?,
            "{direction:?}: in one piece, the frames are others"
        );
        count += recorded.len();
    }
    let (mut annotator, mut slow) = (Annotator::new(), Annotator::new());
    for (number, event) in transcript.events.iter().enumerate() {
        let expected = &event.comments;
        let fast = annotator.comments(event.direction, &event.what);
        let slow: Vec<_> = match &event.what {
            What::Bytes(bytes) => bytes
                .chunks(1)
                .map(|byte| What::Bytes(Bytes::copy_from_slice(byte)))
                .flat_map(|what| slow.comments(event.direction, &what))
                .collect(),
            what => slow.comments(event.direction, what),
        };
        if fast != *expected || slow != *expected {
            bail!(
                "event {number}: the comments say {expected:?}, the bytes {fast:?}, \
                 byte by byte {slow:?}"
            );
        }
    }
    Ok(count)
}
