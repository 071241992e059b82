//! Whether this node's state is that of the others.
//!
//! Four things are compared with those of the voters, at a time that is about the same on all of them:
//!
//! - history root and state digest after a 256th event, which every node keeps. They cover everything that
//!   `apply` writes, and centroids as of every 4,096th embedded event (a quarter of `save_events`);
//! - history root and state digest as of now, with those who have applied as much;
//! - what decides where the next events go, centroids included, with those who have seen the same event last.
//!   On an idle cluster all have;
//! - what is stored of consumer groups and credentials, which the state digest does not cover, with those who have applied as much.
//!
//! A node that a majority contradicts stops, and does not start again with this data. Where there is no majority
//! (two nodes, or too few that answer) nobody can tell who is wrong: it is reported, and all go on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join, join_all};
use toka_ledger::Reader;
use toka_ledger::dir::DataDir;
use toka_ledger::read::STATE_DIGEST_EVENTS;
use toka_ledger::seam::Clock;
use toka_proto::raft_v1 as pb;
use toka_proto::v1::AlarmKind;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::compare::{Answer, Differing, Own, Subject, Verdict, comparisons, judge};
use crate::alarms::Alarms;
use crate::error::FatalError;
use crate::fatal::Fatal;
use crate::membership::{Membership, effective};
use crate::network::PeerNetworks;
use crate::wire;

const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// The part of an interval in which all nodes look at themselves, before they ask each other: more than clocks
/// are apart.
const LOOK_SHARE: u32 = 4;

/// The task.
pub(super) struct Divergence {
    pub(super) membership: Arc<Membership>,
    pub(super) networks: PeerNetworks,
    pub(super) reader: Reader,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) fatal: Fatal,
    pub(super) alarms: Alarms,
    pub(super) interval: Duration,
}

/// What is remembered from one time to the next.
#[derive(Debug, Default)]
struct Known {
    /// The last event so far after which a state is kept.
    next: u64,
    /// The last one after which the states of all voters were compared.
    compared: u64,
    differing: Differing,
}

impl Known {
    /// The event after which the kept states are to be compared, if they are, with the vault at `head`. As of the
    /// last time: the others have it too by now, unless they are far behind. The digests of a later event cover
    /// those of all before, so nothing is lost if some could not answer for an earlier one.
    fn due(&mut self, head: u64) -> Option<u64> {
        let next = head / STATE_DIGEST_EVENTS * STATE_DIGEST_EVENTS;
        let sequence = std::mem::replace(&mut self.next, next);
        (sequence > self.compared).then_some(sequence)
    }
}

impl Divergence {
    pub(super) async fn run(self, cancelled: CancellationToken) {
        let sequence = tokio::select! {
            () = cancelled.cancelled() => return,
            sequence = self.wrong() => sequence,
        };
        let node_id = self.membership.identity.node_id();
        if let Err(error) = self.membership.note(DataDir::set_diverged).await {
            // It is found out again after the next start.
            tracing::error!(node_id, %error, "that this node differs could not be noted");
        }
        if !cancelled.is_cancelled() {
            self.fatal
                .report(FatalError::Diverged { node_id, sequence });
        }
    }

    /// Compares until this node is known to be wrong; returns after which event.
    async fn wrong(&self) -> u64 {
        let mut known = Known::default();
        loop {
            sleep(until_next(self.clock.unix_ms(), self.interval)).await;
            let reader = self.reader.clone();
            let look = move || reader.digest_intents();
            self.membership.blocking.run(look).await;
            sleep(self.interval / LOOK_SHARE).await;
            match self.compare(&mut known).await {
                Ok(None) => {}
                Ok(Some(sequence)) => return sequence,
                Err(error) => tracing::warn!(%error, "the state cannot be compared"),
            }
        }
    }

    /// Compares once. Returns after which event this node is wrong, if it is.
    async fn compare(&self, known: &mut Known) -> Result<Option<u64>, toka_ledger::Error> {
        let due = known.due(self.reader.position().sequence);
        let own = self.own(due).await?;
        let this = self.membership.identity.node_id();
        let stored = effective(&self.membership.raft);
        let voters: BTreeSet<u64> = stored.membership().voter_ids().collect();
        let asked = stored.membership().nodes().filter_map(|(id, member)| {
            let is_other_voter = *id != this && voters.contains(id);
            is_other_voter.then(|| self.ask(*id, &member.raft_endpoint, due))
        });
        let answers: Vec<(u64, Answer)> = join_all(asked).await;
        let votes = voters.contains(&this);
        known.differing.keep(&voters);
        for comparison in comparisons(&own, &answers) {
            if judge(&comparison, votes, voters.len()) == Verdict::Wrong {
                return Ok(Some(comparison.sequence));
            }
            known.differing.note(&comparison);
            // Who did not answer is asked again.
            if comparison.subject == Subject::Kept && comparison.others.len() == answers.len() {
                known.compared = comparison.sequence;
            }
        }
        self.alarms
            .set(AlarmKind::StateDiffers, known.differing.message());
        Ok(None)
    }

