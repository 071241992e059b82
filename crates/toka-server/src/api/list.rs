//! Pages of the order.

use std::sync::Arc;

use prost::Message;
use toka_ledger::core::EventHeader;
use toka_ledger::engine::Direction;
use toka_ledger::read::PAGE_EVENTS_MAX;
use toka_ledger::{Error, Filter, Invalid, Page, Query, Reader};
use toka_proto::convert::read::check_vault;
use toka_proto::convert::status;
use toka_proto::v1;
use tonic::{Request, Response, Status};

use super::Shared;
use super::page_token::{ListIdentity, PageToken};
use super::read::Include;
use crate::limits::{PAGE_BYTES, PAGE_EVENTS_DEFAULT};

/// A checked request, without the range of its page.
struct List {
    after: u64,
    /// As in the request: 0 for the end.
    until: u64,
    filter: Filter,
    direction: Direction,
    limit: usize,
    include: Include,
    history_id: u128,
}

pub(super) async fn list(
    shared: &Shared,
    request: Request<v1::ListRequest>,
) -> Result<Response<v1::ListResponse>, Status> {
    let call = shared.admit(request.metadata())?;
    let mut request = request.into_inner();
    let (read, token) = (request.read.take(), std::mem::take(&mut request.page_token));
    let list =
        List::check(request, shared.history_id()).map_err(|error| status::invalid(&error))?;
    let token = list
        .token(&token)
        .map_err(|error| status::invalid(&error))?;
    let mut position = shared.barrier(&call, read).await?;
    if let Some(token) = token {
        // Another node may have given the token: this one must not take its own end for the list's.
        position = shared.reach(token.until, call.deadline).await?;
    }
    let (query, until) = list.query(token, position.sequence);
    let header = Some(shared.header(&position));
    if query.after >= query.until {
        return Ok(Response::new(v1::ListResponse {
            header,
            ..Default::default()
        }));
    }
    let (include, after) = (list.include, list.after);
    let (events, next) = shared
        .read(call.deadline, move |reader| {
            page(reader, &query, include, after)
        })
        .await?;
    let next_page_token = next
        .map(|next| PageToken { next, until }.encode(&list.identity()))
        .unwrap_or_default();
    Ok(Response::new(v1::ListResponse {
        header,
        events,
        next_page_token,
    }))
}

impl List {
    fn check(request: v1::ListRequest, history_id: u128) -> Result<Self, Invalid> {
        check_vault(&request.vault)?;
        let direction = match request.order() {
            v1::Order::Unspecified | v1::Order::Ascending => Direction::Forward,
            v1::Order::Descending => Direction::Backward,
        };
        let limit = match request.page_size {
            0 => PAGE_EVENTS_DEFAULT,
            size => usize::try_from(size)
                .unwrap_or(usize::MAX)
                .min(PAGE_EVENTS_MAX),
        };
        Ok(Self {
            after: request.after_sequence,
            until: request.until_sequence,
            filter: request.filter.unwrap_or_default().try_into()?,
            direction,
            limit,
            include: Include::new(request.include),
            history_id,
        })
    }

    fn identity(&self) -> ListIdentity<'_> {
        ListIdentity {
            after: self.after,
            until: self.until,
            direction: self.direction,
            filter: &self.filter,
            history_id: self.history_id,
        }
    }

    fn token(&self, text: &str) -> Result<Option<PageToken>, Invalid> {
        PageToken::read(text, &self.identity())
    }

    /// The page's range, and where the whole list ends: at `head`, unless the first page has fixed
    /// another end.
    fn query(&self, token: Option<PageToken>, head: u64) -> (Query, u64) {
        let last = match (token, self.until) {
            (Some(token), _) => token.until,
            (None, 0) => head,
            (None, until) => until.min(head),
        };
        let (after, until) = match (token, self.direction) {
            (Some(token), Direction::Forward) => (token.next, last),
            (Some(token), Direction::Backward) => (self.after, token.next),
            (None, _) => (self.after, last),
        };
        let query = Query {
            after,
            until,
            filter: self.filter.clone(),
            direction: self.direction,
            limit: self.limit,
        };
        (query, last)
    }
}

/// The events of a page, and where the next one begins. Blocking.
fn page(
    reader: &Reader,
    query: &Query,
    include: Include,
    after: u64,
) -> Result<(Vec<v1::Event>, Option<u64>), Error> {
    let Page { headers, next } = reader.list(query)?;
    let mut events = Vec::with_capacity(headers.len());
    let mut bytes = 0;
    let mut last: Option<Arc<EventHeader>> = None;
    for header in headers {
        let event = include.load(reader, &header)?;
        bytes += event.encoded_len();
        if bytes > PAGE_BYTES
            && let Some(last) = last
        {
            let next = match query.direction {
                Direction::Forward => Some(last.sequence),
                Direction::Backward => Some(last.sequence - 1).filter(|until| *until > after),
            };
            return Ok((events, next));
        }
        events.push(event);
        last = Some(header);
    }
    Ok((events, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(after: u64, until: u64, direction: Direction) -> List {
        let filter = Filter::default();
        let include = Include::default();
        List {
            after,
            until,
            filter,
            direction,
            limit: 10,
            include,
            history_id: 1,
        }
    }

    fn range(list: &List, token: Option<PageToken>, head: u64) -> (u64, u64, u64) {
        let (query, last) = list.query(token, head);
        (query.after, query.until, last)
    }

    #[test]
    fn the_first_page_fixes_the_end() {
        assert_eq!(range(&list(3, 0, Direction::Forward), None, 9), (3, 9, 9));
        assert_eq!(range(&list(3, 7, Direction::Backward), None, 9), (3, 7, 7));
        assert_eq!(range(&list(3, 70, Direction::Forward), None, 9), (3, 9, 9));
    }

    #[test]
    fn a_later_page_goes_on_to_the_same_end() {
        let token = Some(PageToken { next: 5, until: 9 });
        assert_eq!(range(&list(3, 0, Direction::Forward), token, 20), (5, 9, 9));
        assert_eq!(
            range(&list(3, 0, Direction::Backward), token, 20),
            (3, 5, 9)
        );
    }

    #[test]
    fn a_page_size_is_bounded() {
        let checked = |page_size| {
            let request = v1::ListRequest {
                page_size,
                ..Default::default()
            };
            List::check(request, 1).map(|list| list.limit)
        };
        assert_eq!(checked(0), Ok(PAGE_EVENTS_DEFAULT));
        assert_eq!(checked(7), Ok(7));
        assert_eq!(checked(u32::MAX), Ok(PAGE_EVENTS_MAX));
    }
}
