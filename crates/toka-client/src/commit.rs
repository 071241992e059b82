//! Commits.

use toka_ledger::EventHeader;
use toka_ledger::command::{Commit, Precondition};
use toka_ledger::prepare::{EventDraft, is_claim, prepare_commit_to_send};
use toka_ledger::seam::Entropy;
use toka_proto::convert::commit::set_cursor_histories;
use toka_proto::v1;

use crate::call::{Repeats, Shared};
use crate::client::Client;
use crate::encoded::{self, EVENTS, EncodedCommit};
use crate::error::Error;

/// Length of the salts that the client makes, bytes.
const SALT_BYTES: usize = 16;

/// A commit that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Revision of the commit: a read of at least it sees the events.
    pub revision: u64,
    /// The stored events, one for each that was committed, in their order. Of an event that was
    /// stored before: its header as it is stored, marked `deduplicated`.
    pub headers: Vec<EventHeader>,
}

impl Client {
    /// Stores an event.
    ///
    /// # Errors
    /// [`Error::Invalid`] before anything is sent, [`Error::Rejected`] if the vault refuses it;
    /// after [`Error::Unreachable`], [`Error::Unavailable`] and [`Error::Overloaded`] it may have been
    /// stored, and repeating it is safe.
    pub async fn commit(&self, event: EventDraft) -> Result<EventHeader, Error> {
        let committed = self.commit_batch(vec![event], Vec::new()).await?;
        let mut headers = committed.headers;
        Ok(headers
            .pop()
            .expect("one event was sent, and their number was compared"))
    }

    /// Stores events together or not at all, if the preconditions hold.
    ///
    /// Events of a claim (a commit with [`Precondition::NoChild`]) that have no salt are given a
    /// random one, which all retries keep.
    ///
    /// # Errors
    /// As [`Client::commit`].
    pub async fn commit_batch(
        &self,
        events: Vec<EventDraft>,
        preconditions: Vec<Precondition>,
    ) -> Result<Committed, Error> {
        let commit = prepare(events, preconditions, &*self.shared.entropy)?;
        let mut commit = EncodedCommit::new(&commit, EVENTS);
        let answer = self
            .shared
            .change(self.deadline(), Repeats::Always, |channel, time| {
                self.shared.name_history(&mut commit.preconditions);
                let request = self.shared.request(commit.request(), time);
                encoded::commit(channel, request)
            })
            .await?;
        let response = answer.message;
        self.shared.observe(&answer.endpoint, response.header)?;
        committed(
            &answer.endpoint,
            commit.count,
            response.revision,
            response.events,
        )
    }
}

impl Shared {
    /// Cursors are moved in the history that the client began with and in no other. Before the first reply
    /// that is whichever the vault has, so each try asks again.
    pub(crate) fn name_history(&self, preconditions: &mut [v1::Precondition]) {
        if let Some(history_id) = self.seen.first_history() {
            set_cursor_histories(preconditions, history_id);
        }
    }
}

/// Checks everything, quantises embeddings, and salts claims: once, before the first try.
pub(crate) fn prepare(
    events: Vec<EventDraft>,
    preconditions: Vec<Precondition>,
    entropy: &dyn Entropy,
) -> Result<Commit, Error> {
    let claims = is_claim(&preconditions);
    let salted = events.into_iter().map(|event| {
        if !claims || event.has_salt() {
            return event;
        }
        let mut salt = [0; SALT_BYTES];
        entropy.fill(&mut salt);
        event.salt(&salt)
    });
    // The leader's clock counts, and its digests.
    Ok(prepare_commit_to_send(salted, preconditions)?)
}

pub(crate) fn committed(
    endpoint: &str,
    count: usize,
    revision: u64,
    events: Vec<v1::Event>,
) -> Result<Committed, Error> {
    if events.len() != count {
        let reason = format!("{} events in answer to {count}", events.len());
        return Err(Error::reply(endpoint, reason));
    }
    let headers = events
        .into_iter()
        .map(EventHeader::try_from)
        .collect::<Result<_, _>>();
    Ok(Committed {
        revision,
        headers: headers.map_err(|error| Error::reply(endpoint, error))?,
    })
}
