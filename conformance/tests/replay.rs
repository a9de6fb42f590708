//! What real peers said, replayed without them: the transcripts of `transcripts/`.
//!
//! `PF_UPDATE_TRANSCRIPTS=1` writes their comments anew, so that a change of the decoder shows as a
//! difference of text.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use conformance::transcript::{capture::SCENARIOS, hex, load, parse, reenact};
use portforward::transcript::{Direction, Event, Transcript, What};

/// Largest transcript in the repository.
const SMALL: u64 = 64 << 10;

fn files() -> anyhow::Result<Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts");
    let mut files = Vec::new();
    for peer in fs::read_dir(root)? {
        let peer = peer?.path();
        // Beside the directories is a README.
        if !peer.is_dir() {
            continue;
        }
        for file in fs::read_dir(peer)? {
            let file = file?.path();
            if file.extension().is_some_and(|ending| ending == "pft") {
                files.push(file);
            }
        }
    }
    files.sort();
    ensure!(files.len() >= SCENARIOS.len(), "only {}", files.len());
    Ok(files)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    Ok(builder.enable_all().build()?)
}

fn named(name: &str) -> anyhow::Result<Transcript> {
    let files = files()?;
    let file = files
        .iter()
        .find(|file| file.ends_with(format!("{name}.pft")));
    load(file.context("no such transcript")?)
}

#[test]
fn bytes_and_comments_agree() -> anyhow::Result<()> {
    let update = env::var_os("PF_UPDATE_TRANSCRIPTS").is_some_and(|value| value == "1");
    for file in files()? {
        let shown = file.display();
        let mut transcript = load(&file)?;
        ensure!(fs::metadata(&file)?.len() < SMALL, "{shown} is large");
        if update {
            transcript.annotate();
            fs::write(&file, transcript.to_string())?;
        }
        let text = fs::read_to_string(&file)?;
        ensure!(
            text == transcript.to_string(),
            "{shown} is written otherwise"
        );
        let frames = parse(&transcript).with_context(|| {
            format!("{shown}: PF_UPDATE_TRANSCRIPTS=1 writes the comments anew, to be compared")
        })?;
        ensure!(frames >= 8, "{shown}: {frames} frames");
        ensure!(
            !transcript.provenance.expect.is_empty(),
            "{shown} expects nothing"
        );
    }
    Ok(())
}

/// All at once: some wait for a second, as they did then.
#[test]
fn our_client_does_it_again() -> anyhow::Result<()> {
    let began = Instant::now();
    runtime()?.block_on(async {
        let replays: Vec<_> = files()?
            .into_iter()
            .map(|file| {
                tokio::spawn(async move {
                    reenact(&load(&file)?)
                        .await
                        .with_context(|| file.display().to_string())
                })
            })
            .collect();
        for replay in replays {
            replay.await??;
        }
        anyhow::Ok(())
    })?;
    let took = began.elapsed();
    ensure!(took < Duration::from_secs(10), "took {took:?}");
    Ok(())
}

/// Changes one byte sequence of what one side says.
fn falsify(
    transcript: &mut Transcript,
    side: Direction,
    from: &[u8],
    to: &[u8],
) -> anyhow::Result<()> {
    let spoken =
        |event: &&mut Event| event.direction == side && matches!(event.what, What::Bytes(_));
    let bytes = |event: &Event| match &event.what {
        What::Bytes(bytes) => bytes.to_vec(),
        _ => Vec::new(),
    };
    let events: Vec<_> = transcript.events.iter_mut().filter(spoken).collect();
    // It may lie across events.
    let mut all: Vec<u8> = events.iter().flat_map(|event| bytes(event)).collect();
    let at = all.windows(from.len()).position(|part| part == from);
    let at = at.with_context(|| format!("{from:?} is not in it"))?;
    all[at..at + from.len()].copy_from_slice(to);
    for event in events {
        let behind = all.split_off(bytes(event).len());
        event.what = What::Bytes(std::mem::replace(&mut all, behind).into());
    }
    Ok(())
}

/// A replay that cannot fail proves nothing.
#[test]
fn a_false_transcript_does_not_pass() -> anyhow::Result<()> {
    type False = (
        &'static str,
        Direction,
        &'static [u8],
        &'static [u8],
        &'static str,
    );
    let (client, server) = (Direction::ClientToServer, Direction::ServerToClient);
    let ends = "the local sockets came to the ends";
    let sent = "the client sent stream 3";
    let false_ones: [False; 5] = [
        ("echo-4-bytes", server, b"ping", b"pong", ends),
        ("refused-port", server, b"refused", b"revised", ends),
        // FIN of the data stream, from either side.
        (
            "half-closed-by-pod",
            server,
            &[0, 0, 0, 3, 1],
            &[0, 0, 0, 3, 0],
            sent,
        ),
        (
            "echo-4-bytes",
            client,
            &[0, 0, 0, 3, 1],
            &[0, 0, 0, 3, 0],
            sent,
        ),
        // RST_STREAM of the data stream, in its status.
        (
            "half-closed-by-pod",
            client,
            &[0, 0, 0, 3, 0, 0, 0, 5],
            &[0, 0, 0, 3, 0, 0, 0, 1],
            sent,
        ),
    ];
    runtime()?.block_on(async {
        let replays = false_ones.map(|(name, side, from, to, words)| {
            tokio::spawn(async move {
                let mut transcript = named(name)?;
                falsify(&mut transcript, side, from, to)?;
                let error = reenact(&transcript).await.err().context(name)?;
                let error = format!("{error:#}");
                ensure!(error.contains(words), "{name}: {error}");
                anyhow::Ok(())
            })
        });
        for replay in replays {
            replay.await??;
        }
        anyhow::Ok(())
    })
}

/// Comments that do not follow from the bytes are found.
#[test]
fn a_false_comment_does_not_pass() -> anyhow::Result<()> {
    let mut transcript = named("echo-4-bytes")?;
    falsify(&mut transcript, Direction::ServerToClient, b"ping", b"pong")?;
    let error = parse(&transcript).err().context("it passes")?;
    ensure!(error.to_string().contains("the comments say"), "{error}");
    Ok(())
}

/// They were recorded by a user with a token (`forwarder-token`) from a server with certificates.
#[test]
fn no_transcript_holds_credentials() -> anyhow::Result<()> {
    let secrets = [
        "uthorization",
        "bearer",
        "forwarder-token",
        "cookie",
        "impersonate",
        "-----begin",
        "certificate",
        "private key",
    ];
    for file in files()? {
        let shown = file.display();
        let mut all = fs::read(&file)?;
        for event in load(&file)?.events {
            if let What::Bytes(bytes) = event.what {
                all.extend(bytes);
            }
        }
        let all = String::from_utf8_lossy(&all).to_lowercase();
        for secret in secrets {
            let hex = hex(secret.as_bytes());
            ensure!(!all.contains(secret), "{shown} holds {secret:?}");
            ensure!(
                !all.contains(&hex),
                "{shown} holds {secret:?} in hexadecimal"
            );
        }
    }
    Ok(())
}
