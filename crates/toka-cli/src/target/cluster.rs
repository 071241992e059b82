//! A cluster as the target of a command.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use toka_client::{
    Client, Code, Consistency, Error, EventDraft, List, Message, Read, Start, StoredEvent,
    Subscribe,
};
use toka_ledger::command::Precondition;
use toka_ledger::intent::Parameters;
use toka_ledger::read::{PAGE_EVENTS_MAX, Selector};
use toka_ledger::{EventHeader, Filter, Rejection, Stored};

use super::{
    Begin, DEFAULT_ENDPOINT, Endpoints, Include, Listing, Page, Record, Status, Watched, Watching,
};
use crate::cli;
use crate::failure::Failure;
use crate::output::PayloadView;

/// How long a node may take to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Nodes, through the client.
pub(crate) struct Remote {
    client: Client,
}

impl Remote {
    pub(crate) async fn connect(endpoints: Endpoints, timeout: Duration) -> Result<Self> {
        let builder = endpoints.builder()?.timeout(timeout);
        // Before anything is sent anywhere: a token may have to stay here.
        let client = builder.connect(endpoints.written.clone()).await;
        let client = client.map_err(failure)?;
        answers_at_all(&endpoints.written).await?;
        Ok(Self { client })
    }

    /// The client itself.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) async fn embedding_model(&self) -> Result<Option<String>> {
        let status = self.client.node_status().await.map_err(failure)?;
        let model = status.settings.map(|settings| settings.embedding_model);
        Ok(model.filter(|model| !model.is_empty()))
    }

    pub(super) async fn intent_settings(&self) -> Result<Option<Parameters>> {
        let status = self.client.node_status().await.map_err(failure)?;
        let intents = status.settings.and_then(|settings| settings.intents);
        let intents = intents.as_ref().map(Parameters::try_from).transpose();
        intents.context("what the node says of its intents")
    }

    pub(super) async fn commit(
        &self,
        drafts: Vec<EventDraft>,
        preconditions: Vec<Precondition>,
    ) -> Result<Vec<EventHeader>> {
        let committed = self
            .client
            .commit_batch(drafts, preconditions)
            .await
            .map_err(failure)?;
        Ok(committed.headers)
    }

    pub(super) fn commit_all<'a>(
        &'a self,
        drafts: BoxStream<'a, Result<EventDraft>>,
        in_flight: usize,
    ) -> BoxStream<'a, Result<EventHeader>> {
        // Every answer holds the stream: dropping it would give up what is in flight.
        let stream = Arc::new(self.client.commit_stream());
        let answers = drafts
            .then(move |draft| {
                let stream = Arc::clone(&stream);
                async move {
                    let answer = stream
                        .send(vec![draft?], Vec::new())
                        .await
                        .map_err(failure)?;
                    Ok((answer, stream))
                }
            })
            .map(|sent: Result<_>| async {
                let (answer, stream) = sent?;
                let mut committed = answer.await.map_err(failure)?;
                drop(stream);
                committed
                    .headers
                    .pop()
                    .context("the vault answered without an event")
            });
        answers.buffered(in_flight).boxed()
    }

    pub(super) async fn get(
        &self,
        selector: Selector,
        include: Include,
        consistency: cli::Consistency,
    ) -> Result<Option<Record>> {
        match self
            .client
            .get(&selector, &read(include, consistency))
            .await
        {
            Ok(event) => Ok(Some(record(event))),
            Err(Error::NotFound { .. } | Error::OutOfRange { .. }) => Ok(None),
            Err(error) => Err(failure(error)),
        }
    }

    pub(super) fn list(&self, listing: Listing) -> BoxStream<'_, Result<Record>> {
        self.client
            .list_all(list(listing))
            .map_ok(record)
            .map_err(failure)
            .boxed()
    }

    pub(super) async fn page(&self, listing: Listing, paging: &cli::Paging) -> Result<Page> {
        let bytes = paging.max_bytes.map_or(0, |size| size.0);
        let list = List {
            page_size: paging.page_size.unwrap_or(0),
            page_bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            ..list(listing)
        };
        let page = self.client.list(&list, paging.page_token.as_deref()).await;
        let page = page.map_err(failure)?;
        Ok((page.events.into_iter().map(record).collect(), page.next))
    }

    pub(super) async fn watch(
        &self,
        from: Begin,
        history_id: Option<u128>,
        filter: Filter,
        include: Include,
    ) -> Result<Watching<'_>> {
        let cursor = match &from {
            Begin::From(_) => None,
            Begin::Cursor(name) => Some(name.clone()),
        };
        let from = match from {
            Begin::From(from) => Subscribe::from(start(from)),
            Begin::Cursor(name) => Subscribe::from_cursor(name),
        };
        let subscribe = Subscribe {
            filter,
            include: include.into(),
            history_id,
            ..from
        };
        let subscribed = self.client.subscribe(subscribe).await;
        let subscription = subscribed.map_err(|error| {
            let is_not_found = matches!(
                &error,
                Error::Refused {
                    code: Code::NotFound,
                    ..
                }
            );
            match cursor {
                Some(name) if is_not_found => Failure::NotFound(format!("cursor {name}")).into(),
                _ => failure(error),
            }
        })?;
        let history_id = subscription.history_id();
        let watched = subscription
            .into_stream()
            .map_err(failure)
            .try_filter_map(|message| async {
                Ok(match message {
                    Message::Event(event) => Some(Watched::Event(Box::new(record(*event)))),
                    Message::Checkpoint { sequence, unix_ms } => {
                        Some(Watched::Status(Status::Checkpoint { sequence, unix_ms }))
                    }
                    Message::CaughtUp { sequence, lag } => {
                        Some(Watched::Status(Status::CaughtUp { sequence, lag }))
                    }
                    Message::FellBehind { sequence, lag } => {
                        Some(Watched::Status(Status::FellBehind { sequence, lag }))
                    }
                    Message::IntentContinued { intent, successor } => {
                        Some(Watched::Continued(intent, successor))
                    }
                    _ => None,
                })
            });
        Ok(Watching {
            history_id,
            messages: watched.boxed(),
        })
    }
}

