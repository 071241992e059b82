//! Replication of the ledger through Raft: openraft over a log of our own and tonic.
//!
//! ```text
//! replica -> forming, proposer, compaction -> network -> snapshot -> state_machine -> log_store
//!                                             -> change             -> ledger_host
//! ```
//!
//! openraft is known to this crate only, and every byte on disk and on the wire is defined here.
//! What a command means is the ledger's to know.

#![deny(missing_docs)]

mod alarms;
mod amount;
mod auditor;
mod base;
mod blocking;
mod change;
pub mod codec;
mod compaction;
pub mod config;
mod contact;
pub mod error;
mod fatal;
mod feature_level;
mod forming;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod handover;
mod headroom;
mod identity;
mod layout;
mod ledger_host;
pub mod limits;
pub mod log_store;
mod membership;
pub mod meters;
mod network;
mod pace;
mod poll;
mod proposer;
mod purge;
mod reach;
pub mod replica;
pub mod restored;
mod room;
mod roster;
mod scrub;
mod scrub_report;
mod slow_disk;
pub mod snapshot;
mod stages;
mod state_machine;
mod status;
#[cfg(feature = "storage")]
pub mod stopped;
pub mod storage;
pub mod tally;
#[cfg(test)]
mod testing;
mod ticker;
pub mod transport;
mod tried;
pub mod type_config;
mod vitals;
mod wire;

pub use change::NewMember;
pub use config::Config;
pub use error::{ChangeError, CommitError, FatalError, ReadError, StartError, TransferError};
pub use network::PeerService;
pub use replica::{
    Consistency, Leader, MemberVital, Replica, Role, ScrubPass, ScrubReport, Status, Survey,
};
#[cfg(feature = "storage")]
pub use storage::DiskStorage;
pub use storage::{MemoryStorage, Storage};
pub use transport::{MemoryNetwork, TcpTransport, Transport};
pub use type_config::{Joined, Member};
