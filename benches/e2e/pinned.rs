//! `pf` beside a TLS relay and tuned h2 on a smooth source, each client alone on a core of its own.

use crate::args::Args;
use crate::child::{Child, SMOOTH};
use crate::machine::{self, Idle, Machine};
use crate::measure::Goal;
use crate::report::{dash, show, spread_json, write_table};
use crate::smooth::{self, DOWNLOAD, UPLOAD};
use crate::steps::{DOWN, GIB, MIB, PIECE, UP, check, connect, in_time, read, since, stalled};
use anyhow::{Context, Result, bail};
use benches::stats::Spread;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::net::Shutdown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Where the server and this program are, and where the clients.
const OUR_CORE: usize = 0;
const THEIR_CORE: usize = 1;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Spdy,
    Tunnel,
    Tls,
    H2,
}

impl Way {
    const ALL: [Self; 4] = [Self::Spdy, Self::Tunnel, Self::Tls, Self::H2];

    const fn name(self) -> &'static str {
        match self {
            Self::Spdy => "pf SPDY",
            Self::Tunnel => "pf tunnel",
            Self::Tls => "tls",
            Self::H2 => "h2 tuned",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Measure {
    DownRate,
    DownCpu,
    DownServer,
    UpRate,
    UpCpu,
    UpServer,
}

impl Measure {
    const ALL: [Self; 6] = [
        Self::DownRate,
        Self::DownCpu,
        Self::DownServer,
        Self::UpRate,
        Self::UpCpu,
        Self::UpServer,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::DownRate => "download, MiB/s",
            Self::DownCpu => "download, client CPU, s/GiB",
            Self::DownServer => "download, server CPU, s/GiB",
            Self::UpRate => "upload, MiB/s",
            Self::UpCpu => "upload, client CPU, s/GiB",
            Self::UpServer => "upload, server CPU, s/GiB",
        }
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::DownRate | Self::UpRate => format!("{value:.0}"),
            _ => format!("{value:.2}"),
        }
    }
}

/// A ratio that is asked for, and how much of it.
struct Asked {
    measure: Measure,
    way: Way,
    other: Way,
    pass: Goal,
    stretch: Goal,
}

fn asked() -> Vec<Asked> {
    use Goal::{AtLeast, AtMost};
    use Measure::{DownCpu, DownRate, UpCpu, UpRate};
    use Way::{H2, Spdy, Tls, Tunnel};
    [
        (DownCpu, Spdy, Tls, AtMost(0.75), AtMost(0.60)),
        (UpCpu, Spdy, Tls, AtMost(1.05), AtMost(0.90)),
        (DownCpu, Tunnel, Tls, AtMost(0.85), AtMost(0.70)),
        (UpCpu, Tunnel, Tls, AtMost(1.10), AtMost(0.95)),
        (DownRate, Spdy, Tls, AtLeast(1.20), AtLeast(1.40)),
        (UpRate, Spdy, Tls, AtLeast(0.95), AtLeast(1.10)),
        (DownRate, Tunnel, Tls, AtLeast(1.10), AtLeast(1.30)),
        (UpRate, Tunnel, Tls, AtLeast(0.95), AtLeast(1.05)),
        (DownCpu, Spdy, H2, AtMost(0.60), AtMost(0.45)),
        (UpCpu, Spdy, H2, AtMost(1.00), AtMost(0.90)),
        (DownCpu, Tunnel, H2, AtMost(0.60), AtMost(0.45)),
        (UpCpu, Tunnel, H2, AtMost(1.00), AtMost(0.90)),
    ]
    .into_iter()
    .map(|(measure, way, other, pass, stretch)| Asked {
        measure,
        way,
        other,
        pass,
        stretch,
    })
    .collect()
}

type Values = BTreeMap<(Way, Measure), f64>;

struct Round {
    order: [Way; 4],
    busiest: f64,
    disturbed: usize,
    values: Values,
}

/// All rounds, and the tables on standard output.
pub(crate) fn run(args: &Args) -> Result<()> {
    let machine = Machine::without_cluster(&args.pf);
    eprint!("{machine}");
    let directory = Directory::new()?;
    pin(OUR_CORE)?;
    let server = Server::start(&directory.0)?;
    let mut rounds = Vec::new();
    let mut outcome = Ok(());
    for number in 0..args.rounds {
        match one_round(args, &server, &directory.0, number) {
            Ok(round) => rounds.push(round),
            Err(error) => {
                outcome = Err(error.context(format!("round {} of {}", number + 1, args.rounds)));
                break;
            }
        }
    }
    if rounds.is_empty() {
        return outcome;
    }
    // A failure leaves the rounds before it worth showing.
    let table = Table(rounds);
    print!("{machine}\n{table}");
    if let Some(path) = &args.json {
        let text = format!("{:#}\n", table.json(&machine));
        std::fs::write(path, text).with_context(|| format!("{}", path.display()))?;
    }
    outcome
}

