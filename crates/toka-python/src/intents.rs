//! Intents, and the events nearest to a vector.

use numpy::PyArray1;
use pyo3::prelude::*;
use toka_client::{Found, Hit, Include, Read, Search};
use toka_ledger::intent::{Classification, IntentId};
use toka_ledger::read::{SEARCH_HITS_MAX, SEARCH_PROBES, Search as LocalSearch};
use toka_ledger::{Embedding, Reader, Rejection};

use crate::call::{Call, off_reactor};
use crate::draft::{Vector, components};
use crate::error::Failure;
use crate::event::Event;
use crate::names::{self, EventFilter};
use crate::reads::complete;
use crate::vault::{Target, Vault};

/// Hits, where nothing else is said.
const HITS: u32 = 10;
/// Intents that a classification ranks, where nothing else is said.
const NEAREST: u32 = 8;
/// Intents of a listing, where nothing else is said.
const INTENTS: usize = 1_000;

/// An event that was found, or that is an example of its intent.
#[pyclass(frozen, get_all, name = "Hit", module = "toka_vault._native")]
pub(crate) struct EventHit {
    /// The event.
    event: Py<Event>,
    /// Cosine similarity, -1 to 1.
    similarity: f32,
}

#[pymethods]
impl EventHit {
    fn __repr__(&self) -> String {
        let header = &self.event.get().header;
        let (sequence, kind) = (header.sequence, header.kind.as_str());
        format!("<Hit {sequence} {kind:?} {:.3}>", self.similarity)
    }
}

/// Events that mean the same, as the vault sees it.
#[pyclass(frozen, module = "toka_vault._native")]
pub(crate) struct Intent {
    /// Which one; never used for another.
    #[pyo3(get)]
    id: u64,
    /// What people call it.
    #[pyo3(get)]
    label: Option<String>,
    /// Events in it.
    #[pyo3(get)]
    events: u64,
    /// Micro-clusters in it.
    #[pyo3(get)]
    micro_clusters: u32,
    /// Mean similarity of two of its events, relative to the mean of all.
    #[pyo3(get)]
    coherence: f32,
    /// Sequence of its first event.
    #[pyo3(get)]
    first: u64,
    /// Sequence of its last event.
    #[pyo3(get)]
    last: u64,
    /// It has too few events for it to be known whether it is one.
    #[pyo3(get)]
    is_tentative: bool,
    /// Events nearest to its centre, if they were asked for.
    #[pyo3(get)]
    examples: Vec<Py<EventHit>>,
    /// The intents that led here from the one that was asked for, this one included; empty if that is in use.
    #[pyo3(get)]
    successors: Vec<u64>,
    centre: Option<Embedding>,
}

#[pymethods]
impl Intent {
    /// Direction of its centre, float32, of unit norm; `None` if it was not asked for, if its events' embeddings cancel each
    /// other out, or if the caller may not see events of every kind. The array is the caller's own.
    #[getter]
    fn centre<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyArray1<f32>>> {
        let centre = self.centre.as_ref()?;
        Some(PyArray1::from_vec(py, centre.to_f32()))
    }

    fn __repr__(&self) -> String {
        let (id, events) = (self.id, self.events);
        match &self.label {
            Some(label) => format!("<Intent {id} {label:?} events={events}>"),
            None => format!("<Intent {id} events={events}>"),
        }
    }
}

/// What a search found.
#[pyclass(frozen, get_all, module = "toka_vault._native")]
pub(crate) struct SearchResult {
    /// The most similar first.
    hits: Vec<Py<EventHit>>,
    /// Events that were compared.
    compared: u64,
    /// Every event that the filter admits was compared.
    is_exact: bool,
}

/// Where an event with some embedding would go.
#[pyclass(
    frozen,
    get_all,
    name = "Classification",
    module = "toka_vault._native"
)]
pub(crate) struct Place {
    /// The intent that it would be of; `None`: a new one.
    intent: Option<u64>,
    /// The micro-cluster that it would join; `None`: a new one.
    micro_cluster: Option<u32>,
    /// How similar it is to the centre of that one.
    similarity: Option<f32>,
    /// Intents and mean similarities to their events, the most similar first.
    nearest: Vec<(u64, f32)>,
}

fn hits(py: Python<'_>, hits: Vec<Hit>) -> PyResult<Vec<Py<EventHit>>> {
    let hits = hits.into_iter().map(|hit| {
        let event = Py::new(py, Event::from(hit.event))?;
        let similarity = hit.similarity;
        Py::new(py, EventHit { event, similarity })
    });
    hits.collect()
}

