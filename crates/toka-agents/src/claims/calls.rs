//! Claims that are made one by one, by whoever has a store.

use std::sync::Arc;
use std::time::Duration;

use toka_ledger::seam::{Entropy, Seams};
use toka_ledger::{EventDraft, EventHeader, EventId, Filter, Invalid, Kind, Rejection, Violation};

use super::{Action, Claim, ClaimStep, Holder, Link, TASK};
use crate::event::PayloadError;
use crate::retry::{RetryPolicy, Tries};
use crate::store::{Class, Range, Store, StoreError};

/// Links of other kinds, whose names begin alike, that are passed on the way to the last one of a chain.
const LOOKED_AT_MAX: usize = 1_000;
/// How often the last link is looked up anew for one call, where others are quicker.
const RACES_MAX: u32 = 8;
/// Salt of a link, bytes.
const SALT_BYTES: usize = 16;

/// Why a claim, or a step of one, was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Somebody else has the task.
    #[error("{holder} has the task until {expires_unix_ms} ms, of the vault's time")]
    Held {
        /// Who.
        holder: Holder,
        /// From when on it may be taken over, milliseconds since the Unix epoch, of the vault's time.
        expires_unix_ms: u64,
        /// The fencing number.
        number: u64,
    },
    /// The task is done.
    #[error("the task is done since event {link}")]
    Completed {
        /// The last link.
        link: EventId,
    },
    /// Nobody has claimed the task.
    #[error("nobody has claimed the task")]
    Unclaimed,
    /// Others were quicker each time.
    #[error("others were quicker each time")]
    Contended,
    /// The keeper has renewed it as often as it may.
    #[error("the claim was renewed {renewals} times, and may not be renewed more often")]
    Exhausted {
        /// How often.
        renewals: u32,
    },
    /// A bad lease or name.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// A link that is none.
    #[error("a link of the chain is damaged: {0}")]
    Link(#[from] PayloadError),
    /// The vault could not be used, or refused what was to be committed with the step.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A task that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed {
    /// The last link of the chain.
    pub claim: Claim,
    /// The results that were committed with it, in their order.
    pub results: Vec<EventHeader>,
}

/// Makes claims for one holder.
#[derive(Clone, Debug)]
pub struct Claims {
    store: Arc<dyn Store>,
    kind: Kind,
    holder: Holder,
    lease: Duration,
    retries: RetryPolicy,
    entropy: Arc<dyn Entropy>,
}

