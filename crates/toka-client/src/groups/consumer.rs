//! A consumer that goes on through elections, and with whichever node there is.

use std::collections::VecDeque;
use std::fmt;

use futures::stream::{self, Stream};
use toka_ledger::command::Verdict;
use toka_ledger::group::SettleOutcome;
use toka_ledger::{ConsumerName, GroupName};
use tokio::time::{Duration, Instant};

use super::deliveries::{Delivery, Pull, milliseconds};
use crate::client::Client;
use crate::error::Error;
use crate::read::Include;

/// Events that a consumer asks for at once, where nothing else is said.
const AHEAD: u32 = 16;
/// How long one wait for events is; there is another one behind it.
const WAIT: Duration = Duration::from_secs(20);

/// What to consume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consume {
    /// Of which group.
    pub group: GroupName,
    /// Who it is, for people.
    pub consumer: ConsumerName,
    /// Events that are asked for at once, 1 to 1,000, and then held: they get more time whenever the consumer is asked
    /// for the next one, or for more time for the one that is worked on. Between two such calls there must be less than
    /// half of the group's timeout; otherwise others may get them, and that counts as a delivery. With 1 there is none
    /// but the one that is worked on.
    pub ahead: u32,
    /// What comes with the headers.
    pub include: Include,
}

impl Consume {
    /// With payloads, up to 16 events at once.
    #[must_use]
    pub const fn new(group: GroupName, consumer: ConsumerName) -> Self {
        Self {
            group,
            consumer,
            ahead: AHEAD,
            include: Include {
                payload: true,
                embedding: false,
            },
        }
    }
}

/// A consumer of a group. Dropped without [`GroupConsumer::close`], what it holds is delivered again after the group's
/// timeout, and counts as delivered.
pub struct GroupConsumer {
    client: Client,
    pull: Pull,
    /// Deliveries that were not handed out yet.
    held: VecDeque<Delivery>,
}

impl fmt::Debug for GroupConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupConsumer")
            .field("pull", &self.pull)
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A consumer of a group. Asks for events when it is asked for one.
    #[must_use]
    pub fn consume(&self, consume: Consume) -> GroupConsumer {
        let Consume {
            group,
            consumer,
            ahead,
            include,
        } = consume;
        GroupConsumer {
            client: self.with_timeout(self.shared.config.resume_timeout),
            pull: Pull {
                max_events: ahead.max(1),
                wait: WAIT,
                include,
                ..Pull::new(group, consumer)
            },
            held: VecDeque::new(),
        }
    }
}

impl GroupConsumer {
    /// The next event, as soon as there is one.
    ///
    /// Dropped before it is done, it may leave events that were on their way to be delivered again after the group's
    /// timeout; nothing is lost.
    ///
    /// # Errors
    /// If no node can serve it within [`crate::Config::resume_timeout`]; called again, it tries again.
    /// [`Error::Rejected`] if there is no such group.
    pub async fn next(&mut self) -> Result<Delivery, Error> {
        loop {
            if self.held.iter().any(Delivery::is_half_over) {
                self.extend_held(None).await?;
            }
            if let Some(delivery) = self.held.pop_front() {
                return Ok(delivery);
            }
            self.held = self.client.pull(&self.pull).await?.into();
        }
    }

    /// Asks for more time for what is held, and for `worked` as well; what others have got meanwhile is let go. Returns
    /// what became of `worked`.
    async fn extend_held(
        &mut self,
        worked: Option<&mut Delivery>,
    ) -> Result<Option<SettleOutcome>, Error> {
        let begun = Instant::now();
        let extend = |delivery: &Delivery| (delivery.token(), Verdict::Extend);
        let all = self.held.iter().chain(worked.as_deref());
        let all: Vec<_> = all.map(extend).collect();
        let outcomes = self.client.settle(&self.pull.group, &all).await?;
        let held = std::mem::take(&mut self.held).into_iter();
        let (of_held, rest) = outcomes.split_at(held.len());
        self.held = held
            .zip(of_held)
            .filter(|(_, outcome)| **outcome == SettleOutcome::Done)
            .map(|(mut delivery, _)| {
                delivery.extended(begun);
                delivery
            })
            .collect();
        let outcome = rest.first().copied();
        if let (Some(SettleOutcome::Done), Some(worked)) = (outcome, worked) {
            worked.extended(begun);
        }
        Ok(outcome)
    }

    /// Done with an event. Returns whether the delivery was still its current one: if not, it was settled already
    /// (perhaps by an earlier try of this very call), or another consumer has got the event.
    ///
    /// # Errors
    /// As [`Client::settle`].
    pub async fn ack(&self, delivery: &Delivery) -> Result<SettleOutcome, Error> {
        self.settle(delivery, Verdict::Acknowledge).await
    }

    /// Has an event delivered again, not before `delay` has passed; it is parked if it has had all its deliveries.
    /// `reason`: at most 256 bytes.
    ///
    /// # Errors
    /// As [`Client::settle`].
    pub async fn reject(
        &self,
        delivery: &Delivery,
        delay: Duration,
        reason: &str,
    ) -> Result<SettleOutcome, Error> {
        let (delay_ms, reason) = (milliseconds(delay), reason.to_owned());
        self.settle(delivery, Verdict::Reject { delay_ms, reason })
            .await
    }

    /// Asks for more time: from now on as much as there was at first. What the consumer holds gets it too.
    ///
    /// # Errors
    /// As [`Client::settle`].
    pub async fn extend(&mut self, delivery: &mut Delivery) -> Result<SettleOutcome, Error> {
        let outcome = self.extend_held(Some(delivery)).await?;
        Ok(outcome.expect("there is one for each"))
    }

    /// Puts an event aside. `reason`: at most 256 bytes.
    ///
    /// # Errors
    /// As [`Client::settle`].
    pub async fn park(&self, delivery: &Delivery, reason: &str) -> Result<SettleOutcome, Error> {
        let reason = reason.to_owned();
        self.settle(delivery, Verdict::Park { reason }).await
    }

    async fn settle(&self, delivery: &Delivery, verdict: Verdict) -> Result<SettleOutcome, Error> {
        let settlement = [(delivery.token(), verdict)];
        let outcomes = self.client.settle(delivery.group(), &settlement).await?;
        Ok(*outcomes.first().expect("there is one for each"))
    }

    /// Gives an event back to which nothing was done: others get it at once, and this delivery does not count.
    ///
    /// # Errors
    /// As [`Client::settle`].
    pub async fn release(&self, delivery: &Delivery) -> Result<SettleOutcome, Error> {
        self.settle(delivery, Verdict::Release).await
    }

    /// Ends, and gives back what was not handed out, so that others get it at once. That does not count as a delivery.
    ///
    /// # Errors
    /// As [`Client::settle`]; it is delivered again after the group's timeout then.
    pub async fn close(self) -> Result<(), Error> {
        let release = |delivery: &Delivery| (delivery.token(), Verdict::Release);
        let held: Vec<_> = self.held.iter().map(release).collect();
        if !held.is_empty() {
            self.client.settle(&self.pull.group, &held).await?;
        }
        Ok(())
    }

    /// As a stream, which ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Delivery, Error>> + Send {
        stream::unfold(Some(self), |consumer| async move {
            let mut consumer = consumer?;
            match consumer.next().await {
                Ok(delivery) => Some((Ok(delivery), Some(consumer))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }
}
