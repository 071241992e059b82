//! Which events a group gets, and how.

use bytes::BufMut;

use crate::codec::{DecodeError, Reader, put_prefixed, put_varint};
use crate::core::credentials::AUDIT_KIND_PREFIX;
use crate::core::limits::{
    ATTRIBUTE_NAME_BYTES_MAX, ATTRIBUTE_VALUE_BYTES_MAX, ATTRIBUTES_MAX, GROUP_ACK_TIMEOUT_MS_MAX,
    GROUP_ACK_TIMEOUT_MS_MIN, GROUP_DELIVERIES_MAX, GROUP_FILTER_ITEMS_MAX,
    GROUP_UNACKNOWLEDGED_MAX, KIND_BYTES_MAX,
};
use crate::core::{Filter, IntentId};
use crate::error::Invalid;

/// Milliseconds in which a consumer must acknowledge, where nothing else is said.
pub const ACK_TIMEOUT_MS_DEFAULT: u32 = 30_000;
/// Events that a group may have outstanding, where nothing else is said.
pub const UNACKNOWLEDGED_MAX_DEFAULT: u32 = 1_000;
/// Deliveries of one event after which it is parked, where nothing else is said.
pub const DELIVERIES_MAX_DEFAULT: u32 = 5;

/// Which events a group gets, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The events that it gets: by kind prefixes, attributes and intents. It has no other condition. Fixed for the
    /// life of the group.
    pub filter: Filter,
    /// Time in which a consumer must acknowledge, milliseconds, 100 to 86,400,000.
    pub ack_timeout_ms: u32,
    /// Events that are outstanding at most, 1 to 10,000. With 1 each event is settled before the next one is
    /// delivered.
    pub unacknowledged_max: u32,
    /// Deliveries after which an event is parked, 1 to 1,000.
    pub deliveries_max: u32,
}

/// What is to change of a group's settings; what is absent stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Time in which a consumer must acknowledge what is delivered from now on.
    pub ack_timeout_ms: Option<u32>,
    /// Events that are outstanding at most. Those that there are above it stay.
    pub unacknowledged_max: Option<u32>,
    /// Deliveries after which an event is parked.
    pub deliveries_max: Option<u32>,
}

impl Changes {
    /// The settings with these changes.
    #[must_use]
    pub fn of(&self, settings: &Settings) -> Settings {
        Settings {
            filter: settings.filter.clone(),
            ack_timeout_ms: self.ack_timeout_ms.unwrap_or(settings.ack_timeout_ms),
            unacknowledged_max: self
                .unacknowledged_max
                .unwrap_or(settings.unacknowledged_max),
            deliveries_max: self.deliveries_max.unwrap_or(settings.deliveries_max),
        }
    }

    /// Checks every bound.
    ///
    /// # Errors
    /// [`Invalid`], naming the field.
    pub fn check(&self) -> Result<(), Invalid> {
        self.of(&Settings::default()).check()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            filter: Filter::default(),
            ack_timeout_ms: ACK_TIMEOUT_MS_DEFAULT,
            unacknowledged_max: UNACKNOWLEDGED_MAX_DEFAULT,
            deliveries_max: DELIVERIES_MAX_DEFAULT,
        }
    }
}

impl Settings {
    /// The filter for what is delivered next: the group's, without the audit, which is no work to be shared, and which
    /// those who take a group's events may not read.
    #[must_use]
    pub fn delivered(&self) -> Filter {
        Filter {
            hidden_kind_prefixes: vec![AUDIT_KIND_PREFIX.to_owned()],
            ..self.filter.clone()
        }
    }

    /// Where these differ from what is `wanted`: numbers with both values, lists by their names.
    pub(super) fn against(&self, wanted: &Self) -> String {
        let numbers = [
            ("ack_timeout_ms", self.ack_timeout_ms, wanted.ack_timeout_ms),
            (
                "unacknowledged_max",
                self.unacknowledged_max,
                wanted.unacknowledged_max,
            ),
            ("deliveries_max", self.deliveries_max, wanted.deliveries_max),
        ];
        let numbers = numbers.into_iter().filter(|(_, is, not)| is != not);
        let numbers = numbers.map(|(field, is, not)| format!("{field} is {is}, not {not}"));
        let (is, not) = (&self.filter, &wanted.filter);
        let lists = [
            ("kind_prefixes", is.kind_prefixes != not.kind_prefixes),
            ("attributes", is.attributes != not.attributes),
            ("intents", is.intents != not.intents),
        ];
        let lists = lists.into_iter().filter(|(_, differ)| *differ);
        let lists = lists.map(|(field, _)| format!("filter.{field} are others"));
        numbers.chain(lists).collect::<Vec<_>>().join("; ")
    }

    /// Checks every bound.
    ///
    /// # Errors
    /// [`Invalid`], naming the field.
    pub fn check(&self) -> Result<(), Invalid> {
        check_filter(&self.filter)?;
        let ranges = [
            (
                "ack_timeout_ms",
                self.ack_timeout_ms,
                GROUP_ACK_TIMEOUT_MS_MIN,
                GROUP_ACK_TIMEOUT_MS_MAX,
            ),
            (
                "unacknowledged_max",
                self.unacknowledged_max,
                1,
                GROUP_UNACKNOWLEDGED_MAX,
            ),
            (
                "deliveries_max",
                self.deliveries_max,
                1,
                GROUP_DELIVERIES_MAX,
            ),
        ];
        for (field, actual, min, max) in ranges {
            if !(min..=max).contains(&actual) {
                return Err(Invalid::OutOfRange {
                    field,
                    min: min.into(),
                    max: max.into(),
                    actual: actual.into(),
                });
            }
        }
        Ok(())
    }

