//! From the ports that were asked for to port numbers of the pod: names, service ports,
//! `targetPort` (PROTOCOL.md 6.1).

use k8s_openapi::api::core::v1::{Container, ContainerPort, Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use portforward::ports::{LocalPort, PortSpec, RemotePort};
use std::fmt;
use std::num::NonZeroU16;

/// One forward with nothing left to look up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forward {
    /// Where to listen; `None` is any free port.
    pub(crate) local: Option<NonZeroU16>,
    /// Port of the pod.
    pub(crate) remote: NonZeroU16,
}

/// Why the target has no such port. `Display` is kubectl's wording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PortMapError {
    PodName {
        pod: String,
        port: String,
    },
    ServiceName {
        service: String,
        port: String,
    },
    ServiceNumber {
        service: String,
        port: NonZeroU16,
    },
    Udp(String),
    /// The API server holds a number that is no port.
    NoPort {
        owner: String,
        number: i32,
    },
}

impl fmt::Display for PortMapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PodName { pod, port } => {
                write!(f, "Pod '{pod}' does not have a named port '{port}'")
            }
            Self::ServiceName { service, port } => {
                write!(f, "Service '{service}' does not have a named port '{port}'")
            }
            Self::ServiceNumber { service, port } => {
                write!(f, "Service {service} does not have a service port {port}")
            }
            Self::Udp(port) => write!(f, "UDP protocol is not supported for {port}"),
            Self::NoPort { owner, number } => {
                write!(f, "{owner} declares port {number}, which is no port number")
            }
        }
    }
}

