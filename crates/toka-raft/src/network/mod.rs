//! Raft's messages between nodes.
//!
//! Invariants: every message says from which cluster and node it comes and for which node it is, and
//! one that does not fit is refused with a status that names both; heartbeats, log entries and
//! snapshots never share a connection.

mod append;
mod client;
mod complaints;
mod held;
mod parts;
mod received;
mod service;
mod status;
mod strangers;
mod voting;

pub(crate) use client::{PeerNetworks, raft_client};
pub(crate) use complaints::Complaints;
pub(crate) use parts::ServiceParts;
pub use service::PeerService;
pub(crate) use status::{is_connection_refused, is_removed, other_cluster};
pub(crate) use strangers::Strangers;
