//! Runs the plan as often as asked for, and makes records of what came.

use super::{Done, Setting, patience};
use crate::case::{Level, Tag, Word};
use crate::expect::{self, Standing};
use crate::report::model::{Attempt, Record};
use crate::report::quoted;
use crate::run::{self, Plan, Report, name_of};
use crate::screen::Screen;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Runs the plan as often as asked for, and again what did not pass, if that is asked for.
pub(super) async fn rounds(
    setting: &Setting,
    clock: Instant,
    halt: &watch::Sender<bool>,
    halted: &watch::Receiver<bool>,
    screen: &mut Screen,
) -> Vec<Done> {
    let mut all: BTreeMap<String, Done> = BTreeMap::new();
    for round in 0..setting.args.repeat {
        let seed = setting.seed.wrapping_add(u64::from(round));
        if round > 0 {
            screen.say(&format!(
                "round {} of {}, seed {seed}",
                round + 1,
                setting.args.repeat
            ));
        }
        for done in one_round(setting, (seed, round), clock, halt, halted, screen).await {
            match all.get_mut(&done.record.name) {
                None => {
                    all.insert(done.record.name.clone(), done);
                }
                Some(before) => merge(before, done, screen),
            }
        }
        if *halted.borrow() {
            break;
        }
    }
    let in_order = setting.cases.iter().map(|(case, way)| name_of(case, *way));
    in_order.filter_map(|name| all.remove(&name)).collect()
}

/// Keeps the worse of two results of a case, and says that there were two if they differ.
fn merge(before: &mut Done, mut again: Done, screen: &mut Screen) {
    let same = |a: &Record, b: &Record| a.verdict == b.verdict && a.seen == b.seen;
    // The words of a departure differ from time to time, what is seen does not.
    let is_this = |other: &Attempt| {
        other.verdict == again.record.verdict
            && (again.record.seen.is_empty() || other.detail == again.record.seen)
    };
    let known = before.record.flaky.iter().any(is_this);
    if same(&before.record, &again.record) || known {
        return;
    }
    if badness(&again.record) > badness(&before.record) {
        again.record.flaky = std::mem::take(&mut before.record.flaky);
        std::mem::swap(before, &mut again);
    }
    before.record.flaky.push(attempt(&again.record));
    // What differs from time to time is no answer to build on.
    Standing::Departure
        .name()
        .clone_into(&mut before.record.standing);
    screen.result(&before.record);
}

/// Which of two results says more of what is wrong.
fn badness(record: &Record) -> u8 {
    match record.verdict.as_str() {
        "FAIL" => 5,
        "SHOULD" => 4,
        "INCONCLUSIVE" => 3,
        "UNSUPPORTED" => 2,
        "INFO" => 1,
        _ => 0,
    }
}

fn attempt(record: &Record) -> Attempt {
    Attempt {
        seed: record.seed,
        verdict: record.verdict.clone(),
        detail: record.detail(),
    }
}

async fn one_round(
    setting: &Setting,
    (seed, round): (u64, u32),
    clock: Instant,
    halt: &watch::Sender<bool>,
    halted: &watch::Receiver<bool>,
    screen: &mut Screen,
) -> Vec<Done> {
    let args = &setting.args;
    let mut results: BTreeMap<String, Done> = BTreeMap::new();
    let mut cases = setting.cases.clone();
    if let Some(timeout) = args.timeout {
        for (case, _) in &mut cases {
            case.deadline = Duration::from_secs_f64(timeout);
        }
    }
    for attempt_number in 0..=args.retries {
        let last = attempt_number == args.retries;
        let total = cases.len();
        let plan = Plan {
            cases,
            jobs: args.jobs,
            seed,
            patience: patience(args),
            began: clock,
        };
        let mut again = Vec::new();
        let (mut count, mut bad) = (0, 0);
        let mut earlier = std::mem::take(&mut results);
        let mut ended = Vec::new();
        let reports = run::run(
            setting.target.clone(),
            &plan,
            halted.clone(),
            &mut |report| {
                let mut record = record_of(setting, report, seed);
                if let Some(before) = earlier.get(&record.name) {
                    record.flaky.clone_from(&before.record.flaky);
                    if record.verdict != before.record.verdict {
                        record.flaky.push(attempt(&before.record));
                    }
                }
                count += 1;
                let retried = !last
                    && (!record.is_expected()
                        || report.word == Word::Should && record.expectation.is_none());
                if retried {
                    again.push((report.case.clone(), report.way));
                } else {
                    if !record.is_expected() {
                        bad += 1;
                    }
                    let printed = !args.quiet || !record.is_expected() || !record.flaky.is_empty();
                    if round == 0 && printed {
                        screen.result(&record);
                    }
                    if args.fail_fast && !record.is_expected() {
                        halt.send_replace(true);
                    }
                }
                screen.count(&format!("[{count}/{total}] {bad} not as expected"));
                ended.push(record);
            },
        )
        .await;
        screen.clear();
        let mut records: BTreeMap<String, Record> =
            ended.into_iter().map(|r| (r.name.clone(), r)).collect();
        for mut report in reports {
            // The record has what other reports need of them.
            if args.pcapng.is_none() {
                report.items = Vec::new();
                report.chunks = Vec::new();
            }
            if let Some(record) = records.remove(&report.name()) {
                earlier.insert(record.name.clone(), Done { report, record });
            }
        }
        results = earlier;
        if again.is_empty() || *halted.borrow() {
            break;
        }
        screen.say(&format!(
            "trying {} again, attempt {} of {}",
            again.len(),
            attempt_number + 2,
            args.retries + 1
        ));
        cases = again;
    }
    results.into_values().collect()
}

fn record_of(setting: &Setting, report: &Report, seed: u64) -> Record {
    let mut words = vec!["pfspec".to_owned()];
    words.extend(setting.words.iter().cloned());
    words.extend(["--seed".to_owned(), seed.to_string()]);
    if report.case.has(Tag::Slow) {
        words.push("--slow".to_owned());
    }
    if report.case.has(Tag::Hostile) {
        words.push("--hostile".to_owned());
    }
    if report.case.level == Level::Should && setting.args.strict {
        words.push("--strict".to_owned());
    }
    if let Some(profile) = setting.args.profile {
        words.extend(["--profile".to_owned(), profile.to_string()]);
    }
    let args = &setting.args;
    for (flag, seconds) in [("--patience", args.patience), ("--timeout", args.timeout)] {
        if let Some(seconds) = seconds {
            words.extend([flag.to_owned(), seconds.to_string()]);
        }
    }
    if args.no_preflight {
        words.push("--no-preflight".to_owned());
    }
    let known = setting.expectations.of(&report.case, report.way);
    // Without its file it would be judged otherwise.
    if let (Some(_), Some(file)) = (known, &args.expect) {
        words.extend(["--expect".to_owned(), file.display().to_string()]);
        if args.allow_unexpected_pass {
            words.push("--allow-unexpected-pass".to_owned());
        }
    }
    words.extend(["--case".to_owned(), report.name()]);
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    let mut record = Record::new(report, &setting.clauses, seed, words.join(" "));
    let allow = setting.args.allow_unexpected_pass;
    let standing = expect::compare(report.word, &record.seen, known, setting.args.strict, allow);
    standing.name().clone_into(&mut record.standing);
    record.expectation = known.map(Into::into);
    record
}
