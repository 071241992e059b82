use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;

use super::*;

fn pair(key: &str, value: &str) -> KeyValue {
    let value = Some(Any::StringValue(value.to_owned()));
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value }),
        ..KeyValue::default()
    }
}

fn origin() -> Origin {
    Origin {
        resource: Some(Arc::new(Resource {
            attributes: vec![pair("service.name", "assistant")],
            ..Resource::default()
        })),
        ..Origin::default()
    }
}

fn chat() -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        parent_span_id: vec![3; 8],
        name: "chat m\n".to_owned(),
        kind: SpanKind::Client as i32,
        start_time_unix_nano: 10,
        end_time_unix_nano: 20,
        attributes: vec![
            pair(OPERATION, "chat"),
            pair("gen_ai.request.model", "m"),
            pair("gen_ai.input.messages", "wake me up"),
        ],
        ..Span::default()
    }
}

fn mapped(span: Span) -> Mapped {
    map(&origin(), span, Content::Text, true).expect("a span")
}

fn payload_of(mapped: &Mapped) -> Value {
    let prepared = mapped.event.draft().prepare().expect("valid");
    rmpv::decode::read_value(&mut &prepared.payload[..]).expect("MessagePack")
}

#[test]
fn a_model_call_is_an_event_that_is_found_by_what_it_says() {
    let chat = mapped(chat());
    let prepared = chat.event.draft().prepare().expect("valid");
    assert_eq!(prepared.kind, "otel.chat");
    let attributes = &prepared.attributes;
    assert_eq!(attributes.source.as_deref(), Some("assistant"));
    for (name, value) in [
        (TRACE_ID, "01010101010101010101010101010101"),
        (SPAN_ID, "0202020202020202"),
        (PARENT_SPAN_ID, "0303030303030303"),
        ("otel.name", "chat m "),
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.request.model", "m"),
    ] {
        assert_eq!(attributes.get(name), Some(value), "{name}");
    }
    let payload = payload_of(&chat);
    assert_eq!(payload["kind"].as_str(), Some("client"));
    assert_eq!(payload["end_unix_ns"].as_u64(), Some(20));
    let said = &payload["attributes"]["gen_ai.input.messages"];
    assert_eq!(said.as_str(), Some("wake me up"));
    let service = &payload["resource"]["attributes"]["service.name"];
    assert_eq!(service.as_str(), Some("assistant"));
    assert!(chat.meaning.is_some());
}

#[test]
fn its_digest_is_the_one_that_a_vault_will_give_it() {
    let chat = mapped(chat());
    let prepared = chat.event.draft().prepare().expect("valid");
    let mut parents: Vec<Digest> = [chat.ids, chat.parent.expect("it has one")]
        .map(|span| anchor::span_ref(span).digest)
        .into();
    parents.sort_unstable();
    let digest = toka_ledger::hash::event_digest(
        &prepared.kind,
        &prepared.payload_digest,
        &prepared.salt,
        &parents,
    );
    assert_eq!(chat.event.digest, digest);
    assert_eq!(chat.anchors.len(), 3, "the trace and two spans");
}

#[test]
fn the_order_of_attributes_does_not_matter() {
    let mut turned = chat();
    turned.attributes.reverse();
    assert_eq!(mapped(turned).event.digest, mapped(chat()).event.digest);
    let mut other = chat();
    other.end_time_unix_nano = 21;
    assert_ne!(mapped(other).event.digest, mapped(chat()).event.digest);
}

#[test]
fn every_operation_of_the_conventions_has_its_kind_and_others_are_spans() {
    for (operation, kind) in [
        ("execute_tool", "otel.execute_tool"),
        ("invoke_agent", "otel.invoke_agent"),
        ("step", "otel.span"),
        ("trace", "otel.span"),
    ] {
        let mut span = chat();
        span.attributes[0] = pair(OPERATION, operation);
        assert_eq!(mapped(span).kind, kind, "{operation}");
    }
}

