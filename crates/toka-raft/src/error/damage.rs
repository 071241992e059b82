//! Which errors say that stored data is damaged, and what follows from it.

use std::sync::Arc;

use toka_ledger::dir::DataDir;

use super::{FatalError, StartError};
use crate::log_store::LogError;

/// What is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The ledger. A copy of another node's takes its place at the next start.
    Ledger,
    /// The ledger, of which there is no other copy.
    OnlyLedger,
    /// The Raft log. The node must never vote again.
    Log,
    /// The Raft log, as long as the disk does not read it: the node must not vote before it does. Each start reads
    /// all of it.
    UnreadableLog,
    /// The marker of the data directory: nobody knows whether the node may run.
    Marker,
}

impl Damage {
    /// Notes it in the data directory: what is damaged must not be used at the next start, whether or not it
    /// is found again.
    pub(crate) fn note(self, data_dir: &mut DataDir) -> Result<(), toka_ledger::Error> {
        match self {
            Self::Ledger => data_dir.set_ledger_damaged(),
            Self::Log => data_dir.set_log_damaged(),
            // Noted already; the note itself; and what may be sound once a cable is plugged in again.
            Self::OnlyLedger | Self::Marker | Self::UnreadableLog => Ok(()),
        }
    }

    /// What to do about a damaged log.
    pub(super) fn log(node_id: u64) -> String {
        format!(
            "the Raft log of node {node_id} was found to be damaged. It may have acknowledged entries that it \
             can no longer read, so it must not vote again: replace it under a new node id, with an empty \
             data directory and `toka serve --join ENDPOINT --replace {node_id}`"
        )
    }
}

impl LogError {
    /// What is damaged, if something is.
    pub(crate) const fn damage(&self) -> Option<Damage> {
        match self {
            Self::Damaged {
                damage: crate::log_store::Damage::Unreadable(_),
                ..
            } => Some(Damage::UnreadableLog),
            _ if self.is_damage() => Some(Damage::Log),
            _ => None,
        }
    }

    /// Whether the log has lost what this node may have acknowledged.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::Missing { .. } => true,
            Self::UnknownVersion { .. }
            | Self::Newer { .. }
            | Self::InUse { .. }
            | Self::Io { .. }
            | Self::Hole { .. }
            | Self::EntryTooLarge { .. }
            | Self::Closed => false,
        }
    }
}

/// The damage that `error` speaks of, which somebody else keeps.
pub(super) fn damage_in(error: &toka_ledger::Error) -> toka_ledger::Error {
    match error {
        toka_ledger::Error::Corrupt { table, key, detail } => toka_ledger::Error::Corrupt {
            table,
            key: key.clone(),
            detail: detail.clone(),
        },
        error => toka_ledger::Error::Corrupt {
            table: "store",
            key: String::new(),
            detail: error.to_string(),
        },
    }
}

impl FatalError {
    /// The ledger is damaged, as `error` says, which somebody else keeps.
    pub(crate) fn damaged(error: &toka_ledger::Error) -> Self {
        Self::LedgerDamaged(Arc::new(damage_in(error)))
    }

    /// What is damaged, if that is why the node must stop.
    #[must_use]
    pub fn damage(&self) -> Option<Damage> {
        match self {
            Self::LedgerDamaged(_) => Some(Damage::Ledger),
            Self::Log(error) => error.damage(),
            Self::Start(error) => error.damage(),
            _ => None,
        }
    }
}

impl StartError {
    /// What is damaged, if that is why the node does not start.
    #[must_use]
    pub fn damage(&self) -> Option<Damage> {
        match self {
            Self::LogDamaged { .. } => Some(Damage::Log),
            Self::Log(error) => error.damage(),
            Self::MarkerDamaged { .. } => Some(Damage::Marker),
            Self::LedgerLost { .. } => Some(Damage::OnlyLedger),
            Self::LedgerDamaged { .. } => Some(Damage::Ledger),
            Self::Contradiction { damage, .. } => *damage,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use toka_ledger::engine::EngineError;

    use super::*;
    use crate::error::SnapshotError;

    #[test]
    fn damage_that_is_found_while_a_snapshot_is_made_is_damage_of_the_ledger() {
        let engine = EngineError::Corruption {
            path: "/ledger".into(),
            table: None,
            detail: "a block's checksum".to_owned(),
            source: None,
        };
        let row = toka_ledger::Error::Corrupt {
            table: "meta",
            key: "00".to_owned(),
            detail: "a checksum".to_owned(),
        };
        for error in [toka_ledger::Error::from(engine), row] {
            let said = error.to_string();
            let found = FatalError::from(error);
            let passed_on = FatalError::from(SnapshotError::from(found));
            assert_eq!(passed_on.damage(), Some(Damage::Ledger), "{passed_on}");
            let detail = said.rsplit(": ").next().expect("a message");
            assert!(passed_on.to_string().contains(detail), "{passed_on}");
        }
    }

    #[test]
    fn what_is_no_damage_keeps_no_note() {
        let error = FatalError::from(toka_ledger::Error::Closed);
        assert_eq!(FatalError::from(SnapshotError::from(error)).damage(), None);
    }
}
