//! What `apply` makes of events: identity, order, parents, payloads, time.

mod apply_support;

use std::sync::Arc;

use apply_support::*;
use toka_ledger::command::{Command, Commit, Create, ParentName};
use toka_ledger::engine::{Engine, Table};
use toka_ledger::seam::SystemThreads;
use toka_ledger::store::{meta, payloads};
use toka_ledger::{
    Digest, EventId, Invalid, Ledger, Outcome, Parent, Rejection, Selector, Stored, hash,
};

#[test]
fn events_get_gapless_sequences_and_ids_that_carry_time_and_sequence() {
    let mut vault = Vault::new();
    let headers = vault.accept(commit([event("a", "1"), event("a", "2")]));
    let last = vault.accept_event(event("b", "3"));
    assert_eq!(
        [headers[0].sequence, headers[1].sequence, last.sequence],
        [1, 2, 3]
    );
    assert_eq!(last.id, EventId::new(NOW, 3, &last.digest));
    assert_eq!(vault.ledger.position().sequence, 3);
    assert_eq!(vault.ledger.position().revision, 3);
}

#[test]
fn the_digest_covers_payload_kind_salt_and_parents() {
    let mut vault = Vault::new();
    let parent = vault.accept_event(event("a", "1"));
    let child = event("b", "2").salted(b"salt").child_of([by_id(&parent)]);
    let header = vault.accept_event(child.clone());
    assert_eq!(
        header.digest,
        hash::event_digest(
            &child.kind,
            &child.payload_digest,
            &child.salt,
            &[parent.digest]
        )
    );
}

#[test]
fn a_repeated_commit_stores_nothing_and_returns_the_first_header() {
    let mut vault = Vault::new();
    let first = vault.accept_event(event("a", "1"));
    let before = vault.ledger.position();
    let mut rows = contents(&*vault.engine);
    let again = vault.accept_event(event("a", "1").tagged("ignored", "yes"));
    assert!(again.deduplicated && !first.deduplicated);
    assert_eq!((again.id, &again.attributes), (first.id, &first.attributes));
    let after = vault.ledger.position();
    assert_eq!(after.revision, before.revision + 1);
    assert_eq!(
        (after.state_digest, after.history_root),
        (before.state_digest, before.history_root)
    );
    let mut rows_after = contents(&*vault.engine);
    rows.retain(|(_, key, _)| &key[..] != meta::APPLIED);
    rows_after.retain(|(_, key, _)| &key[..] != meta::APPLIED);
    assert_eq!(rows, rows_after);
}

#[test]
fn equal_events_of_one_commit_are_stored_once() {
    let mut vault = Vault::new();
    let headers = vault.accept(commit([event("a", "1"), event("a", "1"), event("a", "2")]));
    assert_eq!(
        headers
            .iter()
            .map(|header| header.sequence)
            .collect::<Vec<_>>(),
        [1, 1, 2]
    );
    assert_eq!(
        headers
            .iter()
            .map(|header| header.deduplicated)
            .collect::<Vec<_>>(),
        [false, true, false]
    );
}

#[test]
fn equal_commits_of_one_entry_are_stored_once() {
    let mut vault = Vault::new();
    let outcomes = vault.commits([commit([event("a", "1")]), commit([event("a", "1")])]);
    let headers: Vec<_> = outcomes.into_iter().flat_map(accepted).collect();
    assert_eq!(headers[0].id, headers[1].id);
    assert!(headers[1].deduplicated);
}

#[test]
fn a_salt_makes_a_repeat_an_event_of_its_own() {
    let mut vault = Vault::new();
    let first = vault.accept_event(event("a", "1"));
    let second = vault.accept_event(event("a", "1").salted(b"again"));
    assert_ne!(first.digest, second.digest);
    assert_eq!(second.sequence, 2);
}

#[test]
fn a_payload_is_stored_once_whatever_the_kind() {
    let mut vault = Vault::new();
    let headers = vault.accept(commit([event("a", "same"), event("b", "same")]));
    let later = vault.accept_event(event("c", "same"));
    for header in headers.iter().chain([&later]) {
        assert_eq!(header.payload_sequence, 1);
        let payload = vault.ledger.reader().payload(header).expect("readable");
        assert_eq!(payload, Stored::Present("same".into()));
    }
    let rows = contents(&*vault.engine);
    assert_eq!(
        rows.iter()
            .filter(|(table, ..)| *table == Table::Payloads)
            .count(),
        1
    );
}

