//! One call: tried on one node after the other until it is answered or its deadline comes.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use toka_ledger::seam::Entropy;
use toka_proto::convert::metadata;
use toka_proto::convert::read::Header;
use toka_proto::convert::status::{Detail, Failure};
use toka_proto::v1::vault_service_client::VaultServiceClient;
use tokio::time::{Duration, Instant, sleep, timeout_at};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use crate::channel::Channels;
use crate::config::{Config, MESSAGE_BYTES_MAX};
use crate::error::Error;
use crate::pin::ClusterPin;
use crate::retry::{Backoff, Verdict, judge};
use crate::routes::{Route, Routes};

/// What the clones of a client share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) routes: Routes,
    pub(crate) channels: Channels,
    pub(crate) seen: Seen,
    pub(crate) pin: ClusterPin,
    pub(crate) entropy: Arc<dyn Entropy>,
}

/// The highest revision that replies have shown, and the history of the first reply.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<(u128, u64)>, OnceLock<u128>);

impl Seen {
    /// Revisions of an older history say nothing about a newer one.
    pub(crate) fn observe(&self, header: &Header) {
        // A node that does not serve yet tells its status, and has no history to name.
        if header.history_id != 0 {
            self.1.get_or_init(|| header.history_id);
        }
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.0 != header.history_id {
            *seen = (header.history_id, header.revision);
        }
        seen.1 = seen.1.max(header.revision);
    }

    /// Of which history this client's sequences are: where the vault has another one, what it knows of positions
    /// and cursors no longer counts, and a new client has to begin.
    pub(crate) fn first_history(&self) -> Option<u128> {
        self.1.get().copied()
    }

    /// The same; `history_id` if no reply has shown one yet.
    pub(crate) fn first_history_or(&self, history_id: u128) -> u128 {
        *self.1.get_or_init(|| history_id)
    }

