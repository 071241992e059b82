//! Commands of cursors and consumer groups. They need feature level 2.

use super::check::check_count;
use crate::core::limits::{
    DELIVER_EVENTS_MAX, GROUP_DELAY_MS_MAX, PARKED_MOVES_MAX, REASON_BYTES_MAX, SETTLE_ITEMS_MAX,
};
use crate::core::{ConsumerName, CursorName, GroupName, groups};
use crate::error::Invalid;

/// Puts a cursor somewhere, and makes it where there is none of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaveCursor {
    /// Proposer's time, milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// The cursor.
    pub name: CursorName,
    /// Where it must be, 0 if there is none; absent: it may be anywhere. Where it is at `to` already, nothing is to
    /// be done, so that a repeat succeeds.
    pub from: Option<u64>,
    /// Where it goes: a sequence that the vault has, or 0.
    pub to: u64,
}

/// Removes a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteCursor {
    /// Proposer's time, milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// The cursor.
    pub name: CursorName,
    /// Where it must be; absent: it may be anywhere.
    pub from: Option<u64>,
}

/// Makes a consumer group. If there is one of that name with the same settings it stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateGroup {
    /// Proposer's time, milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// The group.
    pub name: GroupName,
    /// Which events it gets, and how.
    pub settings: groups::Settings,
    /// It gets events after this sequence, which the vault has, or 0.
    pub position: u64,
}

/// Removes a consumer group and all that it has outstanding or parked, up to 2,000 of those events at a time. A group
/// of which there is more left is *ending*: it delivers nothing, and the command is to be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteGroup {
    /// Proposer's time, milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// The group.
    pub name: GroupName,
    /// Which group of that name.
    pub incarnation: u64,
}

/// Changes how a consumer group delivers. What is absent stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateGroup {
    /// Proposer's time, milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// The group.
    pub name: GroupName,
    /// Which group of that name.
    pub incarnation: u64,
    /// What changes.
    pub changes: groups::Changes,
}

/// Leases events to a consumer, and moves the group's position.
///
/// The proposer looks for the events ([`plan_delivery`](crate::group::plan_delivery)); `apply` does not evaluate the filter. Of the
/// sequences those up to `from` must be outstanding and due; those above it are new, and become outstanding.
/// What cannot be delivered is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deliver {
    /// Proposer's time, milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// The group.
    pub group: GroupName,
    /// Which group of that name.
    pub incarnation: u64,
    /// Who gets the events.
    pub consumer: ConsumerName,
    /// Where the group's position must be.
    pub from: u64,
    /// Where it goes: a sequence that the vault has, not below `from`. Of the events in between, all that the
    /// group gets are named.
    pub to: u64,
    /// At most 1,000, ascending, none above `to`.
    pub sequences: Vec<u64>,
}

/// Says of deliveries what became of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settle {
    /// Proposer's time, milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// The group.
    pub group: GroupName,
    /// Which group of that name.
    pub incarnation: u64,
    /// At most 1,000, each of which sees what those before it did.
    pub settlements: Vec<Settlement>,
}

/// What became of one delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The event.
    pub sequence: u64,
    /// Which of its deliveries, from 1.
    pub delivery: u32,
    /// What became of it.
    pub verdict: Verdict,
}

/// What a consumer says about a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is done with.
    Acknowledge,
    /// It is to be delivered again; parked if it has had all its deliveries.
    Reject {
        /// Not before this time has passed, milliseconds.
        delay_ms: u32,
        /// Why, up to 256 bytes.
        reason: String,
    },
    /// The consumer needs more time: from now on as much as it had at first.
    Extend,
    /// It is to be put aside.
    Park {
        /// Why, up to 256 bytes.
        reason: String,
    },
    /// Nothing was done to it: it is to be delivered again, and this delivery does not count against the group's
    /// bound.
    Release,
}

/// Moves parked events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveParked {
    /// Proposer's time, milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// The group.
    pub group: GroupName,
    /// Which group of that name.
    pub incarnation: u64,
    /// At most 1,000, ascending; those that are not parked are left out.
    pub sequences: Vec<u64>,
    /// Where to.
    pub action: ParkedAction,
}

/// What becomes of parked events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParkedAction {
    /// They are delivered again, and have all their deliveries again.
    Replay,
    /// They are done with.
    Discard,
}

impl Deliver {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        const FIELD: &str = "sequences";
        check_count(FIELD, DELIVER_EVENTS_MAX, self.sequences.len())?;
        check_ascending(FIELD, &self.sequences)?;
        if self.from > self.to {
            return Err(Invalid::OutOfRange {
                field: "from",
                min: 0,
                max: self.to,
                actual: self.from,
            });
        }
        match self.sequences.last() {
            Some(&last) if last > self.to => Err(Invalid::OutOfRange {
                field: FIELD,
                min: 1,
                max: self.to,
                actual: last,
            }),
            _ => Ok(()),
        }
    }
}

impl Settle {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        check_count("settlements", SETTLE_ITEMS_MAX, self.settlements.len())?;
        self.settlements.iter().try_for_each(Settlement::check)
    }
}

impl Settlement {
    fn check(&self) -> Result<(), Invalid> {
        match &self.verdict {
            Verdict::Acknowledge | Verdict::Extend | Verdict::Release => Ok(()),
            Verdict::Reject { delay_ms, reason } => {
                check_delay(*delay_ms)?;
                check_reason(reason)
            }
            Verdict::Park { reason } => check_reason(reason),
        }
    }
}

fn check_delay(delay_ms: u32) -> Result<(), Invalid> {
    if delay_ms > GROUP_DELAY_MS_MAX {
        return Err(Invalid::OutOfRange {
            field: "delay_ms",
            min: 0,
            max: GROUP_DELAY_MS_MAX.into(),
            actual: delay_ms.into(),
        });
    }
    Ok(())
}

fn check_reason(reason: &str) -> Result<(), Invalid> {
    if reason.len() > REASON_BYTES_MAX {
        return Err(Invalid::TooLong {
            field: "reason",
            max: REASON_BYTES_MAX,
            actual: reason.len(),
        });
    }
    Ok(())
}

impl MoveParked {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        const FIELD: &str = "sequences";
        check_count(FIELD, PARKED_MOVES_MAX, self.sequences.len())?;
        check_ascending(FIELD, &self.sequences)
    }
}

/// Above 0, ascending, no sequence twice.
fn check_ascending(field: &'static str, sequences: &[u64]) -> Result<(), Invalid> {
    let is_ascending = sequences.is_sorted_by(|a, b| a < b);
    if is_ascending && sequences.first() != Some(&0) {
        return Ok(());
    }
    Err(Invalid::Syntax {
        field,
        expected: "in ascending order, from 1, without repeats",
    })
}
