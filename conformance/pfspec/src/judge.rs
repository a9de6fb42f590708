//! One run, from the command line to the exit code.

use crate::case::{Case, Level, Tag, Way, Word};
use crate::cli::{Choose, RunArgs, TagArg};
use crate::exit::{Exit, Failure};
use crate::expect::{self, Expectations, Known, Standing};
use crate::report::model::{
    Attempt, Document, FORMAT, LeftOut, Record, RunInfo, Summary, TargetInfo, Tool,
};
use crate::report::sink::{Form, Place, Wanted, render};
use crate::report::{one_line, pcapng, plain, quoted, wire};
use crate::run::{self, Plan, Report, choose, name_of, reserved};
use crate::screen::Screen;
use crate::select;
use crate::spec::Clause;
use crate::target::args::{TargetArgs, open};
use crate::target::{Target, check};
use crate::{session_patience, spec};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// Checks every word of a choice.
///
/// # Errors
/// Usage: a word that means no case.
pub fn check_words(choice: &Choose, catalogue: &[Case]) -> Result<(), Failure> {
    let words = choice
        .ids
        .iter()
        .chain(&choice.cases)
        .chain(&choice.exclude);
    for word in words {
        select::check(word, catalogue)?;
    }
    Ok(())
}

/// Why a case is left out by a choice, if it is.
#[must_use]
pub fn left_out(choice: &Choose, case: &Case, way: Way) -> Option<&'static str> {
    let words = || choice.ids.iter().chain(&choice.cases);
    let means = |word: &String| select::means(word, case, way);
    if words().next().is_some() && !words().any(means) {
        return Some("not asked for");
    }
    if choice.exclude.iter().any(means) {
        return Some("excluded");
    }
    if !choice.ways.is_empty() && !choice.ways.iter().any(|arg| arg.way() == way) {
        return Some("not on this way");
    }
    if !choice.tags.is_empty() && !choice.tags.iter().any(|tag| tag.is_of(case)) {
        return Some("without such a tag");
    }
    // Asked for by name or by tag is asked for; abuse needs its own word.
    let named = words().any(|word| select::is_exact(word, case));
    let slow = choice.slow || named || choice.tags.contains(&TagArg::Slow);
    reserved(case, slow, choice.hostile)
}

/// Everything that is known before the run.
struct Setting {
    args: RunArgs,
    words: Vec<String>,
    clauses: Vec<Clause>,
    expectations: Expectations,
    seed: u64,
    target: Arc<Target>,
    cases: Vec<(Case, Way)>,
    left: Vec<LeftOut>,
}

/// Files that will be written, checked.
struct Files {
    reports: Vec<(Wanted, Option<Place>)>,
    pcapng: Option<Place>,
    baseline: Option<Place>,
}

/// What came of one case.
struct Done {
    report: Report,
    record: Record,
}

/// Judges a target.
///
/// # Errors
/// Why there is no run, or why its reports are not written.
pub async fn judge(
    target: &TargetArgs,
    args: RunArgs,
    screen: &mut Screen,
) -> Result<Exit, Failure> {
    let (stop, stopped) = watch::channel(false);
    interrupts(stop.clone())?;
    let mut interrupted = stopped.clone();
    let catalogue = crate::catalogue::all();
    check_words(&args.choose, &catalogue)?;
    let expectations = match &args.expect {
        None => Expectations::default(),
        Some(path) => Expectations::read(path, &catalogue)?,
    };
    for old in &expectations.expired {
        screen.say(&format!(
            "warning: the expectation of {} {} has expired on {}: {}",
            old.verdict.name(),
            plain(&old.case),
            old.expires.as_deref().unwrap_or_default(),
            plain(&old.reason)
        ));
    }
    check_reports(&args)?;
    // A target that has begun to make things takes them away itself if it is interrupted.
    let opened = open(target, args.profile).await;
    if *interrupted.borrow_and_update() {
        if let Ok(opened) = opened {
            clean_up(&opened, screen).await;
        } else if let Err(failure) = opened {
            screen.say(&one_line(&failure.text));
        }
        return Ok(Exit::Interrupted);
    }
    let opened = opened.map_err(|failure| Failure {
        text: one_line(&failure.text),
        ..failure
    })?;
    let opened = Arc::new(opened);
    let result = with_target(
        target,
        args,
        expectations,
        &catalogue,
        opened.clone(),
        (stop, stopped),
        screen,
    )
    .await;
    // Whatever came, nothing is left behind.
    clean_up(&opened, screen).await;
    result
}

