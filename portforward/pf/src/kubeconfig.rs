//! Kubeconfig files: finding, reading and merging them, and reading what their entries point to.
//!
//! What the kube library reads without a bound is read here first, with one: kubeconfigs,
//! certificates, keys, token files. Errors name the file and the place in it, never its content.

use crate::exit::{Exit, Failure, Hop};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::HeaderValue;
use kube::config::{AuthInfo, Cluster, Kubeconfig, KubeconfigError};
use secrecy::{ExposeSecret as _, SecretString};
use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Largest kubeconfig, certificate, key or token file (T38).
const MAX_FILE: u64 = 1 << 20;

/// Where kubeconfigs may be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sources {
    files: Vec<PathBuf>,
    /// Named by the flag: must exist.
    required: bool,
}

impl Sources {
    pub(crate) fn find(
        flag: Option<PathBuf>,
        variable: Option<&OsStr>,
        home: Option<PathBuf>,
    ) -> Self {
        if let Some(file) = flag {
            return Self {
                files: vec![file],
                required: true,
            };
        }
        let listed: Vec<PathBuf> = variable
            .iter()
            .flat_map(|list| std::env::split_paths(list))
            .filter(|path| !path.as_os_str().is_empty())
            .collect();
        let files = if listed.is_empty() {
            home.map(|home| home.join(".kube").join("config"))
                .into_iter()
                .collect()
        } else {
            listed
        };
        Self {
            files,
            required: false,
        }
    }

    pub(crate) fn names(&self) -> String {
        let names: Vec<_> = self.files.iter().map(|file| name(file)).collect();
        if names.is_empty() {
            "(no home directory)".to_owned()
        } else {
            names.join(", ")
        }
    }

    /// All files that exist, merged, and their names; nothing if none exists.
    pub(crate) fn read(&self) -> Result<Option<(Kubeconfig, String)>, Failure> {
        let mut merged: Option<Kubeconfig> = None;
        let mut names = Vec::new();
        for file in &self.files {
            let fail = |text: String| Failure::new(Exit::Usage, Hop::Kubeconfig(name(file)), text);
            let text = match read_text(file) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound && !self.required => continue,
                Err(error) => {
                    return Err(fail(format!("cannot read the kubeconfig: {error}"))
                        .advise("name a readable file with --kubeconfig or KUBECONFIG"));
                }
            };
            let mut next = parse(&text).map_err(fail)?;
            resolve_paths(&mut next, file.parent().unwrap_or_else(|| Path::new("")));
            names.push(name(file));
            merged = Some(match merged {
                None => next,
                Some(first) => first.merge(next).map_err(|error| fail(describe(&error)))?,
            });
        }
        Ok(merged.map(|merged| (merged, names.join(", "))))
    }
}

fn name(file: &Path) -> String {
    portforward::escape::line(&file.display().to_string())
}

/// At most [`MAX_FILE`] bytes, whatever kind of file it is.
fn read_bounded(file: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    std::fs::File::open(file)?
        .take(MAX_FILE.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= MAX_FILE) {
        Ok(bytes)
    } else {
        let text = format!("larger than {MAX_FILE} bytes");
        Err(io::Error::new(io::ErrorKind::FileTooLarge, text))
    }
}

pub(crate) fn read_text(file: &Path) -> io::Result<Zeroizing<String>> {
    let bytes = read_bounded(file)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8"))?;
    Ok(Zeroizing::new(
        text.trim_start_matches('\u{feff}').to_owned(),
    ))
}

fn parse(text: &str) -> Result<Kubeconfig, String> {
    if text.trim().is_empty() {
        return Ok(Kubeconfig::default());
    }
    Kubeconfig::from_yaml(text).map_err(|error| describe(&error))
}

/// The library's text, but for parse errors, which may quote the file with its secrets.
pub(crate) fn describe(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(error) => match error.location() {
            Some(at) => format!(
                "not a kubeconfig: wrong at line {}, column {}",
                at.line(),
                at.column()
            ),
            None => "not a kubeconfig".to_owned(),
        },
        other => portforward::escape::line(&other.to_string()),
    }
}

