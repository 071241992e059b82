//! Commands: what is replicated and applied.
//!
//! A command is prepared once (validated, hashed, quantised, stamped with the proposer's time)
//! and encoded once; log, replication and apply pass the same bytes on. An *entry* is one or more
//! commands, each behind its length.

pub(crate) mod check;
mod codec;
mod coordination;
mod credentials;
mod level;

use bytes::Bytes;

pub use self::codec::{Batch, decode_batch, decode_batch_to, encode};
pub use self::coordination::{
    CreateGroup, DeleteCursor, DeleteGroup, Deliver, MoveParked, ParkedAction, SaveCursor, Settle,
    Settlement, UpdateGroup, Verdict,
};
pub use self::credentials::{
    AppendAudit, CreateToken, DeleteRole, PutRole, RevokeToken, RotateToken,
};
pub use self::level::{COORDINATION_LEVEL, CREDENTIALS_LEVEL, FEATURE_LEVEL, FEATURE_LEVEL_MIN};
use crate::core::limits::GROUP_DELETE_ROWS_MAX;
use crate::core::{
    Attributes, CursorName, Digest, Embedding, EmbeddingModel, GroupName, IntentLabel, Kind, Salt,
};
use crate::core::{IntentId, Parameters};
pub use crate::error::ParentName;

/// What changes a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The vault's first command.
    Create(Create),
    /// Events.
    Commit(Commit),
    /// A name for an intent.
    Label(Label),
    /// A higher feature level, once every member knows it.
    SetFeatureLevel(SetFeatureLevel),
    /// A new place for a cursor.
    SaveCursor(SaveCursor),
    /// The end of a cursor.
    DeleteCursor(DeleteCursor),
    /// A consumer group.
    CreateGroup(CreateGroup),
    /// The end of a consumer group.
    DeleteGroup(DeleteGroup),
    /// Events that a consumer of a group gets.
    Deliver(Deliver),
    /// What a group's consumers say about their deliveries.
    Settle(Settle),
    /// Parked events that are delivered again, or are done with.
    MoveParked(MoveParked),
    /// Another way for a consumer group to deliver.
    UpdateGroup(UpdateGroup),
    /// A token.
    CreateToken(CreateToken),
    /// A token in the place of another one.
    RotateToken(RotateToken),
    /// The end of a token.
    RevokeToken(RevokeToken),
    /// A role, or another meaning of one.
    PutRole(PutRole),
    /// The end of a role.
    DeleteRole(DeleteRole),
    /// What is to be known later of what was done, or was not allowed.
    AppendAudit(AppendAudit),
}

impl Command {
    /// The events of a commit; none of any other command.
    #[must_use]
    pub fn events(&self) -> &[PreparedEvent] {
        match self {
            Self::Commit(commit) => &commit.events,
            _ => &[],
        }
    }

    /// How many things it may change, at least 1: about how much work it is to apply.
    #[must_use]
    pub fn items(&self) -> usize {
        let items = match self {
            Self::Commit(commit) => commit.items(),
            Self::Deliver(deliver) => deliver.sequences.len(),
            Self::Settle(settle) => settle.settlements.len(),
            Self::MoveParked(moves) => moves.sequences.len(),
            Self::DeleteGroup(_) => GROUP_DELETE_ROWS_MAX,
            Self::AppendAudit(append) => append.records.len(),
            Self::Create(_)
            | Self::Label(_)
            | Self::SetFeatureLevel(_)
            | Self::SaveCursor(_)
            | Self::DeleteCursor(_)
            | Self::CreateGroup(_)
            | Self::UpdateGroup(_)
            | Self::CreateToken(_)
            | Self::RotateToken(_)
            | Self::RevokeToken(_)
            | Self::PutRole(_)
            | Self::DeleteRole(_) => 1,
        };
        items.max(1)
    }
}

/// The vault's first command: its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    /// Identity of the cluster (or of the embedded vault), random.
    pub cluster_id: u128,
    /// Identity of the history, random; restore and recovery change it.
    pub history_id: u128,
    /// Which behaviour of `apply` the vault follows.
    pub feature_level: u32,
    /// Dimension of embeddings; absent: the first embedded event's.
    pub dimension: Option<u16>,
    /// Model that makes the embeddings; absent: the first one that an embedded event names.
    pub model: Option<EmbeddingModel>,
    /// Settings of the intents.
    pub intents: Parameters,
    /// Proposer's time, milliseconds since the Unix epoch.
    pub unix_ms: u64,
}

