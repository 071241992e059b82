//! Events as an embedded vault's users see them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::Stream;

use crate::core::EventHeader;
use crate::error::Error;
use crate::feed::{self, Message};

/// Events of a vault, in order, each once: live, and from storage where the subscriber is behind.
/// See [`VaultBus::subscribe`](super::VaultBus::subscribe).
///
/// Also a [`Stream`] of results, which ends when the vault closes.
#[derive(Debug)]
pub struct Subscription {
    feed: feed::Subscription,
}

impl Subscription {
    pub(super) const fn new(feed: feed::Subscription) -> Self {
        Self { feed }
    }

    /// The next event; waits until there is one. May be dropped at any point without losing any.
    ///
    /// # Errors
    /// [`Error::Closed`] after the last event of a vault that closed; [`Error::Engine`],
    /// [`Error::Corrupt`] from storage, after which a further call tries again.
    pub async fn recv(&mut self) -> Result<EventHeader, Error> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Every match up to this sequence was received.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.feed.position()
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<EventHeader, Error>> {
        loop {
            match ready!(self.feed.poll_message(cx))? {
                Message::Event(header) => return Poll::Ready(Ok(Arc::unwrap_or_clone(header))),
                Message::CaughtUp | Message::FellBehind | Message::Continued { .. } => {}
            }
        }
    }
}

impl Stream for Subscription {
    type Item = Result<EventHeader, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(match ready!(self.get_mut().poll_recv(cx)) {
            Err(Error::Closed) => None,
            header => Some(header),
        })
    }
}
