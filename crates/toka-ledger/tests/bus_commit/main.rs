//! Commits and reads of the embedded vault.

#[path = "../bus_support/mod.rs"]
mod bus_support;
mod models;
mod preconditions;
mod refusals;
mod writes;

use std::sync::Arc;

use bus_support::{TestEngine, held, opened, rows};
use futures::future::join_all;
use ndarray::{Array1, arr1};
use serde::{Deserialize, Serialize};
use toka_ledger::command::Precondition;
use toka_ledger::core::limits::PAYLOAD_BYTES_MAX;
use toka_ledger::engine::Direction;
use toka_ledger::error::ParentName;
use toka_ledger::seam::{Clock, Seams};
use toka_ledger::{
    CursorName, Digest, Error, EventDraft, EventHeader, EventId, Filter, Invalid, Kind, Query,
    Rejection, VaultBus, Violation,
};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Login {
    user_id: String,
    timestamp: u64,
}

fn login(user_id: &str) -> Login {
    Login {
        user_id: user_id.to_owned(),
        timestamp: 1_234_567_890,
    }
}

fn vault() -> VaultBus {
    VaultBus::builder().open_in_memory().expect("opened")
}

fn vector() -> Array1<f32> {
    arr1(&[0.1, 0.5, -0.2])
}

async fn plain(vault: &VaultBus, kind: &str) -> EventHeader {
    vault.event(kind).commit().await.expect("committed")
}

#[tokio::test]
async fn committed_event_is_read_back_by_id_sequence_and_digest() {
    let vault = vault();
    let header = vault
        .commit(&login("alice"), &[], "auth.login", vector())
        .await
        .expect("committed");
    assert_eq!((header.sequence, header.kind.as_str()), (1, "auth.login"));
    assert_eq!(vault.get(header.id).expect("found"), header);
    assert_eq!(vault.get_by_sequence(1).expect("found"), header);
    assert_eq!(vault.get_by_digest(&header.digest).expect("found"), header);
    assert_eq!(
        vault.payload::<Login>(&header).expect("typed"),
        login("alice")
    );
    let embedding = vault.embedding(&header).expect("read").expect("there");
    assert_eq!(embedding.dimension(), 3);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let vault = vault();
    let header = plain(&vault, "a").await;
    let mut bytes = *header.id.as_bytes();
    bytes[15] ^= 1;
    let unknown = [
        vault.get(EventId::from_bytes(bytes)),
        vault.get_by_sequence(0),
        vault.get_by_sequence(2),
        vault.get_by_digest(&Digest::ZERO),
    ];
    for result in unknown {
        assert!(matches!(result, Err(Error::NotFound { .. })), "{result:?}");
    }
    assert_eq!(vault.embedding(&header).expect("read"), None);
}

#[tokio::test]
async fn payload_of_another_type_is_a_typed_error() {
    let vault = vault();
    let header = vault
        .event("n")
        .payload(&7_u64)
        .commit()
        .await
        .expect("committed");
    assert!(matches!(
        vault.payload::<Login>(&header),
        Err(Error::PayloadType { .. })
    ));
}

#[tokio::test]
async fn repeated_commit_stores_nothing() {
    let vault = vault();
    let first = vault
        .commit(&login("a"), &[], "k", vector())
        .await
        .expect("committed");
    let again = vault
        .commit(&login("a"), &[], "k", arr1(&[1.0, 0.0, 0.0]))
        .await
        .expect("known");
    assert!(!first.deduplicated && again.deduplicated);
    assert_eq!(
        EventHeader {
            deduplicated: false,
            ..again
        },
        first
    );
    assert_eq!(vault.position().sequence, 1);
    let salted = vault
        .event("k")
        .payload(&login("a"))
        .salt(b"1")
        .commit()
        .await
        .expect("new");
    assert_eq!((salted.sequence, salted.deduplicated), (2, false));
    assert_eq!(salted.payload_sequence, 1);
}

#[tokio::test]
async fn event_names_its_parents() {
    let vault = vault();
    let a = plain(&vault, "a").await;
    let b = plain(&vault, "b").await;
    let child = vault
        .event("c")
        .parent(&a)
        .parents_by_id([b.id])
        .commit()
        .await
        .expect("committed");
    let mut expected = [a.digest, b.digest];
    expected.sort_unstable();
    let parents: Vec<_> = child.parents.iter().map(|parent| parent.digest).collect();
    assert_eq!(parents, expected);
}

#[tokio::test]
async fn batch_is_atomic_and_may_name_its_own_events() {
    let vault = vault();
    let headers = vault
        .commit_batch([
            EventDraft::new("a"),
            EventDraft::new("b").parent_in_batch(0),
        ])
        .await
        .expect("committed");
    assert_eq!(headers[1].parents[0].id, headers[0].id);

    let unknown = EventDraft::new("d").parents_by_digest([Digest::ZERO]);
    let error = vault
        .commit_batch([EventDraft::new("c"), unknown])
        .await
        .expect_err("unknown");
    let parent = ParentName::Digest(Digest::ZERO);
    assert!(
        matches!(&error, Error::Rejected(Rejection::UnknownParent { event: 1, parent: p }) if *p == parent),
        "{error}"
    );
    assert_eq!(vault.position().sequence, 2);
}

#[tokio::test]
async fn attributes_are_stored_and_listed_by() {
    let vault = vault();
    for n in 0..10_u8 {
        let session = if n % 2 == 0 { "even" } else { "odd" };
        let event = vault
            .event("tick")
            .payload(&n)
            .attribute("session", session);
        event.source("clock").commit().await.expect("committed");
    }
    let page = vault
        .list(&Query {
            after: 2,
            until: u64::MAX,
            filter: Filter {
                kind_prefixes: vec!["ti".to_owned()],
                attributes: vec![
                    ("session".to_owned(), "odd".to_owned()),
                    ("source".to_owned(), "clock".to_owned()),
                ],
                ..Filter::default()
            },
            direction: Direction::Forward,
            limit: 3,
        })
        .expect("listed");
    let sequences: Vec<_> = page.headers.iter().map(|header| header.sequence).collect();
    assert_eq!(sequences, [4, 6, 8]);
    assert!(page.next.is_some());
}

#[tokio::test]
async fn ranges_are_read_in_order() {
    let vault = vault();
    let drafts = (0..900_u32).map(|n| EventDraft::new("n").payload(&n));
    vault.commit_batch(drafts).await.expect("committed");
    let sequences = |range: toka_ledger::bus::Range| {
        range
            .map(|header| header.map(|header| header.sequence))
            .collect::<Result<Vec<_>, _>>()
    };
    assert_eq!(
        sequences(vault.range(..)).expect("read"),
        (1..=900).collect::<Vec<_>>()
    );
    assert_eq!(
        sequences(vault.range(300..600)).expect("read"),
        (300..600).collect::<Vec<_>>()
    );
    assert_eq!(
        sequences(vault.range(899..=2_000)).expect("read"),
        [899, 900]
    );
    assert_eq!(sequences(vault.range(901..)).expect("read"), []);
    assert_eq!(sequences(vault.range(0..1)).expect("read"), []);
}
