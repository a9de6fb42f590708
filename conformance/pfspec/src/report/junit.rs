//! JUnit: a test suite for each group of cases.

use super::model::{Document, Record};
use super::plain;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use std::collections::BTreeMap;
use std::time::Duration;

/// The text.
///
/// # Errors
/// None that can happen: it is written to memory.
pub fn write(document: &Document) -> Result<String, String> {
    let mut groups: BTreeMap<String, Vec<&Record>> = BTreeMap::new();
    for record in &document.results {
        let group = record.id.rsplit_once('/').map_or("", |(group, _)| group);
        groups.entry(group.to_owned()).or_default().push(record);
    }
    let mut report = Report::new(format!("pfspec, {}", plain(&document.target.name)));
    report.set_time(Duration::from_secs_f64(document.run.seconds));
    for (group, records) in groups {
        let mut suite = TestSuite::new(group.as_str());
        suite.add_property(("seed", document.run.seed.to_string().as_str()));
        for record in records {
            suite.add_test_case(case(&group, record));
        }
        report.add_test_suite(suite);
    }
    report.to_string().map_err(|error| error.to_string())
}

fn case(group: &str, record: &Record) -> TestCase {
    let line = record.line();
    let mut status = match record.standing.as_str() {
        "departure" | "unexpected-pass" => TestCaseStatus::non_success(NonSuccessKind::Failure),
        "inconclusive" => TestCaseStatus::non_success(NonSuccessKind::Error),
        _ if record.verdict == "PASS" || record.verdict == "INFO" => TestCaseStatus::success(),
        // Known, or not offered: nothing to be red about, and no success either.
        _ => TestCaseStatus::skipped(),
    };
    if record.verdict != "PASS" || !record.is_expected() {
        status.set_message(line.clone());
        status.set_type(record.verdict.clone());
        let clauses: Vec<String> = record
            .clauses
            .iter()
            .map(|clause| format!("{} {}", clause.number, clause.title))
            .collect();
        status.set_description(format!(
            "{line}\nRule: {} ({})\nClauses: {}\nSends: {}\nAccepts: {}\nWhy: {}\nAgain: {}",
            record.title,
            record.level,
            clauses.join("; "),
            record.sends,
            record.accepts,
            record.why,
            record.reproduce
        ));
    }
    let mut case = TestCase::new(record.name.as_str(), status);
    case.set_classname(format!("pfspec.{}", group.replace('/', ".")));
    case.set_time(Duration::from_secs_f64(record.seconds));
    case.add_property(("verdict", record.verdict.as_str()));
    case.add_property(("level", record.level.as_str()));
    if !record.seen.is_empty() {
        case.add_property(("seen", record.seen.as_str()));
    }
    case
}
