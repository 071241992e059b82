//! A span as an event.

use std::sync::Arc;

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, SpanFlags};
use prost::Message as _;
use rmpv::Value;
use toka_ledger::core::limits::{ATTRIBUTE_VALUE_BYTES_MAX, PAYLOAD_BYTES_MAX};
use toka_ledger::{Attributes, Digest, EventPayload as _};

use crate::anchor::{self, Identified, PARENT_SPAN_ID, REMOTE_PARENT_SPAN_ID, SPAN_ID, TRACE_ID};
use crate::content::{self, Content};
use crate::ids::{IdError, SpanId, SpanRef, TraceId};
use crate::value::{Cutter, prefix, text_of};

/// Events in a span that are kept, the first ones; how many there were is said.
const EVENTS_MAX: usize = 128;
/// Links of a span that are kept, the first ones; how many there were is said.
const LINKS_MAX: usize = 128;
/// Links by which a span's event depends on other spans; further ones are in its payload alone.
const LINK_PARENTS_MAX: usize = 16;
/// What is kept of one text, bytes: as much as fits as a rule, and little where a span is too large with that.
const TEXT_BYTES: [usize; 2] = [64 << 10, 2 << 10];

/// Says what a model's call, a tool's call or an agent's step is.
const OPERATION: &str = "gen_ai.operation.name";
/// The kind of each operation of the conventions.
const KINDS: &[(&str, &str)] = &[
    ("chat", "otel.chat"),
    ("create_agent", "otel.create_agent"),
    ("embeddings", "otel.embeddings"),
    ("execute_tool", "otel.execute_tool"),
    ("generate_content", "otel.generate_content"),
    ("invoke_agent", "otel.invoke_agent"),
    ("invoke_workflow", "otel.invoke_workflow"),
    ("retrieval", "otel.retrieval"),
    ("text_completion", "otel.text_completion"),
];
/// The kind of every other span.
const SPAN: &str = "otel.span";
/// Attributes of a span by which its event is found.
const FOUND_BY: &[&str] = &[
    OPERATION,
    "error.type",
    "gen_ai.agent.id",
    "gen_ai.agent.name",
    "gen_ai.conversation.id",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.tool.call.id",
    "gen_ai.tool.name",
];

/// Why a span is not stored. The others of its request are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpanError {
    /// An id is none.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A span that is its own parent.
    #[error("span {span} names itself as its parent")]
    OwnParent {
        /// The span.
        span: SpanRef,
    },
    /// With all texts cut short it is still larger than an event may be.
    #[error("span {span} has {actual} bytes with all texts cut short; at most {max} are stored")]
    TooLarge {
        /// The span.
        span: SpanRef,
        /// The limit, bytes.
        max: usize,
        /// The size, bytes.
        actual: usize,
    },
    /// It could not be encoded.
    #[error("span {span}: {reason}")]
    Encoding {
        /// The span.
        span: SpanRef,
        /// Why.
        reason: toka_ledger::Invalid,
    },
    /// With those before it, and with what all of them say of where they come from, the events would be too large.
    #[error("the events of a request may have {max} bytes together, and these would have more")]
    TooMuch {
        /// The limit, bytes.
        max: usize,
    },
    /// Its request has more spans than are looked at.
    #[error("a request may have {max} spans, and this one has more")]
    TooMany {
        /// The limit.
        max: usize,
    },
}

/// Where spans come from: what they have in common.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    /// Of the spans of several scopes.
    pub(crate) resource: Option<Arc<Resource>>,
    pub(crate) resource_schema: Arc<str>,
    pub(crate) scope: Option<InstrumentationScope>,
    pub(crate) scope_schema: String,
}

impl Origin {
    /// What every span's event repeats of it, and what has to be gone through for it, bytes.
    pub(crate) fn bytes(&self) -> usize {
        let resource = self
            .resource
            .as_ref()
            .map_or(0, |resource| resource.encoded_len());
        let scope = self.scope.as_ref().map_or(0, |scope| scope.encoded_len());
        resource + self.resource_schema.len() + scope + self.scope_schema.len()
    }
}

