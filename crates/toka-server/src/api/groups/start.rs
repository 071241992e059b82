//! Where a new group starts.

use toka_ledger::{Error, Reader, Selector};
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
            Self::At(unix_ms) => last_before(reader, unix_ms),
        }
    }
}

/// The last event before a time; 0: there is none. Times never run backwards.
fn last_before(reader: &Reader, unix_ms: u64) -> Result<u64, Error> {
    // All events up to `before` are, and none after `until` is.
    let (mut before, mut until) = (0, reader.position().sequence);
    while before < until {
        let middle = before + (until - before).div_ceil(2);
        let header = reader.header(&Selector::Sequence(middle))?;
        if header.is_some_and(|header| header.unix_ms < unix_ms) {
            before = middle;
        } else {
            until = middle - 1;
        }
    }
    Ok(before)
}
