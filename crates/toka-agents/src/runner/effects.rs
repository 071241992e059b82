//! Effects: what is done outside of the vault, after the reaction that wants it is committed.

use std::collections::BTreeSet;

use toka_ledger::command::{ParentName, Precondition};
use toka_ledger::core::limits::PAYLOAD_BYTES_MAX;
use toka_ledger::{EventDraft, EventHeader, Filter, Kind, Selector, Violation};
use tokio_util::sync::CancellationToken;

use super::Runner;
use super::calls::{Answer, Origin};
use super::guard::guarded;
use crate::agent::Agent;
use crate::blob::Blob;
use crate::error::{Error, HandlerError, shortened};
use crate::reaction::Effect;
use crate::record::{BY, EFFECT, EFFECT_DONE, EFFECT_OF, EffectDone};
use crate::retry::Tries;
use crate::step::Step;
use crate::store::{PAGE_EVENTS_MAX, Range};

/// Salt of what became of an effect, bytes.
const SALT_BYTES: usize = 16;
/// Of an agent's newest effects, and of what became of them, so many are looked at for those that were left.
const LOOKED_AT_MAX: usize = 4_000;
/// Children of an effect that are looked at for what became of it.
const CHILDREN_MAX: usize = 8;
/// Largest reply that is recorded, bytes: with room for the rest of the payload.
const REPLY_BYTES_MAX: usize = PAYLOAD_BYTES_MAX - 1024;
/// Longest reason of an effect that was given up, bytes.
const REASON_BYTES_MAX: usize = 4096;

impl<A: Agent> Runner<A> {
    /// Carries effects out in their order. One that was not done when the agent is told to stop is done at its next start.
    pub(super) async fn perform_all(
        &self,
        sequence: u64,
        effects: &[(EventHeader, Effect)],
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        for (header, effect) in effects {
            // Committed before, by another life or instance, which may have carried it out.
            if header.deduplicated && self.is_recorded(header).await? {
                continue;
            }
            let Some(done) = self.perform(effect, stop).await else {
                return Ok(());
            };
            self.reached(Step::EffectDone, sequence);
            self.record(header, &done).await?;
            self.reached(Step::EffectRecorded, sequence);
        }
        Ok(())
    }

    /// Carries out what an earlier life of this agent has committed and not come to: among its newest effects, those of
    /// which it is not recorded what became of them.
    pub(super) async fn perform_left(&self, stop: &CancellationToken) -> Result<(), Error> {
        let agent = self.name();
        let store = &self.calls.store;
        let mut range = Range {
            filter: Filter {
                kind_prefixes: vec![EFFECT.to_owned()],
                attributes: vec![(EFFECT_OF.to_owned(), agent.to_owned())],
                ..Filter::default()
            },
            newest_first: true,
            limit: PAGE_EVENTS_MAX,
            ..Range::default()
        };
        let (mut done, mut left, mut looked_at) = (BTreeSet::new(), Vec::new(), 0);
        // Pages are bounded by bytes too, and replies may be long.
        while looked_at < LOOKED_AT_MAX {
            let page = self.calls.retried(|| store.list(range.clone())).await?;
            // Newest first: what became of an effect comes before it.
            for event in &page.events {
                if event.kind() == EFFECT_DONE {
                    done.extend(event.header.parents.iter().map(|parent| parent.id));
                } else if event.kind() == EFFECT
                    && !done.contains(&event.header.id)
                    && let Ok(effect) = event.payload_as::<Effect>()
                {
                    left.push((event.header.clone(), effect));
                }
            }
            looked_at += page.events.len();
            match page.next {
                Some(next) => range = range.resume(next),
                None => break,
            }
        }
        left.reverse();
        if !left.is_empty() {
            tracing::info!(agent, effects = left.len(), "effects were left");
        }
        let sequence = left.first().map_or(0, |(header, _)| header.sequence);
        self.perform_all(sequence, &left, stop).await
    }

    /// Carries one out; `None` if the agent is told to stop before.
    async fn perform(&self, effect: &Effect, stop: &CancellationToken) -> Option<EffectDone> {
        let settings = &self.calls.settings;
        let mut tries = Tries::new(settings.handler_retries, &settings.seams.entropy);
        loop {
            let performed = {
                let _place = self.calls.handler_place().await;
                guarded(settings.handler_timeout, self.agent.perform(effect)).await
            };
            let error = match performed {
                // Done again it would be no smaller.
                Ok(reply) if reply.len() > REPLY_BYTES_MAX => HandlerError::permanent(format!(
                    "it was carried out, and its reply of {} bytes is more than the {REPLY_BYTES_MAX} that can be recorded",
                    reply.len()
                )),
                Ok(reply) => {
                    self.calls.metrics.add_effect(true);
                    return Some(EffectDone::Done {
                        reply: Blob(reply.to_vec()),
                    });
                }
                Err(error) => error,
            };
            let wait = tries.failed().filter(|_| error.is_retryable());
            let (agent, attempts) = (self.name(), tries.made());
            tracing::warn!(agent, effect = %effect.name, %error, attempts, "effect failed");
            let Some(wait) = wait else {
                self.calls.metrics.add_effect(false);
                return Some(EffectDone::Failed {
                    reason: shortened(&error.to_string(), REASON_BYTES_MAX),
                    attempts,
                });
            };
            self.calls.metrics.add_retry();
            tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Whether it is recorded what became of an effect.
    async fn is_recorded(&self, effect: &EventHeader) -> Result<bool, Error> {
        let range = Range {
            after: effect.sequence,
            filter: Filter {
                kind_prefixes: vec![EFFECT_DONE.to_owned()],
                descendants_of: Some(Selector::Digest(effect.digest)),
                ..Filter::default()
            },
            limit: CHILDREN_MAX,
            ..Range::default()
        };
        let store = &self.calls.store;
        let page = self.calls.retried(|| store.list(range.clone())).await?;
        let mut parents = page.events.iter().flat_map(|event| &event.header.parents);
        Ok(parents.any(|parent| parent.digest == effect.digest))
    }

    /// Records what became of an effect, unless that is recorded.
    async fn record(&self, effect: &EventHeader, done: &EffectDone) -> Result<(), Error> {
        let agent = self.name();
        let mut salt = [0; SALT_BYTES];
        self.calls.settings.seams.entropy.fill(&mut salt);
        let draft = EventDraft::new(EFFECT_DONE).payload(done).parent(effect);
        let draft = draft.source(agent).salt(&salt);
        let draft = draft.attribute(EFFECT_OF, agent).attribute(BY, agent);
        let is_new = Precondition::NoChild {
            parent: ParentName::Digest(effect.digest),
            kind: Kind::new(EFFECT_DONE)?,
        };
        let (events, required) = (&[draft], &[is_new]);
        let commit = self.calls.commit(Origin::Agent, events, required, None);
        match commit.await? {
            Answer::Stored(_) => Ok(()),
            Answer::Violated(violations) => {
                let is_recorded =
                    |violation: &Violation| matches!(violation, Violation::HasChild { .. });
                if !violations.iter().any(is_recorded) {
                    tracing::warn!(agent, ?violations, "effect was not recorded");
                }
                Ok(())
            }
            Answer::Bad(error) => Err(error.into()),
        }
    }
}
