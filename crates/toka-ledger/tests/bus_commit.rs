//! Commits and reads of the embedded vault.

mod bus_support;

use std::sync::Arc;

use bus_support::{TestEngine, rows};
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
async fn exactly_one_claimant_succeeds() {
    let vault = vault();
    let task = plain(&vault, "task").await;
    let claims = join_all((0..64).map(|_| {
        vault
            .event("claimed")
            .parent(&task)
            .unless_child(&task, "claimed")
            .commit()
    }))
    .await;
    let (won, lost): (Vec<_>, Vec<_>) = claims.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    for error in lost {
        let Err(Error::Rejected(Rejection::Preconditions { violations })) = error else {
            panic!("{error:?}")
        };
        assert!(matches!(violations[..], [Violation::HasChild { .. }]));
    }
}

#[tokio::test]
async fn cursor_moves_with_its_event_or_not_at_all() {
    let vault = vault();
    let name = CursorName::new("agent").expect("valid");
    vault
        .event("out")
        .move_cursor("agent", 0, 1)
        .commit()
        .await
        .expect("committed");
    assert_eq!(vault.cursor(&name).expect("read"), Some(1));
    let error = vault
        .event("out")
        .salt(b"2")
        .move_cursor("agent", 0, 2)
        .commit()
        .await;
    let Err(Error::Rejected(Rejection::Preconditions { violations })) = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        violations,
        [Violation::Cursor {
            name: name.clone(),
            expected: 0,
            actual: 1
        }]
    );
    assert_eq!(vault.cursor(&name).expect("read"), Some(1));
    assert_eq!(vault.position().sequence, 1);
}

#[tokio::test]
async fn a_cursor_goes_no_further_than_the_last_event_of_its_commit() {
    let vault = vault();
    let moved = |salt: &[u8], to| {
        let event = vault.event("out").salt(salt);
        event.move_cursor("agent", 0, to).commit()
    };
    let Err(Error::Rejected(refusal)) = moved(b"1", 2).await else {
        panic!("it goes beyond the end")
    };
    let expected = Rejection::PositionAhead {
        position: 2,
        last: 0,
    };
    assert_eq!(refusal, expected);
    assert!(refusal.to_string().contains("is empty"), "{refusal}");
    assert_eq!(vault.position().sequence, 0);
    moved(b"2", 1).await.expect("that is its own event");
}

