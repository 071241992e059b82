//! What can go wrong.

use std::path::PathBuf;

use crate::core::{Digest, EventId, Kind};
use crate::engine::EngineError;

/// An input that breaks a rule; names the field, the limit and the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// A text or list that must not be empty is.
    #[error("{field} is empty")]
    Empty {
        /// The field.
        field: &'static str,
    },
    /// More bytes than allowed.
    #[error("{field} has {actual} bytes; at most {max} are allowed")]
    TooLong {
        /// The field.
        field: &'static str,
        /// The limit, bytes.
        max: usize,
        /// The size, bytes.
        actual: usize,
    },
    /// More items than allowed.
    #[error("{field} has {actual} items; at most {max} are allowed")]
    TooMany {
        /// The field.
        field: &'static str,
        /// The limit.
        max: usize,
        /// The number of items.
        actual: usize,
    },
    /// Not the one allowed size.
    #[error("{field} has {actual} bytes; it must have {expected}")]
    Length {
        /// The field.
        field: &'static str,
        /// The size it must have, bytes.
        expected: usize,
        /// The size it has, bytes.
        actual: usize,
    },
    /// A control character in a text.
    #[error("{field} has the control character U+{code:04X} at byte {offset}")]
    ControlCharacter {
        /// The field.
        field: &'static str,
        /// Where in the text, bytes.
        offset: usize,
        /// The character's code point.
        code: u32,
    },
    /// A name that the vault uses itself.
    #[error("{field} {name:?} is reserved; use the field of that name")]
    ReservedName {
        /// The field.
        field: &'static str,
        /// The name.
        name: String,
    },
    /// Not written as it must be.
    #[error("{field} is not {expected}")]
    Syntax {
        /// The field.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// NaN or infinity.
    #[error("{field} is not finite at index {index}")]
    NotFinite {
        /// The field.
        field: &'static str,
        /// Which component.
        index: usize,
    },
    /// A vector without a direction.
    #[error("{field} is zero everywhere")]
    ZeroNorm {
        /// The field.
        field: &'static str,
    },
    /// A quantised vector that is not of unit norm.
    #[error("{field} has the squared norm {norm_squared}; it must be 2^28 within 1 %")]
    NotUnitNorm {
        /// The field.
        field: &'static str,
        /// Sum of the squared components, Q28.
        norm_squared: i64,
    },
    /// Not the dimension of this vault.
    #[error(
        "{field} has {actual} dimensions; this vault has {expected}: vectors of another model belong into \
         another vault (`toka reembed` copies one)"
    )]
    Dimension {
        /// The field.
        field: &'static str,
        /// The vault's.
        expected: usize,
        /// The input's.
        actual: usize,
    },
    /// A vector of another model than those of this vault.
    #[error(
        "{field} is {actual:?}; the embeddings of this vault are of {}: vectors of another model \
         belong into another vault (`toka reembed` copies one)",
        expected.as_ref().map_or_else(|| "a model that was not named".to_owned(), |name| format!("{name:?}"))
    )]
    Model {
        /// The field.
        field: &'static str,
        /// The vault's; none: the first embedded event named none, so that it can be no other's.
        expected: Option<String>,
        /// The input's.
        actual: String,
    },
    /// A number outside its range.
    #[error("{field} is {actual}; it must be between {min} and {max}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// Lowest allowed value.
        min: u64,
        /// Highest allowed value.
        max: u64,
        /// The value.
        actual: u64,
    },
    /// An event of a batch that names itself or a later one as a parent.
    #[error(
        "event {event} of the batch names event {parent} as a parent; only earlier ones can be"
    )]
    BatchParent {
        /// Index in the batch.
        event: usize,
        /// Index that was named.
        parent: usize,
    },
    /// A claim (a commit that allows no other child) in which an event has no salt.
    #[error("event {event} of a claim has no salt; without one two claimants look the same")]
    ClaimWithoutSalt {
        /// Index in the batch.
        event: usize,
    },
    /// An event of a batch breaks a rule.
    #[error("event {event} of the batch: {invalid}")]
    InBatch {
        /// Index in the batch.
        event: usize,
        /// What is wrong with it.
        invalid: Box<Invalid>,
    },
    /// The payload's `Serialize` failed.
    #[error("payload cannot be encoded as MessagePack: {detail}")]
    Payload {
        /// What serde said.
        detail: String,
    },
}

impl Invalid {
    /// The field that is wrong.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Empty { field }
            | Self::TooLong { field, .. }
            | Self::TooMany { field, .. }
            | Self::Length { field, .. }
            | Self::ControlCharacter { field, .. }
            | Self::ReservedName { field, .. }
            | Self::Syntax { field, .. }
            | Self::NotFinite { field, .. }
            | Self::ZeroNorm { field }
            | Self::NotUnitNorm { field, .. }
            | Self::Dimension { field, .. }
            | Self::Model { field, .. }
            | Self::OutOfRange { field, .. } => field,
            Self::BatchParent { .. } => "parents",
            Self::ClaimWithoutSalt { .. } => "salt",
            Self::Payload { .. } => "payload",
            Self::InBatch { invalid, .. } => invalid.field(),
        }
    }
}

