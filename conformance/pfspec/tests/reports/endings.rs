//! How connections ended, in every report that tells it.

use super::common::{Fake, ONE, SWITCH, directory, hold, run, said, text};
use pfspec::probe::websocket::{self, CLOSE, LAST};
use pfspec::probe::wire::{Encoder, Frame};
use pfspec::report::model::Document;
use pfspec::trial::{V4, accept};
use serde_json::Value;
use std::fs;
use std::io::Write as _;
use std::net::{Shutdown, TcpStream};

/// What a server does with a connection.
type Answers = fn(&mut TcpStream);

fn goaway(stream: &mut TcpStream) {
    let frame = Frame::Goaway { last: 0, status: 0 };
    let bytes = [SWITCH.as_bytes(), &Encoder::default().encode(&frame)].concat();
    drop(stream.write_all(&bytes));
    drop(stream.shutdown(Shutdown::Write));
    hold(stream);
}

/// What is not read when a socket is closed makes the system send RST.
fn reset(stream: &mut TcpStream) {
    drop(stream.write_all(SWITCH.as_bytes()));
    // Until something is there, or nothing will be.
    drop(stream.peek(&mut [0]));
}

fn close(stream: &mut TcpStream) {
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: {V4}\r\n\r\n",
        accept()
    );
    let payload = [&1011u16.to_be_bytes()[..], b"no \x1b"].concat();
    let frame = websocket::frame(LAST | CLOSE, false, &payload);
    drop(stream.write_all(&[head.as_bytes(), &frame].concat()));
    hold(stream);
}

fn silent(stream: &mut TcpStream) {
    drop(stream.write_all(SWITCH.as_bytes()));
    hold(stream);
}

/// A refusal behind which the server ends the connection, as it says, or does not.
fn refuses(stream: &mut TcpStream) {
    let head = "HTTP/1.1 500 Oops\r\nContent-Length: 2\r\nConnection: close\r\n\r\n";
    drop(stream.write_all(format!("{head}no").as_bytes()));
}

fn refuses_and_waits(stream: &mut TcpStream) {
    drop(stream.write_all(b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nno"));
    hold(stream);
}

#[test]
fn each_is_told() {
    let table: [(Answers, &str, &str, &str); 6] = [
        (refuses, ONE, "fin", "FIN"),
        (refuses_and_waits, ONE, "open", "still open"),
        (goaway, ONE, "fin", "GOAWAY status=0, then FIN"),
        (reset, ONE, "rst", "RST"),
        (
            close,
            "chan/preface/every-channel@v4",
            "close",
            "Close 1011 \"no \\u{1b}\", then Close 1011 by the judge",
        ),
        (silent, ONE, "open", "still open"),
    ];
    for (answer, case, how, words) in table {
        let fake = Fake::new(move |_, _, stream| answer(stream));
        let url = format!("http://127.0.0.1:{}/p", fake.port);
        let directory = directory();
        let at = |name: &str| text(&directory.path().join(name));
        let reports = format!("json={},html={}", at("json"), at("html"));
        let (wire, junit) = (at("wire"), format!("junit={}", at("junit")));
        let (code, out, error) = said(&run(&[
            "server",
            &url,
            case,
            "--no-preflight",
            "--patience",
            "1",
            "--report",
            &reports,
            "--report",
            &junit,
            "--wire-log",
            &wire,
        ]));
        assert_eq!(code, 1, "{how}: {out}{error}");
        // On the line of the departure, with the time unless it is still open.
        let told = format!("[connection: {words}");
        assert!(out.contains(&told), "{told}: {out}");
        assert_eq!(
            out.contains(&format!("{told} after ")),
            how != "open",
            "{out}"
        );
        assert!(!out.contains('\u{1b}'), "{out:?}");
        let document = Document::read(&directory.path().join("json")).unwrap();
        let [record] = document.results.as_slice() else {
            panic!("{:?}", document.results.len())
        };
        let [close] = record.closes.as_slice() else {
            panic!("{:?}", record.closes)
        };
        assert_eq!((close.connection, close.how.as_str()), (1, how));
        assert_eq!(close.at.is_some(), how != "open");
        let log = fs::read_to_string(directory.path().join(format!("wire/{case}.txt"))).unwrap();
        assert!(
            log.contains("\nended    ") && !log.contains('\u{1b}'),
            "{log}"
        );
        for (name, part) in [("html", "\"closes\":\""), ("junit", "connection: ")] {
            let report = fs::read_to_string(at(name)).unwrap();
            assert!(report.contains(part), "{name}");
        }
    }
    // A pass says nothing of it on its line, and all of it in the report.
    let (code, out, _) = said(&run(&["server", ONE]));
    assert_eq!(code, 0);
    assert!(
        out.starts_with("PASS ") && !out.contains("connection"),
        "{out}"
    );
}

/// Reports of a version that had no such field are read, and compared.
#[test]
fn reports_without_it() {
    let directory = directory();
    let (code, out, error) = said(&run(&["server", ONE, "--report", "json"]));
    assert_eq!(code, 0, "{error}");
    let mut value: Value = serde_json::from_str(&out).unwrap();
    let closes = value["results"][0]
        .as_object_mut()
        .unwrap()
        .remove("closes");
    assert!(closes.is_some_and(|closes| !closes.as_array().unwrap().is_empty()));
    let (old, new) = (directory.path().join("old"), directory.path().join("new"));
    fs::write(&old, value.to_string()).unwrap();
    fs::write(&new, out).unwrap();
    assert_eq!(said(&run(&["diff", &text(&old), &text(&new)])).0, 0);
}
