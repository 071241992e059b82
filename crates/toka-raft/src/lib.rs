//! Replication of the ledger through Raft: openraft over a log of our own and tonic.
//!
//! ```text
//! replica -> forming, proposer, compaction -> network -> snapshot -> state_machine -> log_store
//!                                                                 -> ledger_host
//! ```
//!
//! openraft is known to this crate only, and every byte on disk and on the wire is defined here.
//! What a command means is the ledger's to know.

#![deny(missing_docs)]

mod blocking;
pub mod codec;
mod compaction;
pub mod config;
mod contact;
pub mod error;
mod fatal;
mod forming;
mod identity;
mod layout;
mod ledger_host;
pub mod log_store;
mod membership;
mod network;
mod proposer;
pub mod replica;
pub mod snapshot;
mod state_machine;
mod status;
pub mod storage;
pub mod transport;
pub mod type_config;
mod wire;

pub use config::Config;
pub use error::{CommitError, FatalError, ReadError, StartError, TransferError};
pub use network::PeerService;
pub use replica::{Consistency, Leader, Replica, Role, Status};
pub use storage::{DiskStorage, MemoryStorage, Storage};
pub use transport::{MemoryNetwork, TcpTransport, Transport};
pub use type_config::Member;
