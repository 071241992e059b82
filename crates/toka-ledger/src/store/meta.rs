//! `meta`: positions, membership, settings, cursors.
//!
//! ```text
//! key "applied"      value  version u8 = 1 | revision varint | sequence varint | unix_ms varint
//!                           | state digest [32] | frontier of the history tree: one root [32] for
//!                           each 1 bit of the sequence, highest bit first
//!                           | 0 u8, or 1 u8 and the log id to the end | checksum
//! key "membership"   value  version u8 = 1 | bytes | checksum
//! key "settings"     value  version u8 = 1 | cluster id u128 | history id u128 (little-endian)
//!                           | feature level varint | dimension varint (0: not known yet)
//!                           | created unix_ms varint | embedding model text (empty: not known yet)
//!                           | parameters of the intents (varints)
//!                           | only once it was raised: the feature level now, varint | checksum
//! key "recovered"    value  version u8 = 1 | old cluster id u128 | old history id u128 (little-endian)
//!                           | revision varint | sequence varint | unix_ms varint | checksum; only in a
//!                           vault that went on alone after its cluster lost its quorum
//! key "cursor/NAME"  value  version u8 = 1 | position varint | checksum
//! key "journal/..."  see store/journal.rs
//! key "group/NAME"   see store/groups.rs, and store/group_items.rs, store/group_parked.rs, store/group_sum.rs
//! key "token/ID"     see store/tokens.rs, and store/roles.rs, store/audit.rs
//! ```

use bytes::{BufMut, Bytes};

use super::checksum::{seal, unseal};
use super::clusters::end_of;
use super::read_version;
use crate::codec::{DecodeError, Reader, put_prefixed, put_varint};
use crate::core::Parameters;
use crate::core::limits::{DIMENSIONS_MAX, EMBEDDING_MODEL_BYTES_MAX, SEQUENCE_END, UNIX_MS_END};
use crate::core::{CursorName, Digest, EmbeddingModel};
use crate::hash;

/// Key of the position.
pub const APPLIED: &[u8] = b"applied";
/// Key of the membership.
pub const MEMBERSHIP: &[u8] = b"membership";
/// Key of the settings.
pub const SETTINGS: &[u8] = b"settings";

/// Key of what a recovery has noted.
pub const RECOVERED: &[u8] = b"recovered";

const CURSOR_PREFIX: &[u8] = b"cursor/";
pub(super) const VERSION: u8 = 1;
/// First byte of what is chained to the state digest for a row of this table. Events chain their
/// header's row, which starts with its version: versions stay below this.
const META_ROW: u8 = 0xf0;
/// Far above what can ever be reached, so that counting on cannot overflow.
const REVISION_END: u64 = 1 << 63;

/// What has been applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Commands applied, also those that made no event.
    pub revision: u64,
    /// Sequence of the last event.
    pub sequence: u64,
    /// The vault's time, milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// Last link of the state chain.
    pub state_digest: Digest,
    /// Roots of the history's full subtrees, largest first.
    pub frontier: Vec<Digest>,
    /// Id of the last applied log entry, opaque.
    pub log_id: Option<Bytes>,
}

/// Where a vault was when it went on alone, as a new cluster, after its cluster had lost its quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Identity of the cluster that was lost.
    pub cluster_id: u128,
    /// Identity of the history there.
    pub history_id: u128,
    /// Commands that had been applied.
    pub revision: u64,
    /// Last event that is of the old history; what it had behind it is lost.
    pub sequence: u64,
    /// When it was recovered, milliseconds since the Unix epoch.
    pub unix_ms: u64,
}

/// Writes the value of [`RECOVERED`].
#[must_use]
pub fn encode_recovered(recovered: &Recovered) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.put_u128_le(recovered.cluster_id);
    out.put_u128_le(recovered.history_id);
    put_varint(&mut out, recovered.revision);
    put_varint(&mut out, recovered.sequence);
    put_varint(&mut out, recovered.unix_ms);
    seal(RECOVERED, &mut out);
    out
}

