//! See `toka_fuzz::raft_segments`.

#![no_main]

toka_fuzz::target!(raft_segments);