/// Relative paths are relative to their own kubeconfig; plugin commands only if they name a place.
fn resolve_paths(kubeconfig: &mut Kubeconfig, directory: &Path) {
    let resolve = |path: &mut Option<String>| {
        if let Some(text) = path
            && !text.is_empty()
            && Path::new(text.as_str()).is_relative()
            && let Some(absolute) = directory.join(text.as_str()).to_str()
        {
            absolute.clone_into(text);
        }
    };
    for cluster in kubeconfig
        .clusters
        .iter_mut()
        .filter_map(|named| named.cluster.as_mut())
    {
        resolve(&mut cluster.certificate_authority);
    }
    for user in kubeconfig
        .auth_infos
        .iter_mut()
        .filter_map(|named| named.auth_info.as_mut())
    {
        resolve(&mut user.client_certificate);
        resolve(&mut user.client_key);
        resolve(&mut user.token_file);
        if let Some(exec) = &mut user.exec
            && exec
                .command
                .as_deref()
                .is_some_and(|command| command.contains(std::path::is_separator))
        {
            resolve(&mut exec.command);
        }
    }
}

/// Reads what the entry points to.
pub(crate) fn settle_cluster(cluster: &mut Cluster) -> Result<(), String> {
    if let Some(server) = &mut cluster.server {
        if server.is_empty() {
            return Err("the cluster has no server".to_owned());
        }
        if !server.contains("://") {
            let tls = cluster.certificate_authority.is_some()
                || cluster.certificate_authority_data.is_some()
                || cluster.insecure_skip_tls_verify == Some(true);
            server.insert_str(0, if tls { "https://" } else { "http://" });
        }
    }
    let file = &mut cluster.certificate_authority;
    let data = &mut cluster.certificate_authority_data;
    let pem = inline("certificate-authority", file, data.as_deref())?;
    if let Some(pem) = pem {
        *data = Some((*pem).clone());
    } else if data.as_deref() == Some("") {
        *data = None;
    }
    Ok(())
}

/// Reads what the entry points to, and refuses what would run without a deadline.
pub(crate) fn settle_user(user: &mut AuthInfo) -> Result<(), String> {
    if let Some(provider) = &user.auth_provider
        && provider.name != "oidc"
    {
        let name = portforward::escape::line(&provider.name);
        return Err(format!(
            "the {name} auth-provider has been removed; use its exec plugin"
        ));
    }
    let data = &mut user.client_certificate_data;
    let pem = inline(
        "client-certificate",
        &mut user.client_certificate,
        data.as_deref(),
    )?;
    if let Some(pem) = pem {
        *data = Some((*pem).clone());
    } else if data.as_deref() == Some("") {
        *data = None;
    }
    let key = user
        .client_key_data
        .take()
        .filter(|key| !key.expose_secret().is_empty());
    let shown = key.as_ref().map(SecretString::expose_secret);
    let pem = inline("client-key", &mut user.client_key, shown)?;
    user.client_key_data = match pem {
        Some(pem) => Some(SecretString::from(pem.as_str())),
        None => key,
    };
    Ok(())
}

/// A token must fit on one line of a request; the kube library panics on one that does not.
pub(crate) fn check_token(token: &str) -> Result<(), String> {
    match HeaderValue::from_bytes(token.as_bytes()) {
        Ok(_) => Ok(()),
        Err(_) => Err("the token holds a line break or another control character".to_owned()),
    }
}

