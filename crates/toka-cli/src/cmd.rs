//! One module per command.

pub(crate) mod agent;
pub(crate) mod auth;
pub(crate) mod backup;
pub(crate) mod bench;
pub(crate) mod cluster;
pub(crate) mod commit;
pub(crate) mod context;
pub(crate) mod cursor;
pub(crate) mod debug;
pub(crate) mod dev;
pub(crate) mod export;
pub(crate) mod group;
pub(crate) mod import;
pub(crate) mod intents;
pub(crate) mod lineage;
pub(crate) mod mcp;
pub(crate) mod otel;
pub(crate) mod read;
pub(crate) mod reembed;
pub(crate) mod restore;
pub(crate) mod serve;
pub(crate) mod shell;
pub(crate) mod verify;
pub(crate) mod watch;
