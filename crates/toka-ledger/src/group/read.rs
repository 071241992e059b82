//! Consumer groups as readers see them. Each call reads what is applied, which may be ahead of the position that
//! was published last; two calls may see two moments.

use super::{Group, Item, Parked};
use crate::codec::DecodeError;
use crate::core::{Digest, GroupName};
use crate::engine::{Direction, Table};
use crate::error::Error;
use crate::read::Reader;
use crate::store::clusters::end_of;
use crate::store::{corrupt, groups, lookup};

/// What a group has to deliver again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// The events that are due, ascending.
    pub sequences: Vec<u64>,
    /// When the next outstanding event becomes due, milliseconds since the Unix epoch of the vault's time; `None`
    /// if none is left, or as many are due as were asked for.
    pub next_unix_ms: Option<u64>,
}

impl Reader {
    /// All consumer groups, at most 1,000, by name.
    ///
    /// # Errors
    /// [`Error::Engine`], [`Error::Corrupt`].
    pub fn groups(&self) -> Result<Vec<Group>, Error> {
        let engine = self.engine();
        let upper = end_of(groups::PREFIX);
        let rows = engine.scan(
            Table::Meta,
            groups::PREFIX,
            Some(&upper),
            Direction::Forward,
        );
        rows.map(|row| {
            let (key, value) = row?;
            groups::decode_key(&key)
                .and_then(|name| name.ok_or(DecodeError::Invalid { field: "group" }))
                .and_then(|name| groups::decode(&name, value))
                .map_err(corrupt(Table::Meta, &key))
        })
        .collect()
    }

    /// A consumer group; `None` if there is none of that name.
    ///
    /// # Errors
    /// [`Error::Engine`], [`Error::Corrupt`].
    pub fn group(&self, name: &GroupName) -> Result<Option<Group>, Error> {
        lookup::group(&*self.engine(), name)
    }

    /// Up to `limit` events of a group that are to be delivered again at `now_unix_ms`, oldest first. Looks at all
    /// that are outstanding, at most 10,000.
    ///
    /// # Errors
    /// [`Error::Engine`], [`Error::Corrupt`].
    pub fn group_due(
        &self,
        name: &GroupName,
        now_unix_ms: u64,
        limit: usize,
    ) -> Result<Due, Error> {
        let mut due = Due::default();
        let engine = self.engine();
        for item in lookup::group_items(&*engine, name, 0) {
            let item = item?;
            if !item.is_due(now_unix_ms) {
                let next = due.next_unix_ms.get_or_insert(u64::MAX);
                *next = item.due_unix_ms().min(*next);
                continue;
            }
            if due.sequences.len() == limit {
                break;
            }
            due.sequences.push(item.sequence);
        }
        if due.sequences.len() == limit {
            due.next_unix_ms = None;
        }
        Ok(due)
    }

    /// Up to `limit` outstanding events of a group, those behind the sequence `after`, in order.
    ///
    /// # Errors
    /// [`Error::Engine`], [`Error::Corrupt`].
    pub fn group_items(
        &self,
        name: &GroupName,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Item>, Error> {
        let engine = self.engine();
        let items = lookup::group_items(&*engine, name, after);
        items.take(limit).collect()
    }

    /// Up to `limit` parked events of a group, those behind the sequence `after`, in order.
    ///
    /// # Errors
    /// [`Error::Engine`], [`Error::Corrupt`].
    pub fn group_parked(
        &self,
        name: &GroupName,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Parked>, Error> {
        let engine = self.engine();
        let parked = lookup::group_parked(&*engine, name, after);
        parked.take(limit).collect()
    }

    /// A digest of everything that is stored of consumer groups, and the revision as of which it is. Replicas have
    /// the same one at the same revision.
    ///
    /// # Errors
    /// [`Error::Engine`], [`Error::Corrupt`].
    pub fn groups_digest(&self) -> Result<(u64, Digest), Error> {
        let (revision, sum) = lookup::revision_and_group_sum(&*self.engine())?;
        Ok((revision, sum.digest()))
    }
}
