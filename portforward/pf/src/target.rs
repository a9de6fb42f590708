//! `TYPE/NAME`, as kubectl reads it.

use std::fmt;

/// What to forward to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) name: String,
}

/// The kinds that lead to a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Pod,
    Deployment,
    ReplicaSet,
    StatefulSet,
    DaemonSet,
    Job,
    ReplicationController,
    Service,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Pod,
        Self::Deployment,
        Self::ReplicaSet,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::Job,
        Self::ReplicationController,
        Self::Service,
    ];

    /// Name of the resource in the API: lower case, plural.
    pub(crate) const fn resource(self) -> &'static str {
        match self {
            Self::Pod => "pods",
            Self::Deployment => "deployments",
            Self::ReplicaSet => "replicasets",
            Self::StatefulSet => "statefulsets",
            Self::DaemonSet => "daemonsets",
            Self::Job => "jobs",
            Self::ReplicationController => "replicationcontrollers",
            Self::Service => "services",
        }
    }

    /// API group, empty for the core group.
    pub(crate) const fn group(self) -> &'static str {
        match self {
            Self::Pod | Self::ReplicationController | Self::Service => "",
            Self::Deployment | Self::ReplicaSet | Self::StatefulSet | Self::DaemonSet => "apps",
            Self::Job => "batch",
        }
    }

    const fn singular(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Deployment => "deployment",
            Self::ReplicaSet => "replicaset",
            Self::StatefulSet => "statefulset",
            Self::DaemonSet => "daemonset",
            Self::Job => "job",
            Self::ReplicationController => "replicationcontroller",
            Self::Service => "service",
        }
    }

    const fn short(self) -> Option<&'static str> {
        match self {
            Self::Pod => Some("po"),
            Self::Deployment => Some("deploy"),
            Self::ReplicaSet => Some("rs"),
            Self::StatefulSet => Some("sts"),
            Self::DaemonSet => Some("ds"),
            Self::Job => None,
            Self::ReplicationController => Some("rc"),
            Self::Service => Some("svc"),
        }
    }

    /// Plural, singular or short name in any case; plural and singular also with `.GROUP` or
    /// `.VERSION.GROUP` behind (the group of the core kinds is empty: `pods.v1.`).
    fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let (word, suffix) = match text.split_once('.') {
            Some((word, suffix)) => (word, Some(suffix)),
            None => (text.as_str(), None),
        };
        let kind = Self::ALL.into_iter().find(|kind| {
            word == kind.resource() || word == kind.singular() || Some(word) == kind.short()
        })?;
        let fits = suffix.is_none_or(|suffix| {
            suffix == kind.group() || suffix.strip_prefix("v1.") == Some(kind.group())
        });
        fits.then_some(kind)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.singular(), self.name)
    }
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split('/');
        let (first, second) = (parts.next().unwrap_or_default(), parts.next());
        if parts.next().is_some() {
            return Err(
                "arguments in resource/name form may not have more than one slash".to_owned(),
            );
        }
        let (kind, name) = match second {
            None if first.is_empty() => {
                return Err("resource name may not be empty".to_owned());
            }
            None => (Kind::Pod, first),
            Some(name) if first.is_empty() || name.is_empty() || first.contains(',') => {
                return Err(
                    "arguments in resource/name form must have a single resource and name"
                        .to_owned(),
                );
            }
            Some(name) => {
                let kind = Kind::parse(first).ok_or_else(|| {
                    let known: Vec<_> = Kind::ALL.into_iter().map(Kind::singular).collect();
                    format!(
                        "cannot forward to a resource of type {first:?}: it must be one of {}",
                        known.join(", ")
                    )
                })?;
                (kind, name)
            }
        };
        check_name("resource", name)?;
        let name = name.to_owned();
        Ok(Self { kind, name })
    }
}

impl Target {
    /// Whether a bare word was given that is a kind: most likely a missing slash.
    pub(crate) fn looks_like_kind(&self) -> bool {
        self.kind == Kind::Pod && Kind::parse(&self.name).is_some()
    }
}

/// Refuses what cannot be one segment of a request path. Names that are merely wrong are left to
/// the API server, whose answer is `not found`.
///
/// # Errors
/// The text for the user.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), String> {
    let bad = match name {
        "." | ".." => Some("may not be '.' or '..'"),
        _ if name.len() > 253 => Some("is longer than 253 characters"),
        _ => name
            .contains(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':')))
            .then_some("may hold only letters, digits, '-', '.', '_' and ':'"),
    };
    bad.map_or(Ok(()), |bad| {
        Err(format!("invalid {what} name {name:?}: it {bad}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good() {
        let table = [
            ("web", Kind::Pod, "web"),
            ("pod/web", Kind::Pod, "web"),
            ("pods/web", Kind::Pod, "web"),
            ("po/web", Kind::Pod, "web"),
            ("pods.v1./web", Kind::Pod, "web"),
            ("Pod/web", Kind::Pod, "web"),
            ("deploy/web", Kind::Deployment, "web"),
            ("deployment/web", Kind::Deployment, "web"),
            ("deployments/web", Kind::Deployment, "web"),
            ("deployment.apps/web", Kind::Deployment, "web"),
            ("deployments.apps/web", Kind::Deployment, "web"),
            ("deployments.v1.apps/web", Kind::Deployment, "web"),
            ("rs/web-1", Kind::ReplicaSet, "web-1"),
            ("replicasets/web-1", Kind::ReplicaSet, "web-1"),
            ("sts/db", Kind::StatefulSet, "db"),
            ("statefulset/db", Kind::StatefulSet, "db"),
            ("ds/log", Kind::DaemonSet, "log"),
            ("daemonsets.apps/log", Kind::DaemonSet, "log"),
            ("job/once", Kind::Job, "once"),
            ("jobs.batch/once", Kind::Job, "once"),
            ("rc/old", Kind::ReplicationController, "old"),
            (
                "replicationcontrollers/old",
                Kind::ReplicationController,
                "old",
            ),
            ("svc/web", Kind::Service, "web"),
            ("service/web", Kind::Service, "web"),
            ("services/web.v2", Kind::Service, "web.v2"),
        ];
        for (text, kind, name) in table {
            let name = name.to_owned();
            assert_eq!(text.parse(), Ok(Target { kind, name }), "{text}");
        }
    }

    #[test]
    fn bad() {
        let table = [
            ("", "may not be empty"),
            ("a/b/c", "more than one slash"),
            ("pod/", "single resource and name"),
            ("/web", "single resource and name"),
            ("pod,svc/web", "single resource and name"),
            (
                "configmap/web",
                "cannot forward to a resource of type \"configmap\"",
            ),
            ("deployment.batch/web", "cannot forward"),
            ("pod.v1beta1./web", "cannot forward"),
            ("pod/..", "may not be '.' or '..'"),
            ("pod/a%2fb", "may hold only"),
            ("pod/a?b", "may hold only"),
            ("we b", "may hold only"),
            ("pod/\u{1b}[2J", "may hold only"),
        ];
        for (text, part) in table {
            let error = text.parse::<Target>().unwrap_err();
            assert!(error.contains(part), "{text:?}: {error}");
        }
        assert!("a".repeat(254).parse::<Target>().is_err());
    }

    #[test]
    fn shown_with_its_kind() {
        assert_eq!(
            "svc/web".parse::<Target>().unwrap().to_string(),
            "service/web"
        );
    }

    #[test]
    fn missing_slash() {
        assert!("svc".parse::<Target>().unwrap().looks_like_kind());
        assert!(!"pod/web".parse::<Target>().unwrap().looks_like_kind());
    }
}
