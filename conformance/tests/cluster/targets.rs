//! What can be forwarded to, and by which port names.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context as _, ensure};
use conformance::{cases::exchange, cluster::Cluster};

use crate::{on_cluster, pf};

/// Forwards and returns the page that comes out, its first local port and the remote one.
fn page(cluster: &Cluster, line: &str) -> anyhow::Result<(String, u16, u16)> {
    let forward = || -> anyhow::Result<_> {
        let pf = pf(cluster, line).start()?;
        let listening = pf.ready(1)?[0];
        Ok((
            exchange::http(listening.local)?,
            listening.local.port(),
            listening.remote,
        ))
    };
    forward().with_context(|| line.to_owned())
}

fn is_from(page: &str, pod: &str) -> anyhow::Result<()> {
    ensure!(
        page.starts_with(&format!("hello from {pod}")),
        "not from {pod}: {page}"
    );
    Ok(())
}

/// A port that nobody listens on just now.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

#[test]
fn named_port_on_a_free_port() -> anyhow::Result<()> {
    on_cluster(|cluster| {
        for form in [":http", "0:http"] {
            let (page, _, remote) = page(cluster, &format!("pod/bare {form}"))?;
            ensure!(remote == 8080, "{form}: the remote port is {remote}");
            is_from(&page, "bare ")?;
        }
        Ok(())
    })
}

#[test]
fn named_port_on_a_given_port() -> anyhow::Result<()> {
    on_cluster(|cluster| {
        let port = free_port()?;
        let (page, local, remote) = page(cluster, &format!("pod/bare {port}:http"))?;
        ensure!((local, remote) == (port, 8080), "{local} -> {remote}");
        is_from(&page, "bare ")
    })
}

#[test]
fn bare_port_name() -> anyhow::Result<()> {
    on_cluster(|cluster| {
        // An address of its own, so that the fixed local port does not meet another program's.
        let address = Ipv4Addr::new(127, 0, 70, 7);
        let pf = pf(cluster, &format!("--address {address} pod/bare http")).start()?;
        let listening = pf.ready_at(address.into(), 1)?[0];
        ensure!(
            (listening.local.port(), listening.remote) == (8080, 8080),
            "the number of the name is wanted on both sides: {listening}"
        );
        is_from(&exchange::http(listening.local)?, "bare ")
    })
}

#[test]
fn many_ports_at_once() -> anyhow::Result<()> {
    on_cluster(|cluster| {
        let port = free_port()?;
        let line = format!("pod/bare :http {port}:echo :8081 :7000");
        let pf = pf(cluster, &line).start()?;
        let listening = pf.ready(4)?;
        let remotes: Vec<_> = listening.iter().map(|line| line.remote).collect();
        ensure!(remotes == [8080, 7000, 8081, 7000], "{remotes:?}");
        ensure!(listening[1].local.port() == port, "{}", listening[1]);
        is_from(&exchange::http(listening[0].local)?, "bare ")?;
        is_from(&exchange::http(listening[2].local)?, "bare ")?;
        exchange::echo(listening[1].local)?;
        exchange::echo(listening[3].local)
    })
}

/// The port asked for is the service's, the port reached its target port.
#[test]
fn service_ports() -> anyhow::Result<()> {
    on_cluster(|cluster| {
        let forms = [
            "svc/web 0:80",
            "svc/web :http",
            "service/web :80",
            "services/web :80",
        ];
        for form in forms {
            let (page, _, remote) = page(cluster, form)?;
            ensure!(remote == 8080, "{form}: the target port is {remote}");
            is_from(&page, "web-")?;
        }
        let (page, _, remote) = page(cluster, "svc/web :stats")?;
        ensure!(remote == 8081, "the target port is {remote}");
        is_from(&page, "web-")?;
        let (_pf, at) = pf(cluster, "svc/web :7 :echo").forward(2)?;
        at.into_iter().try_for_each(exchange::echo)
    })
}

/// Nothing maps the ports of a service without an address of its own: the number is the pod's.
#[test]
fn headless_service() -> anyhow::Result<()> {
    on_cluster(|cluster| {
        let pf = pf(cluster, "svc/web-headless :80").start()?;
        let listening = pf.ready(1)?[0];
        ensure!(listening.remote == 80, "{listening}");
        Ok(())
    })
}

#[test]
fn workloads() -> anyhow::Result<()> {
    on_cluster(|cluster| {
        let table: &[(&[&str], &str)] = &[
            (&["bare", "pod/bare", "pods/bare", "po/bare"], "bare "),
            (
                &[
                    "deployment/web",
                    "deployments/web",
                    "deploy/web",
                    "deployment.apps/web",
                ],
                "web-",
            ),
            (&["replicaset/rs", "replicasets/rs", "rs/rs"], "rs-"),
            (
                &[
                    "statefulset/stateful",
                    "statefulsets/stateful",
                    "sts/stateful",
                ],
                "stateful-0 ",
            ),
            (
                &["daemonset/daemon", "daemonsets/daemon", "ds/daemon"],
                "daemon-",
            ),
            (&["job/job", "jobs/job"], "job-"),
            (
                &[
                    "replicationcontroller/rc",
                    "replicationcontrollers/rc",
                    "rc/rc",
                ],
                "rc-",
            ),
        ];
        for (names, pod) in table {
            for name in *names {
                let (page, _, remote) = page(cluster, &format!("{name} :http"))?;
                ensure!(remote == 8080, "{name}: the remote port is {remote}");
                is_from(&page, pod).with_context(|| (*name).to_owned())?;
            }
        }
        Ok(())
    })
}

#[test]
fn namespace_and_context() -> anyhow::Result<()> {
    on_cluster(|cluster| {
        for flags in [
            "-n default",
            "--namespace=default",
            "--context lab",
            "--context=lab -n default",
        ] {
            let (page, _, _) = page(cluster, &format!("{flags} pod/bare :http"))?;
            is_from(&page, "bare ").with_context(|| flags.to_owned())?;
        }
        Ok(())
    })
}

#[test]
fn kubeconfig_from_the_environment() -> anyhow::Result<()> {
    on_cluster(|cluster| {
        let line = conformance::program::Pf::line("pod/bare :http");
        let (_pf, at) = line
            .env("KUBECONFIG", cluster.kubeconfig("forwarder"))
            .forward(1)?;
        is_from(&exchange::http(at[0])?, "bare ")
    })
}
