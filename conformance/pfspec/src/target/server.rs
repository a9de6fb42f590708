//! A server that serves the upgrade at one path: anything with a URL.

use super::endpoint::{Asked, Route};
use super::options::{self, Describe, Tls};
use super::{Placing, Reach, Target, Who, embedded, finish};
use crate::case::Role;
use anyhow::bail;

/// Any server, at a fixed path.
#[derive(Debug, Clone, clap::Args)]
pub struct ServerArgs {
    /// What serves the upgrade: http(s)://HOST:PORT/PATH; the cluster that is built in, unless given
    pub url: Option<String>,
    /// Judge the cluster that is built in: gateway, node and pods in this process
    #[arg(long, conflicts_with_all = ["role", "ca", "cert", "key", "token_file", "insecure", "server_name", "proxy_url", "ports", "no_ports", "serves"])]
    pub embedded: bool,
    /// What kind of server it is: gateway (an API server), node (a kubelet) or runtime; runtime unless given
    #[arg(long, value_name = "ROLE", value_parser = role)]
    pub role: Option<Role>,
    /// TLS and credentials.
    #[command(flatten)]
    pub tls: Tls,
    /// What is behind it.
    #[command(flatten)]
    pub describe: Describe,
}

fn role(name: &str) -> Result<Role, String> {
    let found = crate::case::ANY.iter().find(|role| role.name() == name);
    found
        .copied()
        .ok_or_else(|| "expected gateway, node or runtime".to_owned())
}

impl ServerArgs {
    /// Makes it the target.
    ///
    /// # Errors
    /// A URL or a file that cannot be used.
    pub async fn open(&self, minor: Option<u16>) -> anyhow::Result<Target> {
        let Some(url) = &self.url else {
            // A word that names cases may have stood where the URL stands: clap does not see that there is none.
            if let Some(flag) = self.described().into_iter().next() {
                let text = format!("{flag} is for a server with a URL, and no URL is given");
                bail!(options::BadUse(text));
            }
            return embedded::started(self.tls.keys.clone()).await;
        };
        if self.embedded {
            bail!(options::BadUse("either --embedded or a URL".to_owned()));
        }
        let (origin, path) = options::url(url)?;
        let reach = Server {
            route: self.tls.route(origin)?,
            path,
        };
        let role = self.role();
        let name = format!("{} at {}", role.name(), options::shown(url));
        Ok(finish(name, role, minor, &self.describe, Box::new(reach)).await)
    }

    /// As the command line says it.
    pub(super) fn words(&self) -> Vec<String> {
        let Some(url) = &self.url else {
            return ["server", "--embedded"].map(str::to_owned).to_vec();
        };
        let mut words = vec!["server".to_owned(), options::shown(url)];
        if self.role.is_none() {
            words.extend(options::flagged("--role", Some(self.role().name())));
        }
        words.extend(self.described());
        words
    }

    fn role(&self) -> Role {
        self.role.unwrap_or(Role::Runtime)
    }

    /// The options that say what is at the URL, as far as they were given.
    fn described(&self) -> Vec<String> {
        let mut words = options::flagged("--role", self.role.map(Role::name));
        words.extend(self.tls.words());
        words.extend(self.describe.words());
        words
    }
}

struct Server {
    route: Route,
    path: String,
}

impl Reach for Server {
    fn place(&self, who: Who) -> Placing<'_> {
        Box::pin(async move { self.route.connect(&self.path, Asked::by(who)).await })
    }

    fn place_with_alpn(&self, protocols: &[&[u8]]) -> Placing<'_> {
        let asked = Asked::offering(protocols);
        Box::pin(async move { self.route.connect(&self.path, asked).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles() {
        assert_eq!(role("node"), Ok(Role::Node));
        assert!(role("Node").is_err());
    }
}
