//! Random commands of tokens, roles and the audit.

#[path = "credentials.rs"]
mod commands;

use proptest::prelude::*;
use toka_ledger::command::Command;

use self::commands::{
    append_audit, create_token, delete_role, put_role, revoke_token, rotate_token,
};

/// The first one is there in every vault, and cannot be changed.
const ROLES: [&str; 3] = ["reader", "robots", "tasks"];

#[derive(Clone, Debug)]
pub(crate) enum CredentialsSpec {
    /// A token, and its role.
    Create(u8, usize),
    /// A token, the one in its place, how long both count.
    Rotate(u8, u8, u32),
    Revoke(u8),
    /// A role, and what its kinds start with.
    Put(usize, u8),
    Delete(usize),
    /// How many records.
    Audit(usize),
}

pub(crate) fn credentials() -> impl Strategy<Value = CredentialsSpec> {
    let id = || 0..6_u8;
    prop_oneof![
        4 => (id(), 0..3_usize).prop_map(|(id, role)| CredentialsSpec::Create(id, role)),
        2 => (id(), id(), 0..300_u32)
            .prop_map(|(old, new, grace)| CredentialsSpec::Rotate(old, new, grace)),
        2 => id().prop_map(CredentialsSpec::Revoke),
        3 => (1..3_usize, 0..3_u8).prop_map(|(role, prefix)| CredentialsSpec::Put(role, prefix)),
        1 => (1..3_usize).prop_map(CredentialsSpec::Delete),
        1 => (1..4_usize).prop_map(CredentialsSpec::Audit),
    ]
}

impl CredentialsSpec {
    pub(crate) fn command(&self, unix_ms: u64) -> Command {
        match *self {
            Self::Create(id, role) => create_token(unix_ms, id, ROLES[role]),
            Self::Rotate(old, new, grace) => rotate_token(unix_ms, old, new, grace),
            Self::Revoke(id) => revoke_token(unix_ms, id),
            Self::Put(role, prefix) => put_role(unix_ms, ROLES[role], &format!("p{prefix}.")),
            Self::Delete(role) => delete_role(unix_ms, ROLES[role]),
            Self::Audit(records) => append_audit(unix_ms, 1, records),
        }
    }
}
