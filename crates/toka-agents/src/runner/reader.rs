//! Reads ahead, so that an agent does not wait for the vault between two events.

use std::sync::Arc;

use toka_ledger::Filter;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::metrics::Metrics;
use crate::retry::Tries;
use crate::settings::Settings;
use crate::store::{Class, Feed, Item, Store, StoreError};

/// Events that are read ahead, as many as the channel holds: who does not take them holds the reader up.
#[derive(Debug)]
pub(super) struct Reader {
    items: mpsc::Receiver<Result<Item, StoreError>>,
    _task: AbortOnDropHandle<()>,
}

impl Reader {
    /// Reads after a sequence.
    pub(super) fn start(
        store: Arc<dyn Store>,
        after: u64,
        filter: Filter,
        settings: &Settings,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (sender, items) = mpsc::channel(settings.read_ahead);
        let reading = Reading {
            store,
            filter,
            tries: Tries::new(settings.store_retries, &settings.seams.entropy),
            fresh: Tries::new(settings.store_retries, &settings.seams.entropy),
            metrics,
            sender,
        };
        Self {
            items,
            _task: AbortOnDropHandle::new(tokio::spawn(reading.run(after))),
        }
    }

    /// What comes next.
    ///
    /// # Errors
    /// Of the vault, after all tries; [`StoreError::Interrupted`] after that.
    pub(super) async fn next(&mut self) -> Result<Item, StoreError> {
        self.items
            .recv()
            .await
            .unwrap_or(Err(StoreError::Interrupted))
    }
}

struct Reading {
    store: Arc<dyn Store>,
    filter: Filter,
    tries: Tries,
    /// As they are after a success.
    fresh: Tries,
    metrics: Arc<Metrics>,
    sender: mpsc::Sender<Result<Item, StoreError>>,
}

impl Reading {
    async fn run(mut self, after: u64) {
        let Some(mut feed) = self.open(after).await else {
            return;
        };
        loop {
            match feed.next().await {
                Ok(item) => {
                    self.tries = self.fresh.clone();
                    if self.sender.send(Ok(item)).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    if !self.goes_on_after(error).await {
                        return;
                    }
                }
            }
        }
    }

    async fn open(&mut self, after: u64) -> Option<Box<dyn Feed>> {
        loop {
            let opened = self.store.follow(after, self.filter.clone()).await;
            match opened {
                Ok(feed) => return Some(feed),
                Err(error) => {
                    if !self.goes_on_after(error).await {
                        return None;
                    }
                }
            }
        }
    }

    /// Waits for the next try; if there is none, the error is told.
    async fn goes_on_after(&mut self, error: StoreError) -> bool {
        let wait = match error.class() {
            Class::Transient => self.tries.failed(),
            Class::Refused | Class::Fatal => None,
        };
        if let Some(wait) = wait {
            self.metrics.add_retry();
            tracing::warn!(%error, tries = self.tries.made(), "vault is read again");
            tokio::time::sleep(wait).await;
            return true;
        }
        // It fails if nobody waits for it any more.
        let _ = self.sender.send(Err(error)).await;
        false
    }
}
