//! Why a node does not start, and why it ends.

use std::net::SocketAddr;

use toka_raft::FatalError;

use crate::config::ConfigError;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address cannot be listened on.
    #[error("{key}: cannot listen on {address}: {source}")]
    Bind {
        /// The key of the configuration.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// The operating system's error.
        #[source]
        source: std::io::Error,
    },
    /// Certificates or keys cannot be used.
    #[error(transparent)]
    Tls(#[from] toka_tls::Error),
    /// The stores cannot be opened.
    #[error(transparent)]
    Replica(#[from] toka_raft::StartError),
    /// The cluster does not take the node.
    #[error("the cluster at {endpoint} does not add this node: {reason}")]
    Join {
        /// Who said so.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// The services' descriptions contradict each other.
    #[error("reflection cannot be offered: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Why a node ended by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The node must not go on; a restart may help or not, as the error says.
    #[error(transparent)]
    Fatal(#[from] FatalError),
    /// The cluster that the node was to form is there already, and it has no part in it.
    #[error(
        "the cluster has formed without node {node_id}, whose data directory was empty: started again, it joins it"
    )]
    FormedWithout {
        /// The node.
        node_id: u64,
    },
    /// Nobody listens any more.
    #[error("the server for {what} has ended")]
    Server {
        /// Which.
        what: &'static str,
    },
}