/// How a parent was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParentName {
    /// By its id.
    Id(EventId),
    /// By its digest.
    Digest(Digest),
    /// By its place in the batch.
    Batch(u16),
}

impl std::fmt::Display for ParentName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
            Self::Batch(index) => write!(f, "event {index} of the batch"),
        }
    }
}

/// A precondition that did not hold, with the actual state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// The parent has a child of that kind.
    #[error("{parent} already has a child of kind {kind}: {child}")]
    HasChild {
        /// The parent.
        parent: EventId,
        /// The kind.
        kind: Kind,
        /// The first such child.
        child: EventId,
    },
    /// The kind's last event is another one.
    #[error("the last event of kind {kind} is at sequence {actual}, not {expected}")]
    KindSequence {
        /// The kind.
        kind: Kind,
        /// What the precondition said; 0 for none.
        expected: u64,
        /// What is; 0 for none.
        actual: u64,
    },
    /// It is too early.
    #[error("the vault's time is {actual} ms, before {expected} ms")]
    TooEarly {
        /// What the precondition said, milliseconds since the Unix epoch.
        expected: u64,
        /// The vault's time.
        actual: u64,
    },
    /// The cursor is elsewhere.
    #[error("cursor {name} is at {actual}, not {expected}")]
    Cursor {
        /// The cursor.
        name: crate::core::CursorName,
        /// What the precondition said.
        expected: u64,
        /// Where it is; 0 if there is none.
        actual: u64,
    },
    /// The last event with a kind prefix is another one.
    #[error(
        "the last event whose kind starts with {prefix:?} is at sequence {actual}, not {expected}"
    )]
    KindPrefixSequence {
        /// The prefix.
        prefix: String,
        /// What the precondition said; 0 for none.
        expected: u64,
        /// What is; 0 for none.
        actual: u64,
    },
    /// A delivery is not, or no longer, the event's current one.
    #[error(
        "delivery {delivery} of event {sequence} to group {group} is not current: {}",
        actual.map_or_else(|| "no consumer has the event".to_owned(), |actual| format!("it is {actual}"))
    )]
    Delivery {
        /// The group.
        group: crate::core::GroupName,
        /// The event.
        sequence: u64,
        /// What the precondition said.
        delivery: u32,
        /// The delivery that a consumer has; absent: none has the event, or there is no such group.
        actual: Option<u32>,
    },
}

/// Why a commit was not applied. A replicated result, the same on every node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// A parent that the vault does not have.
    #[error("event {event} of the commit names a parent that is not in the vault: {parent}")]
    UnknownParent {
        /// Index in the commit.
        event: usize,
        /// The parent as it was named.
        parent: ParentName,
    },
    /// A precondition names a parent that the vault does not have.
    #[error("precondition {precondition} names an event that is not in the vault: {parent}")]
    UnknownPreconditionParent {
        /// Index in the list of preconditions.
        precondition: usize,
        /// The parent as it was named.
        parent: ParentName,
    },
    /// An input that the vault's settings do not admit.
    #[error("event {event} of the commit: {invalid}")]
    Invalid {
        /// Index in the commit.
        event: usize,
        /// What is wrong.
        invalid: Invalid,
    },
    /// Preconditions that did not hold, all of them.
    #[error("preconditions failed: {}", join(violations))]
    Preconditions {
        /// Each with the actual state.
        violations: Vec<Violation>,
    },
    /// An intent that the vault does not have.
    #[error("there is no intent {intent}")]
    UnknownIntent {
        /// The intent as it was named.
        intent: crate::core::IntentId,
    },
    /// More kinds start with the prefix of a precondition than are looked through.
    #[error("more than {max} kinds start with {prefix:?}")]
    PrefixTooWide {
        /// The prefix.
        prefix: String,
        /// How many there may be.
        max: usize,
    },
    /// A cursor that the vault does not have.
    #[error("there is no cursor {name}")]
    UnknownCursor {
        /// The cursor.
        name: crate::core::CursorName,
    },
    /// A consumer group that the vault does not have, or does not have any more: one that was made later with the
    /// same name is another group.
    #[error("there is no group {name}, or it is another one by now")]
    UnknownGroup {
        /// The group.
        name: crate::core::GroupName,
    },
    /// A group of that name that has other settings.
    #[error("there is a group {name} with other settings")]
    GroupExists {
        /// The group.
        name: crate::core::GroupName,
    },
    /// The vault has as many consumer groups as it may have.
    #[error("the vault has {max} groups; it may not have more")]
    GroupsFull {
        /// How many there may be.
        max: u64,
    },
    /// The group's position is not the one that a delivery was planned for: plan it again.
    #[error("group {name} is at {actual}, not {expected}")]
    GroupMoved {
        /// The group.
        name: crate::core::GroupName,
        /// Where the command said that it is.
        expected: u64,
        /// Where it is.
        actual: u64,
    },
    /// A position that the vault has not reached.
    #[error("position {position} is not in the vault, which ends at {last}")]
    PositionAhead {
        /// What was asked for.
        position: u64,
        /// The last event's sequence.
        last: u64,
    },
    /// All 2^42 sequences are used.
    #[error("the vault is full: sequence 2^42 is reached")]
    Full,
    /// The vault's first command has not been applied yet.
    #[error("the vault has not been created yet")]
    NotCreated,
    /// A second creation.
    #[error("the vault has been created already")]
    AlreadyCreated,
    /// A command of a newer version than this vault's feature level.
    #[error("the command needs feature level {needed}; the vault is at {level}")]
    FeatureLevel {
        /// Needed by the command.
        needed: u32,
        /// The vault's.
        level: u32,
    },
}