    /// This node's state; after the event at `due` too.
    async fn own(&self, due: Option<u64>) -> Result<Own, toka_ledger::Error> {
        let mut kept = None;
        if let Some(sequence) = due {
            let reader = self.reader.clone();
            let read = move || reader.state_digest_at(sequence);
            let state = self.membership.blocking.run(read).await?;
            kept = state.map(|state| (sequence, state));
        }
        let reader = self.reader.clone();
        let read = move || -> Result<_, toka_ledger::Error> {
            let mut groups = vec![reader.groups_digest()?];
            groups.extend(reader.group_sums());
            Ok(groups)
        };
        let groups = self.membership.blocking.run(read).await?;
        Ok(Own {
            kept,
            position: self.reader.position(),
            intents: self.reader.intents_digest(),
            groups,
        })
    }

    async fn ask(&self, id: u64, endpoint: &str, due: Option<u64>) -> (u64, Answer) {
        let peer = || Some(self.membership.identity.peer(id));
        let kept = async {
            let mut client = self.networks.control(endpoint).ok()?;
            let request = pb::GetStateDigestRequest {
                peer: peer(),
                sequence: due?,
            };
            let answer = client.get_state_digest(request).await.ok()?.into_inner();
            wire::state(&answer.history_root, &answer.state_digest)
        };
        let status = async {
            let mut client = self.networks.control(endpoint).ok()?;
            let request = pb::GetNodeStatusRequest { peer: peer() };
            let answer = client.get_node_status(request).await.ok()?.into_inner();
            Some((answer.node?, answer.group_sums))
        };
        let both = join(timeout(ASK_TIMEOUT, kept), timeout(ASK_TIMEOUT, status));
        let (kept, status) = both.await;
        let (status, group_sums) = status.ok().flatten().unzip();
        let answer = Answer {
            kept: kept.ok().flatten(),
            status,
            group_sums: group_sums.unwrap_or_default(),
        };
        (id, answer)
    }
}

/// How long it is until the next multiple of `interval` on a clock that says `unix_ms`. Nodes whose clocks are right
/// look at the same moment, and mostly at the same event where these come one by one. Nothing else depends on it.
fn until_next(unix_ms: u64, interval: Duration) -> Duration {
    let interval_ms = u64::try_from(interval.as_millis())
        .unwrap_or(u64::MAX)
        .max(1);
    Duration::from_millis(interval_ms - unix_ms % interval_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What docs/operations.md promises ("A node that differs"), of intervals that are at least so long.
    const PROMISED_INTERVALS: u32 = 3;
    const PROMISED_FROM: Duration = Duration::from_secs(3);
    /// A look comes within an interval. At the first one after an event others may not have got as far, and a kept
    /// state is asked for after the second.
    const LOOKS: u32 = 2;

    #[test]
    fn difference_is_found_within_the_intervals_that_are_promised() {
        let default = Duration::from_secs(5);
        for interval in [PROMISED_FROM, default, Duration::from_secs(3_600)] {
            let from_look = interval / LOOK_SHARE + ASK_TIMEOUT;
            // Or looks would be left out.
            assert!(from_look < interval, "{interval:?}");
            let found = LOOKS * interval + from_look;
            assert!(found <= PROMISED_INTERVALS * interval, "{interval:?}");
        }
        assert_eq!(PROMISED_INTERVALS * default, Duration::from_secs(15));
        // So that the first part holds: wherever the clock stands, the next look is at most an interval away.
        for unix_ms in [0, 1, 4_999, 5_000, 123_456_789] {
            assert!(until_next(unix_ms, default) <= default, "{unix_ms}");
        }
    }

    #[test]
    fn states_that_were_not_compared_with_all_are_due_again() {
        let mut known = Known::default();
        assert_eq!(known.due(700), None, "the others may not have it yet");
        assert_eq!(known.due(700), Some(512));
        assert_eq!(known.due(800), Some(512), "nobody has answered");
        known.compared = 512;
        assert_eq!(known.due(800), Some(768));
        known.compared = 768;
        assert_eq!(known.due(800), None);
    }

    #[test]
    fn nodes_look_at_the_same_moment() {
        let interval = Duration::from_secs(5);
        assert_eq!(until_next(10_000, interval), interval);
        assert_eq!(until_next(14_999, interval), Duration::from_millis(1));
        assert_eq!(until_next(11_000, interval), Duration::from_secs(4));
    }
}
