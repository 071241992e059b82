//! What the engine says of files that are lost under it.

use rocksdb::WriteOptions;

use super::*;

/// So few that most of the tables below are opened only when they are read.
const OPEN_FILES: u32 = 20;
const KEY: &[u8] = b"key";

/// A store with a row, and a file, for each table, whose files have not been read yet.
fn store(dir: &Path) -> RocksEngine {
    let options = RocksOptions {
        wal: false,
        max_open_files: OPEN_FILES,
        ..RocksOptions::default()
    };
    let engine = RocksEngine::open(dir, &options).expect("created");
    let mut batch = Batch::new();
    for table in Table::ALL {
        batch.put(table, KEY, b"value");
    }
    engine.write(batch, Durability::Synced).expect("written");
    drop(engine);
    RocksEngine::open(dir, &options).expect("opened")
}

/// A flush of little must not be taken for one of much.
#[test]
fn what_waits_for_a_flush_is_what_was_written_since_the_last_one() {
    const VALUE_BYTES: usize = 4 << 20;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let engine = store(dir.path());
    let waiting = || engine.unflushed_bytes().expect("measured");
    let nothing = waiting();
    assert!(nothing < (VALUE_BYTES / 4) as u64, "{nothing}");
    let mut batch = Batch::new();
    batch.put(Table::Payloads, KEY, vec![7; VALUE_BYTES]);
    engine.write(batch, Durability::Volatile).expect("written");
    let much = waiting();
    assert!(much >= VALUE_BYTES as u64, "{much}");
    engine.flush().expect("flushed");
    let nothing = waiting();
    assert!(nothing < (VALUE_BYTES / 4) as u64, "{nothing}");
}

#[test]
fn what_is_at_hand_was_written_or_read_before() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let engine = store(dir.path());
    let value = || Some(Bytes::from_static(b"value"));
    let at_hand = |key: &[u8]| engine.get_at_hand(Table::Headers, key).expect("readable");
    assert_eq!(at_hand(KEY), AtHand::Unknown);
    let read = engine.get(Table::Headers, KEY).expect("readable");
    assert_eq!(read, value());
    assert_eq!(at_hand(KEY), AtHand::Known(value()));
    let mut batch = Batch::new();
    batch.put(Table::Headers, b"new", b"value");
    engine.write(batch, Durability::Volatile).expect("written");
    assert_eq!(at_hand(b"new"), AtHand::Known(value()));
}

#[test]
fn visit_has_the_rows_of_a_scan_until_it_is_ended() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let engine = store(dir.path());
    let mut batch = Batch::new();
    for n in 0..10_u8 {
        batch.put(Table::Kinds, [n], [n; 3]);
    }
    engine.write(batch, Durability::Volatile).expect("written");
    let rows: Vec<_> = engine
        .scan(Table::Kinds, &[4], None, Direction::Forward)
        .map(|row| row.expect("readable"))
        .collect();
    let visited = |count: usize| {
        let mut visited = Vec::new();
        let passed = engine.visit(Table::Kinds, &[4], &mut |key: &[u8], value: &[u8]| {
            visited.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            match visited.len() == count {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        passed.expect("readable");
        visited
    };
    assert_eq!(visited(usize::MAX), rows);
    assert_eq!(visited(2), rows[..2]);
}

fn sst_files(dir: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(dir).expect("listed");
    let paths = names.map(|entry| entry.expect("listed").path());
    let is_table = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "sst");
    paths.filter(is_table).collect()
}

/// Reads every row, in every way; some of it must fail, and all that fails must be damage.
fn is_damage_to_read(engine: &RocksEngine) {
    let keys = [KEY, b"other"];
    let mut failures = 0;
    for table in Table::ALL {
        let read = [
            engine.get(table, KEY).map(drop),
            engine.multi_get(table, &keys).map(drop),
            engine.get_flushed(table, KEY).map(drop),
            engine
                .scan(table, &[], None, Direction::Forward)
                .try_for_each(|row| row.map(drop)),
            engine.visit(table, &[], &mut |_, _| ControlFlow::Continue(())),
        ];
        for error in read.into_iter().filter_map(Result::err) {
            assert!(error.is_corruption(), "{error:?}");
            failures += 1;
        }
    }
    assert!(failures > 0, "all was in memory");
    let error = engine.verify_checksums().expect_err("rows are lost");
    assert!(error.is_corruption(), "{error:?}");
}

#[test]
fn file_that_is_gone_is_damage() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let engine = store(dir.path());
    for path in sst_files(dir.path()) {
        fs::remove_file(path).expect("removed");
    }
    is_damage_to_read(&engine);
}

