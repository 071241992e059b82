//! Generated bindings of `proto/`, and conversions between them and the ledger's types.
//!
//! Invariants: what comes from outside is checked once, here, and is a ledger type from then on;
//! [`convert::status`] is the only place that builds a [`tonic::Status`] from an error or reads one.
//! This crate knows nothing of nodes, connections or storage.

#![deny(missing_docs)]

pub mod convert;
mod generated;
pub mod passthrough;

pub use generated::toka::raft::v1 as raft_v1;
pub use generated::toka::vault::v1;

/// Encoded `google.protobuf.FileDescriptorSet` of all of `proto/`, with its imports: for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