#[test]
fn parents_can_be_named_by_id_digest_or_place_in_the_batch() {
    let mut vault = Vault::new();
    let first = vault.accept_event(event("a", "1"));
    let second = vault.accept_event(event("a", "2"));
    let headers = vault.accept(commit([
        event("b", "3").child_of([by_id(&first)]),
        event("b", "4").child_of([ParentName::Batch(0), by_digest(&second), by_id(&first)]),
    ]));
    let parent = |of: &toka_ledger::EventHeader| Parent {
        digest: of.digest,
        id: of.id,
    };
    let mut expected = vec![parent(&first), parent(&second), parent(&headers[0])];
    expected.sort_by_key(|parent| parent.digest);
    assert_eq!(headers[1].parents, expected);
}

#[test]
fn a_parent_named_twice_counts_once() {
    let mut vault = Vault::new();
    let parent = vault.accept_event(event("a", "1"));
    let names = [by_digest(&parent), by_id(&parent), by_id(&parent)];
    let child = vault.accept_event(event("b", "2").child_of(names));
    assert_eq!(child.parents.len(), 1);
    let again = vault.accept_event(event("b", "2").child_of([by_id(&parent)]));
    assert_eq!(again.id, child.id);
}

#[test]
fn a_parent_may_be_a_duplicate_of_the_same_batch() {
    let mut vault = Vault::new();
    let stored = vault.accept_event(event("a", "1"));
    let headers = vault.accept(commit([
        event("a", "1"),
        event("a", "2"),
        event("a", "2"),
        event("b", "3").child_of([ParentName::Batch(0), ParentName::Batch(2)]),
    ]));
    let parents: Vec<_> = headers[3].parents.iter().map(|parent| parent.id).collect();
    assert_eq!(parents.len(), 2);
    assert!(parents.contains(&stored.id) && parents.contains(&headers[1].id));
}

#[test]
fn unknown_parents_are_refused_by_name() {
    let mut vault = Vault::new();
    let known = vault.accept_event(event("a", "1"));
    let mut other_bits = *known.id.as_bytes();
    other_bits[15] ^= 1;
    let names = [
        ParentName::Id(EventId::from_bytes(other_bits)),
        ParentName::Id(EventId::from_bytes([0; 16])),
        ParentName::Id(EventId::from_bytes([0xff; 16])),
        ParentName::Digest(Digest([7; 32])),
        ParentName::Batch(1),
        ParentName::Batch(u16::MAX),
    ];
    for parent in names {
        let rejection = vault.refuse(commit([
            event("b", "1").child_of([by_id(&known)]),
            event("b", "2").child_of([by_id(&known), parent]),
        ]));
        assert_eq!(rejection, Rejection::UnknownParent { event: 1, parent });
    }
    assert_eq!(vault.ledger.position().sequence, 1);
}

#[test]
fn a_rejected_commit_leaves_nothing_for_those_after_it_in_the_entry() {
    let mut vault = Vault::new();
    let lost = event("a", "lost");
    let digest = hash::event_digest(&lost.kind, &lost.payload_digest, &lost.salt, &[]);
    let unknown = ParentName::Digest(Digest([7; 32]));
    let outcomes = vault.commits([
        commit([lost.clone(), event("a", "x").child_of([unknown])]),
        commit([event("b", "child").child_of([ParentName::Digest(digest)])]),
        commit([lost]),
    ]);
    let parent = ParentName::Digest(digest);
    assert_eq!(
        outcomes[1],
        Outcome::Rejected {
            revision: 3,
            rejection: Rejection::UnknownParent { event: 0, parent }
        }
    );
    let header = accepted(outcomes[2].clone()).remove(0);
    assert_eq!((header.sequence, header.deduplicated), (1, false));
}

#[test]
fn time_never_runs_backwards_and_stays_below_2_to_the_48() {
    let mut vault = Vault::new();
    let mut at = |unix_ms, payload| {
        vault.accept(Commit {
            unix_ms,
            ..commit([event("a", payload)])
        })[0]
            .unix_ms
    };
    assert_eq!(at(NOW + 5, "1"), NOW + 5);
    assert_eq!(at(NOW - 5, "2"), NOW + 5);
    assert_eq!(at(u64::MAX, "3"), (1 << 48) - 1);
    assert_eq!(at(0, "4"), (1 << 48) - 1);
}

