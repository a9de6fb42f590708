//! The wire log: a file for each case on each way, with every step decoded and in hexadecimal.

use super::closes;
use super::model::{Document, Record};
use super::{plain, unhex};
use crate::run::name_of;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Writes all files, in directories as the ids say. Those of other cases are taken away: they are of an earlier run. But
/// parts of one run may share a directory.
///
/// # Errors
/// What could not be written.
pub fn write(document: &Document, directory: &Path) -> Result<(), String> {
    for record in &document.results {
        let file = directory.join(format!("{}.txt", record.name));
        let parent = file.parent().unwrap_or(directory);
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&file, text(record)))
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    if document.run.shard.is_some() {
        return Ok(());
    }
    let written: BTreeSet<&str> = document.results.iter().map(|r| r.name.as_str()).collect();
    for case in crate::catalogue::all() {
        for name in case.ways.iter().map(|way| name_of(&case, *way)) {
            let file = directory.join(format!("{name}.txt"));
            if !written.contains(name.as_str()) && file.exists() {
                fs::remove_file(&file)
                    .map_err(|error| format!("cannot remove {}: {error}", file.display()))?;
            }
        }
    }
    Ok(())
}

/// The text of one.
#[must_use]
pub fn text(record: &Record) -> String {
    let mut text = format!("{}\n\n", record.line());
    let clauses: Vec<String> = record
        .clauses
        .iter()
        .map(|c| format!("{} {} ({})", c.number, c.title, c.level))
        .collect();
    for (name, value) in [
        ("rule", record.title.as_str()),
        ("clauses", &clauses.join("; ")),
        ("sends", &record.sends),
        ("accepts", &record.accepts),
        ("ended", &plain(&closes::line(&record.closes))),
        ("again", &record.reproduce),
    ] {
        text.push_str(&format!("{name:8} {value}\n"));
    }
    text.push('\n');
    for step in &record.items {
        let time = format!("{:>4}.{:06}", step.at / 1_000_000, step.at % 1_000_000);
        let arrow = match (step.layer.as_str(), step.side.as_str()) {
            ("note", _) => "   ---".to_owned(),
            (_, "judge") => format!("{:>3} -->", step.connection),
            _ => format!("{:>3} <--", step.connection),
        };
        text.push_str(&format!(
            "{time} {arrow} {:9} {}\n",
            step.layer,
            plain(&step.text)
        ));
        let bytes = unhex(&step.hex).unwrap_or_default();
        for (row, line) in bytes.chunks(16).enumerate() {
            text.push_str(&format!("                 {}\n", dump(row * 16, line)));
        }
        if step.length > bytes.len() {
            let more = step.length - bytes.len();
            text.push_str(&format!("                 ... {more} bytes more\n"));
        }
    }
    text
}

fn dump(at: usize, line: &[u8]) -> String {
    let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
    let shown = |byte: &u8| match byte {
        0x20..=0x7e => char::from(*byte),
        _ => '.',
    };
    let ascii: String = line.iter().map(shown).collect();
    format!("{at:06x}  {:47}  {ascii}", hex.join(" "))
}
