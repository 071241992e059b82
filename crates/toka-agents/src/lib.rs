//! Agents that keep no private state: what they know is folded from a vault's events, and what they do is committed to it.
//!
//! An [`Agent`] says which events it wants, folds them into a state, and reacts to them with new ones. A [`Runner`] hands
//! the events over in order, and commits what the agent answers together with the move of its cursor (or the
//! acknowledgement of its group): both, or neither. So whatever a crash interrupts is done again from the start, and whatever
//! was done is not done again, also where the handler would answer something else the second time.
//!
//! ```
//! use std::sync::Arc;
//!
//! use serde::{Deserialize, Serialize};
//! use toka_agents::{
//!     Agent, Context, Event, HandlerError, Interests, NewEvent, Reaction, Runner, Settings,
//! };
//! use toka_ledger::VaultBus;
//! use tokio_util::sync::CancellationToken;
//!
//! /// Counts logins, and welcomes every hundredth.
//! struct Greeter;
//!
//! #[derive(Default, Serialize, Deserialize)]
//! struct Logins(u64);
//!
//! impl Agent for Greeter {
//!     type State = Logins;
//!
//!     fn interests(&self) -> Interests {
//!         Interests::kinds(["auth.login"])
//!     }
//!
//!     fn apply(state: &mut Logins, _event: &Event) {
//!         state.0 += 1;
//!     }
//!
//!     async fn handle(
//!         &self,
//!         state: &Logins,
//!         _event: &Event,
//!         _context: &mut Context,
//!     ) -> Result<Reaction, HandlerError> {
//!         Ok(match state.0 % 100 {
//!             0 => Reaction::none().emit(NewEvent::new("greeting").payload(&state.0)),
//!             _ => Reaction::none(),
//!         })
//!     }
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let vault = VaultBus::builder().open_in_memory()?;      // or a `toka_client::Client`
//! for number in 1..=200_u64 {
//!     vault.event("auth.login").payload(&number).commit().await?;
//! }
//! let runner = Runner::new(Greeter, Arc::new(vault.clone()), Settings::new("greeter")?)?;
//! runner.run_until(200, &CancellationToken::new()).await?;
//! assert_eq!(vault.position().sequence, 202);
//! # Ok(())
//! # }
//! ```
//!
//! Invariants: an event is reacted to once with respect to the vault, whoever dies when; events are handed over in order;
//! what a handler depends on beside its state and its event is recorded in the commit of its reaction, and can be served
//! again ([`replay()`]); the chain of a claim never forks ([`claims`]); every queue, retry and record has a bound. This crate
//! knows vaults through [`Store`] alone, and knows nothing of supervision, of schedules or of models.

#![deny(missing_docs)]

mod agent;
mod batch;
mod blob;
pub mod claims;
mod context;
mod embed;
mod error;
mod event;
mod fold;
mod metrics;
mod projection;
mod reaction;
pub mod record;
mod replay;
mod retry;
mod runner;
mod settings;
mod snapshot;
mod step;
pub mod store;

pub use crate::agent::{Agent, Interests};
pub use crate::batch::Batch;
pub use crate::blob::Blob;
pub use crate::context::{Context, INPUT_BYTES_MAX, INPUTS_MAX, Input, Reason, Refusal};
pub use crate::embed::Embedder;
#[cfg(feature = "smart-embedder")]
pub use crate::embed::Smart;
pub use crate::error::{BoxError, Error, HandlerError};
pub use crate::event::{Event, PayloadError};
pub use crate::fold::Fold;
pub use crate::metrics::{Counters, Metrics};
pub use crate::projection::{Projection, ProjectionError};
pub use crate::reaction::{Effect, NewEvent, REACTION_CLAIMS_MAX, REACTION_ITEMS_MAX, Reaction};
pub use crate::replay::{Replayed, replay};
pub use crate::retry::RetryPolicy;
pub use crate::runner::{Ended, Runner};
pub use crate::settings::{
    Begin, GROUP_AHEAD_MAX, GroupSource, NAME_BYTES_MAX, READ_AHEAD_MAX, Settings, Source,
};
pub use crate::snapshot::STATE_BYTES_MAX;
pub use crate::step::{NoProbe, Probe, Step};
pub use crate::store::{Store, StoreError};
