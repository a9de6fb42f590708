//! The judge is judged: each fault is caught by the cases of which `sabotage.md` says so, and those pass without it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that breaks is a test that fails"
)]

use pfspec::case::{Case, Level, Role, Way, Word};
use pfspec::probe::session::PATIENCE;
use pfspec::run::name_of;
use pfspec::sabotage::document::Expected;
use pfspec::sabotage::excused;
use pfspec::sabotage::matrix::{Options, departs, judged, left_out};
use pfspec::sabotage::{Fault, NONE, faults};
use pfspec::target::Target;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/sabotage.md");
const AGAIN: &str =
    "run `cargo run -p pfspec --example sabotage -- --out conformance/pfspec/sabotage.md`";

fn expected() -> Expected {
    Expected::read(&std::fs::read_to_string(DOCUMENT).unwrap())
}

/// Cases of the embedded cluster by name, without those that take no part.
fn cases() -> BTreeMap<String, (Case, Way)> {
    let mut cases = BTreeMap::new();
    for case in pfspec::catalogue::all() {
        if left_out(&case).is_none() && case.roles.contains(&Role::Gateway) {
            for way in case.ways {
                cases.insert(name_of(&case, *way), (case.clone(), *way));
            }
        }
    }
    cases
}

async fn embedded() -> anyhow::Result<Arc<Target>> {
    drop(rustls::crypto::ring::default_provider().install_default());
    Ok(Arc::new(pfspec::target::embedded().await?))
}

/// What the cases said, if none of them caught the fault.
async fn uncaught(
    inner: Arc<Target>,
    fault: &'static Fault,
    cases: Vec<(Case, Way)>,
) -> Option<String> {
    let mut said = Vec::new();
    // A case that waits in vain waits for all its patience, so a short one is tried first. What comes too late for
    // it by the machine's load departs as well; what was kept from its question by that has a second try.
    let short = Duration::from_millis(1500);
    let tries = [short, PATIENCE];
    for (patience, case) in tries
        .into_iter()
        .flat_map(|patience| std::iter::repeat(patience).zip(cases.clone()))
    {
        let options = Options {
            patience,
            ..Options::default()
        };
        let reports = judged(&inner, fault, vec![case], &options).await;
        if reports.iter().any(departs) {
            return None;
        }
        said.extend(
            reports
                .iter()
                .map(|r| format!("{} {} {}", r.name(), r.word.name(), r.detail())),
        );
    }
    Some(format!("{}: {}", fault.id, said.join("; ")))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_is_caught() {
    let inner = embedded().await.unwrap();
    let (known, expected) = (cases(), expected());
    let slots = Arc::new(Semaphore::new(24));
    let mut tasks = JoinSet::new();
    let mut used = BTreeSet::new();
    for fault in faults::all() {
        let names = expected
            .faults
            .get(fault.id)
            .unwrap_or_else(|| panic!("{} is not in sabotage.md: {AGAIN}", fault.id));
        // The second speaks if the first was kept from it, by a machine under load for example.
        let cases: Vec<(Case, Way)> = names
            .iter()
            .take(2)
            .map(|name| {
                let case = known.get(name).cloned();
                case.unwrap_or_else(|| panic!("there is no case {name}: {AGAIN}"))
            })
            .collect();
        if cases.is_empty() {
            let reason = excused::fault(fault.id);
            assert!(reason.is_some(), "nothing catches {}: {AGAIN}", fault.id);
            continue;
        }
        used.extend(names.iter().take(1).cloned());
        let (inner, slots) = (inner.clone(), slots.clone());
        tasks.spawn(async move {
            let _slot = slots.acquire_owned().await;
            uncaught(inner, fault, cases).await
        });
    }
    let uncaught: Vec<String> = tasks.join_all().await.into_iter().flatten().collect();
    assert!(uncaught.is_empty(), "not caught:\n{}", uncaught.join("\n"));

    // A case that fails whatever it meets would have caught them all.
    let cases: Vec<(Case, Way)> = used
        .iter()
        .filter_map(|name| known.get(name).cloned())
        .collect();
    let options = Options {
        patience: PATIENCE,
        jobs: 16,
        ..Options::default()
    };
    let mut reports = judged(&inner, &NONE, cases, &options).await;
    // Which is kept from passing by a busy machine passes alone.
    for report in &mut reports {
        if report.word != Word::Pass {
            let alone = vec![(report.case.clone(), report.way)];
            *report = judged(&inner, &NONE, alone, &options).await.remove(0);
        }
    }
    assert_eq!(reports.len(), used.len());
    for report in reports {
        assert_eq!(
            report.word,
            Word::Pass,
            "{}: {}",
            report.name(),
            report.detail()
        );
    }
}

#[test]
fn each_case_can_fail() {
    let expected = expected();
    let mut missing = Vec::new();
    for (name, (case, _)) in cases() {
        let bound = matches!(case.level, Level::Must | Level::Should);
        let idle = expected.idle.contains(&name) && excused::case(&name).is_some();
        let silent = expected.silent.contains(&name) && excused::silent(&name).is_some();
        if bound && !idle && !silent && !expected.cases.contains_key(&name) {
            missing.push(name);
        }
    }
    assert!(
        missing.is_empty(),
        "in sabotage.md they catch nothing, without a reason, or are not there ({AGAIN}): {missing:?}"
    );
}

#[test]
fn the_document_knows_every_fault() {
    let expected = expected();
    let ids: BTreeSet<&str> = faults::all().iter().map(|fault| fault.id).collect();
    let written: BTreeSet<&str> = expected.faults.keys().map(String::as_str).collect();
    assert_eq!(ids, written, "{AGAIN}");
}