#[test]
fn sector_that_the_disk_cannot_read_is_damage() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let engine = store(dir.path());
    for path in sst_files(dir.path()) {
        fs::remove_file(&path).expect("removed");
        // Nothing is mapped at its beginning, and reading there fails as it does on a bad sector: with EIO.
        std::os::unix::fs::symlink("/proc/self/mem", &path).expect("linked");
    }
    is_damage_to_read(&engine);
}

/// Also those of hashed memtables, and of one that is being written; and in order where all are walked.
#[test]
fn rows_are_found_by_digest_in_memory_and_in_files() {
    const ROWS: u16 = 2_000;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let engine = store(dir.path());
    let key = |n: u16| *blake3::hash(&n.to_be_bytes()).as_bytes();
    for table in [Table::Events, Table::PayloadDigests] {
        // Every third is flushed, every third is not, and every third is not there.
        for place in 0..2 {
            let mut batch = Batch::new();
            for n in (0..ROWS).filter(|n| n % 3 == place) {
                batch.put(table, key(n), n.to_be_bytes());
            }
            engine.write(batch, Durability::Volatile).expect("written");
            if place == 0 {
                engine.flush().expect("flushed");
            }
        }
        let keys: Vec<_> = (0..ROWS).map(key).collect();
        let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
        let rows = engine.multi_get(table, &keys).expect("readable");
        for ((n, key), row) in (0..ROWS).zip(keys).zip(rows) {
            let expected = (n % 3 < 2).then(|| Bytes::copy_from_slice(&n.to_be_bytes()));
            assert_eq!(row, expected, "{n}");
            assert_eq!(engine.get(table, key).expect("readable"), expected, "{n}");
        }
        let mut walked = Vec::new();
        let each = &mut |key: &[u8], _: &[u8]| {
            walked.push(key.to_vec());
            ControlFlow::Continue(())
        };
        engine.visit(table, b"", each).expect("readable");
        // And that of the store.
        assert_eq!(walked.len(), usize::from(ROWS / 3 * 2 + ROWS % 3) + 1);
        assert!(walked.is_sorted(), "in the order of their keys");
    }
}

#[test]
fn keys_that_are_shorter_than_digests_are_found_and_flushed_in_order() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let engine = store(dir.path());
    let keys: [&[u8]; 7] = [b"a", b"ab", b"aba", b"abb", b"b", b"ba", KEY];
    let mut batch = Batch::new();
    for key in keys.iter().rev().skip(1) {
        batch.put(Table::Events, key, key);
    }
    engine.write(batch, Durability::Volatile).expect("written");
    let check = || {
        for key in &keys[..6] {
            let row = engine.get(Table::Events, key).expect("readable");
            assert_eq!(row.as_deref(), Some(*key));
        }
        let scan = engine.scan(Table::Events, &[], None, Direction::Forward);
        let walked: Vec<_> = scan.map(|row| row.expect("readable").0).collect();
        assert_eq!(walked, keys);
    };
    check();
    engine.flush().expect("flushed");
    check();
}

/// Where the file system cannot write past the cache it is as without.
#[test]
fn rows_that_were_written_past_the_cache_are_there_again() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = RocksOptions {
        wal: false,
        direct_io: true,
        background_rate_bytes: Some(64 << 20),
        ..RocksOptions::default()
    };
    let open = || RocksEngine::open(dir.path(), &options).expect("opened");
    let engine = open();
    let value = vec![7; 100_000];
    let mut batch = Batch::new();
    for table in Table::ALL {
        batch.put(table, KEY, &value);
    }
    engine.write(batch, Durability::Synced).expect("written");
    drop(engine);
    let engine = open();
    for table in Table::ALL {
        let row = engine.get(table, KEY).expect("readable");
        assert_eq!(row.as_deref(), Some(&value[..]), "{table}");
    }
    engine.verify_files().expect("sound");
}

