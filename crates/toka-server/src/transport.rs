//! TLS of a node: who is at the other end of a connection, what its listeners show, and how it calls other nodes.
//!
//! ```text
//! security -> nodes; expiry
//! ```

mod expiry;
mod nodes;
mod security;

use std::net::IpAddr;

pub use toka_tls::{NAMES_MAX, PeerIdentity};

pub use self::security::Security;
pub(crate) use self::security::acceptors;

/// Where the other end of a connection is, in the extensions of each of its requests; absent over what has no addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerAddress(pub(crate) IpAddr);
