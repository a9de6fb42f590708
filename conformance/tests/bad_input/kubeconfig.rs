//! Kubeconfig files: whether there is one, whether it is one, and where its clusters are.

use crate::{Row, kubeconfig_of};

/// What every message about the file has to name.
const FILE: &str = "{DIR}/config";

fn file_row(name: &'static str, says: &str, content: impl Into<Vec<u8>>) -> Row {
    Row::new(name, 2, &[FILE, says]).kubeconfig(content)
}

/// A kubeconfig whose cluster has these fields.
fn cluster_row(name: &'static str, says: &str, fields: &str) -> Row {
    Row::new(name, 2, &[says]).with(fields, "{}")
}

/// Levels of nine references each to the level before.
fn alias_bomb() -> String {
    use std::fmt::Write as _;
    let mut text = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..=12 {
        let references = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(text, "a{level}: &a{level} [{references}]").expect("a string takes it");
    }
    text + "clusters: *a12\n"
}

pub(crate) fn rows() -> Vec<Row> {
    let fine = kubeconfig_of("server: http://127.0.0.1:1", "{}");
    let padded = format!("{fine}# {}\n", "x".repeat(1 << 20));
    let pod: &[&str] = &["pod/web", ":8080"];
    vec![
        // The file
        Row::new("no such file", 2, &["{DIR}/nowhere"])
            .args(&[&["--kubeconfig", "{DIR}/nowhere"], pod].concat()),
        Row::new("no such file in KUBECONFIG", 2, &["{DIR}/nowhere"])
            .args(pod)
            .env("KUBECONFIG", "{DIR}/nowhere"),
        Row::new("no kubeconfig at all", 2, &["{DIR}/.kube/config"]).args(pod),
        Row::new("a directory", 2, &["kubeconfig {DIR}"])
            .args(&[&["--kubeconfig", "{DIR}"], pod].concat()),
        file_row("empty file", "current-context is not set", ""),
        file_row("only a comment", "", "# nothing here\n"),
        file_row("not YAML", "line 1", "}{ not yaml: ["),
        file_row(
            "a tab as indentation",
            "line",
            "apiVersion: v1\n\tkind: Config\n",
        ),
        file_row("a word", "line 1", "hello\n"),
        file_row("a list", "line 1", "- apiVersion: v1\n- kind: Config\n"),
        file_row("a number for the clusters", "line 1", "clusters: 7\n"),
        file_row(
            "a list for a name",
            "line 3",
            "clusters:\n- cluster: {server: x}\n  name: [1, 2]\n",
        ),
        file_row("not UTF-8", "UTF-8", &b"apiVersion: v1\n\xff\xfe\n"[..]),
        file_row("zero bytes", "", vec![0; 100]),
        file_row("a bomb of aliases", "", alias_bomb()),
        file_row("deep nesting", "", "[".repeat(100_000)),
        file_row("deep nesting in blocks", "", "- ".repeat(100_000)),
        file_row("over 1 MiB", "larger than 1048576 bytes", padded),
        file_row("unfinished quote", "line", format!("{fine}x: \"unfinished")),
        // The entries
        file_row(
            "no current context",
            "current-context is not set",
            fine.replace("current-context: lab\n", ""),
        ),
        file_row(
            "current context that is not there",
            "context was not found for specified context: gone",
            fine.replace("current-context: lab", "current-context: gone"),
        ),
        Row::new(
            "unknown --context",
            2,
            &[
                FILE,
                "context was not found for specified context: nope",
                "lab",
            ],
        )
        .file("config", fine.clone())
        .args(&[&["--kubeconfig", "{DIR}/config", "--context", "nope"], pod].concat()),
        file_row(
            "context of a cluster that is not there",
            "cluster \"gone\"",
            fine.replace("cluster: lab,", "cluster: gone,"),
        ),
        file_row(
            "context without a cluster",
            "line 6",
            fine.replace("{cluster: lab, user: me}", "{user: me}"),
        ),
        file_row(
            "context without content",
            "context was not found for specified context: lab",
            fine.replace("\n  context: {cluster: lab, user: me}", ""),
        ),
        // The cluster
        cluster_row("no server", FILE, "insecure-skip-tls-verify: true"),
        cluster_row("empty server", FILE, "server: \"\""),
        cluster_row(
            "server that is no URL",
            FILE,
            "server: \"http://not a url\"",
        ),
        cluster_row("server without a host", FILE, "server: \"https://\""),
        cluster_row(
            "server with a bad port",
            FILE,
            "server: http://127.0.0.1:99999",
        ),
        cluster_row(
            "server of an unknown scheme",
            "ftp",
            "server: ftp://127.0.0.1:1",
        ),
        cluster_row(
            "proxy",
            "proxy-url",
            "server: http://127.0.0.1:1\nproxy-url: http://127.0.0.1:2",
        ),
        Row::new("proxy of the environment", 2, &["HTTPS_PROXY"])
            .with("server: https://192.0.2.1:6443", "{}")
            .env("HTTPS_PROXY", "http://127.0.0.1:1"),
        cluster_row(
            "certificate authority in bad base64",
            FILE,
            "server: https://127.0.0.1:1\ncertificate-authority-data: '%%%'",
        ),
        cluster_row(
            "certificate authority that is no PEM",
            "certificate",
            "server: https://127.0.0.1:1\ncertificate-authority-data: aGVsbG8gd29ybGQ=",
        ),
        cluster_row(
            "certificate authority of garbage in PEM",
            "certificate",
            // -----BEGIN CERTIFICATE-----, AAAA, -----END CERTIFICATE-----
            "server: https://127.0.0.1:1\ncertificate-authority-data: \
             LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCkFBQUEKLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo=",
        ),
        cluster_row(
            "certificate authority file that is not there",
            "{DIR}/ca.crt",
            "server: https://127.0.0.1:1\ncertificate-authority: ca.crt",
        ),
        cluster_row(
            "certificate authority file without end",
            "/dev/zero",
            "server: https://127.0.0.1:1\ncertificate-authority: /dev/zero",
        ),
        cluster_row(
            "name for the certificate that is none",
            "server name",
            "server: https://127.0.0.1:1\ntls-server-name: a name!",
        ),
    ]
}
