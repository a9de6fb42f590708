use super::*;
use proptest::prelude::*;

const GOOD: &str = "pft 1
peer: kubernetes v1.37.1
command: pf pod/bare 0:7000
client: pf 0.1.0
server: API server
date: 2026-11-25T18:30:00Z
tool: pf 0.1.0
redacted: fields
expect: one
expect: two

c>s +0.000012 head POST /api/v1/namespaces/d/pods/p/portforward HTTP/1.1
| connection: Upgrade
| upgrade: SPDY/3.1
s>c +0.000100 head HTTP/1.1 101 Switching Protocols
c>s +0.000100 18 800300060000000400000001000000030100
# PING 1
c>s +0.000200 2 0000
# DATA 3 fin: 0 bytes \"\"
s>c +1.000000 4 80030006
s>c +1.000000 end
# cut inside a frame
c>s +2.500000 failed broken pipe
pft end 7
";

fn good() -> String {
    GOOD.to_owned()
}

fn parse(text: &str) -> Result<Transcript, ParseError> {
    Transcript::parse(text.as_bytes())
}

#[test]
fn reads_what_it_writes_and_writes_what_it_reads() {
    let mut transcript = parse(&good()).unwrap();
    assert_eq!(transcript.to_string(), good());
    assert_eq!(transcript.events.len(), 7);
    assert_eq!(transcript.provenance.expect, ["one", "two"]);
    let What::Head(head) = &transcript.events[0].what else {
        panic!("no head")
    };
    assert_eq!(head.fields.len(), 2);
    for event in &mut transcript.events {
        event.comments.clear();
    }
    transcript.annotate();
    assert_eq!(transcript.to_string(), good());
}

#[test]
fn texts_are_made_one_line() {
    let mut provenance = Provenance::new("a\nb", "", "\u{202e}", "s", "t");
    provenance.expect.push("x".repeat(5000));
    let mut text = String::new();
    write::begin(&mut text, &provenance);
    text.push_str("pft end 0\n");
    let read = parse(&text).unwrap().provenance;
    assert_eq!(read.peer, "a\\nb");
    assert_eq!(read.command, "unknown");
    assert_eq!(read.expect[0].len(), 1024);
    assert_eq!(read.redacted, provenance.redacted);
}

