//! Paths, parsed once into typed places; what is authorised is the place, not the text (T18).

use super::kinds::Kind;

/// A place that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `/version`
    Version,
    /// `/healthz`, `/livez`, `/readyz`
    Health,
    /// `/api`
    CoreVersions,
    /// `/apis`
    Groups,
    /// `/apis/GROUP`
    Group(String),
    /// `/api/v1`, `/apis/GROUP/v1`
    Resources(String),
    /// All objects of a kind, in one namespace or everywhere.
    List {
        kind: Kind,
        namespace: Option<String>,
    },
    /// One object.
    Object {
        kind: Kind,
        namespace: String,
        name: String,
    },
    /// The forwarding of one pod.
    Forward { namespace: String, pod: String },
}

/// Why a path leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRoute {
    /// Nothing is there.
    Unknown,
    /// A namespace or name that no object can have.
    BadName,
}

impl Route {
    /// Reads a path, which the head parser has found canonical.
    pub(super) fn of(path: &str) -> Result<Self, NoRoute> {
        let parts: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
        match *parts.as_slice() {
            ["version"] => Ok(Self::Version),
            ["healthz" | "livez" | "readyz"] => Ok(Self::Health),
            ["api"] => Ok(Self::CoreVersions),
            ["apis"] => Ok(Self::Groups),
            ["apis", group] => Ok(Self::Group(known_group(group)?)),
            ["api", "v1"] => Ok(Self::Resources(String::new())),
            ["apis", group, "v1"] => Ok(Self::Resources(known_group(group)?)),
            ["api", "v1", ref rest @ ..] => Self::objects("", rest),
            ["apis", group, "v1", ref rest @ ..] => Self::objects(group, rest),
            _ => Err(NoRoute::Unknown),
        }
    }

    fn objects(group: &str, rest: &[&str]) -> Result<Self, NoRoute> {
        let kind = |resource| Kind::of_resource(group, resource).ok_or(NoRoute::Unknown);
        match *rest {
            [resource] => Ok(Self::List {
                kind: kind(resource)?,
                namespace: None,
            }),
            ["namespaces", namespace, resource] => Ok(Self::List {
                kind: kind(resource)?,
                namespace: Some(label(namespace)?),
            }),
            ["namespaces", namespace, resource, name] => Ok(Self::Object {
                kind: kind(resource)?,
                namespace: label(namespace)?,
                name: subdomain(name)?,
            }),
            ["namespaces", namespace, resource, name, "portforward"]
                if kind(resource)? == Kind::Pod =>
            {
                Ok(Self::Forward {
                    namespace: label(namespace)?,
                    pod: subdomain(name)?,
                })
            }
            _ => Err(NoRoute::Unknown),
        }
    }
}

fn known_group(group: &str) -> Result<String, NoRoute> {
    let known = !group.is_empty() && Kind::ALL.iter().any(|k| k.group() == group);
    if known {
        Ok(group.to_owned())
    } else {
        Err(NoRoute::Unknown)
    }
}

/// A DNS label: what a namespace can be called.
fn label(text: &str) -> Result<String, NoRoute> {
    if text.len() <= 63 && is_label(text) {
        Ok(text.to_owned())
    } else {
        Err(NoRoute::BadName)
    }
}

/// A DNS subdomain: what an object can be called.
fn subdomain(text: &str) -> Result<String, NoRoute> {
    if text.len() <= 253 && text.split('.').all(is_label) {
        Ok(text.to_owned())
    } else {
        Err(NoRoute::BadName)
    }
}

