//! Deliveries: events in the hands of a consumer, and what becomes of them.

use toka_ledger::command::{Precondition, Verdict};
use toka_ledger::core::limits::SETTLE_ITEMS_MAX;
use toka_ledger::group::SettleOutcome;
use toka_ledger::{ConsumerName, GroupName};
use toka_proto::convert::coordination::{Token, settle_outcome, settlement_message};
use toka_proto::convert::event::StoredEvent;
use toka_proto::v1;
use tokio::time::{Duration, Instant};

use super::service;
use crate::call::Repeats;
use crate::client::Client;
use crate::error::Error;
use crate::read::Include;

/// What a consumer wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pull {
    /// Of which group.
    pub group: GroupName,
    /// Who it is, for people.
    pub consumer: ConsumerName,
    /// Events at most, up to 1,000; 0: 100.
    pub max_events: u32,
    /// Bytes after which there is no further event; 0, and at most: 4 MiB.
    pub max_bytes: u32,
    /// How long to wait where there is none.
    pub wait: Duration,
    /// What comes with the headers.
    pub include: Include,
}

impl Pull {
    /// With payloads, and without waiting.
    #[must_use]
    pub const fn new(group: GroupName, consumer: ConsumerName) -> Self {
        Self {
            group,
            consumer,
            max_events: 0,
            max_bytes: 0,
            wait: Duration::ZERO,
            include: Include {
                payload: true,
                embedding: false,
            },
        }
    }
}

/// An event in the hands of a consumer, until it settles it or its time is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The event.
    pub event: StoredEvent,
    /// Which of its deliveries to this group, from 1.
    pub delivery: u32,
    /// By when it must be settled, milliseconds since the Unix epoch, of the vault's time.
    pub deadline_unix_ms: u64,
    group: GroupName,
    token: Token,
    /// As long as a lease takes.
    lease: Duration,
    /// About when its time is over, on this machine's clock.
    late_at: Instant,
}

impl Delivery {
    /// The group.
    #[must_use]
    pub const fn group(&self) -> &GroupName {
        &self.group
    }

    /// What names it.
    #[must_use]
    pub const fn token(&self) -> Token {
        self.token
    }

    /// That this delivery is current, for a commit that acknowledges it: of the consumers of one event exactly one
    /// commits.
    #[must_use]
    pub fn precondition(&self) -> Precondition {
        Precondition::Acknowledge {
            group: self.group.clone(),
            incarnation: self.token.incarnation,
            sequence: self.token.sequence,
            delivery: self.token.delivery,
        }
    }

    /// Whether its time is over, as far as this machine can tell: another consumer may have the event.
    #[must_use]
    pub fn is_late(&self) -> bool {
        Instant::now() >= self.late_at
    }

    /// Whether more than half of its time is over.
    pub(super) fn is_half_over(&self) -> bool {
        Instant::now() + self.lease / 2 >= self.late_at
    }

    /// It was given more time by a call that began at `begun`, or later.
    pub(super) fn extended(&mut self, begun: Instant) {
        self.late_at = begun + self.lease;
    }
}

impl Client {
    /// Leases events of a group to a consumer: those that are to be delivered again, then new ones. Empty if there were
    /// none in [`Pull::wait`]. What is not settled in the group's time is delivered again, to whoever asks; so are the
    /// events of an answer that was lost, or of a call that was dropped.
    ///
    /// # Errors
    /// [`Error::Rejected`] if there is no such group; as every call.
    pub async fn pull(&self, pull: &Pull) -> Result<Vec<Delivery>, Error> {
        let until = Instant::now() + pull.wait;
        loop {
            let deliveries = self.pull_once(pull, until).await?;
            // A node answers before the time of a try is over, so that one that hangs is noticed.
            if !deliveries.is_empty() || Instant::now() >= until {
                return Ok(deliveries);
            }
        }
    }

