//! The events nearest to a vector.
//!
//! The intents are an inverted file: an event near the vector is nearly always of an intent that has a
//! micro-cluster near the vector. Their events are compared exactly, intent by intent, until enough were
//! looked at.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use bytes::Bytes;

use super::{Filter, Reader, Wanted};
use crate::core::{Embedding, EventHeader};
use crate::engine::{Direction, Engine, EngineError, Table};
use crate::error::{Error, Invalid};
use crate::intent::{IntentId, Probe};
use crate::store::{
    Stored, corrupt, decode_sequence, embeddings, encode_sequence, lookup, micros, missing,
};

/// Hits of one search.
pub const SEARCH_HITS_MAX: usize = 1_000;
/// Events that a search through the intents compares at most.
pub const SEARCH_EVENTS_MAX: usize = 100_000;
/// Intents that a search looks into unless told otherwise.
pub const SEARCH_PROBES: usize = 8;
/// Embeddings that are looked up at once.
const LOOKUP_EVENTS: usize = 256;
/// Latest events of an intent's most central micro-clusters among which its examples are.
const EXAMPLE_CANDIDATES: usize = 256;

/// What is searched for.
#[derive(Clone, Debug)]
pub struct Search {
    /// Near this vector, of the vault's dimension.
    pub embedding: Embedding,
    /// Hits wanted, 1 to [`SEARCH_HITS_MAX`].
    pub limit: usize,
    /// Intents to look into, the nearest first of those that the filter admits, and further ones while
    /// hits are missing. `None`: into every event of the vault, exactly.
    pub probes: Option<usize>,
    /// Which events.
    pub filter: Filter,
}

/// An event that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The event.
    pub header: Arc<EventHeader>,
    /// Cosine similarity to the vector, -1 to 1. Where rounding to Q14 makes it more, it is told as 1: equal vectors have 1, or
    /// a little less. The order of hits is from before that.
    pub similarity: f32,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The most similar first; of equally similar ones the oldest.
    pub hits: Vec<Hit>,
    /// Events that were compared.
    pub compared: u64,
    /// Every event that the filter admits was compared: there is nothing nearer.
    pub is_exact: bool,
}

impl Reader {
    /// The events nearest to a vector, by cosine similarity.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another dimension than the vault's; those of [`Reader::list`].
    pub fn search(&self, search: &Search) -> Result<Found, Error> {
        self.check_dimension(&search.embedding)?;
        let (head, engine) = (self.position().sequence, self.engine());
        let wanted = self.wanted(&search.filter, head, &|| true)?;
        let mut nearest = Nearest::new(&*engine, &search.embedding, search.limit, &wanted);
        let is_exact = match search.probes {
            None => {
                compare_everything(&*engine, head, &mut nearest)?;
                true
            }
            Some(probes) => {
                let mut all = self.clusterer().probes(&search.embedding);
                if let Some(members) = wanted.members() {
                    all.retain(|probe| probe.micro_clusters.iter().any(|of| members.contains(of)));
                }
                compare_probes(&*engine, &all, probes, head, &mut nearest)?
            }
        };
        Ok(Found {
            compared: nearest.compared,
            hits: nearest.into_hits()?,
            is_exact,
        })
    }

