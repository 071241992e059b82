//! What a handler may know beside its state and its event: it asks for it here, and what it is told is recorded.

use std::collections::VecDeque;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toka_ledger::EventId;
use toka_ledger::seam::Seams;

use crate::blob::Blob;
use crate::error::{BoxError, HandlerError, shortened};

/// Inputs that a handler may ask for while it deals with one event.
pub const INPUTS_MAX: usize = 1_000;
/// Bytes of replies and names among them: with room for the rest of a payload of 1 MiB.
pub const INPUT_BYTES_MAX: usize = 900 << 10;
/// Bytes of a recorded failure of something outside.
const FAILURE_BYTES_MAX: usize = 1024;
/// Bytes of one random input.
const RANDOM_BYTES: usize = 16;

/// Something that a handler was told, in the order in which it has asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Input {
    /// The time, milliseconds since the Unix epoch.
    UnixMs(u64),
    /// Random bytes.
    Random(Blob),
    /// The reply of something outside: a language model, a service, a file.
    Reply {
        /// What was asked.
        name: String,
        /// The reply, MessagePack.
        value: Blob,
    },
    /// That something outside gave no reply: a handler may go on without it.
    Failed {
        /// What was asked.
        name: String,
        /// Why there was none; the first 1,024 bytes.
        reason: String,
    },
    /// Its reaction was refused, since preconditions that it named did not hold.
    Refused(Refusal),
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnixMs(_) => f.write_str("the time"),
            Self::Random(_) => f.write_str("randomness"),
            Self::Reply { name, .. } => write!(f, "the reply to {name:?}"),
            Self::Failed { name, .. } => write!(f, "the failure of {name:?}"),
            Self::Refused(_) => f.write_str("a refusal"),
        }
    }
}

/// Why a reaction was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Each precondition that did not hold.
    pub reasons: Vec<Reason>,
}

/// A precondition that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The event has a child of that kind already: somebody else has the task.
    HasChild {
        /// The event.
        parent: EventId,
        /// The kind.
        kind: String,
        /// The first such child.
        child: EventId,
    },
    /// The vault's time is before the one that it must have passed.
    TooEarly {
        /// The one that it must have passed, milliseconds since the Unix epoch.
        expected: u64,
        /// The vault's, then.
        actual: u64,
    },
    /// Another one, in words.
    Other(String),
}

/// Gives a handler time, randomness and replies from outside.
///
/// A handler that takes them from here alone, and else depends on its state and its event alone, does the same again when
/// what it was told is served to it from the record.
#[derive(Debug)]
pub struct Context {
    source: Source,
    attempt: u32,
    taken: Vec<Input>,
    bytes: usize,
}

#[derive(Debug)]
enum Source {
    Live(Seams),
    Record(VecDeque<Input>),
}

impl Context {
    /// Inputs from the world. `attempt` counts from 1.
    #[must_use]
    pub fn live(seams: &Seams, attempt: u32) -> Self {
        Self::of(Source::Live(seams.clone()), attempt)
    }

    /// Inputs from a record, and nothing from the world.
    #[must_use]
    pub fn replaying(inputs: Vec<Input>) -> Self {
        Self::of(Source::Record(inputs.into()), 1)
    }

    fn of(source: Source, attempt: u32) -> Self {
        Self {
            source,
            attempt,
            taken: Vec::new(),
            bytes: 0,
        }
    }

    /// Which try of this event it is, from 1. A reaction that depends on it is not repeated by a replay, which knows only
    /// the last one: it is for logs.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether this is a replay: nothing outside is to be touched.
    #[must_use]
    pub const fn is_replay(&self) -> bool {
        matches!(self.source, Source::Record(_))
    }

    /// The time, milliseconds since the Unix epoch. Where the time of the event does, take that: it is in its header.
    ///
    /// # Errors
    /// [`HandlerError::TooManyInputs`]; [`HandlerError::Diverged`] in a replay.
    pub fn unix_ms(&mut self) -> Result<u64, HandlerError> {
        let input = match &mut self.source {
            Source::Live(seams) => Input::UnixMs(seams.clock.unix_ms()),
            Source::Record(record) => next(record, "the time", |input| {
                matches!(input, Input::UnixMs(_))
            })?,
        };
        let Input::UnixMs(unix_ms) = input else {
            unreachable!("it was looked at");
        };
        self.take(input, 0)?;
        Ok(unix_ms)
    }

    /// 16 random bytes.
    ///
    /// # Errors
    /// As [`Context::unix_ms`].
    pub fn random(&mut self) -> Result<[u8; RANDOM_BYTES], HandlerError> {
        let mut bytes = [0; RANDOM_BYTES];
        let input = match &mut self.source {
            Source::Live(seams) => {
                seams.entropy.fill(&mut bytes);
                Input::Random(Blob(bytes.to_vec()))
            }
            Source::Record(record) => next(
                record,
                "randomness",
                |input| matches!(input, Input::Random(Blob(bytes)) if bytes.len() == RANDOM_BYTES),
            )?,
        };
        let Input::Random(Blob(recorded)) = &input else {
            unreachable!("it was looked at");
        };
        bytes.copy_from_slice(recorded);
        self.take(input, RANDOM_BYTES)?;
        Ok(bytes)
    }

