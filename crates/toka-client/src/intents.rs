//! Intents, and the events nearest to a vector.

use toka_ledger::intent::{Classification, IntentId, MicroClusterId, Summary};
use toka_ledger::{Embedding, Filter};
use toka_proto::convert::event::StoredEvent;
use toka_proto::v1;
use toka_proto::v1::intent_service_client::IntentServiceClient;

use crate::call::Repeats;
use crate::channel::Connection;
use crate::client::Client;
use crate::config::MESSAGE_BYTES_MAX;
use crate::error::Error;
use crate::pages::{Listing, NextPage};
use crate::read::{Read, route};

/// An intent, and some of its events.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    /// What is known of it.
    pub summary: Summary,
    /// Events nearest to its centre, if they were asked for.
    pub examples: Vec<Hit>,
    /// Direction of its centre, if that was asked for. Absent also where its events' embeddings cancel each other out,
    /// to a caller that may not see events of every kind, and from a node of a build that does not tell it.
    pub centre: Option<Embedding>,
}

/// An event that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The event.
    pub event: StoredEvent,
    /// Cosine similarity, -1 to 1; older nodes may tell a little more than 1.
    pub similarity: f32,
}

/// What is searched for; the vector is of the vault's dimension.
#[derive(Clone, Debug)]
pub struct Search {
    /// Near this vector.
    pub embedding: Embedding,
    /// Hits wanted, at most 1,000; 0: 10.
    pub limit: u32,
    /// Which events.
    pub filter: Filter,
    /// Intents to look into, the nearest first; 0: 8.
    pub probes: u32,
    /// Compare every event, instead of those of the nearest intents.
    pub exact: bool,
    /// How to read.
    pub read: Read,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The most similar first.
    pub hits: Vec<Hit>,
    /// Events that were compared.
    pub compared: u64,
    /// Every event that the filter admits was compared.
    pub is_exact: bool,
}

impl Client {
    /// The intents, the largest first, each with up to `examples` (at most 8) of its events; at most
    /// `limit`. One that grows while further pages are fetched may be left out: without examples there
    /// are 1,000 on a page.
    ///
    /// # Errors
    /// As every call.
    pub async fn intents(
        &self,
        examples: u32,
        skip_tentative: bool,
        limit: usize,
        read: &Read,
    ) -> Result<Vec<Intent>, Error> {
        let centres = false;
        self.list_intents(examples, skip_tentative, centres, limit, read)
            .await
    }

    /// The same, each with its centre.
    ///
    /// # Errors
    /// As every call.
    pub async fn intents_with_centres(
        &self,
        examples: u32,
        skip_tentative: bool,
        limit: usize,
        read: &Read,
    ) -> Result<Vec<Intent>, Error> {
        let centres = true;
        self.list_intents(examples, skip_tentative, centres, limit, read)
            .await
    }

    async fn list_intents(
        &self,
        examples: u32,
        skip_tentative: bool,
        centres: bool,
        limit: usize,
        read: &Read,
    ) -> Result<Vec<Intent>, Error> {
        let list = Listing {
            consistency: read.consistency,
            deadline: self.deadline(),
            limit,
        };
        let ask = |page: NextPage| v1::ListIntentsRequest {
            vault: String::new(),
            skip_tentative,
            examples,
            page_size: page.size,
            page_token: page.token,
            include: Some(read.include.into()),
            read: Some(self.options(read.consistency)),
            centres,
        };
        let attempt =
            |channel, request| async move { service(channel).list_intents(request).await };
        self.shared.pages(list, ask, attempt, read_intent).await
    }

    /// One intent, of a retired one its successor, and the intents that led there.
    ///
    /// # Errors
    /// [`Error::Rejected`] for one that never was.
    pub async fn intent(
        &self,
        intent: IntentId,
        examples: u32,
        read: &Read,
    ) -> Result<(Intent, Vec<IntentId>), Error> {
        let message = v1::GetIntentRequest {
            vault: String::new(),
            intent: intent.0,
            examples,
            include: Some(read.include.into()),
            read: Some(self.options(read.consistency)),
        };
        let answer = self
            .shared
            .call(route(read.consistency), self.deadline(), |channel, time| {
                let request = self.shared.request(message.clone(), time);
                async move { service(channel).get_intent(request).await }
            })
            .await?;
        let (endpoint, response) = (answer.endpoint, answer.message);
        self.shared.observe(&endpoint, response.header)?;
        let intent = response.intent;
        let intent = intent.ok_or_else(|| Error::reply(&endpoint, "it has no intent"))?;
        let successors = response.successors.into_iter().map(IntentId).collect();
        Ok((read_intent(&endpoint, intent)?, successors))
    }

