//! Credential plugins (`users[].user.exec` of a kubeconfig).
//!
//! Run here and not by the kube library, which runs a plugin up to four times for one start (REST
//! and upgrade, token and certificate each), waits for it without limit, and may show its output in
//! errors. Here it runs once, without a shell, against a deadline, with bounded output that is
//! shown nowhere.

use crate::exit::{Exit, Failure, Hop};
use crate::kubeconfig;
use kube::config::{ExecConfig, ExecInteractiveMode};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::io::{self, IsTerminal as _};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use zeroize::Zeroizing;

/// For the whole step.
const DEADLINE: Duration = Duration::from_secs(30);
/// The same where the plugin may ask the user something.
const DEADLINE_INTERACTIVE: Duration = Duration::from_secs(60);
/// Most output that is read.
const MAX_OUTPUT: u64 = 1 << 20;

/// What a plugin gave. At least one of the two.
pub(crate) struct Credentials {
    pub(crate) token: Option<SecretString>,
    /// Certificate chain and key, PEM.
    pub(crate) identity: Option<(String, SecretString)>,
}

/// Runs the plugin.
///
/// # Errors
/// Exit code 3; exit code 2 for a configuration that makes no sense. Never holds plugin output.
pub(crate) async fn run(exec: &ExecConfig) -> Result<Credentials, Failure> {
    let command = exec.command.as_deref().unwrap_or_default();
    let name = portforward::escape::line(command);
    let fail = |exit, text: String| {
        Failure::new(
            exit,
            Hop::Plugin(name.clone()),
            format!("getting credentials: {text}"),
        )
    };
    if command.is_empty() {
        return Err(fail(
            Exit::Usage,
            "the plugin's command must be specified".to_owned(),
        ));
    }
    let version = match exec.api_version.as_deref() {
        Some(
            version @ ("client.authentication.k8s.io/v1" | "client.authentication.k8s.io/v1beta1"),
        ) => version,
        other => {
            let other = portforward::escape::line(other.unwrap_or_default());
            return Err(fail(
                Exit::Usage,
                format!("exec plugin: invalid apiVersion \"{other}\""),
            )
            .advise("use client.authentication.k8s.io/v1 or a newer version of the plugin"));
        }
    };
    let interactive = match exec.interactive_mode {
        Some(ExecInteractiveMode::Never) => false,
        Some(ExecInteractiveMode::IfAvailable) | None => io::stdin().is_terminal(),
        Some(ExecInteractiveMode::Always) if io::stdin().is_terminal() => true,
        Some(ExecInteractiveMode::Always) => {
            return Err(fail(
                Exit::Auth,
                "the plugin asks the user, and stdin is no terminal".to_owned(),
            )
            .advise("run pf in a terminal"));
        }
    };
    let limit = if interactive {
        DEADLINE_INTERACTIVE
    } else {
        DEADLINE
    };
    let output =
        match tokio::time::timeout(limit, output(exec, command, version, interactive)).await {
            Ok(Ok(output)) => output,
            Ok(Err(Fault::Start(error))) if error.kind() == io::ErrorKind::NotFound => {
                let hint = exec.install_hint.as_deref().map(portforward::escape::text);
                return Err(
                    fail(Exit::Auth, format!("exec: executable {name} not found")).advise(
                        hint.unwrap_or_else(|| {
                            "install the plugin, or add its place to PATH".to_owned()
                        }),
                    ),
                );
            }
            Ok(Err(Fault::Start(error))) => return Err(fail(Exit::Auth, format!("exec: {error}"))),
            Ok(Err(Fault::Ended(status))) => {
                return Err(fail(
                    Exit::Auth,
                    format!("exec: executable {name} failed: {status}"),
                )
                .advise("what the plugin said stands above; log in anew with its own tool"));
            }
            Ok(Err(Fault::TooLong)) => {
                return Err(fail(
                    Exit::Auth,
                    format!("the plugin wrote more than {MAX_OUTPUT} bytes"),
                ));
            }
            Err(_) => {
                let text = format!(
                    "the plugin took longer than {} s and was ended",
                    limit.as_secs()
                );
                return Err(fail(Exit::Auth, text)
                    .advise("run the plugin by hand to see what it waits for"));
            }
        };
    read(&output, version).map_err(|text| fail(Exit::Auth, text))
}

