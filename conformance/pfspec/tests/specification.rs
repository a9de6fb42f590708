//! The specification and the cases belong together: every case cites clauses that exist and takes the level of the
//! first; every clause that a server must keep has a case.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that breaks is a test that fails"
)]

use pfspec::case::{Case, Level};
use pfspec::spec::{self, Clause};
use std::collections::BTreeSet;

/// MUST clauses that bind a server and that no case asks about, with the reason.
const UNSEEN: &[(&str, &str)] = &[];

fn clause<'a>(clauses: &'a [Clause], number: &str) -> Option<&'a Clause> {
    clauses.iter().find(|clause| clause.number == number)
}

fn is_for_clients_only(clause: &Clause) -> bool {
    clause.who.iter().all(|who| who == "client")
}

#[test]
fn every_clause_is_read() {
    let texts = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../spec")).unwrap();
    let mut titles = 0;
    for entry in texts {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        titles += text
            .lines()
            .filter(|line| line.starts_with("### ") && !line.contains("CHAPTER"))
            .count();
    }
    let clauses = spec::clauses();
    assert_eq!(clauses.len(), titles);
    let numbers: BTreeSet<_> = clauses.iter().map(|clause| &clause.number).collect();
    assert_eq!(numbers.len(), clauses.len(), "a number is there twice");
    for clause in &clauses {
        assert!(
            !clause.text.is_empty() && !clause.sources.is_empty(),
            "{}",
            clause.number
        );
    }
}

#[test]
fn every_case_is_complete() {
    let clauses = spec::clauses();
    let mut ids = BTreeSet::new();
    for case in pfspec::catalogue::all() {
        let Case { id, .. } = case;
        assert!(ids.insert(id), "{id} is there twice");
        assert!(
            id.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-/".contains(&b)),
            "{id}"
        );
        assert!(!case.ways.is_empty() && !case.roles.is_empty(), "{id}");
        for (what, text) in [
            ("title", case.title),
            ("why", case.why),
            ("sends", case.sends),
            ("accepts", case.accepts),
        ] {
            assert!(!text.is_empty(), "{id} has no text for {what}");
        }
        assert!(!case.clauses.is_empty(), "{id} cites nothing");
        for number in case.clauses {
            assert!(
                clause(&clauses, number).is_some(),
                "{id} cites {number}, which is not there"
            );
        }
        // What a case asks may be less than its clause says, never more.
        let level = clause(&clauses, case.clauses[0]).unwrap().level;
        assert!(
            case.level >= level,
            "{id} is {:?} and its clause {} only {level:?}",
            case.level,
            case.clauses[0]
        );
    }
}

#[test]
fn every_must_of_a_server_has_a_case() {
    let cited: BTreeSet<&str> = pfspec::catalogue::all()
        .iter()
        .filter(|case| case.level == Level::Must)
        .flat_map(|case| case.clauses.iter().copied())
        .collect();
    let clauses = spec::clauses();
    let missing: Vec<String> = clauses
        .iter()
        .filter(|clause| clause.level == Level::Must && !is_for_clients_only(clause))
        .filter(|clause| !cited.contains(clause.number.as_str()))
        .filter(|clause| !UNSEEN.iter().any(|(number, _)| *number == clause.number))
        .map(|clause| format!("{} {}", clause.number, clause.title))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
    for (number, reason) in UNSEEN {
        assert!(
            clause(&clauses, number).is_some() && !reason.is_empty(),
            "{number}"
        );
        assert!(!cited.contains(number), "{number} has a case");
    }
}
