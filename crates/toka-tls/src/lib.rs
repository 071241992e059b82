//! TLS of connections: certificates that are read again when they change, both ends of a handshake, and what a
//! caller's certificate says. Also when that is written which many tasks have for one connection.
//!
//! ```text
//! acceptor -> accepted; connector -> dialed -> refusals, gathering -> gathered -> turn; both -> config -> reload -> material -> error, certificate -> identity
//! ```
//!
//! Invariants: a file that cannot be used never replaces one that could; connections that are there go on whatever
//! becomes of the files; no session is resumed, so that every connection shows its certificate; a caller that wants TLS
//! gets TLS or an error, and never plain text; nothing that a key file holds is in an error or a log line. This crate
//! knows nothing of what is said over a connection.

#![deny(missing_docs)]

mod accepted;
mod acceptor;
mod certificate;
mod config;
mod connector;
mod dialed;
mod error;
mod gathered;
mod gathering;
mod identity;
mod material;
mod reason;
mod refusals;
mod reload;
#[cfg(test)]
mod tests;
mod turn;

pub use crate::accepted::Accepted;
pub use crate::acceptor::Acceptor;
pub use crate::certificate::{Validity, is_allowed};
pub use crate::config::{
    ClientCertificates, ClientsCa, ForClients, ForNodes, NODE_PROTOCOL, Served, Trust, Trusted,
};
pub use crate::connector::{BoxError, Connector, Dialer};
pub use crate::dialed::Dialed;
pub use crate::error::Error;
pub use crate::gathering::Gathering;
pub use crate::identity::{Identity, NAMES_MAX, PeerIdentity};
pub use crate::material::{FILE_BYTES_MAX, File, Pair};
pub use crate::refusals::Refusals;
pub use crate::reload::{Refreshed, Reloading};