impl Claims {
    /// Claims by links of `kind`, for a holder of that name with a session of its own.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, kind: Kind, holder: &str, lease: Duration) -> Self {
        Self::with_seams(store, kind, holder, lease, &Seams::system())
    }

    /// As [`Claims::new`], with other randomness.
    #[must_use]
    pub fn with_seams(
        store: Arc<dyn Store>,
        kind: Kind,
        holder: &str,
        lease: Duration,
        seams: &Seams,
    ) -> Self {
        Self {
            store,
            kind,
            holder: Holder::new(holder, &*seams.entropy),
            lease,
            retries: RetryPolicy::STORE,
            entropy: Arc::clone(&seams.entropy),
        }
    }

    /// Sets how often a call that fails for a while is repeated. A repeat is the same link: it is made once.
    #[must_use]
    pub fn retries(mut self, retries: RetryPolicy) -> Self {
        self.retries = retries;
        self
    }

    /// For whom.
    #[must_use]
    pub const fn holder(&self) -> &Holder {
        &self.holder
    }

    /// The last link of a task's chain; `None` if nobody has claimed it.
    ///
    /// # Errors
    /// [`ClaimError::Store`], [`ClaimError::Link`].
    pub async fn head(&self, task: EventId) -> Result<Option<Claim>, ClaimError> {
        let range = Range {
            filter: Filter {
                kind_prefixes: vec![self.kind.to_string()],
                attributes: vec![(TASK.to_owned(), task.to_string())],
                ..Filter::default()
            },
            newest_first: true,
            limit: 8,
            ..Range::default()
        };
        let (mut next, mut looked_at) = (None, 0);
        loop {
            let range = next.map_or_else(|| range.clone(), |next| range.clone().resume(next));
            let mut tries = Tries::new(self.retries, &self.entropy);
            let page = loop {
                match self.store.list(range.clone()).await {
                    Ok(page) => break page,
                    Err(error) => again(&mut tries, error).await?,
                }
            };
            looked_at += page.events.len();
            let mut events = page.events.iter();
            if let Some(link) = events.find(|event| event.header.kind == self.kind) {
                return Ok(Some(Claim::of(link)?));
            }
            match page.next {
                Some(before) if looked_at < LOOKED_AT_MAX => next = Some(before),
                _ => return Ok(None),
            }
        }
    }

    /// Claims a task that nobody has claimed before.
    ///
    /// # Errors
    /// [`ClaimError::Held`] and [`ClaimError::Completed`] if somebody has; [`ClaimError::Store`].
    pub async fn claim(&self, task: &EventHeader) -> Result<Claim, ClaimError> {
        let step = ClaimStep::claim(&self.kind, task, &self.holder, self.lease)?;
        match self.make(step, Vec::new()).await? {
            Made::Link(claim, _) => Ok(claim),
            Made::TooLate | Made::TooEarly => match self.head(task.id).await? {
                Some(head) => Err(held(&head)),
                None => Err(ClaimError::Contended),
            },
        }
    }

    /// Keeps a task for another lease. It may be over already, as long as nobody has taken the task over.
    ///
    /// # Errors
    /// [`ClaimError::Held`] if somebody else has it by now, or the holder has given it back; [`ClaimError::Completed`];
    /// [`ClaimError::Store`].
    pub async fn renew(&self, claim: &Claim) -> Result<Claim, ClaimError> {
        let (claim, _) = self.go_on(claim, Claim::renewal, Vec::new).await?;
        Ok(claim)
    }

    /// Takes over a task whose lease is over, or that was given back.
    ///
    /// # Errors
    /// [`ClaimError::Held`] while the lease runs; [`ClaimError::Unclaimed`], [`ClaimError::Completed`],
    /// [`ClaimError::Store`].
    pub async fn take_over(&self, task: EventId) -> Result<Claim, ClaimError> {
        for _ in 0..RACES_MAX {
            let head = self.head(task).await?.ok_or(ClaimError::Unclaimed)?;
            if head.is_completed() {
                return Err(held(&head));
            }
            let step = head.take_over(&self.holder, self.lease)?;
            match self.make(step, Vec::new()).await? {
                Made::Link(claim, _) => return Ok(claim),
                Made::TooEarly => return Err(held(&head)),
                Made::TooLate => {}
            }
        }
        Err(ClaimError::Contended)
    }

    /// Claims a task, or takes it over.
    ///
    /// # Errors
    /// As [`Claims::claim`] and [`Claims::take_over`].
    pub async fn acquire(&self, task: &EventHeader) -> Result<Claim, ClaimError> {
        match self.claim(task).await {
            Err(ClaimError::Held { .. }) => self.take_over(task.id).await,
            other => other,
        }
    }

    /// Is done with a task: commits the end of its chain together with the results, whose parent it becomes, or neither.
    /// Only the holder of the newest fencing number can.
    ///
    /// # Errors
    /// [`ClaimError::Held`] if somebody else has it by now; [`ClaimError::Completed`]; [`ClaimError::Store`].
    pub async fn complete(
        &self,
        claim: &Claim,
        results: Vec<EventDraft>,
    ) -> Result<Completed, ClaimError> {
        let results = || results.clone();
        let (claim, results) = self.go_on(claim, Claim::completion, results).await?;
        Ok(Completed { claim, results })
    }

    /// Gives a task back: whoever wants it may take it over at once.
    ///
    /// # Errors
    /// As [`Claims::renew`].
    pub async fn release(&self, claim: &Claim) -> Result<(), ClaimError> {
        match self.go_on(claim, Claim::release, Vec::new).await {
            // It was given back before, in a call whose answer was lost.
            Err(ClaimError::Held { holder, .. }) if holder == *claim.holder() => Ok(()),
            released => released.map(drop),
        }
    }

    /// Makes a step of the holder's own after `claim`, or after what the holder has made of it since: a renewal whose
    /// answer was lost, or that its keeper has made meanwhile.
    async fn go_on(
        &self,
        claim: &Claim,
        step: impl Fn(&Claim) -> ClaimStep,
        results: impl Fn() -> Vec<EventDraft>,
    ) -> Result<(Claim, Vec<EventHeader>), ClaimError> {
        let mut last = claim.clone();
        for _ in 0..RACES_MAX {
            match self.make(step(&last), results()).await? {
                Made::Link(claim, results) => return Ok((claim, results)),
                Made::TooLate | Made::TooEarly => {
                    let head = self.head(claim.task()).await?;
                    let head = head.ok_or(ClaimError::Unclaimed)?;
                    // What was given back is nobody's, and can only be taken over.
                    let is_held = !matches!(head.action(), Action::Release | Action::Complete);
                    if !is_held || head.holder() != claim.holder() {
                        return Err(held(&head));
                    }
                    last = head;
                }
            }
        }
        Err(ClaimError::Contended)
    }

    /// Commits a step, with events whose parent it is, and repeats that while the vault is away.
    async fn make(&self, step: ClaimStep, results: Vec<EventDraft>) -> Result<Made, ClaimError> {
        let link = step.link.clone();
        let (draft, preconditions) = step.into_parts(&self.salt());
        let mut events = vec![draft];
        for result in results {
            // A repeat of a result is a result of another link, so it is another event already. All events of a claim need
            // salts.
            let result = match result.has_salt() {
                true => result,
                false => result.salt(&self.salt()),
            };
            events.push(result.parent_in_batch(0));
        }
        let mut tries = Tries::new(self.retries, &self.entropy);
        loop {
            match self
                .store
                .commit(events.clone(), preconditions.clone())
                .await
            {
                Ok(headers) => return made(link, headers),
                Err(StoreError::Rejected(Rejection::Preconditions { violations })) => {
                    return refused(violations);
                }
                Err(error) => again(&mut tries, error).await?,
            }
        }
    }

    fn salt(&self) -> [u8; SALT_BYTES] {
        let mut salt = [0; SALT_BYTES];
        self.entropy.fill(&mut salt);
        salt
    }
}

