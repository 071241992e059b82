//! Random commands of cursors and consumer groups.

use proptest::prelude::*;
use toka_ledger::command::{
    Command, CreateGroup, DeleteCursor, DeleteGroup, Deliver, MoveParked, ParkedAction,
    Precondition, SaveCursor, Settle, Settlement, UpdateGroup, Verdict,
};
use toka_ledger::group::{self, Group};
use toka_ledger::{ConsumerName, CursorName, GroupName, Reader};

use super::CURSORS;

const GROUPS: [&str; 2] = ["g", "g/h"];

/// A delivery that is settled: one that is outstanding, whether its number is the right one, the verdict.
type SettlementSpec = (usize, bool, u8);

#[derive(Clone, Debug)]
pub(crate) enum CoordinationSpec {
    /// From the cursor's real place, or one above it, or anywhere.
    SaveCursor(usize, Option<bool>, u8),
    DeleteCursor(usize, bool),
    /// With one of two settings, behind an event.
    CreateGroup(usize, bool, u8),
    DeleteGroup(usize),
    /// With so many outstanding at most.
    UpdateGroup(usize, u32),
    /// What is planned, for so many events.
    Deliver(usize, usize),
    /// What nobody would plan: from the group's real place or one above it, so many events.
    WildDeliver(usize, bool, u8),
    Settle(usize, Vec<SettlementSpec>),
    MoveParked(usize, bool, bool),
}

pub(crate) fn coordination() -> impl Strategy<Value = CoordinationSpec> {
    let cursor = || 0..CURSORS.len();
    let group = || 0..GROUPS.len();
    let settlement = (0..4_usize, prop::bool::weighted(0.8), 0..6_u8);
    prop_oneof![
        3 => (cursor(), any::<Option<bool>>(), 0..16_u8)
            .prop_map(|(name, from, to)| CoordinationSpec::SaveCursor(name, from, to)),
        4 => (cursor(), any::<bool>())
            .prop_map(|(name, from)| CoordinationSpec::DeleteCursor(name, from)),
        3 => (group(), any::<bool>(), 0..8_u8)
            .prop_map(|(name, is_small, at)| CoordinationSpec::CreateGroup(name, is_small, at)),
        2 => group().prop_map(CoordinationSpec::DeleteGroup),
        2 => (group(), 1..5_u32).prop_map(|(name, max)| CoordinationSpec::UpdateGroup(name, max)),
        6 => (group(), 1..5_usize).prop_map(|(name, max)| CoordinationSpec::Deliver(name, max)),
        3 => (group(), any::<bool>(), 0..4_u8)
            .prop_map(|(name, holds, count)| CoordinationSpec::WildDeliver(name, holds, count)),
        6 => (group(), prop::collection::vec(settlement, 0..4))
            .prop_map(|(name, specs)| CoordinationSpec::Settle(name, specs)),
        2 => (group(), any::<bool>(), any::<bool>())
            .prop_map(|(name, all, replays)| CoordinationSpec::MoveParked(name, all, replays)),
    ]
}

fn group_name(group: usize) -> GroupName {
    GroupName::new(GROUPS[group]).expect("valid")
}

fn found(reader: &Reader, name: &GroupName) -> Option<Group> {
    reader.group(name).expect("readable")
}

fn incarnation(reader: &Reader, name: &GroupName) -> u64 {
    found(reader, name).map_or(0, |group| group.incarnation)
}

/// Acknowledges a delivery of an outstanding event, or of none.
pub(crate) fn acknowledge(reader: &Reader, group: usize, pick: usize, holds: bool) -> Precondition {
    let group = group_name(group);
    let (sequence, delivery) = outstanding(reader, &group, pick);
    Precondition::Acknowledge {
        incarnation: incarnation(reader, &group),
        group,
        sequence,
        delivery: delivery + u32::from(!holds),
    }
}

fn outstanding(reader: &Reader, group: &GroupName, pick: usize) -> (u64, u32) {
    let items = reader.group_items(group, 0, 10).expect("readable");
    let item = items.get(pick % items.len().max(1));
    item.map_or((1, 1), |item| (item.sequence, item.deliveries))
}

fn settings(is_small: bool) -> group::Settings {
    let mut settings = group::Settings {
        ack_timeout_ms: if is_small { 100 } else { 300 },
        unacknowledged_max: if is_small { 2 } else { 5 },
        deliveries_max: 2,
        ..group::Settings::default()
    };
    settings.filter.kind_prefixes.push("task".to_owned());
    settings
}

