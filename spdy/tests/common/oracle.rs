//! An inflater of other hands (miniz_oxide), to hold ours against.

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZFlush};
use spdy::DICTIONARY;

/// Inflates header blocks in turn. It knows no preset dictionary: the dictionary is fed to a raw
/// inflater as a stored block instead, and the zlib head is left out (PROTOCOL.md 1.4).
pub(crate) struct Oracle {
    state: Box<InflateState>,
    begun: bool,
    over: bool,
}

impl Oracle {
    pub(crate) fn new() -> Self {
        Self {
            state: InflateState::new_boxed(DataFormat::Raw),
            begun: false,
            over: false,
        }
    }

    /// What the block inflates to; nothing where this oracle cannot tell.
    pub(crate) fn block(&mut self, mut block: &[u8]) -> Option<Vec<u8>> {
        if self.over {
            return None;
        }
        if !self.begun {
            // A head that is spread over blocks is beyond it.
            let (head, rest) = block.split_at_checked(2)?;
            block = rest;
            self.begun = true;
            if head[1] & 0x20 != 0 {
                block = block.get(4..)?;
                let n = u16::try_from(DICTIONARY.len()).unwrap();
                let mut stored = vec![0];
                stored.extend(n.to_le_bytes());
                stored.extend((!n).to_le_bytes());
                stored.extend(DICTIONARY);
                self.run(&stored)?;
            }
        }
        self.run(block)
    }

    fn run(&mut self, mut src: &[u8]) -> Option<Vec<u8>> {
        let (mut plain, mut step) = (Vec::new(), [0; 4096]);
        loop {
            let result = inflate(&mut self.state, src, &mut step, MZFlush::Sync);
            src = &src[result.bytes_consumed..];
            plain.extend(&step[..result.bytes_written]);
            match result.status {
                Ok(miniz_oxide::MZStatus::StreamEnd) => {
                    self.over = true;
                    return Some(plain);
                }
                Ok(_) if src.is_empty() && result.bytes_written < step.len() => return Some(plain),
                Ok(_) if result.bytes_consumed > 0 || result.bytes_written > 0 => {}
                Err(miniz_oxide::MZError::Buf) if src.is_empty() => return Some(plain),
                _ => {
                    self.over = true;
                    return None;
                }
            }
        }
    }
}
