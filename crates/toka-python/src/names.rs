//! How events are named: by an `Event`, by an id or a digest as text, or by a number.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use toka_client::Consistency;
use toka_ledger::command::ParentName;
use toka_ledger::intent::IntentId;
use toka_ledger::{Digest, EventId, Filter, Selector};

use crate::error::Failure;
use crate::event::Event;

/// Hexadecimal digits of a digest; an id has fewer.
const DIGEST_DIGITS: usize = 64;

/// An event, its id, its digest or its sequence.
pub(crate) fn selector(object: &Bound<'_, PyAny>) -> Result<Selector, Failure> {
    if let Ok(event) = object.cast::<Event>() {
        return Ok(Selector::Id(event.get().header.id));
    }
    if object.is_instance_of::<PyString>() {
        let text = object.extract::<String>()?;
        return match text.len() {
            DIGEST_DIGITS => Ok(Selector::Digest(text.parse::<Digest>()?)),
            _ => Ok(Selector::Id(text.parse::<EventId>()?)),
        };
    }
    Ok(Selector::Sequence(object.extract::<u64>()?))
}

/// An event, its id, its digest, or the index of an earlier event of the same batch.
pub(crate) fn parent(object: &Bound<'_, PyAny>) -> Result<ParentName, Failure> {
    if let Ok(event) = object.cast::<Event>() {
        return Ok(ParentName::Digest(event.get().header.digest));
    }
    if object.is_instance_of::<PyString>() {
        return match selector(object)? {
            Selector::Digest(digest) => Ok(ParentName::Digest(digest)),
            Selector::Id(id) => Ok(ParentName::Id(id)),
            Selector::Sequence(_) => unreachable!("a text is no number"),
        };
    }
    Ok(ParentName::Batch(object.extract::<u16>()?))
}

/// `"local"`, `"read_your_writes"`, `"linearizable"`, or a revision that is to be seen.
pub(crate) fn consistency(object: Option<&Bound<'_, PyAny>>) -> Result<Consistency, Failure> {
    let Some(object) = object else {
        return Ok(Consistency::ReadYourWrites);
    };
    if !object.is_instance_of::<PyString>() {
        return Ok(Consistency::AtLeast(object.extract::<u64>()?));
    }
    match object.extract::<String>()?.as_str() {
        "local" => Ok(Consistency::Local),
        "read_your_writes" => Ok(Consistency::ReadYourWrites),
        "linearizable" => Ok(Consistency::Linearizable),
        other => {
            let message = format!(
                "{other:?} is none of local, read_your_writes, linearizable, or a revision"
            );
            Err(Failure::invalid("consistency", message))
        }
    }
}

/// Seconds as Python has them.
pub(crate) fn seconds(field: &'static str, seconds: f64) -> Result<Duration, Failure> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| Failure::invalid(field, "it must be a number of seconds, 0 or more"))
}

/// Which events are wanted. Without arguments all are.
#[pyclass(frozen, name = "Filter", module = "toka_vault._native")]
#[derive(Clone, Debug, Default)]
pub(crate) struct EventFilter(pub(crate) Filter);

#[pymethods]
impl EventFilter {
    /// `kinds`: the kind starts with any of these. `attributes`: all of these are among the event's. `intents`: the event
    /// is of any of these. `descendants_of`: it descends from this one.
    #[new]
    #[pyo3(signature = (kinds=None, *, attributes=None, intents=None, descendants_of=None))]
    fn new(
        kinds: Option<Vec<String>>,
        attributes: Option<Bound<'_, PyDict>>,
        intents: Option<Vec<u64>>,
        descendants_of: Option<Bound<'_, PyAny>>,
    ) -> Result<Self, Failure> {
        let intents = intents.unwrap_or_default().into_iter();
        // In their order: the index of the first one is walked.
        let mut pairs = Vec::new();
        for (name, value) in attributes.iter().flat_map(|given| given.iter()) {
            pairs.push((name.extract::<String>()?, value.extract::<String>()?));
        }
        Ok(Self(Filter {
            kind_prefixes: kinds.unwrap_or_default(),
            hidden_kind_prefixes: Vec::new(),
            attributes: pairs,
            intents: intents.map(IntentId).collect(),
            descendants_of: descendants_of.as_ref().map(selector).transpose()?,
        }))
    }

    fn __repr__(&self) -> String {
        format!("<{:?}>", self.0)
    }
}

/// The filter, or that of everything.
pub(crate) fn filter(filter: Option<&Bound<'_, EventFilter>>) -> Filter {
    filter.map_or_else(Filter::default, |filter| filter.get().0.clone())
}
