//! Header fields: an ordered list whose values never show.

use super::error::EncodeError;
use bytes::Bytes;
use std::fmt;

/// One header field. `Debug` shows the name and the length of the value only: it may be a
/// credential (T36).
#[derive(Clone, PartialEq, Eq)]
pub struct Field {
    name: String,
    value: Bytes,
}

impl Field {
    /// The name as it was written; compare without case.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value without white space around it.
    #[must_use]
    pub const fn value(&self) -> &Bytes {
        &self.value
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ({} bytes)", self.name, self.value.len())
    }
}

/// The fields of a head, in order; a name may come several times.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<Field>);

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

impl Fields {
    /// No fields.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a field behind the others.
    ///
    /// # Errors
    /// The name is no token, or the value holds CR, LF, NUL or another control character.
    pub fn push(&mut self, name: &str, value: impl Into<Bytes>) -> Result<(), EncodeError> {
        let value = value.into();
        if !is_token(name.as_bytes()) {
            return Err(EncodeError::Name);
        }
        if !value.iter().all(|b| is_value_byte(*b)) {
            return Err(EncodeError::Value(name.to_owned()));
        }
        self.0.push(Field {
            name: name.to_owned(),
            value: trim(&value),
        });
        Ok(())
    }

    /// Adds a field whose name and value are constants of this program.
    pub(crate) fn push_static(&mut self, name: &'static str, value: &'static str) {
        debug_assert!(is_token(name.as_bytes()) && value.bytes().all(is_value_byte));
        self.0.push(Field {
            name: name.to_owned(),
            value: Bytes::from_static(value.as_bytes()),
        });
    }

    /// Adds a number.
    #[cfg(any(feature = "gateway", feature = "node"))]
    pub(crate) fn push_number(&mut self, name: &'static str, value: usize) {
        self.0.push(Field {
            name: name.to_owned(),
            value: Bytes::from(value.to_string()),
        });
    }

    /// Adds a field that came out of the parser, which has checked it.
    pub(super) fn push_parsed(&mut self, name: &str, value: &Bytes) {
        self.0.push(Field {
            name: name.to_owned(),
            value: trim(value),
        });
    }

    /// The value of the first field of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        self.0
            .iter()
            .find(|f| f.name.eq_ignore_ascii_case(name))
            .map(|f| &f.value)
    }

    /// As [`get`](Self::get), if the value is visible ASCII.
    #[must_use]
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name)
            .and_then(|v| std::str::from_utf8(v).ok())
            .filter(|v| v.is_ascii())
    }

    /// The values of all fields of that name, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Bytes> {
        self.0
            .iter()
            .filter(move |f| f.name.eq_ignore_ascii_case(name))
            .map(|f| &f.value)
    }

    /// Whether there is a field of that name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether the *first* field of that name contains `needle`, without case: how the real
    /// upgraders look at `Connection` and `Upgrade` (PROTOCOL.md 2.1, 2.2).
    #[must_use]
    pub fn first_contains(&self, name: &str, needle: &str) -> bool {
        self.get(name)
            .is_some_and(|v| contains_ignore_case(v, needle.as_bytes()))
    }

    /// The members of the comma-separated lists in all fields of that name, trimmed; empty ones
    /// are left out.
    pub fn list<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.all(name)
            .flat_map(|v| v.split(|b| *b == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|v| !v.is_empty())
    }

    /// Removes all fields of that name.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|f| !f.name.eq_ignore_ascii_case(name));
    }

    /// Keeps the fields for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&Field) -> bool) {
        self.0.retain(|f| keep(f));
    }

    /// The fields in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Field> {
        self.0.iter()
    }

    /// As the functions of [`wsstream`]'s opening handshake take them.
    pub(crate) fn view(&self) -> Vec<wsstream::Field<'_>> {
        self.iter().map(|f| (f.name(), &f.value()[..])).collect()
    }

    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sorts by name and writes names in the usual case (`Content-Type`), as a real gateway does
    /// with an answer it serialises anew (PROTOCOL.md 2.5).
    pub fn canonicalise(&mut self) {
        for field in &mut self.0 {
            field.name = canonical_name(&field.name);
        }
        self.0.sort_by(|a, b| a.name.cmp(&b.name));
    }
}

impl<'a> IntoIterator for &'a Fields {
    type Item = &'a Field;
    type IntoIter = std::slice::Iter<'a, Field>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// `x-forwarded-for` -> `X-Forwarded-For`.
fn canonical_name(name: &str) -> String {
    let mut start = true;
    name.chars()
        .map(|c| {
            let c = if start {
                c.to_ascii_uppercase()
            } else {
                c.to_ascii_lowercase()
            };
            start = c == '-';
            c
        })
        .collect()
}

/// The value without spaces and tabs around it.
fn trim(value: &Bytes) -> Bytes {
    value.slice_ref(value.trim_ascii())
}

pub(super) fn contains_ignore_case(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len().max(1))
        .any(|w| w.eq_ignore_ascii_case(needle))
}

/// RFC 9110 `token`.
pub(super) fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| is_token_byte(*b))
}

pub(super) const fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(
            b,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// What may stand in a field value: visible characters, space, tab, and bytes above ASCII.
pub(super) const fn is_value_byte(b: u8) -> bool {
    matches!(b, b'\t' | b' '..=b'~' | 0x80..=0xff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_names_only() {
        let mut fields = Fields::new();
        fields.push("Authorization", "Bearer canary-token").unwrap();
        let shown = format!("{fields:?}");
        assert!(
            shown.contains("Authorization") && !shown.contains("canary"),
            "{shown}"
        );
    }

    #[test]
    fn values_that_would_end_the_line_are_refused() {
        let mut fields = Fields::new();
        for bad in ["a\rb", "a\nb", "a\0b", "a\r\nHost: evil", "\x1b", "\x7f"] {
            assert_eq!(
                fields.push("X", bad.to_owned()),
                Err(EncodeError::Value("X".into()))
            );
        }
        for name in ["", "a b", "a:", "a\r", "é", "a\n"] {
            assert_eq!(fields.push(name, "x"), Err(EncodeError::Name));
        }
        assert!(fields.is_empty());
        fields.push("X", "  spaced\tvalue \t").unwrap();
        assert_eq!(fields.get("x").map(|v| &v[..]), Some(&b"spaced\tvalue"[..]));
    }

    #[test]
    fn lists_and_containment() {
        let mut fields = Fields::new();
        fields.push("connection", "keep-alive, Upgrade").unwrap();
        fields.push("Connection", ",, x ,").unwrap();
        assert!(fields.first_contains("CONNECTION", "upgrade"));
        assert!(!fields.first_contains("connection", "x"));
        assert_eq!(
            fields.list("connection").collect::<Vec<_>>(),
            [&b"keep-alive"[..], b"Upgrade", b"x"]
        );
        fields.canonicalise();
        assert!(fields.iter().all(|f| f.name() == "Connection"));
    }

    #[test]
    fn canonical_names() {
        assert_eq!(
            canonical_name("x-STREAM-protocol-version"),
            "X-Stream-Protocol-Version"
        );
        assert_eq!(canonical_name("sec-websocket-key"), "Sec-Websocket-Key");
    }
}
