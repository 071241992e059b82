//! The allocator of the whole process: the system's, or another one for comparison.
//!
//! Most of what a node allocates is freed by another thread than made it: a request is read by one, proposed by a
//! second and applied by a third. The system's allocator takes locks for that; mimalloc does not. RocksDB's own memory is the
//! system's with both.
//!
//! ```sh
//! cargo build --release --workspace --bin toka --features toka-cli/mimalloc
//! ```
//!
//! Not jemalloc: under libfaketime, with which clocks are tested, a program with it never starts.

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
