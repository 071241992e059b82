//! Lists that come page by page.

use std::future::Future;

use toka_proto::v1;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::call::Shared;
use crate::channel::Connection;
use crate::error::Error;
use crate::read::{Consistency, route};
use crate::reply::Reply;

/// What one call asks for, at most.
const PAGE_ITEMS: u32 = 1_000;

/// How a list is read.
pub(crate) struct Listing {
    /// What each page must see.
    pub(crate) consistency: Consistency,
    /// When all pages must have come.
    pub(crate) deadline: Instant,
    /// Items of all pages at most.
    pub(crate) limit: usize,
}

/// Which page is asked for.
pub(crate) struct NextPage {
    /// Items on it at most.
    pub(crate) size: u32,
    /// As the page before has named it; empty: the first one.
    pub(crate) token: String,
}

/// A page, as it comes.
pub(crate) trait Paged: Reply {
    type Item;

    /// State of the node, what is on the page, and what asks for the next one.
    fn parts(self) -> (Option<v1::ResponseHeader>, Vec<Self::Item>, String);
}

macro_rules! paged {
    ($($page:ident { $items:ident: $item:ident }),+ $(,)?) => {
        $(impl Paged for v1::$page {
            type Item = v1::$item;

            fn parts(self) -> (Option<v1::ResponseHeader>, Vec<v1::$item>, String) {
                (self.header, self.$items, self.next_page_token)
            }
        })+
    };
}

paged!(
    ListCursorsResponse { cursors: Cursor },
    ListGroupsResponse { groups: Group },
    ListIntentsResponse { intents: Intent },
    ListOutstandingResponse {
        outstanding: OutstandingEvent
    },
    ListParkedResponse {
        parked: ParkedEvent
    },
);

impl Shared {
    /// Reads a list to its end or its limit. `ask` says what asks for a page, `attempt` sends that, and `read` takes
    /// each item of what the node of the given endpoint has answered.
    ///
    /// # Errors
    /// As [`Shared::call`], and what `read` finds.
    pub(crate) async fn pages<M, P, A, T>(
        &self,
        list: Listing,
        ask: impl Fn(NextPage) -> M,
        attempt: impl Fn(Connection, Request<M>) -> A,
        read: impl Fn(&str, P::Item) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error>
    where
        M: Clone,
        P: Paged,
        A: Future<Output = Result<Response<P>, Status>>,
    {
        let mut items = Vec::new();
        let mut token = String::new();
        loop {
            // No more than are wanted: some of them are not to be had for nothing.
            let size = u32::try_from(list.limit - items.len())
                .map_or(PAGE_ITEMS, |missing| missing.clamp(1, PAGE_ITEMS));
            let message = ask(NextPage { size, token });
            let answer = self
                .call(route(list.consistency), list.deadline, |channel, time| {
                    attempt(channel, self.request(message.clone(), time))
                })
                .await?;
            let (header, page, next) = answer.message.parts();
            self.observe(&answer.endpoint, header)?;
            for item in page {
                items.push(read(&answer.endpoint, item)?);
            }
            token = next;
            if token.is_empty() || items.len() >= list.limit {
                items.truncate(list.limit);
                return Ok(items);
            }
        }
    }
}