#[test]
fn embeddings_of_refused_commits_may_be_of_any_dimension() {
    // In one entry: those behind the first are scored together before it is known which come.
    for (first, other) in [(64, 65), (65, 64), (384, 8), (8, 384), (4, 3)] {
        let mut vault = Vault::new();
        let commits = (0..40).map(|n| {
            let dimension = if n % 3 == 1 { other } else { first };
            let vector: Vec<f32> = (0..dimension)
                .map(|at| ((at * n + n) as f32).cos())
                .collect();
            commit([event("a", &n.to_string()).embedded(&vector)])
        });
        let outcomes = vault.commits(commits);
        for (n, outcome) in outcomes.into_iter().enumerate() {
            let is_refused = matches!(outcome, Outcome::Rejected { .. });
            assert_eq!(is_refused, n % 3 == 1, "{first} {other} {n}: {outcome:?}");
        }
        let last: Vec<f32> = (0..first).map(|at| at as f32 + 1.0).collect();
        vault.accept_event(event("a", "last").embedded(&last));
    }
}

#[test]
fn restart_before_the_first_embedding_changes_nothing() {
    let Command::Create(create) = create() else {
        unreachable!("made by the function of that name")
    };
    let create = Command::Create(Create {
        dimension: Some(2),
        ..create
    });
    let mut vaults = [Vault::pristine(), Vault::pristine()];
    let states = vaults.each_mut().map(|vault| {
        vault.apply(std::slice::from_ref(&create));
        vault.accept_event(event("a", "0"));
        vault.ledger.position()
    });
    assert_eq!(states[0], states[1]);
    let [_, restarted] = &mut vaults;
    restarted.ledger =
        Ledger::open(restarted.engine.clone(), Arc::new(SystemThreads)).expect("opens");
    let named = event("a", "1").embedded(&[1.0, 2.0]).of_model("x");
    let states = vaults.each_mut().map(|vault| {
        vault.accept_event(named.clone());
        vault.ledger.position()
    });
    assert_eq!(states[0], states[1]);
}

/// The rejection of an event of another model than the vault's.
fn other_model(event: usize, expected: Option<&str>, actual: &str) -> Rejection {
    Rejection::Invalid {
        event,
        invalid: Invalid::Model {
            field: "embedding_model",
            expected: expected.map(str::to_owned),
            actual: actual.to_owned(),
        },
    }
}

#[test]
fn the_first_embedded_event_fixes_the_model() {
    let mut vault = Vault::new();
    let embedded = |payload: &str| event("a", payload).embedded(&[1.0, 2.0]);
    // Neither event of a commit with two models fixes anything.
    let rejection = vault.refuse(commit([
        embedded("1").of_model("x"),
        embedded("2").of_model("y"),
    ]));
    assert_eq!(rejection, other_model(1, Some("x"), "y"));
    vault.accept(commit([
        embedded("1").of_model("z"),
        embedded("2").of_model("z"),
    ]));
    let rejection = vault.refuse(commit([embedded("3").of_model("x")]));
    assert_eq!(rejection, other_model(0, Some("z"), "x"));
    // Whoever names none says that he knows what the vault has.
    vault.accept_event(embedded("4"));
    let settings = vault.ledger.reader().settings().expect("readable");
    let model = settings.expect("created").model;
    assert_eq!(model.expect("fixed").as_str(), "z");
}

#[test]
fn no_model_can_be_named_after_embeddings_of_none() {
    let embedded = |payload: &str| event("a", payload).embedded(&[1.0, 2.0]);
    let mut vault = Vault::new();
    // An event without an embedding fixes nothing.
    vault.accept_event(event("a", "0"));
    let rejection = vault.refuse(commit([embedded("1"), embedded("2").of_model("x")]));
    assert_eq!(rejection, other_model(1, None, "x"));
    assert!(
        rejection
            .to_string()
            .contains("of a model that was not named")
    );
    vault.accept_event(embedded("1"));
    let rejection = vault.refuse(commit([embedded("2").of_model("x")]));
    assert_eq!(rejection, other_model(0, None, "x"));
    // Nor after a restart.
    vault.ledger = Ledger::open(vault.engine.clone(), Arc::new(SystemThreads)).expect("opens");
    let rejection = vault.refuse(commit([embedded("2").of_model("x")]));
    assert_eq!(rejection, other_model(0, None, "x"));
    vault.accept_event(embedded("2"));
}

