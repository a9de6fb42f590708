//! The objects against the types they are read as, and the ports that are served.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    Resource,
    api::{
        apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
        batch::v1::Job,
        core::v1::{Pod, ReplicationController, Service},
    },
    apimachinery::pkg::util::intstr::IntOrString,
    serde::de::DeserializeOwned,
};

use super::*;

fn all<K: Resource + DeserializeOwned>() -> Vec<K> {
    objects(&[])
        .into_iter()
        .filter(|o| o["kind"] == K::KIND && o["apiVersion"] == K::API_VERSION)
        .map(|o| serde_json::from_value(o).unwrap())
        .collect()
}

fn named<K: Resource + DeserializeOwned>(name: &str) -> K {
    let object = objects(&[])
        .into_iter()
        .find(|o| o["kind"] == K::KIND && o["metadata"]["name"] == name);
    serde_json::from_value(object.unwrap()).unwrap()
}

/// The running pods that have all of `labels`.
fn selected(labels: &BTreeMap<String, String>) -> Vec<String> {
    all::<Pod>()
        .into_iter()
        .filter(|pod| {
            let own = pod.metadata.labels.as_ref().unwrap();
            labels.iter().all(|(k, v)| own.get(k) == Some(v))
        })
        .map(|pod| pod.metadata.name.unwrap())
        .collect()
}

#[test]
fn every_object_is_of_its_type() {
    let counts = [
        all::<Pod>().len(),
        all::<Service>().len(),
        all::<Deployment>().len(),
        all::<ReplicaSet>().len(),
        all::<StatefulSet>().len(),
        all::<DaemonSet>().len(),
        all::<Job>().len(),
        all::<ReplicationController>().len(),
    ];
    assert_eq!(counts, [10, 4, 1, 2, 1, 1, 1, 1]);
    assert_eq!(counts.iter().sum::<usize>(), objects(&[]).len());
}

#[test]
fn nothing_is_lost_on_the_way_through_the_types() {
    // A misspelt field would deserialize all the same, and be missing here.
    fn check<K: Resource + DeserializeOwned + serde::Serialize>() {
        for object in objects(&[]).into_iter().filter(|o| o["kind"] == K::KIND) {
            let mut object = object;
            let typed: K = serde_json::from_value(object.clone()).unwrap();
            let mut back = serde_json::to_value(typed).unwrap();
            // Empty ones are not told from absent ones.
            for value in [&mut object, &mut back] {
                let labels = &mut value["metadata"]["labels"];
                if *labels == json!({}) {
                    *labels = Value::Null;
                }
            }
            assert_eq!(object, back);
        }
    }
    check::<Pod>();
    check::<Service>();
    check::<Deployment>();
    check::<ReplicaSet>();
    check::<StatefulSet>();
    check::<DaemonSet>();
    check::<Job>();
    check::<ReplicationController>();
}

#[test]
fn metadata_is_complete_and_unique() {
    let objects = objects(&[]);
    let mut uids = BTreeSet::new();
    let mut names = BTreeSet::new();
    for object in &objects {
        let metadata = &object["metadata"];
        assert_eq!(metadata["namespace"], NAMESPACE);
        assert!(uids.insert(metadata["uid"].as_str().unwrap()));
        assert_eq!(metadata["uid"].as_str().unwrap().len(), 36);
        let kind = object["kind"].as_str().unwrap();
        assert!(names.insert((kind, metadata["name"].as_str().unwrap())));
        assert!(metadata["resourceVersion"].is_string());
        assert!(metadata["creationTimestamp"].is_string());
        assert!(metadata["labels"].is_object());
    }
}

#[test]
fn every_workload_has_its_own_pod() {
    let of = |selector: Option<BTreeMap<String, String>>| selected(&selector.unwrap());
    let spec = named::<Deployment>("web").spec;
    assert_eq!(of(spec.selector.match_labels), ["web-6d5f-abcde"]);
    let spec = named::<ReplicaSet>("web-6d5f").spec;
    assert_eq!(of(spec.selector.match_labels), ["web-6d5f-abcde"]);
    let spec = named::<ReplicaSet>("web").spec;
    assert_eq!(of(spec.selector.match_labels), ["web-2r7kq"]);
    let spec = named::<StatefulSet>("web").spec;
    assert_eq!(of(spec.selector.match_labels), ["web-0"]);
    let spec = named::<DaemonSet>("web").spec;
    assert_eq!(of(spec.selector.match_labels), ["web-9mzxt"]);
    let spec = named::<Job>("web").spec.unwrap();
    let selector = spec.selector.unwrap();
    assert_eq!(of(selector.match_labels), ["web-hq4cn"]);
    let spec = named::<ReplicationController>("web").spec.unwrap();
    assert_eq!(of(spec.selector), ["web-v8b2d"]);
}

