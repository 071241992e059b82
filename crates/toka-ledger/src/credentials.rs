//! Credentials: who may use the vault, and for what.
//!
//! A *token* is a secret that its holder shows, and stands for a *principal*. The vault keeps what the secret is checked
//! by, never the secret. What a token's holder may do is said by *roles*, named sets of *grants*; what is not granted is
//! not allowed. Tokens and roles are changed by replicated commands, each of which leaves an *audit event* behind: one
//! of a kind that starts with [`AUDIT_KIND_PREFIX`], with the audit event before it as its parent. Whether a call is
//! allowed is decided by whoever takes calls, with what an [`AuthView`] says.

pub use crate::command::CREDENTIALS_LEVEL as FEATURE_LEVEL;
pub use crate::core::credentials::{
    ADMIN, AUDIT_KIND_PREFIX, Action, Actor, AuditRecord, BUILT_IN_ROLES, Grant, Limits, READER,
    Role, StoredToken, TokenId, Verifier, WRITER, built_in_role, is_audit_kind,
};
pub use crate::read::{AuthView, Credentials};
pub use crate::store::audit::AuditHead;
