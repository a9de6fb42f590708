//! The rounds of a run over all faults.

use super::{Catch, Options, Row, departs, judged, near, same_chapter, seen, touches};
use crate::case::{Case, Level, Way, Word};
use crate::run::{Report, name_of};
use crate::sabotage::{Fault, NONE};
use crate::target::Target;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// A case, and what it says without any fault.
#[derive(Debug)]
pub(super) struct Usual {
    pub(super) name: String,
    pub(super) case: Case,
    way: Way,
    says: String,
}

impl Usual {
    pub(super) fn of(report: &Report) -> Self {
        Self {
            name: report.name(),
            says: seen(report),
            case: report.case.clone(),
            way: report.way,
        }
    }

    pub(super) fn passing((case, way): (Case, Way)) -> Self {
        Self {
            name: name_of(&case, way),
            says: "PASS ".to_owned(),
            case,
            way,
        }
    }

    pub(super) fn can_catch(&self) -> bool {
        matches!(self.case.level, Level::Must | Level::Should)
    }
}

/// What came of a case and a fault.
enum Met {
    Nothing,
    Caught(Catch),
    Otherwise,
}

/// A run in the making.
pub(super) struct Work {
    inner: Arc<Target>,
    options: Options,
    /// The quickest first.
    usual: Vec<Arc<Usual>>,
    slots: Semaphore,
    /// Fault and case that have met.
    done: Mutex<BTreeSet<(&'static str, String)>>,
    doubtful: AtomicUsize,
}

/// How many cases of one fault, or faults of one case, run at once.
const TOGETHER: usize = 4;

impl Work {
    pub(super) fn new(inner: Arc<Target>, options: Options, usual: Vec<Usual>) -> Self {
        Self {
            inner,
            usual: usual.into_iter().map(Arc::new).collect(),
            slots: Semaphore::new(options.jobs.max(1)),
            options,
            done: Mutex::default(),
            doubtful: AtomicUsize::new(0),
        }
    }

    /// Every round: what belongs together by its clauses; then, for the faults that nothing caught, their chapters;
    /// then what only observes; for the cases that caught nothing, first the faults of their clauses and then those
    /// of their chapters; and at last, what has come together so far being counted, each fault until enough cases
    /// have caught it.
    pub(super) async fn all(
        self,
        mut rows: Vec<Row>,
        tell: &mut (dyn FnMut(&str) + Send),
    ) -> (Vec<Row>, usize) {
        let work = Arc::new(self);
        let belongs = |fault: &Fault, usual: &Usual| usual.can_catch() && near(fault, &usual.case);
        work.by_fault(&mut rows, 1, tell, belongs).await;
        if !work.options.quick {
            work.left(&mut rows, tell).await;
        }
        tell("faults that fewer cases have caught than are enough");
        work.by_fault(&mut rows, work.options.enough, tell, belongs)
            .await;
        for row in &mut rows {
            row.caught.sort_by_key(|catch| catch.took);
        }
        (rows, work.doubtful.load(Ordering::Relaxed))
    }

    /// The rounds behind the first.
    async fn left(self: &Arc<Self>, rows: &mut [Row], tell: &mut (dyn FnMut(&str) + Send)) {
        let work = self;
        tell("faults that nothing has caught, with all cases of their chapters");
        work.by_fault(rows, 1, tell, |fault, usual| {
            usual.can_catch() && same_chapter(fault, &usual.case)
        })
        .await;
        tell("faults that nothing has caught, with what observes only");
        work.by_fault(rows, 1, tell, |fault, usual| {
            !usual.can_catch() && near(fault, &usual.case)
        })
        .await;
        tell("cases that have caught nothing, with the faults of their clauses");
        work.by_case(rows, tell, near).await;
        tell("cases that have caught nothing, with the faults of their chapters");
        work.by_case(rows, tell, same_chapter).await;
    }

    /// Each fault that fewer than `enough` cases have caught meets what belongs to it, until that many have.
    async fn by_fault(
        self: &Arc<Self>,
        rows: &mut [Row],
        enough: usize,
        tell: &mut (dyn FnMut(&str) + Send),
        belongs: impl Fn(&Fault, &Usual) -> bool,
    ) {
        let mut tasks = JoinSet::new();
        for (index, row) in rows.iter().enumerate() {
            let (fault, mut caught) = (row.fault, row.caught.len());
            let cases = self
                .usual
                .iter()
                .filter(|usual| touches(fault, &usual.case, usual.way) && belongs(fault, usual));
            let cases: Vec<Arc<Usual>> = cases.cloned().collect();
            let work = self.clone();
            tasks.spawn(async move {
                let mut met = Vec::new();
                for part in cases.chunks(TOGETHER) {
                    if caught >= enough {
                        break;
                    }
                    for (usual, came) in work.meet_all(fault, part).await {
                        caught += usize::from(matches!(came, Met::Caught(_)));
                        met.push((usual, came));
                    }
                }
                (index, met)
            });
        }
        while let Some(done) = tasks.join_next().await {
            let Ok((index, met)) = done else { continue };
            let Some(row) = rows.get_mut(index) else {
                continue;
            };
            let ran = met.len();
            for (usual, came) in met {
                row.take(&usual, came);
            }
            if ran > 0 {
                tell(&row.line());
            }
        }
    }

