//! One run, from the command line to the exit code.

use crate::case::{Case, Way};
use crate::cli::{Choose, RunArgs, TagArg};
use crate::exit::{Exit, Failure};
use crate::expect::Expectations;
use crate::probe::session::PATIENCE;
use crate::report::model::{LeftOut, Record};
use crate::report::{one_line, plain};
use crate::run::{Report, choose, name_of, reserved};
use crate::screen::Screen;
use crate::select;
use crate::spec;
use crate::spec::Clause;
use crate::target::args::{TargetArgs, open};
use crate::target::{Target, check};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

mod reports;
mod rounds;

use reports::{check_reports, document, exit_of, finish, prepare};
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
    args.patience.map_or(PATIENCE, Duration::from_secs_f64)
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
