//! The ledger as openraft's state machine.
//!
//! Invariants (docs/openraft.md, section 4): an entry's effect, its log id and the membership are one
//! write; nothing is applied before this node's own log holds it durably; every responder is
//! answered; an error of the ledger stops the node.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::{FutureExt, Stream, StreamExt};
use openraft::OptionalSend;
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::type_config::alias::SnapshotOf;
use tokio::time::Instant;

use crate::blocking::Blocking;
use crate::codec::entry_len;
use crate::compaction::AppliedLog;
use crate::error::FatalError;
use crate::fatal::Fatal;
use crate::ledger_host::LedgerHost;
use crate::log_store::{DurableWatermark, LogHandle};
use crate::snapshot::{Builder, SnapshotDir, SnapshotStore};
use crate::tally::Tally;
use crate::type_config::{Applied, Entry, LogId, SnapshotMeta, StoredMembership, TypeConfig};

/// Entries that are applied together.
const GROUP_ENTRIES_MAX: usize = 256;
/// Bytes of entries that are applied together.
const GROUP_BYTES_MAX: u64 = 8 << 20;

/// The ledger, as openraft uses it.
pub(crate) struct StateMachine {
    pub(crate) host: Arc<LedgerHost>,
    pub(crate) snapshots: Arc<SnapshotStore>,
    pub(crate) durable: DurableWatermark,
    pub(crate) log: LogHandle,
    pub(crate) applied: Arc<AppliedLog>,
    pub(crate) blocking: Blocking,
    pub(crate) metrics: Arc<std::sync::OnceLock<crate::snapshot::Metrics>>,
    pub(crate) fatal: Fatal,
    pub(crate) tally: Arc<Tally>,
}

/// Entries that are applied in one write.
#[derive(Default)]
struct Group {
    entries: Vec<Entry>,
    responders: Vec<Option<ApplyResponder<TypeConfig>>>,
    bytes: u64,
}

impl Group {
    fn push(&mut self, (entry, responder): EntryResponder<TypeConfig>) {
        self.bytes += entry_len(&entry);
        self.entries.push(entry);
        self.responders.push(responder);
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= GROUP_ENTRIES_MAX || self.bytes >= GROUP_BYTES_MAX
    }
}

/// The next entries of `entries`: at least one, and those that are there already.
async fn next_group<S>(entries: &mut S) -> io::Result<Option<Group>>
where
    S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin,
{
    let Some(first) = entries.next().await.transpose()? else {
        return Ok(None);
    };
    let mut group = Group::default();
    group.push(first);
    while !group.is_full() {
        match entries.next().now_or_never().flatten().transpose()? {
            Some(next) => group.push(next),
            None => break,
        }
    }
    Ok(Some(group))
}

/// Drops the outcomes of entries that nobody asks for, which are all of a follower's: here, by the thread that has made
/// them, and not by Raft's.
fn forget_unasked(results: &mut [Applied], is_asked: &[bool]) {
    for (result, is_asked) in results.iter_mut().zip(is_asked) {
        if !is_asked {
            result.outcomes = Vec::new();
        }
    }
}

/// A panic would end openraft's worker and nothing else: the node would go on, and apply nothing. It
/// stops instead.
async fn stop_on_panic(
    work: impl Future<Output = Result<(), FatalError>>,
) -> Result<(), FatalError> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(result) => result,
        // The panic hook has printed what and where.
        Err(_) => Err(FatalError::Panic),
    }
}

