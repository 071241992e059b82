//! The rows of every table: one file per table, with its layout, encoder and decoder.
//!
//! Integers in keys are big-endian, so that the engine's order is the numbers' order; integers in
//! values are little-endian or varints. Every value that is not empty starts with a version byte.
//! Rows whose bytes nothing else covers end in a [`checksum`]. Decoding is total: whatever the
//! bytes, it ends in a value or an error.

pub mod attributes;
pub mod audit;
pub mod checksum;
pub mod children;
pub mod clusters;
pub mod embeddings;
pub mod events;
pub mod group_items;
pub mod group_parked;
pub mod group_sum;
pub mod groups;
pub mod headers;
pub mod history;
pub mod journal;
pub mod kinds;
pub(crate) mod lookup;
pub mod meta;
pub mod micros;
pub mod payload_digests;
pub mod payloads;
pub mod roles;
mod sequence;
pub mod tokens;

use std::fmt::Write as _;

use bytes::Bytes;

pub use self::meta::Settings;
pub use self::sequence::{decode_sequence, encode_sequence};
use crate::codec::DecodeError;
use crate::engine::{EngineError, Table};
use crate::error::Error;

/// Something that is stored, or was erased later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored<T> {
    /// It is there.
    Present(T),
    /// It was erased; only its digest is left.
    Erased,
}

impl Error {
    /// Whether stored data is damaged.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Corrupt { .. } => true,
            Self::Engine(error) => error.is_corruption(),
            _ => false,
        }
    }

    /// Whether stored data are of a feature level, or of a format, that only a newer build knows.
    #[must_use]
    pub const fn is_beyond_build(&self) -> bool {
        matches!(
            self,
            Self::FeatureLevel { .. }
                | Self::NewerFormat { .. }
                | Self::Engine(EngineError::WrongFormat { .. })
        )
    }
}

/// For `map_err`: the row under `key` is not what was written.
pub fn corrupt(table: Table, key: &[u8]) -> impl FnOnce(DecodeError) -> Error {
    // The key is written out only here: nearly all rows are sound, and a digest takes longer to write than to look up.
    move |error| Error::Corrupt {
        table: table.name(),
        key: hex(key),
        detail: error.to_string(),
    }
}

/// Checks the checksum of a row, where its table has them.
///
/// # Errors
/// [`Error::Corrupt`].
pub fn check_row(table: Table, key: &[u8], value: &[u8]) -> Result<(), Error> {
    match table {
        Table::Headers | Table::Payloads | Table::Embeddings | Table::Clusters | Table::Meta => {
            let checked = checksum::unseal(key, Bytes::copy_from_slice(value));
            checked.map(drop).map_err(corrupt(table, key))
        }
        // Digests, or nothing but the key, all of which follow from the headers.
        Table::PayloadDigests
        | Table::Events
        | Table::Kinds
        | Table::Attributes
        | Table::Children
        | Table::Micros
        | Table::History => Ok(()),
    }
}

/// A row that must be there and is not.
#[must_use]
pub fn missing(table: Table, key: &[u8]) -> Error {
    Error::Corrupt {
        table: table.name(),
        key: hex(key),
        detail: "the row is missing".to_owned(),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a string does not fail");
            text
        })
}

/// Reads a version byte.
fn read_version(
    reader: &mut crate::codec::Reader,
    field: &'static str,
    known: u8,
) -> Result<(), DecodeError> {
    match reader.u8(field)? {
        version if version == known => Ok(()),
        version => Err(DecodeError::Version { field, version }),
    }
}
