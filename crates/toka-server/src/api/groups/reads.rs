//! Groups, what they have outstanding, and what they have put aside.

use std::marker::PhantomData;

use prost::Message;
use toka_ledger::group::{Item, Parked};
use toka_ledger::{Error, GroupName, Reader, Rejection, Selector};
use toka_proto::convert::read::check_vault;
use toka_proto::convert::status;
use toka_proto::v1;
use tonic::{Request, Response, Status};

use super::changes::group_name;
use crate::api::Shared;
use crate::api::coordination;
use crate::api::name_token::NameList;
use crate::api::page_token::{GroupList, GroupPageToken};
use crate::api::read::Include;
use crate::auth::Access;
use crate::limits::PAGE_BYTES;
use crate::routing::Call;

fn unknown(name: GroupName) -> Status {
    status::rejection(&Rejection::UnknownGroup { name })
}

pub(super) async fn get(
    shared: &Shared,
    request: Request<v1::GetGroupRequest>,
) -> Result<Response<v1::GetGroupResponse>, Status> {
    let call = shared.admit(&request)?;
    let request = request.into_inner();
    let name = group_name(&request.vault, &request.name)?;
    shared.check_coordination(&call).await?;
    let position = shared.barrier(&call, request.read).await?;
    let wanted = name.clone();
    let read = move |reader: &Reader| reader.group(&wanted);
    let group = shared.read(call.deadline, read).await?;
    let group = group.ok_or_else(|| unknown(name))?;
    Ok(Response::new(v1::GetGroupResponse {
        header: Some(shared.header(&position)),
        group: Some((&group).into()),
    }))
}

pub(super) async fn list(
    shared: &Shared,
    request: Request<v1::ListGroupsRequest>,
) -> Result<Response<v1::ListGroupsResponse>, Status> {
    let call = shared.admit(&request)?;
    let request = request.into_inner();
    let list = NameList {
        of: "groups",
        history_id: shared.history_id(),
    };
    let after = check_vault(&request.vault)
        .and_then(|()| list.read(&request.page_token))
        .map_err(|error| status::invalid(&error))?;
    let limit = coordination::page_size(request.page_size);
    let position = shared.barrier(&call, request.read).await?;
    let all = shared.read(call.deadline, Reader::groups).await?;
    let after = after.unwrap_or_default();
    let rest = all.iter().filter(|group| *group.name.as_str() > *after);
    let mut groups: Vec<v1::Group> = Vec::new();
    let (mut bytes, mut next_page_token) = (0, String::new());
    for group in rest {
        let message = v1::Group::from(group);
        bytes += message.encoded_len();
        // One comes whatever its size.
        if let Some(last) = groups.last()
            && (groups.len() == limit || bytes > PAGE_BYTES)
        {
            next_page_token = list.encode(&last.name);
            break;
        }
        groups.push(message);
    }
    Ok(Response::new(v1::ListGroupsResponse {
        header: Some(shared.header(&position)),
        groups,
        next_page_token,
    }))
}

pub(super) async fn list_parked(
    shared: &Shared,
    request: Request<v1::ListParkedRequest>,
) -> Result<Response<v1::ListParkedResponse>, Status> {
    let call = shared.admit(&request)?;
    let request = request.into_inner();
    let mut list = List::<Parked>::of(
        &request.vault,
        &request.group,
        &request.page_token,
        request.page_size,
        request.include,
    )?;
    list.sequences_only = request.sequences_only;
    shared.check_coordination(&call).await?;
    let position = shared.barrier(&call, request.read).await?;
    let (parked, next_page_token) = list.read(shared, &call).await?;
    Ok(Response::new(v1::ListParkedResponse {
        header: Some(shared.header(&position)),
        parked,
        next_page_token,
    }))
}

pub(super) async fn list_outstanding(
    shared: &Shared,
    request: Request<v1::ListOutstandingRequest>,
) -> Result<Response<v1::ListOutstandingResponse>, Status> {
    let call = shared.admit(&request)?;
    let request = request.into_inner();
    let list = List::<Item>::of(
        &request.vault,
        &request.group,
        &request.page_token,
        request.page_size,
        request.include,
    )?;
    shared.check_coordination(&call).await?;
    let position = shared.barrier(&call, request.read).await?;
    let (outstanding, next_page_token) = list.read(shared, &call).await?;
    Ok(Response::new(v1::ListOutstandingResponse {
        header: Some(shared.header(&position)),
        outstanding,
        next_page_token,
    }))
}

/// An event of a group, of one list or the other.
trait Listed: Sized {
    type Message: Message + Send + 'static;

    const LIST: GroupList;

