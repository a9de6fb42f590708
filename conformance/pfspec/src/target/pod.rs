//! A pod of the judge's own, and its namespace: made, waited for, taken away again.

use crate::interrupt::{INTERRUPTED, Interrupt};
use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// For one answer of the API server.
const ANSWER: Duration = Duration::from_secs(30);
/// Between two looks at the pod.
const LOOK: Duration = Duration::from_millis(250);
/// How long a new namespace may be without its service account.
const SERVICE_ACCOUNT: Duration = Duration::from_secs(30);
/// The pod ends itself after a day, should nobody take it away.
const LONGEST: i64 = 24 * 3600;
/// By which everything of the judge's can be found.
pub(super) const LABEL: &str = "app.kubernetes.io/managed-by=pfspec";

/// What to make.
pub(super) struct Wanted<'a> {
    /// Where; a namespace of its own if there is none.
    pub namespace: Option<&'a str>,
    pub image: &'a str,
    pub args: &'a [String],
    /// Where to see that it listens.
    pub listens: Option<u16>,
    pub patience: Duration,
}

/// What was made.
#[derive(Debug, Clone, Default)]
pub(super) struct Made {
    pub namespace: String,
    /// Whether the namespace is the judge's own.
    pub own_namespace: bool,
    /// Empty until it is there.
    pub pod: String,
}

impl Made {
    /// What there is to take away, and the command that does it; nothing if there is nothing.
    fn left(&self) -> Option<(String, String)> {
        if self.own_namespace {
            let command = format!("kubectl delete namespace {}", self.namespace);
            Some((format!("namespace {}", self.namespace), command))
        } else if self.pod.is_empty() {
            None
        } else {
            let command = format!("kubectl delete pod -n {} {}", self.namespace, self.pod);
            Some((format!("pod {}/{}", self.namespace, self.pod), command))
        }
    }

    fn note(&self, interrupt: &Interrupt) {
        if let Some((what, command)) = self.left() {
            interrupt.leaves(format!("{what} ({command})"));
        }
    }
}

/// Waits a little, and no more once the user has had enough.
async fn pause(interrupt: &Interrupt, time: Duration) -> anyhow::Result<()> {
    tokio::select! {
        biased;
        () = interrupt.wait() => bail!(INTERRUPTED),
        () = sleep(time) => Ok(()),
    }
}

/// Makes it and waits until it runs. `made` says what there is to take away, whatever came.
///
/// A request that creates something is waited for even if the user has had enough: nobody would know of what it made.
pub(super) async fn make(
    client: &Client,
    wanted: &Wanted<'_>,
    made: &mut Made,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    // Nothing is begun that is to be taken away at once.
    pause(interrupt, Duration::ZERO).await?;
    if let Some(namespace) = wanted.namespace {
        namespace.clone_into(&mut made.namespace);
    } else {
        let namespace: Namespace = serde_json::from_value(json!({
            "metadata": {
                "generateName": "pfspec-",
                "labels": {
                    "app.kubernetes.io/managed-by": "pfspec",
                    "pod-security.kubernetes.io/enforce": "restricted",
                },
            },
        }))?;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let how = PostParams::default();
        let created = timeout(ANSWER, namespaces.create(&how, &namespace)).await;
        let created = created.with_context(|| late("creating a namespace"))?;
        let namespace = answer("creating a namespace", created)?;
        made.namespace = namespace.metadata.name.unwrap_or_default();
        made.own_namespace = true;
        made.note(interrupt);
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), &made.namespace);
    let pod: Pod = serde_json::from_value(manifest(wanted))?;
    let deadline = Instant::now() + SERVICE_ACCOUNT;
    let created = loop {
        let created = timeout(ANSWER, pods.create(&PostParams::default(), &pod)).await;
        let created = created.with_context(|| late("creating a pod"))?;
        match created {
            Err(kube::Error::Api(status))
                if status.message.contains("service account") && Instant::now() < deadline =>
            {
                pause(interrupt, LOOK).await?;
            }
            created => break answer("creating a pod", created)?,
        }
    };
    made.pod = created.metadata.name.unwrap_or_default();
    made.note(interrupt);
    runs(&pods, made, wanted, interrupt).await
}

