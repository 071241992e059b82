//! Keys and values of the ledger's tables: decoded or refused, and what is decoded encodes to a row that is read as the
//! same. Values are tried as they are and with their checksum set right, which no damage could get past.

use bytes::Bytes;
use toka_ledger::codec::DecodeError;
use toka_ledger::command::FEATURE_LEVEL;
use toka_ledger::credentials::TokenId;
use toka_ledger::engine::Table;
use toka_ledger::intent::{IntentId, MicroClusterId};
use toka_ledger::store::history::STATE_HEIGHT;
use toka_ledger::store::journal::{self, Place};
use toka_ledger::store::{
    attributes, audit, checksum, children, clusters, decode_sequence, embeddings, encode_sequence,
    events, group_items, group_parked, group_sum, groups, headers, history, kinds, meta, micros,
    payload_digests, payloads, roles, tokens,
};
use toka_ledger::{CursorName, Digest, GroupName, RoleName};

use crate::apply::Replica;
use crate::commands;
use crate::{Seed, of_kind};

/// A sequence that rows are said to be at; small, and with a path of several digests.
const SEQUENCE: u64 = 5;
const MICRO: MicroClusterId = MicroClusterId(3);
const INTENT: IntentId = IntentId(4);
const PLACE: Place = Place {
    sequence: SEQUENCE,
    revision: 6,
    index: 0,
};

/// Checks a value, as it is and sealed under `key`.
fn value<T: PartialEq + std::fmt::Debug>(
    key: &[u8],
    bytes: &[u8],
    decode: impl Fn(Bytes) -> Result<T, DecodeError>,
    encode: impl Fn(&T) -> Vec<u8>,
) {
    let _ = decode(Bytes::copy_from_slice(bytes));
    let mut sealed = bytes.to_vec();
    checksum::seal(key, &mut sealed);
    plain(&sealed, decode, encode);
}

/// Checks a value without a checksum.
fn plain<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    decode: impl Fn(Bytes) -> Result<T, DecodeError>,
    encode: impl Fn(&T) -> Vec<u8>,
) {
    if let Ok(value) = decode(Bytes::copy_from_slice(bytes)) {
        assert_eq!(decode(encode(&value).into()), Ok(value));
    }
}

/// See above. The first byte says of which row.
pub fn run(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    match kind % 32 {
        0 => header(bytes),
        1 => value(
            &encode_sequence(SEQUENCE),
            bytes,
            |value| payloads::decode(SEQUENCE, value),
            |payload| payloads::encode(SEQUENCE, payload),
        ),
        2 => value(
            &encode_sequence(SEQUENCE),
            bytes,
            |value| embeddings::decode(SEQUENCE, value),
            |embedding| embeddings::encode(SEQUENCE, embedding),
        ),
        3 => {
            plain(bytes, events::decode, |sequence| {
                events::encode(*sequence).to_vec()
            });
            plain(bytes, payload_digests::decode, |sequence| {
                payload_digests::encode(*sequence).to_vec()
            });
        }
        4..=7 => index_key(kind % 32, bytes),
        8 => {
            let _ = history::decode_key(bytes);
            for height in [STATE_HEIGHT, 2 * STATE_HEIGHT] {
                plain(
                    bytes,
                    |value| history::decode(height, value),
                    history::encode,
                );
            }
        }
        9..=14 => cluster(kind % 32, bytes),
        15..=21 => setting(kind % 32, bytes),
        24..=27 => group(kind % 32, bytes),
        28..=30 => credential(kind % 32, bytes),
        _ => {
            let _ = decode_sequence(bytes).map(|sequence| {
                assert_eq!(encode_sequence(sequence), bytes);
            });
            for table in Table::ALL {
                let _ = toka_ledger::store::check_row(table, b"key", bytes);
            }
        }
    }
}

fn header(bytes: &[u8]) {
    value(
        &encode_sequence(SEQUENCE),
        bytes,
        |value| headers::decode(SEQUENCE, value),
        headers::encode,
    );
}

fn index_key(kind: u8, bytes: &[u8]) {
    match kind {
        4 => {
            if let Ok((kind, sequence)) = kinds::decode_key(bytes) {
                assert_eq!(kinds::key(kind.as_str(), sequence), bytes);
            }
        }
        5 => {
            if let Ok((name, value, sequence)) = attributes::decode_key(bytes) {
                assert_eq!(attributes::key(name, value, sequence), bytes);
            }
        }
        6 => {
            if let Ok((parent, kind, child)) = children::decode_key(bytes) {
                assert_eq!(children::key(parent, kind.as_str(), child), bytes);
            }
        }
        _ => {
            if let Ok((micro, sequence)) = micros::decode_key(bytes) {
                assert_eq!(micros::key(micro, sequence), bytes);
            }
        }
    }
}

