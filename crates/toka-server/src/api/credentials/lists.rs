//! Lists of tokens and of roles. Both are in memory.

use prost::Message;
use toka_ledger::credentials::TokenId;
use toka_proto::convert::read::check_vault;
use toka_proto::convert::status;
use toka_proto::v1;
use tonic::{Request, Response, Status};

use crate::api::Shared;
use crate::api::coordination::page_size;
use crate::api::name_token::NameList;
use crate::limits::PAGE_BYTES;

pub(super) async fn tokens(
    shared: &Shared,
    request: Request<v1::ListTokensRequest>,
) -> Result<Response<v1::ListTokensResponse>, Status> {
    let call = shared.admit(&request)?;
    let request = request.into_inner();
    let list = list(shared, "tokens");
    let after = check_vault(&request.vault)
        .and_then(|()| list.read(&request.page_token))
        .and_then(|after| after.map(|id| id.parse::<TokenId>()).transpose())
        .map_err(|error| status::invalid(&error))?;
    let position = shared.barrier(&call, request.read).await?;
    let all = shared.reader.auth_view().all();
    let rest = all.tokens(after).map(|token| v1::TokenInfo::from(&**token));
    let (tokens, has_more) = page(rest, page_size(request.page_size));
    let last = tokens.last().filter(|_| has_more);
    let next_page_token = last.map(|last| list.encode(&last.id));
    Ok(Response::new(v1::ListTokensResponse {
        header: Some(shared.header(&position)),
        tokens,
        next_page_token: next_page_token.unwrap_or_default(),
    }))
}

pub(super) async fn roles(
    shared: &Shared,
    request: Request<v1::ListRolesRequest>,
) -> Result<Response<v1::ListRolesResponse>, Status> {
    let call = shared.admit(&request)?;
    let request = request.into_inner();
    let list = list(shared, "roles");
    let after = check_vault(&request.vault)
        .and_then(|()| list.read(&request.page_token))
        .map_err(|error| status::invalid(&error))?;
    let position = shared.barrier(&call, request.read).await?;
    let all = shared.reader.auth_view().all();
    // The built-in ones come first, whatever their names.
    let place = |is_built_in: bool, name: &str| (!is_built_in, name.to_owned());
    let after = after.map(|name| {
        let is_built_in = all.role(&name).is_some_and(|role| role.is_built_in());
        place(is_built_in, &name)
    });
    let rest = all.roles().filter(|role| {
        let place = place(role.is_built_in(), role.name.as_str());
        after.as_ref().is_none_or(|after| place > *after)
    });
    let rest = rest.map(|role| v1::AuthRole::from(&**role));
    let (roles, has_more) = page(rest, page_size(request.page_size));
    let last = roles.last().filter(|_| has_more);
    let next_page_token = last.map(|last| list.encode(&last.name));
    Ok(Response::new(v1::ListRolesResponse {
        header: Some(shared.header(&position)),
        roles,
        next_page_token: next_page_token.unwrap_or_default(),
    }))
}

fn list(shared: &Shared, of: &'static str) -> NameList {
    NameList {
        of,
        history_id: shared.history_id(),
    }
}

/// The first messages, and whether there are more.
fn page<M: Message>(messages: impl Iterator<Item = M>, limit: usize) -> (Vec<M>, bool) {
    let mut page = Vec::new();
    let mut bytes = 0;
    for message in messages {
        bytes += message.encoded_len();
        // One comes whatever its size.
        if !page.is_empty() && (page.len() == limit || bytes > PAGE_BYTES) {
            return (page, true);
        }
        page.push(message);
    }
    (page, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_where_it_is_full() {
        let role = |name: &str| v1::AuthRole {
            name: name.to_owned(),
            ..Default::default()
        };
        let roles = || ["a", "b", "c"].into_iter().map(role);
        let (first, has_more) = page(roles(), 2);
        assert_eq!((first.len(), has_more), (2, true));
        let (all, has_more) = page(roles(), 3);
        assert_eq!((all.len(), has_more), (3, false));
        let large = v1::AuthRole {
            name: "n".repeat(PAGE_BYTES + 1),
            ..Default::default()
        };
        let (one, has_more) = page([large.clone(), large].into_iter(), 10);
        assert_eq!((one.len(), has_more), (1, true));
    }
}
