//! Words on the command line: ports, targets, flags.

use crate::Row;

/// One row on the embedded cluster.
fn row(name: &'static str, code: i32, says: &[&str], args: &[&str]) -> Row {
    Row::new(name, code, says).args(&[&["--embedded"], args].concat())
}

fn number_row(name: &'static str, form: &str, side: &str, text: &str, why: &str) -> Row {
    let says = format!(
        "error: error parsing {side} port '{text}': strconv.ParseUint: parsing \"{text}\": {why}"
    );
    row(name, 2, &[&says], &["pod/web", form])
}

pub(crate) fn rows() -> Vec<Row> {
    let range = "value out of range";
    let syntax = "invalid syntax";
    vec![
        // Ports
        number_row("port over 65535", "70000", "local", "70000", range),
        number_row("remote port over 65535", ":65536", "remote", "65536", range),
        number_row("local port over 65535", "65536:80", "local", "65536", range),
        number_row(
            "remote port over 64 bits",
            ":99999999999999999999",
            "remote",
            "99999999999999999999",
            range,
        ),
        number_row("negative remote port", "80:-1", "remote", "-1", syntax),
        number_row("port with a plus", "+80", "local", "+80", syntax),
        number_row("name as local port", "http:80", "local", "http", syntax),
        number_row("blank in a local port", " 80:80", "local", " 80", syntax),
        row(
            "port 0",
            2,
            &["error: remote port must be > 0"],
            &["pod/web", "0"],
        ),
        row(
            "remote port 0",
            2,
            &["error: remote port must be > 0"],
            &["pod/web", "80:0"],
        ),
        row(
            "no remote port",
            2,
            &["error: remote port cannot be empty"],
            &["pod/web", "80:"],
        ),
        row(
            "a colon alone",
            2,
            &["error: remote port cannot be empty"],
            &["pod/web", ":"],
        ),
        row(
            "an empty port",
            2,
            &["error: remote port cannot be empty"],
            &["pod/web", ""],
        ),
        row(
            "two colons",
            2,
            &["error: invalid port format '1:2:3'"],
            &["pod/web", "1:2:3"],
        ),
        row(
            "nothing but colons",
            2,
            &["error: invalid port format '::'"],
            &["pod/web", "::"],
        ),
        row(
            "the second port is bad",
            2,
            &["port '70000'"],
            &["pod/web", ":80", "70000"],
        ),
        row(
            "escape sequence in a port",
            2,
            &["2J"],
            &["pod/web", "\u{1b}[2J:80"],
        ),
        row(
            "unknown port name",
            4,
            &["Pod 'web' does not have a named port 'nope'"],
            &["pod/web", ":nope"],
        ),
        row(
            "unknown port name of a service",
            4,
            &["Service 'web' does not have a named port 'nope'"],
            &["svc/web", ":nope"],
        ),
        row(
            "unknown port of a service",
            4,
            &["Service web does not have a service port 9999"],
            &["svc/web", ":9999"],
        ),
        // Targets
        row(
            "two slashes",
            2,
            &["error: arguments in resource/name form may not have more than one slash"],
            &["a/b/c", "80"],
        ),
        row(
            "no name",
            2,
            &["error: arguments in resource/name form must have a single resource and name"],
            &["pod/", "80"],
        ),
        row(
            "no kind",
            2,
            &["error: arguments in resource/name form must have a single resource and name"],
            &["/web", "80"],
        ),
        row(
            "unknown kind",
            2,
            &["a resource of type \"unknownkind\"", "statefulset"],
            &["unknownkind/x", "80"],
        ),
        row("empty target", 2, &["error: "], &["", "80"]),
        row(
            "a name that climbs",
            2,
            &["'..'", "error: "],
            &["pod/..", "80"],
        ),
        row(
            "a name with a query",
            2,
            &["error: "],
            &["pod/web?x=y", "80"],
        ),
        row(
            "a name with an escape sequence",
            2,
            &["error: "],
            &["pod/\u{1b}[2Jweb", "80"],
        ),
        row(
            "a namespace that climbs",
            2,
            &["../kube-system"],
            &["-n", "../kube-system", "pod/web", "80"],
        ),
        // Flags
        row(
            "no IP address",
            2,
            &["1.2.3 is not a valid IP"],
            &["--address", "1.2.3", "pod/web", "80"],
        ),
        row(
            "empty address",
            2,
            &["is not a valid IP"],
            &["--address", "", "pod/web", "80"],
        ),
        row(
            "timeout of zero",
            2,
            &["--pod-running-timeout must be higher than zero"],
            &["--pod-running-timeout=0s", "pod/web", "80"],
        ),
        row(
            "no timeout",
            2,
            &["--pod-running-timeout", "soon"],
            &["--pod-running-timeout=soon", "pod/web", "80"],
        ),
        row(
            "unknown protocol",
            2,
            &["smoke", "tunnel"],
            &["--protocol", "smoke", "pod/web", "80"],
        ),
        row(
            "unknown flag",
            2,
            &["--bogus"],
            &["--bogus", "pod/web", "80"],
        ),
        row(
            "no ports",
            2,
            &["error: TYPE/NAME and list of ports are required for port-forward"],
            &["pod/web"],
        ),
    ]
}
