//! Commits: events, parents' names, preconditions.

use bytes::Bytes;
use toka_ledger::command::{Commit, ParentName, Precondition, PreparedEvent};
use toka_ledger::prepare::{EventDraft, prepare_commit};
use toka_ledger::{Attributes, CursorName, GroupName, Invalid, Kind};

use super::coordination::Token;
use super::ident;
use crate::v1;
use crate::v1::new_event::Embedding;
use crate::v1::parent_name::Name;
use crate::v1::precondition::Condition;

/// Checks the events and preconditions of a request and prepares them, with the proposer's time.
///
/// # Errors
/// [`Invalid`], naming the field; of several events, as [`Invalid::InBatch`].
pub fn prepare(
    events: Vec<v1::NewEvent>,
    preconditions: Vec<v1::Precondition>,
    unix_ms: u64,
) -> Result<Commit, Invalid> {
    let is_batch = events.len() > 1;
    let drafts = events
        .into_iter()
        .enumerate()
        .map(|(event, new)| {
            EventDraft::try_from(new).map_err(|invalid| match is_batch {
                true => Invalid::InBatch {
                    event,
                    invalid: Box::new(invalid),
                },
                false => invalid,
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let preconditions = preconditions
        .into_iter()
        .map(Precondition::try_from)
        .collect::<Result<Vec<_>, _>>()?;
    prepare_commit(drafts, preconditions, unix_ms)
}

impl TryFrom<v1::NewEvent> for EventDraft {
    type Error = Invalid;

    /// Of kind, payload, salt and embedding, what is wrong comes to light in
    /// [`EventDraft::prepare`].
    fn try_from(new: v1::NewEvent) -> Result<Self, Invalid> {
        let mut draft = Self::new(&new.kind)
            .payload_bytes(new.payload)
            .salt(&new.salt);
        for parent in new.parents {
            draft = draft.parent_by_name(ParentName::try_from(parent)?);
        }
        match new.embedding {
            Some(Embedding::Values(vector)) => draft = draft.embedding(&vector.components),
            Some(Embedding::Quantized(components)) => draft = draft.quantized_bytes(components),
            None => {}
        }
        if !new.embedding_model.is_empty() {
            draft = draft.model(&new.embedding_model);
        }
        let Some(attributes) = new.attributes else {
            return Ok(draft);
        };
        if let Some(source) = attributes.source {
            draft = draft.source(source);
        }
        if let Some(content_type) = attributes.content_type {
            draft = draft.content_type(content_type);
        }
        for (name, value) in attributes.pairs {
            draft = draft.attribute(name, value);
        }
        Ok(draft)
    }
}

impl From<PreparedEvent> for v1::NewEvent {
    fn from(event: PreparedEvent) -> Self {
        Self {
            kind: event.kind.as_str().to_owned(),
            payload: event.payload,
            salt: event.salt.as_bytes().to_vec().into(),
            parents: event.parents.iter().map(Into::into).collect(),
            embedding: event
                .embedding
                .map(|embedding| Embedding::Quantized(embedding.as_bytes().clone())),
            attributes: attributes_message(&event.attributes),
            embedding_model: event
                .model
                .map(|model| model.to_string())
                .unwrap_or_default(),
        }
    }
}

impl From<Commit> for v1::CommitRequest {
    /// The time is left out: the leader's counts.
    fn from(commit: Commit) -> Self {
        Self {
            vault: String::new(),
            events: commit.events.into_iter().map(Into::into).collect(),
            preconditions: commit.preconditions.iter().map(Into::into).collect(),
        }
    }
}

/// Absent where there are no attributes.
pub(super) fn attributes_message(attributes: &Attributes) -> Option<v1::Attributes> {
    (!attributes.is_empty()).then(|| v1::Attributes {
        source: attributes.source.clone(),
        content_type: attributes.content_type.clone(),
        pairs: attributes.pairs.clone(),
    })
}

impl From<&ParentName> for v1::ParentName {
    fn from(parent: &ParentName) -> Self {
        let name = match parent {
            ParentName::Id(id) => Name::Id(ident::event_id_bytes(id)),
            ParentName::Digest(digest) => Name::Digest(ident::digest_bytes(digest)),
            ParentName::Batch(index) => Name::BatchIndex((*index).into()),
        };
        Self { name: Some(name) }
    }
}

impl TryFrom<v1::ParentName> for ParentName {
    type Error = Invalid;

    fn try_from(parent: v1::ParentName) -> Result<Self, Invalid> {
        match parent.name {
            Some(Name::Id(id)) => ident::event_id("parents.id", &id).map(Self::Id),
            Some(Name::Digest(digest)) => {
                ident::digest("parents.digest", &digest).map(Self::Digest)
            }
            Some(Name::BatchIndex(index)) => {
                let index = u16::try_from(index).map_err(|_| Invalid::OutOfRange {
                    field: "parents.batch_index",
                    min: 0,
                    max: u16::MAX.into(),
                    actual: index.into(),
                })?;
                Ok(Self::Batch(index))
            }
            None => Err(Invalid::Empty {
                field: "parents.name",
            }),
        }
    }
}

impl From<&Precondition> for v1::Precondition {
    fn from(precondition: &Precondition) -> Self {
        let condition = match precondition {
            Precondition::NoChild { parent, kind } => Some(Condition::NoChild(v1::NoChild {
                parent: Some(parent.into()),
                kind: kind.to_string(),
            })),
            Precondition::KindSequence { kind, sequence } => {
                Some(Condition::KindSequence(v1::KindSequence {
                    kind: kind.to_string(),
                    sequence: *sequence,
                }))
            }
            Precondition::TimePassed { unix_ms } => {
                Some(Condition::TimePassed(v1::TimePassed { unix_ms: *unix_ms }))
            }
            Precondition::CursorMove { name, from, to } => {
                Some(Condition::CursorMove(v1::CursorMove {
                    name: name.to_string(),
                    from_sequence: *from,
                    to_sequence: *to,
                    history_id: Bytes::new(),
                }))
            }
            Precondition::KindPrefixSequence { prefix, sequence } => {
                Some(Condition::KindPrefixSequence(v1::KindPrefixSequence {
                    prefix: prefix.clone(),
                    sequence: *sequence,
                }))
            }
            Precondition::Acknowledge {
                group,
                incarnation,
                sequence,
                delivery,
            } => {
                let token = Token {
                    incarnation: *incarnation,
                    sequence: *sequence,
                    delivery: *delivery,
                };
                Some(Condition::Acknowledge(v1::AcknowledgeDelivery {
                    group: group.to_string(),
                    token: token.encode(),
                }))
            }
            // One that this crate cannot write: the node refuses an empty one, and nothing is
            // committed without it.
            _ => None,
        };
        Self { condition }
    }
}

impl TryFrom<v1::Precondition> for Precondition {
    type Error = Invalid;

    fn try_from(precondition: v1::Precondition) -> Result<Self, Invalid> {
        match precondition.condition {
            Some(Condition::NoChild(claim)) => {
                let parent = claim.parent.ok_or(Invalid::Empty {
                    field: "preconditions.no_child.parent",
                })?;
                Ok(Self::NoChild {
                    parent: parent.try_into()?,
                    kind: Kind::new(&claim.kind)?,
                })
            }
            Some(Condition::KindSequence(last)) => Ok(Self::KindSequence {
                kind: Kind::new(&last.kind)?,
                sequence: last.sequence,
            }),
            Some(Condition::TimePassed(time)) => Ok(Self::TimePassed {
                unix_ms: time.unix_ms,
            }),
            Some(Condition::CursorMove(cursor)) => Ok(Self::CursorMove {
                name: CursorName::new(&cursor.name)?,
                from: cursor.from_sequence,
                to: cursor.to_sequence,
            }),
            // What is wrong with the prefix comes to light when the commit is prepared.
            Some(Condition::KindPrefixSequence(last)) => Ok(Self::KindPrefixSequence {
                prefix: last.prefix,
                sequence: last.sequence,
            }),
            Some(Condition::Acknowledge(delivery)) => {
                let token = Token::decode("preconditions.acknowledge.token", &delivery.token)?;
                Ok(Self::Acknowledge {
                    group: GroupName::new(&delivery.group)?,
                    incarnation: token.incarnation,
                    sequence: token.sequence,
                    delivery: token.delivery,
                })
            }
            None => Err(Invalid::Empty {
                field: "preconditions.condition",
            }),
        }
    }
}

/// The history that the sequences of a cursor's move are of, where the request names one.
///
/// # Errors
/// [`Invalid::Length`].
pub fn cursor_histories(preconditions: &[v1::Precondition]) -> Result<Vec<u128>, Invalid> {
    let named = preconditions
        .iter()
        .filter_map(|precondition| match &precondition.condition {
            Some(Condition::CursorMove(cursor)) => Some(&cursor.history_id),
            _ => None,
        });
    let named = named.map(|id| ident::u128_optional("preconditions.cursor_move.history_id", id));
    named.filter_map(Result::transpose).collect()
}

/// Says of which history the sequences of cursors' moves are, where they do not say it themselves.
pub fn set_cursor_histories(preconditions: &mut [v1::Precondition], history_id: u128) {
    for precondition in preconditions {
        if let Some(Condition::CursorMove(cursor)) = &mut precondition.condition
            && cursor.history_id.is_empty()
        {
            cursor.history_id = ident::u128_bytes(history_id);
        }
    }
}
