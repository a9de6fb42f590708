//! Secrets are overwritten before anything of a case leaves it: in items, in bytes, in texts. Whoever is asked may
//! send a token back, cut where it likes, and texts for reports are cut and escaped before they come here.

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use memchr::memmem;
use std::collections::{BTreeMap, HashSet};

/// Shorter values would blot out words that are none.
const SHORTEST: usize = 6;

/// A part of a secret that is as long as this is hidden, however long the secret.
const FRAGMENT: usize = 16;

/// The forms in which the value of a head field may come back: whole, without its scheme, in the encodings that
/// WebSocket clients use for it, what is inside of `Basic`, and all of these as texts escape them.
#[must_use]
pub fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![value.to_vec()];
    if let Some((plain, _)) = basic(value) {
        forms.push(plain);
    }
    forms.extend(parts_of(value));
    let escaped: Vec<Vec<u8>> = forms.iter().flat_map(|form| escapes(form)).collect();
    forms.extend(escaped);
    tidy(&mut forms);
    forms
}

/// Those of the forms of which a part is a secret too: not the name of a scheme or of a user.
fn parts_of(value: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    match scheme_and_secret(value) {
        None => parts.push(value.to_vec()),
        Some((_, secret)) => {
            parts.push(secret.to_vec());
            parts.push(BASE64_STANDARD.encode(secret).into_bytes());
            parts.push(BASE64_URL_SAFE_NO_PAD.encode(secret).into_bytes());
        }
    }
    if let Some((_, password)) = basic(value) {
        parts.push(password);
    }
    let escaped: Vec<Vec<u8>> = parts.iter().flat_map(|part| escapes(part)).collect();
    parts.extend(escaped);
    tidy(&mut parts);
    parts
}

fn scheme_and_secret(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = value.iter().position(|byte| *byte == b' ')?;
    Some((value.get(..space)?, value.get(space + 1..)?))
}

/// What is inside of `Basic`, and the password of it.
fn basic(value: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (scheme, secret) = scheme_and_secret(value)?;
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let plain = BASE64_STANDARD.decode(secret).ok()?;
    let colon = plain.iter().position(|byte| *byte == b':')?;
    let password = plain.get(colon + 1..)?.to_vec();
    Some((plain, password))
}

/// A secret as JSON, Rust's `Debug` and a header block's text have it, and JSON within `Debug`.
fn escapes(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut texts = vec![String::from_utf8_lossy(secret).into_owned()];
    if !secret.is_ascii() {
        texts.push(secret.iter().map(|byte| char::from(*byte)).collect());
    }
    let quoted = |text: &String| serde_json::to_string(text).ok();
    let json: Vec<String> = texts.iter().filter_map(quoted).collect();
    for json in json {
        let inner = json.get(1..json.len() - 1).unwrap_or_default().to_owned();
        // As Go writes JSON.
        let go = inner.replace('&', "\\u0026").replace('<', "\\u003c");
        texts.push(go.replace('>', "\\u003e"));
        texts.push(inner);
    }
    let mut forms: Vec<Vec<u8>> = Vec::new();
    for text in texts {
        let debug = format!("{text:?}");
        let inner = debug.get(1..debug.len() - 1).unwrap_or_default();
        forms.push(inner.as_bytes().to_vec());
        forms.push(text.escape_debug().to_string().into_bytes());
        forms.push(text.as_bytes().escape_ascii().to_string().into_bytes());
        forms.push(text.into_bytes());
    }
    forms
}

/// The longest first, as it contains the others; each once.
fn tidy(forms: &mut Vec<Vec<u8>>) {
    forms.retain(|form| form.len() >= SHORTEST);
    forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    forms.dedup();
}

