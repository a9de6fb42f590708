//! The embedded cluster's objects, as its API server shows them: enough of each for
//! `kubectl get`, for `kubectl port-forward` and for typed clients.
//!
//! Every kind that a port-forward can name has an object called `web` whose pod
//! runs; further pods and services are those that a forward has to refuse.

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::pods::PORTS;

/// Where all objects are.
pub(crate) const NAMESPACE: &str = "default";

/// The node that all running pods are on.
pub(crate) const NODE: &str = "embedded";

const IMAGE: &str = "demo";
const LOCALHOST: &str = "127.0.0.1";

/// Whether this is the name of one of the pods that are always there.
pub(crate) fn is_demo_pod(name: &str) -> bool {
    objects(&[]).iter().any(|object| {
        object.get("kind").is_some_and(|kind| kind == "Pod")
            && object.pointer("/metadata/name").is_some_and(|n| n == name)
    })
}

/// All objects, pods last: each with its type, its metadata, a spec and a status.
pub(crate) fn objects(host_pods: &[String]) -> Vec<Value> {
    let mut make = Maker::new();
    let mut objects = Vec::new();
    let mut pods = vec![
        make.running_pod("web", &json!({ "run": "web" }), None),
        make.pending_pod(),
        make.done_pod(),
        make.udp_pod(),
    ];
    for (object, pod) in [
        make.deployment(&mut objects),
        make.replica_set(),
        make.stateful_set(),
        make.daemon_set(),
        make.job(),
        make.replication_controller(),
    ] {
        objects.push(object);
        pods.push(pod);
    }
    objects.extend(make.services());
    objects.extend(pods);
    objects.extend(host_pods.iter().map(|name| make.host_pod(name)));
    objects
}

/// A pod on a node of its own, both of this name.
pub(crate) fn staged(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": NAMESPACE, "uid": name },
        "spec": { "nodeName": name },
        "status": { "phase": "Running" },
    })
}

/// Makes objects that differ in uid and version, and are all as old.
struct Maker {
    created: String,
    made: u32,
}

impl Maker {
    fn new() -> Self {
        let now = OffsetDateTime::now_utc();
        let (year, month, day) = now.to_calendar_date();
        let (hour, minute, second) = now.to_hms();
        let month = u8::from(month);
        Self {
            created: format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"),
            made: 0,
        }
    }

    fn metadata(&mut self, name: &str, labels: &Value) -> Value {
        self.made = self.made.saturating_add(1);
        json!({
            "name": name,
            "namespace": NAMESPACE,
            "uid": format!("e3bedded-0000-4000-8000-{:012x}", self.made),
            "resourceVersion": self.made.to_string(),
            "creationTimestamp": self.created,
            "labels": labels,
        })
    }

    fn object(
        &mut self,
        (api_version, kind): (&str, &str),
        (name, labels): (&str, &Value),
        spec: &Value,
        status: &Value,
    ) -> Value {
        json!({
            "apiVersion": api_version,
            "kind": kind,
            "metadata": self.metadata(name, labels),
            "spec": spec,
            "status": status,
        })
    }

    /// An object of a kind that has pods, and the one pod it has.
    fn workload(
        &mut self,
        kind: (&str, &str),
        labels: &Value,
        spec: &Value,
        status: &Value,
        pod: &str,
    ) -> (Value, Value) {
        let owner = self.object(kind, ("web", labels), spec, status);
        let pod = self.running_pod(pod, labels, Some(&owner));
        (owner, pod)
    }

    /// With the replica set between it and its pod, which goes to `others`.
    fn deployment(&mut self, others: &mut Vec<Value>) -> (Value, Value) {
        let labels = json!({ "app": "web" });
        let hashed = json!({ "app": "web", "pod-template-hash": "6d5f" });
        let deployment = self.object(
            ("apps/v1", "Deployment"),
            ("web", &labels),
            &json!({
                "replicas": 1,
                "selector": { "matchLabels": labels },
                "strategy": { "type": "RollingUpdate" },
                "template": template(&labels, "Always"),
            }),
            &json!({
                "observedGeneration": 1,
                "replicas": 1,
                "updatedReplicas": 1,
                "readyReplicas": 1,
                "availableReplicas": 1,
                "conditions": [{
                    "type": "Available",
                    "status": "True",
                    "reason": "MinimumReplicasAvailable",
                    "lastTransitionTime": self.created,
                }],
            }),
        );
        let mut replica_set = self.object(
            ("apps/v1", "ReplicaSet"),
            ("web-6d5f", &hashed),
            &json!({
                "replicas": 1,
                "selector": { "matchLabels": hashed },
                "template": template(&hashed, "Always"),
            }),
            &replica_status(),
        );
        own(&mut replica_set, &deployment);
        let pod = self.running_pod("web-6d5f-abcde", &hashed, Some(&replica_set));
        others.push(replica_set);
        (deployment, pod)
    }