fn cluster(kind: u8, bytes: &[u8]) {
    match kind {
        9 => value(
            clusters::STATE,
            bytes,
            clusters::decode_state,
            clusters::encode_state,
        ),
        10 => value(
            &clusters::micro_key(MICRO),
            bytes,
            |value| clusters::decode_micro(MICRO, value),
            |saved| clusters::encode_micro(MICRO, saved),
        ),
        11 => value(
            &clusters::record_key(1),
            bytes,
            |value| clusters::decode_record(1, value),
            |record| clusters::encode_record(1, record),
        ),
        12 => value(
            &clusters::alias_key(MICRO),
            bytes,
            |value| clusters::decode_alias(MICRO, value),
            |into| clusters::encode_alias(MICRO, *into),
        ),
        13 => value(
            &clusters::successor_key(INTENT),
            bytes,
            |value| clusters::decode_successor(INTENT, value),
            |successor| clusters::encode_successor(INTENT, *successor),
        ),
        _ => {
            let _ = clusters::decode_micro_key(clusters::MICRO, bytes);
            let _ = clusters::decode_intent_key(clusters::RECORD, bytes);
            value(
                &clusters::label_key(INTENT),
                bytes,
                |value| clusters::decode_label(INTENT, value),
                |label| clusters::encode_label(INTENT, label),
            );
        }
    }
}

fn group(kind: u8, bytes: &[u8]) {
    let name = GroupName::new("g").expect("valid");
    match kind {
        24 => value(
            &groups::key(&name),
            bytes,
            |value| groups::decode(&name, value),
            groups::encode,
        ),
        25 => value(
            &group_items::key(&name, SEQUENCE),
            bytes,
            |value| group_items::decode(&name, SEQUENCE, value),
            |item| group_items::encode(&name, item),
        ),
        26 => value(
            &group_parked::key(&name, SEQUENCE),
            bytes,
            |value| group_parked::decode(&name, SEQUENCE, value),
            |parked| group_parked::encode(&name, parked),
        ),
        _ => {
            value(group_sum::KEY, bytes, group_sum::decode, group_sum::encode);
            if let Ok(Some(name)) = groups::decode_key(bytes) {
                assert_eq!(groups::key(&name), bytes);
            }
            if let Ok(Some((name, sequence))) = group_items::decode_key(bytes) {
                assert_eq!(group_items::key(&name, sequence), bytes);
            }
            if let Ok(Some((name, sequence))) = group_parked::decode_key(bytes) {
                assert_eq!(group_parked::key(&name, sequence), bytes);
            }
        }
    }
}

fn credential(kind: u8, bytes: &[u8]) {
    let id = TokenId([7; 8]);
    let name = RoleName::new("r").expect("valid");
    match kind {
        28 => value(
            &tokens::key(id),
            bytes,
            |value| tokens::decode(id, value),
            tokens::encode,
        ),
        29 => value(
            &roles::key(&name),
            bytes,
            |value| roles::decode(&name, value),
            roles::encode,
        ),
        _ => {
            value(audit::KEY, bytes, audit::decode, audit::encode);
            if let Ok(Some(id)) = tokens::decode_key(bytes) {
                assert_eq!(tokens::key(id), bytes);
            }
            if let Ok(Some(name)) = roles::decode_key(bytes) {
                assert_eq!(roles::key(&name), bytes);
            }
        }
    }
}

fn setting(kind: u8, bytes: &[u8]) {
    match kind {
        15 => value(
            meta::APPLIED,
            bytes,
            meta::decode_applied,
            meta::encode_applied,
        ),
        16 => value(
            meta::SETTINGS,
            bytes,
            meta::decode_settings,
            meta::encode_settings,
        ),
        17 => value(
            meta::RECOVERED,
            bytes,
            meta::decode_recovered,
            meta::encode_recovered,
        ),
        18 => value(
            meta::MEMBERSHIP,
            bytes,
            meta::decode_membership,
            |membership| meta::encode_membership(membership),
        ),
        19 => {
            let name = CursorName::new("c").expect("valid");
            value(
                &meta::cursor_key(&name),
                bytes,
                |value| meta::decode_cursor(&name, value),
                |position| meta::encode_cursor(&name, *position),
            );
        }
        20 => value(
            &journal::key(PLACE),
            bytes,
            |value| journal::decode(PLACE, value),
            |change| journal::encode(PLACE, change),
        ),
        _ => {
            if let Ok(Some(place)) = journal::decode_key(bytes) {
                assert_eq!(journal::key(place), bytes);
            }
            if let Ok(Some(name)) = meta::decode_cursor_key(bytes) {
                assert_eq!(meta::cursor_key(&name), bytes);
            }
        }
    }
}

