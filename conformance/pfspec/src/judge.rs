//! One run, from the command line to the exit code.

use crate::case::{Case, Stop, Way};
use crate::cli::{Choose, RunArgs, TagArg};
use crate::exit::{Exit, Failure};
use crate::expect::Expectations;
use crate::interrupt::{INTERRUPTED, Interrupt};
use crate::keylog::KeyFile;
use crate::probe::session::PATIENCE;
use crate::replay::Replay;
use crate::report::model::{LeftOut, Record};
use crate::report::sink::Form;
use crate::report::{one_line, plain};
use crate::run::{self, EXCLUDED, NOT_ASKED_FOR, Report, choose_for, name_of, reserved};
use crate::screen::Screen;
use crate::select;
use crate::spec;
use crate::spec::Clause;
use crate::target::args::{Described, TargetArgs, describe};
use crate::target::{Target, check_ways};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

mod reports;
mod rounds;

use reports::{Ended, Files, before, check_reports, document, exit_of, finish, prepare};
use rounds::rounds;

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
        return Some(NOT_ASKED_FOR);
    }
    if choice.exclude.iter().any(means) {
        return Some(EXCLUDED);
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
    /// What the file that is to be written says now, and what is expected.
    before: Expectations,
    seed: u64,
    target: Arc<Target>,
    cases: Vec<(Case, Way)>,
    left: Vec<LeftOut>,
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
    let interrupt = Interrupt::listen()?;
    let result = tokio::select! {
        result = judged(target, args, &interrupt, screen) => result,
        // What has begun to be written goes with what is dropped here.
        () = interrupt.wait_again() => Ok(Exit::Interrupted),
    };
    if let Some(left) = interrupt.left() {
        screen.say(&format!("warning: left behind: {}", one_line(&left)));
    }
    result
}

async fn judged(
    target: &TargetArgs,
    args: RunArgs,
    interrupt: &Interrupt,
    screen: &mut Screen,
) -> Result<Exit, Failure> {
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
    let replay = args.replay.as_deref().map(Replay::read).transpose()?;
    let before = before(&args, &expectations, &catalogue)?;
    let mut target = target.clone();
    let keys = log_keys(&args, &mut target, screen)?;
    let described = tokio::select! {
        described = describe(&target, args.profile) => described.map_err(|failure| on_one_line(&failure))?,
        () = interrupt.wait() => return Ok(before_the_first(&args, screen)),
    };
    // All that can be said without making anything comes before anything is made.
    let (cases, left) = chosen(&args, &catalogue, &described)?;
    if args.dry_run {
        screen.print(&dry_run(&cases, &left));
        return Ok(Exit::Expected);
    }
    let replay = replay.map(|replay| replay.of(&cases, &left)).transpose()?;
    let files = prepare(&args)?;
    screen.gives_results = args
        .reports
        .iter()
        .all(|wanted| wanted.file.is_some() || wanted.form == Form::Text);
    if let Some(text) = described.makes() {
        screen.say(&one_line(&text));
    }
    let opened = match Box::pin(caught(described.make(interrupt))).await {
        // It has taken away what it made.
        Err(failure) if interrupt.is_there() => {
            if failure.text != INTERRUPTED {
                screen.say(&one_line(&failure.text));
            }
            return Ok(before_the_first(&args, screen));
        }
        opened => Arc::new(opened.map_err(|failure| on_one_line(&failure))?),
    };
    let setting = Setting {
        words: target.words(),
        clauses: spec::clauses(),
        expectations,
        before,
        seed: args.seed.unwrap_or_else(new_seed),
        target: opened.clone(),
        cases,
        left,
        args,
    };
    let result = match &replay {
        Some(replay) => caught(replayed(&setting, replay, interrupt, screen)).await,
        None => caught(with_target(&setting, files, interrupt, screen)).await,
    };
    // Whatever came, nothing is left behind.
    clean_up(&opened, screen).await;
    match keys.and_then(|keys| keys.failure()) {
        Some(text) => result.and_then(|_| Err(Failure::internal(text))),
        None => result,
    }
}

/// Says that an interrupt came too early for any report.
fn before_the_first(args: &RunArgs, screen: &mut Screen) -> Exit {
    let reports = match args.replay {
        None => "; no report is written",
        Some(_) => "",
    };
    screen.say(&format!("interrupted before the first case{reports}"));
    Exit::Interrupted
}

/// Opens the file of `--keylog`, and says loudly what it gets.
fn log_keys(
    args: &RunArgs,
    target: &mut TargetArgs,
    screen: &mut Screen,
) -> Result<Option<Arc<KeyFile>>, Failure> {
    let Some(path) = args.keylog.as_ref().filter(|_| !args.dry_run) else {
        return Ok(None);
    };
    let keys = KeyFile::open(path).map_err(|error| {
        Failure::usage(format!("cannot write keys to {}: {error}", path.display()))
    })?;
    screen.say(&keys.warning());
    let keys = Arc::new(keys);
    target.log_keys(keys.clone());
    Ok(Some(keys))
}

/// `--replay`
async fn replayed(
    setting: &Setting,
    replay: &Replay,
    interrupt: &Interrupt,
    screen: &mut Screen,
) -> Result<Exit, Failure> {
    if !are_served(setting, interrupt).await? {
        return Ok(before_the_first(&setting.args, screen));
    }
    let (target, args) = (&setting.target, &setting.args);
    Ok(replay
        .run(target, patience(args), args.quiet, interrupt, screen)
        .await)
}

