//! Nodes that are restarted, come and go on purpose.

use anyhow::{Result, ensure};
use rand::seq::IndexedRandom as _;

use super::{Errand, Nemesis};
use crate::cluster::{Cluster, PATIENCE};
use crate::wait;

/// Nodes of one run, members and former ones. Each has a host, which stays.
const NODES_MAX: u64 = 150;

/// A change of the membership that has begun.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Begun {
    /// It leaves.
    old: Option<u64>,
    /// It comes.
    new: Option<u64>,
}

impl Nemesis {
    /// Begins an errand while there are faults.
    pub(super) async fn begin(&mut self, cluster: &mut Cluster, errand: Errand) -> Result<Begun> {
        if cluster.ids().len() as u64 >= NODES_MAX && errand != Errand::RollingRestart {
            return Ok(Begun::default());
        }
        match errand {
            Errand::Nothing => Ok(Begun::default()),
            Errand::RollingRestart => {
                self.rolling_restart(cluster).await?;
                Ok(Begun::default())
            }
            Errand::Replace => {
                let old = self.draw_member();
                cluster.kill(old)?;
                let new = self.come(cluster, &["--replace", &old.to_string()]).await?;
                let new = Some(new);
                let old = Some(old);
                Ok(Begun { old, new })
            }
            Errand::RemoveAndAdd => {
                let old = self.draw_member();
                let id = old.to_string();
                // Repeated, it is done already: it may have been, though its answer got lost.
                wait::until("a node is removed", PATIENCE, async || {
                    let ran = cluster.toka().run(&["cluster", "remove", &id]).await?;
                    ensure!(ran.code == Some(0), "{ran:?}");
                    Ok(())
                })
                .await?;
                // Then the new one does not ask it.
                cluster.has_ended_removed(old).await?;
                let new = Some(self.come(cluster, &[]).await?);
                let old = Some(old);
                Ok(Begun { old, new })
            }
        }
    }

    /// Waits for the end of what has begun, once the faults are over.
    pub(super) async fn finish(&mut self, cluster: &mut Cluster, begun: Begun) -> Result<()> {
        let Begun { old, new } = begun;
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
