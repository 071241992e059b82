//! Events as agents see them.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use toka_client::StoredEvent;
use toka_ledger::{EventHeader, EventId, Stored};

/// An event with its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Everything about it but its payload.
    pub header: EventHeader,
    /// Its payload; `None` if it was erased.
    pub payload: Option<Bytes>,
}

/// Why a payload cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// It was erased.
    #[error("the payload of event {id} was erased")]
    Erased {
        /// The event.
        id: EventId,
    },
    /// It is not of the wanted type.
    #[error("the payload of event {id} is not of the wanted type: {source}")]
    Type {
        /// The event.
        id: EventId,
        /// What the decoder said.
        source: rmp_serde::decode::Error,
    },
}

impl Event {
    /// Its place in the vault's order.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.header.sequence
    }

    /// What it is about.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.header.kind.as_str()
    }

    /// The payload, MessagePack, as a `T`.
    ///
    /// # Errors
    /// [`PayloadError`].
    pub fn payload_as<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        let id = self.header.id;
        let payload = self.payload.as_ref();
        let payload = payload.ok_or(PayloadError::Erased { id })?;
        rmp_serde::from_slice(payload).map_err(|source| PayloadError::Type { id, source })
    }
}

impl From<StoredEvent> for Event {
    /// A payload that was not asked for counts as erased: ask for it.
    fn from(event: StoredEvent) -> Self {
        let payload = match event.payload {
            Some(Stored::Present(payload)) => Some(payload),
            Some(Stored::Erased) | None => None,
        };
        Self {
            header: event.header,
            payload,
        }
    }
}
