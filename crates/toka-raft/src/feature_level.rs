//! Raises the vault's feature level once every member knows a higher one.
//!
//! The leader compares what the members have said of themselves (see `vitals`) with the vault's level, every
//! second. The rise is a command like any other, and a change of the membership waits for it: nobody joins
//! unasked between the comparison and the proposal.

use std::sync::Arc;
use std::time::Duration;

use toka_ledger::Reader;
use toka_ledger::apply::Outcome;
use toka_ledger::command::{Command, SetFeatureLevel};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::change::Changes;
use crate::error::ChangeError;
use crate::membership::{Membership, effective};
use crate::proposer::Proposer;
use crate::ticker::ticker;
use crate::type_config::Leader;
use crate::vitals::{StampClock, Vitals};

const INTERVAL: Duration = Duration::from_secs(1);

/// What the members know. Cheap to clone.
#[derive(Clone)]
pub(crate) struct KnownLevels {
    pub(crate) node_id: u64,
    /// What this node says that it knows.
    pub(crate) own: u32,
    pub(crate) membership: Arc<Membership>,
    pub(crate) vitals: Arc<Vitals>,
}

impl KnownLevels {
    /// The highest level that every member knows, voters and learners. `None`: not all have told this leader.
    pub(crate) fn common(&self) -> Option<u32> {
        let stored = effective(&self.membership.raft);
        let known = self.vitals.known();
        let levels = stored.membership().nodes().map(|(id, _)| {
            if *id == self.node_id {
                return Some(self.own);
            }
            known.get(id).map(|vital| vital.feature_level)
        });
        let levels: Option<Vec<u32>> = levels.collect();
        levels?.into_iter().min()
    }
}

/// The task.
pub(crate) struct LevelRaiser {
    pub(crate) levels: KnownLevels,
    pub(crate) leader: watch::Receiver<Option<Leader>>,
    pub(crate) reader: Reader,
    pub(crate) clock: StampClock,
    pub(crate) proposer: Proposer,
    pub(crate) changes: Changes,
}

impl LevelRaiser {
    pub(crate) async fn run(self, cancelled: CancellationToken) {
        let mut interval = ticker(INTERVAL);
        loop {
            tokio::select! {
                () = cancelled.cancelled() => return,
                _ = interval.tick() => {}
            }
            if let Some((leader, level)) = self.due() {
                tokio::select! {
                    () = cancelled.cancelled() => return,
                    () = self.raise(leader, level) => {}
                }
            }
        }
    }

    /// The level that the vault should be at and is not, if this node leads.
    fn due(&self) -> Option<(Leader, u32)> {
        let leader = self.leader.borrow().clone()?;
        if leader.node_id != self.levels.node_id {
            return None;
        }
        let settings = self.reader.settings().ok().flatten()?;
        let level = self.levels.common()?;
        (level > settings.feature_level).then_some((leader, level))
    }

    async fn raise(&self, leader: Leader, level: u32) {
        let what = format!("the feature level is raised to {level}");
        let (levels, clock, proposer, leaders) = (
            self.levels.clone(),
            self.clock.clone(),
            self.proposer.clone(),
            self.leader.clone(),
        );
        let raising = async move {
            // Whoever joined while this waited for its turn has been asked too, or it is not time yet.
            if levels.common().is_none_or(|common| common < level) {
                return Ok(None);
            }
            let interrupted = |error: crate::error::CommitError| ChangeError::Interrupted {
                reason: error.to_string(),
            };
            let unix_ms = clock.stamp(&leader, leaders).await.map_err(interrupted)?;
            let command = Command::SetFeatureLevel(SetFeatureLevel { unix_ms, level });
            let outcome = proposer.propose(&command).await;
            outcome.map(Some).map_err(interrupted)
        };
        let node_id = self.levels.node_id;
        match self.changes.exclusively(what, raising).await {
            Ok(Some(Outcome::Raised { level, .. })) => {
                tracing::info!(node_id, level, "the vault's feature level is raised");
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(node_id, level, %error, "the feature level is not raised yet");
            }
        }
    }
}
