//! What a request will need in memory once it is decoded, found out before it is.
//!
//! A message of two bytes becomes a structure of some hundred: 16 MiB of empty spans, which compress to nothing, would be
//! gigabytes. So messages and texts in lists are counted first, in one pass that keeps nothing.

use opentelemetry_proto::tonic::common::v1::{AnyValue, EntityRef, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

/// Structures of one request, bytes: more than 16 MiB of ordinary spans need.
pub(super) const DECODED_BYTES_MAX: usize = 128 << 20;
/// What is kept of an item of JSON while its object is read, bytes.
const JSON_ITEM_BYTES: usize = 32;
/// Messages within messages; of more, decoding fails.
const DEPTH_MAX: usize = 100;

/// Messages of a request that have lists, or are in some.
#[derive(Clone, Copy)]
enum Part {
    Request,
    ResourceSpans,
    Resource,
    Entity,
    ScopeSpans,
    Scope,
    Span,
    Event,
    Link,
    Pair,
    Value,
    Array,
    Map,
    Text,
}

impl Part {
    /// What a field holds, and what one more of it takes, bytes: nothing, if it is within the structure.
    fn field(self, number: u64) -> Option<(Self, usize)> {
        let pair = (Self::Pair, size_of::<KeyValue>());
        Some(match (self, number) {
            (Self::Request, 1) => (Self::ResourceSpans, size_of::<ResourceSpans>()),
            (Self::ResourceSpans, 1) => (Self::Resource, 0),
            (Self::ResourceSpans, 2) => (Self::ScopeSpans, size_of::<ScopeSpans>()),
            (Self::Resource, 3) => (Self::Entity, size_of::<EntityRef>()),
            (Self::Entity, 3 | 4) => (Self::Text, size_of::<String>()),
            (Self::ScopeSpans, 1) => (Self::Scope, 0),
            (Self::ScopeSpans, 2) => (Self::Span, size_of::<Span>()),
            (Self::Span, 11) => (Self::Event, size_of::<Event>()),
            (Self::Span, 13) => (Self::Link, size_of::<Link>()),
            (Self::Pair, 2) => (Self::Value, 0),
            (Self::Value, 5) => (Self::Array, 0),
            (Self::Value, 6) => (Self::Map, 0),
            (Self::Array, 1) => (Self::Value, size_of::<AnyValue>()),
            (Self::Resource | Self::Map, 1)
            | (Self::Scope | Self::Event, 3)
            | (Self::Link, 4)
            | (Self::Span, 9) => pair,
            _ => return None,
        })
    }
}

/// Whether the structures of an `ExportTraceServiceRequest` fit. What is malformed is left to be found by decoding it,
/// which comes no further than this.
pub(super) fn fits(request: &[u8]) -> bool {
    let mut left = DECODED_BYTES_MAX;
    count(Part::Request, request, 0, &mut left).is_some()
}

/// The same of a request in JSON: each object may be as large as a span, and each item may be kept until it is known what it
/// is an item of.
pub(super) fn json_fits(request: &[u8]) -> bool {
    let mut bytes = 0_usize;
    let (mut in_text, mut is_escaped) = (false, false);
    for byte in request {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' => bytes += size_of::<Span>(),
            b'[' | b',' => bytes += JSON_ITEM_BYTES,
            _ => {}
        }
    }
    bytes <= DECODED_BYTES_MAX
}

/// `None`: there is no room left.
fn count(part: Part, mut message: &[u8], depth: usize, left: &mut usize) -> Option<()> {
    while let Some((number, value)) = next_field(&mut message) {
        let Some((value, (inner, bytes))) = value.zip(part.field(number)) else {
            continue;
        };
        *left = left.checked_sub(bytes)?;
        if depth < DEPTH_MAX {
            count(inner, value, depth + 1, left)?;
        }
    }
    Some(())
}

