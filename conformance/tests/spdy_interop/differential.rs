//! Ours beside moby/spdystream 0.5.1 on sequences of frames, right and wrong ones: the fuzz target
//! `spdy_diff_go` for some seconds, and whether its recorded answers are still true.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use conformance::peers::Peer;

use crate::{frames::hex, peer::find};

#[path = "../../../spdy/tests/common/golden.rs"]
mod golden;
#[path = "../../../spdy/tests/common/judge.rs"]
mod judge;

use judge::Judge;

const GOLDEN: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../spdy/tests/testdata/go_spdystream_golden.txt"
);

fn format(rows: &[golden::Row]) -> String {
    let line = |row: &golden::Row| {
        let answer = row.answer.replace('\n', "; ");
        format!("{}\t{}\t{answer}\n", row.name, hex(&row.bytes))
    };
    rows.iter().map(line).collect()
}

fn judge() -> anyhow::Result<Option<Judge>> {
    let program = find(Peer::SpdyGo)?;
    let judge = program.map(|program| Judge::start(program.path()));
    judge.transpose().context("the judge")
}

/// `PF_GOLDEN=write` writes them anew, of the inputs that `spdy::fuzz::golden` makes now.
#[test]
fn recorded_answers_are_still_true() -> anyhow::Result<()> {
    let Some(mut judge) = judge()? else {
        return Ok(());
    };
    let mut rows = golden::parse(&fs::read_to_string(GOLDEN).unwrap_or_default());
    let write = std::env::var_os("PF_GOLDEN").is_some_and(|how| how == "write");
    if write {
        let inputs = spdy::fuzz::golden().into_iter();
        let row = |(name, bytes)| golden::Row {
            name,
            bytes,
            answer: String::new(),
        };
        rows = inputs.map(row).collect();
    }
    for rows in rows.chunks_mut(1000) {
        let inputs: Vec<&[u8]> = rows.iter().map(|row| row.bytes.as_slice()).collect();
        let answers = judge.ask(&inputs)?;
        for (row, answer) in rows.iter_mut().zip(answers) {
            let theirs = spdy::fuzz::theirs(&answer).context("no answer")?;
            let ours = spdy::fuzz::ours(&row.bytes);
            if let Err(why) = spdy::fuzz::compare(&ours, &theirs) {
                anyhow::bail!("{}: {why}", row.name);
            }
            let answer = if spdy::fuzz::is_ours_alone(&ours) {
                golden::LEFT_OUT.to_owned()
            } else {
                answer
            };
            if write {
                row.answer = answer;
            } else {
                ensure!(row.answer == answer, "{}: {answer}", row.name);
            }
        }
    }
    if write {
        fs::write(GOLDEN, format(&rows))?;
    }
    ensure!(rows.len() >= 500, "{} rows", rows.len());
    Ok(())
}

/// The fuzz target's body on bytes of a small generator.
#[test]
fn random_sequences() -> anyhow::Result<()> {
    let Some(mut judge) = judge()? else {
        return Ok(());
    };
    let (mut state, mut frames, mut inputs) = (1u64, 0, 0);
    let (mut data, begun) = (vec![0; 4096], Instant::now());
    while begun.elapsed() < Duration::from_secs(3) {
        for byte in &mut data {
            // xorshift64*
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            *byte = state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes()[0];
        }
        frames += spdy::fuzz::against_go(&data, |batch| {
            inputs += batch.len();
            Some(judge.ask(batch).unwrap_or_default())
        });
    }
    let time = begun.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a number to be read")]
    let rate = frames as f64 / time;
    println!("{inputs} inputs, {frames} frames, {rate:.0} frames/s");
    ensure!(frames > 1000, "{frames} frames in {time} s");
    Ok(())
}
