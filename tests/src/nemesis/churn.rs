//! What is done on purpose: nodes that are restarted, come and go, tokens and roles that are changed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::seq::IndexedRandom as _;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::credentials::Granted;
use super::{Errand, Nemesis};
use crate::cluster::{Cluster, PATIENCE};
use crate::command::Toka;

/// Nodes of one run, members and former ones. Each has a host, which stays.
const NODES_MAX: usize = 150;
/// Between two requests to remove a node.
const PAUSE: Duration = Duration::from_millis(200);

/// An errand that has begun.
#[derive(Debug, Default)]
pub(super) struct Begun {
    /// It leaves.
    old: Option<u64>,
    /// It comes.
    new: Option<u64>,
    /// Who asks for the removal of `old`.
    removal: Option<JoinHandle<Result<()>>>,
    /// Who asks for tokens and roles.
    grants: Option<JoinHandle<Result<Granted>>>,
}

/// Whether one more node can come.
pub(super) fn has_room(cluster: &Cluster) -> bool {
    cluster.ids().len() < NODES_MAX
}

impl Nemesis {
    /// Begins an errand while there are faults. Changes of the membership, and of tokens and roles, are only begun:
    /// whether they are done before the faults are over depends on who reaches whom.
    pub(super) async fn begin(&mut self, cluster: &mut Cluster, errand: Errand) -> Result<Begun> {
        let mut begun = Begun::default();
        match errand {
            Errand::Nothing => {}
            Errand::RollingRestart => self.rolling_restart(cluster).await?,
            Errand::Replace => {
                let old = self.draw_member();
                cluster.kill(old)?;
                begun.old = Some(old);
                begun.new = Some(self.come(cluster, &["--replace", &old.to_string()]).await?);
            }
            Errand::Add => begun.new = Some(self.come(cluster, &[]).await?),
            Errand::Remove => {
                let old = self.draw_member();
                begun.old = Some(old);
                begun.removal = Some(tokio::spawn(remove(cluster.toka(), old)));
            }
            Errand::Credentials => {
                let members = self.members().into_iter();
                let endpoints = members.map(|id| cluster.node(id).endpoint()).collect();
                let number = self.granted.len() as u64;
                begun.grants = Some(tokio::spawn(Granted::ask(endpoints, number)));
            }
        }
        Ok(begun)
    }

    /// Waits for the end of what has begun, once the faults are over.
    pub(super) async fn finish(&mut self, cluster: &mut Cluster, begun: Begun) -> Result<()> {
        let Begun {
            old,
            new,
            removal,
            grants,
        } = begun;
        if let Some(grants) = grants {
            let granted = grants.await.context("who asks for tokens panicked")??;
            // No small future.
            Box::pin(granted.is_on_every_node(cluster)).await?;
            self.granted.push(granted);
        }
        if let Some(removal) = removal {
            removal.await.context("who removes a node panicked")??;
        }
        if let Some(new) = new {
            cluster
                .logs(new, "this node has joined the cluster")
                .await?;
        }
        if let Some(old) = old {
            if cluster.running().contains(&old) {
                cluster.has_ended_removed(old).await?;
            }
            // Its disk goes with it.
            self.places.remove(&old);
        }
        if old.is_some() || new.is_some() {
            cluster.has_members(&self.members(), &[]).await?;
        }
        Ok(())
    }

    fn draw_member(&mut self) -> u64 {
        let members = self.members();
        let member = members.choose(&mut self.rng);
        *member.expect("a cluster has members")
    }

    /// Starts one more node, which joins as soon as it can.
    async fn come(&mut self, cluster: &mut Cluster, arguments: &[&str]) -> Result<u64> {
        cluster.add_host().await?;
        let id = cluster.prepare_joining(arguments)?;
        self.settle(cluster, id).await?;
        cluster.launch(id)?;
        Ok(id)
    }
}

/// Has node `id` removed, however often that takes. Repeated, it is done already: it may have been, though its answer
/// got lost.
async fn remove(toka: Toka, id: u64) -> Result<()> {
    let (started, id) = (Instant::now(), id.to_string());
    loop {
        let ran = toka.run(&["cluster", "remove", &id]).await?;
        if ran.code == Some(0) {
            return Ok(());
        }
        ensure!(
            started.elapsed() < 2 * PATIENCE,
            "node {id} is not removed: {ran:?}"
        );
        sleep(PAUSE).await;
    }
}