/// Overwrites secrets with asterisks; whether there were any.
pub fn blot(secrets: &[Vec<u8>], bytes: &mut [u8]) -> bool {
    let mut any = false;
    for secret in secrets {
        let found: Vec<usize> = memmem::find_iter(bytes, secret).collect();
        for at in found {
            if let Some(part) = bytes.get_mut(at..at + secret.len()) {
                part.fill(b'*');
                any = true;
            }
        }
    }
    any
}

/// All values that are to be hidden.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    values: Vec<Vec<u8>>,
}

impl Secrets {
    /// Adds the value of a head field; whether it is new.
    pub fn add(&mut self, value: &[u8]) -> bool {
        let new = !self.values.iter().any(|known| known == value);
        if new {
            self.values.push(value.to_vec());
        }
        new
    }

    /// What finds them.
    #[must_use]
    pub fn finder(&self) -> Finder {
        let mut finder = Finder::default();
        for value in &self.values {
            finder.whole.extend(forms(value));
            finder.parts.extend(parts_of(value));
        }
        tidy(&mut finder.whole);
        tidy(&mut finder.parts);
        finder.seeds = vec![false; if finder.parts.is_empty() { 0 } else { 1 << 16 }];
        for part in &finder.parts {
            // Half of a short one is no word by chance.
            let length = (part.len() / 2).clamp(SHORTEST, FRAGMENT);
            let fragments = finder.fragments.entry(length).or_default();
            for fragment in part.windows(length) {
                if let Some(seed) = finder.seeds.get_mut(seed(fragment)) {
                    *seed = true;
                }
                fragments.insert(fragment.to_vec());
            }
        }
        finder
    }
}

/// Where fragments that begin so are in the table of those that there are.
fn seed(bytes: &[u8]) -> usize {
    let start = bytes.first_chunk::<4>().copied().unwrap_or_default();
    (u32::from_le_bytes(start).wrapping_mul(0x9e37_79b1) >> 16) as usize
}

/// Finds secrets, whole and in parts, and overwrites them.
#[derive(Debug, Clone, Default)]
pub struct Finder {
    whole: Vec<Vec<u8>>,
    parts: Vec<Vec<u8>>,
    /// By their length.
    fragments: BTreeMap<usize, HashSet<Vec<u8>>>,
    /// Whether there is a fragment with such a start: few bytes of a long stream are looked at twice.
    seeds: Vec<bool>,
}

