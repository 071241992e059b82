//! The one way in which a vault changes.

use std::sync::Arc;

use bytes::Bytes;

use crate::command::Command;
use crate::core::EventHeader;
use crate::engine::{Durability, Engine};
use crate::error::{Error, Rejection};
pub use crate::read::Position;
use crate::read::Reader;

/// Where the log that feeds the ledger is; opaque to the ledger, stored with what it applies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogMark {
    /// Id of the last applied log entry; `None`: unchanged.
    pub log_id: Option<Bytes>,
    /// Membership as of that entry; `None`: unchanged.
    pub membership: Option<Bytes>,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The commit was applied, or had been before.
    Committed {
        /// Commands applied, this one included.
        revision: u64,
        /// One per event of the commit, in its order.
        headers: Vec<Arc<EventHeader>>,
    },
    /// The vault was created.
    Created {
        /// Commands applied, this one included.
        revision: u64,
    },
    /// The command was refused; nothing but the revision and the time changed.
    Rejected {
        /// Commands applied, this one included.
        revision: u64,
        /// Why.
        rejection: Rejection,
    },
}

/// The single writer of a vault.
#[derive(Debug)]
pub struct Ledger {
    reader: Reader,
}

impl Ledger {
    /// Opens the vault that `engine` holds, or a new one.
    pub fn open(engine: Arc<dyn Engine>) -> Result<Self, Error> {
        unimplemented!()
    }

    /// A reader of this vault.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Where the vault is.
    #[must_use]
    pub fn position(&self) -> Position {
        self.reader.position()
    }

    /// The log's mark as applied in memory.
    #[must_use]
    pub fn log_mark(&self) -> LogMark {
        unimplemented!()
    }

    /// The log's mark that a crash would leave.
    pub fn flushed_log_mark(&self) -> Result<LogMark, Error> {
        unimplemented!()
    }

    /// Applies `commands` in order, in one atomic write.
    pub fn apply(
        &mut self,
        commands: &[Command],
        mark: LogMark,
        durability: Durability,
    ) -> Result<Vec<Outcome>, Error> {
        unimplemented!()
    }

    /// Goes on with another engine, which a snapshot was installed into.
    pub fn install(&mut self, engine: Arc<dyn Engine>) -> Result<(), Error> {
        unimplemented!()
    }
}
