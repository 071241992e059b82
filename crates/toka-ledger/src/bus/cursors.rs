//! Cursors of an embedded vault.

use super::VaultBus;
use crate::apply::Outcome;
use crate::command::{Command, DeleteCursor, SaveCursor};
use crate::core::CursorName;
use crate::error::Error;

impl VaultBus {
    /// Where a cursor is; `None` if there is no cursor of that name.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Engine`].
    pub fn cursor(&self, name: &CursorName) -> Result<Option<u64>, Error> {
        self.reader().cursor(name)
    }

    /// Up to `limit` cursors and where they are, by name, those behind the one called `after`.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Engine`].
    pub fn cursors(
        &self,
        after: Option<&CursorName>,
        limit: usize,
    ) -> Result<Vec<(CursorName, u64)>, Error> {
        self.reader().cursors(after, limit)
    }

    /// Puts a cursor at the sequence `to`, makes it where there is none of that name, and waits until that is on
    /// stable storage. With `from` only if it is there, where 0 stands for one that there is not.
    ///
    /// # Errors
    /// [`Rejection::Preconditions`](crate::Rejection) if it is not at `from`, with where it is;
    /// [`Rejection::PositionAhead`](crate::Rejection); [`Error::Engine`], [`Error::Closed`].
    pub async fn save_cursor(
        &self,
        name: &CursorName,
        from: Option<u64>,
        to: u64,
    ) -> Result<(), Error> {
        let command = Command::SaveCursor(SaveCursor {
            unix_ms: self.inner.seams.clock.unix_ms(),
            name: name.clone(),
            from,
            to,
        });
        match self.execute(command).await? {
            Outcome::CursorSaved { .. } => Ok(()),
            other => unreachable!("a cursor was to be saved: {other:?}"),
        }
    }

    /// Deletes a cursor, and waits until that is on stable storage. With `from` only if it is there.
    ///
    /// # Errors
    /// [`Rejection::UnknownCursor`](crate::Rejection); [`Rejection::Preconditions`](crate::Rejection) if it is not
    /// at `from`, with where it is; [`Error::Engine`], [`Error::Closed`].
    pub async fn delete_cursor(&self, name: &CursorName, from: Option<u64>) -> Result<(), Error> {
        let command = Command::DeleteCursor(DeleteCursor {
            unix_ms: self.inner.seams.clock.unix_ms(),
            name: name.clone(),
            from,
        });
        match self.execute(command).await? {
            Outcome::CursorDeleted { .. } => Ok(()),
            other => unreachable!("a cursor was to be deleted: {other:?}"),
        }
    }
}
