//! `--replay`: the same bytes again, and other answers told.

use super::common::{Fake, ONE, SWITCH, directory, hold, run, run_seven, said, text};
use pfspec::probe::wire::{Encoder, Frame};
use pfspec::report::model::Document;
use std::fs;
use std::io::Write as _;

#[test]
fn the_same_again() {
    let directory = directory();
    let path = directory.path().join("a.json");
    let report = format!("json={}", text(&path));
    // Every way: the bytes of SPDY, of a tunnel, of channels, of requests.
    let more = [
        "chan/data",
        "http/upgrade/other-upgrade",
        "ws/frame/byte-by-byte",
        "ws/close/same-code",
    ];
    let first = ["server", "--report", &report];
    let (code, out, error) = said(&run_seven(&[&first[..], &more].concat()));
    assert_eq!(code, 0, "{out}{error}");
    let words = ["server", "--replay", &text(&path), "--patience", "10"];
    let (code, out, error) = said(&run_seven(&[&words[..], &more].concat()));
    assert_eq!(code, 0, "{out}{error}");
    let document = Document::read(&path).unwrap();
    assert_eq!(
        ["SAME ", "MORE ", "SKIP "]
            .map(|word| out.matches(word).count())
            .iter()
            .sum::<usize>(),
        document.results.len(),
        "{out}"
    );
    for way in ["@spdy: ", "@tunnel: ", "@v4: ", "@v4-base64: ", "@http: "] {
        let same = out.lines().filter(|line| line.starts_with("SAME "));
        assert!(
            same.filter(|line| line.contains(way)).count() > 0,
            "{way}: {out}"
        );
    }
    assert!(out.contains(", 0 otherwise; "), "{out}");
    // What the choice leaves out is counted, and nothing is said of what is the same.
    let words = ["server", "--replay", &text(&path), "--way", "http", "-q"];
    let (code, out, error) = said(&run(&words));
    assert_eq!(code, 0, "{out}{error}");
    let left = document.results.len() - 1;
    assert_eq!(out.matches(": not on this way\n").count(), left, "{out}");
    assert!(
        !out.contains("SAME ") && out.contains(&format!("; {left} not sent\n")),
        "{out}"
    );
    // What is not in it cannot be sent.
    let words = [
        "server",
        "--replay",
        &text(&path),
        "spdy/frame/version-3@tunnel",
        "-x",
        "*",
    ];
    assert_eq!(said(&run(&words)).0, 2);
}

#[test]
fn other_answers() {
    let directory = directory();
    let path = directory.path().join("a.json");
    let (code, out, error) = said(&run(&["server", ONE, "--report", "json"]));
    assert_eq!(code, 0, "{error}");
    fs::write(&path, &out).unwrap();
    let path = text(&path);
    let fake = Fake::new(|_, head, stream| {
        // Of the token that the report holds nothing is left.
        let head = String::from_utf8_lossy(head);
        assert!(
            !head.contains("**") && head.starts_with("POST /p HTTP/1.1"),
            "{head}"
        );
        let mut encoder = Encoder::default();
        let mut bytes = SWITCH.as_bytes().to_vec();
        for id in [1, 3] {
            bytes.extend(encoder.encode(&Frame::RstStream { id, status: 3 }));
        }
        drop(stream.write_all(&bytes));
        hold(stream);
    });
    let url = format!("http://127.0.0.1:{}/p", fake.port);
    let words = ["server", &url, "--replay", &path, "--patience", "1"];
    let (code, out, error) = said(&run(&words));
    assert_eq!(code, 1, "{out}{error}");
    assert!(out.starts_with(&format!("OTHER {ONE}\n")), "{out}");
    for line in [
        "  connection 1, stream 1\n  - SYN_REPLY 1",
        "\n  + RST_STREAM 3 REFUSED_STREAM\n",
        "  connection 1, PINGs\n  - PING 1\n  + nothing\n",
    ] {
        assert!(out.contains(line), "{line}: {out}");
    }
    assert!(
        out.contains("0 answered the same, 0 with more behind it, 1 otherwise; 0 not sent"),
        "{out}"
    );
    // A server that is not there.
    let unheard = tokio::net::TcpSocket::new_v4().unwrap();
    unheard.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let dead = format!("http://{}/p", unheard.local_addr().unwrap());
    let (code, out, error) = said(&run(&[
        "server",
        &dead,
        "--replay",
        &path,
        "--no-preflight",
    ]));
    assert_eq!(code, 1, "{out}{error}");
    assert!(
        out.starts_with(&format!("OTHER {ONE}\n  - connected\n  + ")),
        "{out}"
    );
    // A report that has not kept what was sent.
    let whole = fs::read_to_string(&path).unwrap();
    let mut document: Document = serde_json::from_str(&whole).unwrap();
    let mut note = document.results[0].items[0].clone();
    (note.layer, note.text) = ("note".to_owned(), "not kept: 3 steps".to_owned());
    document.results[0].items.push(note);
    fs::write(&path, document.json().unwrap()).unwrap();
    let (code, out, _) = said(&run(&words));
    assert_eq!(code, 5, "{out}");
    assert!(out.starts_with(&format!("SKIP {ONE}: ")), "{out}");
    let mut document: Document = serde_json::from_str(&whole).unwrap();
    let step = document.results[0].items.iter_mut();
    let step = step.filter(|step| step.side == "judge" && step.layer == "spdy");
    step.last().unwrap().hex.clear();
    fs::write(&path, document.json().unwrap()).unwrap();
    let (code, out, _) = said(&run(&words));
    assert_eq!(code, 5, "{out}");
    assert!(
        out.starts_with(&format!("SKIP {ONE}: the report has kept all but ")),
        "{out}"
    );
}

#[test]
fn what_is_no_report() {
    let directory = directory();
    let path = directory.path().join("a.json");
    fs::write(&path, "{}").unwrap();
    let itself = text(&path);
    let report = format!("json={}", text(&directory.path().join("b")));
    for (more, words) in [
        (&[][..], "is no JSON report of pfspec"),
        (&["--report", &report], "cannot be used with"),
        (&["--seed", "1"], "cannot be used with"),
        (&["--keylog", &itself], "is replayed, and cannot be written"),
    ] {
        let file = text(&path);
        let arguments = [&["server", "--replay", &file][..], more].concat();
        let (code, out, error) = said(&run(&arguments));
        assert_eq!((code, out.as_str()), (2, ""), "{error}");
        assert!(error.contains(words), "{error}");
    }
}