async fn runs(
    pods: &Api<Pod>,
    made: &Made,
    wanted: &Wanted<'_>,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + wanted.patience;
    loop {
        let pod = timeout(ANSWER, pods.get(&made.pod)).await;
        let pod = pod.context("looking at the pod: no answer in time")?;
        let pod = answer("looking at the pod", pod)?;
        match state(&pod) {
            State::Ready => return Ok(()),
            State::Hopeless(why) => bail!(
                "the pod with image {} does not run: {why}; see --pod-image and --pod-args",
                wanted.image
            ),
            State::Waits(why) if Instant::now() >= deadline => bail!(
                "the pod with image {} does not run after {:?}: {why}; see --pod-image, --pod-args and --pod-wait",
                wanted.image,
                wanted.patience
            ),
            State::Waits(_) => pause(interrupt, LOOK).await?,
        }
    }
}

fn late(what: &str) -> String {
    format!(
        "{what}: no answer within {ANSWER:?}; should it be there now: kubectl get namespaces,pods -A -l {LABEL}"
    )
}

fn answer<T>(what: &str, answer: Result<T, kube::Error>) -> anyhow::Result<T> {
    match answer {
        Ok(it) => Ok(it),
        Err(kube::Error::Api(status)) if status.code == 403 => bail!(
            "{what}: {}; the rules that pfspec needs are printed by `pfspec rbac`, and with --pod \
             NAMESPACE/NAME, a pod that is there, it needs fewer",
            status.message
        ),
        Err(kube::Error::Api(status)) => bail!("{what}: {}", status.message),
        Err(error) => Err(error).context(what.to_owned()),
    }
}

/// Restricted Pod Security, and no rights.
fn manifest(wanted: &Wanted<'_>) -> serde_json::Value {
    let mut container = json!({
        "name": "services",
        "image": wanted.image,
        "imagePullPolicy": "IfNotPresent",
        "args": wanted.args,
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
    });
    if let (Some(port), Some(container)) = (wanted.listens, container.as_object_mut()) {
        let probe = json!({"tcpSocket": {"port": port}, "periodSeconds": 1});
        container.insert("readinessProbe".to_owned(), probe);
    }
    json!({
        "metadata": {
            "generateName": "pfspec-",
            "labels": {"app.kubernetes.io/managed-by": "pfspec"},
        },
        "spec": {
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "activeDeadlineSeconds": LONGEST,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
        },
    })
}

#[derive(Debug, PartialEq)]
enum State {
    Ready,
    Waits(String),
    Hopeless(String),
}

fn state(pod: &Pod) -> State {
    let Some(status) = &pod.status else {
        return State::Waits("it has no status".to_owned());
    };
    let conditions = status.conditions.iter().flatten();
    if conditions
        .clone()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
    {
        return State::Ready;
    }
    let phase = status.phase.clone().unwrap_or_default();
    let containers: Vec<_> = status
        .container_statuses
        .iter()
        .flatten()
        .filter_map(|container| container.state.as_ref())
        .collect();
    for state in &containers {
        if let Some(ended) = &state.terminated {
            let message = ended.message.clone().unwrap_or_default();
            return State::Hopeless(format!(
                "its program ended with code {} {message}",
                ended.exit_code
            ));
        }
        if let Some(waiting) = &state.waiting {
            let reason = waiting.reason.clone().unwrap_or_default();
            let text = format!("{reason} {}", waiting.message.clone().unwrap_or_default());
            return match reason.as_str() {
                "ImagePullBackOff"
                | "ErrImageNeverPull"
                | "InvalidImageName"
                | "CreateContainerConfigError"
                | "CreateContainerError"
                | "RunContainerError" => State::Hopeless(text),
                _ => State::Waits(text),
            };
        }
    }
    if matches!(phase.as_str(), "Failed" | "Succeeded") {
        let message = status.message.clone().unwrap_or_default();
        return State::Hopeless(format!("it is {phase} {message}"));
    }
    let unmet = conditions
        .filter(|condition| condition.status != "True")
        .find_map(|condition| condition.message.clone());
    State::Waits(format!("it is {phase}; {}", unmet.unwrap_or_default()))
}

