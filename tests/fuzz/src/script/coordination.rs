//! Commands of cursors and consumer groups.

use arbitrary::{Result, Unstructured};
use toka_ledger::command::{
    Command, CreateGroup, DeleteCursor, DeleteGroup, Deliver, MoveParked, ParkedAction,
    Precondition, SaveCursor, Settle, Settlement, UpdateGroup, Verdict,
};
use toka_ledger::group::{self, Group, Item};
use toka_ledger::{ConsumerName, CursorName, GroupName, Reader};

use super::{CURSORS, KINDS, number, time};

const GROUPS: [&str; 2] = ["g", "g/h"];

/// What there is of groups.
#[derive(Default)]
pub(super) struct Groups {
    groups: Vec<Group>,
    /// Some that are outstanding, of all groups.
    items: Vec<Item>,
}

impl Groups {
    pub(super) fn look(&mut self, reader: &Reader) {
        self.groups = reader.groups().expect("readable");
        let items = |group: &Group| reader.group_items(&group.name, 0, 8).expect("readable");
        self.items = self.groups.iter().flat_map(items).collect();
    }

    /// The next command. May be one that validation refuses.
    pub(super) fn command(&self, input: &mut Unstructured<'_>) -> Result<Command> {
        let unix_ms = time(input)?;
        Ok(match input.int_in_range(0_u8..=16)? {
            0 | 1 => Command::SaveCursor(SaveCursor {
                unix_ms,
                name: cursor(input)?,
                from: optional(input)?,
                to: number(input)?,
            }),
            2 => Command::DeleteCursor(DeleteCursor {
                unix_ms,
                name: cursor(input)?,
                from: optional(input)?,
            }),
            3 | 4 => Command::CreateGroup(CreateGroup {
                unix_ms,
                name: name(input)?,
                settings: settings(input)?,
                position: number(input)?,
            }),
            5 => {
                let (name, incarnation, _) = self.group(input)?;
                Command::DeleteGroup(DeleteGroup {
                    unix_ms,
                    name,
                    incarnation,
                })
            }
            16 => {
                let (name, incarnation, _) = self.group(input)?;
                Command::UpdateGroup(UpdateGroup {
                    unix_ms,
                    name,
                    incarnation,
                    changes: group::Changes {
                        unacknowledged_max: Some(input.int_in_range(1..=3)?),
                        ..group::Changes::default()
                    },
                })
            }
            6..=9 => Command::Deliver(self.deliver(input, unix_ms)?),
            10..=13 => {
                let (group, incarnation, _) = self.group(input)?;
                let settlements = (0..input.int_in_range(0_u8..=3)?)
                    .map(|_| self.settlement(input))
                    .collect::<Result<_>>()?;
                Command::Settle(Settle {
                    unix_ms,
                    group,
                    incarnation,
                    settlements,
                })
            }
            _ => {
                let (group, incarnation, _) = self.group(input)?;
                Command::MoveParked(MoveParked {
                    unix_ms,
                    group,
                    incarnation,
                    sequences: sequences(input, 1)?,
                    action: if input.arbitrary()? {
                        ParkedAction::Replay
                    } else {
                        ParkedAction::Discard
                    },
                })
            }
        })
    }

    pub(super) fn acknowledge(&self, input: &mut Unstructured<'_>) -> Result<Precondition> {
        let (group, incarnation, _) = self.group(input)?;
        let (sequence, delivery) = self.delivery(input)?;
        Ok(Precondition::Acknowledge {
            group,
            incarnation,
            sequence,
            delivery,
        })
    }

    /// A group, mostly one that there is, its incarnation and its position.
    fn group(&self, input: &mut Unstructured<'_>) -> Result<(GroupName, u64, u64)> {
        if self.groups.is_empty() || input.ratio(1_u8, 16_u8)? {
            return Ok((name(input)?, number(input)?, number(input)?));
        }
        let group = input.choose(&self.groups)?;
        Ok((group.name.clone(), group.incarnation, group.position))
    }

    /// An outstanding event and the number of its delivery, mostly.
    fn delivery(&self, input: &mut Unstructured<'_>) -> Result<(u64, u32)> {
        if self.items.is_empty() || input.ratio(1_u8, 8_u8)? {
            return Ok((number(input)?, input.int_in_range(0..=3)?));
        }
        let item = input.choose(&self.items)?;
        Ok((item.sequence, item.deliveries))
    }

    fn deliver(&self, input: &mut Unstructured<'_>, unix_ms: u64) -> Result<Deliver> {
        let (group, incarnation, from) = self.group(input)?;
        let first = if input.arbitrary()? {
            1
        } else {
            from.saturating_add(1)
        };
        let sequences = sequences(input, first)?;
        let last = sequences.last().copied().unwrap_or(from);
        Ok(Deliver {
            unix_ms,
            group,
            incarnation,
            consumer: ConsumerName::new("c").expect("valid"),
            from,
            to: last.max(from),
            sequences,
        })
    }

    fn settlement(&self, input: &mut Unstructured<'_>) -> Result<Settlement> {
        let (sequence, delivery) = self.delivery(input)?;
        let verdict = match input.int_in_range(0_u8..=4)? {
            0 => Verdict::Acknowledge,
            1 => Verdict::Extend,
            2 => Verdict::Park {
                reason: input.arbitrary()?,
            },
            3 => Verdict::Release,
            _ => Verdict::Reject {
                delay_ms: input.int_in_range(0..=200)?,
                reason: "a reason".to_owned(),
            },
        };
        Ok(Settlement {
            sequence,
            delivery,
            verdict,
        })
    }
}

pub(super) fn prefix(input: &mut Unstructured<'_>) -> Result<Precondition> {
    Ok(Precondition::KindPrefixSequence {
        prefix: (*input.choose(&KINDS)?).to_owned(),
        sequence: number(input)?,
    })
}

/// A few, from `first` on, with gaps.
fn sequences(input: &mut Unstructured<'_>, first: u64) -> Result<Vec<u64>> {
    let mut sequences = Vec::new();
    let mut next = first;
    for _ in 0..input.int_in_range(0_u8..=4)? {
        sequences.push(next);
        next = next.saturating_add(input.int_in_range(1..=2)?);
    }
    Ok(sequences)
}

fn optional(input: &mut Unstructured<'_>) -> Result<Option<u64>> {
    let has: bool = input.arbitrary()?;
    has.then(|| number(input)).transpose()
}

fn cursor(input: &mut Unstructured<'_>) -> Result<CursorName> {
    Ok(CursorName::new(input.choose(&CURSORS)?).expect("valid"))
}

fn name(input: &mut Unstructured<'_>) -> Result<GroupName> {
    Ok(GroupName::new(input.choose(&GROUPS)?).expect("valid"))
}

fn settings(input: &mut Unstructured<'_>) -> Result<group::Settings> {
    let mut settings = group::Settings {
        ack_timeout_ms: input.int_in_range(100..=101)?,
        unacknowledged_max: input.int_in_range(1..=3)?,
        deliveries_max: input.int_in_range(1..=2)?,
        ..group::Settings::default()
    };
    if input.ratio(1_u8, 8_u8)? {
        let prefix = input.arbitrary()?;
        settings.filter.kind_prefixes.push(prefix);
    }
    Ok(settings)
}
