//! The objects that are served, and what happened to them lately.

use super::kinds::Kind;
use crate::http1::date;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::sync::watch;

/// Changes that are remembered; a watch that lags further behind must start anew.
const REMEMBERED: usize = 1024;

/// Why an object is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// `apiVersion` and `kind` name nothing that is served here.
    #[error("not a kind that is served here: {0}")]
    Kind(String),
    /// Not an object with `metadata`, `name` and `namespace`.
    #[error("no metadata.{0}")]
    Metadata(&'static str),
}

/// A set of Kubernetes objects, as JSON.
#[derive(Debug)]
pub struct Store {
    inner: Mutex<Inner>,
    version: watch::Sender<u64>,
}

/// Kind, namespace, name.
type Key = (Kind, String, String);

#[derive(Debug, Default)]
struct Inner {
    version: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    changes: VecDeque<Change>,
}

/// One change of one object.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) kind: Kind,
    pub(super) namespace: String,
    /// The object before, unless it is new.
    pub(super) before: Option<Arc<Value>>,
    /// The object after; a deleted one with the version of its deletion.
    pub(super) after: Arc<Value>,
    pub(super) deleted: bool,
}

/// Objects at one version.
pub(super) struct Snapshot {
    pub(super) version: u64,
    pub(super) objects: Vec<Arc<Value>>,
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// No objects.
    #[must_use]
    pub fn new() -> Self {
        // Version 0 means "any" in requests, so the first is 1.
        let inner = Inner {
            version: 1,
            ..Inner::default()
        };
        Self {
            inner: Mutex::new(inner),
            version: watch::Sender::new(1),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whoever panicked with the lock held left consistent data: every change is one statement.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an object in, or in the place of one of the same name. Sets its `resourceVersion`, and
    /// `creationTimestamp` and `uid` where they are missing.
    ///
    /// # Errors
    /// The object is of no kind that is served, or has no name.
    pub fn put(&self, mut object: Value) -> Result<(), StoreError> {
        let text = |object: &Value, pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let api_version = text(&object, "/apiVersion").unwrap_or_default();
        let word = text(&object, "/kind").unwrap_or_default();
        let kind = Kind::of_object(&api_version, &word).ok_or_else(|| {
            StoreError::Kind(crate::escape::line(&format!("{api_version} {word}")))
        })?;
        let name = text(&object, "/metadata/name").ok_or(StoreError::Metadata("name"))?;
        let namespace =
            text(&object, "/metadata/namespace").ok_or(StoreError::Metadata("namespace"))?;
        let key = (kind, namespace.clone(), name);

        let mut inner = self.lock();
        let version = inner.version.saturating_add(1);
        let before = inner.objects.get(&key).cloned();
        let metadata = object
            .pointer_mut("/metadata")
            .and_then(Value::as_object_mut)
            .ok_or(StoreError::Metadata("name"))?;
        stamp(metadata, version, before.as_deref());
        let after = Arc::new(object);
        inner.objects.insert(key, Arc::clone(&after));
        inner.push(Change {
            version,
            kind,
            namespace,
            before,
            after,
            deleted: false,
        });
        drop(inner);
        self.version.send_replace(version);
        Ok(())
    }

    /// Takes an object out; whether there was one.
    pub fn delete(&self, kind: Kind, namespace: &str, name: &str) -> bool {
        let mut inner = self.lock();
        let Some(before) = inner
            .objects
            .remove(&(kind, namespace.to_owned(), name.to_owned()))
        else {
            return false;
        };
        let version = inner.version.saturating_add(1);
        let mut last = Value::clone(&before);
        if let Some(metadata) = last.pointer_mut("/metadata").and_then(Value::as_object_mut) {
            metadata.insert("resourceVersion".to_owned(), json!(version.to_string()));
        }
        let (namespace, after) = (namespace.to_owned(), Arc::new(last));
        inner.push(Change {
            version,
            kind,
            namespace,
            before: Some(before),
            after,
            deleted: true,
        });
        drop(inner);
        self.version.send_replace(version);
        true
    }

    /// One object.
    #[must_use]
    pub fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.lock()
            .objects
            .get(&(kind, namespace.to_owned(), name.to_owned()))
            .cloned()
    }

    /// All objects of a kind, sorted by namespace and name.
    pub(super) fn list(&self, kind: Kind, namespace: Option<&str>) -> Snapshot {
        let inner = self.lock();
        let objects = inner
            .objects
            .iter()
            .filter(|((k, ns, _), _)| *k == kind && namespace.is_none_or(|wanted| wanted == ns))
            .map(|(_, object)| Arc::clone(object))
            .collect();
        Snapshot {
            version: inner.version,
            objects,
        }
    }

    /// The changes of a kind behind `version`, and the newest version; the oldest one from which
    /// that can be told as the error.
    pub(super) fn changes(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        version: u64,
    ) -> Result<(Vec<Change>, u64), u64> {
        let inner = self.lock();
        let oldest = inner
            .changes
            .front()
            .map_or(inner.version, |c| c.version.saturating_sub(1));
        // Also of a version that is yet to come: it was another store's.
        if version < oldest || version > inner.version {
            return Err(oldest);
        }
        let changes = inner
            .changes
            .iter()
            .filter(|c| {
                c.version > version
                    && c.kind == kind
                    && namespace.is_none_or(|wanted| wanted == c.namespace)
            })
            .cloned()
            .collect();
        Ok((changes, inner.version))
    }

    /// Tells of new versions.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}

impl Inner {
    fn push(&mut self, change: Change) {
        self.version = change.version;
        if self.changes.len() >= REMEMBERED {
            self.changes.pop_front();
        }
        self.changes.push_back(change);
    }
}

/// Version, creation time and uid; the latter two outlive a replacement.
fn stamp(metadata: &mut Map<String, Value>, version: u64, before: Option<&Value>) {
    metadata.insert("resourceVersion".to_owned(), json!(version.to_string()));
    for (name, fresh) in [
        (
            "creationTimestamp",
            (|| date::rfc3339(SystemTime::now())) as fn() -> String,
        ),
        ("uid", random_uid as fn() -> String),
    ] {
        if metadata
            .get(name)
            .and_then(Value::as_str)
            .is_none_or(str::is_empty)
        {
            let old = before
                .and_then(|b| b.pointer("/metadata"))
                .and_then(|m| m.get(name))
                .cloned();
            metadata.insert(name.to_owned(), old.unwrap_or_else(|| json!(fresh())));
        }
    }
}

/// A version 4 UUID. Falls back to zeros if the system has no randomness: it names, it guards
/// nothing.
fn random_uid() -> String {
    let mut bytes = [0u8; 16];
    drop(
        rustls::crypto::ring::default_provider()
            .secure_random
            .fill(&mut bytes),
    );
    let number = u128::from_be_bytes(bytes);
    let number = number & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{number:032x}");
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    format!(
        "{}-{}-{}-{}-{}",
        part(0..8),
        part(8..12),
        part(12..16),
        part(16..20),
        part(20..32)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, label: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "ns", "labels": {"app": label}}})
    }

    #[test]
    fn objects_get_versions_that_grow() {
        let store = Store::new();
        store.put(pod("a", "x")).unwrap();
        store.put(pod("b", "x")).unwrap();
        let first = store.get(Kind::Pod, "ns", "a").unwrap();
        store.put(pod("a", "y")).unwrap();
        let second = store.get(Kind::Pod, "ns", "a").unwrap();
        for name in ["uid", "creationTimestamp"] {
            assert_eq!(first["metadata"][name], second["metadata"][name], "{name}");
        }
        assert_eq!(
            (
                &first["metadata"]["resourceVersion"],
                &second["metadata"]["resourceVersion"]
            ),
            (&json!("2"), &json!("4"))
        );
        let list = store.list(Kind::Pod, Some("ns"));
        assert_eq!((list.version, list.objects.len()), (4, 2));
        assert!(store.list(Kind::Pod, Some("other")).objects.is_empty());
        assert!(store.list(Kind::Service, None).objects.is_empty());

        assert!(store.delete(Kind::Pod, "ns", "a"));
        assert!(!store.delete(Kind::Pod, "ns", "a"));
        let (changes, version) = store.changes(Kind::Pod, None, 3).unwrap();
        assert_eq!((changes.len(), version), (2, 5));
        assert!(changes[1].deleted && changes[1].after["metadata"]["resourceVersion"] == "5");
    }

    #[test]
    fn what_is_no_object_of_ours_stays_out() {
        let store = Store::new();
        let put = |value| store.put(value).unwrap_err().to_string();
        assert_eq!(
            put(json!({"apiVersion": "v1", "kind": "Secret"})),
            "not a kind that is served here: v1 Secret"
        );
        assert_eq!(put(json!(7)), "not a kind that is served here:  ");
        assert_eq!(
            put(json!({"apiVersion": "v1", "kind": "Pod"})),
            "no metadata.name"
        );
        assert_eq!(
            put(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}})),
            "no metadata.namespace"
        );
    }

    #[test]
    fn what_is_forgotten_is_said_so() {
        let store = Store::new();
        assert!(store.changes(Kind::Pod, None, 1).is_ok());
        for _ in 0..=REMEMBERED {
            store.put(pod("a", "x")).unwrap();
        }
        assert_eq!(store.changes(Kind::Pod, None, 1).unwrap_err(), 2);
        assert_eq!(
            store.changes(Kind::Pod, None, 2).unwrap().0.len(),
            REMEMBERED
        );
    }

    #[test]
    fn uids_look_like_uids() {
        let (a, b) = (random_uid(), random_uid());
        assert_ne!(a, b);
        assert_eq!((a.len(), &a[14..15], a.matches('-').count()), (36, "4", 4));
        assert!(matches!(&a[19..20], "8" | "9" | "a" | "b"));
    }
}
