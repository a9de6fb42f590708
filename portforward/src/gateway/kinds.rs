//! The kinds of objects that are served: what a port-forward needs to look up.

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// `v1` Pod.
    Pod,
    /// `v1` Service.
    Service,
    /// `v1` ReplicationController.
    ReplicationController,
    /// `apps/v1` DaemonSet.
    DaemonSet,
    /// `apps/v1` Deployment.
    Deployment,
    /// `apps/v1` ReplicaSet.
    ReplicaSet,
    /// `apps/v1` StatefulSet.
    StatefulSet,
    /// `batch/v1` Job.
    Job,
}

/// How a kind is written.
struct Names {
    group: &'static str,
    kind: &'static str,
    resource: &'static str,
    singular: &'static str,
    short: &'static [&'static str],
}

impl Kind {
    /// All of them, in the order of discovery.
    pub const ALL: [Self; 8] = [
        Self::Pod,
        Self::ReplicationController,
        Self::Service,
        Self::DaemonSet,
        Self::Deployment,
        Self::ReplicaSet,
        Self::StatefulSet,
        Self::Job,
    ];

    const fn names(self) -> Names {
        let (group, kind, resource, singular, short): (_, _, _, _, &'static [&'static str]) =
            match self {
                Self::Pod => ("", "Pod", "pods", "pod", &["po"]),
                Self::Service => ("", "Service", "services", "service", &["svc"]),
                Self::ReplicationController => (
                    "",
                    "ReplicationController",
                    "replicationcontrollers",
                    "replicationcontroller",
                    &["rc"],
                ),
                Self::DaemonSet => ("apps", "DaemonSet", "daemonsets", "daemonset", &["ds"]),
                Self::Deployment => (
                    "apps",
                    "Deployment",
                    "deployments",
                    "deployment",
                    &["deploy"],
                ),
                Self::ReplicaSet => ("apps", "ReplicaSet", "replicasets", "replicaset", &["rs"]),
                Self::StatefulSet => (
                    "apps",
                    "StatefulSet",
                    "statefulsets",
                    "statefulset",
                    &["sts"],
                ),
                Self::Job => ("batch", "Job", "jobs", "job", &[]),
            };
        Names {
            group,
            kind,
            resource,
            singular,
            short,
        }
    }

    /// The API group, empty for the core group. The version is always `v1`.
    #[must_use]
    pub const fn group(self) -> &'static str {
        self.names().group
    }

    /// `apiVersion` of its objects.
    #[must_use]
    pub fn api_version(self) -> String {
        match self.group() {
            "" => "v1".to_owned(),
            group => format!("{group}/v1"),
        }
    }

    /// `kind` of its objects.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        self.names().kind
    }

    /// The word in paths, such as `pods`.
    #[must_use]
    pub const fn resource(self) -> &'static str {
        self.names().resource
    }

    /// The word in messages: the resource with its group, such as `deployments.apps`.
    #[must_use]
    pub fn qualified(self) -> String {
        match self.group() {
            "" => self.resource().to_owned(),
            group => format!("{}.{group}", self.resource()),
        }
    }

    pub(super) const fn singular(self) -> &'static str {
        self.names().singular
    }

    pub(super) const fn short(self) -> &'static [&'static str] {
        self.names().short
    }

    pub(super) fn of_resource(group: &str, resource: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|k| k.group() == group && k.resource() == resource)
    }

    pub(super) fn of_object(api_version: &str, kind: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|k| k.kind() == kind && k.api_version() == api_version)
    }
}
