//! Events on the wire: what is written straight from the ledger's types are the bytes that prost writes of the generated
//! message, as many as were announced, and they are read as the same event again.

use std::collections::BTreeMap;

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use prost::Message as _;
use toka_ledger::command::{ParentName, PreparedEvent};
use toka_ledger::core::EmbeddingInfo;
use toka_ledger::intent::{IntentId, MicroClusterId};
use toka_ledger::{
    Attributes, Digest, Embedding, EmbeddingModel, EventHeader, EventId, Kind, Parent, Salt, Stored,
};
use toka_proto::convert::event::{StoredEvent, embedding_message, payload_message};
use toka_proto::convert::wire::{EventParts, new_event_len, put_new_event};
use toka_proto::v1;

use crate::{Seed, noise, of_kind};

/// Lengths around those at which a length takes a byte more.
const LENGTHS: [usize; 8] = [0, 1, 2, 126, 127, 128, 129, 300];
/// Bytes of a salt, at most.
const SALT_BYTES_MAX: usize = 32;
/// Numbers of fields, at most; their keys have one to three bytes.
const TAG_MAX: u32 = 3_000;

/// See above. The first byte says whether the event is stored or new.
pub fn run(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    let mut input = Unstructured::new(bytes);
    // An input that is no event says nothing.
    let _ = match kind % 2 {
        0 => stored(&mut input),
        _ => new(&mut input),
    };
}

fn stored(input: &mut Unstructured<'_>) -> Result<()> {
    let header = header(input)?;
    let payload = Bytes::from(text(input)?);
    let payload = state(input, Some(payload))?;
    let embedding = embedding(input)?;
    let embedding = state(input, embedding)?;
    let form = match input.arbitrary()? {
        true => v1::EmbeddingForm::Float,
        false => v1::EmbeddingForm::Quantized,
    };
    let tag = input.int_in_range(1..=TAG_MAX)?;
    let parts = EventParts {
        header: &header,
        payload: payload.as_ref(),
        embedding: embedding.as_ref(),
        form,
    };
    let event = v1::Event {
        payload: payload.clone().map(payload_message),
        embedding: embedding
            .as_ref()
            .map(|stored| embedding_message(stored, form)),
        ..v1::Event::from(&header)
    };
    let mut written = Vec::new();
    parts.encode(&mut written);
    assert_eq!(written, event.encode_to_vec());
    assert_eq!(written.len(), parts.encoded_len());

    let (mut field, mut expected) = (Vec::new(), Vec::new());
    parts.encode_field(tag, &mut field);
    prost::encoding::message::encode(tag, &event, &mut expected);
    assert_eq!(field, expected);
    assert_eq!(field.len(), parts.field_len(tag));

    let read = v1::Event::decode(written.as_slice()).expect("it was just written");
    // Attributes may be such as no vault has.
    if let Ok(again) = StoredEvent::try_from(read) {
        let event = StoredEvent {
            header,
            payload,
            embedding,
        };
        assert_eq!(again, event);
    }
    Ok(())
}

fn new(input: &mut Unstructured<'_>) -> Result<()> {
    let payload = Bytes::from(text(input)?);
    let event = PreparedEvent {
        kind: kind(input)?,
        payload_digest: digest(input)?,
        payload,
        salt: salt(input)?,
        parents: (0..input.int_in_range(0_u8..=3)?)
            .map(|_| parent_name(input))
            .collect::<Result<_>>()?,
        embedding: embedding(input)?,
        model: match input.arbitrary()? {
            true => EmbeddingModel::new(&text(input)?).ok(),
            false => None,
        },
        attributes: attributes(input)?,
    };
    let mut written = Vec::new();
    put_new_event(&mut written, &event);
    assert_eq!(written.len(), new_event_len(&event));
    assert_eq!(written, v1::NewEvent::from(event).encode_to_vec());
    Ok(())
}

