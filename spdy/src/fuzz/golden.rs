//! Inputs whose answers by moby/spdystream are recorded (tests/testdata), so that plain tests need no Go.

use super::sequences::{Draft, KINDS, Length, NAMES, WRONG, Writer, batch, plain, words};
use crate::StreamId;
use flate2::FlushCompress;

const TOP: u32 = 1 << 31;
const LEVEL: u32 = 6;
/// Above it a sequence of the generator is left out: the file is to stay small.
const MOST_BYTES: usize = 250;
const GENERATED: usize = 160;

/// Names and bytes, each of one direction.
#[must_use]
pub fn golden() -> Vec<(String, Vec<u8>)> {
    let mut rows = Rows(Vec::new());
    rows.lengths();
    rows.heads();
    rows.fields();
    rows.settings();
    rows.names();
    rows.blocks();
    rows.ends_of_blocks();
    rows.cuts();
    rows.generated();
    rows.0
}

struct Rows(Vec<(String, Vec<u8>)>);

/// A right frame of each control type.
fn draft(writer: &mut Writer, kind: u16, id: u32) -> Draft {
    let block = |writer: &mut Writer| writer.block(&[("port", "8080"), (":status", "200")]);
    let body = match kind {
        1 => {
            let mut body = words(&[id, 0]);
            body.extend([0xe0, 0]);
            body.extend(block(writer));
            body
        }
        2 | 8 => [words(&[id]), block(writer)].concat(),
        4 => words(&[1, 7, 65_536]),
        6 => words(&[id]),
        7 => words(&[id, 0]),
        3 => words(&[id, 5]),
        _ => words(&[id, 1000]),
    };
    Draft::control(kind, 0, body)
}

fn ping() -> Draft {
    Draft::control(6, 0, words(&[1]))
}

impl Rows {
    /// One frame, and a PING to see what follows it.
    fn add(&mut self, name: String, mut writer: Writer, draft: &Draft) {
        writer.put(draft);
        writer.put(&ping());
        self.0.push((name, writer.into_bytes()));
    }

    fn changed(&mut self, name: String, kind: u16, id: u32, change: impl FnOnce(&mut Draft)) {
        let mut writer = Writer::new(LEVEL, true);
        let mut draft = draft(&mut writer, kind, id);
        change(&mut draft);
        self.add(name, writer, &draft);
    }

    /// Eight types, and lengths that are right, off and the greatest.
    fn lengths(&mut self) {
        for (kind, n) in KINDS {
            self.changed(format!("length {kind} 0"), n, 1, |_| {});
            for off in [-1, 1, 5] {
                self.changed(format!("length {kind} {off:+}"), n, 1, |draft| {
                    let there = draft.body.len().saturating_add_signed(off);
                    draft.body.resize(there, 0);
                });
                let name = format!("length {kind} {off:+} not there");
                self.changed(name, n, 1, |draft| {
                    draft.length = Length::Off(i32::try_from(off).unwrap_or(0));
                });
            }
            let max = |draft: &mut Draft| draft.length = Length::Max;
            self.changed(format!("length {kind} max"), n, 1, max);
            let none = |draft: &mut Draft| draft.body.clear();
            self.changed(format!("length {kind} none"), n, 1, none);
        }
    }

    fn heads(&mut self) {
        for (kind, n) in KINDS {
            for flags in [1, 2, 3, 4, 0x80, 0xff] {
                let name = format!("flags {kind} {flags}");
                self.changed(name, n, 1, |draft| draft.flags = flags);
            }
            for version in [0, 2, 4, 0x7fff] {
                self.changed(format!("version {kind} {version}"), n, 1, |draft| {
                    draft.first = TOP | version << 16 | u32::from(n);
                });
            }
        }
        for n in [0, 5, 10, 11, 255, 0xffff] {
            for length in [0, 4, 12] {
                let draft = Draft::control(n, 0, vec![0; length]);
                let name = format!("type {n} of {length}");
                self.add(name, Writer::new(LEVEL, true), &draft);
            }
        }
        for flags in [0, 1, 2, 3, 0x80, 0xff] {
            for length in [0, 1, 24, 25, 300] {
                let draft = Draft::data(1, flags, vec![b'x'; length]);
                let name = format!("DATA flags {flags} of {length}");
                self.add(name, Writer::new(LEVEL, true), &draft);
            }
        }
    }

