//! What is wrong with a command line is said in one line, and nothing is done.

use super::common::{ONE, directory, files, run, said, text};
use std::fs;
use std::path::PathBuf;

#[test]
fn usage() {
    let directory = directory();
    let missing = text(&directory.path().join("no/such/report.json"));
    let here = text(directory.path());
    let bad = text(&directory.path().join("bad.toml"));
    fs::write(
        &bad,
        "[[expect]]\ncase = 'spdy/frame/joined'\nverdict = 'FAIL'\n",
    )
    .unwrap();
    let broken = text(&directory.path().join("kubeconfig"));
    fs::write(&broken, "not: [a kubeconfig").unwrap();
    let json = format!("json={missing}");
    let onto = format!("html={here}");
    let twice = format!("json={here}/a,html={here}/a");
    for (arguments, words) in [
        (
            vec!["server", "spdy/frame/joind"],
            "did you mean spdy/frame/joined",
        ),
        (
            vec!["server", "nothing/*"],
            "no case is named \"nothing/*\"",
        ),
        (vec!["server", "-x", "nothing/*"], "no case is named"),
        (vec!["list", "nothing"], "no case is named"),
        (vec!["server", ONE, "-x", ONE], "nothing to run: 1 excluded"),
        // A part of nothing is nothing too.
        (
            vec!["server", "-x", "*", "--shard", "1/1"],
            "nothing to run",
        ),
        // It is not known what would be lost.
        (
            vec!["server", ONE, "--write-expect", &bad],
            "it is not overwritten",
        ),
        (
            vec!["server", ONE, "--expect", &bad],
            "line 1: missing field `reason`",
        ),
        (
            vec!["server", ONE, "--expect", &missing],
            "cannot read expectations",
        ),
        (
            vec!["server", ONE, "--report", &json],
            "cannot write a report to",
        ),
        (vec!["server", ONE, "--report", &onto], "it is a directory"),
        (vec!["server", ONE, "--report", &twice], "cannot both go to"),
        (
            vec!["server", ONE, "--report", "json,md"],
            "only one report can go to standard output",
        ),
        (vec!["server", ONE, "--report", "pdf"], "none of text, json"),
        (
            vec!["server", ONE, "--pcapng", &missing],
            "cannot write the capture",
        ),
        (
            vec!["server", ONE, "--wire-log", &bad],
            "cannot write the wire log",
        ),
        (
            vec!["server", ONE, "--write-expect", &missing],
            "cannot write the expectations",
        ),
        (
            vec!["server", "--insecure", ONE],
            "--insecure is for a server with a URL",
        ),
        (
            vec!["server", "--role", "node", ONE],
            "--role is for a server with a URL",
        ),
        (
            vec![
                "server",
                "--embedded",
                "--exec-succeeds",
                "a",
                "--exec-fails",
                "b",
            ],
            "--exec-succeeds is for a server with a URL",
        ),
        (vec!["server", "--shard", "3/2"], "a part of the whole"),
        (vec!["server", "--profile", "k8s-1.12"], "from k8s-1.29 on"),
        (vec!["server", "--retries", "4"], "4 is not in 0..=3"),
        (vec!["server", "--way", "udp"], "invalid value 'udp'"),
        (
            vec!["apiserver", "--pod", "a/b/c", "--kubeconfig", &broken],
            "a pod is NAME or NS/NAME",
        ),
        (
            vec!["apiserver", "--pod", "web", "--kubeconfig", &broken],
            "kubeconfig",
        ),
        (vec!["spec", "99.1"], "no clause \"99.1\""),
        (vec!["diff", &bad, &bad], "is no JSON report of pfspec"),
        (
            vec!["frobnicate"],
            "no subcommand and no case is named \"frobnicate\"; `pfspec list` shows all; `pfspec --help`",
        ),
    ] {
        let (code, out, error) = said(&run(&arguments));
        assert_eq!(code, 2, "{arguments:?}: {out}{error}");
        assert!(error.contains(words), "{arguments:?}: {error}");
        assert_eq!(error.matches("error:").count(), 1, "{arguments:?}: {error}");
        assert_eq!(out, "", "{arguments:?}");
    }
    let left: Vec<PathBuf> = files(directory.path());
    assert_eq!(left.len(), 2, "nothing is left behind: {left:?}");
}

#[test]
fn without_a_subcommand() {
    for words in [
        &["--jobs", "4", "--dry-run", "--slow"][..],
        &["--dry-run", "spdy/frame/*", "-x", "*joined"],
        &["spdy/frame", "--dry-run"],
    ] {
        let (code, out, errors) = said(&run(words));
        assert_eq!(code, 0, "{words:?}: {errors}");
        assert!(out.contains("RUN spdy/frame/version-3@spdy"), "{out}");
    }
    for (words, expected) in [
        (&["sever"][..], "did you mean `pfspec server`"),
        // Of cases too, behind subcommands.
        (
            &["served"],
            "did you mean `pfspec server`, chan/nego/served, ",
        ),
        (
            &["joind", "--slow"],
            "named \"joind\"; did you mean ws/frame/joined, spdy/frame/joined",
        ),
        (&["joind"], "? `pfspec --help` shows"),
        (&["joind"], "a target: `pfspec apiserver CASE`"),
        (&["localhost:8080"], "a URL begins with http:// or https://"),
        (
            &["--jobs", "4", "apiserver"],
            "apiserver is a subcommand and comes first",
        ),
        (&["spdy/fram/joined"], "did you mean spdy/frame/joined"),
        (&["--job", "4"], "'--jobs'"),
        (
            &["server", "--embedded", "http://127.0.0.1:1/"],
            "either --embedded or a URL",
        ),
    ] {
        let (code, out, errors) = said(&run(words));
        assert_eq!((code, out.as_str()), (2, ""), "{words:?}: {errors}");
        assert!(errors.contains(expected), "{words:?}: {errors}");
    }
    let (code, out, errors) = said(&run(&["rbac"]));
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(out.contains("resources: [pods/portforward]"), "{out}");
}