/// Reads the value of [`RECOVERED`].
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode_recovered(value: Bytes) -> Result<Recovered, DecodeError> {
    let mut reader = Reader::new(unseal(RECOVERED, value)?);
    read_version(&mut reader, "recovery", VERSION)?;
    let recovered = Recovered {
        cluster_id: u128::from_le_bytes(reader.array("cluster id")?),
        history_id: u128::from_le_bytes(reader.array("history id")?),
        revision: below(&mut reader, "revision", REVISION_END)?,
        sequence: below(&mut reader, "sequence", SEQUENCE_END)?,
        unix_ms: below(&mut reader, "recovery time", UNIX_MS_END)?,
    };
    reader.finish()?;
    Ok(recovered)
}

/// What is fixed for the life of a vault, or once it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Identity of the cluster (or of the embedded vault) that the vault was created in.
    pub cluster_id: u128,
    /// Identity of the history in that cluster; see [`Settings::history_id_in`].
    pub history_id: u128,
    /// Which behaviour of `apply` the vault was created with.
    pub created_level: u32,
    /// Which behaviour of `apply` the vault follows: that one, or a higher one that it was raised to.
    pub feature_level: u32,
    /// Dimension of embeddings; absent until it is known.
    pub dimension: Option<u16>,
    /// Model that makes the embeddings; absent until it is known.
    pub model: Option<EmbeddingModel>,
    /// Settings of the intents.
    pub intents: Parameters,
    /// The vault's time when it was created, milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
}

impl Settings {
    /// Identity of the history as it goes on in the cluster `cluster_id`.
    ///
    /// Settings are in the state chain and never change, so a restored vault still names the cluster that
    /// it was created in. That it is in another one now is what gives it another history id.
    #[must_use]
    pub fn history_id_in(&self, cluster_id: u128) -> u128 {
        if cluster_id == self.cluster_id {
            self.history_id
        } else {
            hash::restored_history_id(self.history_id, cluster_id)
        }
    }
}

/// What the state chain covers of a row of this table.
#[must_use]
pub fn state_link(key: &[u8], row: &[u8]) -> Vec<u8> {
    let mut link = vec![META_ROW];
    put_prefixed(&mut link, key);
    link.extend_from_slice(row);
    link
}

/// The key of a cursor's row.
#[must_use]
pub fn cursor_key(name: &CursorName) -> Vec<u8> {
    [CURSOR_PREFIX, name.as_str().as_bytes()].concat()
}

/// The keys of all cursors are from the first one to the second one.
#[must_use]
pub fn cursor_range() -> (Vec<u8>, Vec<u8>) {
    (CURSOR_PREFIX.to_vec(), end_of(CURSOR_PREFIX))
}

/// Reads a cursor's key; `None` for another row's key.
///
/// # Errors
/// [`DecodeError`] if it is a cursor's key without a name that a cursor can have.
pub fn decode_cursor_key(key: &[u8]) -> Result<Option<CursorName>, DecodeError> {
    let Some(name) = key.strip_prefix(CURSOR_PREFIX) else {
        return Ok(None);
    };
    std::str::from_utf8(name)
        .ok()
        .and_then(|name| CursorName::new(name).ok())
        .map(Some)
        .ok_or(DecodeError::Invalid { field: "cursor" })
}

/// The value of [`APPLIED`].
#[must_use]
pub fn encode_applied(applied: &Applied) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + 32 * applied.frontier.len());
    out.put_u8(VERSION);
    put_varint(&mut out, applied.revision);
    put_varint(&mut out, applied.sequence);
    put_varint(&mut out, applied.unix_ms);
    out.put_slice(applied.state_digest.as_bytes());
    for root in &applied.frontier {
        out.put_slice(root.as_bytes());
    }
    match &applied.log_id {
        Some(log_id) => {
            out.put_u8(1);
            out.put_slice(log_id);
        }
        None => out.put_u8(0),
    }
    seal(APPLIED, &mut out);
    out
}

