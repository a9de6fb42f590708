//! The embedded cluster: gateway, node and pods in this process.

use super::endpoint::{Asked, connect};
use super::{NoPlace, Placing, Reach, Target, Who, usual_services};
use crate::case::{ALL_WAYS, Role};
use crate::keylog::KeyFile;
use pf_program::cluster::{self, Demo};
use std::sync::Arc;

/// Starts a cluster and makes it the target.
///
/// # Errors
/// Why it does not start.
pub async fn embedded() -> anyhow::Result<Target> {
    started(None).await
}

/// The same; the file gets the keys of TLS.
pub(super) async fn started(keys: Option<Arc<KeyFile>>) -> anyhow::Result<Target> {
    let demo = Demo::start().await?;
    Ok(Target {
        name: "embedded cluster".to_owned(),
        role: Role::Gateway,
        minor: Some(37),
        ways: ALL_WAYS.to_vec(),
        exec: None,
        services: usual_services(),
        reach: Box::new(Embedded(demo, keys)),
    })
}

struct Embedded(Demo, Option<Arc<KeyFile>>);

impl Embedded {
    fn config(&self, who: Who) -> kube::Config {
        match who {
            Who::Forwarder => self.0.admin().clone(),
            Who::Viewer => self.0.viewer().clone(),
            Who::Nobody => self.0.nobody().clone(),
            Who::Anonymous | Who::Stranger => {
                let mut config = self.0.admin().clone();
                config.auth_info = kube::config::AuthInfo::default();
                if who == Who::Stranger {
                    config.auth_info.token = Some("a-token-that-nobody-has".into());
                }
                config
            }
            Who::GetOnly => self.0.getter().clone(),
            Who::CreateOnly => self.0.creator().clone(),
        }
    }
}

impl Reach for Embedded {
    fn place(&self, who: Who) -> Placing<'_> {
        Box::pin(async move {
            let config = self.config(who);
            // As whom is settled: the credentials are those of the configuration.
            let path = cluster::path(&config, Demo::NAMESPACE, Demo::POD);
            connect(&config, self.1.clone(), &path, Asked::by(Who::Forwarder)).await
        })
    }

    fn place_with_alpn(&self, protocols: &[&[u8]]) -> Placing<'_> {
        let asked = Asked::offering(protocols);
        Box::pin(async move {
            let config = self.0.admin();
            let path = cluster::path(config, Demo::NAMESPACE, Demo::POD);
            connect(config, self.1.clone(), &path, asked).await
        })
    }

    fn path_of(&self, namespace: &str, pod: &str) -> Option<String> {
        Some(cluster::path(self.0.admin(), namespace, pod))
    }

    fn stage(&self, address: std::net::SocketAddr) -> Result<String, NoPlace> {
        let staged = self.0.stage(address);
        let pod = staged.map_err(|error| NoPlace::Elsewhere(error.to_string()))?;
        Ok(cluster::path(self.0.admin(), Demo::NAMESPACE, &pod))
    }

    fn clean_up(&self) -> std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(async {
            self.0.stop().await;
            Ok(())
        })
    }
}
