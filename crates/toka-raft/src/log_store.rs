//! The Raft log of one node.
//!
//! ```text
//! openraft's task -> RaftLog --queue--> Writer (one thread) -> LogEngine -> disk
//! replication, apply -> LogReader -> tail in memory, else the engine's reader
//! state machine -> DurableWatermark
//! ```
//!
//! Invariants: changes reach the disk in the order in which openraft asked for them; completion is
//! reported only when a change and all before it are durable; entries can be read as soon as `append`
//! returns; a failed write or sync ends the log for good. It knows nothing of what entries carry.

mod engine;
mod error;
mod memory;
mod raft_log;
mod reader;
mod segment;
mod shared;
mod syncs;
mod tail;
mod watermark;
mod writer;

pub use engine::{BlockingRead, Change, EngineReader, LogEngine, LogMeta, ReadPlan};
pub use error::{Damage, LogError};
pub use memory::MemoryLog;
pub use raft_log::{DurableTimes, LogHandle, LogOptions, QUEUE_BYTES_MAX, RaftLog};
pub use reader::{LogReader, READ_BYTES_MAX};
#[cfg(fuzzing)]
pub(crate) use segment::fuzzing as segment_fuzzing;
#[cfg(feature = "storage")]
pub(crate) use segment::log_problems;
pub use segment::{FramePlace, SegmentLog, SegmentOptions, frames};
pub use syncs::SyncTimes;
pub use tail::TailLimits;
pub use watermark::{DurableWatermark, Failure};
pub use writer::Writer;

use tail::bounded;

use crate::codec::entry_len;
use crate::type_config::Entry;

/// Largest entry that the log takes, bytes. The proposer keeps far below it.
pub const ENTRY_BYTES_MAX: u64 = 64 << 20;

fn entry_limit_check(entry: &Entry) -> Result<(), LogError> {
    let bytes = entry_len(entry);
    if bytes > ENTRY_BYTES_MAX {
        let (log_id, bytes_max) = (entry.log_id, ENTRY_BYTES_MAX);
        return Err(LogError::EntryTooLarge {
            log_id,
            bytes,
            bytes_max,
        });
    }
    Ok(())
}
