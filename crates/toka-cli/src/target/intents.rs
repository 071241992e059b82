//! Intents and search, of a cluster or an embedded vault.

use anyhow::Result;
use toka_client::{Consistency, IntentId, Read};
use toka_ledger::intent::{Classification, Summary};
use toka_ledger::read::Search;
use toka_ledger::{Embedding, Filter};

use super::embedded::{failure as local_failure, record as local_record};
use super::{Include, Record, Target, cluster, failure, parse_selector};
use crate::cli;
use crate::failure::Failure;

/// Intents that a classification ranks.
const NEAREST: u32 = 8;

/// An intent with some of its events.
pub(crate) struct Intent {
    pub(crate) summary: Summary,
    pub(crate) examples: Vec<Hit>,
    /// The intents that led here from the one that was asked for.
    pub(crate) successors: Vec<IntentId>,
    /// Direction of its centre, if that was asked for and is told.
    pub(crate) centre: Option<Embedding>,
}

/// An event that was found.
pub(crate) struct Hit {
    pub(crate) record: Record,
    pub(crate) similarity: f32,
}

/// What a search found.
pub(crate) struct Found {
    pub(crate) hits: Vec<Hit>,
    pub(crate) compared: u64,
    pub(crate) is_exact: bool,
}

/// What to search for.
pub(crate) struct Wanted {
    pub(crate) embedding: Embedding,
    pub(crate) limit: u32,
    /// `None`: every event is compared.
    pub(crate) probes: Option<u32>,
    pub(crate) filter: Filter,
    pub(crate) consistency: cli::Consistency,
}

const WITH_PAYLOAD: Include = Include {
    payload: true,
    embedding: false,
};

impl Target {
    /// The intents, the largest first, at most `limit`.
    pub(crate) async fn intents(
        &self,
        examples: u32,
        skip_tentative: bool,
        limit: usize,
    ) -> Result<Vec<Intent>> {
        let centres = false;
        self.list_intents(examples, skip_tentative, limit, centres)
            .await
    }

    /// The same, with their centres.
    pub(crate) async fn intents_with_centres(
        &self,
        examples: u32,
        skip_tentative: bool,
        limit: usize,
    ) -> Result<Vec<Intent>> {
        let centres = true;
        self.list_intents(examples, skip_tentative, limit, centres)
            .await
    }

    async fn list_intents(
        &self,
        examples: u32,
        skip_tentative: bool,
        limit: usize,
        centres: bool,
    ) -> Result<Vec<Intent>> {
        match self {
            Self::Cluster(remote) => {
                let (client, read) = (remote.client(), linearizable());
                let intents = if centres {
                    client
                        .intents_with_centres(examples, skip_tentative, limit, &read)
                        .await
                } else {
                    client.intents(examples, skip_tentative, limit, &read).await
                };
                let intents = intents.map_err(failure)?;
                Ok(intents
                    .into_iter()
                    .map(|intent| remote_intent(intent, Vec::new()))
                    .collect())
            }
            Self::Embedded(local) => {
                let mut summaries = local.reader().intents();
                summaries.retain(|summary| !(skip_tentative && summary.is_tentative));
                let intents = summaries.into_iter().take(limit).map(|summary| {
                    let mut intent = self.local_intent(summary, examples, Vec::new())?;
                    if centres {
                        intent.centre = local.reader().intent_centre(intent.summary.intent);
                    }
                    Ok(intent)
                });
                intents.collect()
            }
        }
    }

    /// The filter that the flags describe.
    ///
    /// # Errors
    /// [`Failure::NotFound`] for an intent that never was: nothing would ever match.
    pub(crate) async fn filter(&self, flags: cli::Filter) -> Result<Filter> {
        let intents: Vec<_> = flags.intent.into_iter().map(IntentId).collect();
        for &intent in &intents {
            match self.intent_as_of(intent, 0, Consistency::Local).await {
                // The node that was asked may be behind.
                Err(error) if is_not_found(&error) => self.intent(intent, 0).await?,
                known => known?,
            };
        }
        let descendants_of = flags.descendants_of.as_deref().map(parse_selector);
        Ok(Filter {
            kind_prefixes: flags.kind,
            attributes: flags.attribute,
            intents,
            descendants_of: descendants_of.transpose()?,
            ..Filter::default()
        })
    }

    /// One intent, of a retired one its successor.
    pub(crate) async fn intent(&self, intent: IntentId, examples: u32) -> Result<Intent> {
        self.intent_as_of(intent, examples, Consistency::Linearizable)
            .await
    }

