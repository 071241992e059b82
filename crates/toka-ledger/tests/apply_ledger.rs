//! The ledger around `apply`: creation, marks, readers, failures, digests of the state.

mod apply_support;

use std::sync::Arc;

use apply_support::*;
use toka_ledger::command::{Command, Create, FEATURE_LEVEL};
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::engine::{Batch, Durability, Engine, Table};
use toka_ledger::intent::Parameters;
use toka_ledger::{Error, Ledger, LogMark, Outcome, Rejection, Selector};

fn open(engine: &Arc<MemoryEngine>) -> Result<Ledger, Error> {
    Ledger::open(
        Arc::clone(engine) as Arc<dyn Engine>,
        Arc::new(toka_ledger::seam::SystemThreads),
    )
}

fn mark(log_id: &'static str) -> LogMark {
    LogMark {
        log_id: Some(log_id.into()),
        membership: None,
    }
}

#[test]
fn commits_before_the_creation_are_refused() {
    let mut vault = Vault::pristine();
    assert_eq!(
        vault.refuse(commit([event("a", "1")])),
        Rejection::NotCreated
    );
    assert_eq!(vault.apply(&[create()]), [Outcome::Created { revision: 2 }]);
    vault.accept_event(event("a", "1"));
}

#[test]
fn a_second_creation_is_refused() {
    let mut vault = Vault::new();
    let outcome = vault.apply(&[create()]).remove(0);
    assert_eq!(refused(outcome), Rejection::AlreadyCreated);
}

#[test]
fn the_creation_is_stored_as_settings() {
    let vault = Vault::new();
    let settings = vault
        .ledger
        .reader()
        .settings()
        .expect("readable")
        .expect("created");
    assert_eq!((settings.cluster_id, settings.history_id), (0xc1, 0x41));
    assert_eq!(
        (settings.feature_level, settings.dimension),
        (FEATURE_LEVEL, None)
    );
    assert_eq!(settings.created_unix_ms, NOW);
}

#[test]
fn a_newer_feature_level_stops_the_ledger() {
    let mut vault = Vault::pristine();
    let create = Command::Create(Create {
        cluster_id: 1,
        history_id: 1,
        feature_level: FEATURE_LEVEL + 1,
        dimension: None,
        model: None,
        intents: Parameters::default(),
        unix_ms: 0,
    });
    let apply = |vault: &mut Vault, command: &Command| {
        vault.ledger.apply(
            std::slice::from_ref(command),
            LogMark::default(),
            Durability::Volatile,
        )
    };
    assert!(matches!(
        apply(&mut vault, &create),
        Err(Error::FeatureLevel { .. })
    ));
    assert!(matches!(
        apply(&mut vault, &apply_support::create()),
        Err(Error::Closed)
    ));
    assert_eq!(contents(&*vault.engine), []);
}

#[test]
fn a_ledger_opens_where_it_was() {
    let mut vault = Vault::new();
    vault.accept(commit([
        event("a", "1"),
        event("a", "2").embedded(&[1.0, 0.0]),
    ]));
    vault
        .ledger
        .apply(&[], mark("m"), Durability::Volatile)
        .expect("applies");
    let again = open(&vault.engine).expect("opens");
    assert_eq!(again.position(), vault.ledger.position());
    assert_eq!(again.log_mark(), mark("m"));
}

#[test]
fn the_log_s_mark_is_kept_until_it_is_given_anew() {
    let mut vault = Vault::new();
    let membership = LogMark {
        log_id: Some("1".into()),
        membership: Some("m".into()),
    };
    let mut apply = |mark| {
        vault
            .ledger
            .apply(&[], mark, Durability::Volatile)
            .map(|_| vault.ledger.log_mark())
    };
    assert_eq!(apply(membership.clone()).expect("applies"), membership);
    assert_eq!(apply(LogMark::default()).expect("applies"), membership);
    let moved = LogMark {
        log_id: Some("2".into()),
        ..membership
    };
    assert_eq!(apply(mark("2")).expect("applies"), moved);
}

