//! Answers of the read-only REST server.

use super::kinds::Kind;
use super::selector::Selector;
use super::store::Store;
use super::{discovery, route::Route};
use crate::http1::{RequestHead, query_pairs};
use crate::server::answer::Answer;
use crate::status::Status;
use serde_json::{Value, json};
use std::time::Duration;

/// Longest watch, whatever the client asks for, and the length of one that asks for nothing.
const WATCH_TIME: Duration = Duration::from_secs(30 * 60);

/// What a list or a watch asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) kind: Kind,
    pub(super) namespace: Option<String>,
    pub(super) selector: Selector,
    /// Present when it is a watch.
    pub(super) watch: Option<WatchQuery>,
}

/// What a watch asks for besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WatchQuery {
    /// Tell what happened behind this version; `None` to begin with all that is there.
    pub(super) from: Option<u64>,
    /// Say with a bookmark where the beginning ends.
    pub(super) mark_initial: bool,
    /// How long.
    pub(super) time: Duration,
}

impl Query {
    /// Reads the query of a list. Parameters that are not known are ignored, as the real one does.
    pub(super) fn parse(kind: Kind, namespace: Option<&str>, query: &str) -> Result<Self, Status> {
        let (mut labels, mut fields) = (String::new(), String::new());
        let (mut watch, mut initial) = (false, false);
        let (mut version, mut time) = (String::new(), WATCH_TIME);
        for pair in query_pairs(query) {
            let (name, value) = pair.ok_or_else(|| Status::bad_request("malformed query"))?;
            match name.as_str() {
                "labelSelector" => labels = value,
                "fieldSelector" => fields = value,
                "watch" => watch = is_true(&value),
                "sendInitialEvents" => initial = is_true(&value),
                "resourceVersion" => version = value,
                "timeoutSeconds" => match value.parse::<u64>() {
                    Ok(0) => {}
                    Ok(seconds) => time = Duration::from_secs(seconds).min(WATCH_TIME),
                    Err(_) => return Err(Status::bad_request("timeoutSeconds is not a number")),
                },
                _ => {}
            }
        }
        let selector = Selector::parse(kind, &labels, &fields).map_err(Status::bad_request)?;
        let from = match version.as_str() {
            "" | "0" => None,
            text => Some(
                text.parse()
                    .map_err(|_| Status::bad_request("resourceVersion is not a number"))?,
            ),
        };
        let watch = watch.then(|| WatchQuery {
            from: from.filter(|_| !initial),
            mark_initial: initial,
            time,
        });
        Ok(Self {
            kind,
            namespace: namespace.map(str::to_owned),
            selector,
            watch,
        })
    }
}

/// As Go reads a boolean parameter: present without a value is true.
fn is_true(value: &str) -> bool {
    !matches!(value, "0" | "false" | "False" | "FALSE" | "f" | "F")
}

/// Whether the client takes JSON.
pub(super) fn accepts_json(head: &RequestHead) -> bool {
    let mut any = false;
    for range in head.fields.list("accept") {
        any = true;
        let kind = range
            .split(|b| *b == b';')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        if [&b"application/json"[..], b"application/*", b"*/*"]
            .iter()
            .any(|k| kind.eq_ignore_ascii_case(k))
        {
            return true;
        }
    }
    !any
}

/// The answer to anything but a watch or a forwarding.
pub(super) fn answer(store: &Store, route: &Route, head: &RequestHead) -> Answer {
    let json = |value: &Value| Answer::json(200, value.to_string());
    match route {
        Route::Version => json(&discovery::version()),
        Route::Health => Answer::new(200, "text/plain; charset=utf-8", "ok"),
        Route::CoreVersions => json(&discovery::core_versions()),
        Route::Groups => json(&discovery::groups()),
        Route::Group(name) => json(&discovery::group(name)),
        Route::Resources(group) => json(&discovery::resources(group)),
        Route::Object {
            kind,
            namespace,
            name,
        } => match store.get(*kind, namespace, name) {
            Some(object) => json(&object),
            None => Answer::status(&Status::not_found(&kind.qualified(), name)),
        },
        Route::List { kind, namespace } => {
            match Query::parse(*kind, namespace.as_deref(), head.query()) {
                Ok(query) => json(&list(store, &query)),
                Err(status) => Answer::status(&status),
            }
        }
        Route::Forward { .. } => Answer::status(&Status::no_such_path()),
    }
}

fn list(store: &Store, query: &Query) -> Value {
    let snapshot = store.list(query.kind, query.namespace.as_deref());
    let items: Vec<&Value> = snapshot
        .objects
        .iter()
        .map(|object| &**object)
        .filter(|object| query.selector.matches(object))
        .collect();
    json!({
        "kind": format!("{}List", query.kind.kind()),
        "apiVersion": query.kind.api_version(),
        "metadata": {"resourceVersion": snapshot.version.to_string()},
        "items": items,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::Fields;

    #[test]
    fn queries() {
        let parse = |query| Query::parse(Kind::Pod, Some("ns"), query);
        let watch = |query| parse(query).unwrap().watch;
        assert_eq!(watch("limit=500"), None);
        assert_eq!(watch("watch=false&resourceVersion=7"), None);
        let all = WatchQuery {
            from: None,
            mark_initial: false,
            time: WATCH_TIME,
        };
        assert_eq!(watch("watch=true"), Some(all.clone()));
        assert_eq!(
            watch("watch=1&resourceVersion=0&timeoutSeconds=0"),
            Some(all.clone())
        );
        assert_eq!(watch("watch&timeoutSeconds=99999999"), Some(all.clone()));
        assert_eq!(
            watch("watch=true&resourceVersion=7&timeoutSeconds=5&allowWatchBookmarks=true"),
            Some(WatchQuery {
                from: Some(7),
                mark_initial: false,
                time: Duration::from_secs(5)
            })
        );
        assert_eq!(
            watch(
                "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=7"
            ),
            Some(WatchQuery {
                mark_initial: true,
                ..all
            })
        );
        for bad in [
            "a=%",
            "timeoutSeconds=x",
            "resourceVersion=-1",
            "labelSelector=%3D%3D",
            "fieldSelector=foo%3Dbar",
        ] {
            assert_eq!(parse(bad).unwrap_err().code, 400, "{bad}");
        }
    }

    #[test]
    fn json_is_what_there_is() {
        let accepts = |value: &'static str| {
            let mut fields = Fields::new();
            fields.push("Accept", value).unwrap();
            accepts_json(&RequestHead::new("GET", "/", fields))
        };
        assert!(accepts_json(&RequestHead::new("GET", "/", Fields::new())));
        assert!(accepts(
            "application/vnd.kubernetes.protobuf,application/json"
        ));
        assert!(accepts(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
        ));
        assert!(accepts("*/*") && accepts("Application/JSON ; q=1"));
        assert!(!accepts("text/html") && !accepts("application/vnd.kubernetes.protobuf"));
    }
}
