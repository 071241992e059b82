//! Intents of an embedded vault; [`VaultBus::reader`] has the rest of the questions.

use super::VaultBus;
use crate::apply::Outcome;
use crate::command::{Command, Label};
use crate::core::{Embedding, IntentLabel};
use crate::error::Error;
use crate::intent::{Classification, IntentId, Summary};
use crate::read::{Filter, Found, SEARCH_PROBES, Search};

/// Intents that [`VaultBus::classify`] ranks.
const NEAREST_INTENTS: usize = 8;

impl VaultBus {
    /// All intents, the largest first.
    #[must_use]
    pub fn intents(&self) -> Vec<Summary> {
        self.reader().intents()
    }

    /// Gives an intent a label, or takes it off, and waits until that is on stable storage. Returns the
    /// intent that was labelled: of a retired one its successor.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bad label, [`Rejection::UnknownIntent`](crate::Rejection),
    /// [`Error::Engine`], [`Error::Closed`].
    pub async fn label_intent(
        &self,
        intent: IntentId,
        label: Option<&str>,
    ) -> Result<IntentId, Error> {
        let command = Command::Label(Label {
            unix_ms: self.inner.seams.clock.unix_ms(),
            intent,
            label: label.map(IntentLabel::new).transpose()?,
        });
        match self.execute(command).await? {
            Outcome::Labelled { intent, .. } => Ok(intent),
            other => unreachable!("an intent was to be labelled: {other:?}"),
        }
    }

    /// Where an event with this embedding, shape `[dimension]`, would go if it were committed now.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a vector that no event could have, [`Error::Corrupt`],
    /// [`Error::Engine`].
    pub fn classify(&self, embedding: &[f32]) -> Result<Classification, Error> {
        self.reader()
            .classify(&Embedding::from_f32(embedding)?, NEAREST_INTENTS)
    }

    /// The `limit` events nearest to a vector, shape `[dimension]`, from the intents nearest to it.
    /// [`Reader::search`](crate::Reader::search) looks into as many as wanted, or into all.
    ///
    /// # Errors
    /// As [`VaultBus::classify`].
    pub fn search(&self, embedding: &[f32], limit: usize) -> Result<Found, Error> {
        self.reader().search(&Search {
            embedding: Embedding::from_f32(embedding)?,
            limit,
            probes: Some(SEARCH_PROBES),
            filter: Filter::default(),
        })
    }
}
