//! Doors for the fuzz targets (`tests/fuzz`) to decoders that nobody else outside has any business with. In no other
//! build.
//!
//! Each takes any bytes and panics if a promise is broken: a decoder ends in a value or an error, and what it takes is
//! written back as the same.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use toka_ledger::disk::{Disk, MemoryDisk};
use toka_proto::raft_v1 as pb;

use crate::codec::{decode_membership, decode_stored_membership};
use crate::identity::{Identity, decode_cluster_id};
use crate::layout::Layout;
use crate::log_store::{LogMeta, segment_fuzzing as segment};
use crate::{auditor, scrub, snapshot, wire};

/// Bytes of a part of the Raft log, by `part`: a record (tag and content), the first page of a segment, the header
/// of a frame, a slot of the mark.
pub fn log_part(part: u8, bytes: &[u8]) {
    match part % 4 {
        0 => segment::check_record(bytes),
        1 => segment::check_header(bytes),
        2 => segment::check_frame_header(bytes),
        _ => segment::check_mark(bytes),
    }
}

/// Parts of the Raft log as they are written.
#[must_use]
pub fn log_parts() -> Vec<(&'static str, Vec<u8>)> {
    segment::seeds()
}

/// A segment whose checksums are right, of frames of records, each a tag and its content.
#[must_use]
pub fn segment(number: u64, first_frame: u64, meta: &LogMeta, frames: &[Vec<Bytes>]) -> Vec<u8> {
    segment::segment(number, first_frame, meta, frames)
}

/// The note beside a snapshot, as it is and with its checksum set right.
pub fn snapshot_note(bytes: &[u8]) {
    let _ = snapshot::rewritten_note(bytes);
    let mut sealed = bytes.to_vec();
    sealed.extend_from_slice(&crc32c::crc32c(bytes).to_be_bytes());
    if let Some(again) = snapshot::rewritten_note(&sealed) {
        assert_eq!(again, sealed, "a note has one form");
    }
}

/// The note of the last scrub, as it is and with its checksum set right.
pub fn scrub_note(bytes: &[u8]) {
    let _ = scrub::rewritten_note(bytes);
    let checksum = format!("checksum {:08x}\n", crc32c::crc32c(bytes));
    let sealed = [bytes, checksum.as_bytes()].concat();
    if let Some(again) = scrub::rewritten_note(&sealed) {
        assert_eq!(scrub::rewritten_note(again.as_bytes()), Some(again));
    }
}

/// The pointer to the current ledger.
///
/// # Panics
/// If a promise is broken.
pub fn current_pointer(bytes: &[u8]) {
    let (disk, root) = (MemoryDisk::new(), PathBuf::from("/node"));
    disk.create_dir_all(&root).expect("created");
    let layout = Layout::new(Arc::new(disk.clone()), root);
    disk.create_dir(&layout.ledger(1)).expect("created");
    disk.create_with(Path::new("/node/CURRENT"), bytes)
        .expect("written");
    let current = layout.current();
    let _ = layout.unnamed().expect("nothing is wrong with the disk");
    if let Ok(Some(number)) = current {
        layout.set_current(number).expect("written");
        assert_eq!(layout.current().expect("valid"), Some(number));
    }
}

/// An append or a heartbeat: `peer` and `append` of the request.
pub fn append(peer: Option<&pb::Peer>, append: Option<pb::AppendEntries>) {
    check_peer(peer);
    if let Ok(request) = wire::append_from(append) {
        let again = wire::append_from(Some(wire::append(&request))).expect("as it was taken");
        assert_eq!(again.entries, request.entries);
        assert_eq!(again.vote, request.vote);
        assert_eq!(again.prev_log_id, request.prev_log_id);
        assert_eq!(again.leader_commit, request.leader_commit);
    }
}

/// What an append is answered.
pub fn append_result(result: Option<pb::AppendResult>) {
    let _ = wire::append_result_from(result.clone());
    if let Ok(result) = wire::stream_result_from(result) {
        let again = wire::stream_result_from(Some(wire::stream_result(result.clone())));
        assert_eq!(again, Ok(result));
    }
}

/// A request for a vote.
pub fn vote(request: &pb::VoteRequest) {
    check_peer(request.peer.as_ref());
    let transfer = request.leadership_transfer;
    let _ = wire::vote_request_from(request.vote, request.last_log_id, transfer);
}

/// What it is answered.
pub fn vote_response(response: &pb::VoteResponse) {
    let granted = response.vote_granted;
    let _ = wire::vote_response_from(response.vote, response.last_log_id, granted);
}

/// The manifest of a snapshot, or of a copy.
pub fn manifest(manifest: &pb::SnapshotManifest) {
    let _ = wire::vote_from(manifest.vote);
    if snapshot::check_manifest(manifest).is_ok() {
        for file in &manifest.files {
            let path = Path::new("/copy").join(&file.name);
            assert_eq!(path.parent(), Some(Path::new("/copy")), "{}", file.name);
        }
    }
}

/// What a node says of itself before there is a cluster.
pub fn probe_response(response: &pb::ProbeResponse) {
    let _ = decode_membership(&response.initial_members);
    let _ = decode_stored_membership(&response.membership);
    position(response.restored.as_ref());
}

/// A proposal of a cluster.
pub fn adopt(request: &pb::AdoptRequest) {
    check_peer(request.peer.as_ref());
    let _ = decode_membership(&request.initial_members);
    position(request.restored.as_ref());
}

/// A request to take over.
pub fn transfer(request: &pb::TransferLeaderRequest) {
    check_peer(request.peer.as_ref());
    let _ = wire::vote_from(request.from_leader);
    let _ = wire::log_id_from(request.last_log_id);
}

/// What it is answered.
pub fn transfer_response(response: &pb::TransferLeaderResponse) {
    use pb::transfer_leader_response::Refusal;
    match &response.refusal {
        Some(Refusal::VoteChanged(changed)) => {
            let _ = wire::vote_from(changed.expected);
            let _ = wire::vote_from(changed.actual);
        }
        Some(Refusal::LogNotFlushed(behind)) => {
            let _ = wire::log_id_from(behind.expected);
            let _ = wire::log_id_from(behind.actual);
        }
        None => {}
    }
}

/// A node's digests.
pub fn state_digest(response: &pb::GetStateDigestResponse) {
    let _ = wire::state(&response.history_root, &response.state_digest);
}

/// What a member has to say for the audit.
pub fn append_audit(request: &pb::AppendAuditRequest) {
    check_peer(request.peer.as_ref());
    if let Ok(records) = auditor::records(request.entry.clone()) {
        let again = auditor::records(auditor::entry(records.clone()));
        assert_eq!(again.ok(), Some(records));
    }
}

fn position(message: Option<&pb::LedgerPosition>) {
    if let Ok(position) = wire::position_from(message) {
        assert_eq!(message, Some(&wire::position(&position)));
    }
}

fn check_peer(peer: Option<&pb::Peer>) {
    for cluster_id in [None, Some(1)] {
        if let Err(mismatch) = Identity::new(1, cluster_id).check(peer) {
            assert!(!mismatch.to_string().is_empty());
        }
    }
    let _ = peer.and_then(|peer| decode_cluster_id(&peer.cluster_id));
}