fn join(violations: &[Violation]) -> String {
    violations
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Any failure of the embedded vault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Bad input; nothing was written.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The commit was refused; nothing was written.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// There is no such event.
    #[error("there is no event {name}")]
    NotFound {
        /// How the event was named.
        name: String,
    },
    /// A position that the vault has not reached.
    #[error("sequence {sequence} is not in the vault, which ends at {last}")]
    OutOfRange {
        /// What was asked for.
        sequence: u64,
        /// The last event's sequence.
        last: u64,
    },
    /// The payload was erased.
    #[error("the payload of event {id} was erased")]
    Erased {
        /// The event.
        id: EventId,
    },
    /// The payload is not of the wanted type.
    #[error("the payload is not of the wanted type")]
    PayloadType {
        /// What the decoder said.
        #[source]
        source: rmp_serde::decode::Error,
    },
    /// The path holds something that is no vault.
    #[error("{} is not empty and holds no vault", path.display())]
    NotAVault {
        /// The path.
        path: PathBuf,
    },
    /// A restore into the path was broken off.
    #[error(
        "{} holds a restore that was not completed; run `toka restore` again, or remove the directory",
        path.display()
    )]
    RestoreInterrupted {
        /// The path.
        path: PathBuf,
    },
    /// The path holds a vault, and nothing that is there is overwritten.
    #[error("{} holds a vault already; give a new or empty directory", path.display())]
    VaultExists {
        /// The path.
        path: PathBuf,
    },
    /// The path holds the data of a cluster node.
    #[error(
        "{} belongs to node {node_id} of a cluster and cannot be opened as an embedded vault; \
         start it with `toka serve`", path.display()
    )]
    ClusterNode {
        /// The path.
        path: PathBuf,
        /// The node.
        node_id: u64,
    },
    /// The path holds an embedded vault, and a cluster node wanted it.
    #[error("{} holds an embedded vault, not a cluster node's data", path.display())]
    EmbeddedVault {
        /// The path.
        path: PathBuf,
    },
    /// The path holds the data of another node of the cluster.
    #[error("{} belongs to node {found}, not to node {expected}", path.display())]
    OtherNode {
        /// The path.
        path: PathBuf,
        /// The node that the data says.
        found: u64,
        /// The node that was to be started.
        expected: u64,
    },
    /// The path is that of a node which has asked a cluster to be added.
    #[error(
        "{} belongs to a node that asks a cluster to be added; start it with --join, or empty the \
         directory",
        path.display()
    )]
    JoiningNode {
        /// The path.
        path: PathBuf,
    },
    /// The data was written by a newer version.
    #[error(
        "{} has format {found}; this version reads up to {supported}: use a newer toka",
        path.display()
    )]
    NewerFormat {
        /// The path.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format this version reads.
        supported: u32,
    },
    /// The vault follows a newer behaviour of `apply` than this version knows.
    #[error(
        "the vault is at feature level {found}; this build knows up to {supported}: start a build that knows \
         {found}, as `toka cluster status` shows it of the other nodes; a vault's level is never lowered"
    )]
    FeatureLevel {
        /// The vault's.
        found: u32,
        /// The newest one this version applies.
        supported: u32,
    },
    /// Stored bytes that cannot be what was written.
    #[error("stored data is damaged: {table} {key}: {detail}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The row.
        key: String,
        /// What is wrong.
        detail: String,
    },
    /// A file of the vault's own cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: std::io::Error,
    },
    /// The storage engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The vault is being closed, or its apply thread has stopped after an earlier error.
    #[error("the vault is closed")]
    Closed,
}

impl Error {
    /// Whether the same call may succeed later without a change of its arguments.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Rejected(Rejection::NotCreated) => true,
            Self::Invalid(_)
            | Self::Rejected(_)
            | Self::NotFound { .. }
            | Self::OutOfRange { .. }
            | Self::Erased { .. }
            | Self::PayloadType { .. }
            | Self::NotAVault { .. }
            | Self::RestoreInterrupted { .. }
            | Self::VaultExists { .. }
            | Self::ClusterNode { .. }
            | Self::EmbeddedVault { .. }
            | Self::OtherNode { .. }
            | Self::JoiningNode { .. }
            | Self::NewerFormat { .. }
            | Self::FeatureLevel { .. }
            | Self::Corrupt { .. }
            | Self::File { .. }
            | Self::Engine(_)
            | Self::Closed => false,
        }
    }
}
