//! Who calls, as commands and the audit name it.

use toka_auth::Source;
use toka_ledger::PrincipalName;
use toka_ledger::core::limits::PRINCIPAL_NAME_BYTES_MAX;
use toka_ledger::credentials::{Actor, TokenId};

use crate::auth::Access;

/// Whose call it is.
pub(crate) fn actor(access: &Access) -> Actor {
    access
        .principal()
        .map_or_else(Actor::anonymous, |principal| {
            named(&principal.name, principal.source)
        })
}

/// Whoever has this name, known in that way. Names that are not of this vault say where they are from: an issuer, or a CA,
/// that gives somebody the name of a principal of the vault does not make the audit say that it was that one.
pub(super) fn named(name: &str, source: Source) -> Actor {
    let token = match source {
        Source::Token(id) => Some(TokenId(id.0.to_be_bytes())),
        _ => None,
    };
    let from = match source {
        Source::Token(_) | Source::Anonymous => "",
        Source::Jwt => "jwt:",
        Source::Certificate => "certificate:",
        Source::Node => "node:",
    };
    let name = PrincipalName::new(&shortened(&format!("{from}{name}")));
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

    #[test]
    fn a_token_is_named_by_its_id() {
        let source = Source::Token(toka_auth::TokenId(0xab));
        let actor = named("robot", source);
        assert_eq!(actor.principal, "robot");
        let id = actor.token.map(|id| id.to_string());
        assert_eq!(id.as_deref(), Some("00000000000000ab"));
    }

    #[test]
    fn name_from_elsewhere_is_no_name_of_the_vault() {
        let names = [Source::Jwt, Source::Certificate, Source::Node]
            .map(|source| named("root", source).principal.to_string());
        assert_eq!(names, ["jwt:root", "certificate:root", "node:root"]);
    }

    #[test]
    fn names_from_elsewhere_are_cut_to_what_the_vault_takes() {
        let long = format!("a\n{}", "ü".repeat(200));
        let cut = named(&long, Source::Jwt);
        assert!(cut.principal.as_str().starts_with("jwt:aü"));
        assert!(cut.principal.as_str().len() <= PRINCIPAL_NAME_BYTES_MAX);
        assert_eq!(named("", Source::Anonymous).principal, "anonymous");
        assert_eq!(actor(&Access::of_everybody()).principal, "anonymous");
    }
}
