//! Harness for cluster tests: real `toka` processes on loopback.
//!
//! Every cluster has a loopback address of its own (127.x.y.z), so that a port which the system
//! gave out once cannot be taken by anybody's outgoing connection while a node is down. What was
//! started is stopped by process id. A test that fails prints the end of each node's log and keeps
//! the nodes' directories.

pub mod cluster;
pub mod command;
pub mod history;
pub mod load;
pub mod process;
pub mod python;
pub mod raft_log;
pub mod request;
pub mod seed;
pub mod slot;
pub mod wait;
