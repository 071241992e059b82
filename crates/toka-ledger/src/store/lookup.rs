//! Rows looked up in an engine, and decoded.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::audit::{self, AuditHead};
use super::clusters::end_of;
use super::group_sum::{self, GroupSum};
use super::journal::{self, Change, Place};
use super::meta::{self, Applied, Settings};
use super::sequence::split_sequence;
use super::{
    children, corrupt, encode_sequence, events, group_items, group_parked, groups, headers, kinds,
    payload_digests, roles, tokens,
};
use crate::codec::DecodeError;
use crate::core::credentials::{Role, StoredToken};
use crate::core::groups::{Group, Item, Parked};
use crate::core::{CursorName, Digest, EventHeader, GroupName, Kind};
use crate::engine::{Direction, Engine, Table};
use crate::error::Error;

/// The header at each sequence.
pub(crate) fn headers(
    engine: &dyn Engine,
    sequences: &[u64],
) -> Result<Vec<Option<Arc<EventHeader>>>, Error> {
    let keys: Vec<_> = sequences
        .iter()
        .map(|&sequence| encode_sequence(sequence))
        .collect();
    let rows = many(engine, Table::Headers, &keys)?;
    sequences
        .iter()
        .zip(rows)
        .map(|(&sequence, row)| row.map(|row| decode_header(sequence, row)).transpose())
        .collect()
}

/// Reads the value of a header's row.
pub(crate) fn decode_header(sequence: u64, row: Bytes) -> Result<Arc<EventHeader>, Error> {
    headers::decode(sequence, row)
        .map(Arc::new)
        .map_err(corrupt(Table::Headers, &encode_sequence(sequence)))
}

/// The sequence of each event.
pub(crate) fn events(engine: &dyn Engine, digests: &[Digest]) -> Result<Vec<Option<u64>>, Error> {
    let rows = many(engine, Table::Events, digests)?;
    digests
        .iter()
        .zip(rows)
        .map(|(digest, row)| {
            let sequence = row.map(events::decode).transpose();
            sequence.map_err(corrupt(Table::Events, events::key(digest)))
        })
        .collect()
}

/// The sequence under which each payload is stored.
pub(crate) fn payloads(
    engine: &dyn Engine,
    payload_digests: &[Digest],
) -> Result<Vec<Option<u64>>, Error> {
    let rows = many(engine, Table::PayloadDigests, payload_digests)?;
    payload_digests
        .iter()
        .zip(rows)
        .map(|(digest, row)| {
            let sequence = row.map(payload_digests::decode).transpose();
            sequence.map_err(corrupt(Table::PayloadDigests, payload_digests::key(digest)))
        })
        .collect()
}

/// The first child of a kind that the event at `parent` has.
pub(crate) fn first_child(
    engine: &dyn Engine,
    parent: u64,
    kind: &Kind,
) -> Result<Option<u64>, Error> {
    let run = |sequence| children::key(parent, kind.as_str(), sequence);
    end_of_run(
        engine,
        Table::Children,
        &run(0),
        &run(u64::MAX),
        Direction::Forward,
    )
}

/// The last event of a kind.
pub(crate) fn last_of_kind(engine: &dyn Engine, kind: &Kind) -> Result<Option<u64>, Error> {
    let run = |sequence| kinds::key(kind.as_str(), sequence);
    end_of_run(
        engine,
        Table::Kinds,
        &run(0),
        &run(u64::MAX),
        Direction::Backward,
    )
}

