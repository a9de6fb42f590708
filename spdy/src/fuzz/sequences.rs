//! Sequences of frames, mostly right, written without our encoder: it could not say what is wrong.

use super::Input;
use crate::{DICTIONARY, StreamId};
use flate2::{Compress, Compression, FlushCompress};

const MOST_SEQUENCES: usize = 1000;
const MOST_BYTES: usize = 4 << 20;
/// A sequence ends behind the frame that reaches it. The judge takes twice as many bytes.
const LONG: usize = 128 << 10;
const MOST_RAW: usize = 2000;

/// The control frames with their numbers.
pub(super) const KINDS: [(&str, u16); 8] = [
    ("SYN_STREAM", 1),
    ("SYN_REPLY", 2),
    ("RST_STREAM", 3),
    ("SETTINGS", 4),
    ("PING", 6),
    ("GOAWAY", 7),
    ("HEADERS", 8),
    ("WINDOW_UPDATE", 9),
];

/// Names that come often, none of which ends a connection.
pub(super) const NAMES: [&str; 12] = [
    "streamtype",
    "port",
    "requestid",
    ":status",
    ":version",
    "x-stream-protocol-version",
    "a b",
    "content-type",
    "1",
    "",
    "x_y",
    "~",
];

/// Names that end a connection somewhere.
pub(super) const WRONG: [&[u8]; 12] = [
    b"Port",
    b"porT",
    b"host",
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"transfer-encoding",
    "z\u{fc}rich".as_bytes(),
    "Z\u{dc}RICH".as_bytes(),
    "z\u{dc}rich".as_bytes(),
    b"not utf-8 \xff",
    b"\0",
];

/// One direction of a connection.
pub(super) struct Sequence {
    pub(super) bytes: Vec<u8>,
    /// Something may be wrong with it; otherwise everybody has to take all of it.
    pub(super) odd: bool,
    /// Frames in it, if it is not odd.
    pub(super) frames: usize,
}

/// What a length field says beside what is there.
#[derive(Clone, Copy)]
pub(super) enum Length {
    Right,
    /// So much more, and nothing is there for it.
    Off(i32),
    Max,
}

/// A frame before it is bytes.
pub(super) struct Draft {
    /// The first word: version and type, or a stream id.
    pub(super) first: u32,
    pub(super) flags: u8,
    pub(super) body: Vec<u8>,
    pub(super) length: Length,
}

impl Draft {
    pub(super) fn control(kind: u16, flags: u8, body: Vec<u8>) -> Self {
        Self {
            first: 0x8003_0000 | u32::from(kind),
            flags,
            body,
            length: Length::Right,
        }
    }

    pub(super) fn data(id: u32, flags: u8, body: Vec<u8>) -> Self {
        Self {
            first: id,
            flags,
            body,
            length: Length::Right,
        }
    }
}

/// Words behind each other.
pub(super) fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A header block before it is compressed.
pub(super) fn plain<N: AsRef<[u8]>, V: AsRef<[u8]>>(pairs: &[(N, V)]) -> Vec<u8> {
    let mut plain = words(&[size(pairs.len())]);
    for (name, value) in pairs {
        for field in [name.as_ref(), value.as_ref()] {
            plain.extend(size(field.len()).to_be_bytes());
            plain.extend(field);
        }
    }
    plain
}

fn size(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Bytes of one direction, with its compression context.
pub(super) struct Writer {
    level: u32,
    dictionary: bool,
    /// Made for the first block: without one it is most of the work.
    zlib: Option<Compress>,
    out: Vec<u8>,
    frames: usize,
    odd: bool,
}

impl Writer {
    /// Level 0 stores.
    pub(super) fn new(level: u32, dictionary: bool) -> Self {
        Self {
            level,
            dictionary,
            zlib: None,
            out: Vec::new(),
            frames: 0,
            odd: false,
        }
    }

    pub(super) fn pack(&mut self, plain: &[u8], flush: FlushCompress) -> Vec<u8> {
        let zlib = self.zlib.get_or_insert_with(|| {
            let mut zlib = Compress::new(Compression::new(self.level.min(9)), true);
            if self.dictionary {
                drop(zlib.set_dictionary(DICTIONARY));
            }
            zlib
        });
        // Room for stored pieces and for the end, so that once is enough.
        let mut packed = Vec::with_capacity(plain.len().saturating_mul(2).saturating_add(4096));
        drop(zlib.compress_vec(plain, &mut packed, flush));
        packed
    }

    /// The block as everybody takes it.
    pub(super) fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, pairs: &[(N, V)]) -> Vec<u8> {
        self.pack(&plain(pairs), FlushCompress::Sync)
    }

    pub(super) fn put(&mut self, draft: &Draft) {
        let length = size(draft.body.len());
        let length = match draft.length {
            Length::Right => length,
            Length::Off(by) => length.saturating_add_signed(by),
            Length::Max => 0xff_ffff,
        };
        self.out.extend(draft.first.to_be_bytes());
        self.out
            .extend((u32::from(draft.flags) << 24 | length & 0xff_ffff).to_be_bytes());
        self.out.extend(&draft.body);
        self.frames += 1;
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.out
    }
}

