//! Markdown that fits a comment.

use super::model::{Document, Record};
use super::{counted, plain};

/// GitHub takes 65 536 characters.
const LONGEST: usize = 60_000;

/// Text between backticks: it has none, and no bar. In there GitHub neither calls people nor makes links.
fn code(text: &str) -> String {
    if text.trim().is_empty() {
        return String::new();
    }
    format!("`{}`", plain(text).replace('`', "'").replace('|', "¦"))
}

/// The text.
#[must_use]
pub fn write(document: &Document) -> String {
    let (summary, run) = (&document.summary, &document.run);
    let mut text = format!("## pfspec: {}\n\n", code(&document.target.name));
    if run.interrupted {
        text.push_str("**Interrupted: cases are missing.**\n\n");
    } else if run.stopped_early {
        text.push_str("**Stopped at the first departure: cases are missing.**\n\n");
    }
    text.push_str(&format!(
        "**{}**. {} in {:.1} s: {}. Seed {}.\n",
        document.judgement(),
        counted(summary.total, "result", "results"),
        run.seconds,
        summary.words(),
        run.seed
    ));
    let mut left = 0;
    let unexpected = document.results.iter().filter(|r| !r.is_expected());
    let known = |r: &&Record| r.is_expected() && matches!(r.verdict.as_str(), "FAIL" | "SHOULD");
    let sections = [
        ("Not as expected", unexpected.collect::<Vec<_>>()),
        (
            "Known departures",
            document.results.iter().filter(known).collect(),
        ),
    ];
    for (title, records) in sections {
        if records.is_empty() {
            continue;
        }
        text.push_str(&format!(
            "\n### {title}\n\n| Verdict | Case | What came | Clause |\n|---|---|---|---|\n"
        ));
        for record in records {
            let row = row(record);
            if text.len() + row.len() > LONGEST {
                left += 1;
            } else {
                text.push_str(&row);
            }
        }
    }
    if left > 0 {
        let are = counted(left, "more is", "more are");
        text.push_str(&format!("\n{are} in the other reports.\n"));
    }
    if let Some(first) = document.results.iter().find(|r| !r.is_expected()) {
        text.push_str(&format!(
            "\nTo see the first again: {}\n",
            code(&first.reproduce)
        ));
    }
    text
}

fn row(record: &Record) -> String {
    let line = record.line();
    let detail = line.split_once(": ").map_or("", |(_, detail)| detail);
    let detail: String = detail.chars().take(600).collect();
    let clause = record.clauses.first();
    let clause = clause.map(|c| format!("{} {}", c.number, code(&c.title)));
    format!(
        "| {} | {} | {} | {} |\n",
        record.verdict,
        code(&record.name),
        code(&detail),
        clause.unwrap_or_default()
    )
}