#[test]
fn a_remote_parent_is_told_from_one_of_the_same_process() {
    let mut remote = chat();
    remote.flags = 0x301;
    let remote = mapped(remote);
    assert_eq!(remote.parent, None);
    let prepared = remote.event.draft().prepare().expect("valid");
    let attributes = &prepared.attributes;
    assert_eq!(attributes.get(PARENT_SPAN_ID), None);
    let parent = attributes.get(REMOTE_PARENT_SPAN_ID);
    assert_eq!(parent, Some("0303030303030303"));
    let mut local = chat();
    local.flags = 0x101;
    assert!(mapped(local).parent.is_some());
}

#[test]
fn links_are_parents_as_far_as_they_name_spans() {
    let mut span = chat();
    let link = |trace: u8, span: u8| Link {
        trace_id: vec![trace; 16],
        span_id: vec![span; 8],
        ..Link::default()
    };
    span.links = vec![link(7, 7), link(0, 0), link(7, 8)];
    let linked = mapped(span);
    assert_eq!(linked.anchors.len(), 2 + 4, "two traces and four spans");
    let links = payload_of(&linked)["links"].as_array().map(Vec::len);
    assert_eq!(links, Some(3));
}

#[test]
fn contents_that_are_not_wanted_are_named_and_not_stored() {
    let bare = map(&origin(), chat(), Content::None, true).expect("a span");
    let payload = payload_of(&bare);
    let removed = payload["content_removed"][0].as_str();
    assert_eq!(removed, Some("gen_ai.input.messages"));
    assert!(payload["attributes"]["gen_ai.input.messages"].is_nil());
    assert_eq!(bare.meaning, None);
}

#[test]
fn what_is_no_span_is_refused_with_the_reason() {
    let refused = |span: Span| {
        let refused = map(&origin(), span, Content::Text, false);
        refused.expect_err("no span").to_string()
    };
    let mut without_id = chat();
    without_id.span_id.clear();
    assert_eq!(refused(without_id), "span_id has 0 bytes; it must have 8");
    let mut own_parent = chat();
    own_parent.parent_span_id = own_parent.span_id.clone();
    assert!(refused(own_parent).contains("names itself"));
    let mut none = chat();
    none.parent_span_id = vec![0; 8];
    assert_eq!(mapped(none).parent, None);
}

#[test]
fn a_large_span_is_cut_short_and_says_where() {
    let large = "x".repeat(60 << 10);
    let mut span = chat();
    // Together more than an event may have, each less than a text may.
    span.attributes = (0..20)
        .map(|place| pair(&format!("large.{place:02}"), &large))
        .collect();
    let payload = payload_of(&mapped(span.clone()));
    assert_eq!(
        payload["cut"]["attributes.large.07"].as_u64(),
        Some(60 << 10)
    );
    span.attributes.truncate(2);
    assert!(payload_of(&mapped(span.clone()))["cut"].is_nil());
    let events = |_| Event {
        attributes: (0..256)
            .map(|place| pair(&format!("{place:03}"), &"y".repeat(100)))
            .collect(),
        ..Event::default()
    };
    span.events = (0..EVENTS_MAX).map(events).collect();
    let refused = map(&origin(), span, Content::Text, false);
    let error = refused.expect_err("too large").to_string();
    assert!(error.contains("at most 1048576"), "{error}");
}

#[test]
fn attributes_fit_whatever_a_span_says() {
    let mut span = chat();
    span.name = "ü\u{0}".repeat(1_000);
    let mut all: Vec<_> = FOUND_BY
        .iter()
        .map(|name| pair(name, &"ä\t".repeat(500)))
        .collect();
    span.attributes.append(&mut all);
    span.status = Some(opentelemetry_proto::tonic::trace::v1::Status {
        code: StatusCode::Error as i32,
        message: String::new(),
    });
    let prepared = mapped(span).event.draft().prepare().expect("valid");
    assert_eq!(prepared.attributes.get("otel.status"), Some("error"));
}
