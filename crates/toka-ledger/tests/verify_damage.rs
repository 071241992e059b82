//! `verify` finds every changed byte, and says whose it is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use toka_ledger::codec::DecodeError;
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::engine::{Batch, Direction, Durability, Engine, Table};
use toka_ledger::store::journal::{self, Change, Place};
use toka_ledger::store::{
    self, attributes, children, decode_sequence, encode_sequence, events, kinds, payload_digests,
};
use toka_ledger::verify::{Options, Report, verify, verify_with};
use toka_ledger::{CursorName, EventDraft, Ledger, VaultBus};

const EVENTS: u64 = 300;

/// A vault with everything in it that a row can say, closed.
async fn engine() -> Arc<MemoryEngine> {
    let engine = Arc::new(MemoryEngine::new());
    let vault = VaultBus::builder()
        .open_engine(engine.clone())
        .expect("opened");
    let root = vault
        .event("root")
        .payload("root")
        .commit()
        .await
        .expect("committed");
    let drafts = (2..=EVENTS).map(|n| {
        let event = EventDraft::new(["a", "a.b", "c"][(n % 3) as usize])
            // Some payloads are shared.
            .payload(&(n / 2))
            .salt(&n.to_be_bytes())
            .parent(&root);
        let event = if n % 5 == 0 {
            event.parent_in_batch(0)
        } else {
            event
        };
        let event = if n % 4 == 0 {
            event.embedding(&[n as f32, 1.0, -3.0])
        } else {
            event
        };
        if n % 3 == 0 {
            event.source("me").attribute("n", n.to_string())
        } else {
            event
        }
    });
    let drafts: Vec<_> = drafts.collect();
    vault.commit_batch(drafts).await.expect("committed");
    vault.close().await;
    engine
}

/// Opened anew for each check, as after a restart.
fn check(engine: Arc<MemoryEngine>) -> Report {
    let (reader, _) = Ledger::read_only(engine).expect("opened");
    verify(&reader, &mut |_| {}).expect("readable")
}

fn rows(engine: &MemoryEngine, table: Table) -> Vec<(Bytes, Bytes)> {
    let rows = engine.scan(table, &[], None, Direction::Forward);
    rows.collect::<Result<_, _>>().expect("readable")
}

/// A copy with its own rows.
fn copy(engine: &MemoryEngine) -> Arc<MemoryEngine> {
    let mut batch = Batch::new();
    for table in Table::ALL {
        for (key, value) in rows(engine, table) {
            batch.put(table, key, value);
        }
    }
    let copy = MemoryEngine::new();
    copy.write(batch, Durability::Synced).expect("written");
    Arc::new(copy)
}

fn flipped(bytes: &Bytes, at: usize) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1 << (at % 8);
    bytes.into()
}

/// The events that a report names.
fn named(report: &Report) -> BTreeSet<u64> {
    report
        .problems
        .iter()
        .filter_map(|problem| problem.sequence)
        .collect()
}

fn write(engine: &MemoryEngine, change: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::new();
    change(&mut batch);
    engine.write(batch, Durability::Synced).expect("written");
}

/// Flips a byte of the value of every row in turn, at a place that changes from row to row.
async fn flip_values(table: Table, owner: impl Fn(&[u8], &Bytes) -> Result<u64, DecodeError>) {
    let engine = copy(&*engine().await);
    let rows = rows(&engine, table);
    assert!(rows.len() > 50, "{table} has {} rows", rows.len());
    for (n, (key, value)) in rows.into_iter().enumerate() {
        let sequence = owner(&key, &value).expect("intact");
        // First, last, and everything between.
        let at = match n % 3 {
            0 => 0,
            1 => value.len() - 1,
            _ => n * 7 % value.len(),
        };
        write(&engine, |batch| batch.put(table, &key, flipped(&value, at)));
        let report = check(engine.clone());
        assert_eq!(
            named(&report),
            [sequence].into(),
            "byte {at}: {:?}",
            report.problems
        );
        write(&engine, |batch| batch.put(table, &key, &value));
    }
    assert!(check(engine).is_intact());
}

