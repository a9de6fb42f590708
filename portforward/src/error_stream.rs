//! The error stream of a pair: empty for success, text for failure (PROTOCOL.md 3.5, 3.6).

use crate::session::{Stream, StreamFailure, stream_failure};
use std::task::{Context, Poll};

/// Bytes of text that are kept (B23); the rest is read and dropped.
pub const TEXT_LIMIT: usize = 4096;

/// How an error stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorEnd {
    /// FIN and no text: the forwarded connection ended well.
    Clean,
    /// The other side said why it failed. Not escaped.
    Text(String),
    /// Reset without text: containerd 1.7 reports a reset by the pod so, and a stream that was
    /// never accepted ends so too.
    Failed(StreamFailure),
}

/// Collects the text of an error stream until its end.
#[derive(Debug)]
pub struct ErrorStream {
    stream: Stream,
    text: Vec<u8>,
    end: Option<ErrorEnd>,
}

impl ErrorStream {
    /// Reads `stream`, which this side has half-closed.
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            text: Vec::new(),
            end: None,
        }
    }

    /// Waits for the end. Text counts even if a reset follows it: that is how real runtimes end
    /// it. Ready again and again afterwards.
    ///
    /// # Cancel safety
    /// All progress is kept in `self`.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<ErrorEnd> {
        loop {
            if let Some(end) = &self.end {
                return Poll::Ready(end.clone());
            }
            let result = std::task::ready!(self.stream.poll_read_chunk(cx));
            let failure = match result {
                Ok(Some(chunk)) => {
                    let room = TEXT_LIMIT.saturating_sub(self.text.len()).min(chunk.len());
                    self.text
                        .extend_from_slice(chunk.get(..room).unwrap_or_default());
                    continue;
                }
                Ok(None) => None,
                Err(e) => stream_failure(&e).cloned(),
            };
            self.end = Some(match (self.text.is_empty(), failure) {
                (false, _) => ErrorEnd::Text(String::from_utf8_lossy(&self.text).into_owned()),
                (true, None) => ErrorEnd::Clean,
                (true, Some(failure)) => ErrorEnd::Failed(failure),
            });
        }
    }

    /// Text so far, of a stream that may never end: a real server's pair timeout leaves it open
    /// (PROTOCOL.md 3.4).
    #[must_use]
    pub fn text_so_far(&self) -> Option<String> {
        (!self.text.is_empty()).then(|| String::from_utf8_lossy(&self.text).into_owned())
    }
}
