//! What the cluster as a whole answers. The forwards through it are the conformance suite's.

mod kubectl;

use super::*;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Api, ListParams};
use kube::client::ConfigExt as _;
use kube::{Client, ResourceExt as _};
use portforward::upgrade::{UpgradeError, UpgradeRequest, Upgraded, spdy};
use secrecy::ExposeSecret as _;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

async fn upgrade(
    config: &kube::Config,
    pod: &str,
) -> Result<Upgraded<TlsStream<TcpStream>>, UpgradeError> {
    let mut tls = config.rustls_client_config().unwrap();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let authority = config.cluster_url.authority().unwrap().to_string();
    let tcp = TcpStream::connect(&authority).await.unwrap();
    let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
    let io = TlsConnector::from(Arc::new(tls))
        .connect(name, tcp)
        .await
        .unwrap();
    let path = format!("/api/v1/namespaces/default/pods/{pod}/portforward");
    let mut request = UpgradeRequest::new(path, authority);
    if let Some(token) = &config.auth_info.token {
        let bearer = format!("Bearer {}", token.expose_secret());
        request = request.with_field("Authorization", bearer);
    }
    spdy(io, &request).await
}

#[tokio::test]
async fn look_ups_by_typed_clients() {
    let cluster = start().await.unwrap();
    let client = Client::try_from(cluster.config.clone()).unwrap();
    assert_eq!(client.apiserver_version().await.unwrap().major, "1");
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let web = pods.get("web").await.unwrap();
    assert_eq!(web.spec.unwrap().node_name.as_deref(), Some(objects::NODE));
    assert_eq!(pods.get_opt("none").await.unwrap(), None);
    let deployment = Api::<Deployment>::default_namespaced(client.clone())
        .get("web")
        .await
        .unwrap();
    let labels = deployment.spec.selector.match_labels.unwrap();
    let selector: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let list = pods
        .list(&ListParams::default().labels(&selector.join(",")))
        .await
        .unwrap();
    assert!(!list.items.is_empty());
    for pod in &list.items {
        assert!(
            labels.iter().all(|(k, v)| pod.labels().get(k) == Some(v)),
            "{}",
            pod.name_any()
        );
    }
    Api::<Service>::default_namespaced(client)
        .get("web")
        .await
        .unwrap();
}

#[tokio::test]
async fn who_may_what() {
    let cluster = start().await.unwrap();
    let upgraded = upgrade(&cluster.config, "web").await.unwrap();
    assert!(upgraded.early.is_empty());
    let refused = |error: UpgradeError| match error {
        UpgradeError::Refused {
            status, message, ..
        } => (status, message),
        other => panic!("{other:?}"),
    };
    let text = |user| {
        format!(
            "pods \"web\" is forbidden: User \"{user}\" cannot create resource \"pods/portforward\" \
             in API group \"\" in the namespace \"default\""
        )
    };
    for (config, user) in [
        (&cluster.viewer, "viewer"),
        (&cluster.getter, "getter"),
        (&cluster.nobody, "nobody"),
    ] {
        assert_eq!(
            refused(upgrade(config, "web").await.unwrap_err()),
            (403, text(user))
        );
    }
    let mut stranger = cluster.config.clone();
    stranger.auth_info.token = Some("stranger".to_owned().into());
    assert_eq!(
        refused(upgrade(&stranger, "web").await.unwrap_err()),
        (401, "Unauthorized".to_owned())
    );

    let list = async |config: &kube::Config| {
        let pods: Api<Pod> = Api::default_namespaced(Client::try_from(config.clone()).unwrap());
        pods.list(&ListParams::default())
            .await
            .map(|list| list.items.len())
    };
    assert!(list(&cluster.viewer).await.unwrap() > 1);
    assert!(
        matches!(list(&cluster.nobody).await.unwrap_err(), kube::Error::Api(status) if status.code == 403)
    );
}

#[tokio::test]
async fn pods_that_cannot_be_forwarded_to() {
    let cluster = start().await.unwrap();
    for (pod, status, text) in [
        ("none", 404, "pods \"none\" not found"),
        ("pending", 400, "pod pending does not have a host assigned"),
        ("done", 500, "pod not found (\"done_default\")"),
    ] {
        match upgrade(&cluster.config, pod).await {
            Err(UpgradeError::Refused {
                status: got,
                message,
                ..
            }) => {
                assert_eq!((got, message.as_str()), (status, text), "{pod}");
            }
            other => panic!("{pod}: {other:?}"),
        }
    }
}

/// Nothing that listens outlives the cluster.
#[tokio::test]
async fn a_dropped_cluster_is_gone() {
    let cluster = start().await.unwrap();
    let authority = cluster.config.cluster_url.authority().unwrap().to_string();
    TcpStream::connect(&authority).await.unwrap();
    drop(cluster);
    while TcpStream::connect(&authority).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