impl CoordinationSpec {
    /// The command for the vault that `reader` reads.
    pub(crate) fn command(&self, reader: &Reader, unix_ms: u64) -> Command {
        let cursor = |name: usize| CursorName::new(CURSORS[name]).expect("valid");
        let place = |name: &CursorName, holds: bool| {
            let at = reader.cursor(name).expect("readable").unwrap_or(0);
            at + u64::from(!holds)
        };
        match self {
            Self::SaveCursor(name, from, to) => {
                let name = cursor(*name);
                Command::SaveCursor(SaveCursor {
                    unix_ms,
                    from: from.map(|holds| place(&name, holds)),
                    name,
                    to: u64::from(*to),
                })
            }
            Self::DeleteCursor(name, holds) => {
                let name = cursor(*name);
                Command::DeleteCursor(DeleteCursor {
                    unix_ms,
                    from: Some(place(&name, *holds)),
                    name,
                })
            }
            Self::CreateGroup(group, is_small, position) => Command::CreateGroup(CreateGroup {
                unix_ms,
                name: group_name(*group),
                settings: settings(*is_small),
                position: u64::from(*position),
            }),
            Self::DeleteGroup(group) => Command::DeleteGroup(DeleteGroup {
                unix_ms,
                incarnation: incarnation(reader, &group_name(*group)),
                name: group_name(*group),
            }),
            Self::UpdateGroup(group, unacknowledged_max) => Command::UpdateGroup(UpdateGroup {
                unix_ms,
                incarnation: incarnation(reader, &group_name(*group)),
                name: group_name(*group),
                changes: group::Changes {
                    unacknowledged_max: Some(*unacknowledged_max),
                    ..group::Changes::default()
                },
            }),
            Self::Deliver(group, max) => planned(reader, unix_ms, &group_name(*group), *max),
            Self::WildDeliver(group, holds, count) => {
                let group = group_name(*group);
                let found = found(reader, &group);
                let at = found.as_ref().map_or(0, |group| group.position);
                let from = at + u64::from(!holds);
                deliver(unix_ms, &group, &found, from, from + u64::from(*count))
            }
            Self::Settle(group, specs) => {
                let group = group_name(*group);
                let settlements = specs.iter().map(|spec| settlement(reader, &group, *spec));
                Command::Settle(Settle {
                    unix_ms,
                    settlements: settlements.collect(),
                    incarnation: incarnation(reader, &group),
                    group,
                })
            }
            Self::MoveParked(group, all, replays) => {
                let group = group_name(*group);
                Command::MoveParked(MoveParked {
                    unix_ms,
                    incarnation: incarnation(reader, &group),
                    group,
                    sequences: if *all {
                        (1..60).collect()
                    } else {
                        vec![1, 2, 5, 6]
                    },
                    action: if *replays {
                        ParkedAction::Replay
                    } else {
                        ParkedAction::Discard
                    },
                })
            }
        }
    }
}

/// What the group delivers next; where there is no group, or nothing, a delivery of nothing.
fn planned(reader: &Reader, unix_ms: u64, group: &GroupName, max: usize) -> Command {
    let found = found(reader, group);
    let now = reader.position().unix_ms.max(unix_ms);
    let plan = found
        .as_ref()
        .and_then(|_| group::plan_delivery(reader, group, now, max).expect("readable"));
    let Some(plan) = plan else {
        let at = found.as_ref().map_or(0, |group| group.position);
        return deliver(unix_ms, group, &found, at, at);
    };
    Command::Deliver(Deliver {
        unix_ms,
        group: group.clone(),
        incarnation: plan.incarnation,
        consumer: ConsumerName::new("robot").expect("valid"),
        from: plan.from,
        to: plan.to,
        sequences: plan.sequences,
    })
}

/// A delivery of everything from the first event on.
fn deliver(unix_ms: u64, group: &GroupName, found: &Option<Group>, from: u64, to: u64) -> Command {
    Command::Deliver(Deliver {
        unix_ms,
        group: group.clone(),
        incarnation: found.as_ref().map_or(0, |group| group.incarnation),
        consumer: ConsumerName::new("wild").expect("valid"),
        from,
        to,
        sequences: (1..=to).collect(),
    })
}

fn settlement(
    reader: &Reader,
    group: &GroupName,
    (pick, holds, verdict): SettlementSpec,
) -> Settlement {
    let (sequence, delivery) = outstanding(reader, group, pick);
    let reason = "reason".to_owned();
    Settlement {
        sequence,
        delivery: delivery + u32::from(!holds),
        verdict: match verdict {
            0 | 1 => Verdict::Acknowledge,
            2 => Verdict::Reject {
                delay_ms: 50,
                reason,
            },
            3 => Verdict::Extend,
            4 => Verdict::Release,
            _ => Verdict::Park { reason },
        },
    }
}
