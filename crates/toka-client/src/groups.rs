//! Consumer groups: each event goes to one of several consumers at a time.

mod consumer;
mod deliveries;
mod outstanding;
mod parked;

use toka_ledger::GroupName;
use toka_ledger::group::{Changes, Group, Settings};
use toka_proto::v1;
use toka_proto::v1::create_group_request::Start;
use toka_proto::v1::group_service_client::GroupServiceClient;

pub use self::consumer::{Consume, GroupConsumer};
pub use self::deliveries::{Delivery, Pull};
pub use self::outstanding::OutstandingEvent;
pub use self::parked::ParkedEvent;
use crate::call::Repeats;
use crate::channel::Connection;
use crate::client::Client;
use crate::config::MESSAGE_BYTES_MAX;
use crate::error::Error;
use crate::pages::{Listing, NextPage};
use crate::read::{Consistency, route};

/// Where a new group starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupStart {
    /// With the first event.
    #[default]
    Beginning,
    /// With events that are committed from now on.
    Now,
    /// With events after this sequence.
    After(u64),
    /// With events of this time or later, milliseconds since the Unix epoch.
    At(u64),
}

impl From<GroupStart> for Start {
    fn from(start: GroupStart) -> Self {
        match start {
            GroupStart::Beginning => Self::Beginning(v1::FromBeginning {}),
            GroupStart::Now => Self::Now(v1::FromNow {}),
            GroupStart::After(sequence) => Self::AfterSequence(sequence),
            GroupStart::At(unix_ms) => Self::AtUnixMs(unix_ms),
        }
    }
}

impl Client {
    /// Makes a consumer group. If there is one of that name with the same settings, that one is returned.
    ///
    /// # Errors
    /// [`Error::Invalid`] before anything is sent; [`Error::Rejected`] if there is one with other settings;
    /// [`Error::OutOfRange`] for a start that the vault does not have; [`Error::LimitReached`] above 1,000 groups; as
    /// every call.
    pub async fn create_group(
        &self,
        name: &GroupName,
        settings: &Settings,
        start: GroupStart,
    ) -> Result<Group, Error> {
        settings.check()?;
        let answer = self
            .shared
            .change(self.deadline(), Repeats::Always, |channel, time| {
                let message = v1::CreateGroupRequest {
                    vault: String::new(),
                    name: name.to_string(),
                    settings: Some(settings.into()),
                    start: Some(start.into()),
                    history_id: self.shared.history_bytes(),
                };
                let request = self.shared.request(message, time);
                async move { service(channel).create_group(request).await }
            })
            .await?;
        let (endpoint, response) = (answer.endpoint, answer.message);
        self.shared.observe(&endpoint, response.header)?;
        read_group(&endpoint, response.group)
    }

    /// A consumer group as it is now.
    ///
    /// # Errors
    /// [`Error::Rejected`] if there is none of that name; as every call.
    pub async fn group(&self, name: &GroupName, consistency: Consistency) -> Result<Group, Error> {
        let message = v1::GetGroupRequest {
            vault: String::new(),
            name: name.to_string(),
            read: Some(self.options(consistency)),
        };
        let answer = self
            .shared
            .call(route(consistency), self.deadline(), |channel, time| {
                let request = self.shared.request(message.clone(), time);
                async move { service(channel).get_group(request).await }
            })
            .await?;
        let (endpoint, response) = (answer.endpoint, answer.message);
        self.shared.observe(&endpoint, response.header)?;
        read_group(&endpoint, response.group)
    }

    /// All consumer groups, by name.
    ///
    /// # Errors
    /// As every call.
    pub async fn groups(&self, consistency: Consistency) -> Result<Vec<Group>, Error> {
        let list = Listing {
            consistency,
            deadline: self.deadline(),
            limit: usize::MAX,
        };
        let ask = |page: NextPage| v1::ListGroupsRequest {
            vault: String::new(),
            page_size: page.size,
            page_token: page.token,
            read: Some(self.options(consistency)),
        };
        let attempt = |channel, request| async move { service(channel).list_groups(request).await };
        let read = |endpoint: &str, group: v1::Group| read_group(endpoint, Some(group));
        self.shared.pages(list, ask, attempt, read).await
    }

    /// Changes how a consumer group delivers, and leaves it where it is. Returns the group as it is then.
    ///
    /// # Errors
    /// [`Error::Invalid`] before anything is sent; [`Error::Rejected`] if there is none of that name; as every call.
    pub async fn update_group(&self, name: &GroupName, changes: Changes) -> Result<Group, Error> {
        changes.check()?;
        let message = v1::UpdateGroupRequest {
            vault: String::new(),
            name: name.to_string(),
            incarnation: self.incarnation(name).await?,
            ack_timeout_ms: changes.ack_timeout_ms,
            unacknowledged_max: changes.unacknowledged_max,
            deliveries_max: changes.deliveries_max,
        };
        let answer = self
            .shared
            .change(self.deadline(), Repeats::Always, |channel, time| {
                let request = self.shared.request(message.clone(), time);
                async move { service(channel).update_group(request).await }
            })
            .await?;
        let (endpoint, response) = (answer.endpoint, answer.message);
        self.shared.observe(&endpoint, response.header)?;
        read_group(&endpoint, response.group)
    }

    /// Which group of that name there is: a call that names it can be repeated.
    async fn incarnation(&self, name: &GroupName) -> Result<u64, Error> {
        let group = self.group(name, Consistency::Linearizable).await?;
        Ok(group.incarnation)
    }

    /// Deletes a consumer group and all that it has outstanding or parked, not one that is made with that name
    /// meanwhile. Returns the revision.
    ///
    /// # Errors
    /// [`Error::Rejected`] if there is none of that name, also after an earlier try of this call has deleted it; as
    /// every call.
    pub async fn delete_group(&self, name: &GroupName) -> Result<u64, Error> {
        let message = v1::DeleteGroupRequest {
            vault: String::new(),
            name: name.to_string(),
            incarnation: self.incarnation(name).await?,
        };
        let answer = self
            .shared
            .change(self.deadline(), Repeats::Always, |channel, time| {
                let request = self.shared.request(message.clone(), time);
                async move { service(channel).delete_group(request).await }
            })
            .await?;
        self.shared
            .observe(&answer.endpoint, answer.message.header)?;
        Ok(answer.message.revision)
    }
}

fn service(channel: Connection) -> GroupServiceClient<Connection> {
    GroupServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

fn read_group(endpoint: &str, group: Option<v1::Group>) -> Result<Group, Error> {
    let group = group.ok_or_else(|| Error::reply(endpoint, "it has no group"))?;
    Group::try_from(group).map_err(|error| Error::reply(endpoint, error))
}
