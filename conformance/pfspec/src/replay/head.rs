//! A request head of a report, made ready for another target: its path, and who asks.

use crate::report::model::Step;
use crate::report::unhex;
use std::collections::BTreeMap;

/// What stands where a report has overwritten something.
const HIDDEN: &str = "**";

/// Where a head goes now.
#[derive(Debug)]
pub(super) struct Place<'a> {
    /// `Host`
    pub(super) host: &'a str,
    /// Path of the pod's port-forward.
    pub(super) path: &'a str,
    /// Fields that say who asks.
    pub(super) identity: &'a [(String, Vec<u8>)],
}

/// The path that most heads of a report name.
pub(super) fn usual_path<'a>(steps: impl Iterator<Item = &'a Step>) -> Option<String> {
    let mut paths: BTreeMap<String, usize> = BTreeMap::new();
    for step in steps.filter(|step| step.layer == "http" && step.side == "judge") {
        if let Some(target) = target_of(&step.text) {
            *paths.entry(path_of(target).to_owned()).or_default() += 1;
        }
    }
    let most = paths.into_iter().max_by_key(|(_, count)| *count);
    most.map(|(path, _)| path)
}

/// The target of a request, of which the step says method and target.
pub(super) fn target_of(text: &str) -> Option<&str> {
    let (_, target) = text.split_once(' ')?;
    Some(target)
}

fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or(target)
}

/// The bytes of a recorded head for another target. Its path is replaced if it is `usual` or has to be; `Host` is, unless
/// it was chosen; what was hidden in the report is left out; the identity is that of the target. What is no head stays
/// as it is.
pub(super) fn renewed(step: &Step, usual: Option<&str>, place: &Place<'_>) -> Vec<u8> {
    let bytes = unhex(&step.hex).unwrap_or_default();
    let Some(end) = memchr::memmem::find(&bytes, b"\r\n\r\n") else {
        return bytes;
    };
    let (head, behind) = bytes.split_at(end);
    let mut lines = lines(head).into_iter();
    let first = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let mut new = with_path(&first, usual, place.path).into_bytes();
    let mut hides = false;
    for line in lines {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        // A line that goes on with the one before.
        let goes_on = line
            .first()
            .is_some_and(|byte| matches!(byte, b' ' | b'\t'));
        if !goes_on {
            let who = |(known, _): &(String, Vec<u8>)| is(known);
            hides = is("authorization") || place.identity.iter().any(who);
            hides |= memchr::memmem::find(line, HIDDEN.as_bytes()).is_some();
        }
        if hides {
            continue;
        }
        new.extend(b"\r\n");
        if is("host") {
            new.extend(format!("Host: {}", place.host).into_bytes());
        } else {
            new.extend(line);
        }
    }
    for (name, value) in place.identity {
        new.extend(format!("\r\n{name}: ").into_bytes());
        new.extend(value);
    }
    new.extend(behind);
    new
}

fn lines(head: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = head;
    while let Some(end) = memchr::memmem::find(rest, b"\r\n") {
        let (line, behind) = rest.split_at(end);
        lines.push(line);
        rest = behind.get(2..).unwrap_or_default();
    }
    lines.push(rest);
    lines
}

fn with_path(line: &str, usual: Option<&str>, path: &str) -> String {
    let parts: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = parts.as_slice() else {
        return line.to_owned();
    };
    if usual.is_some_and(|usual| usual != path_of(target)) {
        return line.to_owned();
    }
    let mut new = path.to_owned();
    let mut sign = '?';
    for query in target.split('?').skip(1).flat_map(|query| query.split('&')) {
        if !query.contains(HIDDEN) {
            new.push(sign);
            new.push_str(query);
            sign = '&';
        }
    }
    format!("{method} {new} {version}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::hex;

    fn step(head: &str) -> Step {
        let line = head.lines().next().unwrap_or_default();
        Step {
            at: 0,
            connection: 1,
            side: "judge".to_owned(),
            layer: "http".to_owned(),
            text: line.trim_end_matches(" HTTP/1.1").to_owned(),
            length: head.len(),
            hex: hex(head.as_bytes()),
        }
    }

    #[test]
    fn for_another_target() {
        let identity = [("authorization".to_owned(), b"Bearer new".to_vec())];
        let place = Place {
            host: "new:1",
            path: "/new",
            identity: &identity,
        };
        let old = step(
            "GET /old?token=***&ports=7 HTTP/1.1\r\nHost: old\r\nX-A: b\r\nauthorization: *****\r\n more\r\n\r\nearly",
        );
        let usual = usual_path([&old, &step("GET /other HTTP/1.1\r\n\r\n"), &old].into_iter());
        assert_eq!(usual.as_deref(), Some("/old"));
        let new = renewed(&old, usual.as_deref(), &place);
        assert_eq!(
            String::from_utf8(new).unwrap(),
            "GET /new?ports=7 HTTP/1.1\r\nHost: new:1\r\nX-A: b\r\nauthorization: Bearer new\r\n\r\nearly"
        );
        // Another pod, and what is no head.
        let other = step("GET /other HTTP/1.1\r\n\r\n");
        let new = renewed(&other, usual.as_deref(), &place);
        assert!(new.starts_with(b"GET /other HTTP/1.1\r\n"));
        let none = step("GET /old HTTP/1.1\n\n");
        assert_eq!(
            renewed(&none, usual.as_deref(), &place),
            b"GET /old HTTP/1.1\n\n"
        );
    }
}
