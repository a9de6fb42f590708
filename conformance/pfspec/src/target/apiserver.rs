//! An API server, as a kubeconfig names it.

use super::{NoPlace, Place, Placing, Reach, Target, Who, usual_services};
use crate::case::{ALL_WAYS, Role};
use pf_program::cluster::{self, Choice};

/// Takes a kubeconfig and a pod that is there already.
///
/// # Errors
/// Why the kubeconfig cannot be used.
pub async fn apiserver(choice: &Choice, namespace: &str, pod: &str) -> anyhow::Result<Target> {
    let config = cluster::load(choice).await?;
    Ok(Target {
        name: format!("API server, pod {namespace}/{pod}"),
        role: Role::Gateway,
        minor: None,
        ways: ALL_WAYS.to_vec(),
        services: usual_services(),
        reach: Box::new(ApiServer {
            config,
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
        }),
    })
}

struct ApiServer {
    config: kube::Config,
    namespace: String,
    pod: String,
}

impl Reach for ApiServer {
    fn place(&self, who: Who) -> Placing<'_> {
        Box::pin(async move {
            let mut config = self.config.clone();
            match who {
                Who::Forwarder => {}
                Who::Anonymous => config.auth_info = kube::config::AuthInfo::default(),
                Who::Stranger => {
                    config.auth_info = kube::config::AuthInfo::default();
                    config.auth_info.token = Some("a-token-that-nobody-has".into());
                }
                Who::Viewer | Who::Nobody | Who::CreateOnly | Who::GetOnly => {
                    let text = "no kubeconfig of somebody who may not forward";
                    return Err(NoPlace::NotOffered(text.to_owned()));
                }
            }
            let other = |error: cluster::Unreachable| NoPlace::Elsewhere(error.to_string());
            let identity = cluster::credentials(&config).await.map_err(other)?;
            let io = cluster::connect(&config).await;
            let io = io.map_err(|error| NoPlace::Unreachable(error.to_string()))?;
            Ok(Place {
                io,
                host: config
                    .cluster_url
                    .authority()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                path: cluster::path(&config, &self.namespace, &self.pod),
                identity,
            })
        })
    }

    fn place_with_alpn(&self, protocols: &[&[u8]]) -> Placing<'_> {
        let protocols: Vec<Vec<u8>> = protocols.iter().map(|name| name.to_vec()).collect();
        Box::pin(async move {
            let config = &self.config;
            super::place_offering(config, protocols, &self.namespace, &self.pod).await
        })
    }

    fn path_of(&self, namespace: &str, pod: &str) -> Option<String> {
        Some(cluster::path(&self.config, namespace, pod))
    }
}