    /// The events of an intent that are nearest to its centre: of its most central micro-clusters, among
    /// the latest events. `None` if there never was an intent of that id.
    ///
    /// # Errors
    /// [`Error::Engine`], [`Error::Corrupt`].
    pub fn intent_examples(
        &self,
        intent: IntentId,
        limit: usize,
    ) -> Result<Option<Vec<Hit>>, Error> {
        let (head, engine) = (self.position().sequence, self.engine());
        let centre = {
            let clusterer = self.clusterer();
            let resolved = clusterer.resolve(intent);
            resolved.and_then(|intent| clusterer.centre(intent))
        };
        let Some((probe, centre)) = centre else {
            return Ok(None);
        };
        // An intent whose events cancel each other out has no centre: any event will do.
        let embedding = Embedding::from_f32(&centre)
            .or_else(|_| Embedding::from_f32(&vec![1.0; centre.len()]))
            .map_err(Error::Invalid)?;
        let wanted = self.wanted(&Filter::default(), head, &|| true)?;
        let mut nearest = Nearest::new(&*engine, &embedding, limit, &wanted);
        let mut sequences = Vec::new();
        for &micro in &probe.micro_clusters {
            let (lower, upper) = (micros::key(micro, 1), micros::key(micro, head + 1));
            let rows = engine.scan(Table::Micros, &lower, Some(&upper), Direction::Backward);
            for row in rows.take(EXAMPLE_CANDIDATES - sequences.len()) {
                sequences.push(owner(row)?);
            }
            if sequences.len() == EXAMPLE_CANDIDATES {
                break;
            }
        }
        nearest.compare_all(&sequences)?;
        nearest.into_hits().map(Some)
    }

    pub(super) fn check_dimension(&self, embedding: &Embedding) -> Result<(), Error> {
        let dimension = self.settings()?.and_then(|settings| settings.dimension);
        let actual = embedding.dimension();
        match dimension.map(usize::from) {
            Some(expected) if expected != actual => Err(Error::Invalid(Invalid::Dimension {
                field: "embedding",
                expected,
                actual,
            })),
            _ => Ok(()),
        }
    }
}

/// The sequence in a row of `micros`.
fn owner(row: Result<(Bytes, Bytes), EngineError>) -> Result<u64, Error> {
    let (key, _) = row?;
    let (_, sequence) = micros::decode_key(&key).map_err(corrupt(Table::Micros, &key))?;
    Ok(sequence)
}

fn compare_everything(
    engine: &dyn Engine,
    head: u64,
    nearest: &mut Nearest<'_>,
) -> Result<(), Error> {
    let (lower, upper) = (encode_sequence(1), encode_sequence(head + 1));
    let mut rows = engine.scan(Table::Embeddings, &lower, Some(&upper), Direction::Forward);
    loop {
        let chunk = rows.by_ref().take(LOOKUP_EVENTS).map(|row| {
            let (key, value) = row?;
            let sequence = decode_sequence(&key).map_err(corrupt(Table::Embeddings, &key))?;
            Ok((sequence, value))
        });
        let chunk = chunk.collect::<Result<Vec<_>, Error>>()?;
        if chunk.is_empty() {
            return Ok(());
        }
        nearest.compare(&chunk)?;
    }
}

