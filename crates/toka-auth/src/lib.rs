//! Who may do what: principals, grants and roles, bearer tokens and how they are stored.
//!
//! Invariants: everything here is a pure function of its arguments. Time, randomness and files are passed in, so that the
//! same credential is judged alike on every node and in every test. A secret is never shown by `Debug` or `Display`
//! unless a method says so by its name.
//!
//! This crate knows nothing of connections, of the ledger, or of how tokens and roles are replicated.

#![deny(missing_docs)]

mod grant;
pub mod jwt;
mod limits;
mod principal;
mod scope;
mod stored;
mod token;

pub use grant::{Action, Grant, GrantError, Role, UnknownAction};
pub use limits::Limits;
pub use principal::{Principal, Source};
pub use scope::{AUDIT_KIND_PREFIX, Narrowed, Visibility, Writable};
pub use stored::{PreviousSecret, Refusal, SecretHash, StoredToken, verify};
pub use token::{Secret, Token, TokenError, TokenId};