/// The kinds that start with `prefix`, which is not empty; `None` if there are more than `max`.
pub(crate) fn kinds_of_prefix(
    engine: &dyn Engine,
    prefix: &str,
    max: usize,
) -> Result<Option<BTreeSet<Kind>>, Error> {
    let mut kinds = BTreeSet::new();
    let upper = end_of(prefix.as_bytes());
    let mut lower = prefix.as_bytes().to_vec();
    loop {
        let mut rows = engine.scan(Table::Kinds, &lower, Some(&upper), Direction::Forward);
        let Some(row) = rows.next() else {
            return Ok(Some(kinds));
        };
        let (key, _) = row?;
        let (kind, _) = kinds::decode_key(&key).map_err(corrupt(Table::Kinds, &key))?;
        // Past the kind's run: its keys have a 0 there.
        lower = [kind.as_str().as_bytes(), &[1]].concat();
        kinds.insert(kind);
        if kinds.len() > max {
            return Ok(None);
        }
    }
}

/// The sequence in the first row of a scan over an index.
fn end_of_run(
    engine: &dyn Engine,
    table: Table,
    lower: &[u8],
    upper: &[u8],
    direction: Direction,
) -> Result<Option<u64>, Error> {
    let Some(row) = engine.scan(table, lower, Some(upper), direction).next() else {
        return Ok(None);
    };
    let (key, _) = row?;
    let (_, sequence) = split_sequence(&key).map_err(corrupt(table, &key))?;
    Ok(Some(sequence))
}

/// Where a cursor is.
pub(crate) fn cursor(engine: &dyn Engine, name: &CursorName) -> Result<Option<u64>, Error> {
    let key = meta::cursor_key(name);
    let row = engine.get(Table::Meta, &key)?;
    row.map(|row| meta::decode_cursor(name, row))
        .transpose()
        .map_err(corrupt(Table::Meta, &key))
}

/// A consumer group.
pub(crate) fn group(engine: &dyn Engine, name: &GroupName) -> Result<Option<Group>, Error> {
    let key = groups::key(name);
    let row = engine.get(Table::Meta, &key)?;
    row.map(|row| groups::decode(name, row))
        .transpose()
        .map_err(corrupt(Table::Meta, &key))
}

/// The outstanding events of a group behind the sequence `after`, in order.
pub(crate) fn group_items<'e>(
    engine: &'e dyn Engine,
    name: &'e GroupName,
    after: u64,
) -> impl Iterator<Item = Result<Item, Error>> + 'e {
    let lower = group_items::key(name, after.saturating_add(1));
    let upper = group_items::key(name, u64::MAX);
    let rows = engine.scan(Table::Meta, &lower, Some(&upper), Direction::Forward);
    rows.map(|row| {
        let (key, value) = row?;
        let (name, sequence) = group_items::decode_key(&key)
            .and_then(|place| {
                place.ok_or(DecodeError::Invalid {
                    field: "group item",
                })
            })
            .map_err(corrupt(Table::Meta, &key))?;
        group_items::decode(&name, sequence, value).map_err(corrupt(Table::Meta, &key))
    })
}

/// The parked events of a group behind the sequence `after`, in order.
pub(crate) fn group_parked<'e>(
    engine: &'e dyn Engine,
    name: &'e GroupName,
    after: u64,
) -> impl Iterator<Item = Result<Parked, Error>> + 'e {
    let lower = group_parked::key(name, after.saturating_add(1));
    let upper = group_parked::key(name, u64::MAX);
    let rows = engine.scan(Table::Meta, &lower, Some(&upper), Direction::Forward);
    rows.map(|row| {
        let (key, value) = row?;
        let (name, sequence) = group_parked::decode_key(&key)
            .and_then(|place| {
                place.ok_or(DecodeError::Invalid {
                    field: "parked event",
                })
            })
            .map_err(corrupt(Table::Meta, &key))?;
        group_parked::decode(&name, sequence, value).map_err(corrupt(Table::Meta, &key))
    })
}

/// What all rows of groups come to; `None` where there never was a group.
pub(crate) fn group_sum(engine: &dyn Engine) -> Result<Option<GroupSum>, Error> {
    decode_group_sum(engine.get(Table::Meta, group_sum::KEY)?)
}