/// A list as the client has it, in the largest pages.
fn list(listing: Listing) -> List {
    List {
        after: listing.after,
        until: listing.until,
        from_unix_ms: listing.times.from,
        until_unix_ms: listing.times.until,
        filter: listing.filter,
        descending: listing.reverse,
        page_size: u32::try_from(PAGE_EVENTS_MAX).expect("a page is small"),
        page_bytes: 0,
        read: read(listing.include, listing.consistency),
    }
}

/// A start as the vault has it.
pub(super) const fn start(from: cli::From) -> Start {
    match from {
        cli::From::Beginning => Start::Beginning,
        cli::From::Now => Start::Now,
        cli::From::After(sequence) => Start::After(sequence),
        cli::From::At(unix_ms) => Start::At(unix_ms),
    }
}

/// Fails at once where every endpoint refuses a connection, instead of after the timeout of a call. What
/// lasts longer (an election, a slow network) is left to the client's retries.
async fn answers_at_all(endpoints: &[String]) -> Result<()> {
    let tries = endpoints.iter().map(|endpoint| async {
        let schemes = ["https://", "http://"];
        let bare = schemes
            .iter()
            .find_map(|scheme| endpoint.trim().strip_prefix(scheme));
        let address = bare.unwrap_or(endpoint).trim_end_matches('/');
        let connecting = tokio::net::TcpStream::connect(address);
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(connected) => connected.map(drop).map_err(|error| error.to_string()),
            Err(_) => Err(format!("no connection within {CONNECT_TIMEOUT:?}")),
        }
    });
    let mut reason = String::new();
    for tried in futures::future::join_all(tries).await {
        match tried {
            Ok(()) => return Ok(()),
            Err(error) => reason = error,
        }
    }
    let endpoints = endpoints.to_vec();
    Err(failure(Error::Unreachable { endpoints, reason }))
}

impl From<Include> for toka_client::Include {
    fn from(include: Include) -> Self {
        Self {
            payload: include.payload,
            embedding: include.embedding,
        }
    }
}

pub(super) fn read(include: Include, consistency: cli::Consistency) -> Read {
    let consistency = match consistency {
        cli::Consistency::Local => Consistency::Local,
        cli::Consistency::Linearizable => Consistency::Linearizable,
        cli::Consistency::AtLeast(revision) => Consistency::AtLeast(revision),
    };
    Read {
        consistency,
        include: include.into(),
    }
}

