//! Routing, retry and resumption against real servers on loopback whose failures are scripted.

mod clusters;
mod commits;
mod cursors;
mod groups;
mod lineage;
mod node;
mod reads;
mod streams;
mod subscriptions;
