//! Which cases catch which faults.

mod work;

use super::document::Expected;
use super::{Act, Fault, NONE, target};
use crate::case::{Case, Level, Stop, Tag, Way, Word};
use crate::run::{Plan, Report, choose, name_of, reserved, run};
use crate::select::glob;
use crate::target::Target;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How a matrix is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// Ids of faults, with `*` for anything.
    pub faults: String,
    /// Names of cases (`ID@WAY`), with `*` for anything.
    pub cases: String,
    /// How long a case waits for what should come at once: long enough that a busy machine is no fault.
    pub patience: Duration,
    /// Cases at once.
    pub jobs: usize,
    /// Seed of the cases.
    pub seed: u64,
    /// How many catches of a fault are enough.
    pub enough: usize,
    /// Only faults against the cases of their clauses: no second look for faults and cases that are left.
    pub quick: bool,
    /// When no more is begun, so that a run has an end on a slow machine; the document then says what is open.
    pub until: Option<Instant>,
    /// What an earlier run has found: only what it has not caught, or not known, runs.
    pub keep: Expected,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            faults: "*".to_owned(),
            cases: "*".to_owned(),
            patience: Duration::from_secs(4),
            jobs: 14,
            seed: 1,
            enough: 3,
            quick: false,
            until: None,
            keep: Expected::default(),
        }
    }
}

impl Options {
    /// Whether no more is begun.
    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() > until)
    }
}

/// A case that catches a fault.
#[derive(Debug, Clone)]
pub struct Catch {
    /// `ID@WAY`
    pub case: String,
    /// What it said.
    pub detail: String,
    /// How long it took.
    pub took: Duration,
}

/// What came of one fault.
#[derive(Debug, Clone)]
pub struct Row {
    /// The fault.
    pub fault: &'static Fault,
    /// How many cases ran.
    pub ran: usize,
    /// Those that catch it, the quickest first.
    pub caught: Vec<Catch>,
    /// Those of the levels OBSERVED and QUALITY that saw something else than without it. They run for faults that
    /// nothing catches.
    pub otherwise: Vec<String>,
}

impl Row {
    fn new(fault: &'static Fault, keep: &Expected) -> Self {
        let catch = |(at, case): (u32, &String)| Catch {
            case: case.clone(),
            detail: String::new(),
            // In the order of the document.
            took: Duration::from_micros(at.into()),
        };
        let names = keep.faults.get(fault.id).into_iter().flatten();
        // Of a long list the document shows the first only.
        let more = keep
            .cases
            .iter()
            .filter(|(_, faults)| faults.contains(fault.id));
        let more = more.map(|(name, _)| (1000, name));
        let mut caught: Vec<Catch> = Vec::new();
        for (at, name) in (0..).zip(names).chain(more) {
            if caught.iter().all(|known| known.case != *name) {
                caught.push(catch((at, name)));
            }
        }
        Self {
            fault,
            ran: 0,
            caught,
            otherwise: Vec::new(),
        }
    }
}

/// All of it.
#[derive(Debug, Clone)]
pub struct Matrix {
    /// By fault, in the order of the table.
    pub rows: Vec<Row>,
    /// Cases of the levels MUST and SHOULD that ran, and their levels.
    pub asked: BTreeMap<String, Level>,
    /// Cases that do not pass without any fault, which say nothing here, and what they said.
    pub broken: BTreeMap<String, String>,
    /// How many departures did not count: the case departed without the fault as well, or not a second time.
    pub doubtful: usize,
    /// Whether the run ended before all had met that should.
    pub cut: bool,
}

/// Why a case takes no part: those that load or abuse a server, or are slow by their clause, would make a run over
/// all faults last for hours.
#[must_use]
pub fn left_out(case: &Case) -> Option<&'static str> {
    if case.has(Tag::Load) {
        Some("loads the server")
    } else {
        reserved(case, false, false)
    }
}

/// Groups of cases that are about what follows a right upgrade, where faults in heads show as nothing else.
const BEHIND_HEADS: [&str; 10] = [
    "spdy/",
    "pair/",
    "pf/",
    "data/",
    "half-close/",
    "reset/",
    "backpressure/",
    "load/",
    "idle/",
    "error/",
];

/// The group of cases that play the node: no other can see what a gateway says to it.
const AT_THE_NODE: &str = "http/backend/";

/// Whether a case can see a fault.
#[must_use]
pub fn touches(fault: &Fault, case: &Case, way: Way) -> bool {
    if matches!(fault.act, Act::LegB(_)) && !case.id.starts_with(AT_THE_NODE) {
        return false;
    }
    let heads = matches!(fault.act, Act::Request(_) | Act::Answer(_));
    let behind = BEHIND_HEADS.iter().any(|group| case.id.starts_with(group));
    fault.on.contains(&way) && (!heads || !behind || near(fault, case))
}

/// Whether a case cites a clause that the fault departs from.
fn near(fault: &Fault, case: &Case) -> bool {
    case.clauses
        .iter()
        .any(|clause| fault.breaks.contains(clause))
}

