//! What programs have in common that are clients of a cluster and serve others: who may reach them, and as whom the vault
//! sees those who do.
//!
//! ```text
//! listeners -> exposure, certificate, incoming -> error; callers; bodies
//! ```
//!
//! Invariants: what can be reached from other machines has TLS and is before a vault that asks who is calling, unless
//! somebody has said that it need not; a caller's client has that caller's token and nothing of this process; connections
//! and clients that are kept have a bound, so have bodies that are read, and so has the time in which a connection says
//! nothing at its beginning or takes nothing of what it is sent. This crate knows nothing of what is said over a connection.

#![deny(missing_docs)]

mod bodies;
mod callers;
mod certificate;
mod error;
mod exposure;
mod incoming;
mod listeners;

pub use crate::bodies::{Bodies, BodyError, Room};
pub use crate::callers::{Callers, bearer};
pub use crate::certificate::TlsFiles;
pub use crate::error::Error;
pub use crate::listeners::{Listeners, Settings};