#[test]
fn the_flushed_mark_is_what_a_crash_leaves() {
    let mut vault = Vault::new();
    let ledger = &mut vault.ledger;
    assert_eq!(
        ledger.flushed_log_mark().expect("readable"),
        LogMark::default()
    );
    ledger
        .apply(&[], mark("1"), Durability::Volatile)
        .expect("applies");
    ledger.engine().flush().expect("flushes");
    ledger
        .apply(&[], mark("2"), Durability::Volatile)
        .expect("applies");
    assert_eq!(ledger.flushed_log_mark().expect("readable"), mark("1"));
    assert_eq!(ledger.log_mark(), mark("2"));
    let crashed = open(&Arc::new(vault.engine.crash_image())).expect("opens");
    assert_eq!(crashed.log_mark(), mark("1"));
}

#[test]
fn damage_found_by_apply_closes_the_ledger() {
    let mut vault = Vault::new();
    let header = vault.accept_event(event("a", "1"));
    let mut batch = Batch::new();
    batch.put(Table::Events, header.digest.as_bytes(), b"damage");
    vault
        .engine
        .write(batch, Durability::Volatile)
        .expect("writes");
    let mut watch = vault.ledger.reader().watch();
    let command = [Command::Commit(commit([event("a", "1")]))];
    let mut apply = || {
        vault
            .ledger
            .apply(&command, LogMark::default(), Durability::Volatile)
            .expect_err("fails")
    };
    assert!(matches!(
        apply(),
        Error::Corrupt {
            table: "events",
            ..
        }
    ));
    assert!(matches!(apply(), Error::Closed));
    assert!(
        watch.has_changed().is_err(),
        "subscribers hear that the vault is closed"
    );
    assert_eq!(watch.borrow_and_update().sequence, 1);
}

#[test]
fn readers_hear_of_new_positions_and_of_the_end() {
    let mut vault = Vault::new();
    let mut watch = vault.ledger.reader().watch();
    assert_eq!(watch.borrow_and_update().sequence, 0);
    vault.accept_event(event("a", "1"));
    assert!(watch.has_changed().expect("open"));
    assert_eq!(*watch.borrow_and_update(), vault.ledger.position());
    let reader = vault.ledger.reader();
    drop(vault.ledger);
    assert!(watch.has_changed().is_err());
    assert!(
        reader
            .header(&Selector::Sequence(1))
            .expect("readable")
            .is_some()
    );
}

#[test]
fn readers_go_on_with_an_installed_snapshot() {
    let mut ahead = Vault::new();
    ahead.accept(commit([event("a", "1"), event("a", "2")]));
    let mut behind = Vault::new();
    behind.accept(commit([event("a", "1")]));
    let reader = behind.ledger.reader();
    behind.ledger.install(ahead.engine).expect("installs");
    assert_eq!(reader.position(), ahead.ledger.position());
    assert!(
        reader
            .header(&Selector::Sequence(2))
            .expect("readable")
            .is_some()
    );
    let next = behind.accept_event(event("a", "3"));
    assert_eq!(next.sequence, 3);
    assert_eq!(
        reader.header(&Selector::Id(next.id)).expect("readable"),
        Some(next)
    );
}

#[test]
fn the_state_does_not_depend_on_how_commands_are_gathered() {
    let commands: Vec<_> = std::iter::once(create())
        .chain((0..600).map(|n| Command::Commit(commit([event("a", &n.to_string())]))))
        .collect();
    let apply = |size: usize| {
        let mut vault = Vault::pristine();
        for entry in commands.chunks(size) {
            vault.apply(entry);
        }
        vault
    };
    let (one, many) = (apply(1), apply(97));
    assert_eq!(contents(&*one.engine), contents(&*many.engine));
    for sequence in [256, 512] {
        let at = |vault: &Vault| vault.ledger.reader().state_digest_at(sequence);
        assert_eq!(at(&one).expect("readable"), at(&many).expect("readable"));
    }
}

#[test]
fn old_states_can_be_compared_at_every_256th_event() {
    let mut vault = Vault::new();
    let mut positions = Vec::new();
    for n in 0..600 {
        vault.accept_event(event("a", &n.to_string()));
        positions.push(vault.ledger.position());
    }
    let reader = vault.ledger.reader();
    let at = |sequence| reader.state_digest_at(sequence).expect("readable");
    for sequence in [256, 512] {
        let position = positions[sequence - 1];
        let expected = (position.history_root, position.state_digest);
        assert_eq!(at(sequence as u64), Some(expected));
    }
    assert_eq!([at(0), at(255), at(600), at(768), at(u64::MAX)], [None; 5]);
}
