//! Compiles `proto/` without a system `protoc`.

use std::path::{Path, PathBuf};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    // As of now, not as of when this script was compiled: a target directory may be used by clones at
    // several places.
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    for package in ["toka/vault/v1", "toka/raft/v1"] {
        collect(&root.join(package), &mut files)?;
    }
    // The order of a directory is the file system's; the descriptor set must not depend on it.
    files.sort();
    let descriptors = protox::compile(&files, [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(
        out.join("descriptors.bin"),
        protox::prost::Message::encode_to_vec(&descriptors),
    )?;
    tonic_prost_build::configure()
        // Payloads and log entries are passed on without a copy.
        .bytes(".")
        // Equal messages are equal bytes.
        .btree_map(".")
        .compile_fds(descriptors)?;
    Ok(())
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            files.push(path);
        }
    }
    Ok(())
}
