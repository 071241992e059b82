//! A recovery that was broken off at its very end: the new vault is finished, the old directory not marked.

use std::path::Path;
use std::sync::Arc;

use toka_ledger::Ledger;
use toka_ledger::command::decode_batch;
use toka_ledger::dir::{DataDir, Mode};
use toka_ledger::read::Reader;
use toka_ledger::restore::is_beginning;

use super::{Opened, Recovered, RecoveryError};
use crate::error::{FatalError, StartError};
use crate::layout::Layout;
use crate::type_config::{Commands, Entry, EntryPayload};

/// What the log has that is not applied yet.
struct Tail {
    entries: u64,
    commands: u64,
}

impl Opened {
    /// What an earlier call has made of this survivor at `new`, and finished; `None` if nothing is there, or
    /// anything else, of which the caller finds out what it is.
    pub(super) async fn finished(
        &self,
        new: &Path,
        node_id: u64,
    ) -> Result<Option<Recovered>, RecoveryError> {
        let disk = self.storage.disk();
        let old = Some(self.survivor.cluster_id);
        let mode = match DataDir::read(&*disk, new) {
            Ok(Some(
                mode @ Mode::Node {
                    cluster_id,
                    node_id: found,
                },
            )) if found == node_id && cluster_id != old => mode,
            _ => return Ok(None),
        };
        // No node may start with it, or run, while it is looked at.
        let _taken = DataDir::open_or_create(Arc::clone(&disk), new, mode)?;
        let layout = Layout::new(disk, new.to_owned());
        let number = layout
            .current()
            .map_err(StartError::file("read the pointer in", new))?;
        let Some(number) = number else {
            return Ok(None);
        };
        let engine = self.storage.open_copy(&layout.ledger(number))?;
        let (reader, _) = Ledger::read_only(engine)?;
        let tail = self.tail().await?;
        let is_own = self.has_become(&reader, &tail)?;
        Ok(is_own.then(|| Recovered {
            position: reader.position(),
            applied_entries: tail.entries,
        }))
    }

    /// Whether the vault of `reader` was made of this survivor, and not of another one of its cluster, which
    /// had more of the log or less: the survivor's events are its first ones, and then came what the log adds.
    fn has_become(&self, reader: &Reader, tail: &Tail) -> Result<bool, RecoveryError> {
        let (Some(noted), Some(settings)) = (reader.recovered()?, reader.settings()?) else {
            return Ok(false);
        };
        let cluster_id = self.survivor.cluster_id;
        // The revision counts every command, so that it is known without applying them.
        let is_own = noted.cluster_id == cluster_id
            && noted.history_id == settings.history_id_in(cluster_id)
            && noted.revision == self.survivor.position.revision + tail.commands
            && is_beginning(&self.host.reader(), reader)?;
        Ok(is_own)
    }

    /// Counts what is to be applied.
    async fn tail(&self) -> Result<Tail, RecoveryError> {
        let mut tail = Tail {
            entries: 0,
            commands: 0,
        };
        let mut after = self.applied;
        loop {
            let entries = self.read_log(after).await?;
            if entries.is_empty() {
                self.check_end(after)?;
                return Ok(tail);
            }
            for Entry { log_id, payload } in entries {
                after = Some(log_id);
                tail.entries += 1;
                if let EntryPayload::Normal(Commands(bytes)) = payload {
                    let index = log_id.index;
                    let commands = decode_batch(bytes)
                        .map_err(|source| FatalError::Entry { index, source })?;
                    tail.commands += commands.len() as u64;
                }
            }
        }
    }
}
