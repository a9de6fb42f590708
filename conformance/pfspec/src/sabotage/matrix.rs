//! Which cases catch which faults.

use super::{Act, Fault, NONE, target};
use crate::case::{Case, Level, Stop, Way, Word};
use crate::run::{Plan, Report, choose, name_of, reserved, run};
use crate::target::Target;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// How a matrix is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// Ids of faults, with `*` for anything.
    pub faults: String,
    /// Names of cases (`ID@WAY`), with `*` for anything.
    pub cases: String,
    /// How long a case waits for what should come at once.
    pub patience: Duration,
    /// Faults at once.
    pub together: usize,
    /// Cases of one fault at once.
    pub jobs: usize,
    /// Seed of the cases.
    pub seed: u64,
    /// Every case against every fault that it can touch, not only what belongs together.
    pub all: bool,
    /// Of what belongs together, only so many cases that each fault is caught once and each case catches one.
    pub brief: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            faults: "*".to_owned(),
            cases: "*".to_owned(),
            patience: Duration::from_millis(1500),
            together: 12,
            jobs: 3,
            seed: 1,
            all: false,
            brief: false,
        }
    }
}

/// A case that catches a fault.
#[derive(Debug, Clone)]
pub struct Catch {
    /// `ID@WAY`
    pub case: String,
    /// FAIL or SHOULD.
    pub word: Word,
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
    /// Those of the levels OBSERVED and QUALITY that saw something else than without it.
    pub otherwise: Vec<String>,
}

/// All of it.
#[derive(Debug, Clone)]
pub struct Matrix {
    /// By fault, in the order of the table.
    pub rows: Vec<Row>,
    /// Cases of the levels MUST and SHOULD that ran, and their levels.
    pub asked: BTreeMap<String, Level>,
    /// Cases that fail without any fault, which say nothing here, and what they said.
    pub broken: BTreeMap<String, String>,
}

/// Whether `text` is as `pattern` says, where `*` stands for anything.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    true
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

/// Whether a case can see a fault.
#[must_use]
pub fn touches(fault: &Fault, case: &Case, way: Way) -> bool {
    let heads = matches!(fault.act, Act::Request(_) | Act::Answer(_));
    let behind = BEHIND_HEADS.iter().any(|group| case.id.starts_with(group));
    fault.on.contains(&way) && (!heads || !behind || near(fault, case))
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
        fail_fast: false,
    };
    let (_stop, stopped) = watch::channel(false);
    let target = Arc::new(target(inner.clone(), fault));
    run(target, &plan, stopped, &mut |_| {}).await
}

/// Whether a case catches what it ran against.
#[must_use]
pub fn departs(report: &Report) -> bool {
    matches!(report.word, Word::Fail | Word::Should)
}