    pub(crate) fn revision(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

/// A reply, and who gave it.
pub(crate) struct Answer<T> {
    pub(crate) endpoint: String,
    pub(crate) message: T,
}

/// The tries of one call so far.
pub(crate) struct Tries {
    deadline: Instant,
    backoff: Backoff,
    /// Time for one try; doubled by each that runs into it.
    attempt_timeout: Duration,
    attempts: u32,
    /// Nodes whose own data or disk has failed.
    broken: BTreeSet<String>,
    /// Everyone who was asked.
    asked: BTreeSet<String>,
    /// A redirection that was followed without a wait.
    redirected: bool,
    /// What someone said, if anyone did; the last failure to reach a node, if nobody did.
    answered: Option<Error>,
    /// What was found at an address that is another cluster's.
    foreign: Option<Error>,
    unreachable: String,
}

impl Shared {
    pub(crate) fn tries(&self, deadline: Instant) -> Tries {
        Tries {
            deadline,
            backoff: Backoff::new(&self.config, &self.entropy),
            attempt_timeout: self.config.attempt_timeout,
            attempts: 0,
            broken: BTreeSet::new(),
            asked: BTreeSet::new(),
            redirected: false,
            answered: None,
            foreign: None,
            unreachable: "the deadline came first".to_owned(),
        }
    }

    /// Draws the consequences of a failed try, and waits.
    ///
    /// # Errors
    /// If there is no point in another one.
    pub(crate) async fn failed(
        &self,
        tries: &mut Tries,
        endpoint: &str,
        status: &Status,
    ) -> Result<(), Error> {
        let (verdict, failure) = judge(status);
        if let Err(other) = self.learn(endpoint, status, &failure) {
            return self.foreign(tries, endpoint, other);
        }
        tracing::debug!(endpoint, code = ?failure.code, message = failure.message, "try failed");
        tries.asked.insert(endpoint.to_owned());
        let is_unreachable = matches!(verdict, Verdict::Unreachable);
        let mut at_least = failure.retry_after.unwrap_or(Duration::ZERO);
        let mut may_hurry = false;
        match verdict {
            Verdict::Final => return Err(Error::from_failure(endpoint, failure)),
            Verdict::Leader(leader) => {
                self.routes.fail(endpoint, false);
                if let Some(leader) = leader.filter(|leader| leader.endpoint != endpoint) {
                    self.routes.learn(leader);
                    may_hurry = !tries.redirected;
                    tries.redirected = true;
                }
            }
            Verdict::Unreachable => {
                self.routes.fail(endpoint, true);
                // A connection that hangs is not used again.
                self.channels.forget(endpoint);
                tries.unreachable = format!("{endpoint}: {}", reason(status));
                // The others are asked at once; after that it is time to wait.
                let known = self.routes.known();
                may_hurry = tries.asked.len() <= known && tries.attempts <= known as u32;
            }
            Verdict::Elsewhere => self.routes.fail(endpoint, false),
            Verdict::Broken => {
                self.routes.fail(endpoint, false);
                if !tries.broken.insert(endpoint.to_owned()) {
                    return Err(Error::from_failure(endpoint, failure));
                }
            }
            Verdict::Later(wait) => at_least = wait,
        }
        if !is_unreachable {
            tries.answered = Some(Error::from_failure(endpoint, failure));
        }
        if tries.attempts >= self.config.attempts_max {
            return Err(tries.give_up());
        }
        if may_hurry {
            return Ok(());
        }
        let wait = tries.backoff.wait(at_least);
        if Instant::now() + wait >= tries.deadline {
            return Err(tries.give_up());
        }
        sleep(wait).await;
        Ok(())
    }
}

impl Shared {
    /// Learns from the head of a failed try, but not from a node of another cluster: nothing that it names is gone to.
    ///
    /// # Errors
    /// [`Error::OtherCluster`].
    fn learn(&self, endpoint: &str, status: &Status, failure: &Failure) -> Result<(), Error> {
        let own = self.pin.check_head(endpoint, status.metadata());
        match (&failure.detail, own) {
            (Some(Detail::OtherCluster { expected, actual }), _) => Err(Error::OtherCluster {
                endpoint: endpoint.to_owned(),
                expected: *expected,
                actual: *actual,
            }),
            // That a position is of another history says more.
            (Some(Detail::HistoryChanged { .. }), Err(_)) => Ok(()),
            (_, Err(other)) => Err(other),
            (_, Ok(())) => {
                self.routes.learn_from(status.metadata());
                Ok(())
            }
        }
    }

    /// A node of another cluster is left at once: others may be of this one.
    ///
    /// # Errors
    /// `other`, if everybody was asked.
    pub(crate) fn foreign(
        &self,
        tries: &mut Tries,
        endpoint: &str,
        other: Error,
    ) -> Result<(), Error> {
        tracing::warn!(endpoint, error = %other, "a node of another cluster is not used");
        self.routes.fail(endpoint, true);
        let is_new = tries.asked.insert(endpoint.to_owned());
        if !is_new || tries.asked.len() >= self.routes.known() {
            return Err(other);
        }
        tries.foreign = Some(other);
        Ok(())
    }
}

/// When a call may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeats {
    /// After every failure: it makes no difference how often it is carried out.
    Always,
    /// Where it was surely not carried out.
    IfUndone,
}

/// Whether a call may have been carried out that has failed like that. A node says so itself, of what it has taken.
fn may_be_done(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return false;
        }
        source = error.source();
    }
    matches!(judge(status).0, Verdict::Unreachable)
}

/// The innermost cause: the others only say "transport error".
fn reason(status: &Status) -> String {
    let mut source = std::error::Error::source(status);
    let mut reason = status.message().to_owned();
    while let Some(error) = source {
        reason = error.to_string();
        source = error.source();
    }
    reason
}

impl Tries {
    /// The time for the next try, and when it ends.
    pub(crate) fn next(&mut self) -> Result<(Duration, Instant), Error> {
        let now = Instant::now();
        let left = self.deadline.saturating_duration_since(now);
        if left.is_zero() {
            return Err(self.give_up());
        }
        self.attempts += 1;
        let time = left.min(self.attempt_timeout);
        Ok((time, now + time))
    }

    /// What stands for a try that ran out of time. The next one gets more of it.
    pub(crate) fn no_answer(&mut self) -> Status {
        self.slower();
        Status::new(Code::DeadlineExceeded, "no answer in time")
    }

    /// How long the node may be silent.
    pub(crate) const fn attempt_timeout(&self) -> Duration {
        self.attempt_timeout
    }

    fn slower(&mut self) {
        self.attempt_timeout *= 2;
    }