    fn replica_set(&mut self) -> (Value, Value) {
        let labels = json!({ "app": "web-replicaset" });
        let spec = json!({
            "replicas": 1,
            "selector": { "matchLabels": labels },
            "template": template(&labels, "Always"),
        });
        let kind = ("apps/v1", "ReplicaSet");
        self.workload(kind, &labels, &spec, &replica_status(), "web-2r7kq")
    }

    fn stateful_set(&mut self) -> (Value, Value) {
        let labels = json!({ "app": "web-statefulset" });
        let spec = json!({
            "replicas": 1,
            "serviceName": "web-headless",
            "podManagementPolicy": "OrderedReady",
            "updateStrategy": { "type": "RollingUpdate" },
            "selector": { "matchLabels": labels },
            "template": template(&labels, "Always"),
        });
        let status = json!({
            "observedGeneration": 1,
            "replicas": 1,
            "currentReplicas": 1,
            "updatedReplicas": 1,
            "readyReplicas": 1,
            "availableReplicas": 1,
        });
        self.workload(("apps/v1", "StatefulSet"), &labels, &spec, &status, "web-0")
    }

    fn daemon_set(&mut self) -> (Value, Value) {
        let labels = json!({ "app": "web-daemonset" });
        let spec = json!({
            "selector": { "matchLabels": labels },
            "updateStrategy": { "type": "RollingUpdate" },
            "template": template(&labels, "Always"),
        });
        let status = json!({
            "observedGeneration": 1,
            "currentNumberScheduled": 1,
            "desiredNumberScheduled": 1,
            "updatedNumberScheduled": 1,
            "numberAvailable": 1,
            "numberMisscheduled": 0,
            "numberReady": 1,
        });
        let kind = ("apps/v1", "DaemonSet");
        self.workload(kind, &labels, &spec, &status, "web-9mzxt")
    }

    fn job(&mut self) -> (Value, Value) {
        let labels = json!({ "app": "web-job", "batch.kubernetes.io/job-name": "web" });
        let spec = json!({
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": 6,
            "selector": { "matchLabels": labels },
            "template": template(&labels, "Never"),
        });
        let status = json!({ "active": 1, "ready": 1, "startTime": self.created });
        self.workload(("batch/v1", "Job"), &labels, &spec, &status, "web-hq4cn")
    }

    fn replication_controller(&mut self) -> (Value, Value) {
        let labels = json!({ "app": "web-replicationcontroller" });
        let spec = json!({
            "replicas": 1,
            "selector": labels,
            "template": template(&labels, "Always"),
        });
        let kind = ("v1", "ReplicationController");
        self.workload(kind, &labels, &spec, &replica_status(), "web-v8b2d")
    }

    fn services(&mut self) -> [Value; 4] {
        let selector = json!({ "app": "web" });
        let http = service_port("http", 80, &json!("http"));
        [
            self.service(
                "web",
                "10.96.0.10",
                Some(&selector),
                &[
                    http.clone(),
                    service_port("echo", 7, &json!("echo")),
                    service_port("http-numeric", 8081, &json!(8080)),
                ],
            ),
            // Without an address of its own nothing translates ports, so that they
            // have to be the pod's.
            self.service(
                "web-headless",
                "None",
                Some(&selector),
                &[service_port("http", 8080, &json!("http"))],
            ),
            self.service(
                "no-selector",
                "10.96.0.11",
                None,
                std::slice::from_ref(&http),
            ),
            self.service(
                "empty",
                "10.96.0.12",
                Some(&json!({ "app": "empty" })),
                &[http],
            ),
        ]
    }

    fn service(
        &mut self,
        name: &str,
        ip: &str,
        selector: Option<&Value>,
        ports: &[Value],
    ) -> Value {
        let mut spec = json!({
            "type": "ClusterIP",
            "clusterIP": ip,
            "clusterIPs": [ip],
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
            "sessionAffinity": "None",
            "ports": ports,
        });
        if let Some(selector) = selector {
            set(&mut spec, "selector", selector.clone());
        }
        self.object(
            ("v1", "Service"),
            (name, &json!({})),
            &spec,
            &json!({ "loadBalancer": {} }),
        )
    }

    fn running_pod(&mut self, name: &str, labels: &Value, owner: Option<&Value>) -> Value {
        let policy = match owner.and_then(|owner| owner.get("kind")?.as_str()) {
            Some("Job") => "Never",
            _ => "Always",
        };
        let mut pod = self.pod(name, labels, &pod_spec(&demo_ports(), policy));
        self.run(&mut pod);
        if let Some(owner) = owner {
            own(&mut pod, owner);
        }
        pod
    }