/// From now on, with all that is started.
fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &set)
        .with_context(|| format!("cannot use core {core}; this part needs two"))
}

/// For the certificate and the kubeconfig.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("pf-e2e-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("{}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left of it is in the way of nothing.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(directory: &Path) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve-smooth").arg(directory);
        let name = "the smooth source".to_owned();
        let (child, address) = Child::spawn_saying(command, name, smooth::READY)?;
        Ok(Self { child, address })
    }
}

fn start(args: &Args, server: &Server, directory: &Path, way: Way) -> Result<Child> {
    let command = match way {
        Way::Spdy | Way::Tunnel => {
            let protocol = if way == Way::Spdy { "spdy" } else { "tunnel" };
            let mut command = Command::new(&args.pf);
            command
                .arg("--kubeconfig")
                .arg(directory.join(smooth::KUBECONFIG))
                .args(["--protocol", protocol, "pod/smooth"])
                .arg(format!(":{}", SMOOTH.0));
            command
        }
        Way::Tls | Way::H2 => {
            let kind = if way == Way::Tls { "tls" } else { "h2" };
            let mut command = Command::new(std::env::current_exe()?);
            command
                .args(["carry", kind, &server.address])
                .arg(directory);
            command
        }
    };
    pin(THEIR_CORE)?;
    let child = Child::spawn(command, way.name().to_owned(), &[SMOOTH]);
    pin(OUR_CORE)?;
    child
}

fn one_round(args: &Args, server: &Server, directory: &Path, number: usize) -> Result<Round> {
    let mut order = Way::ALL;
    if number % 2 == 1 {
        order.reverse();
    }
    let mut round = Round {
        order,
        busiest: 0.0,
        disturbed: 0,
        values: Values::new(),
    };
    let children = order
        .iter()
        .map(|&way| Ok((way, start(args, server, directory, way)?)))
        .collect::<Result<Vec<_>>>()?;
    for (step, transfer) in [("download", download as Transfer), ("upload", upload)] {
        for (way, child) in &children {
            let Idle { busy, reached } = machine::wait_for_idle(args.patience);
            round.busiest = round.busiest.max(busy);
            round.disturbed += usize::from(!reached);
            let samples = transfer(child, &server.child).with_context(|| {
                let (name, words) = (way.name(), child.last_words());
                format!("{step}, {name}{words}{}", server.child.last_words())
            })?;
            let shown: Vec<String> = samples
                .iter()
                .map(|(measure, value)| format!("{} {}", measure.name(), measure.show(*value)))
                .collect();
            eprintln!(
                "round {}/{}  {}: {}",
                number + 1,
                args.rounds,
                way.name(),
                shown.join("; ")
            );
            let samples = samples.into_iter();
            round
                .values
                .extend(samples.map(|(measure, value)| ((*way, measure), value)));
        }
    }
    for (_, child) in children {
        child.stop()?;
    }
    Ok(round)
}

type Transfer = fn(&Child, &Child) -> Result<[(Measure, f64); 3]>;

/// From the connection to the last byte; then the end of file has to come.
fn download(child: &Child, server: &Child) -> Result<[(Measure, f64); 3]> {
    let (before, server_before) = (child.cpu()?, server.cpu()?);
    let began = Instant::now();
    let mut socket = connect(child.address(SMOOTH)?)?;
    socket.write_all(&request(DOWNLOAD, DOWN))?;
    let mut buffer = vec![0; PIECE];
    let mut got = 0;
    let mut last = began;
    loop {
        let n = read(&mut socket, &mut buffer)
            .with_context(|| format!("after {got} of {DOWN} bytes"))?;
        if n == 0 {
            break;
        }
        check(&buffer[..n], got)?;
        got += n as u64;
        last = Instant::now();
        in_time(began)?;
    }
    if got != DOWN {
        bail!("got {got} of {DOWN} bytes");
    }
    drop(socket);
    let rate = got as f64 / MIB / (last - began).as_secs_f64();
    let per_gib = got as f64 / GIB;
    let cpu = since(child, before)? / per_gib;
    let of_server = server.cpu()?.saturating_sub(server_before).as_secs_f64() / per_gib;
    Ok([
        (Measure::DownRate, rate),
        (Measure::DownCpu, cpu),
        (Measure::DownServer, of_server),
    ])
}