/// The revision, and what all rows of groups come to as of it.
pub(crate) fn revision_and_group_sum(engine: &dyn Engine) -> Result<(u64, GroupSum), Error> {
    // Both as of one moment.
    let rows = engine.multi_get(Table::Meta, &[meta::APPLIED, group_sum::KEY])?;
    let mut rows = rows.into_iter();
    let applied = decode_applied(rows.next().flatten())?;
    let sum = decode_group_sum(rows.next().flatten())?;
    let revision = applied.map_or(0, |applied| applied.revision);
    Ok((revision, sum.unwrap_or_default()))
}

fn decode_group_sum(row: Option<Bytes>) -> Result<Option<GroupSum>, Error> {
    row.map(group_sum::decode)
        .transpose()
        .map_err(corrupt(Table::Meta, group_sum::KEY))
}

/// All tokens, in the order of their ids.
pub(crate) fn tokens(engine: &dyn Engine) -> Result<Vec<StoredToken>, Error> {
    rows_of(engine, tokens::PREFIX, |key, value| {
        let id = tokens::decode_key(key)?.ok_or(DecodeError::Invalid { field: "token" })?;
        tokens::decode(id, value)
    })
}

/// All roles that are stored, by name.
pub(crate) fn roles(engine: &dyn Engine) -> Result<Vec<Role>, Error> {
    rows_of(engine, roles::PREFIX, |key, value| {
        let name = roles::decode_key(key)?.ok_or(DecodeError::Invalid { field: "role" })?;
        roles::decode(&name, value)
    })
}

/// All rows of `meta` whose keys start with `prefix`.
fn rows_of<T>(
    engine: &dyn Engine,
    prefix: &[u8],
    decode: impl Fn(&[u8], Bytes) -> Result<T, DecodeError>,
) -> Result<Vec<T>, Error> {
    let upper = end_of(prefix);
    let rows = engine.scan(Table::Meta, prefix, Some(&upper), Direction::Forward);
    rows.map(|row| {
        let (key, value) = row?;
        decode(&key[..], value).map_err(corrupt(Table::Meta, &key))
    })
    .collect()
}

/// Where the chain of audit events ends.
pub(crate) fn audit_head(engine: &dyn Engine) -> Result<Option<AuditHead>, Error> {
    let row = engine.get(Table::Meta, audit::KEY)?;
    row.map(audit::decode)
        .transpose()
        .map_err(corrupt(Table::Meta, audit::KEY))
}

/// The cursors behind the one called `after`, by name.
pub(crate) fn cursors<'e>(
    engine: &'e dyn Engine,
    after: Option<&CursorName>,
) -> impl Iterator<Item = Result<(CursorName, u64), Error>> + use<'e> {
    let (first, upper) = meta::cursor_range();
    // No name has a control character: nothing comes between the key and this one.
    let lower = after.map_or(first, |after| [&meta::cursor_key(after)[..], &[0]].concat());
    let rows = engine.scan(Table::Meta, &lower, Some(&upper), Direction::Forward);
    rows.map(|row| {
        let (key, value) = row?;
        let name = meta::decode_cursor_key(&key)
            .and_then(|name| name.ok_or(DecodeError::Invalid { field: "cursor" }))
            .map_err(corrupt(Table::Meta, &key))?;
        let at = meta::decode_cursor(&name, value).map_err(corrupt(Table::Meta, &key))?;
        Ok::<_, Error>((name, at))
    })
}

/// How many cursors there are. Costs a look at each.
pub(crate) fn count_cursors(engine: &dyn Engine) -> Result<u64, Error> {
    let (lower, upper) = meta::cursor_range();
    let mut count = 0;
    for row in engine.scan(Table::Meta, &lower, Some(&upper), Direction::Forward) {
        row?;
        count += 1;
    }
    Ok(count)
}

