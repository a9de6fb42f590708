//! What the services have seen: `/stats` at the pods' port 8081.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::json;

/// Of all demo pods together.
#[derive(Debug, Default)]
pub(super) struct Counts {
    connections: Mutex<Connections>,
    sunk: AtomicU64,
}

#[derive(Debug, Default)]
struct Connections {
    open: BTreeMap<&'static str, u64>,
    total: BTreeMap<&'static str, u64>,
}

/// A connection that counts as open until this is dropped.
pub(super) struct Open<'a>(&'a Counts, &'static str);

impl Counts {
    /// Counts a connection to a service.
    pub(super) fn opened(&self, service: &'static str) -> Open<'_> {
        self.connections(|seen| {
            for counts in [&mut seen.open, &mut seen.total] {
                let count = counts.entry(service).or_default();
                *count = count.saturating_add(1);
            }
        });
        Open(self, service)
    }

    /// Counts what `sink` has read.
    pub(super) fn sunk(&self, bytes: usize) {
        self.sunk.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The answer, with the names of the test image's.
    pub(super) fn json(&self) -> String {
        let sunk = self.sunk.load(Ordering::Relaxed);
        self.connections(|seen| {
            let told = json!({ "open": seen.open, "total": seen.total, "sunk": sunk });
            format!("{told}\n")
        })
    }

    fn connections<T>(&self, of: impl FnOnce(&mut Connections) -> T) -> T {
        of(&mut self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.connections(|seen| {
            if let Some(count) = seen.open.get_mut(self.1) {
                *count = count.saturating_sub(1);
            }
        });
    }
}
