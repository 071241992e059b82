//! Consumer groups: what they are made of. [`crate::group`] says what they are for.

mod settings;

pub use self::settings::{
    ACK_TIMEOUT_MS_DEFAULT, Changes, DELIVERIES_MAX_DEFAULT, Settings, UNACKNOWLEDGED_MAX_DEFAULT,
};
use super::{ConsumerName, GroupName};

/// A consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: GroupName,
    /// Which group of that name: the revision of its creation (in a restored vault, of the restore).
    pub incarnation: u64,
    /// Which events it gets, and how.
    pub settings: Settings,
    /// The event up to which it has delivered everything; 0: none.
    pub position: u64,
    /// Events that are outstanding.
    pub unacknowledged: u32,
    /// Events that are parked.
    pub parked: u32,
    /// The vault's time at its creation, milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
    /// Counts what may have made an outstanding event due earlier than its lease says: as long as it is the same, what
    /// was known not to be due before a time is not, but for what was delivered since.
    pub version: u64,
    /// It is being deleted: it delivers nothing, and nothing of it can be settled.
    pub is_ending: bool,
}

impl Group {
    /// Why a group with the settings that are `wanted` cannot be made while there is this one, to follow its name;
    /// `None`: it is the one that is wanted.
    #[must_use]
    pub fn refuses(&self, wanted: &Settings) -> Option<String> {
        if self.is_ending {
            return Some("that is being deleted".to_owned());
        }
        let differs = self.settings != *wanted;
        differs.then(|| format!("with other settings: {}", self.settings.against(wanted)))
    }
}

/// An event that was delivered, and not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The event.
    pub sequence: u64,
    /// How often it was delivered, ever. Never goes down, so that it names the last delivery.
    pub deliveries: u32,
    /// How many of them do not count against the group's bound: those before it was last replayed, and those of
    /// which a consumer has said that it did nothing to the event.
    pub forgiven: u32,
    /// Who has it.
    pub state: ItemState,
}

impl Item {
    /// Whether it is to be delivered at `now_unix_ms`.
    #[must_use]
    pub const fn is_due(&self, now_unix_ms: u64) -> bool {
        self.due_unix_ms() <= now_unix_ms
    }

    /// From when on it is to be delivered again.
    #[must_use]
    pub const fn due_unix_ms(&self) -> u64 {
        match &self.state {
            ItemState::Leased {
                deadline_unix_ms, ..
            } => *deadline_unix_ms,
            ItemState::Waiting {
                not_before_unix_ms, ..
            } => *not_before_unix_ms,
        }
    }

    /// Whether it has had all the deliveries that `settings` give it.
    #[must_use]
    pub const fn is_exhausted(&self, settings: &Settings) -> bool {
        self.deliveries.saturating_sub(self.forgiven) >= settings.deliveries_max
    }

    /// Whether `delivery` is its last one and a consumer has it.
    #[must_use]
    pub const fn is_leased_at(&self, delivery: u32) -> bool {
        matches!(self.state, ItemState::Leased { .. }) && self.deliveries == delivery
    }
}

/// Who has an outstanding event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemState {
    /// A consumer, until it says what became of the event, or its time is over and another one gets it.
    Leased {
        /// The consumer.
        consumer: ConsumerName,
        /// When its time is over, milliseconds since the Unix epoch.
        deadline_unix_ms: u64,
    },
    /// Nobody: it is to be delivered again.
    Waiting {
        /// Not before this time, milliseconds since the Unix epoch.
        not_before_unix_ms: u64,
        /// Why it was given back; empty where no reason was given.
        reason: String,
    },
}

/// An event that was put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// The event.
    pub sequence: u64,
    /// How often it was delivered, ever.
    pub deliveries: u32,
    /// When it was parked, milliseconds since the Unix epoch.
    pub parked_unix_ms: u64,
    /// Why.
    pub reason: String,
}

/// An event in the hands of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The event.
    pub sequence: u64,
    /// Which of its deliveries, from 1. With group, incarnation and sequence it names this one delivery.
    pub delivery: u32,
    /// By when it must be settled, milliseconds since the Unix epoch, of the vault's time.
    pub deadline_unix_ms: u64,
}

/// What a settlement did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettleOutcome {
    /// What it said. Where the parking place is full, the event waits for a delivery after the group's timeout
    /// instead.
    Done,
    /// Nothing: that delivery is settled already, or is not the event's last one.
    Stale,
}
