//! Credentials of a user entry, in files and from plugins.

use conformance::script::Play;

use crate::Row;

/// A user entry with these fields, at a server that would let everyone in.
fn row(name: &'static str, code: i32, says: &[&str], user: &str) -> Row {
    Row::new(name, code, says)
        .with("server: http://{SERVER}", user)
        .server(Play::pod(), Play::Close(Vec::new()))
}

/// The same with TLS, for what is looked at when the way to the server is prepared.
fn tls_row(name: &'static str, says: &[&str], user: &str) -> Row {
    Row::new(name, 2, says).with(
        "server: https://127.0.0.1:1\ninsecure-skip-tls-verify: true",
        user,
    )
}

/// A plugin that is this shell script.
fn plugin(name: &'static str, says: &[&str], script: &str) -> Row {
    let exec = "exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, \
                command: '{DIR}/plugin'}";
    row(name, 3, &[&["{DIR}/plugin"], says].concat(), exec).program("plugin", script)
}

/// A plugin that prints this.
fn printing(name: &'static str, says: &[&str], output: &str) -> Row {
    plugin(name, says, &format!("cat <<'END'\n{output}\nEND"))
}

fn credential(fields: &str) -> String {
    format!(
        r#"{{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential",{fields}}}"#
    )
}

pub(crate) fn rows() -> Vec<Row> {
    // BEGIN CERTIFICATE and BEGIN PRIVATE KEY around AAAA
    let certificate =
        "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCkFBQUEKLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo=";
    let key = "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCkFBQUEKLS0tLS1FTkQgUFJJVkFURSBLRVktLS0tLQo=";
    vec![
        // Files
        row(
            "token file that is not there",
            2,
            &["tokenFile", "{DIR}/token"],
            "tokenFile: token",
        ),
        row(
            "token file without end",
            2,
            &["tokenFile", "/dev/zero"],
            "tokenFile: /dev/zero",
        ),
        row(
            "token with a line break",
            2,
            &["token"],
            "token: \"s3cr3t\\r\\nX-Other: s3cr3t\"",
        ),
        row(
            "token with a control character",
            2,
            &["token"],
            "token: \"s3cr3t\\e[2J\"",
        ),
        tls_row(
            "client certificate file that is not there",
            &["client-certificate", "{DIR}/me.crt"],
            "client-certificate: me.crt\nclient-key: me.key",
        ),
        tls_row(
            "client key file that is not there",
            &["client-key", "{DIR}/me.key"],
            &format!("client-certificate-data: {certificate}\nclient-key: me.key"),
        ),
        tls_row(
            "client key of garbage",
            &["key"],
            &format!("client-certificate-data: {certificate}\nclient-key-data: {key}"),
        ),
        tls_row(
            "client key in bad base64",
            &["client key"],
            &format!("client-certificate-data: {certificate}\nclient-key-data: 's3cr3t%%%'"),
        ),
        tls_row(
            "client certificate in bad base64",
            &["client certificate"],
            &format!("client-certificate-data: '%%%'\nclient-key-data: {key}"),
        ),
        tls_row(
            "client certificate that is no PEM",
            &["certificate"],
            &format!("client-certificate-data: aGVsbG8gd29ybGQ=\nclient-key-data: {key}"),
        ),
        tls_row(
            "client certificate without a key",
            &["key"],
            &format!("client-certificate-data: {certificate}"),
        ),
        tls_row(
            "client key without a certificate",
            &["certificate"],
            &format!("client-key-data: {key}"),
        ),
        row(
            "auth-provider that is no more",
            2,
            &["gcp", "auth-provider"],
            "auth-provider: {name: gcp, config: {}}",
        ),
        row(
            "unknown auth-provider",
            2,
            &["smoke", "auth-provider"],
            "auth-provider: {name: smoke, config: {}}",
        ),
        // How a plugin is configured
        row(
            "plugin that is not there",
            3,
            &["{DIR}/no-such-plugin"],
            "exec: {apiVersion: client.authentication.k8s.io/v1, command: '{DIR}/no-such-plugin'}",
        ),
        row(
            "plugin that is not on PATH",
            3,
            &["no-such-plugin", "brew the plugin"],
            "exec: {apiVersion: client.authentication.k8s.io/v1, command: no-such-plugin, \
             installHint: brew the plugin}",
        ),
        row(
            "plugin that is no program",
            3,
            &["{DIR}/config", "exec"],
            "exec: {apiVersion: client.authentication.k8s.io/v1, command: '{DIR}/config'}",
        ),
        row(
            "plugin without a name",
            2,
            &["command"],
            "exec: {apiVersion: client.authentication.k8s.io/v1}",
        ),
        row(
            "plugin of an unknown version",
            2,
            &["apiVersion", "client.authentication.k8s.io/v9"],
            "exec: {apiVersion: client.authentication.k8s.io/v9, command: 'true'}",
        ),
        row(
            "plugin that needs a terminal",
            3,
            &["terminal"],
            "exec: {apiVersion: client.authentication.k8s.io/v1, command: 'true', interactiveMode: Always}",
        ),
        // What a plugin does
        plugin(
            "plugin that fails",
            &["exit status: 1"],
            "echo s3cr3t; exit 1",
        ),
        plugin("plugin that a signal ends", &["signal"], "kill -9 $$"),
        plugin("plugin that says nothing", &["stdout"], ":"),
        printing(
            "plugin that says no JSON",
            &["line 1"],
            "s3cr3t is not JSON",
        ),
        printing(
            "plugin that says half of it",
            &["stdout"],
            r#"{"kind":"ExecCredential","status":{"token":"s3cr3t"#,
        ),
        printing(
            "plugin that says a list",
            &["ExecCredential"],
            r#"["s3cr3t"]"#,
        ),
        printing(
            "plugin that says another kind",
            &["ExecCredential"],
            r#"{"kind":"Pod","token":"s3cr3t"}"#,
        ),
        printing(
            "plugin that says another version",
            &["client.authentication.k8s.io/v1beta1"],
            r#"{"apiVersion":"client.authentication.k8s.io/v1beta1","kind":"ExecCredential","status":{"token":"s3cr3t"}}"#,
        ),
        printing(
            "plugin without a status",
            &["status"],
            &credential(r#""spec":{}"#),
        ),
        printing(
            "plugin with an empty status",
            &["token"],
            &credential(r#""status":{}"#),
        ),
        printing(
            "plugin with a certificate but no key",
            &["certificate and key"],
            &credential(r#""status":{"clientCertificateData":"x"}"#),
        ),
        printing(
            "plugin with a token of two lines",
            &["token"],
            &credential(r#""status":{"token":"s3cr3t\r\nX-Other: s3cr3t"}"#),
        ),
        plugin(
            "plugin that never stops talking",
            &["1048576 bytes"],
            "exec cat /dev/zero",
        ),
    ]
}
