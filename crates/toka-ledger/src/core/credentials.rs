//! Credentials: tokens, the roles that they give, and what an audit record says. [`crate::credentials`] says what they
//! are for.

mod audit;
mod bytes;
mod role;
mod token;

pub use self::audit::{AUDIT_KIND_PREFIX, Actor, AuditRecord, is_audit_kind};
pub(crate) use self::bytes::{
    put_actor, put_audit_record, put_grants, put_limits, put_roles, put_verifier, read_actor,
    read_audit_record, read_expiry, read_grants, read_limits, read_role_name, read_roles,
    read_time, read_token_id, read_verifier,
};
pub(crate) use self::role::is_built_in;
pub use self::role::{ADMIN, Action, BUILT_IN_ROLES, Grant, READER, Role, WRITER, built_in_role};
pub(crate) use self::token::check_rights;
pub use self::token::{Limits, StoredToken, TokenId, Verifier};
