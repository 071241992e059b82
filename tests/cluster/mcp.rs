//! `toka mcp`, driven by clients of the protocol.

mod conformance;
mod http;
mod official;
mod stdio;
