//! Text from the other side, made safe for a terminal or a log (T26).
//!
//! Everything a peer says may hold control characters that move the cursor, rename the window or
//! turn the line around. What cannot be seen is written as an escape; what can be seen stays.

use std::fmt::Write as _;

/// Escapes `input` for a terminal: C0 and C1 controls, DEL, and the invisible characters that
/// change the direction or the look of a line. Newline and tab stay.
///
/// ```
/// use portforward::escape;
/// assert_eq!(escape::text("dial \u{1b}[2Jfailed\n"), "dial \\x1b[2Jfailed\n");
/// assert_eq!(escape::text("caf\u{e9} \u{202e}txt"), "caf\u{e9} \\u{202e}txt");
/// ```
#[must_use]
pub fn text(input: &str) -> String {
    let mut out = String::with_capacity(input.len());
    for c in input.chars() {
        push(&mut out, c, false);
    }
    out
}

/// As [`text`], with newline and tab escaped too: for one line of a log.
///
/// ```
/// use portforward::escape;
/// assert_eq!(escape::line("a\nb"), "a\\nb");
/// ```
#[must_use]
pub fn line(input: &str) -> String {
    let mut out = String::with_capacity(input.len());
    for c in input.chars() {
        push(&mut out, c, true);
    }
    out
}

/// As [`text`] for bytes that may not be UTF-8: a byte that is no part of a character is escaped.
///
/// ```
/// use portforward::escape;
/// assert_eq!(escape::bytes(b"ok \xff"), "ok \\xff");
/// ```
#[must_use]
pub fn bytes(input: &[u8]) -> String {
    let mut out = String::with_capacity(input.len());
    for chunk in input.utf8_chunks() {
        for c in chunk.valid().chars() {
            push(&mut out, c, false);
        }
        for byte in chunk.invalid() {
            hex(&mut out, *byte);
        }
    }
    out
}

fn push(out: &mut String, c: char, one_line: bool) {
    match c {
        '\n' if one_line => out.push_str("\\n"),
        '\t' if one_line => out.push_str("\\t"),
        '\n' | '\t' => out.push(c),
        '\r' => out.push_str("\\r"),
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => match u8::try_from(c) {
            Ok(byte) => hex(out, byte),
            Err(_) => out.push('?'),
        },
        c if is_deceptive(c) => out.extend(c.escape_unicode()),
        c => out.push(c),
    }
}

fn hex(out: &mut String, byte: u8) {
    // Writing to a String cannot fail.
    let _ok = write!(out, "\\x{byte:02x}");
}

/// Characters that are invisible or reorder what stands around them.
const fn is_deceptive(c: char) -> bool {
    matches!(c,
        '\u{ad}'                    // soft hyphen
        | '\u{61c}'                 // Arabic letter mark
        | '\u{180e}'                // Mongolian vowel separator
        | '\u{200b}'..='\u{200f}'   // zero width, left-to-right and right-to-left marks
        | '\u{2028}'..='\u{202e}'   // line and paragraph separators, embeddings and overrides
        | '\u{2060}'..='\u{206f}'   // joiners, isolates, deprecated format characters
        | '\u{feff}'                // byte order mark
        | '\u{fff9}'..='\u{fffb}'   // interlinear annotation
        | '\u{e0000}'..='\u{e007f}' // tags
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T26: 4 KiB of all byte values.
    #[test]
    fn all_bytes_come_out_printable() {
        let all: Vec<u8> = (0..=255u8).cycle().take(4096).collect();
        let out = bytes(&all);
        assert!(
            out.bytes()
                .all(|b| matches!(b, b' '..=b'~' | b'\n' | b'\t')),
            "{out}"
        );
        assert!(out.contains("\\x1b") && out.contains("\\x7f") && out.contains("\\x9b"));
    }

    #[test]
    fn every_character_that_deceives_is_escaped() {
        for c in ('\0'..=char::MAX).filter(|c| c.is_control() || is_deceptive(*c)) {
            let out = line(&c.to_string());
            assert!(
                out.starts_with('\\') && out.is_ascii() && !out.contains(char::is_control),
                "{c:?} -> {out:?}"
            );
        }
    }

    #[test]
    fn what_can_be_seen_stays() {
        let plain = "pods \"web\" is forbidden: \\ ü 日本 🙂\n\tsecond line";
        assert_eq!(text(plain), plain);
        assert_eq!(bytes(plain.as_bytes()), plain);
    }
}
