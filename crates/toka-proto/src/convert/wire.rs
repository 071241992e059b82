//! Events on the wire, written straight from what the ledger has.
//!
//! The same bytes as those of the generated [`v1::Event`], which tests compare. That has a heap allocation for each of
//! its fields, so that an event would be copied there, measured, and copied again; here it is copied once.

mod new_event;

use bytes::Bytes;
use prost::Message;
use toka_ledger::{Attributes, Embedding, EventHeader, Parent, Stored};

pub use self::new_event::{new_event_len, put_new_event};
use crate::v1;

/// Wire types of Protobuf.
const VARINT: u64 = 0;
const BYTES: u64 = 2;
/// Bytes of a parent: id and digest, each behind a key and a length.
const PARENT_BYTES: usize = 2 + 16 + 2 + 32;
/// Bytes of a digest behind a key and a length.
const DIGEST_BYTES: usize = 2 + 32;
/// Bytes of a component as a float.
const FLOAT_BYTES: usize = 4;

/// An event that is to be written: its header, and what comes with it.
#[derive(Clone, Copy, Debug)]
pub struct EventParts<'e> {
    /// The header.
    pub header: &'e EventHeader,
    /// The payload; `None`: it was not asked for.
    pub payload: Option<&'e Stored<Bytes>>,
    /// The embedding; `None`: it was not asked for, or the event has none.
    pub embedding: Option<&'e Stored<Embedding>>,
    /// How the embedding is written.
    pub form: v1::EmbeddingForm,
}

impl<'e> From<&'e EventHeader> for EventParts<'e> {
    /// Without payload and embedding.
    fn from(header: &'e EventHeader) -> Self {
        Self {
            header,
            payload: None,
            embedding: None,
            form: v1::EmbeddingForm::Unspecified,
        }
    }
}

impl EventParts<'_> {
    /// Bytes of the message.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let header = self.header;
        let salt = header.salt.as_bytes();
        let kind = header.kind.as_str();
        let mut len = bytes_len(1, header.id.as_bytes().len())
            + number_len(2, header.sequence)
            + number_len(3, header.unix_ms)
            + text_len(4, kind.len())
            + 2 * DIGEST_BYTES
            + number_len(7, header.payload_bytes.into())
            + number_len(8, header.payload_sequence)
            + text_len(9, salt.len())
            + header.parents.len() * bytes_len(10, PARENT_BYTES);
        if let Some(info) = &header.embedding {
            len += bytes_len(11, DIGEST_BYTES + number_len(2, info.dimension.into()));
        }
        if !header.attributes.is_empty() {
            len += bytes_len(12, attributes_len(&header.attributes));
        }
        if let Some(micro_cluster) = header.micro_cluster {
            len += key_len(13) + varint_len(micro_cluster.0.into());
        }
        if let Some(intent) = header.intent {
            len += key_len(14) + varint_len(intent.0);
        }
        len += number_len(15, header.deduplicated.into());
        if let Some(payload) = self.payload {
            len += bytes_len(16, payload_len(payload));
        }
        if let Some(embedding) = self.embedding {
            len += bytes_len(17, embedding_len(embedding, self.form));
        }
        len
    }

    /// Writes the message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let header = self.header;
        put_bytes(out, 1, header.id.as_bytes());
        put_number(out, 2, header.sequence);
        put_number(out, 3, header.unix_ms);
        put_text(out, 4, header.kind.as_str().as_bytes());
        put_bytes(out, 5, header.digest.as_bytes());
        put_bytes(out, 6, header.payload_digest.as_bytes());
        put_number(out, 7, header.payload_bytes.into());
        put_number(out, 8, header.payload_sequence);
        put_text(out, 9, header.salt.as_bytes());
        for parent in &header.parents {
            put_parent(out, parent);
        }
        if let Some(info) = &header.embedding {
            let dimension = u64::from(info.dimension);
            put_head(out, 11, DIGEST_BYTES + number_len(2, dimension));
            put_bytes(out, 1, info.digest.as_bytes());
            put_number(out, 2, dimension);
        }
        if !header.attributes.is_empty() {
            put_attributes(out, 12, &header.attributes);
        }
        if let Some(micro_cluster) = header.micro_cluster {
            put_optional(out, 13, micro_cluster.0.into());
        }
        if let Some(intent) = header.intent {
            put_optional(out, 14, intent.0);
        }
        put_number(out, 15, header.deduplicated.into());
        if let Some(payload) = self.payload {
            put_head(out, 16, payload_len(payload));
            match payload {
                Stored::Present(bytes) => put_bytes(out, 1, bytes),
                Stored::Erased => put_head(out, 2, 0),
            }
        }
        if let Some(embedding) = self.embedding {
            put_embedding(out, 17, embedding, self.form);
        }
    }

    /// Bytes of the message as the field `tag` of another one.
    #[must_use]
    pub fn field_len(&self, tag: u32) -> usize {
        bytes_len(tag, self.encoded_len())
    }

    /// Writes the message as the field `tag` of another one.
    pub fn encode_field(&self, tag: u32, out: &mut Vec<u8>) {
        let len = self.encoded_len();
        out.reserve(bytes_len(tag, len));
        put_head(out, tag, len);
        self.encode(out);
    }
}

