//! An API server, as a kubeconfig names it, and a pod that is there or of the judge's own.

use super::endpoint::{Asked, connect};
use super::options::{self, BadUse, Describe, flagged, with_file};
use super::pod::{self, Made, Wanted};
use super::{NoPlace, Place, Placing, Reach, Service, Target, Who, finish};
use crate::case::Role;
use crate::interrupt::Interrupt;
use crate::keylog::KeyFile;
use anyhow::bail;
use kube::Client;
use kube::config::AuthInfo;
use pf_program::cluster::{self, Choice, Proxies, ProxyUrl};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// The rules that [`ApiServerArgs`] needs, as objects to apply.
pub const RBAC: &str = include_str!("../../rbac.yaml");

/// The image of the pod, unless `--pod-image` says otherwise: what `conformance/cluster/echo` builds.
pub const POD_IMAGE: &str = "lab.local/echo:1";

/// How many seconds it may take until the pod runs, unless `--pod-wait` says otherwise.
const POD_WAIT: u64 = 120;

/// For one answer.
const ANSWER: Duration = Duration::from_secs(10);

/// An API server.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "The API server")]
pub struct ApiServerArgs {
    /// Kubeconfig file, found as kubectl finds it unless given
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context in the kubeconfig
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Cluster in the kubeconfig
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// User in the kubeconfig
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// A pod that is there and has the services: NAME, or NS/NAME; without it, a pod is made and taken away again
    #[arg(long, value_name = "[NS/]NAME", conflicts_with_all = ["pod_image", "pod_args"])]
    pub pod: Option<String>,
    /// Namespace of the pod; a pod that is made gets a namespace of its own without it
    #[arg(long, short = 'n', value_name = "NS")]
    pub namespace: Option<String>,
    /// Image of the pod that is made
    #[arg(long, value_name = "IMAGE", default_value = POD_IMAGE)]
    pub pod_image: String,
    /// Arguments of its program, split at spaces; NAME=NUMBER for each service unless given
    #[arg(long, value_name = "ARGUMENTS")]
    pub pod_args: Option<String>,
    /// Seconds that it may take until the pod runs
    #[arg(long, value_name = "SECONDS", default_value_t = POD_WAIT)]
    pub pod_wait: u64,
    /// Kubeconfig of somebody who may look up pods and not forward
    #[arg(long, value_name = "FILE")]
    pub viewer_kubeconfig: Option<PathBuf>,
    /// Kubeconfig of somebody who is known and may nothing
    #[arg(long, value_name = "FILE")]
    pub nobody_kubeconfig: Option<PathBuf>,
    /// Kubeconfig of somebody who has the verb get on pods/portforward and not create
    #[arg(long, value_name = "FILE")]
    pub get_only_kubeconfig: Option<PathBuf>,
    /// Kubeconfig of somebody who has the verb create on pods/portforward and not get
    #[arg(long, value_name = "FILE")]
    pub create_only_kubeconfig: Option<PathBuf>,
    /// Bearer token instead of the kubeconfig's; other users of the machine may see it in the list of processes
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// Speak for this user
    #[arg(long = "as", value_name = "USER")]
    pub impersonate: Option<String>,
    /// Speak for a user of this group (may be repeated)
    #[arg(long = "as-group", value_name = "GROUP", requires = "impersonate")]
    pub impersonate_groups: Vec<String>,
    /// Proxy through which to connect: http://HOST:PORT or socks5://HOST:PORT; that of the kubeconfig or of the
    /// environment unless given
    #[arg(long, value_name = "URL", value_parser = options::proxy)]
    pub proxy_url: Option<ProxyUrl>,
    /// What is behind it.
    #[command(flatten)]
    pub describe: Describe,
    /// What gets the keys of TLS.
    #[arg(skip)]
    pub(super) keys: Option<Arc<KeyFile>>,
}

/// An API server of which is known what it is. Nothing was made for it.
pub(super) struct Known<'a> {
    args: &'a ApiServerArgs,
    config: kube::Config,
    others: Vec<(Who, kube::Config)>,
    client: Client,
    /// Namespace, if one is named, and name of a pod that is there.
    there: Option<(Option<String>, String)>,
    pub(super) minor: Option<u16>,
}

