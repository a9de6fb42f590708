//! Windows (§2.6.8): how much may still be sent, and what is owed to the peer.
//!
//! Counted in 64 bits, so that SETTINGS can push a window far below zero and no sum overflows.

use crate::config::FlowControl;
use crate::stream_id::StreamId;

/// Largest value of a window.
const MAX: i64 = StreamId::MAX as i64;

/// Whether windows count now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Not followed at all.
    Off,
    /// Followed, but the peer has not shown that it does.
    Waiting,
    /// Followed, and nothing that the peer sends changes that.
    Silent,
    /// The peer was late: our credit waits for its, but what it sent too much is forgiven.
    Agreed,
    /// From the first byte.
    Strict,
}

impl Mode {
    pub(crate) fn new(config: FlowControl) -> Self {
        match config {
            FlowControl::Off => Self::Off,
            FlowControl::Detect => Self::Waiting,
            FlowControl::Agreed => Self::Silent,
            FlowControl::On => Self::Strict,
        }
    }

    /// Whether credit is sent and waited for.
    pub(crate) fn is_active(self) -> bool {
        matches!(self, Self::Agreed | Self::Strict)
    }
}

/// What we may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SendWindow(i64);

impl SendWindow {
    pub(crate) fn new(size: u32) -> Self {
        Self(i64::from(size))
    }

    /// Bytes that may leave now.
    pub(crate) fn available(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    pub(crate) fn take(&mut self, n: usize) {
        self.0 = self.0.saturating_sub(wide(n));
    }

    /// WINDOW_UPDATE. `false`: over 2^31 - 1, which the draft forbids.
    pub(crate) fn grant(&mut self, delta: u32) -> bool {
        self.shift(i64::from(delta))
    }

    /// Whether both ends count the same, with nothing on its way.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn is_other_end_of(self, peer: ReceiveWindow) -> bool {
        self.0 == peer.left
    }

    /// A new initial window changes every stream's by the difference.
    pub(crate) fn shift(&mut self, delta: i64) -> bool {
        self.0 = self.0.saturating_add(delta);
        self.0 <= MAX
    }
}

/// What the peer may send, and what of it has been consumed and not granted again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReceiveWindow {
    left: i64,
    /// Before windows count it grows with all that is received.
    owed: i64,
}

impl ReceiveWindow {
    pub(crate) fn new(size: u32) -> Self {
        Self {
            left: i64::from(size),
            owed: 0,
        }
    }

    /// DATA came. `false`: more than the window.
    pub(crate) fn take(&mut self, n: usize) -> bool {
        self.left = self.left.saturating_sub(wide(n));
        self.left >= 0
    }

    /// `n` bytes were consumed.
    pub(crate) fn owe(&mut self, n: usize) {
        self.owed = self.owed.saturating_add(wide(n));
    }

    /// Nothing more may come until credit leaves.
    pub(crate) fn is_used_up(&self) -> bool {
        self.left <= 0
    }

    /// The credit to send, once it is worth a frame: half of a window of `size`. More than a frame
    /// can say is left for the next.
    pub(crate) fn update(&mut self, size: u32) -> Option<u32> {
        if self.owed < i64::from(size / 2) {
            return None;
        }
        self.grant()
    }

    /// The same for a window that several share: what some hold unread may leave less than half of it to
    /// the others, who must not wait for those. So it is worth a frame from half of what is not held.
    pub(crate) fn update_shared(&mut self, size: u32) -> Option<u32> {
        if self.owed < i64::from(size / 2) && self.owed < self.left {
            return None;
        }
        self.grant()
    }

    fn grant(&mut self) -> Option<u32> {
        if self.owed == 0 {
            return None;
        }
        let delta = u32::try_from(self.owed).unwrap_or(StreamId::MAX);
        let delta = delta.min(StreamId::MAX);
        self.left = self.left.saturating_add(i64::from(delta));
        self.owed = self.owed.saturating_sub(i64::from(delta));
        Some(delta)
    }
}

fn wide(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_window_may_go_below_zero_but_not_above_31_bits() {
        let mut window = SendWindow::new(100);
        window.take(60);
        assert!(window.shift(-100));
        assert_eq!(window.available(), 0);
        assert!(window.grant(61));
        assert_eq!(window.available(), 1);
        assert!(window.grant(StreamId::MAX - 1));
        assert!(!window.grant(1));
        let mut top = SendWindow::new(StreamId::MAX);
        assert!(!top.shift(1));
    }

    #[test]
    fn credit_is_worth_a_frame_from_half_a_window_on() {
        let mut window = ReceiveWindow::new(1000);
        assert!(window.take(1000) && !window.take(1));
        window.owe(499);
        assert_eq!(window.update(1000), None);
        window.owe(1);
        assert_eq!(window.update(1000), Some(500));
        assert_eq!(window.update(1000), None, "once");
    }

    /// What was received before windows counted may be more than one frame can grant.
    #[test]
    fn credit_beyond_31_bits_is_granted_in_parts() {
        let size = 64 << 10;
        let (mut window, mut other) = (ReceiveWindow::new(size), SendWindow::new(size));
        for _ in 0..5 {
            assert!(!window.take(1 << 30));
            other.take(1 << 30);
            window.owe(1 << 30);
        }
        let mut grants = Vec::new();
        while let Some(delta) = window.update(size) {
            assert!(other.grant(delta));
            grants.push(delta);
        }
        assert_eq!(grants, [StreamId::MAX, StreamId::MAX, (1 << 30) + 2]);
        assert!(other.is_other_end_of(window));
        assert_eq!(other.available(), 64 << 10);
    }

    proptest! {
        /// Credit is conserved: what is left, owed, and held by the reader is always the window.
        #[test]
        fn conservation(ops in prop::collection::vec((any::<bool>(), 0usize..40_000), 0..200)) {
            let size = 64 << 10;
            let (mut window, mut held) = (ReceiveWindow::new(size), 0usize);
            for (data, n) in ops {
                if data {
                    let n = n.min(usize::try_from(window.left).unwrap());
                    prop_assert!(window.take(n));
                    held += n;
                } else {
                    let n = n.min(held);
                    held -= n;
                    window.owe(n);
                    if let Some(delta) = window.update(size) {
                        prop_assert!(delta >= size / 2);
                    }
                }
                prop_assert_eq!(window.left + window.owed + wide(held), i64::from(size));
                // With everything consumed, the peer can always send at least half a window.
                prop_assert!(held > 0 || window.left > i64::from(size / 2));
            }
        }
    }
}
