//! What answers are made of, and how large they may become.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use toka_client::{Hit, StoredEvent, Summary};
use toka_ledger::{Embedding, EventHeader, Stored};

/// JSON of all items of one answer, bytes.
pub(crate) const ITEMS_BYTES_MAX: usize = 256 << 10;
/// Payload of an event that was asked for by itself, bytes.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 128 << 10;
/// Payload of one of several events, bytes.
pub(crate) const LISTED_PAYLOAD_BYTES_MAX: usize = 8 << 10;

/// Items of an answer, up to [`ITEMS_BYTES_MAX`].
#[derive(Default)]
pub(crate) struct Items {
    values: Vec<Value>,
    bytes: usize,
}

impl Items {
    /// Adds an item, if there is room; the first one is taken in any case, and has bounds of its own.
    pub(crate) fn push(&mut self, item: Value) -> bool {
        let bytes = item.to_string().len();
        if !self.values.is_empty() && self.bytes + bytes > ITEMS_BYTES_MAX {
            return false;
        }
        self.bytes += bytes;
        self.values.push(item);
        true
    }

    /// Adds as many as there is room for; whether these are all.
    pub(crate) fn extend(&mut self, items: impl IntoIterator<Item = Value>) -> bool {
        items.into_iter().all(|item| self.push(item))
    }

    pub(crate) fn into_value(self) -> Value {
        self.values.into()
    }
}

/// An event without its payload, with the names that `toka get -o json` has.
pub(crate) fn header(header: &EventHeader) -> Map<String, Value> {
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
    put("id", json!(header.id));
    put("sequence", json!(header.sequence));
    put("unix_ms", json!(header.unix_ms));
    put("kind", json!(header.kind));
    put("digest", json!(header.digest));
    put("payload_bytes", json!(header.payload_bytes));
    let parents = header.parents.iter().map(|parent| json!(parent.id));
    put("parents", parents.collect());
    let attributes = &header.attributes;
    if let Some(source) = &attributes.source {
        put("source", json!(source));
    }
    if let Some(content_type) = &attributes.content_type {
        put("content_type", json!(content_type));
    }
    if !attributes.pairs.is_empty() {
        put("attributes", json!(attributes.pairs));
    }
    if let Some(intent) = header.intent {
        put("intent", json!(intent));
    }
    object
}

/// An event with its payload, as far as that has no more than `bytes_max`.
pub(crate) fn event(event: &StoredEvent, bytes_max: usize) -> Value {
    let mut object = header(&event.header);
    match &event.payload {
        Some(Stored::Present(bytes)) => put_payload(&mut object, bytes, bytes_max),
        Some(Stored::Erased) => put_erased(&mut object),
        None => {}
    }
    object.into()
}

/// The same, of an event as agents see it.
pub(crate) fn agents_event(event: &toka_agents::Event, bytes_max: usize) -> Value {
    let mut object = header(&event.header);
    match &event.payload {
        Some(bytes) => put_payload(&mut object, bytes, bytes_max),
        None => put_erased(&mut object),
    }
    object.into()
}

/// An event that was found.
pub(crate) fn hit(hit: &Hit) -> Value {
    let mut value = event(&hit.event, LISTED_PAYLOAD_BYTES_MAX);
    value["similarity"] = json!(hit.similarity);
    value
}

/// A unit vector. Five decimals tell its components apart, of which there are 16,384 between 0 and 1.
pub(crate) fn vector(vector: &Embedding) -> Value {
    let components = vector.to_f32().into_iter();
    let rounded = components.map(|component| (f64::from(component) * 1e5).round() / 1e5);
    rounded.collect()
}

/// What is known of an intent.
pub(crate) fn intent(summary: &Summary) -> Value {
    json!({
        "intent": summary.intent,
        "label": summary.label,
        "events": summary.events,
        "coherence": summary.coherence,
        "first_sequence": summary.first,
        "last_sequence": summary.last,
        "tentative": summary.is_tentative,
    })
}

fn put_erased(object: &mut Map<String, Value>) {
    object.insert("payload_erased".to_owned(), true.into());
}

/// MessagePack as JSON, other text as it is, all else in base64; what is too large is left out, and that is said.
fn put_payload(object: &mut Map<String, Value>, payload: &Bytes, bytes_max: usize) {
    let (name, value): (&str, Value) = if payload.len() > bytes_max {
        ("payload_omitted", true.into())
    } else if let Some(value) = json_of(payload) {
        ("payload", value)
    } else if let Ok(text) = str::from_utf8(payload) {
        ("payload_text", text.into())
    } else {
        ("payload_base64", BASE64.encode(payload).into())
    };
    object.insert(name.to_owned(), value);
}

fn json_of(payload: &[u8]) -> Option<Value> {
    let value = smart_embedder::event::from_payload(payload).ok()?;
    serde_json::to_value(value).ok()
}

#[cfg(test)]
mod tests {
    use toka_ledger::EventPayload as _;

    use super::*;

    fn shown(payload: &[u8], bytes_max: usize) -> Value {
        let mut object = Map::new();
        put_payload(&mut object, &Bytes::copy_from_slice(payload), bytes_max);
        object.into()
    }

    #[test]
    fn payloads_are_shown_as_what_they_are() {
        let value = json!({ "text": "good morning", "n": [1, -2, null] });
        let bytes = value.to_bytes().expect("encodes");
        assert_eq!(shown(&bytes, 1_000), json!({ "payload": value }));
        let text = shown(b"plain text", 1_000);
        assert_eq!(text, json!({ "payload_text": "plain text" }));
        let bytes = shown(b"\xc1hello", 1_000);
        assert_eq!(bytes, json!({ "payload_base64": "wWhlbGxv" }));
    }

    #[test]
    fn vector_is_shown_in_five_decimals() {
        let embedding = Embedding::from_f32(&[0.6, -0.8, 0.0]).expect("a vector");
        let text = vector(&embedding).to_string();
        assert_eq!(text, "[0.59998,-0.79999,0.0]");
    }

    #[test]
    fn payload_that_is_too_large_is_left_out_and_that_is_said() {
        assert_eq!(shown(b"plain text", 9), json!({ "payload_omitted": true }));
    }

    #[test]
    fn answer_ends_where_it_would_become_too_large() {
        let mut items = Items::default();
        let item = || Value::from("x".repeat(ITEMS_BYTES_MAX / 2 - 2));
        assert!(items.push(item()));
        assert!(items.push(item()));
        assert!(!items.push(Value::from(1)));
        let Value::Array(values) = items.into_value() else {
            panic!("no array")
        };
        assert_eq!(values.len(), 2);
    }

    #[test]
    fn first_item_is_always_there() {
        let mut items = Items::default();
        assert!(items.push(Value::from("x".repeat(ITEMS_BYTES_MAX))));
    }
}
