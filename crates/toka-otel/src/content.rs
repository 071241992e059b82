//! What models and tools were told and have answered, among the attributes of a span.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use rmpv::Value;

use crate::value::{Cutter, text_of};

/// Whether contents are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// As they come. Instrumentations leave them out unless they are told to record them.
    #[default]
    Text,
    /// They are left out, and their names are stored.
    None,
}

/// Attributes that hold contents, with those below them (`gen_ai.prompt.0.content`): of OpenTelemetry's conventions, those
/// that are deprecated among them, and of OpenLLMetry's and OpenInference's.
const NAMES: &[&str] = &[
    "gen_ai.completion",
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.prompt",
    "gen_ai.retrieval.documents",
    "gen_ai.retrieval.query.text",
    "gen_ai.system_instructions",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result",
    "gen_ai.tool.definitions",
    "input.value",
    "llm.input_messages",
    "llm.output_messages",
    "output.value",
    "traceloop.entity.input",
    "traceloop.entity.output",
];
/// Events in a span whose names begin with this hold contents.
const EVENT_PREFIX: &str = "gen_ai.";
/// Bytes of one text that are looked at for its meaning.
const MEANING_BYTES_MAX: usize = 16 << 10;

/// Whether an attribute of a span holds contents.
pub(crate) fn is_content(name: &str) -> bool {
    NAMES.iter().any(|content| {
        name.strip_prefix(content)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// Whether an event in a span holds contents, as all its attributes are then.
pub(crate) fn is_content_event(name: &str) -> bool {
    name.starts_with(EVENT_PREFIX)
}

/// Takes all contents out of a span, and says what was there: names of attributes, and of events.
pub(crate) fn remove(span: &mut Span) -> Vec<String> {
    let mut removed = Vec::new();
    span.attributes.retain(|pair| {
        let is_content = is_content(&pair.key);
        if is_content {
            removed.push(pair.key.clone());
        }
        !is_content
    });
    for event in &mut span.events {
        if is_content_event(&event.name) && !event.attributes.is_empty() {
            event.attributes.clear();
            removed.push(event.name.clone());
        }
    }
    removed.sort_unstable();
    removed.dedup();
    removed
}

/// What is embedded of a span: its contents, and whose they are; `None` if it has none.
pub(crate) fn meaning(span: &Span) -> Option<Value> {
    let events = span.events.iter();
    let said = events.filter(|event| is_content_event(&event.name));
    let said = said.flat_map(|event| &event.attributes);
    let contents = span.attributes.iter();
    let contents = contents.filter(|pair| is_content(&pair.key)).chain(said);
    let mut pairs: Vec<_> = contents
        .filter_map(|pair| Some((Value::from(last(&pair.key)), parsed(pair)?)))
        .collect();
    if pairs.is_empty() {
        return None;
    }
    for name in ["gen_ai.agent.name", "gen_ai.tool.name"] {
        if let Some(text) = text_of(&span.attributes, name) {
            pairs.insert(0, (Value::from(last(name)), Value::from(text)));
        }
    }
    Some(Value::Map(pairs))
}

/// What is behind the prefix of all, as in `input.messages`.
fn last(name: &str) -> &str {
    name.strip_prefix(EVENT_PREFIX).unwrap_or(name)
}

/// The value; of JSON in a text, which Python's instrumentations write, what it says.
fn parsed(pair: &KeyValue) -> Option<Value> {
    if let Some(text) = text_of(std::slice::from_ref(pair), &pair.key) {
        let json = serde_json::from_str(text).ok();
        let json = json.filter(|json: &serde_json::Value| json.is_object() || json.is_array());
        let value = json.and_then(|json| smart_embedder::event::to_value(&json).ok());
        if value.is_some() {
            return value;
        }
    }
    let pairs = Cutter::new(MEANING_BYTES_MAX).pairs("", std::slice::from_ref(pair));
    let Value::Map(pairs) = pairs else {
        return None;
    };
    let value = pairs.into_iter().next()?.1;
    Some(value).filter(|value| !value.is_nil())
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::AnyValue;
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
    use opentelemetry_proto::tonic::trace::v1::span::Event;

    use super::*;

    fn pair(key: &str, value: &str) -> KeyValue {
        let value = Some(Any::StringValue(value.to_owned()));
        KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value }),
            ..KeyValue::default()
        }
    }

    fn span() -> Span {
        Span {
            attributes: vec![
                pair("gen_ai.request.model", "m"),
                pair("gen_ai.input.messages", r#"[{"content":"wake me up"}]"#),
                pair("gen_ai.prompt.0.content", "good night"),
            ],
            events: vec![Event {
                name: "gen_ai.user.message".to_owned(),
                attributes: vec![pair("content", "at seven")],
                ..Event::default()
            }],
            ..Span::default()
        }
    }

    #[test]
    fn contents_are_told_from_what_describes_them() {
        for name in ["gen_ai.prompt", "gen_ai.prompt.0.content", "input.value"] {
            assert!(is_content(name), "{name}");
        }
        for name in [
            "gen_ai.prompt_tokens",
            "gen_ai.request.model",
            "gen_ai.usage.input_tokens",
        ] {
            assert!(!is_content(name), "{name}");
        }
    }

    #[test]
    fn contents_are_removed_by_name() {
        let mut span = span();
        let removed = remove(&mut span);
        let names = [
            "gen_ai.input.messages",
            "gen_ai.prompt.0.content",
            "gen_ai.user.message",
        ];
        assert_eq!(removed, names);
        assert_eq!(span.attributes, [pair("gen_ai.request.model", "m")]);
        assert!(span.events[0].attributes.is_empty());
        assert_eq!(meaning(&span), None);
    }

    #[test]
    fn meaning_is_made_of_contents_and_reads_json() {
        let meaning = meaning(&span()).expect("it has contents");
        let said = &meaning["input.messages"][0]["content"];
        assert_eq!(said.as_str(), Some("wake me up"));
        assert_eq!(meaning["content"].as_str(), Some("at seven"));
        assert!(meaning["request.model"].is_nil());
    }
}
