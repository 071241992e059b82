//! Claims: who works on a task, until when, and with which number.
//!
//! A claim, its renewals, a take-over and its completion are one chain of events of one kind. Each is a child of the one
//! before, the first one of the task, and is committed only while that has no child of the kind yet. So the chain never
//! forks, whoever tries what at the same time, and its last link says who has the task. Links have salts of their own, so
//! that no two are the same event. A link's sequence is the *fencing number*: it only grows along the chain, and what is
//! done for a task outside of the vault can be refused by it.
//!
//! A lease is over when the vault's time has passed the time of the link by the length that the link names: both are the
//! vault's own, replicated, and no node's or agent's clock. A take-over demands it as a precondition.

mod calls;
mod keeper;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toka_ledger::command::{ParentName, Precondition};
use toka_ledger::seam::Entropy;
use toka_ledger::{Digest, EventDraft, EventHeader, EventId, Invalid, Kind};

pub use self::calls::{ClaimError, Claims, Completed};
pub use self::keeper::{Keep, Keeper};
use crate::event::{Event, PayloadError};

/// Attribute of every link: the id of the task, by which the last link is found.
pub const TASK: &str = "toka.claim";
/// Shortest lease: shorter ones run out between two calls.
pub const LEASE_MIN: Duration = Duration::from_millis(100);
/// Longest lease: a day.
pub const LEASE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What a link says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The task is worked on.
    Claim,
    /// The same holder goes on.
    Renew,
    /// Another holder goes on, after the lease of the one before was over.
    TakeOver,
    /// The holder gives the task back: whoever wants it may take it over at once.
    Release,
    /// The task is done. The chain ends here.
    Complete,
}

/// Who claims. The session makes two lives of one name, or two agents that were given the same one, two holders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The name, for people.
    pub name: String,
    /// 32 hexadecimal digits.
    pub session: String,
}

impl Holder {
    /// A holder with a session of its own.
    pub fn new(name: impl Into<String>, entropy: &dyn Entropy) -> Self {
        let mut session = [0; 16];
        entropy.fill(&mut session);
        Self::with_session(name, session)
    }

    /// A holder with a session that was drawn elsewhere: by a handler, from its [`Context`](crate::Context).
    pub fn with_session(name: impl Into<String>, session: [u8; 16]) -> Self {
        Self {
            name: name.into(),
            session: session.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Payload of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Link {
    action: Action,
    holder: Holder,
    task: EventId,
    lease_ms: u64,
}

/// A task that is claimed: the last link that is known of its chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    link: Link,
    kind: Kind,
    id: EventId,
    digest: Digest,
    sequence: u64,
    unix_ms: u64,
}

impl Claim {
    /// The claim that an event is a link of.
    ///
    /// # Errors
    /// [`PayloadError`] if it is none.
    pub fn of(event: &Event) -> Result<Self, PayloadError> {
        Ok(Self::from_link(event.payload_as()?, &event.header))
    }

    fn from_link(link: Link, header: &EventHeader) -> Self {
        Self {
            link,
            kind: header.kind.clone(),
            id: header.id,
            digest: header.digest,
            sequence: header.sequence,
            unix_ms: header.unix_ms,
        }
    }

    /// The task.
    #[must_use]
    pub const fn task(&self) -> EventId {
        self.link.task
    }

    /// Who has it.
    #[must_use]
    pub const fn holder(&self) -> &Holder {
        &self.link.holder
    }

    /// What the link says.
    #[must_use]
    pub const fn action(&self) -> Action {
        self.link.action
    }

    /// The event.
    #[must_use]
    pub const fn id(&self) -> EventId {
        self.id
    }

    /// The fencing number: the sequence of the link.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.sequence
    }

    /// From when on others may take it over, milliseconds since the Unix epoch, of the vault's time.
    #[must_use]
    pub const fn expires_unix_ms(&self) -> u64 {
        self.unix_ms.saturating_add(self.link.lease_ms)
    }

    /// How long it is held without a renewal.
    #[must_use]
    pub const fn lease(&self) -> Duration {
        Duration::from_millis(self.link.lease_ms)
    }

    /// Whether the task is done.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        self.link.action == Action::Complete
    }

