//! From what a caller gives to what is replicated: every bound checked, payload hashed, embedding
//! quantised. Nothing here looks at the vault; what depends on its state is decided in `apply`.

use bytes::Bytes;

use crate::command::check::{check_batch_parents, check_count, check_preconditions};
use crate::command::{Command, Commit, Precondition, PreparedEvent, encode};
use crate::core::credentials::is_audit_kind;
use crate::core::limits::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX};
use crate::core::{
    Attributes, Digest, Embedding, EmbeddingModel, EventHeader, EventId, EventPayload, Kind, Salt,
};
use crate::error::{Invalid, ParentName};
use crate::hash;

/// An event as a caller describes it.
///
/// Setters never fail: the first bad input is kept and comes back from [`EventDraft::prepare`].
#[derive(Clone, Debug)]
#[must_use = "a draft does nothing until it is committed"]
pub struct EventDraft {
    kind: Result<Kind, Invalid>,
    payload: Bytes,
    salt: Salt,
    parents: Vec<ParentName>,
    embedding: Option<Embedding>,
    model: Option<EmbeddingModel>,
    attributes: Attributes,
    /// The first input that a setter had to refuse.
    invalid: Option<Invalid>,
}

impl EventDraft {
    /// An event of `kind` with an empty payload.
    pub fn new(kind: &str) -> Self {
        Self {
            kind: Kind::new(kind),
            payload: Bytes::new(),
            salt: Salt::default(),
            parents: Vec::new(),
            embedding: None,
            model: None,
            attributes: Attributes::default(),
            invalid: None,
        }
    }

    /// Sets the payload to `payload` as canonical MessagePack.
    pub fn payload<P: EventPayload + ?Sized>(mut self, payload: &P) -> Self {
        let bytes = self.accept(payload.to_bytes());
        self.payload = bytes.unwrap_or_default();
        self
    }

    /// Sets the payload's bytes, which need not be MessagePack.
    pub fn payload_bytes(mut self, payload: impl Into<Bytes>) -> Self {
        self.payload = payload.into();
        self
    }

    /// Adds a parent.
    pub fn parent(self, parent: &EventHeader) -> Self {
        self.parent_by_name(ParentName::Digest(parent.digest))
    }

    /// Adds parents.
    pub fn parents<'h>(self, parents: impl IntoIterator<Item = &'h EventHeader>) -> Self {
        parents.into_iter().fold(self, Self::parent)
    }

    /// Adds parents by their ids.
    pub fn parents_by_id(self, parents: impl IntoIterator<Item = EventId>) -> Self {
        parents
            .into_iter()
            .fold(self, |draft, id| draft.parent_by_name(ParentName::Id(id)))
    }

    /// Adds parents by their digests.
    pub fn parents_by_digest(self, parents: impl IntoIterator<Item = Digest>) -> Self {
        let add = |draft: Self, digest| draft.parent_by_name(ParentName::Digest(digest));
        parents.into_iter().fold(self, add)
    }

    /// Adds the event at `index` of the same batch, an earlier one, as a parent.
    pub fn parent_in_batch(self, index: u16) -> Self {
        self.parent_by_name(ParentName::Batch(index))
    }

    /// Adds a parent, however it is named.
    pub fn parent_by_name(mut self, parent: ParentName) -> Self {
        self.parents.push(parent);
        self
    }

    /// Makes a repeat of an event an event of its own: up to 32 bytes, to be kept on retry.
    pub fn salt(mut self, salt: &[u8]) -> Self {
        let salt = self.accept(Salt::new(salt));
        self.salt = salt.unwrap_or_default();
        self
    }

    /// Sets who emitted the event.
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.attributes.source = Some(source.into());
        self
    }

    /// Sets the payload's media type.
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.attributes.content_type = Some(content_type.into());
        self
    }

    /// Sets an attribute.
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.pairs.insert(name.into(), value.into());
        self
    }

    /// Sets all attributes, source and content type among them, such as those of another event.
    pub fn attributes(mut self, attributes: Attributes) -> Self {
        self.attributes = attributes;
        self
    }

    /// Sets the embedding, shape `[dimension]`; it is normalised and quantised.
    pub fn embedding(mut self, components: &[f32]) -> Self {
        self.embedding = self.accept(Embedding::from_f32(components));
        self
    }

    /// Sets the embedding from components that are quantised already, Q14, shape `[dimension]`.
    pub fn quantized(mut self, components: &[i16]) -> Self {
        self.embedding = self.accept(Embedding::from_quantized(components));
        self
    }

    /// Sets the embedding from quantised components as little-endian bytes, two each.
    pub fn quantized_bytes(mut self, components: Bytes) -> Self {
        self.embedding = self.accept(Embedding::from_quantized_bytes(components));
        self
    }

    /// Says which model made the embedding. A vault's embeddings are all of one model: the one given
    /// when it was created, or that of the first embedded event. An embedding of another model is
    /// refused, and any name where the first had none; one without a name is taken for the vault's.
    pub fn model(mut self, model: &str) -> Self {
        self.model = self.accept(EmbeddingModel::new(model));
        self
    }

    /// The draft with an embedding that names a model: `model`, unless the caller has named one.
    pub(crate) fn of_model(mut self, model: Option<&EmbeddingModel>) -> Self {
        if self.embedding.is_some() && self.model.is_none() {
            self.model = model.cloned();
        }
        self
    }

    /// Whether the event has a salt.
    #[must_use]
    pub fn has_salt(&self) -> bool {
        !self.salt.is_empty()
    }

    /// Checks everything and hashes the payload. Kinds under `toka.audit.` are the vault's own.
    ///
    /// # Errors
    /// [`Invalid`]: the first input that breaks a rule.
    pub fn prepare(self) -> Result<PreparedEvent, Invalid> {
        let mut event = self.prepare_to_send()?;
        event.payload_digest = hash::payload_digest(&event.payload);
        Ok(event)
    }

    /// As [`EventDraft::prepare`], without the digest of the payload, which stays zero: whoever takes the event hashes
    /// the payload himself.
    ///
    /// # Errors
    /// As [`EventDraft::prepare`].
    pub fn prepare_to_send(self) -> Result<PreparedEvent, Invalid> {
        let kind = self.kind?;
        if is_audit_kind(kind.as_str()) {
            return Err(Invalid::ReservedKind {
                kind: kind.to_string(),
            });
        }
        if let Some(invalid) = self.invalid {
            return Err(invalid);
        }
        let event = PreparedEvent {
            kind,
            payload_digest: Digest::default(),
            payload: self.payload,
            salt: self.salt,
            parents: self.parents,
            embedding: self.embedding,
            model: self.model,
            attributes: self.attributes,
        };
        event.check()?;
        Ok(event)
    }

    fn accept<T>(&mut self, input: Result<T, Invalid>) -> Option<T> {
        match input {
            Ok(value) => Some(value),
            Err(invalid) => {
                self.invalid.get_or_insert(invalid);
                None
            }
        }
    }
}

