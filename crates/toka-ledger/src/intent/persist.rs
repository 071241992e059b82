//! Saving the state, and finding it again.
//!
//! A micro-cluster's sums are larger than the event that changes them, so they are saved only from time
//! to time. Later events are found again by what their headers say, without scoring any; later
//! macro-clusterings by their records. A save never falls between a macro-clustering's snapshot and the
//! event after which it takes effect, so that the snapshot can be made again: where both are due after
//! the same event, the save comes first.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Record;
use super::clusterer::{Changes, Clusterer};
use super::micro::Micro;
use super::names::Names;
use super::regroup::Source;
use super::space::{Place, Space};
use crate::core::{Embedding, EventHeader};
use crate::engine::{Direction, Engine, Scan, Table};
use crate::error::Error;
use crate::seam::Threads;
use crate::store::clusters::{self, SavedMicro, SavedState};
use crate::store::{
    Settings, Stored, corrupt, decode_sequence, embeddings, encode_sequence, lookup, missing,
};

/// Events of this share of the micro-clusters are few next to what a save writes.
const SAVE_EVENTS_PER_MICRO: u64 = 8;

/// Events that are read at once when the state is found again.
const REPLAYED_AT_ONCE: usize = 256;

/// Digests of the whole state for each save, were that only due by `save_events`.
const CHECKS_PER_SAVE: u32 = 4;

/// Saves if it is time. `sequence` is that of the last event.
pub(super) fn save(space: &mut Space, sequence: u64, changes: &mut Changes) {
    let every = u64::from(space.parameters.save_events)
        .max(SAVE_EVENTS_PER_MICRO * space.micros.len() as u64);
    if space.pending.is_some() || space.embedded - space.saved < every {
        return;
    }
    space.saved = space.embedded;
    let first = changes.rows.len();
    let state = SavedState {
        embedded: space.embedded,
        sequence,
        next_micro: space.next_micro,
        next_intent: space.next_intent,
        born: space.born,
        grouped: space.grouped,
        doubling: space.doubling,
        records: space.records,
        sums: space.sums.clone(),
        mean: space.mean.clone(),
    };
    changes.put(clusters::STATE.to_vec(), clusters::encode_state(&state));
    for id in std::mem::take(&mut space.removed) {
        changes.delete(clusters::micro_key(id));
    }
    for row in space.micros.take_changed() {
        let micro = space.micros.row(row);
        let saved = SavedMicro {
            intent: micro.intent,
            weight: micro.weight,
            events: micro.events,
            first: micro.first,
            last: micro.last,
            sums: space.micros.sums(row).to_vec(),
        };
        let row = clusters::encode_micro(micro.id, &saved);
        changes.put(clusters::micro_key(micro.id), row);
    }
    // One link for all rows: they are large, and read together.
    let mut hasher = blake3::Hasher::new();
    for (key, row) in &changes.rows[first..] {
        hasher.update(&clusters::state_link(key, row.as_deref().unwrap_or(&[])));
    }
    let digest = *hasher.finalize().as_bytes();
    changes
        .links
        .push(clusters::state_link(clusters::STATE, &digest));
}

/// Chains a digest of the whole state to the state digest if it is time, so that replicas whose centroids
/// differ are told apart before an event goes elsewhere. `sequence` is that of the last event.
pub(super) fn check(space: &Space, sequence: u64, changes: &mut Changes) {
    let every = u64::from(space.parameters.save_events.div_ceil(CHECKS_PER_SAVE));
    if space.embedded.is_multiple_of(every) {
        let mut digest = sequence.to_be_bytes().to_vec();
        digest.extend_from_slice(&space.digest());
        let link = clusters::state_link(clusters::CHECK, &digest);
        changes.links.push(link);
    }
}

