//! Runs cases against a target, several at once, and collects the results in the order of the catalogue.

use crate::case::{Case, Outcome, Seen, Stop, Tag, Way, Word};
use crate::dice::Dice;
use crate::probe::log::{Chunk, Item, Log};
use crate::target::Target;
use crate::trial::Trial;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

/// What came of one case on one way.
#[derive(Debug, Clone)]
pub struct Report {
    /// The case.
    pub case: Case,
    /// On what it ran.
    pub way: Way,
    /// The verdict.
    pub word: Word,
    /// What was seen, or why not.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
    /// Since the run began.
    pub began: Duration,
    /// The ladder.
    pub items: Vec<Item>,
    /// Bytes by connection.
    pub chunks: Vec<Chunk>,
    /// Bytes on all its connections.
    pub bytes: u64,
}

impl Report {
    /// `ID@WAY`, by which reports and expectations name it.
    #[must_use]
    pub fn name(&self) -> String {
        name_of(&self.case, self.way)
    }

    /// One line of what was seen, without the verdict.
    #[must_use]
    pub fn detail(&self) -> String {
        match &self.outcome {
            Ok(Seen(slug)) => slug.to_string(),
            Err(stop) => stop.to_string(),
        }
    }
}

/// `ID@WAY`
#[must_use]
pub fn name_of(case: &Case, way: Way) -> String {
    format!("{}@{}", case.id, way.name())
}

/// How a run goes.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What runs, in order.
    pub cases: Vec<(Case, Way)>,
    /// How many at once.
    pub jobs: usize,
    /// Seed of all randomness.
    pub seed: u64,
    /// How long to wait for what should come at once.
    pub patience: Duration,
    /// Stop at the first FAIL.
    pub fail_fast: bool,
}

/// Runs the plan. `tell` hears of every case as it ends, in no order. `stop` becomes true when the user interrupts:
/// cases that have not ended are left out.
///
/// The results are in the order of the plan.
pub async fn run(
    target: Arc<Target>,
    plan: &Plan,
    mut stop: watch::Receiver<bool>,
    tell: &mut (dyn FnMut(&Report) + Send),
) -> Vec<Report> {
    let began = Instant::now();
    let slots = Arc::new(Semaphore::new(plan.jobs.max(1)));
    let (sender, mut results) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    // Those that need all slots come last: each that stood between the others would wait for all of them to end.
    let mut order: Vec<_> = plan.cases.iter().cloned().enumerate().collect();
    order.sort_by_key(|(_, (case, _))| runs_alone(case));
    for (index, (case, way)) in order {
        let (slots, sender, target) = (slots.clone(), sender.clone(), target.clone());
        let (seed, patience) = (plan.seed, plan.patience);
        let wanted = if runs_alone(&case) { plan.jobs } else { 1 };
        let wanted = u32::try_from(wanted.max(1)).unwrap_or(u32::MAX);
        tasks.spawn(async move {
            // It is never closed.
            let Ok(_slots) = slots.acquire_many_owned(wanted).await else {
                return;
            };
            let report = one(target, case, way, seed, patience, began).await;
            // The receiver is gone once the user has interrupted.
            drop(sender.send((index, report)));
        });
    }
    drop(sender);
    let mut done: Vec<(usize, Report)> = Vec::new();
    loop {
        let result = tokio::select! {
            result = results.recv() => result,
            _ = stop.wait_for(|stop| *stop) => None,
        };
        let Some((index, report)) = result else {
            break;
        };
        tell(&report);
        let failed = report.word == Word::Fail;
        done.push((index, report));
        // Whoever was told may have stopped it, while the next result is there already.
        if failed && plan.fail_fast || *stop.borrow() {
            break;
        }
    }
    tasks.shutdown().await;
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, report)| report).collect()
}

/// What a loaded server does late is not to be laid to the cases beside; and what those do not to a case that counts.
fn runs_alone(case: &Case) -> bool {
    case.alone || case.has(Tag::Load) || case.has(Tag::Hostile)
}

async fn one(
    target: Arc<Target>,
    case: Case,
    way: Way,
    seed: u64,
    patience: Duration,
    began: Instant,
) -> Report {
    let log = Log::default();
    let started = Instant::now();
    let outcome = if way != Way::Http && !target.ways.contains(&way) {
        Err(Stop::Unsupported(format!(
            "the target does not serve {}",
            way.name()
        )))
    } else {
        let name = name_of(&case, way);
        let mut trial = Trial {
            target,
            way,
            dice: Dice::new(seed, &name),
            log: log.clone(),
            patience,
        };
        let run = case.run;
        let deadline = case.deadline;
        // A bug in one case is no reason to lose the others.
        let caught =
            tokio::spawn(async move { tokio::time::timeout(deadline, run(&mut trial)).await });
        let handle = Aborting(caught);
        match handle.wait().await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Stop::Inconclusive(format!(
                "the case did not end within its {deadline:?}"
            ))),
            Err(error) => Err(Stop::Inconclusive(format!("a bug of the judge: {error}"))),
        }
    };
    // A server may say in its errors what it was sent.
    let outcome = outcome.map_err(|stop| match stop {
        Stop::Departure { expected, actual } => {
            Stop::departure(log.blot(&expected), log.blot(&actual))
        }
        Stop::Unsupported(text) => Stop::Unsupported(log.blot(&text)),
        Stop::Inconclusive(text) => Stop::Inconclusive(log.blot(&text)),
    });
    let (items, chunks, bytes) = log.take();
    Report {
        word: Word::of(case.level, &outcome),
        case,
        way,
        outcome,
        took: started.elapsed(),
        began: started.duration_since(began),
        items,
        chunks,
        bytes,
    }
}

/// A task that ends with whoever waits for it.
struct Aborting<T>(tokio::task::JoinHandle<T>);

impl<T> Aborting<T> {
    async fn wait(mut self) -> Result<T, tokio::task::JoinError> {
        (&mut self.0).await
    }
}

impl<T> Drop for Aborting<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A case that does not run, and why.
pub type LeftOut = (Case, Way, &'static str);

/// Which cases of a catalogue run against a target, and which are left out, with the reason.
#[must_use]
pub fn choose(
    catalogue: &[Case],
    target: &Target,
    wanted: &dyn Fn(&Case, Way) -> Option<&'static str>,
) -> (Vec<(Case, Way)>, Vec<LeftOut>) {
    let (mut run, mut left) = (Vec::new(), Vec::new());
    for case in catalogue {
        for way in case.ways {
            let reason = if !case.roles.contains(&target.role) {
                Some("not for this kind of target")
            } else if target
                .minor
                .is_some_and(|m| m < case.since.0 || m > case.since.1)
            {
                Some("not for this version")
            } else {
                wanted(case, *way)
            };
            match reason {
                None => run.push((case.clone(), *way)),
                Some(reason) => left.push((case.clone(), *way, reason)),
            }
        }
    }
    (run, left)
}

/// Why a case is left out unless asked for.
#[must_use]
pub fn reserved(case: &Case, slow: bool, hostile: bool) -> Option<&'static str> {
    if case.has(Tag::Hostile) && !hostile {
        Some("abuses the server: runs with --hostile only")
    } else if case.has(Tag::Slow) && !slow {
        Some("slow: runs with --slow only")
    } else {
        None
    }
}
