//! Who calls, and what they may do.
//!
//! ```text
//! layer -> guard -> credential, table, directory, issuer, bindings -> access -> account; denials; failures
//! ```
//!
//! The layer finds out who calls before any handler runs, refuses what the table does not allow, and puts an [`Access`]
//! into the request. Handlers ask that which kinds are seen and may be written. A handler that finds none refuses: nobody
//! gets past the layer. A call that goes on is ended when what it rests on does. A follower passes the caller's credential on with what it forwards, and the leader judges it anew.

mod access;
mod account;
mod bindings;
mod credential;
mod denials;
mod directory;
mod failures;
mod file;
mod guard;
mod held;
mod issuer;
mod lasting;
mod layer;
mod metered;
mod setup;
#[cfg(test)]
mod signed;
mod standing;
mod table;
mod throttled;

pub(crate) use self::access::Access;
pub(crate) use self::denials::{Denial, Denials, Traced, Window};
pub(crate) use self::directory::Directory;
pub(crate) use self::guard::Guard;
pub(crate) use self::layer::Authorized;
pub(crate) use self::setup::{bearer, guard};
pub(crate) use self::table::{only_reads, requirement};
pub(crate) use self::throttled::Throttled;