/// The file's content in base64, unless there is data, which wins. Clears the path.
fn inline(
    what: &str,
    file: &mut Option<String>,
    data: Option<&str>,
) -> Result<Option<Zeroizing<String>>, String> {
    let file = file.take().filter(|file| !file.is_empty());
    match (file, data) {
        (Some(file), None | Some("")) => {
            let bytes = read_bounded(Path::new(&file)).map_err(|error| {
                format!(
                    "unable to read {what} {}: {error}",
                    portforward::escape::line(&file)
                )
            })?;
            Ok(Some(Zeroizing::new(BASE64_STANDARD.encode(&*bytes))))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    const CANARY: &str = "canary-s3cret";

    /// A directory of its own for each test, removed at the end.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("pf-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, content).unwrap();
            path
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }

    fn required(file: PathBuf) -> Sources {
        Sources::find(Some(file), None, None)
    }

    #[test]
    fn precedence() {
        let home = || Some(PathBuf::from("/home/u"));
        let files = |sources: &Sources| -> Vec<String> {
            sources
                .files
                .iter()
                .map(|file| file.display().to_string())
                .collect()
        };
        let list = std::env::join_paths(["/a", "", "/b"]).unwrap();
        let flag = Sources::find(Some(PathBuf::from("/f")), Some(&list), home());
        assert_eq!((files(&flag), flag.required), (vec!["/f".to_owned()], true));
        let variable = Sources::find(None, Some(&list), home());
        assert_eq!(files(&variable), ["/a", "/b"]);
        assert!(!variable.required);
        let default = PathBuf::from("/home/u").join(".kube").join("config");
        for unset in [None, Some(OsStr::new(""))] {
            assert_eq!(
                Sources::find(None, unset, home()).files,
                std::slice::from_ref(&default)
            );
        }
        assert!(Sources::find(None, None, None).files.is_empty());
    }

    #[test]
    fn files_merge_and_the_first_wins() {
        let directory = Directory::new("merge");
        let a = directory.write("a", "current-context: one\nclusters:\n- name: c\n  cluster: {server: https://a, certificate-authority: ca.pem}\n");
        let b = directory.write("b", "current-context: two\nclusters:\n- name: c\n  cluster: {server: https://b}\nusers:\n- name: u\n  user: {exec: {command: bin/plugin}, client-key: /abs, tokenFile: t}\n- name: v\n  user: {exec: {command: plugin}}\n");
        let list = std::env::join_paths([a, directory.0.join("absent"), b]).unwrap();
        let (merged, names) = Sources::find(None, Some(&list), None)
            .read()
            .unwrap()
            .unwrap();
        assert_eq!(merged.current_context.as_deref(), Some("one"));
        let cluster = merged.clusters[0].cluster.as_ref().unwrap();
        assert_eq!(cluster.server.as_deref(), Some("https://a"));
        let absolute = |name: &str| Some(directory.0.join(name).to_str().unwrap().to_owned());
        assert_eq!(cluster.certificate_authority, absolute("ca.pem"));
        let user = merged.auth_infos[0].auth_info.as_ref().unwrap();
        assert_eq!(user.client_key.as_deref(), Some("/abs"));
        assert_eq!(user.token_file, absolute("t"));
        assert_eq!(user.exec.as_ref().unwrap().command, absolute("bin/plugin"));
        // Looked for on PATH.
        let other = merged.auth_infos[1].auth_info.as_ref().unwrap();
        assert_eq!(
            other.exec.as_ref().unwrap().command.as_deref(),
            Some("plugin")
        );
        assert_eq!(names.split(", ").count(), 2);
    }

    #[test]
    fn absent_files() {
        let absent = PathBuf::from("/nonexistent/config");
        let list = std::env::join_paths([&absent]).unwrap();
        assert!(
            Sources::find(None, Some(&list), None)
                .read()
                .unwrap()
                .is_none()
        );
        let failure = required(absent).read().unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.to_string().contains("/nonexistent/config"));
    }

    /// T36: a file that is wrong is named with the place, not quoted.
    #[test]
    fn wrong_files_are_not_quoted() {
        let directory = Directory::new("wrong");
        let contents = [
            "users:\n- name: u\n  user:\n    token: [canary-s3cret\n".to_owned(),
            "users:\n- name: u\n  user: canary-s3cret\n".to_owned(),
            "users: canary-s3cret\n".to_owned(),
            "canary-s3cret".to_owned(),
            "\tcanary-s3cret: {".to_owned(),
            format!("a: &a [{CANARY}]\nb: *c\n"),
            format!("{}{CANARY}", "[".repeat(100_000)),
        ];
        for content in contents {
            let file = directory.write("config", &content);
            let text = required(file).read().unwrap_err().to_string();
            assert!(text.contains("not a kubeconfig"), "{text}");
            assert!(!text.contains(CANARY), "{text}");
        }
    }

    /// T38: aliases that would grow to 10^9 scalars.
    #[test]
    fn alias_bombs_are_errors() {
        let mut text = "x0: &x0 [a,a,a,a,a,a,a,a,a,a]\n".to_owned();
        for i in 1..9 {
            let uses = vec![format!("*x{}", i - 1); 10].join(",");
            writeln!(text, "x{i}: &x{i} [{uses}]").unwrap();
        }
        let directory = Directory::new("bomb");
        let file = directory.write("config", text);
        assert!(required(file).read().is_err());
    }

    #[test]
    fn size_limit() {
        let directory = Directory::new("size");
        let limit = usize::try_from(MAX_FILE).unwrap();
        let mut content = b"current-context: c\n#".to_vec();
        content.resize(limit, b'x');
        let file = directory.write("config", &content);
        assert!(required(file.clone()).read().is_ok());
        content.push(b'x');
        directory.write("config", &content);
        let text = required(file).read().unwrap_err().to_string();
        assert!(text.contains("larger than 1048576 bytes"), "{text}");
        // Endless, and of no size that could be asked for.
        #[cfg(unix)]
        assert!(required(PathBuf::from("/dev/zero")).read().is_err());
    }

    #[test]
    fn an_empty_file_is_an_empty_config() {
        let directory = Directory::new("empty");
        let file = directory.write("config", "\n");
        let (config, _) = required(file).read().unwrap().unwrap();
        assert!(config.contexts.is_empty());
    }

    #[test]
    fn servers_without_a_scheme() {
        let server = |cluster: &mut Cluster| {
            settle_cluster(cluster).unwrap();
            cluster.server.clone().unwrap()
        };
        let mut cluster = Cluster {
            server: Some("host:8080".to_owned()),
            ..Cluster::default()
        };
        assert_eq!(server(&mut cluster), "http://host:8080");
        let mut cluster = Cluster {
            server: Some("host".to_owned()),
            certificate_authority_data: Some("x".to_owned()),
            ..Cluster::default()
        };
        assert_eq!(server(&mut cluster), "https://host");
        let mut cluster = Cluster {
            server: Some(String::new()),
            ..Cluster::default()
        };
        assert!(settle_cluster(&mut cluster).is_err());
    }

    #[test]
    fn files_of_entries() {
        let directory = Directory::new("entries");
        let path = |name: &str| Some(directory.write(name, name).to_str().unwrap().to_owned());
        let mut user = AuthInfo {
            client_certificate: path("cert"),
            client_key: path("key"),
            ..AuthInfo::default()
        };
        settle_user(&mut user).unwrap();
        assert_eq!(
            user.client_certificate_data,
            Some(BASE64_STANDARD.encode("cert"))
        );
        let key = user.client_key_data.unwrap();
        assert_eq!(key.expose_secret(), BASE64_STANDARD.encode("key"));
        assert!(user.client_certificate.is_none() && user.client_key.is_none());

        // Data wins, and its file is not even opened.
        let mut user = AuthInfo {
            client_key: Some("/nonexistent".to_owned()),
            client_key_data: Some(CANARY.into()),
            ..AuthInfo::default()
        };
        settle_user(&mut user).unwrap();
        assert_eq!(user.client_key_data.unwrap().expose_secret(), CANARY);

        let mut user = AuthInfo {
            client_key: Some("/nonexistent".to_owned()),
            ..AuthInfo::default()
        };
        assert!(
            settle_user(&mut user)
                .unwrap_err()
                .contains("unable to read client-key /nonexistent")
        );
    }

    #[test]
    fn old_auth_providers() {
        let provider = |name: &str| AuthInfo {
            auth_provider: Some(kube::config::AuthProviderConfig {
                name: name.to_owned(),
                ..Default::default()
            }),
            ..AuthInfo::default()
        };
        assert!(settle_user(&mut provider("oidc")).is_ok());
        assert!(
            settle_user(&mut provider("gcp"))
                .unwrap_err()
                .contains("gcp auth-provider has been removed")
        );
    }
}
