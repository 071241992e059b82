//! Typed client of a vault's cluster.
//!
//! ```no_run
//! use toka_client::{Client, EventDraft, Start, Subscribe};
//!
//! # async fn example() -> Result<(), toka_client::Error> {
//! let client = Client::connect(["127.0.0.1:7311", "127.0.0.1:7321"]).await?;
//! let login = client.commit(EventDraft::new("auth.login").payload("alice")).await?;
//! let mut events = client.subscribe(Subscribe::from(Start::Beginning)).await?;
//! let first = events.next_event().await?;
//! assert_eq!(first.header.kind, login.kind);
//! # Ok(())
//! # }
//! ```
//!
//! Invariants: commits go to the leader where it is known, and elsewhere any node forwards them;
//! every call is retried, on other nodes, with backoff, up to its deadline; a commit keeps its salts
//! over all retries, so that it is applied once; a subscription delivers each match once and in order,
//! over any number of nodes that die under it. This crate knows nothing of storage or of Raft.

#![deny(missing_docs)]

mod call;
mod channel;
mod cluster;
mod commit;
mod commit_stream;
mod config;
mod error;
mod read;
mod retry;
mod routes;
mod subscribe;

use std::sync::Arc;

use tokio::time::{Duration, Instant};
pub use toka_ledger::command::Precondition;
pub use toka_ledger::feed::Start;
pub use toka_ledger::prepare::EventDraft;
pub use toka_ledger::{EventHeader, Filter, Selector, Stored};
pub use toka_proto::convert::cluster::{ClusterStatus, NodeStatus};
pub use toka_proto::convert::event::StoredEvent;
pub use toka_proto::convert::metadata::Leader;
pub use toka_proto::convert::read::Header;

pub use crate::channel::{TcpTransport, Transport};
pub use crate::commit::Committed;
pub use crate::commit_stream::{Acknowledgement, CommitStream};
pub use crate::config::{Builder, Config};
pub use crate::error::Error;
pub use crate::read::{Consistency, Include, List, Page, Read};
pub use crate::subscribe::{Message, Subscribe, Subscription};

/// A vault's cluster; cheap to clone, clones share connections and what is known of the leader.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<call::Shared>,
    timeout: Duration,
}

impl Client {
    /// A client of the cluster that these endpoints (`host:port`) belong to, with the defaults of
    /// [`Config`]. Connects when it is used.
    ///
    /// # Errors
    /// [`Error::NoEndpoints`], [`Error::Endpoint`].
    pub async fn connect<E: Into<String>>(
        endpoints: impl IntoIterator<Item = E>,
    ) -> Result<Self, Error> {
        Self::builder().connect(endpoints).await
    }

    /// A client with other settings.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The same client with another deadline for its calls, retries included.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// Endpoints that the client was given, as `host:port`.
    #[must_use]
    pub fn endpoints(&self) -> &[String] {
        self.shared.routes.endpoints()
    }

    /// The leader, as far as replies have named it.
    #[must_use]
    pub fn leader(&self) -> Option<Leader> {
        self.shared.routes.leader()
    }

    /// The highest revision that a reply has shown; what [`Consistency::ReadYourWrites`] asks for.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.shared.seen.revision()
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }
}
