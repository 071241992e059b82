//! Preconditions that did not hold.

use toka_ledger::command::ParentName;
use toka_ledger::{CursorName, GroupName, Invalid, Kind, Violation};

use super::ident;
use crate::v1;
use crate::v1::unknown_parent::Place;
use crate::v1::violation::Violation as Message;

pub(super) fn message(violation: &Violation) -> v1::Violation {
    let violation = match violation {
        Violation::HasChild {
            parent,
            kind,
            child,
        } => Some(Message::ChildExists(v1::ChildExists {
            parent: ident::event_id_bytes(parent),
            kind: kind.to_string(),
            child: ident::event_id_bytes(child),
        })),
        Violation::KindSequence {
            kind,
            expected,
            actual,
        } => Some(Message::KindSequenceDiffers(v1::KindSequenceDiffers {
            kind: kind.to_string(),
            expected_sequence: *expected,
            actual_sequence: *actual,
        })),
        Violation::TooEarly { expected, actual } => Some(Message::TooEarly(v1::TooEarly {
            expected_unix_ms: *expected,
            actual_unix_ms: *actual,
        })),
        Violation::Cursor {
            name,
            expected,
            actual,
        } => Some(Message::CursorDiffers(v1::CursorDiffers {
            name: name.to_string(),
            expected_sequence: *expected,
            actual_sequence: *actual,
        })),
        Violation::KindPrefixSequence {
            prefix,
            expected,
            actual,
        } => Some(Message::KindPrefixSequenceDiffers(
            v1::KindPrefixSequenceDiffers {
                prefix: prefix.clone(),
                expected_sequence: *expected,
                actual_sequence: *actual,
            },
        )),
        Violation::Delivery {
            group,
            sequence,
            delivery,
            actual,
        } => Some(Message::DeliveryDiffers(v1::DeliveryDiffers {
            group: group.to_string(),
            sequence: *sequence,
            expected_delivery: *delivery,
            actual_delivery: *actual,
        })),
        Violation::PrefixTooWide { prefix, max } => {
            Some(Message::KindPrefixTooWide(v1::KindPrefixTooWide {
                prefix: prefix.clone(),
                max: *max,
            }))
        }
        Violation::UnknownEvent {
            precondition,
            parent,
        } => Some(Message::UnknownEvent(super::unknown_in_precondition(
            *precondition,
            parent,
        ))),
        // One that is newer than this crate: the status's message says what it is.
        _ => None,
    };
    v1::Violation { violation }
}

pub(super) fn read(violation: v1::Violation) -> Result<Violation, Invalid> {
    match violation.violation {
        Some(Message::ChildExists(child)) => Ok(Violation::HasChild {
            parent: ident::event_id("violations.parent", &child.parent)?,
            kind: Kind::new(&child.kind)?,
            child: ident::event_id("violations.child", &child.child)?,
        }),
        Some(Message::KindSequenceDiffers(last)) => Ok(Violation::KindSequence {
            kind: Kind::new(&last.kind)?,
            expected: last.expected_sequence,
            actual: last.actual_sequence,
        }),
        Some(Message::TooEarly(time)) => Ok(Violation::TooEarly {
            expected: time.expected_unix_ms,
            actual: time.actual_unix_ms,
        }),
        Some(Message::CursorDiffers(cursor)) => Ok(Violation::Cursor {
            name: CursorName::new(&cursor.name)?,
            expected: cursor.expected_sequence,
            actual: cursor.actual_sequence,
        }),
        Some(Message::KindPrefixSequenceDiffers(last)) => Ok(Violation::KindPrefixSequence {
            prefix: last.prefix,
            expected: last.expected_sequence,
            actual: last.actual_sequence,
        }),
        Some(Message::DeliveryDiffers(delivery)) => Ok(Violation::Delivery {
            group: GroupName::new(&delivery.group)?,
            sequence: delivery.sequence,
            delivery: delivery.expected_delivery,
            actual: delivery.actual_delivery,
        }),
        Some(Message::KindPrefixTooWide(wide)) => Ok(Violation::PrefixTooWide {
            prefix: wide.prefix,
            max: wide.max,
        }),
        Some(Message::UnknownEvent(unknown)) => {
            let Some(Place::PreconditionIndex(precondition)) = unknown.place else {
                return Err(Invalid::Empty {
                    field: "violations.unknown_event.place",
                });
            };
            let parent = unknown.parent.ok_or(Invalid::Empty {
                field: "violations.unknown_event.parent",
            })?;
            Ok(Violation::UnknownEvent {
                precondition: precondition as usize,
                parent: ParentName::try_from(parent)?,
            })
        }
        None => Err(Invalid::Empty {
            field: "violations.violation",
        }),
    }
}