/// Flips a byte of the key of every row in turn.
async fn flip_keys(table: Table, owner: impl Fn(&[u8], &Bytes) -> Result<u64, DecodeError>) {
    let engine = copy(&*engine().await);
    let rows = rows(&engine, table);
    assert!(rows.len() > 50, "{table} has {} rows", rows.len());
    for (n, (key, value)) in rows.into_iter().enumerate() {
        let sequence = owner(&key, &value).expect("intact");
        let at = n * 7 % key.len();
        let wrong = flipped(&key, at);
        // A key that another row has already would not be a flipped byte, but a lost row.
        let other = engine.get(table, &wrong).expect("readable");
        write(&engine, |batch| {
            batch.delete(table, &key);
            if other.is_none() {
                batch.put(table, &wrong, &value);
            }
        });
        let report = check(engine.clone());
        assert_eq!(
            named(&report),
            [sequence].into(),
            "byte {at}: {:?}",
            report.problems
        );
        write(&engine, |batch| {
            if other.is_none() {
                batch.delete(table, &wrong);
            }
            batch.put(table, &key, &value);
        });
    }
    assert!(check(engine).is_intact());
}

fn by_key(key: &[u8], _: &Bytes) -> Result<u64, DecodeError> {
    decode_sequence(key)
}

#[tokio::test]
async fn sound_vault_is_intact() {
    let engine = engine().await;
    let ledger = Ledger::open(engine, Arc::new(toka_ledger::seam::SystemThreads)).expect("opened");
    let mut seen = Vec::new();
    let report = verify(&ledger.reader(), &mut |progress| {
        seen.push(progress.checked)
    });
    let report = report.expect("readable");
    assert!(report.is_intact(), "{:?}", report.problems);
    assert_eq!(report.events, EVENTS);
    assert_eq!(report.embeddings, EVENTS / 4);
    assert_eq!(report.payloads, 1 + EVENTS / 2);
    assert_eq!(report.history_root, ledger.position().history_root);
    assert_eq!(report.state_stretches, 2);
    assert_eq!(seen, [256, 300]);
}

#[tokio::test]
async fn empty_vault_is_intact() {
    let vault = VaultBus::builder().open_in_memory().expect("opened");
    let report = vault.verify().expect("readable");
    assert!(report.is_intact(), "{:?}", report.problems);
    assert_eq!(report.history_root, vault.position().history_root);
}

#[tokio::test]
async fn flipped_byte_of_a_header_names_its_event() {
    flip_values(Table::Headers, by_key).await;
}

#[tokio::test]
async fn flipped_byte_of_a_payload_names_its_event() {
    flip_values(Table::Payloads, by_key).await;
}

#[tokio::test]
async fn flipped_byte_of_an_embedding_names_its_event() {
    flip_values(Table::Embeddings, by_key).await;
}

#[tokio::test]
async fn flipped_byte_of_an_events_row_names_its_event() {
    let owner = |_: &[u8], value: &Bytes| events::decode(value.clone());
    flip_values(Table::Events, owner).await;
    flip_keys(Table::Events, owner).await;
}

#[tokio::test]
async fn flipped_byte_of_a_payload_digests_row_names_its_event() {
    let owner = |_: &[u8], value: &Bytes| payload_digests::decode(value.clone());
    flip_values(Table::PayloadDigests, owner).await;
    flip_keys(Table::PayloadDigests, owner).await;
}

#[tokio::test]
async fn flipped_byte_of_a_kinds_row_names_its_event() {
    flip_keys(Table::Kinds, |key, _| {
        kinds::decode_key(key).map(|(_, sequence)| sequence)
    })
    .await;
}