/// The next field's number, and its value if that has a length; `None` at the end, and at what is malformed.
fn next_field<'m>(message: &mut &'m [u8]) -> Option<(u64, Option<&'m [u8]>)> {
    let key = varint(message)?;
    let mut value = None;
    match key & 7 {
        0 => {
            varint(message)?;
        }
        1 => {
            message.split_off(..8)?;
        }
        2 => {
            let length = usize::try_from(varint(message)?).ok()?;
            value = Some(message.split_off(..length)?);
        }
        5 => {
            message.split_off(..4)?;
        }
        // The beginning or the end of a group: no message has any, and what is in one is looked at as if it was not.
        _ => {}
    }
    Some((key >> 3, value))
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for place in 0..10 {
        let byte = *message.split_off_first()?;
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};
    use prost::Message as _;

    use super::*;

    fn request(spans: Vec<Span>) -> Vec<u8> {
        let scope = ScopeSpans {
            spans,
            ..ScopeSpans::default()
        };
        let resource = ResourceSpans {
            scope_spans: vec![scope],
            ..ResourceSpans::default()
        };
        let request = ExportTraceServiceRequest {
            resource_spans: vec![resource],
        };
        request.encode_to_vec()
    }

    fn pair(value: Value) -> KeyValue {
        KeyValue {
            key: "k".to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        }
    }

    /// What is counted of a request.
    fn counted(request: &[u8]) -> usize {
        let mut left = DECODED_BYTES_MAX;
        count(Part::Request, request, 0, &mut left).expect("it fits");
        DECODED_BYTES_MAX - left
    }

    #[test]
    fn everything_in_lists_is_counted() {
        let within = size_of::<ResourceSpans>() + size_of::<ScopeSpans>();
        assert_eq!(counted(&request(Vec::new())), within);
        let list = Value::ArrayValue(ArrayValue {
            values: vec![AnyValue::default(); 3],
        });
        let map = Value::KvlistValue(KeyValueList {
            values: vec![pair(Value::IntValue(1)), pair(list)],
        });
        let span = Span {
            trace_id: vec![1; 16],
            start_time_unix_nano: 7,
            attributes: vec![pair(map)],
            events: vec![Event {
                attributes: vec![pair(Value::BoolValue(true))],
                ..Event::default()
            }],
            links: vec![Link {
                attributes: vec![pair(Value::BoolValue(true))],
                ..Link::default()
            }],
            ..Span::default()
        };
        let of_span = size_of::<Span>() + size_of::<Event>() + size_of::<Link>();
        let of_values = 5 * size_of::<KeyValue>() + 3 * size_of::<AnyValue>();
        assert_eq!(counted(&request(vec![span])), within + of_span + of_values);
    }

    /// A message as the field of another one, by the field's key.
    fn within(key: u8, message: &[u8]) -> Vec<u8> {
        let mut field = vec![key];
        prost::encode_length_delimiter(message.len(), &mut field).expect("room");
        field.extend_from_slice(message);
        field
    }

    #[test]
    fn small_request_that_would_become_large_does_not_fit() {
        let spans = [0x12, 0].repeat(DECODED_BYTES_MAX / size_of::<Span>() + 1);
        let bomb = within(0x0a, &within(0x12, &spans));
        assert!(bomb.len() < 2 << 20);
        assert!(!fits(&bomb));
        assert!(fits(&request(vec![Span::default(); 1_000])));
    }

    #[test]
    fn json_is_counted_without_what_texts_say() {
        let objects = DECODED_BYTES_MAX / size_of::<Span>();
        assert!(json_fits("{".repeat(objects).as_bytes()));
        assert!(!json_fits("{".repeat(objects + 1).as_bytes()));
        let items = DECODED_BYTES_MAX / JSON_ITEM_BYTES;
        assert!(!json_fits(",".repeat(items + 1).as_bytes()));
        let text = format!(r#""\"{}""#, "{".repeat(objects + 1));
        assert!(json_fits(text.as_bytes()));
    }

    #[test]
    fn what_is_malformed_is_left_to_the_decoder() {
        for malformed in [&b"\xff"[..], b"\x0a\x05\x00", b"\x0f", &[0xff; 20]] {
            assert!(fits(malformed), "{malformed:?}");
        }
        // Lists in lists, as the value of an attribute.
        let deep = (0..2_000).fold(Vec::new(), |inner, level| match level % 2 {
            0 => within(0x0a, &inner),
            _ => within(0x2a, &inner),
        });
        let span = within(0x4a, &within(0x12, &deep));
        let request = within(0x0a, &within(0x12, &within(0x12, &span)));
        assert!(fits(&request));
        assert!(ExportTraceServiceRequest::decode(&request[..]).is_err());
    }
}
