//! `toka.vault.v1.LineageService`: walks through the graph of events.

mod walking;

use std::sync::Arc;

use prost::Message;
use toka_ledger::read::PAGE_EVENTS_MAX;
use toka_ledger::read::lineage::{DifferenceQuery, Heads, Query};
use toka_ledger::{Error, EventHeader, Invalid, Reader};
use toka_proto::convert::lineage::{kind_prefixes, relation, selector};
use toka_proto::convert::read::check_vault;
use toka_proto::convert::status;
use toka_proto::v1;
use toka_proto::v1::lineage_service_server::{LineageService, LineageServiceServer};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use self::walking::{Part, Walking};
use super::Shared;
use super::page_token::{HeadsIdentity, HeadsPageToken};
use super::vault::Answers;
use crate::auth::Access;
use crate::limits::{
    MESSAGE_BYTES_MAX, PAGE_BYTES, PAGE_EVENTS_DEFAULT, WALK_EVENTS_DEFAULT, WALK_EVENTS_MAX,
};

/// The service.
#[derive(Clone)]
pub(crate) struct Lineage {
    shared: Arc<Shared>,
}

impl Lineage {
    pub(crate) fn server(shared: Arc<Shared>) -> LineageServiceServer<Self> {
        LineageServiceServer::new(Self { shared })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl LineageService for Lineage {
    type WalkStream = Answers<v1::WalkResponse>;

    async fn walk(
        &self,
        request: Request<v1::WalkRequest>,
    ) -> Result<Response<Self::WalkStream>, Status> {
        let shared = &self.shared;
        let call = shared.admit(&request)?;
        let permit = shared.gates.walks.enter()?;
        let mut request = request.into_inner();
        let read = request.read.take();
        let until = request.until_sequence;
        let mut query = walk_query(request).map_err(|error| status::invalid(&error))?;
        let mut position = shared.barrier(&call, read).await?;
        if until > 0 {
            // Another node may have been as far.
            position = shared.confirm(&call, until, position).await?;
        }
        query.until = if until > 0 { until } else { position.sequence };
        query.kind_prefixes = call.access.narrow_kinds(query.kind_prefixes);
        let access = call.access.clone();
        // Begun before the answer, so that an event that is not there fails the call itself.
        let begin = move |reader: &Reader| {
            access.check_event(reader, &query.event)?;
            reader.walk(&query)
        };
        let walk = shared.read(call.deadline, begin).await?;
        let header = shared.header(&position);
        let walking = Walking::new(Arc::clone(shared), call.deadline, walk, permit);
        let access = call.access;
        Ok(Response::new(walking.stream(move |part| {
            let (relatives, end) = match part {
                Part::Found(mut found) => {
                    found.retain(|relative| access.sees(relative.header.kind.as_str()));
                    (found, None)
                }
                Part::End(end) => (Vec::new(), Some(end)),
            };
            v1::WalkResponse {
                header: Some(header.clone()),
                relatives: relatives.iter().map(v1::Relative::from).collect(),
                end,
            }
        })))
    }

    type DifferenceStream = Answers<v1::DifferenceResponse>;

    async fn difference(
        &self,
        request: Request<v1::DifferenceRequest>,
    ) -> Result<Response<Self::DifferenceStream>, Status> {
        let shared = &self.shared;
        let call = shared.admit(&request)?;
        let permit = shared.gates.walks.enter()?;
        let mut request = request.into_inner();
        let read = request.read.take();
        let mut query = difference_query(request).map_err(|error| status::invalid(&error))?;
        let position = shared.barrier(&call, read).await?;
        query.until = position.sequence;
        query.kind_prefixes = call.access.narrow_kinds(query.kind_prefixes);
        let access = call.access.clone();
        let begin = move |reader: &Reader| {
            access.check_event(reader, &query.without)?;
            access.check_event(reader, &query.of)?;
            reader.difference(&query)
        };
        let difference = shared.read(call.deadline, begin).await?;
        let header = shared.header(&position);
        let walking = Walking::new(Arc::clone(shared), call.deadline, difference, permit);
        let access = call.access;
        Ok(Response::new(walking.stream(move |part| {
            let (headers, end) = match part {
                Part::Found(mut found) => {
                    found.retain(|header| access.sees(header.kind.as_str()));
                    (found, None)
                }
                Part::End(end) => (Vec::new(), Some(end)),
            };
            v1::DifferenceResponse {
                header: Some(header.clone()),
                events: headers.iter().map(|header| (&**header).into()).collect(),
                end,
            }
        })))
    }

    async fn common_ancestors(
        &self,
        request: Request<v1::CommonAncestorsRequest>,
    ) -> Result<Response<v1::CommonAncestorsResponse>, Status> {
        let shared = &self.shared;
        let call = shared.admit(&request)?;
        let permit = shared.gates.walks.enter()?;
        let request = request.into_inner();
        let events = check_vault(&request.vault)
            .and_then(|()| selector("first", request.first))
            .and_then(|first| Ok((first, selector("second", request.second)?)));
        let (first, second) = events.map_err(|error| status::invalid(&error))?;
        let position = shared.barrier(&call, request.read).await?;
        let access = call.access.clone();
        let begin = move |reader: &Reader| {
            access.check_event(reader, &first)?;
            access.check_event(reader, &second)?;
            reader.common_ancestors(&first, &second, position.sequence)
        };
        let search = shared.read(call.deadline, begin).await?;
        let mut walking = Walking::new(Arc::clone(shared), call.deadline, search, permit);
        let mut page = HeaderPage::default();
        let mut end = None;
        while let Some(part) = walking.next().await? {
            match part {
                Part::Found(found) => {
                    let is_seen =
                        |header: &&Arc<EventHeader>| call.access.sees(header.kind.as_str());
                    let mut seen = found.iter().filter(is_seen);
                    if seen.any(|header| !page.push(header)) {
                        break;
                    }
                }
                Part::End(how) => end = Some(how),
            }
        }
        Ok(Response::new(v1::CommonAncestorsResponse {
            header: Some(shared.header(&position)),
            events: page.events,
            // Broken off where there was no more room: not complete.
            end: Some(end.unwrap_or_default()),
        }))
    }

    async fn list_heads(
        &self,
        request: Request<v1::ListHeadsRequest>,
    ) -> Result<Response<v1::ListHeadsResponse>, Status> {
        let shared = &self.shared;
        let call = shared.admit(&request)?;
        let request = request.into_inner();
        let prefixes = check_vault(&request.vault)
            .and_then(|()| kind_prefixes(request.kind_prefixes))
            .map_err(|error| status::invalid(&error))?;
        let identity = HeadsIdentity {
            kind_prefixes: &prefixes,
            history_id: shared.history_id(),
        };
        let token = HeadsPageToken::read(&request.page_token, identity)
            .map_err(|error| status::invalid(&error))?;
        let mut position = shared.barrier(&call, request.read).await?;
        if let Some(token) = token {
            // Another node may have given the token.
            position = shared.confirm(&call, token.as_of, position).await?;
        }
        let heads = Heads {
            as_of: token.map_or(position.sequence, |token| token.as_of),
            from: token.map_or(u64::MAX, |token| token.from),
            kind_prefixes: call.access.narrow_kinds(prefixes.clone()),
            limit: match request.page_size {
                0 => PAGE_EVENTS_DEFAULT,
                size => (size as usize).min(PAGE_EVENTS_MAX),
            },
        };
        let (deadline, access) = (call.deadline, call.access);
        let read = move |reader: &Reader| heads_page(reader, &heads, &access, deadline);
        let (events, next) = shared.read(deadline, read).await?;
        let next_page_token = next.map(|next| next.encode(identity));
        Ok(Response::new(v1::ListHeadsResponse {
            header: Some(shared.header(&position)),
            events,
            next_page_token: next_page_token.unwrap_or_default(),
        }))
    }
}

/// The walk of a request, without its end.
fn walk_query(request: v1::WalkRequest) -> Result<Query, Invalid> {
    check_vault(&request.vault)?;
    let relation = relation(request.relation)?;
    Ok(Query {
        depth_max: match request.max_depth {
            0 => u32::MAX,
            depth => depth,
        },
        events_max: events_max(request.max_events)?,
        kind_prefixes: kind_prefixes(request.kind_prefixes)?,
        ..Query::new(selector("event", request.event)?, relation)
    })
}

fn difference_query(request: v1::DifferenceRequest) -> Result<DifferenceQuery, Invalid> {
    check_vault(&request.vault)?;
    Ok(DifferenceQuery {
        without: selector("without", request.without)?,
        of: selector("of", request.of)?,
        until: u64::MAX,
        events_max: events_max(request.max_events)?,
        kind_prefixes: kind_prefixes(request.kind_prefixes)?,
    })
}

fn events_max(asked: u32) -> Result<u64, Invalid> {
    match asked as usize {
        0 => Ok(WALK_EVENTS_DEFAULT as u64),
        asked if asked <= WALK_EVENTS_MAX => Ok(asked as u64),
        asked => Err(Invalid::OutOfRange {
            field: "max_events",
            min: 0,
            max: WALK_EVENTS_MAX as u64,
            actual: asked as u64,
        }),
    }
}

/// Events of a reply, as far as there is room.
#[derive(Default)]
struct HeaderPage {
    events: Vec<v1::Event>,
    bytes: usize,
}

impl HeaderPage {
    /// Whether there was room; for the first event there is.
    fn push(&mut self, header: &EventHeader) -> bool {
        let event = v1::Event::from(header);
        self.bytes += event.encoded_len();
        let has_room = self.bytes <= PAGE_BYTES || self.events.is_empty();
        if has_room {
            self.events.push(event);
        }
        has_room
    }
}

/// The heads of a page, and where the next one begins. Ends with what it has at `deadline`. Blocking.
fn heads_page(
    reader: &Reader,
    heads: &Heads,
    access: &Access,
    deadline: Instant,
) -> Result<(Vec<v1::Event>, Option<HeadsPageToken>), Error> {
    let found = reader.heads_while(heads, &|| Instant::now() < deadline)?;
    let as_of = found.as_of;
    let mut page = HeaderPage::default();
    let seen = found.headers.iter();
    for header in seen.filter(|header| access.sees(header.kind.as_str())) {
        if !page.push(header) {
            let from = header.sequence;
            return Ok((page.events, Some(HeadsPageToken { from, as_of })));
        }
    }
    let next = found.next.map(|from| HeadsPageToken { from, as_of });
    Ok((page.events, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_has_a_number_of_events_unless_it_is_given_one() {
        assert_eq!(events_max(0), Ok(WALK_EVENTS_DEFAULT as u64));
        assert_eq!(events_max(7), Ok(7));
        let most = WALK_EVENTS_MAX as u64;
        assert_eq!(
            events_max(u32::MAX),
            Err(Invalid::OutOfRange {
                field: "max_events",
                min: 0,
                max: most,
                actual: u32::MAX.into()
            })
        );
    }

    #[test]
    fn fields_of_a_walk_are_checked_by_name() {
        let event = Some(v1::EventSelector::from(&toka_ledger::Selector::Sequence(1)));
        let good = v1::WalkRequest {
            event,
            ..Default::default()
        };
        let query = walk_query(good.clone()).expect("valid");
        assert_eq!(query.depth_max, u32::MAX);
        let wrong = [
            (
                v1::WalkRequest {
                    event: None,
                    ..good.clone()
                },
                "event",
            ),
            (
                v1::WalkRequest {
                    relation: 9,
                    ..good.clone()
                },
                "relation",
            ),
            (
                v1::WalkRequest {
                    vault: "x".to_owned(),
                    ..good.clone()
                },
                "vault",
            ),
            (
                v1::WalkRequest {
                    max_events: u32::MAX,
                    ..good
                },
                "max_events",
            ),
        ];
        for (request, field) in wrong {
            let error = walk_query(request).expect_err(field);
            assert_eq!(error.field(), field);
        }
    }
}
