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
//! over any number of nodes that die under it; a client keeps to the cluster of its first reply, which every call names,
//! so that a node of another one does nothing; a consumer of a group goes on with whichever node there is; a client that
//! speaks TLS with one node speaks it with all, also with those whose addresses replies have told. This crate
//! knows nothing of storage or of Raft.
//!
//! With the feature `opentelemetry` every try of a call has a span, by the provider that the process has set for all of
//! OpenTelemetry, below the span that is current; the node that is called is told the trace.

#![deny(missing_docs)]

mod auth;
mod backup;
mod bearer;
mod call;
mod change;
mod channel;
mod client;
mod cluster;
mod commit;
mod commit_stream;
mod config;
mod continued;
mod cursors;
mod encoded;
mod error;
mod groups;
mod intents;
mod lineage;
mod pages;
mod pin;
mod read;
mod reply;
mod retry;
mod routes;
mod seen;
mod subscribe;
mod tls;
mod verify;

pub use toka_ledger::command::{Precondition, Verdict};
pub use toka_ledger::credentials::{Action, Grant, Limits as TokenLimits, Role, TokenId};
pub use toka_ledger::feed::Start;
pub use toka_ledger::group::{
    Changes as GroupChanges, Group, ItemState, Settings as GroupSettings, SettleOutcome,
};
pub use toka_ledger::intent::{Classification, IntentId, MicroClusterId, Summary};
pub use toka_ledger::prepare::EventDraft;
pub use toka_ledger::read::lineage::{Relation, Relative};
pub use toka_ledger::{
    ConsumerName, CursorName, EventHeader, Filter, GroupName, PrincipalName, RoleName, Selector,
    Stored,
};
pub use toka_proto::convert::auth::{NewToken, TokenInfo};
pub use toka_proto::convert::backup as copy;
pub use toka_proto::convert::cluster::{ClusterStatus, NodeStatus};
pub use toka_proto::convert::coordination::Token;
pub use toka_proto::convert::event::StoredEvent;
pub use toka_proto::convert::metadata::Leader;
pub use toka_proto::convert::read::Header;
pub use toka_proto::convert::verify as verification;
pub use tonic::Code;

pub use crate::auth::{CredentialKind, Identity, Issued};
pub use crate::backup::{Backup, CreateBackup};
pub use crate::bearer::Bearer;
pub use crate::channel::{TcpTransport, Transport};
pub use crate::client::{Builder, Client};
pub use crate::commit::Committed;
pub use crate::commit_stream::{Acknowledgement, CommitStream};
pub use crate::config::Config;
pub use crate::error::Error;
pub use crate::groups::{
    Consume, Delivery, GroupConsumer, GroupStart, OutstandingEvent, ParkedEvent, Pull,
};
pub use crate::intents::{Found, Hit, Intent, Search};
pub use crate::lineage::{CommonAncestors, Difference, HeadsPage, Lineage, Walk, WalkEnd};
pub use crate::read::{Consistency, Include, List, Page, Read};
pub use crate::subscribe::{Message, Subscribe, Subscription};
pub use crate::tls::Tls;
pub use crate::verify::{Verification, Verify};
