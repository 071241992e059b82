//! The history of a vault that is elsewhere, for forks over it.
//!
//! Nodes of a cluster say neither how their intents were at an earlier event nor what their tables hold: a client has
//! the history alone. A [`Mirror`] applies it again, to the same bits, and keeps what that comes to without the payloads
//! and embeddings, which are most of it: these are read through, with a bounded cache.

mod cache;
mod cluster;
mod engine;
mod fork;
mod mirror;

use std::fmt;

use bytes::Bytes;
use toka_client::{Include, StoredEvent};
use toka_ledger::intent::Parameters;
use toka_ledger::{Embedding, EmbeddingModel, EventHeader, Invalid, Stored};

pub use self::cluster::ClusterBase;
pub use self::fork::RemoteFork;
pub use self::mirror::{Mirror, MirrorLimits};

/// Events of one page at most.
pub const PAGE_EVENTS_MAX: u64 = 512;

/// A vault elsewhere. Calls block: they belong on a blocking thread.
pub trait Base: Send + Sync + fmt::Debug + 'static {
    /// What is fixed for the life of the vault, and where it is.
    ///
    /// # Errors
    /// [`BaseError`].
    fn about(&self) -> Result<About, BaseError>;

    /// The first events after the sequence `after` and up to `until`, in order, with their embeddings: at least one
    /// if there is one, at most [`PAGE_EVENTS_MAX`].
    ///
    /// # Errors
    /// [`BaseError`].
    fn page(&self, after: u64, until: u64) -> Result<Vec<StoredEvent>, BaseError>;

    /// The events at these sequences, in this order, with what is asked for.
    ///
    /// # Errors
    /// [`BaseError::Missing`] if there is none at one of them; [`BaseError`].
    fn get(&self, sequences: &[u64], include: Include) -> Result<Vec<StoredEvent>, BaseError>;
}

/// A vault's identity and settings, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Identity of the cluster.
    pub cluster_id: u128,
    /// Identity of the history.
    pub history_id: u128,
    /// Which behaviour of `apply` the vault follows.
    pub feature_level: u32,
    /// Dimension of its embeddings; absent: not fixed yet.
    pub dimension: Option<u16>,
    /// Model that makes its embeddings; absent: not fixed yet.
    pub model: Option<EmbeddingModel>,
    /// How it groups its events.
    pub intents: Parameters,
    /// When it was created, milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
    /// Sequence of its last event; 0: none.
    pub sequence: u64,
}

/// Why a vault elsewhere cannot be read, or not be mirrored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BaseError {
    /// No node has answered as it should.
    #[error(transparent)]
    Client(Box<toka_client::Error>),
    /// The mirror's own store.
    #[error(transparent)]
    Ledger(#[from] toka_ledger::Error),
    /// The vault was not created yet.
    #[error("the vault has no settings yet: nothing was committed to it")]
    NotCreated,
    /// Its settings are none that this build knows.
    #[error("the vault's settings: {source}")]
    Settings {
        /// What is wrong with them.
        source: Invalid,
    },
    /// It follows a newer behaviour of `apply` than this build knows.
    #[error("the vault is at feature level {found}; this build knows up to {supported}")]
    FeatureLevel {
        /// The vault's.
        found: u32,
        /// The newest one that this build applies.
        supported: u32,
    },
    /// There is no such event.
    #[error("the vault has no event at sequence {sequence}")]
    Missing {
        /// The sequence.
        sequence: u64,
    },
    /// An embedding without which the intents cannot be made again was erased.
    #[error(
        "the embedding of the event at sequence {sequence} was erased: intents behind it cannot be made again"
    )]
    Erased {
        /// The event's sequence.
        sequence: u64,
    },
    /// More events than a mirror takes.
    #[error("sequence {sequence} is beyond the {max} events that a mirror takes (`events_max`)")]
    TooLong {
        /// What was asked for.
        sequence: u64,
        /// The limit.
        max: u64,
    },
    /// Applied again, an event does not come out as it was.
    #[error("applied again, the event at sequence {sequence} is another one: {found}")]
    Differs {
        /// The event's sequence.
        sequence: u64,
        /// What came out.
        found: String,
    },
    /// The thread that reads has ended.
    #[error("the connection to the vault is closed")]
    Closed,
    /// The operating system has no thread, or no runtime, left.
    #[error("cannot start the thread that reads the vault: {source}")]
    Thread {
        /// Why.
        source: std::io::Error,
    },
}

impl From<toka_client::Error> for BaseError {
    fn from(error: toka_client::Error) -> Self {
        Self::Client(Box::new(error))
    }
}

/// The payload that came with an event.
fn payload_of(event: StoredEvent) -> Result<Stored<Bytes>, BaseError> {
    let sequence = event.header.sequence;
    event.payload.ok_or(BaseError::Missing { sequence })
}

/// The embedding that came with an event whose header says that it has one.
fn embedding_of(
    header: &EventHeader,
    embedding: Option<Stored<Embedding>>,
) -> Result<Stored<Embedding>, BaseError> {
    let sequence = header.sequence;
    embedding.ok_or(BaseError::Missing { sequence })
}