/// A span that can be stored.
#[derive(Clone, Debug)]
pub(crate) struct Mapped {
    pub(crate) ids: SpanRef,
    /// The span above it in the same process; `None`: it is the first one there.
    pub(crate) parent: Option<SpanRef>,
    /// What its event depends on, in the order in which it is to be stored.
    pub(crate) anchors: Vec<Identified>,
    pub(crate) event: Identified,
    pub(crate) kind: &'static str,
    /// What is embedded.
    pub(crate) meaning: Option<Value>,
}

/// What a span names.
struct Named {
    ids: SpanRef,
    parent: Option<SpanRef>,
    is_parent_remote: bool,
    linked: Vec<SpanRef>,
}

/// The event of a span. `embeds`: say what is to be embedded.
pub(crate) fn map(
    origin: &Origin,
    mut span: Span,
    content: Content,
    embeds: bool,
) -> Result<Mapped, SpanError> {
    let named = named(&span)?;
    let removed = match content {
        Content::Text => Vec::new(),
        Content::None => content::remove(&mut span),
    };
    let kind = kind_of(&span);
    let anchors = anchors(&named);
    let parents: Vec<Digest> = anchors
        .iter()
        // That of the trace is the parent of the others.
        .filter(|(_, is_parent)| *is_parent)
        .map(|(anchor, _)| anchor.digest)
        .collect();
    let payload = payload(origin, &span, &named, &removed)?;
    let mut event = anchor::identified(kind, payload, &parents);
    event.attributes = attributes(origin, &span, &named);
    Ok(Mapped {
        ids: named.ids,
        parent: named.parent.filter(|_| !named.is_parent_remote),
        anchors: anchors.into_iter().map(|(anchor, _)| anchor).collect(),
        event,
        kind,
        meaning: embeds.then(|| content::meaning(&span)).flatten(),
    })
}

fn named(span: &Span) -> Result<Named, SpanError> {
    let trace = TraceId::try_from(&span.trace_id[..])?;
    let of = |span| SpanRef { trace, span };
    let ids = of(SpanId::try_from(&span.span_id[..])?);
    // Some exporters write eight zeros for none.
    let has_parent = span.parent_span_id.iter().any(|byte| *byte != 0);
    let parent = match has_parent {
        true => Some(of(SpanId::try_from(&span.parent_span_id[..])?)),
        false => None,
    };
    if parent == Some(ids) {
        return Err(SpanError::OwnParent { span: ids });
    }
    let remote = SpanFlags::ContextHasIsRemoteMask as u32 | SpanFlags::ContextIsRemoteMask as u32;
    let linked = span.links.iter().filter_map(|link| {
        Some(SpanRef {
            trace: TraceId::try_from(&link.trace_id[..]).ok()?,
            span: SpanId::try_from(&link.span_id[..]).ok()?,
        })
    });
    Ok(Named {
        ids,
        parent,
        is_parent_remote: span.flags & remote == remote,
        linked: linked.take(LINK_PARENTS_MAX).collect(),
    })
}

/// The events that a span's event depends on, those of traces before those of spans, and whether they are its parents.
fn anchors(named: &Named) -> Vec<(Identified, bool)> {
    let spans = [named.ids].into_iter().chain(named.parent);
    let mut spans: Vec<SpanRef> = spans.chain(named.linked.iter().copied()).collect();
    spans.sort_unstable();
    spans.dedup();
    let mut traces: Vec<TraceId> = spans.iter().map(|span| span.trace).collect();
    traces.dedup();
    let traces = traces
        .into_iter()
        .map(|trace| (anchor::trace(trace), false));
    let spans = spans.into_iter().map(|span| (anchor::span_ref(span), true));
    traces.chain(spans).collect()
}

fn kind_of(span: &Span) -> &'static str {
    let operation = text_of(&span.attributes, OPERATION);
    let known = KINDS.iter().find(|(name, _)| Some(*name) == operation);
    known.map_or(SPAN, |known| known.1)
}

