//! What a client has seen of the vault.

use std::sync::{Mutex, OnceLock, PoisonError};

use toka_proto::convert::read::Header;

/// The highest revision that replies have shown, and the history of the first reply.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<(u128, u64)>, OnceLock<u128>);

impl Seen {
    /// Revisions of an older history say nothing about a newer one.
    pub(crate) fn observe(&self, header: &Header) {
        // A node that does not serve yet tells its status, and has no history to name.
        if header.history_id != 0 {
            self.1.get_or_init(|| header.history_id);
        }
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.0 != header.history_id {
            *seen = (header.history_id, header.revision);
        }
        seen.1 = seen.1.max(header.revision);
    }

    /// Of which history this client's sequences are: where the vault has another one, what it knows of positions
    /// and cursors no longer counts, and a new client has to begin.
    pub(crate) fn first_history(&self) -> Option<u128> {
        self.1.get().copied()
    }

    /// The same; `history_id` if no reply has shown one yet.
    pub(crate) fn first_history_or(&self, history_id: u128) -> u128 {
        *self.1.get_or_init(|| history_id)
    }

    pub(crate) fn revision(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}