fn same_chapter(fault: &Fault, case: &Case) -> bool {
    let chapter = |clause: &str| clause.split('.').next().map(str::to_owned);
    case.clauses.iter().any(|clause| {
        fault
            .breaks
            .iter()
            .any(|other| chapter(clause) == chapter(other))
    })
}

/// Runs cases against `inner` with a fault.
pub async fn judged(
    inner: &Arc<Target>,
    fault: &'static Fault,
    cases: Vec<(Case, Way)>,
    options: &Options,
) -> Vec<Report> {
    let plan = Plan {
        cases,
        jobs: options.jobs,
        seed: options.seed,
        patience: options.patience,
        began: Instant::now(),
    };
    let (_stop, stopped) = watch::channel(false);
    let target = Arc::new(target(inner.clone(), fault));
    run(target, &plan, stopped, &mut |_| {}).await
}

/// Whether a case catches what it ran against.
#[must_use]
pub fn departs(report: &Report) -> bool {
    // A server without a usable answer is caught, whatever the verdict is called.
    let bound = matches!(report.case.level, Level::Must | Level::Should);
    let silent = matches!(report.outcome, Err(Stop::NoAnswer { .. }));
    matches!(report.word, Word::Fail | Word::Should) || bound && silent
}

/// What was seen, where that is the same from run to run.
fn seen(report: &Report) -> String {
    let what = match &report.outcome {
        Ok(seen) => seen.0.to_string(),
        Err(_) => "a departure".to_owned(),
    };
    format!("{} {what}", report.word.name())
}

/// Whether a case has nothing to say about this server.
fn says_nothing(report: &Report) -> bool {
    departs(report) || matches!(report.word, Word::Inconclusive | Word::Unsupported)
}

/// Runs the cases against each of the faults on `inner`. `tell` hears of each fault as it is done, and of what is
/// done next.
pub async fn judge(
    inner: Arc<Target>,
    catalogue: &[Case],
    options: &Options,
    tell: &mut (dyn FnMut(&str) + Send),
) -> Matrix {
    let (cases, _) = choose(catalogue, &inner, &|case, way| {
        if !glob(&options.cases, &name_of(case, way)) {
            return Some("not asked for");
        }
        left_out(case)
    });
    tell(&format!("{} cases without any fault", cases.len()));
    let names: BTreeSet<String> = cases
        .iter()
        .map(|(case, way)| name_of(case, *way))
        .collect();
    // With few at once: this is where time counts against a case.
    let alone = Options {
        jobs: options.jobs.min(12),
        ..options.clone()
    };
    // Those that have caught something have passed without it.
    let (kept, cases): (Vec<_>, Vec<_>) = cases
        .into_iter()
        .partition(|(case, way)| options.keep.cases.contains_key(&name_of(case, *way)));
    let mut reports = judged(&inner, &NONE, cases, &alone).await;
    for report in &mut reports {
        if says_nothing(report) {
            let again = vec![(report.case.clone(), report.way)];
            if let Some(again) = judged(&inner, &NONE, again, &alone).await.pop() {
                *report = again;
            }
        }
    }
    // The quickest first, so that those are what a fault is first tried with.
    reports.sort_by_key(|report| report.took);
    let sum: Duration = reports.iter().map(|report| report.took).sum();
    tell(&format!("{sum:?} together; the slowest:"));
    for report in reports.iter().rev().take(8) {
        tell(&format!("{:?} {}", report.took, report.name()));
    }
    let (broken, reports): (Vec<Report>, Vec<Report>) = reports.into_iter().partition(says_nothing);
    let broken = broken
        .iter()
        .map(|report| (report.name(), report.detail()))
        .collect();
    let usual = kept.into_iter().map(work::Usual::passing);
    let usual: Vec<work::Usual> = usual.chain(reports.iter().map(work::Usual::of)).collect();
    let asked = usual
        .iter()
        .filter(|usual| usual.can_catch())
        .map(|usual| (usual.name.clone(), usual.case.level))
        .collect();
    let faults = super::faults::all().into_iter();
    let faults = faults.filter(|fault| glob(&options.faults, fault.id));
    let work = work::Work::new(inner, options.clone(), usual);
    // A case that an earlier run has found may have gone since, or take no part any more.
    let rows = faults.map(|fault| {
        let mut row = Row::new(fault, &options.keep);
        row.caught.retain(|catch| names.contains(&catch.case));
        row
    });
    let (rows, doubtful) = work.all(rows.collect(), tell).await;
    Matrix {
        rows,
        asked,
        broken,
        doubtful,
        cut: options.quick || options.is_over(),
    }
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn patterns() {
        assert!(glob("*", "anything"));
        assert!(glob("spdy/*@tunnel", "spdy/frame/joined@tunnel"));
        assert!(glob("a", "a"));
        assert!(!glob("a", "ab"));
        assert!(!glob("*x*y", "axb"));
        assert!(glob("*x*y", "axby"));
    }
}
