//! Events as Python sees them.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytes::Bytes;
use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use toka_client::StoredEvent;
use toka_ledger::{Embedding, EventHeader, Stored};

use crate::error::Failure;
use crate::value;

/// What is known of a part of an event.
#[derive(Clone, Debug)]
pub(crate) enum Part<T> {
    Present(T),
    /// It was not asked for, or the event has none.
    Absent,
    Erased,
}

impl<T> From<Option<Stored<T>>> for Part<T> {
    fn from(stored: Option<Stored<T>>) -> Self {
        match stored {
            Some(Stored::Present(part)) => Self::Present(part),
            Some(Stored::Erased) => Self::Erased,
            None => Self::Absent,
        }
    }
}

/// A stored event. It never changes.
#[pyclass(frozen, module = "toka_vault._native")]
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) header: EventHeader,
    pub(crate) payload: Part<Bytes>,
    pub(crate) embedding: Part<Embedding>,
}

impl Event {
    /// With the payload that was committed.
    pub(crate) fn committed(header: EventHeader, payload: Bytes) -> Self {
        Self {
            header,
            payload: Part::Present(payload),
            embedding: Part::Absent,
        }
    }

    /// Without payload and embedding.
    pub(crate) fn bare(header: EventHeader) -> Self {
        Self {
            header,
            payload: Part::Absent,
            embedding: Part::Absent,
        }
    }

    /// The bytes of its payload.
    ///
    /// # Errors
    /// `ErasedError`; `PayloadError` if it was not asked for.
    fn bytes(&self) -> Result<&Bytes, Failure> {
        let id = self.header.id;
        match &self.payload {
            Part::Present(bytes) => Ok(bytes),
            Part::Erased => {
                let message = format!("the payload of event {id} was erased");
                Err(Failure::new("ErasedError", "erased", message))
            }
            Part::Absent => {
                let message = format!("event {id} was read without its payload");
                Err(Failure::new("PayloadError", "not_read", message))
            }
        }
    }
}

impl From<StoredEvent> for Event {
    fn from(stored: StoredEvent) -> Self {
        Self {
            header: stored.header,
            payload: stored.payload.into(),
            embedding: stored.embedding.into(),
        }
    }
}

impl From<toka_agents::Event> for Event {
    fn from(event: toka_agents::Event) -> Self {
        Self {
            header: event.header,
            payload: event.payload.map_or(Part::Erased, Part::Present),
            embedding: Part::Absent,
        }
    }
}

#[pymethods]
impl Event {
    /// Its id, a UUID that carries time and sequence, as text.
    #[getter]
    fn id(&self) -> String {
        self.header.id.to_string()
    }

    /// Its place in the vault's order, from 1.
    #[getter]
    fn sequence(&self) -> u64 {
        self.header.sequence
    }

    /// When it was committed, milliseconds since the Unix epoch, of the vault's time.
    #[getter]
    fn unix_ms(&self) -> u64 {
        self.header.unix_ms
    }

    /// What it is about.
    #[getter]
    fn kind(&self) -> &str {
        self.header.kind.as_str()
    }

    /// Its identity: BLAKE3 of payload, kind, salt and parents, 64 hexadecimal digits.
    #[getter]
    fn digest(&self) -> String {
        self.header.digest.to_string()
    }

    /// Ids of the events that it depends on.
    #[getter]
    fn parents(&self) -> Vec<String> {
        let parents = self.header.parents.iter();
        parents.map(|parent| parent.id.to_string()).collect()
    }

    /// The payload as a value: MessagePack is read each time. `None` for an empty one.
    #[getter]
    fn payload<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>, Failure> {
        let bytes = self.bytes()?;
        match bytes.is_empty() {
            true => Ok(py.None().into_bound(py)),
            false => value::from_payload(py, bytes),
        }
    }

    /// The payload as it is stored.
    #[getter]
    fn payload_bytes<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>, Failure> {
        Ok(PyBytes::new(py, self.bytes()?))
    }

    /// The embedding, float32, of unit norm; `None` if it was not asked for or the event has none. The array is the
    /// caller's own.
    #[getter]
    fn embedding<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyArray1<f32>>> {
        match &self.embedding {
            Part::Present(embedding) => Some(PyArray1::from_vec(py, embedding.to_f32())),
            Part::Absent | Part::Erased => None,
        }
    }

    /// Number of components of the embedding; `None` without one.
    #[getter]
    fn dimension(&self) -> Option<u16> {
        self.header.embedding.map(|info| info.dimension)
    }

    /// Who has committed it.
    #[getter]
    fn source(&self) -> Option<&str> {
        self.header.attributes.source.as_deref()
    }

    /// Media type of the payload.
    #[getter]
    fn content_type(&self) -> Option<&str> {
        self.header.attributes.content_type.as_deref()
    }

    /// Further pairs.
    #[getter]
    fn attributes(&self) -> BTreeMap<String, String> {
        self.header.attributes.pairs.clone()
    }

    /// What makes a repeat an event of its own; usually empty.
    #[getter]
    fn salt<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.header.salt.as_bytes())
    }

    /// The micro-cluster; it never changes.
    #[getter]
    fn micro_cluster(&self) -> Option<u32> {
        self.header.micro_cluster.map(|micro| micro.0)
    }

    /// The intent as of the commit.
    #[getter]
    fn intent(&self) -> Option<u64> {
        self.header.intent.map(|intent| intent.0)
    }

    /// In the answer to a commit: the event was stored before.
    #[getter]
    fn deduplicated(&self) -> bool {
        self.header.deduplicated
    }

    /// Whether its payload was erased.
    #[getter]
    fn is_erased(&self) -> bool {
        matches!(self.payload, Part::Erased)
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        let other = other.cast::<Self>();
        other.is_ok_and(|other| other.get().header.digest == self.header.digest)
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.header.digest.hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self) -> String {
        let header = &self.header;
        let (sequence, kind, id) = (header.sequence, header.kind.as_str(), header.id);
        format!("<Event {sequence} {kind:?} {id}>")
    }
}