/// Reads the value of [`APPLIED`].
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode_applied(value: Bytes) -> Result<Applied, DecodeError> {
    let mut reader = Reader::new(unseal(APPLIED, value)?);
    read_version(&mut reader, "position", VERSION)?;
    let revision = below(&mut reader, "revision", REVISION_END)?;
    let sequence = below(&mut reader, "sequence", SEQUENCE_END)?;
    let unix_ms = below(&mut reader, "unix_ms", UNIX_MS_END)?;
    let state_digest = Digest(reader.array("state digest")?);
    let frontier = (0..sequence.count_ones())
        .map(|_| reader.array("frontier").map(Digest))
        .collect::<Result<_, _>>()?;
    let log_id = match reader.u8("log id")? {
        0 => None,
        1 => Some(reader.bytes("log id", reader.remaining())?),
        _ => return Err(DecodeError::Invalid { field: "log id" }),
    };
    reader.finish()?;
    Ok(Applied {
        revision,
        sequence,
        unix_ms,
        state_digest,
        frontier,
        log_id,
    })
}

/// The value of [`MEMBERSHIP`].
#[must_use]
pub fn encode_membership(membership: &[u8]) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.put_slice(membership);
    seal(MEMBERSHIP, &mut out);
    out
}

/// Reads the value of [`MEMBERSHIP`].
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode_membership(value: Bytes) -> Result<Bytes, DecodeError> {
    let mut reader = Reader::new(unseal(MEMBERSHIP, value)?);
    read_version(&mut reader, "membership", VERSION)?;
    reader.bytes("membership", reader.remaining())
}

/// The value of [`SETTINGS`].
#[must_use]
pub fn encode_settings(settings: &Settings) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.put_u8(VERSION);
    out.put_u128_le(settings.cluster_id);
    out.put_u128_le(settings.history_id);
    put_varint(&mut out, u64::from(settings.created_level));
    put_varint(&mut out, u64::from(settings.dimension.unwrap_or(0)));
    put_varint(&mut out, settings.created_unix_ms);
    let model = settings.model.as_ref().map_or("", EmbeddingModel::as_str);
    put_prefixed(&mut out, model.as_bytes());
    settings.intents.encode(&mut out);
    if settings.feature_level > settings.created_level {
        put_varint(&mut out, u64::from(settings.feature_level));
    }
    seal(SETTINGS, &mut out);
    out
}

/// Reads the value of [`SETTINGS`].
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode_settings(value: Bytes) -> Result<Settings, DecodeError> {
    let mut reader = Reader::new(unseal(SETTINGS, value)?);
    read_version(&mut reader, "settings", VERSION)?;
    let cluster_id = u128::from_le_bytes(reader.array("cluster id")?);
    let history_id = u128::from_le_bytes(reader.array("history id")?);
    let created_level = level(&mut reader)?;
    let dimension = reader.count("dimension", DIMENSIONS_MAX)?;
    let dimension = u16::try_from(dimension)
        .ok()
        .filter(|&dimension| dimension > 0);
    let created_unix_ms = below(&mut reader, "created unix_ms", UNIX_MS_END)?;
    let model = reader.text("embedding model", EMBEDDING_MODEL_BYTES_MAX)?;
    let model = (!model.is_empty())
        .then(|| EmbeddingModel::new(&model))
        .transpose()
        .map_err(|_| DecodeError::Invalid {
            field: "embedding model",
        })?;
    let intents = Parameters::decode(&mut reader)?;
    let feature_level = match reader.remaining() {
        0 => created_level,
        _ => level(&mut reader)?,
    };
    if feature_level < created_level {
        return Err(DecodeError::Invalid {
            field: "feature level",
        });
    }
    reader.finish()?;
    Ok(Settings {
        cluster_id,
        history_id,
        created_level,
        feature_level,
        dimension,
        model,
        intents,
        created_unix_ms,
    })
}

fn level(reader: &mut Reader) -> Result<u32, DecodeError> {
    const FIELD: &str = "feature level";
    u32::try_from(reader.varint(FIELD)?).map_err(|_| DecodeError::Invalid { field: FIELD })
}

/// What the state chain goes on with when the feature level is raised.
#[must_use]
pub fn level_link(level: u32) -> Vec<u8> {
    let mut row = vec![VERSION];
    put_varint(&mut row, level.into());
    state_link(b"feature_level", &row)
}

