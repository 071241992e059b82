//! What `build.rs` made of `proto/`; modules are nested as packages are, since one refers to the other.

#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::unwrap_used
)]

pub mod toka {
    pub mod raft {
        pub mod v1 {
            tonic::include_proto!("toka.raft.v1");
        }
    }
    pub mod vault {
        pub mod v1 {
            tonic::include_proto!("toka.vault.v1");
        }
    }
}