fn header(input: &mut Unstructured<'_>) -> Result<EventHeader> {
    let embedding = match input.arbitrary()? {
        true => Some(EmbeddingInfo {
            digest: digest(input)?,
            dimension: input.arbitrary()?,
        }),
        false => None,
    };
    Ok(EventHeader {
        id: EventId::from_bytes(input.arbitrary()?),
        sequence: number(input)?,
        unix_ms: number(input)?,
        kind: kind(input)?,
        digest: digest(input)?,
        payload_digest: digest(input)?,
        payload_bytes: input.arbitrary()?,
        payload_sequence: number(input)?,
        salt: salt(input)?,
        parents: (0..input.int_in_range(0_u8..=3)?)
            .map(|_| parent(input))
            .collect::<Result<_>>()?,
        embedding,
        attributes: attributes(input)?,
        micro_cluster: input.arbitrary::<Option<u32>>()?.map(MicroClusterId),
        intent: input.arbitrary::<Option<u64>>()?.map(IntentId),
        deduplicated: input.arbitrary()?,
    })
}

/// What was not asked for, was erased, or is there.
fn state<T>(input: &mut Unstructured<'_>, present: Option<T>) -> Result<Option<Stored<T>>> {
    Ok(match input.int_in_range(0_u8..=3)? {
        0 => None,
        1 => Some(Stored::Erased),
        _ => present.map(Stored::Present),
    })
}

fn digest(input: &mut Unstructured<'_>) -> Result<Digest> {
    Ok(Digest([input.arbitrary()?; 32]))
}

fn salt(input: &mut Unstructured<'_>) -> Result<Salt> {
    let len = input.int_in_range(0..=SALT_BYTES_MAX)?;
    Ok(Salt::new(&vec![0x5a; len]).expect("a salt may be so long"))
}

/// Around powers of two.
fn number(input: &mut Unstructured<'_>) -> Result<u64> {
    let power = 1_u64 << input.int_in_range(0_u8..=63)?;
    Ok(match input.int_in_range(0_u8..=3)? {
        0 => 0,
        1 => power,
        2 => power - 1,
        _ => input.arbitrary()?,
    })
}

fn text(input: &mut Unstructured<'_>) -> Result<String> {
    match input.int_in_range(0_u8..=3)? {
        0 => input.arbitrary(),
        _ => Ok("x".repeat(*input.choose(&LENGTHS)?)),
    }
}

fn kind(input: &mut Unstructured<'_>) -> Result<Kind> {
    let kind = Kind::new(&text(input)?);
    Ok(kind.unwrap_or_else(|_| Kind::new("a").expect("valid")))
}

fn parent(input: &mut Unstructured<'_>) -> Result<Parent> {
    Ok(Parent {
        id: EventId::from_bytes(input.arbitrary()?),
        digest: digest(input)?,
    })
}

fn parent_name(input: &mut Unstructured<'_>) -> Result<ParentName> {
    Ok(match input.int_in_range(0_u8..=2)? {
        0 => ParentName::Id(EventId::from_bytes(input.arbitrary()?)),
        1 => ParentName::Digest(digest(input)?),
        _ => ParentName::Batch(input.arbitrary()?),
    })
}

fn embedding(input: &mut Unstructured<'_>) -> Result<Option<Embedding>> {
    let components: Vec<f32> = (0..input.int_in_range(0_u8..=100)?)
        .map(|_| input.arbitrary::<i8>().map(f32::from))
        .collect::<Result<_>>()?;
    Ok(Embedding::from_f32(&components).ok())
}

fn attributes(input: &mut Unstructured<'_>) -> Result<Attributes> {
    let mut named = [None, None];
    for one in &mut named {
        if input.arbitrary()? {
            *one = Some(text(input)?);
        }
    }
    let [source, content_type] = named;
    let mut pairs = BTreeMap::new();
    for _ in 0..input.int_in_range(0_u8..=3)? {
        pairs.insert(text(input)?, text(input)?);
    }
    Ok(Attributes {
        source,
        content_type,
        pairs,
    })
}

/// Noise: the bytes mean nothing but to this target.
#[must_use]
pub fn seeds() -> Vec<Seed> {
    let lengths = [40, 80, 160, 320];
    let both = lengths.into_iter().flat_map(|len| [(0, len), (1, len)]);
    let named = both.map(|(kind, len): (u8, usize)| {
        let name = ["stored", "new"][usize::from(kind)];
        let bytes = noise(u64::from(kind), len);
        (format!("{name}-{len}"), of_kind(kind, bytes))
    });
    named.collect()
}
