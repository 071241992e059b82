//! `toka.vault.v1.IntentService`: intents, and search.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use toka_ledger::core::Embedding;
use toka_ledger::intent::{IntentId, Summary};
use toka_ledger::read::{Hit, SEARCH_HITS_MAX, SEARCH_PROBES, Search};
use toka_ledger::{Error, Invalid, Reader};
use toka_proto::convert::intent::vector;
use toka_proto::convert::read::check_vault;
use toka_proto::convert::status;
use toka_proto::v1;
use toka_proto::v1::intent_service_server::{IntentService, IntentServiceServer};
use tonic::{Request, Response, Status};

use super::page_token::{IntentListIdentity, IntentPageToken};
use super::read::Include;
use super::{Shared, label};
use crate::auth::Access;
use crate::limits::{
    CLASSIFY_INTENTS_DEFAULT, CLASSIFY_INTENTS_MAX, INTENT_EXAMPLES_MAX, INTENTS_PAGE_DEFAULT,
    INTENTS_PAGE_EXAMPLES_MAX, INTENTS_PAGE_MAX, MESSAGE_BYTES_MAX, PAGE_BYTES,
    SEARCH_EXACT_EVENTS_MAX, SEARCH_HITS_DEFAULT,
};

/// The service.
#[derive(Clone)]
pub(crate) struct Intents {
    shared: Arc<Shared>,
}

