//! A kubelet's own endpoint.

use super::endpoint::{Asked, Route};
use super::options::{self, Describe, Tls};
use super::{Placing, Reach, Target, Who, finish};
use crate::case::Role;

/// A kubelet.
#[derive(Debug, Clone, clap::Args)]
pub struct KubeletArgs {
    /// The kubelet: https://HOST:10250
    pub url: String,
    /// A pod that runs on this node and has the services
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = options::pod)]
    pub pod: (String, String),
    /// UID of the pod, to be in the path too
    #[arg(long, value_name = "UID")]
    pub uid: Option<String>,
    /// TLS and credentials.
    #[command(flatten)]
    pub tls: Tls,
    /// What is behind it.
    #[command(flatten)]
    pub describe: Describe,
}

impl KubeletArgs {
    /// Makes it the target.
    ///
    /// # Errors
    /// A URL or a file that cannot be used.
    pub async fn open(&self, minor: Option<u16>) -> anyhow::Result<Target> {
        let (origin, prefix) = options::url(&self.url)?;
        let (namespace, pod) = &self.pod;
        let mut path = path(&prefix, namespace, pod);
        if let Some(uid) = &self.uid {
            path = format!("{path}/{uid}");
        }
        let reach = Kubelet {
            route: self.tls.route(origin)?,
            prefix,
            path,
        };
        let name = format!(
            "kubelet {}, pod {namespace}/{pod}",
            options::shown(&self.url)
        );
        Ok(finish(name, Role::Node, minor, &self.describe, Box::new(reach)).await)
    }

    /// As the command line says it.
    pub(super) fn words(&self) -> Vec<String> {
        let (namespace, pod) = &self.pod;
        let mut words = vec!["kubelet".to_owned(), options::shown(&self.url)];
        words.extend(["--pod".to_owned(), format!("{namespace}/{pod}")]);
        words.extend(options::flagged("--uid", self.uid.as_ref()));
        words.extend(self.tls.words());
        words.extend(self.describe.words());
        words
    }
}

fn path(prefix: &str, namespace: &str, pod: &str) -> String {
    let prefix = prefix.trim_end_matches('/');
    format!("{prefix}/portForward/{namespace}/{pod}")
}

struct Kubelet {
    route: Route,
    prefix: String,
    path: String,
}

impl Reach for Kubelet {
    fn place(&self, who: Who) -> Placing<'_> {
        Box::pin(async move { self.route.connect(&self.path, Asked::by(who)).await })
    }

    fn place_with_alpn(&self, protocols: &[&[u8]]) -> Placing<'_> {
        let asked = Asked::offering(protocols);
        Box::pin(async move { self.route.connect(&self.path, asked).await })
    }

    fn path_of(&self, namespace: &str, pod: &str) -> Option<String> {
        Some(path(&self.prefix, namespace, pod))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(path("/", "ns", "web"), "/portForward/ns/web");
        assert_eq!(path("/proxy/", "ns", "web"), "/proxy/portForward/ns/web");
    }
}