    /// The reply of something outside. `ask` is not called in a replay. A failure is recorded too: a handler that goes on
    /// without the reply does so again in a replay.
    ///
    /// # Errors
    /// [`HandlerError::Transient`] with the error of `ask`, or in a replay with its text; [`HandlerError::Permanent`] for a
    /// reply that serde cannot write or read; as [`Context::unix_ms`].
    pub async fn reply<T, E, F>(
        &mut self,
        name: &str,
        ask: impl FnOnce() -> F + Send,
    ) -> Result<T, HandlerError>
    where
        T: Serialize + DeserializeOwned + Send,
        E: Into<BoxError>,
        F: Future<Output = Result<T, E>> + Send,
    {
        let is_it = |input: &Input| match input {
            Input::Reply { name: of, .. } | Input::Failed { name: of, .. } => of == name,
            _ => false,
        };
        let (reply, input) = match &mut self.source {
            Source::Live(_) => match ask().await {
                Ok(reply) => {
                    let value = rmp_serde::to_vec_named(&reply).map_err(HandlerError::permanent)?;
                    let (name, value) = (name.to_owned(), Blob(value));
                    (Ok(reply), Input::Reply { name, value })
                }
                Err(error) => {
                    let error: BoxError = error.into();
                    let reason = shortened(&error.to_string(), FAILURE_BYTES_MAX);
                    let name = name.to_owned();
                    let failure = HandlerError::transient(error);
                    (Err(failure), Input::Failed { name, reason })
                }
            },
            Source::Record(record) => {
                let input = next(record, &format!("the reply to {name:?}"), is_it)?;
                let reply = match &input {
                    Input::Reply { value, .. } => {
                        rmp_serde::from_slice(&value.0).map_err(HandlerError::permanent)
                    }
                    Input::Failed { reason, .. } => Err(HandlerError::transient(reason.clone())),
                    _ => unreachable!("it was looked at"),
                };
                (reply, input)
            }
        };
        let bytes = match &input {
            Input::Reply { name, value } => name.len() + value.0.len(),
            Input::Failed { name, reason } => name.len() + reason.len(),
            _ => 0,
        };
        self.take(input, bytes)?;
        reply
    }

    /// Records that the reaction was refused.
    pub(crate) fn refused(&mut self, refusal: Refusal) -> Result<(), HandlerError> {
        let bytes = 200 * refusal.reasons.len();
        self.take(Input::Refused(refusal), bytes)
    }

    /// The refusal that comes next in the record, if one does.
    pub(crate) fn recorded_refusal(&mut self) -> Option<Refusal> {
        let Source::Record(record) = &mut self.source else {
            return None;
        };
        let Some(Input::Refused(refusal)) = record.front().cloned() else {
            return None;
        };
        record.pop_front();
        Some(refusal)
    }

    /// What was asked for so far, in its order.
    #[must_use]
    pub fn inputs(&self) -> &[Input] {
        &self.taken
    }

    /// What was asked for, in its order.
    #[must_use]
    pub fn into_inputs(self) -> Vec<Input> {
        self.taken
    }

    /// What is left of the record: was asked for then, and not now.
    #[must_use]
    pub fn left(&self) -> usize {
        match &self.source {
            Source::Live(_) => 0,
            Source::Record(record) => record.len(),
        }
    }

    fn take(&mut self, input: Input, bytes: usize) -> Result<(), HandlerError> {
        if self.taken.len() >= INPUTS_MAX {
            return Err(HandlerError::TooManyInputs {
                what: "inputs",
                max: INPUTS_MAX,
            });
        }
        self.bytes += bytes;
        if self.bytes > INPUT_BYTES_MAX {
            return Err(HandlerError::TooManyInputs {
                what: "bytes of inputs",
                max: INPUT_BYTES_MAX,
            });
        }
        self.taken.push(input);
        Ok(())
    }
}

/// The next input of a record, if it is the one that is asked for. Another one stays where it is, so that a handler that
/// makes nothing of the error leaves it over.
fn next(
    record: &mut VecDeque<Input>,
    asked: &str,
    is_it: impl Fn(&Input) -> bool,
) -> Result<Input, HandlerError> {
    if record.front().is_some_and(is_it)
        && let Some(input) = record.pop_front()
    {
        return Ok(input);
    }
    Err(HandlerError::Diverged {
        asked: asked.to_owned(),
        recorded: record.front().map(ToString::to_string),
    })
}

#[cfg(test)]
mod tests;
