//! What readers see: a view that is folded from events as they come, and writes nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};

use toka_ledger::Filter;
use toka_ledger::seam::Seams;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::event::Event;
use crate::retry::{RetryPolicy, Tries};
use crate::store::{Class, Feed, Item, Store, StoreError};

/// Why a projection has not come to where it was to be.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectionError {
    /// The vault could not be read, also after all tries. The view stays as it was.
    #[error("the projection has stopped at {position}: {source}")]
    Stopped {
        /// Up to there it goes.
        position: u64,
        /// What the last try has failed with.
        source: Arc<StoreError>,
    },
    /// The fold panicked at the next wanted event, and may have left the view in the middle of it.
    #[error("the projection has panicked after {position}")]
    Panicked {
        /// Up to there it goes.
        position: u64,
    },
}

/// How far it has come, and what has stopped it.
#[derive(Clone, Debug, Default)]
struct Progress {
    position: u64,
    stopped: Option<Stop>,
}

/// What has stopped a projection.
#[derive(Clone, Debug)]
enum Stop {
    Failed(Arc<StoreError>),
    Panicked,
}

/// A view of the events that a filter wants, kept up to date in the background until it is dropped.
///
/// One event at a time is folded under a lock that readers share: a reader sees the view after some event and never a part of
/// one.
#[derive(Debug)]
pub struct Projection<V> {
    view: Arc<RwLock<V>>,
    progress: watch::Receiver<Progress>,
    _task: AbortOnDropHandle<()>,
}

impl<V: Send + Sync + 'static> Projection<V> {
    /// Follows what the filter wants after the sequence `after`, whose view is `view`, with `apply` as the fold.
    pub fn follow(
        store: Arc<dyn Store>,
        filter: Filter,
        after: u64,
        view: V,
        apply: impl FnMut(&mut V, &Event) + Send + 'static,
    ) -> Self {
        let view = Arc::new(RwLock::new(view));
        let (told, progress) = watch::channel(Progress {
            position: after,
            stopped: None,
        });
        let task = follow(store, filter, after, Arc::clone(&view), apply, told);
        Self {
            view,
            progress,
            _task: AbortOnDropHandle::new(tokio::spawn(task)),
        }
    }

    /// Looks at the view. What follows the vault waits meanwhile.
    pub fn read<T>(&self, look: impl FnOnce(&V) -> T) -> T {
        look(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Every wanted event up to this sequence is in the view.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.progress.borrow().position
    }

    /// Waits until every wanted event up to a sequence is in the view: that of the caller's own commit, so that it reads what
    /// it has written. A node of a cluster says how far it is every two seconds at least; an event that is wanted says it at
    /// once.
    ///
    /// # Errors
    /// [`ProjectionError`].
    pub async fn wait_for(&self, sequence: u64) -> Result<(), ProjectionError> {
        let mut progress = self.progress.clone();
        let is_there =
            |progress: &Progress| progress.position >= sequence || progress.stopped.is_some();
        let reached = match progress.wait_for(is_there).await {
            Ok(reached) => reached.clone(),
            // The task has ended without a word, which it does only with the runtime.
            Err(_) => Progress {
                position: self.position(),
                stopped: Some(Stop::Failed(Arc::new(StoreError::Interrupted))),
            },
        };
        let position = reached.position;
        match reached.stopped {
            _ if position >= sequence => Ok(()),
            None => Ok(()),
            Some(Stop::Failed(source)) => Err(ProjectionError::Stopped { position, source }),
            Some(Stop::Panicked) => Err(ProjectionError::Panicked { position }),
        }
    }
}

async fn follow<V>(
    store: Arc<dyn Store>,
    filter: Filter,
    after: u64,
    view: Arc<RwLock<V>>,
    mut apply: impl FnMut(&mut V, &Event),
    told: watch::Sender<Progress>,
) {
    let fresh = Tries::new(RetryPolicy::STORE, &Seams::system().entropy);
    let mut tries = fresh.clone();
    let mut feed: Option<Box<dyn Feed>> = None;
    loop {
        let next = match &mut feed {
            Some(feed) => feed.next().await.map(Some),
            None => match store.follow(after, filter.clone()).await {
                Ok(opened) => {
                    feed = Some(opened);
                    Ok(None)
                }
                Err(error) => Err(error),
            },
        };
        match next {
            Ok(item) => {
                tries = fresh.clone();
                let position = match item {
                    Some(Item::Event(event)) => {
                        let folded = catch_unwind(AssertUnwindSafe(|| {
                            let mut view = view.write().unwrap_or_else(PoisonError::into_inner);
                            apply(&mut view, &event);
                        }));
                        if folded.is_err() {
                            tracing::error!(sequence = event.sequence(), "projection panicked");
                            told.send_modify(|progress| progress.stopped = Some(Stop::Panicked));
                            return;
                        }
                        event.sequence()
                    }
                    Some(Item::Reached(sequence)) => sequence,
                    None => continue,
                };
                told.send_modify(|progress| progress.position = progress.position.max(position));
            }
            Err(error) => {
                let wait = tries.failed().filter(|_| error.class() == Class::Transient);
                tracing::warn!(%error, tries = tries.made(), "projection failed to read");
                let Some(wait) = wait else {
                    let stop = Stop::Failed(Arc::new(error));
                    told.send_modify(|progress| progress.stopped = Some(stop));
                    return;
                };
                tokio::time::sleep(wait).await;
            }
        }
    }
}
