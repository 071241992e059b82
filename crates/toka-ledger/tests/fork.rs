//! What a fork can do, and what comes of it.

use std::collections::BTreeSet;

use proptest::prelude::*;
use toka_ledger::command::Precondition;
use toka_ledger::engine::EngineError;
use toka_ledger::error::ParentName;
use toka_ledger::fork::{Fork, Limits, Moment, Timeline};
use toka_ledger::{
    CursorName, Error, EventDraft, EventHeader, Filter, Kind, Rejection, Start, VaultBus, Violation,
};

fn vault() -> VaultBus {
    VaultBus::builder().open_in_memory().expect("opens")
}

async fn commit(vault: &VaultBus, payload: u8) -> EventHeader {
    let draft = EventDraft::new("n").payload(&payload);
    let headers = vault.commit_batch([draft]).await;
    headers.expect("committed").pop().expect("one")
}

fn no_child(parent: &EventHeader, kind: &str) -> Precondition {
    Precondition::NoChild {
        parent: ParentName::Digest(parent.digest),
        kind: Kind::new(kind).expect("valid"),
    }
}

fn payloads(vault: &VaultBus, headers: impl IntoIterator<Item = EventHeader>) -> Vec<u8> {
    let headers = headers.into_iter();
    headers
        .map(|header| vault.payload(&header).expect("read"))
        .collect()
}

/// The numbers without those that came before.
fn distinct(numbers: &[u8]) -> Vec<u8> {
    let mut seen = BTreeSet::new();
    let numbers = numbers.iter().copied();
    numbers.filter(|number| seen.insert(*number)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.div_ceil(8)))]
    #[test]
    fn difference_is_that_of_the_sets(
        real in prop::collection::vec(0_u8..16, 1..24),
        own in prop::collection::vec(0_u8..16, 0..24),
        at: prop::sample::Index,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("built");
        runtime.block_on(async {
            let base = vault();
            for &number in &real {
                commit(&base, number).await;
            }
            let real = distinct(&real);
            let at = at.index(real.len() + 1);
            let fork = Fork::at(base.reader(), at as u64).expect("forked");
            for &number in &own {
                commit(fork.vault(), number).await;
            }
            let (shared, rest) = real.split_at(at);
            let own: Vec<u8> = distinct(&[shared, &own].concat()).split_off(at);

            let found = fork.difference().expect("compared");
            let both = |number: &&u8| rest.contains(number) && own.contains(number);
            let expected: Vec<u8> = own.iter().filter(both).copied().collect();
            let same = found.both.iter().map(|both| (*both.fork).clone());
            assert_eq!(payloads(fork.vault(), same), expected);
            let expected: Vec<u8> = own.iter().filter(|n| !both(n)).copied().collect();
            let only = found.fork_only.iter().map(|header| (**header).clone());
            assert_eq!(payloads(fork.vault(), only), expected);
            let expected: Vec<u8> = rest.iter().filter(|n| !both(n)).copied().collect();
            let only = found.base_only.iter().map(|header| (**header).clone());
            assert_eq!(payloads(&base, only), expected);
            assert!(found.is_complete);

            // What is taken over makes the difference one-sided.
            fork.commit_to(&base).await.expect("committed");
            assert!(fork.difference().expect("compared").fork_only.is_empty());
        });
    }
}

#[tokio::test]
async fn fork_goes_on_with_the_next_sequence_and_does_not_see_what_came_later() {
    let base = vault();
    let first = commit(&base, 1).await;
    let later = commit(&base, 2).await;
    let fork = Fork::at(base.reader(), first.sequence).expect("forked");
    let not_found = fork.vault().get(later.id).expect_err("it came later");
    assert!(matches!(not_found, Error::NotFound { .. }), "{not_found}");
    // The last of the kind is the first event, in spite of the later one.
    let kind = Kind::new("n").expect("valid");
    let precondition = Precondition::KindSequence { kind, sequence: 1 };
    let draft = EventDraft::new("n").payload(&3_u8).parent(&first);
    let headers = fork.commit_batch_if([draft], vec![precondition]).await;
    let new = headers.expect("committed").pop().expect("one");
    assert_eq!(new.sequence, 2);
    let mut events = fork
        .vault()
        .subscribe_from(Start::Beginning, Filter::default());
    assert_eq!(events.recv().await.expect("received").digest, first.digest);
    assert_eq!(events.recv().await.expect("received").digest, new.digest);
    assert_eq!(base.position().sequence, 2);
}

#[tokio::test]
async fn cursor_of_the_base_moves_in_the_fork_alone() {
    let base = vault();
    let name = CursorName::new("worker").expect("valid");
    let first = commit(&base, 1).await;
    base.save_cursor(&name, None, first.sequence)
        .await
        .expect("saved");
    commit(&base, 2).await;
    let fork = Fork::at(base.reader(), 2).expect("forked");
    assert_eq!(fork.vault().cursor(&name).expect("read"), Some(1));
    let moved = fork.vault().save_cursor(&name, Some(1), 2).await;
    moved.expect("saved");
    assert_eq!(base.cursor(&name).expect("read"), Some(1));
    // It was saved behind the first event: right behind that it is not there yet, and now it is.
    let fork = Fork::at(base.reader(), 1).expect("forked");
    assert_eq!(fork.vault().cursor(&name).expect("read"), None);
}

