//! No secret in anything that is written.

use super::common::{
    CANARY, Fake, ONE, SWITCH, directory, files, kubeconfig, run, run_seven, said, text,
};
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use pfspec::probe::wire::{Encoder, Frame};
use pfspec::report::hex;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

#[test]
fn no_secret_anywhere() {
    let directory = directory();
    // It sends the whole head back, in pieces that cut the token, as an answer or behind one.
    let fake = Fake::new(|number, head, stream| {
        let own = String::from_utf8_lossy(head).into_owned();
        let token = own
            .lines()
            .find_map(|line| line.split_once("Bearer "))
            .map_or("", |(_, token)| token.trim());
        let encoded = [
            BASE64_STANDARD.encode(token),
            BASE64_URL_SAFE_NO_PAD.encode(token),
        ]
        .join(" ");
        let body = format!("who is {token}? {encoded}");
        let answer = if number % 2 == 0 {
            format!("{SWITCH}{own}{body}")
        } else {
            format!(
                "HTTP/1.1 400 Bad {token}\r\nX-You: {token}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        for part in answer.as_bytes().chunks(7) {
            drop(stream.write_all(part).and_then(|()| stream.flush()));
            std::thread::sleep(std::time::Duration::from_micros(300));
        }
    });
    let config = text(&fake.kubeconfig(directory.path()));
    let out = directory.path().join("out");
    fs::create_dir(&out).unwrap();
    let at = |name: &str| text(&out.join(name));
    let reports =
        ["json", "html", "junit", "sarif", "md", "tap"].map(|form| format!("{form}={}", at(form)));
    let result = run_seven(&[
        "apiserver",
        "--kubeconfig",
        &config,
        "--pod",
        "web",
        "--report",
        &reports.join(","),
        "--pcapng",
        &at("pcapng"),
        "--wire-log",
        &at("wire"),
        "--write-expect",
        &at("expect.toml"),
    ]);
    let (code, ..) = said(&result);
    assert_eq!(code, 1);
    let mut all = vec![
        (PathBuf::from("stdout"), result.stdout),
        (PathBuf::from("stderr"), result.stderr),
    ];
    all.extend(
        files(&out)
            .into_iter()
            .map(|path| (path.clone(), fs::read(&path).unwrap())),
    );
    assert!(all.len() > 15, "{}", all.len());
    let spaced: Vec<String> = CANARY.bytes().map(|byte| format!("{byte:02x}")).collect();
    let forms = [
        CANARY.to_owned(),
        // A part is enough to know that a cut was not seen.
        CANARY[4..12].to_owned(),
        hex(CANARY.as_bytes()),
        spaced.join(" "),
        BASE64_STANDARD.encode(CANARY),
        BASE64_URL_SAFE_NO_PAD.encode(CANARY),
        hex(BASE64_STANDARD.encode(CANARY).as_bytes()),
    ];
    for (path, bytes) in &all {
        for form in &forms {
            let found = bytes
                .windows(form.len())
                .any(|part| part == form.as_bytes());
            assert!(!found, "{form} in {}", path.display());
        }
    }
    // The fake did send it: what took its place is there.
    let json = fs::read_to_string(at("json")).unwrap();
    assert!(
        json.contains(&format!("who is {}?", "*".repeat(CANARY.len()))),
        "{json}"
    );
}

/// A server that has seen whoever asks, and says so in every way that is cut or escaped.
fn telltale(secret: &str) -> Fake {
    let secret = secret.to_owned();
    Fake::new(move |number, head, stream| {
        let own = String::from_utf8_lossy(head).into_owned();
        let message = serde_json::to_string(&format!("you are {secret}, {}", "x".repeat(300)));
        let status = format!(r#"{{"kind":"Status","message":{}}}"#, message.unwrap());
        let bad = |body: &str| {
            let length = body.len();
            format!("HTTP/1.1 400 Bad\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
        };
        let answer = match number % 5 {
            0 => bad(&status),
            1 => bad(&own),
            2 => bad(&format!("{}{secret}", "x".repeat(170))),
            3 => format!("you are {secret}").into_bytes(),
            _ => {
                let mut encoder = Encoder::default();
                let reply = Frame::SynReply {
                    id: 1,
                    flags: 0,
                    headers: vec![("who".to_owned(), format!("{}{secret}", "x".repeat(30)))],
                };
                let mut bytes = SWITCH.as_bytes().to_vec();
                bytes.extend(encoder.encode(&reply));
                for piece in secret.as_bytes().chunks(30) {
                    let payload = piece.to_vec();
                    let (id, flags) = (1, 0);
                    bytes.extend(encoder.encode(&Frame::Data { id, flags, payload }));
                }
                bytes
            }
        };
        drop(stream.write_all(&answer));
    })
}

#[test]
fn no_secret_that_was_cut_or_escaped() {
    let token = |length: usize| -> String {
        let mut state = 7u32;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from_digit((state >> 16) & 31, 32).unwrap()
        };
        (0..length).map(next).collect()
    };
    let password = "hunt\"er\\zwei-\"canary\"-<3f81>";
    let basic = format!(
        "username: me\n    password: {}",
        serde_json::to_string(password).unwrap()
    );
    for (user, secret, pieces) in [
        (String::new(), token(64), Vec::new()),
        (String::new(), token(1000), Vec::new()),
        (basic, password.to_owned(), vec!["hunt", "zwei-", "canary"]),
    ] {
        let user = if user.is_empty() {
            format!("token: {secret}")
        } else {
            user
        };
        let pieces: Vec<String> = if pieces.is_empty() {
            // What a cut leaves, and what stands within.
            let within = (0..secret.len() - 16).map(|at| secret[at..at + 16].to_owned());
            within.chain([secret[..6].to_owned()]).collect()
        } else {
            pieces.into_iter().map(str::to_owned).collect()
        };
        for more in [&["--no-preflight"][..], &[]] {
            let directory = directory();
            let fake = telltale(&secret);
            let config = text(&kubeconfig(directory.path(), fake.port, &user));
            let out = directory.path().join("out");
            fs::create_dir(&out).unwrap();
            let at = |name: &str| text(&out.join(name));
            let forms = ["json", "html", "junit", "sarif", "md", "tap"];
            let reports = forms.map(|form| format!("{form}={}", at(form))).join(",");
            let (wire, capture) = (at("wire"), at("pcapng"));
            let mut arguments = vec!["apiserver", "--kubeconfig", &config, "--pod", "web"];
            arguments.extend(["--report", &reports, "--wire-log", &wire]);
            arguments.extend(["--pcapng", &capture, "--patience", "1", "--jobs", "1"]);
            arguments.extend(more);
            let result = run_seven(&arguments);
            let mut all = vec![
                (PathBuf::from("stdout"), result.stdout),
                (PathBuf::from("stderr"), result.stderr),
            ];
            for path in files(&out) {
                let bytes = fs::read(&path).unwrap();
                all.push((path, bytes));
            }
            assert!(all.len() > 15 || more.is_empty(), "{}", all.len());
            let hidden = |bytes: &[u8]| memchr::memmem::find(bytes, b"***").is_some();
            assert!(
                all.iter().any(|(_, bytes)| hidden(bytes)),
                "{more:?}: {}",
                String::from_utf8_lossy(&all[1].1)
            );
            for (path, bytes) in &all {
                for piece in &pieces {
                    let spaced: Vec<String> = piece.bytes().map(|b| format!("{b:02x}")).collect();
                    for form in [piece.clone(), hex(piece.as_bytes()), spaced.join(" ")] {
                        let found = memchr::memmem::find(bytes, form.as_bytes());
                        assert!(found.is_none(), "{form} in {}", path.display());
                    }
                }
            }
        }
    }
}

#[test]
fn no_secret_of_the_command_line() {
    let directory = directory();
    let fake = Fake::new(|_, head, stream| {
        let head = format!("HTTP/1.1 400 Bad\r\n\r\n{}", String::from_utf8_lossy(head));
        drop(stream.write_all(head.as_bytes()));
    });
    let url = format!(
        "http://127.0.0.1:{}/p?token=canary%2Dquery-3f81&x=1",
        fake.port
    );
    let command = format!("true canary-command; echo '{url}'");
    let two = format!("echo '{url}' canary-word; oops canary-stderr >&2");
    for (number, target) in [
        vec!["server", &url],
        vec!["runtime", &url],
        vec!["runtime", "--url-cmd", &command],
        vec!["runtime", "--url-cmd", &two],
    ]
    .into_iter()
    .enumerate()
    {
        let out = directory.path().join(number.to_string());
        fs::create_dir(&out).unwrap();
        let at = |name: &str| text(&out.join(name));
        let reports = format!("json={},html={}", at("json"), at("html"));
        let (wire, capture) = (at("wire"), at("pcapng"));
        let mut arguments = target.clone();
        arguments.extend(["--no-preflight", "--report", &reports, ONE]);
        arguments.extend(["--wire-log", &wire, "--pcapng", &capture]);
        let result = run(&arguments);
        let json = fs::read_to_string(at("json")).unwrap();
        let shown = if target.contains(&"--url-cmd") {
            "--url-cmd ..."
        } else {
            "/p?token=***&x=***"
        };
        assert!(json.contains(shown), "{json}");
        let mut all = vec![result.stdout, result.stderr];
        all.extend(files(&out).iter().map(|path| fs::read(path).unwrap()));
        assert!(all.len() > 5, "{}", all.len());
        for bytes in &all {
            for secret in [
                "canary-command",
                "canary-word",
                "canary-stderr",
                "canary%2Dquery",
                "query-3f81",
            ] {
                for form in [secret.to_owned(), hex(secret.as_bytes())] {
                    let found = memchr::memmem::find(bytes, form.as_bytes());
                    assert!(
                        found.is_none(),
                        "{form}: {}",
                        String::from_utf8_lossy(bytes)
                    );
                }
            }
        }
    }
}

#[test]
fn no_key_in_errors() {
    let directory = directory();
    let key = BASE64_STANDARD.encode(format!(
        "-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n"
    ));
    let user = format!("client-certificate-data: {key}\n    client-key-data: {key}");
    let path = kubeconfig(directory.path(), 1, &user);
    let secure = fs::read_to_string(&path)
        .unwrap()
        .replace("http://", "https://");
    fs::write(&path, secure).unwrap();
    let (code, out, error) = said(&run(&[
        "apiserver",
        "--kubeconfig",
        &text(&path),
        "--pod",
        "web",
    ]));
    assert!(code == 2 || code == 3, "{code} {error}");
    for form in [CANARY, &key] {
        assert!(!out.contains(form) && !error.contains(form), "{error}");
    }
}
