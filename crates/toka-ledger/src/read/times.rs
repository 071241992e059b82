//! Where a time is in the order. The vault's time never runs backwards, so it is searched for in halves.

use super::Reader;
use crate::engine::Table;
use crate::error::Error;
use crate::store::{encode_sequence, lookup, missing};

impl Reader {
    /// Sequence of the last event before `unix_ms`, milliseconds since the Unix epoch; 0 if there is none.
    ///
    /// A range of times becomes one of sequences: a [`Query`](super::Query) for the events from `a` up to and
    /// including `b` is after `last_before(a)`, until `last_before(b + 1)`. What is committed later does not
    /// change the answer once there is an event at or after `unix_ms`. Some forty headers are read at most.
    ///
    /// # Errors
    /// [`Error::Engine`], [`Error::Corrupt`].
    pub fn last_before(&self, unix_ms: u64) -> Result<u64, Error> {
        let (head, engine) = (self.position().sequence, self.engine());
        // All events up to `before` are before, all from `from` on are not.
        let (mut before, mut from) = (0, head + 1);
        while from - before > 1 {
            let middle = before + (from - before) / 2;
            let header = lookup::headers(&*engine, &[middle])?.pop().flatten();
            let header = header.ok_or_else(|| missing(Table::Headers, &encode_sequence(middle)))?;
            if header.unix_ms < unix_ms {
                before = middle;
            } else {
                from = middle;
            }
        }
        Ok(before)
    }
}