    /// Each case that has caught nothing meets the faults that belong to it, until it catches one.
    async fn by_case(
        self: &Arc<Self>,
        rows: &mut [Row],
        tell: &mut (dyn FnMut(&str) + Send),
        belongs: fn(&Fault, &Case) -> bool,
    ) {
        let busy: BTreeSet<String> = rows
            .iter()
            .flat_map(|row| row.caught.iter().map(|catch| catch.case.clone()))
            .collect();
        let faults: Vec<&'static Fault> = rows.iter().map(|row| row.fault).collect();
        let mut tasks = JoinSet::new();
        for usual in &self.usual {
            if !usual.can_catch() || busy.contains(&usual.name) {
                continue;
            }
            let faults = faults.iter().copied().enumerate().filter(|(_, fault)| {
                touches(fault, &usual.case, usual.way) && belongs(fault, &usual.case)
            });
            let faults: Vec<(usize, &'static Fault)> = faults.collect();
            let (work, usual) = (self.clone(), usual.clone());
            tasks.spawn(async move {
                let mut met = Vec::new();
                for part in faults.chunks(TOGETHER) {
                    if met.iter().any(|(_, came)| matches!(came, Met::Caught(_))) {
                        break;
                    }
                    let mut together = JoinSet::new();
                    for (index, fault) in part.iter().copied() {
                        let (work, usual) = (work.clone(), usual.clone());
                        together.spawn(async move { (index, work.meet(fault, &usual).await) });
                    }
                    met.extend(together.join_all().await);
                }
                (usual, met)
            });
        }
        while let Some(done) = tasks.join_next().await {
            let Ok((usual, met)) = done else { continue };
            let mut by = Vec::new();
            for (index, came) in met {
                if let Some(row) = rows.get_mut(index) {
                    if matches!(came, Met::Caught(_)) {
                        by.push(row.fault.id);
                    }
                    row.take(&usual, came);
                }
            }
            tell(&format!("{} catches {by:?}", usual.name));
        }
    }

    async fn meet_all(
        self: &Arc<Self>,
        fault: &'static Fault,
        cases: &[Arc<Usual>],
    ) -> Vec<(Arc<Usual>, Met)> {
        let mut together = JoinSet::new();
        for usual in cases {
            let (work, usual) = (self.clone(), usual.clone());
            together.spawn(async move {
                let came = work.meet(fault, &usual).await;
                (usual, came)
            });
        }
        together.join_all().await
    }

    async fn once(&self, fault: &'static Fault, usual: &Usual) -> Option<Report> {
        let case = vec![(usual.case.clone(), usual.way)];
        judged(&self.inner, fault, case, &self.options).await.pop()
    }

    /// Whether it says the usual without any fault. A busy machine may keep it from that once or twice.
    async fn passes(&self, usual: &Usual) -> bool {
        for _ in 0..3 {
            let report = self.once(&NONE, usual).await;
            let usual = |report: &Report| {
                // What passes has several ways to, and an earlier run's is not known.
                if usual.can_catch() {
                    report.word == Word::Pass
                } else {
                    seen(report) == usual.says
                }
            };
            if report.as_ref().is_some_and(usual) {
                return true;
            }
        }
        false
    }

    /// A case meets a fault. A departure counts only if the case passes without the fault right after, with the same
    /// patience, and then departs with the fault again.
    async fn meet(&self, fault: &'static Fault, usual: &Usual) -> Met {
        let new = {
            let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
            done.insert((fault.id, usual.name.clone()))
        };
        // It is never closed.
        let Ok(_slot) = self.slots.acquire().await else {
            return Met::Nothing;
        };
        if !new || self.options.is_over() {
            return Met::Nothing;
        }
        let differs = |report: &Report| {
            if usual.can_catch() {
                departs(report)
            } else {
                seen(report) != usual.says
            }
        };
        let Some(first) = self.once(fault, usual).await else {
            return Met::Nothing;
        };
        if !differs(&first) {
            return Met::Nothing;
        }
        // Who departs since nothing came in time has to show twice that it can come in time.
        let rounds = if first.detail().contains(" within ") {
            2
        } else {
            1
        };
        for _ in 0..rounds {
            if !self.passes(usual).await {
                self.doubtful.fetch_add(1, Ordering::Relaxed);
                return Met::Nothing;
            }
            let again = self.once(fault, usual).await;
            if !again.is_some_and(|report| differs(&report)) {
                self.doubtful.fetch_add(1, Ordering::Relaxed);
                return Met::Nothing;
            }
        }
        if !usual.can_catch() {
            return Met::Otherwise;
        }
        Met::Caught(Catch {
            case: usual.name.clone(),
            detail: first.detail(),
            took: first.took,
        })
    }
}

impl Row {
    fn take(&mut self, usual: &Usual, came: Met) {
        self.ran += 1;
        match came {
            Met::Nothing => {}
            // What an earlier run has found may be found again.
            Met::Caught(catch) if self.caught.iter().any(|known| known.case == catch.case) => {}
            Met::Caught(catch) => self.caught.push(catch),
            Met::Otherwise => self.otherwise.push(usual.name.clone()),
        }
    }

    fn line(&self) -> String {
        let first = self.caught.iter().min_by_key(|catch| catch.took);
        let first = first.map_or_else(
            || format!("nothing, seen otherwise by {:?}", self.otherwise),
            |catch| format!("{} ({:?}): {}", catch.case, catch.took, catch.detail),
        );
        let (id, caught) = (self.fault.id, self.caught.len());
        format!("{id}: {caught} of {}; {first}", self.ran)
    }
}
