//! Commits and reads.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use toka_client::{Client, Consistency, Include, List, Read, StoredEvent};
use toka_ledger::engine::Direction;
use toka_ledger::{EventHeader, Query, Reader, Selector};

use crate::call::{Call, off_reactor};
use crate::draft::{Condition, Draft};
use crate::error::Failure;
use crate::event::Event;
use crate::names::{self, EventFilter};
use crate::vault::{Target, Vault};

/// Events of a page, where nothing else is said.
const PAGE_EVENTS: u32 = 256;
/// Events of a page at most; the vault's own bound.
const PAGE_EVENTS_MAX: u32 = 1_000;

/// Stores events together or not at all, if the preconditions hold. Returns them as they are stored.
#[pyfunction]
#[pyo3(signature = (vault, drafts, preconditions))]
pub(crate) fn commit(
    vault: &Bound<'_, Vault>,
    drafts: Vec<Bound<'_, Draft>>,
    preconditions: Vec<Bound<'_, Condition>>,
) -> Result<Call, Failure> {
    let target = vault.get().target()?;
    let preconditions = preconditions.iter();
    let preconditions: Vec<_> = preconditions.map(|given| given.get().0.clone()).collect();
    let events: Vec<_> = drafts
        .iter()
        .map(|draft| draft.get().draft.clone())
        .collect();
    let payloads: Vec<_> = drafts
        .iter()
        .map(|draft| draft.get().payload.clone())
        .collect();
    Ok(Call::new(async move {
        let headers = match target {
            Target::Embedded(bus) => bus.commit_batch_if(events, preconditions).await?,
            Target::Cluster(client) => {
                let committed = client.commit_batch(events, preconditions).await?;
                committed.headers
            }
        };
        let stored = headers.into_iter().zip(payloads);
        let stored = stored.map(|(header, payload)| Event::committed(header, payload));
        Ok(stored.collect::<Vec<_>>())
    }))
}

/// The events that are named; `None` for each that the vault does not have.
#[pyfunction]
#[pyo3(signature = (vault, names, *, payload=true, embedding=false, consistency=None))]
pub(crate) fn get(
    vault: &Bound<'_, Vault>,
    names: Vec<Bound<'_, PyAny>>,
    payload: bool,
    embedding: bool,
    consistency: Option<Bound<'_, PyAny>>,
) -> Result<Call, Failure> {
    let target = vault.get().target()?;
    let selectors = names.iter().map(names::selector);
    let selectors: Vec<Selector> = selectors.collect::<Result<_, _>>()?;
    let include = Include { payload, embedding };
    let read = Read {
        consistency: names::consistency(consistency.as_ref())?,
        include,
    };
    Ok(Call::new(async move {
        let found = match target {
            Target::Cluster(client) => client.batch_get(&selectors, &read).await?,
            Target::Embedded(bus) => {
                let reader = bus.reader().clone();
                off_reactor(move || get_embedded(&reader, &selectors, include)).await?
            }
        };
        let found = found.into_iter().map(|event| event.map(Event::from));
        Ok(found.collect::<Vec<_>>())
    }))
}

fn get_embedded(
    reader: &Reader,
    selectors: &[Selector],
    include: Include,
) -> Result<Vec<Option<StoredEvent>>, Failure> {
    let headers = reader.headers(selectors)?.into_iter();
    headers
        .map(|header| {
            header
                .map(|header| complete(reader, header, include))
                .transpose()
        })
        .collect()
}

/// The event with what was asked for.
pub(crate) fn complete(
    reader: &Reader,
    header: Arc<EventHeader>,
    include: Include,
) -> Result<StoredEvent, Failure> {
    let payload = match include.payload {
        true => Some(reader.payload(&header)?),
        false => None,
    };
    let embedding = match include.embedding {
        true => reader.embedding(&header)?,
        false => None,
    };
    Ok(StoredEvent {
        header: Arc::unwrap_or_clone(header),
        payload,
        embedding,
    })
}

/// Where a list goes on.
#[derive(Clone, Debug)]
enum Place {
    Begin,
    Token(String),
    Sequence(u64),
    End,
}

