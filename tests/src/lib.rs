//! Harness for cluster tests: real `toka` processes on loopback.
//!
//! Every cluster has a loopback address of its own (127.x.y.z), so that a port which the system
//! gave out once cannot be taken by anybody's outgoing connection while a node is down. What was
//! started is stopped by process id.

pub mod cluster;
pub mod history;
pub mod process;
pub mod wait;
