//! Values of attributes as MessagePack, within bounds, and the same for the same span.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use rmpv::Value;

/// Attributes of a span, of an event in it, of a resource: of more, the first ones in the order of their names are kept.
pub(crate) const ATTRIBUTES_MAX: usize = 256;
/// Items of a list.
const ITEMS_MAX: usize = 1_000;
/// Levels of lists and maps; what is deeper is left out.
const DEPTH_MAX: usize = 16;
/// Bytes of a name; more are cut off.
const NAME_BYTES_MAX: usize = 256;
/// Fields that are named where something was left out of them.
const CUTS_MAX: usize = 64;

/// Makes values, and keeps in mind what it has left out.
#[derive(Debug)]
pub(crate) struct Cutter {
    /// What is kept of one text, or of one value of bytes.
    bytes_max: usize,
    /// Bytes, or items, that there were, by field.
    cuts: BTreeMap<String, u64>,
}

impl Cutter {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            cuts: BTreeMap::new(),
        }
    }

    /// What was left out: a map from the field to the bytes or items that it had.
    pub(crate) fn into_cuts(self) -> Option<Value> {
        let pairs = self.cuts.into_iter();
        let pairs: Vec<_> = pairs
            .map(|(field, had)| (Value::from(field), Value::from(had)))
            .collect();
        (!pairs.is_empty()).then_some(Value::Map(pairs))
    }

    fn cut(&mut self, field: &str, had: usize) {
        if self.cuts.len() < CUTS_MAX {
            let field = prefix(field, NAME_BYTES_MAX).to_owned();
            self.cuts.insert(field, had as u64);
        }
    }

    /// A text, up to its last character that fits.
    pub(crate) fn text(&mut self, field: &str, text: &str) -> Value {
        let kept = prefix(text, self.bytes_max);
        if kept.len() < text.len() {
            self.cut(field, text.len());
        }
        Value::from(kept)
    }

    /// Attributes as a map, sorted by their names. Of two with one name the last one counts.
    pub(crate) fn pairs(&mut self, field: &str, pairs: &[KeyValue]) -> Value {
        self.pairs_at(field, pairs, 0)
    }

    fn pairs_at(&mut self, field: &str, pairs: &[KeyValue], depth: usize) -> Value {
        let named = pairs.iter().map(|pair| (pair.key.as_str(), &pair.value));
        let named: BTreeMap<&str, &Option<AnyValue>> = named.collect();
        if named.len() > ATTRIBUTES_MAX {
            self.cut(field, named.len());
        }
        let kept = named.into_iter().take(ATTRIBUTES_MAX);
        let pairs = kept.map(|(name, value)| {
            let name = prefix(name, NAME_BYTES_MAX);
            let value = self.value(&format!("{field}.{name}"), value.as_ref(), depth + 1);
            (name.to_owned(), value)
        });
        // Names that are the same once they are cut must not be in one map twice.
        let pairs: BTreeMap<String, Value> = pairs.collect();
        let pairs = pairs.into_iter();
        Value::Map(
            pairs
                .map(|(name, value)| (Value::from(name), value))
                .collect(),
        )
    }

    fn value(&mut self, field: &str, value: Option<&AnyValue>, depth: usize) -> Value {
        let Some(value) = value.and_then(|value| value.value.as_ref()) else {
            return Value::Nil;
        };
        match value {
            Any::StringValue(text) => self.text(field, text),
            Any::BoolValue(value) => Value::from(*value),
            Any::IntValue(value) => Value::from(*value),
            Any::DoubleValue(value) => Value::F64(*value),
            Any::BytesValue(bytes) => {
                if bytes.len() > self.bytes_max {
                    self.cut(field, bytes.len());
                }
                Value::from(&bytes[..bytes.len().min(self.bytes_max)])
            }
            Any::ArrayValue(list) if depth < DEPTH_MAX => {
                if list.values.len() > ITEMS_MAX {
                    self.cut(field, list.values.len());
                }
                let items = list.values.iter().take(ITEMS_MAX);
                let items = items.map(|item| self.value(field, Some(item), depth + 1));
                Value::Array(items.collect())
            }
            Any::KvlistValue(map) if depth < DEPTH_MAX => self.pairs_at(field, &map.values, depth),
            Any::ArrayValue(_) | Any::KvlistValue(_) => {
                self.cut(field, 1);
                Value::Nil
            }
            // Of another signal's dictionary, which traces have not.
            Any::StringValueStrindex(_) => Value::Nil,
        }
    }
}

/// The text up to its last character that ends within so many bytes.
pub(crate) fn prefix(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// The text under a name among attributes.
pub(crate) fn text_of<'a>(pairs: &'a [KeyValue], name: &str) -> Option<&'a str> {
    let mut named = pairs.iter().rev().filter(|pair| pair.key == name);
    match named.next()?.value.as_ref()?.value.as_ref()? {
        Any::StringValue(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};

    use super::*;

    fn any(value: Any) -> AnyValue {
        AnyValue { value: Some(value) }
    }

    fn pair(key: &str, value: Any) -> KeyValue {
        KeyValue {
            key: key.to_owned(),
            value: Some(any(value)),
            ..KeyValue::default()
        }
    }

    fn text(text: &str) -> Any {
        Any::StringValue(text.to_owned())
    }

    #[test]
    fn attributes_are_sorted_and_the_last_of_a_name_counts() {
        let one = [
            pair("b", Any::IntValue(1)),
            pair("a", text("x")),
            pair("b", Any::IntValue(2)),
        ];
        let other = [pair("a", text("x")), pair("b", Any::IntValue(2))];
        let values = [&one[..], &other[..]].map(|pairs| Cutter::new(100).pairs("f", pairs));
        assert_eq!(values[0], values[1]);
        assert_eq!(values[0]["b"], Value::from(2));
    }

    #[test]
    fn what_is_cut_is_named_with_its_size() {
        let mut cutter = Cutter::new(4);
        let value = cutter.pairs("attributes", &[pair("a", text("grün und blau"))]);
        // The third character has two bytes, and ends with the fourth one.
        assert_eq!(value["a"], Value::from("grü"));
        let cuts = cutter.into_cuts().expect("something was cut");
        assert_eq!(cuts["attributes.a"], Value::from(14));
    }

    #[test]
    fn what_is_too_many_or_too_deep_is_left_out_and_named() {
        let many: Vec<_> = (0..=ATTRIBUTES_MAX)
            .map(|place| pair(&format!("{place:04}"), Any::BoolValue(true)))
            .collect();
        let mut cutter = Cutter::new(100);
        let value = cutter.pairs("many", &many);
        assert_eq!(value.as_map().map(Vec::len), Some(ATTRIBUTES_MAX));
        let deep = (0..100).fold(text("core"), |inner, depth| match depth % 2 {
            0 => Any::ArrayValue(ArrayValue {
                values: vec![any(inner)],
            }),
            _ => Any::KvlistValue(KeyValueList {
                values: vec![pair("k", inner)],
            }),
        });
        cutter.pairs("deep", &[pair("a", deep)]);
        let cuts = cutter.into_cuts().expect("something was cut");
        assert_eq!(cuts["many"], Value::from(ATTRIBUTES_MAX + 1));
        let cuts = cuts.as_map().expect("a map");
        assert_eq!(cuts.len(), 2, "{cuts:?}");
    }
}