/// Events that are stored together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Proposer's time, milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// 1 to 1,000 events, in their order.
    pub events: Vec<PreparedEvent>,
    /// What must hold of the state before the commit.
    pub preconditions: Vec<Precondition>,
}

impl Commit {
    /// Where a cursor would go that is beyond the end of a vault whose last event is at `last`, once all events of this
    /// commit are stored after that; `None`: no cursor goes there.
    #[must_use]
    pub fn cursor_ahead(&self, last: u64) -> Option<u64> {
        let end = last.saturating_add(self.events.len() as u64);
        let goals = self
            .preconditions
            .iter()
            .filter_map(|condition| match condition {
                Precondition::CursorMove { to, .. } => Some(*to),
                _ => None,
            });
        goals.max().filter(|goal| *goal > end)
    }

    /// As [`Command::items`].
    #[must_use]
    pub fn items(&self) -> usize {
        (self.events.len() + self.preconditions.len()).max(1)
    }
}

/// Gives an intent a name that people know it by, or takes it off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Proposer's time, milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// The intent; of a retired one its successor is meant.
    pub intent: IntentId,
    /// The name; absent: none.
    pub label: Option<IntentLabel>,
}

/// Raises the vault's feature level; to one that it has already, or has passed, it changes nothing.
///
/// Part of level 1, so that every build can read it, and stops before what it cannot apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetFeatureLevel {
    /// Proposer's time, milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// The level that every member knows.
    pub level: u32,
}

/// An event that has been checked, but has no place in the order yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedEvent {
    /// What the event is about.
    pub kind: Kind,
    /// The payload.
    pub payload: Bytes,
    /// BLAKE3 of the payload.
    pub payload_digest: Digest,
    /// Makes a repeat an event of its own.
    pub salt: Salt,
    /// The events this one depends on; `Batch` names an earlier event of the same commit.
    pub parents: Vec<ParentName>,
    /// The embedding.
    pub embedding: Option<Embedding>,
    /// The model that made the embedding, where the caller says so.
    pub model: Option<EmbeddingModel>,
    /// Who, what type, and further pairs.
    pub attributes: Attributes,
}

/// Something that must hold of the state before a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Precondition {
    /// No event of this kind has this parent yet: of many claimants exactly one succeeds.
    NoChild {
        /// The parent, which is in the vault (not `Batch`).
        parent: ParentName,
        /// The kind.
        kind: Kind,
    },
    /// The last event of a kind is at this sequence; 0: there is none.
    KindSequence {
        /// The kind.
        kind: Kind,
        /// The sequence.
        sequence: u64,
    },
    /// The vault's time has passed this one (it is equal or later).
    TimePassed {
        /// Milliseconds since the Unix epoch.
        unix_ms: u64,
    },
    /// A cursor moves, atomically with the commit's events.
    CursorMove {
        /// The cursor.
        name: CursorName,
        /// Where it must be; 0 if there is none.
        from: u64,
        /// Where it goes: at most the commit's last event. Who proposes the commit sees to that
        /// ([`Commit::cursor_ahead`]); `apply` does not.
        to: u64,
    },
    /// The last event whose kind starts with a prefix is at this sequence; 0: there is none. Costs a look-up
    /// for each kind with the prefix; it does not hold where there are more than 1,000. Needs feature level 2.
    KindPrefixSequence {
        /// What the kind starts with: 1 to 255 bytes, no control characters.
        prefix: String,
        /// The sequence.
        sequence: u64,
    },
    /// A delivery of a group is the event's current one: it is leased, and has not been delivered again, whether
    /// or not its time is over. Together with the commit it is acknowledged. Needs feature level 2.
    ///
    /// Where all of the commit's events are stored already, the commit succeeds whatever the delivery is, and
    /// acknowledges it if it is current.
    Acknowledge {
        /// The group.
        group: GroupName,
        /// Which group of that name.
        incarnation: u64,
        /// The event.
        sequence: u64,
        /// Which of its deliveries, from 1.
        delivery: u32,
    },
}