#[tokio::test]
async fn a_cursor_goes_to_events_that_were_handed_over_before() {
    let vault = vault();
    let name = CursorName::new("agent").expect("valid");
    let to = |to| {
        let name = name.clone();
        vec![Precondition::CursorMove { name, from: 0, to }]
    };
    let event = |number: u8| [EventDraft::new("out").salt(&[number])];
    let first = vault.submit(event(1), Vec::new()).await.expect("accepted");
    let ahead = vault.submit(event(2), to(4)).await.expect("accepted");
    let second = vault.submit(event(3), to(2)).await.expect("accepted");
    first.await.expect("committed");
    let refused = ahead.await;
    assert!(
        matches!(
            refused,
            Err(Error::Rejected(Rejection::PositionAhead { last: 1, .. }))
        ),
        "{refused:?}"
    );
    second.await.expect("the first one is there");
    assert_eq!(vault.cursor(&name).expect("read"), Some(2));
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

#[tokio::test]
async fn bad_input_is_refused_and_nothing_is_written() {
    let engine = TestEngine::new();
    let vault = VaultBus::builder()
        .open_engine(engine.clone())
        .expect("opened");
    vault
        .commit(&1, &[], "first", vector())
        .await
        .expect("committed");
    let before = rows(&engine.inner);
    let writes = engine.writes();
    let position = vault.position();

    let event = || vault.event("kind");
    let attributes = (0..17).fold(event(), |event, i| event.attribute(format!("n{i}"), "v"));
    let refused = [
        vault.event("").commit().await,
        vault.event(&"k".repeat(256)).commit().await,
        vault.event("a\tb").commit().await,
        event()
            .payload_bytes(vec![0; PAYLOAD_BYTES_MAX + 1])
            .commit()
            .await,
        event().parents_by_digest([Digest::ZERO; 65]).commit().await,
        attributes.commit().await,
        event().attribute("name", "v".repeat(257)).commit().await,
        event().salt(&[0; 33]).commit().await,
        event().embedding(&[1.0, f32::NAN, 0.0]).commit().await,
        event().embedding(&[1.0, f32::INFINITY, 0.0]).commit().await,
        event().embedding(&[0.0, 0.0, 0.0]).commit().await,
        event().quantized(&[1, 1, 1]).commit().await,
        event()
            .unless_child(&vault.get_by_sequence(1).expect("there"), "")
            .commit()
            .await,
        vault.commit(&1, &[], "", vector()).await,
    ];
    for result in refused {
        assert!(matches!(result, Err(Error::Invalid(_))), "{result:?}");
    }
    assert_eq!(
        engine.writes(),
        writes,
        "an invalid commit reaches the engine"
    );
    assert_eq!(vault.position(), position);
    assert_eq!(rows(&engine.inner), before);
}

#[tokio::test]
async fn errors_name_field_limit_and_value() {
    let vault = vault();
    vault
        .commit(&1, &[], "first", vector())
        .await
        .expect("committed");
    let message = |result: Result<EventHeader, Error>| result.expect_err("refused").to_string();
    assert_eq!(
        message(
            vault
                .event("k")
                .payload_bytes(vec![0; 1_048_577])
                .commit()
                .await
        ),
        "payload has 1048577 bytes; at most 1048576 are allowed"
    );
    let error = vault
        .commit(&2, &[], "k", arr1(&[1.0, 0.0]))
        .await
        .expect_err("two dimensions");
    let Error::Rejected(Rejection::Invalid { event: 0, invalid }) = &error else {
        panic!("{error:?}")
    };
    assert_eq!(
        *invalid,
        Invalid::Dimension {
            field: "embedding",
            expected: 3,
            actual: 2
        },
    );
    assert_eq!(
        message(
            vault
                .event("k")
                .parents_by_digest([Digest([0xab; 32])])
                .commit()
                .await
        ),
        format!(
            "event 0 of the commit names a parent that is not in the vault: {}",
            "ab".repeat(32)
        )
    );
    assert_eq!(vault.position().sequence, 1);
}

#[tokio::test]
async fn vault_is_not_opened_for_another_model() {
    let engine = TestEngine::new();
    let vault = VaultBus::builder()
        .open_engine(engine.clone())
        .expect("opened");
    vault.close().await;
    // Without an embedding it may become of any model.
    let builder = VaultBus::builder().model("x");
    let vault = builder.clone().open_engine(engine.clone()).expect("opened");
    vault.close().await;
    let vault = VaultBus::builder()
        .open_engine(engine.clone())
        .expect("opened");
    let commit = vault.commit(&1, &[], "k", vector()).await;
    commit.expect("committed");
    vault.close().await;
    let error = builder.open_engine(engine).expect_err("unnamed vectors");
    assert!(
        matches!(
            &error,
            Error::Invalid(Invalid::Model { expected: None, actual, .. }) if actual == "x"
        ),
        "{error}"
    );
}

#[tokio::test]
async fn vectors_without_a_name_are_of_the_model_that_the_vault_was_opened_for() {
    let engine = TestEngine::new();
    // One that was made without a model is named by the first vector.
    let vault = VaultBus::builder()
        .open_engine(engine.clone())
        .expect("opened");
    vault.close().await;
    let of = |model: &str| VaultBus::builder().model(model).open_engine(engine.clone());
    let vault = of("one").expect("opened");
    let commit = vault.commit(&1, &[], "k", vector()).await;
    commit.expect("committed");
    let other = vault.event("k").embedding(&[1.0, 0.0, 0.0]).model("two");
    let error = other.commit().await.expect_err("another model");
    assert!(
        matches!(
            &error,
            Error::Rejected(Rejection::Invalid { invalid: Invalid::Model { expected: Some(expected), actual, .. }, .. })
                if expected == "one" && actual == "two"
        ),
        "{error}"
    );
    vault.close().await;

    let error = of("two").expect_err("another model");
    assert!(
        matches!(
            &error,
            Error::Invalid(Invalid::Model { expected: Some(expected), actual, .. })
                if expected == "one" && actual == "two"
        ),
        "{error}"
    );
    assert!(of("one").is_ok());
}

#[tokio::test]
async fn dimension_can_be_set_at_creation() {
    let engine = TestEngine::new();
    let builder = VaultBus::builder().dimension(4);
    let vault = builder.clone().open_engine(engine.clone()).expect("opened");
    assert!(vault.commit(&1, &[], "k", vector()).await.is_err());
    assert!(
        vault
            .commit(&1, &[], "k", arr1(&[1.0, 0.0, 0.0, 0.0]))
            .await
            .is_ok()
    );
    vault.close().await;
    assert!(builder.open_engine(engine.clone()).is_ok());
    let error = VaultBus::builder()
        .dimension(5)
        .open_engine(engine)
        .expect_err("other dimension");
    assert!(
        matches!(
            error,
            Error::Invalid(Invalid::Dimension {
                expected: 4,
                actual: 5,
                ..
            })
        ),
        "{error}"
    );
    assert!(VaultBus::builder().dimension(0).open_in_memory().is_err());
}

#[tokio::test]
async fn concurrent_commits_share_one_write() {
    let engine = TestEngine::new();
    let vault = VaultBus::builder()
        .open_engine(engine.clone())
        .expect("opened");
    let before = engine.writes();
    let hold = engine.hold_next_write();
    let mut commits: Vec<_> = (0..64_u32)
        .map(|n| Box::pin(vault.event("n").payload(&n).commit()))
        .collect();
    // The first one is being written while the others come in.
    assert!(futures::poll!(&mut commits[0]).is_pending());
    hold.wait();
    for commit in &mut commits[1..] {
        assert!(futures::poll!(commit).is_pending());
    }
    hold.open();
    let headers = join_all(commits).await;
    let mut sequences: Vec<_> = headers
        .into_iter()
        .map(|header| header.expect("committed").sequence)
        .collect();
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=64).collect::<Vec<_>>());
    assert_eq!(engine.writes() - before, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_committers_get_their_own_outcomes() {
    let vault = vault();
    let tasks: Vec<_> = (0..64_u32)
        .map(|committer| {
            let vault = vault.clone();
            tokio::spawn(async move {
                for n in 0..20_u32 {
                    let event = vault.event("n").payload(&(committer, n));
                    let header = event.commit().await.expect("committed");
                    assert_eq!(
                        vault.payload::<(u32, u32)>(&header).expect("read"),
                        (committer, n)
                    );
                    assert_eq!(vault.get(header.id).expect("read your writes"), header);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    assert_eq!(vault.position().sequence, 64 * 20);
    let report = vault.verify().expect("verified");
    assert!(report.is_intact(), "{:?}", report.problems);
}

#[tokio::test]
async fn failed_write_fails_all_that_wait_and_leaves_the_vault_readable() {
    let engine = TestEngine::new();
    let vault = VaultBus::builder()
        .open_engine(engine.clone())
        .expect("opened");
    let first = plain(&vault, "a").await;
    let mut events = vault.subscribe();
    let hold = engine.hold_next_write();
    let mut commits: Vec<_> = (0..8_u32)
        .map(|n| Box::pin(vault.event("n").payload(&n).commit()))
        .collect();
    assert!(futures::poll!(&mut commits[0]).is_pending());
    hold.wait();
    for commit in &mut commits[1..] {
        assert!(futures::poll!(commit).is_pending());
    }
    engine.fail();
    hold.open();
    for result in join_all(commits).await {
        let Err(Error::Engine(error)) = result else {
            panic!("{result:?}")
        };
        assert!(error.is_storage_full(), "{error}");
    }
    assert!(matches!(
        vault.event("b").commit().await,
        Err(Error::Closed)
    ));
    assert_eq!(vault.get(first.id).expect("readable"), first);
    assert_eq!(vault.position().sequence, 1);
    assert!(matches!(events.recv().await, Err(Error::Closed)));
}

#[tokio::test]
async fn caller_that_gives_up_harms_nobody() {
    let engine = TestEngine::new();
    let vault = VaultBus::builder()
        .open_engine(engine.clone())
        .expect("opened");
    let hold = engine.hold_next_write();
    let mut commit = Box::pin(vault.event("a").commit());
    assert!(futures::poll!(&mut commit).is_pending());
    hold.wait();
    drop(commit);
    hold.open();
    assert_eq!(plain(&vault, "b").await.sequence, 2);
}

#[tokio::test]
async fn closed_vault_takes_no_commit_and_finishes_those_it_has() {
    let engine = TestEngine::new();
    let vault = VaultBus::builder()
        .open_engine(engine.clone())
        .expect("opened");
    let other = vault.clone();
    let hold = engine.hold_next_write();
    let mut commits: Vec<_> = (0..3_u32)
        .map(|n| Box::pin(other.event("n").payload(&n).commit()))
        .collect();
    for commit in &mut commits {
        assert!(futures::poll!(commit).is_pending());
    }
    hold.wait();
    let mut closing = Box::pin(vault.close());
    assert!(futures::poll!(&mut closing).is_pending());
    hold.open();
    closing.await;
    for result in join_all(commits).await {
        assert!(result.is_ok(), "{result:?}");
    }
    assert!(matches!(
        other.event("late").commit().await,
        Err(Error::Closed)
    ));
    assert_eq!(other.position().sequence, 3);
}

#[derive(Debug)]
struct FixedClock(u64);

impl Clock for FixedClock {
    fn unix_ms(&self) -> u64 {
        self.0
    }
}

#[tokio::test]
async fn time_comes_from_the_clock_that_is_passed_in() {
    let seams = Seams {
        clock: Arc::new(FixedClock(1_700_000_000_123)),
        ..Seams::system()
    };
    let vault = VaultBus::builder()
        .seams(seams)
        .open_in_memory()
        .expect("opened");
    let header = plain(&vault, "a").await;
    assert_eq!(
        (header.unix_ms, header.id.unix_ms()),
        (1_700_000_000_123, 1_700_000_000_123)
    );
    let error = vault
        .event("b")
        .precondition(Precondition::TimePassed {
            unix_ms: 1_700_000_000_124,
        })
        .commit()
        .await;
    assert!(
        matches!(error, Err(Error::Rejected(Rejection::Preconditions { .. }))),
        "{error:?}"
    );
}

#[tokio::test]
async fn kind_sequence_guards_an_append() {
    let vault = vault();
    let kind = Kind::new("order").expect("valid");
    let append = |salt: &'static [u8], sequence| {
        let precondition = Precondition::KindSequence {
            kind: kind.clone(),
            sequence,
        };
        vault
            .event("order")
            .salt(salt)
            .precondition(precondition)
            .commit()
    };
    assert_eq!(append(b"1", 0).await.expect("first").sequence, 1);
    assert_eq!(append(b"2", 1).await.expect("second").sequence, 2);
    let error = append(b"3", 1).await;
    let Err(Error::Rejected(Rejection::Preconditions { violations })) = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        violations,
        [Violation::KindSequence {
            kind,
            expected: 1,
            actual: 2
        }]
    );
}

#[test]
fn commit_of_a_payload_that_is_not_sync_can_be_spawned() {
    fn require_send(_: impl Send) {}
    let vault = vault();
    let not_sync = std::cell::Cell::new(7);
    require_send(vault.commit(&not_sync, &[], "k", vector()));
}
