//! kube-rs's `Api::portforward` as a peer: `client-kube-rs KUBECONFIG POD PORT BYTES`.

use std::{env, time::Duration};

use anyhow::{Context as _, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Config,
    api::Portforwarder,
    config::{KubeConfigOptions, Kubeconfig},
};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split},
    time::{sleep, timeout},
};

const REFUSED: u16 = 7999;
const ECHO: u16 = 7000;
const HTTP: u16 = 8080;

/// The whole program; one step has `STEP`.
const DEADLINE: Duration = Duration::from_secs(55);
const STEP: Duration = Duration::from_secs(15);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [file, pod, port, bytes] = args.as_slice() else {
        bail!("usage: client-kube-rs KUBECONFIG POD PORT BYTES");
    };
    let kubeconfig = Kubeconfig::read_from(file)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let pods = Api::default_namespaced(Client::try_from(config)?);
    timeout(DEADLINE, steps(&pods, pod, port.parse()?, bytes.parse()?))
        .await
        .context("took too long")?
}

async fn steps(pods: &Api<Pod>, pod: &str, port: u16, bytes: usize) -> anyhow::Result<()> {
    let mut forward = pods.portforward(pod, &[port]).await?;
    let stream = forward.take_stream(port).context("no stream")?;
    println!("ok echo {}", echo(stream, bytes).await.context("echo")?);
    ended(forward).await.context("the end of the echo")?;

    let mut forward = pods.portforward(pod, &[REFUSED]).await?;
    let error = forward.take_error(REFUSED).context("no error stream")?;
    let text = timeout(STEP, error)
        .await
        .context("nothing about the refused port")?;
    let text = text.unwrap_or_else(|| "(nothing shown)".to_owned());
    println!(
        "ok refused {}",
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    );
    forward.abort();

    let mut forward = pods.portforward(pod, &[ECHO, HTTP]).await?;
    let first = forward.take_stream(ECHO).context("no stream")?;
    let mut second = forward.take_stream(HTTP).context("no second stream")?;
    second
        .write_all(b"GET / HTTP/1.1\r\nHost: pod\r\n\r\n")
        .await?;
    echo(first, 65_536).await.context("echo beside HTTP")?;
    let mut status = [0; 12];
    second
        .read_exact(&mut status)
        .await
        .context("HTTP beside echo")?;
    ensure!(
        status == *b"HTTP/1.1 200",
        "{}",
        String::from_utf8_lossy(&status)
    );
    drop(second);
    ended(forward).await.context("the end of both")?;
    println!("ok two");
    Ok(())
}

/// The close has been sent, answered, and the task has ended well.
async fn ended(forward: Portforwarder) -> anyhow::Result<()> {
    Ok(timeout(STEP, forward.join()).await.context("goes on")??)
}

/// Sends and compares; the digest of what came. Dropping the stream ends it.
async fn echo(stream: impl AsyncRead + AsyncWrite, bytes: usize) -> anyhow::Result<String> {
    let sent: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8).collect();
    let (mut read, mut write) = split(stream);
    let mut got = vec![0; bytes];
    let send = async { write.write_all(&sent).await.context("to send") };
    let receive = async {
        read.read_exact(&mut got)
            .await
            .map(drop)
            .context("to receive")
    };
    tokio::try_join!(send, receive)?;
    ensure!(got == sent, "other bytes came back");
    let mut more = [0];
    tokio::select! {
        more = read.read(&mut more) => bail!("more than was sent, or the end: {more:?}"),
        () = sleep(Duration::from_millis(300)) => {}
    }
    Ok(Sha256::digest(&got)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}
