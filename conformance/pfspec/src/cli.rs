//! The command line.

use crate::case::{Case, Level, Tag, Way};
use crate::exit::Failure;
use crate::profile::Profile;
use crate::select::{self, Shard};
use crate::target::args::TargetArgs;
use crate::target::{ApiServerArgs, KubeletArgs, RuntimeArgs, ServerArgs};
use clap::builder::styling::Styles;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

const AFTER: &str = "\
Exit codes:
  0    all as expected
  1    departures, or passes that the expectations do not know
  2    bad arguments or expectations, a report that cannot be written
  3    the target cannot be reached, or nobody there forwards for us
  4    internal error
  5    no departure, but cases that came to nothing
  130  interrupted; the reports hold what came until then

Without a subcommand, options and cases are those of `pfspec server --embedded`: `pfspec`, `pfspec --slow`,
`pfspec 'spdy/*'`.";

/// Judges the streaming protocols behind kubectl port-forward.
#[derive(Debug, Parser)]
#[command(name = "pfspec", version, about, after_help = AFTER, styles = Styles::plain())]
#[command(subcommand_required = true, arg_required_else_help = false)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Judge any server that serves the upgrade at a path, or the built-in cluster
    Server(Judge<ServerArgs>),
    /// Judge an API server, by a pod of it
    Apiserver(Judge<ApiServerArgs>),
    /// Judge a kubelet's own endpoint, by a pod on its node
    Kubelet(Judge<KubeletArgs>),
    /// Judge a runtime's streaming server, by a sandbox of it
    Runtime(Judge<RuntimeArgs>),
    /// List the cases
    List(ListArgs),
    /// Compare two JSON reports; exit code 1 if verdicts differ
    Diff(DiffArgs),
    /// Make one page of JSON reports: a column for each
    Html(HtmlArgs),
    /// Print clauses of the specification
    Spec(SpecArgs),
    /// Print the schema of the JSON report
    Schema,
    /// Print the Roles that `pfspec apiserver` needs, for kubectl apply
    Rbac,
}

/// The words of a command line that names no subcommand with the one that is meant: the built-in cluster is judged, or
/// the server whose URL it is.
///
/// # Errors
/// Usage: the first word means neither a subcommand nor a case.
pub fn with_subcommand(mut words: Vec<OsString>) -> Result<Vec<OsString>, Failure> {
    let first = words.get(1).map(|word| word.to_string_lossy().into_owned());
    let meant: &[&str] = match first.as_deref() {
        None => &["server", "--embedded"],
        Some("-h" | "--help" | "-V" | "--version") => &[],
        Some(word) if word.contains("://") => &["server"],
        Some(word) if word.starts_with('-') => &["server", "--embedded"],
        Some(word) => meant_by(word)?,
    };
    let at = words.len().min(1);
    words.splice(at..at, meant.iter().map(OsString::from));
    Ok(words)
}

/// What has to stand before a first word that is no option: nothing before a subcommand, the built-in cluster before
/// cases.
fn meant_by(word: &str) -> Result<&'static [&'static str], Failure> {
    let command = Cli::command();
    if word == "help" || command.find_subcommand(word).is_some() {
        return Ok(&[]);
    }
    let catalogue = crate::catalogue::all();
    let is_pattern = word.contains(['/', '*', '?', '@']);
    // A group is no subcommand misspelt: `spdy` is near `spec`.
    if is_pattern || select::check(word, &catalogue).is_ok() {
        return Ok(&["server", "--embedded"]);
    }
    let commands = command.get_subcommands().map(clap::Command::get_name);
    let commands = commands.filter(|name| strsim::levenshtein(name, word) <= 2);
    let commands: Vec<String> = commands.map(|name| format!("`pfspec {name}`")).collect();
    let advice = select::advice(word, &catalogue, commands);
    let end = if advice.ends_with('?') { "" } else { ";" };
    Err(Failure::usage(format!(
        "no subcommand and no case is named {word:?}; {advice}{end} `pfspec --help` shows the subcommands, and cases \
         stand behind a target: `pfspec apiserver CASE`"
    )))
}

/// Checks that no subcommand stands where cases do: behind options, where one is not looked for.
///
/// # Errors
/// Usage, saying where it belongs.
pub fn check_place(choice: &Choose) -> Result<(), Failure> {
    let command = Cli::command();
    let misplaced = choice
        .ids
        .iter()
        .find(|word| command.find_subcommand(word).is_some());
    match misplaced {
        Some(word) => Err(Failure::usage(format!(
            "{word} is a subcommand and comes first: `pfspec {word} …`, options behind it"
        ))),
        None => Ok(()),
    }
}

