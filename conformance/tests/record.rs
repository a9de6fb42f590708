//! `pf --record`, on the cluster inside `pf`.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use conformance::{
    program::Pf,
    transcript::{capture::SCENARIOS, load, parse, reenact},
};
use portforward::transcript::What;

/// How long a command that ends by itself may take; the machine may be busy with other tests.
const SOON: Duration = Duration::from_secs(20);

fn pf(file: &Path, line: &str) -> Pf {
    Pf::new(["--record".into(), file.as_os_str().to_owned()])
        .args(line.split_whitespace().map(Into::into))
}

fn part(file: &Path) -> PathBuf {
    file.with_extension("pft.part")
}

/// Our own gateway and node say what a client can replay, too.
#[test]
fn what_is_recorded_can_be_replayed() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let recorded: Vec<_> = SCENARIOS
        .into_iter()
        .map(|scenario| {
            let file = directory.path().join(scenario.name).with_extension("pft");
            thread::spawn(move || scenario.record(Pf::line("--embedded pod/web"), &file))
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for (scenario, recorded) in SCENARIOS.iter().zip(recorded) {
        let transcript = recorded.join().expect("no panic")?;
        let replayed = parse(&transcript).and_then(|_| runtime.block_on(reenact(&transcript)));
        replayed.with_context(|| format!("{}\n{transcript}", scenario.name))?;
        let provenance = &transcript.provenance;
        ensure!(
            provenance.command.starts_with("pf pod/web :"),
            "{provenance:?}"
        );
        // The embedded cluster makes a token for its user.
        let text = transcript.to_string();
        ensure!(
            !text.contains("uthorization") && !text.contains("Bearer"),
            "{text}"
        );
    }
    Ok(())
}

/// It has its name only when it is whole, and only its owner may read it.
#[test]
fn a_part_until_it_is_whole() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("a.pft");
    let (mut process, _) = pf(&file, "--embedded pod/web :7000").forward(1)?;
    ensure!(part(&file).exists() && !file.exists());
    process.interrupt()?;
    let ended = process.wait_exit(SOON)?;
    ensure!(ended.code == Some(0) && ended.stderr.is_empty(), "{ended}");
    ensure!(!part(&file).exists(), "the part is left");
    let mode = fs::metadata(&file)?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "{mode:o}");
    let transcript = load(&file)?;
    ensure!(matches!(transcript.events[0].what, What::Head(_)));
    Ok(())
}

#[test]
fn a_killed_pf_leaves_the_part() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("a.pft");
    drop(pf(&file, "--embedded pod/web :7000").forward(1)?);
    ensure!(!file.exists());
    let error = format!("{:#}", load(&part(&file)).err().context("it is whole")?);
    ensure!(error.contains("the file was cut"), "{error}");
    let again = pf(&file, "--embedded pod/web :7000").run(SOON)?;
    again.failed_with(2, &["a.pft.part: it is there already", "then remove it"])
}

/// All of them before the kubeconfig, which is not there, is looked for.
#[test]
fn files_that_cannot_be() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let there = directory.path().join("there.pft");
    fs::write(&there, "precious")?;
    let dangling = directory.path().join("link.pft");
    std::os::unix::fs::symlink("nowhere", &dangling)?;
    let cases = [
        (there.clone(), "it is there already"),
        (dangling, "it is there already"),
        (directory.path().to_owned(), "it is there already"),
        (
            directory.path().join("no/such/a.pft"),
            "No such file or directory",
        ),
        (there.join("a.pft"), "Not a directory"),
        (PathBuf::from("/dev/full"), "it is there already"),
        (PathBuf::new(), "a value is required"),
    ];
    for (file, words) in cases {
        let ended = pf(&file, "--kubeconfig /nowhere/kubeconfig pod/web 7000").run(SOON)?;
        ended
            .failed_with(2, &[words])
            .with_context(|| file.display().to_string())?;
    }
    let explain = pf(&directory.path().join("b.pft"), "explain pod/web 7000").run(SOON)?;
    explain.failed_with(2, &["explain records nothing"])?;
    ensure!(fs::read_to_string(&there)? == "precious");
    ensure!(
        fs::read_dir(directory.path())?.count() == 2,
        "something is left"
    );
    Ok(())
}

/// Without a session there is nothing to keep.
#[test]
fn a_run_that_fails_early_leaves_nothing() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("a.pft");
    let ended = pf(&file, "--embedded pod/nosuch 7000").run(SOON)?;
    ended.failed_with(4, &["not found"])?;
    ensure!(
        fs::read_dir(directory.path())?.count() == 0,
        "something is left"
    );
    Ok(())
}
