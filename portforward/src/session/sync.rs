//! Locks and atomics of what handles and driver share: the standard library's, or loom's where its models
//! are run (`--cfg pf_loom`; plain `loom` would change tokio too).

#[cfg(not(all(test, pf_loom)))]
pub(super) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicUsize},
};

#[cfg(all(test, pf_loom))]
pub(super) use ::loom::sync::{Mutex, MutexGuard};
#[cfg(all(test, pf_loom))]
pub(super) use sequential::{AtomicBool, AtomicUsize};

/// Loom takes `SeqCst` for `AcqRel`, which would be false alarms; it knows `SeqCst` fences.
#[cfg(all(test, pf_loom))]
mod sequential {
    use ::loom::sync::atomic::{self, Ordering, fence};

    #[derive(Debug)]
    pub(in crate::session) struct AtomicUsize(atomic::AtomicUsize);

    #[derive(Debug)]
    pub(in crate::session) struct AtomicBool(atomic::AtomicBool);

    fn fenced<T>(order: Ordering, operation: impl FnOnce() -> T) -> T {
        if order != Ordering::SeqCst {
            return operation();
        }
        fence(Ordering::SeqCst);
        let result = operation();
        fence(Ordering::SeqCst);
        result
    }

    impl AtomicUsize {
        pub(in crate::session) fn new(value: usize) -> Self {
            Self(atomic::AtomicUsize::new(value))
        }

        pub(in crate::session) fn load(&self, order: Ordering) -> usize {
            fenced(order, || self.0.load(order))
        }

        pub(in crate::session) fn fetch_add(&self, n: usize, order: Ordering) -> usize {
            fenced(order, || self.0.fetch_add(n, order))
        }

        pub(in crate::session) fn fetch_sub(&self, n: usize, order: Ordering) -> usize {
            fenced(order, || self.0.fetch_sub(n, order))
        }
    }

    impl AtomicBool {
        pub(in crate::session) fn new(value: bool) -> Self {
            Self(atomic::AtomicBool::new(value))
        }

        pub(in crate::session) fn load(&self, order: Ordering) -> bool {
            fenced(order, || self.0.load(order))
        }

        pub(in crate::session) fn store(&self, value: bool, order: Ordering) {
            fenced(order, || self.0.store(value, order));
        }
    }
}
