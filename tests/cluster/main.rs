//! Scenarios on clusters of real processes.

mod claims;
mod cli;
mod crashes;
mod damaged_log;
mod dev;
mod embedding;
mod errors;
mod exit_codes;
mod foreign_client;
mod forming;
mod import_export;
mod intent_quality;
mod intents;
mod quorum_loss;
mod reads;
mod snapshot_catch_up;
mod subscriptions;
mod termination;
mod web;
