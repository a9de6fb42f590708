//! Runs cases against a target, several at once, and collects the results in the order of the catalogue.

use crate::case::{Case, Level, Outcome, Role, Seen, Stop, Tag, Way, Word};
use crate::dice::Dice;
use crate::probe::ending::Ending;
use crate::probe::log::{Chunk, Item, Log};
use crate::target::{self, Target};
use crate::trial::Trial;
use std::any::Any;
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
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
    /// How its connections ended.
    pub endings: Vec<Ending>,
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
    /// When the run began of which this is a part, for the times of its results.
    pub began: Instant,
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
    let began = plan.began;
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
        done.push((index, report));
        // Whoever was told may have stopped it, while the next result is there already.
        if *stop.borrow() {
            break;
        }
    }
    tasks.shutdown().await;
    if !*stop.borrow() {
        for (index, report) in lost(plan, &done) {
            tell(&report);
            done.push((index, report));
        }
    }
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, report)| report).collect()
}

/// Results for those cases of a plan that have none, though nobody stopped the run.
fn lost(plan: &Plan, done: &[(usize, Report)]) -> Vec<(usize, Report)> {
    let there: BTreeSet<usize> = done.iter().map(|(index, _)| *index).collect();
    let all = plan.cases.iter().enumerate();
    let lost = all.filter(|(index, _)| !there.contains(index));
    lost.map(|(index, (case, way))| {
        let outcome = Err(Stop::Bug("the result of this case was lost".to_owned()));
        let report = Report {
            word: Word::of(case.level, &outcome),
            case: case.clone(),
            way: *way,
            outcome,
            took: Duration::ZERO,
            began: plan.began.elapsed(),
            endings: Vec::new(),
            items: Vec::new(),
            chunks: Vec::new(),
            bytes: 0,
        };
        (index, report)
    })
    .collect()
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
            target: target.clone(),
            way,
            dice: Dice::new(seed, &name),
            log: log.clone(),
            patience,
        };
        let run = case.run;
        let deadline = case.deadline;
        // A bug in one case is no reason to lose the others. In this task: with it the case is gone, and what it started.
        let work = async { tokio::time::timeout(deadline, run(&mut trial)).await };
        match caught(work).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Stop::Inconclusive(format!(
                "the case did not end within its {deadline:?}"
            ))),
            Err(panic) => Err(Stop::Bug(words_of(panic.as_ref()))),
        }
    };
    let outcome = match outcome {
        // Of what a server may do as it likes, silence says nothing unless it is about this request.
        Err(Stop::Departure { expected, actual })
            if case.level != Level::Must
                && !log.has_answer("")
                && !target::answers(&target, patience).await =>
        {
            Err(Stop::NoAnswer { expected, actual })
        }
        outcome => outcome,
    };
    // A server may say in its errors what it was sent.
    let outcome = outcome.map_err(|stop| match stop {
        Stop::Departure { expected, actual } => {
            Stop::departure(log.blot(&expected), log.blot(&actual))
        }
        Stop::NoAnswer { expected, actual } => {
            Stop::no_answer(log.blot(&expected), log.blot(&actual))
        }
        Stop::Unsupported(text) => Stop::Unsupported(log.blot(&text)),
        Stop::Inconclusive(text) => Stop::Inconclusive(log.blot(&text)),
        Stop::Bug(text) => Stop::Bug(log.blot(&text)),
    });
    let endings = log.endings();
    let (items, chunks, bytes) = log.take();
    Report {
        word: Word::of(case.level, &outcome),
        case,
        way,
        outcome,
        took: started.elapsed(),
        began: started.duration_since(began),
        endings,
        items,
        chunks,
        bytes,
    }
}

