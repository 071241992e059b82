//! Commands of consumer groups, and what they come to.

#![allow(dead_code, reason = "each test file uses a part of it")]

use toka_ledger::command::{
    Command, CreateGroup, DeleteGroup, Deliver, MoveParked, ParkedAction, Settle, Settlement,
    UpdateGroup, Verdict,
};
use toka_ledger::group::{self, Delivery, Group, SettleOutcome};
use toka_ledger::{ConsumerName, GroupName, Outcome};

use crate::apply_support::Vault;

/// Time in which a consumer of these groups must acknowledge, milliseconds.
pub(crate) const TIMEOUT: u64 = 1_000;

pub(crate) fn name() -> GroupName {
    GroupName::new("workers").expect("valid")
}

pub(crate) fn consumer(consumer: &str) -> ConsumerName {
    ConsumerName::new(consumer).expect("valid")
}

/// Tasks, at most three outstanding, two deliveries each.
pub(crate) fn settings() -> group::Settings {
    let mut settings = group::Settings {
        ack_timeout_ms: 1_000,
        unacknowledged_max: 3,
        deliveries_max: 2,
        ..group::Settings::default()
    };
    settings.filter.kind_prefixes.push("task".to_owned());
    settings
}

pub(crate) fn create_group(unix_ms: u64, settings: group::Settings, position: u64) -> Command {
    Command::CreateGroup(CreateGroup {
        unix_ms,
        name: name(),
        settings,
        position,
    })
}

pub(crate) fn delete_group(unix_ms: u64, incarnation: u64) -> Command {
    Command::DeleteGroup(DeleteGroup {
        unix_ms,
        name: name(),
        incarnation,
    })
}

pub(crate) fn update_group(unix_ms: u64, incarnation: u64, changes: group::Changes) -> Command {
    Command::UpdateGroup(UpdateGroup {
        unix_ms,
        name: name(),
        incarnation,
        changes,
    })
}

pub(crate) fn settle(
    unix_ms: u64,
    incarnation: u64,
    settlements: impl IntoIterator<Item = (u64, u32, Verdict)>,
) -> Command {
    let settlements = settlements.into_iter();
    let settlements = settlements.map(|(sequence, delivery, verdict)| Settlement {
        sequence,
        delivery,
        verdict,
    });
    Command::Settle(Settle {
        unix_ms,
        group: name(),
        incarnation,
        settlements: settlements.collect(),
    })
}

pub(crate) fn move_parked(
    unix_ms: u64,
    incarnation: u64,
    sequences: Vec<u64>,
    action: ParkedAction,
) -> Command {
    Command::MoveParked(MoveParked {
        unix_ms,
        group: name(),
        incarnation,
        sequences,
        action,
    })
}

impl Vault {
    /// A vault with a group, from the beginning.
    pub(crate) fn with_group(unix_ms: u64, settings: group::Settings) -> (Self, Group) {
        let mut vault = Self::new();
        let group = vault.created(create_group(unix_ms, settings, 0));
        (vault, group)
    }

    pub(crate) fn created(&mut self, command: Command) -> Group {
        match self.apply(&[command]).remove(0) {
            Outcome::GroupCreated { group, .. } => group,
            other => panic!("not created: {other:?}"),
        }
    }

    /// The group as it is.
    pub(crate) fn group(&self) -> Group {
        let group = self.ledger.reader().group(&name()).expect("readable");
        group.expect("there is a group")
    }

    /// The command of the group's next delivery, if there is anything to deliver.
    pub(crate) fn planned(&self, unix_ms: u64, to: &str, max: usize) -> Option<Command> {
        let reader = self.ledger.reader();
        let plan = group::plan_delivery(&reader, &name(), unix_ms, max).expect("readable")?;
        Some(Command::Deliver(Deliver {
            unix_ms,
            group: name(),
            incarnation: plan.incarnation,
            consumer: consumer(to),
            from: plan.from,
            to: plan.to,
            sequences: plan.sequences,
        }))
    }

    /// Delivers what there is; returns what was delivered, and how many events were parked instead.
    pub(crate) fn pull(&mut self, unix_ms: u64, to: &str, max: usize) -> (Vec<Delivery>, u32) {
        match self.planned(unix_ms, to, max) {
            Some(command) => delivered(self.apply(&[command]).remove(0)),
            None => (Vec::new(), 0),
        }
    }

    /// Settles deliveries of the group as it is.
    pub(crate) fn settle(
        &mut self,
        unix_ms: u64,
        settlements: impl IntoIterator<Item = (u64, u32, Verdict)>,
    ) -> Vec<SettleOutcome> {
        let command = settle(unix_ms, self.group().incarnation, settlements);
        match self.apply(&[command]).remove(0) {
            Outcome::Settled { outcomes, .. } => outcomes,
            other => panic!("not settled: {other:?}"),
        }
    }

    /// What the group has put aside.
    pub(crate) fn parked(&self) -> Vec<u64> {
        let parked = self.ledger.reader().group_parked(&name(), 0, 1_000);
        let parked = parked.expect("readable").into_iter();
        parked.map(|parked| parked.sequence).collect()
    }

    pub(crate) fn moved(&mut self, unix_ms: u64, of: Vec<u64>, action: ParkedAction) -> u32 {
        let command = move_parked(unix_ms, self.group().incarnation, of, action);
        match self.apply(&[command]).remove(0) {
            Outcome::ParkedMoved { moved, .. } => moved,
            other => panic!("not moved: {other:?}"),
        }
    }
}

pub(crate) fn delivered(outcome: Outcome) -> (Vec<Delivery>, u32) {
    match outcome {
        Outcome::Delivered {
            deliveries, parked, ..
        } => (deliveries, parked),
        other => panic!("not delivered: {other:?}"),
    }
}

/// Sequence and delivery of each.
pub(crate) fn places(deliveries: &[Delivery]) -> Vec<(u64, u32)> {
    let place = |delivery: &Delivery| (delivery.sequence, delivery.delivery);
    deliveries.iter().map(place).collect()
}
