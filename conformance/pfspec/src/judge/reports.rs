//! Where reports go: checked before the run, written behind it.

use super::{Setting, patience};
use crate::case::{Case, Word};
use crate::cli::RunArgs;
use crate::exit::{Exit, Failure};
use crate::expect::{self, Expectation, Expectations, Known};
use crate::report::model::{Document, FORMAT, Record, RunInfo, Summary, TargetInfo, Tool};
use crate::report::sink::{Form, Place, Wanted, render};
use crate::report::{counted, pcapng, plain, wire};
use crate::run::Report;
use crate::screen::Screen;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Files that will be written, checked.
pub(super) struct Files {
    reports: Vec<(Wanted, Option<Place>)>,
    pcapng: Option<Place>,
    baseline: Option<Place>,
}

pub(super) fn check_reports(args: &RunArgs) -> Result<(), Failure> {
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
    files.extend(args.keylog.as_deref());
    if let Some(path) = args.replay.as_deref().filter(|path| files.contains(path)) {
        return Err(Failure::usage(format!(
            "{} is replayed, and cannot be written as well",
            path.display()
        )));
    }
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

pub(super) fn prepare(args: &RunArgs) -> Result<Files, Failure> {
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

/// What is known of the files that `--write-expect` is about: what is expected, and what the file says that will be
/// written anew.
pub(super) fn before(
    args: &RunArgs,
    expectations: &Expectations,
    catalogue: &[Case],
) -> Result<Expectations, Failure> {
    let mut before = expectations.clone();
    if let Some(path) = &args.write_expect
        && args.expect.as_ref() != Some(path)
        && path.is_file()
    {
        let there = Expectations::read(path, catalogue).map_err(|error| {
            let text = format!(
                "{}; it is not overwritten: mend it, or take it away",
                error.text
            );
            Failure::usage(text)
        })?;
        before.entries.extend(there.entries);
        before.expired.extend(there.expired);
    }
    Ok(before)
}

/// How a run went.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub(super) started: SystemTime,
    pub(super) took: Duration,
    pub(super) interrupted: bool,
    /// By a departure, before the last case.
    pub(super) stopped_early: bool,
}

pub(super) fn document(
    setting: &Setting,
    results: Vec<Record>,
    ended: Ended,
    bug: bool,
) -> Document {
    let since = ended.started.duration_since(UNIX_EPOCH).unwrap_or_default();
    let target = &setting.target;
    let args = &setting.args;
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
            seconds: ended.took.as_secs_f64(),
            seed: setting.seed,
            jobs: args.jobs,
            patience_seconds: patience(args).as_secs_f64(),
            strict: args.strict,
            shard: args.shard.map(|shard| shard.to_string()),
            repeat: args.repeat,
            retries: args.retries,
            interrupted: ended.interrupted,
            stopped_early: ended.stopped_early,
        },
        summary: Summary::of(&results),
        results,
        left_out: setting.left.clone(),
    };
    document.summary.exit_code = exit_of(&document, bug).code();
    document
}