fn attributes(origin: &Origin, span: &Span, named: &Named) -> Attributes {
    let mut attributes = Attributes::default();
    let resource = origin.resource.as_ref();
    let service = resource.and_then(|resource| text_of(&resource.attributes, "service.name"));
    attributes.source = service.map(short).filter(|text| !text.is_empty());
    let mut add = |name: &str, value: String| {
        if !value.is_empty() {
            attributes.pairs.insert(name.to_owned(), value);
        }
    };
    add(TRACE_ID, named.ids.trace.to_string());
    add(SPAN_ID, named.ids.span.to_string());
    if let Some(parent) = named.parent {
        let name = match named.is_parent_remote {
            true => REMOTE_PARENT_SPAN_ID,
            false => PARENT_SPAN_ID,
        };
        add(name, parent.span.to_string());
    }
    add("otel.name", short(&span.name));
    if status_of(span) != "unset" {
        add("otel.status", status_of(span).to_owned());
    }
    for &name in FOUND_BY {
        if let Some(text) = text_of(&span.attributes, name) {
            add(name, short(text));
        }
    }
    attributes
}

/// A text as an attribute of an event can have it.
fn short(text: &str) -> String {
    let printable: String = text
        .chars()
        .take(ATTRIBUTE_VALUE_BYTES_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    prefix(&printable, ATTRIBUTE_VALUE_BYTES_MAX).to_owned()
}

/// Cut short only as far as it has to be.
fn payload(
    origin: &Origin,
    span: &Span,
    named: &Named,
    removed: &[String],
) -> Result<Bytes, SpanError> {
    let of = named.ids;
    let mut actual = 0;
    for bytes_max in TEXT_BYTES {
        let value = value(origin, span, named, removed, bytes_max);
        let encoded = value.to_bytes();
        let encoded = encoded.map_err(|reason| SpanError::Encoding { span: of, reason })?;
        if encoded.len() <= PAYLOAD_BYTES_MAX {
            return Ok(encoded);
        }
        actual = encoded.len();
    }
    Err(SpanError::TooLarge {
        span: of,
        max: PAYLOAD_BYTES_MAX,
        actual,
    })
}

/// A map of what there is: what is empty or zero is left out.
struct Fields(Vec<(Value, Value)>);

impl Fields {
    fn add(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        let is_nothing = match &value {
            Value::Nil => true,
            Value::Integer(number) => number.as_u64() == Some(0),
            Value::String(text) => text.as_bytes().is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Map(pairs) => pairs.is_empty(),
            _ => false,
        };
        if !is_nothing {
            self.0.push((Value::from(name), value));
        }
    }
}

fn value(
    origin: &Origin,
    span: &Span,
    named: &Named,
    removed: &[String],
    bytes_max: usize,
) -> Value {
    let mut cutter = Cutter::new(bytes_max);
    let mut fields = Fields(Vec::new());
    fields.add("trace_id", named.ids.trace.to_string());
    fields.add("span_id", named.ids.span.to_string());
    if let Some(parent) = named.parent {
        fields.add("parent_span_id", parent.span.to_string());
    }
    fields.add("name", cutter.text("name", &span.name));
    fields.add("kind", kind_name(span));
    fields.add("start_unix_ns", span.start_time_unix_nano);
    fields.add("end_unix_ns", span.end_time_unix_nano);
    fields.add("status", status_of(span));
    let message = span
        .status
        .as_ref()
        .map_or("", |status| status.message.as_str());
    fields.add("status_message", cutter.text("status_message", message));
    fields.add("attributes", cutter.pairs("attributes", &span.attributes));
    let events = span.events.iter().take(EVENTS_MAX);
    let events: Vec<Value> = events
        .map(|event| event_value(&mut cutter, event))
        .collect();
    fields.add("events", events);
    let links = span.links.iter().take(LINKS_MAX);
    let links: Vec<Value> = links.map(|link| link_value(&mut cutter, link)).collect();
    fields.add("links", links);
    fields.add("trace_state", cutter.text("trace_state", &span.trace_state));
    fields.add("flags", span.flags);
    fields.add("resource", resource_value(&mut cutter, origin));
    fields.add("scope", scope_value(&mut cutter, origin));
    fields.add("dropped_attributes", span.dropped_attributes_count);
    // Those that the exporter has dropped, and those that are left out here.
    let left_out = span.events.len().saturating_sub(EVENTS_MAX) as u64;
    let dropped = u64::from(span.dropped_events_count) + left_out;
    fields.add("dropped_events", dropped);
    let left_out = span.links.len().saturating_sub(LINKS_MAX) as u64;
    fields.add(
        "dropped_links",
        u64::from(span.dropped_links_count) + left_out,
    );
    let removed = removed.iter().map(|name| cutter.text("removed", name));
    let removed: Vec<Value> = removed.collect();
    fields.add("content_removed", removed);
    fields.add("cut", cutter.into_cuts().unwrap_or(Value::Nil));
    Value::Map(fields.0)
}

fn event_value(cutter: &mut Cutter, event: &Event) -> Value {
    let mut fields = Fields(Vec::new());
    fields.add("name", cutter.text("events.name", &event.name));
    fields.add("unix_ns", event.time_unix_nano);
    let attributes = attributes_value(cutter, "events", &event.attributes);
    fields.add("attributes", attributes);
    fields.add("dropped_attributes", event.dropped_attributes_count);
    Value::Map(fields.0)
}

fn link_value(cutter: &mut Cutter, link: &Link) -> Value {
    let mut fields = Fields(Vec::new());
    // As they are: a link may name what is no span.
    fields.add("trace_id", hex(&link.trace_id));
    fields.add("span_id", hex(&link.span_id));
    fields.add(
        "trace_state",
        cutter.text("links.trace_state", &link.trace_state),
    );
    let attributes = attributes_value(cutter, "links", &link.attributes);
    fields.add("attributes", attributes);
    fields.add("dropped_attributes", link.dropped_attributes_count);
    Value::Map(fields.0)
}

fn resource_value(cutter: &mut Cutter, origin: &Origin) -> Value {
    let mut fields = Fields(Vec::new());
    if let Some(resource) = &origin.resource {
        let attributes = attributes_value(cutter, "resource", &resource.attributes);
        fields.add("attributes", attributes);
        fields.add("dropped_attributes", resource.dropped_attributes_count);
    }
    let schema = cutter.text("resource.schema_url", &origin.resource_schema);
    fields.add("schema_url", schema);
    Value::Map(fields.0)
}

fn scope_value(cutter: &mut Cutter, origin: &Origin) -> Value {
    let mut fields = Fields(Vec::new());
    if let Some(scope) = &origin.scope {
        fields.add("name", cutter.text("scope.name", &scope.name));
        fields.add("version", cutter.text("scope.version", &scope.version));
        let attributes = attributes_value(cutter, "scope", &scope.attributes);
        fields.add("attributes", attributes);
        fields.add("dropped_attributes", scope.dropped_attributes_count);
    }
    let schema = cutter.text("scope.schema_url", &origin.scope_schema);
    fields.add("schema_url", schema);
    Value::Map(fields.0)
}

fn attributes_value(cutter: &mut Cutter, field: &str, pairs: &[KeyValue]) -> Value {
    cutter.pairs(&format!("{field}.attributes"), pairs)
}

fn hex(bytes: &[u8]) -> String {
    // No id has more, and anything may stand there.
    let bytes = bytes.iter().take(16);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

fn kind_name(span: &Span) -> &'static str {
    match SpanKind::try_from(span.kind) {
        Ok(SpanKind::Internal) => "internal",
        Ok(SpanKind::Server) => "server",
        Ok(SpanKind::Client) => "client",
        Ok(SpanKind::Producer) => "producer",
        Ok(SpanKind::Consumer) => "consumer",
        Ok(SpanKind::Unspecified) | Err(_) => "unspecified",
    }
}

fn status_of(span: &Span) -> &'static str {
    let code = span.status.as_ref().map_or(0, |status| status.code);
    match StatusCode::try_from(code) {
        Ok(StatusCode::Ok) => "ok",
        Ok(StatusCode::Error) => "error",
        Ok(StatusCode::Unset) | Err(_) => "unset",
    }
}

#[cfg(test)]
mod tests;
