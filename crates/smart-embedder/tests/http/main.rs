//! The encoder and the summarizer that ask a server, against a local one.

mod chat;
mod embeddings;
mod failures;
mod server;
