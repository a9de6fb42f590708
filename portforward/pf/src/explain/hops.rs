//! What gateway and node of the embedded cluster tell, as steps.

use super::trace::{Actor, Trace};
use portforward::observe::{Event, Observer, Place, Seen, Way};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Events that are kept: one forward makes a few dozen.
const KEPT: usize = 4096;

/// Keeps what it is told.
#[derive(Default)]
pub(super) struct Collector(Mutex<Vec<Seen>>);

impl Observer for Collector {
    fn seen(&self, seen: Seen) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < KEPT {
            all.push(seen);
        }
    }
}

impl Collector {
    /// Whether the gateway's relay, if there was one, has ended.
    pub(super) fn is_over(&self) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_gateway = || all.iter().filter(|seen| seen.place == Place::Gateway);
        !of_gateway().any(|seen| seen.event == Event::Answered { status: 101 })
            || of_gateway().any(|seen| matches!(seen.event, Event::Ended { .. }))
    }

    /// Adds all events to the drawing.
    pub(super) fn draw(&self, trace: &Trace) {
        let all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut open = Open::default();
        for seen in all {
            open.draw(trace, &seen);
        }
    }
}

/// What later events refer to, by connection.
#[derive(Default)]
struct Open {
    /// The head of the request, or the beginning of a dial.
    begun: HashMap<(u64, bool), Instant>,
    users: HashMap<u64, String>,
    ports: HashMap<u64, u16>,
}

impl Open {
    fn took(&self, seen: &Seen, dial: bool) -> Option<Duration> {
        let since = self.begun.get(&(seen.connection, dial))?;
        Some(seen.at.saturating_duration_since(*since))
    }

    fn draw(&mut self, trace: &Trace, seen: &Seen) {
        match seen.place {
            Place::Gateway => self.gateway(trace, seen),
            Place::Front => self.front(trace, seen),
            Place::Session => self.session(trace, seen),
            _ => {}
        }
    }

    fn dialled(&self, trace: &Trace, seen: &Seen, between: (Actor, Actor), text: &str) {
        let since = self.begun.get(&(seen.connection, true));
        let since = since.copied().unwrap_or(seen.at);
        let took = seen.at.saturating_duration_since(since);
        trace.step(between, since, Some(took), text);
    }

    fn gateway(&mut self, trace: &Trace, seen: &Seen) {
        const SELF: (Actor, Actor) = (Actor::Server, Actor::Server);
        const NODE: (Actor, Actor) = (Actor::Server, Actor::Kubelet);
        const BACK: (Actor, Actor) = (Actor::Kubelet, Actor::Server);
        let at = seen.at;
        match &seen.event {
            Event::Request { .. } => {
                self.begun.insert((seen.connection, false), at);
            }
            Event::Authenticated { user } => {
                self.users.insert(seen.connection, user.clone());
            }
            Event::Authorised => {
                let user = self.users.get(&seen.connection).map_or("?", |user| user);
                let text = format!("authenticated as {user}, authorised");
                trace.step(SELF, at, self.took(seen, false), &text);
            }
            Event::Refused { status } => {
                trace.step(
                    SELF,
                    at,
                    self.took(seen, false),
                    &format!("refuses: {status}"),
                );
            }
            Event::Dialling => {
                self.begun.insert((seen.connection, true), at);
            }
            Event::Dialled => {
                self.dialled(trace, seen, NODE, "TCP and TLS, with its own certificate");
                self.begun.insert((seen.connection, true), at);
            }
            Event::DialFailed { cause } => {
                trace.failed(NODE, at, cause);
            }
            Event::Answered { status } => {
                let text = format!("{status}, passed on as it is");
                trace.step(BACK, at, self.took(seen, true), &text);
            }
            Event::FirstBytes { way: Way::ToPod } => {
                trace.step(NODE, at, None, "first bytes, not looked at");
            }
            Event::FirstBytes { .. } => {
                trace.step(BACK, at, None, "first bytes, not looked at");
            }
            Event::Ended {
                to_pod,
                to_client,
                failure,
            } => {
                let how = failure.as_deref().unwrap_or("in order");
                let text = format!("relay over ({how}): {to_pod} bytes out, {to_client} back");
                trace.step(SELF, at, None, &text);
            }
            _ => {}
        }
    }

    fn front(&mut self, trace: &Trace, seen: &Seen) {
        let at = seen.at;
        match &seen.event {
            Event::Request { method, path } => {
                self.begun.insert((seen.connection, false), at);
                let text = format!("{method} {path}");
                trace.step((Actor::Server, Actor::Kubelet), at, None, &text);
            }
            Event::Answered { .. } => {
                let took = self.took(seen, false);
                let text = "found the pod; hands the connection over";
                trace.step((Actor::Kubelet, Actor::Runtime), at, took, text);
            }
            Event::Refused { status } => {
                let text = format!("refuses: {status}");
                trace.step((Actor::Kubelet, Actor::Kubelet), at, None, &text);
            }
            _ => {}
        }
    }

    fn session(&mut self, trace: &Trace, seen: &Seen) {
        const SELF: (Actor, Actor) = (Actor::Runtime, Actor::Runtime);
        const POD: (Actor, Actor) = (Actor::Runtime, Actor::Pod);
        const BACK: (Actor, Actor) = (Actor::Pod, Actor::Runtime);
        let at = seen.at;
        let port = self.ports.get(&seen.connection).copied().unwrap_or(0);
        match &seen.event {
            Event::Paired { port } => {
                self.ports.insert(seen.connection, *port);
                trace.step(SELF, at, None, "both streams are there");
            }
            Event::Dialling => {
                self.begun.insert((seen.connection, true), at);
            }
            Event::Dialled => self.dialled(trace, seen, POD, &format!("TCP to port {port}")),
            Event::DialFailed { cause } => {
                trace.failed(POD, at, cause);
            }
            Event::FirstBytes { way: Way::ToPod } => {
                trace.step(POD, at, None, "first bytes");
            }
            Event::FirstBytes { .. } => {
                trace.step(BACK, at, None, "first bytes");
            }
            Event::EndOfFile { way: Way::ToPod } => {
                trace.step(POD, at, None, "the client's end, passed on (FIN)");
            }
            Event::EndOfFile { .. } => {
                trace.step(BACK, at, None, "end of file");
            }
            Event::Ended {
                to_pod,
                to_client,
                failure,
            } => {
                let text = format!("over: {to_pod} bytes to the pod, {to_client} back");
                match failure {
                    None => trace.step(SELF, at, None, &text),
                    Some(why) => trace.step(BACK, at, None, &format!("{why}; {text}")),
                };
            }
            _ => {}
        }
    }
}
