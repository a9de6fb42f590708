//! Request targets: one accepted spelling per place (T18), and query strings.

use super::error::TargetFault;

/// Checks that `target` is in origin form and its path canonical. Gives the fault and where in the
/// target it is.
///
/// No name in the Kubernetes API that a gateway or a node serves needs an escape, so any `%` in the
/// path is refused: there is then no second spelling to forget.
pub(super) fn check(target: &[u8]) -> Result<(), (TargetFault, usize)> {
    let path_len = target
        .iter()
        .position(|b| *b == b'?')
        .unwrap_or(target.len());
    let (path, query) = target.split_at_checked(path_len).unwrap_or((target, &[]));
    if path.first() != Some(&b'/') {
        return Err((TargetFault::Form, 0));
    }
    if path != b"/" {
        let mut at = 1usize;
        for segment in path.get(1..).unwrap_or_default().split(|b| *b == b'/') {
            check_segment(segment).map_err(|(fault, i)| (fault, at.saturating_add(i)))?;
            at = at.saturating_add(segment.len()).saturating_add(1);
        }
    }
    match query
        .iter()
        .position(|b| !b.is_ascii_graphic() || *b == b'#')
    {
        None => Ok(()),
        Some(i) => Err((TargetFault::Query, path_len.saturating_add(i))),
    }
}

fn check_segment(segment: &[u8]) -> Result<(), (TargetFault, usize)> {
    match segment {
        [] => return Err((TargetFault::EmptySegment, 0)),
        b"." | b".." => return Err((TargetFault::DotSegment, 0)),
        _ => {}
    }
    for (i, b) in segment.iter().enumerate() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'@' => {}
            b'%' => return Err((TargetFault::Escape, i)),
            _ => return Err((TargetFault::Path, i)),
        }
    }
    Ok(())
}

/// The pairs of a query string, decoded, in order. A part that does not decode to UTF-8 is `None`.
pub fn query_pairs(query: &str) -> impl Iterator<Item = Option<(String, String)>> {
    query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Some((decode_query(name)?, decode_query(value)?))
        })
}

/// Decodes `%XX` and `+` of a query string; `None` for a broken escape or what is no UTF-8.
#[must_use]
pub fn decode_query(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        out.push(match b {
            b'+' => b' ',
            b'%' => {
                let high = hex(bytes.next()?)?;
                let low = hex(bytes.next()?)?;
                high << 4 | low
            }
            b => b,
        });
    }
    String::from_utf8(out).ok()
}

fn hex(b: u8) -> Option<u8> {
    char::from(b)
        .to_digit(16)
        .and_then(|d| u8::try_from(d).ok())
}

#[cfg(test)]
mod tests {
    use super::TargetFault as F;
    use super::*;

    #[test]
    fn only_one_spelling_passes() {
        let good = [
            "/",
            "/version?timeout=32s",
            "/api/v1/namespaces/ns/pods/a.b-c/portforward",
            "/portForward/ns/pod/3f1c-uid",
            "/apis/apps/v1?labelSelector=app%3Dweb,a+in+(b)",
            "/a/...b/..c",
        ];
        for target in good {
            assert_eq!(check(target.as_bytes()), Ok(()), "{target}");
        }
        let bad: &[(&str, F, usize)] = &[
            ("", F::Form, 0),
            ("*", F::Form, 0),
            ("http://x/api", F::Form, 0),
            ("example.org:443", F::Form, 0),
            ("?a=b", F::Form, 0),
            ("//", F::EmptySegment, 1),
            ("//api/v1", F::EmptySegment, 1),
            ("/api//v1", F::EmptySegment, 5),
            ("/api/v1/", F::EmptySegment, 8),
            ("/.", F::DotSegment, 1),
            ("/..", F::DotSegment, 1),
            ("/api/./v1", F::DotSegment, 5),
            ("/api/../v1", F::DotSegment, 5),
            ("/api/v1/..", F::DotSegment, 8),
            ("/api/%2e%2e/v1", F::Escape, 5),
            ("/api/%2E/v1", F::Escape, 5),
            ("/api%2fv1", F::Escape, 4),
            ("/api%2Fv1", F::Escape, 4),
            ("/%61pi/v1", F::Escape, 1),
            ("/api%00", F::Escape, 4),
            ("/api%", F::Escape, 4),
            ("/api;x=y/v1", F::Path, 4),
            ("/api/v1;", F::Path, 7),
            ("/api\\v1", F::Path, 4),
            ("/api#frag", F::Path, 4),
            ("/api/v1/<x>", F::Path, 8),
            ("/api/\u{e9}", F::Path, 5),
            ("/api,v1", F::Path, 4),
            ("/api/v1|", F::Path, 7),
            ("/api/v1/{x}", F::Path, 8),
            ("/api\t", F::Path, 4),
            ("/api?a#b", F::Query, 6),
            ("/api?a=\u{e9}", F::Query, 7),
            ("/api?\x7f", F::Query, 5),
        ];
        for (target, fault, at) in bad {
            assert_eq!(check(target.as_bytes()), Err((*fault, *at)), "{target}");
        }
    }

    #[test]
    fn queries_decode() {
        let pairs: Vec<_> = query_pairs("a=1&&b=x%3Dy+z&c&d=%4&e=%ff").collect();
        let some = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(
            pairs,
            [
                some("a", "1"),
                some("b", "x=y z"),
                some("c", ""),
                None,
                None
            ]
        );
    }
}