/// The target knows how long it may take.
async fn clean_up(target: &Target, screen: &mut Screen) {
    if let Err(error) = target.reach.clean_up().await {
        screen.say(&format!("warning: {}", one_line(&error)));
    }
}

async fn with_target(
    target: &TargetArgs,
    args: RunArgs,
    expectations: Expectations,
    catalogue: &[Case],
    opened: Arc<Target>,
    (stop, stopped): (watch::Sender<bool>, watch::Receiver<bool>),
    screen: &mut Screen,
) -> Result<Exit, Failure> {
    let (mut cases, mut left) = choose(catalogue, &opened, &|case, way| {
        left_out(&args.choose, case, way)
    });
    if let Some(shard) = args.shard {
        let (own, others): (Vec<_>, Vec<_>) = cases
            .into_iter()
            .enumerate()
            .partition(|(i, _)| shard.has(*i));
        cases = own.into_iter().map(|(_, case)| case).collect();
        left.extend(
            others
                .into_iter()
                .map(|(_, (case, way))| (case, way, "in another shard")),
        );
    }
    let left = left.iter().map(|(case, way, reason)| LeftOut {
        name: name_of(case, *way),
        reason: (*reason).to_owned(),
    });
    let setting = Setting {
        words: target.words(),
        clauses: spec::clauses(),
        expectations,
        seed: args.seed.unwrap_or_else(new_seed),
        target: opened,
        cases,
        left: left.collect(),
        args,
    };
    if setting.args.dry_run {
        screen.print(&dry_run(&setting));
        return Ok(Exit::Expected);
    }
    if setting.cases.is_empty() && setting.args.shard.is_none() {
        return Err(nothing_to_run(&setting));
    }
    let files = prepare(&setting.args)?;
    let mut interrupted = stopped.clone();
    if !setting.args.no_preflight {
        tokio::select! {
            checked = check(&setting.target, patience(&setting.args)) => {
                checked.map_err(|unusable| Failure::unreachable(unusable.to_string()))?;
            }
            _ = interrupted.wait_for(|stop| *stop) => return Ok(Exit::Interrupted),
        }
    }
    let started = SystemTime::now();
    let clock = Instant::now();
    // Departures and interrupts stop a run alike; only the user's stay.
    let (halt, halted) = watch::channel(false);
    let forward = halt.clone();
    let relay = tokio::spawn(async move {
        let mut stopped = stopped;
        if stopped.wait_for(|stop| *stop).await.is_ok() {
            forward.send_replace(true);
        }
    });
    let done = rounds(&setting, &halt, &halted, screen).await;
    relay.abort();
    let was_interrupted = *stop.borrow();
    let stopped_early = *halted.borrow() && !was_interrupted;
    let document = document(
        &setting,
        &done,
        started,
        clock.elapsed(),
        was_interrupted,
        stopped_early,
    );
    finish(&setting, &done, &document, files, screen)?;
    Ok(exit_of(&document))
}

fn patience(args: &RunArgs) -> Duration {
    args.patience
        .map_or_else(session_patience, Duration::from_secs_f64)
}

/// The first signal stops the run, the second ends the program.
fn interrupts(stop: watch::Sender<bool>) -> Result<(), Failure> {
    #[cfg(unix)]
    let mut terminate =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
            .map_err(|error| Failure::internal(format!("cannot wait for signals: {error}")))?;
    #[cfg(unix)]
    let mut interrupt =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())
            .map_err(|error| Failure::internal(format!("cannot wait for signals: {error}")))?;
    tokio::spawn(async move {
        for last in [false, true] {
            #[cfg(unix)]
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            #[cfg(not(unix))]
            if tokio::signal::ctrl_c().await.is_err() {
                return;
            }
            if last {
                std::process::exit(i32::from(Exit::Interrupted.code()));
            }
            stop.send_replace(true);
        }
    });
    Ok(())
}

/// Of the clock: runs differ unless told otherwise. Short enough for every reader of JSON.
fn new_seed() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut dice = crate::dice::Dice::new(u64::from(now.subsec_nanos()) ^ now.as_secs(), "seed");
    dice.roll() % 1_000_000_000
}

