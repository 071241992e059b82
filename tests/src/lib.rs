//! Harness for cluster tests: real `toka` processes on loopback.
//!
//! Every cluster has a loopback address of its own (127.x.y.z), so that a port which the system
//! gave out once cannot be taken by anybody's outgoing connection while a node is down. What was
//! started is stopped by process id. A test that fails prints the end of each node's log and keeps
//! the nodes' directories.

pub mod bystander;
pub mod clock;
pub mod cluster;
pub mod collector;
pub mod command;
pub mod consumers;
pub mod follow;
pub mod history;
pub mod linearizable;
pub mod load;
pub mod mcp;
pub mod nemesis;
pub mod netns;
pub mod nodejs;
pub mod otel;
pub mod power;
pub mod process;
pub mod promtool;
pub mod proxy;
pub mod python;
pub mod raft_log;
pub mod request;
pub mod scrape;
pub mod secured;
pub mod seed;
pub mod slot;
pub mod slow_disk;
pub mod small_disk;
pub mod tls;
pub mod traffic;
pub mod wait;
pub mod work;

/// The directory of this package as of now, not as of when it was compiled: a target directory may be
/// used by clones at several places.
///
/// # Panics
/// If it is not called from a test that cargo runs.
#[must_use]
pub fn manifest_dir() -> std::path::PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR")
        .expect("cargo sets it")
        .into()
}
