//! A node: gRPC services, health and metrics over the replicated ledger.

#![deny(missing_docs)]

pub mod config;