    /// The step by which its holder keeps it for another lease.
    pub fn renewal(&self) -> ClaimStep {
        self.next(Action::Renew, self.link.holder.clone(), self.link.lease_ms)
    }

    /// The step by which its holder is done with it.
    pub fn completion(&self) -> ClaimStep {
        self.next(Action::Complete, self.link.holder.clone(), 0)
    }

    /// The step by which its holder gives it back.
    pub fn release(&self) -> ClaimStep {
        self.next(Action::Release, self.link.holder.clone(), 0)
    }

    /// The step by which another holder gets it, once the vault's time has passed its lease.
    ///
    /// # Errors
    /// [`Invalid::OutOfRange`] for a lease outside [`LEASE_MIN`] and [`LEASE_MAX`].
    pub fn take_over(&self, holder: &Holder, lease: Duration) -> Result<ClaimStep, Invalid> {
        let lease_ms = check_lease(lease)?;
        let mut step = self.next(Action::TakeOver, holder.clone(), lease_ms);
        step.preconditions.push(Precondition::TimePassed {
            unix_ms: self.expires_unix_ms(),
        });
        Ok(step)
    }

    fn next(&self, action: Action, holder: Holder, lease_ms: u64) -> ClaimStep {
        let link = Link {
            action,
            holder,
            task: self.link.task,
            lease_ms,
        };
        ClaimStep::new(link, self.kind.clone(), self.digest)
    }
}

/// A step of a chain that is not made yet.
#[derive(Clone, Debug)]
#[must_use = "a step is made by `Reaction::claim`, or by `Claims`"]
pub struct ClaimStep {
    link: Link,
    kind: Kind,
    parent: Digest,
    preconditions: Vec<Precondition>,
}

impl ClaimStep {
    /// The first step: `holder` claims `task`.
    ///
    /// # Errors
    /// [`Invalid::OutOfRange`] for a lease outside [`LEASE_MIN`] and [`LEASE_MAX`].
    pub fn claim(
        kind: &Kind,
        task: &EventHeader,
        holder: &Holder,
        lease: Duration,
    ) -> Result<Self, Invalid> {
        let link = Link {
            action: Action::Claim,
            holder: holder.clone(),
            task: task.id,
            lease_ms: check_lease(lease)?,
        };
        Ok(Self::new(link, kind.clone(), task.digest))
    }

    fn new(link: Link, kind: Kind, parent: Digest) -> Self {
        let free = Precondition::NoChild {
            parent: ParentName::Digest(parent),
            kind: kind.clone(),
        };
        Self {
            link,
            kind,
            parent,
            preconditions: vec![free],
        }
    }

    /// The event, and what must hold for it to be the next link.
    pub(crate) fn into_parts(self, salt: &[u8]) -> (EventDraft, Vec<Precondition>) {
        let draft = EventDraft::new(self.kind.as_str())
            .payload(&self.link)
            .parents_by_digest([self.parent])
            .attribute(TASK, self.link.task.to_string())
            .source(self.link.holder.name.clone())
            .salt(salt);
        (draft, self.preconditions)
    }

    /// Where in a chain it is: of which kind, and after which event.
    pub(crate) fn place(&self) -> (&str, Digest) {
        (self.kind.as_str(), self.parent)
    }

    /// How many preconditions it needs.
    pub(crate) fn preconditions(&self) -> usize {
        self.preconditions.len()
    }
}

fn check_lease(lease: Duration) -> Result<u64, Invalid> {
    let milliseconds = |lease: Duration| u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
    let (min, max, actual) = (
        milliseconds(LEASE_MIN),
        milliseconds(LEASE_MAX),
        milliseconds(lease),
    );
    match (min..=max).contains(&actual) {
        true => Ok(actual),
        false => Err(Invalid::OutOfRange {
            field: "lease_ms",
            min,
            max,
            actual,
        }),
    }
}

#[cfg(test)]
mod tests;
