//! Runs agents, replays their history, and answers what-if.
//!
//! A fork of an embedded vault is [`toka_ledger::fork`]; [`base`] has forks over a cluster.
//!
//! Invariants: nothing that runs in a fork reaches the vault that was forked; a fork's intents are those of the vault as
//! of its event, to the bit. This crate knows nothing of Raft or of a cluster's nodes.

#![deny(missing_docs)]

pub mod base;
pub mod supervise;
