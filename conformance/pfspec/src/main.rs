//! See the library beside it.

use clap::Parser as _;
use pfspec::cli::{
    Cli, Command, DiffArgs, HtmlArgs, ListArgs, SpecArgs, check_place, with_subcommand,
};
use pfspec::exit::{Exit, Failure};
use pfspec::judge::{check_words, judge, left_out};
use pfspec::report::model::{Document, Listed};
use pfspec::report::sink::Place;
use pfspec::report::{counted, diff, html};
use pfspec::screen::Screen;
use pfspec::spec;
use std::process::ExitCode;

fn main() -> ExitCode {
    many_files();
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut screen = Screen::default();
    let words = match with_subcommand(std::env::args_os().collect()) {
        Ok(words) => words,
        Err(failure) => return failed(&failure, &mut screen),
    };
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => {
            drop(error.print());
            // Help and version are no errors.
            return if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Expected
            }
            .into();
        }
    };
    // Whatever breaks in here is a bug, and has a code of its own.
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(cli, &mut screen)));
    let result = caught.unwrap_or_else(|_| Err(Failure::internal("a bug: see above")));
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => failed(&failure, &mut screen),
    }
}

fn failed(failure: &Failure, screen: &mut Screen) -> ExitCode {
    screen.say(&format!("error: {failure}"));
    failure.exit.into()
}

/// Allows as many open files as cases that hold hundreds of connections need, as far as the system lets us. Of millions,
/// which some systems would allow, children that go through all their files would suffer.
fn many_files() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        const ENOUGH: u64 = 1 << 16;
        let limit = getrlimit(Resource::Nofile);
        let wanted = limit.maximum.unwrap_or(ENOUGH).min(ENOUGH);
        if limit.current.is_some_and(|current| current < wanted) {
            let more = Rlimit {
                current: Some(wanted),
                maximum: limit.maximum,
            };
            setrlimit(Resource::Nofile, more).ok();
        }
    }
}

fn work(cli: Cli, screen: &mut Screen) -> Result<Exit, Failure> {
    let other = match cli.command.judge() {
        Ok((target, run)) => {
            check_place(&run.choose)?;
            let runtime = tokio::runtime::Runtime::new()
                .map_err(|error| Failure::internal(format!("cannot start: {error}")))?;
            let result = runtime.block_on(judge(&target, run, screen));
            // What is dialled still, or looked up, is of no interest any more.
            runtime.shutdown_background();
            return result;
        }
        Err(other) => *other,
    };
    match other {
        Command::List(args) => list(&args, screen),
        Command::Diff(args) => compare(&args, screen),
        Command::Html(args) => page(&args),
        Command::Spec(args) => clause(&args, screen),
        Command::Rbac => {
            screen.print(pfspec::target::RBAC);
            Ok(Exit::Expected)
        }
        _ => {
            let schema =
                Document::schema().map_err(|error| Failure::internal(error.to_string()))?;
            screen.print(&schema);
            Ok(Exit::Expected)
        }
    }
}

fn list(args: &ListArgs, screen: &mut Screen) -> Result<Exit, Failure> {
    let catalogue = pfspec::catalogue::all();
    let mut choice = args.choose.clone();
    check_words(&choice, &catalogue)?;
    // A list shows what there is.
    (choice.slow, choice.hostile) = (true, true);
    let clauses = spec::clauses();
    let mut listed = Vec::new();
    for mut case in catalogue {
        let ways: Vec<_> = case
            .ways
            .iter()
            .filter(|way| left_out(&choice, &case, **way).is_none())
            .copied()
            .collect();
        if !ways.is_empty() {
            case.ways = ways.leak();
            listed.push(Listed::new(&case, &clauses));
        }
    }
    if args.json {
        let text = serde_json::to_string_pretty(&listed)
            .map_err(|error| Failure::internal(error.to_string()))?;
        screen.print(&(text + "\n"));
        return Ok(Exit::Expected);
    }
    let width = listed
        .iter()
        .map(|case| case.id.len())
        .max()
        .unwrap_or_default();
    let mut text = String::new();
    for case in &listed {
        let more = [case.ways.join(","), case.tags.join(",")].join(" ");
        text.push_str(&format!(
            "{:width$}  {:8}  {} [{}]\n",
            case.id,
            case.level,
            case.title,
            more.trim_end()
        ));
    }
    screen.print(&text);
    Ok(Exit::Expected)
}

fn compare(args: &DiffArgs, screen: &mut Screen) -> Result<Exit, Failure> {
    let before = Document::read(&args.before).map_err(Failure::usage)?;
    let behind = Document::read(&args.behind).map_err(Failure::usage)?;
    let changes = diff::compare(&before, &behind);
    if args.json {
        let text = serde_json::to_string_pretty(&changes)
            .map_err(|error| Failure::internal(error.to_string()))?;
        screen.print(&(text + "\n"));
    } else {
        screen.print(&diff::text(&changes));
        screen.say(&format!(
            "{} in {}",
            counted(changes.len(), "difference", "differences"),
            counted(behind.results.len(), "result", "results")
        ));
    }
    Ok(if changes.is_empty() {
        Exit::Expected
    } else {
        Exit::Departures
    })
}

fn page(args: &HtmlArgs) -> Result<Exit, Failure> {
    let documents: Result<Vec<Document>, String> = args
        .reports
        .iter()
        .map(|path| Document::read(path))
        .collect();
    let documents = documents.map_err(Failure::usage)?;
    let place = Place::new(&args.output).map_err(|error| {
        Failure::usage(format!("cannot write {}: {error}", args.output.display()))
    })?;
    let text = html::write(&documents.iter().collect::<Vec<_>>());
    place.write(text.as_bytes()).map_err(|error| {
        Failure::internal(format!("cannot write {}: {error}", args.output.display()))
    })?;
    Ok(Exit::Expected)
}

fn clause(args: &SpecArgs, screen: &mut Screen) -> Result<Exit, Failure> {
    let clauses = spec::clauses();
    let Some(wanted) = &args.clause else {
        let lines = clauses
            .iter()
            .map(|c| format!("{} {} ({})\n", c.number, c.title, c.level.name()));
        screen.print(&lines.collect::<String>());
        return Ok(Exit::Expected);
    };
    let chapter = format!("{wanted}.");
    let found = clauses
        .iter()
        .filter(|c| c.number == *wanted || c.number.starts_with(&chapter));
    let text = found.fold(String::new(), |text, c| {
        text + &format!(
            "{} {}\n{} | {} | {} | {}\n\n{}\n\n",
            c.number,
            c.title,
            c.level.name(),
            c.who.join(", "),
            c.versions,
            c.sources,
            c.text
        )
    });
    if text.is_empty() {
        return Err(Failure::usage(format!(
            "no clause {wanted:?}; `pfspec spec` shows all"
        )));
    }
    screen.print(&text);
    Ok(Exit::Expected)
}