/// Runs the cases against each of the faults on `inner`. `tell` hears of each fault as it is done.
pub async fn judge(
    inner: Arc<Target>,
    catalogue: &[Case],
    options: &Options,
    tell: &mut (dyn FnMut(&Row) + Send),
) -> Matrix {
    let (cases, _) = choose(catalogue, &inner, &|case, way| {
        if !matches(&options.cases, &name_of(case, way)) {
            return Some("not asked for");
        }
        reserved(case, false, false)
    });
    // Without any fault, to know what the cases say then.
    let alone = Options {
        jobs: options.jobs * 4,
        ..options.clone()
    };
    let baseline = judged(&inner, &NONE, cases.clone(), &alone).await;
    let broken: BTreeMap<String, String> = baseline
        .iter()
        .filter(|report| {
            departs(report) || report.word == Word::Inconclusive || report.word == Word::Unsupported
        })
        .map(|report| (report.name(), report.detail()))
        .collect();
    let usual: BTreeMap<String, String> = baseline
        .iter()
        .map(|report| {
            (
                report.name(),
                format!("{} {}", report.word.name(), seen(report)),
            )
        })
        .collect();
    let cases: Vec<(Case, Way)> = cases
        .into_iter()
        .filter(|(case, way)| !broken.contains_key(&name_of(case, *way)))
        .collect();
    let asked = cases
        .iter()
        .filter(|(case, _)| matches!(case.level, Level::Must | Level::Should))
        .map(|(case, way)| (name_of(case, *way), case.level))
        .collect();
    let faults: Vec<&'static Fault> = super::faults::all()
        .into_iter()
        .filter(|fault| matches(&options.faults, fault.id))
        .collect();
    let mut work = Work {
        inner,
        options: options.clone(),
        usual: Arc::new(usual),
        rows: faults.iter().map(|fault| Row::new(fault)).collect(),
        done: BTreeSet::new(),
        busy: Arc::default(),
    };
    let touched = |fault: &'static Fault| {
        let cases = cases.iter();
        cases
            .filter(move |(case, way)| touches(fault, case, *way))
            .cloned()
    };
    // What belongs together by its clauses; then the cases of their chapters for the faults that nothing caught; and
    // at last the cases that caught nothing, for the faults of their chapters.
    for round in 0..3 {
        let idle: BTreeSet<String> = work.idle(&cases);
        let plan = faults.iter().enumerate().map(|(index, fault)| {
            let caught = work
                .rows
                .get(index)
                .is_some_and(|row| !row.caught.is_empty());
            let cases = touched(fault).filter(|(case, way)| match round {
                0 => options.all || near(fault, case),
                1 => !caught && same_chapter(fault, case),
                _ => idle.contains(&name_of(case, *way)) && same_chapter(fault, case),
            });
            (index, cases.collect())
        });
        let plan = plan.collect();
        work.run(plan, round == 2, tell).await;
    }
    Matrix {
        rows: work.rows,
        asked,
        broken,
    }
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

/// A matrix in the making.
struct Work {
    inner: Arc<Target>,
    options: Options,
    usual: Arc<BTreeMap<String, String>>,
    rows: Vec<Row>,
    /// Fault and case that have met.
    done: BTreeSet<(usize, String)>,
    /// Cases that have caught something.
    busy: Arc<Mutex<BTreeSet<String>>>,
}

impl Work {
    /// Cases of the levels MUST and SHOULD that have caught nothing yet.
    fn idle(&self, cases: &[(Case, Way)]) -> BTreeSet<String> {
        let caught: BTreeSet<&str> = self
            .rows
            .iter()
            .flat_map(|row| row.caught.iter().map(|catch| catch.case.as_str()))
            .collect();
        cases
            .iter()
            .filter(|(case, _)| matches!(case.level, Level::Must | Level::Should))
            .map(|(case, way)| name_of(case, *way))
            .filter(|name| !caught.contains(name.as_str()))
            .collect()
    }

    async fn run(
        &mut self,
        plan: Vec<(usize, Vec<(Case, Way)>)>,
        for_cases: bool,
        tell: &mut (dyn FnMut(&Row) + Send),
    ) {
        let slots = Arc::new(Semaphore::new(self.options.together.max(1)));
        let mut tasks = JoinSet::new();
        for (index, cases) in plan {
            let Some(fault) = self.rows.get(index).map(|row| row.fault) else {
                continue;
            };
            let brief = self.options.brief;
            let done = |name: String| self.done.contains(&(index, name));
            let mut cases: Vec<(Case, Way)> = cases
                .into_iter()
                .filter(|(case, way)| !done(name_of(case, *way)))
                .collect();
            if cases.is_empty() {
                continue;
            }
            if brief {
                // Faults that are alike begin with different cases.
                let start = index % cases.len();
                cases.rotate_left(start);
            } else {
                let names = cases.iter().map(|(case, way)| (index, name_of(case, *way)));
                self.done.extend(names);
            }
            let (slots, inner) = (slots.clone(), self.inner.clone());
            let (options, usual) = (self.options.clone(), self.usual.clone());
            let busy = self.busy.clone();
            tasks.spawn(async move {
                let _slot = slots.acquire_owned().await;
                if !brief {
                    return (index, row(&inner, fault, cases, &options, &usual).await);
                }
                let mut all = Row::new(fault);
                let mut parts = cases.chunks(options.jobs.max(1));
                while let Some(part) = parts.next()
                    && (for_cases || all.caught.is_empty())
                {
                    let still_idle = |name: &str| {
                        let busy = busy.lock().unwrap_or_else(PoisonError::into_inner);
                        !busy.contains(name)
                    };
                    let part: Vec<(Case, Way)> = part
                        .iter()
                        .filter(|(case, way)| !for_cases || still_idle(&name_of(case, *way)))
                        .cloned()
                        .collect();
                    if !part.is_empty() {
                        all.add(row(&inner, fault, part, &options, &usual).await);
                        let mut busy = busy.lock().unwrap_or_else(PoisonError::into_inner);
                        busy.extend(all.caught.iter().map(|catch| catch.case.clone()));
                    }
                }
                (index, all)
            });
        }
        while let Some(done) = tasks.join_next().await {
            if let Ok((index, new)) = done {
                tell(&new);
                if let Some(row) = self.rows.get_mut(index) {
                    row.add(new);
                }
            }
        }
    }
}

