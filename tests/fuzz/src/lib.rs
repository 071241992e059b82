//! What the fuzz targets do with their inputs. `docs/fuzzing.md` says what each is for.
//!
//! Each module is a target: `run` takes any bytes and panics where a promise is broken, `seeds` gives the inputs to
//! begin with, made by the product's own encoders. They are in `corpus/TARGET/seed-NAME`, beside what runs have found;
//! with `TOKA_FUZZ_SEEDS=DIR` in its environment a target writes them to that directory and ends.

pub mod apply;
pub mod client_messages;
pub mod commands;
pub mod credentials;
pub mod damage;
pub mod files;
pub mod log_crashes;
pub mod otlp;
pub mod peer_messages;
pub mod pictures;
pub mod raft_codec;
pub mod raft_segments;
pub mod rows;
pub mod texts;
pub mod wire;

#[cfg(test)]
mod corpora;
mod script;

// Parts of crates that cannot be built without RocksDB, or are no library, with stand-ins for what they use beside.
mod stand_ins;
// The parts look for them in the root of their crate.
use stand_ins::{cmd, embed, error, failure, output, target};
#[path = "../../../crates/toka-server/src/limits.rs"]
#[allow(dead_code, unreachable_pub, reason = "that of a message is wanted")]
mod limits;
#[path = "../../../crates/toka-cli/src/cmd/import/line.rs"]
#[allow(dead_code, unreachable_pub, reason = "only its decoder is wanted")]
mod line;
#[path = "../../../crates/toka-backup/src/manifest.rs"]
#[allow(dead_code, unreachable_pub, reason = "only its decoder is wanted")]
mod manifest;
#[path = "../../../crates/toka-server/src/api/commit_stream/numbers.rs"]
mod numbers;
// With what a receiver of traces has beside it, models of embeddings would come into the build.
#[path = "../../../crates/toka-otel/src"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "only the way from a span to events is wanted"
)]
mod otel {
    pub(crate) mod anchor;
    pub(crate) mod content;
    pub(crate) mod ids;
    pub(crate) mod span;
    pub(crate) mod value;
}
use otel::{anchor, content, ids, span, value};
// It reads JSON as `smart_embedder` does, of which this is all that it needs.
extern crate self as smart_embedder;
#[path = "../../../crates/smart-embedder/src/event.rs"]
#[allow(unreachable_pub, reason = "it is public where it comes from")]
mod event;
#[path = "../../../crates/toka-server/src/api/page_token.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "only its decoder is wanted"
)]
mod page_token;
#[path = "../../../crates/toka-cli/src/payload.rs"]
#[allow(dead_code, unreachable_pub, reason = "only its decoder is wanted")]
mod payload;

/// An input, by its name.
pub type Seed = (String, Vec<u8>);

/// The binary of the target in the module `$name`.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        libfuzzer_sys::fuzz_target!(
            init: $crate::write_seeds($crate::$name::seeds),
            |data: &[u8]| $crate::$name::run(data)
        );
    };
}

/// Writes the seeds and ends, if that was asked for.
///
/// # Panics
/// If they cannot be written.
pub fn write_seeds(seeds: fn() -> Vec<Seed>) {
    let Some(dir) = std::env::var_os("TOKA_FUZZ_SEEDS") else {
        return;
    };
    let dir = std::path::PathBuf::from(dir);
    std::fs::create_dir_all(&dir).expect("the directory can be made");
    for (name, bytes) in seeds() {
        std::fs::write(dir.join(format!("seed-{name}")), bytes).expect("a seed can be written");
    }
    std::process::exit(0);
}

/// An input for a target that looks at the first byte for what the rest is.
fn of_kind(kind: u8, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    [&[kind][..], bytes.as_ref()].concat()
}

/// As many bytes that look like noise, the same ones for the same `seed`.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut reader = blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof();
    let mut bytes = vec![0; len];
    reader.fill(&mut bytes);
    bytes
}
