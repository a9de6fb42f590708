//! The specification as data: which clauses there are, and what level and text each has.

use crate::case::Level;

/// One clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    /// `7.4`
    pub number: String,
    /// Title.
    pub title: String,
    /// Level.
    pub level: Level,
    /// Whom it binds.
    pub who: Vec<String>,
    /// Kubernetes versions.
    pub versions: String,
    /// Where it is from.
    pub sources: String,
    /// Text.
    pub text: String,
    /// File name of its chapter.
    pub file: &'static str,
}

macro_rules! chapters {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../spec/", $name)))),*]
    };
}

const CHAPTERS: &[(&str, &str)] = chapters![
    "01-terms-and-roles.md",
    "02-spdy-frames.md",
    "03-header-blocks.md",
    "04-streams.md",
    "05-session.md",
    "06-upgrade.md",
    "07-pairs.md",
    "08-data-and-ends.md",
    "09-backpressure.md",
    "10-websocket.md",
    "11-channels.md",
    "12-exec-channels.md",
    "13-tunnel.md",
    "14-limits.md",
    "15-kubectl.md",
];

/// All clauses, in order.
#[must_use]
pub fn clauses() -> Vec<Clause> {
    let mut clauses = Vec::new();
    for (file, text) in CHAPTERS {
        for part in text.split("\n### ").skip(1) {
            if let Some(clause) = parse(file, part) {
                clauses.push(clause);
            }
        }
    }
    clauses
}

fn parse(file: &'static str, part: &str) -> Option<Clause> {
    let (head, rest) = part.split_once('\n')?;
    let (number, title) = head.split_once(' ')?;
    let (fields, text) = rest.trim_start().split_once('\n')?;
    let mut fields = fields.split(" | ");
    let level = match fields.next()?.trim() {
        "MUST" => Level::Must,
        "SHOULD" => Level::Should,
        "OBSERVED" => Level::Observed,
        "QUALITY" => Level::Quality,
        _ => return None,
    };
    let who = fields
        .next()?
        .split(", ")
        .map(|who| who.trim().to_owned())
        .collect();
    let versions = fields.next()?.trim().to_owned();
    let sources = fields.collect::<Vec<_>>().join(" | ");
    // The next chapter section is not part of it.
    let text = text
        .split("\n## ")
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned();
    Some(Clause {
        number: number.to_owned(),
        title: title.to_owned(),
        level,
        who,
        versions,
        sources,
        text,
        file,
    })
}

/// The line of its chapter on which a clause begins, from 1.
#[must_use]
pub fn line_of(number: &str) -> Option<usize> {
    let head = format!("### {number} ");
    CHAPTERS.iter().find_map(|(_, text)| {
        let at = text.lines().position(|line| line.starts_with(&head))?;
        Some(at + 1)
    })
}
