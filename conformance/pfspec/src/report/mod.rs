//! Reports: one [`model::Document`] holds all that came of a run; each form is made from it alone.

pub mod closes;
pub mod diff;
pub mod html;
pub mod junit;
pub mod markdown;
pub mod model;
pub mod pcapng;
pub mod sarif;
pub mod sink;
pub mod tap;
pub mod wire;

/// A server's words on one line: what could steer a terminal, or turn the direction of text, is escaped.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        let steers = c.is_control()
            || matches!(
                c,
                '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{feff}'
            )
            || ('\u{202a}'..='\u{202e}').contains(&c)
            || ('\u{2066}'..='\u{2069}').contains(&c);
        if steers {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}

/// The lines of a text as one, made [`plain`].
#[must_use]
pub fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    plain(&lines.join("; "))
}

/// A number and what is counted: `1 departure`, `2 departures`.
#[must_use]
pub fn counted(number: usize, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(
                DIGITS
                    .get(usize::from(digit))
                    .map_or('?', |c| char::from(*c)),
            );
        }
    }
    text
}

/// The inverse of [`hex`].
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let pairs = digits?;
    if pairs.len() % 2 != 0 {
        return None;
    }
    Some(
        pairs
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
            .collect(),
    )
}

/// A word as a shell takes it.
#[must_use]
pub fn quoted(word: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    if !word.is_empty() && word.chars().all(safe) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_things() {
        assert_eq!(
            plain("a\u{1b}[2Jb\nc\u{202e}d é"),
            "a\\u{1b}[2Jb\\nc\\u{202e}d é"
        );
        let bytes = [0, 1, 2].map(|number| counted(number, "byte", "bytes"));
        assert_eq!(bytes, ["0 bytes", "1 byte", "2 bytes"]);
        assert_eq!(hex(&[0, 0xff, 0x1a]), "00ff1a");
        assert_eq!(unhex("00ff1a"), Some(vec![0, 0xff, 0x1a]));
        assert_eq!(unhex("0"), None);
        assert_eq!(unhex("0g"), None);
        assert_eq!(quoted("a/b@c"), "a/b@c");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted("spdy/*"), "'spdy/*'");
    }
}