    /// A success: failures before it no longer count.
    pub(crate) fn reset(&mut self, config: &Config) {
        self.deadline = Instant::now() + config.resume_timeout;
        self.attempt_timeout = config.attempt_timeout;
        self.attempts = 0;
        self.redirected = false;
        self.asked.clear();
        self.broken.clear();
        self.answered = None;
        self.foreign = None;
        self.backoff.reset();
    }

    fn give_up(&mut self) -> Error {
        let foreign = self.foreign.take();
        let answered = foreign.or_else(|| self.answered.take());
        answered.unwrap_or_else(|| Error::Unreachable {
            endpoints: self.asked.iter().cloned().collect(),
            reason: self.unreachable.clone(),
        })
    }
}

impl Shared {
    /// A request that tells the node how long it has, and for which cluster it is.
    pub(crate) fn request<M>(&self, message: M, time: Duration) -> Request<M> {
        let mut request = self.lasting_request(message);
        request.set_timeout(time);
        request
    }

    /// The same, of a stream that is meant to last. A node of another cluster refuses it before it does anything.
    pub(crate) fn lasting_request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        if let Some(cluster_id) = self.pin.get() {
            metadata::put_cluster_id(request.metadata_mut(), cluster_id);
        }
        request
    }
}

/// The vault, behind a connection.
pub(crate) fn vault(channel: Channel) -> VaultServiceClient<Channel> {
    VaultServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

impl Shared {
    /// Makes a call: `attempt` is given a connection, and the time that it has.
    pub(crate) async fn call<T, F, A>(
        &self,
        route: Route,
        deadline: Instant,
        attempt: F,
    ) -> Result<Answer<T>, Error>
    where
        F: FnMut(Channel, Duration) -> A,
        A: Future<Output = Result<Response<T>, Status>>,
    {
        self.make(route, deadline, Repeats::Always, attempt).await
    }

    /// As [`Shared::call`]. A call that must not be carried out twice is only repeated where it was surely not carried
    /// out.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`], beside those of every call.
    pub(crate) async fn make<T, F, A>(
        &self,
        route: Route,
        deadline: Instant,
        repeats: Repeats,
        mut attempt: F,
    ) -> Result<Answer<T>, Error>
    where
        F: FnMut(Channel, Duration) -> A,
        A: Future<Output = Result<Response<T>, Status>>,
    {
        let mut tries = self.tries(deadline);
        loop {
            let endpoint = self.routes.pick(route);
            let (time, until) = tries.next()?;
            let channel = self.channels.get(&endpoint)?;
            let status = match timeout_at(until, attempt(channel, time)).await {
                Ok(Ok(response)) => {
                    self.pin.check_head(&endpoint, response.metadata())?;
                    self.routes.learn_from(response.metadata());
                    return Ok(Answer {
                        endpoint,
                        message: response.into_inner(),
                    });
                }
                Ok(Err(status)) => {
                    // The connection watches the time too, and may be first to see it run out.
                    if Instant::now() >= until {
                        tries.slower();
                    }
                    status
                }
                Err(_) => tries.no_answer(),
            };
            if repeats == Repeats::IfUndone && may_be_done(&status) {
                return Err(Error::OutcomeUnknown {
                    reason: reason(&status),
                    endpoint,
                });
            }
            self.failed(&mut tries, &endpoint, &status).await?;
        }
    }

    /// Remembers the position that a reply shows.
    pub(crate) fn observe(
        &self,
        endpoint: &str,
        header: Option<toka_proto::v1::ResponseHeader>,
    ) -> Result<Header, Error> {
        let header = Header::try_from(header).map_err(|error| Error::reply(endpoint, error))?;
        self.pin.check(endpoint, header.cluster_id)?;
        self.seen.observe(&header);
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use toka_proto::convert::status;

    use super::*;

    #[test]
    fn what_a_node_has_answered_or_never_got_was_not_done() {
        for undone in [
            status::not_leader(None),
            status::no_leader("election"),
            status::stopping(),
            status::overloaded(Duration::from_millis(1)),
        ] {
            assert!(!may_be_done(&undone), "{undone:?}");
        }
        let broken = Status::from_error(Box::new(std::io::Error::other("connection reset")));
        let silent = Status::new(Code::DeadlineExceeded, "no answer in time");
        for unknown in [broken, silent, Status::unavailable("")] {
            assert!(may_be_done(&unknown), "{unknown:?}");
        }
    }
}
