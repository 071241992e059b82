//! Nodes in one process, spoken to over loopback.

#[path = "../support/mod.rs"]
mod support;

mod coordination;
mod fell_behind;
mod http;
mod lifecycle;
mod lineage;
mod peers;
mod reads;
mod routing;
mod streams;
mod verify;
