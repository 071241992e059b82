//! Which node a data directory belongs to, for a start that does not say.

use std::path::Path;
use std::sync::Arc;

use toka_ledger::Error;
use toka_ledger::dir::{DataDir, Mode};
use toka_raft::Storage;

use super::StartError;
use super::join::off_reactor;
use crate::config::ConfigError;

/// The id of the node that `data` belongs to. It is only read: opening the directory checks it again.
pub(super) async fn of_directory(
    data: &Path,
    storage: &Arc<dyn Storage>,
) -> Result<u64, StartError> {
    let (path, disk) = (data.to_owned(), storage.disk());
    let known = off_reactor(move || -> Result<Option<u64>, Error> {
        let mode = DataDir::read(&*disk, &path)?;
        match mode {
            Some(Mode::Node { node_id, .. }) => Ok(Some(node_id)),
            Some(Mode::Joining { .. }) => Err(Error::JoiningNode { path }),
            Some(Mode::Embedded) => Err(Error::EmbeddedVault { path }),
            None => Ok(None),
        }
    });
    known.await?.ok_or_else(|| {
        let data = data.to_owned();
        ConfigError::Nobody { data }.into()
    })
}
