//! What differs between two runs.

use super::model::{Document, Record};
use super::plain;
use serde::Serialize;
use std::collections::BTreeMap;

/// A result that is not the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `ID@WAY`
    pub name: String,
    /// `better`, `worse`, `changed`, `only-before` or `only-behind`.
    pub kind: &'static str,
    /// Verdict and detail of the first run.
    pub before: Option<(String, String)>,
    /// Verdict and detail of the second run.
    pub behind: Option<(String, String)>,
}

fn short(record: &Record) -> (String, String) {
    (record.verdict.clone(), plain(&record.detail()))
}

/// How good a verdict is.
fn rank(verdict: &str) -> u8 {
    match verdict {
        "FAIL" => 0,
        "INCONCLUSIVE" => 1,
        "SHOULD" => 2,
        "UNSUPPORTED" => 3,
        "INFO" => 4,
        _ => 5,
    }
}

/// Compares verdicts, and what was seen where several answers are accepted. The words of a departure may differ.
#[must_use]
pub fn compare(before: &Document, behind: &Document) -> Vec<Change> {
    let index = |document: &'_ Document| -> BTreeMap<String, usize> {
        let names = document.results.iter().enumerate();
        names.map(|(i, r)| (r.name.clone(), i)).collect()
    };
    let (in_before, in_behind) = (index(before), index(behind));
    let mut changes = Vec::new();
    for a in &before.results {
        let b = in_behind.get(&a.name).and_then(|i| behind.results.get(*i));
        let kind = match b {
            None => "only-before",
            Some(b) if b.verdict == a.verdict && b.seen == a.seen => continue,
            Some(b) if rank(&b.verdict) > rank(&a.verdict) => "better",
            Some(b) if rank(&b.verdict) < rank(&a.verdict) => "worse",
            Some(_) => "changed",
        };
        changes.push(Change {
            name: a.name.clone(),
            kind,
            before: Some(short(a)),
            behind: b.map(short),
        });
    }
    for b in behind
        .results
        .iter()
        .filter(|b| !in_before.contains_key(&b.name))
    {
        changes.push(Change {
            name: b.name.clone(),
            kind: "only-behind",
            before: None,
            behind: Some(short(b)),
        });
    }
    changes
}

/// One line for each, the kind first.
#[must_use]
pub fn text(changes: &[Change]) -> String {
    let of = |side: &Option<(String, String)>| match side {
        None => "not run".to_owned(),
        Some((verdict, detail)) if detail.is_empty() => verdict.clone(),
        Some((verdict, detail)) => format!("{verdict} ({detail})"),
    };
    changes.iter().fold(String::new(), |text, change| {
        text + &format!(
            "{} {}: {} -> {}\n",
            change.kind.to_uppercase(),
            change.name,
            of(&change.before),
            of(&change.behind)
        )
    })
}
