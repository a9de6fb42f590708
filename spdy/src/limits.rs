//! Every amount a peer can make this end hold or do, by name (RELIABILITY section 1).

use crate::error::ConfigError;

/// One line of the budget table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Budget {
    /// Its number in the table.
    pub id: &'static str,
    /// The field of [`Limits`].
    pub name: &'static str,
    /// What is allowed.
    pub value: u64,
    /// What it is unless set.
    pub default: u64,
    /// What it may be set to at most.
    pub ceiling: u64,
}

macro_rules! limits {
    ($($(#[$doc:meta])* $id:literal $name:ident: $type:ty = $default:expr, max $ceiling:expr;)*) => {
        /// What a peer may make this end hold or do. Over a limit the connection ends, except
        /// where a field says otherwise. Set what differs from the default; a value over its
        /// ceiling or of 0 is refused by [`crate::Connection::new`].
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Limits {
            $(
                $(#[$doc])*
                #[doc = concat!("\n\n(", $id, ") Default ", stringify!($default), ", at most ", stringify!($ceiling), ".")]
                pub $name: $type,
            )*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Limits {
            /// All of them, with their defaults and ceilings.
            pub fn budgets(&self) -> impl Iterator<Item = Budget> {
                let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
                [$(Budget {
                    id: $id,
                    name: stringify!($name),
                    value: wide(self.$name),
                    default: wide($default),
                    ceiling: wide($ceiling),
                },)*]
                .into_iter()
            }

            /// Sets one by its name, without looking at its ceiling. `false`: there is none of
            /// that name.
            pub fn set(&mut self, name: &str, value: usize) -> bool {
                match name {
                    $(stringify!($name) => self.$name = value,)*
                    _ => return false,
                }
                true
            }
        }
    };
}

limits! {
    /// Payload bytes of a control frame without header block.
    "B1" control_frame: usize = 4 << 10, max 16 << 10;
    /// Compressed bytes of a header block.
    "B2" header_block: usize = 16 << 10, max 64 << 10;
    /// Decompressed bytes of a header block. Inflating stops within 4 KiB of it.
    "B3" header_block_inflated: usize = 64 << 10, max 256 << 10;
    /// Pairs in a header block.
    "B4" header_pairs: usize = 64, max 256;
    /// Bytes of a header name.
    "B4" header_name: usize = 256, max 1 << 10;
    /// Bytes of a header value.
    "B4" header_value: usize = 8 << 10, max 64 << 10;
    /// Payload bytes of a DATA frame, which is delivered as it arrives and never buffered whole.
    "B5" data_frame: usize = 0xff_ffff, max 0xff_ffff;
    /// Streams the peer may have open, and finished ones of which something is unread; more are
    /// reset with REFUSED_STREAM and the connection stays.
    "B6" peer_streams: usize = 2048, max 32 << 10;
    /// Streams we may have open; [`crate::Connection::open`] fails beyond, and while two control
    /// frames for each and [`Limits::queued_replies`] more wait to be written.
    "B6" own_streams: usize = 2048, max 32 << 10;
    /// Streams the peer has opened and we have not answered: more are reset with
    /// REFUSED_STREAM. This crate's share of the limit on unpaired streams.
    "B7" unanswered_streams: usize = 2048, max 32 << 10;
    /// Streams that the peer opens and resets before they were answered, per 10 s.
    "B8" rapid_resets: usize = 200, max 1000;
    /// Resets we had to send because of peer errors, per connection.
    "B9" error_resets: usize = 256, max 1024;
    /// Frames waiting to be written that the peer provoked (PING answers, resets): at it
    /// [`crate::Connection::recv`] stops consuming until some are written. Those about its streams
    /// (SYN_REPLY, resets by the caller, credit) count apart: of them two more for each of
    /// [`Limits::peer_streams`] may wait.
    "B10" queued_replies: usize = 256, max 1000;
    /// PINGs of the peer per 10 s, five fewer for each DATA frame with payload that comes behind them.
    "B11" pings: usize = 100, max 10_000;
    /// SETTINGS frames of the peer per 10 s.
    "B11" settings: usize = 10, max 100;
    /// Entries of a SETTINGS frame.
    "B11" settings_entries: usize = 64, max 1 << 10;
    /// Empty DATA frames without FIN per 10 s.
    "B12" empty_data: usize = 100, max 10_000;
    /// What each event that waits for [`crate::Connection::poll_event`] counts in
    /// [`Limits::session_receive`] beside its payload or header block, bytes, so that many tiny frames are not
    /// cheaper than few large ones.
    "B12" event_overhead: usize = 256, max 4 << 10;
    /// HEADERS frames on one stream; one more resets it with PROTOCOL_ERROR.
    "B13" headers_frames: usize = 8, max 64;
    /// Payload bytes of one stream not reported as [`crate::Connection::consumed`]: above it
    /// [`crate::Connection::recv`] stops consuming. With flow control the peer keeps to its
    /// window before that.
    "B14" stream_receive: usize = 256 << 10, max 4 << 20;
    /// The same for all streams together.
    "B14" session_receive: usize = 16 << 20, max 256 << 20;
    /// Payload bytes of one stream waiting to become frames: [`crate::Connection::send`] takes no
    /// more.
    "B15" stream_send: usize = 64 << 10, max 4 << 20;
    /// The same for all streams together.
    "B15" session_send: usize = 4 << 20, max 256 << 20;
    /// How long the end of the connection may take after GOAWAY, milliseconds.
    "B29" drain_ms: usize = 5_000, max 60_000;
    /// Score of tolerated oddities within 10 minutes above which GOAWAY is sent. No event tells of
    /// it: [`crate::Connection::open`] does, and streams still there after
    /// [`Limits::drain_ms`] end with [`crate::ConnectionErrorKind::Glitches`].
    "B30" glitches: usize = 750, max 100_000;
    /// Score above which the connection ends.
    "B30" glitches_fatal: usize = 1_000, max 100_000;
}

impl Limits {
    /// Frames about `streams` that may wait to be written. An honest peer has an answer and some
    /// credit on their way for each; those of streams that are gone by now wait all the same.
    pub(crate) fn frames_of(&self, streams: usize) -> usize {
        self.queued_replies
            .saturating_add(streams.saturating_mul(2))
    }

    /// Whether every value is between 1 and its ceiling.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        match self.budgets().find(|b| b.value == 0 || b.value > b.ceiling) {
            Some(budget) => Err(ConfigError::Limit(budget)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_within_their_ceilings_and_no_more_is_taken() {
        let limits = Limits::default();
        assert_eq!(limits.check(), Ok(()));
        for budget in limits.budgets() {
            assert_eq!(budget.value, budget.default, "{}", budget.name);
            let ceiling = usize::try_from(budget.ceiling).unwrap();
            for (value, fine) in [(0, false), (1, true), (ceiling, true), (ceiling + 1, false)] {
                let mut changed = limits.clone();
                assert!(changed.set(budget.name, value));
                assert_eq!(changed.check().is_ok(), fine, "{} = {value}", budget.name);
                if let Err(ConfigError::Limit(found)) = changed.check() {
                    assert_eq!((found.name, found.id), (budget.name, budget.id));
                }
            }
        }
        assert!(!limits.clone().set("nothing", 1));
    }
}
