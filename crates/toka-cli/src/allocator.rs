//! The allocator of the whole process: the system's, or another one for comparison.
//!
//! Most of what a node allocates is freed by another thread than made it: a request is read by one, proposed by a
//! second and applied by a third. The system's allocator takes locks for that; these do not. RocksDB's own memory is the
//! system's with all of them.
//!
//! ```sh
//! cargo build --release --workspace --bin toka --features toka-cli/mimalloc
//! ```
//!
//! jemalloc is not the default, since under libfaketime, with which clocks are tested, a program with it never starts: it waits
//! for itself while the library that was loaded before it asks for memory.

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(all(feature = "jemalloc", not(feature = "mimalloc")))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