    /// Those behind the sequence `after`. Blocking.
    fn read(
        reader: &Reader,
        group: &GroupName,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Self>, Error>;

    fn sequence(&self) -> u64;

    fn message(self, event: v1::Event) -> Self::Message;
}

impl Listed for Parked {
    type Message = v1::ParkedEvent;

    const LIST: GroupList = GroupList::Parked;

    fn read(
        reader: &Reader,
        group: &GroupName,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Self>, Error> {
        reader.group_parked(group, after, limit)
    }

    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn message(self, event: v1::Event) -> v1::ParkedEvent {
        v1::ParkedEvent {
            event: Some(event),
            deliveries: self.deliveries,
            parked_unix_ms: self.parked_unix_ms,
            reason: self.reason,
        }
    }
}

impl Listed for Item {
    type Message = v1::OutstandingEvent;

    const LIST: GroupList = GroupList::Outstanding;

    fn read(
        reader: &Reader,
        group: &GroupName,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Self>, Error> {
        reader.group_items(group, after, limit)
    }

    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn message(self, event: v1::Event) -> v1::OutstandingEvent {
        v1::OutstandingEvent {
            event: Some(event),
            deliveries: self.deliveries,
            forgiven: self.forgiven,
            state: Some(self.state.into()),
        }
    }
}

/// A page that is asked for.
struct List<L> {
    group: GroupName,
    token: Option<GroupPageToken>,
    limit: usize,
    include: Include,
    /// Whether the events themselves are not wanted.
    sequences_only: bool,
    listed: PhantomData<fn() -> L>,
}

impl<L: Listed + 'static> List<L> {
    fn of(
        vault: &str,
        group: &str,
        page_token: &str,
        page_size: u32,
        include: Option<v1::Include>,
    ) -> Result<Self, Status> {
        let group = group_name(vault, group)?;
        let token = GroupPageToken::read(page_token, L::LIST, &group);
        Ok(Self {
            token: token.map_err(|error| status::invalid(&error))?,
            limit: coordination::page_size(page_size),
            include: Include::new(include),
            sequences_only: false,
            group,
            listed: PhantomData,
        })
    }

    /// The page, and what asks for the next one.
    async fn read(self, shared: &Shared, call: &Call) -> Result<(Vec<L::Message>, String), Status> {
        let (group, access) = (self.group.clone(), call.access.clone());
        let read = move |reader: &Reader| self.page(reader, &access);
        let page = shared.read(call.deadline, read).await?;
        let (messages, next) = page.ok_or_else(|| unknown(group.clone()))?;
        let next = next.map(|next| next.encode(L::LIST, &group));
        Ok((messages, next.unwrap_or_default()))
    }

    /// `None`: there is no such group. Blocking.
    fn page(&self, reader: &Reader, access: &Access) -> Result<Option<Page<L::Message>>, Error> {
        let Some(group) = reader.group(&self.group)? else {
            return Ok(None);
        };
        let incarnation = group.incarnation;
        if self
            .token
            .is_some_and(|token| token.incarnation != incarnation)
        {
            return Ok(None);
        }
        let after = self.token.map_or(0, |token| token.sequence);
        let mut messages: Vec<L::Message> = Vec::new();
        let (mut bytes, mut last) = (0, after);
        let rows = L::read(reader, &self.group, after, self.limit + 1)?;
        // Those that the caller does not see take no place on the page, so that it may end before it is full.
        let mut has_more = rows.len() > self.limit;
        for event in rows {
            let sequence = event.sequence();
            if !access.sees_event(reader, &Selector::Sequence(sequence))? {
                last = sequence;
                continue;
            }
            // On a node that applies much at once, the event may not be published yet.
            let Some(listed) = self.event(reader, sequence)? else {
                has_more = false;
                break;
            };
            let message = event.message(listed);
            bytes += message.encoded_len();
            if !messages.is_empty() && (messages.len() == self.limit || bytes > PAGE_BYTES) {
                let next = GroupPageToken {
                    sequence: last,
                    incarnation,
                };
                return Ok(Some((messages, Some(next))));
            }
            last = sequence;
            messages.push(message);
        }
        let next = has_more.then_some(GroupPageToken {
            sequence: last,
            incarnation,
        });
        Ok(Some((messages, next)))
    }

    /// What is wanted of the event at `sequence`, if it is there. Blocking.
    fn event(&self, reader: &Reader, sequence: u64) -> Result<Option<v1::Event>, Error> {
        if self.sequences_only {
            return Ok(Some(v1::Event {
                sequence,
                ..v1::Event::default()
            }));
        }
        let header = reader.header(&Selector::Sequence(sequence))?;
        header
            .map(|header| self.include.load(reader, &header))
            .transpose()
    }
}

type Page<M> = (Vec<M>, Option<GroupPageToken>);
