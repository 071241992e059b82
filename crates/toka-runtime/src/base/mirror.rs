//! The history of a vault elsewhere, applied again.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use toka_client::StoredEvent;
use toka_ledger::command::{Command, Commit, Create, ParentName, PreparedEvent};
use toka_ledger::core::limits::PAYLOAD_BYTES_MAX;
use toka_ledger::engine::{Durability, Engine};
use toka_ledger::seam::{SystemThreads, Threads};
use toka_ledger::{EventHeader, Ledger, LogMark, Outcome, Reader, Stored};

use super::engine::MirrorEngine;
use super::{About, Base, BaseError};

/// `apply` looks at the size of a payload alone. The payload itself stays where it is.
static NO_PAYLOAD: [u8; PAYLOAD_BYTES_MAX] = [0; PAYLOAD_BYTES_MAX];

/// What a mirror may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MirrorLimits {
    /// Events; a million by default. Each takes one to two KiB of memory.
    pub events_max: u64,
    /// Payloads and embeddings that were read lately, bytes; 64 MiB by default.
    pub cache_bytes: usize,
}

impl Default for MirrorLimits {
    fn default() -> Self {
        Self {
            events_max: 1_000_000,
            cache_bytes: 64 << 20,
        }
    }
}

/// A vault elsewhere, as far as its history has been applied here.
///
/// Headers and embeddings of the history come over the network once, in order; each event must come out as it was, its
/// micro-cluster and its intent too. So the intents are those of the vault as of the last event. What a client cannot
/// read is not there: cursors, labels of intents, groups; and the state digest, which covers them, is another one.
pub struct Mirror {
    base: Arc<dyn Base>,
    ledger: Mutex<Ledger>,
    reader: Reader,
    limits: MirrorLimits,
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror")
            .field("sequence", &self.reader.position().sequence)
            .finish_non_exhaustive()
    }
}

impl Mirror {
    /// A mirror that has no event yet.
    ///
    /// # Errors
    /// [`BaseError`].
    pub fn new(base: Arc<dyn Base>, limits: MirrorLimits) -> Result<Self, BaseError> {
        let about = base.about()?;
        let engine: Arc<dyn Engine> =
            Arc::new(MirrorEngine::new(Arc::clone(&base), limits.cache_bytes));
        let threads: Arc<dyn Threads> = Arc::new(SystemThreads);
        let mut ledger = Ledger::open(engine, threads)?;
        let created = [creation(about)];
        ledger.apply(&created, LogMark::default(), Durability::Synced)?;
        Ok(Self {
            base,
            reader: ledger.reader(),
            ledger: Mutex::new(ledger),
            limits,
        })
    }

    /// The vault as far as it is mirrored.
    #[must_use]
    pub const fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The vault that is mirrored.
    #[must_use]
    pub fn base(&self) -> &Arc<dyn Base> {
        &self.base
    }

    /// Goes on up to the event at `until`; tells `progress` of each sequence that it has come to.
    ///
    /// # Errors
    /// [`BaseError::Missing`] if the vault ends before; [`BaseError::TooLong`], [`BaseError::Erased`],
    /// [`BaseError::Differs`], after which the mirror is of no use; those of [`Base::page`].
    pub fn catch_up(&self, until: u64, progress: &mut dyn FnMut(u64)) -> Result<(), BaseError> {
        if until > self.limits.events_max {
            return Err(BaseError::TooLong {
                sequence: until,
                max: self.limits.events_max,
            });
        }
        let mut ledger = self.lock();
        loop {
            let after = ledger.position().sequence;
            if after >= until {
                return Ok(());
            }
            let events = self.base.page(after, until)?;
            if events.is_empty() {
                return Err(BaseError::Missing {
                    sequence: after + 1,
                });
            }
            apply(&mut ledger, events)?;
            progress(ledger.position().sequence);
        }
    }

    // Nothing panics while it holds the lock but a ledger that is broken for good.
    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn creation(about: About) -> Command {
    Command::Create(Create {
        cluster_id: about.cluster_id,
        history_id: about.history_id,
        feature_level: about.feature_level,
        dimension: about.dimension,
        model: about.model,
        intents: about.intents,
        unix_ms: about.created_unix_ms,
    })
}

/// Applies events that must come out as they are.
fn apply(ledger: &mut Ledger, events: Vec<StoredEvent>) -> Result<(), BaseError> {
    let mut headers = Vec::with_capacity(events.len());
    let mut commands = Vec::with_capacity(events.len());
    for event in events {
        commands.push(commit(&event)?);
        headers.push(Arc::new(event.header));
    }
    let outcomes = ledger.apply(&commands, LogMark::default(), Durability::Synced)?;
    for (header, outcome) in headers.into_iter().zip(outcomes) {
        let is_same = matches!(
            &outcome,
            Outcome::Committed { headers, .. } if headers[..] == [Arc::clone(&header)]
        );
        if !is_same {
            return Err(BaseError::Differs {
                sequence: header.sequence,
                found: format!("{outcome:?}"),
            });
        }
    }
    Ok(())
}

/// The commit that stores an event again, with zeros for its payload.
fn commit(event: &StoredEvent) -> Result<Command, BaseError> {
    let header: &EventHeader = &event.header;
    let sequence = header.sequence;
    let embedding = match &event.embedding {
        Some(Stored::Present(embedding)) => Some(embedding.clone()),
        Some(Stored::Erased) => return Err(BaseError::Erased { sequence }),
        None if header.embedding.is_some() => return Err(BaseError::Missing { sequence }),
        None => None,
    };
    let bytes = usize::try_from(header.payload_bytes).unwrap_or(usize::MAX);
    let payload = NO_PAYLOAD
        .get(..bytes)
        .ok_or(BaseError::Missing { sequence })?;
    let parents = header.parents.iter();
    let event = PreparedEvent {
        kind: header.kind.clone(),
        payload: Bytes::from_static(payload),
        payload_digest: header.payload_digest,
        salt: header.salt.clone(),
        parents: parents
            .map(|parent| ParentName::Digest(parent.digest))
            .collect(),
        embedding,
        model: None,
        attributes: header.attributes.clone(),
    };
    Ok(Command::Commit(Commit {
        unix_ms: header.unix_ms,
        events: vec![event],
        preconditions: Vec::new(),
    }))
}