/// Makes one atomic commit of `drafts`, with the proposer's time.
///
/// # Errors
/// [`Invalid`]; of several events, as [`Invalid::InBatch`].
pub fn prepare_commit(
    drafts: impl IntoIterator<Item = EventDraft>,
    preconditions: Vec<Precondition>,
    unix_ms: u64,
) -> Result<Commit, Invalid> {
    commit_of(drafts, preconditions, unix_ms, EventDraft::prepare)
}

/// As [`prepare_commit`], to be sent to a node: without a time, and as [`EventDraft::prepare_to_send`].
///
/// # Errors
/// As [`prepare_commit`].
pub fn prepare_commit_to_send(
    drafts: impl IntoIterator<Item = EventDraft>,
    preconditions: Vec<Precondition>,
) -> Result<Commit, Invalid> {
    commit_of(drafts, preconditions, 0, EventDraft::prepare_to_send)
}

fn commit_of(
    drafts: impl IntoIterator<Item = EventDraft>,
    preconditions: Vec<Precondition>,
    unix_ms: u64,
    prepare: fn(EventDraft) -> Result<PreparedEvent, Invalid>,
) -> Result<Commit, Invalid> {
    let drafts: Vec<_> = drafts.into_iter().collect();
    if drafts.is_empty() {
        return Err(Invalid::Empty { field: "events" });
    }
    check_count("events", BATCH_EVENTS_MAX, drafts.len())?;
    check_preconditions(&preconditions)?;
    let is_batch = drafts.len() > 1;
    let events = drafts
        .into_iter()
        .enumerate()
        .map(|(event, draft)| {
            prepare(draft).map_err(|invalid| match is_batch {
                true => Invalid::InBatch {
                    event,
                    invalid: Box::new(invalid),
                },
                false => invalid,
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    check_batch_parents(&events)?;
    if is_claim(&preconditions)
        && let Some(event) = events.iter().position(|event| event.salt.is_empty())
    {
        return Err(Invalid::ClaimWithoutSalt { event });
    }
    check_size(Commit {
        unix_ms,
        events,
        preconditions,
    })
}

/// Whether these preconditions make a commit a claim, whose events need salts.
#[must_use]
pub fn is_claim(preconditions: &[Precondition]) -> bool {
    preconditions
        .iter()
        .any(|precondition| matches!(precondition, Precondition::NoChild { .. }))
}

fn check_size(commit: Commit) -> Result<Commit, Invalid> {
    if size_at_most(&commit) <= BATCH_BYTES_MAX {
        return Ok(commit);
    }
    let command = Command::Commit(commit);
    let actual = encode(&command).len();
    if actual > BATCH_BYTES_MAX {
        return Err(Invalid::TooLong {
            field: "commit",
            max: BATCH_BYTES_MAX,
            actual,
        });
    }
    let Command::Commit(commit) = command else {
        unreachable!("made three lines above")
    };
    Ok(commit)
}

/// No less than the encoded size; spares most commits an encoding only to be measured.
fn size_at_most(commit: &Commit) -> usize {
    const FIXED: usize = 768;
    const PRECONDITION: usize = 640;
    const PARENT: usize = 33;
    let event = |event: &PreparedEvent| {
        let embedding = event.embedding.as_ref().map_or(0, |e| e.as_bytes().len());
        let attributes: usize = event
            .attributes
            .iter()
            .map(|(n, v)| n.len() + v.len() + 8)
            .sum();
        FIXED + event.payload.len() + embedding + attributes + PARENT * event.parents.len()
    };
    FIXED
        + commit.preconditions.len() * PRECONDITION
        + commit.events.iter().map(event).sum::<usize>()
}

#[cfg(test)]
mod tests;