/// The clusterer of the vault that `engine` holds, whose last event is at `head`.
///
/// # Errors
/// [`Error::Engine`], [`Error::Corrupt`].
pub(crate) fn restore(
    engine: &dyn Engine,
    settings: Option<&Settings>,
    head: u64,
    threads: Arc<dyn Threads>,
) -> Result<Clusterer, Error> {
    let Some((settings, dimension)) =
        settings.and_then(|settings| Some((settings, settings.dimension?)))
    else {
        return Ok(Clusterer::new(threads));
    };
    let (mut space, after) = match saved_state(engine)? {
        Some(saved) => {
            let after = saved.sequence;
            let mut space = Space::from_saved(settings.intents, saved);
            load_micros(engine, &mut space)?;
            (space, after)
        }
        None => (Space::new(settings.intents, dimension.into()), 0),
    };
    if space.dimension != usize::from(dimension) {
        return Err(inconsistent("the saved state has another dimension"));
    }
    space.names = load_names(engine)?;
    let mut records = load_records(engine, space.records)?;
    replay(engine, &mut space, after, head, &mut records)?;
    if !records.is_empty() {
        return Err(inconsistent("a record is of no event"));
    }
    Ok(Clusterer::with_space(threads, space))
}

fn inconsistent(detail: &str) -> Error {
    Error::Corrupt {
        table: Table::Clusters.name(),
        key: String::new(),
        detail: detail.to_owned(),
    }
}

fn saved_state(engine: &dyn Engine) -> Result<Option<SavedState>, Error> {
    let row = engine.get(Table::Clusters, clusters::STATE)?;
    row.map(clusters::decode_state)
        .transpose()
        .map_err(corrupt(Table::Clusters, clusters::STATE))
}

fn load_micros(engine: &dyn Engine, space: &mut Space) -> Result<(), Error> {
    for row in rows(engine, clusters::MICRO) {
        let (key, value) = row?;
        let id = clusters::decode_micro_key(clusters::MICRO, &key)
            .map_err(corrupt(Table::Clusters, &key))?;
        let saved = clusters::decode_micro(id, value).map_err(corrupt(Table::Clusters, &key))?;
        let weights = 1..=space.parameters.count_cap;
        if saved.sums.len() != space.dimension
            || id >= space.next_micro
            || !weights.contains(&saved.weight)
        {
            return Err(inconsistent(
                "a saved micro-cluster is not of the saved state",
            ));
        }
        let micro = Micro {
            id,
            intent: saved.intent,
            weight: saved.weight,
            events: saved.events,
            first: saved.first,
            last: saved.last,
        };
        space.micros.push(micro, saved.sums.into_iter());
    }
    let _ = space.micros.take_changed();
    space.rebuild_groups();
    Ok(())
}

fn load_names(engine: &dyn Engine) -> Result<Names, Error> {
    let mut names = Names::default();
    for row in rows(engine, clusters::ALIAS) {
        let (key, value) = row?;
        let bad = || corrupt(Table::Clusters, &key);
        let id = clusters::decode_micro_key(clusters::ALIAS, &key).map_err(bad())?;
        let into = clusters::decode_alias(id, value).map_err(bad())?;
        names.fold(id, into);
    }
    for row in rows(engine, clusters::SUCCESSOR) {
        let (key, value) = row?;
        let bad = || corrupt(Table::Clusters, &key);
        let id = clusters::decode_intent_key(clusters::SUCCESSOR, &key).map_err(bad())?;
        let successor = clusters::decode_successor(id, value).map_err(bad())?;
        names.successors.insert(id, successor);
    }
    for row in rows(engine, clusters::LABEL) {
        let (key, value) = row?;
        let bad = || corrupt(Table::Clusters, &key);
        let id = clusters::decode_intent_key(clusters::LABEL, &key).map_err(bad())?;
        let label = clusters::decode_label(id, value).map_err(bad())?;
        if !label.is_empty() {
            names.labels.insert(id, label);
        }
    }
    Ok(names)
}

