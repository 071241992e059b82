//! Messages of tokens and roles, and refusals that have to do with them.

use prost::Message as _;
use toka_ledger::credentials::{Role, TokenId};
use toka_ledger::{Rejection, RoleName};
use toka_proto::convert::auth::{NewToken, TokenInfo, grants, limits, limits_message};
use toka_proto::convert::read::check_vault;
use toka_proto::convert::status;
use toka_proto::v1;
use tonic::Status;

use super::{refused, with};
use crate::rows::vault;

/// Requests: a token that is to be made, rotated or revoked.
pub(super) fn token_requests(bytes: &[u8]) {
    with(bytes, |request: v1::CreateTokenRequest| {
        let _ = check_vault(&request.vault);
        match NewToken::try_from(request) {
            Ok(new) => {
                let again = NewToken::try_from(v1::CreateTokenRequest::from(&new));
                assert_eq!(again, Ok(new));
            }
            Err(invalid) => refused(&invalid),
        }
    });
    with(bytes, |request: v1::RotateTokenRequest| id(&request.id));
    with(bytes, |request: v1::RevokeTokenRequest| id(&request.id));
}

fn id(text: &str) {
    match text.parse::<TokenId>() {
        Ok(id) => assert_eq!(id.to_string().parse::<TokenId>(), Ok(id)),
        Err(invalid) => refused(&invalid),
    }
}

/// Replies: tokens as they are told, and who somebody is.
pub(super) fn token_replies(bytes: &[u8]) {
    with(bytes, |response: v1::ListTokensResponse| {
        for token in response.tokens {
            let text = token.id.clone();
            if let Ok(token) = TokenInfo::try_from(token) {
                assert_eq!(token.id.to_string(), text.to_ascii_lowercase());
            }
        }
    });
    with(bytes, |response: v1::WhoAmIResponse| {
        let _ = response.credential();
        if let Ok(read) = limits(response.limits) {
            assert_eq!(limits(limits_message(read)), Ok(read));
        }
        if let Ok(read) = grants(response.grants) {
            let messages = read.iter().map(v1::Grant::from);
            assert_eq!(grants(messages.collect()), Ok(read));
        }
    });
}

/// Roles, in requests and in replies.
pub(super) fn roles(bytes: &[u8]) {
    with(bytes, |request: v1::PutRoleRequest| {
        let Some(message) = request.role else { return };
        let Ok(role) = Role::try_from(message) else {
            return;
        };
        match role.check() {
            Ok(()) => assert!(!role.is_built_in()),
            Err(invalid) => refused(&invalid),
        }
        let again = Role::try_from(v1::AuthRole::from(&role));
        assert_eq!(again, Ok(role));
    });
    with(bytes, |request: v1::DeleteRoleRequest| {
        let _ = RoleName::new(&request.name).map_err(|invalid| refused(&invalid));
    });
    with(bytes, drop::<v1::ListRolesResponse>);
}

/// Of each kind of message one, with the number of its kind.
pub(super) fn seeds() -> Vec<(&'static str, u8, Vec<u8>)> {
    let grant = v1::Grant {
        action: v1::GrantAction::Write.into(),
        kind_prefixes: vec!["task.".to_owned()],
    };
    let limits = v1::TokenLimits {
        requests_per_second: Some(10),
        bytes_per_second: Some(1 << 20),
        subscriptions: Some(2),
    };
    let create = v1::CreateTokenRequest {
        principal: "robot".to_owned(),
        roles: vec!["writer".to_owned(), "reader".to_owned()],
        grants: vec![grant.clone()],
        limits: Some(limits),
        expires_unix_ms: Some(1_700_000_000_000),
        ..v1::CreateTokenRequest::default()
    };
    let rotate = v1::RotateTokenRequest {
        id: "0101010101010101".to_owned(),
        grace_ms: 500,
        ..v1::RotateTokenRequest::default()
    };
    let all = vault().ledger.reader().auth_view().all();
    let tokens = v1::ListTokensResponse {
        tokens: all
            .tokens(None)
            .map(|token| v1::TokenInfo::from(&**token))
            .collect(),
        ..v1::ListTokensResponse::default()
    };
    let identity = v1::WhoAmIResponse {
        principal: "robot".to_owned(),
        credential: v1::CredentialKind::Token.into(),
        token_id: "0101010101010101".to_owned(),
        grants: vec![grant.clone()],
        limits: Some(limits),
        is_enforced: true,
        ..v1::WhoAmIResponse::default()
    };
    let put = v1::PutRoleRequest {
        role: Some(v1::AuthRole {
            name: "robots".to_owned(),
            grants: vec![grant],
            is_built_in: false,
        }),
        ..v1::PutRoleRequest::default()
    };
    vec![
        ("create-token", 12, create.encode_to_vec()),
        ("rotate-token", 12, rotate.encode_to_vec()),
        ("tokens", 13, tokens.encode_to_vec()),
        ("identity", 13, identity.encode_to_vec()),
        ("put-role", 14, put.encode_to_vec()),
    ]
}

/// What calls of tokens and roles are refused with.
pub(super) fn statuses() -> Vec<Status> {
    let (id, name) = (TokenId([7; 8]), RoleName::new("robots").expect("valid"));
    let refusals = [
        Rejection::UnknownToken { id },
        Rejection::TokenExists { id },
        Rejection::TokenEnded { id },
        Rejection::TokenExpiry {
            expires_unix_ms: 1,
            unix_ms: 2,
        },
        Rejection::TokensFull { max: 10_000 },
        Rejection::AdminExists,
        Rejection::UnknownRole { name: name.clone() },
        Rejection::RoleInUse { name, tokens: 2 },
        Rejection::RolesFull { max: 256 },
    ];
    refusals.iter().map(status::rejection).collect()
}
