//! What must hold of the vault before a commit.

use super::overlay::View;
use super::state::State;
use super::{Refused, groups};
use crate::command::{COORDINATION_LEVEL, ParentName, Precondition};
use crate::core::groups::{Item, ItemState};
use crate::core::limits::PREFIX_KINDS_MAX;
use crate::core::{GroupName, Kind};
use crate::error::{Error, Rejection, Violation};

/// Checks all of them against the vault before the commit.
pub(super) fn check(
    view: View<'_>,
    state: &State,
    preconditions: &[Precondition],
) -> Result<(), Refused> {
    let mut violations = Vec::new();
    for (index, precondition) in preconditions.iter().enumerate() {
        violations.extend(violation(view, state, index, precondition)?);
    }
    if violations.is_empty() {
        Ok(())
    } else {
        Err(Rejection::Preconditions { violations }.into())
    }
}

fn violation(
    view: View<'_>,
    state: &State,
    index: usize,
    precondition: &Precondition,
) -> Result<Option<Violation>, Refused> {
    let unix_ms = state.unix_ms;
    match precondition {
        Precondition::NoChild { parent, kind } => match find(view, *parent)? {
            Some(parent) => child_violation(view, parent, kind),
            None => Ok(Some(unknown_event(state, index, *parent)?)),
        },
        Precondition::KindSequence {
            kind,
            sequence: expected,
        } => {
            let (kind, expected) = (kind.clone(), *expected);
            let actual = view.last_of_kind(&kind)?.unwrap_or(0);
            let violation = Violation::KindSequence {
                kind,
                expected,
                actual,
            };
            Ok((actual != expected).then_some(violation))
        }
        Precondition::TimePassed { unix_ms: expected } => {
            let violation = Violation::TooEarly {
                expected: *expected,
                actual: unix_ms,
            };
            Ok((unix_ms < *expected).then_some(violation))
        }
        Precondition::CursorMove {
            name,
            from: expected,
            ..
        } => {
            let (name, expected) = (name.clone(), *expected);
            let actual = view.cursor(&name)?.unwrap_or(0);
            let violation = Violation::Cursor {
                name,
                expected,
                actual,
            };
            Ok((actual != expected).then_some(violation))
        }
        Precondition::KindPrefixSequence {
            prefix,
            sequence: expected,
        } => prefix_violation(view, prefix, *expected),
        Precondition::Acknowledge {
            group,
            incarnation,
            sequence,
            delivery,
        } => {
            let item = groups::current_item(view, group, *incarnation, *sequence)?;
            Ok(delivery_violation(group, *sequence, *delivery, item))
        }
    }
}

/// Whether the event at `parent` has a child of that kind.
fn child_violation(view: View<'_>, parent: u64, kind: &Kind) -> Result<Option<Violation>, Refused> {
    let parent = view.indexed_header(parent)?.id;
    let Some(child) = view.first_child(parent.sequence(), kind)? else {
        return Ok(None);
    };
    let child = view.indexed_header(child)?.id;
    Ok(Some(Violation::HasChild {
        parent,
        kind: kind.clone(),
        child,
    }))
}

/// An event that is not there hides no other violation, but in a vault of level 1, which has refused it alone.
fn unknown_event(
    state: &State,
    precondition: usize,
    parent: ParentName,
) -> Result<Violation, Rejection> {
    if state.level() < Some(COORDINATION_LEVEL) {
        return Err(Rejection::UnknownPreconditionParent {
            precondition,
            parent,
        });
    }
    Ok(Violation::UnknownEvent {
        precondition,
        parent,
    })
}

/// `item` is what the group has outstanding of the event.
fn delivery_violation(
    group: &GroupName,
    sequence: u64,
    delivery: u32,
    item: Option<Item>,
) -> Option<Violation> {
    let actual = item.and_then(|item| {
        let is_leased = matches!(item.state, ItemState::Leased { .. });
        is_leased.then_some(item.deliveries)
    });
    let violation = Violation::Delivery {
        group: group.clone(),
        sequence,
        delivery,
        actual,
    };
    (actual != Some(delivery)).then_some(violation)
}

fn prefix_violation(
    view: View<'_>,
    prefix: &str,
    expected: u64,
) -> Result<Option<Violation>, Refused> {
    let Some(actual) = view.last_of_prefix(prefix)? else {
        return Ok(Some(Violation::PrefixTooWide {
            prefix: prefix.to_owned(),
            max: PREFIX_KINDS_MAX as u64,
        }));
    };
    let violation = Violation::KindPrefixSequence {
        prefix: prefix.to_owned(),
        expected,
        actual,
    };
    Ok((actual != expected).then_some(violation))
}

/// The sequence of the event that a precondition names.
fn find(view: View<'_>, name: ParentName) -> Result<Option<u64>, Error> {
    match name {
        ParentName::Id(id) => {
            let header = view.headers(&[id.sequence()])?.pop().flatten();
            Ok(header
                .filter(|header| header.id == id)
                .map(|header| header.sequence))
        }
        ParentName::Digest(digest) => Ok(view.events(&[digest])?.pop().flatten()),
        // A precondition looks at the vault before the commit.
        ParentName::Batch(_) => Ok(None),
    }
}
