//! SARIF 2.1.0: departures as results, cases as rules. There is no source line of the target to point to; results point
//! to the clause.

use super::model::{Document, Record};
use super::plain;
use crate::spec;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The text.
#[must_use]
pub fn write(document: &Document) -> String {
    let reported: Vec<&Record> = document
        .results
        .iter()
        .filter(|r| {
            !r.is_expected() || matches!(r.verdict.as_str(), "FAIL" | "SHOULD" | "INCONCLUSIVE")
        })
        .collect();
    let mut rules: BTreeMap<&str, Value> = BTreeMap::new();
    for record in &reported {
        rules.entry(&record.id).or_insert_with(|| rule(record));
    }
    let index: BTreeMap<&str, usize> = rules.keys().enumerate().map(|(i, id)| (*id, i)).collect();
    let results: Vec<Value> = reported
        .iter()
        .map(|record| result(record, index.get(record.id.as_str()).copied()))
        .collect();
    let sarif = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": document.tool.name,
                "semanticVersion": document.tool.version,
                "rules": rules.into_values().collect::<Vec<_>>(),
            }},
            "invocations": [{
                "executionSuccessful": !document.run.interrupted,
                "exitCode": document.summary.exit_code,
            }],
            "columnKind": "unicodeCodePoints",
            "properties": {"seed": document.run.seed.to_string(), "target": document.target.name},
            "results": results,
        }],
    });
    format!("{sarif:#}\n")
}

fn rule(record: &Record) -> Value {
    json!({
        "id": record.id,
        "shortDescription": {"text": record.title},
        "fullDescription": {"text": if record.why.is_empty() { &record.title } else { &record.why }},
        "help": {"text": format!("Sends: {}\nAccepts: {}", record.sends, record.accepts)},
        "defaultConfiguration": {"level": level(&record.level)},
        "properties": {
            "level": record.level,
            "clauses": record.clauses.iter().map(|c| c.number.clone()).collect::<Vec<_>>(),
            "tags": record.tags,
        },
    })
}

fn level(level: &str) -> &'static str {
    match level {
        "MUST" => "error",
        "SHOULD" => "warning",
        _ => "note",
    }
}

fn result(record: &Record, index: Option<usize>) -> Value {
    let clause = record.clauses.first();
    let mut location = json!({
        "logicalLocations": [{"fullyQualifiedName": record.name, "kind": "member"}],
    });
    if let (Some(clause), Some(place)) = (clause, location.as_object_mut()) {
        let physical = json!({
            "artifactLocation": {"uri": format!("conformance/spec/{}", clause.file)},
            "region": {"startLine": spec::line_of(&clause.number).unwrap_or(1)},
        });
        place.insert("physicalLocation".to_owned(), physical);
    }
    let mut result = json!({
        "ruleId": record.id,
        "ruleIndex": index,
        "kind": if record.verdict == "INCONCLUSIVE" { "open" } else { "fail" },
        "level": if record.verdict == "INCONCLUSIVE" { "none" } else { level(&record.level) },
        "message": {"text": format!("{}. Again: {}", record.line(), plain(&record.reproduce))},
        "locations": [location],
        "partialFingerprints": {"case/v1": record.name},
        "properties": {"verdict": record.verdict, "standing": record.standing},
    });
    if let (true, Some(known), Some(map)) = (
        record.is_expected(),
        &record.expectation,
        result.as_object_mut(),
    ) {
        let suppression =
            json!([{"kind": "external", "status": "accepted", "justification": known.reason}]);
        map.insert("suppressions".to_owned(), suppression);
    }
    result
}
