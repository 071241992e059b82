//! `headers`: everything about an event but its payload and its embedding's components.
//!
//! ```text
//! key    sequence u64 big-endian
//! value  version u8 = 1 | flags u8 | unix_ms varint | digest [32]
//!        | kind (length varint, UTF-8) | payload digest [32] | payload bytes varint
//!        | payload sequence varint | salt (length varint, bytes)
//!        | number of parents varint, each: digest [32] | sequence varint | unix_ms varint
//!        | embedding digest [32], dimension varint      flag 1
//!        | source (length varint, UTF-8)                flag 2
//!        | content type (length varint, UTF-8)          flag 4
//!        | number of attributes varint, each: name, value (length varint, UTF-8)   flag 8
//!        | micro-cluster varint                         flag 16
//!        | intent varint                                flag 32
//!        | checksum
//! ```
//!
//! Ids are not stored: they follow from time, sequence and digest.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes};

use super::checksum::{seal, unseal};
use super::sequence::checked;
use super::{encode_sequence, read_version};
use crate::codec::{DecodeError, Reader, put_prefixed, put_varint};
use crate::core::limits::{
    ATTRIBUTE_NAME_BYTES_MAX, ATTRIBUTE_VALUE_BYTES_MAX, ATTRIBUTES_MAX, DIMENSIONS_MAX,
    KIND_BYTES_MAX, PARENTS_MAX, PAYLOAD_BYTES_MAX, SALT_BYTES_MAX, UNIX_MS_END,
};
use crate::core::{Attributes, Digest, EmbeddingInfo, EventHeader, EventId, Kind, Parent, Salt};
use crate::core::{IntentId, MicroClusterId};
use crate::error::Invalid;

const VERSION: u8 = 1;

// Which optional parts there are; persisted.
const HAS_EMBEDDING: u8 = 1;
const HAS_SOURCE: u8 = 1 << 1;
const HAS_CONTENT_TYPE: u8 = 1 << 2;
const HAS_ATTRIBUTES: u8 = 1 << 3;
const HAS_MICRO_CLUSTER: u8 = 1 << 4;
const HAS_INTENT: u8 = 1 << 5;
const KNOWN_FLAGS: u8 = HAS_INTENT * 2 - 1;

/// The value of a row. `deduplicated` is not stored.
#[must_use]
pub fn encode(header: &EventHeader) -> Vec<u8> {
    let mut row = Vec::with_capacity(160 + 44 * header.parents.len());
    encode_to(&mut row, header);
    row
}

/// Makes `out` the value of a row, whatever it was, in the memory that it has.
pub fn encode_to(out: &mut Vec<u8>, header: &EventHeader) {
    out.clear();
    out.put_u8(VERSION);
    out.put_u8(flags(header));
    put_varint(out, header.unix_ms);
    out.put_slice(header.digest.as_bytes());
    put_prefixed(out, header.kind.as_str().as_bytes());
    out.put_slice(header.payload_digest.as_bytes());
    put_varint(out, u64::from(header.payload_bytes));
    put_varint(out, header.payload_sequence);
    put_prefixed(out, header.salt.as_bytes());
    put_varint(out, header.parents.len() as u64);
    for parent in &header.parents {
        out.put_slice(parent.digest.as_bytes());
        put_varint(out, parent.id.sequence());
        put_varint(out, parent.id.unix_ms());
    }
    if let Some(embedding) = &header.embedding {
        out.put_slice(embedding.digest.as_bytes());
        put_varint(out, u64::from(embedding.dimension));
    }
    put_attributes(out, &header.attributes);
    if let Some(micro_cluster) = header.micro_cluster {
        put_varint(out, u64::from(micro_cluster.0));
    }
    if let Some(intent) = header.intent {
        put_varint(out, intent.0);
    }
    seal(&encode_sequence(header.sequence), out);
}

fn flags(header: &EventHeader) -> u8 {
    let attributes = &header.attributes;
    [
        (header.embedding.is_some(), HAS_EMBEDDING),
        (attributes.source.is_some(), HAS_SOURCE),
        (attributes.content_type.is_some(), HAS_CONTENT_TYPE),
        (!attributes.pairs.is_empty(), HAS_ATTRIBUTES),
        (header.micro_cluster.is_some(), HAS_MICRO_CLUSTER),
        (header.intent.is_some(), HAS_INTENT),
    ]
    .into_iter()
    .filter_map(|(present, flag)| present.then_some(flag))
    .sum()
}

fn put_attributes(out: &mut Vec<u8>, attributes: &Attributes) {
    for text in [&attributes.source, &attributes.content_type]
        .into_iter()
        .flatten()
    {
        put_prefixed(out, text.as_bytes());
    }
    if !attributes.pairs.is_empty() {
        put_varint(out, attributes.pairs.len() as u64);
        for (name, value) in &attributes.pairs {
            put_prefixed(out, name.as_bytes());
            put_prefixed(out, value.as_bytes());
        }
    }
}

