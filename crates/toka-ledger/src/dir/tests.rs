use std::fs::{self, File};

use super::*;
use crate::disk::{MemoryDisk, SystemDisk};

const NODE: Mode = Mode::Node {
    cluster_id: None,
    node_id: 3,
};

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn open(path: &Path, mode: Mode) -> Result<DataDir, Error> {
    DataDir::open_or_create(Arc::new(SystemDisk), path, mode)
}

#[test]
fn directory_keeps_its_mode() {
    for mode in [Mode::Embedded, NODE] {
        let parent = temporary();
        let path = parent.path().join("a/b");
        assert_eq!(DataDir::read(&SystemDisk, &path).expect("absent"), None);
        assert_eq!(open(&path, mode).expect("created").mode(), mode);
        assert_eq!(open(&path, mode).expect("opened").mode(), mode);
        assert_eq!(
            DataDir::read(&SystemDisk, &path).expect("there"),
            Some(mode)
        );
    }
}

#[test]
fn open_directory_cannot_be_opened_again() {
    let dir = temporary();
    let first = open(dir.path(), Mode::Embedded).expect("created");
    let error = open(dir.path(), Mode::Embedded).expect_err("open already");
    assert!(
        matches!(error, Error::Engine(EngineError::Locked { .. })),
        "{error}"
    );
    drop(first);
    assert!(open(dir.path(), Mode::Embedded).is_ok());
}

#[test]
fn directory_of_another_mode_is_refused() {
    let dir = temporary();
    drop(open(dir.path(), NODE).expect("created"));
    let error = open(dir.path(), Mode::Embedded).expect_err("a node's");
    assert!(
        matches!(error, Error::ClusterNode { node_id: 3, .. }),
        "{error}"
    );
    let other = Mode::Node {
        cluster_id: None,
        node_id: 4,
    };
    let error = open(dir.path(), other).expect_err("another node's");
    assert!(
        matches!(
            error,
            Error::OtherNode {
                found: 3,
                expected: 4,
                ..
            }
        ),
        "{error}"
    );

    let dir = temporary();
    drop(open(dir.path(), Mode::Embedded).expect("created"));
    let error = open(dir.path(), NODE).expect_err("an embedded vault's");
    assert!(matches!(error, Error::EmbeddedVault { .. }), "{error}");
}

#[test]
fn foreign_directory_is_refused_and_left_as_it_is() {
    let dir = temporary();
    fs::write(dir.path().join("thesis.txt"), "mine").expect("written");
    let error = open(dir.path(), Mode::Embedded).expect_err("foreign");
    assert!(matches!(error, Error::NotAVault { .. }), "{error}");
    assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1);
}

#[test]
fn file_instead_of_a_directory_is_named() {
    let dir = temporary();
    let path = dir.path().join("file");
    fs::write(&path, "").expect("written");
    for path in [path.clone(), path.join("below")] {
        let error = open(&path, Mode::Embedded).expect_err("a file");
        assert!(
            matches!(&error, Error::File { path: named, .. } if *named == path),
            "{error}"
        );
        assert!(error.to_string().contains("Not a directory"), "{error}");
    }
}

#[test]
fn directory_that_cannot_be_made_is_named() {
    let path = Path::new("/proc/toka-vault-test");
    let error = open(path, Mode::Embedded).expect_err("nobody can create this");
    assert!(
        matches!(&error, Error::File { path: named, .. } if named == path),
        "{error}"
    );
}

#[test]
fn read_only_directory_is_named() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = temporary();
    let path = dir.path().join("read-only");
    fs::create_dir(&path).expect("created");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o555)).expect("set");
    if File::create(path.join("probe")).is_ok() {
        eprintln!("not checked: this user (root?) may write to read-only directories");
        return;
    }
    let error = open(&path, Mode::Embedded).expect_err("not writable");
    assert!(
        matches!(&error, Error::File { path: named, .. } if *named == path.join(LOCK)),
        "{error}"
    );
    assert!(error.to_string().contains("Permission denied"), "{error}");
}

#[test]
fn creation_that_was_interrupted_is_completed() {
    let dir = temporary();
    fs::write(dir.path().join(LOCK), "").expect("written");
    fs::write(dir.path().join(MARKER_IN_PROGRESS), "toka-va").expect("written");
    let opened = open(dir.path(), Mode::Embedded).expect("completed");
    assert!(!opened.is_complete());
}

#[test]
fn what_is_noted_survives() {
    let dir = temporary();
    let mut opened = open(dir.path(), NODE).expect("created");
    opened.set_cluster_id(7).expect("written");
    opened.set_complete().expect("written");
    drop(opened);
    let opened = open(dir.path(), NODE).expect("opened");
    assert_eq!(
        opened.mode(),
        Mode::Node {
            cluster_id: Some(7),
            node_id: 3
        }
    );
    assert!(opened.is_complete());
}