impl Finder {
    /// Whether there is nothing to hide.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.whole.is_empty()
    }

    /// Overwrites secrets, and parts of them of 16 bytes or half their length, whatever is less; whether there were any.
    pub fn blot(&self, bytes: &mut [u8]) -> bool {
        let mut any = blot(&self.whole, bytes);
        let mut found = Vec::new();
        for (length, fragments) in &self.fragments {
            for (at, window) in bytes.windows(*length).enumerate() {
                let known = self.seeds.get(seed(window)).is_some_and(|seed| *seed);
                if known && fragments.contains(window) {
                    found.push(at..at + length);
                }
            }
        }
        for range in found {
            if let Some(part) = bytes.get_mut(range) {
                part.fill(b'*');
                any = true;
            }
        }
        any
    }

    /// The same in a text, and the first 6 bytes or more of a secret that ends too soon.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        let any = self.blot(&mut bytes);
        if !self.starts(&mut bytes) && !any {
            return text.to_owned();
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn starts(&self, bytes: &mut [u8]) -> bool {
        // A word goes on: what only begins as a secret does is none.
        let goes_on = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.+/=*".contains(byte);
        let mut found = Vec::new();
        for part in &self.parts {
            let start = part.get(..SHORTEST).unwrap_or(part);
            for at in memmem::find_iter(bytes, start) {
                let rest = bytes.get(at..).unwrap_or_default();
                let same = rest.iter().zip(part).take_while(|(a, b)| a == b).count();
                if !rest.get(same).is_some_and(goes_on) {
                    found.push(at..at + same);
                }
            }
        }
        for range in &found {
            if let Some(part) = bytes.get_mut(range.clone()) {
                part.fill(b'*');
            }
        }
        !found.is_empty()
    }

    /// The same in the parts of one stream of bytes, wherever it is cut.
    pub fn stream(&self, parts: &mut [&mut Vec<u8>]) {
        let mut all: Vec<u8> = Vec::new();
        for part in parts.iter() {
            all.extend_from_slice(part);
        }
        if !self.blot(&mut all) {
            return;
        }
        let mut rest = all.as_slice();
        for part in parts.iter_mut() {
            let (own, behind) = rest.split_at(part.len().min(rest.len()));
            part.copy_from_slice(own);
            rest = behind;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finder(value: &[u8]) -> Finder {
        let mut secrets = Secrets::default();
        secrets.add(value);
        secrets.finder()
    }

    /// Letters and digits without order.
    fn token(length: usize) -> String {
        let mut state = 7u32;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from_digit(state >> 16 & 31, 32).unwrap()
        };
        (0..length).map(next).collect()
    }

    #[test]
    fn a_token_in_two_parts() {
        let mut parts = [
            b"HTTP/1.1 401 no cana".to_vec(),
            b"ry-1, and canary-1 again".to_vec(),
        ];
        let [first, second] = &mut parts;
        finder(b"Bearer canary-1").stream(&mut [first, second]);
        assert_eq!(
            parts.concat(),
            b"HTTP/1.1 401 no ********, and ******** again"
        );
    }

    #[test]
    fn encodings_and_passwords() {
        let basic = finder(b"Basic bWU6aHVudGVyMjI=");
        assert_eq!(
            basic.text("hunter22 bWU6aHVudGVyMjI= me:hunter22"),
            "******** **************** ***********"
        );
        let bearer = finder(b"Bearer canary-token");
        assert_eq!(bearer.text("Y2FuYXJ5LXRva2Vu"), "****************");
        assert_eq!(bearer.text("Bearer"), "Bearer");
    }

    #[test]
    fn a_token_that_was_cut() {
        for length in [64, 306, 1000] {
            let token = token(length);
            let finder = finder(format!("Bearer {token}").as_bytes());
            for kept in SHORTEST..length {
                let text = format!("who is {}\" and more", &token[..kept]);
                let expected = format!("who is {}\" and more", "*".repeat(kept));
                assert_eq!(finder.text(&text), expected);
            }
            // Any piece from within, as in two frames.
            for at in 0..length - FRAGMENT {
                let mut piece = token.as_bytes()[at..at + FRAGMENT].to_vec();
                assert!(finder.blot(&mut piece));
                assert_eq!(piece, [b'*'; FRAGMENT]);
            }
        }
    }

    #[test]
    fn a_password_that_was_escaped() {
        let password = "a\"b\\c<d\"e\u{e9}f";
        let value = BASE64_STANDARD.encode(format!("me:{password}"));
        let finder = finder(format!("Basic {value}").as_bytes());
        let json = serde_json::to_string(password).unwrap();
        let latin: String = password.bytes().map(char::from).collect();
        for text in [
            password.to_owned(),
            format!("{password:?}"),
            json.clone(),
            format!("{json:?}"),
            json.replace('<', "\\u003c"),
            password.escape_debug().to_string(),
            password.as_bytes().escape_ascii().to_string(),
            latin.escape_debug().to_string(),
        ] {
            let shown = finder.text(&text);
            let left = shown.trim_matches(['"', '\\']);
            assert!(left.bytes().all(|byte| byte == b'*'), "{text}: {shown}");
        }
    }

    #[test]
    fn words_are_no_secrets() {
        let token = token(40);
        let finder = finder(format!("Bearer {token}").as_bytes());
        let text = format!("Bearer of {}zz, and of {}", &token[..12], &token[..5]);
        assert_eq!(finder.text(&text), text);
        assert!(Secrets::default().finder().is_empty());
    }
}
