//! Commands of tokens and roles, for tests.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::sync::Arc;

use toka_ledger::command::{
    AppendAudit, Command, CreateToken, DeleteRole, PutRole, RevokeToken, RotateToken,
};
use toka_ledger::credentials::{
    Action, Actor, AuditRecord, Grant, Limits, Role, StoredToken, TokenId, Verifier,
};
use toka_ledger::{Outcome, PrincipalName, RoleName};

pub(crate) fn id(number: u8) -> TokenId {
    TokenId([number; 8])
}

pub(crate) fn role_name(name: &str) -> RoleName {
    RoleName::new(name).expect("valid")
}

pub(crate) fn alice() -> Actor {
    Actor {
        principal: PrincipalName::new("alice").expect("valid"),
        token: Some(id(0xa1)),
    }
}

/// What a secret is checked by, which differs for each number.
pub(crate) fn verifier(number: u8) -> Verifier {
    Verifier {
        salt: [number; 16],
        hash: [number ^ 0xff; 32],
    }
}

pub(crate) fn new_token(unix_ms: u64, number: u8, role: &str) -> CreateToken {
    CreateToken {
        unix_ms,
        actor: alice(),
        id: id(number),
        verifier: verifier(number),
        principal: PrincipalName::new("robot").expect("valid"),
        roles: vec![role_name(role)],
        grants: Vec::new(),
        limits: Limits::default(),
        expires_unix_ms: None,
        if_no_admin: false,
    }
}

pub(crate) fn create_token(unix_ms: u64, number: u8, role: &str) -> Command {
    Command::CreateToken(new_token(unix_ms, number, role))
}

pub(crate) fn rotate_token(unix_ms: u64, old: u8, new: u8, grace_ms: u32) -> Command {
    Command::RotateToken(RotateToken {
        unix_ms,
        actor: alice(),
        id: id(old),
        new_id: id(new),
        verifier: verifier(new),
        grace_ms,
        expires_unix_ms: None,
    })
}

pub(crate) fn revoke_token(unix_ms: u64, number: u8) -> Command {
    Command::RevokeToken(RevokeToken {
        unix_ms,
        actor: alice(),
        id: id(number),
    })
}

pub(crate) fn role(name: &str, prefix: &str) -> Role {
    Role {
        name: role_name(name),
        grants: vec![Grant {
            action: Action::Write,
            kind_prefixes: vec![prefix.to_owned()],
        }],
    }
}

pub(crate) fn put_role(unix_ms: u64, name: &str, prefix: &str) -> Command {
    Command::PutRole(PutRole {
        unix_ms,
        actor: alice(),
        role: role(name, prefix),
    })
}

pub(crate) fn delete_role(unix_ms: u64, name: &str) -> Command {
    Command::DeleteRole(DeleteRole {
        unix_ms,
        actor: alice(),
        name: role_name(name),
    })
}

pub(crate) fn append_audit(unix_ms: u64, count: u64, records: usize) -> Command {
    let record = |index: usize| AuditRecord {
        action: "denied".to_owned(),
        actor: alice(),
        count,
        fields: BTreeMap::from([("rpc".to_owned(), format!("Call{index}"))]),
    };
    Command::AppendAudit(AppendAudit {
        unix_ms,
        records: (0..records).map(record).collect(),
    })
}

/// The token that a command has made, or changed.
pub(crate) fn token(outcome: &Outcome) -> Arc<StoredToken> {
    match outcome {
        Outcome::TokenCreated { token, .. } | Outcome::TokenRevoked { token, .. } => {
            Arc::clone(token)
        }
        other => panic!("no token: {other:?}"),
    }
}