impl ApiServerArgs {
    /// Makes it the target: reads the kubeconfigs, asks for the version, makes the pod if it has to.
    ///
    /// # Errors
    /// Why the kubeconfig cannot be used, the server does not answer or the pod does not run.
    pub async fn open(&self, minor: Option<u16>) -> anyhow::Result<Target> {
        let known = self.known(minor).await?;
        known.make(&Interrupt::never()).await
    }

    /// Reads the kubeconfigs and asks for the version.
    ///
    /// # Errors
    /// Why the kubeconfig cannot be used.
    pub(super) async fn known(&self, minor: Option<u16>) -> anyhow::Result<Known<'_>> {
        let choice = Choice {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            cluster: self.cluster.clone(),
            user: self.user.clone(),
            proxies: Proxies::Used(self.proxy_url.clone()),
        };
        options::proxy_uri(self.proxy_url.as_ref())?;
        let there = self.pod.as_deref().map(|pod| self.named(pod)).transpose()?;
        let mut config = cluster::load(&choice).await?;
        self.overrule(&mut config);
        let mut others = Vec::new();
        for (who, file) in [
            (Who::Viewer, &self.viewer_kubeconfig),
            (Who::Nobody, &self.nobody_kubeconfig),
            (Who::GetOnly, &self.get_only_kubeconfig),
            (Who::CreateOnly, &self.create_only_kubeconfig),
        ] {
            if let Some(file) = file {
                others.push((who, somebody(&config, file).await?));
            }
        }
        let mut api = config.clone();
        api.connect_timeout = Some(ANSWER);
        api.default_retry = false;
        let client = cluster::client(api)?;
        let minor = match minor {
            Some(minor) => Some(minor),
            None => minor_of(&client).await,
        };
        Ok(Known {
            args: self,
            config,
            others,
            client,
            there,
            minor,
        })
    }

    /// What the command line says of the user counts before the kubeconfig.
    fn overrule(&self, config: &mut kube::Config) {
        let who = &mut config.auth_info;
        if let Some(token) = &self.token {
            *who = AuthInfo {
                token: Some(token.clone().into()),
                impersonate: who.impersonate.take(),
                impersonate_groups: who.impersonate_groups.take(),
                ..AuthInfo::default()
            };
        }
        if self.impersonate.is_some() {
            who.impersonate.clone_from(&self.impersonate);
            let groups = &self.impersonate_groups;
            who.impersonate_groups = (!groups.is_empty()).then(|| groups.clone());
        }
    }

    /// Namespace, if one is named, and name of a pod that is there.
    fn named(&self, pod: &str) -> anyhow::Result<(Option<String>, String)> {
        let parts: Vec<&str> = pod.split('/').collect();
        let (namespace, name) = match parts.as_slice() {
            [name] => (self.namespace.as_deref(), *name),
            [namespace, name] => (Some(*namespace), *name),
            _ => (None, ""),
        };
        if name.is_empty() || namespace.is_some_and(str::is_empty) {
            bail!(BadUse(format!("--pod {pod}: a pod is NAME or NS/NAME")));
        }
        Ok((namespace.map(str::to_owned), name.to_owned()))
    }

    /// As the command line says it.
    pub(super) fn words(&self) -> Vec<String> {
        let mut words = vec!["apiserver".to_owned()];
        words.extend(with_file("--kubeconfig", self.kubeconfig.as_ref()));
        words.extend(flagged("--context", self.context.as_ref()));
        words.extend(flagged("--cluster", self.cluster.as_ref()));
        words.extend(flagged("--user", self.user.as_ref()));
        words.extend(flagged("--namespace", self.namespace.as_ref()));
        words.extend(flagged("--pod", self.pod.as_ref()));
        if self.pod.is_none() {
            words.extend(flagged("--pod-image", Some(&self.pod_image)));
            words.extend(flagged("--pod-args", self.pod_args.as_ref()));
            let wait = (self.pod_wait != POD_WAIT).then(|| self.pod_wait.to_string());
            words.extend(flagged("--pod-wait", wait));
        }
        // The token is no word for reports.
        words.extend(flagged("--token", self.token.as_ref().map(|_| "...")));
        words.extend(flagged("--as", self.impersonate.as_ref()));
        for group in &self.impersonate_groups {
            words.extend(flagged("--as-group", Some(group)));
        }
        // Without its credentials.
        words.extend(flagged("--proxy-url", self.proxy_url.as_ref()));
        for (flag, file) in [
            ("--viewer-kubeconfig", &self.viewer_kubeconfig),
            ("--nobody-kubeconfig", &self.nobody_kubeconfig),
            ("--get-only-kubeconfig", &self.get_only_kubeconfig),
            ("--create-only-kubeconfig", &self.create_only_kubeconfig),
        ] {
            words.extend(with_file(flag, file.as_ref()));
        }
        words.extend(self.describe.words());
        words
    }

    async fn make(&self, client: &Client, interrupt: &Interrupt) -> anyhow::Result<Made> {
        let services = self.describe.services();
        let args: Vec<String> = match &self.pod_args {
            Some(args) => args.split_whitespace().map(str::to_owned).collect(),
            None => services
                .iter()
                // The image has no `late`; nothing listens at `closed`.
                .filter(|(service, _)| !matches!(service, Service::Closed | Service::Late))
                .map(|(service, port)| match service {
                    Service::Stats => format!("http={port}"),
                    other => format!("{}={port}", other.name()),
                })
                .collect(),
        };
        let wanted = Wanted {
            namespace: self.namespace.as_deref(),
            image: &self.pod_image,
            args: &args,
            listens: services.get(&Service::Echo).copied(),
            patience: Duration::from_secs(self.pod_wait),
        };
        let mut made = Made::default();
        if let Err(error) = pod::make(client, &wanted, &mut made, interrupt).await {
            if let Err(left) = pod::remove(client, &made, interrupt).await {
                bail!("{error:#}\n{left}");
            }
            return Err(error);
        }
        Ok(made)
    }
}