/// Rows of a small vault, and a few that it does not have.
#[must_use]
pub fn seeds() -> Vec<Seed> {
    let replica = vault();
    let mut seeds = Vec::new();
    for (at, (table, key, row)) in replica.rows().into_iter().enumerate() {
        let seed = match table {
            Table::Headers => of_kind(0, body(&row)),
            Table::Payloads => of_kind(1, body(&row)),
            Table::Embeddings => of_kind(2, body(&row)),
            Table::Events | Table::PayloadDigests => of_kind(3, row),
            Table::Kinds => of_kind(4, key),
            Table::Attributes => of_kind(5, key),
            Table::Children => of_kind(6, key),
            Table::Micros => of_kind(7, key),
            Table::History => of_kind(8, row),
            Table::Clusters if key.starts_with(clusters::STATE) => of_kind(9, body(&row)),
            Table::Clusters if key.starts_with(clusters::MICRO) => of_kind(10, body(&row)),
            Table::Clusters if key.starts_with(clusters::RECORD) => of_kind(11, body(&row)),
            Table::Clusters => of_kind(14, body(&row)),
            Table::Meta if key == meta::APPLIED => of_kind(15, body(&row)),
            Table::Meta if key == meta::SETTINGS => of_kind(16, body(&row)),
            Table::Meta if key.starts_with(journal::PREFIX) => of_kind(20, body(&row)),
            Table::Meta if key.starts_with(groups::PREFIX) => of_kind(24, body(&row)),
            Table::Meta if key.starts_with(group_items::PREFIX) => of_kind(25, body(&row)),
            Table::Meta if key.starts_with(group_parked::PREFIX) => of_kind(26, body(&row)),
            Table::Meta if key == group_sum::KEY => of_kind(27, body(&row)),
            Table::Meta if key.starts_with(tokens::PREFIX) => of_kind(28, body(&row)),
            Table::Meta if key.starts_with(roles::PREFIX) => of_kind(29, body(&row)),
            Table::Meta if key == audit::KEY => of_kind(30, body(&row)),
            Table::Meta => of_kind(21, key),
        };
        seeds.push((format!("{table}-{at}"), seed));
    }
    let recovered = meta::encode_recovered(&meta::Recovered {
        cluster_id: 1,
        history_id: 2,
        revision: 3,
        sequence: 4,
        unix_ms: 5,
    });
    let subtree = history::encode(&history::Subtree {
        root: Digest([1; 32]),
        state_digest: Some(Digest([2; 32])),
    });
    for (name, kind, row) in [
        (
            "alias",
            12,
            clusters::encode_alias(MICRO, MicroClusterId(9)),
        ),
        (
            "successor",
            13,
            clusters::encode_successor(INTENT, IntentId(300)),
        ),
        ("recovered", 17, recovered),
        ("membership", 18, meta::encode_membership(b"membership")),
        (
            "cursor",
            19,
            meta::encode_cursor(&CursorName::new("c").expect("valid"), 300),
        ),
    ] {
        seeds.push((name.to_owned(), of_kind(kind, body(&row))));
    }
    seeds.push(("subtree".to_owned(), of_kind(8, subtree)));
    seeds
}

/// A row without its checksum.
fn body(row: &[u8]) -> &[u8] {
    &row[..row.len() - 4]
}

/// A vault that has had every kind of command.
pub(crate) fn vault() -> Replica {
    assert_eq!(FEATURE_LEVEL, 3, "the seeds are of this level");
    let mut replica = Replica::new();
    for (name, seed) in commands::seeds() {
        let (_, entry) = seed.split_first().expect("there is a first byte");
        let entry = Bytes::copy_from_slice(entry);
        let decoded = toka_ledger::command::decode_batch(entry).expect("an entry");
        assert!(replica.apply(&decoded).is_some(), "{name}");
    }
    replica
}
