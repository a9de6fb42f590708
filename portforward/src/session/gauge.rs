//! What the sessions of this thread hold, for the simulator: their queues are private otherwise.

use super::shared::Shared;
use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

thread_local! {
    static SESSIONS: RefCell<Vec<Gauge>> = const { RefCell::new(Vec::new()) };
}

/// The counters of one session, which it does not keep alive.
#[derive(Clone, Debug)]
pub(crate) struct Gauge(Weak<Shared>);

impl Gauge {
    /// Charged bytes received and unread, and queued for sending; `None` once nothing of the session is
    /// left.
    pub(crate) fn read(&self) -> Option<(usize, usize)> {
        let shared = self.0.upgrade()?;
        let load = |counter: &std::sync::atomic::AtomicUsize| counter.load(Ordering::SeqCst);
        Some((load(&shared.received_bytes), load(&shared.sending_bytes)))
    }
}

pub(super) fn note(shared: &Arc<Shared>) {
    SESSIONS.with_borrow_mut(|all| {
        // Plain tests never ask.
        all.retain(|gauge| gauge.0.strong_count() > 0);
        all.push(Gauge(Arc::downgrade(shared)));
    });
}

/// The most that a session of this thread holds: unread, and to be sent.
pub(crate) fn peak() -> (usize, usize) {
    SESSIONS.with_borrow(|all| {
        let held = all.iter().filter_map(Gauge::read);
        held.fold((0, 0), |(a, b), (received, sending)| {
            (a.max(received), b.max(sending))
        })
    })
}

/// The sessions that have been started on this thread since the last call, and may be over.
pub(crate) fn take() -> Vec<Gauge> {
    SESSIONS.take()
}