enum Fault {
    Start(io::Error),
    Ended(std::process::ExitStatus),
    TooLong,
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Start(error)
    }
}

/// # Cancel safety
/// Dropping the future ends the plugin.
async fn output(
    exec: &ExecConfig,
    command: &str,
    version: &str,
    interactive: bool,
) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let mut info = json!({
        "kind": "ExecCredential",
        "apiVersion": version,
        "spec": {"interactive": interactive},
    });
    if exec.provide_cluster_info
        && let Some(cluster) = &exec.cluster
        && let Some(spec) = info.get_mut("spec").and_then(Value::as_object_mut)
    {
        spec.insert(
            "cluster".to_owned(),
            serde_json::to_value(cluster).unwrap_or_default(),
        );
    }
    let mut process = Command::new(command);
    process.args(exec.args.iter().flatten());
    for pair in exec.env.iter().flatten() {
        if let (Some(name), Some(value)) = (pair.get("name"), pair.get("value")) {
            process.env(name, value);
        }
    }
    process
        .env("KUBERNETES_EXEC_INFO", info.to_string())
        .stdin(if interactive {
            Stdio::inherit()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    let mut child = process.spawn()?;
    let mut output = Zeroizing::new(Vec::with_capacity(16 << 10));
    if let Some(stdout) = child.stdout.take() {
        stdout
            .take(MAX_OUTPUT.saturating_add(1))
            .read_to_end(&mut output)
            .await?;
    }
    if u64::try_from(output.len()).is_ok_and(|len| len > MAX_OUTPUT) {
        return Err(Fault::TooLong);
    }
    let status = child.wait().await?;
    if status.success() {
        Ok(output)
    } else {
        Err(Fault::Ended(status))
    }
}

/// The credentials in a plugin's output, which must be JSON. Errors quote no value of it but the
/// version.
fn read(output: &[u8], version: &str) -> Result<Credentials, String> {
    let value: Value = serde_json::from_slice(output).map_err(|error| {
        format!(
            "decoding stdout: no JSON at line {}, column {}",
            error.line(),
            error.column()
        )
    })?;
    let text = |pointer: &str| {
        value
            .pointer(pointer)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    if text("/kind") != Some("ExecCredential") {
        return Err("decoding stdout: no ExecCredential".to_owned());
    }
    let returned = text("/apiVersion").unwrap_or_default();
    if returned != version {
        let returned = portforward::escape::line(&returned.chars().take(100).collect::<String>());
        return Err(format!(
            "exec plugin is configured to use API version {version}, plugin returned version {returned}"
        ));
    }
    if value.get("status").is_none_or(Value::is_null) {
        return Err("exec plugin didn't return a status field".to_owned());
    }
    let token = text("/status/token");
    token.map_or(Ok(()), kubeconfig::check_token)?;
    let token = token.map(SecretString::from);
    let identity = match (
        text("/status/clientCertificateData"),
        text("/status/clientKeyData"),
    ) {
        (Some(certificate), Some(key)) => Some((certificate.to_owned(), SecretString::from(key))),
        (None, None) => None,
        _ => {
            return Err("exec plugin returned only one of certificate and key".to_owned());
        }
    };
    if token.is_none() && identity.is_none() {
        return Err("exec plugin didn't return a token or cert/key pair".to_owned());
    }
    Ok(Credentials { token, identity })
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    const V1: &str = "client.authentication.k8s.io/v1";
    const CANARY: &str = "canary-s3cret";

    fn answer(status: &Value) -> Vec<u8> {
        json!({"kind": "ExecCredential", "apiVersion": V1, "status": status})
            .to_string()
            .into_bytes()
    }

    #[test]
    fn good_answers() {
        let credentials = read(&answer(&json!({"token": CANARY})), V1).ok().unwrap();
        assert_eq!(credentials.token.unwrap().expose_secret(), CANARY);
        assert!(credentials.identity.is_none());

        let status = json!({"clientCertificateData": "C", "clientKeyData": "K", "token": "", "expirationTimestamp": null});
        let credentials = read(&answer(&status), V1).ok().unwrap();
        assert!(credentials.token.is_none());
        let (certificate, key) = credentials.identity.unwrap();
        assert_eq!((certificate.as_str(), key.expose_secret()), ("C", "K"));
    }

    /// T36, T39: garbage gives an error that repeats none of it.
    #[test]
    fn bad_answers() {
        let table: &[(&[u8], &str)] = &[
            (b"", "no JSON"),
            (b"canary-s3cret", "no JSON"),
            (br#"{"token": canary-s3cret}"#, "no JSON at line 1, column "),
            (b"[]", "no ExecCredential"),
            (br#"{"kind": "canary-s3cret"}"#, "no ExecCredential"),
            (
                br#"{"kind": "ExecCredential", "apiVersion": "v9"}"#,
                "returned version v9",
            ),
            (&answer(&Value::Null), "status field"),
            (&answer(&json!({})), "token or cert/key"),
            (&answer(&json!({"token": 7})), "token or cert/key"),
            (&answer(&json!({"clientKeyData": CANARY})), "only one of"),
            (
                &answer(&json!({"token": "canary-s3cret\r\nX: y"})),
                "a line break",
            ),
            (
                &answer(&json!({"token": "canary-s3cret\u{1b}"})),
                "control character",
            ),
        ];
        for (output, part) in table {
            let error = read(output, V1).err().unwrap();
            assert!(error.contains(part), "{error}");
            assert!(!error.contains(CANARY), "{error}");
        }
    }

    #[cfg(unix)]
    fn shell(script: &str) -> ExecConfig {
        ExecConfig {
            api_version: Some(V1.to_owned()),
            command: Some("/bin/sh".to_owned()),
            args: Some(vec!["-c".to_owned(), script.to_owned()]),
            interactive_mode: Some(ExecInteractiveMode::Never),
            ..ExecConfig::default()
        }
    }

    #[cfg(unix)]
    async fn error_of(exec: &ExecConfig) -> String {
        let failure = run(exec).await.err().unwrap();
        assert_eq!(failure.exit, Exit::Auth);
        failure.to_string()
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn plugins_run_once_with_their_environment() {
        let mut exec = shell(
            r#"case "$KUBERNETES_EXEC_INFO" in *'"interactive":false'*) ;; *) exit 9;; esac
            echo "{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1\",\"status\":{\"token\":\"$T\"}}""#,
        );
        let pair = [("name", "T"), ("value", "from-env")];
        let pair = pair.map(|(k, v)| (k.to_owned(), v.to_owned()));
        exec.env = Some(vec![pair.into_iter().collect()]);
        let credentials = run(&exec).await.ok().unwrap();
        assert_eq!(credentials.token.unwrap().expose_secret(), "from-env");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn bad_plugins() {
        let text = error_of(&shell("echo canary-s3cret; exit 3")).await;
        assert!(
            text.contains("exit status: 3") && !text.contains(CANARY),
            "{text}"
        );

        let mut exec = shell("");
        exec.command = Some("/nonexistent/plugin".to_owned());
        exec.install_hint = Some("get it\u{1b}[2J here".to_owned());
        let text = error_of(&exec).await;
        assert!(
            text.contains("executable /nonexistent/plugin not found"),
            "{text}"
        );
        assert!(text.contains("get it\\x1b[2J here"), "{text}");

        let text = error_of(&shell("yes canary-s3cret")).await;
        assert!(
            text.contains("more than 1048576 bytes") && !text.contains(CANARY),
            "{text}"
        );
    }

    #[cfg(unix)]
    #[tokio::test(start_paused = true)]
    async fn a_plugin_that_hangs_is_ended() {
        let text = error_of(&shell("exec sleep 1000")).await;
        assert!(text.contains("longer than 30 s"), "{text}");
    }

    #[tokio::test]
    async fn old_versions() {
        let exec = ExecConfig {
            api_version: Some("client.authentication.k8s.io/v1alpha1".to_owned()),
            command: Some("x".to_owned()),
            ..ExecConfig::default()
        };
        let failure = run(&exec).await.err().unwrap();
        assert_eq!(failure.exit, Exit::Usage);
    }
}
