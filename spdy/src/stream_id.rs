use std::fmt;
use std::num::NonZeroU32;

/// A stream's number: 31 bits, never 0; odd for streams the client opened, even for the server's
/// (SPDY/3.1 §2.3.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(NonZeroU32);

impl StreamId {
    /// The largest number a stream can have.
    pub const MAX: u32 = 0x7fff_ffff;

    /// `None` for 0 and for anything above [`StreamId::MAX`].
    #[must_use]
    pub const fn new(id: u32) -> Option<Self> {
        if id > Self::MAX {
            return None;
        }
        match NonZeroU32::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The number itself.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// Whether a client opens streams of this parity.
    #[must_use]
    pub const fn is_client(self) -> bool {
        self.0.get() & 1 == 1
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::StreamId;

    #[test]
    fn bounds_and_parity() {
        assert!(StreamId::new(0).is_none());
        assert!(StreamId::new(0x8000_0000).is_none());
        let top = StreamId::new(StreamId::MAX).unwrap();
        assert_eq!(top.get(), 0x7fff_ffff);
        assert!(top.is_client());
        assert!(!StreamId::new(2).unwrap().is_client());
    }
}
