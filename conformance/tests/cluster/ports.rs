//! Bad port forms, in kubectl's words: the real kubectl is asked, where it is built.

use anyhow::{Context as _, ensure};
use conformance::{cluster::Cluster, program::Pf};

use crate::{SOON, on_cluster};

/// What is expected of a port form.
enum Wanted {
    /// kubectl's own words.
    AsKubectl,
    /// kubectl's own words, with more around them.
    WithKubectls,
    /// These: kubectl takes the form for another one, or looks up a name that is none.
    Better(&'static str),
}

use Wanted::{AsKubectl, Better, WithKubectls};

/// The usage is wrong whatever the cluster says.
const USAGE: &[i32] = &[2];
/// The form is right, but nothing of that name or number is there.
const LOOKED_UP: &[i32] = &[2, 4];

const OUT_OF_RANGE: &str = "error parsing remote port '99999999999999999999': \
    strconv.ParseUint: parsing \"99999999999999999999\": value out of range";

const NO_SUCH_KIND: &str = "cannot forward to a resource of type \"nokind\": it must be one of \
    pod, deployment, replicaset, statefulset, daemonset, job, replicationcontroller, service";

const TABLE: &[(&[&str], &[i32], Wanted)] = &[
    // Numbers out of range
    (&["pod/bare", "70000"], USAGE, AsKubectl),
    (&["pod/bare", "65536"], USAGE, AsKubectl),
    (&["pod/bare", "8080:65536"], USAGE, AsKubectl),
    (&["pod/bare", "65536:8080"], USAGE, AsKubectl),
    (&["pod/bare", "18446744073709551616:80"], USAGE, AsKubectl),
    (&["pod/bare", ":4294967376"], USAGE, AsKubectl),
    (
        &["pod/bare", ":99999999999999999999"],
        USAGE,
        Better(OUT_OF_RANGE),
    ),
    (&["svc/web", "70000:80"], USAGE, AsKubectl),
    // Zero
    (&["pod/bare", "0"], USAGE, AsKubectl),
    (&["pod/bare", ":0"], USAGE, AsKubectl),
    (&["pod/bare", "0:0"], USAGE, AsKubectl),
    (&["pod/bare", "8080:0"], USAGE, AsKubectl),
    // No numbers
    (&["pod/bare", "--", "-1"], USAGE, AsKubectl),
    (&["pod/bare", "8080:-1"], USAGE, AsKubectl),
    (&["pod/bare", "+80"], USAGE, AsKubectl),
    (&["pod/bare", "8080:+80"], USAGE, AsKubectl),
    (&["pod/bare", "abc:8080"], USAGE, AsKubectl),
    (&["pod/bare", "http:8080"], USAGE, AsKubectl),
    (&["pod/bare", " 80:80"], USAGE, AsKubectl),
    (&["pod/bare", "a\"b:80"], USAGE, AsKubectl),
    (&["svc/web", "abc:80"], USAGE, AsKubectl),
    (&["pod/bare", ":8080", "70000"], USAGE, AsKubectl),
    // Nothing, and too much
    (
        &["pod/bare", ""],
        USAGE,
        Better("remote port cannot be empty"),
    ),
    (
        &["pod/bare", ":"],
        USAGE,
        Better("remote port cannot be empty"),
    ),
    (
        &["pod/bare", "8080:"],
        USAGE,
        Better("remote port cannot be empty"),
    ),
    (
        &["svc/web", "80:"],
        USAGE,
        Better("remote port cannot be empty"),
    ),
    (
        &["pod/bare", "::"],
        USAGE,
        Better("invalid port format '::'"),
    ),
    (
        &["pod/bare", "1:2:3"],
        USAGE,
        Better("invalid port format '1:2:3'"),
    ),
    (
        &["pod/bare", "8080:http:"],
        USAGE,
        Better("invalid port format '8080:http:'"),
    ),
    (
        &["svc/web", "1:2:3"],
        USAGE,
        Better("invalid port format '1:2:3'"),
    ),
    // Names that are not there
    (&["pod/bare", "nope"], LOOKED_UP, AsKubectl),
    (&["pod/bare", ":nope"], LOOKED_UP, AsKubectl),
    (&["pod/bare", "0:nope"], LOOKED_UP, AsKubectl),
    (&["pod/bare", "8080:nope"], LOOKED_UP, AsKubectl),
    (&["pod/bare", ":HTTP"], LOOKED_UP, AsKubectl),
    (&["pod/bare", "0x50"], LOOKED_UP, AsKubectl),
    (&["pod/bare", "1e3"], LOOKED_UP, AsKubectl),
    (&["pod/bare", "80,81"], LOOKED_UP, AsKubectl),
    (&["pod/bare", "80-90"], LOOKED_UP, AsKubectl),
    (&["pod/bare", "80 "], LOOKED_UP, AsKubectl),
    (&["pod/bare", "8_0"], LOOKED_UP, AsKubectl),
    (&["deployment/web", ":nope"], LOOKED_UP, AsKubectl),
    (&["svc/web", "nope"], LOOKED_UP, AsKubectl),
    (&["svc/web", ":nope"], LOOKED_UP, AsKubectl),
    // Ports that the service does not have
    (&["svc/web", "9999"], LOOKED_UP, AsKubectl),
    (&["svc/web", "8080:9999"], LOOKED_UP, AsKubectl),
    // Neither a target nor a port is right
    (&["a/b/c", "80"], USAGE, AsKubectl),
    (&["pod/", "80"], USAGE, AsKubectl),
    (&["/x", "80"], USAGE, AsKubectl),
    (&["nokind/x", "80"], USAGE, Better(NO_SUCH_KIND)),
    (&["pod/bare", "80", "--address", "1.2.3"], USAGE, AsKubectl),
    (
        &["pod/bare", "80", "--address", "example.invalid"],
        USAGE,
        AsKubectl,
    ),
    (
        &["pod/bare", "80", "--pod-running-timeout=0s"],
        USAGE,
        WithKubectls,
    ),
    (
        &["pod/bare", "80", "--pod-running-timeout=-3s"],
        USAGE,
        WithKubectls,
    ),
    (&["pod/bare"], USAGE, AsKubectl),
    (&[], USAGE, AsKubectl),
];

fn first_error(stderr: &str) -> anyhow::Result<&str> {
    stderr
        .lines()
        .find_map(|line| line.strip_prefix("error: "))
        .with_context(|| format!("no line `error: ...` in {stderr:?}"))
}

fn check(
    cluster: &Cluster,
    (args, codes, wanted): &(&[&str], &[i32], Wanted),
) -> anyhow::Result<()> {
    let kubeconfig = cluster.kubeconfig("forwarder");
    let ours = Pf::new(*args).kubeconfig(&kubeconfig).run(SOON)?;
    let code = ours.code.unwrap_or(-1);
    ensure!(
        codes.contains(&code),
        "exit code {code}, not one of {codes:?}: {ours}"
    );
    let said = first_error(&ours.stderr)?;
    let kubectls = match (wanted, cluster.kubectl()) {
        (Better(text), _) => (*text).to_owned(),
        (AsKubectl | WithKubectls, None) => return Ok(()),
        (AsKubectl | WithKubectls, Some(kubectl)) => {
            let args = ["port-forward"].iter().chain(*args).copied();
            let line = Pf::new(args).kubeconfig(&kubeconfig);
            let theirs = line
                .start_program(&kubectl)?
                .wait_exit(SOON)
                .context("kubectl")?;
            first_error(&theirs.stderr)?.to_owned()
        }
    };
    let fine = match wanted {
        WithKubectls => said.contains(&kubectls),
        AsKubectl | Better(_) => said == kubectls,
    };
    ensure!(fine, "says  {said}\nnot   {kubectls}");
    Ok(())
}

#[test]
fn bad_forms_are_named_as_kubectl_names_them() -> anyhow::Result<()> {
    on_cluster(|cluster| {
        let wrong: Vec<_> = TABLE
            .iter()
            .filter_map(|row| {
                check(cluster, row)
                    .err()
                    .map(|why| format!("{:?}\n{why:#}", row.0))
            })
            .collect();
        ensure!(
            wrong.is_empty(),
            "{} of {}:\n{}",
            wrong.len(),
            TABLE.len(),
            wrong.join("\n\n")
        );
        Ok(())
    })
}
