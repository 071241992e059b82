//! Cursors: named positions that the vault keeps.

use super::Reader;
use crate::core::CursorName;
use crate::error::Error;
use crate::store::lookup;

impl Reader {
    /// Where a cursor is; `None` if there is no cursor of that name.
    ///
    /// # Errors
    /// [`Error::Engine`], [`Error::Corrupt`].
    pub fn cursor(&self, name: &CursorName) -> Result<Option<u64>, Error> {
        lookup::cursor(&*self.engine(), name)
    }

    /// Up to `limit` cursors and where they are, by name, those behind the one called `after`.
    ///
    /// # Errors
    /// [`Error::Engine`], [`Error::Corrupt`].
    pub fn cursors(
        &self,
        after: Option<&CursorName>,
        limit: usize,
    ) -> Result<Vec<(CursorName, u64)>, Error> {
        let engine = self.engine();
        let cursors = lookup::cursors(&*engine, after);
        cursors.take(limit).collect()
    }
}