    /// Appends kind prefixes, attributes and intents, each behind their number, and the three numbers.
    pub(crate) fn encode(&self, out: &mut impl BufMut) {
        let filter = &self.filter;
        put_varint(out, filter.kind_prefixes.len() as u64);
        for prefix in &filter.kind_prefixes {
            put_prefixed(out, prefix.as_bytes());
        }
        put_varint(out, filter.attributes.len() as u64);
        for (name, value) in &filter.attributes {
            put_prefixed(out, name.as_bytes());
            put_prefixed(out, value.as_bytes());
        }
        put_varint(out, filter.intents.len() as u64);
        for intent in &filter.intents {
            put_varint(out, intent.0);
        }
        put_varint(out, self.ack_timeout_ms.into());
        put_varint(out, self.unacknowledged_max.into());
        put_varint(out, self.deliveries_max.into());
    }

    /// Reads what [`Settings::encode`] wrote.
    pub(crate) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let mut filter = Filter::default();
        for _ in 0..reader.count("kind prefixes", GROUP_FILTER_ITEMS_MAX)? {
            let prefix = reader.text("kind prefix", KIND_BYTES_MAX)?;
            filter.kind_prefixes.push(prefix);
        }
        for _ in 0..reader.count("attributes", ATTRIBUTES_MAX)? {
            let name = reader.text("attribute name", ATTRIBUTE_NAME_BYTES_MAX)?;
            let value = reader.text("attribute value", ATTRIBUTE_VALUE_BYTES_MAX)?;
            filter.attributes.push((name, value));
        }
        for _ in 0..reader.count("intents", GROUP_FILTER_ITEMS_MAX)? {
            filter.intents.push(IntentId(reader.varint("intent")?));
        }
        let mut number = |field, max: u32| {
            let number = reader.count(field, max as usize)?;
            u32::try_from(number).map_err(|_| DecodeError::Invalid { field })
        };
        let settings = Self {
            filter,
            ack_timeout_ms: number("ack timeout", GROUP_ACK_TIMEOUT_MS_MAX)?,
            unacknowledged_max: number("unacknowledged max", GROUP_UNACKNOWLEDGED_MAX)?,
            deliveries_max: number("deliveries max", GROUP_DELIVERIES_MAX)?,
        };
        settings.check().map_err(|_| DecodeError::Invalid {
            field: "group settings",
        })?;
        Ok(settings)
    }
}

fn check_filter(filter: &Filter) -> Result<(), Invalid> {
    if filter.descendants_of.is_some() {
        return Err(Invalid::Syntax {
            field: "filter.descendants_of",
            expected: "absent, as it must be in a group",
        });
    }
    let counts = [
        (
            "filter.kind_prefixes",
            GROUP_FILTER_ITEMS_MAX,
            filter.kind_prefixes.len(),
        ),
        ("filter.attributes", ATTRIBUTES_MAX, filter.attributes.len()),
        (
            "filter.intents",
            GROUP_FILTER_ITEMS_MAX,
            filter.intents.len(),
        ),
    ];
    for (field, max, actual) in counts {
        if actual > max {
            return Err(Invalid::TooMany { field, max, actual });
        }
    }
    let prefixes = filter.kind_prefixes.iter();
    let texts = prefixes
        .map(|prefix| ("filter.kind_prefixes", KIND_BYTES_MAX, prefix))
        .chain(filter.attributes.iter().flat_map(|(name, value)| {
            [
                ("filter.attributes.name", ATTRIBUTE_NAME_BYTES_MAX, name),
                ("filter.attributes.value", ATTRIBUTE_VALUE_BYTES_MAX, value),
            ]
        }));
    for (field, max, text) in texts {
        if text.len() > max {
            return Err(Invalid::TooLong {
                field,
                max,
                actual: text.len(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(kind_prefixes: Vec<String>) -> Filter {
        Filter {
            kind_prefixes,
            ..Filter::default()
        }
    }

    #[test]
    fn bounds_are_checked_and_named() {
        let good = Settings::default();
        let field = |settings: &Settings| settings.check().map_err(|invalid| invalid.field());
        assert_eq!(field(&good), Ok(()));
        for ack_timeout_ms in [99, 86_400_001] {
            let bad = Settings {
                ack_timeout_ms,
                ..good.clone()
            };
            assert_eq!(field(&bad), Err("ack_timeout_ms"));
        }
        for unacknowledged_max in [0, 10_001] {
            let bad = Settings {
                unacknowledged_max,
                ..good.clone()
            };
            assert_eq!(field(&bad), Err("unacknowledged_max"));
        }
        for deliveries_max in [0, 1_001] {
            let bad = Settings {
                deliveries_max,
                ..good.clone()
            };
            assert_eq!(field(&bad), Err("deliveries_max"));
        }
        for prefixes in [vec![String::new(); 65], vec!["k".repeat(256)]] {
            let bad = Settings {
                filter: filter(prefixes),
                ..good.clone()
            };
            assert_eq!(field(&bad), Err("filter.kind_prefixes"));
        }
    }

    #[test]
    fn settings_round_trip() {
        let mut settings = Settings {
            filter: filter(vec!["task.".to_owned(), String::new()]),
            ack_timeout_ms: 100,
            unacknowledged_max: 1,
            deliveries_max: 1_000,
        };
        let pair = ("room".to_owned(), "kitchen".to_owned());
        settings.filter.attributes.push(pair);
        settings.filter.intents.push(IntentId(u64::MAX));
        let mut bytes = Vec::new();
        settings.encode(&mut bytes);
        let mut reader = Reader::new(bytes.into());
        assert_eq!(Settings::decode(&mut reader), Ok(settings));
        assert_eq!(reader.finish(), Ok(()));
    }
}
