//! The JSON report: its schema, and the difference of two.

use super::common::{Fake, SEVEN, directory, judge, run, run_seven, said, text};
use pfspec::report::model::Document;
use serde_json::Value;
use std::fs;

/// Checks a value against the part of JSON Schema that the schema uses; anything else in it is an error.
fn check(schema: &Value, value: &Value, root: &Value, at: &str) -> Result<(), String> {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        let target = root
            .pointer(name.trim_start_matches('#'))
            .ok_or_else(|| format!("no {name}"))?;
        return check(target, value, root, at);
    }
    if let Some(any) = schema.get("anyOf").and_then(Value::as_array) {
        let fits = any
            .iter()
            .any(|schema| check(schema, value, root, at).is_ok());
        return if fits {
            Ok(())
        } else {
            Err(format!("{at}: none of anyOf"))
        };
    }
    let object = schema.as_object().ok_or("no object")?;
    for key in object.keys() {
        let known = [
            "$schema",
            "title",
            "description",
            "type",
            "properties",
            "required",
            "additionalProperties",
            "items",
            "enum",
            "format",
            "minimum",
            "maximum",
            "$defs",
            "prefixItems",
            "minItems",
            "maxItems",
            "default",
        ];
        if !known.contains(&key.as_str()) {
            return Err(format!("{at}: keyword {key} is not known here"));
        }
    }
    let name = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_i64() || n.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is = |want: &Value| want == name || (want == "number" && name == "integer");
    match schema.get("type") {
        Some(Value::Array(all)) if !all.iter().any(is) => return Err(format!("{at}: {name}")),
        Some(want @ Value::String(_)) if !is(want) => {
            return Err(format!("{at}: {name}, not {want}"));
        }
        _ => {}
    }
    if schema
        .get("enum")
        .and_then(Value::as_array)
        .is_some_and(|all| !all.contains(value))
    {
        return Err(format!("{at}: {value} is none of enum"));
    }
    if let Value::Object(map) = value {
        for key in schema["required"].as_array().into_iter().flatten() {
            if !map.contains_key(key.as_str().unwrap_or_default()) {
                return Err(format!("{at}: no {key}"));
            }
        }
        for (key, value) in map {
            match schema["properties"].get(key) {
                Some(schema) => check(schema, value, root, &format!("{at}/{key}"))?,
                None if schema["additionalProperties"] == false => {
                    return Err(format!("{at}: {key} is too much"));
                }
                None => {}
            }
        }
    }
    for (index, one) in value.as_array().into_iter().flatten().enumerate() {
        let own = schema
            .get("prefixItems")
            .and_then(|all| all.get(index))
            .or_else(|| schema.get("items"));
        if let Some(own) = own {
            check(own, one, root, &format!("{at}/{index}"))?;
        }
    }
    Ok(())
}

#[test]
fn json_and_its_schema() {
    let published =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/report.schema.json")).unwrap();
    assert_eq!(
        said(&run(&["schema"])).1,
        published,
        "pfspec schema > report.schema.json"
    );
    let directory = directory();
    let before = directory.path().join("before.json");
    let (code, out, error) = said(&run_seven(&["server", "--report", "json", "--seed", "3"]));
    assert_eq!(code, 0, "{error}");
    assert!(
        error.contains("seed 3"),
        "the summary is on standard error: {error}"
    );
    fs::write(&before, &out).unwrap();
    let value: Value = serde_json::from_str(&out).unwrap();
    let schema: Value = serde_json::from_str(&published).unwrap();
    check(&schema, &value, &schema, "").unwrap();
    for (pointer, wrong) in [
        ("/results/0/verdict", "GOOD"),
        ("/results/0/items/0/at", "1"),
        ("/results/0/new", "x"),
    ] {
        let mut broken = value.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        broken.pointer_mut(parent).unwrap()[key] = wrong.into();
        assert!(check(&schema, &broken, &schema, "").is_err(), "{pointer}");
    }
    // What is in it: every byte that is kept, and nothing that is empty by mistake.
    let document = Document::read(&before).unwrap();
    for record in &document.results {
        assert!(
            !record.clauses.is_empty() && record.bytes > 0 && !record.items.is_empty(),
            "{}",
            record.name
        );
        let connections = record.items.iter().map(|step| step.connection).max();
        assert_eq!(record.closes.len(), connections.unwrap(), "{}", record.name);
    }
    // A run that was cut short is no run in which all was as expected.
    assert_eq!(document.judgement(), "all as expected");
    for stopped_early in [false, true] {
        let mut cut = document.clone();
        cut.run.interrupted = !stopped_early;
        cut.run.stopped_early = stopped_early;
        assert_eq!(cut.judgement(), "what ran is as expected");
        cut.summary.departures = 2;
        assert_eq!(cut.judgement(), "2 departures");
    }
    // The difference to itself, and to a server that is broken.
    let same = text(&before);
    assert_eq!(said(&run(&["diff", &same, &same])).0, 0);
    let broken = Fake::saying("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n");
    let after = text(&directory.path().join("after.json"));
    let (code, ..) = judge(
        &broken,
        &[
            &SEVEN[..],
            &["--no-preflight", "-x", "*joined"],
            &["--report", &format!("json={after}")],
        ]
        .concat(),
    );
    assert_eq!(code, 1);
    let (code, out, _) = said(&run(&["diff", &same, &after]));
    assert_eq!(code, 1);
    assert!(
        out.contains("WORSE spdy/frame/version-3@spdy: PASS -> FAIL (expected"),
        "{out}"
    );
    assert!(
        out.contains("ONLY-BEFORE spdy/frame/joined@spdy: PASS -> not run"),
        "{out}"
    );
    let (code, out, _) = said(&run(&["diff", "--json", &after, &same]));
    assert_eq!(code, 1);
    let changes: Value = serde_json::from_str(&out).unwrap();
    let better = changes
        .as_array()
        .unwrap()
        .iter()
        .filter(|change| change["kind"] == "better");
    assert!(better.count() > 3, "{out}");
}