/// Writes a message behind what is there already.
pub fn put_message(message: &impl Message, out: &mut Vec<u8>) {
    message
        .encode(out)
        .expect("a vector grows as far as it has to");
}

/// Bytes of a field with `len` bytes.
#[must_use]
pub fn bytes_len(tag: u32, len: usize) -> usize {
    key_len(tag) + varint_len(len as u64) + len
}

/// Writes what comes before the bytes of a field: its key, and their number.
pub fn put_head(out: &mut Vec<u8>, tag: u32, len: usize) {
    put_varint(out, u64::from(tag) << 3 | BYTES);
    put_varint(out, len as u64);
}

/// Bytes of a field with a number; none where it is 0, as of fields that do not say whether they are there.
#[must_use]
pub fn number_len(tag: u32, number: u64) -> usize {
    match number {
        0 => 0,
        number => key_len(tag) + varint_len(number),
    }
}

/// Writes a field with a number, unless it is 0.
pub fn put_number(out: &mut Vec<u8>, tag: u32, number: u64) {
    if number != 0 {
        put_optional(out, tag, number);
    }
}

/// Writes a field with a number, 0 too.
fn put_optional(out: &mut Vec<u8>, tag: u32, number: u64) {
    put_varint(out, u64::from(tag) << 3 | VARINT);
    put_varint(out, number);
}

fn put_bytes(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    put_head(out, tag, bytes.len());
    out.extend_from_slice(bytes);
}

/// Bytes of a field with a text; none where it is empty.
fn text_len(tag: u32, len: usize) -> usize {
    match len {
        0 => 0,
        len => bytes_len(tag, len),
    }
}

/// Writes a field with a text, unless it is empty.
pub fn put_text(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_bytes(out, tag, bytes);
    }
}

fn put_parent(out: &mut Vec<u8>, parent: &Parent) {
    put_head(out, 10, PARENT_BYTES);
    put_bytes(out, 1, parent.id.as_bytes());
    put_bytes(out, 2, parent.digest.as_bytes());
}

fn pair_len(name: &str, value: &str) -> usize {
    text_len(1, name.len()) + text_len(2, value.len())
}

fn attributes_len(attributes: &Attributes) -> usize {
    let named = [(1, &attributes.source), (2, &attributes.content_type)];
    let named = named.into_iter().map(|(tag, text)| match text {
        Some(text) => bytes_len(tag, text.len()),
        None => 0,
    });
    let pairs = attributes.pairs.iter();
    let pairs = pairs.map(|(name, value)| bytes_len(3, pair_len(name, value)));
    named.chain(pairs).sum()
}

fn put_attributes(out: &mut Vec<u8>, tag: u32, attributes: &Attributes) {
    put_head(out, tag, attributes_len(attributes));
    for (tag, text) in [(1, &attributes.source), (2, &attributes.content_type)] {
        if let Some(text) = text {
            put_bytes(out, tag, text.as_bytes());
        }
    }
    for (name, value) in &attributes.pairs {
        put_head(out, 3, pair_len(name, value));
        put_text(out, 1, name.as_bytes());
        put_text(out, 2, value.as_bytes());
    }
}

fn payload_len(payload: &Stored<Bytes>) -> usize {
    match payload {
        Stored::Present(bytes) => bytes_len(1, bytes.len()),
        Stored::Erased => bytes_len(2, 0),
    }
}

fn embedding_len(embedding: &Stored<Embedding>, form: v1::EmbeddingForm) -> usize {
    match (embedding, form) {
        (Stored::Present(embedding), v1::EmbeddingForm::Float) => {
            bytes_len(2, bytes_len(1, embedding.dimension() * FLOAT_BYTES))
        }
        (Stored::Present(embedding), _) => bytes_len(1, embedding.as_bytes().len()),
        (Stored::Erased, _) => bytes_len(3, 0),
    }
}

fn put_embedding(
    out: &mut Vec<u8>,
    tag: u32,
    embedding: &Stored<Embedding>,
    form: v1::EmbeddingForm,
) {
    put_head(out, tag, embedding_len(embedding, form));
    match (embedding, form) {
        (Stored::Present(embedding), v1::EmbeddingForm::Float) => {
            let floats = embedding.dimension() * FLOAT_BYTES;
            put_head(out, 2, bytes_len(1, floats));
            put_head(out, 1, floats);
            for component in embedding.iter() {
                let float = f32::from(component) / 16_384.0;
                out.extend_from_slice(&float.to_le_bytes());
            }
        }
        (Stored::Present(embedding), _) => put_bytes(out, 1, embedding.as_bytes()),
        (Stored::Erased, _) => put_head(out, 3, 0),
    }
}