/// Maps ports of a pod.
pub(crate) fn of_pod(specs: &[PortSpec], pod: &Pod) -> Result<Vec<Forward>, PortMapError> {
    let numbers = specs
        .iter()
        .map(|spec| match &spec.remote {
            RemotePort::Number(number) => Ok(*number),
            RemotePort::Name(port) => container_port(pod, port),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let declared = containers(pod)
        .flat_map(ports_of)
        .map(|port| (port.container_port, port.protocol.as_deref()));
    refuse_udp(specs, &numbers, &declared)?;
    let forwards = specs.iter().zip(numbers);
    Ok(forwards
        .map(|(spec, number)| forward(spec, number, number))
        .collect())
}

/// Maps ports of a service to those of the pod that was chosen for it.
pub(crate) fn of_service(
    specs: &[PortSpec],
    service: &Service,
    pod: &Pod,
) -> Result<Vec<Forward>, PortMapError> {
    let numbers = specs
        .iter()
        .map(|spec| match &spec.remote {
            RemotePort::Number(number) => Ok(*number),
            RemotePort::Name(port) => service_port(service, port),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let declared = service_ports(service).map(|port| (port.port, port.protocol.as_deref()));
    refuse_udp(specs, &numbers, &declared)?;
    specs
        .iter()
        .zip(numbers)
        .map(|(spec, number)| Ok(forward(spec, number, target_port(service, pod, number)?)))
        .collect()
}

/// What could have been asked for, as `80 (http), 9090`: of the service, or else of the pod.
pub(crate) fn names(service: Option<&Service>, pod: &Pod) -> String {
    let of_service = service.into_iter().flat_map(service_ports);
    let of_service = of_service.map(|port| (port.port, port.name.as_deref()));
    let of_pod = containers(pod)
        .filter(|_| service.is_none())
        .flat_map(ports_of);
    let of_pod = of_pod.map(|port| (port.container_port, port.name.as_deref()));
    let names: Vec<String> = of_service
        .chain(of_pod)
        .map(|(number, name)| match name {
            Some(name) => format!("{number} ({name})"),
            None => number.to_string(),
        })
        .collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// `named` is the number that the name in `spec` stands for on the object itself.
const fn forward(spec: &PortSpec, named: NonZeroU16, remote: NonZeroU16) -> Forward {
    let local = match spec.local {
        LocalPort::Fixed(port) => Some(port),
        LocalPort::Free => None,
        LocalPort::OfName => Some(named),
    };
    Forward { local, remote }
}

/// A port declared for UDP and not for TCP as well. Undeclared ports pass.
fn refuse_udp<'a>(
    specs: &[PortSpec],
    numbers: &[NonZeroU16],
    declared: &(impl Iterator<Item = (i32, Option<&'a str>)> + Clone),
) -> Result<(), PortMapError> {
    for (spec, number) in specs.iter().zip(numbers) {
        let is = |protocol| {
            // A missing protocol is TCP; the API server fills it in.
            declared
                .clone()
                .any(|(port, p)| port == i32::from(number.get()) && p.unwrap_or("TCP") == protocol)
        };
        if is("UDP") && !is("TCP") {
            return Err(PortMapError::Udp(spec.remote.to_string()));
        }
    }
    Ok(())
}

fn target_port(
    service: &Service,
    pod: &Pod,
    number: NonZeroU16,
) -> Result<NonZeroU16, PortMapError> {
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let port = service_ports(service)
        .find(|port| port.port == i32::from(number.get()))
        .ok_or_else(|| PortMapError::ServiceNumber {
            service: name.to_owned(),
            port: number,
        })?;
    let headless = service
        .spec
        .as_ref()
        .is_some_and(|spec| spec.cluster_ip.as_deref() == Some("None"));
    match &port.target_port {
        _ if headless => Ok(number),
        None | Some(IntOrString::Int(0)) => Ok(number),
        Some(IntOrString::Int(target)) => checked(*target, || format!("Service {name}")),
        Some(IntOrString::String(target)) => container_port(pod, target),
    }
}

fn service_port(service: &Service, port: &str) -> Result<NonZeroU16, PortMapError> {
    let name = service.metadata.name.as_deref().unwrap_or_default();
    service_ports(service)
        .find(|declared| declared.name.as_deref() == Some(port))
        .ok_or_else(|| PortMapError::ServiceName {
            service: name.to_owned(),
            port: port.to_owned(),
        })
        .and_then(|declared| checked(declared.port, || format!("Service {name}")))
}

/// Ordinary containers before init containers.
fn container_port(pod: &Pod, port: &str) -> Result<NonZeroU16, PortMapError> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let init = pod
        .spec
        .iter()
        .flat_map(|spec| spec.init_containers.iter().flatten());
    containers(pod)
        .chain(init)
        .flat_map(ports_of)
        .find(|declared| declared.name.as_deref() == Some(port))
        .ok_or_else(|| PortMapError::PodName {
            pod: name.to_owned(),
            port: port.to_owned(),
        })
        .and_then(|declared| checked(declared.container_port, || format!("Pod {name}")))
}

fn checked(number: i32, owner: impl FnOnce() -> String) -> Result<NonZeroU16, PortMapError> {
    u16::try_from(number)
        .ok()
        .and_then(NonZeroU16::new)
        .ok_or_else(|| PortMapError::NoPort {
            owner: owner(),
            number,
        })
}

fn containers(pod: &Pod) -> impl Iterator<Item = &Container> + Clone {
    pod.spec.iter().flat_map(|spec| &spec.containers)
}

fn ports_of(container: &Container) -> impl Iterator<Item = &ContainerPort> + Clone {
    container.ports.iter().flatten()
}

fn service_ports(service: &Service) -> impl Iterator<Item = &ServicePort> + Clone {
    service
        .spec
        .iter()
        .flat_map(|spec| spec.ports.iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p"},
            "spec": {
                "containers": [
                    {"name": "a", "ports": [
                        {"name": "http", "containerPort": 8080, "protocol": "TCP"},
                        {"name": "dns", "containerPort": 53, "protocol": "UDP"},
                        {"name": "both-udp", "containerPort": 54, "protocol": "UDP"},
                    ]},
                    {"name": "b", "ports": [
                        {"name": "both-tcp", "containerPort": 54, "protocol": "TCP"},
                        {"name": "http", "containerPort": 9999},
                        {"name": "odd", "containerPort": 70000},
                    ]},
                ],
                "initContainers": [{"name": "i", "ports": [
                    {"name": "http", "containerPort": 1}, {"name": "init", "containerPort": 2},
                ]}],
            },
        }))
        .unwrap()
    }

    fn service(cluster_ip: &str) -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": "s"},
            "spec": {"clusterIP": cluster_ip, "ports": [
                {"name": "number", "port": 80, "targetPort": 8081, "protocol": "TCP"},
                {"name": "named", "port": 81, "targetPort": "http"},
                {"name": "zero", "port": 82, "targetPort": 0},
                {"name": "same", "port": 83},
                {"name": "udp", "port": 53, "targetPort": 53, "protocol": "UDP"},
                {"name": "two-udp", "port": 84, "targetPort": 1084, "protocol": "UDP"},
                {"name": "two-tcp", "port": 84, "targetPort": 1085, "protocol": "TCP"},
                {"name": "gone", "port": 85, "targetPort": "nowhere"},
                {"name": "odd", "port": 86, "targetPort": 70000},
            ]},
        }))
        .unwrap()
    }

    type Outcome = Result<(u16, u16), &'static str>;

    fn check(
        table: &[(&str, Outcome)],
        map: impl Fn(&[PortSpec]) -> Result<Vec<Forward>, PortMapError>,
    ) {
        for (form, expected) in table {
            let got = map(&[form.parse().unwrap()])
                .map(|forwards| {
                    let [one] = forwards[..] else {
                        panic!("{form}: {forwards:?}")
                    };
                    (one.local.map_or(0, NonZeroU16::get), one.remote.get())
                })
                .map_err(|e| e.to_string());
            assert_eq!(got, expected.map_err(str::to_owned), "{form}");
        }
    }

    #[test]
    fn pods() {
        let table: &[(&str, Outcome)] = &[
            ("5000", Ok((5000, 5000))),
            ("8888:5000", Ok((8888, 5000))),
            (":5000", Ok((0, 5000))),
            ("http", Ok((8080, 8080))),
            ("80:http", Ok((80, 8080))),
            (":http", Ok((0, 8080))),
            ("init", Ok((2, 2))),
            ("both-udp", Ok((54, 54))),
            ("54", Ok((54, 54))),
            ("53", Err("UDP protocol is not supported for 53")),
            ("9053:dns", Err("UDP protocol is not supported for dns")),
            ("gone", Err("Pod 'p' does not have a named port 'gone'")),
            ("80:HTTP", Err("Pod 'p' does not have a named port 'HTTP'")),
            (
                "odd",
                Err("Pod p declares port 70000, which is no port number"),
            ),
        ];
        check(table, |specs| of_pod(specs, &pod()));
    }

    #[test]
    fn services() {
        let table: &[(&str, Outcome)] = &[
            ("80", Ok((80, 8081))),
            ("8888:80", Ok((8888, 8081))),
            (":80", Ok((0, 8081))),
            ("number", Ok((80, 8081))),
            ("81", Ok((81, 8080))),
            ("named", Ok((81, 8080))),
            ("1:named", Ok((1, 8080))),
            ("82", Ok((82, 82))),
            ("same", Ok((83, 83))),
            // The first entry with the number counts, whatever its protocol.
            ("84", Ok((84, 1084))),
            ("two-tcp", Ok((84, 1084))),
            ("53", Err("UDP protocol is not supported for 53")),
            ("udp", Err("UDP protocol is not supported for udp")),
            ("8080", Err("Service s does not have a service port 8080")),
            ("http", Err("Service 's' does not have a named port 'http'")),
            ("gone", Err("Pod 'p' does not have a named port 'nowhere'")),
            (
                "odd",
                Err("Service s declares port 70000, which is no port number"),
            ),
        ];
        check(table, |specs| {
            of_service(specs, &service("10.0.0.1"), &pod())
        });
    }

    /// No load balancing, no mapping: the number is the pod's own.
    #[test]
    fn headless_services() {
        let table: &[(&str, Outcome)] = &[
            ("80", Ok((80, 80))),
            ("named", Ok((81, 81))),
            ("gone", Ok((85, 85))),
            ("8080", Err("Service s does not have a service port 8080")),
        ];
        check(table, |specs| of_service(specs, &service("None"), &pod()));
    }

    #[test]
    fn names_for_messages() {
        assert!(names(None, &pod()).starts_with("8080 (http), 53 (dns)"));
        assert!(names(Some(&service("None")), &pod()).starts_with("80 (number), 81 (named)"));
        assert_eq!(names(None, &Pod::default()), "none");
    }

    #[test]
    fn all_or_nothing() {
        let specs = ["80".parse().unwrap(), "nope".parse().unwrap()];
        assert!(of_pod(&specs, &pod()).is_err());
    }
}