impl Known<'_> {
    /// What will be made, if there is no pod.
    pub(super) fn makes(&self) -> Option<String> {
        let args = self.args;
        let place = match &args.namespace {
            Some(namespace) => format!("namespace {namespace}"),
            None => "a namespace of its own".to_owned(),
        };
        self.there.is_none().then(|| {
            format!(
                "no --pod: making a pod of image {} in {place}, taken away afterwards",
                args.pod_image
            )
        })
    }

    /// Makes the pod if it has to. An interrupt ends that, and takes away what was made.
    ///
    /// # Errors
    /// Why the pod does not run.
    pub(super) async fn make(self, interrupt: &Interrupt) -> anyhow::Result<Target> {
        let (args, config, client) = (self.args, self.config, self.client);
        let (made, namespace, pod) = if let Some((namespace, pod)) = self.there {
            let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
            (None, namespace, pod)
        } else {
            let made = args.make(&client, interrupt).await?;
            let (namespace, pod) = (made.namespace.clone(), made.pod.clone());
            (Some(made), namespace, pod)
        };
        let version = self
            .minor
            .map_or_else(String::new, |minor| format!(" 1.{minor}"));
        let name = format!(
            "API server{version} at {}, pod {namespace}/{pod}",
            origin(&config.cluster_url)
        );
        let reach = Box::new(ApiServer {
            config,
            keys: self.args.keys.clone(),
            others: self.others,
            namespace,
            pod,
            made: made.map(|made| (client, made, interrupt.clone())),
        });
        Ok(finish(name, Role::Gateway, self.minor, &args.describe, reach).await)
    }
}

/// Somebody else at the same server.
async fn somebody(server: &kube::Config, file: &std::path::Path) -> anyhow::Result<kube::Config> {
    let choice = Choice {
        kubeconfig: Some(file.to_owned()),
        // Only its credentials are used.
        proxies: Proxies::Ignored,
        ..Choice::default()
    };
    let config = cluster::load(&choice).await?;
    let mut same = server.clone();
    same.auth_info = config.auth_info;
    Ok(same)
}

