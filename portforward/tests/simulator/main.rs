//! Runs of the simulator (`portforward/SIMULATOR.md`): a range of seeds, one seed, and that a seed is one
//! run.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use portforward::sim::{self, Report};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// `PF_SIM_SEEDS=0..100000`, or the thousand of every CI run.
fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("PF_SIM_SEEDS") else {
        return 0..1000;
    };
    let (from, to) = text.split_once("..").unwrap();
    from.parse().unwrap()..to.parse().unwrap()
}

/// What is wrong, if anything, behind the line that runs it again.
fn verdict(seed: u64, report: &Report) -> Result<(), String> {
    if report.wrong.is_empty() {
        return Ok(());
    }
    Err(format!(
        "PF_SIM_SEED={seed} cargo test -p portforward --all-features --test simulator one_seed -- --nocapture: {}",
        report.wrong.join(" | ")
    ))
}

/// `PF_SIM_SEED`; with `PF_SIM_LOG` it tells what happens.
#[test]
fn one_seed() {
    let seed = number("PF_SIM_SEED").unwrap_or(0);
    let report = sim::seed(seed, std::env::var_os("PF_SIM_LOG").is_some());
    println!(
        "seed {seed}: {} events, trace {:016x}",
        report.events, report.hash
    );
    if let Err(line) = verdict(seed, &report) {
        panic!("{line}");
    }
}

#[test]
fn a_seed_is_one_run() {
    for seed in 0..60 {
        let (first, again) = (sim::seed(seed, false), sim::seed(seed, false));
        assert_eq!(first, again, "seed {seed}");
    }
}

#[test]
fn many_seeds() {
    let all = seeds();
    let (next, events) = (AtomicU64::new(all.start), AtomicU64::new(0));
    let start = Instant::now();
    let work = || {
        let mut failed = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= all.end {
                return failed;
            }
            let report = sim::seed(seed, false);
            events.fetch_add(report.events, Ordering::Relaxed);
            if let Err(line) = verdict(seed, &report) {
                // The first is enough, unless all are asked for.
                if std::env::var_os("PF_SIM_ALL").is_none() {
                    next.store(all.end, Ordering::Relaxed);
                }
                failed.push((seed, line));
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut failed: Vec<(u64, String)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let ended = threads.into_iter().map(|thread| thread.join().unwrap());
        ended.flatten().collect()
    });
    failed.sort();
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "seeds {all:?}: {} events in {seconds:.1} s on {threads} threads, {} failed",
        events.load(Ordering::Relaxed),
        failed.len()
    );
    for (_, line) in &failed {
        println!("{line}");
    }
    if let Some((_, line)) = failed.first() {
        panic!("{line}");
    }
}
