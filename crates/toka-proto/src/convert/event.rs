//! Stored events.

use bytes::Bytes;
use toka_ledger::core::EmbeddingInfo;
use toka_ledger::intent::{IntentId, MicroClusterId};
use toka_ledger::{Attributes, Embedding, EventHeader, Invalid, Kind, Parent, Salt, Stored};

use super::commit::attributes_message;
use super::ident;
use crate::v1;

/// An event as it was read: its header, and what was asked for with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// The header.
    pub header: EventHeader,
    /// The payload; `None` if it was not asked for.
    pub payload: Option<Stored<Bytes>>,
    /// The embedding; `None` if it was not asked for or the event has none.
    pub embedding: Option<Stored<Embedding>>,
}

impl From<&EventHeader> for v1::Event {
    /// Without payload and embedding.
    fn from(header: &EventHeader) -> Self {
        Self {
            id: ident::event_id_bytes(&header.id),
            sequence: header.sequence,
            unix_ms: header.unix_ms,
            kind: header.kind.as_str().to_owned(),
            digest: ident::digest_bytes(&header.digest),
            payload_digest: ident::digest_bytes(&header.payload_digest),
            payload_bytes: header.payload_bytes,
            payload_sequence: header.payload_sequence,
            salt: Bytes::copy_from_slice(header.salt.as_bytes()),
            parents: header.parents.iter().map(parent_message).collect(),
            embedding_info: header.embedding.as_ref().map(|info| v1::EmbeddingInfo {
                digest: ident::digest_bytes(&info.digest),
                dimension: info.dimension.into(),
            }),
            attributes: attributes_message(&header.attributes),
            micro_cluster: header.micro_cluster.map(|micro_cluster| micro_cluster.0),
            intent: header.intent.map(|intent| intent.0),
            deduplicated: header.deduplicated,
            payload: None,
            embedding: None,
        }
    }
}

fn parent_message(parent: &Parent) -> v1::Parent {
    v1::Parent {
        id: ident::event_id_bytes(&parent.id),
        digest: ident::digest_bytes(&parent.digest),
    }
}

impl TryFrom<v1::Event> for EventHeader {
    type Error = Invalid;

    /// Payload and embedding are dropped.
    fn try_from(event: v1::Event) -> Result<Self, Invalid> {
        let embedding = event
            .embedding_info
            .map(|info| {
                let dimension = u16::try_from(info.dimension).map_err(|_| Invalid::OutOfRange {
                    field: "embedding_info.dimension",
                    min: 1,
                    max: u16::MAX.into(),
                    actual: info.dimension.into(),
                })?;
                let digest = ident::digest("embedding_info.digest", &info.digest)?;
                Ok(EmbeddingInfo { digest, dimension })
            })
            .transpose()?;
        let attributes = event
            .attributes
            .map_or_else(Attributes::default, |attributes| Attributes {
                source: attributes.source,
                content_type: attributes.content_type,
                pairs: attributes.pairs,
            });
        attributes.check()?;
        Ok(Self {
            id: ident::event_id("id", &event.id)?,
            sequence: event.sequence,
            unix_ms: event.unix_ms,
            kind: Kind::new(&event.kind)?,
            digest: ident::digest("digest", &event.digest)?,
            payload_digest: ident::digest("payload_digest", &event.payload_digest)?,
            payload_bytes: event.payload_bytes,
            payload_sequence: event.payload_sequence,
            salt: Salt::new(&event.salt)?,
            parents: event.parents.iter().map(parent).collect::<Result<_, _>>()?,
            embedding,
            attributes,
            micro_cluster: event.micro_cluster.map(MicroClusterId),
            intent: event.intent.map(IntentId),
            deduplicated: event.deduplicated,
        })
    }
}

fn parent(parent: &v1::Parent) -> Result<Parent, Invalid> {
    Ok(Parent {
        digest: ident::digest("parents.digest", &parent.digest)?,
        id: ident::event_id("parents.id", &parent.id)?,
    })
}

impl TryFrom<v1::Event> for StoredEvent {
    type Error = Invalid;

    fn try_from(mut event: v1::Event) -> Result<Self, Invalid> {
        let payload = event.payload.take().map(payload).transpose()?;
        let embedding = event.embedding.take().map(embedding).transpose()?;
        Ok(Self {
            header: event.try_into()?,
            payload,
            embedding,
        })
    }
}

impl From<&StoredEvent> for v1::Event {
    fn from(event: &StoredEvent) -> Self {
        Self {
            payload: event.payload.clone().map(payload_message),
            embedding: event
                .embedding
                .as_ref()
                .map(|embedding| embedding_message(embedding, v1::EmbeddingForm::Quantized)),
            ..Self::from(&event.header)
        }
    }
}

/// A payload as it is sent.
#[must_use]
pub fn payload_message(payload: Stored<Bytes>) -> v1::Payload {
    let state = match payload {
        Stored::Present(bytes) => v1::payload::State::Stored(bytes),
        Stored::Erased => v1::payload::State::Erased(v1::Erased {}),
    };
    v1::Payload { state: Some(state) }
}

fn payload(payload: v1::Payload) -> Result<Stored<Bytes>, Invalid> {
    match payload.state {
        Some(v1::payload::State::Stored(bytes)) => Ok(Stored::Present(bytes)),
        Some(v1::payload::State::Erased(_)) => Ok(Stored::Erased),
        None => Err(Invalid::Empty {
            field: "payload.state",
        }),
    }
}

/// An embedding as it is sent, in the form that was asked for.
#[must_use]
pub fn embedding_message(embedding: &Stored<Embedding>, form: v1::EmbeddingForm) -> v1::Embedding {
    use v1::embedding::State;
    let state = match (embedding, form) {
        (Stored::Present(embedding), v1::EmbeddingForm::Float) => State::Values(v1::FloatVector {
            components: embedding.to_f32(),
        }),
        (Stored::Present(embedding), _) => State::Quantized(embedding.as_bytes().clone()),
        (Stored::Erased, _) => State::Erased(v1::Erased {}),
    };
    v1::Embedding { state: Some(state) }
}

fn embedding(embedding: v1::Embedding) -> Result<Stored<Embedding>, Invalid> {
    use v1::embedding::State;
    match embedding.state {
        Some(State::Quantized(components)) => {
            Embedding::from_quantized_bytes(components).map(Stored::Present)
        }
        Some(State::Values(vector)) => {
            // Multiples of 2^-14: the product is a whole number, and the integers that are stored.
            #[allow(clippy::cast_possible_truncation)]
            let quantized: Vec<i16> = vector
                .components
                .iter()
                .map(|x| (x * 16_384.0).round() as i16)
                .collect();
            Embedding::from_quantized(&quantized).map(Stored::Present)
        }
        Some(State::Erased(_)) => Ok(Stored::Erased),
        None => Err(Invalid::Empty {
            field: "embedding.state",
        }),
    }
}
