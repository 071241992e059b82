//! Events that are to be committed, and what must hold for it.

use std::collections::BTreeMap;

use bytes::Bytes;
use numpy::{AllowTypeChange, PyArrayLike1};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use toka_ledger::command::Precondition;
use toka_ledger::prepare::EventDraft;
use toka_ledger::{CursorName, EventPayload as _, Kind};

use crate::error::Failure;
use crate::names::parent;
use crate::value::to_value;

/// A vector that is given: an array of float32 as it lies there, anything else that is like one as a copy.
pub(crate) type Vector<'py> = PyArrayLike1<'py, f32, AllowTypeChange>;

/// The components in `vector`, for `take`.
pub(crate) fn components<T>(vector: &Vector<'_>, take: impl FnOnce(&[f32]) -> T) -> T {
    match vector.as_slice() {
        Ok(components) => take(components),
        // A view with gaps, such as every other component of an array.
        Err(_) => take(&vector.as_array().to_vec()),
    }
}

/// An event that is not committed yet.
#[pyclass(frozen, name = "EventDraft", module = "toka_vault._native")]
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) draft: EventDraft,
    pub(crate) payload: Bytes,
    kind: String,
}

#[pymethods]
impl Draft {
    /// `payload`: bytes as they are, anything else as MessagePack, `None` for none. `parents`: events, ids, digests, or
    /// indexes of earlier events of the batch.
    #[new]
    #[pyo3(signature = (
        kind, payload=None, *, parents=None, embedding=None, model=None, source=None, content_type=None, attributes=None,
        salt=None
    ))]
    #[allow(clippy::too_many_arguments, reason = "they have names in Python")]
    fn new(
        kind: String,
        payload: Option<Bound<'_, PyAny>>,
        parents: Option<Vec<Bound<'_, PyAny>>>,
        embedding: Option<Vector<'_>>,
        model: Option<String>,
        source: Option<String>,
        content_type: Option<String>,
        attributes: Option<BTreeMap<String, String>>,
        salt: Option<PyBackedBytes>,
    ) -> Result<Self, Failure> {
        let payload = payload
            .as_ref()
            .map(encode)
            .transpose()?
            .unwrap_or_default();
        let mut draft = EventDraft::new(&kind).payload_bytes(payload.clone());
        for named in parents.unwrap_or_default() {
            draft = draft.parent_by_name(parent(&named)?);
        }
        if let Some(vector) = &embedding {
            draft = components(vector, |components| draft.embedding(components));
        }
        if let Some(model) = model {
            draft = draft.model(&model);
        }
        if let Some(source) = source {
            draft = draft.source(source);
        }
        if let Some(content_type) = content_type {
            draft = draft.content_type(content_type);
        }
        for (name, value) in attributes.unwrap_or_default() {
            draft = draft.attribute(name, value);
        }
        if let Some(salt) = salt {
            draft = draft.salt(&salt);
        }
        Ok(Self {
            draft,
            payload,
            kind,
        })
    }

    fn __repr__(&self) -> String {
        format!("<EventDraft {:?}>", self.kind)
    }
}

/// The payload as it is stored: of bytes those of Python, without a copy.
pub(crate) fn encode(payload: &Bound<'_, PyAny>) -> Result<Bytes, Failure> {
    if payload.is_instance_of::<PyBytes>() {
        let bytes = payload.extract::<PyBackedBytes>();
        return Ok(Bytes::from_owner(bytes.map_err(PyErr::from)?));
    }
    Ok(to_value(payload)?.to_bytes()?)
}

/// What must hold for a commit; otherwise nothing of it is stored.
#[pyclass(frozen, name = "Precondition", module = "toka_vault._native")]
#[derive(Clone, Debug)]
pub(crate) struct Condition(pub(crate) Precondition);

#[pymethods]
impl Condition {
    /// No event of this kind is a child of this one yet: of many who commit one exactly one succeeds.
    #[staticmethod]
    fn no_child(event: Bound<'_, PyAny>, kind: &str) -> Result<Self, Failure> {
        Ok(Self(Precondition::NoChild {
            parent: parent(&event)?,
            kind: Kind::new(kind)?,
        }))
    }

    /// The last event of this kind is at this sequence; 0: there is none.
    #[staticmethod]
    fn kind_at(kind: &str, sequence: u64) -> Result<Self, Failure> {
        let kind = Kind::new(kind)?;
        Ok(Self(Precondition::KindSequence { kind, sequence }))
    }

    /// The last event whose kind starts with this is at this sequence; 0: there is none.
    #[staticmethod]
    fn kind_prefix_at(prefix: String, sequence: u64) -> Self {
        Self(Precondition::KindPrefixSequence { prefix, sequence })
    }

    /// The vault's time is this, or later, milliseconds since the Unix epoch.
    #[staticmethod]
    fn time_passed(unix_ms: u64) -> Self {
        Self(Precondition::TimePassed { unix_ms })
    }

    /// The cursor moves together with the commit; `from_sequence` is where it must be, 0 if there is none.
    #[staticmethod]
    fn cursor_move(name: &str, from_sequence: u64, to_sequence: u64) -> Result<Self, Failure> {
        Ok(Self(Precondition::CursorMove {
            name: CursorName::new(name)?,
            from: from_sequence,
            to: to_sequence,
        }))
    }

    fn __repr__(&self) -> String {
        format!("<{:?}>", self.0)
    }
}
