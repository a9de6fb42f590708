//! The page in a real browser: ladders are drawn, filters work, nothing is loaded from anywhere.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that breaks is a test that fails"
)]

mod common;

use common::{Fake, directory, run, run_seven, said, text};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A page of two runs: the built-in cluster, and a server that answers with markup.
fn page(directory: &Path) -> PathBuf {
    let at = |name: &str| text(&directory.join(name));
    let (code, _, error) = said(&run_seven(&[
        "server",
        "--seed",
        "3",
        "--report",
        &format!("json={}", at("good.json")),
    ]));
    assert_eq!(code, 0, "{error}");
    let fake = Fake::saying(
        "HTTP/1.1 500 Oops\r\nContent-Length: 88\r\n\r\n\
         </script><script>document.title='owned'</script><img src=x onerror=\"document.title='o'\">\u{202e}",
    );
    let config = text(&fake.kubeconfig(directory));
    let report = format!("json={}", at("bad.json"));
    let arguments = [
        "apiserver",
        "--kubeconfig",
        &config,
        "--pod",
        "web",
        "--no-preflight",
        "--report",
        &report,
    ];
    let (code, _, error) = said(&run_seven(&arguments));
    assert_eq!(code, 1, "{error}");
    let page = directory.join("page.html");
    let (code, _, error) = said(&run(&[
        "html",
        &at("good.json"),
        &at("bad.json"),
        "-o",
        &text(&page),
    ]));
    assert_eq!(code, 0, "{error}");
    page
}

fn browser() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    names.into_iter().find(|name| {
        Command::new(name)
            .arg("--version")
            .output()
            .is_ok_and(|out| out.status.success())
    })
}

/// What the page is after its script has run.
fn dom(browser: &str, profile: &Path, page: &Path, fragment: &str) -> String {
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
        ])
        .args([
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--virtual-time-budget=5000",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg("--dump-dom")
        .arg(format!("file://{}#{fragment}", page.display()))
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The document without scripts, whose text is not drawn.
fn drawn(dom: &str) -> String {
    let mut parts = dom.split("<script");
    let mut drawn = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        drawn.push_str(
            part.split_once("</script>")
                .map_or("", |(_, behind)| behind),
        );
    }
    drawn
}

#[test]
fn needs_nothing_else() {
    let directory = directory();
    let page = fs::read_to_string(page(directory.path())).unwrap();
    let page = page.to_lowercase();
    for part in [
        "src=\"",
        "<link",
        "<iframe",
        "<object",
        "<embed",
        "@import",
        "url(",
        "fetch(",
        "xmlhttprequest",
        "import(",
        "eval(",
    ] {
        assert!(!drawn(&page).contains(part), "{part}");
    }
    assert!(!page.contains("href=\"http"));
    assert!(page.contains("content-security-policy") && page.contains("default-src 'none'"));
    // As many scripts as are ours: the clauses, one for each result, and the program.
    let results = page.matches("data-run=").count();
    assert_eq!(page.matches("<script").count(), results + 2);
    assert_eq!(page.matches("</script").count(), results + 2);
}

#[test]
fn in_a_browser() {
    let Some(browser) = browser() else {
        let why = anyhow::anyhow!("no chromium");
        conformance::skip("in_a_browser", "PFSPEC_BROWSER", &why, "install chromium").unwrap();
        return;
    };
    let directory = directory();
    let page = page(directory.path());
    let dom = |fragment: &str| dom(browser, &directory.path().join("profile"), &page, fragment);

    let plain = dom("");
    assert!(plain.contains("7 of 7 cases"), "{plain}");
    assert!(plain.contains("id=\"case\" hidden"));

    // A ladder.
    let open = dom("case=spdy%2Fframe%2Fjoined%40tunnel&filter=pass&level=should");
    assert!(open.contains("1 of 7 cases"), "the filter");
    let shown = drawn(&open);
    assert!(shown.contains("data-name=\"spdy/frame/joined@tunnel\""));
    for words in [
        "SYN_STREAM 1 streamtype=error",
        "SYN_REPLY",
        "DATA 3 11 bytes \"all at once\"",
        "PING 1",
        "101 Switching Protocols",
    ] {
        assert!(
            shown.contains(&words.replace('"', "&quot;")) || shown.contains(words),
            "{words}"
        );
    }
    for class in [
        "step judge spdy",
        "step server spdy",
        "step judge websocket",
        "step judge http",
    ] {
        assert!(shown.contains(class), "{class}");
    }
    assert!(
        shown.contains("2.4 Frames may arrive cut or joined at any byte"),
        "the clause"
    );

    // The server's words, as words.
    let hostile = dom("case=spdy%2Fframe%2Fjoined%40spdy&t=1");
    assert!(
        hostile.contains("<title>pfspec:"),
        "no script of the server ran"
    );
    let shown = drawn(&hostile);
    assert!(
        shown.contains("&lt;/script&gt;&lt;script&gt;document.title"),
        "{shown}"
    );
    assert!(!shown.contains("<img"));
    assert!(
        shown.contains("101 for the upgrade to SPDY"),
        "what was expected"
    );

    for (fragment, cases) in [
        ("filter=fail", "6 of 7"),
        ("filter=changed", "7 of 7"),
        ("level=should", "1 of 7"),
        ("way=v4", "0 of 7"),
        ("q=cut+at+any", "1 of 7"),
        ("q=nothing-like-this", "0 of 7"),
        ("filter=unexpected&level=must&q=empty", "1 of 7"),
    ] {
        let dom = dom(fragment);
        assert!(dom.contains(&format!("{cases} cases")), "{fragment}");
    }
}