/// Reads the value of the row at `sequence`.
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode(sequence: u64, value: Bytes) -> Result<EventHeader, DecodeError> {
    let sequence = checked(sequence)?;
    let mut reader = Reader::new(unseal(&encode_sequence(sequence), value)?);
    read_version(&mut reader, "header", VERSION)?;
    let flags = reader.u8("flags")?;
    if flags & !KNOWN_FLAGS != 0 {
        return Err(DecodeError::Invalid { field: "flags" });
    }
    let unix_ms = read_unix_ms(&mut reader)?;
    let digest = Digest(reader.array("digest")?);
    let kind = reader.checked("kind", KIND_BYTES_MAX, Kind::new)?;
    let payload_digest = Digest(reader.array("payload digest")?);
    let payload_bytes = reader.count("payload bytes", PAYLOAD_BYTES_MAX)?;
    let payload_sequence = checked(reader.varint("payload sequence")?)?;
    if payload_sequence > sequence {
        return Err(DecodeError::Invalid {
            field: "payload sequence",
        });
    }
    let salt = reader.lent("salt", SALT_BYTES_MAX, Salt::new)?;
    let parents = read_parents(&mut reader, sequence)?;
    let embedding = (flags & HAS_EMBEDDING != 0)
        .then(|| read_embedding(&mut reader))
        .transpose()?;
    let attributes = read_attributes(&mut reader, flags)?;
    let micro_cluster = (flags & HAS_MICRO_CLUSTER != 0)
        .then(|| reader.count("micro-cluster", u32::MAX as usize))
        .transpose()?
        .map(|id| MicroClusterId(u32::try_from(id).expect("counted up to u32::MAX")));
    let intent = (flags & HAS_INTENT != 0)
        .then(|| reader.varint("intent").map(IntentId))
        .transpose()?;
    reader.finish()?;
    Ok(EventHeader {
        id: EventId::new(unix_ms, sequence, &digest),
        sequence,
        unix_ms,
        kind,
        digest,
        payload_digest,
        payload_bytes: u32::try_from(payload_bytes).expect("counted up to 1 MiB"),
        payload_sequence,
        salt,
        parents,
        embedding,
        attributes,
        micro_cluster,
        intent,
        deduplicated: false,
    })
}

fn read_unix_ms(reader: &mut Reader) -> Result<u64, DecodeError> {
    match reader.varint("unix_ms")? {
        unix_ms if unix_ms < UNIX_MS_END => Ok(unix_ms),
        _ => Err(DecodeError::Invalid { field: "unix_ms" }),
    }
}

/// `child` is the sequence of the event whose parents they are.
fn read_parents(reader: &mut Reader, child: u64) -> Result<Vec<Parent>, DecodeError> {
    let parents = (0..reader.count("parents", PARENTS_MAX)?)
        .map(|_| {
            let digest = Digest(reader.array("parent digest")?);
            let sequence = checked(reader.varint("parent sequence")?)?;
            if sequence >= child {
                return Err(DecodeError::Invalid {
                    field: "parent sequence",
                });
            }
            let unix_ms = read_unix_ms(reader)?;
            Ok(Parent {
                digest,
                id: EventId::new(unix_ms, sequence, &digest),
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    if !parents.is_sorted_by(|a, b| a.digest < b.digest) {
        return Err(DecodeError::Invalid { field: "parents" });
    }
    Ok(parents)
}

fn read_embedding(reader: &mut Reader) -> Result<EmbeddingInfo, DecodeError> {
    const FIELD: &str = "dimension";
    let digest = Digest(reader.array("embedding digest")?);
    let dimension = u16::try_from(reader.count(FIELD, DIMENSIONS_MAX)?)
        .ok()
        .filter(|&dimension| dimension > 0)
        .ok_or(DecodeError::Invalid { field: FIELD })?;
    Ok(EmbeddingInfo { digest, dimension })
}

fn read_attributes(reader: &mut Reader, flags: u8) -> Result<Attributes, DecodeError> {
    let mut text = |flag: u8, field: &'static str| {
        (flags & flag != 0)
            .then(|| reader.text(field, ATTRIBUTE_VALUE_BYTES_MAX))
            .transpose()
    };
    let source = text(HAS_SOURCE, "source")?;
    let content_type = text(HAS_CONTENT_TYPE, "content type")?;
    let mut pairs = BTreeMap::new();
    if flags & HAS_ATTRIBUTES != 0 {
        for _ in 0..reader.count("attributes", ATTRIBUTES_MAX)? {
            let name = reader.text("attribute name", ATTRIBUTE_NAME_BYTES_MAX)?;
            pairs.insert(
                name,
                reader.text("attribute value", ATTRIBUTE_VALUE_BYTES_MAX)?,
            );
        }
    }
    let attributes = Attributes {
        source,
        content_type,
        pairs,
    };
    attributes.check().map_err(invalid("attributes"))?;
    Ok(attributes)
}

fn invalid(field: &'static str) -> impl Fn(Invalid) -> DecodeError {
    move |_| DecodeError::Invalid { field }
}

#[cfg(test)]
mod tests;
