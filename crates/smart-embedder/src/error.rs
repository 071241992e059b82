//! What embedding can fail with.

use std::path::PathBuf;
use std::time::Duration;

/// A cause from another library.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why there is no vector.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting that cannot be used.
    #[error("{field} {value:?} must be {expected}")]
    Invalid {
        /// The setting.
        field: &'static str,
        /// As it was given.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// More than a limit allows.
    #[error("{field} is {actual}, at most {limit}")]
    TooLarge {
        /// Of what, with its unit.
        field: &'static str,
        /// The largest value.
        limit: usize,
        /// What was given.
        actual: usize,
    },
    /// The event's `Serialize` failed.
    #[error("the event cannot be serialized")]
    Serialize {
        /// What serde said.
        #[source]
        source: Source,
    },
    /// A payload that is not one MessagePack value.
    #[error("the payload is not one MessagePack value")]
    Payload {
        /// What the decoder said; none: bytes follow the value.
        #[source]
        source: Option<Source>,
    },
    /// A model's directory that cannot be loaded.
    #[error("model file {} cannot be used", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Source,
    },
    /// This build has no such encoder.
    #[error("{spec} needs a build with the feature `{feature}`")]
    NotBuilt {
        /// What was asked for.
        spec: String,
        /// The cargo feature that brings it.
        feature: &'static str,
    },
    /// The model failed on a text.
    #[error("model {model_id} failed")]
    Inference {
        /// The model.
        model_id: String,
        /// Why.
        #[source]
        source: Source,
    },
    /// A vector of another length than the model's others.
    #[error("model {model_id} gave a vector of {actual} dimensions, not {expected}")]
    Dimension {
        /// The model.
        model_id: String,
        /// What it had been before, or was asked for.
        expected: usize,
        /// What came.
        actual: usize,
    },
    /// A vector that cannot be normalised.
    #[error("model {model_id} gave a vector that is not finite, or zero, for text {index}")]
    NotFinite {
        /// The model.
        model_id: String,
        /// Place of the text in the batch, from 0.
        index: usize,
    },
    /// Another number of vectors than of texts.
    #[error("model {model_id} gave {actual} vectors for {expected} texts")]
    Count {
        /// The model.
        model_id: String,
        /// Texts.
        expected: usize,
        /// Vectors.
        actual: usize,
    },
    /// The endpoint did not answer, with all retries.
    #[error("{endpoint} did not answer ({attempts} attempts)")]
    Unreachable {
        /// The endpoint's URL.
        endpoint: String,
        /// How often it was tried.
        attempts: u32,
        /// The last failure.
        #[source]
        source: Source,
    },
    /// The endpoint did not answer in time, with all retries.
    #[error("{endpoint} did not answer within {timeout:?} ({attempts} attempts)")]
    Timeout {
        /// The endpoint's URL.
        endpoint: String,
        /// Of each attempt.
        timeout: Duration,
        /// How often it was tried.
        attempts: u32,
    },
    /// The endpoint asked for patience (429) until the last attempt.
    #[error(
        "{endpoint} limits the rate of requests ({attempts} attempts){}: {}",
        retry_after.map_or_else(String::new, |wait| format!(", and asks to wait for {} s", wait.as_secs())),
        if message.is_empty() { "it does not say more" } else { message }
    )]
    RateLimited {
        /// The endpoint's URL.
        endpoint: String,
        /// How often it was tried.
        attempts: u32,
        /// How long it asked to wait.
        retry_after: Option<Duration>,
        /// What it said, cut.
        message: String,
    },
    /// The endpoint answered with an error.
    #[error("{endpoint} answered {status} ({attempts} attempts): {message}")]
    Status {
        /// The endpoint's URL.
        endpoint: String,
        /// The HTTP status.
        status: u16,
        /// How often it was tried.
        attempts: u32,
        /// What it said, cut.
        message: String,
    },
    /// A reply that does not follow the protocol.
    #[error("the reply of {endpoint} makes no sense: {reason}")]
    Reply {
        /// The endpoint's URL.
        endpoint: String,
        /// What is wrong with it.
        reason: &'static str,
        /// What the decoder said.
        #[source]
        source: Option<Source>,
    },
}

impl Error {
    /// Whether the same call may succeed later without a change of its arguments.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::RateLimited { .. } => true,
            Self::Status { status, .. } => *status >= 500,
            Self::Invalid { .. }
            | Self::TooLarge { .. }
            | Self::Serialize { .. }
            | Self::Payload { .. }
            | Self::Model { .. }
            | Self::NotBuilt { .. }
            | Self::Inference { .. }
            | Self::Dimension { .. }
            | Self::NotFinite { .. }
            | Self::Count { .. }
            | Self::Reply { .. } => false,
        }
    }
}
