//! A deterministic simulation of whole clusters: real replicas, openraft and gRPC in one thread, on a network, disks,
//! clocks and randomness that come from a seed; things go wrong all the time, and an oracle watches.
//!
//! ```text
//! main -> runs -> cluster -> nemesis -> host -> network, outside -> interpose
//!                         -> client, consumer, streamer, warden, membership -> hand -> oracle, rights -> trace
//! ```
//!
//! Only a build with `--cfg simulation` has it (`cargo xtask simulate`): what that cfg changes in the product is
//! that blocking work runs in place, and that five bugs can be switched on.

#[cfg(simulation)]
mod client;
#[cfg(simulation)]
mod cluster;
#[cfg(simulation)]
mod consumer;
#[cfg(simulation)]
mod fault;
#[cfg(simulation)]
mod hand;
#[cfg(simulation)]
mod host;
#[cfg(simulation)]
mod interpose;
#[cfg(simulation)]
mod membership;
#[cfg(simulation)]
mod nemesis;
#[cfg(simulation)]
mod network;
#[cfg(simulation)]
mod oracle;
#[cfg(simulation)]
mod outside;
#[cfg(simulation)]
mod random;
#[cfg(simulation)]
mod rights;
#[cfg(simulation)]
mod runs;
#[cfg(simulation)]
mod streamer;
#[cfg(simulation)]
mod trace;
#[cfg(simulation)]
mod warden;

use std::process::ExitCode;

#[cfg(simulation)]
fn main() -> ExitCode {
    runs::main()
}

#[cfg(not(simulation))]
fn main() -> ExitCode {
    eprintln!("this build is not one for the simulation: run `cargo xtask simulate`");
    ExitCode::FAILURE
}
