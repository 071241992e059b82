//! Loads on stores of events, and what they cost: for `toka bench` and for the comparison with peers (`tests/peers`).
//!
//! A load is an operation, named by nothing but its number, that is run again and again: by so many clients, each of
//! which waits for its answer ([`load::closed`]), or with so many on their way at once ([`load::pipelined`]). A
//! [`Pace`] says when each is due. Latencies count from there, and not from when the operation was really begun: with
//! a rate, an operation that had to wait for the ones before it has waited (no coordinated omission).
//!
//! Invariants: every load ends by itself; every process that was started here is stopped by its id, at the latest when
//! its owner is dropped. This crate knows the client of a vault and its `serve` command, and no storage.

#![deny(missing_docs)]

pub mod commits;
pub mod counted;
pub mod device;
pub mod error;
pub mod event;
pub mod gap;
pub mod load;
pub mod meter;
pub mod pace;
pub mod ports;
pub mod reads;
pub mod server;
pub mod stamp;
pub mod subscribers;
pub mod usage;
pub mod vault;

pub use crate::counted::{Counted, Summary};
pub use crate::device::Device;
pub use crate::error::Error;
pub use crate::event::Events;
pub use crate::meter::{Cost, Meter};
pub use crate::pace::{Pace, Plan, Turn};
pub use crate::server::Server;
pub use crate::vault::Vault;