impl Row {
    fn new(fault: &'static Fault) -> Self {
        Self {
            fault,
            ran: 0,
            caught: Vec::new(),
            otherwise: Vec::new(),
        }
    }

    fn add(&mut self, more: Self) {
        self.ran += more.ran;
        self.caught.extend(more.caught);
        self.caught.sort_by_key(|catch| catch.took);
        self.otherwise.extend(more.otherwise);
    }
}

fn is_unanswered(report: &Report) -> bool {
    matches!(&report.outcome, Err(Stop::Departure { expected, actual })
        if expected == "an HTTP answer" && actual.starts_with("nothing within"))
}

/// What was seen, where that is the same from run to run.
fn seen(report: &Report) -> String {
    match &report.outcome {
        Ok(seen) => seen.0.to_string(),
        Err(_) => "a departure".to_owned(),
    }
}

async fn row(
    inner: &Arc<Target>,
    fault: &'static Fault,
    cases: Vec<(Case, Way)>,
    options: &Options,
    usual: &BTreeMap<String, String>,
) -> Row {
    let ran = cases.len();
    let mut reports = judged(inner, fault, cases, options).await;
    // The heads are in order, so the machine was too busy for the connection.
    let heads = matches!(fault.act, Act::Request(_) | Act::Answer(_));
    reports.retain(|report| heads || !is_unanswered(report));
    let mut caught: Vec<Report> = reports.iter().filter(|r| departs(r)).cloned().collect();
    let mut otherwise: BTreeSet<String> = reports
        .iter()
        .filter(|report| matches!(report.case.level, Level::Observed | Level::Quality))
        .filter(|report| {
            let now = format!("{} {}", report.word.name(), seen(report));
            usual.get(&report.name()) != Some(&now)
        })
        .map(Report::name)
        .collect();
    // A few may have been late for another reason; a fault is caught every time.
    if caught.len() + otherwise.len() < 60 {
        let again: Vec<(Case, Way)> = reports
            .iter()
            .filter(|report| departs(report) || otherwise.contains(&report.name()))
            .map(|report| (report.case.clone(), report.way))
            .collect();
        let again = judged(inner, fault, again, options).await;
        let twice: BTreeSet<String> = again
            .iter()
            .filter(|report| {
                let now = format!("{} {}", report.word.name(), seen(report));
                departs(report) || usual.get(&report.name()) != Some(&now)
            })
            .map(Report::name)
            .collect();
        caught.retain(|report| twice.contains(&report.name()));
        otherwise.retain(|name| twice.contains(name));
    }
    caught.sort_by_key(|report| report.took);
    Row {
        fault,
        ran,
        caught: caught
            .into_iter()
            .map(|report| Catch {
                case: report.name(),
                word: report.word,
                detail: report.detail(),
                took: report.took,
            })
            .collect(),
        otherwise: otherwise.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        assert!(matches("*", "anything"));
        assert!(matches("spdy/*@tunnel", "spdy/frame/joined@tunnel"));
        assert!(matches("a", "a"));
        assert!(!matches("a", "ab"));
        assert!(!matches("*x*y", "axb"));
        assert!(matches("*x*y", "axby"));
    }
}
