//! Making a snapshot of the node's ledger.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use openraft::RaftSnapshotBuilder;
use openraft::async_runtime::WatchReceiver;
use openraft::type_config::alias::{SnapshotOf, WatchReceiverOf};
use tokio::time::Instant;

use super::{Contents, Place, SnapshotDir, SnapshotError, SnapshotStore};
use crate::blocking::Blocking;
use crate::error::FatalError;
use crate::fatal::Fatal;
use crate::ledger_host::{LedgerHost, contents};
use crate::tally::Tally;
use crate::type_config::{LogId, TypeConfig};

/// openraft's metrics, known once openraft runs.
pub(crate) type Metrics = WatchReceiverOf<TypeConfig, openraft::RaftMetrics<TypeConfig>>;

/// Makes one snapshot.
pub(crate) struct Builder {
    pub(crate) host: Arc<LedgerHost>,
    pub(crate) store: Arc<SnapshotStore>,
    pub(crate) blocking: Blocking,
    pub(crate) metrics: Arc<OnceLock<Metrics>>,
    pub(crate) fatal: Fatal,
    pub(crate) tally: Arc<Tally>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotDir;

    /// Complete and durable when it returns, in the copy and in the ledger: openraft purges the log
    /// up to it (docs/openraft.md, section 4, point 2).
    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<TypeConfig, SnapshotDir>> {
        let (host, store) = (Arc::clone(&self.host), Arc::clone(&self.store));
        let began = Instant::now();
        let built = self.blocking.run(move || build(&host, &store));
        // A panic would end openraft's task for this snapshot without an answer, and no further one
        // would ever be made.
        let snapshot = match AssertUnwindSafe(built).catch_unwind().await {
            Ok(built) => built.map_err(FatalError::from),
            Err(_) => Err(FatalError::Panic),
        }
        .map_err(|error| self.fatal.report(error))?;
        self.tally.snapshots_made.record(began.elapsed());
        let meta = snapshot.contents().meta.clone();
        self.wait_until_applied(meta.last_log_id).await;
        tracing::info!(log_id = ?meta.last_log_id, "snapshot made");
        Ok(openraft::Snapshot { meta, snapshot })
    }
}

impl Builder {
    /// The copy may hold entries of an apply that openraft has not heard of yet, and it takes a
    /// snapshot that is ahead of what it knows to be applied for a contradiction.
    async fn wait_until_applied(&self, last: Option<LogId>) {
        let Some(metrics) = self.metrics.get() else {
            // openraft is not running yet: it makes a snapshot of what it has just recovered.
            return;
        };
        let mut metrics = metrics.clone();
        while metrics.borrow_watched().last_applied < last {
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }
}

pub(super) fn build(
    host: &LedgerHost,
    store: &SnapshotStore,
) -> Result<SnapshotDir, SnapshotError> {
    let (place, contents) = make(host, store)?;
    if let Some(current) = store.current()
        && current.contents() == &contents
    {
        return Ok(current);
    }
    note(&place, &contents)?;
    store.finish(place, contents)
}

/// Makes another snapshot in the place of the current one, which is damaged.
pub(crate) fn rebuild(
    host: &LedgerHost,
    store: &SnapshotStore,
    damaged: &SnapshotDir,
) -> Result<(), SnapshotError> {
    let (place, contents) = make(host, store)?;
    note(&place, &contents)?;
    store.replace(damaged, place, contents)
}

fn make(host: &LedgerHost, store: &SnapshotStore) -> Result<(Place, Contents), SnapshotError> {
    let place = store.place()?;
    host.copy(&place.ledger())?;
    // Read from the copy, so that the note and the copy cannot disagree.
    let contents = contents(host.storage().open_copy(&place.ledger())?)?;
    if let Some(log_id) = contents.meta.last_log_id {
        let flushed = host.flushed_index()?;
        if flushed < Some(log_id.index) {
            return Err(SnapshotError::NotDurable {
                snapshot: log_id.index,
                flushed,
            });
        }
    }
    Ok((place, contents))
}

/// Writes the note beside the copy, and makes both durable.
fn note(place: &Place, contents: &Contents) -> Result<(), SnapshotError> {
    contents.write(place.disk(), place.dir())?;
    let synced = place.disk().sync_dir(place.dir());
    synced.map_err(SnapshotError::file("sync", place.dir()))
}

impl From<SnapshotError> for io::Error {
    fn from(error: SnapshotError) -> Self {
        FatalError::from(error).into()
    }
}
