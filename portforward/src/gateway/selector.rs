//! Label and field selectors of lists and watches.

use super::kinds::Kind;
use serde_json::Value;

/// Which objects are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<FieldRequirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Exists,
    Missing,
    In(Vec<String>),
    /// True also when the label is missing.
    NotIn(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct FieldRequirement {
    pointer: &'static str,
    value: String,
    equal: bool,
}

/// The longest selector that is read.
const LIMIT: usize = 4096;

impl Selector {
    /// Reads `labelSelector` and `fieldSelector`. The error is a text for the client.
    pub(super) fn parse(kind: Kind, labels: &str, fields: &str) -> Result<Self, String> {
        if labels.len().max(fields.len()) > LIMIT {
            return Err(format!("selector longer than {LIMIT} bytes"));
        }
        Ok(Self {
            labels: parse_labels(labels)?,
            fields: parse_fields(kind, fields)?,
        })
    }

    /// Whether an object is wanted.
    pub(super) fn matches(&self, object: &Value) -> bool {
        let label = |key: &str| {
            object
                .pointer("/metadata/labels")
                .and_then(|l| l.get(key))
                .and_then(Value::as_str)
        };
        let by_label = self.labels.iter().all(|r| match (&r.test, label(&r.key)) {
            (Test::Exists, have) => have.is_some(),
            (Test::Missing, have) => have.is_none(),
            (Test::In(values), have) => have.is_some_and(|have| values.iter().any(|v| v == have)),
            (Test::NotIn(values), have) => have.is_none_or(|have| values.iter().all(|v| v != have)),
        });
        by_label
            && self.fields.iter().all(|r| {
                let have = object
                    .pointer(r.pointer)
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                (have == r.value) == r.equal
            })
    }
}

fn parse_labels(text: &str) -> Result<Vec<Requirement>, String> {
    split_outside(text)
        .map(|part| parse_requirement(part.trim()))
        .collect()
}

/// Splits at commas that are in no parentheses.
fn split_outside(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = (!text.trim().is_empty()).then_some(text);
    std::iter::from_fn(move || {
        let all = rest?;
        let mut depth = 0usize;
        for (i, c) in all.char_indices() {
            match c {
                '(' => depth = depth.saturating_add(1),
                ')' => depth = depth.saturating_sub(1),
                ',' if depth == 0 => {
                    let (part, behind) = all.split_at(i);
                    rest = behind.get(1..);
                    return Some(part);
                }
                _ => {}
            }
        }
        rest = None;
        Some(all)
    })
}

fn parse_requirement(text: &str) -> Result<Requirement, String> {
    let fault = || format!("unable to parse requirement: {}", crate::escape::line(text));
    let requirement = |key: &str, test| {
        let key = key.trim();
        if is_key(key) {
            Ok(Requirement {
                key: key.to_owned(),
                test,
            })
        } else {
            Err(fault())
        }
    };
    if let Some(key) = text.strip_prefix('!') {
        return requirement(key, Test::Missing);
    }
    if let Some((left, list)) = text.split_once('(') {
        let list = list.strip_suffix(')').ok_or_else(fault)?;
        let values: Vec<String> = list.split(',').map(|v| v.trim().to_owned()).collect();
        if !values.iter().all(|v| is_value(v)) {
            return Err(fault());
        }
        let left = left.trim_end();
        let (key, word) = left.rsplit_once(char::is_whitespace).ok_or_else(fault)?;
        return match word {
            "in" => requirement(key, Test::In(values)),
            "notin" => requirement(key, Test::NotIn(values)),
            _ => Err(fault()),
        };
    }
    let (key, value, equal) = if let Some((key, value)) = text.split_once("!=") {
        (key, value, false)
    } else if let Some((key, value)) = text.split_once("==") {
        (key, value, true)
    } else if let Some((key, value)) = text.split_once('=') {
        (key, value, true)
    } else {
        return requirement(text, Test::Exists);
    };
    let value = value.trim();
    if !is_value(value) {
        return Err(fault());
    }
    let values = vec![value.to_owned()];
    requirement(
        key,
        if equal {
            Test::In(values)
        } else {
            Test::NotIn(values)
        },
    )
}

fn is_key(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/'))
}

/// May be empty.
fn is_value(value: &str) -> bool {
    value.len() <= 63
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn parse_fields(kind: Kind, text: &str) -> Result<Vec<FieldRequirement>, String> {
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let fault = || {
                format!(
                    "invalid selector: '{}'; can't understand it",
                    crate::escape::line(part)
                )
            };
            let (name, value, equal) = if let Some((name, value)) = part.split_once("!=") {
                (name, value, false)
            } else {
                let equal = part.split_once("==").or_else(|| part.split_once('='));
                let (name, value) = equal.ok_or_else(fault)?;
                (name, value, true)
            };
            let pointer = match (name, kind) {
                ("metadata.name", _) => "/metadata/name",
                ("metadata.namespace", _) => "/metadata/namespace",
                ("spec.nodeName", Kind::Pod) => "/spec/nodeName",
                ("status.phase", Kind::Pod) => "/status/phase",
                _ => {
                    return Err(format!(
                        "field label not supported: {}",
                        crate::escape::line(name)
                    ));
                }
            };
            Ok(FieldRequirement {
                pointer,
                value: value.to_owned(),
                equal,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_choose() {
        let pod = json!({
            "metadata": {"name": "p", "namespace": "ns", "labels": {"app": "web", "a.b/tier": "x", "empty": ""}},
            "spec": {"nodeName": "n"}, "status": {"phase": "Running"},
        });
        let table: &[(&str, &str, bool)] = &[
            ("", "", true),
            ("app", "", true),
            ("!app", "", false),
            ("!other", "", true),
            ("app=web", "", true),
            ("app==web", "", true),
            ("app = web , a.b/tier=x", "", true),
            ("app!=web", "", false),
            ("other!=web", "", true),
            ("other=web", "", false),
            ("empty=", "", true),
            ("app in (db, web)", "", true),
            ("app in(db,web),other notin (a)", "", true),
            ("app notin (db,web)", "", false),
            ("app in (db)", "", false),
            ("", "metadata.name=p", true),
            ("", "metadata.name!=p", false),
            ("", "metadata.name==p,metadata.namespace=ns", true),
            ("app=web", "status.phase=Pending", false),
            ("", "spec.nodeName=n", true),
        ];
        for (labels, fields, expected) in table {
            let selector = Selector::parse(Kind::Pod, labels, fields).unwrap();
            assert_eq!(selector.matches(&pod), *expected, "{labels} / {fields}");
        }
    }

    #[test]
    fn nonsense_is_named() {
        for bad in [
            "==", "a b", "a=b=c", "a in", "a in (b", "in (b)", "a on (b)", ",", "a=\u{1b}", "a=b)",
            "!", "(", "a>1",
        ] {
            let error = Selector::parse(Kind::Pod, bad, "").unwrap_err();
            assert!(
                error.starts_with("unable to parse requirement"),
                "{bad}: {error}"
            );
            assert!(!error.contains('\u{1b}'));
        }
        let error = |kind, text| Selector::parse(kind, "", text).unwrap_err();
        assert_eq!(
            error(Kind::Pod, "foo=bar"),
            "field label not supported: foo"
        );
        assert_eq!(
            error(Kind::Service, "status.phase=x"),
            "field label not supported: status.phase"
        );
        assert_eq!(
            error(Kind::Pod, "foo"),
            "invalid selector: 'foo'; can't understand it"
        );
        assert!(error(Kind::Pod, &"x".repeat(5000)).contains("longer than"));
    }
}
