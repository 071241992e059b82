//! Lineage in an embedded vault. Each iterator reads as it is asked, sees the vault as of its making, and ends after
//! its first error.

use std::iter;
use std::sync::Arc;

use super::VaultBus;
use crate::core::{EventHeader, EventId};
use crate::error::Error;
use crate::read::lineage::{DifferenceQuery, Heads, Query, Relation, Relative};
use crate::read::{PAGE_EVENTS_MAX, Selector};

impl VaultBus {
    /// The event, and what it depends on, breadth first: by depth, and at equal depth by ascending sequence. With
    /// limits and kinds: [`VaultBus::walk`].
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Corrupt`], [`Error::Engine`].
    pub fn ancestors(
        &self,
        event: EventId,
    ) -> Result<impl Iterator<Item = Result<Relative, Error>> + use<>, Error> {
        self.walk(&Query::new(Selector::Id(event), Relation::Ancestors))
    }

    /// The event, and what depends on it, in the order of [`VaultBus::ancestors`].
    ///
    /// # Errors
    /// As [`VaultBus::ancestors`].
    pub fn descendants(
        &self,
        event: EventId,
    ) -> Result<impl Iterator<Item = Result<Relative, Error>> + use<>, Error> {
        self.walk(&Query::new(Selector::Id(event), Relation::Descendants))
    }

    /// The events that are related to one, itself first. What comes may end with [`Error::LineageLimit`] where the
    /// graph is very wide.
    ///
    /// # Errors
    /// As [`VaultBus::ancestors`].
    pub fn walk(
        &self,
        query: &Query,
    ) -> Result<impl Iterator<Item = Result<Relative, Error>> + use<>, Error> {
        let mut walk = self.reader().walk(query)?;
        Ok(events(move || walk.step()))
    }

    /// What `of` has in its history, itself included, and `without` has not, newest first.
    /// [`Reader::difference`](crate::Reader::difference) has limits and kinds.
    ///
    /// # Errors
    /// As [`VaultBus::ancestors`].
    pub fn difference(
        &self,
        without: EventId,
        of: EventId,
    ) -> Result<impl Iterator<Item = Result<EventHeader, Error>> + use<>, Error> {
        let mut difference = self.reader().difference(&DifferenceQuery {
            without: Selector::Id(without),
            of: Selector::Id(of),
            until: u64::MAX,
            events_max: u64::MAX,
            kind_prefixes: Vec::new(),
        })?;
        let events = events(move || difference.step());
        Ok(events.map(|header| header.map(Arc::unwrap_or_clone)))
    }

    /// The nearest common ancestors of two events, newest first: those that are no ancestor of another common one.
    /// An event counts among its own ancestors. Of very many the 1,000 newest come.
    ///
    /// # Errors
    /// As [`VaultBus::ancestors`]; [`Error::LineageLimit`] after a million events.
    pub fn common_ancestors(
        &self,
        first: EventId,
        second: EventId,
    ) -> Result<Vec<EventHeader>, Error> {
        let (first, second) = (Selector::Id(first), Selector::Id(second));
        let mut search = self.reader().common_ancestors(&first, &second, u64::MAX)?;
        events(move || search.step())
            .map(|header| header.map(Arc::unwrap_or_clone))
            .collect()
    }

    /// The events without children whose kind starts with `kind_prefix`, newest first; all of them if that is empty.
    pub fn heads(
        &self,
        kind_prefix: &str,
    ) -> impl Iterator<Item = Result<EventHeader, Error>> + use<> {
        let reader = self.reader().clone();
        let mut next = Some(Heads {
            as_of: reader.position().sequence,
            from: u64::MAX,
            kind_prefixes: vec![kind_prefix.to_owned()],
            limit: PAGE_EVENTS_MAX,
        });
        let pages = events(move || {
            // Taken: it ends after an error.
            let Some(heads) = next.take() else {
                return Ok(None);
            };
            let page = reader.heads(&heads)?;
            next = page.next.map(|from| Heads { from, ..heads });
            Ok(Some(page.headers))
        });
        pages.map(|header| header.map(Arc::unwrap_or_clone))
    }
}

/// The events of one step after another, until there is none.
fn events<T>(
    mut step: impl FnMut() -> Result<Option<Vec<T>>, Error>,
) -> impl Iterator<Item = Result<T, Error>> {
    let mut ready = Vec::new().into_iter();
    iter::from_fn(move || {
        loop {
            if let Some(event) = ready.next() {
                return Some(Ok(event));
            }
            match step() {
                Ok(Some(events)) => ready = events.into_iter(),
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    })
}
