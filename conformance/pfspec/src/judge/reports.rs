//! Where reports go: checked before the run, written behind it.

use super::{Done, Setting, patience};
use crate::cli::RunArgs;
use crate::exit::{Exit, Failure};
use crate::expect::{self, Known};
use crate::report::model::{Document, FORMAT, Record, RunInfo, Summary, TargetInfo, Tool};
use crate::report::sink::{Form, Place, Wanted, render};
use crate::report::{pcapng, plain, wire};
use crate::run::Report;
use crate::screen::Screen;
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

pub(super) fn document(
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

pub(super) fn exit_of(document: &Document) -> Exit {
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
pub(super) fn finish(
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
        document.judgement(),
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