/// What the state chain goes on with when a cursor is deleted.
#[must_use]
pub fn cursor_deletion_link(name: &CursorName) -> Vec<u8> {
    // No row is empty.
    state_link(&cursor_key(name), &[])
}

/// The value of a cursor's row.
#[must_use]
pub fn encode_cursor(name: &CursorName, position: u64) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_varint(&mut out, position);
    seal(&cursor_key(name), &mut out);
    out
}

/// Reads the value of a cursor's row.
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode_cursor(name: &CursorName, value: Bytes) -> Result<u64, DecodeError> {
    let mut reader = Reader::new(unseal(&cursor_key(name), value)?);
    read_version(&mut reader, "cursor", VERSION)?;
    let position = reader.varint("cursor")?;
    reader.finish()?;
    Ok(position)
}

fn below(reader: &mut Reader, field: &'static str, end: u64) -> Result<u64, DecodeError> {
    match reader.varint(field)? {
        number if number < end => Ok(number),
        _ => Err(DecodeError::Invalid { field }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn positions_round_trip(
            revision in 0..REVISION_END,
            sequence in 0..SEQUENCE_END,
            unix_ms in 0..UNIX_MS_END,
            digest: [u8; 32],
            log_id: Option<Vec<u8>>,
        ) {
            let applied = Applied {
                revision,
                sequence,
                unix_ms,
                state_digest: Digest(digest),
                frontier: vec![Digest(digest); sequence.count_ones() as usize],
                log_id: log_id.map(Bytes::from),
            };
            prop_assert_eq!(decode_applied(encode_applied(&applied).into()), Ok(applied));
        }

        #[test]
        fn settings_round_trip(
            cluster_id: u128,
            history_id: u128,
            created_level in 0_u32..1 << 31,
            raised in 0_u32..3,
            dimension in prop::option::of(1_u16..=4096),
            created_unix_ms in 0..UNIX_MS_END,
            model in prop::option::of("[a-zß/]{1,20}"),
        ) {
            let settings = Settings {
                cluster_id,
                history_id,
                created_level,
                feature_level: created_level + raised,
                dimension,
                model: model.map(|model| EmbeddingModel::new(&model).expect("valid")),
                intents: Parameters::default(),
                created_unix_ms,
            };
            prop_assert_eq!(decode_settings(encode_settings(&settings).into()), Ok(settings));
        }

        #[test]
        fn recoveries_round_trip(
            cluster_id: u128,
            history_id: u128,
            revision in 0..REVISION_END,
            sequence in 0..SEQUENCE_END,
            unix_ms in 0..UNIX_MS_END,
        ) {
            let recovered = Recovered { cluster_id, history_id, revision, sequence, unix_ms };
            prop_assert_eq!(decode_recovered(encode_recovered(&recovered).into()), Ok(recovered));
        }

        #[test]
        fn cursors_round_trip(name in "[a-zß/]{1,20}", position: u64) {
            let name = CursorName::new(&name).expect("valid");
            let value = encode_cursor(&name, position);
            prop_assert_eq!(decode_cursor(&name, value.into()), Ok(position));
            prop_assert_eq!(decode_cursor_key(&cursor_key(&name)), Ok(Some(name)));
        }

        #[test]
        fn membership_round_trips(membership: Vec<u8>) {
            let value = encode_membership(&membership);
            prop_assert_eq!(decode_membership(value.into()), Ok(membership.into()));
        }

        #[test]
        fn any_bytes_end_in_a_value_or_an_error(bytes: Vec<u8>) {
            let name = CursorName::new("name").expect("valid");
            let sealed = |key: &[u8]| {
                let mut bytes = bytes.clone();
                seal(key, &mut bytes);
                Bytes::from(bytes)
            };
            let _ = decode_applied(sealed(APPLIED));
            let _ = decode_membership(sealed(MEMBERSHIP));
            let _ = decode_settings(sealed(SETTINGS));
            let _ = decode_recovered(sealed(RECOVERED));
            let _ = decode_cursor(&name, sealed(&cursor_key(&name)));
            let _ = decode_cursor_key(&bytes);
            let _ = decode_applied(bytes.into());
        }
    }
}
