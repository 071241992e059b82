//! The log as openraft's `RaftLogReader`.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use futures::Stream;
use futures::stream;
use openraft::OptionalSend;
use openraft::RaftLogReader;
use toka_ledger::seam::off_reactor;

use super::engine::ReadPlan;
use super::shared::{Found, Shared};
use crate::type_config::{Entry, TypeConfig, Vote};

/// Bytes of entries that go into one message to a follower, and that apply reads at once.
pub const READ_BYTES_MAX: u64 = 2 << 20;

/// Reads the log beside the write-ahead thread: from memory if it can, else from the disk. Cheap to
/// clone.
#[derive(Clone)]
pub struct LogReader {
    shared: Arc<Shared>,
}

impl LogReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

async fn load(shared: &Shared, found: Found) -> io::Result<Vec<Entry>> {
    let mut entries = match found.on_disk {
        None => return Ok(found.in_memory),
        Some(ReadPlan::Ready(entries)) => entries,
        Some(ReadPlan::Blocking(read)) => {
            // Disks block, and the async threads must not.
            let read = off_reactor(read).await;
            let read = read.map_err(io::Error::other)?;
            // Whoever reads may be told nothing but that it has failed.
            read.map_err(|error| shared.note_damage(error))?
        }
    };
    entries.extend(found.in_memory);
    Ok(entries)
}

fn indexes(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        load(&self.shared, self.shared.find(indexes(&range))).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.shared.state().meta.vote)
    }

    /// At most [`READ_BYTES_MAX`], so that a message stays far below gRPC's limits, and at least one
    /// entry, so that replication goes on whatever an entry's size.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let found = self.shared.find_bounded(start..end, READ_BYTES_MAX);
        load(&self.shared, found).await
    }

    /// What apply reads: in pieces, however far it is behind.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let range = indexes(&range);
        let pieces = Pieces {
            shared: Arc::clone(&self.shared),
            range,
            piece: Vec::new().into_iter(),
        };
        Box::pin(stream::unfold(pieces, |mut pieces| async move {
            let entry = pieces.next().await?;
            Some((entry, pieces))
        }))
    }
}

/// Reads a range piece by piece.
struct Pieces {
    shared: Arc<Shared>,
    range: Range<u64>,
    piece: std::vec::IntoIter<Entry>,
}

impl Pieces {
    async fn next(&mut self) -> Option<io::Result<Entry>> {
        if let Some(entry) = self.piece.next() {
            return Some(Ok(entry));
        }
        if self.range.is_empty() {
            return None;
        }
        let found = self.shared.find_bounded(self.range.clone(), READ_BYTES_MAX);
        match load(&self.shared, found).await {
            Err(error) => {
                self.range.start = self.range.end;
                Some(Err(error))
            }
            Ok(entries) => {
                // Nothing more may be there: the log ends before the range does.
                self.range.start = entries
                    .last()
                    .map_or(self.range.end, |entry| entry.log_id.index + 1);
                self.piece = entries.into_iter();
                self.piece.next().map(Ok)
            }
        }
    }
}
