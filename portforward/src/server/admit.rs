//! Counting who may come in (B24, B25). Everything that is counted is given back on drop.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What connections may cost before they have said what they want (B24).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcceptLimits {
    /// Connections in this phase, all together. The newest is dropped.
    pub total: usize,
    /// Connections in this phase from one address.
    pub per_source: usize,
    /// Time for the TLS handshake.
    pub time: Duration,
}

impl AcceptLimits {
    /// These limits with other numbers of connections.
    #[must_use]
    pub const fn with_connections(self, total: usize, per_source: usize) -> Self {
        Self {
            total,
            per_source,
            ..self
        }
    }

    /// These limits with another time.
    #[must_use]
    pub const fn with_time(self, time: Duration) -> Self {
        Self { time, ..self }
    }
}

impl Default for AcceptLimits {
    fn default() -> Self {
        Self {
            total: 1024,
            per_source: 512,
            time: Duration::from_secs(10),
        }
    }
}

/// Counts holders, all together and by key.
#[derive(Debug)]
pub(crate) struct Counter<K: Hash + Eq> {
    total: usize,
    per_key: usize,
    held: Mutex<Held<K>>,
}

#[derive(Debug)]
struct Held<K> {
    total: usize,
    by_key: HashMap<K, usize>,
}

/// Handshakes in progress by source address.
pub(crate) type Handshakes = Counter<IpAddr>;

impl<K: Hash + Eq + Clone> Counter<K> {
    pub(crate) fn new(total: usize, per_key: usize) -> Arc<Self> {
        Arc::new(Self {
            total,
            per_key,
            held: Mutex::new(Held {
                total: 0,
                by_key: HashMap::new(),
            }),
        })
    }

    /// One more for `key`, unless a limit is reached.
    pub(crate) fn enter(self: &Arc<Self>, key: K) -> Option<Place<K>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = held.by_key.get(&key).copied().unwrap_or(0);
        if held.total >= self.total || mine >= self.per_key {
            return None;
        }
        held.total = held.total.saturating_add(1);
        held.by_key.insert(key.clone(), mine.saturating_add(1));
        drop(held);
        Some(Place {
            counter: Arc::clone(self),
            key,
        })
    }

    /// How many are held.
    #[cfg(any(feature = "gateway", test))]
    pub(crate) fn held(&self) -> usize {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .total
    }
}

/// One place in a [`Counter`], given back on drop.
#[derive(Debug)]
#[must_use]
pub(crate) struct Place<K: Hash + Eq + Clone> {
    counter: Arc<Counter<K>>,
    key: K,
}

impl<K: Hash + Eq + Clone> Drop for Place<K> {
    fn drop(&mut self) {
        let mut held = self
            .counter
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        held.total = held.total.saturating_sub(1);
        if let Entry::Occupied(mut entry) = held.by_key.entry(self.key.clone()) {
            if *entry.get() > 1 {
                *entry.get_mut() = entry.get().saturating_sub(1);
            } else {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_and_places_come_back() {
        let counter = Counter::new(3, 2);
        let a = counter.enter("a").unwrap();
        let b = counter.enter("a").unwrap();
        assert!(counter.enter("a").is_none(), "per key");
        let c = counter.enter("b").unwrap();
        assert!(counter.enter("c").is_none(), "total");
        drop(a);
        assert_eq!(counter.held(), 2);
        let a = counter.enter("a").unwrap();
        drop((a, b, c));
        assert_eq!(counter.held(), 0);
        assert!(
            counter.held.lock().unwrap().by_key.is_empty(),
            "keys of nobody are forgotten"
        );
    }
}