fn check_reports(args: &RunArgs) -> Result<(), Failure> {
    let out = args.reports.iter().filter(|wanted| wanted.file.is_none());
    if out.count() > 1 {
        return Err(Failure::usage(
            "only one report can go to standard output; give the others files: --report json=FILE",
        ));
    }
    let mut files: Vec<&Path> = args
        .reports
        .iter()
        .filter_map(|wanted| wanted.file.as_deref())
        .collect();
    files.extend(args.pcapng.as_deref());
    files.extend(args.write_expect.as_deref());
    files.sort_unstable();
    for pair in files.windows(2) {
        if let [a, b] = pair
            && a == b
        {
            return Err(Failure::usage(format!(
                "two reports cannot both go to {}",
                a.display()
            )));
        }
    }
    Ok(())
}

fn prepare(args: &RunArgs) -> Result<Files, Failure> {
    let place = |what: &str, path: &Path| {
        Place::new(path).map_err(|error| {
            Failure::usage(format!(
                "cannot write {what} to {}: {error}",
                path.display()
            ))
        })
    };
    let mut reports = Vec::new();
    for wanted in &args.reports {
        let file = wanted.file.as_deref().map(|path| place("a report", path));
        reports.push((wanted.clone(), file.transpose()?));
    }
    let pcapng = args
        .pcapng
        .as_deref()
        .map(|path| place("the capture", path))
        .transpose()?;
    let baseline = args
        .write_expect
        .as_deref()
        .map(|path| place("the expectations", path))
        .transpose()?;
    if let Some(directory) = &args.wire_log {
        let probe = directory.join(format!(".{}.part", std::process::id()));
        std::fs::create_dir_all(directory)
            .and_then(|()| std::fs::write(&probe, ""))
            .and_then(|()| std::fs::remove_file(&probe))
            .map_err(|error| {
                Failure::usage(format!(
                    "cannot write the wire log to {}: {error}",
                    directory.display()
                ))
            })?;
    }
    Ok(Files {
        reports,
        pcapng,
        baseline,
    })
}

fn dry_run(setting: &Setting) -> String {
    let mut text = String::new();
    for (case, way) in &setting.cases {
        text.push_str(&format!(
            "RUN {} ({}): {}\n",
            name_of(case, *way),
            case.level.name(),
            case.title
        ));
    }
    // Of what nobody asked for, the number is enough.
    for left in setting
        .left
        .iter()
        .filter(|left| left.reason != "not asked for")
    {
        text.push_str(&format!("SKIP {}: {}\n", left.name, left.reason));
    }
    text.push_str(&format!(
        "{} would run, {} would not\n",
        setting.cases.len(),
        setting.left.len()
    ));
    text
}

fn nothing_to_run(setting: &Setting) -> Failure {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for left in setting
        .left
        .iter()
        .filter(|left| left.reason != "not asked for")
    {
        *reasons.entry(&left.reason).or_default() += 1;
    }
    let reasons: Vec<String> = reasons
        .iter()
        .map(|(reason, n)| format!("{n} {reason}"))
        .collect();
    Failure::usage(format!("nothing to run: {}", reasons.join(", ")))
}

