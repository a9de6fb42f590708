//! What cannot be: what is said, and the exit code.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context as _, ensure};
use conformance::cases::exchange;

use crate::{SOON, on_cluster, pf, pf_as};

#[test]
fn who_may_not_forward_learns_the_missing_rule() -> anyhow::Result<()> {
    on_cluster(|cluster| {
        let ended = pf_as(cluster, "viewer", "pod/bare :8080").run(SOON)?;
        let message = "pods \"bare\" is forbidden: User \"viewer\" cannot create resource \
                       \"pods/portforward\" in API group \"\" in the namespace \"default\"";
        ended.failed_with(3, &[message])?;
        // The rule, as it would stand in a Role.
        let (_, rule) = ended.stderr.split_once("apiGroups:").context("no rule")?;
        for part in ["resources:", "pods/portforward", "verbs:", "create"] {
            ensure!(rule.contains(part), "no {part:?} in the rule: {ended}");
        }
        ensure!(
            ended.stdout.is_empty(),
            "something on standard output: {ended}"
        );
        Ok(())
    })
}

#[test]
fn who_may_not_look_up() -> anyhow::Result<()> {
    on_cluster(|cluster| {
        let table = [
            ("pod/bare :8080", "cannot get resource \"pods\""),
            ("deploy/web :8080", "cannot get resource \"deployments\""),
            ("svc/web :80", "cannot get resource \"services\""),
        ];
        for (line, part) in table {
            let ended = pf_as(cluster, "nobody", line).run(SOON)?;
            ended
                .failed_with(3, &["is forbidden", "nobody", part, "verbs:"])
                .with_context(|| line.to_owned())?;
        }
        Ok(())
    })
}

#[test]
fn what_is_not_there() -> anyhow::Result<()> {
    on_cluster(|cluster| {
        let table = [
            ("pod/no-such :80", "pods \"no-such\" not found"),
            ("no-such :80", "pods \"no-such\" not found"),
            (
                "deployment/no-such :80",
                "deployments.apps \"no-such\" not found",
            ),
            ("rs/no-such :80", "replicasets.apps \"no-such\" not found"),
            ("sts/no-such :80", "statefulsets.apps \"no-such\" not found"),
            ("ds/no-such :80", "daemonsets.apps \"no-such\" not found"),
            ("job/no-such :80", "jobs.batch \"no-such\" not found"),
            (
                "rc/no-such :80",
                "replicationcontrollers \"no-such\" not found",
            ),
            ("svc/no-such :80", "services \"no-such\" not found"),
        ];
        for (line, part) in table {
            let ended = pf(cluster, line).run(SOON)?;
            ended
                .failed_with(4, &[part])
                .with_context(|| line.to_owned())?;
        }
        Ok(())
    })
}

#[test]
fn pods_that_do_not_run() -> anyhow::Result<()> {
    on_cluster(|cluster| {
        for (pod, phase) in [("pending", "Pending"), ("done", "Succeeded")] {
            let ended = pf(cluster, &format!("pod/{pod} :8080")).run(SOON)?;
            let message = format!(
                "unable to forward port because pod is not running. Current status={phase}"
            );
            ended.failed_with(4, &[&message])?;
        }
        Ok(())
    })
}

#[test]
fn service_without_pods() -> anyhow::Result<()> {
    on_cluster(|cluster| {
        let ended = pf(cluster, "svc/empty :80 --pod-running-timeout=2s").run(SOON)?;
        ended.failed_with(4, &["timed out"])?;
        ensure!(ended.after.as_secs() >= 1, "it did not wait: {ended}");
        ensure!(ended.after.as_secs() < 10, "it waited too long: {ended}");
        Ok(())
    })
}

#[test]
fn wrong_token() -> anyhow::Result<()> {
    on_cluster(|cluster| {
        let text = std::fs::read_to_string(cluster.kubeconfig("forwarder-token"))?;
        let (before, rest) = text.split_once("token: ").context("no token")?;
        let behind = rest.split_once('\n').map_or("", |(_, behind)| behind);
        let wrong = format!("{before}token: no-such-token\n{behind}");
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), wrong)?;
        let line = conformance::program::Pf::line("pod/bare :8080").kubeconfig(file.path());
        let ended = line.run(SOON)?;
        ended.failed_with(3, &["Unauthorized"])?;
        ensure!(
            !ended.stderr.contains("no-such-token"),
            "the token is shown: {ended}"
        );
        Ok(())
    })
}

#[test]
fn local_port_taken() -> anyhow::Result<()> {
    on_cluster(|cluster| {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = taken.local_addr()?;
        let line = format!("--address 127.0.0.1 pod/bare {}:8080", address.port());
        let ended = pf(cluster, &line).run(SOON)?;
        ended.failed_with(5, &[&address.to_string()])?;
        ensure!(
            ended.stdout.is_empty(),
            "something on standard output: {ended}"
        );
        Ok(())
    })
}

/// Unlike kubectl, which goes on with half of what was asked for, unless told to.
#[test]
fn one_local_port_of_two_taken() -> anyhow::Result<()> {
    on_cluster(|cluster| {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = taken.local_addr()?.port();
        let line = format!("--address 127.0.0.1 pod/bare {port}:8080 :7000");
        let ended = pf(cluster, &line).run(SOON)?;
        ended.failed_with(5, &[&format!("Unable to listen on port {port}")])?;

        let (mut pf, at) = pf(cluster, &format!("--allow-partial {line}")).forward(1)?;
        let message = format!("Unable to listen on port {port}");
        pf.stderr_says(&message, std::time::Duration::from_secs(5))?;
        exchange::echo(at[0])?;
        pf.still_runs()
    })
}
