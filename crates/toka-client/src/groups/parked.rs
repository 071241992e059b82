//! Events that groups have put aside.

use toka_ledger::GroupName;
use toka_ledger::core::limits::PARKED_MOVES_MAX;
use toka_proto::convert::event::StoredEvent;
use toka_proto::v1;

use super::service;
use crate::call::Repeats;
use crate::client::Client;
use crate::error::Error;
use crate::read::{Consistency, Include, Read, route};

/// Events that one call asks for.
const PAGE_EVENTS: u32 = 1_000;

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
        let deadline = self.deadline();
        let mut parked = Vec::new();
        let mut page_token = String::new();
        loop {
            let message = v1::ListParkedRequest {
                vault: String::new(),
                group: group.to_string(),
                page_size: PAGE_EVENTS,
                page_token,
                include: Some(read.include.into()),
                read: Some(self.options(read.consistency)),
            };
            let answer = self
                .shared
                .call(route(read.consistency), deadline, |channel, time| {
                    let request = self.shared.request(message.clone(), time);
                    async move { service(channel).list_parked(request).await }
                })
                .await?;
            let (endpoint, response) = (answer.endpoint, answer.message);
            self.shared.observe(&endpoint, response.header)?;
            for message in response.parked {
                parked.push(read_parked(&endpoint, message)?);
            }
            page_token = response.next_page_token;
            if page_token.is_empty() || parked.len() >= limit {
                parked.truncate(limit);
                return Ok(parked);
            }
        }
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
        let read = Read {
            consistency: Consistency::Linearizable,
            include: Include::default(),
        };
        let first = self.parked(group, PARKED_MOVES_MAX, &read).await?;
        let first = first.iter().map(|parked| parked.event.header.sequence);
        Ok((incarnation, first.collect()))
    }
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
