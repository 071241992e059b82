//! The vault in one process: [`VaultBus`].
//!
//! Commits are prepared on the caller's thread and applied by the vault's one *apply thread*, which
//! takes all that wait and writes them in one synced write. Reads go to storage directly.

mod applier;
mod builder;
mod cursors;
mod event;
mod groups;
mod intents;
mod lineage;
mod range;
mod request;
mod subscription;

use std::fmt;
#[cfg(feature = "storage")]
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use ndarray::Array1;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};

use self::applier::Request;
pub use self::builder::Builder;
pub use self::event::EventCommit;
pub use self::groups::Delivered;
pub use self::range::Range;
pub use self::subscription::Subscription;
use crate::apply::Outcome;
use crate::command::{Command, Precondition};
use crate::core::{Digest, Embedding, EmbeddingModel, EventHeader, EventId, EventPayload, payload};
use crate::dir::DataDir;
use crate::error::Error;
use crate::feed::Start;
use crate::prepare::{EventDraft, is_claim, prepare_commit};
use crate::read::{Filter, Page, Position, Query, Reader, Selector, Settings, Stored};
use crate::seam::{JoinThread, Seams};
use crate::verify::{self, Report};

/// Salt that a claim without one gets, bytes.
const CLAIM_SALT_BYTES: usize = 16;

/// A vault in this process, shared by cloning.
///
/// Reads block for as long as the disk takes, usually microseconds; [`VaultBus::verify`] and long
/// [`VaultBus::range`]s belong on a blocking thread. The vault closes when the last clone is
/// dropped, or by [`VaultBus::close`].
///
/// # Committing
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use toka_ledger::{EventPayload, VaultBus};
///
/// #[derive(Serialize, Deserialize)]
/// struct UserLogin {
///     user_id: String,
///     timestamp: u64,
/// }
///
/// # #[cfg(feature = "storage")]
/// async fn example() -> anyhow::Result<()> {
///     # let dir = tempfile::tempdir()?;
///     # std::env::set_current_dir(&dir)?;
///     let vault = VaultBus::open("./vault-data")?;
///
///     // Simple embedding (in practice, use smart-embedder crate)
///     let embedding = ndarray::arr1(&[0.1, 0.5, -0.2]);
///
///     let header = vault.commit(
///         &UserLogin {
///             user_id: "alice".to_string(),
///             timestamp: 1234567890,
///         },
///         &[], // No parent events
///         "auth.login",
///         embedding
///     ).await?;
///
///     println!("Event committed: {}", header.id);
///     # assert_eq!(vault.payload::<UserLogin>(&header)?.user_id, "alice");
///     Ok(())
/// }
/// # #[cfg(feature = "storage")]
/// # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
/// ```
///
/// # Following
///
/// ```
/// # use toka_ledger::VaultBus;
/// use tokio_stream::StreamExt;
///
/// async fn watch_events(vault: &VaultBus) -> anyhow::Result<()> {
///     let mut stream = vault.subscribe();
///
///     while let Ok(header) = stream.recv().await {
///         println!("New event: {} (kind: {})", header.id, header.kind);
///         # break;
///     }
///
///     Ok(())
/// }
/// # #[tokio::main]
/// # async fn main() -> anyhow::Result<()> {
/// #     let vault = VaultBus::builder().open_in_memory()?;
/// #     let events = vault.subscribe();
/// #     let commit = async {
/// #         loop {
/// #             vault.event("tick").salt(&vault.position().revision.to_be_bytes()).commit().await?;
/// #             tokio::task::yield_now().await;
/// #         }
/// #         #[allow(unreachable_code)]
/// #         anyhow::Ok(())
/// #     };
/// #     tokio::select! { done = watch_events(&vault) => done?, failed = commit => failed? }
/// #     let kinds: Vec<_> = events.take(1).map(|header| header.map(|h| h.kind)).collect().await;
/// #     assert_eq!(kinds.len(), 1);
/// #     Ok(())
/// # }
/// ```
///
/// # Causes
///
/// ```
/// # use toka_ledger::VaultBus;
/// # #[tokio::main]
/// # async fn main() -> anyhow::Result<()> {
/// # let vault = VaultBus::builder().open_in_memory()?;
/// # let (initial_state, state_update) = ("off", "on");
/// # let embedding1 = ndarray::arr1(&[1.0, 0.0]);
/// # let embedding2 = ndarray::arr1(&[0.0, 1.0]);
/// // Events can reference parent events to maintain causality
/// let parent_event = vault.commit(&initial_state, &[], "init", embedding1).await?;
///
/// # let parent_id = parent_event.id;
/// let dependent_event = vault.commit(
///     &state_update,
///     &[parent_event], // This event depends on the parent
///     "update",
///     embedding2
/// ).await?;
/// # assert_eq!(dependent_event.parents[0].id, parent_id);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct VaultBus {
    inner: Arc<Inner>,
}

