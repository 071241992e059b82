//! Calls to the vault, repeated while it is away.

use std::sync::Arc;

use toka_ledger::command::Precondition;
use toka_ledger::{EventDraft, EventHeader, Rejection, Violation};
use tokio::sync::SemaphorePermit;

use crate::error::Error;
use crate::metrics::Metrics;
use crate::retry::Tries;
use crate::settings::Settings;
use crate::store::{Class, Store, StoreError};

/// An agent's way to the vault.
#[derive(Debug)]
pub(super) struct Calls {
    pub(super) store: Arc<dyn Store>,
    pub(super) settings: Settings,
    pub(super) metrics: Arc<Metrics>,
}

/// Whose doing a commit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Of a handler: for what it asks, its event can be put aside.
    Reaction,
    /// Of this crate itself, which cannot go on without it.
    Agent,
}

/// What became of a commit.
pub(super) enum Answer {
    /// It is stored.
    Stored(Vec<EventHeader>),
    /// Preconditions did not hold.
    Violated(Vec<Violation>),
    /// The vault does not take these events.
    Bad(StoreError),
}

impl Calls {
    pub(super) fn new(store: Arc<dyn Store>, settings: Settings) -> Self {
        Self {
            store,
            settings,
            metrics: Arc::default(),
        }
    }

    /// Waits for a place among the handlers that run at the same time; `None` where they are not bounded.
    pub(super) async fn handler_place(&self) -> Option<SemaphorePermit<'_>> {
        let handlers = self.settings.handlers.as_ref()?;
        // One that was closed bounds nothing any more.
        handlers.acquire().await.ok()
    }

    pub(super) fn tries(&self) -> Tries {
        Tries::new(self.settings.store_retries, &self.settings.seams.entropy)
    }

    /// Waits for the next try after an error that may pass.
    ///
    /// # Errors
    /// [`Error::Store`] with that one if it will not pass, or has not until the last try.
    pub(super) async fn again(&self, tries: &mut Tries, error: StoreError) -> Result<(), Error> {
        if error.class() != Class::Transient {
            return Err(error.into());
        }
        let Some(wait) = tries.failed() else {
            return Err(error.into());
        };
        self.metrics.add_retry();
        let agent = self.settings.name();
        tracing::warn!(agent, %error, tries = tries.made(), "vault is tried again");
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// Makes a call until it does not fail for a while any more.
    ///
    /// # Errors
    /// As [`Calls::again`].
    pub(super) async fn retried<T, F>(&self, call: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut tries = self.tries();
        loop {
            match call().await {
                Ok(done) => return Ok(done),
                Err(error) => self.again(&mut tries, error).await?,
            }
        }
    }

    /// Commits events with what they require of the vault, and the agent's progress if there is any. A repeat after a lost
    /// answer is the same events, so it is stored once. Where it was the handler that asked for what it may not have, the
    /// answer is [`Answer::Bad`].
    ///
    /// # Errors
    /// As [`Calls::again`].
    pub(super) async fn commit(
        &self,
        origin: Origin,
        events: &[EventDraft],
        required: &[Precondition],
        progress: Option<&Precondition>,
    ) -> Result<Answer, Error> {
        let mut tries = self.tries();
        loop {
            let preconditions = required.iter().chain(progress).cloned().collect();
            let commit = self.store.commit(events.to_vec(), preconditions);
            let error = match commit.await {
                Ok(headers) => return Ok(Answer::Stored(headers)),
                Err(StoreError::Rejected(Rejection::Preconditions { violations })) => {
                    return Ok(Answer::Violated(violations));
                }
                Err(error) => error,
            };
            let is_reactions = origin == Origin::Reaction && is_own_doing(&error, required);
            if error.class() == Class::Refused || is_reactions || is_beyond(&error, progress) {
                return Ok(Answer::Bad(error));
            }
            self.again(&mut tries, error).await?;
        }
    }
}

/// Whether a commit with a reaction may have failed for what that asks. Where it was for the agent's own part of it, to put
/// the event aside fails for the same.
fn is_own_doing(error: &StoreError, required: &[Precondition]) -> bool {
    let mut required = required.iter();
    let moves_cursor = |asked: &Precondition| matches!(asked, Precondition::CursorMove { .. });
    error.is_denied() || (error.is_out_of_cursors() && required.any(moves_cursor))
}

/// Whether a reaction would move a cursor beyond the vault's end, of which others may know better. Where it is the agent's own
/// progress, the vault has lost the event that has come out of it: no event can be dealt with.
fn is_beyond(error: &StoreError, progress: Option<&Precondition>) -> bool {
    let Some(position) = error.position_ahead() else {
        return false;
    };
    match progress {
        Some(Precondition::CursorMove { to, .. }) => position != *to,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use toka_ledger::CursorName;

    use super::*;

    #[test]
    fn a_position_that_is_not_in_the_vault_is_the_reactions_unless_it_is_the_agents_own() {
        let name = CursorName::new("agent.worker").expect("a name");
        let own = Precondition::CursorMove {
            name,
            from: 0,
            to: 7,
        };
        let (position, last) = (9, 5);
        let told = [
            StoreError::from(Rejection::PositionAhead { position, last }),
            StoreError::from(toka_client::Error::OutOfRange {
                sequence: position,
                first: 1,
                last,
            }),
        ];
        for error in told {
            assert_eq!(error.class(), Class::Fatal);
            assert!(is_beyond(&error, Some(&own)), "{error}");
            // An agent of a group moves no cursor.
            assert!(is_beyond(&error, None), "{error}");
        }
        let lost = StoreError::from(Rejection::PositionAhead { position: 7, last });
        assert!(!is_beyond(&lost, Some(&own)));
        let full = StoreError::from(Rejection::Full);
        assert!(!is_beyond(&full, Some(&own)));
    }

    #[test]
    fn a_cursor_too_many_is_the_reactions_if_it_moves_one() {
        let other = Precondition::CursorMove {
            name: CursorName::new("other").expect("a name"),
            from: 0,
            to: 1,
        };
        let other = [other];
        let reached = |subject: &str| {
            StoreError::from(toka_client::Error::LimitReached {
                subject: subject.to_owned(),
                message: "there may not be more".to_owned(),
            })
        };
        let embedded = StoreError::from(Rejection::CursorsFull { max: 1 });
        for full in [embedded, reached("cursors")] {
            assert_eq!(full.class(), Class::Fatal);
            assert!(is_own_doing(&full, &other), "{full}");
            assert!(!is_own_doing(&full, &[]), "{full}");
        }
        assert!(!is_own_doing(&reached("disk"), &other));
    }

    #[test]
    fn a_commit_that_is_not_allowed_is_the_reactions_and_one_of_nobody_is_not() {
        let denied = StoreError::from(toka_client::Error::PermissionDenied {
            message: "no grant for kind result".to_owned(),
        });
        let unknown = StoreError::from(toka_client::Error::Unauthenticated {
            endpoint: "n".to_owned(),
            message: "the token was revoked".to_owned(),
        });
        for error in [&denied, &unknown] {
            assert_eq!(error.class(), Class::Fatal);
        }
        assert!(is_own_doing(&denied, &[]));
        assert!(!is_own_doing(&unknown, &[]));
    }
}
