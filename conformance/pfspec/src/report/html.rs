//! One page that needs nothing else: a matrix of cases, filters, and the ladder of each case, drawn by a small script
//! from data in the page when a case is opened. What a server has sent is hostile: it is escaped here, and the script
//! puts it in as text only.

use super::closes;
use super::model::{Document, Record};
use super::plain;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Hexadecimal digits of one step, and of one case: a page of 500 cases is to stay light.
const HEX_OF_STEP: usize = 8 << 10;
const HEX_OF_CASE: usize = 512 << 10;

/// Columns of the matrix, in this order.
const WAYS: [&str; 5] = ["spdy", "tunnel", "v4", "v4-base64", "http"];

/// The page of one run or of several.
#[must_use]
pub fn write(documents: &[&Document]) -> String {
    let names: Vec<String> = documents.iter().map(|d| plain(&d.target.name)).collect();
    let title = format!("pfspec: {}", names.join(" and "));
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="referrer" content="no-referrer";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                (runs(documents))
                (filters())
                section #case hidden aria-label="the case that is open" {}
                (matrix(documents))
                noscript { p { "The filters and ladders need the script in this page; the JSON report and the wire log hold the same." } }
                (data(documents))
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
    .into_string()
}

/// Nothing is loaded, and nothing runs but what is here.
fn policy() -> String {
    let hash = |text: &str| {
        let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        BASE64_STANDARD.encode(digest)
    };
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

fn runs(documents: &[&Document]) -> Markup {
    html! {
        div.wide { table {
            thead { tr {
                @for head in ["Target", "Kubernetes", "Judgement", "Verdicts", "Left out", "When", "Took", "Seed"] { th scope="col" { (head) } }
            } }
            tbody { @for document in documents { tr {
                th scope="row" { (plain(&document.target.name)) " (" (document.target.role) ")" }
                td { (document.target.kubernetes.as_deref().unwrap_or("unknown")) }
                td {
                    (document.judgement())
                    @if document.run.interrupted { div.warn { "interrupted: cases are missing" } }
                    @if document.run.stopped_early { div.warn { "stopped at the first departure: cases are missing" } }
                }
                td { (document.summary.words()) }
                td { (document.left_out.len()) }
                td { (document.run.started) }
                td { (format!("{:.1} s", document.run.seconds)) }
                td.mono { (document.run.seed) }
            } } }
        } }
    }
}

fn filters() -> Markup {
    let verdicts = [
        ("", "all"),
        ("unexpected", "not as expected"),
        ("fail", "FAIL"),
        ("should", "SHOULD"),
        ("pass", "PASS"),
        ("info", "INFO"),
        ("unsupported", "UNSUPPORTED"),
        ("inconclusive", "INCONCLUSIVE"),
        ("flaky", "flaky"),
        ("changed", "differs between targets"),
    ];
    html! {
        form #filters role="search" {
            label { "Text" input #q type="search" autocomplete="off"; }
            label { "Verdict" select #filter { @for (value, name) in verdicts { option value=(value) { (name) } } } }
            label { "Level" select #level {
                option value="" { "all" }
                @for level in ["must", "should", "observed", "quality"] { option value=(level) { (level.to_uppercase()) } }
            } }
            label { "Way" select #way {
                option value="" { "all" }
                @for way in WAYS { option value=(way) { (way) } }
            } }
            output #shown aria-live="polite" {}
        }
    }
}

/// The place of each result: document and index.
type Cells<'a> = BTreeMap<(&'a str, usize, &'a str), (usize, &'a Record)>;

fn matrix(documents: &[&Document]) -> Markup {
    let mut cells: Cells<'_> = BTreeMap::new();
    let mut order: Vec<&Record> = Vec::new();
    let mut known = BTreeSet::new();
    let mut columns = BTreeSet::new();
    let mut number = 0;
    for (target, document) in documents.iter().enumerate() {
        for record in &document.results {
            if known.insert(record.id.as_str()) {
                order.push(record);
            }
            let way = WAYS.iter().position(|way| *way == record.way);
            columns.insert((target, way.unwrap_or(WAYS.len()), record.way.as_str()));
            cells.insert((&record.id, target, &record.way), (number, record));
            number += 1;
        }
    }
    html! {
        div.wide { table #matrix {
            thead { tr {
                th scope="col" { "Case" } th scope="col" { "Level" }
                @for (target, _, way) in &columns {
                    th scope="col" { (way) @if let (true, Some(document)) = (documents.len() > 1, documents.get(*target)) { div.soft { (plain(&document.target.name)) } } }
                }
            } }
            tbody { @for first in &order { tr data-level=(first.level) {
                th scope="row" { code { (first.id) } span { (plain(&first.title)) } }
                td { (first.level) }
                @for (target, _, way) in &columns {
                    td { @if let Some((number, record)) = cells.get(&(first.id.as_str(), *target, *way)) { (cell(&cells, documents.len(), *target, *number, record)) } }
                }
            } } }
        } }
    }
}