    async fn pull_once(&self, pull: &Pull, until: Instant) -> Result<Vec<Delivery>, Error> {
        let answer = self
            .shared
            .change(self.deadline(), Repeats::Always, |channel, time| {
                let left = until.saturating_duration_since(Instant::now());
                let wait = left.min(time / 4 * 3);
                let message = v1::PullRequest {
                    vault: String::new(),
                    group: pull.group.to_string(),
                    consumer: pull.consumer.to_string(),
                    max_events: pull.max_events,
                    max_bytes: pull.max_bytes,
                    wait_ms: milliseconds(wait),
                    include: Some(pull.include.into()),
                };
                let request = self.shared.request(message, time);
                async move { service(channel).pull(request).await }
            })
            .await?;
        let (endpoint, response) = (answer.endpoint, answer.message);
        self.shared.observe(&endpoint, response.header)?;
        let lease = Duration::from_millis(response.ack_timeout_ms.into());
        let late_at = Instant::now() + Duration::from_millis(response.lease_ms_left.into());
        let deliveries = response.deliveries.into_iter();
        deliveries
            .map(|delivery| read_delivery(&endpoint, &pull.group, delivery, lease, late_at))
            .collect()
    }

    /// Says what became of deliveries. Returns for each whether it was still the event's current one; a call that was
    /// repeated because an answer was lost finds them settled, and says [`SettleOutcome::Stale`].
    ///
    /// # Errors
    /// [`Error::Rejected`] if there is no such group any more; [`Error::InvalidField`] for a reason of more than 256
    /// bytes; as every call.
    pub async fn settle(
        &self,
        group: &GroupName,
        settlements: &[(Token, Verdict)],
    ) -> Result<Vec<SettleOutcome>, Error> {
        let mut outcomes = Vec::with_capacity(settlements.len());
        for some in settlements.chunks(SETTLE_ITEMS_MAX) {
            outcomes.extend(self.settle_some(group, some).await?);
        }
        Ok(outcomes)
    }

    async fn settle_some(
        &self,
        group: &GroupName,
        settlements: &[(Token, Verdict)],
    ) -> Result<Vec<SettleOutcome>, Error> {
        let messages = settlements.iter();
        let message = v1::SettleRequest {
            vault: String::new(),
            group: group.to_string(),
            settlements: messages
                .map(|(token, verdict)| settlement_message(token, verdict))
                .collect(),
        };
        let answer = self
            .shared
            .change(self.deadline(), Repeats::Always, |channel, time| {
                let request = self.shared.request(message.clone(), time);
                async move { service(channel).settle(request).await }
            })
            .await?;
        let (endpoint, response) = (answer.endpoint, answer.message);
        self.shared.observe(&endpoint, response.header)?;
        let outcomes = response.outcomes.into_iter();
        let outcomes: Option<Vec<_>> = outcomes
            .map(|outcome| settle_outcome(v1::SettleOutcome::try_from(outcome).ok()?))
            .collect();
        let outcomes = outcomes.filter(|outcomes| outcomes.len() == settlements.len());
        outcomes.ok_or_else(|| Error::reply(&endpoint, "it has other outcomes than settlements"))
    }
}

/// As a request has it.
pub(super) fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

fn read_delivery(
    endpoint: &str,
    group: &GroupName,
    delivery: v1::Delivery,
    lease: Duration,
    late_at: Instant,
) -> Result<Delivery, Error> {
    let event = delivery.event;
    let event = event.ok_or_else(|| Error::reply(endpoint, "a delivery has no event"))?;
    let token = Token::decode("deliveries.token", &delivery.token);
    Ok(Delivery {
        event: StoredEvent::try_from(event).map_err(|error| Error::reply(endpoint, error))?,
        delivery: delivery.delivery,
        deadline_unix_ms: delivery.deadline_unix_ms,
        group: group.clone(),
        token: token.map_err(|error| Error::reply(endpoint, error))?,
        lease,
        late_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_counted_as_the_node_says_and_anew_after_an_extension() {
        let (lease, now) = (Duration::from_secs(60), Instant::now());
        let header = v1::Delivery {
            event: Some(v1::Event {
                kind: "task".to_owned(),
                id: vec![1; 16].into(),
                digest: vec![2; 32].into(),
                payload_digest: vec![3; 32].into(),
                ..v1::Event::default()
            }),
            delivery: 1,
            deadline_unix_ms: 0,
            token: Token {
                incarnation: 1,
                sequence: 2,
                delivery: 1,
            }
            .encode(),
        };
        let group = GroupName::new("work").expect("valid");
        let delivery = read_delivery("node", &group, header, lease, now + lease / 4);
        let mut delivery = delivery.expect("valid");
        assert!(!delivery.is_late());
        assert!(delivery.is_half_over());
        delivery.extended(now);
        assert!(!delivery.is_half_over());
    }
}
