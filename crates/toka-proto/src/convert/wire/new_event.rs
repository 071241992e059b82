//! Events to commit, as a client sends them.

use toka_ledger::command::{ParentName, PreparedEvent};

use super::{
    attributes_len, bytes_len, key_len, put_attributes, put_bytes, put_head, put_optional,
    put_text, text_len, varint_len,
};

/// Bytes of the event as a [`v1::NewEvent`](crate::v1::NewEvent).
#[must_use]
pub fn new_event_len(event: &PreparedEvent) -> usize {
    let parents = event.parents.iter();
    let parents: usize = parents.map(|name| bytes_len(4, parent_len(name))).sum();
    let mut len = text_len(1, event.kind.as_str().len())
        + text_len(2, event.payload.len())
        + text_len(3, event.salt.as_bytes().len())
        + parents;
    if let Some(embedding) = &event.embedding {
        len += bytes_len(6, embedding.as_bytes().len());
    }
    if !event.attributes.is_empty() {
        len += bytes_len(7, attributes_len(&event.attributes));
    }
    if let Some(model) = &event.model {
        len += text_len(8, model.as_str().len());
    }
    len
}

/// Writes the event as a [`v1::NewEvent`](crate::v1::NewEvent).
pub fn put_new_event(out: &mut Vec<u8>, event: &PreparedEvent) {
    put_text(out, 1, event.kind.as_str().as_bytes());
    put_text(out, 2, &event.payload);
    put_text(out, 3, event.salt.as_bytes());
    for name in &event.parents {
        put_head(out, 4, parent_len(name));
        match name {
            ParentName::Id(id) => put_bytes(out, 1, id.as_bytes()),
            ParentName::Digest(digest) => put_bytes(out, 2, digest.as_bytes()),
            ParentName::Batch(index) => put_optional(out, 3, (*index).into()),
        }
    }
    if let Some(embedding) = &event.embedding {
        put_bytes(out, 6, embedding.as_bytes());
    }
    if !event.attributes.is_empty() {
        put_attributes(out, 7, &event.attributes);
    }
    if let Some(model) = &event.model {
        put_text(out, 8, model.as_str().as_bytes());
    }
}

fn parent_len(name: &ParentName) -> usize {
    match name {
        ParentName::Id(id) => bytes_len(1, id.as_bytes().len()),
        ParentName::Digest(digest) => bytes_len(2, digest.as_bytes().len()),
        ParentName::Batch(index) => key_len(3) + varint_len((*index).into()),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use toka_ledger::{Digest, EventDraft, EventId};

    use super::*;
    use crate::v1;

    #[test]
    fn bytes_are_those_of_the_generated_message() {
        let full = EventDraft::new("a.b")
            .payload_bytes(vec![7; 300])
            .salt(&[1; 16])
            .parents_by_id([EventId::from_bytes([2; 16])])
            .parents_by_digest([Digest([3; 32])])
            .parent_in_batch(0)
            .parent_in_batch(300)
            .embedding(&[1.0, -2.0, 0.5])
            .model("a-model")
            .source("here")
            .content_type("")
            .attribute("name", "")
            .attribute("other", "x");
        let drafts = [
            EventDraft::new("k"),
            EventDraft::new("k").payload_bytes(vec![0]),
            EventDraft::new("k").attribute("only", "one"),
            EventDraft::new("k").embedding(&[1.0; 768]),
            full,
        ];
        for draft in drafts {
            let event = draft.prepare().expect("valid");
            let mut written = Vec::new();
            put_new_event(&mut written, &event);
            assert_eq!(written.len(), new_event_len(&event));
            assert_eq!(written, v1::NewEvent::from(event).encode_to_vec());
        }
    }
}