#[test]
fn the_first_embedded_event_fixes_the_dimension() {
    let mut vault = Vault::new();
    let two = [1.0, 2.0];
    let three = [1.0, 2.0, 3.0];
    let invalid = |expected, actual| Invalid::Dimension {
        field: "embedding",
        expected,
        actual,
    };
    // Neither event of a commit with two dimensions fixes anything.
    let rejection = vault.refuse(commit([
        event("a", "1").embedded(&two),
        event("a", "2").embedded(&three),
    ]));
    assert_eq!(
        rejection,
        Rejection::Invalid {
            event: 1,
            invalid: invalid(2, 3)
        }
    );
    let header = vault.accept_event(event("a", "3").embedded(&three));
    assert_eq!(
        header.embedding.map(|embedding| embedding.dimension),
        Some(3)
    );
    let rejection = vault.refuse(commit([event("a", "4").embedded(&two)]));
    assert_eq!(
        rejection,
        Rejection::Invalid {
            event: 0,
            invalid: invalid(3, 2)
        }
    );
    let settings = vault
        .ledger
        .reader()
        .settings()
        .expect("readable")
        .expect("created");
    assert_eq!(settings.dimension, Some(3));
    // A duplicate's embedding is ignored.
    assert!(
        vault
            .accept_event(event("a", "3").embedded(&two))
            .deduplicated
    );
}

#[test]
fn embeddings_are_stored_as_they_came() {
    let mut vault = Vault::new();
    let with = event("a", "1").embedded(&[0.1, 0.5, -0.2]);
    let without = vault.accept_event(event("a", "2"));
    let header = vault.accept_event(with.clone());
    let embedding = with.embedding.expect("it has one");
    assert_eq!(
        header.embedding.map(|embedding| embedding.digest),
        Some(embedding.digest())
    );
    let reader = vault.ledger.reader();
    assert_eq!(
        reader.embedding(&header).expect("readable"),
        Some(Stored::Present(embedding))
    );
    assert_eq!(reader.embedding(&without).expect("readable"), None);
}

#[test]
fn a_full_vault_refuses_new_events_and_still_knows_the_old_ones() {
    let mut vault = Vault::new();
    let old = vault.accept_event(event("a", "1"));
    let position = vault.ledger.position();
    let last = (1_u64 << 42) - 1;
    let applied = meta::Applied {
        revision: position.revision,
        sequence: last,
        unix_ms: position.unix_ms,
        state_digest: position.state_digest,
        frontier: vec![Digest::ZERO; 42],
        log_id: None,
    };
    let mut batch = toka_ledger::engine::Batch::new();
    batch.put(Table::Meta, meta::APPLIED, meta::encode_applied(&applied));
    vault
        .engine
        .write(batch, toka_ledger::engine::Durability::Synced)
        .expect("writes");
    vault.ledger =
        Ledger::open(Arc::clone(&vault.engine) as _, Arc::new(SystemThreads)).expect("opens");
    assert_eq!(vault.refuse(commit([event("a", "2")])), Rejection::Full);
    assert_eq!(vault.accept_event(event("a", "1")).id, old.id);
}

#[test]
fn headers_are_found_by_id_sequence_and_digest_and_only_by_the_whole_id() {
    let mut vault = Vault::new();
    let header = vault.accept_event(event("a", "1").tagged("trace", "7").salted(b"s"));
    let reader = vault.ledger.reader();
    let mut other_bits = *header.id.as_bytes();
    other_bits[0] ^= 1;
    let found = reader.headers(&[
        Selector::Id(header.id),
        Selector::Digest(Digest::ZERO),
        Selector::Sequence(1),
        Selector::Id(EventId::from_bytes(other_bits)),
        Selector::Digest(header.digest),
        Selector::Sequence(2),
        Selector::Sequence(0),
        Selector::Sequence(u64::MAX),
    ]);
    let some = || Some(Arc::clone(&header));
    let expected = [some(), None, some(), None, some(), None, None, None];
    assert_eq!(found.expect("readable"), expected);
}

#[test]
fn a_payload_can_be_read_as_erased() {
    let mut vault = Vault::new();
    let header = vault.accept_event(event("a", "1"));
    let mut batch = toka_ledger::engine::Batch::new();
    batch.put(
        Table::Payloads,
        1_u64.to_be_bytes(),
        payloads::encode(1, &Stored::Erased),
    );
    vault
        .engine
        .write(batch, toka_ledger::engine::Durability::Synced)
        .expect("writes");
    assert_eq!(
        vault.ledger.reader().payload(&header).expect("readable"),
        Stored::Erased
    );
}

#[test]
fn empty_salt_kind_and_payload_of_any_size_are_applied_as_decoded() {
    let mut vault = Vault::new();
    let command = Command::Commit(commit([event("a", "")]));
    let mut batch = toka_ledger::command::Batch::default();
    batch.push(&toka_ledger::command::encode(&command));
    let decoded = toka_ledger::command::decode_batch(batch.finish()).expect("decodes");
    assert_eq!(decoded, [command]);
    let header = accepted(vault.apply(&decoded).remove(0)).remove(0);
    assert_eq!(header.payload_bytes, 0);
}