    /// Waits for a node, for ever.
    fn pending_pod(&mut self) -> Value {
        let mut spec = pod_spec(&demo_ports(), "Always");
        if let Some(spec) = spec.as_object_mut() {
            spec.remove("nodeName");
        }
        let mut pod = self.pod("pending", &json!({ "run": "pending" }), &spec);
        let status = json!({
            "phase": "Pending",
            "qosClass": "BestEffort",
            "conditions": [{
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": "0/1 nodes are available",
                "lastTransitionTime": self.created,
            }],
        });
        set(&mut pod, "status", status);
        pod
    }

    /// Has ended successfully.
    fn done_pod(&mut self) -> Value {
        let spec = pod_spec(&demo_ports(), "Never");
        let mut pod = self.pod("done", &json!({ "run": "done" }), &spec);
        let ended = json!({ "terminated": {
            "exitCode": 0,
            "reason": "Completed",
            "startedAt": self.created,
            "finishedAt": self.created,
        }});
        set(
            &mut pod,
            "status",
            self.status("Succeeded", "False", &ended),
        );
        pod
    }

    /// Runs, and has no port that can be forwarded.
    fn udp_pod(&mut self) -> Value {
        let ports = [json!({ "name": "dns", "containerPort": 53, "protocol": "UDP" })];
        let spec = pod_spec(&ports, "Always");
        let mut pod = self.pod("udp", &json!({ "run": "udp" }), &spec);
        self.run(&mut pod);
        pod
    }

    /// Stands for this machine. Which ports are open changes, so that it declares none.
    fn host_pod(&mut self, name: &str) -> Value {
        let spec = pod_spec(&[], "Always");
        let mut pod = self.pod(name, &json!({ "host": "true" }), &spec);
        self.run(&mut pod);
        pod
    }

    fn pod(&mut self, name: &str, labels: &Value, spec: &Value) -> Value {
        self.object(("v1", "Pod"), (name, labels), spec, &Value::Null)
    }

    fn run(&self, pod: &mut Value) {
        let running = json!({ "running": { "startedAt": self.created } });
        set(pod, "status", self.status("Running", "True", &running));
    }

    fn status(&self, phase: &str, ready: &str, container: &Value) -> Value {
        let condition = |kind, status| {
            json!({
                "type": kind,
                "status": status,
                "lastTransitionTime": self.created,
            })
        };
        json!({
            "phase": phase,
            "qosClass": "BestEffort",
            "hostIP": LOCALHOST,
            "podIP": LOCALHOST,
            "podIPs": [{ "ip": LOCALHOST }],
            "startTime": self.created,
            "conditions": [
                condition("Initialized", "True"),
                condition("Ready", ready),
                condition("ContainersReady", ready),
                condition("PodScheduled", "True"),
            ],
            "containerStatuses": [{
                "name": "demo",
                "image": IMAGE,
                "imageID": IMAGE,
                "ready": ready == "True",
                "started": ready == "True",
                "restartCount": 0,
                "state": container,
            }],
        })
    }
}

/// Makes `owner` the controller of `object`.
fn own(object: &mut Value, owner: &Value) {
    let reference = json!({
        "apiVersion": owner.get("apiVersion"),
        "kind": owner.get("kind"),
        "name": owner.pointer("/metadata/name"),
        "uid": owner.pointer("/metadata/uid"),
        "controller": true,
        "blockOwnerDeletion": true,
    });
    if let Some(metadata) = object.get_mut("metadata") {
        set(metadata, "ownerReferences", json!([reference]));
    }
}

/// Sets one member of a JSON object.
fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

fn demo_ports() -> Vec<Value> {
    PORTS
        .iter()
        .map(|(name, port)| json!({ "name": name, "containerPort": port, "protocol": "TCP" }))
        .collect()
}

fn pod_spec(ports: &[Value], restart_policy: &str) -> Value {
    json!({
        "nodeName": NODE,
        "restartPolicy": restart_policy,
        "containers": [{ "name": "demo", "image": IMAGE, "ports": ports }],
    })
}

/// The spec of a workload's pods, which leaves the choice of the node open.
fn template(labels: &Value, restart_policy: &str) -> Value {
    let mut spec = pod_spec(&demo_ports(), restart_policy);
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("nodeName");
    }
    json!({ "metadata": { "labels": labels }, "spec": spec })
}

fn replica_status() -> Value {
    json!({
        "observedGeneration": 1,
        "replicas": 1,
        "fullyLabeledReplicas": 1,
        "readyReplicas": 1,
        "availableReplicas": 1,
    })
}

fn service_port(name: &str, port: u16, target: &Value) -> Value {
    json!({ "name": name, "port": port, "targetPort": target, "protocol": "TCP" })
}

#[cfg(test)]
mod tests;
