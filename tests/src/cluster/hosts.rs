//! Where nodes are: on loopback, or on hosts of a network.

use anyhow::{Context as _, Result};

use super::{Cluster, Node, free_addresses};
use crate::netns::Network;

impl Cluster {
    /// Makes a host for the next node, and says which that is.
    pub async fn add_host(&mut self) -> Result<u64> {
        let id = self.nodes.len() as u64 + 1;
        let network = self
            .network
            .as_mut()
            .context("the cluster is on loopback")?;
        network.add_host(id).await?;
        Ok(id)
    }

    /// The network between the nodes' hosts.
    pub fn network(&self) -> Result<&Network> {
        let network = self.network.as_ref();
        network.context("the cluster is on loopback")
    }

    /// Node `id` at its addresses.
    pub(super) fn new_node(&self, id: u64) -> Result<Node> {
        let directory = self.directory.path();
        let Some(network) = &self.network else {
            let mut node = Node::new(id, &free_addresses(self.host, 3)?, directory)?;
            if let Some(tls) = &self.tls {
                node.secure(tls)?;
            }
            return Ok(node);
        };
        let addresses = network.addresses(id)?;
        let ports = [addresses.client, addresses.raft, addresses.http];
        let mut node = Node::new(id, &ports, directory)?;
        node.behind = Some(addresses.behind);
        node.entered_by = Some(network.entry(id)?);
        Ok(node)
    }
}
