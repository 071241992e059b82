//! Events that groups have outstanding.

use toka_ledger::GroupName;
use toka_ledger::group::ItemState;
use toka_proto::convert::event::StoredEvent;
use toka_proto::v1;

use super::service;
use crate::client::Client;
use crate::error::Error;
use crate::pages::{Listing, NextPage};
use crate::read::Read;

/// An event that was delivered, and is not done with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutstandingEvent {
    /// The event.
    pub event: StoredEvent,
    /// How often it was delivered, ever.
    pub deliveries: u32,
    /// How many of them do not count against the group's bound.
    pub forgiven: u32,
    /// Who has it, or what it waits for.
    pub state: ItemState,
}

impl Client {
    /// Events that a group has outstanding, in order, at most `limit`.
    ///
    /// # Errors
    /// [`Error::Rejected`] if there is no such group; as every call.
    pub async fn outstanding(
        &self,
        group: &GroupName,
        limit: usize,
        read: &Read,
    ) -> Result<Vec<OutstandingEvent>, Error> {
        let list = Listing {
            consistency: read.consistency,
            deadline: self.deadline(),
            limit,
        };
        let ask = |page: NextPage| v1::ListOutstandingRequest {
            vault: String::new(),
            group: group.to_string(),
            page_size: page.size,
            page_token: page.token,
            include: Some(read.include.into()),
            read: Some(self.options(read.consistency)),
        };
        let attempt =
            |channel, request| async move { service(channel).list_outstanding(request).await };
        self.shared
            .pages(list, ask, attempt, read_outstanding)
            .await
    }
}

fn read_outstanding(
    endpoint: &str,
    outstanding: v1::OutstandingEvent,
) -> Result<OutstandingEvent, Error> {
    let event = outstanding.event;
    let event = event.ok_or_else(|| Error::reply(endpoint, "an outstanding event is missing"))?;
    let state = outstanding.state;
    let state = state.ok_or_else(|| Error::reply(endpoint, "an event has no state"))?;
    Ok(OutstandingEvent {
        event: StoredEvent::try_from(event).map_err(|error| Error::reply(endpoint, error))?,
        deliveries: outstanding.deliveries,
        forgiven: outstanding.forgiven,
        state: ItemState::try_from(state).map_err(|error| Error::reply(endpoint, error))?,
    })
}
