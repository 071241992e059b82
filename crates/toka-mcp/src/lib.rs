//! A vault for agents that speak the Model Context Protocol: tools to commit, read, search and claim, and resources for
//! events and intents, over standard input and output or over streamable HTTP.
//!
//! ```text
//! stdio, http -> server -> tools, resources -> vaults, meaning, answer -> error
//! ```
//!
//! Invariants: a call can do what whoever makes it may do in the vault, and this process lends it nothing over HTTP;
//! every answer has a bound, and says what was left out; a tool that fails says with which code, and whether it may be
//! called again; nothing but the protocol is written to standard output. This crate knows nothing of storage, of Raft or
//! of command lines.

#![deny(missing_docs)]

mod answer;
mod error;
pub mod http;
mod meaning;
mod resources;
mod server;
mod stdio;
mod tools;
mod vaults;

pub use crate::error::ToolError;
pub use crate::meaning::{Meaning, Wanted};
pub use crate::server::Server;
pub use crate::stdio::{StdioError, serve as serve_stdio};
pub use crate::vaults::Vaults;