/// Sequences until `data` has run out.
pub(super) fn batch(data: &[u8]) -> Vec<Sequence> {
    let mut input = Input(data);
    let (mut batch, mut total) = (Vec::new(), 0);
    while !input.is_empty() && batch.len() < MOST_SEQUENCES && total < MOST_BYTES {
        let sequence = sequence(&mut input);
        total += sequence.bytes.len();
        batch.push(sequence);
    }
    batch
}

fn sequence(input: &mut Input<'_>) -> Sequence {
    let how = input.byte();
    if how % 16 == 15 {
        let n = input.below(MOST_RAW);
        return Sequence {
            bytes: input.bytes(n).to_vec(),
            odd: true,
            frames: 0,
        };
    }
    let mut writer = Writer::new(u32::from(input.byte() % 10), how & 0x70 != 0);
    // A quarter is left right.
    writer.odd = !how.is_multiple_of(4);
    for _ in 0..=input.byte() % 24 {
        if input.is_empty() || writer.out.len() >= LONG {
            break;
        }
        frame(&mut writer, input);
    }
    if writer.odd && input.byte() < 16 {
        let most = writer.out.len().min(40);
        let kept = writer.out.len() - input.below(most + 1);
        writer.out.truncate(kept);
    }
    Sequence {
        odd: writer.odd,
        frames: writer.frames,
        bytes: writer.out,
    }
}

fn id(input: &mut Input<'_>) -> u32 {
    let id = match input.byte() {
        0..=191 => u32::from(input.byte()),
        _ => input.word(),
    };
    (id & StreamId::MAX).max(1)
}

/// A frame that is right, or with one thing that is wrong.
fn frame(writer: &mut Writer, input: &mut Input<'_>) {
    let trick = (writer.odd && input.byte() < 48).then(|| input.byte() % 20);
    let mut draft = draft(writer, input, trick);
    match trick {
        // What the length says is there.
        Some(0) => drop(draft.body.pop()),
        Some(1) => draft.body.push(input.byte()),
        Some(2) => draft.body.extend(input.bytes(5)),
        // And is not there, or there is more.
        Some(3) => draft.length = Length::Off(-1),
        Some(4) => draft.length = Length::Off(1),
        Some(5) => draft.length = Length::Off(5),
        // Go makes room for what DATA says, which costs time here and shows nothing.
        Some(6) if draft.first >> 31 == 1 => draft.length = Length::Max,
        Some(6) => draft.length = Length::Off(4096),
        Some(7) => draft.flags = input.byte(),
        Some(8) => draft.first = draft.first & 0x8000_ffff | (input.word() & 0x7fff) << 16,
        Some(9) => draft.first = draft.first & 0xffff_0000 | u32::from(input.byte() % 12),
        Some(10) => draft.first ^= 1 << (input.byte() % 32),
        Some(11) => {
            if let Some(first) = draft.body.first_mut() {
                *first |= 0x80;
            }
        }
        Some(12) => {
            let zeros = draft.body.len().min(4);
            draft.body[..zeros].fill(0);
        }
        Some(13) => {
            let at = input.below(draft.body.len().max(1));
            if let Some(byte) = draft.body.get_mut(at) {
                *byte = input.byte();
            }
        }
        // The others are tricks with header blocks.
        _ => {}
    }
    writer.put(&draft);
}

fn draft(writer: &mut Writer, input: &mut Input<'_>, trick: Option<u8>) -> Draft {
    let Some((_, kind)) = KINDS.get(usize::from(input.byte() % 11)) else {
        let (id, fin, flags) = (id(input), input.byte() & 1, input.byte());
        // Other flags of DATA mean nothing and are kept.
        let flags = if flags < 32 { flags | fin } else { fin };
        let n = input.below(300);
        return Draft::data(id, flags, input.bytes(n).to_vec());
    };
    let fin = input.byte() & 1;
    let (flags, body) = match kind {
        1 => {
            let mut body = words(&[id(input), id(input) - 1]);
            body.extend([input.byte(), input.byte()]);
            body.extend(block(writer, input, trick));
            (input.byte() & 3, body)
        }
        2 | 8 => {
            let mut body = words(&[id(input)]);
            body.extend(block(writer, input, trick));
            (fin, body)
        }
        4 => {
            let count = match input.byte() {
                0..=247 => input.below(4),
                _ => input.below(65),
            };
            let mut body = words(&[size(count)]);
            body.extend((0..count * 2).flat_map(|_| input.word().to_be_bytes()));
            (fin, body)
        }
        6 => (0, words(&[input.word().max(1)])),
        7 => (0, words(&[id(input) - 1, input.word()])),
        3 => (0, words(&[id(input), u32::from(input.byte()).max(1)])),
        _ => (0, words(&[id(input) - 1, input.word() & StreamId::MAX])),
    };
    Draft::control(*kind, flags, body)
}

