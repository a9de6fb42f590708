//! The rounds of any part: all clients through all steps, again and again.

use crate::args::Args;
use crate::child::Child;
use crate::client::Client;
use crate::cores;
use crate::far::Far;
use crate::machine::{self, Machine};
use crate::measure::{Measure, Sample};
use crate::report::Report;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::time::Instant;

/// All clients through all steps, once.
pub(crate) struct Round {
    pub(crate) order: Vec<Client>,
    /// How busy the machine was before the step at which it was busiest, percent.
    pub(crate) busiest: f64,
    /// How many steps began on a machine that stayed busy, of how many.
    pub(crate) disturbed: usize,
    pub(crate) steps: usize,
    pub(crate) values: BTreeMap<(Client, Measure), f64>,
}

impl Round {
    pub(crate) const fn new(order: Vec<Client>) -> Self {
        Self {
            order,
            busiest: 0.0,
            disturbed: 0,
            steps: 0,
            values: BTreeMap::new(),
        }
    }
}

/// Measures, and prints the report on standard output.
pub(crate) fn run(args: &Args) -> Result<()> {
    cores::begin(args.part)?;
    let far = Far::open(args)?;
    let machine = Machine::here(args, &far);
    eprint!("{machine}");
    let mut rounds = Vec::new();
    let mut outcome = Ok(());
    for number in 1..=args.rounds {
        match one_round(args, &far, number) {
            Ok(round) => rounds.push(round),
            Err(error) => {
                outcome = Err(error.context(format!("round {number} of {}", args.rounds)));
                break;
            }
        }
    }
    drop(far);
    if rounds.is_empty() {
        return outcome;
    }
    // A failure leaves the rounds before it worth showing.
    let report = Report::of(args.part, &args.clients, rounds);
    print!("{machine}\n{report}");
    if let Some(path) = &args.json {
        let text = format!("{:#}\n", report.json(&machine));
        std::fs::write(path, text).with_context(|| format!("{}", path.display()))?;
    }
    outcome
}

/// Step by step and not client by client, so that what is compared is seconds apart.
fn one_round(args: &Args, far: &Far, number: usize) -> Result<Round> {
    let mut order = args.clients.clone();
    if number.is_multiple_of(2) {
        order.reverse();
    }
    let mut round = Round::new(order);
    for life in args.part.lives() {
        let children = round
            .order
            .iter()
            .map(|&client| Ok((client, client.start(args, far)?)))
            .collect::<Result<Vec<(Client, Child)>>>()?;
        for step in *life {
            for (client, child) in &children {
                if !client.takes(*step) {
                    continue;
                }
                if step.loads() {
                    let idle = machine::wait_for_idle(args.patience);
                    round.busiest = round.busiest.max(idle.busy);
                    round.disturbed += usize::from(!idle.reached);
                    round.steps += 1;
                }
                let began = Instant::now();
                let samples = step.run(*client, child, far).with_context(|| {
                    let (its, the_servers) = (child.last_words(), far.last_words());
                    format!("{step}, {client}{its}{the_servers}")
                })?;
                eprintln!(
                    "round {number}/{}  {step}, {client}: {}  ({:.1} s)",
                    args.rounds,
                    shown(&samples),
                    began.elapsed().as_secs_f64()
                );
                let samples = samples.into_iter();
                round
                    .values
                    .extend(samples.map(|(measure, value)| ((*client, measure), value)));
            }
        }
        for (_, child) in children {
            child.stop()?;
        }
    }
    Ok(round)
}

fn shown(samples: &[Sample]) -> String {
    let values: Vec<String> = samples
        .iter()
        .map(|(measure, value)| format!("{} {}", measure.show(*value), measure.unit()))
        .collect();
    values.join(", ")
}
