//! A cluster, read by its client.

use std::fmt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use toka_client::{Builder, Client, Consistency, Include, List, Read, Selector, StoredEvent};
use toka_ledger::EmbeddingModel;
use toka_ledger::command::FEATURE_LEVEL;
use toka_ledger::intent::Parameters;
use tokio::runtime::{self, Runtime};

use super::{About, Base, BaseError, PAGE_EVENTS_MAX};

/// Jobs that wait for the thread.
const JOBS_MAX: usize = 64;
const THREAD: &str = "toka-base";

type Job = Box<dyn FnOnce(&Runtime, &Client) + Send>;

/// A cluster. Its client runs on a thread of its own, so that whoever waits for an answer, on whatever thread, does not
/// keep the client from giving it.
pub struct ClusterBase {
    /// `None` once it is dropped.
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for ClusterBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterBase").finish_non_exhaustive()
    }
}

impl ClusterBase {
    /// The cluster that these endpoints (`host:port`) belong to, by a client that `builder` makes.
    ///
    /// # Errors
    /// [`BaseError::Client`] for endpoints that are none; [`BaseError::Thread`].
    pub fn connect(builder: Builder, endpoints: Vec<String>) -> Result<Self, BaseError> {
        let (jobs, queue) = sync_channel(JOBS_MAX);
        let (told, started) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name(THREAD.to_owned())
            .spawn(move || match start(builder, endpoints) {
                Ok((runtime, client)) => {
                    // Who does not wait any more needs no client.
                    if told.send(Ok(())).is_ok() {
                        run(&queue, &runtime, &client);
                    }
                }
                Err(error) => {
                    let _ = told.send(Err(error));
                }
            })
            .map_err(|source| BaseError::Thread { source })?;
        started.recv().map_err(|_| BaseError::Closed)??;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Has the thread do something, and waits for it.
    fn ask<T, F, A>(&self, work: F) -> Result<T, BaseError>
    where
        T: Send + 'static,
        F: FnOnce(Client) -> A + Send + 'static,
        A: Future<Output = Result<T, BaseError>>,
    {
        let (reply, answer) = sync_channel(1);
        let job: Job = Box::new(move |runtime: &Runtime, client: &Client| {
            let done = runtime.block_on(work(client.clone()));
            // Who gave up waiting does not want to know.
            let _ = reply.send(done);
        });
        let jobs = self.jobs.as_ref().ok_or(BaseError::Closed)?;
        jobs.send(job).map_err(|_| BaseError::Closed)?;
        answer.recv().map_err(|_| BaseError::Closed)?
    }
}

impl Drop for ClusterBase {
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(thread) = self.thread.take() {
            // It has printed its panic itself.
            let _ = thread.join();
        }
    }
}

fn start(builder: Builder, endpoints: Vec<String>) -> Result<(Runtime, Client), BaseError> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| BaseError::Thread { source })?;
    let client = runtime.block_on(builder.connect(endpoints))?;
    Ok((runtime, client))
}

fn run(jobs: &Receiver<Job>, runtime: &Runtime, client: &Client) {
    while let Ok(job) = jobs.recv() {
        job(runtime, client);
    }
}

impl Base for ClusterBase {
    fn about(&self) -> Result<About, BaseError> {
        self.ask(|client| async move { about(&client).await })
    }

    fn page(&self, after: u64, until: u64) -> Result<Vec<StoredEvent>, BaseError> {
        let list = List {
            after,
            until: Some(until),
            page_size: u32::try_from(PAGE_EVENTS_MAX).unwrap_or(u32::MAX),
            read: Read {
                consistency: Consistency::ReadYourWrites,
                include: Include {
                    payload: false,
                    embedding: true,
                },
            },
            ..List::default()
        };
        self.ask(move |client| async move {
            let mut next: Option<String> = None;
            loop {
                let page = client.list(&list, next.as_deref()).await?;
                next = page.next;
                // A page may be empty though there are more.
                if !page.events.is_empty() || next.is_none() {
                    return Ok(page.events);
                }
            }
        })
    }

    fn get(&self, sequences: &[u64], include: Include) -> Result<Vec<StoredEvent>, BaseError> {
        let sequences = sequences.to_vec();
        self.ask(move |client| async move {
            let read = Read {
                consistency: Consistency::ReadYourWrites,
                include,
            };
            let selectors: Vec<_> = sequences
                .iter()
                .map(|&sequence| Selector::Sequence(sequence))
                .collect();
            let events = client.batch_get(&selectors, &read).await?;
            let found = sequences.into_iter().zip(events);
            found
                .map(|(sequence, event)| event.ok_or(BaseError::Missing { sequence }))
                .collect()
        })
    }
}

/// Sequence of the last event of all that were acknowledged. Later reads of the client see at least what this one has: a
/// node that lags behind does not make the vault look shorter.
async fn head(client: &Client) -> Result<u64, BaseError> {
    let newest = List {
        descending: true,
        page_size: 1,
        read: Read {
            consistency: Consistency::Linearizable,
            include: Include {
                payload: false,
                embedding: false,
            },
        },
        ..List::default()
    };
    let page = client.list(&newest, None).await?;
    Ok(page.events.first().map_or(0, |event| event.header.sequence))
}

async fn about(client: &Client) -> Result<About, BaseError> {
    let sequence = head(client).await?;
    let status = client.node_status().await?;
    let settings = status.settings.ok_or(BaseError::NotCreated)?;
    if settings.feature_level > FEATURE_LEVEL {
        return Err(BaseError::FeatureLevel {
            found: settings.feature_level,
            supported: FEATURE_LEVEL,
        });
    }
    let intents = settings.intents.as_ref().map(Parameters::try_from);
    let intents = intents
        .transpose()
        .map_err(|source| BaseError::Settings { source })?;
    let model = (!settings.embedding_model.is_empty())
        .then(|| EmbeddingModel::new(&settings.embedding_model))
        .transpose()
        .map_err(|source| BaseError::Settings { source })?;
    Ok(About {
        cluster_id: status.header.cluster_id,
        history_id: status.header.history_id,
        feature_level: settings.feature_level,
        dimension: settings
            .dimension
            .and_then(|dimension| u16::try_from(dimension).ok()),
        model,
        intents: intents.unwrap_or_default(),
        created_unix_ms: settings.created_unix_ms,
        sequence,
    })
}
