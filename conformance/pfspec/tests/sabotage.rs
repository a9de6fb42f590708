//! The judge is judged: each fault is caught by the cases of which `sabotage.md` says so, and those pass without it.

use pfspec::case::{Case, Level, Way, Word};
use pfspec::run::{name_of, reserved};
use pfspec::sabotage::document::Expected;
use pfspec::sabotage::matrix::{Options, departs, judged};
use pfspec::sabotage::{Fault, NONE, faults};
use pfspec::target::Target;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const DOCUMENT: &str = include_str!("../sabotage.md");
const AGAIN: &str =
    "run `cargo run -p pfspec --example sabotage -- --out conformance/pfspec/sabotage.md`";

/// Cases by name, without those that run only when asked for.
fn cases() -> BTreeMap<String, (Case, Way)> {
    let mut cases = BTreeMap::new();
    for case in pfspec::catalogue::all() {
        if reserved(&case, false, false).is_none() {
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

/// What the first of the cases said that did not catch the fault, if none of them did.
async fn uncaught(
    inner: Arc<Target>,
    fault: &'static Fault,
    cases: Vec<(Case, Way)>,
) -> Option<String> {
    let mut said = Vec::new();
    for case in cases {
        let options = Options {
            patience: Duration::from_millis(1500),
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
    let (known, expected) = (cases(), Expected::read(DOCUMENT));
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
        patience: pfspec::session_patience(),
        jobs: 16,
        ..Options::default()
    };
    let reports = judged(&inner, &NONE, cases, &options).await;
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
    let expected = Expected::read(DOCUMENT);
    let mut missing = Vec::new();
    for (name, (case, _)) in cases() {
        if matches!(case.level, Level::Must | Level::Should)
            && !expected.cases.contains(&name)
            && !expected.idle.contains(&name)
            && !expected.silent.contains(&name)
        {
            missing.push(name);
        }
    }
    assert!(
        missing.is_empty(),
        "not in sabotage.md ({AGAIN}): {missing:?}"
    );
}

#[test]
fn the_document_knows_every_fault() {
    let expected = Expected::read(DOCUMENT);
    let ids: BTreeSet<&str> = faults::all().iter().map(|fault| fault.id).collect();
    let written: BTreeSet<&str> = expected.faults.keys().map(String::as_str).collect();
    assert_eq!(ids, written, "{AGAIN}");
}