fn intent_of(found: toka_client::Intent, successors: Vec<IntentId>) -> Result<Intent, Failure> {
    let (summary, examples) = (found.summary, found.examples);
    Ok(Intent {
        id: summary.intent.0,
        label: summary.label,
        events: summary.events,
        micro_clusters: summary.micro_clusters,
        coherence: summary.coherence,
        first: summary.first,
        last: summary.last,
        is_tentative: summary.is_tentative,
        examples: Python::attach(|py| hits(py, examples))?,
        successors: successors.into_iter().map(|intent| intent.0).collect(),
        centre: found.centre,
    })
}

/// Hits of a vault in this process with what was asked for.
fn complete_hits(
    reader: &Reader,
    found: Vec<toka_ledger::read::Hit>,
    include: Include,
) -> Result<Vec<Hit>, Failure> {
    let hits = found.into_iter().map(|hit| {
        Ok(Hit {
            event: complete(reader, hit.header, include)?,
            similarity: hit.similarity,
        })
    });
    hits.collect()
}

fn examples_of(
    reader: &Reader,
    intent: IntentId,
    examples: u32,
    include: Include,
) -> Result<Vec<Hit>, Failure> {
    if examples == 0 {
        return Ok(Vec::new());
    }
    let found = reader.intent_examples(intent, examples as usize)?;
    complete_hits(reader, found.unwrap_or_default(), include)
}

/// The intents, the largest first.
#[pyfunction]
#[pyo3(signature = (
    vault, *, examples=0, skip_tentative=false, centres=false, limit=INTENTS, payload=true, consistency=None
))]
pub(crate) fn intents(
    vault: &Bound<'_, Vault>,
    examples: u32,
    skip_tentative: bool,
    centres: bool,
    limit: usize,
    payload: bool,
    consistency: Option<Bound<'_, PyAny>>,
) -> Result<Call, Failure> {
    let target = vault.get().target()?;
    let include = Include {
        payload,
        embedding: false,
    };
    let read = Read {
        consistency: names::consistency(consistency.as_ref())?,
        include,
    };
    Ok(Call::new(async move {
        let found: Vec<toka_client::Intent> = match target {
            Target::Cluster(client) if centres => {
                let found = client.intents_with_centres(examples, skip_tentative, limit, &read);
                found.await?
            }
            Target::Cluster(client) => {
                let found = client.intents(examples, skip_tentative, limit, &read);
                found.await?
            }
            Target::Embedded(bus) => {
                let reader = bus.reader().clone();
                off_reactor(move || {
                    let all = reader.intents().into_iter();
                    let wanted = all.filter(|summary| !(skip_tentative && summary.is_tentative));
                    let found = wanted.take(limit).map(|summary| {
                        let intent = summary.intent;
                        Ok(toka_client::Intent {
                            examples: examples_of(&reader, intent, examples, include)?,
                            centre: centres.then(|| reader.intent_centre(intent)).flatten(),
                            summary,
                        })
                    });
                    found.collect::<Result<_, Failure>>()
                })
                .await?
            }
        };
        let intents = found.into_iter();
        let intents = intents.map(|intent| intent_of(intent, Vec::new()));
        intents.collect::<Result<Vec<_>, Failure>>()
    }))
}

/// One intent; of a retired one its successor.
#[pyfunction]
#[pyo3(signature = (vault, intent, *, examples=0, payload=true, consistency=None))]
pub(crate) fn intent(
    vault: &Bound<'_, Vault>,
    intent: u64,
    examples: u32,
    payload: bool,
    consistency: Option<Bound<'_, PyAny>>,
) -> Result<Call, Failure> {
    let target = vault.get().target()?;
    let intent = IntentId(intent);
    let include = Include {
        payload,
        embedding: false,
    };
    let read = Read {
        consistency: names::consistency(consistency.as_ref())?,
        include,
    };
    Ok(Call::new(async move {
        let (found, successors) = match target {
            Target::Cluster(client) => client.intent(intent, examples, &read).await?,
            Target::Embedded(bus) => {
                let reader = bus.reader().clone();
                off_reactor(move || {
                    let summary = reader.intent(intent);
                    let summary = summary.ok_or(Rejection::UnknownIntent { intent })?;
                    let found = toka_client::Intent {
                        examples: examples_of(&reader, summary.intent, examples, include)?,
                        centre: None,
                        summary,
                    };
                    let successors = reader.intent_successors(intent).unwrap_or_default();
                    Ok((found, successors))
                })
                .await?
            }
        };
        intent_of(found, successors)
    }))
}

