//! Where an agent is in what it does with an event.

use std::fmt;

/// A step of dealing with one event. They come in this order; the last two are of agents with a cursor and with a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// The event has come.
    Received,
    /// It was folded into the state.
    Applied,
    /// The handler has reacted, or has failed.
    Handled,
    /// What it emits is put together and about to be committed.
    Committing,
    /// The commit was acknowledged by the vault.
    Committed,
    /// An effect was carried out, which is not recorded yet.
    EffectDone,
    /// That an effect was carried out was recorded.
    EffectRecorded,
    /// The cursor was moved without a commit of events.
    CursorSaved,
    /// The group was told what has become of a delivery, without a commit of events.
    Settled,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Received,
        Self::Applied,
        Self::Handled,
        Self::Committing,
        Self::Committed,
        Self::EffectDone,
        Self::EffectRecorded,
        Self::CursorSaved,
        Self::Settled,
    ];

    /// Its name, as `committed`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Applied => "applied",
            Self::Handled => "handled",
            Self::Committing => "committing",
            Self::Committed => "committed",
            Self::EffectDone => "effect_done",
            Self::EffectRecorded => "effect_recorded",
            Self::CursorSaved => "cursor_saved",
            Self::Settled => "settled",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Is told of each step as it is reached: tests end the process there, and whoever goes through a run step by step holds
/// it up.
pub trait Probe: Send + Sync + fmt::Debug + 'static {
    /// The step was reached, of the event at this sequence.
    fn reached(&self, step: Step, sequence: u64);
}

/// Does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProbe;

impl Probe for NoProbe {
    fn reached(&self, _step: Step, _sequence: u64) {}
}