/// Whether the target serves any way of the cases, which is asked unless the user forbids it; not if interrupted.
async fn are_served(setting: &Setting, interrupt: &Interrupt) -> Result<bool, Failure> {
    if interrupt.is_there() {
        return Ok(false);
    }
    if setting.args.no_preflight {
        return Ok(true);
    }
    let ways: Vec<Way> = setting.cases.iter().map(|(_, way)| *way).collect();
    tokio::select! {
        checked = check_ways(&setting.target, &ways, patience(&setting.args)) => {
            checked.map_err(|unusable| Failure::unreachable(unusable.to_string()))?;
            Ok(true)
        }
        () = interrupt.wait() => Ok(false),
    }
}

fn on_one_line(failure: &Failure) -> Failure {
    Failure {
        text: one_line(&failure.text),
        exit: failure.exit,
    }
}

/// What `work` comes to; a panic in it is a failure too, so that the caller can still clean up.
async fn caught<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let caught = run::caught(work).await;
    caught.unwrap_or_else(|_| Err(Failure::internal("a bug: see above")))
}

/// The target knows how long it may take.
async fn clean_up(target: &Target, screen: &mut Screen) {
    if let Err(error) = target.reach.clean_up().await {
        screen.say(&format!("warning: {}", one_line(&error)));
    }
}

/// The cases of a run, and those that are not.
type Chosen = (Vec<(Case, Way)>, Vec<LeftOut>);

fn chosen(
    args: &RunArgs,
    catalogue: &[Case],
    described: &Described<'_>,
) -> Result<Chosen, Failure> {
    let (role, minor) = described.kind();
    let minor = args.profile.map_or(minor, |p| p.judged_by(role, minor));
    let (mut cases, mut left) = choose_for(catalogue, role, minor, &|case, way| {
        let of_profile = || args.profile.and_then(|p| p.leaves_out(case, way, role));
        left_out(&args.choose, case, way).or_else(of_profile)
    });
    let is_empty = cases.is_empty();
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
    let left: Vec<LeftOut> = left.collect();
    // That a shard has no case of those that there are is as it should be.
    if is_empty && !args.dry_run {
        return Err(nothing_to_run(&left));
    }
    Ok((cases, left))
}

async fn with_target(
    setting: &Setting,
    files: Files,
    interrupt: &Interrupt,
    screen: &mut Screen,
) -> Result<Exit, Failure> {
    if !are_served(setting, interrupt).await? {
        return Ok(before_the_first(&setting.args, screen));
    }
    let started = SystemTime::now();
    let clock = Instant::now();
    // Departures and interrupts stop a run alike; only the user's stay.
    let (halt, halted) = watch::channel(false);
    let (forward, waiting) = (halt.clone(), interrupt.clone());
    let relay = tokio::spawn(async move {
        waiting.wait().await;
        forward.send_replace(true);
    });
    let done = rounds(setting, clock, &halt, &halted, screen).await;
    relay.abort();
    let interrupted = interrupt.is_there();
    let ended = Ended {
        started,
        took: clock.elapsed(),
        interrupted,
        // The last of them may have stopped it.
        stopped_early: *halted.borrow() && !interrupted && done.len() < setting.cases.len(),
    };
    let (reports, records): (Vec<Report>, Vec<Record>) = done
        .into_iter()
        .map(|done| (done.report, done.record))
        .unzip();
    let bug = reports
        .iter()
        .any(|report| matches!(report.outcome, Err(Stop::Bug(_))));
    let document = document(setting, records, ended, bug);
    finish(setting, &reports, &document, files, screen)?;
    Ok(exit_of(&document, bug))
}

fn patience(args: &RunArgs) -> Duration {
    args.patience.map_or(PATIENCE, Duration::from_secs_f64)
}

/// Of the clock: runs differ unless told otherwise. Short enough for every reader of JSON.
fn new_seed() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut dice = crate::dice::Dice::new(u64::from(now.subsec_nanos()) ^ now.as_secs(), "seed");
    dice.roll() % 1_000_000_000
}

fn dry_run(cases: &[(Case, Way)], left: &[LeftOut]) -> String {
    let mut text = String::new();
    for (case, way) in cases {
        text.push_str(&format!(
            "RUN {} ({}): {}\n",
            name_of(case, *way),
            case.level.name(),
            case.title
        ));
    }
    // Of what nobody asked for, the number is enough.
    for left in left.iter().filter(|left| left.reason != NOT_ASKED_FOR) {
        text.push_str(&format!("SKIP {}: {}\n", left.name, left.reason));
    }
    text.push_str(&format!(
        "{} would run, {} would not\n",
        cases.len(),
        left.len()
    ));
    text
}

fn nothing_to_run(left: &[LeftOut]) -> Failure {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for left in left.iter().filter(|left| left.reason != NOT_ASKED_FOR) {
        *reasons.entry(&left.reason).or_default() += 1;
    }
    let reasons: Vec<String> = reasons
        .iter()
        .map(|(reason, n)| format!("{n} {reason}"))
        .collect();
    Failure::usage(format!("nothing to run: {}", reasons.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_leaves_time_to_clean_up() {
        let broken = caught(async {
            tokio::task::yield_now().await;
            let work: fn() -> Result<Exit, Failure> = || std::panic::panic_any("a slip");
            work()
        });
        assert_eq!(
            broken.await.map_err(|failure| failure.exit),
            Err(Exit::Internal)
        );
        assert_eq!(caught(async { Ok(1) }).await, Ok(1));
    }
}