fn cell(
    cells: &Cells<'_>,
    targets: usize,
    target: usize,
    number: usize,
    record: &Record,
) -> Markup {
    let same = |other: usize| {
        cells
            .get(&(record.id.as_str(), other, record.way.as_str()))
            .is_some_and(|(_, r)| r.verdict == record.verdict && r.seen == record.seen)
    };
    let changed = !(0..targets).all(same);
    let class = format!(
        "v {}{}",
        record.verdict,
        if record.is_expected() { "" } else { " off" }
    );
    let address = if target == 0 {
        format!("#case={}", record.name)
    } else {
        format!("#case={}&t={target}", record.name)
    };
    html! {
        a class=(class) href=(address) title=(record.line()) data-name=(record.name) data-target=(target) data-run=(number)
            data-way=(record.way) data-verdict=(record.verdict) data-standing=(record.standing)
            data-changed=(u8::from(changed)) data-flaky=(u8::from(!record.flaky.is_empty())) { b { (record.verdict) } }
        @if !record.seen.is_empty() { div.soft { (plain(&record.seen)) } }
    }
}

/// JSON that can stand in a script element: no markup can begin or end in it.
fn embedded(value: &Value) -> PreEscaped<String> {
    let text = value.to_string();
    let text = text
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026");
    PreEscaped(
        text.replace('\u{2028}', "\\u2028")
            .replace('\u{2029}', "\\u2029"),
    )
}

fn data(documents: &[&Document]) -> Markup {
    let mut clauses: BTreeMap<&str, Value> = BTreeMap::new();
    for clause in documents
        .iter()
        .flat_map(|d| &d.results)
        .flat_map(|r| &r.clauses)
    {
        clauses.entry(&clause.number).or_insert_with(|| {
            json!({
                "title": clause.title,
                "level": clause.level,
                "sources": clause.sources,
                "text": clause.text,
                "file": clause.file,
            })
        });
    }
    let records = documents
        .iter()
        .flat_map(|d| d.results.iter().map(|r| (d.target.name.as_str(), r)));
    html! {
        script #clauses type="application/json" { (embedded(&json!(clauses))) }
        @for (number, (target, record)) in records.enumerate() {
            script id={ "r" (number) } type="application/json" { (embedded(&run(target, record))) }
        }
    }
}

fn run(target: &str, record: &Record) -> Value {
    let mut room = HEX_OF_CASE;
    let items: Vec<Value> = record
        .items
        .iter()
        .map(|step| {
            // Two digits make a byte.
            let length = step.hex.len().min(HEX_OF_STEP).min(room & !1);
            let hex = step.hex.get(..length).unwrap_or_default();
            room -= length;
            json!([
                step.at,
                step.connection,
                u8::from(step.side == "server"),
                step.layer,
                plain(&step.text),
                step.length,
                hex
            ])
        })
        .collect();
    json!({
        "target": plain(target),
        "name": record.name,
        "title": record.title,
        "level": record.level,
        "clauses": record.clauses.iter().map(|clause| &clause.number).collect::<Vec<_>>(),
        "tags": record.tags,
        "why": record.why,
        "sends": record.sends,
        "accepts": record.accepts,
        "verdict": record.verdict,
        "seen": record.seen,
        "expected": record.expected.as_deref().map(plain),
        "actual": record.actual.as_deref().map(plain),
        "reason": record.reason.as_deref().map(plain),
        "standing": record.standing,
        "expectation": record.expectation,
        "flaky": record.flaky.iter().map(|other| json!({
            "verdict": other.verdict,
            "seed": other.seed.to_string(),
            "detail": plain(&other.detail),
        })).collect::<Vec<_>>(),
        "seconds": record.seconds,
        "closes": plain(&closes::line(&record.closes)),
        "bytes": record.bytes,
        "reproduce": record.reproduce,
        "items": items,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_markup_of_others() {
        let value = json!("</script><script>alert(1)</script><!-- & \u{2028}");
        let text = embedded(&value).0;
        assert!(!text.contains(['<', '>', '&', '\u{2028}']), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(value));
    }
}