/// A range of the vault's order, read page by page.
#[pyclass(frozen, module = "toka_vault._native")]
pub(crate) struct Pages {
    target: Target,
    list: List,
    place: Arc<Mutex<Place>>,
}

#[pymethods]
impl Pages {
    /// The events of the next page, at least one; `None` after the last page.
    fn next(&self) -> Call {
        let (target, list) = (self.target.clone(), self.list.clone());
        let place = Arc::clone(&self.place);
        Call::new(async move {
            loop {
                let at = lock(&place).clone();
                let (events, next) = match (&target, at) {
                    (_, Place::End) => return Ok(None),
                    (Target::Cluster(client), at) => page_of_cluster(client, &list, at).await?,
                    (Target::Embedded(bus), at) => {
                        let (reader, list) = (bus.reader().clone(), list.clone());
                        off_reactor(move || page_embedded(&reader, list, at)).await?
                    }
                };
                *lock(&place) = next;
                // A page may be empty though there are more.
                if !events.is_empty() {
                    let events = events.into_iter().map(Event::from);
                    return Ok(Some(events.collect::<Vec<_>>()));
                }
            }
        })
    }
}

// Nothing panics while it is held.
fn lock(place: &Mutex<Place>) -> std::sync::MutexGuard<'_, Place> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn page_of_cluster(
    client: &Client,
    list: &List,
    at: Place,
) -> Result<(Vec<StoredEvent>, Place), Failure> {
    let token = match at {
        Place::Token(token) => Some(token),
        Place::Begin | Place::Sequence(_) | Place::End => None,
    };
    let page = client.list(list, token.as_deref()).await?;
    Ok((page.events, page.next.map_or(Place::End, Place::Token)))
}

fn page_embedded(
    reader: &Reader,
    list: List,
    at: Place,
) -> Result<(Vec<StoredEvent>, Place), Failure> {
    let mut query = Query {
        after: list.after,
        until: list.until.unwrap_or(u64::MAX),
        filter: list.filter,
        direction: match list.descending {
            true => Direction::Backward,
            false => Direction::Forward,
        },
        limit: list.page_size as usize,
    };
    if let Place::Sequence(sequence) = at {
        match list.descending {
            true => query.until = sequence,
            false => query.after = sequence,
        }
    }
    let page = reader.list(&query)?;
    let headers = page.headers.into_iter();
    let events = headers.map(|header| complete(reader, header, list.read.include));
    let events = events.collect::<Result<_, _>>()?;
    Ok((events, page.next.map_or(Place::End, Place::Sequence)))
}

/// A range of the order, oldest or newest first.
#[pyfunction]
#[pyo3(signature = (
    vault, filter=None, *, after=0, until=None, newest_first=false, page_size=PAGE_EVENTS, payload=true, embedding=false,
    consistency=None
))]
#[allow(clippy::too_many_arguments, reason = "they have names in Python")]
pub(crate) fn pages(
    vault: &Bound<'_, Vault>,
    filter: Option<Bound<'_, EventFilter>>,
    after: u64,
    until: Option<u64>,
    newest_first: bool,
    page_size: u32,
    payload: bool,
    embedding: bool,
    consistency: Option<Bound<'_, PyAny>>,
) -> Result<Pages, Failure> {
    if !(1..=PAGE_EVENTS_MAX).contains(&page_size) {
        let message = format!("it must be between 1 and {PAGE_EVENTS_MAX}");
        return Err(Failure::invalid("page_size", message));
    }
    let consistency: Consistency = names::consistency(consistency.as_ref())?;
    // Up to nothing; a node would take it for everything.
    let place = match until {
        Some(0) => Place::End,
        Some(_) | None => Place::Begin,
    };
    Ok(Pages {
        target: vault.get().target()?,
        list: List {
            after,
            until,
            filter: names::filter(filter.as_ref()),
            descending: newest_first,
            page_size,
            read: Read {
                consistency,
                include: Include { payload, embedding },
            },
            ..List::default()
        },
        place: Arc::new(Mutex::new(place)),
    })
}