pub(super) fn record(event: StoredEvent) -> Record {
    let payload = event.payload.map(|payload| match payload {
        Stored::Present(bytes) => PayloadView::Present(bytes),
        Stored::Erased => PayloadView::Erased,
    });
    let embedding = match event.embedding {
        Some(Stored::Present(embedding)) => Some(embedding.iter().collect()),
        Some(Stored::Erased) | None => None,
    };
    Record {
        header: event.header,
        payload,
        embedding,
    }
}

/// What a port answers that is not for clients: one for nodes knows none of the calls, one for HTTP does not
/// speak gRPC.
fn is_wrong_port(code: Code, message: &str) -> bool {
    code == Code::Unimplemented && message.is_empty()
        || message.contains("grpc-status header missing")
}

/// Gives an error its exit code, and says what to do next.
pub(crate) fn failure(error: Error) -> anyhow::Error {
    if let Some(failure) = of_credentials(&error) {
        return failure.into();
    }
    match &error {
        Error::Unreachable { endpoints, .. } => {
            let hint = match endpoints.as_slice() {
                [one] if one == DEFAULT_ENDPOINT => {
                    "start a local cluster with `toka dev`, name yours with --endpoint or \
                     TOKA_ENDPOINTS, or use an embedded vault with --data DIR"
                }
                _ => {
                    "are the nodes running, and are these their client endpoints (--endpoint, \
                      TOKA_ENDPOINTS, `toka context list`)? `toka dev` starts a local cluster"
                }
            };
            Failure::Unavailable(format!("{error}; {hint}")).into()
        }
        Error::Unavailable { .. }
        | Error::Overloaded { .. }
        | Error::OutcomeUnknown { .. }
        | Error::StreamEnded => {
            Failure::Unavailable(format!("{error}; `toka cluster status` shows the nodes")).into()
        }
        Error::NodeNotFound { node_id } => Failure::NotFound(format!(
            "node {node_id} in the cluster; `toka cluster status` lists them"
        ))
        .into(),
        Error::NotFound { name } => Failure::NotFound(format!("event {name}")).into(),
        Error::Rejected(Rejection::UnknownIntent { intent }) => {
            Failure::NotFound(format!("intent {intent}")).into()
        }
        Error::Rejected(Rejection::UnknownCursor { name }) => {
            Failure::NotFound(format!("cursor {name}")).into()
        }
        Error::Rejected(Rejection::UnknownGroup { name }) => {
            Failure::NotFound(format!("group {name}")).into()
        }
        Error::Rejected(Rejection::UnknownToken { id }) => {
            Failure::NotFound(format!("token {id}")).into()
        }
        Error::Rejected(Rejection::UnknownRole { name }) => {
            Failure::NotFound(format!("role {name}")).into()
        }
        Error::Rejected(Rejection::Preconditions { .. }) => {
            Failure::Violated(error.to_string()).into()
        }
        // A revision that the vault does not have.
        Error::Refused {
            code: Code::OutOfRange,
            message,
            ..
        } => Failure::Refused(message.clone()).into(),
        Error::Refused { code, message, .. } if is_wrong_port(*code, message) => {
            let hint =
                "is that the port for clients (7311 by default), and not that for nodes or HTTP?";
            Failure::Unavailable(format!("{error}; {hint}")).into()
        }
        Error::Invalid(_)
        | Error::InvalidField { .. }
        | Error::Rejected(_)
        | Error::OutOfRange { .. }
        | Error::HistoryChanged { .. }
        | Error::OtherCluster { .. }
        | Error::ChangeInProgress { .. }
        | Error::MembershipRefused { .. }
        | Error::LimitReached { .. } => Failure::Refused(error.to_string()).into(),
        _ => error.into(),
    }
}

/// A failure that has to do with who calls.
fn of_credentials(error: &Error) -> Option<Failure> {
    match error {
        Error::Unauthenticated { .. } => Some(Failure::Denied(format!(
            "{error}; say who you are with --token-file, TOKA_TOKEN, or a client certificate"
        ))),
        Error::PermissionDenied { .. } => Some(Failure::Denied(format!(
            "{error}; `toka auth whoami` shows what you may do"
        ))),
        Error::PlaintextToken { .. } => Some(Failure::Usage(format!(
            "{error}: use TLS (--ca, or endpoints that begin with https://), or say with --insecure-token that it is meant"
        ))),
        Error::Token { .. } => Some(Failure::Usage(error.to_string())),
        _ => None,
    }
}
