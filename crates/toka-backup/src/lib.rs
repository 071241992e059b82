//! Backups of a vault: kept in a directory or in S3-compatible storage, made from any node of a running
//! cluster, checked, restored.
//!
//! ```text
//! restore -> verify -> check -> fetch -> create -> repository -> place, manifest
//!                                        prune  ->
//! ```
//!
//! Invariants: a backup is complete from the moment that it has a manifest; nothing that was altered,
//! cut or taken from another vault is restored; a restore that fails leaves nothing behind. How a copy
//! is made is the node's to know, and what its rows mean the ledger's.

#![deny(missing_docs)]

mod check;
mod create;
mod error;
mod fetch;
mod manifest;
mod place;
mod prune;
mod repository;
mod restore;
#[cfg(test)]
mod tests;
mod verify;

pub use crate::create::{Created, Options, Progress, Step, create};
pub use crate::error::Error;
pub use crate::manifest::{FORMAT, File, Manifest, rfc3339};
pub use crate::prune::{Options as PruneOptions, Pruned, prune};
pub use crate::repository::Repository;
pub use crate::restore::{Owner, Point, Restored, restore};
pub use crate::verify::{verify, verify_objects};
