//! Which of several pods to forward to: the order kubectl has (PROTOCOL.md 6.2).

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::cmp::{Ordering, Reverse};
use std::collections::BTreeSet;

/// The best pod. Of equals the first one, where kubectl takes any.
pub(crate) fn best(pods: Vec<Pod>) -> Option<Pod> {
    pods.into_iter().min_by(order)
}

/// `Less`: the first pod is the better one.
fn order(a: &Pod, b: &Pod) -> Ordering {
    // `false` sorts before `true`, and the better comes first.
    (!has_node(a))
        .cmp(&!has_node(b))
        .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
        .then_with(|| (!is_ready(a)).cmp(&!is_ready(b)))
        .then_with(|| deletion(a).is_some().cmp(&deletion(b).is_some()))
        .then_with(|| match (deletion(a), deletion(b)) {
            (Some(a), Some(b)) => b.cmp(a),
            _ => Ordering::Equal,
        })
        .then_with(|| {
            if is_ready(a) && is_ready(b) {
                older(ready_since(a), ready_since(b))
            } else {
                Ordering::Equal
            }
        })
        .then_with(|| restarts(a).cmp(&restarts(b)))
        .then_with(|| {
            older(
                a.metadata.creation_timestamp.as_ref(),
                b.metadata.creation_timestamp.as_ref(),
            )
        })
}

fn has_node(pod: &Pod) -> bool {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.node_name.as_deref())
        .is_some_and(|name| !name.is_empty())
}

/// Running before Unknown before the rest: kubectl puts finished pods on a par with pending ones.
fn phase_rank(pod: &Pod) -> u8 {
    match phase(pod) {
        "Running" => 0,
        "Unknown" => 1,
        _ => 2,
    }
}

/// `status.phase`, empty if there is none.
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

fn is_ready(pod: &Pod) -> bool {
    ready_condition(pod).is_some()
}

fn ready_condition(pod: &Pod) -> Option<&k8s_openapi::api::core::v1::PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_deref()?;
    conditions
        .iter()
        .find(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn ready_since(pod: &Pod) -> Option<&Time> {
    ready_condition(pod)?.last_transition_time.as_ref()
}

const fn deletion(pod: &Pod) -> Option<&Time> {
    pod.metadata.deletion_timestamp.as_ref()
}

/// The earlier time first; no time counts as latest.
fn older(a: Option<&Time>, b: Option<&Time>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.cmp(b),
        (a, b) => Reverse(a.is_some()).cmp(&Reverse(b.is_some())),
    }
}

/// The highest count of any container, then of any sidecar.
fn restarts(pod: &Pod) -> (i32, i32) {
    let Some(status) = &pod.status else {
        return (0, 0);
    };
    let sidecars: BTreeSet<&str> = pod
        .spec
        .iter()
        .flat_map(|spec| spec.init_containers.iter().flatten())
        .filter(|container| container.restart_policy.as_deref() == Some("Always"))
        .map(|container| container.name.as_str())
        .collect();
    let regular = status
        .container_statuses
        .iter()
        .flatten()
        .map(|container| container.restart_count);
    let sidecar = status
        .init_container_statuses
        .iter()
        .flatten()
        .filter(|container| sidecars.contains(container.name.as_str()))
        .map(|container| container.restart_count);
    (regular.max().unwrap_or(0), sidecar.max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, node: &str, phase: &str, ready: Option<&str>, rest: &Value) -> Pod {
        let mut value = json!({
            "metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"nodeName": node, "containers": []},
            "status": {"phase": phase, "conditions": [
                {"type": "Initialized", "status": "True"},
                {"type": "Ready", "status": if ready.is_some() { "True" } else { "False" }, "lastTransitionTime": ready},
            ]},
        });
        merge(&mut value, rest);
        serde_json::from_value(value).unwrap()
    }

    fn merge(into: &mut Value, from: &Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                for (key, value) in from {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
            (into, from) => *into = from.clone(),
        }
    }

    /// Best first; every pod must come before every later one, whichever way it is asked.
    #[test]
    fn whole_order() {
        let (old, new) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        let running = |name: &str, ready, rest| pod(name, "n", "Running", ready, &rest);
        let pods = vec![
            running("old-ready", Some(old), json!({})),
            running(
                "created-later",
                Some(old),
                json!({"metadata": {"creationTimestamp": new}}),
            ),
            running(
                "no-creation",
                Some(old),
                json!({"metadata": {"creationTimestamp": null}}),
            ),
            running(
                "sidecar-restarts",
                Some(old),
                json!({
                    "spec": {"initContainers": [{"name": "s", "restartPolicy": "Always"}]},
                    "status": {"initContainerStatuses": [status("s", 1)]},
                }),
            ),
            running(
                "restarts",
                Some(old),
                json!({"status": {"containerStatuses": [status("c", 0), status("d", 3)]}}),
            ),
            running(
                "more-restarts",
                Some(old),
                json!({"status": {"containerStatuses": [status("c", 4)]}}),
            ),
            running("ready-later", Some(new), json!({})),
            running(
                "ready-without-time",
                Some(old),
                json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
            ),
            running(
                "deleted-later",
                Some(old),
                json!({"metadata": {"deletionTimestamp": new}}),
            ),
            running(
                "deleted",
                Some(old),
                json!({"metadata": {"deletionTimestamp": old}}),
            ),
            running("not-ready", None, json!({})),
            pod("unknown", "n", "Unknown", Some(old), &json!({})),
            pod("pending", "n", "Pending", None, &json!({})),
            pod("unscheduled", "", "Pending", None, &json!({})),
        ];
        for (i, a) in pods.iter().enumerate() {
            for (j, b) in pods.iter().enumerate() {
                assert_eq!(
                    order(a, b),
                    i.cmp(&j),
                    "{:?} {:?}",
                    a.metadata.name,
                    b.metadata.name
                );
            }
        }
        let mut mixed = pods;
        mixed.reverse();
        mixed.rotate_left(5);
        assert_eq!(
            best(mixed).unwrap().metadata.name.as_deref(),
            Some("old-ready")
        );
        assert!(best(Vec::new()).is_none());
    }

    fn status(name: &str, restarts: i32) -> Value {
        json!({"name": name, "restartCount": restarts, "ready": true, "image": "i", "imageID": "i"})
    }

    /// Restarts of ordinary init containers say nothing.
    #[test]
    fn init_containers_do_not_count() {
        let rest = json!({
            "spec": {"initContainers": [{"name": "i"}]},
            "status": {"initContainerStatuses": [status("i", 9)]},
        });
        let old = Some("2026-01-01T00:00:00Z");
        let (a, b) = (
            pod("a", "n", "Running", old, &rest),
            pod("b", "n", "Running", old, &json!({})),
        );
        assert_eq!(order(&a, &b), Ordering::Equal);
    }

    #[test]
    fn finished_pods_rank_with_pending_ones() {
        let a = pod("a", "n", "Succeeded", None, &json!({}));
        let b = pod("b", "n", "Pending", None, &json!({}));
        assert_eq!(order(&a, &b), Ordering::Equal);
    }
}
