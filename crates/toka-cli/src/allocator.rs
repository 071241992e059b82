//! The allocator of the whole process.
//!
//! Most of what a node allocates is freed by another thread than made it: a request is read by one, proposed by a
//! second and applied by a third. The system's allocator takes locks for that. These do not, and both stand in for
//! `malloc` as well, so that RocksDB's memory is theirs too. jemalloc is what RocksDB recommends, and gives what is free
//! back to the system while the process is idle (its own thread does that), so that the resident memory in the metrics
//! says what is used. Another one for comparison:
//!
//! ```sh
//! cargo build --release -p toka-cli --no-default-features --features mimalloc
//! ```

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(all(feature = "jemalloc", not(feature = "mimalloc")))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
