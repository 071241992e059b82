//! Which events a group delivers next.

use super::Settings;
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
    // The position first: the group is read as of later, and may be ahead of it.
    let head = reader.position().sequence;
    let Some(group) = reader.group(name)? else {
        return Err(Rejection::UnknownGroup { name: name.clone() }.into());
    };
    let max = max.clamp(1, DELIVER_EVENTS_MAX);
    let due = reader.group_due(name, now_unix_ms, max)?;
    let mut plan = Plan {
        incarnation: group.incarnation,
        from: group.position,
        to: group.position,
        sequences: due.sequences,
    };
    // Those are at or below the position: nothing is new there.
    plan.sequences.retain(|&sequence| sequence <= plan.from);
    let room = room(&group.settings, group.unacknowledged).min(max - plan.sequences.len());
    if room > 0 && group.position < head {
        let page = reader.list(&Query {
            after: group.position,
            until: head,
            filter: group.settings.filter,
            direction: Direction::Forward,
            limit: room,
        })?;
        plan.to = page.next.unwrap_or(head);
        let new = page.headers.iter().map(|header| header.sequence);
        plan.sequences.extend(new);
    }
    let is_worth_it = !plan.sequences.is_empty() || plan.to - plan.from >= SKIP_EVENTS_MIN;
    Ok(is_worth_it.then_some(plan))
}

/// How many more events may be outstanding.
fn room(settings: &Settings, unacknowledged: u32) -> usize {
    settings.unacknowledged_max.saturating_sub(unacknowledged) as usize
}
