//! While the vault grows, on several threads, and at a pace.

use super::*;

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