/// As builds have left them that had levels in all tables.
#[test]
fn files_that_levels_have_are_taken_over_by_tiers() {
    const ROWS: u16 = 100;
    const FLUSHES: u16 = 20;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let key = |n: u16| *blake3::hash(&n.to_be_bytes()).as_bytes();
    {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        let families = Table::ALL
            .map(|table| rocksdb::ColumnFamilyDescriptor::new(table.name(), Options::default()));
        let db = DB::open_cf_descriptors(&options, dir.path(), families).expect("created");
        let family = db.cf_handle(Table::Events.name()).expect("made");
        let mut volatile = WriteOptions::default();
        volatile.disable_wal(true);
        for n in 0..ROWS {
            db.put_cf_opt(family, key(n), n.to_be_bytes(), &volatile)
                .expect("written");
        }
        // Flushes, and moves all to the last level.
        db.compact_range_cf(family, None::<&[u8]>, None::<&[u8]>);
    }
    let options = RocksOptions {
        wal: false,
        ..RocksOptions::default()
    };
    let engine = RocksEngine::open(dir.path(), &options).expect("opened");
    for flush in 1..=FLUSHES {
        let mut batch = Batch::new();
        for n in flush * ROWS..(flush + 1) * ROWS {
            batch.put(Table::Events, key(n), n.to_be_bytes());
        }
        engine.write(batch, Durability::Synced).expect("written");
    }
    let rows = (FLUSHES + 1) * ROWS;
    for n in 0..rows {
        let row = engine.get(Table::Events, &key(n)).expect("readable");
        assert_eq!(row.as_deref(), Some(&n.to_be_bytes()[..]), "{n}");
    }
    let scan = engine.scan(Table::Events, &[], None, Direction::Forward);
    let keys = scan.map(|row| row.expect("readable").0);
    assert!(keys.is_sorted_by(|a, b| a < b), "each once, in order");
    let scan = engine.scan(Table::Events, &[], None, Direction::Forward);
    assert_eq!(scan.count(), usize::from(rows));
}

/// As a build opens them that has levels in all tables, and then this one again.
#[test]
fn files_that_tiers_have_are_taken_over_by_levels_and_back() {
    const ROWS: u16 = 100;
    const FLUSHES: u16 = 20;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let key = |n: u16| *blake3::hash(&n.to_be_bytes()).as_bytes();
    let options = RocksOptions {
        wal: false,
        ..RocksOptions::default()
    };
    let open = || RocksEngine::open(dir.path(), &options).expect("opened");
    let engine = open();
    for flush in 0..FLUSHES {
        let mut batch = Batch::new();
        for n in flush * ROWS..(flush + 1) * ROWS {
            batch.put(Table::Events, key(n), n.to_be_bytes());
        }
        engine.write(batch, Durability::Synced).expect("written");
    }
    drop(engine);
    let rows = (FLUSHES + 1) * ROWS;
    {
        let families = Table::ALL
            .map(|table| rocksdb::ColumnFamilyDescriptor::new(table.name(), Options::default()));
        let levels = DB::open_cf_descriptors(&Options::default(), dir.path(), families);
        let db = levels.expect("opened");
        let family = db.cf_handle(Table::Events.name()).expect("it is there");
        let mut volatile = WriteOptions::default();
        volatile.disable_wal(true);
        for n in FLUSHES * ROWS..rows {
            db.put_cf_opt(family, key(n), n.to_be_bytes(), &volatile)
                .expect("written");
        }
        db.compact_range_cf(family, None::<&[u8]>, None::<&[u8]>);
        for n in 0..rows {
            let row = db.get_cf(family, key(n)).expect("readable");
            assert_eq!(row.as_deref(), Some(&n.to_be_bytes()[..]), "{n}");
        }
    }
    let engine = open();
    for n in 0..rows {
        let row = engine.get(Table::Events, &key(n)).expect("readable");
        assert_eq!(row.as_deref(), Some(&n.to_be_bytes()[..]), "{n}");
    }
    engine.verify_files().expect("sound");
}

/// What RocksDB has made of an option of a table, from the file in which it notes them.
fn noted_option(dir: &Path, table: Table, name: &str) -> String {
    let files = fs::read_dir(dir).expect("listed");
    let files = files.map(|file| file.expect("listed").path());
    let of_options = files.filter(|path| path.to_string_lossy().contains("OPTIONS-"));
    let newest = of_options.max().expect("noted");
    let noted = fs::read_to_string(newest).expect("readable");
    let section = format!("[CFOptions \"{}\"]", table.name());
    let (_, options) = noted.split_once(&section).expect("of each table");
    let mut options = options.lines().take_while(|line| !line.starts_with('['));
    let is_meant = |line: &str| {
        let (found, value) = line.trim().split_once('=')?;
        (found == name).then(|| value.to_owned())
    };
    options.find_map(is_meant).expect("of each name")
}

#[test]
fn tiered_tables_are_not_merged_for_their_age() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    drop(store(dir.path()));
    for table in [Table::Events, Table::Kinds] {
        let option = |name| noted_option(dir.path(), table, name);
        assert_eq!(option("compaction_style"), "kCompactionStyleUniversal");
        assert_eq!(option("ttl"), "0");
        assert_eq!(option("periodic_compaction_seconds"), "0");
    }
}
