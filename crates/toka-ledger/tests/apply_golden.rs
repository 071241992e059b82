//! The bytes of the format, pinned: a change here is a new format, or a new feature level.

mod apply_support;

use apply_support::*;
use toka_ledger::command::{Commit, FEATURE_LEVEL_MIN, Precondition};
use toka_ledger::engine::{Engine, Table};
use toka_ledger::{CursorName, EventHeader};

/// A fixed small stream: three commits, four events, in a vault of the first level.
fn stream() -> (Vault, Vec<EventHeader>) {
    let mut vault = Vault::of_level(FEATURE_LEVEL_MIN);
    let mut headers = vault.accept(commit([event("auth.login", "{\"user\":1}")]));
    let mut child = event("auth.update", "{\"user\":1,\"name\":\"ä\"}")
        .salted(&[1, 2, 3])
        .child_of([by_id(&headers[0])])
        .embedded(&[0.1, 0.5, -0.2])
        .tagged("trace", "t-1");
    child.attributes.source = Some("golden".to_owned());
    child.attributes.content_type = Some("application/json".to_owned());
    let same_payload = event("note", "{\"user\":1}").child_of([
        by_digest(&headers[0]),
        toka_ledger::command::ParentName::Batch(0),
    ]);
    let batch = commit([child, same_payload]);
    headers.extend(vault.accept(Commit {
        unix_ms: NOW + 1_234,
        ..batch
    }));
    let name = CursorName::new("golden").expect("valid");
    headers.extend(vault.accept(commit_if(
        [Precondition::CursorMove {
            name,
            from: 0,
            to: 3,
        }],
        [event("done", "")],
    )));
    (
        vault,
        headers.iter().map(|header| (**header).clone()).collect(),
    )
}

#[test]
fn digests_are_pinned() {
    let (_, headers) = stream();
    let digests: Vec<_> = headers
        .iter()
        .map(|header| header.digest.to_string())
        .collect();
    assert_eq!(digests, DIGESTS);
}

#[test]
fn ids_are_pinned() {
    let (_, headers) = stream();
    let ids: Vec<_> = headers.iter().map(|header| header.id.to_string()).collect();
    assert_eq!(ids, IDS);
}

#[test]
fn header_rows_are_pinned() {
    let (vault, headers) = stream();
    let rows: Vec<_> = headers
        .iter()
        .map(|header| {
            let key = header.sequence.to_be_bytes();
            hex(&vault
                .engine
                .get(Table::Headers, &key)
                .expect("readable")
                .expect("stored"))
        })
        .collect();
    assert_eq!(rows, HEADER_ROWS);
}

#[test]
fn all_other_rows_are_pinned() {
    let (vault, _) = stream();
    let mut hasher = blake3::Hasher::new();
    for (table, key, value) in contents(&*vault.engine) {
        for part in [table.name().as_bytes(), &key, &value] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    assert_eq!(hasher.finalize().to_hex().as_str(), CONTENTS);
}

#[test]
fn history_root_and_state_digest_are_pinned() {
    let (vault, _) = stream();
    let position = vault.ledger.position();
    assert_eq!(position.history_root.to_string(), HISTORY_ROOT);
    assert_eq!(position.state_digest.to_string(), STATE_DIGEST);
}

const DIGESTS: [&str; 4] = [
    "5c58d202570f3832dcfa322ce10931fdfd4ab38de494169f90834a7601dafe1d",
    "550e1d4d4a0e053c1a0eadb3e94f4377cb57ae4bb9f7d2b6035c9c9ae21ee52c",
    "aba022b85d4705d30e541b3fe026a6001d263cf25418be326dc0568f5d4f0766",
    "8951751a0d7a8d0c8c8c0316a6307f79f251b0609a7f7883a073ea25b15dfef8",
];
const IDS: [&str; 4] = [
    "018bcfe5-6800-7000-8000-00015c58d202",
    "018bcfe5-6cd2-7000-8000-0002550e1d4d",
    "018bcfe5-6cd2-7000-8000-0003aba022b8",
    "018bcfe5-6cd2-7000-8000-00048951751a",
];
const HEADER_ROWS: [&str; 4] = [
    "010080d095ffbc315c58d202570f3832dcfa322ce10931fdfd4ab38de494169f90834a7601dafe1d\
     0a617574682e6c6f67696e346a5b242f061e63da6b8d200741386c00fa8d60a702ee5494c9717a12\
     2707fe0a0100009b980e58",
    "013fd2d995ffbc31550e1d4d4a0e053c1a0eadb3e94f4377cb57ae4bb9f7d2b6035c9c9ae21ee52c\
     0b617574682e757064617465cf9d6d8d33ef0aedaf882cde25fa1b4c606c3760f2c6e6713361e9c5\
     ca171028160203010203015c58d202570f3832dcfa322ce10931fdfd4ab38de494169f90834a7601\
     dafe1d0180d095ffbc313b4acf73681cfaf097648ef91964ffe7406ed4d0394075ec2f070f1a283a\
     b3410306676f6c64656e106170706c69636174696f6e2f6a736f6e0105747261636503742d310101\
     5330dc46",
    "0100d2d995ffbc31aba022b85d4705d30e541b3fe026a6001d263cf25418be326dc0568f5d4f0766\
     046e6f7465346a5b242f061e63da6b8d200741386c00fa8d60a702ee5494c9717a122707fe0a0100\
     02550e1d4d4a0e053c1a0eadb3e94f4377cb57ae4bb9f7d2b6035c9c9ae21ee52c02d2d995ffbc31\
     5c58d202570f3832dcfa322ce10931fdfd4ab38de494169f90834a7601dafe1d0180d095ffbc31c7\
     129612",
    "0100d2d995ffbc318951751a0d7a8d0c8c8c0316a6307f79f251b0609a7f7883a073ea25b15dfef8\
     04646f6e65af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262000400\
     00abf919c7",
];
const CONTENTS: &str = "b7c25796426984bec511354abdacc48719b313669b18e90b809b300f8f95b57d";
const HISTORY_ROOT: &str = "61321ca8c9fe8b27114d3f90e45a8fcfe0250479bf5e1a09131d834174ee0ff7";
const STATE_DIGEST: &str = "31f26dec43011be93328756481163ac9dceb75686e069b954233a809fbf92f7c";