fn load_records(engine: &dyn Engine, from: u64) -> Result<VecDeque<Record>, Error> {
    let (lower, upper) = (
        clusters::record_key(from),
        clusters::end_of(clusters::RECORD),
    );
    let mut records = VecDeque::new();
    for row in engine.scan(Table::Clusters, &lower, Some(&upper), Direction::Forward) {
        let (key, value) = row?;
        let number = from + records.len() as u64;
        if key[..] != clusters::record_key(number) {
            return Err(missing(Table::Clusters, &clusters::record_key(number)));
        }
        let record = clusters::decode_record(number, value);
        records.push_back(record.map_err(corrupt(Table::Clusters, &key))?);
    }
    Ok(records)
}

/// Adds the events after `after` to the micro-clusters that their headers name.
fn replay(
    engine: &dyn Engine,
    space: &mut Space,
    after: u64,
    head: u64,
    records: &mut VecDeque<Record>,
) -> Result<(), Error> {
    let (lower, upper) = (encode_sequence(after + 1), encode_sequence(head + 1));
    let unrecorded = |_| inconsistent("a record is missing");
    // What was due after the last save, and came behind it.
    space
        .begin_regrouping(after, Source::Recorded(records))
        .map_err(unrecorded)?;
    let mut rows = engine.scan(Table::Embeddings, &lower, Some(&upper), Direction::Forward);
    loop {
        let embedded = next_embedded(engine, &mut rows)?;
        if embedded.is_empty() {
            return Ok(());
        }
        for Embedded { header, embedding } in embedded {
            join(space, &header, &embedding)?;
            let sequence = header.sequence;
            space
                .finish_regrouping(sequence, Source::Recorded(records))
                .and_then(|()| space.begin_regrouping(sequence, Source::Recorded(records)))
                .map_err(unrecorded)?;
        }
    }
}

/// An event with an embedding, as it is stored.
struct Embedded {
    header: Arc<EventHeader>,
    embedding: Embedding,
}

/// The next events with embeddings, whose embeddings `rows` has; none at the end.
fn next_embedded(engine: &dyn Engine, rows: &mut Scan<'_>) -> Result<Vec<Embedded>, Error> {
    let (mut sequences, mut embeddings) = (Vec::new(), Vec::new());
    for row in rows.take(REPLAYED_AT_ONCE) {
        let (key, value) = row?;
        let bad = || corrupt(Table::Embeddings, &key);
        let sequence = decode_sequence(&key).map_err(bad())?;
        let Stored::Present(embedding) = embeddings::decode(sequence, value).map_err(bad())? else {
            return Err(inconsistent("an embedding was erased before it was saved"));
        };
        sequences.push(sequence);
        embeddings.push(embedding);
    }
    // Not by a scan: there may be any number of events without embeddings in between.
    let headers = lookup::headers(engine, &sequences)?;
    let events = sequences.into_iter().zip(headers).zip(embeddings);
    events
        .map(|((sequence, header), embedding)| {
            let missing = || missing(Table::Headers, &encode_sequence(sequence));
            Ok(Embedded {
                header: header.ok_or_else(missing)?,
                embedding,
            })
        })
        .collect()
}

/// Adds an event to the micro-cluster that its header names.
fn join(space: &mut Space, header: &EventHeader, embedding: &Embedding) -> Result<(), Error> {
    let (Some(micro), Some(intent)) = (header.micro_cluster, header.intent) else {
        return Err(inconsistent("an event with an embedding has no intent"));
    };
    let place = match space.micros.find(micro) {
        Some(row) => Place::Row(row),
        None if micro == space.next_micro => Place::New(Some(intent)),
        None => return Err(inconsistent("an event is of an unknown micro-cluster")),
    };
    if embedding.dimension() != space.dimension
        || space.add(place, embedding, header.sequence) != (micro, intent)
    {
        return Err(inconsistent("an event's header is of another intent"));
    }
    Ok(())
}

fn rows<'e>(engine: &'e dyn Engine, prefix: &[u8]) -> Scan<'e> {
    let upper = clusters::end_of(prefix);
    engine.scan(Table::Clusters, prefix, Some(&upper), Direction::Forward)
}
