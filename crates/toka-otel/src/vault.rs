//! What is needed of a vault.

use futures::TryStreamExt as _;
use futures::future::BoxFuture;
use futures::stream::StreamExt as _;
use toka_client::{Client, Consistency, Include, List, Read};
use toka_ledger::{EventDraft, EventHeader, Filter};

use crate::error::Error;

/// Events of one page of a list.
const PAGE_EVENTS: usize = 1_000;

/// What is needed of a vault; of a cluster, or in tests of one in this process.
pub(crate) trait Vault: Send + Sync {
    /// Stores events together; those that are there are not stored again. Returns a revision as of which they are there.
    fn commit(&self, events: Vec<EventDraft>) -> BoxFuture<'_, Result<u64, Error>>;

    /// The oldest events that the filter wants, as of a revision or a later one.
    fn list(
        &self,
        filter: Filter,
        revision: u64,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<EventHeader>, Error>>;
}

impl Vault for Client {
    fn commit(&self, events: Vec<EventDraft>) -> BoxFuture<'_, Result<u64, Error>> {
        Box::pin(async move {
            let committed = self.commit_batch(events, Vec::new()).await?;
            Ok(committed.revision)
        })
    }

    fn list(
        &self,
        filter: Filter,
        revision: u64,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<EventHeader>, Error>> {
        let list = List {
            filter,
            page_size: u32::try_from(max.min(PAGE_EVENTS)).expect("a page is small"),
            read: Read {
                consistency: Consistency::AtLeast(revision),
                include: Include::default(),
            },
            ..List::default()
        };
        let events = self.list_all(list).take(max);
        Box::pin(async move {
            let headers = events.map_ok(|event| event.header);
            let headers: Vec<EventHeader> = headers.try_collect().await?;
            Ok(headers)
        })
    }
}