    fn fields(&mut self) {
        for (kind, n) in KINDS {
            for id in [0, 2, StreamId::MAX, TOP, TOP | 1] {
                self.changed(format!("id {kind} {id}"), n, id, |_| {});
            }
        }
        for id in [0, StreamId::MAX] {
            let draft = Draft::data(id, 1, b"abc".to_vec());
            self.add(format!("id DATA {id}"), Writer::new(LEVEL, true), &draft);
        }
        for (name, n, at, word) in [
            ("associated", 1, 4, 3),
            ("associated", 1, 4, TOP | 3),
            ("priority and slot", 1, 8, 0xbf09_78f9),
            ("status", 3, 4, 0),
            ("status", 3, 4, 11),
            ("status", 3, 4, TOP | 1),
            ("status", 7, 4, 1),
            ("status", 7, 4, TOP | 2),
            ("delta", 9, 4, 0),
            ("delta", 9, 4, StreamId::MAX),
            ("delta", 9, 4, TOP),
            ("delta", 9, 4, TOP | 1),
        ] {
            self.changed(format!("{name} of {n} {word:#x}"), n, 1, |draft| {
                draft.body[at..at + 4].copy_from_slice(&word.to_be_bytes());
            });
        }
    }

    fn settings(&mut self) {
        for entries in [0u32, 1, 2, 64, 65] {
            for said in [-1, 0, 1] {
                let mut body = words(&[entries.saturating_add_signed(said)]);
                body.extend((0..entries).flat_map(|n| words(&[n << 24 | 7, n | TOP])));
                let draft = Draft::control(4, 0, body);
                let name = format!("SETTINGS {entries} entries {said:+}");
                self.add(name, Writer::new(LEVEL, true), &draft);
            }
        }
    }

    /// A block at each place where there may be one.
    fn block(&mut self, name: &str, plain: &[u8]) {
        for (kind, n, id) in [
            ("SYN_STREAM", 1, 1),
            ("SYN_REPLY", 2, 1),
            ("HEADERS", 8, 1),
            ("HEADERS", 8, 2),
        ] {
            let mut writer = Writer::new(LEVEL, true);
            let mut body = words(&[id]);
            if n == 1 {
                body.extend([0; 6]);
            }
            body.extend(writer.pack(plain, FlushCompress::Sync));
            let draft = Draft::control(n, 0, body);
            self.add(format!("{name} in {kind} {id}"), writer, &draft);
        }
    }

    fn names(&mut self) {
        let value = b"value".as_slice();
        for name in NAMES.iter().map(|name| name.as_bytes()).chain(WRONG) {
            let shown = name.escape_ascii();
            self.block(&format!("name '{shown}'"), &plain(&[(name, value)]));
            let twice = [(name, value), (name, b"again")];
            self.block(&format!("name '{shown}' twice"), &plain(&twice));
        }
    }

    fn blocks(&mut self) {
        let numbered = |n: usize| -> Vec<_> { (0..n).map(|n| (n.to_string(), "")).collect() };
        let long = |n: usize| vec![b'n'; n];
        for (name, plain) in [
            ("no pairs", plain::<&str, &str>(&[])),
            ("64 pairs", plain(&numbered(64))),
            ("65 pairs", plain(&numbered(65))),
            ("name of 256", plain(&[(long(256), "")])),
            ("name of 257", plain(&[(long(257), "")])),
            ("value of 8192", plain(&[("v", long(8192))])),
            ("value of 8193", plain(&[("v", long(8193))])),
            ("values", plain(&[("v", "one\0two\0three")])),
            ("empty values", plain(&[("v", "\0\0")])),
            (
                "value of all bytes",
                plain(&[("v", (0..=255).collect::<Vec<u8>>())]),
            ),
            ("order", plain(&[("z", "1"), ("a", "2"), ("m", "3")])),
            ("nothing at all", Vec::new()),
            ("half a count", vec![0; 2]),
            (
                "count too high",
                [words(&[2]), plain(&[("a", "b")])[4..].to_vec()].concat(),
            ),
            (
                "count too low",
                [words(&[0]), plain(&[("a", "b")])[4..].to_vec()].concat(),
            ),
            ("greatest count", words(&[u32::MAX])),
            ("surplus", [plain(&[("a", "b")]), vec![0]].concat()),
            ("greatest name", words(&[1, u32::MAX])),
            ("greatest value", words(&[1, 0, u32::MAX])),
            ("cut in a name", words(&[1, 5])),
            ("cut before a value", words(&[1, 0])),
        ] {
            self.block(name, &plain);
        }
        for level in 0..=9 {
            for dictionary in [true, false] {
                let mut writer = Writer::new(level, dictionary);
                for (_, n) in KINDS {
                    let draft = draft(&mut writer, n, u32::from(n));
                    writer.put(&draft);
                }
                let name = format!("level {level}, dictionary {dictionary}");
                self.0.push((name, writer.into_bytes()));
            }
        }
    }

