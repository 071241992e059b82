//! Groups, and what they have put aside.

use prost::Message;
use toka_ledger::group::Parked;
use toka_ledger::{Error, GroupName, Reader, Rejection, Selector};
use toka_proto::convert::read::check_vault;
use toka_proto::convert::status;
use toka_proto::v1;
use tonic::{Request, Response, Status};

use super::changes::group_name;
use crate::api::Shared;
use crate::api::coordination::page_size;
use crate::api::name_token::NameList;
use crate::api::page_token::ParkedPageToken;
use crate::api::read::Include;
use crate::limits::PAGE_BYTES;

fn unknown(name: GroupName) -> Status {
    status::rejection(&Rejection::UnknownGroup { name })
}

pub(super) async fn get(
    shared: &Shared,
    request: Request<v1::GetGroupRequest>,
) -> Result<Response<v1::GetGroupResponse>, Status> {
    let call = shared.admit(request.metadata())?;
    let request = request.into_inner();
    let name = group_name(&request.vault, &request.name)?;
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
    let call = shared.admit(request.metadata())?;
    let request = request.into_inner();
    let list = NameList {
        of: "groups",
        history_id: shared.history_id(),
    };
    let after = check_vault(&request.vault)
        .and_then(|()| list.read(&request.page_token))
        .map_err(|error| status::invalid(&error))?;
    let limit = page_size(request.page_size);
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
    let call = shared.admit(request.metadata())?;
    let request = request.into_inner();
    let name = group_name(&request.vault, &request.group)?;
    let token = ParkedPageToken::read(&request.page_token, &name)
        .map_err(|error| status::invalid(&error))?;
    let (limit, include) = (page_size(request.page_size), Include::new(request.include));
    let position = shared.barrier(&call, request.read).await?;
    let wanted = name.clone();
    let read = move |reader: &Reader| page(reader, &wanted, token, limit, include);
    let page = shared.read(call.deadline, read).await?;
    let (parked, next) = page.ok_or_else(|| unknown(name.clone()))?;
    let next_page_token = next.map(|next| next.encode(&name));
    Ok(Response::new(v1::ListParkedResponse {
        header: Some(shared.header(&position)),
        parked,
        next_page_token: next_page_token.unwrap_or_default(),
    }))
}

type Page = (Vec<v1::ParkedEvent>, Option<ParkedPageToken>);

/// A page of parked events, and where the next one begins; `None`: there is no such group. Blocking.
fn page(
    reader: &Reader,
    name: &GroupName,
    token: Option<ParkedPageToken>,
    limit: usize,
    include: Include,
) -> Result<Option<Page>, Error> {
    let Some(group) = reader.group(name)? else {
        return Ok(None);
    };
    let incarnation = group.incarnation;
    if token.is_some_and(|token| token.incarnation != incarnation) {
        return Ok(None);
    }
    let after = token.map_or(0, |token| token.sequence);
    let mut messages: Vec<v1::ParkedEvent> = Vec::new();
    let (mut bytes, mut last) = (0, after);
    for parked in reader.group_parked(name, after, limit + 1)? {
        // On a node that applies much at once, the event may not be published yet.
        let Some(message) = message(reader, &parked, include)? else {
            break;
        };
        bytes += message.encoded_len();
        if !messages.is_empty() && (messages.len() == limit || bytes > PAGE_BYTES) {
            let next = ParkedPageToken {
                sequence: last,
                incarnation,
            };
            return Ok(Some((messages, Some(next))));
        }
        last = parked.sequence;
        messages.push(message);
    }
    Ok(Some((messages, None)))
}

fn message(
    reader: &Reader,
    parked: &Parked,
    include: Include,
) -> Result<Option<v1::ParkedEvent>, Error> {
    let Some(header) = reader.header(&Selector::Sequence(parked.sequence))? else {
        return Ok(None);
    };
    Ok(Some(v1::ParkedEvent {
        event: Some(include.load(reader, &header)?),
        deliveries: parked.deliveries,
        parked_unix_ms: parked.parked_unix_ms,
        reason: parked.reason.clone(),
    }))
}
