//! `pf` beside `kubectl port-forward` on the same real cluster, in the same run, or beside other ways on a smooth
//! source; see README.md.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "a measuring program: its numbers are its own and far below 2^52, its indices too"
)]

mod args;
mod carry;
mod child;
mod machine;
mod measure;
mod pinned;
mod pod;
mod report;
mod smooth;
mod steps;
mod watch;

use anyhow::{Context, Result};
use args::{Args, Order, Part, Role};
use child::{Child, Client};
use measure::{Round, Sample};
use pod::Pod;
use std::time::Instant;
use steps::Step;

/// What one process of a client lives through, in this order. Set-ups get a process of their own, so that
/// they do not find the heap which the bulk left behind.
const LIVES: [&[Step]; 2] = [
    &[Step::Download, Step::Upload, Step::Memory],
    &[
        Step::Echo,
        Step::SetUp { at_once: 1 },
        Step::SetUp { at_once: 16 },
    ],
];

fn main() {
    let status = match run() {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("e2e: {error:#}");
            1
        }
    };
    // Children are gone by now: run() owned them.
    std::process::exit(status);
}

fn run() -> Result<()> {
    match Order::of_command_line()? {
        Order::Be(Role::ServeSmooth(serve)) => on_runtime(smooth::run(serve)),
        Order::Be(Role::Carry(carry)) => on_runtime(carry::run(carry)),
        Order::Measure(part, args) => {
            watch::end_children_when_told_to_end()?;
            match part {
                Part::Real => real(&args),
                Part::Pinned => pinned::run(&args),
            }
        }
    }
}

/// One thread, as in pf.
fn on_runtime(run: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(run)
}

fn real(args: &Args) -> Result<()> {
    let machine = machine::Machine::here(args);
    eprint!("{machine}");
    let pod = Pod::open(args)?;
    let mut rounds = Vec::new();
    let mut outcome = Ok(());
    for number in 0..args.rounds {
        match one_round(args, &pod, number) {
            Ok(round) => rounds.push(round),
            Err(error) => {
                outcome = Err(error.context(format!("round {} of {}", number + 1, args.rounds)));
                break;
            }
        }
    }
    drop(pod);
    if rounds.is_empty() {
        return outcome;
    }
    // A failure leaves the rounds before it worth showing.
    let table = report::Table::of(&rounds);
    print!("{machine}\n{table}");
    if let Some(path) = &args.json {
        let json = report::json(&machine, &rounds, &table);
        std::fs::write(path, json).with_context(|| format!("{}", path.display()))?;
    }
    outcome
}

/// All clients through all steps. Step by step and not client by client, so that what is compared is
/// seconds apart.
fn one_round(args: &Args, pod: &Pod, number: usize) -> Result<Round> {
    let mut order = Client::ALL;
    if number % 2 == 1 {
        order.reverse();
    }
    let mut round = Round::new(order);
    for life in LIVES {
        let children = order
            .iter()
            .map(|&client| Ok((client, Child::start(args, client)?)))
            .collect::<Result<Vec<_>>>()?;
        for step in life {
            for (client, child) in &children {
                let idle = step.loads().then(|| machine::wait_for_idle(args.patience));
                let began = Instant::now();
                let samples = step
                    .run(child, pod)
                    .with_context(|| format!("{step}, {}{}", client, child.last_words()))?;
                if let Some(idle) = idle {
                    round.note(idle);
                }
                progress(number, args.rounds, step, *client, &samples, began);
                round.add(*client, samples);
            }
        }
        for (_, child) in children {
            child.stop()?;
        }
    }
    Ok(round)
}

fn progress(
    number: usize,
    rounds: usize,
    step: &Step,
    client: Client,
    samples: &[Sample],
    began: Instant,
) {
    let values: Vec<String> = samples
        .iter()
        .map(|(measure, value)| format!("{} {}", measure.show(*value), measure.unit()))
        .collect();
    eprintln!(
        "round {}/{rounds}  {step}, {client}: {}  ({:.1} s)",
        number + 1,
        values.join(", "),
        began.elapsed().as_secs_f64()
    );
}
