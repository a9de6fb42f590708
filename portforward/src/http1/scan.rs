//! Finds the end of a head, line by line, checking each line once.
//!
//! The scanner remembers how far it has looked, so a head that comes in 1-byte reads costs no more
//! than one that comes whole (T33), and what is wrong is the same either way.

use super::HeadLimits;
use super::error::{HeadError, HeadErrorKind as Kind};
use super::fields::{is_token_byte, is_value_byte};

/// Which side's head it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Lines end with CR LF.
    Request,
    /// Lines end with CR LF or a bare LF, as real gateways accept (PROTOCOL.md 5.1).
    Response,
}

/// Progress in one head.
#[derive(Debug)]
pub(super) struct Scanner {
    role: Role,
    limits: HeadLimits,
    /// Bytes looked at.
    seen: usize,
    /// Where the line that is being looked at began.
    line: usize,
    /// Where each finished line began, the start line first.
    lines: Vec<usize>,
}

impl Scanner {
    pub(super) const fn new(role: Role, limits: HeadLimits) -> Self {
        Self {
            role,
            limits,
            seen: 0,
            line: 0,
            lines: Vec::new(),
        }
    }

    /// Where field number `index` began.
    pub(super) fn field_offset(&self, index: usize) -> usize {
        index
            .checked_add(1)
            .and_then(|i| self.lines.get(i))
            .copied()
            .unwrap_or(0)
    }

    /// Room for the fields of a finished head.
    pub(super) fn field_capacity(&self) -> usize {
        self.lines.len()
    }

    /// Looks at what is new in `buf`, which must hold the head from its first byte. Gives the
    /// length of the head when it is complete.
    pub(super) fn advance(&mut self, buf: &[u8]) -> Result<Option<usize>, HeadError> {
        let window = buf.get(..self.limits.bytes).unwrap_or(buf);
        while let Some(rest) = window.get(self.seen..) {
            let Some(found) = rest.iter().position(|b| *b == b'\n') else {
                self.seen = window.len();
                break;
            };
            let lf = self.seen.saturating_add(found);
            let line = window.get(self.line..lf).unwrap_or_default();
            let content = match line.strip_suffix(b"\r") {
                Some(content) => content,
                None if self.role == Role::Request => return Err(HeadError::new(Kind::BareLf, lf)),
                None => line,
            };
            let next = lf.saturating_add(1);
            match (content.is_empty(), self.lines.is_empty()) {
                (true, true) => return Err(HeadError::new(Kind::EmptyStart, self.line)),
                (true, false) => return Ok(Some(next)),
                (false, true) => check_bytes(content, self.line)?,
                (false, false) if self.lines.len() > self.limits.fields => {
                    return Err(HeadError::new(Kind::TooManyFields, self.line));
                }
                (false, false) => check_field(content, self.line)?,
            }
            self.lines.push(self.line);
            self.line = next;
            self.seen = next;
        }
        if window.len() >= self.limits.bytes {
            return Err(HeadError::new(Kind::TooLarge, self.limits.bytes));
        }
        Ok(None)
    }
}

/// The bytes of a line, whatever it means.
fn check_bytes(content: &[u8], start: usize) -> Result<(), HeadError> {
    match content.iter().position(|b| !is_value_byte(*b)) {
        None => Ok(()),
        Some(at) => {
            let kind = match content.get(at) {
                Some(0) => Kind::Nul,
                Some(b'\r') => Kind::BareCr,
                _ => Kind::Control,
            };
            Err(HeadError::new(kind, start.saturating_add(at)))
        }
    }
}

/// A field line: `name: value`.
fn check_field(content: &[u8], start: usize) -> Result<(), HeadError> {
    if content.first().is_some_and(|b| matches!(b, b' ' | b'\t')) {
        return Err(HeadError::new(Kind::Folded, start));
    }
    check_bytes(content, start)?;
    let Some(colon) = content.iter().position(|b| *b == b':') else {
        return Err(HeadError::new(Kind::NoColon, start));
    };
    let name = content.get(..colon).unwrap_or_default();
    match name.iter().position(|b| !is_token_byte(*b)) {
        None if name.is_empty() => Err(HeadError::new(Kind::FieldName, start)),
        None => Ok(()),
        Some(at) => {
            let only_space = name
                .get(at..)
                .unwrap_or_default()
                .iter()
                .all(|b| matches!(b, b' ' | b'\t'));
            let kind = if only_space {
                Kind::SpaceBeforeColon
            } else {
                Kind::FieldName
            };
            Err(HeadError::new(kind, start.saturating_add(at)))
        }
    }
}
