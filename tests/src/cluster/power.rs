//! Nodes whose power is cut.

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use super::Cluster;
use crate::power::{self, Lost, Syncs};

/// Written again and again in its place, after each sync and never synced. It keeps its newest content: then
/// a frame that it names too early is found.
const KEPT: [&str; 1] = ["mark"];

impl Cluster {
    /// Lets strace record what the nodes sync, from the next start of each on, so that
    /// [`Cluster::cut_power`] can be called.
    pub fn record_syncs(&mut self, syncs: Syncs) {
        for node in &mut self.nodes {
            node.syncs = Some(syncs);
        }
    }

    /// SIGKILL to these nodes at once; then what they had not synced is gone.
    pub async fn cut_power(&mut self, ids: &[u64]) -> Result<Lost> {
        for id in ids {
            self.process(*id)?.signal(Signal::KILL)?;
        }
        let mut lost = Lost::default();
        for id in ids {
            let mut process = self.take_process(*id)?;
            process.kill()?;
            let node = self.node(*id);
            let cut = power::lose_unsynced(process.id(), &node.record(), &node.data, &KEPT).await;
            let cut = cut.with_context(|| format!("node {id}"))?;
            println!(
                "node {id}: {} bytes and {} names were not synced",
                cut.bytes, cut.names
            );
            lost.bytes += cut.bytes;
            lost.names += cut.names;
        }
        Ok(lost)
    }
}
