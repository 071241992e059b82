//! See `toka_fuzz::raft_codec`.

#![no_main]

toka_fuzz::target!(raft_codec);
