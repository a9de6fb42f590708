//! kube-rs as a port forwarder, for benchmarks: `forward-kube-rs KUBECONFIG POD PORT...`, in kubectl's words.
//!
//! As in kube-rs's own example: each connection is a call of `Api::portforward` and tokio's copy. SIGINT ends it
//! with 0.

use std::env;

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [file, pod, ports @ ..] = args.as_slice() else {
        bail!("usage: forward-kube-rs KUBECONFIG POD PORT...");
    };
    let kubeconfig = Kubeconfig::read_from(file)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let pods: Api<Pod> = Api::default_namespaced(Client::try_from(config)?);
    pods.get(pod).await?;
    for port in ports {
        let port: u16 = port.parse().context("a port")?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("Forwarding from {} -> {port}", listener.local_addr()?);
        let (pods, pod) = (pods.clone(), pod.clone());
        tokio::spawn(async move {
            while let Ok((local, _)) = listener.accept().await {
                let (pods, pod) = (pods.clone(), pod.clone());
                tokio::spawn(async move {
                    if let Err(error) = carry(&pods, &pod, port, local).await {
                        eprintln!("{error:#}");
                    }
                });
            }
        });
    }
    Ok(tokio::signal::ctrl_c().await?)
}

async fn carry(
    pods: &Api<Pod>,
    pod: &str,
    port: u16,
    mut local: TcpStream,
) -> anyhow::Result<()> {
    local.set_nodelay(true)?;
    let mut forward = pods.portforward(pod, &[port]).await?;
    let mut far = forward.take_stream(port).context("no stream")?;
    copy_bidirectional(&mut local, &mut far).await?;
    drop(far);
    forward.join().await?;
    Ok(())
}