/// From the connection until the server says that it has all of them.
fn upload(child: &Child, server: &Child) -> Result<[(Measure, f64); 3]> {
    let piece: Vec<u8> = (0..PIECE).map(|at| at.to_le_bytes()[0]).collect();
    let (before, server_before) = (child.cpu()?, server.cpu()?);
    let began = Instant::now();
    let mut socket = connect(child.address(SMOOTH)?)?;
    socket.write_all(&request(UPLOAD, UP))?;
    let mut sent = 0;
    while sent < UP {
        let n = piece.len().min(usize::try_from(UP - sent)?);
        socket
            .write_all(&piece[..n])
            .map_err(stalled)
            .with_context(|| format!("after {sent} of {UP} bytes"))?;
        sent += n as u64;
        in_time(began)?;
    }
    let mut answer = [0; 8];
    let mut filled = 0;
    while filled < answer.len() {
        match read(&mut socket, &mut answer[filled..])? {
            0 => bail!("the end before the server's count"),
            n => filled += n,
        }
    }
    let rate = sent as f64 / MIB / began.elapsed().as_secs_f64();
    let counted = u64::from_be_bytes(answer);
    if counted != UP {
        bail!("the server got {counted} of {UP} bytes");
    }
    socket.shutdown(Shutdown::Write)?;
    if read(&mut socket, &mut answer)? != 0 {
        bail!("more than the server's count");
    }
    let per_gib = sent as f64 / GIB;
    let cpu = since(child, before)? / per_gib;
    let of_server = server.cpu()?.saturating_sub(server_before).as_secs_f64() / per_gib;
    Ok([
        (Measure::UpRate, rate),
        (Measure::UpCpu, cpu),
        (Measure::UpServer, of_server),
    ])
}

fn request(what: u8, count: u64) -> Vec<u8> {
    let mut request = vec![what];
    request.extend(count.to_be_bytes());
    request
}

struct Table(Vec<Round>);

impl Table {
    fn spread(&self, way: Way, measure: Measure) -> Option<Spread> {
        let values = self
            .0
            .iter()
            .filter_map(|it| it.values.get(&(way, measure)));
        Spread::of(values.copied().collect())
    }

    fn ratio(&self, asked: &Asked) -> Option<Spread> {
        let ratios = self.0.iter().filter_map(|round| {
            let of = |way| round.values.get(&(way, asked.measure));
            Some(of(asked.way)? / of(asked.other)?)
        });
        Spread::of(ratios.collect())
    }

    fn json(&self, machine: &Machine) -> Value {
        let rounds = self.0.iter().map(|round| {
            let mut values = serde_json::Map::new();
            for ((way, measure), value) in &round.values {
                let of_way = values.entry(way.name()).or_insert_with(|| json!({}));
                of_way[measure.name()] = json!(value);
            }
            json!({
                "order": round.order.map(Way::name),
                "busiest_before_a_step_percent": round.busiest,
                "steps_begun_on_a_busy_machine": round.disturbed,
                "values": values,
            })
        });
        let ratios = asked().into_iter().map(|asked| {
            let spread = self.ratio(&asked);
            json!({
                "measure": asked.measure.name(),
                "ratio": format!("{} / {}", asked.way.name(), asked.other.name()),
                "value": spread.map_or(Value::Null, spread_json),
                "pass": asked.pass.to_string(),
                "stretch": asked.stretch.to_string(),
                "passed": spread.map(|it| asked.pass.met(it.median)),
                "stretched": spread.map(|it| asked.stretch.met(it.median)),
            })
        });
        json!({
            "machine": machine.json(),
            "rounds": rounds.collect::<Vec<_>>(),
            "ratios": ratios.collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut heading = vec!["measure".to_owned()];
        heading.extend(Way::ALL.map(|way| way.name().to_owned()));
        let mut lines = vec![heading];
        for measure in Measure::ALL {
            let mut line = vec![measure.name().to_owned()];
            for way in Way::ALL {
                let spread = self.spread(way, measure);
                line.push(spread.map_or_else(dash, |it| show(it, |value| measure.show(value))));
            }
            lines.push(line);
        }
        write_table(f, &lines)?;
        writeln!(f)?;
        let heading = ["measure", "of", "ratio", "pass", "stretch"];
        let mut lines = vec![heading.map(str::to_owned).to_vec()];
        for asked in asked() {
            let spread = self.ratio(&asked);
            let verdict = |goal: Goal| match spread {
                None => dash(),
                Some(spread) if goal.met(spread.median) => format!("{goal} met"),
                Some(_) => format!("{goal} **not met**"),
            };
            lines.push(vec![
                asked
                    .measure
                    .name()
                    .rsplit_once(',')
                    .map_or("", |it| it.0)
                    .to_owned(),
                format!("{} / {}", asked.way.name(), asked.other.name()),
                spread.map_or_else(dash, |it| show(it, |value| format!("{value:.2}"))),
                verdict(asked.pass),
                verdict(asked.stretch),
            ]);
        }
        write_table(f, &lines)?;
        writeln!(
            f,
            "\nMedian (min..max), rounds: {}. Ratios are taken within a round. Clients alone on core {THEIR_CORE}, server\n\
             and driver on core {OUR_CORE}. Single runs vary by 30 to 40 %, medians of 8 rounds by 10 to 15 %.",
            self.0.len()
        )?;
        for (number, round) in self.0.iter().enumerate().filter(|(_, it)| it.disturbed > 0) {
            let (number, steps) = (number + 1, round.disturbed);
            writeln!(
                f,
                "warning: round {number}: {steps} steps began on a busy machine"
            )?;
        }
        Ok(())
    }
}