/// Gives an intent a label, or takes it off. Returns the id of the intent that has it.
#[pyfunction]
#[pyo3(signature = (vault, intent, label=None))]
pub(crate) fn label_intent(
    vault: &Bound<'_, Vault>,
    intent: u64,
    label: Option<String>,
) -> Result<Call, Failure> {
    let target = vault.get().target()?;
    let intent = IntentId(intent);
    Ok(Call::new(async move {
        let labelled = match target {
            Target::Cluster(client) => client.label_intent(intent, label.as_deref()).await?,
            Target::Embedded(bus) => bus.label_intent(intent, label.as_deref()).await?,
        };
        Ok(labelled.0)
    }))
}

/// Where an event with this embedding would go if it were committed now.
#[pyfunction]
#[pyo3(signature = (vault, embedding, *, limit=NEAREST, consistency=None))]
pub(crate) fn classify(
    vault: &Bound<'_, Vault>,
    embedding: Vector<'_>,
    limit: u32,
    consistency: Option<Bound<'_, PyAny>>,
) -> Result<Call, Failure> {
    let target = vault.get().target()?;
    let embedding = components(&embedding, Embedding::from_f32)?;
    let read = Read {
        consistency: names::consistency(consistency.as_ref())?,
        include: Include::default(),
    };
    Ok(Call::new(async move {
        let found = match target {
            Target::Cluster(client) => client.classify(&embedding, limit, &read).await?,
            Target::Embedded(bus) => {
                let reader = bus.reader().clone();
                off_reactor(move || Ok(reader.classify(&embedding, limit as usize)?)).await?
            }
        };
        Ok(place_of(found))
    }))
}

fn place_of(found: Classification) -> Place {
    let nearest = found.nearest.into_iter();
    Place {
        intent: found.intent.map(|intent| intent.0),
        micro_cluster: found.micro_cluster.map(|(micro, _)| micro.0),
        similarity: found.micro_cluster.map(|(_, similarity)| similarity),
        nearest: nearest
            .map(|(intent, similarity)| (intent.0, similarity))
            .collect(),
    }
}

/// The events nearest to a vector, by cosine similarity.
#[pyfunction]
#[pyo3(signature = (
    vault, embedding, *, limit=HITS, filter=None, probes=None, exact=false, payload=true, with_embedding=false,
    consistency=None
))]
#[allow(clippy::too_many_arguments, reason = "they have names in Python")]
pub(crate) fn search(
    vault: &Bound<'_, Vault>,
    embedding: Vector<'_>,
    limit: u32,
    filter: Option<Bound<'_, EventFilter>>,
    probes: Option<u32>,
    exact: bool,
    payload: bool,
    with_embedding: bool,
    consistency: Option<Bound<'_, PyAny>>,
) -> Result<Call, Failure> {
    if limit == 0 || limit as usize > SEARCH_HITS_MAX {
        let message = format!("it must be between 1 and {SEARCH_HITS_MAX}");
        return Err(Failure::invalid("limit", message));
    }
    let target = vault.get().target()?;
    let search = Search {
        embedding: components(&embedding, Embedding::from_f32)?,
        limit,
        filter: names::filter(filter.as_ref()),
        probes: probes.unwrap_or(0),
        exact,
        read: Read {
            consistency: names::consistency(consistency.as_ref())?,
            include: Include {
                payload,
                embedding: with_embedding,
            },
        },
    };
    Ok(Call::new(async move {
        let found = match target {
            Target::Cluster(client) => client.search(&search).await?,
            Target::Embedded(bus) => {
                let reader = bus.reader().clone();
                off_reactor(move || search_embedded(&reader, search)).await?
            }
        };
        let hits = Python::attach(|py| hits(py, found.hits))?;
        Ok(SearchResult {
            hits,
            compared: found.compared,
            is_exact: found.is_exact,
        })
    }))
}

fn search_embedded(reader: &Reader, search: Search) -> Result<Found, Failure> {
    let probes = match search.probes {
        0 => SEARCH_PROBES,
        probes => probes as usize,
    };
    let found = reader.search(&LocalSearch {
        embedding: search.embedding,
        limit: search.limit as usize,
        probes: (!search.exact).then_some(probes),
        filter: search.filter,
    })?;
    Ok(Found {
        hits: complete_hits(reader, found.hits, search.read.include)?,
        compared: found.compared,
        is_exact: found.is_exact,
    })
}
