//! Pages of the order.

use bytes::Bytes;
use prost::Message;
use toka_ledger::engine::Direction;
use toka_ledger::read::PAGE_EVENTS_MAX;
use toka_ledger::{Error, Filter, Invalid, Query, Reader};
use toka_proto::convert::read::check_vault;
use toka_proto::convert::status;
use toka_proto::convert::wire::put_text;
use toka_proto::v1;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::Shared;
use super::page_token::{ListIdentity, PageToken, Times};
use super::read::Include;
use crate::limits::{PAGE_BYTES, PAGE_EVENTS_DEFAULT};

/// Of [`v1::ListResponse`].
const EVENTS: u32 = 2;
/// See [`EVENTS`].
const NEXT_PAGE_TOKEN: u32 = 3;

/// A checked request, without the range of its page.
struct List {
    after: u64,
    /// As in the request: 0 for the end.
    until: u64,
    filter: Filter,
    direction: Direction,
    times: Times,
    limit: usize,
    bytes_max: usize,
    include: Include,
    history_id: u128,
}

/// The answer is an encoded [`v1::ListResponse`].
pub(super) async fn list(
    shared: &Shared,
    request: Request<v1::ListRequest>,
) -> Result<Response<Bytes>, Status> {
    let call = shared.admit(&request)?;
    let mut request = request.into_inner();
    let (read, token) = (request.read.take(), std::mem::take(&mut request.page_token));
    let list =
        List::check(request, shared.history_id()).map_err(|error| status::invalid(&error))?;
    let token = list
        .token(&token)
        .map_err(|error| status::invalid(&error))?;
    let mut position = shared.barrier(&call, read).await?;
    position = match token {
        // Another node may have given the token: this one must not take its own end for the list's.
        Some(token) => shared.confirm(&call, token.until, position).await?,
        None => shared.confirm(&call, list.after, position).await?,
    };
    // The list keeps the event as it was named: tokens are bound to that.
    let mut filter = list.filter.clone();
    if let Some(found) = shared.find_root(&call, &mut filter).await? {
        position = found;
    }
    call.access.narrow(&mut filter);
    let bounds = list.bounds(shared, call.deadline).await?;
    let (query, until) = list.query(filter, bounds, token, position.sequence);
    let head = v1::ListResponse {
        header: Some(shared.header(&position)),
        ..Default::default()
    };
    let answer = head.encode_to_vec();
    if query.after >= query.until {
        return Ok(Response::new(answer.into()));
    }
    let page = Page {
        after: bounds.after,
        include: list.include,
        bytes_max: list.bytes_max,
        deadline: call.deadline,
    };
    let (mut answer, next) = shared
        .read(call.deadline, move |reader| {
            page.write(reader, &query, answer)
        })
        .await?;
    let next_page_token = next
        .map(|next| PageToken { next, until }.encode(&list.identity()))
        .unwrap_or_default();
    put_text(&mut answer, NEXT_PAGE_TOKEN, next_page_token.as_bytes());
    Ok(Response::new(answer.into()))
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
        let bytes_max = match request.max_bytes {
            0 => PAGE_BYTES,
            bytes => usize::try_from(bytes).unwrap_or(usize::MAX).min(PAGE_BYTES),
        };
        Ok(Self {
            after: request.after_sequence,
            until: request.until_sequence,
            filter: request.filter.unwrap_or_default().try_into()?,
            direction,
            times: Times {
                from_unix_ms: request.from_unix_ms,
                until_unix_ms: request.until_unix_ms,
            },
            limit,
            bytes_max,
            include: Include::new(request.include),
            history_id,
        })
    }

    fn identity(&self) -> ListIdentity<'_> {
        ListIdentity {
            after: self.after,
            until: self.until,
            direction: self.direction,
            times: self.times,
            filter: &self.filter,
            history_id: self.history_id,
        }
    }

    fn token(&self, text: &str) -> Result<Option<PageToken>, Invalid> {
        PageToken::read(text, &self.identity())
    }

    /// The sequences that the list's bounds come to, its times included.
    async fn bounds(&self, shared: &Shared, deadline: Instant) -> Result<Bounds, Status> {
        let (after, times) = (self.after, self.times);
        let until = match self.until {
            0 => u64::MAX,
            until => until,
        };
        if times == Times::default() {
            return Ok(Bounds { after, until });
        }
        let find = move |reader: &Reader| {
            let after = match times.from_unix_ms {
                0 => after,
                from => after.max(reader.last_before(from)?),
            };
            let until = match times.until_unix_ms {
                0 => until,
                last => until.min(reader.last_before(last.saturating_add(1))?),
            };
            Ok(Bounds { after, until })
        };
        shared.read(deadline, find).await
    }

    /// The page's range, and where the whole list ends: at `head`, unless the first page has fixed
    /// another end.
    fn query(
        &self,
        filter: Filter,
        bounds: Bounds,
        token: Option<PageToken>,
        head: u64,
    ) -> (Query, u64) {
        let last = token.map_or(bounds.until.min(head), |token| token.until);
        let (after, until) = match (token, self.direction) {
            (Some(token), Direction::Forward) => (token.next, last),
            (Some(token), Direction::Backward) => (bounds.after, token.next),
            (None, _) => (bounds.after, last),
        };
        let query = Query {
            after,
            until,
            filter,
            direction: self.direction,
            limit: self.limit,
        };
        (query, last)
    }
}

