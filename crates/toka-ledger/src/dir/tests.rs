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