/// What changed behind the event at `first` and before the one behind `last`, in order.
pub(crate) fn journal(
    engine: &dyn Engine,
    first: u64,
    last: u64,
) -> impl Iterator<Item = Result<(Place, Change), Error>> {
    let begin = |sequence| {
        journal::key(Place {
            sequence,
            revision: 0,
            index: 0,
        })
    };
    let rows = engine.scan(
        Table::Meta,
        &begin(first),
        Some(&begin(last + 1)),
        Direction::Forward,
    );
    rows.map(|row| {
        let (key, value) = row?;
        decode_journal(&key, value).map_err(corrupt(Table::Meta, &key))
    })
}

/// Reads a row of the journal.
pub(crate) fn decode_journal(key: &[u8], value: Bytes) -> Result<(Place, Change), DecodeError> {
    let place = journal::decode_key(key)?.ok_or(DecodeError::Invalid { field: "journal" })?;
    Ok((place, journal::decode(place, value)?))
}

/// The vault's settings.
pub(crate) fn settings(engine: &dyn Engine) -> Result<Option<Settings>, Error> {
    let row = engine.get(Table::Meta, meta::SETTINGS)?;
    row.map(meta::decode_settings)
        .transpose()
        .map_err(unreadable(meta::SETTINGS))
}

/// For `map_err`: as [`corrupt`], of a row for which the feature level does not say beforehand whether this
/// build can read it. Its checksum comes before its version, so an unknown version is no damage.
fn unreadable(key: &'static [u8]) -> impl FnOnce(DecodeError) -> Error {
    move |error| match error {
        DecodeError::Version { field, version } => Error::NewerFormat {
            path: format!("{}/{field}", Table::Meta).into(),
            found: version.into(),
            supported: meta::VERSION.into(),
        },
        error => corrupt(Table::Meta, key)(error),
    }
}

/// What a recovery has noted.
pub(crate) fn recovered(engine: &dyn Engine) -> Result<Option<meta::Recovered>, Error> {
    let row = engine.get(Table::Meta, meta::RECOVERED)?;
    row.map(meta::decode_recovered)
        .transpose()
        .map_err(corrupt(Table::Meta, meta::RECOVERED))
}

/// The vault's position.
pub(crate) fn applied(engine: &dyn Engine) -> Result<Option<Applied>, Error> {
    decode_applied(engine.get(Table::Meta, meta::APPLIED)?)
}

/// The position that a crash would leave.
pub(crate) fn flushed_applied(engine: &dyn Engine) -> Result<Option<Applied>, Error> {
    decode_applied(engine.get_flushed(Table::Meta, meta::APPLIED)?)
}

fn decode_applied(row: Option<Bytes>) -> Result<Option<Applied>, Error> {
    row.map(meta::decode_applied)
        .transpose()
        .map_err(corrupt(Table::Meta, meta::APPLIED))
}

/// The log's membership.
pub(crate) fn membership(engine: &dyn Engine) -> Result<Option<Bytes>, Error> {
    decode_membership(engine.get(Table::Meta, meta::MEMBERSHIP)?)
}

/// The membership that a crash would leave.
pub(crate) fn flushed_membership(engine: &dyn Engine) -> Result<Option<Bytes>, Error> {
    decode_membership(engine.get_flushed(Table::Meta, meta::MEMBERSHIP)?)
}

fn decode_membership(row: Option<Bytes>) -> Result<Option<Bytes>, Error> {
    row.map(meta::decode_membership)
        .transpose()
        .map_err(unreadable(meta::MEMBERSHIP))
}

/// The rows under `keys`; one look-up alone is cheaper as a `get`.
pub(crate) fn many(
    engine: &dyn Engine,
    table: Table,
    keys: &[impl AsRef<[u8]>],
) -> Result<Vec<Option<Bytes>>, Error> {
    match keys {
        [] => Ok(Vec::new()),
        [key] => Ok(vec![engine.get(table, key.as_ref())?]),
        _ => {
            let keys: Vec<_> = keys.iter().map(AsRef::as_ref).collect();
            Ok(engine.multi_get(table, &keys)?)
        }
    }
}
