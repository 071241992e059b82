//! Which events a group delivers next.

use super::{Due, Group, Settings};
use crate::core::GroupName;
use crate::core::limits::DELIVER_EVENTS_MAX;
use crate::engine::Direction;
use crate::error::{Error, Rejection};
use crate::read::{Query, Reader};

/// Events that the group does not want and that are ahead of its position, until it is moved past them without a
/// delivery. Each such move is a command, so that there must not be one for each event.
const SKIP_EVENTS_MIN: u64 = 1_000;

/// What a [`Deliver`](crate::command::Deliver) command is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Which group of that name.
    pub incarnation: u64,
    /// Where the group's position is.
    pub from: u64,
    /// Where it goes.
    pub to: u64,
    /// The events, ascending: those that are due, then new ones. May be empty: then only the position moves.
    pub sequences: Vec<u64>,
}

/// That nothing of a group that is outstanding is due before a time. True as long as the group has this version, and
/// whoever knows it takes note of each delivery ([`NotDue::deliver`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotDue {
    /// Which group of that name.
    pub incarnation: u64,
    /// The group's version.
    pub version: u64,
    /// Milliseconds since the Unix epoch, of the vault's time.
    pub before_unix_ms: u64,
}

impl NotDue {
    /// Whether nothing of `group` is due at `now_unix_ms`.
    fn says(&self, group: &Group, now_unix_ms: u64) -> bool {
        self.incarnation == group.incarnation
            && self.version == group.version
            && now_unix_ms < self.before_unix_ms
    }

    /// A delivery is about to be made at `unix_ms` or later, by leases of `ack_timeout_ms`.
    pub fn deliver(&mut self, unix_ms: u64, ack_timeout_ms: u32) {
        let due = unix_ms.saturating_add(ack_timeout_ms.into());
        self.before_unix_ms = self.before_unix_ms.min(due);
    }
}

/// What there is of a group for a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The group as it was.
    pub group: Group,
    /// What to deliver; `None`: nothing.
    pub plan: Option<Plan>,
    /// What is known of when outstanding events become due, apart from those in the plan. `None` if more may be due.
    pub not_due: Option<NotDue>,
}

/// What the group has for a consumer at `now_unix_ms`: up to `max` events (1 to 1,000), what is due first. `None`:
/// nothing.
///
/// Bounded in how much is looked at: of a group far behind it may be a plan that delivers nothing and only moves
/// the position, and there is more behind it. Whoever proposes plans goes on until there is a delivery, or none.
///
/// # Errors
/// [`Rejection::UnknownGroup`], [`Error::Engine`], [`Error::Corrupt`].
pub fn plan_delivery(
    reader: &Reader,
    name: &GroupName,
    now_unix_ms: u64,
    max: usize,
) -> Result<Option<Plan>, Error> {
    let planned = plan_delivery_after(reader, name, now_unix_ms, max, None)?;
    Ok(planned.plan)
}

/// As [`plan_delivery`], and does not look at what is outstanding where `known` says that nothing of it is due.
///
/// # Errors
/// As [`plan_delivery`].
pub fn plan_delivery_after(
    reader: &Reader,
    name: &GroupName,
    now_unix_ms: u64,
    max: usize,
    known: Option<NotDue>,
) -> Result<Planned, Error> {
    // The position first: the group is read as of later, and may be ahead of it.
    let head = reader.position().sequence;
    let group = reader.group(name)?.filter(|group| !group.is_ending);
    let Some(group) = group else {
        return Err(Rejection::UnknownGroup { name: name.clone() }.into());
    };
    let max = max.clamp(1, DELIVER_EVENTS_MAX);
    let known = known.filter(|known| known.says(&group, now_unix_ms));
    let due = match known {
        Some(known) => Due {
            sequences: Vec::new(),
            next_unix_ms: Some(known.before_unix_ms),
        },
        None => reader.group_due(name, now_unix_ms, max)?,
    };
    let found = due.sequences.len();
    let mut plan = Plan {
        incarnation: group.incarnation,
        from: group.position,
        to: group.position,
        sequences: due.sequences,
    };
    // Those are at or below the position: nothing is new there.
    plan.sequences.retain(|&sequence| sequence <= plan.from);
    let is_all = found < max && found == plan.sequences.len();
    let not_due = is_all.then_some(NotDue {
        incarnation: group.incarnation,
        version: group.version,
        before_unix_ms: due.next_unix_ms.unwrap_or(u64::MAX),
    });
    let room = room(&group.settings, group.unacknowledged).min(max - plan.sequences.len());
    if room > 0 && group.position < head {
        let page = reader.list(&Query {
            after: group.position,
            until: head,
            filter: group.settings.delivered(),
            direction: Direction::Forward,
            limit: room,
        })?;
        plan.to = page.next.unwrap_or(head);
        let new = page.headers.iter().map(|header| header.sequence);
        plan.sequences.extend(new);
    }
    let is_worth_it = !plan.sequences.is_empty() || plan.to - plan.from >= SKIP_EVENTS_MIN;
    Ok(Planned {
        group,
        plan: is_worth_it.then_some(plan),
        not_due,
    })
}

/// How many more events may be outstanding.
fn room(settings: &Settings, unacknowledged: u32) -> usize {
    settings.unacknowledged_max.saturating_sub(unacknowledged) as usize
}