    /// Two replies, the first block of which ends in some way.
    fn ends_of_blocks(&mut self) {
        let pairs = plain(&[("port", "8080")]);
        let mut end = |name: String, level, flush, change: &dyn Fn(&mut Vec<u8>)| {
            let mut writer = Writer::new(level, true);
            let mut block = writer.pack(&pairs, flush);
            change(&mut block);
            writer.put(&Draft::control(2, 0, [words(&[1]), block].concat()));
            let block = writer.pack(&pairs, FlushCompress::Sync);
            writer.put(&Draft::control(2, 0, [words(&[3]), block].concat()));
            writer.put(&ping());
            self.0.push((name, writer.into_bytes()));
        };
        for level in [0, LEVEL] {
            for (name, flush) in [
                ("sync", FlushCompress::Sync),
                ("full", FlushCompress::Full),
                ("partial", FlushCompress::Partial),
                ("final", FlushCompress::Finish),
            ] {
                end(
                    format!("flush {name}, level {level}"),
                    level,
                    flush,
                    &|_| {},
                );
            }
            for n in 1..=12 {
                let cut = |block: &mut Vec<u8>| block.truncate(block.len().saturating_sub(n));
                end(
                    format!("{n} bytes less, level {level}"),
                    level,
                    FlushCompress::Sync,
                    &cut,
                );
            }
            for more in [[0u8].as_slice(), &[0xff], &[0, 0, 0, 0xff, 0xff], &[7; 9]] {
                let name = format!("{} more, level {level}", more.escape_ascii());
                end(name, level, FlushCompress::Sync, &|block| {
                    block.extend(more);
                });
            }
            let no_sum = |block: &mut Vec<u8>| block.truncate(block.len().saturating_sub(4));
            end(
                format!("final without sum, level {level}"),
                level,
                FlushCompress::Finish,
                &no_sum,
            );
            let bad_sum = |block: &mut Vec<u8>| {
                if let Some(last) = block.last_mut() {
                    *last ^= 1;
                }
            };
            end(
                format!("final with another sum, level {level}"),
                level,
                FlushCompress::Finish,
                &bad_sum,
            );
        }
        for window in 0..16u8 {
            end(
                format!("window {window}"),
                LEVEL,
                FlushCompress::Sync,
                &|block| {
                    let head = u16::from(window << 4 | 8) << 8 | 0x20;
                    let head = head + (31 - head % 31) % 31;
                    block[..2].copy_from_slice(&head.to_be_bytes());
                },
            );
        }
        for at in 0..6 {
            end(
                format!("zlib head, byte {at}"),
                LEVEL,
                FlushCompress::Sync,
                &|block| block[at] ^= 0x11,
            );
        }
    }

    /// Each type, cut behind each byte.
    fn cuts(&mut self) {
        for (kind, n) in KINDS {
            let mut writer = Writer::new(LEVEL, true);
            let draft = draft(&mut writer, n, 1);
            writer.put(&draft);
            self.cut(kind, &writer.into_bytes());
        }
        let mut writer = Writer::new(LEVEL, true);
        writer.put(&Draft::data(1, 1, b"abc".to_vec()));
        self.cut("DATA", &writer.into_bytes());
        // Wrong ones, about which something is known before they end.
        let longer = |mut draft: Draft| {
            draft.length = Length::Off(5);
            draft
        };
        for (name, draft) in [
            ("DATA on 0", Draft::data(0, 0, b"abc".to_vec())),
            (
                "SETTINGS too long",
                longer(Draft::control(4, 0, words(&[1, 7, 65_536]))),
            ),
            (
                "SYN_REPLY too long",
                longer(draft(&mut Writer::new(LEVEL, true), 2, 1)),
            ),
        ] {
            let mut writer = Writer::new(LEVEL, true);
            writer.put(&draft);
            let bytes = writer.into_bytes();
            self.cut(name, &bytes);
            self.0.push((format!("{name}, all there is"), bytes));
        }
    }

    fn cut(&mut self, kind: &str, bytes: &[u8]) {
        for at in 0..bytes.len() {
            self.0
                .push((format!("{kind} cut at {at}"), bytes[..at].to_vec()));
        }
    }

    /// As the fuzzer makes them.
    fn generated(&mut self) {
        let mut state = 1u64;
        let data: Vec<u8> = (0..200_000)
            .map(|_| {
                // xorshift64*
                state ^= state >> 12;
                state ^= state << 25;
                state ^= state >> 27;
                let [first, ..] = state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes();
                first
            })
            .collect();
        let short = batch(&data)
            .into_iter()
            .filter(|s| s.bytes.len() <= MOST_BYTES);
        for (nth, sequence) in short.take(GENERATED).enumerate() {
            self.0.push((format!("generated {nth}"), sequence.bytes));
        }
    }
}
