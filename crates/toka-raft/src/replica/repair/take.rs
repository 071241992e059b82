//! Taking a copy of another node's ledger, if no other voter contradicts it.
//!
//! A copy in which every row is as it was written can still hold another state than the cluster's: see
//! [`super::opinion`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use toka_ledger::command::FEATURE_LEVEL;
use tokio::time::{Instant, sleep};

use super::Repair;
use super::opinion::Compared;
use crate::error::StartError;
use crate::network::{is_removed, raft_client};
use crate::snapshot::{Asked, Pull, PullError, SnapshotDir, SnapshotError};
use crate::transport::Traffic;
use crate::type_config::Member;

const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Between two log lines that say that it has not worked yet.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// What is wrong with the last copies.
#[derive(Default)]
struct Doubts {
    damaged: BTreeSet<u64>,
    contradicted: BTreeMap<u64, Compared>,
}

impl Repair<'_> {
    /// Asks one node after the other, for as long as it takes, or until one says that it is of no use; `once` if
    /// there is something else to be done when none has given a copy.
    pub(super) async fn take(
        &self,
        members: &BTreeMap<u64, Member>,
        purged: Option<u64>,
        once: bool,
    ) -> Result<Option<SnapshotDir>, StartError> {
        let pull = Pull {
            identity: Arc::clone(&self.identity),
            store: Arc::clone(self.snapshots),
            storage: Arc::clone(self.storage),
            blocking: self.blocking,
            headroom: self.headroom.clone(),
            level_known: self.level_known,
        };
        let mut pause = RETRY_MIN;
        let mut complained: Option<Instant> = None;
        let mut doubts = Doubts::default();
        loop {
            let mut failures = Vec::new();
            let headroom = self.headroom.clone();
            // Before they are asked: each would make a copy, for nothing.
            let has_room = self.blocking.run(move || headroom.check_again()).await;
            if let Err(error) = &has_room {
                failures.push(format!("this node: {error}"));
            }
            for (&from, member) in members.iter().filter(|_| has_room.is_ok()) {
                match self
                    .consider(&pull, from, member, purged, &mut doubts)
                    .await?
                {
                    Ok(snapshot) => return Ok(Some(snapshot)),
                    Err(reason) => failures.push(format!("node {from}: {reason}")),
                }
            }
            if complained.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL) {
                complained = Some(Instant::now());
                let reasons = failures.join("; ");
                tracing::warn!(
                    reasons,
                    "the damaged ledger is not repaired yet: no node has given a copy; they are asked again"
                );
            }
            if once {
                return Ok(None);
            }
            sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// The copy of node `from`, or why it is not to be had now.
    async fn consider(
        &self,
        pull: &Pull,
        from: u64,
        member: &Member,
        purged: Option<u64>,
        doubts: &mut Doubts,
    ) -> Result<Result<SnapshotDir, String>, StartError> {
        // What was contradicted is not fetched again before that is over.
        if let Some(compared) = doubts.contradicted.get(&from)
            && let Some(reason) = self.contradiction(from, compared).await
        {
            return Ok(Err(reason));
        }
        doubts.contradicted.remove(&from);
        let asked = Asked {
            purged,
            last_was_damaged: doubts.damaged.remove(&from),
        };
        let (snapshot, compared) = match self.take_from(pull, from, member, asked).await {
            Ok(taken) => taken,
            Err(error) => {
                self.check_final(&error)?;
                if error.is_damage() {
                    doubts.damaged.insert(from);
                }
                return Ok(Err(error.to_string()));
            }
        };
        let contradiction = self.contradiction(from, &compared).await;
        Ok(match contradiction {
            None => Ok(snapshot),
            Some(reason) => {
                doubts.contradicted.insert(from, compared);
                Err(reason)
            }
        })
    }

    async fn take_from(
        &self,
        pull: &Pull,
        from: u64,
        member: &Member,
        asked: Asked,
    ) -> Result<(SnapshotDir, Compared), PullError> {
        let client = raft_client(self.channels, &member.raft_endpoint, Traffic::Snapshot);
        let client = client.map_err(|error| SnapshotError::transfer(error.to_string()))?;
        let taken = match pull.take(client, from, asked).await {
            Ok(snapshot) => self.compared(&snapshot).await.map(|by| (snapshot, by)),
            Err(error) => Err(error),
        };
        if let Err(PullError::Snapshot(error)) = &taken {
            tracing::warn!(from, %error, "the copy of another node was not taken");
        }
        taken
    }

    /// A refusal that will be the same the next time, and is the same on every node.
    fn check_final(&self, error: &PullError) -> Result<(), StartError> {
        if let PullError::Refused(status) = error
            && is_removed(status)
        {
            let node_id = self.identity.node_id();
            return Err(StartError::Removed { node_id });
        }
        if let Some(level) = error.feature_level() {
            return Err(StartError::FeatureLevel {
                level,
                build: FEATURE_LEVEL,
                known: self.level_known,
            });
        }
        Ok(())
    }
}