/// A URL without path and credentials.
fn origin(url: &http::Uri) -> String {
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let (_, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    format!("{}://{host}", url.scheme_str().unwrap_or("https"))
}

/// The server's minor version, if it says so. Whoever may forward need not see it, and a server that cannot be reached
/// is for the check to tell.
async fn minor_of(client: &Client) -> Option<u16> {
    let version = tokio::time::timeout(ANSWER, client.apiserver_version()).await;
    minor(&version.ok()?.ok()?.minor)
}

/// `37`, or `37+` as some distributions have it.
fn minor(text: &str) -> Option<u16> {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

struct ApiServer {
    config: kube::Config,
    keys: Option<Arc<KeyFile>>,
    others: Vec<(Who, kube::Config)>,
    namespace: String,
    pod: String,
    made: Option<(Client, Made, Interrupt)>,
}

impl ApiServer {
    fn path(&self) -> String {
        cluster::path(&self.config, &self.namespace, &self.pod)
    }

    async fn connect(&self, config: &kube::Config, asked: Asked) -> Result<Place, NoPlace> {
        connect(config, self.keys.clone(), &self.path(), asked).await
    }
}

impl Reach for ApiServer {
    fn place(&self, who: Who) -> Placing<'_> {
        Box::pin(async move {
            let other = self.others.iter().find(|(other, _)| *other == who);
            match (other, who) {
                (Some((_, config)), _) => self.connect(config, Asked::by(Who::Forwarder)).await,
                (None, Who::Viewer | Who::Nobody | Who::CreateOnly | Who::GetOnly) => {
                    let flag = match who {
                        Who::Viewer => "--viewer-kubeconfig",
                        Who::CreateOnly => "--create-only-kubeconfig",
                        Who::GetOnly => "--get-only-kubeconfig",
                        _ => "--nobody-kubeconfig",
                    };
                    Err(NoPlace::NotOffered(format!(
                        "nobody with such rights is known: no {flag}"
                    )))
                }
                (None, _) => self.connect(&self.config, Asked::by(who)).await,
            }
        })
    }

    fn place_with_alpn(&self, protocols: &[&[u8]]) -> Placing<'_> {
        let asked = Asked::offering(protocols);
        Box::pin(async move { self.connect(&self.config, asked).await })
    }

    fn path_of(&self, namespace: &str, pod: &str) -> Option<String> {
        Some(cluster::path(&self.config, namespace, pod))
    }

    fn clean_up(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(async {
            match &self.made {
                Some((client, made, interrupt)) => pod::remove(client, made, interrupt).await,
                None => Ok(()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(minor("37"), Some(37));
        assert_eq!(minor("30+"), Some(30));
        assert_eq!(minor(""), None);
    }

    #[test]
    fn pods_by_name() {
        let args = ApiServerArgs {
            namespace: Some("n".to_owned()),
            ..ApiServerArgs::default()
        };
        let pair = |namespace: &str, name: &str| (Some(namespace.to_owned()), name.to_owned());
        assert_eq!(args.named("p").unwrap(), pair("n", "p"));
        assert_eq!(args.named("m/p").unwrap(), pair("m", "p"));
        for bad in ["", "/p", "m/", "a/b/c"] {
            assert!(args.named(bad).is_err(), "{bad}");
        }
        let url = "https://me:hunter2@h:6443/x".parse().unwrap();
        assert_eq!(origin(&url), "https://h:6443");
    }

    #[test]
    fn what_the_command_line_says_of_the_user() {
        let args = ApiServerArgs {
            token: Some("canary-of-the-command-line".to_owned()),
            impersonate: Some("bob".to_owned()),
            impersonate_groups: vec!["g".to_owned()],
            pod_wait: 7,
            ..ApiServerArgs::default()
        };
        let mut config = kube::Config::new("http://h".parse().unwrap());
        config.auth_info.username = Some("u".to_owned());
        args.overrule(&mut config);
        let who = &config.auth_info;
        assert!(who.token.is_some() && who.username.is_none());
        assert_eq!(who.impersonate.as_deref(), Some("bob"));
        assert_eq!(who.impersonate_groups, Some(vec!["g".to_owned()]));
        let words = args.words().join(" ");
        assert!(!words.contains("canary"), "{words}");
        assert!(
            words.contains("--token ... --as bob --as-group g") && words.contains("--pod-wait 7"),
            "{words}"
        );
    }

    #[test]
    fn the_rules_are_objects() {
        assert_eq!(RBAC.matches("\nkind: ").count(), 3);
        assert!(RBAC.contains("pods/portforward"));
    }
}