#[tokio::test]
async fn flipped_byte_of_an_attributes_row_names_its_event() {
    let owner = |key: &[u8], _: &Bytes| attributes::decode_key(key).map(|(_, _, at)| at);
    flip_keys(Table::Attributes, owner).await;
}

#[tokio::test]
async fn flipped_byte_of_a_children_row_names_its_event() {
    let owner = |key: &[u8], _: &Bytes| children::decode_key(key).map(|(_, _, child)| child);
    flip_keys(Table::Children, owner).await;
}

#[tokio::test]
async fn missing_rows_name_their_event() {
    for table in [Table::Headers, Table::Payloads, Table::Embeddings] {
        let engine = copy(&*engine().await);
        for (key, value) in rows(&engine, table) {
            let sequence = decode_sequence(&key).expect("intact");
            // The newest header tells the ledger where it is, and its absence is found at once.
            write(&engine, |batch| batch.delete(table, &key));
            let report = check(engine.clone());
            assert_eq!(named(&report), [sequence].into(), "{:?}", report.problems);
            write(&engine, |batch| batch.put(table, &key, &value));
        }
    }
}

#[tokio::test]
async fn extra_rows_are_found() {
    let sound = engine().await;
    let far = encode_sequence(EVENTS + 100);
    let header = rows(&sound, Table::Headers).swap_remove(0).1;
    let extra = [
        (Table::Headers, far.to_vec(), header),
        (Table::Payloads, far.to_vec(), Bytes::from_static(b"x")),
        (
            Table::Payloads,
            encode_sequence(3).to_vec(),
            Bytes::from_static(b"x"),
        ),
        (
            Table::PayloadDigests,
            vec![7; 32],
            payload_digests::encode(5).to_vec().into(),
        ),
        (
            Table::Events,
            vec![7; 32],
            events::encode(5).to_vec().into(),
        ),
        (Table::Embeddings, encode_sequence(3).to_vec(), Bytes::new()),
        (Table::Kinds, kinds::key("other", 5), Bytes::new()),
        (Table::Kinds, b"no key".to_vec(), Bytes::new()),
        (
            Table::Attributes,
            attributes::key("n", "0", 5),
            Bytes::new(),
        ),
        (Table::Children, children::key(1, "other", 5), Bytes::new()),
        (Table::Micros, vec![0; 12], Bytes::new()),
        (
            Table::History,
            store::history::key(8, 1).to_vec(),
            Bytes::from_static(b"x"),
        ),
        (Table::Meta, b"strange".to_vec(), Bytes::new()),
    ];
    for (table, key, value) in extra {
        let engine = copy(&sound);
        write(&engine, |batch| batch.put(table, key, value));
        let report = check(engine);
        assert_eq!(
            named(&report),
            BTreeSet::new(),
            "{table}: {:?}",
            report.problems
        );
        let tables: BTreeSet<_> = report
            .problems
            .iter()
            .map(|problem| problem.table)
            .collect();
        assert_eq!(tables, [Some(table)].into(), "{:?}", report.problems);
    }
}

#[tokio::test]
async fn rewritten_event_with_a_sound_checksum_is_found() {
    let sound = engine().await;
    let sequence = 7;
    let key = encode_sequence(sequence);
    let row = sound
        .get(Table::Headers, &key)
        .expect("readable")
        .expect("there");
    let header = store::headers::decode(sequence, row).expect("intact");

    // The digest covers the payload, ...
    let engine = copy(&sound);
    let payload = store::Stored::Present(Bytes::from_static(b"forged"));
    let forged = store::payloads::encode(header.payload_sequence, &payload);
    let payload_key = encode_sequence(header.payload_sequence);
    write(&engine, |batch| {
        batch.put(Table::Payloads, payload_key, forged)
    });
    assert_eq!(named(&check(engine)), [header.payload_sequence].into());

    // ... salt, and parents; the leaf covers the time; ...
    let engine = copy(&sound);
    let mut forged = header.clone();
    forged.parents.clear();
    write(&engine, |batch| {
        batch.put(Table::Headers, key, store::headers::encode(&forged))
    });
    let report = check(engine);
    assert_eq!(named(&report), [sequence].into(), "{:?}", report.problems);

    // ... and the state chain covers the rest.
    let engine = copy(&sound);
    let mut forged = header;
    forged
        .attributes
        .pairs
        .insert("forged".to_owned(), "1".to_owned());
    write(&engine, |batch| {
        batch.put(Table::Headers, key, store::headers::encode(&forged));
        batch.put(
            Table::Attributes,
            attributes::key("forged", "1", sequence),
            Bytes::new(),
        );
    });
    let report = check(engine);
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    assert!(
        report.problems[0].detail.contains("1 to 256"),
        "{:?}",
        report.problems
    );
}

