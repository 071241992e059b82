//! Who calls, as commands and the audit name it.

use toka_auth::{Principal, Source};
use toka_ledger::PrincipalName;
use toka_ledger::core::limits::PRINCIPAL_NAME_BYTES_MAX;
use toka_ledger::credentials::{Actor, TokenId};
use tonic::Extensions;

/// Who calls; `None`: nobody has to show that.
#[derive(Clone, Debug)]
pub(crate) struct Caller(Option<Principal>);

impl Caller {
    /// Of the request with these extensions.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        Self(extensions.get::<Principal>().cloned())
    }

    pub(super) fn principal(&self) -> Option<&Principal> {
        self.0.as_ref()
    }

    /// As commands name it.
    pub(crate) fn actor(&self) -> Actor {
        self.principal().map_or_else(Actor::anonymous, actor)
    }
}

/// A principal as commands and the audit name it.
pub(super) fn actor(principal: &Principal) -> Actor {
    let token = match principal.source {
        Source::Token(id) => Some(TokenId(id.0.to_be_bytes())),
        _ => None,
    };
    let name = PrincipalName::new(&shortened(&principal.name));
    Actor {
        principal: name.unwrap_or_else(|_| Actor::anonymous().principal),
        token,
    }
}

/// A name of a certificate or a JWT that would be too long for a principal of this vault, or has control characters, cut
/// down to one that is not.
fn shortened(name: &str) -> String {
    let mut short = String::new();
    for character in name.chars().filter(|character| !character.is_control()) {
        if short.len() + character.len_utf8() > PRINCIPAL_NAME_BYTES_MAX {
            break;
        }
        short.push(character);
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(name: &str, source: Source) -> Principal {
        Principal {
            name: name.to_owned(),
            source,
            ..Principal::anonymous()
        }
    }

    #[test]
    fn a_token_is_named_by_its_id() {
        let source = Source::Token(toka_auth::TokenId(0xab));
        let actor = actor(&principal("robot", source));
        assert_eq!(actor.principal, "robot");
        let id = actor.token.map(|id| id.to_string());
        assert_eq!(id.as_deref(), Some("00000000000000ab"));
    }

    #[test]
    fn names_from_elsewhere_are_cut_to_what_the_vault_takes() {
        let long = format!("a\n{}", "ü".repeat(200));
        let actor = actor(&principal(&long, Source::Jwt));
        assert!(actor.principal.as_str().starts_with("aü"));
        assert!(actor.principal.as_str().len() <= PRINCIPAL_NAME_BYTES_MAX);
        let nobody = Caller(None).actor();
        assert_eq!(nobody.principal, "anonymous");
    }
}
