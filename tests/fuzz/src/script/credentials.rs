//! Commands of tokens, roles and the audit.

use std::collections::BTreeMap;

use arbitrary::{Result, Unstructured};
use toka_ledger::command::{
    AppendAudit, Command, CreateToken, DeleteRole, PutRole, RevokeToken, RotateToken,
};
use toka_ledger::credentials::{
    Action, Actor, AuditRecord, Grant, Limits, Role, TokenId, Verifier,
};
use toka_ledger::{PrincipalName, Reader, RoleName};

use super::{KINDS, time};

const ROLES: [&str; 5] = ["reader", "admin", "r", "r/s", "é"];

/// What there is of tokens.
#[derive(Default)]
pub(super) struct Credentials {
    tokens: Vec<TokenId>,
}

impl Credentials {
    pub(super) fn look(&mut self, reader: &Reader) {
        let all = reader.auth_view().all();
        self.tokens = all.tokens(None).map(|token| token.id).collect();
    }

    /// The next command. May be one that validation refuses.
    pub(super) fn command(&self, input: &mut Unstructured<'_>) -> Result<Command> {
        let unix_ms = time(input)?;
        Ok(match input.int_in_range(0_u8..=11)? {
            0..=3 => Command::CreateToken(self.create(input, unix_ms)?),
            4 | 5 => Command::RotateToken(RotateToken {
                unix_ms,
                actor: self.actor(input)?,
                id: self.token(input)?,
                new_id: self.token(input)?,
                verifier: verifier(input)?,
                grace_ms: u32::from(input.arbitrary::<u8>()?),
                expires_unix_ms: expiry(input)?,
            }),
            6 => Command::RevokeToken(RevokeToken {
                unix_ms,
                actor: self.actor(input)?,
                id: self.token(input)?,
            }),
            7 | 8 => Command::PutRole(PutRole {
                unix_ms,
                actor: self.actor(input)?,
                role: Role {
                    name: role(input)?,
                    grants: grants(input, 1)?,
                },
            }),
            9 => Command::DeleteRole(DeleteRole {
                unix_ms,
                actor: self.actor(input)?,
                name: role(input)?,
            }),
            _ => Command::AppendAudit(AppendAudit {
                unix_ms,
                records: (0..input.int_in_range(0_u8..=2)?)
                    .map(|_| self.record(input))
                    .collect::<Result<_>>()?,
            }),
        })
    }

    fn create(&self, input: &mut Unstructured<'_>, unix_ms: u64) -> Result<CreateToken> {
        let mut roles = (0..input.int_in_range(0_u8..=2)?)
            .map(|_| role(input))
            .collect::<Result<Vec<_>>>()?;
        roles.sort();
        roles.dedup();
        Ok(CreateToken {
            unix_ms,
            actor: self.actor(input)?,
            id: self.token(input)?,
            verifier: verifier(input)?,
            principal: PrincipalName::new("robot").expect("valid"),
            roles,
            grants: grants(input, 0)?,
            limits: Limits {
                requests_per_second: input.arbitrary()?,
                ..Limits::default()
            },
            expires_unix_ms: expiry(input)?,
            if_no_admin: input.ratio(1_u8, 4_u8)?,
        })
    }

    fn record(&self, input: &mut Unstructured<'_>) -> Result<AuditRecord> {
        let value = input.int_in_range(0_u8..=3)?.to_string();
        Ok(AuditRecord {
            action: (*input.choose(&["denied", "node.added", "No"])?).to_owned(),
            actor: self.actor(input)?,
            count: u64::from(input.arbitrary::<u8>()?),
            fields: BTreeMap::from([("rpc".to_owned(), value)]),
        })
    }

    fn actor(&self, input: &mut Unstructured<'_>) -> Result<Actor> {
        Ok(Actor {
            token: match input.arbitrary()? {
                true => Some(self.token(input)?),
                false => None,
            },
            ..Actor::anonymous()
        })
    }

    /// A token, mostly one that there is, or one of a few.
    fn token(&self, input: &mut Unstructured<'_>) -> Result<TokenId> {
        if !self.tokens.is_empty() && input.ratio(2_u8, 3_u8)? {
            return Ok(*input.choose(&self.tokens)?);
        }
        Ok(TokenId([input.int_in_range(0_u8..=5)?; 8]))
    }
}

fn role(input: &mut Unstructured<'_>) -> Result<RoleName> {
    Ok(RoleName::new(input.choose(&ROLES)?).expect("valid"))
}

fn verifier(input: &mut Unstructured<'_>) -> Result<Verifier> {
    let byte = input.arbitrary()?;
    Ok(Verifier {
        salt: [byte; 16],
        hash: [byte; 32],
    })
}

fn expiry(input: &mut Unstructured<'_>) -> Result<Option<u64>> {
    match input.arbitrary()? {
        true => time(input).map(Some),
        false => Ok(None),
    }
}

fn grants(input: &mut Unstructured<'_>, min: u8) -> Result<Vec<Grant>> {
    (0..input.int_in_range(min..=2)?)
        .map(|_| {
            let action = [Action::Read, Action::Write, Action::Admin];
            let kind_prefixes = (0..input.int_in_range(0_u8..=2)?)
                .map(|_| Ok((*input.choose(&KINDS)?).to_owned()))
                .collect::<Result<_>>()?;
            Ok(Grant {
                action: *input.choose(&action)?,
                kind_prefixes,
            })
        })
        .collect()
}
