//! Events that groups have put aside.

use toka_ledger::GroupName;
use toka_ledger::core::limits::PARKED_MOVES_MAX;
use toka_proto::convert::event::StoredEvent;
use toka_proto::v1;

use super::service;
use crate::call::Repeats;
use crate::client::Client;
use crate::error::Error;
use crate::pages::{Listing, NextPage};
use crate::read::{Consistency, Read};

/// An event that was put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedEvent {
    /// The event.
    pub event: StoredEvent,
    /// How often it was delivered, ever.
    pub deliveries: u32,
    /// When it was parked, milliseconds since the Unix epoch, of the vault's time.
    pub parked_unix_ms: u64,
    /// Why.
    pub reason: String,
}

impl Client {
    /// Events that a group has put aside, in order, at most `limit`.
    ///
    /// # Errors
    /// [`Error::Rejected`] if there is no such group; as every call.
    pub async fn parked(
        &self,
        group: &GroupName,
        limit: usize,
        read: &Read,
    ) -> Result<Vec<ParkedEvent>, Error> {
        let message = v1::ListParkedRequest {
            group: group.to_string(),
            include: Some(read.include.into()),
            ..v1::ListParkedRequest::default()
        };
        self.list_parked(message, read.consistency, limit, read_parked)
            .await
    }

    /// Has parked events delivered again, with all their deliveries: those at `sequences` (up to 1,000, ascending), or
    /// the first 1,000 that there are now if that is empty. Up to 10,000 may be outstanding then, whatever the group's
    /// settings say. Returns how many, without those that an earlier try of this call has moved.
    ///
    /// # Errors
    /// [`Error::Rejected`] if there is no such group; [`Error::InvalidField`]; as every call.
    pub async fn replay_parked(&self, group: &GroupName, sequences: &[u64]) -> Result<u32, Error> {
        let (incarnation, sequences) = self.named(group, sequences).await?;
        if sequences.is_empty() {
            return Ok(0);
        }
        let message = v1::ReplayParkedRequest {
            vault: String::new(),
            group: group.to_string(),
            sequences,
            incarnation,
        };
        let answer = self
            .shared
            .change(self.deadline(), Repeats::Always, |channel, time| {
                let request = self.shared.request(message.clone(), time);
                async move { service(channel).replay_parked(request).await }
            })
            .await?;
        self.shared
            .observe(&answer.endpoint, answer.message.header)?;
        Ok(answer.message.moved)
    }

    /// Has done with parked events, which are named as for [`Client::replay_parked`]. Returns how many.
    ///
    /// # Errors
    /// As [`Client::replay_parked`].
    pub async fn discard_parked(&self, group: &GroupName, sequences: &[u64]) -> Result<u32, Error> {
        let (incarnation, sequences) = self.named(group, sequences).await?;
        if sequences.is_empty() {
            return Ok(0);
        }
        let message = v1::DiscardParkedRequest {
            vault: String::new(),
            group: group.to_string(),
            sequences,
            incarnation,
        };
        let answer = self
            .shared
            .change(self.deadline(), Repeats::Always, |channel, time| {
                let request = self.shared.request(message.clone(), time);
                async move { service(channel).discard_parked(request).await }
            })
            .await?;
        self.shared
            .observe(&answer.endpoint, answer.message.header)?;
        Ok(answer.message.moved)
    }
}

impl Client {
    /// Names the group and its events: what is "the first ones" would be others when the call is repeated.
    async fn named(&self, group: &GroupName, sequences: &[u64]) -> Result<(u64, Vec<u64>), Error> {
        let incarnation = self.incarnation(group).await?;
        if !sequences.is_empty() {
            return Ok((incarnation, sequences.to_vec()));
        }
        let message = v1::ListParkedRequest {
            group: group.to_string(),
            sequences_only: true,
            ..v1::ListParkedRequest::default()
        };
        let first = self
            .list_parked(
                message,
                Consistency::Linearizable,
                PARKED_MOVES_MAX,
                read_sequence,
            )
            .await?;
        Ok((incarnation, first))
    }

    async fn list_parked<T>(
        &self,
        message: v1::ListParkedRequest,
        consistency: Consistency,
        limit: usize,
        read: impl Fn(&str, v1::ParkedEvent) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let list = Listing {
            consistency,
            deadline: self.deadline(),
            limit,
        };
        let ask = |page: NextPage| v1::ListParkedRequest {
            page_size: page.size,
            page_token: page.token,
            read: Some(self.options(consistency)),
            ..message.clone()
        };
        let attempt = |channel, request| async move { service(channel).list_parked(request).await };
        self.shared.pages(list, ask, attempt, read).await
    }
}

/// Nodes that know of no lists of sequences only send headers as well.
fn read_sequence(endpoint: &str, parked: v1::ParkedEvent) -> Result<u64, Error> {
    let event = parked.event;
    let event = event.ok_or_else(|| Error::reply(endpoint, "a parked event is missing"))?;
    Ok(event.sequence)
}

fn read_parked(endpoint: &str, parked: v1::ParkedEvent) -> Result<ParkedEvent, Error> {
    let event = parked.event;
    let event = event.ok_or_else(|| Error::reply(endpoint, "a parked event is missing"))?;
    Ok(ParkedEvent {
        event: StoredEvent::try_from(event).map_err(|error| Error::reply(endpoint, error))?,
        deliveries: parked.deliveries,
        parked_unix_ms: parked.parked_unix_ms,
        reason: parked.reason,
    })
}