/// Compares the events of the first `at_least` intents, and of further ones until there are as many hits
/// as are wanted; true if all were compared.
fn compare_probes(
    engine: &dyn Engine,
    probes: &[Probe],
    at_least: usize,
    head: u64,
    nearest: &mut Nearest<'_>,
) -> Result<bool, Error> {
    for (number, probe) in probes.iter().enumerate() {
        if number >= at_least && nearest.is_full() {
            return Ok(false);
        }
        if !compare_probe(engine, probe, head, nearest)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Compares the events of an intent; false if there were too many.
fn compare_probe(
    engine: &dyn Engine,
    probe: &Probe,
    head: u64,
    nearest: &mut Nearest<'_>,
) -> Result<bool, Error> {
    for micro in &probe.micro_clusters {
        let (lower, upper) = (micros::key(*micro, 1), micros::key(*micro, head + 1));
        let mut rows = engine.scan(Table::Micros, &lower, Some(&upper), Direction::Forward);
        loop {
            let sequences = rows
                .by_ref()
                .take(LOOKUP_EVENTS)
                .map(owner)
                .collect::<Result<Vec<_>, Error>>()?;
            if sequences.is_empty() {
                break;
            }
            if nearest.compared as usize + sequences.len() > SEARCH_EVENTS_MAX {
                return Ok(false);
            }
            nearest.compare_all(&sequences)?;
        }
    }
    Ok(true)
}

/// The best so far: the similarity as a product of Q14 vectors, then the older event.
type Candidate = Reverse<(i32, Reverse<u64>)>;

struct Nearest<'a> {
    engine: &'a dyn Engine,
    query: Vec<i16>,
    limit: usize,
    wanted: &'a Wanted,
    /// The worst of the best on top.
    best: BinaryHeap<Candidate>,
    compared: u64,
}

impl<'a> Nearest<'a> {
    fn new(
        engine: &'a dyn Engine,
        embedding: &Embedding,
        limit: usize,
        wanted: &'a Wanted,
    ) -> Self {
        Self {
            engine,
            query: embedding.iter().collect(),
            limit: limit.clamp(1, SEARCH_HITS_MAX),
            wanted,
            best: BinaryHeap::new(),
            compared: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.best.len() == self.limit
    }

    fn compare_all(&mut self, sequences: &[u64]) -> Result<(), Error> {
        let keys: Vec<_> = sequences.iter().map(|&at| encode_sequence(at)).collect();
        let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
        let rows = self.engine.multi_get(Table::Embeddings, &keys)?;
        let rows = sequences
            .iter()
            .zip(keys)
            .zip(rows)
            .map(|((&at, key), row)| {
                let row = row.ok_or_else(|| missing(Table::Embeddings, key))?;
                Ok((at, row))
            });
        self.compare(&rows.collect::<Result<Vec<_>, Error>>()?)
    }

    /// Compares events, given by their sequences and rows of embeddings.
    fn compare(&mut self, rows: &[(u64, Bytes)]) -> Result<(), Error> {
        let mut candidates = Vec::new();
        for (sequence, row) in rows {
            let decoded = embeddings::decode(*sequence, row.clone());
            let key = encode_sequence(*sequence);
            let Stored::Present(embedding) = decoded.map_err(corrupt(Table::Embeddings, &key))?
            else {
                continue;
            };
            self.compared += 1;
            // At most 2^28 and a little, and so is every partial sum.
            let components = embedding.iter().zip(&self.query);
            let similarity = components.map(|(a, &b)| i32::from(a) * i32::from(b)).sum();
            candidates.push((similarity, Reverse(*sequence)));
        }
        if !self.wanted.is_everything() {
            // Headers are looked up together, and only of those that would be among the best.
            candidates.retain(|candidate| self.is_among_best(candidate));
            let sequences: Vec<_> = candidates.iter().map(|&(_, Reverse(at))| at).collect();
            let mut headers = lookup::headers(self.engine, &sequences)?.into_iter();
            let mut wanted = Vec::with_capacity(candidates.len());
            for candidate in candidates {
                let key = encode_sequence(candidate.1.0);
                let header = headers.next().flatten();
                let header = header.ok_or_else(|| missing(Table::Headers, &key))?;
                if self.wanted.matches(&header) {
                    wanted.push(candidate);
                }
            }
            candidates = wanted;
        }
        for candidate in candidates {
            if !self.is_among_best(&candidate) {
                continue;
            }
            if self.is_full() {
                self.best.pop();
            }
            self.best.push(Reverse(candidate));
        }
        Ok(())
    }

    fn is_among_best(&self, candidate: &(i32, Reverse<u64>)) -> bool {
        !self.is_full() || self.best.peek().is_some_and(|worst| worst.0 < *candidate)
    }

    fn into_hits(self) -> Result<Vec<Hit>, Error> {
        let mut best = self.best.into_vec();
        best.sort_unstable();
        let sequences: Vec<_> = best.iter().map(|candidate| candidate.0.1.0).collect();
        let headers = lookup::headers(self.engine, &sequences)?;
        best.iter()
            .zip(headers)
            .map(|(candidate, header)| {
                let (similarity, Reverse(sequence)) = candidate.0;
                let key = encode_sequence(sequence);
                #[allow(clippy::cast_precision_loss, reason = "shown to people")]
                let similarity = similarity as f32 / (1_u32 << 28) as f32;
                // Vectors of 16-bit components have norms of about one.
                let similarity = similarity.clamp(-1.0, 1.0);
                Ok(Hit {
                    header: header.ok_or_else(|| missing(Table::Headers, &key))?,
                    similarity,
                })
            })
            .collect()
    }
}