#[test]
fn newer_format_and_damage_are_told_apart() {
    let dir = temporary();
    drop(open(dir.path(), Mode::Embedded).expect("created"));
    let marker = dir.path().join(MARKER);
    fs::write(&marker, "toka-vault 2\n").expect("written");
    let error = open(dir.path(), Mode::Embedded).expect_err("newer");
    assert!(
        matches!(
            error,
            Error::NewerFormat {
                found: 2,
                supported: 1,
                ..
            }
        ),
        "{error}"
    );
    fs::write(&marker, "toka-vault 1\nmode embedded\n").expect("written");
    let error = open(dir.path(), Mode::Embedded).expect_err("damaged");
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
}

#[test]
fn power_cut_during_creation_leaves_a_directory_that_opens() {
    let path = Path::new("/vault");
    let create = |disk: &MemoryDisk| {
        let mut dir = DataDir::open_or_create(Arc::new(disk.clone()), path, NODE)?;
        dir.set_cluster_id(7)?;
        dir.set_complete()
    };
    let whole = MemoryDisk::new();
    create(&whole).expect("created");
    for at in 0..whole.operations() {
        let disk = MemoryDisk::new();
        disk.fail_after(at);
        create(&disk).expect_err("the disk has failed");
        for keeps in [false, true] {
            let crashed = Arc::new(disk.crash(|| keeps));
            let opened = DataDir::open_or_create(crashed, path, NODE);
            let opened = opened.unwrap_or_else(|error| panic!("operation {at}: {error}"));
            assert!(!opened.is_complete() || keeps, "operation {at}");
        }
    }
}

#[test]
fn what_is_noted_survives_a_power_cut() {
    let (disk, path) = (MemoryDisk::new(), Path::new("/vault"));
    let mut opened = DataDir::open_or_create(Arc::new(disk.clone()), path, NODE).expect("created");
    opened.set_cluster_id(7).expect("written");
    let crashed = disk.crash(|| false);
    let mode = DataDir::read(&crashed, path).expect("readable");
    let expected = Mode::Node {
        cluster_id: Some(7),
        node_id: 3,
    };
    assert_eq!(mode, Some(expected));
}

#[test]
fn joining_node_keeps_its_token_until_it_has_an_id() {
    let (disk, path) = (MemoryDisk::new(), Path::new("/vault"));
    let open = |disk: &MemoryDisk, token| {
        DataDir::open_or_create(Arc::new(disk.clone()), path, Mode::Joining { token })
    };
    drop(open(&disk, 5).expect("created"));
    let again = open(&disk, 6).expect("opened");
    assert_eq!(again.mode(), Mode::Joining { token: 5 });
    drop(again);
    let error = DataDir::open_or_create(Arc::new(disk.clone()), path, NODE).expect_err("it joins");
    assert!(matches!(error, Error::JoiningNode { .. }), "{error}");

    let mut joining = open(&disk, 6).expect("opened");
    assert!(!joining.is_joined());
    joining.set_joined(7, 3).expect("written");
    assert!(joining.is_joined());
    let crashed = disk.crash(|| false);
    let mode = DataDir::read(&crashed, path).expect("readable");
    let expected = Mode::Node {
        cluster_id: Some(7),
        node_id: 3,
    };
    assert_eq!(mode, Some(expected));
    let error = open(&crashed, 6).expect_err("it has an id");
    assert!(
        matches!(error, Error::ClusterNode { node_id: 3, .. }),
        "{error}"
    );
}

#[test]
fn damage_of_the_ledger_is_noted_until_it_is_repaired_and_that_of_the_log_for_good() {
    let (disk, path) = (MemoryDisk::new(), Path::new("/vault"));
    let open = |disk: MemoryDisk| DataDir::open_or_create(Arc::new(disk), path, NODE);
    let mut opened = open(disk.clone()).expect("created");
    opened.set_complete().expect("written");
    opened.set_ledger_damaged().expect("written");
    let mut again = open(disk.crash(|| false)).expect("opened");
    assert!(again.is_ledger_damaged() && again.is_complete());
    again.set_ledger_repaired().expect("written");
    assert!(!again.is_ledger_damaged() && again.is_complete());
    again.set_log_damaged().expect("written");
    again.set_ledger_damaged().expect("nothing to do");
    again.set_ledger_repaired().expect("nothing to do");
    assert!(again.is_log_damaged() && !again.is_ledger_damaged());
}

#[test]
fn removed_node_stays_removed() {
    let (disk, path) = (MemoryDisk::new(), Path::new("/vault"));
    let mut opened = DataDir::open_or_create(Arc::new(disk.clone()), path, NODE).expect("created");
    opened.set_complete().expect("written");
    assert!(!opened.is_removed());
    opened.set_removed().expect("written");
    let crashed = Arc::new(disk.crash(|| false));
    let mut again = DataDir::open_or_create(crashed, path, NODE).expect("opened");
    again.set_complete().expect("nothing to do");
    assert!(again.is_removed() && again.is_complete());
}

#[test]
fn marker_that_the_disk_cannot_read_is_damage() {
    let (disk, path) = (MemoryDisk::new(), Path::new("/vault"));
    let open = || DataDir::open_or_create(Arc::new(disk.clone()), path, NODE);
    drop(open().expect("created"));
    disk.spoil(&path.join(MARKER), 0).expect("there");
    let error = open().expect_err("unreadable");
    assert!(error.is_damage(), "{error}");
}
