//! Requests of exporters of OpenTelemetry: each span is refused, or becomes events that a vault takes, the same ones
//! however often it comes, and within their bounds.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;
use toka_ledger::command::ParentName;
use toka_ledger::core::limits::PAYLOAD_BYTES_MAX;
use toka_ledger::{Digest, hash};

use crate::anchor::Identified;
use crate::content::Content;
use crate::span::{Mapped, Origin, map};
use crate::{Seed, of_kind};

/// A span's own reference, its parent's and those of 16 links, each with its trace.
const ANCHORS_MAX: usize = 2 * 18;

/// See above. The first byte says whether contents are stored.
pub fn run(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    let Ok(request) = ExportTraceServiceRequest::decode(bytes) else {
        return;
    };
    let content = match kind % 2 {
        0 => Content::Text,
        _ => Content::None,
    };
    for of_resource in request.resource_spans {
        for of_scope in of_resource.scope_spans {
            let origin = Origin {
                resource: of_resource.resource.clone().map(Arc::new),
                resource_schema: of_resource.schema_url.as_str().into(),
                scope: of_scope.scope,
                scope_schema: of_scope.schema_url,
            };
            for span in of_scope.spans {
                check(&origin, &span, content);
            }
        }
    }
}

fn check(origin: &Origin, span: &Span, content: Content) {
    let mapped = map(origin, span.clone(), content, true);
    match (mapped, map(origin, span.clone(), content, true)) {
        (Ok(mapped), Ok(again)) => {
            assert_eq!(identities(&mapped), identities(&again));
            assert_eq!(mapped.kind, again.kind);
            assert_eq!((mapped.ids, mapped.parent), (again.ids, again.parent));
            // By their texts: a number that is none is not equal to itself.
            let meanings = [&mapped, &again].map(|mapped| format!("{:?}", mapped.meaning));
            assert_eq!(meanings[0], meanings[1]);
            if content == Content::None {
                assert!(mapped.meaning.is_none(), "{:?}", mapped.meaning);
            }
            assert!(mapped.anchors.len() <= ANCHORS_MAX);
            mapped.anchors.iter().for_each(stored);
            stored(&mapped.event);
        }
        (Err(refused), Err(again)) => {
            assert!(!refused.to_string().is_empty());
            assert_eq!(refused, again);
        }
        (mapped, again) => panic!("{mapped:?}, and then {again:?}"),
    }
}

/// Of the span's event, and of all that it depends on.
fn identities(mapped: &Mapped) -> Vec<Digest> {
    let all = mapped.anchors.iter().chain([&mapped.event]);
    all.map(|event| event.digest).collect()
}

/// A vault takes the event, under the digest that others name it by.
fn stored(event: &Identified) {
    assert!(event.payload_bytes() <= PAYLOAD_BYTES_MAX);
    let prepared = event.draft().prepare().expect("a vault takes it");
    let parents = prepared.parents.iter().map(|name| match name {
        ParentName::Digest(digest) => *digest,
        other => panic!("{other:?} is not known to everybody"),
    });
    let mut parents: Vec<Digest> = parents.collect();
    parents.sort_unstable();
    let (kind, payload) = (&prepared.kind, &prepared.payload_digest);
    let digest = hash::event_digest(kind, payload, &prepared.salt, &parents);
    assert_eq!(digest, event.digest);
}

fn pair(key: &str, value: Any) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn text(key: &str, text: &str) -> KeyValue {
    pair(key, Any::StringValue(text.to_owned()))
}

fn request(spans: Vec<Span>) -> Vec<u8> {
    let scope = ScopeSpans {
        scope: Some(InstrumentationScope {
            name: "library".to_owned(),
            ..InstrumentationScope::default()
        }),
        spans,
        ..ScopeSpans::default()
    };
    let resource = ResourceSpans {
        resource: Some(Resource {
            attributes: vec![text("service.name", "assistant")],
            ..Resource::default()
        }),
        scope_spans: vec![scope],
        ..ResourceSpans::default()
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![resource],
    };
    request.encode_to_vec()
}

fn span(id: u8, parent: u8) -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![id; 8],
        parent_span_id: vec![parent; 8],
        name: format!("span {id}"),
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_000_000_000_009,
        ..Span::default()
    }
}

/// A span of a model's call with all that a span can have, one alone, and one that is its own parent.
#[must_use]
pub fn seeds() -> Vec<Seed> {
    let chat = Span {
        attributes: vec![
            text("gen_ai.operation.name", "chat"),
            text("gen_ai.input.messages", r#"[{"content":"wake me up"}]"#),
            text("gen_ai.prompt.0.content", "good night"),
            pair("gen_ai.usage.input_tokens", Any::IntValue(7)),
            pair("temperature", Any::DoubleValue(0.5)),
            pair("raw", Any::BytesValue(vec![0, 255])),
        ],
        events: vec![Event {
            name: "gen_ai.user.message".to_owned(),
            attributes: vec![text("content", "at seven")],
            ..Event::default()
        }],
        links: vec![Link {
            trace_id: vec![2; 16],
            span_id: vec![9; 8],
            ..Link::default()
        }],
        status: Some(Status {
            message: "overloaded".to_owned(),
            code: 2,
        }),
        trace_state: "a=b".to_owned(),
        flags: 0x300,
        kind: 3,
        ..span(2, 1)
    };
    let inputs = [
        ("chat", 0, request(vec![chat.clone()])),
        ("chat-without-contents", 1, request(vec![chat])),
        ("span", 0, request(vec![span(1, 0)])),
        ("own-parent", 0, request(vec![span(3, 3), span(4, 3)])),
    ];
    let seed = |(name, kind, bytes): (&str, u8, Vec<u8>)| (name.to_owned(), of_kind(kind, bytes));
    inputs.into_iter().map(seed).collect()
}
