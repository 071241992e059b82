//! The allocator of the whole process.
//!
//! Most of what a node allocates is freed by another thread than made it: a request is read by one, proposed by a
//! second and applied by a third. The system's allocator takes locks for that, and puts pieces of more than a kilobyte, which
//! calls are made of, together and apart again each time; jemalloc does neither. `docs/benchmarks.md` has what that is worth.
//!
//! RocksDB's memory is the system's: jemalloc keeps its own names here. In the place of `malloc` itself, it never starts under
//! libfaketime, with which clocks are tested.
//!
//! The system's for everything:
//!
//! ```sh
//! cargo build --release --workspace --bin toka --no-default-features
//! ```

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
