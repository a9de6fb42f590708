//! From `TYPE/NAME` to one running pod and its ports (PROTOCOL.md 6.1, 6.2).

use crate::api::{Action, ApiServer};
use crate::duration;
use crate::exit::{Exit, Failure, Hop};
use crate::output::Output;
use crate::podsort::{best, phase};
use crate::portmap::{self, Forward, PortMapError};
use crate::target::{Kind, Target};
use futures_util::StreamExt as _;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, ReplicationController, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::{NamespaceResourceScope, Selector};
use portforward::ports::PortSpec;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// What the session and the listeners need to know.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) pod: String,
    pub(crate) forwards: Vec<Forward>,
    /// The pod as the API server showed it.
    pub(crate) object: Pod,
}

/// Asks the API server. Without any pod waits for one, at most for `patience`; a pod that is there
/// but does not run is an error at once, as with kubectl.
///
/// # Errors
/// Exit code 4 if there is no such object, pod or port, or the pod does not run.
pub(crate) async fn resolve(
    api: &ApiServer,
    target: &Target,
    specs: &[PortSpec],
    patience: Duration,
    output: &Output,
) -> Result<Resolved, Failure> {
    let mut service = None;
    let pod = match target.kind {
        Kind::Pod => pod(api, &target.name).await.map_err(|failure| {
            if target.looks_like_kind() && failure.exit == Exit::Target {
                failure.advise(format!(
                    "write TYPE and NAME with a slash: {}/NAME",
                    target.name
                ))
            } else {
                failure
            }
        })?,
        kind => {
            let name = &target.name;
            let selector = match kind {
                Kind::Deployment => of(Some(
                    object::<Deployment>(api, kind, name).await?.spec.selector,
                )),
                Kind::ReplicaSet => of(Some(
                    object::<ReplicaSet>(api, kind, name).await?.spec.selector,
                )),
                Kind::StatefulSet => of(Some(
                    object::<StatefulSet>(api, kind, name).await?.spec.selector,
                )),
                Kind::DaemonSet => of(Some(
                    object::<DaemonSet>(api, kind, name).await?.spec.selector,
                )),
                Kind::Job => of(object::<Job>(api, kind, name)
                    .await?
                    .spec
                    .and_then(|spec| spec.selector)),
                Kind::ReplicationController => {
                    let spec = object::<ReplicationController>(api, kind, name).await?.spec;
                    Ok(of_labels(spec.and_then(|spec| spec.selector)))
                }
                Kind::Service | Kind::Pod => {
                    let found = object::<Service>(api, kind, name).await?;
                    let labels = found.spec.as_ref().and_then(|spec| spec.selector.clone());
                    service = Some(found);
                    Ok(of_labels(labels))
                }
            };
            let place = || Hop::Object(format!("{target} in namespace {}", api.namespace()));
            let selector = selector
                .map_err(|text| {
                    Failure::new(
                        Exit::Target,
                        place(),
                        format!("invalid label selector: {text}"),
                    )
                })?
                .filter(|selector| !selector.selects_all())
                .ok_or_else(|| {
                    Failure::new(Exit::Target, place(), without_selector(target))
                        .advise("forward to one of its pods by name")
                })?;
            first_pod(api, &selector, patience, target, output).await?
        }
    };
    let name = pod.metadata.name.clone().unwrap_or_default();
    // It becomes a part of messages and of a request path, and comes from the server.
    crate::target::check_name("pod", &name).map_err(|text| {
        let text = portforward::escape::line(&text);
        Failure::new(Exit::General, Hop::Object(target.to_string()), text)
    })?;
    output.trace(1, || format!("pod: {name}"));
    let place = |what: String| Hop::Object(format!("{what} in namespace {}", api.namespace()));
    let forwards = match &service {
        Some(service) => portmap::of_service(specs, service, &pod),
        None => portmap::of_pod(specs, &pod),
    }
    .map_err(|error| {
        let names = portmap::names(service.as_ref(), &pod);
        no_port(&error, place(target.to_string()), &names)
    })?;
    let state = phase(&pod);
    if state != "Running" {
        let shown = portforward::escape::line(state);
        let text =
            format!("unable to forward port because pod is not running. Current status={shown}");
        let advice = match state {
            "Succeeded" | "Failed" => "it has finished: forward to one that runs".to_owned(),
            _ => format!(
                "kubectl describe pod {name} -n {} tells what it waits for",
                api.namespace()
            ),
        };
        let place = place(format!("pod/{name}"));
        return Err(Failure::new(Exit::Target, place, text).advise(advice));
    }
    Ok(Resolved {
        pod: name,
        forwards,
        object: pod,
    })
}

fn without_selector(target: &Target) -> String {
    match target.kind {
        Kind::Service => format!(
            "cannot attach to *v1.Service: invalid service '{}': Service is defined without a selector",
            target.name
        ),
        _ => format!("{target} has no selector for its pods"),
    }
}

