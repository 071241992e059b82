//! The tries of a call: what follows from one that has failed, and when there is no point in another.

use std::borrow::Cow;
use std::collections::BTreeSet;

use toka_proto::convert::metadata;
use toka_proto::convert::status::{Detail, Failure};
use tokio::time::{Duration, Instant, sleep};
use tonic::{Code, Status};

use super::Shared;
use crate::config::Config;
use crate::error::Error;
use crate::pin;
use crate::retry::{Backoff, Verdict, judge};

/// In whatever is said of a connection that was refused in TLS, or for want of it.
const TLS: &str = "TLS";

/// The tries of one call so far.
pub(crate) struct Tries {
    deadline: Instant,
    backoff: Backoff,
    /// Time for one try; doubled by each that runs into it.
    attempt_timeout: Duration,
    attempts: u32,
    /// Nodes whose own data or disk has failed.
    broken: BTreeSet<String>,
    /// Everyone who was asked, but for nodes of other clusters: those of this one may have done something.
    asked: BTreeSet<String>,
    /// Addresses at which nodes of other clusters are.
    foreign: BTreeSet<String>,
    /// One of those.
    other: Option<Error>,
    /// Clusters that nodes without a leader have named to a client that has none yet.
    leaderless: BTreeSet<u128>,
    /// A redirection that was followed without a wait.
    redirected: bool,
    /// What someone said, if anyone did; the last failure to reach a node, if nobody did.
    answered: Option<Error>,
    unreachable: Cow<'static, str>,
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
            foreign: BTreeSet::new(),
            other: None,
            leaderless: BTreeSet::new(),
            redirected: false,
            answered: None,
            unreachable: Cow::Borrowed("the deadline came first"),
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
        if let Err(other) = self.learn(tries, endpoint, status, &failure) {
            return self.foreign(tries, endpoint, other).await;
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
                let refusal = self.channels.refusal(endpoint, status);
                let reason = refusal.unwrap_or_else(|| reason(status));
                // Of several nodes one that refuses in TLS has said most.
                if reason.contains(TLS) || !tries.unreachable.contains(TLS) {
                    tries.unreachable = format!("{endpoint}: {reason}").into();
                }
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
        tries.pause(at_least).await
    }
}

impl Shared {
    /// Learns from the head of a failed try, but not from a node of another cluster: nothing that it names is gone to.
    ///
    /// # Errors
    /// [`Error::OtherCluster`].
    fn learn(
        &self,
        tries: &mut Tries,
        endpoint: &str,
        status: &Status,
        failure: &Failure,
    ) -> Result<(), Error> {
        if let Some(Detail::OtherCluster { expected, actual }) = failure.detail {
            return Err(Error::OtherCluster {
                endpoint: endpoint.to_owned(),
                expected,
                actual,
                answered: false,
            });
        }
        let head = status.metadata();
        let named = pin::named(endpoint, head).and_then(|named| {
            let own = named.map_or(Ok(()), |id| self.pin.compare(endpoint, id));
            own.map(|()| named)
        });
        let named = match named {
            Ok(named) => named,
            // That a position is of another history says more.
            Err(_) if matches!(failure.detail, Some(Detail::HistoryChanged { .. })) => {
                return Ok(());
            }
            Err(other) => return Err(other),
        };
        if let Some(cluster_id) = named
            && self.pin.get().is_none()
        {
            let has_leader = metadata::leader(head).is_some()
                || matches!(failure.detail, Some(Detail::NotLeader { leader: Some(_) }));
            if !has_leader && !self.is_only_cluster(tries, endpoint, cluster_id) {
                // Members of which it speaks may be of a cluster that is not meant.
                return Ok(());
            }
            self.pin.check(endpoint, cluster_id)?;
        }
        self.routes.learn_from(head);
        Ok(())
    }

    /// Whether `endpoint` is the last one to be asked, and its cluster the only one that was named: then it is this
    /// client's, though nobody in it knows a leader.
    fn is_only_cluster(&self, tries: &mut Tries, endpoint: &str, cluster_id: u128) -> bool {
        tries.leaderless.insert(cluster_id);
        let mut asked = tries.asked.clone();
        asked.insert(endpoint.to_owned());
        tries.leaderless.len() == 1 && self.routes.are_all_among(&asked)
    }

    /// A node of another cluster is passed over: others may be of this one.
    ///
    /// # Errors
    /// `other`, if there are only such nodes; as [`Shared::failed`].
    pub(crate) async fn foreign(
        &self,
        tries: &mut Tries,
        endpoint: &str,
        other: Error,
    ) -> Result<(), Error> {
        self.routes.fail(endpoint, true);
        let is_new = tries.foreign.insert(endpoint.to_owned());
        if is_new {
            tracing::warn!(endpoint, error = %other, "a node of another cluster is passed over");
        }
        // That something may have been done is said whatever else was found.
        if !matches!(
            tries.other,
            Some(Error::OtherCluster { answered: true, .. })
        ) {
            tries.other = Some(other);
        }
        if self.routes.are_all_among(&tries.foreign) || tries.attempts >= self.config.attempts_max {
            return Err(tries.give_up());
        }
        if is_new {
            return Ok(());
        }
        tries.pause(Duration::ZERO).await
    }
}

/// The innermost cause: the others only say "transport error".
pub(super) fn reason(status: &Status) -> String {
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

    pub(super) fn slower(&mut self) {
        self.attempt_timeout *= 2;
    }

    /// A success: failures before it no longer count.
    pub(crate) fn reset(&mut self, config: &Config) {
        self.deadline = Instant::now() + config.resume_timeout;
        self.attempt_timeout = config.attempt_timeout;
        self.attempts = 0;
        self.redirected = false;
        self.asked.clear();
        self.foreign.clear();
        self.other = None;
        self.leaderless.clear();
        self.broken.clear();
        self.answered = None;
        self.backoff.reset();
    }

    /// When there is no more time.
    pub(crate) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Waits before the next try, `at_least` so long.
    async fn pause(&mut self, at_least: Duration) -> Result<(), Error> {
        let wait = self.backoff.wait(at_least);
        if Instant::now() + wait >= self.deadline {
            return Err(self.give_up());
        }
        sleep(wait).await;
        Ok(())
    }

    /// Where a node of this cluster was asked it may be back soon, and have done what it did not answer: nodes of other
    /// clusters are the last thing to name.
    fn give_up(&mut self) -> Error {
        let other = self.other.take();
        if self.asked.is_empty()
            && let Some(other) = other
        {
            return other;
        }
        let answered = self.answered.take();
        let error = answered.unwrap_or_else(|| Error::Unreachable {
            endpoints: self.asked.iter().cloned().collect(),
            reason: self.unreachable.clone().into_owned(),
        });
        match &other {
            Some(other) => error.beside(other),
            None => error,
        }
    }
}
