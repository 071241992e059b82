//! What a vault had before its log began.
//!
//! A vault that was restored or recovered begins with a history that is in no log: one that is given the log from
//! its first entry on, such as a node that joins, would lack it. So the first thing that happens to the log of such a
//! vault is that a snapshot takes the place of its beginning.

use std::sync::Arc;

use toka_ledger::Reader;

use crate::error::FatalError;
use crate::identity::Identity;
use crate::type_config::LogId;

/// Knows whether there is such a history. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Base {
    pub(crate) reader: Reader,
    pub(crate) identity: Arc<Identity>,
}

impl Base {
    /// Whether the log, which is `purged` so far, still begins with its first entry and does not say
    /// everything.
    pub(crate) fn is_outside_log(&self, purged: Option<LogId>) -> Result<bool, FatalError> {
        if purged.is_some() {
            return Ok(false);
        }
        let settings = self.reader.settings()?;
        let cluster_id = self.identity.cluster_id();
        Ok(settings.is_some_and(|settings| Some(settings.cluster_id) != cluster_id))
    }
}
