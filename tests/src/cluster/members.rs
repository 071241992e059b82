//! Nodes that come and go while the cluster works.

use anyhow::{Context as _, Result, ensure};
use toka_client::ClusterStatus;
use toka_proto::v1;

use super::{Cluster, PATIENCE};
use crate::command::Toka;
use crate::{process, wait};

/// Exit code of a node that was removed.
const REMOVED: i32 = 7;

impl Cluster {
    /// Sets up one more node, which joins through a node that runs, with further arguments. It is given
    /// the next id, if the tests lets nodes join one after the other. Starts nothing.
    pub fn prepare_joining(&mut self, arguments: &[&str]) -> Result<u64> {
        let id = self.nodes.len() as u64 + 1;
        let mut node = self.new_node(id)?;
        let endpoints = self.endpoints_of_running();
        ensure!(!endpoints.is_empty(), "no node runs");
        let mut joins_with = vec!["--join".to_owned(), endpoints.join(",")];
        joins_with.extend(arguments.iter().map(|&argument| argument.to_owned()));
        node.joins_with = Some(joins_with);
        self.nodes.push(node);
        Ok(id)
    }

    /// Starts one more node, which joins; returns its id once it has it.
    pub async fn join(&mut self, arguments: &[&str]) -> Result<u64> {
        let id = self.prepare_joining(arguments)?;
        self.launch(id)?;
        self.logs(id, "this node has joined the cluster").await?;
        let wanted = format!("node_id={id} ");
        let log = self.log(id);
        let joined = log
            .lines()
            .find(|line| line.contains("this node has joined"));
        let joined = joined.context("it has not joined")?;
        ensure!(joined.contains(&wanted), "it is not node {id}: {joined}");
        Ok(id)
    }

    /// Waits until node `id` has logged `text`.
    pub async fn logs(&self, id: u64, text: &str) -> Result<()> {
        wait::until(text, PATIENCE, async || {
            ensure!(
                self.log(id).contains(text),
                "node {id} has not logged {text:?}: {}",
                process::tail(&self.node(id).log)
            );
            Ok(())
        })
        .await
    }

    /// The cluster, as any node that runs sees it.
    pub async fn seen(&self) -> Result<ClusterStatus> {
        let mut last = anyhow::anyhow!("no node runs");
        for id in self.running() {
            match self.status(id).await {
                Ok(status) => return Ok(status),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The newest feature level that each member says it knows, by their ids, as the cluster has heard of it.
    pub async fn known_levels(&self) -> Result<Vec<Option<u32>>> {
        let members = self.seen().await?.membership.members;
        Ok(members.iter().map(|member| member.feature_level).collect())
    }

    /// Waits until the cluster has heard that its members, by their ids, know these feature levels.
    pub async fn has_known_levels(&self, wanted: &[u32]) -> Result<()> {
        let wanted: Vec<_> = wanted.iter().copied().map(Some).collect();
        wait::until("what the members know", PATIENCE, async || {
            let known = self.known_levels().await?;
            ensure!(known == wanted, "{known:?}, wanted {wanted:?}");
            Ok(())
        })
        .await
    }

    /// Waits until the cluster has these voters and learners and nothing is under way.
    pub async fn has_members(&self, voters: &[u64], learners: &[u64]) -> Result<v1::Membership> {
        wait::until("the members", PATIENCE, async || {
            let status = self.seen().await?;
            ensure!(status.leader_id.is_some(), "there is no leader");
            let membership = status.membership;
            let sets: Vec<_> = membership
                .voter_sets
                .iter()
                .map(|set| &set.node_ids)
                .collect();
            ensure!(sets == [voters], "voters: {sets:?}, wanted {voters:?}");
            let others = membership.members.iter().filter(|member| !member.voter);
            let others: Vec<_> = others.map(|member| member.node_id).collect();
            ensure!(
                others == learners,
                "learners: {others:?}, wanted {learners:?}"
            );
            Ok(membership)
        })
        .await
    }

    /// Waits until node `id`, which was removed, has ended by itself and said so.
    pub async fn has_ended_removed(&mut self, id: u64) -> Result<()> {
        let status = self.take_process(id)?.wait(PATIENCE).await?;
        ensure!(
            status.code() == Some(REMOVED),
            "node {id} ended with {status}: {}",
            process::tail(&self.node(id).log)
        );
        let log = self.log(id);
        ensure!(
            log.contains("was removed from its cluster"),
            "node {id} does not say why it has ended"
        );
        Ok(())
    }

    /// The leader, as some node that runs sees it: others may still be on their way.
    pub async fn leader_of_running(&self) -> Result<u64> {
        wait::until("a leader", PATIENCE, async || {
            let leader = self.seen().await?.leader_id.context("there is none")?;
            ensure!(
                self.running().contains(&leader),
                "leader {leader} does not run"
            );
            Ok(leader)
        })
        .await
    }

    /// Client endpoints of the nodes that run.
    pub fn endpoints_of_running(&self) -> Vec<String> {
        let running = self.running();
        running.iter().map(|id| self.node(*id).endpoint()).collect()
    }

    /// A user of `toka` who knows the nodes that run.
    pub fn toka(&self) -> Toka {
        let toka = Toka::with_endpoints(self.directory(), &self.endpoints_of_running());
        let Some(tls) = &self.tls else {
            return toka;
        };
        let files = [
            ("TOKA_CA", &tls.ca),
            ("TOKA_CERT", &tls.certificate),
            ("TOKA_KEY", &tls.key),
        ];
        let given = files
            .into_iter()
            .filter_map(|(name, path)| Some((name, path.as_ref()?)));
        given.fold(toka, |toka, (name, path)| {
            toka.with_variable(name, &path.display().to_string())
        })
    }
}
