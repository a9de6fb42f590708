//! `--profile`: as what a target is judged.

use crate::case::{Case, Role, Way};
use std::fmt;
use std::str::FromStr;

/// Oldest minor version that the specification looks at.
const OLDEST: u16 = 29;

/// As what a target is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// This minor version of Kubernetes.
    Kubernetes(u16),
    /// A runtime's streaming server, whatever stands before it. API server and kubelet pass its bytes on; its version
    /// is that of the runtime and not of the cluster.
    Runtime,
}

impl Profile {
    /// The minor version that is to be judged by, if the profile says it.
    #[must_use]
    pub fn minor(self) -> Option<u16> {
        match self {
            Self::Kubernetes(minor) => Some(minor),
            Self::Runtime => None,
        }
    }

    /// The version by which cases are chosen for a target of this kind and version.
    #[must_use]
    pub fn judged_by(self, role: Role, minor: Option<u16>) -> Option<u16> {
        match self {
            Self::Kubernetes(minor) => Some(minor),
            Self::Runtime if role == Role::Runtime => minor,
            // That of the API server or the kubelet says nothing of the runtime behind it.
            Self::Runtime => None,
        }
    }

    /// Why it leaves a case out that a target of this kind is asked else.
    #[must_use]
    pub fn leaves_out(self, case: &Case, way: Way, role: Role) -> Option<&'static str> {
        if self != Self::Runtime {
            return None;
        }
        // In a request, and in a tunnel, it is the server in front that answers.
        let of_the_front = matches!(way, Way::Http | Way::Tunnel) && role != Role::Runtime;
        let ours = case.roles.contains(&Role::Runtime) && !of_the_front;
        (!ours).then_some("not answered by a runtime's streaming server")
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "runtime" {
            return Ok(Self::Runtime);
        }
        let minor = text.strip_prefix("k8s-1.");
        match minor.and_then(|minor| minor.parse().ok()) {
            Some(minor) if (OLDEST..100).contains(&minor) => Ok(Self::Kubernetes(minor)),
            _ => Err(format!(
                "a version from k8s-1.{OLDEST} on, such as k8s-1.36, or runtime"
            )),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kubernetes(minor) => write!(f, "k8s-1.{minor}"),
            Self::Runtime => f.write_str("runtime"),
        }
    }
}

/// The minor version of Kubernetes whose streaming server a runtime has, by name and version as its CRI gives them
/// (`conformance/spec/01-terms-and-roles.md`). `None` where that is not known.
#[must_use]
pub fn streaming_server(runtime: &str, version: &str) -> Option<u16> {
    let mut numbers = version.trim_start_matches('v').split(['.', '-', '+']);
    let mut number = || numbers.next()?.parse::<u16>().ok();
    let (major, minor) = (number()?, number()?);
    match (runtime, major, minor) {
        ("containerd", 1, _) => Some(29),
        ("containerd", 2, 0) => Some(31),
        ("containerd", 2, 1 | 2) => Some(32),
        ("containerd", 2, 4) => Some(37),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in [
            "k8s-1.29", "k8s-1.30", "k8s-1.31", "k8s-1.35", "k8s-1.36", "k8s-1.38", "runtime",
        ] {
            let profile: Profile = name.parse().unwrap();
            assert_eq!(profile.to_string(), name);
        }
        for bad in ["1.36", "k8s-1.", "k8s-1.28", "k8s-2.36", "Runtime", ""] {
            assert!(bad.parse::<Profile>().is_err(), "{bad}");
        }
    }

    #[test]
    fn runtimes() {
        for (name, version, minor) in [
            ("containerd", "v2.0.4", Some(31)),
            ("containerd", "2.2.0-rc.1", Some(32)),
            ("containerd", "v2.4.2", Some(37)),
            ("containerd", "v1.7.27", Some(29)),
            ("containerd", "", None),
            ("cri-o", "1.31.1", None),
            ("docker", "2.4.2", None),
        ] {
            assert_eq!(streaming_server(name, version), minor, "{name} {version}");
        }
    }

    #[test]
    fn what_is_left_out() {
        let catalogue = crate::catalogue::all();
        let find = |id| catalogue.iter().find(|case| case.id == id).unwrap();
        let (joined, missing) = (find("spdy/frame/joined"), find("http/negotiation/missing"));
        for (case, way, role, left_out) in [
            (joined, Way::Spdy, Role::Gateway, false),
            (joined, Way::Tunnel, Role::Gateway, true),
            (missing, Way::Http, Role::Node, true),
            (missing, Way::Http, Role::Runtime, false),
            (
                find("authz/post-needs-create"),
                Way::Http,
                Role::Gateway,
                true,
            ),
        ] {
            let reason = Profile::Runtime.leaves_out(case, way, role);
            assert_eq!(reason.is_some(), left_out, "{} {way:?} {role:?}", case.id);
            assert_eq!(Profile::Kubernetes(36).leaves_out(case, way, role), None);
        }
        assert_eq!(Profile::Runtime.judged_by(Role::Gateway, Some(37)), None);
        assert_eq!(
            Profile::Runtime.judged_by(Role::Runtime, Some(31)),
            Some(31)
        );
        assert_eq!(
            Profile::Kubernetes(30).judged_by(Role::Gateway, Some(37)),
            Some(30)
        );
    }
}