/// Sequences above `after`, up to `until`.
#[derive(Clone, Copy)]
struct Bounds {
    after: u64,
    until: u64,
}

/// What a page may have.
struct Page {
    /// The list is after this sequence.
    after: u64,
    include: Include,
    bytes_max: usize,
    /// When the page ends with what it has.
    deadline: Instant,
}

impl Page {
    /// `answer` with the events of a page, and where the next one begins. Blocking.
    fn write(
        &self,
        reader: &Reader,
        query: &Query,
        mut answer: Vec<u8>,
    ) -> Result<(Vec<u8>, Option<u64>), Error> {
        let go_on = || Instant::now() < self.deadline;
        let toka_ledger::Page { headers, next } = reader.list_while(query, &go_on)?;
        let mut bytes = 0;
        let mut last = None;
        let mut rest = &headers[..];
        while !rest.is_empty() {
            // A page has one event in any case.
            if let Some(last) = last
                && !go_on()
            {
                return Ok((answer, self.rest(query, last)));
            }
            let ahead = rest.iter().map(|header| Some(&**header));
            let (together, later) = rest.split_at(self.include.together(ahead));
            rest = later;
            let wanted: Vec<_> = together.iter().map(|header| &**header).collect();
            for event in self.include.read(reader, &wanted)?.parts() {
                bytes += event.encoded_len();
                if let Some(last) = last
                    && bytes > self.bytes_max
                {
                    return Ok((answer, self.rest(query, last)));
                }
                event.encode_field(EVENTS, &mut answer);
                last = Some(event.header.sequence);
            }
        }
        Ok((answer, next))
    }

    /// Where the page after the one that ends at `last` begins.
    fn rest(&self, query: &Query, last: u64) -> Option<u64> {
        match query.direction {
            Direction::Forward => Some(last),
            Direction::Backward => Some(last - 1).filter(|until| *until > self.after),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use toka_ledger::engine::memory::MemoryEngine;
    use toka_ledger::{EventDraft, VaultBus};

    use super::*;

    fn list(after: u64, until: u64, direction: Direction) -> List {
        let filter = Filter::default();
        let include = Include::default();
        List {
            after,
            until,
            filter,
            direction,
            times: Times::default(),
            limit: 10,
            bytes_max: PAGE_BYTES,
            include,
            history_id: 1,
        }
    }

    fn range(list: &List, token: Option<PageToken>, head: u64) -> (u64, u64, u64) {
        let bounds = Bounds {
            after: list.after,
            until: match list.until {
                0 => u64::MAX,
                until => until,
            },
        };
        let (query, last) = list.query(Filter::default(), bounds, token, head);
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

    #[tokio::test]
    async fn a_page_ends_at_the_deadline_with_what_it_has() {
        // More than are looked up together.
        const EVENTS: u64 = 150;
        let engine = Arc::new(MemoryEngine::new());
        let vault = VaultBus::builder().open_engine(engine).expect("opened");
        let drafts = (0..EVENTS).map(|n| EventDraft::new("a").payload(&n));
        vault.commit_batch(drafts).await.expect("committed");
        let read = |after, deadline| {
            let page = Page {
                after: 0,
                include: Include::default(),
                bytes_max: PAGE_BYTES,
                deadline,
            };
            let query = Query {
                after,
                limit: PAGE_EVENTS_MAX,
                ..Query::default()
            };
            let written = page.write(vault.reader(), &query, Vec::new());
            let (answer, next) = written.expect("readable");
            let answer = v1::ListResponse::decode(answer.as_slice()).expect("a page");
            let events = answer.events.into_iter();
            let sequences: Vec<u64> = events.map(|event| event.sequence).collect();
            (sequences, next)
        };
        let now = Instant::now();
        let (mut sequences, next) = read(0, now);
        assert!(!sequences.is_empty(), "it has come no further");
        assert_eq!(next, sequences.last().copied());
        let (rest, end) = read(next.expect("there is more"), now + Duration::from_secs(600));
        assert_eq!(end, None);
        sequences.extend(rest);
        assert_eq!(sequences, (1..=EVENTS).collect::<Vec<_>>());
        vault.close().await;
    }
}
