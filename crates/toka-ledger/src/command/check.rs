//! What a command must be, beyond what its types say, so that every node can decode it.

use super::{Command, Commit, Create, Precondition, PreparedEvent};
use crate::core::Kind;
use crate::core::limits::{
    BATCH_EVENTS_MAX, DIMENSIONS_MAX, PARENTS_MAX, PAYLOAD_BYTES_MAX, PRECONDITIONS_MAX,
};
use crate::error::{Invalid, ParentName};

impl Command {
    /// Checks what decoding checks: a command that passes is read back by every node.
    ///
    /// That a payload's digest is its own is not checked; `verify` finds it.
    ///
    /// # Errors
    /// [`Invalid`]: the first rule that is broken; of several events, as [`Invalid::InBatch`].
    pub fn check(&self) -> Result<(), Invalid> {
        match self {
            Self::Create(create) => create.check(),
            // Their types allow nothing else.
            Self::Label(_)
            | Self::SetFeatureLevel(_)
            | Self::SaveCursor(_)
            | Self::DeleteCursor(_)
            | Self::DeleteGroup(_)
            | Self::RevokeToken(_) => Ok(()),
            Self::Commit(commit) => commit.check(),
            Self::CreateGroup(create) => create.settings.check(),
            Self::Deliver(deliver) => deliver.check(),
            Self::Settle(settle) => settle.check(),
            Self::MoveParked(moves) => moves.check(),
            Self::UpdateGroup(update) => update.changes.check(),
            Self::CreateToken(create) => create.check(),
            Self::RotateToken(rotate) => rotate.check(),
            Self::PutRole(put) => put.role.check(),
            Self::DeleteRole(delete) => delete.check(),
            Self::AppendAudit(append) => append.check(),
        }
    }
}

impl Create {
    fn check(&self) -> Result<(), Invalid> {
        const MAX: u64 = DIMENSIONS_MAX as u64;
        if let Some(dimension) = self.dimension
            && !(1..=MAX).contains(&dimension.into())
        {
            return Err(Invalid::OutOfRange {
                field: "dimension",
                min: 1,
                max: MAX,
                actual: dimension.into(),
            });
        }
        self.intents.check()
    }
}

impl Commit {
    /// As [`Command::check`].
    ///
    /// # Errors
    /// As [`Command::check`].
    pub fn check(&self) -> Result<(), Invalid> {
        if self.events.is_empty() {
            return Err(Invalid::Empty { field: "events" });
        }
        check_count("events", BATCH_EVENTS_MAX, self.events.len())?;
        check_preconditions(&self.preconditions)?;
        for (event, prepared) in self.events.iter().enumerate() {
            let checked = prepared.check();
            checked.map_err(|invalid| Invalid::InBatch {
                event,
                invalid: Box::new(invalid),
            })?;
        }
        check_batch_parents(&self.events)
    }
}

impl PreparedEvent {
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        if self.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Invalid::TooLong {
                field: "payload",
                max: PAYLOAD_BYTES_MAX,
                actual: self.payload.len(),
            });
        }
        check_count("parents", PARENTS_MAX, self.parents.len())?;
        self.attributes.check()?;
        if self.model.is_some() && self.embedding.is_none() {
            return Err(Invalid::Syntax {
                field: "embedding_model",
                expected: "given together with an embedding",
            });
        }
        Ok(())
    }
}

pub(crate) fn check_preconditions(preconditions: &[Precondition]) -> Result<(), Invalid> {
    check_count("preconditions", PRECONDITIONS_MAX, preconditions.len())?;
    let names_the_batch = |precondition: &Precondition| {
        matches!(
            precondition,
            Precondition::NoChild {
                parent: ParentName::Batch(_),
                ..
            }
        )
    };
    if preconditions.iter().any(names_the_batch) {
        return Err(Invalid::Syntax {
            field: "preconditions.parent",
            expected: "the id or the digest of an event that is in the vault already",
        });
    }
    for precondition in preconditions {
        if let Precondition::KindPrefixSequence { prefix, .. } = precondition {
            // A prefix obeys the rules of kinds.
            Kind::new(prefix)?;
        }
    }
    Ok(())
}

pub(crate) fn check_batch_parents(events: &[PreparedEvent]) -> Result<(), Invalid> {
    for (event, prepared) in events.iter().enumerate() {
        for parent in &prepared.parents {
            if let ParentName::Batch(parent) = *parent
                && usize::from(parent) >= event
            {
                return Err(Invalid::BatchParent {
                    event,
                    parent: parent.into(),
                });
            }
        }
    }
    Ok(())
}

pub(crate) fn check_count(field: &'static str, max: usize, actual: usize) -> Result<(), Invalid> {
    if actual > max {
        return Err(Invalid::TooMany { field, max, actual });
    }
    Ok(())
}