const fn key_len(tag: u32) -> usize {
    varint_len((tag as u64) << 3)
}

/// Seven bits a byte.
const fn varint_len(number: u64) -> usize {
    let bits = u64::BITS - (number | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    // Of what does not fit into a byte the lowest bits are meant.
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use toka_ledger::core::EmbeddingInfo;
    use toka_ledger::intent::{IntentId, MicroClusterId};
    use toka_ledger::{Digest, EventId, Kind, Salt};

    use super::*;
    use crate::convert::event::{embedding_message, payload_message};

    fn digests() -> impl Strategy<Value = Digest> {
        any::<[u8; 32]>().prop_map(Digest)
    }

    fn attributes() -> impl Strategy<Value = Attributes> {
        let text = || "[a-z]{0,3}|[a-z]{120,140}";
        let pairs = prop::collection::btree_map(text(), text(), 0..3);
        let named = prop::option::of(text());
        (named.clone(), named, pairs).prop_map(|(source, content_type, pairs)| Attributes {
            source,
            content_type,
            pairs,
        })
    }

    fn parents() -> impl Strategy<Value = Vec<Parent>> {
        let parent = (any::<[u8; 16]>(), digests()).prop_map(|(id, digest)| Parent {
            id: EventId::from_bytes(id),
            digest,
        });
        prop::collection::vec(parent, 0..4)
    }

    fn headers() -> impl Strategy<Value = EventHeader> {
        let identity = (any::<[u8; 16]>(), digests(), digests());
        let numbers = (any::<u64>(), 0..1_u64 << 48, 0..1_u32 << 20, any::<u64>());
        let texts = ("[a-z]{1,255}", prop::collection::vec(any::<u8>(), 0..=32));
        let embedding = prop::option::of((digests(), any::<u16>()));
        let intents = (prop::option::of(0..300_u32), prop::option::of(0..300_u64));
        let parts = (
            identity,
            numbers,
            texts,
            parents(),
            embedding,
            attributes(),
            intents,
            any::<bool>(),
        );
        parts.prop_map(
            |(identity, numbers, texts, parents, embedding, attributes, intents, deduplicated)| {
                let (id, digest, payload_digest) = identity;
                let (sequence, unix_ms, payload_bytes, payload_sequence) = numbers;
                EventHeader {
                    id: EventId::from_bytes(id),
                    sequence,
                    unix_ms,
                    kind: Kind::new(&texts.0).expect("valid"),
                    digest,
                    payload_digest,
                    payload_bytes,
                    payload_sequence,
                    salt: Salt::new(&texts.1).expect("valid"),
                    parents,
                    embedding: embedding
                        .map(|(digest, dimension)| EmbeddingInfo { digest, dimension }),
                    attributes,
                    micro_cluster: intents.0.map(MicroClusterId),
                    intent: intents.1.map(IntentId),
                    deduplicated,
                }
            },
        )
    }

    fn stored<T: std::fmt::Debug + Clone>(
        present: impl Strategy<Value = T>,
    ) -> impl Strategy<Value = Option<Stored<T>>> {
        let present = prop::option::of(present);
        // Not asked for, erased, or there.
        prop::option::of(present.prop_map(|value| value.map_or(Stored::Erased, Stored::Present)))
    }

    proptest! {
        #[test]
        fn bytes_are_those_of_the_generated_message(
            header in headers(),
            payload in stored(prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from)),
            embedding in stored(prop::collection::vec(1.0_f32..2.0, 1..100).prop_map(|components| {
                Embedding::from_f32(&components).expect("valid")
            })),
            floats: bool,
        ) {
            let form = if floats { v1::EmbeddingForm::Float } else { v1::EmbeddingForm::Quantized };
            let parts = EventParts {
                header: &header,
                payload: payload.as_ref(),
                embedding: embedding.as_ref(),
                form,
            };
            let event = v1::Event {
                payload: payload.clone().map(payload_message),
                embedding: embedding.as_ref().map(|stored| embedding_message(stored, form)),
                ..v1::Event::from(&header)
            };
            let mut written = Vec::new();
            parts.encode(&mut written);
            prop_assert_eq!(&written, &event.encode_to_vec());
            prop_assert_eq!(parts.encoded_len(), written.len());

            let mut field = Vec::new();
            parts.encode_field(2, &mut field);
            prop_assert_eq!(parts.field_len(2), field.len());
            let message = v1::GetResponse { header: None, event: Some(event) };
            prop_assert_eq!(field, message.encode_to_vec());
        }
    }

    #[test]
    fn numbers_are_as_long_as_they_are_said_to_be() {
        for shift in 0..64 {
            for number in [1_u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
                let mut out = Vec::new();
                put_varint(&mut out, number);
                assert_eq!(out.len(), varint_len(number), "{number}");
                assert_eq!(out.len(), prost::encoding::encoded_len_varint(number));
            }
        }
    }
}