#[tokio::test]
async fn parents_of_what_is_taken_over_are_the_same_events() {
    let base = vault();
    let task = commit(&base, 1).await;
    let fork = Fork::at(base.reader(), 1).expect("forked");
    let work = EventDraft::new("work").payload("w").parent(&task);
    let review = EventDraft::new("review")
        .parent_in_batch(0)
        .embedding(&[0.5, 0.5]);
    let own = fork.commit_batch_if([work, review], Vec::new()).await;
    let own = own.expect("committed");
    commit(&base, 2).await;
    let real = fork.commit_to(&base).await.expect("committed");
    let digests = |headers: &[EventHeader]| -> Vec<_> {
        headers.iter().map(|header| header.digest).collect()
    };
    assert_eq!(digests(&real), digests(&own));
    assert_eq!(real[0].sequence, 3);
    assert_eq!(real[1].parents[0].id, real[0].id);
    assert_eq!(
        base.embedding(&real[1]).expect("read"),
        fork.vault().embedding(&own[1]).expect("read")
    );
}

#[tokio::test]
async fn claim_of_a_fork_is_refused_where_somebody_else_has_claimed() {
    let base = vault();
    let task = commit(&base, 1).await;
    let fork = Fork::at(base.reader(), 1).expect("forked");
    let claim = || EventDraft::new("claim").parent(&task);
    let own = fork
        .commit_batch_if([claim()], vec![no_child(&task, "claim")])
        .await;
    let own = own.expect("the fork's is the first").remove(0);
    let done = EventDraft::new("done").parent(&own);
    fork.commit_batch_if([done], Vec::new())
        .await
        .expect("committed");

    let other = base
        .commit_batch_if([claim()], vec![no_child(&task, "claim")])
        .await;
    let other = other.expect("the base's first").remove(0);
    let refused = fork.commit_to(&base).await.expect_err("claimed by another");
    let Error::Rejected(Rejection::Preconditions { violations }) = refused else {
        panic!("{refused}")
    };
    let kind = Kind::new("claim").expect("valid");
    let expected = Violation::HasChild {
        parent: task.id,
        kind,
        child: other.id,
    };
    assert_eq!(violations, [expected]);
    assert_eq!(base.position().sequence, 2);
}

#[tokio::test]
async fn claim_of_a_fork_holds_where_nobody_else_has_claimed() {
    let base = vault();
    let task = commit(&base, 1).await;
    let fork = Fork::at(base.reader(), 1).expect("forked");
    let claim = EventDraft::new("claim").parent(&task);
    let own = fork
        .commit_batch_if([claim], vec![no_child(&task, "claim")])
        .await;
    let own = own.expect("committed").remove(0);
    let done = EventDraft::new("done").parent(&own);
    fork.commit_batch_if([done], Vec::new())
        .await
        .expect("committed");
    let real = fork.commit_to(&base).await.expect("committed");
    assert_eq!(real[0].digest, own.digest);
    assert_eq!(real[1].parents[0].digest, own.digest);
}

#[tokio::test]
async fn fork_takes_no_more_than_its_limit() {
    let base = vault();
    commit(&base, 1).await;
    let timeline = Timeline::new(base.reader().clone());
    let limits = Limits { bytes_max: 10_000 };
    let fork = timeline.fork(Moment::Now, limits).expect("forked");
    let large = || EventDraft::new("large").payload_bytes(vec![7; 6_000]);
    fork.vault()
        .commit_batch([large()])
        .await
        .expect("there is room");
    let draft = large().salt(b"another").payload_bytes(vec![8; 6_000]);
    let full = fork.vault().commit_batch([draft]).await;
    let full = full.expect_err("there is none left");
    let is_told = matches!(
        &full,
        Error::Engine(error @ EngineError::ForkFull { bytes_max: 10_000 }) if error.is_storage_full()
    );
    assert!(is_told, "{full:?}");
    let full = full.to_string();
    assert!(
        full.contains("10000") && full.contains("bytes_max"),
        "{full}"
    );
    // That was its last commit, whether it has said so already or is about to. What it had before it still has.
    let closed = fork.vault().commit_batch([large().salt(b"more")]).await;
    let is_refused = matches!(
        closed,
        Err(Error::Closed | Error::Engine(EngineError::ForkFull { .. }))
    );
    assert!(is_refused, "{closed:?}");
    assert_eq!(base.position().sequence, 1);
    let difference = fork.difference().expect("compared");
    assert_eq!(difference.fork_only.len(), 1);
    let committed = fork.commit_to(&base).await.expect("committed");
    assert_eq!(committed[0].kind, "large");
}

#[tokio::test]
async fn event_that_was_stored_before_the_fork_is_stored_once() {
    let base = vault();
    let first = commit(&base, 1).await;
    commit(&base, 2).await;
    let fork = Fork::at(base.reader(), 1).expect("forked");
    let again = commit(fork.vault(), 1).await;
    assert!(again.deduplicated);
    assert_eq!(again.digest, first.digest);
    // The payload of an event that came later is not there either.
    let second = commit(fork.vault(), 2).await;
    assert_eq!((second.deduplicated, second.payload_sequence), (false, 2));
    assert!(fork.vault().verify().expect("readable").problems.is_empty());
}

#[tokio::test]
async fn too_many_events_for_one_commit_are_refused() {
    let base = vault();
    let fork = Fork::at(base.reader(), 0).expect("forked");
    for hundred in 0..11_u32 {
        let drafts = (0..100_u32).map(|n| EventDraft::new("n").payload(&(hundred * 100 + n)));
        let committed = fork.vault().commit_batch(drafts).await;
        committed.expect("committed");
    }
    let refused = fork.commit_to(&base).await.expect_err("too many");
    assert!(
        matches!(&refused, Error::Invalid(invalid) if invalid.field() == "events"),
        "{refused}"
    );
    assert_eq!(base.position().sequence, 0);
}