/// What `work` comes to, or what it has panicked with.
pub(crate) async fn caught<T>(work: impl Future<Output = T>) -> std::thread::Result<T> {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(move |context| {
        let polled = AssertUnwindSafe(|| work.as_mut().poll(context));
        match std::panic::catch_unwind(polled) {
            Ok(polled) => polled.map(Ok),
            // It is not looked at again.
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("it panicked: {}", text.unwrap_or("see above"))
}

/// A case that does not run, and why.
pub type LeftOut = (Case, Way, &'static str);

/// Why a case is left out that nobody named, where others were named.
pub const NOT_ASKED_FOR: &str = "not asked for";

/// Why a case is left out that somebody did not want, by name.
pub const EXCLUDED: &str = "excluded";

/// Which cases of a catalogue run against a target, and which are left out, with the reason.
#[must_use]
pub fn choose(
    catalogue: &[Case],
    target: &Target,
    wanted: &dyn Fn(&Case, Way) -> Option<&'static str>,
) -> (Vec<(Case, Way)>, Vec<LeftOut>) {
    choose_for(catalogue, target.role, target.minor, wanted)
}

/// The same for a kind of target and, if it is known, the Kubernetes minor version.
#[must_use]
pub fn choose_for(
    catalogue: &[Case],
    role: Role,
    minor: Option<u16>,
    wanted: &dyn Fn(&Case, Way) -> Option<&'static str>,
) -> (Vec<(Case, Way)>, Vec<LeftOut>) {
    let (mut run, mut left) = (Vec::new(), Vec::new());
    for case in catalogue {
        for way in case.ways {
            let choice = wanted(case, *way);
            let reason = if choice == Some(NOT_ASKED_FOR) {
                choice
            } else if !case.roles.contains(&role) {
                Some("not for this kind of target")
            } else if minor.is_some_and(|m| m < case.since.0 || m > case.since.1) {
                Some("not for this version")
            } else {
                choice
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Running, SESSIONS};
    use crate::target::{NoPlace, Placing, Reach, Who};

    /// A target that nobody can reach.
    struct Nowhere;

    impl Reach for Nowhere {
        fn place(&self, _: Who) -> Placing<'_> {
            Box::pin(async { Err(NoPlace::Unreachable("refused".to_owned())) })
        }
    }

    fn nowhere() -> Arc<Target> {
        Arc::new(Target {
            name: "nowhere".to_owned(),
            role: Role::Runtime,
            minor: None,
            ways: SESSIONS.to_vec(),
            exec: None,
            services: std::collections::BTreeMap::new(),
            reach: Box::new(Nowhere),
        })
    }

    fn breaks(_: &mut Trial) -> Running<'_> {
        Box::pin(async {
            let work: fn() -> Outcome = || std::panic::panic_any("a slip");
            work()
        })
    }

    fn asks(t: &mut Trial) -> Running<'_> {
        Box::pin(async {
            t.session().await?;
            crate::case::OK
        })
    }

    fn plan(cases: Vec<(Case, Way)>) -> Plan {
        Plan {
            cases,
            jobs: 2,
            seed: 1,
            patience: Duration::from_millis(200),
            began: Instant::now(),
        }
    }

    async fn ran(cases: Vec<(Case, Way)>) -> Vec<Report> {
        let (_stop, stopped) = watch::channel(false);
        run(nowhere(), &plan(cases), stopped, &mut |_| {}).await
    }

    #[tokio::test]
    async fn a_case_that_breaks_is_a_bug() {
        let case = Case::must("a/a", "", &[], breaks);
        let reports = ran(vec![(case, Way::Spdy)]).await;
        let outcomes: Vec<&Outcome> = reports.iter().map(|report| &report.outcome).collect();
        assert!(
            matches!(outcomes.as_slice(), [Err(Stop::Bug(text))] if text.contains("a slip")),
            "{outcomes:?}"
        );
    }

    /// A case that says when it is gone.
    fn hangs(t: &mut Trial) -> Running<'_> {
        Box::pin(async {
            let _held = t.target.clone();
            std::future::pending().await
        })
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_interrupted_case_is_gone() {
        let (stop, stopped) = watch::channel(false);
        let target = nowhere();
        let case = Case::must("a/a", "", &[], hangs);
        let plan = plan(vec![(case, Way::Spdy)]);
        let interrupt = async {
            // It is held by the caller, the run, its task, the trial, and the case.
            while Arc::strong_count(&target) < 5 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stop.send_replace(true);
        };
        let mut tell = |_: &Report| {};
        let run = run(target.clone(), &plan, stopped, &mut tell);
        let (reports, ()) = tokio::join!(run, interrupt);
        assert_eq!((reports.len(), Arc::strong_count(&target)), (0, 1));
    }

    #[test]
    fn a_lost_case_is_a_bug() {
        let case = |id| Case::observed(id, "", &[], asks);
        let plan = plan(vec![(case("a/a"), Way::Spdy), (case("a/b"), Way::Spdy)]);
        let all = lost(&plan, &[]);
        assert_eq!(all.len(), 2);
        let lost: Vec<_> = lost(&plan, all.get(..1).unwrap_or_default());
        let names: Vec<String> = lost.iter().map(|(_, report)| report.name()).collect();
        assert_eq!(names, ["a/b@spdy"]);
        let bugs = lost
            .iter()
            .all(|(_, r)| r.word == Word::Inconclusive && matches!(r.outcome, Err(Stop::Bug(_))));
        assert!(bugs);
    }

    #[tokio::test]
    async fn nobody_there_is_no_verdict() {
        let cases = [Case::must, Case::should, Case::observed, Case::quality];
        let cases = cases.map(|new| (new("a/a", "", &[], asks), Way::Spdy));
        let words: Vec<Word> = ran(cases.into()).await.iter().map(|r| r.word).collect();
        let none = Word::Inconclusive;
        assert_eq!(words, [Word::Fail, none, none, none]);
    }

    #[tokio::test]
    async fn times_are_of_the_whole_run() {
        let mut plan = plan(vec![(Case::must("a/a", "", &[], asks), Way::Spdy)]);
        plan.began = Instant::now()
            .checked_sub(Duration::from_secs(100))
            .unwrap_or_else(Instant::now);
        let (_stop, stopped) = watch::channel(false);
        let reports = run(nowhere(), &plan, stopped, &mut |_| {}).await;
        assert!(
            reports
                .iter()
                .all(|report| report.began >= Duration::from_secs(100)),
            "{reports:?}"
        );
        assert_eq!(reports.len(), 1);
    }
}
