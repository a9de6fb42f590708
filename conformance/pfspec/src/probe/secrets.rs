//! Secrets are overwritten before anything of a case leaves it: in items, in bytes, in texts. Whoever is asked may
//! send a token back, cut where it likes.

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use memchr::memmem;

/// Shorter values would blot out words that are none.
const SHORTEST: usize = 6;

/// The forms in which the value of a head field may come back: whole, without its scheme, in the encodings that
/// WebSocket clients use for it, and what is inside of `Basic`.
#[must_use]
pub fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![value.to_vec()];
    let mut words = value.splitn(2, |byte| *byte == b' ');
    if let (Some(scheme), Some(secret)) = (words.next(), words.next()) {
        forms.push(secret.to_vec());
        forms.push(BASE64_STANDARD.encode(secret).into_bytes());
        forms.push(BASE64_URL_SAFE_NO_PAD.encode(secret).into_bytes());
        if scheme.eq_ignore_ascii_case(b"basic")
            && let Ok(plain) = BASE64_STANDARD.decode(secret)
        {
            if let Some(colon) = plain.iter().position(|byte| *byte == b':') {
                forms.push(plain.get(colon + 1..).unwrap_or_default().to_vec());
            }
            forms.push(plain);
        }
    }
    forms.retain(|form| form.len() >= SHORTEST);
    // The longest first: it contains the others.
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    forms.dedup();
    forms
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

/// The same in a text.
#[must_use]
pub fn blot_text(secrets: &[Vec<u8>], text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    if !blot(secrets, &mut bytes) {
        return text.to_owned();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The same in the parts of one stream of bytes, wherever it is cut.
pub fn blot_parts(secrets: &[Vec<u8>], parts: &mut [&mut Vec<u8>]) {
    let mut all: Vec<u8> = Vec::new();
    for part in parts.iter() {
        all.extend_from_slice(part);
    }
    if !blot(secrets, &mut all) {
        return;
    }
    let mut rest = all.as_slice();
    for part in parts.iter_mut() {
        let (own, behind) = rest.split_at(part.len().min(rest.len()));
        part.copy_from_slice(own);
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_in_two_parts() {
        let secrets = forms(b"Bearer canary-1");
        let mut parts = [
            b"HTTP/1.1 401 no cana".to_vec(),
            b"ry-1, and canary-1 again".to_vec(),
        ];
        let [first, second] = &mut parts;
        blot_parts(&secrets, &mut [first, second]);
        assert_eq!(
            parts.concat(),
            b"HTTP/1.1 401 no ********, and ******** again"
        );
    }

    #[test]
    fn encodings_and_passwords() {
        let secrets = forms(b"Basic bWU6aHVudGVyMjI=");
        assert_eq!(
            blot_text(&secrets, "hunter22 bWU6aHVudGVyMjI="),
            "******** ****************"
        );
        let secrets = forms(b"Bearer canary-token");
        assert_eq!(blot_text(&secrets, "Y2FuYXJ5LXRva2Vu"), "****************");
        assert_eq!(blot_text(&secrets, "Bearer"), "Bearer");
    }
}