/// A target, and how to judge it.
#[derive(Debug, Args)]
pub struct Judge<T: Args> {
    /// Which.
    #[command(flatten)]
    pub target: T,
    /// How.
    #[command(flatten)]
    pub run: RunArgs,
}

impl Command {
    /// The target and how to judge it, if this is to judge.
    ///
    /// # Errors
    /// Itself, if it is something else.
    pub fn judge(self) -> Result<(TargetArgs, RunArgs), Box<Self>> {
        let (mut target, mut run) = match self {
            Self::Server(judge) => (TargetArgs::Server(judge.target), judge.run),
            Self::Apiserver(judge) => (TargetArgs::ApiServer(judge.target), judge.run),
            Self::Kubelet(judge) => (TargetArgs::Kubelet(judge.target), judge.run),
            Self::Runtime(judge) => (TargetArgs::Runtime(judge.target), judge.run),
            other => return Err(Box::new(other)),
        };
        if let Some(word) = target.take_word() {
            run.choose.ids.insert(0, word);
        }
        Ok((target, run))
    }
}

/// Which cases.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Cases")]
pub struct Choose {
    /// Ids, groups or globs: `spdy/frame/joined`, `spdy/frame`, `*/frame/*@tunnel`
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// More of them
    #[arg(long = "case", value_name = "ID")]
    pub cases: Vec<String>,
    /// Leave these out
    #[arg(short = 'x', long, value_name = "ID")]
    pub exclude: Vec<String>,
    /// Only cases with one of these tags or levels
    #[arg(long = "tag", value_name = "TAG", value_delimiter = ',')]
    pub tags: Vec<TagArg>,
    /// Only these ways
    #[arg(long = "way", value_name = "WAY", value_delimiter = ',')]
    pub ways: Vec<WayArg>,
    /// Also cases that take longer than 10 seconds
    #[arg(long)]
    pub slow: bool,
    /// Also cases that abuse the server
    #[arg(long)]
    pub hostile: bool,
}

/// How to judge.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Run")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub struct RunArgs {
    /// Which cases.
    #[command(flatten)]
    pub choose: Choose,
    /// Part of the cases, such as 2/3
    #[arg(long, value_name = "I/N", help_heading = "Cases")]
    pub shard: Option<Shard>,
    /// Judge as this version of Kubernetes, such as k8s-1.36; or, as runtime, only what a runtime's streaming server answers
    #[arg(long, value_name = "k8s-1.NN|runtime", help_heading = "Cases")]
    pub profile: Option<Profile>,
    /// Only say what would run, and what would not and why
    #[arg(long)]
    pub dry_run: bool,
    /// A SHOULD counts as a departure
    #[arg(long)]
    pub strict: bool,
    /// Verdicts that are known, and why
    #[arg(long, value_name = "FILE")]
    pub expect: Option<PathBuf>,
    /// Write such a file of what came
    #[arg(long, value_name = "FILE")]
    pub write_expect: Option<PathBuf>,
    /// A pass that the expectations do not know is no failure
    #[arg(long)]
    pub allow_unexpected_pass: bool,
    /// How many cases at once; two for each processor, at least 4, unless given
    #[arg(short, long, value_name = "N", default_value_t = jobs(), hide_default_value = true, value_parser = count)]
    pub jobs: usize,
    /// Seconds to wait for what should come at once
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub patience: Option<f64>,
    /// Seconds that a case may take, instead of what it says itself
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<f64>,
    /// How often to try a case again that did not pass; one that passes then is reported as flaky
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=3))]
    pub retries: u32,
    /// Run all of it so often, each time with the next seed; what differs is reported as flaky, and fails
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub repeat: u32,
    /// Seed of all randomness; a new one each time unless given, and always printed
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Stop at the first departure
    #[arg(long)]
    pub fail_fast: bool,
    /// Do not ask first whether anybody is there
    #[arg(long)]
    pub no_preflight: bool,
    /// FORM=FILE or FORM: text, json, junit, html, md, sarif, tap; several with commas
    #[arg(
        long = "report",
        value_name = "FORM[=FILE]",
        value_delimiter = ',',
        help_heading = "Reports"
    )]
    pub reports: Vec<crate::report::sink::Wanted>,
    /// A file for each case: its steps (at most 20,000), decoded and, the first MiB of them, in hexadecimal
    #[arg(long, value_name = "DIR", help_heading = "Reports")]
    pub wire_log: Option<PathBuf>,
    /// What went over the connections, for Wireshark: the first MiB of each case
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub pcapng: Option<PathBuf>,
    /// Add the keys of the run's TLS connections to this file, for a capture that is taken outside: whoever has it reads
    /// them, tokens included
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub keylog: Option<PathBuf>,
    /// Run no case: send again what the judge sent in the run of this JSON report, and say what is answered otherwise
    #[arg(long, value_name = "A.json", help_heading = "Reports",
        conflicts_with_all = ["expect", "write_expect", "reports", "wire_log", "pcapng", "shard", "repeat", "retries", "fail_fast", "dry_run",
            "strict", "allow_unexpected_pass", "jobs", "timeout", "seed"])]
    pub replay: Option<PathBuf>,
    /// Print only what is not as expected
    #[arg(short, long, help_heading = "Reports")]
    pub quiet: bool,
}