impl Intents {
    pub(crate) fn server(shared: Arc<Shared>) -> IntentServiceServer<Self> {
        IntentServiceServer::new(Self { shared })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl IntentService for Intents {
    async fn list_intents(
        &self,
        request: Request<v1::ListIntentsRequest>,
    ) -> Result<Response<v1::ListIntentsResponse>, Status> {
        let shared = &self.shared;
        let call = shared.admit(&request)?;
        let request = request.into_inner();
        let examples = check_vault(&request.vault)
            .and_then(|()| bounded("examples", request.examples, INTENT_EXAMPLES_MAX, 0))
            .map_err(|error| status::invalid(&error))?;
        let limit = page_size(request.page_size, examples);
        let identity = IntentListIdentity {
            skip_tentative: request.skip_tentative,
            history_id: shared.history_id(),
        };
        let after = IntentPageToken::read(&request.page_token, identity)
            .map_err(|error| status::invalid(&error))?;
        let include = Include::new(request.include);
        let position = shared.barrier(&call, request.read).await?;
        let access = call.access;
        let read = move |reader: &Reader| {
            let mut summaries = reader.intents();
            summaries.retain(|summary| !(request.skip_tentative && summary.is_tentative));
            let total = summaries.len();
            let begin = after.map_or(0, |after| {
                summaries.partition_point(|summary| IntentPageToken::of(summary) <= after)
            });
            let mut intents: Vec<v1::Intent> = Vec::new();
            let (mut bytes, mut next) = (0, None);
            let mut rest = summaries[begin..].iter().peekable();
            while let Some(summary) = rest.next() {
                let mut intent = shown(summary, &access);
                intent.examples =
                    load_examples(reader, summary.intent, examples, include, &access)?;
                if request.centres {
                    intent.centre = centre(reader, summary.intent, &access);
                }
                bytes += intent.encoded_len();
                intents.push(intent);
                // One intent comes whatever its size.
                if rest.peek().is_some() && (intents.len() == limit || bytes > PAGE_BYTES) {
                    next = Some(IntentPageToken::of(summary));
                    break;
                }
            }
            Ok((intents, u32::try_from(total).unwrap_or(u32::MAX), next))
        };
        let (intents, total, next) = shared.read(call.deadline, read).await?;
        let next = next.map(|next| next.encode(identity));
        Ok(Response::new(v1::ListIntentsResponse {
            header: Some(shared.header(&position)),
            intents,
            total,
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn get_intent(
        &self,
        request: Request<v1::GetIntentRequest>,
    ) -> Result<Response<v1::GetIntentResponse>, Status> {
        let shared = &self.shared;
        let call = shared.admit(&request)?;
        let request = request.into_inner();
        let examples = check_vault(&request.vault)
            .and_then(|()| bounded("examples", request.examples, INTENT_EXAMPLES_MAX, 0))
            .map_err(|error| status::invalid(&error))?;
        let (id, include) = (IntentId(request.intent), Include::new(request.include));
        let position = shared.barrier(&call, request.read).await?;
        let access = call.access;
        let read = move |reader: &Reader| {
            let (Some(summary), Some(mut successors)) =
                (reader.intent(id), reader.intent_successors(id))
            else {
                return Ok(None);
            };
            // A regrouping may have come between the two: the chain ends at what is shown.
            let end = successors.iter().position(|of| *of == summary.intent);
            successors.truncate(end.map_or(0, |end| end + 1));
            let mut intent = shown(&summary, &access);
            intent.examples = load_examples(reader, summary.intent, examples, include, &access)?;
            Ok(Some((intent, successors)))
        };
        let found = shared.read(call.deadline, read).await?;
        let (intent, successors) = found.ok_or_else(|| status::intent_not_found(id))?;
        Ok(Response::new(v1::GetIntentResponse {
            header: Some(shared.header(&position)),
            intent: Some(intent),
            successors: successors.into_iter().map(|intent| intent.0).collect(),
        }))
    }

    async fn label_intent(
        &self,
        request: Request<v1::LabelIntentRequest>,
    ) -> Result<Response<v1::LabelIntentResponse>, Status> {
        label::label(&self.shared, request).await
    }

    async fn classify_vector(
        &self,
        request: Request<v1::ClassifyVectorRequest>,
    ) -> Result<Response<v1::ClassifyVectorResponse>, Status> {
        let shared = &self.shared;
        let call = shared.admit(&request)?;
        let request = request.into_inner();
        let (max, default) = (CLASSIFY_INTENTS_MAX, CLASSIFY_INTENTS_DEFAULT);
        let limit = check_vault(&request.vault)
            .and_then(|()| bounded("limit", request.limit, max, default))
            .map_err(|error| status::invalid(&error))?;
        let embedding = vector(request.vector).map_err(|error| status::invalid(&error))?;
        let position = shared.barrier(&call, request.read).await?;
        let read = move |reader: &Reader| reader.classify(&embedding, limit);
        let classification = shared.read(call.deadline, read).await?;
        let (micro_cluster, similarity) = classification.micro_cluster.unzip();
        Ok(Response::new(v1::ClassifyVectorResponse {
            header: Some(shared.header(&position)),
            micro_cluster: micro_cluster.map(|micro| micro.0),
            similarity: similarity.unwrap_or(0.0),
            intent: classification.intent.map(|intent| intent.0),
            nearest: classification
                .nearest
                .into_iter()
                .map(|(intent, similarity)| v1::NearIntent {
                    intent: intent.0,
                    similarity,
                })
                .collect(),
        }))
    }

    async fn search(
        &self,
        request: Request<v1::SearchRequest>,
    ) -> Result<Response<v1::SearchResponse>, Status> {
        let shared = &self.shared;
        let call = shared.admit(&request)?;
        let mut request = request.into_inner();
        let (read, include) = (request.read.take(), Include::new(request.include));
        let mut search = search(request).map_err(|error| status::invalid(&error))?;
        call.access.narrow(&mut search.filter);
        let position = shared.barrier(&call, read).await?;
        if search.probes.is_none() {
            check_exact(position.sequence)?;
        }
        let access = call.access;
        let work = move |reader: &Reader| {
            if let Some(root) = &search.filter.descendants_of {
                access.check_event(reader, root)?;
            }
            let found = reader.search(&search)?;
            let hits = load_hits(reader, found.hits, include)?;
            Ok((hits, found.compared, found.is_exact))
        };
        let (hits, compared, exact) = shared.read(call.deadline, work).await?;
        Ok(Response::new(v1::SearchResponse {
            header: Some(shared.header(&position)),
            hits,
            compared,
            exact,
        }))
    }
}

fn search(request: v1::SearchRequest) -> Result<Search, Invalid> {
    check_vault(&request.vault)?;
    let embedding: Embedding = vector(request.vector)?;
    let limit = bounded("limit", request.limit, SEARCH_HITS_MAX, SEARCH_HITS_DEFAULT)?;
    let probes = match request.probes {
        _ if request.exact => None,
        0 => Some(SEARCH_PROBES),
        probes => Some(probes as usize),
    };
    Ok(Search {
        embedding,
        limit,
        probes,
        filter: request.filter.unwrap_or_default().try_into()?,
    })
}

/// Refuses to compare every event of a large vault.
fn check_exact(events: u64) -> Result<(), Status> {
    if events <= SEARCH_EXACT_EVENTS_MAX {
        return Ok(());
    }
    Err(status::limit_reached(
        "exact search",
        &format!(
            "the vault has {events} events; an exact search compares at most \
             {SEARCH_EXACT_EVENTS_MAX}: search with more probes instead"
        ),
    ))
}

/// Intents on a page.
fn page_size(wanted: u32, examples: usize) -> usize {
    let max = match examples {
        0 => INTENTS_PAGE_MAX,
        _ => INTENTS_PAGE_EXAMPLES_MAX,
    };
    match wanted {
        0 => INTENTS_PAGE_DEFAULT,
        wanted => (wanted as usize).min(max),
    }
}

/// A number of a request: at most `max`, and `default` where it is 0.
fn bounded(field: &'static str, value: u32, max: usize, default: usize) -> Result<usize, Invalid> {
    match value as usize {
        0 => Ok(default),
        value if value <= max => Ok(value),
        value => Err(Invalid::OutOfRange {
            field,
            min: 0,
            max: max as u64,
            actual: value as u64,
        }),
    }
}

/// An intent as the caller may see it: somebody has made its label of what is in it.
fn shown(summary: &Summary, access: &Access) -> v1::Intent {
    let mut intent = v1::Intent::from(summary);
    if !access.sees_all_kinds() {
        intent.label.clear();
    }
    intent
}

/// The direction of an intent's centre, as the caller may see it: all that is in the intent has made it what it is.
fn centre(reader: &Reader, intent: IntentId, access: &Access) -> Bytes {
    if !access.sees_all_kinds() {
        return Bytes::new();
    }
    let centre = reader.intent_centre(intent);
    centre.map_or_else(Bytes::new, |centre| centre.as_bytes().clone())
}

fn load_examples(
    reader: &Reader,
    intent: IntentId,
    count: usize,
    include: Include,
    access: &Access,
) -> Result<Vec<v1::SearchHit>, Error> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let mut hits = reader.intent_examples(intent, count)?.unwrap_or_default();
    hits.retain(|hit| access.sees(hit.header.kind.as_str()));
    load_hits(reader, hits, include)
}

/// The hits with what was asked for; those that fit into a page.
fn load_hits(
    reader: &Reader,
    hits: Vec<Hit>,
    include: Include,
) -> Result<Vec<v1::SearchHit>, Error> {
    let mut loaded = Vec::with_capacity(hits.len());
    let mut bytes = 0;
    for hit in hits {
        let hit = v1::SearchHit {
            event: Some(include.load(reader, &hit.header)?),
            similarity: hit.similarity,
        };
        bytes += hit.encoded_len();
        if bytes > PAGE_BYTES && !loaded.is_empty() {
            break;
        }
        loaded.push(hit);
    }
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use toka_proto::convert::status::{Detail, parse};

    use super::*;

    #[test]
    fn numbers_of_a_request_are_bounded_by_name() {
        assert_eq!(bounded("limit", 0, 9, 4), Ok(4));
        assert_eq!(bounded("limit", 9, 9, 4), Ok(9));
        assert_eq!(
            bounded("limit", 10, 9, 4),
            Err(Invalid::OutOfRange {
                field: "limit",
                min: 0,
                max: 9,
                actual: 10
            })
        );
    }

    #[test]
    fn pages_with_examples_are_smaller() {
        assert_eq!(page_size(0, 0), INTENTS_PAGE_DEFAULT);
        assert_eq!(page_size(u32::MAX, 0), INTENTS_PAGE_MAX);
        assert_eq!(page_size(u32::MAX, 1), INTENTS_PAGE_EXAMPLES_MAX);
        assert_eq!(page_size(7, 8), 7);
    }

    #[test]
    fn large_vaults_are_not_searched_exactly() {
        assert!(check_exact(SEARCH_EXACT_EVENTS_MAX).is_ok());
        let refusal = check_exact(SEARCH_EXACT_EVENTS_MAX + 1).expect_err("too many");
        let subject = "exact search".to_owned();
        assert_eq!(
            parse(&refusal).detail,
            Some(Detail::LimitReached { subject })
        );
    }
}