/// A compressed block.
fn block(writer: &mut Writer, input: &mut Input<'_>, trick: Option<u8>) -> Vec<u8> {
    let mut pairs = pairs(input);
    match trick {
        Some(14) => pairs.extend(wrong_pairs(input, &pairs)),
        // Budgets, at N and at N + 1.
        Some(15) => {
            let more = usize::from(input.byte() & 1);
            pairs = match input.byte() % 4 {
                0 => (0..64 + more)
                    .map(|n| (n.to_string().into_bytes(), vec![]))
                    .collect(),
                1 => vec![(vec![b'n'; 256 + more], vec![])],
                2 => vec![(b"v".to_vec(), vec![b'v'; (8 << 10) + more])],
                _ => (0..8)
                    .map(|n: u8| (vec![b'a' + n], vec![n; (8 << 10) - 10 + more]))
                    .collect(),
            };
        }
        _ => {}
    }
    let mut plain = plain(&pairs);
    if trick == Some(16) {
        match input.byte() % 4 {
            0 => plain.push(input.byte()),
            1 => drop(plain.pop()),
            // Another count.
            2 => plain[3] = plain[3].wrapping_add(input.byte()),
            // Another length, mostly.
            _ => {
                let at = 4 + input.below(plain.len().saturating_sub(4).max(1));
                if let Some(byte) = plain.get_mut(at) {
                    *byte ^= input.byte();
                }
            }
        }
    }
    if trick != Some(17) {
        return writer.pack(&plain, FlushCompress::Sync);
    }
    let mut packed = match input.byte() % 5 {
        0 => writer.pack(&plain, FlushCompress::Partial),
        1 => writer.pack(&plain, FlushCompress::Full),
        2 => writer.pack(&plain, FlushCompress::Finish),
        _ => writer.pack(&plain, FlushCompress::Sync),
    };
    match input.byte() % 8 {
        0..=2 => {}
        3 => packed.truncate(packed.len().saturating_sub(usize::from(input.byte() % 12))),
        4 => packed.extend(input.bytes(1)),
        5 => packed.extend(input.bytes(12)),
        6 => {
            let at = input.below(packed.len().max(1));
            if let Some(byte) = packed.get_mut(at) {
                *byte ^= input.byte();
            }
        }
        // Another window in zlib's head, if it is one.
        _ => {
            if let [cmf, flags, ..] = &mut packed[..] {
                *cmf = *cmf & 0x0f | input.byte() << 4;
                *flags &= 0xe0;
                let rest = (u16::from(*cmf) << 8 | u16::from(*flags)) % 31;
                *flags |= u8::try_from((31 - rest) % 31).unwrap_or(0);
            }
        }
    }
    packed
}

/// Few of them, no name twice.
fn pairs(input: &mut Input<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for _ in 0..input.byte() % 6 {
        let name = match usize::from(input.byte()) {
            n if n < 192 => NAMES[n % NAMES.len()].as_bytes().to_vec(),
            n => {
                let letters = input.bytes(n % 40).iter();
                // Any that is printed and no capital.
                letters.map(|b| b'[' + b % 36).collect()
            }
        };
        let n = input.below(60);
        let value = match input.byte() {
            0..=199 => input.bytes(n).to_vec(),
            times => vec![input.byte(); usize::from(times) * 8],
        };
        let forbidden = WRONG.contains(&name.as_slice());
        if !forbidden && pairs.iter().all(|(earlier, _)| *earlier != name) {
            pairs.push((name, value));
        }
    }
    pairs
}

fn wrong_pairs(input: &mut Input<'_>, before: &[(Vec<u8>, Vec<u8>)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let name = match before.first() {
        Some((name, _)) if input.flag() => name.clone(),
        _ => input.pick(&WRONG).unwrap_or_default().to_vec(),
    };
    let n = usize::from(input.byte() % 8);
    vec![(name, input.bytes(n).to_vec())]
}
