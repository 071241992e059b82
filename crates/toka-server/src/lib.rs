//! A node: gRPC services, health and metrics over the replicated ledger.
//!
//! ```text
//! node -> api/{commit, commit_stream, read, list, lineage, subscribe, cursors, groups, cluster} -> auth -> routing -> refusal
//!      -> http, health -> console, metrics -> status; sites; calls; config; limits
//! ```
//!
//! Invariants: any node takes any call; an acknowledged commit was applied by the leader; a read is
//! as of the position in its reply's header; nothing waits without a deadline or grows without a
//! bound. This crate knows nothing of Raft's messages or of what lies on disk.

#![deny(missing_docs)]

mod api;
mod auth;
mod calls;
pub mod config;
mod console;
#[cfg(test)]
mod fixture;
mod health;
mod http;
pub mod limits;
mod metrics;
pub mod node;
mod refusal;
mod routing;
mod sites;
mod status;
pub mod transport;

pub use config::{Config, ConfigError, ConfigFile};
pub use node::{Addresses, Listeners, Node, Outside, RunError, StartError, Wire, Wires};
pub use status::Readiness;