/// Runs the plan as often as asked for, and again what did not pass, if that is asked for.
async fn rounds(
    setting: &Setting,
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
        for done in one_round(setting, seed, round, halt, halted, screen).await {
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
    seed: u64,
    round: u32,
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
            fail_fast: false,
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
                    if round == 0
                        && printed
                        && !args
                            .reports
                            .iter()
                            .any(|wanted| wanted.file.is_none() && wanted.form != Form::Text)
                    {
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
        for report in reports {
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
        if let Some(timeout) = args.timeout {
            for (case, _) in &mut cases {
                case.deadline = Duration::from_secs_f64(timeout);
            }
        }
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
    if let Some(minor) = setting.args.profile {
        words.extend(["--profile".to_owned(), format!("k8s-1.{minor}")]);
    }
    words.extend(["--case".to_owned(), report.name()]);
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    let mut record = Record::new(report, &setting.clauses, seed, words.join(" "));
    let known = setting.expectations.of(&report.case, report.way);
    let allow = setting.args.allow_unexpected_pass;
    let standing = expect::compare(report.word, &record.seen, known, setting.args.strict, allow);
    standing.name().clone_into(&mut record.standing);
    record.expectation = known.map(Into::into);
    record
}

fn document(
    setting: &Setting,
    done: &[Done],
    started: SystemTime,
    took: Duration,
    interrupted: bool,
    stopped_early: bool,
) -> Document {
    let since = started.duration_since(UNIX_EPOCH).unwrap_or_default();
    let target = &setting.target;
    let args = &setting.args;
    let results: Vec<Record> = done.iter().map(|done| done.record.clone()).collect();
    let mut document = Document {
        format: FORMAT,
        tool: Tool {
            name: "pfspec".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        target: TargetInfo {
            name: target.name.clone(),
            role: target.role.name().to_owned(),
            kubernetes: target.minor.map(|minor| format!("1.{minor}")),
            ways: target
                .ways
                .iter()
                .map(|way| way.name().to_owned())
                .collect(),
        },
        run: RunInfo {
            started: rfc3339(since),
            started_unix: since.as_secs_f64(),
            seconds: took.as_secs_f64(),
            seed: setting.seed,
            jobs: args.jobs,
            patience_seconds: patience(args).as_secs_f64(),
            strict: args.strict,
            shard: args.shard.map(|shard| shard.to_string()),
            repeat: args.repeat,
            retries: args.retries,
            interrupted,
            stopped_early,
        },
        summary: Summary::of(&results),
        results,
        left_out: setting.left.clone(),
    };
    document.summary.exit_code = exit_of(&document).code();
    document
}

fn exit_of(document: &Document) -> Exit {
    let summary = &document.summary;
    if document.run.interrupted {
        Exit::Interrupted
    } else if summary.departures + summary.unexpected_passes > 0 {
        Exit::Departures
    } else if summary.unexpected_inconclusive > 0 {
        Exit::Inconclusive
    } else {
        Exit::Expected
    }
}

fn rfc3339(since: Duration) -> String {
    let seconds = i64::try_from(since.as_secs()).unwrap_or_default();
    let Ok(t) = time::OffsetDateTime::from_unix_timestamp(seconds) else {
        return String::new();
    };
    let (year, month, day) = (t.year(), u8::from(t.month()), t.day());
    let (hour, minute, second) = (t.hour(), t.minute(), t.second());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Writes every report, and the summary. What cannot be written does not keep the others from being written.
fn finish(
    setting: &Setting,
    done: &[Done],
    document: &Document,
    files: Files,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let mut errors = Vec::new();
    let mut put = |what: String, place: Place, bytes: &[u8]| {
        if let Err(error) = place.write(bytes) {
            errors.push(format!("cannot write {what}: {error}"));
        }
    };
    let mut taken = false;
    for (wanted, place) in files.reports {
        match (place, &wanted.file) {
            (Some(place), Some(path)) => {
                let text = render(wanted.form, document).map_err(Failure::internal)?;
                put(path.display().to_string(), place, text.as_bytes());
            }
            _ if wanted.form == Form::Text => {}
            _ => {
                taken = true;
                screen.print(&render(wanted.form, document).map_err(Failure::internal)?);
            }
        }
    }
    if let (Some(place), Some(path)) = (files.pcapng, &setting.args.pcapng) {
        let reports: Vec<&Report> = done.iter().map(|done| &done.report).collect();
        let bytes = pcapng::write(&reports, document.run.started_unix);
        put(path.display().to_string(), place, &bytes);
    }
    if let (Some(place), Some(path)) = (files.baseline, &setting.args.write_expect) {
        let text = expect::baseline(&document.target.name, &known(setting, done));
        put(path.display().to_string(), place, text.as_bytes());
    }
    if let Some(directory) = &setting.args.wire_log {
        errors.extend(wire::write(document, directory).err());
    }
    let text = summary(document);
    if taken {
        screen.say(text.trim_end());
    } else {
        screen.print(&text);
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Failure::internal(errors.join("; ")))
    }
}

fn known(setting: &Setting, done: &[Done]) -> Vec<Known> {
    let known = |done: &Done| Known {
        name: done.record.name.clone(),
        verdict: done.report.word,
        seen: done.record.seen.clone(),
        detail: done.record.detail(),
        before: setting
            .expectations
            .of(&done.report.case, done.report.way)
            .cloned(),
    };
    done.iter().map(known).collect()
}

fn summary(document: &Document) -> String {
    let (summary, run) = (&document.summary, &document.run);
    let mut text = String::from("\n");
    if run.interrupted {
        text.push_str("Interrupted: cases are missing.\n");
    } else if run.stopped_early {
        text.push_str("Stopped at the first departure: cases are missing.\n");
    }
    text.push_str(&format!(
        "{}: {}\n{} results in {:.1} s: {}; {} left out\nseed {}\n",
        plain(&document.target.name),
        summary.judgement(),
        summary.total,
        run.seconds,
        summary.words(),
        document.left_out.len(),
        run.seed
    ));
    if let Some(first) = document.results.iter().find(|record| !record.is_expected()) {
        text.push_str(&format!("Again: {}\n", plain(&first.reproduce)));
    }
    text
}
