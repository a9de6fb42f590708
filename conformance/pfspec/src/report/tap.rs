//! TAP, version 14.

use super::model::Document;
use super::plain;

/// The text.
#[must_use]
pub fn write(document: &Document) -> String {
    let mut text = format!("TAP version 14\n1..{}\n", document.results.len());
    text.push_str(&format!(
        "# {}, seed {}\n",
        plain(&document.target.name),
        document.run.seed
    ));
    for (index, record) in document.results.iter().enumerate() {
        let good = record.is_expected();
        let known = good && matches!(record.verdict.as_str(), "FAIL" | "SHOULD" | "INCONCLUSIVE");
        let (word, directive) = match (good, known) {
            (true, true) => ("not ok", format!(" # TODO {}", reason(record))),
            (true, false) if record.verdict == "UNSUPPORTED" => {
                ("ok", format!(" # SKIP {}", reason(record)))
            }
            (true, false) => ("ok", String::new()),
            (false, _) => ("not ok", String::new()),
        };
        text.push_str(&format!(
            "{word} {} - {}{directive}\n",
            index + 1,
            record.name
        ));
        if record.verdict != "PASS" || !good {
            let json = |text: &str| serde_json::Value::from(text).to_string();
            text.push_str("  ---\n");
            text.push_str(&format!("  verdict: {}\n", record.verdict));
            text.push_str(&format!("  standing: {}\n", record.standing));
            text.push_str(&format!("  message: {}\n", json(&plain(&record.detail()))));
            text.push_str(&format!("  reproduce: {}\n", json(&record.reproduce)));
            text.push_str("  ...\n");
        }
    }
    if document.run.interrupted {
        text.push_str("Bail out! Interrupted\n");
    }
    text
}

fn reason(record: &super::model::Record) -> String {
    let known = record
        .expectation
        .as_ref()
        .map(|known| known.reason.clone());
    let reason = known.unwrap_or_else(|| record.detail());
    plain(&reason).replace('\\', "\\\\").replace('#', "\\#")
}