fn is_label(text: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    edge(text.bytes().next())
        && edge(text.bytes().next_back())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{HeadLimits, RequestHead};
    use bytes::BytesMut;

    #[test]
    fn places() {
        let pods = |namespace: Option<&str>| Route::List {
            kind: Kind::Pod,
            namespace: namespace.map(str::to_owned),
        };
        let table = [
            ("/version", Ok(Route::Version)),
            ("/readyz", Ok(Route::Health)),
            ("/api", Ok(Route::CoreVersions)),
            ("/apis", Ok(Route::Groups)),
            ("/apis/apps", Ok(Route::Group("apps".into()))),
            ("/api/v1", Ok(Route::Resources(String::new()))),
            ("/apis/batch/v1", Ok(Route::Resources("batch".into()))),
            ("/api/v1/pods", Ok(pods(None))),
            ("/api/v1/namespaces/ns/pods", Ok(pods(Some("ns")))),
            (
                "/apis/apps/v1/namespaces/ns/deployments/web",
                Ok(Route::Object {
                    kind: Kind::Deployment,
                    namespace: "ns".into(),
                    name: "web".into(),
                }),
            ),
            (
                "/api/v1/namespaces/ns/pods/a.b-0/portforward",
                Ok(Route::Forward {
                    namespace: "ns".into(),
                    pod: "a.b-0".into(),
                }),
            ),
            ("/", Err(NoRoute::Unknown)),
            ("/apis/", Err(NoRoute::Unknown)),
            ("/apis/none", Err(NoRoute::Unknown)),
            ("/apis/apps/v1beta1", Err(NoRoute::Unknown)),
            ("/api/v1/deployments", Err(NoRoute::Unknown)),
            ("/apis/apps/v1/namespaces/ns/pods", Err(NoRoute::Unknown)),
            ("/api/v1/namespaces/ns/pods/p/exec", Err(NoRoute::Unknown)),
            (
                "/api/v1/namespaces/ns/pods/p/portforward/x",
                Err(NoRoute::Unknown),
            ),
            (
                "/api/v1/namespaces/ns/services/s/portforward",
                Err(NoRoute::Unknown),
            ),
            ("/API/v1/pods", Err(NoRoute::Unknown)),
            ("/api/v1/namespaces/ns/pods/WEB", Err(NoRoute::BadName)),
            ("/api/v1/namespaces/ns./pods/web", Err(NoRoute::BadName)),
            ("/api/v1/namespaces/ns/pods/web.", Err(NoRoute::BadName)),
            ("/api/v1/namespaces/ns/pods/-web", Err(NoRoute::BadName)),
            ("/api/v1/namespaces/ns/pods/a..b", Err(NoRoute::BadName)),
            ("/api/v1/namespaces/ns/pods/a:b", Err(NoRoute::BadName)),
        ];
        for (path, expected) in table {
            assert_eq!(Route::of(path), expected, "{path}");
        }
        assert_eq!(
            Route::of(&format!("/api/v1/namespaces/{}/pods", "n".repeat(64))),
            Err(NoRoute::BadName)
        );
    }

    /// T18: no spelling but the canonical one reaches the forwarding of a pod.
    #[test]
    fn other_spellings_reach_no_pod() {
        let canonical = "/api/v1/namespaces/ns/pods/web/portforward";
        let spellings = [
            "//api/v1/namespaces/ns/pods/web/portforward",
            "/api//v1/namespaces/ns/pods/web/portforward",
            "/api/v1//namespaces/ns/pods/web/portforward",
            "/api/v1/namespaces//ns/pods/web/portforward",
            "/api/v1/namespaces/ns//pods/web/portforward",
            "/api/v1/namespaces/ns/pods//web/portforward",
            "/api/v1/namespaces/ns/pods/web//portforward",
            "/api/v1/namespaces/ns/pods/web/portforward/",
            "/api/v1/namespaces/ns/pods/web/portforward//",
            "/./api/v1/namespaces/ns/pods/web/portforward",
            "/api/./v1/namespaces/ns/pods/web/portforward",
            "/api/v1/../v1/namespaces/ns/pods/web/portforward",
            "/api/v1/namespaces/other/../ns/pods/web/portforward",
            "/api/v1/namespaces/ns/pods/web/./portforward",
            "/api/v1/namespaces/ns/pods/web/portforward/.",
            "/api/v1/namespaces/ns/pods/web/portforward/..",
            "/api/v1/namespaces/ns/pods/x/../web/portforward",
            "/%61pi/v1/namespaces/ns/pods/web/portforward",
            "/api/v1/namespaces/ns/pods%2fweb/portforward",
            "/api/v1/namespaces/ns/pods%2Fweb%2Fportforward",
            "/api/v1/namespaces/ns/pods/web%2fportforward",
            "/api/v1/namespaces/ns/pods/web/%70ortforward",
            "/api/v1/namespaces/ns/pods/%77eb/portforward",
            "/api/v1/namespaces/ns/pods/web%00/portforward",
            "/api/v1/namespaces/ns/pods/web%20/portforward",
            "/api/v1/namespaces/%2e%2e/ns/pods/web/portforward",
            "/api/v1/namespaces/ns/pods/%252e/web/portforward",
            "/api/v1/namespaces/ns/pods/web/portforward%3fx",
            "/api/v1/namespaces/ns/pods/web/portforward;x=y",
            "/api/v1;x/namespaces/ns/pods/web/portforward",
            "/api/v1/namespaces/ns/pods/web;/portforward",
            "/api\\v1\\namespaces\\ns\\pods\\web\\portforward",
            "/api/v1/namespaces/ns/pods/web./portforward",
            "/api/v1/namespaces/ns./pods/web/portforward",
            "/API/v1/namespaces/ns/pods/web/portforward",
            "/api/V1/namespaces/ns/pods/web/portforward",
            "/api/v1/Namespaces/ns/pods/web/portforward",
            "/api/v1/namespaces/ns/Pods/web/portforward",
            "/api/v1/namespaces/ns/pods/Web/portforward",
            "/api/v1/namespaces/ns/pods/web/portForward",
            "/api/v1/namespaces/ns/pods/web/PORTFORWARD",
            "/apis//v1/namespaces/ns/pods/web/portforward",
            "/apis/v1/namespaces/ns/pods/web/portforward",
            "/api/v1/namespaces/ns/pods/w\u{435}b/portforward",
            "api/v1/namespaces/ns/pods/web/portforward",
            "http://gateway/api/v1/namespaces/ns/pods/web/portforward",
        ];
        let reach = |path: &str| {
            let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\n\r\n");
            match RequestHead::parse(&mut BytesMut::from(head.as_bytes()), &HeadLimits::default()) {
                Ok(Some(head)) => Route::of(head.path()).ok(),
                _ => None,
            }
        };
        assert!(matches!(reach(canonical), Some(Route::Forward { .. })));
        assert!(spellings.len() >= 40);
        for path in spellings {
            assert_eq!(reach(path), None, "{path}");
        }
    }
}