    /// Gives an intent a label, or takes it off. Returns the intent that has it: of a retired one its
    /// successor.
    ///
    /// # Errors
    /// [`Error::Rejected`] for an intent that never was; as every call.
    pub async fn label_intent(
        &self,
        intent: IntentId,
        label: Option<&str>,
    ) -> Result<IntentId, Error> {
        let message = v1::LabelIntentRequest {
            vault: String::new(),
            intent: intent.0,
            label: label.unwrap_or_default().to_owned(),
        };
        let answer = self
            .shared
            .change(self.deadline(), Repeats::Always, |channel, time| {
                let request = self.shared.request(message.clone(), time);
                async move { service(channel).label_intent(request).await }
            })
            .await?;
        self.shared
            .observe(&answer.endpoint, answer.message.header)?;
        Ok(IntentId(answer.message.intent))
    }

    /// Where an event with this embedding would go if it were committed now.
    ///
    /// # Errors
    /// As every call.
    pub async fn classify(
        &self,
        embedding: &Embedding,
        limit: u32,
        read: &Read,
    ) -> Result<Classification, Error> {
        let message = v1::ClassifyVectorRequest {
            vault: String::new(),
            vector: Some(embedding.into()),
            limit,
            read: Some(self.options(read.consistency)),
        };
        let answer = self
            .shared
            .call(route(read.consistency), self.deadline(), |channel, time| {
                let request = self.shared.request(message.clone(), time);
                async move { service(channel).classify_vector(request).await }
            })
            .await?;
        let response = answer.message;
        self.shared.observe(&answer.endpoint, response.header)?;
        let similarity = response.similarity;
        Ok(Classification {
            micro_cluster: response
                .micro_cluster
                .map(|micro| (MicroClusterId(micro), similarity)),
            intent: response.intent.map(IntentId),
            nearest: response
                .nearest
                .iter()
                .map(|near| (IntentId(near.intent), near.similarity))
                .collect(),
        })
    }

    /// The events nearest to a vector, by cosine similarity.
    ///
    /// # Errors
    /// As every call.
    pub async fn search(&self, search: &Search) -> Result<Found, Error> {
        let consistency = search.read.consistency;
        let message = v1::SearchRequest {
            vault: String::new(),
            vector: Some((&search.embedding).into()),
            limit: search.limit,
            filter: Some((&search.filter).into()),
            probes: search.probes,
            exact: search.exact,
            include: Some(search.read.include.into()),
            read: Some(self.options(consistency)),
        };
        let answer = self
            .shared
            .call(route(consistency), self.deadline(), |channel, time| {
                let request = self.shared.request(message.clone(), time);
                async move { service(channel).search(request).await }
            })
            .await?;
        let (endpoint, response) = (answer.endpoint, answer.message);
        self.shared.observe(&endpoint, response.header)?;
        Ok(Found {
            hits: read_hits(&endpoint, response.hits)?,
            compared: response.compared,
            is_exact: response.exact,
        })
    }
}

fn service(channel: Connection) -> IntentServiceClient<Connection> {
    IntentServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

fn read_intent(endpoint: &str, mut intent: v1::Intent) -> Result<Intent, Error> {
    let examples = std::mem::take(&mut intent.examples);
    let centre = std::mem::take(&mut intent.centre);
    let centre = (!centre.is_empty()).then(|| Embedding::from_quantized_bytes(centre));
    Ok(Intent {
        summary: (&intent).into(),
        examples: read_hits(endpoint, examples)?,
        centre: centre
            .transpose()
            .map_err(|error| Error::reply(endpoint, error))?,
    })
}

fn read_hits(endpoint: &str, hits: Vec<v1::SearchHit>) -> Result<Vec<Hit>, Error> {
    hits.into_iter()
        .map(|hit| {
            let event = hit.event;
            let event = event.ok_or_else(|| Error::reply(endpoint, "a hit has no event"))?;
            Ok(Hit {
                event: StoredEvent::try_from(event)
                    .map_err(|error| Error::reply(endpoint, error))?,
                similarity: hit.similarity,
            })
        })
        .collect()
}
