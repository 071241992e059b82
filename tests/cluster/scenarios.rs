//! What has gone wrong elsewhere: each test is one failure that etcd's robustness suite or an analysis of
//! JetStream has shown. docs/scenarios.md lists all of them, with the tests of other modules that show the
//! rest.

mod minority;
mod partition;
mod power_cut;
mod watch;