#[tokio::test]
async fn moved_cursors_are_no_damage() {
    let engine = Arc::new(MemoryEngine::new());
    let vault = VaultBus::builder()
        .open_engine(engine.clone())
        .expect("opened");
    vault.event("a").commit().await.expect("committed");
    vault
        .event("b")
        .move_cursor("agent", 0, 1)
        .commit()
        .await
        .expect("committed");
    vault.event("c").commit().await.expect("committed");
    let report = vault.verify().expect("readable");
    assert!(report.is_intact(), "{:?}", report.problems);
    vault.close().await;
    let key = b"cursor/agent";
    let row = engine
        .get(Table::Meta, key)
        .expect("readable")
        .expect("there");
    write(&engine, |batch| {
        batch.put(Table::Meta, key, flipped(&row, 1))
    });
    let report = check(engine);
    assert!(!report.is_intact());
    assert!(
        report.problems[0].to_string().contains("cursor/agent"),
        "{:?}",
        report.problems
    );
}

#[tokio::test]
async fn state_chain_is_recomputed_over_what_changed_beside_the_events() {
    let engine = Arc::new(MemoryEngine::new());
    let vault = VaultBus::builder()
        .open_engine(engine.clone())
        .expect("opened");
    for n in 0..300 {
        let event = vault.event("a").payload(&n).move_cursor("agent", n, n + 1);
        event.commit().await.expect("committed");
    }
    let report = vault.verify().expect("readable");
    assert!(report.is_intact(), "{:?}", report.problems);
    assert_eq!(report.state_stretches, 2, "300 events");
    vault.close().await;

    let place = |n| Place {
        sequence: n,
        // Behind the creation.
        revision: n + 1,
        index: 0,
    };
    let change = |position| Change::Cursor {
        name: CursorName::new("agent").expect("valid"),
        position,
    };
    let altered = copy(&engine);
    write(&altered, |batch| {
        let row = journal::encode(place(100), &change(7));
        batch.put(Table::Meta, journal::key(place(100)), row);
    });
    let report = check(altered);
    let problem = report.problems[0].to_string();
    assert!(problem.contains("events 1 to 256"), "{problem}");

    let altered = copy(&engine);
    write(&altered, |batch| {
        batch.delete(Table::Meta, journal::key(place(300)));
    });
    let report = check(altered);
    assert_eq!(report.problems_total, 2, "{:?}", report.problems);
    let problem = report.problems[0].to_string();
    assert!(problem.contains("cursor agent is at 300"), "{problem}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn vault_can_be_verified_while_it_grows() {
    let vault = VaultBus::builder().open_in_memory().expect("opened");
    let growing = vault.clone();
    let committer = tokio::spawn(async move {
        for n in 0..1_500_u32 {
            let event = growing.event("n").payload(&n).source("me");
            event.commit().await.expect("committed");
        }
    });
    while !committer.is_finished() {
        let verified = vault.clone();
        let report = tokio::task::spawn_blocking(move || verified.verify());
        let report = report.await.expect("no panic").expect("readable");
        assert!(report.is_intact(), "{:?}", report.problems);
    }
    committer.await.expect("no panic");
}

/// The report that so many threads make.
fn check_with(engine: &Arc<MemoryEngine>, threads: usize) -> Report {
    let (reader, _) = Ledger::read_only(engine.clone()).expect("opened");
    let report = verify_with(&reader, &Options::parallel(threads), &mut |_| {});
    report.expect("readable").expect("nobody ends it")
}

/// Flips a byte of every `step`th row of a table, values before keys where a value has none.
fn spoil(engine: &MemoryEngine, table: Table, step: usize) {
    for (n, (key, value)) in rows(engine, table).into_iter().enumerate() {
        if n % step != 0 {
            continue;
        }
        write(engine, |batch| match value.is_empty() {
            true => batch.delete(table, &key),
            false => batch.put(table, &key, flipped(&value, n % value.len())),
        });
    }
}

#[tokio::test]
async fn report_is_the_same_with_any_number_of_threads() {
    let sound = engine().await;
    // A ledger is not opened without what these say of where it is.
    let is_needed = |table: &Table| matches!(table, Table::Meta | Table::History);
    let tables = Table::ALL.into_iter().filter(|table| !is_needed(table));
    let (mut spoilt, everything) = (Vec::new(), copy(&sound));
    for table in tables {
        let engine = copy(&sound);
        spoil(&engine, table, 7);
        spoilt.push(engine);
        // Not the newest header.
        let step = if table == Table::Headers { 4 } else { 2 };
        spoil(&everything, table, step);
    }
    for engine in spoilt.iter().chain([&everything]) {
        let expected = check_with(engine, 1);
        for threads in [2, 3, 8] {
            assert_eq!(check_with(engine, threads), expected, "{threads} threads");
        }
    }
    assert!(!check_with(&everything, 4).is_intact());
    let intact = check_with(&sound, 4);
    assert!(intact.is_intact(), "{:?}", intact.problems);
    assert_eq!(intact, check(sound), "past the caches or not");
}

#[tokio::test]
async fn pace_is_told_of_every_byte_and_may_end_it() {
    let engine = engine().await;
    let (reader, _) = Ledger::read_only(engine).expect("opened");
    for threads in [1, 4] {
        let (told, counted) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let counts = Arc::clone(&told);
        let options = Options {
            pace: Some(Arc::new(move |bytes| {
                counts.fetch_add(bytes, Ordering::Relaxed);
                true
            })),
            ..Options::parallel(threads)
        };
        let report = verify_with(&reader, &options, &mut |_| {});
        let report = report.expect("readable").expect("nobody ends it");
        // The counts of the indexes are not a part of the report's.
        assert!(report.bytes > 10_000, "{} bytes", report.bytes);
        assert!(told.load(Ordering::Relaxed) > report.bytes / 2);

        let counts = Arc::clone(&counted);
        let options = Options {
            pace: Some(Arc::new(move |_| {
                counts.fetch_add(1, Ordering::Relaxed) < 10
            })),
            ..Options::parallel(threads)
        };
        let report = verify_with(&reader, &options, &mut |_| {});
        assert_eq!(report.expect("readable"), None);
        assert!(counted.load(Ordering::Relaxed) < EVENTS, "it went on");
    }
}

#[tokio::test]
async fn progress_is_told_up_to_the_last_event() {
    let engine = engine().await;
    let (reader, _) = Ledger::read_only(engine).expect("opened");
    for threads in [1, 4] {
        let mut told = Vec::new();
        let report = verify_with(&reader, &Options::parallel(threads), &mut |now| {
            told.push((now.checked, now.total));
        });
        let report = report.expect("readable").expect("nobody ends it");
        assert!(report.is_intact(), "{:?}", report.problems);
        assert_eq!(told, [(256, EVENTS), (EVENTS, EVENTS)]);
    }
}
