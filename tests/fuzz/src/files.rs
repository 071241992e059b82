//! Small files: the marker of a data directory, the pointer to its ledger, the notes of a snapshot and of the last
//! scrub, the manifest of a backup. Decoded or refused; as they are and with their checksums set right.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use toka_ledger::dir::{DataDir, Mode};
use toka_ledger::disk::{Disk, MemoryDisk};
use toka_raft::codec::encode_stored_membership;
use toka_raft::fuzzing;
use toka_raft::type_config::StoredMembership;

use crate::manifest::{File, Manifest, rfc3339};
use crate::raft_codec::{log_id, memberships};
use crate::{Seed, of_kind};

const NAME: &str = "first";

/// See above. The first byte says which.
pub fn run(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    match kind % 5 {
        0 => {
            marker(bytes);
            let checksum = format!("checksum {:08x}\n", crc32c::crc32c(bytes));
            marker(&[bytes, checksum.as_bytes()].concat());
        }
        1 => fuzzing::snapshot_note(bytes),
        2 => fuzzing::scrub_note(bytes),
        3 => fuzzing::current_pointer(bytes),
        _ => {
            manifest(bytes);
            let checksum = format!("blake3 {}\n", blake3::hash(bytes).to_hex());
            manifest(&[bytes, checksum.as_bytes()].concat());
        }
    }
}

/// A directory with this marker is a vault's, or is not opened; opened and written again it is the same.
fn marker(bytes: &[u8]) {
    let (disk, path) = (Arc::new(MemoryDisk::new()), PathBuf::from("/vault"));
    disk.create_dir_all(&path).expect("an empty disk");
    disk.create_with(&path.join("VAULT"), bytes)
        .expect("room for a file");
    let Ok(Some(mode)) = DataDir::read(&*disk, &path) else {
        return;
    };
    let Ok(mut dir) = DataDir::open_or_create(Arc::clone(&disk) as Arc<dyn Disk>, &path, mode)
    else {
        return;
    };
    assert_eq!(dir.mode(), mode);
    let _ = dir.set_complete();
    drop(dir);
    let again = DataDir::read(&*disk, &path).expect("as it was written");
    assert_eq!(again, Some(mode));
}

fn manifest(bytes: &[u8]) {
    let Ok(manifest) = Manifest::decode(NAME, bytes) else {
        return;
    };
    let again = Manifest::decode(NAME, manifest.encode().as_bytes());
    assert_eq!(again.expect("as it was read"), manifest);
    let _ = (manifest.size_bytes(), manifest.position());
    let _ = manifest.check_level();
    assert!(!rfc3339(manifest.created_unix_ms).is_empty());
    for file in &manifest.files {
        let path = Path::new("/vault").join(&file.name);
        assert_eq!(path.parent(), Some(Path::new("/vault")), "{}", file.name);
    }
}

fn marker_of(mode: Mode) -> Vec<u8> {
    let (disk, path) = (Arc::new(MemoryDisk::new()), PathBuf::from("/vault"));
    let dir = DataDir::open_or_create(Arc::clone(&disk) as Arc<dyn Disk>, &path, mode);
    drop(dir.expect("an empty disk"));
    disk.read(&path.join("VAULT")).expect("it was written")
}

/// The text before its last line, the checksum.
fn body(text: &[u8]) -> &[u8] {
    let end = text.len() - 1;
    let at = text[..end].iter().rposition(|byte| *byte == b'\n');
    &text[..at.map_or(0, |at| at + 1)]
}

fn snapshot_note() -> Vec<u8> {
    let mut note = vec![1, 0, 0, 0, 1, 1];
    note.extend_from_slice(&toka_raft::codec::encode_log_id(&log_id(9)));
    for number in [7_u64, 5, 1_700_000_000_000] {
        note.extend_from_slice(&number.to_be_bytes());
    }
    note.extend_from_slice(&[3; 64]);
    let membership = memberships().swap_remove(1);
    let stored = StoredMembership::new(Some(log_id(4)), membership);
    note.extend_from_slice(&encode_stored_membership(&stored));
    note
}

/// One of each.
#[must_use]
pub fn seeds() -> Vec<Seed> {
    let modes = [
        ("embedded", Mode::Embedded),
        (
            "node",
            Mode::Node {
                cluster_id: Some(7),
                node_id: 3,
            },
        ),
        ("joining", Mode::Joining { token: 9 }),
    ];
    let mut seeds = Vec::new();
    for (name, mode) in modes {
        let marker = marker_of(mode);
        seeds.push((format!("marker-{name}"), of_kind(0, body(&marker))));
        seeds.push((format!("marker-{name}-whole"), of_kind(0, &marker)));
    }
    let scrub = "toka-scrub 1\nsince-unix-ms 3\nend-unix-ms 9\nduration-ms 41\nbytes 706496\n\
                 snapshot-rebuilt yes\n";
    let mut manifest = Manifest {
        name: NAME.to_owned(),
        created_unix_ms: 1,
        version: "0.1.0".to_owned(),
        cluster_id: 2,
        history_id: u128::MAX,
        node_id: 3,
        feature_level: 1,
        revision: 4,
        sequence: 5,
        unix_ms: 6,
        history_root: [7; 32],
        state_digest: [8; 32],
        files: vec![File {
            name: "000012.sst".to_owned(),
            size_bytes: 9,
            blake3: [10; 32],
        }],
    };
    let text = manifest.encode();
    // Sizes whose sum no number holds.
    manifest.files[0].size_bytes = u64::MAX;
    manifest.files.push(manifest.files[0].clone());
    let huge = manifest.encode();
    for (name, kind, bytes) in [
        ("snapshot-note", 1, &snapshot_note()[..]),
        ("scrub-note", 2, scrub.as_bytes()),
        (
            "scrub-note-first",
            2,
            &b"toka-scrub 1\nsince-unix-ms 3\n"[..],
        ),
        ("current", 3, &b"ledger-12\n"[..]),
        ("manifest", 4, body(text.as_bytes())),
        ("manifest-whole", 4, text.as_bytes()),
        ("manifest-huge", 4, body(huge.as_bytes())),
    ] {
        seeds.push((name.to_owned(), of_kind(kind, bytes)));
    }
    seeds
}