/// Each damage, the line it is found in, and words of the message.
#[test]
fn every_damage_is_told_with_its_line() {
    let replaced: [(&str, &str, usize, &str); 33] = [
        ("pft 1", "pft 2", 1, "format version 2 is not known"),
        ("pft 1\n", "", 1, "this is no transcript"),
        ("pft 1\n", "\u{feff}pft 1\n", 1, "this is no transcript"),
        ("tool: pf 0.1.0\n", "", 7, "`tool` is due here"),
        ("redacted: fields\n", "", 8, "`redacted` is due here"),
        ("peer: ", "pear: ", 2, "`peer` is due here"),
        ("client: pf", "client: \u{1b}[2J", 4, "control character"),
        ("client: pf", "client: \u{202e}", 4, "not plain"),
        ("client: pf 0.1.0", "client", 4, "no header line"),
        ("2026-11-25T", "2026-11-25 ", 6, "the date"),
        ("expect: two\n\n", "expect: two\n", 11, "no header line"),
        ("c>s +0.000012", "c<s +0.000012", 12, "begins with none"),
        (
            "c>s +0.000012",
            "# x\nc>s +0.000012",
            12,
            "a comment without an event",
        ),
        (
            "c>s +0.000012",
            "| date: x\nc>s +0.000012",
            12,
            "a field without a head",
        ),
        ("+0.000012", "+0.12", 12, "no time"),
        ("POST /", "POST\t/", 12, "control character"),
        (" HTTP/1.1\n|", "\n|", 12, "no request line"),
        (
            "| connection",
            "| authorization",
            13,
            "a field that no transcript may hold",
        ),
        (
            "| upgrade: ",
            "| cookie: ",
            14,
            "a field that no transcript may hold",
        ),
        ("| upgrade: SPDY/3.1", "| upgrade:", 14, "no field"),
        ("0.000100 18 ", "0.000050 18 ", 16, "the time is before"),
        (
            " 18 80",
            " 17 80",
            16,
            "17 bytes are announced, 18 are there",
        ),
        (" 18 80", " 018 80", 16, "no number of bytes"),
        (" 18 80", " 18 8", 16, "an odd number"),
        (" 18 80", " 18 8X", 16, "no hexadecimal digits"),
        (" 2 0000\n", " 2\n", 18, "the event is cut"),
        (
            "s>c +1.000000 4",
            "s>c +0.999999 0 \ns>c +1.000000 4",
            20,
            "no number of bytes",
        ),
        (
            "c>s +2.500000",
            "s>c +2.500000",
            23,
            "the direction has ended already",
        ),
        ("failed broken pipe", "failed", 23, "no word on how"),
        ("end 7", "end 8", 24, "8 events are announced, 7 are there"),
        (
            "pft end 7\n",
            "pft end 7\n\n",
            25,
            "something follows the last line",
        ),
        ("pft end 7\n", "", 24, "`pft end`, is missing"),
        ("pft end 7\n", "pft end 7", 24, "the line has no end"),
    ];
    for (from, to, line, words) in replaced {
        let text = good();
        assert!(text.contains(from), "{from:?}");
        let error = parse(&text.replacen(from, to, 1)).unwrap_err();
        assert_eq!(error.line, line, "{from:?} -> {to:?}: {error}");
        let shown = error.to_string();
        assert!(shown.contains(words), "{from:?} -> {to:?}: {shown}");
        assert!(!shown.contains('\n') && shown.len() < 200, "{shown}");
    }
    let late_head = good().replace("c>s +0.000200 2 0000", "c>s +0.000200 head GET / HTTP/1.1");
    assert!(
        parse(&late_head)
            .unwrap_err()
            .fault
            .contains("a head behind bytes")
    );
    assert!(parse("").unwrap_err().fault.contains("the file is empty"));
    let crlf = parse(&good().replace('\n', "\r\n")).unwrap_err();
    assert_eq!(
        crlf.to_string(),
        "line 1: the line ends in CR LF: the file was converted"
    );
    let binary = Transcript::parse(b"pft 1\npeer: \xff\n").unwrap_err();
    assert_eq!(binary.to_string(), "line 2: the line is not UTF-8");
}

/// Limits at N and N + 1.
#[test]
fn lines_and_files_are_bounded() {
    let with = |length: usize| {
        let line = format!("# {}\n", "x".repeat(length - 3));
        good().replace("# PING 1\n", &line)
    };
    assert!(parse(&with(MAX_LINE)).is_ok());
    let error = parse(&with(MAX_LINE + 1)).unwrap_err();
    assert_eq!((error.line, error.fault.contains("longer")), (17, true));

    let comment = format!("# {}\n", "x".repeat((1 << 20) - 3));
    let fill = |bytes: usize| {
        let mut text = good();
        let end = text.split_off(text.find("pft end").unwrap());
        while text.len() + end.len() + comment.len() + 8 < bytes {
            text.push_str(&comment);
        }
        let missing = bytes - text.len() - end.len();
        let rest = "x".repeat(missing - 3);
        text + "# " + &rest + "\n" + &end
    };
    let full = fill(MAX_FILE);
    assert_eq!(full.len(), MAX_FILE);
    assert!(Transcript::read(full.as_bytes()).is_ok());
    let error = Transcript::read(fill(MAX_FILE + 1).as_bytes()).unwrap_err();
    assert!(error.to_string().contains("the file is larger"), "{error}");
}

/// A file cut anywhere is never taken for a whole one.
#[test]
fn every_cut_shows() {
    let text = good();
    for at in 0..text.len() {
        assert!(parse(&text[..at]).is_err(), "cut at {at}");
    }
}

proptest! {
    /// No input panics; what is read is written the same.
    #[test]
    fn any_damage_is_survived(at in 0usize..700, with in any::<u8>(), drop in 0usize..3) {
        let mut bytes = good().into_bytes();
        let at = at.min(bytes.len().saturating_sub(3));
        bytes.splice(at..at.saturating_add(drop), [with]);
        if let Ok(transcript) = Transcript::parse(&bytes) {
            prop_assert_eq!(transcript.to_string().into_bytes(), bytes);
        }
    }
}
