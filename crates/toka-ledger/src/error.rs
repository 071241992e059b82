//! What can go wrong.

mod rejection;

use std::path::PathBuf;

pub use self::rejection::{Rejection, Violation};
use crate::core::{Digest, EventId};
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
    /// A kind of events that the vault makes itself.
    #[error(
        "kind {kind:?} is reserved: events of kinds under toka.audit. are made by the vault alone"
    )]
    ReservedKind {
        /// The kind.
        kind: String,
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
            Self::ReservedKind { .. } => "kind",
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

/// Which sequences a vault has, to follow "the vault, which"; `last` is 0 where it is empty.
#[must_use]
pub fn extent(first: u64, last: u64) -> String {
    match last {
        0 => "is empty".to_owned(),
        last => format!("goes from {first} to {last}"),
    }
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
    #[error("sequence {sequence} is not in the vault, which {}", extent(1, *last))]
    OutOfRange {
        /// What was asked for.
        sequence: u64,
        /// The last event's sequence.
        last: u64,
    },
    /// A walk through the graph of events would go beyond a limit.
    #[error("the walk needs more than {max} {}: limit its depth, or begin nearer", limit.replace('_', " "))]
    LineageLimit {
        /// Of what: `remembered_events` or `visited_events`.
        limit: &'static str,
        /// How many there may be.
        max: u64,
    },
    /// More events descend from the one that a filter names than can be filtered by.
    #[error(
        "filter.descendants_of: the event has more descendants than {bytes_max} bytes hold: name a later one, or walk \
         through its lineage"
    )]
    DescendantsLimit {
        /// Bytes that their sequences may take, compressed.
        bytes_max: u64,
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
    #[error("{} holds a restore that was not completed; run `toka restore` again, or remove the directory", path.display())]
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
        "{} belongs to a node that asks a cluster to be added; start it with --join, or empty the directory",
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
            | Self::LineageLimit { .. }
            | Self::DescendantsLimit { .. }
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