struct Inner {
    reader: Reader,
    seams: Seams,
    /// The model that embeddings without a name are of: the one that the vault was opened for.
    model: Option<EmbeddingModel>,
    /// `None` once the vault is closing.
    requests: Mutex<Option<mpsc::Sender<Request>>>,
    apply_thread: Mutex<Option<Box<dyn JoinThread>>>,
    /// Resolves when the apply thread has ended.
    ended: tokio::sync::watch::Receiver<()>,
    // Last, so that the directory is free only once the store is closed.
    _dir: Option<DataDir>,
}

/// The answer to a commit that was handed over: the stored headers, in the order of its events.
#[derive(Debug)]
#[must_use = "a commit may be refused"]
pub struct Acknowledgement(oneshot::Receiver<Result<Outcome, Error>>);

impl Future for Acknowledgement {
    type Output = Result<Vec<EventHeader>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(cx)
            .map(|answer| match answer.map_err(|_| Error::Closed)?? {
                Outcome::Committed { headers, .. } => {
                    Ok(headers.into_iter().map(Arc::unwrap_or_clone).collect())
                }
                Outcome::Rejected { rejection, .. } => Err(rejection.into()),
                other => unreachable!("a commit is no other command: {other:?}"),
            })
    }
}

impl VaultBus {
    /// Opens the vault in the directory `path`, or makes a new one there.
    ///
    /// # Errors
    /// [`Error::NotAVault`], [`Error::ClusterNode`], [`Error::NewerFormat`], [`Error::Corrupt`],
    /// [`Error::File`]; [`Error::Engine`] if it is open already or its store cannot be opened.
    #[cfg(feature = "storage")]
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::builder().open(path)
    }

    /// Options for opening.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Commits an event with a typed payload, and waits until it is on stable storage.
    ///
    /// `embedding` has shape `[dimension]`, any norm but zero, and is of the model that the vault was opened
    /// for ([`Builder::model`]). Committing the same kind, payload and parents again stores nothing and
    /// returns the first event's header, marked `deduplicated`. [`VaultBus::event`] has the rest: the
    /// embedding's model, salt, attributes, preconditions, and events without an embedding.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Rejected`], [`Error::Engine`], [`Error::Closed`].
    // Not an `async fn`: the future would hold the payload, and not be `Send` where that is not `Sync`.
    pub fn commit<'v, P: EventPayload + ?Sized>(
        &'v self,
        payload: &P,
        parents: &[EventHeader],
        kind: &str,
        embedding: Array1<f32>,
    ) -> impl Future<Output = Result<EventHeader, Error>> + Send + use<'v, P> {
        let components: Vec<f32> = embedding.iter().copied().collect();
        let draft = EventDraft::new(kind)
            .payload(payload)
            .parents(parents)
            .embedding(&components);
        self.commit_one(draft, Vec::new())
    }

    /// Starts an event of `kind`; [`EventCommit::commit`] commits it.
    pub fn event(&self, kind: &str) -> EventCommit<'_> {
        EventCommit::new(self, kind)
    }

    /// Commits events together or not at all. They may name earlier ones of the batch as parents
    /// ([`EventDraft::parent_in_batch`]).
    ///
    /// # Errors
    /// As [`VaultBus::commit`].
    pub async fn commit_batch(
        &self,
        events: impl IntoIterator<Item = EventDraft>,
    ) -> Result<Vec<EventHeader>, Error> {
        self.commit_batch_if(events, Vec::new()).await
    }

    /// [`VaultBus::commit_batch`] where the preconditions hold.
    ///
    /// # Errors
    /// As [`VaultBus::commit`]; [`Rejection::Preconditions`](crate::Rejection) with all violations;
    /// [`Rejection::PositionAhead`](crate::Rejection) for a cursor that would go beyond the commit's last event.
    pub async fn commit_batch_if(
        &self,
        events: impl IntoIterator<Item = EventDraft>,
        preconditions: Vec<Precondition>,
    ) -> Result<Vec<EventHeader>, Error> {
        self.submit(events, preconditions).await?.await
    }

    /// Hands a commit over, and returns before it is applied. Commits that one task hands over are
    /// applied in that order; each [`Acknowledgement`] tells of one. Waits while the queue is full.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Closed`].
    pub async fn submit(
        &self,
        events: impl IntoIterator<Item = EventDraft>,
        preconditions: Vec<Precondition>,
    ) -> Result<Acknowledgement, Error> {
        let needs_salt = is_claim(&preconditions);
        let events = events
            .into_iter()
            .map(|event| event.of_model(self.inner.model.as_ref()))
            .map(|event| match needs_salt && !event.has_salt() {
                true => self.with_random_salt(event),
                false => event,
            });
        let commit = prepare_commit(events, preconditions, self.inner.seams.clock.unix_ms())?;
        let (reply, answer) = oneshot::channel();
        let command = Command::Commit(commit);
        self.request(Request { command, reply }).await?;
        Ok(Acknowledgement(answer))
    }

    async fn commit_one(
        &self,
        event: EventDraft,
        preconditions: Vec<Precondition>,
    ) -> Result<EventHeader, Error> {
        let mut headers = self.commit_batch_if([event], preconditions).await?;
        Ok(headers.pop().expect("one header for each event"))
    }

    /// Two claimants of the same task must not look the same.
    fn with_random_salt(&self, event: EventDraft) -> EventDraft {
        let mut salt = [0; CLAIM_SALT_BYTES];
        self.inner.seams.entropy.fill(&mut salt);
        event.salt(&salt)
    }

    /// Follows new events, from now on.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        self.subscribe_from(Start::Now, Filter::default())
    }

    /// Follows the events that `filter` wants, from anywhere in the history on.
    #[must_use]
    pub fn subscribe_from(&self, start: Start, filter: Filter) -> Subscription {
        Subscription::new(self.inner.reader.subscribe(start, filter))
    }

    /// The payload of an event, as a `T`.
    ///
    /// # Errors
    /// [`Error::PayloadType`], and as [`VaultBus::payload_bytes`].
    pub fn payload<T: DeserializeOwned>(&self, header: &EventHeader) -> Result<T, Error> {
        payload::from_bytes(&self.payload_bytes(header)?)
    }

    /// The payload of an event.
    ///
    /// # Errors
    /// [`Error::Erased`], [`Error::Corrupt`], [`Error::Engine`].
    pub fn payload_bytes(&self, header: &EventHeader) -> Result<Bytes, Error> {
        present(header, self.inner.reader.payload(header)?)
    }

    /// The embedding of an event; `None` if it came without one.
    ///
    /// # Errors
    /// As [`VaultBus::payload_bytes`].
    pub fn embedding(&self, header: &EventHeader) -> Result<Option<Embedding>, Error> {
        let embedding = self.inner.reader.embedding(header)?;
        embedding
            .map(|embedding| present(header, embedding))
            .transpose()
    }

    /// The event with this id.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Corrupt`], [`Error::Engine`].
    pub fn get(&self, id: EventId) -> Result<EventHeader, Error> {
        self.find(&Selector::Id(id), id)
    }

    /// The event at this place in the order, from 1.
    ///
    /// # Errors
    /// As [`VaultBus::get`].
    pub fn get_by_sequence(&self, sequence: u64) -> Result<EventHeader, Error> {
        self.find(
            &Selector::Sequence(sequence),
            format_args!("at sequence {sequence}"),
        )
    }

    /// The event with this digest.
    ///
    /// # Errors
    /// As [`VaultBus::get`].
    pub fn get_by_digest(&self, digest: &Digest) -> Result<EventHeader, Error> {
        self.find(&Selector::Digest(*digest), digest)
    }

    fn find(&self, selector: &Selector, name: impl fmt::Display) -> Result<EventHeader, Error> {
        self.inner
            .reader
            .header(selector)?
            .map(Arc::unwrap_or_clone)
            .ok_or_else(|| Error::NotFound {
                name: name.to_string(),
            })
    }

    /// The events at these sequences, in order, read as they are asked for; `1..` is the history so
    /// far.
    pub fn range(&self, sequences: impl std::ops::RangeBounds<u64>) -> Range {
        Range::new(self.inner.reader.clone(), sequences)
    }

    /// A page of the history.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bad limit, [`Error::Corrupt`], [`Error::Engine`].
    pub fn list(&self, query: &Query) -> Result<Page, Error> {
        self.inner.reader.list(query)
    }

    /// Where the vault is in its history.
    #[must_use]
    pub fn position(&self) -> Position {
        self.inner.reader.position()
    }

    /// The vault's identity and what is fixed for its life.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Engine`].
    pub fn settings(&self) -> Result<Settings, Error> {
        self.inner
            .reader
            .settings()?
            .ok_or_else(|| crate::Rejection::NotCreated.into())
    }

    /// Reads of the vault for any thread.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.inner.reader
    }

    /// Checks everything that is stored; what is wrong is in the report. Takes as long as reading
    /// the whole vault.
    ///
    /// # Errors
    /// [`Error::Engine`] where storage cannot be read for another reason than damage.
    pub fn verify(&self) -> Result<Report, Error> {
        verify::verify(&self.inner.reader, &mut |_| {})
    }

    /// Refuses new commits, finishes those that were accepted, and waits until that is done.
    ///
    /// Other clones can go on reading; the directory is free once they are dropped too.
    /// Subscriptions deliver what there is and then end.
    pub async fn close(self) {
        self.inner.lock_requests().take();
        let mut ended = self.inner.ended.clone();
        while ended.changed().await.is_ok() {}
    }
}

impl Inner {
    // Nothing panics while it holds these locks.
    fn lock_requests(&self) -> std::sync::MutexGuard<'_, Option<mpsc::Sender<Request>>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.lock_requests().take();
        let thread = self
            .apply_thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            thread.join();
        }
    }
}

impl fmt::Debug for VaultBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultBus")
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}

fn present<T>(header: &EventHeader, stored: Stored<T>) -> Result<T, Error> {
    match stored {
        Stored::Present(value) => Ok(value),
        Stored::Erased => Err(Error::Erased { id: header.id }),
    }
}