/// Takes it away.
///
/// # Errors
/// What is left, and how to take it away by hand.
pub(super) async fn remove(
    client: &Client,
    made: &Made,
    interrupt: &Interrupt,
) -> Result<(), String> {
    let removed = take_away(client, made).await;
    // Whatever came, the caller says it.
    interrupt.leaves_nothing();
    removed
}

async fn take_away(client: &Client, made: &Made) -> Result<(), String> {
    let Some((what, command)) = made.left() else {
        return Ok(());
    };
    let mut last = String::new();
    for attempt in 0..3 {
        if attempt > 0 {
            sleep(Duration::from_secs(1)).await;
        }
        let deleted = timeout(ANSWER, async {
            let how = DeleteParams::default();
            if made.own_namespace {
                let all: Api<Namespace> = Api::all(client.clone());
                all.delete(&made.namespace, &how).await.map(drop)
            } else {
                let all: Api<Pod> = Api::namespaced(client.clone(), &made.namespace);
                all.delete(&made.pod, &how).await.map(drop)
            }
        });
        match deleted.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => return Ok(()),
            Ok(Err(kube::Error::Api(status))) => last.clone_from(&status.message),
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => last = format!("no answer within {ANSWER:?}"),
        }
    }
    Err(format!(
        "cannot delete {what}: {last}\nto do it by hand: {command}\n(everything of pfspec's: kubectl get \
         namespaces,pods -A -l {LABEL})"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(status: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap()
    }

    #[test]
    fn states() {
        let ready =
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        assert_eq!(state(&pod(&ready)), State::Ready);
        let waiting = |reason: &str| {
            json!({"phase": "Pending", "containerStatuses": [{
                "name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": reason, "message": "m"}},
            }]})
        };
        assert_eq!(
            state(&pod(&waiting("ContainerCreating"))),
            State::Waits("ContainerCreating m".to_owned())
        );
        // It is tried again at once.
        assert!(matches!(
            state(&pod(&waiting("ErrImagePull"))),
            State::Waits(_)
        ));
        assert_eq!(
            state(&pod(&waiting("ImagePullBackOff"))),
            State::Hopeless("ImagePullBackOff m".to_owned())
        );
        let ended = json!({"phase": "Failed", "containerStatuses": [{
            "name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 2}},
        }]});
        assert!(
            matches!(state(&pod(&ended)), State::Hopeless(text) if text.contains("ended with code 2"))
        );
        let unscheduled = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"},
        ]});
        assert!(
            matches!(state(&pod(&unscheduled)), State::Waits(text) if text.contains("0/3 nodes"))
        );
    }

    #[test]
    fn the_pod_is_restricted() {
        let wanted = Wanted {
            namespace: None,
            image: "i",
            args: &["echo=7000".to_owned()],
            listens: Some(7000),
            patience: ANSWER,
        };
        let pod: Pod = serde_json::from_value(manifest(&wanted)).unwrap();
        let spec = pod.spec.unwrap();
        assert_eq!(spec.automount_service_account_token, Some(false));
        let context = spec.security_context.unwrap();
        assert_eq!(context.run_as_non_root, Some(true));
        assert_eq!(context.seccomp_profile.unwrap().type_, "RuntimeDefault");
        let container = spec.containers.first().unwrap();
        assert_eq!(container.image_pull_policy.as_deref(), Some("IfNotPresent"));
        assert!(container.readiness_probe.is_some());
        let context = container.security_context.clone().unwrap();
        assert_eq!(context.allow_privilege_escalation, Some(false));
        let drop = context.capabilities.unwrap().drop.unwrap();
        assert_eq!(drop, ["ALL"]);
    }
}
