//! Runs agents, replays their history, and answers what-if.
//!
//! [`Program`] makes a program of agents: it runs them under a [`supervise::Supervisor`], replays one against what is
//! recorded ([`replay`]), tells its state as of any event, and lets agents run in a fork ([`what_if`]). A fork of an embedded
//! vault is [`toka_ledger::fork`]; [`base`] has forks over a cluster.
//!
//! Invariants: nothing that runs in a fork reaches the vault that was forked; a fork's intents are those of the vault as
//! of its event, to the bit. This crate knows nothing of Raft or of a cluster's nodes.

#![deny(missing_docs)]

pub mod base;
pub mod program;
pub mod replay;
pub mod supervise;
mod unit;
pub mod what_if;

pub use crate::program::Program;
pub use crate::unit::{AgentUnit, Dry, Handlers};