/// What became of a step.
enum Made {
    /// It is the last link now, and these are the results.
    Link(Claim, Vec<EventHeader>),
    /// Another one was quicker.
    TooLate,
    /// The lease is not over, and nobody was quicker.
    TooEarly,
}

fn made(link: Link, headers: Vec<EventHeader>) -> Result<Made, ClaimError> {
    let mut headers = headers.into_iter();
    let first = headers
        .next()
        .expect("a store returns a header for each event");
    Ok(Made::Link(
        Claim::from_link(link, &first),
        headers.collect(),
    ))
}

fn refused(violations: Vec<Violation>) -> Result<Made, ClaimError> {
    let is = |wanted: fn(&Violation) -> bool| violations.iter().any(wanted);
    if is(|violation| matches!(violation, Violation::HasChild { .. })) {
        return Ok(Made::TooLate);
    }
    if is(|violation| matches!(violation, Violation::TooEarly { .. })) {
        return Ok(Made::TooEarly);
    }
    let rejection = Rejection::Preconditions { violations };
    Err(StoreError::Rejected(rejection).into())
}

/// Why the task cannot be had, or kept.
fn held(head: &Claim) -> ClaimError {
    if head.is_completed() {
        return ClaimError::Completed { link: head.id() };
    }
    ClaimError::Held {
        holder: head.holder().clone(),
        expires_unix_ms: head.expires_unix_ms(),
        number: head.number(),
    }
}

/// Waits for the next try, or fails with what the last one has failed with.
async fn again(tries: &mut Tries, error: StoreError) -> Result<(), ClaimError> {
    if error.class() != Class::Transient {
        return Err(error.into());
    }
    let wait = tries.failed().ok_or(error)?;
    tokio::time::sleep(wait).await;
    Ok(())
}
