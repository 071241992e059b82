//! Where a new group starts.

use toka_ledger::{Error, Reader};
use toka_proto::v1::create_group_request::Start as Message;

/// Where a new group starts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    After(u64),
    Now,
    /// Milliseconds since the Unix epoch.
    At(u64),
}

impl Start {
    pub(super) fn of(message: Option<&Message>) -> Self {
        match message {
            None | Some(Message::Beginning(_)) => Self::After(0),
            Some(Message::Now(_)) => Self::Now,
            Some(Message::AfterSequence(sequence)) => Self::After(*sequence),
            Some(Message::AtUnixMs(unix_ms)) => Self::At(*unix_ms),
        }
    }

    /// The sequence after which the group's events come. Blocking.
    pub(super) fn position(self, reader: &Reader) -> Result<u64, Error> {
        match self {
            Self::After(sequence) => Ok(sequence),
            Self::Now => Ok(reader.position().sequence),
            Self::At(unix_ms) => reader.last_before(unix_ms),
        }
    }
}
