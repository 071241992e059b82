//! Reads from a vault.

use std::sync::Arc;

use futures::TryStreamExt as _;
use toka_client::{Client, Code, Include, List, Read, Selector};
use toka_proto::convert::read::{Consistency, ReadOptions};
use toka_proto::v1;
use toka_proto::v1::vault_service_client::VaultServiceClient;
use tonic::transport::{Channel, Endpoint};

use crate::counted::Counted;
use crate::error::Error;
use crate::load;
use crate::pace::{Pace, Turn};

/// Events of a page where only ids are gathered.
const PAGE_EVENTS: u32 = 1_000;

/// The newest events of a vault, by id, as many as there are up to `most`.
///
/// # Errors
/// [`Error::Client`].
pub async fn newest(client: &Client, most: usize) -> Result<Arc<[Selector]>, Error> {
    let list = List {
        descending: true,
        page_size: PAGE_EVENTS,
        ..List::default()
    };
    let mut selectors = Vec::new();
    let mut events = std::pin::pin!(client.list_all(list));
    while selectors.len() < most
        && let Some(event) = events.try_next().await?
    {
        selectors.push(Selector::Id(event.header.id));
    }
    Ok(selectors.into())
}

/// Gets one of `selectors` after another, in an order that looks random.
///
/// # Errors
/// [`Error::Task`]; that reads fail is counted.
pub async fn get(
    client: &Client,
    selectors: &Arc<[Selector]>,
    pace: &Arc<Pace>,
    clients: u32,
    read: Read,
) -> Result<Counted<toka_client::Error>, Error> {
    let (client, selectors) = (client.clone(), Arc::clone(selectors));
    let operation = move |_, turn: Turn| {
        let client = client.clone();
        let selector = selectors[place(turn.number, selectors.len())];
        async move { client.get(&selector, &read).await.map(|_| 1) }
    };
    load::closed(pace, clients, operation).await
}

/// Gets `size` of `selectors` with one call.
///
/// # Errors
/// As [`get`].
pub async fn batch_get(
    client: &Client,
    selectors: &Arc<[Selector]>,
    pace: &Arc<Pace>,
    clients: u32,
    read: Read,
    size: u32,
) -> Result<Counted<toka_client::Error>, Error> {
    let (client, selectors) = (client.clone(), Arc::clone(selectors));
    let operation = move |_, turn: Turn| {
        let client = client.clone();
        let first = turn.number * u64::from(size);
        let wanted: Vec<_> = (first..first + u64::from(size))
            .map(|number| selectors[place(number, selectors.len())])
            .collect();
        async move {
            let events = client.batch_get(&wanted, &read).await?;
            Ok(events.iter().flatten().count() as u64)
        }
    };
    load::closed(pace, clients, operation).await
}

/// Lists pages of `size` events, each behind another place of the vault's `events`.
///
/// # Errors
/// As [`get`].
pub async fn list(
    client: &Client,
    events: u64,
    pace: &Arc<Pace>,
    clients: u32,
    read: Read,
    size: u32,
) -> Result<Counted<toka_client::Error>, Error> {
    let client = client.clone();
    let starts = usize::try_from(events.saturating_sub(size.into())).unwrap_or(0);
    let operation = move |_, turn: Turn| {
        let client = client.clone();
        let list = List {
            after: place(turn.number, starts) as u64,
            page_size: size,
            read,
            ..List::default()
        };
        async move {
            let page = client.list(&list, None).await?;
            Ok(page.events.len() as u64)
        }
    };
    load::closed(pace, clients, operation).await
}

/// One node of a vault, asked without the client that looks for the leader.
#[derive(Clone, Debug)]
pub struct Node {
    vault: VaultServiceClient<Channel>,
}

impl Node {
    /// Connects, when it is used, to the node whose clients' endpoint (`host:port`) is given.
    ///
    /// # Errors
    /// [`tonic::transport::Error`] if it is no endpoint.
    pub fn at(endpoint: &str) -> Result<Self, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("http://{endpoint}"))?.tcp_nodelay(true);
        Ok(Self {
            vault: VaultServiceClient::new(endpoint.connect_lazy()),
        })
    }

    /// As [`Node::at`], reached over `transport`.
    ///
    /// # Errors
    /// [`toka_client::Error::Endpoint`] if it is no endpoint.
    pub fn over(
        transport: &dyn toka_client::Transport,
        endpoint: &str,
    ) -> Result<Self, toka_client::Error> {
        Ok(Self {
            vault: VaultServiceClient::new(transport.channel(endpoint)?),
        })
    }

    /// Gets an event: what the node has, or (`is_linearizable`) what the cluster has acknowledged.
    ///
    /// # Errors
    /// The node's answer.
    pub async fn get(
        &self,
        selector: &Selector,
        include: Include,
        is_linearizable: bool,
    ) -> Result<(), tonic::Status> {
        let consistency = if is_linearizable {
            Consistency::Linearizable
        } else {
            Consistency::Local
        };
        let read = ReadOptions {
            consistency,
            history_id: None,
        };
        let request = v1::GetRequest {
            vault: String::new(),
            selector: Some(selector.into()),
            include: Some(include.into()),
            read: Some(read.into()),
        };
        self.vault.clone().get(request).await.map(drop)
    }

    /// Whether the node answers reads by now: with an event, or with that there is none.
    pub async fn serves(&self) -> bool {
        let first = Selector::Sequence(1);
        match self.get(&first, Include::default(), false).await {
            Ok(()) => true,
            Err(status) => status.code() == Code::NotFound,
        }
    }
}

/// As [`get`], from one node.
///
/// # Errors
/// As [`get`].
pub async fn get_at(
    node: &Node,
    selectors: &Arc<[Selector]>,
    pace: &Arc<Pace>,
    clients: u32,
    include: Include,
    is_linearizable: bool,
) -> Result<Counted<tonic::Status>, Error> {
    let (node, selectors) = (node.clone(), Arc::clone(selectors));
    let operation = move |_, turn: Turn| {
        let node = node.clone();
        let selector = selectors[place(turn.number, selectors.len())];
        async move {
            node.get(&selector, include, is_linearizable)
                .await
                .map(|()| 1)
        }
    };
    load::closed(pace, clients, operation).await
}

/// A place below `length` that looks random, for the operation of that number; 0 if there is none.
#[must_use]
pub fn place(number: u64, length: usize) -> usize {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    usize::try_from(mixed).unwrap_or(0) % length.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_range_and_spread() {
        let mut hit = [0; 10];
        for number in 0..1_000 {
            hit[place(number, 10)] += 1;
        }
        assert!(hit.iter().all(|hits| *hits > 50), "{hit:?}");
        assert_eq!(place(9, 0), 0);
    }
}