#[test]
fn pods_are_as_their_names_say() {
    for pod in all::<Pod>() {
        let name = pod.metadata.name.unwrap();
        let (spec, status) = (pod.spec.unwrap(), pod.status.unwrap());
        let (node, phase, ready) = match name.as_str() {
            "pending" => (None, "Pending", None),
            "done" => (Some(NODE), "Succeeded", Some("False")),
            _ => (Some(NODE), "Running", Some("True")),
        };
        assert_eq!(spec.node_name.as_deref(), node, "{name}");
        assert_eq!(status.phase.as_deref(), Some(phase), "{name}");
        let conditions = status.conditions.unwrap();
        let condition = conditions.iter().find(|c| c.type_ == "Ready");
        assert_eq!(condition.map(|c| c.status.as_str()), ready, "{name}");
        let owned = pod.metadata.owner_references.is_some();
        assert_eq!(owned, name.starts_with("web-"), "{name}");

        let ports = spec.containers[0].ports.as_deref().unwrap();
        if name == "udp" {
            assert_eq!(ports.len(), 1);
            assert_eq!(ports[0].protocol.as_deref(), Some("UDP"));
            assert_eq!(ports[0].name.as_deref(), Some("dns"));
            continue;
        }
        let declared: Vec<_> = ports
            .iter()
            .map(|p| (p.name.as_deref().unwrap(), p.container_port))
            .collect();
        let listened = PORTS.map(|(name, port)| (name, i32::from(port)));
        assert_eq!(declared, listened, "{name}");
    }
}

#[test]
fn services_lead_to_declared_ports() {
    for service in all::<Service>() {
        let name = service.metadata.name.unwrap();
        let spec = service.spec.unwrap();
        let pods = spec.selector.map(|selector| selected(&selector));
        match name.as_str() {
            "no-selector" => assert_eq!(pods, None),
            "empty" => assert_eq!(pods, Some(Vec::new())),
            _ => assert_eq!(pods, Some(vec!["web-6d5f-abcde".to_owned()])),
        }
        let headless = spec.cluster_ip.as_deref() == Some("None");
        assert_eq!(headless, name == "web-headless");
        for port in spec.ports.unwrap() {
            let target = match port.target_port.unwrap() {
                IntOrString::Int(number) => {
                    PORTS.iter().find(|(_, port)| i32::from(*port) == number)
                }
                IntOrString::String(target) => PORTS.iter().find(|(name, _)| *name == target),
            };
            let (_, number) = target.unwrap();
            assert!(!headless || port.port == i32::from(*number));
        }
    }
}

#[test]
fn port_names_are_valid() {
    for (name, port) in PORTS {
        assert!(name.len() <= 15 && name.bytes().all(|b| b.is_ascii_lowercase()));
        assert!(PORTS.iter().filter(|(_, other)| *other == port).count() == 1);
    }
}

#[test]
fn host_pods_are_besides() {
    let names = ["box".to_owned()];
    let all = objects(&names);
    assert_eq!(all.len(), objects(&[]).len() + 1);
    let pod: Pod = serde_json::from_value(all.last().unwrap().clone()).unwrap();
    assert_eq!(pod.metadata.name.as_deref(), Some("box"));
    let spec = pod.spec.unwrap();
    assert_eq!(spec.node_name.as_deref(), Some(NODE));
    assert_eq!(spec.containers[0].ports.as_deref().unwrap_or_default(), []);
    assert_eq!(pod.status.unwrap().phase.as_deref(), Some("Running"));
    assert!(is_demo_pod("web") && is_demo_pod("pending") && is_demo_pod("web-0"));
    assert!(!is_demo_pod("box") && !is_demo_pod("empty"));
}