fn no_port(error: &PortMapError, place: Hop, names: &str) -> Failure {
    let text = portforward::escape::line(&error.to_string());
    let names = portforward::escape::line(names);
    let failure = Failure::new(Exit::Target, place, text);
    match error {
        PortMapError::Udp(_) => failure.advise("only TCP can be forwarded"),
        PortMapError::ServiceNumber { .. } => failure.advise(format!(
            "for a service give a port of the service, not of its pods; it has {names}"
        )),
        PortMapError::ServiceName { .. } | PortMapError::PodName { .. } => {
            failure.advise(format!("the declared ports are {names}"))
        }
        PortMapError::NoPort { .. } => failure,
    }
}

async fn pod(api: &ApiServer, name: &str) -> Result<Pod, Failure> {
    object::<Pod>(api, Kind::Pod, name).await
}

async fn object<K>(api: &ApiServer, kind: Kind, name: &str) -> Result<K, Failure>
where
    K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let objects: Api<K> = Api::namespaced(api.client(), api.namespace());
    api.ask(Action::get(kind), objects.get(name)).await
}

/// The best pod there is. Without any, the first to appear and run: who had to wait for a pod is
/// not helped by one that does not run yet (kubectl takes it, and fails).
async fn first_pod(
    api: &ApiServer,
    selector: &Selector,
    patience: Duration,
    target: &Target,
    output: &Output,
) -> Result<Pod, Failure> {
    let now = Instant::now();
    let deadline = now.checked_add(patience).unwrap_or(now);
    let pods: Api<Pod> = Api::namespaced(api.client(), api.namespace());
    let list = ListParams::default().labels_from(selector);
    let mut latest: Option<String> = None;
    loop {
        let found = api.ask(Action::LIST_PODS, pods.list(&list)).await?;
        let version = found.metadata.resource_version.unwrap_or_default();
        if let Some(pod) = best(found.items) {
            if latest.is_none() || phase(&pod) == "Running" {
                return Ok(pod);
            }
            latest = Some(state(&pod));
        }
        output.trace(1, || format!("no pod of {target} yet: waiting"));
        let latest = latest.get_or_insert_with(|| format!("no pod of {target}"));
        let watch = wait(api, &pods, selector, &version, deadline, latest);
        match timeout_at(deadline, watch).await {
            Ok(Ok(Some(pod))) => return Ok(pod),
            // The watch ended early, as it may at any time: from the beginning.
            Ok(Ok(None)) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Ok(Err(failure)) => return Err(failure),
            Ok(Ok(None)) | Err(_) => {
                let text = format!(
                    "timed out waiting for the condition: {latest} after {}",
                    duration::display(patience)
                );
                let place = Hop::Object(format!("{target} in namespace {}", api.namespace()));
                return Err(Failure::new(Exit::Target, place, text).advise(
                    "see whether it is scaled to zero, or give a longer --pod-running-timeout",
                ));
            }
        }
    }
}

/// The first pod that runs; `None` if the watch ends before. Notes in `latest` what there is so far.
async fn wait(
    api: &ApiServer,
    pods: &Api<Pod>,
    selector: &Selector,
    version: &str,
    deadline: Instant,
    latest: &mut String,
) -> Result<Option<Pod>, Failure> {
    // The server ends the watch by itself some time after we have given up.
    let seconds = deadline.saturating_duration_since(Instant::now()).as_secs();
    let seconds = u32::try_from(seconds).unwrap_or(u32::MAX).clamp(1, 290);
    let watch = WatchParams::default()
        .labels_from(selector)
        .timeout(seconds);
    let events = api
        .ask(Action::WATCH_PODS, pods.watch(&watch, version))
        .await?;
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(WatchEvent::Added(pod) | WatchEvent::Modified(pod)) => {
                if phase(&pod) == "Running" {
                    return Ok(Some(pod));
                }
                *latest = state(&pod);
            }
            // Too old a version, for one: a new list helps.
            Ok(WatchEvent::Error(status)) if status.code == 410 => return Ok(None),
            Ok(WatchEvent::Error(status)) => {
                return Err(api.explain(Action::WATCH_PODS, &kube::Error::Api(status)));
            }
            Ok(WatchEvent::Deleted(_) | WatchEvent::Bookmark(_)) => {}
            Err(error) => return Err(api.explain(Action::WATCH_PODS, &error)),
        }
    }
    Ok(None)
}

fn state(pod: &Pod) -> String {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    portforward::escape::line(&format!("pod {name} is {}", phase(pod)))
}

fn of(selector: Option<LabelSelector>) -> Result<Option<Selector>, String> {
    selector
        .map(|selector| Selector::try_from(selector).map_err(|error| error.to_string()))
        .transpose()
}

fn of_labels(labels: Option<BTreeMap<String, String>>) -> Option<Selector> {
    labels.map(Selector::from_iter)
}