/// `pfspec list`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Which.
    #[command(flatten)]
    pub choose: Choose,
    /// As JSON, with everything that is known of each
    #[arg(long)]
    pub json: bool,
}

/// `pfspec diff`
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// JSON report of the run before
    #[arg(value_name = "A.json")]
    pub before: PathBuf,
    /// JSON report of the run behind it
    #[arg(value_name = "B.json")]
    pub behind: PathBuf,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// `pfspec html`
#[derive(Debug, Args)]
pub struct HtmlArgs {
    /// JSON reports
    #[arg(value_name = "A.json", required = true)]
    pub reports: Vec<PathBuf>,
    /// The page
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
}

/// `pfspec spec`
#[derive(Debug, Args)]
pub struct SpecArgs {
    /// Number of a clause, or of a chapter; all titles without
    #[arg(value_name = "CLAUSE")]
    pub clause: Option<String>,
}

/// A level or a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the words of the command line")]
pub enum TagArg {
    Must,
    Should,
    Observed,
    Quality,
    Slow,
    Hostile,
    Security,
    Load,
    Skew,
}

impl TagArg {
    /// Whether a case has it.
    #[must_use]
    pub fn is_of(self, case: &Case) -> bool {
        match self {
            Self::Must => case.level == Level::Must,
            Self::Should => case.level == Level::Should,
            Self::Observed => case.level == Level::Observed,
            Self::Quality => case.level == Level::Quality,
            Self::Slow => case.has(Tag::Slow),
            Self::Hostile => case.has(Tag::Hostile),
            Self::Security => case.has(Tag::Security),
            Self::Load => case.has(Tag::Load),
            Self::Skew => case.has(Tag::Skew),
        }
    }
}

/// A way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the words of the command line")]
pub enum WayArg {
    Spdy,
    Tunnel,
    V4,
    V4Base64,
    Http,
}

impl WayArg {
    /// The way.
    #[must_use]
    pub fn way(self) -> Way {
        match self {
            Self::Spdy => Way::Spdy,
            Self::Tunnel => Way::Tunnel,
            Self::V4 => Way::V4,
            Self::V4Base64 => Way::V4Base64,
            Self::Http => Way::Http,
        }
    }
}

/// Cases at once, unless the user says how many. More are not faster: on two processors with a load of 18, 655 results
/// took 110 s with 4 at once and 107 s with 16. And on a starved machine they depart falsely for want of each other's
/// time: of 116 results at the lowest priority beside a load of 24, 36 were not as expected with 16 at once, 3 with 8,
/// and none with 4, which took half the time.
fn jobs() -> usize {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    (2 * cores).clamp(4, 32)
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=1024) => Ok(count),
        _ => Err("a number from 1 to 1024".to_owned()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.01..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("seconds, from 0.01 to 86400".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_meant_without_a_subcommand() {
        let embedded = "pfspec server --embedded";
        for (words, meant) in [
            ("pfspec", embedded.to_owned()),
            ("pfspec --jobs 4", format!("{embedded} --jobs 4")),
            ("pfspec spdy/*", format!("{embedded} spdy/*")),
            ("pfspec spdy -q", format!("{embedded} spdy -q")),
            ("pfspec -x load", format!("{embedded} -x load")),
            ("pfspec http://h/p", "pfspec server http://h/p".to_owned()),
            ("pfspec --help", "pfspec --help".to_owned()),
            ("pfspec list spdy", "pfspec list spdy".to_owned()),
            ("pfspec help list", "pfspec help list".to_owned()),
        ] {
            let words = words.split(' ').map(OsString::from).collect();
            let got = with_subcommand(words).unwrap().join(" ".as_ref());
            assert_eq!(got.to_string_lossy(), meant);
        }
    }

    #[test]
    fn values() {
        for bad in ["0", "-1", "NaN", "inf", "x"] {
            assert!(seconds(bad).is_err(), "{bad}");
            assert!(count(bad).is_err(), "{bad}");
        }
    }
}
