//! What must hold of each forwarded connection once a run is over.

use super::peers::{Flow, Record, Seen};
use super::plan::{ConnectionPlan, LinkPlan, Pod, Reads, Speaks, Then};
use super::trace::Trace;
use crate::client::{ForwardError, Summary};

pub(super) type Outcome = Result<Summary, ForwardError>;

/// A connection whose node may stop reading for it, and with it the whole link: without flow control
/// a stream opened meanwhile waits for as long, and the stream itself may be reset before its pod has
/// answered (ARCHITECTURE, decision 10).
fn may_hold(link: &LinkPlan, plan: &ConnectionPlan, budget: usize) -> bool {
    let deaf = match plan.pod {
        Pod::Deaf(_) | Pod::Silent | Pod::Reset { .. } => true,
        // Blocked by a reader who does not read, it does not read either.
        Pod::Echo => plan.app.reads != Reads::All,
        Pod::Answer(..) | Pod::Source(_) | Pod::Refuse => false,
    };
    // Each chunk counts 256 bytes more than it has.
    let rules = link.hops.iter().flatten().chain(&plan.app_rules);
    let piece = rules
        .map(|rule| rule.piece)
        .filter(|piece| *piece > 0)
        .min();
    let factor = 2 + 1536 / piece.unwrap_or(1000) as u64;
    deaf && plan.app.sends * factor > budget as u64
}

/// One connection, at the end.
pub(super) struct Case<'a> {
    pub(super) link: &'a LinkPlan,
    pub(super) plan: &'a ConnectionPlan,
    pub(super) record: &'a Record,
    /// What the client's future said; `None`: it was dropped.
    pub(super) outcome: Option<&'a Outcome>,
    pub(super) budget: usize,
    /// Sessions may count windows.
    pub(super) windows: bool,
    /// It had ended, as the node could see, before the node was told to stop.
    pub(super) parted: bool,
}

impl Case<'_> {
    pub(super) fn check(&self, trace: &Trace) {
        let mut wrong = Vec::new();
        self.ends(&mut wrong);
        self.outcome(&mut wrong);
        let others = &self.link.connections;
        let held = self.may_be_held();
        // A node closes a WebSocket, and is gone a second later: bytes that come then are answered by a
        // reset, which destroys what is still on its way.
        let hasty = self.link.speaks.is_channels() && self.link.is_slow();
        // Known: without flow control a slow reader slows all, and SYN_REPLY may take its 30 s.
        let slow = others.iter().any(|plan| plan.app.reads != Reads::All);
        let late =
            slow && !self.windows && matches!(self.outcome, Some(Err(ForwardError::Timeout)));
        let lost = matches!(self.outcome, Some(Err(ForwardError::SessionLost(_))));
        if self.link.fault.is_none() && !held && !hasty && lost {
            wrong.push("a sound session was lost".to_owned());
        }
        if self.link.fault.is_none() && !held && !hasty && !late {
            self.on_a_sound_link(&mut wrong);
        }
        // Known: a node that has closed resets, after a second, a client that still sends; that destroys what
        // is still on its way.
        let [_, back] = &self.link.hops[0];
        let overtaken = back.rate > 0 || back.stall.is_some() || back.hiccup.is_some();
        if self.parted && !late && !overtaken && self.plan.ends_well(self.link.speaks) {
            self.on_a_sound_link(&mut wrong);
        }
        for line in wrong {
            let id = self.plan.id;
            trace.wrong(format!(
                "connection {id}: {line}; {:?}, {:?}; {:?}, {:?}, {:?}",
                self.record, self.outcome, self.link.speaks, self.plan.app, self.plan.pod
            ));
        }
    }

    /// The link's node may stop reading.
    pub(super) fn may_be_held(&self) -> bool {
        let mut all = self.link.connections.iter();
        !self.windows && all.any(|plan| may_hold(self.link, plan, self.budget))
    }

    /// Whatever happened: a clean end is a true one.
    fn ends(&self, wrong: &mut Vec<String>) {
        let Record { up, down, .. } = self.record;
        if self.record.dials > 1 {
            wrong.push(format!("dialled {} times", self.record.dials));
        }
        if down.seen == Some(Seen::EndOfFile) && !(down.fin && down.got == down.sent) {
            wrong.push("I1: a clean end to the application that is none".to_owned());
        }
        // What channels cannot say: that the application has ended. The node closes the pod's socket
        // in order when the pod has ended first, or when the WebSocket has.
        let hidden = self.link.speaks.is_channels() && down.fin;
        if up.seen == Some(Seen::EndOfFile) && !(up.fin && up.got == up.sent) && !hidden {
            wrong.push("I1: a clean end to the pod that is none".to_owned());
        }
    }

    fn outcome(&self, wrong: &mut Vec<String>) {
        let Record { down, .. } = self.record;
        if let Some(Ok(summary)) = self.outcome
            && !(down.fin && summary.received == down.sent)
        {
            wrong.push("I10: success was reported of what failed".to_owned());
        }
    }

    /// Nothing but this connection's own ends decides about it.
    fn on_a_sound_link(&self, wrong: &mut Vec<String>) {
        let Record { up, down, .. } = self.record;
        let Some(outcome) = self.outcome else {
            return wrong.push("I6: no outcome".to_owned());
        };
        if self.plan.ends_well(self.link.speaks) {
            // Closing beside unread bytes is a reset: on channels the pod's end is not followed by the
            // application's.
            let whole = |flow: &Flow| {
                let end = flow.seen == Some(Seen::EndOfFile) || self.link.speaks.is_channels();
                flow.fin && flow.got == flow.sent && end
            };
            let sides = whole(down) && (whole(up) || self.link.speaks.is_channels());
            let said = match outcome {
                Ok(summary) => {
                    let sent = summary.sent == up.sent || self.link.speaks.is_channels();
                    (summary.confirmed || self.link.is_slow()) && sent
                }
                Err(_) => false,
            };
            if !sides || !said {
                wrong.push("I6/I10: it should have ended well".to_owned());
            }
            return;
        }
        let patient = matches!(self.plan.app.then, Then::HalfClose | Then::Wait)
            && self.plan.app.reads == Reads::All
            && !self.record.gave_up;
        let says = match self.plan.pod {
            Pod::Refuse => "connection refused",
            Pod::Silent => "no answer from the port within 5 s",
            Pod::Reset { .. } => "the pod: ",
            _ => return,
        };
        let text = match outcome {
            Err(ForwardError::Remote(text)) => text.as_str(),
            // Known: the reset of the data stream overtakes the text, which waits behind other streams'
            // bytes for longer than the client's second of grace.
            Err(ForwardError::Stream { .. }) if self.link.is_slow() => says,
            _ => "",
        };
        // A channel's client gives up 10 s after its own end.
        let waits =
            self.plan.app.then == Then::Wait || !matches!(self.link.speaks, Speaks::Channels(_));
        if patient && waits && !text.contains(says) {
            wrong.push(format!("I10: {says:?} was not reported"));
        }
        if patient && waits && down.seen != Some(Seen::Error) {
            wrong.push("I1: a failed pod does not look like one".to_owned());
        }
    }
}