    async fn intent_as_of(
        &self,
        intent: IntentId,
        examples: u32,
        consistency: Consistency,
    ) -> Result<Intent> {
        match self {
            Self::Cluster(remote) => {
                let read = Read {
                    consistency,
                    ..linearizable()
                };
                let (intent, successors) = remote
                    .client()
                    .intent(intent, examples, &read)
                    .await
                    .map_err(failure)?;
                Ok(remote_intent(intent, successors))
            }
            Self::Embedded(local) => {
                let reader = local.reader();
                let unknown = || Failure::NotFound(format!("intent {intent}"));
                let summary = reader.intent(intent).ok_or_else(unknown)?;
                let successors = reader.intent_successors(intent).unwrap_or_default();
                self.local_intent(summary, examples, successors)
            }
        }
    }

    fn local_intent(
        &self,
        summary: Summary,
        examples: u32,
        successors: Vec<IntentId>,
    ) -> Result<Intent> {
        let Self::Embedded(local) = self else {
            unreachable!("asked for an embedded vault")
        };
        let reader = local.reader();
        let hits = match examples {
            0 => None,
            count => reader.intent_examples(summary.intent, count as usize)?,
        };
        let examples = hits
            .unwrap_or_default()
            .into_iter()
            .map(|hit| {
                Ok(Hit {
                    record: local_record(reader, &hit.header, WITH_PAYLOAD)?,
                    similarity: hit.similarity,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Intent {
            summary,
            examples,
            successors,
            centre: None,
        })
    }

    /// Labels an intent, or takes its label off. Returns the intent that has it.
    pub(crate) async fn label(&self, intent: IntentId, label: Option<&str>) -> Result<IntentId> {
        match self {
            Self::Cluster(remote) => {
                let labelled = remote.client().label_intent(intent, label).await;
                labelled.map_err(failure)
            }
            Self::Embedded(local) => {
                let labelled = local.vault().label_intent(intent, label).await;
                labelled.map_err(local_failure)
            }
        }
    }

    /// Where an event with this embedding would go.
    pub(crate) async fn classify(&self, embedding: &Embedding) -> Result<Classification> {
        match self {
            Self::Cluster(remote) => {
                let client = remote.client();
                let classified = client.classify(embedding, NEAREST, &linearizable()).await;
                classified.map_err(failure)
            }
            Self::Embedded(local) => local
                .reader()
                .classify(embedding, NEAREST as usize)
                .map_err(local_failure),
        }
    }

    /// The events nearest to a vector.
    pub(crate) async fn search(&self, wanted: Wanted) -> Result<Found> {
        match self {
            Self::Cluster(remote) => {
                let search = toka_client::Search {
                    embedding: wanted.embedding,
                    limit: wanted.limit,
                    filter: wanted.filter,
                    probes: wanted.probes.unwrap_or(0),
                    exact: wanted.probes.is_none(),
                    read: cluster::read(WITH_PAYLOAD, wanted.consistency),
                };
                let found = remote.client().search(&search).await.map_err(failure)?;
                Ok(Found {
                    hits: found.hits.into_iter().map(remote_hit).collect(),
                    compared: found.compared,
                    is_exact: found.is_exact,
                })
            }
            Self::Embedded(local) => {
                local.check_revision(wanted.consistency)?;
                let reader = local.reader();
                let found = reader.search(&Search {
                    embedding: wanted.embedding,
                    limit: wanted.limit as usize,
                    probes: wanted.probes.map(|probes| probes as usize),
                    filter: wanted.filter,
                });
                let found = found.map_err(local_failure)?;
                let hits = found.hits.iter().map(|hit| {
                    Ok(Hit {
                        record: local_record(reader, &hit.header, WITH_PAYLOAD)?,
                        similarity: hit.similarity,
                    })
                });
                Ok(Found {
                    hits: hits.collect::<Result<_>>()?,
                    compared: found.compared,
                    is_exact: found.is_exact,
                })
            }
        }
    }
}

fn is_not_found(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Failure::NotFound(_)))
}

fn linearizable() -> Read {
    Read {
        consistency: Consistency::Linearizable,
        include: WITH_PAYLOAD.into(),
    }
}

fn remote_intent(intent: toka_client::Intent, successors: Vec<IntentId>) -> Intent {
    Intent {
        summary: intent.summary,
        examples: intent.examples.into_iter().map(remote_hit).collect(),
        successors,
        centre: intent.centre,
    }
}

fn remote_hit(hit: toka_client::Hit) -> Hit {
    Hit {
        record: cluster::record(hit.event),
        similarity: hit.similarity,
    }
}
