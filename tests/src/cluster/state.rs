//! What nodes say of themselves.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use toka_client::{ClusterStatus, NodeStatus};
use toka_ledger::Digest;
use toka_proto::v1;

use super::{Cluster, PATIENCE};
use crate::{request, wait};

/// How long a node may take to describe the cluster; it waits for those that are down.
const STATUS_TIMEOUT: Duration = Duration::from_secs(10);

/// One node, as it sees itself.
#[derive(Clone, Debug)]
pub struct NodeState {
    /// Its cluster.
    pub cluster_id: u128,
    /// Root of its history.
    pub history_root: Digest,
    /// Chain over everything that it has applied.
    pub state_digest: Digest,
    /// The rest.
    pub node: v1::NodeStatus,
}

impl Cluster {
    /// The cluster, as node `id` sees it.
    pub async fn status(&self, id: u64) -> Result<ClusterStatus> {
        let request = request::within(STATUS_TIMEOUT, v1::GetStatusRequest::default());
        let status = self.node(id).cluster().get_status(request).await?;
        Ok(status.into_inner().try_into()?)
    }

    /// Node `id`, as it sees itself.
    pub async fn state(&self, id: u64) -> Result<NodeState> {
        let status = self.status(id).await?;
        let cluster_id = status.header.cluster_id;
        let own = status
            .nodes
            .into_iter()
            .find(|other| other.node.node_id == id);
        let own = own.with_context(|| format!("node {id} does not list itself"))?;
        let NodeStatus {
            history_root,
            state_digest,
            node,
        } = own;
        Ok(NodeState {
            cluster_id,
            history_root: history_root.context("no history root")?,
            state_digest: state_digest.context("no state digest")?,
            node,
        })
    }

    /// Waits until the cluster raises an alarm of this kind for node `id`, or does so no more.
    pub async fn has_alarm(&self, kind: &str, id: u64, is_raised: bool) -> Result<()> {
        wait::until(kind, PATIENCE, async || {
            let status = self
                .toka()
                .json(&["cluster", "status", "-o", "json"])
                .await?;
            let alarms = status[0]["alarms"].as_array().context("alarms")?;
            let is_it = |alarm: &&Value| alarm["kind"] == kind && alarm["node_id"] == id;
            let found = alarms.iter().find(is_it);
            ensure!(found.is_some() == is_raised, "{alarms:?}");
            Ok(())
        })
        .await
    }

    /// Waits until there is a leader, and makes it hand over if it is node `id`.
    pub async fn led_by_another_than(&self, id: u64) -> Result<()> {
        if self.leader().await? != id {
            return Ok(());
        }
        let others = self.running().into_iter().find(|other| *other != id);
        let to = others.context("no other node runs")?.to_string();
        self.toka()
            .ok(&["cluster", "transfer", "--to", &to])
            .await?;
        Ok(())
    }

    /// Waits until all nodes that run follow the same leader, one of them, and names it.
    pub async fn leader(&self) -> Result<u64> {
        wait::until("one leader", PATIENCE, async || {
            let mut leaders = Vec::new();
            for id in self.running() {
                let node = self
                    .state(id)
                    .await
                    .with_context(|| format!("node {id}"))?
                    .node;
                ensure!(node.healthy, "node {id} is not healthy: {}", node.reason);
                leaders.push(node.leader_id);
            }
            let leader = leaders
                .first()
                .copied()
                .flatten()
                .context("there is none")?;
            ensure!(
                leaders.iter().all(|other| *other == Some(leader)),
                "{leaders:?}"
            );
            ensure!(
                self.running().contains(&leader),
                "leader {leader} does not run"
            );
            Ok(leader)
        })
        .await
    }

    /// The nodes that run, but for the leader.
    pub async fn followers(&self) -> Result<Vec<u64>> {
        let leader = self.leader().await?;
        Ok(self
            .running()
            .into_iter()
            .filter(|&id| id != leader)
            .collect())
    }

    /// Waits until these nodes have come to the same position with the same digests.
    pub async fn converged_as(&self, ids: &[u64]) -> Result<()> {
        let last = self.running().len() == ids.len();
        ensure!(last, "{:?} run, not {ids:?}", self.running());
        wait::until("the same state", PATIENCE, async || {
            let mut states = Vec::new();
            for id in self.running() {
                let status = self.status(id).await?;
                let own = status
                    .nodes
                    .iter()
                    .find(|node| node.node.client_endpoint == self.node(id).endpoint());
                let own = own.context("it does not list itself")?;
                states.push((own.history_root, own.state_digest, own.node.revision));
            }
            ensure!(
                states.windows(2).all(|pair| pair[0] == pair[1]),
                "{states:?}"
            );
            Ok(())
        })
        .await
    }

    /// Waits until all nodes that run have applied the same commands, at least up to `sequence`, and
    /// checks that they have come to the same digests. Nothing may be committed meanwhile.
    pub async fn converged(&self, sequence: u64) -> Result<Vec<NodeState>> {
        let states = wait::until("the same revision everywhere", PATIENCE, async || {
            let mut states = Vec::new();
            for id in self.running() {
                states.push(self.state(id).await.with_context(|| format!("node {id}"))?);
            }
            let revisions: Vec<_> = states
                .iter()
                .map(|s| (s.node.node_id, s.node.revision, s.node.sequence))
                .collect();
            let first = revisions.first().context("no node runs")?;
            ensure!(
                revisions
                    .iter()
                    .all(|other| other.1 == first.1 && other.2 >= sequence),
                "(node, revision, sequence), up to {sequence} wanted: {revisions:?}"
            );
            Ok(states)
        })
        .await?;
        for pair in states.windows(2) {
            let (one, other) = (&pair[0], &pair[1]);
            let ids = (one.node.node_id, other.node.node_id);
            ensure!(
                one.cluster_id == other.cluster_id,
                "nodes {ids:?}: other clusters"
            );
            ensure!(
                one.node.sequence == other.node.sequence,
                "nodes {ids:?}: other sequences"
            );
            ensure!(
                one.history_root == other.history_root,
                "nodes {ids:?}: other history roots"
            );
            ensure!(
                one.state_digest == other.state_digest,
                "nodes {ids:?}: other state digests"
            );
        }
        Ok(states)
    }
}
