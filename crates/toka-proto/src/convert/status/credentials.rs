//! Refusals that have to do with tokens and roles.

use prost_types::Any;
use toka_ledger::{Rejection, RoleName};
use tonic::{Code, Status};
use tonic_types::pb;

use super::details::{Details, find};
use super::{limit_reached, reason};

/// The status of such a refusal; `None`: it is another one.
pub(super) fn status(rejection: &Rejection, message: &str) -> Option<Status> {
    let (code, reason, kind, name) = match rejection {
        Rejection::UnknownToken { id } => (
            Code::NotFound,
            reason::TOKEN_NOT_FOUND,
            "token",
            id.to_string(),
        ),
        Rejection::UnknownRole { name } => (
            Code::NotFound,
            reason::ROLE_NOT_FOUND,
            "role",
            name.to_string(),
        ),
        Rejection::TokenExists { id } => (
            Code::AlreadyExists,
            reason::TOKEN_EXISTS,
            "token",
            id.to_string(),
        ),
        Rejection::TokenEnded { id } => (
            Code::FailedPrecondition,
            reason::TOKEN_ENDED,
            "token",
            id.to_string(),
        ),
        Rejection::TokenExpiry { .. } => {
            let violation = pb::bad_request::FieldViolation {
                field: "expires_unix_ms".to_owned(),
                description: message.to_owned(),
                ..Default::default()
            };
            let details = Details::new(Code::InvalidArgument, reason::INVALID_FIELD);
            let details = details.with(&pb::BadRequest {
                field_violations: vec![violation],
            });
            return Some(details.status(message));
        }
        Rejection::RoleInUse { name, .. } => (
            Code::FailedPrecondition,
            reason::ROLE_IN_USE,
            "role",
            name.to_string(),
        ),
        Rejection::AdminExists => {
            let details = Details::new(Code::FailedPrecondition, reason::ADMIN_EXISTS);
            return Some(details.status(message));
        }
        Rejection::TokensFull { .. } => return Some(limit_reached("tokens", message)),
        Rejection::RolesFull { .. } => return Some(limit_reached("roles", message)),
        _ => return None,
    };
    let details = Details::new(code, reason).with(&pb::ResourceInfo {
        resource_type: kind.to_owned(),
        resource_name: name,
        ..Default::default()
    });
    Some(details.status(message))
}

/// The refusal that a status of that reason stands for.
pub(super) fn read(reason: &str, details: &[Any]) -> Option<Rejection> {
    if reason == reason::ADMIN_EXISTS {
        return Some(Rejection::AdminExists);
    }
    let name = find::<pb::ResourceInfo>(details)?.resource_name;
    Some(match reason {
        reason::TOKEN_NOT_FOUND => Rejection::UnknownToken {
            id: name.parse().ok()?,
        },
        reason::TOKEN_EXISTS => Rejection::TokenExists {
            id: name.parse().ok()?,
        },
        reason::TOKEN_ENDED => Rejection::TokenEnded {
            id: name.parse().ok()?,
        },
        reason::ROLE_NOT_FOUND => Rejection::UnknownRole {
            name: RoleName::new(&name).ok()?,
        },
        // How many tokens have it stands in the message alone.
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use toka_ledger::credentials::TokenId;

    use super::super::{Detail, parse, rejection};
    use super::*;

    #[test]
    fn refusals_are_read_back() {
        let id = TokenId([7; 8]);
        let name = RoleName::new("robots").expect("valid");
        for refused in [
            Rejection::UnknownToken { id },
            Rejection::TokenExists { id },
            Rejection::TokenEnded { id },
            Rejection::UnknownRole { name },
            Rejection::AdminExists,
        ] {
            let status = rejection(&refused);
            assert_eq!(parse(&status).detail, Some(Detail::Rejected(refused)));
        }
    }

    #[test]
    fn limits_and_uses_have_their_codes() {
        let name = RoleName::new("robots").expect("valid");
        let in_use = rejection(&Rejection::RoleInUse { name, tokens: 2 });
        assert_eq!(in_use.code(), Code::FailedPrecondition);
        assert!(in_use.message().contains("2 valid tokens"), "{in_use:?}");
        let full = rejection(&Rejection::TokensFull { max: 10 });
        assert_eq!(full.code(), Code::ResourceExhausted);
    }
}