impl StateMachine {
    async fn apply_group(&mut self, group: Group) -> Result<(), FatalError> {
        let Group {
            entries,
            responders,
            bytes,
        } = group;
        let last = entries.last().map(|entry| entry.log_id);
        let Some(last) = last else { return Ok(()) };
        // openraft hands entries over as soon as a quorum has them, which may be before this node's
        // disk has. A ledger that is ahead of its own log cannot be started again.
        self.wait_until_durable(last.index).await?;
        let host = Arc::clone(&self.host);
        let (began, count) = (Instant::now(), entries.len());
        let is_asked: Vec<bool> = responders.iter().map(Option::is_some).collect();
        let apply = move || -> Result<Vec<Applied>, FatalError> {
            let mut results = host.apply(entries)?;
            forget_unasked(&mut results, &is_asked);
            Ok(results)
        };
        let results = self.blocking.run(apply).await?;
        let ended = Instant::now();
        self.tally
            .apply
            .record(ended.saturating_duration_since(began));
        self.tally.applied_entries.add(count as u64);
        let during = Some((began.into_std(), ended.into_std()));
        self.applied.record(last.index, bytes);
        // Every responder is answered: a caller is waiting behind it.
        for (responder, result) in responders.into_iter().zip(results) {
            if let Some(responder) = responder {
                responder.send(Applied { during, ..result });
            }
        }
        Ok(())
    }

    async fn wait_until_durable(&mut self, index: u64) -> Result<(), FatalError> {
        #[cfg(simulation)]
        if toka_ledger::simulation::Bug::ApplyAheadOfLog.is_on() {
            return Ok(());
        }
        Ok(self.durable.wait_for(index).await?)
    }

    /// Puts a snapshot in the place of the ledger. It has been checked when it was received.
    async fn install(&self, snapshot: SnapshotDir) -> Result<(), FatalError> {
        // A truncation that a crash undoes while the snapshot stays would leave a log that
        // contradicts the ledger, and openraft would not start.
        self.log.barrier().await?;
        let (host, store) = (Arc::clone(&self.host), Arc::clone(&self.snapshots));
        let install = move || -> Result<(), FatalError> {
            // First the snapshot gets its name. A crash before the ledger follows leaves a snapshot that
            // is newer than the ledger, which openraft installs again at start; the other way round
            // the node would keep a snapshot that its purged log does not follow on.
            let own = store.adopt(&snapshot)?;
            host.install(&own.ledger(), own.contents())
        };
        self.blocking.run(install).await
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotDir;
    type SnapshotBuilder = Builder;

    /// At start: what has survived, so that openraft applies the rest again.
    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok(self
            .host
            .applied_state()
            .map_err(|error| self.fatal.report(error))?)
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut entries = entries.fuse();
        while let Some(group) = next_group(&mut entries).await? {
            let applied = stop_on_panic(self.apply_group(group)).await;
            applied.map_err(|error| self.fatal.report(error))?;
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        if !force && self.snapshots.is_receiving() {
            // It is about to be replaced by a newer one.
            return None;
        }
        Some(self.builder())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.builder()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotDir,
    ) -> io::Result<()> {
        let installed = stop_on_panic(self.install(snapshot)).await;
        installed.map_err(|error| self.fatal.report(error))?;
        self.applied.installed();
        self.tally.snapshots_installed.increment();
        tracing::info!(log_id = ?meta.last_log_id, "snapshot installed");
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<SnapshotOf<TypeConfig, SnapshotDir>>> {
        Ok(self.snapshots.current().map(|snapshot| openraft::Snapshot {
            meta: snapshot.contents().meta.clone(),
            snapshot,
        }))
    }
}

impl StateMachine {
    fn builder(&self) -> Builder {
        Builder {
            host: Arc::clone(&self.host),
            store: Arc::clone(&self.snapshots),
            blocking: self.blocking,
            metrics: Arc::clone(&self.metrics),
            fatal: self.fatal.clone(),
            tally: Arc::clone(&self.tally),
        }
    }
}

#[cfg(test)]
mod tests {
    use toka_ledger::Outcome;

    use super::*;

    #[test]
    fn outcomes_that_nobody_asks_for_are_forgotten() {
        let committed = Outcome::Committed {
            revision: 1,
            headers: Vec::new(),
        };
        let applied = Applied {
            outcomes: vec![committed],
            during: None,
        };
        let mut results = [applied.clone(), applied];
        forget_unasked(&mut results, &[true, false]);
        let left = results.map(|result| result.outcomes.len());
        assert_eq!(left, [1, 0]);
    }
}
