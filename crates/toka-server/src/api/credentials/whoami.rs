//! Who the caller is.

use toka_auth::{Action, Grant, Limits, Source};
use toka_proto::convert::read::check_vault;
use toka_proto::convert::status;
use toka_proto::v1;
use tonic::{Request, Response, Status};

use super::actor::actor;
use crate::api::Shared;

pub(super) fn who_am_i(
    shared: &Shared,
    request: &Request<v1::WhoAmIRequest>,
) -> Result<Response<v1::WhoAmIResponse>, Status> {
    let call = shared.admit(request)?;
    check_vault(&request.get_ref().vault).map_err(|error| status::invalid(&error))?;
    let header = Some(shared.header(&shared.reader.position()));
    let name = actor(&call.access).principal.to_string();
    let Some(principal) = call.access.principal() else {
        // Nobody is asked, and everybody may do everything.
        return Ok(Response::new(v1::WhoAmIResponse {
            header,
            principal: name,
            credential: v1::CredentialKind::None.into(),
            grants: vec![grant(&Grant::of_all(Action::Admin))],
            ..Default::default()
        }));
    };
    let token_id = match principal.source {
        Source::Token(id) => id.to_string(),
        _ => String::new(),
    };
    Ok(Response::new(v1::WhoAmIResponse {
        header,
        principal: match principal.name.is_empty() {
            true => name,
            false => principal.name.clone(),
        },
        credential: kind(principal.source).into(),
        token_id,
        grants: principal.grants.iter().map(grant).collect(),
        limits: limits(principal.limits),
        is_enforced: true,
    }))
}

fn kind(source: Source) -> v1::CredentialKind {
    match source {
        Source::Token(_) => v1::CredentialKind::Token,
        Source::Certificate => v1::CredentialKind::Certificate,
        Source::Jwt => v1::CredentialKind::Jwt,
        Source::Node => v1::CredentialKind::Node,
        Source::Anonymous => v1::CredentialKind::None,
    }
}

fn grant(grant: &Grant) -> v1::Grant {
    let action = match grant.action {
        Action::Read => v1::GrantAction::Read,
        Action::Write => v1::GrantAction::Write,
        Action::Admin => v1::GrantAction::Admin,
    };
    v1::Grant {
        action: action.into(),
        kind_prefixes: grant.kind_prefixes.clone(),
    }
}

fn limits(limits: Limits) -> Option<v1::TokenLimits> {
    (limits != Limits::default()).then_some(v1::TokenLimits {
        requests_per_second: limits.requests_per_second,
        bytes_per_second: limits.bytes_per_second,
        subscriptions: limits.subscriptions,
    })
}