/// `bug` is that the judge failed in a case: nothing can be built on the others either.
pub(super) fn exit_of(document: &Document, bug: bool) -> Exit {
    let summary = &document.summary;
    if document.run.interrupted {
        Exit::Interrupted
    } else if bug {
        Exit::Internal
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
pub(super) fn finish(
    setting: &Setting,
    reports: &[Report],
    document: &Document,
    files: Files,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let mut errors = Vec::new();
    for (wanted, place) in files.reports {
        let on_screen = place.is_none();
        if on_screen && wanted.form == Form::Text {
            continue;
        }
        let text = match render(wanted.form, document) {
            Ok(text) => text,
            Err(error) => {
                errors.push(format!("cannot make a report: {error}"));
                continue;
            }
        };
        match (place, &wanted.file) {
            (Some(place), Some(path)) => put(path, place, text.as_bytes(), &mut errors),
            _ => screen.print(&text),
        }
    }
    if let (Some(place), Some(path)) = (files.pcapng, &setting.args.pcapng) {
        let reports: Vec<&Report> = reports.iter().collect();
        let bytes = pcapng::write(&reports, document.run.started_unix);
        put(path, place, &bytes, &mut errors);
    }
    if let (Some(place), Some(path)) = (files.baseline, &setting.args.write_expect) {
        if document.run.interrupted || document.run.stopped_early {
            screen.say(&format!(
                "{} is not written: the run did not come to its end",
                path.display()
            ));
        } else {
            let (known, kept) = known(setting, reports, document);
            let text = expect::baseline(&document.target.name, &known, &kept);
            put(path, place, text.as_bytes(), &mut errors);
        }
    }
    if let Some(directory) = &setting.args.wire_log {
        errors.extend(wire::write(document, directory).err());
    }
    let text = summary(document, setting.cases.len());
    if screen.gives_results {
        screen.print(&text);
    } else {
        screen.say(text.trim_end());
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Failure::internal(errors.join("; ")))
    }
}

fn put(path: &Path, place: Place, bytes: &[u8], errors: &mut Vec<String>) {
    if let Err(error) = place.write(bytes) {
        errors.push(format!("cannot write {}: {error}", path.display()));
    }
}

/// What came, and the entries of cases of which nothing came.
fn known(
    setting: &Setting,
    reports: &[Report],
    document: &Document,
) -> (Vec<Known>, Vec<Expectation>) {
    let results = reports.iter().zip(&document.results);
    let results = results.filter(|(report, _)| report.word != Word::Inconclusive);
    let known: Vec<Known> = results
        .map(|(report, record)| Known {
            name: record.name.clone(),
            verdict: report.word,
            seen: record.seen.clone(),
            detail: record.detail(),
            before: setting.before.last_of(&report.case, report.way),
        })
        .collect();
    let names: BTreeSet<&str> = known.iter().map(|known| known.name.as_str()).collect();
    let kept = setting
        .before
        .without(&crate::catalogue::all(), &|name| names.contains(name));
    (known, kept)
}

/// `wanted` is how many cases were to run.
fn summary(document: &Document, wanted: usize) -> String {
    let (summary, run) = (&document.summary, &document.run);
    let mut text = String::from("\n");
    let why = match (run.interrupted, run.stopped_early) {
        (true, _) => Some("Interrupted"),
        (false, true) => Some("Stopped at the first departure"),
        (false, false) => None,
    };
    if let Some(why) = why {
        let all = counted(wanted, "case", "cases");
        text.push_str(&match wanted.saturating_sub(summary.total) {
            0 => format!("{why}: all of {all} ran, but not as often as asked.\n"),
            missing => format!("{why}: {missing} of {all} did not run to the end.\n"),
        });
    }
    text.push_str(&format!(
        "{}: {}\n{} in {:.1} s: {}; {} left out\nseed {}\n",
        plain(&document.target.name),
        document.judgement(),
        counted(summary.total, "result", "results"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_has_a_code_of_its_own() {
        let mut document = Document {
            format: FORMAT,
            tool: Tool {
                name: String::new(),
                version: String::new(),
            },
            target: TargetInfo {
                name: String::new(),
                role: String::new(),
                kubernetes: None,
                ways: Vec::new(),
            },
            run: RunInfo {
                started: String::new(),
                started_unix: 0.0,
                seconds: 0.0,
                seed: 0,
                jobs: 1,
                patience_seconds: 1.0,
                strict: false,
                shard: None,
                repeat: 1,
                retries: 0,
                interrupted: false,
                stopped_early: false,
            },
            summary: Summary::default(),
            results: Vec::new(),
            left_out: Vec::new(),
        };
        assert_eq!(exit_of(&document, false), Exit::Expected);
        document.summary.departures = 1;
        assert_eq!(exit_of(&document, false), Exit::Departures);
        assert_eq!(exit_of(&document, true), Exit::Internal);
        document.run.interrupted = true;
        assert_eq!(exit_of(&document, true), Exit::Interrupted);
    }
}
