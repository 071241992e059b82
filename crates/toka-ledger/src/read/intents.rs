//! The intents as readers see them.

use super::Reader;
use crate::core::{Digest, Embedding};
use crate::error::Error;
use crate::intent::{Classification, IntentId, Summary, Usage};

impl Reader {
    /// All intents, the largest first; of equally large ones the oldest.
    #[must_use]
    pub fn intents(&self) -> Vec<Summary> {
        self.clusterer().summaries()
    }

    /// An intent as it is now; of a retired one, its successor. `None` if there never was one of that
    /// id.
    #[must_use]
    pub fn intent(&self, intent: IntentId) -> Option<Summary> {
        self.clusterer().summary(intent)
    }

    /// The intents that `intent` led through and the one that it is now, in order; empty while it is in
    /// use. `None` if there never was one of that id.
    #[must_use]
    pub fn intent_successors(&self, intent: IntentId) -> Option<Vec<IntentId>> {
        self.clusterer().successors(intent)
    }

    /// The intent that holds most of what `intent` held; itself while it is in use. `None` if there
    /// never was one of that id.
    #[must_use]
    pub fn resolve_intent(&self, intent: IntentId) -> Option<IntentId> {
        self.clusterer().resolve(intent)
    }

    /// The direction of an intent's centre, the mean of its events' embeddings; of a retired one, of its
    /// successor's. `None` if there never was one of that id, and where the embeddings cancel each other out.
    #[must_use]
    pub fn intent_centre(&self, intent: IntentId) -> Option<Embedding> {
        let direction = {
            let clusterer = self.clusterer();
            clusterer.direction(clusterer.resolve(intent)?)?
        };
        Embedding::from_f32(&direction).ok()
    }

    /// The intent that the events of a micro-cluster are of now.
    #[must_use]
    pub fn intent_of(&self, micro: crate::intent::MicroClusterId) -> Option<IntentId> {
        self.clusterer().intent_of(micro)
    }

    /// Where an event with this embedding would go if it were committed now; with at most `limit` of
    /// the intents nearest to it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another dimension than the vault's; [`Error::Engine`],
    /// [`Error::Corrupt`].
    pub fn classify(&self, embedding: &Embedding, limit: usize) -> Result<Classification, Error> {
        self.check_dimension(embedding)?;
        Ok(self.clusterer().classify(embedding, limit))
    }

    /// Makes a digest of everything that decides where the next events go, centroids included, and remembers
    /// it for [`Reader::intents_digest`]. Replicas have the same one after the same event. It reads all
    /// micro-clusters: milliseconds for thousands of them, in which nothing is applied. Where events are
    /// being applied right now nothing is made.
    pub fn digest_intents(&self) {
        // The position first: what is applied later shows in the clusterer.
        let sequence = self.position().sequence;
        let digest = self.clusterer().digest_after(sequence);
        if let Some(digest) = digest {
            *self.last_intents_digest() = Some((sequence, digest));
        }
    }

    /// The last digest that [`Reader::digest_intents`] made, and the sequence of the event after which it
    /// holds; `None` before the first one.
    #[must_use]
    pub fn intents_digest(&self) -> Option<(u64, Digest)> {
        *self.last_intents_digest()
    }

    /// How many intents and micro-clusters there are, and the memory that they take.
    #[must_use]
    pub fn intent_usage(&self) -> Usage {
        self.clusterer().usage()
    }
}
