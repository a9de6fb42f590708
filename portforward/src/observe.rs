//! Watching what a gateway and a node do, hop by hop and with times: for explaining a forward, and
//! for tests. Without an observer nothing is built, timed or called.
//!
//! No event carries a credential or payload.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Takes events, on the task that the event happened on: it must be quick and must not block.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn seen(&self, seen: Seen);
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// When.
    pub at: Instant,
    /// Who did it.
    pub place: Place,
    /// One number for each connection (gateway, front) or forwarded connection (session).
    pub connection: u64,
    /// What it was.
    pub event: Event,
}

/// A part of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Place {
    /// The API server's.
    Gateway,
    /// The kubelet's: the node's HTTP front.
    Front,
    /// The runtime's: the node's end of the session.
    Session,
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Way {
    /// From the client to the pod.
    ToPod,
    /// From the pod to the client.
    ToClient,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The head of a request is there.
    Request {
        /// Its method.
        method: String,
        /// Its path, without a query.
        path: String,
    },
    /// The gateway knows who asks.
    Authenticated {
        /// The name of the user.
        user: String,
    },
    /// The gateway allows it.
    Authorised,
    /// This place itself answers with a refusal.
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// The gateway begins to dial the node; the session, the pod.
    Dialling,
    /// It has reached it, TLS included.
    Dialled,
    /// It has not.
    DialFailed {
        /// Why. Not escaped.
        cause: String,
    },
    /// The gateway has the node's answer; the front gives its own.
    Answered {
        /// The HTTP status.
        status: u16,
    },
    /// Both streams of a forwarded connection are there.
    Paired {
        /// Port of the pod.
        port: u16,
    },
    /// The first bytes behind the upgrade, or of the forwarded connection.
    FirstBytes {
        /// Where they go.
        way: Way,
    },
    /// End of file from the side that sends this way; it has been passed on.
    EndOfFile {
        /// Which way it goes.
        way: Way,
    },
    /// The other side will not be heard again: the connection behind this place is over.
    Ended {
        /// Bytes carried from the client to the pod.
        to_pod: u64,
        /// Bytes carried from the pod to the client.
        to_client: u64,
        /// What failed, in this place's words; not escaped. `None` for an end in order.
        failure: Option<String>,
    },
}

/// What a place has in its hands: perhaps an observer, and which connection it is at.
#[derive(Clone)]
pub(crate) struct Watch {
    observer: Option<Arc<dyn Observer>>,
    place: Place,
    connection: u64,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}

impl Watch {
    /// A new connection.
    pub(crate) fn new(observer: Option<&Arc<dyn Observer>>, place: Place) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            observer: observer.cloned(),
            place,
            connection: match observer {
                Some(_) => NEXT.fetch_add(1, Ordering::Relaxed),
                None => 0,
            },
        }
    }

    /// Tells the observer, if there is one.
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        if let Some(observer) = &self.observer {
            observer.seen(Seen {
                at: Instant::now(),
                place: self.place,
                connection: self.connection,
                event: event(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct All(Mutex<Vec<Seen>>);

    impl Observer for All {
        fn seen(&self, seen: Seen) {
            self.0.lock().unwrap().push(seen);
        }
    }

    #[test]
    fn nobody_watches_for_free_and_connections_differ() {
        Watch::new(None, Place::Gateway).tell(|| panic!("built for nobody"));
        let all = Arc::new(All::default());
        let observer: Arc<dyn Observer> = all.clone();
        for _ in 0..2 {
            Watch::new(Some(&observer), Place::Front).tell(|| Event::Authorised);
        }
        let seen = all.0.lock().unwrap();
        assert_eq!(seen.len(), 2);
        assert_ne!(seen[0].connection, seen[1].connection);
        assert!(seen[0].at <= seen[1].at);
    }
}
