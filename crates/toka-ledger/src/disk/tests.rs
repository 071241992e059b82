//! Both disks do the same; the one in memory forgets what it may.

use std::io::ErrorKind;
use std::path::PathBuf;

use super::*;

fn kind<T>(result: io::Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("it has worked"),
        Err(error) => error.kind(),
    }
}

/// Runs `check` on both disks, in an empty directory.
fn on_both(check: impl Fn(&dyn Disk, &Path)) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    check(&SystemDisk, dir.path());
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new("/a/b")).expect("created");
    check(&disk, Path::new("/a/b"));
}

fn names(disk: &dyn Disk, dir: &Path) -> Vec<OsString> {
    disk.list(dir).expect("listed")
}

#[test]
fn files_are_created_read_linked_renamed_and_removed() {
    on_both(|disk, dir| {
        let [a, b, c] = ["a", "b", "c"].map(|name| dir.join(name));
        disk.create_with(&a, b"one").expect("created");
        assert_eq!(kind(disk.create(&a)), ErrorKind::AlreadyExists);
        disk.hard_link(&a, &b).expect("linked");
        assert_eq!(kind(disk.hard_link(&a, &b)), ErrorKind::AlreadyExists);
        disk.copy(&a, &c).expect("copied");
        disk.open(&b)
            .expect("opened")
            .write_at(b"two!", 0)
            .expect("written");
        assert_eq!(disk.read(&a).expect("read"), b"two!");
        assert_eq!(disk.read(&c).expect("read"), b"one");
        assert_eq!(
            disk.metadata(&a).expect("there"),
            Metadata::File { bytes: 4 }
        );
        disk.rename(&c, &a).expect("renamed");
        assert_eq!(disk.read(&a).expect("read"), b"one");
        disk.remove(&b).expect("removed");
        assert_eq!(kind(disk.remove(&b)), ErrorKind::NotFound);
        assert_eq!(kind(disk.read(&b)), ErrorKind::NotFound);
        assert_eq!(names(disk, dir), ["a"]);
        let reading = disk.open_to_read(&a).expect("opened");
        reading.write_at(b"x", 0).expect_err("opened to read");
        assert_eq!(disk.read(&a).expect("read"), b"one");
    });
}

#[test]
fn directories_are_created_renamed_and_removed_with_all_in_them() {
    on_both(|disk, dir| {
        let (deep, inner) = (dir.join("x/y/z"), dir.join("x/y"));
        assert_eq!(kind(disk.create_dir(&inner)), ErrorKind::NotFound);
        disk.create_dir_all(&deep).expect("created");
        disk.create_dir_all(&deep).expect("there already");
        assert_eq!(kind(disk.create_dir(&inner)), ErrorKind::AlreadyExists);
        disk.create_with(&deep.join("file"), b"1").expect("created");
        disk.rename(&inner, &dir.join("x/w")).expect("renamed");
        assert!(!disk.exists(&inner) && disk.is_dir(&dir.join("x/w/z")));
        assert_eq!(disk.read(&dir.join("x/w/z/file")).expect("read"), b"1");
        disk.create_dir(&inner).expect("created");
        let taken = kind(disk.rename(&inner, &dir.join("x/w")));
        assert_eq!(taken, ErrorKind::DirectoryNotEmpty);
        disk.remove_dir_all(&dir.join("x")).expect("removed");
        assert_eq!(
            kind(disk.remove_dir_all(&dir.join("x"))),
            ErrorKind::NotFound
        );
        assert_eq!(kind(disk.list(&dir.join("x"))), ErrorKind::NotFound);
        assert!(names(disk, dir).is_empty());
    });
}

#[test]
fn files_and_directories_are_told_apart() {
    on_both(|disk, dir| {
        let (file, below) = (dir.join("file"), dir.join("file/below"));
        disk.create_with(&file, b"").expect("created");
        assert_eq!(kind(disk.read(&below)), ErrorKind::NotADirectory);
        assert_eq!(kind(disk.create(&below)), ErrorKind::NotADirectory);
        assert_eq!(kind(disk.list(&file)), ErrorKind::NotADirectory);
        disk.create_dir_all(&file)
            .expect_err("a file is in the way");
        disk.create_dir_all(&below)
            .expect_err("a file is in the way");
        disk.remove(dir).expect_err("a directory");
        assert!(disk.exists(&file) && !disk.is_dir(&file));
        assert!(disk.is_dir(dir) && !disk.exists(&below));
    });
}

#[test]
fn lock_keeps_others_out_while_it_is_held() {
    on_both(|disk, dir| {
        let path = dir.join("LOCK");
        let held = disk.lock(&path).expect("locked");
        assert_eq!(kind(disk.lock(&path)), ErrorKind::WouldBlock);
        drop(held);
        disk.lock(&path).expect("free again");
        assert_eq!(names(disk, dir), ["LOCK"]);
    });
}

#[test]
fn replace_overwrites_what_a_crash_has_left() {
    on_both(|disk, dir| {
        let (path, temporary) = (dir.join("note"), dir.join("note.tmp"));
        for text in ["first", "2nd"] {
            disk.create_with(&temporary, b"something longer")
                .expect("created");
            disk.replace(&path, &temporary, text.as_bytes())
                .expect("replaced");
            assert_eq!(disk.read(&path).expect("read"), text.as_bytes());
            assert_eq!(names(disk, dir), ["note"]);
        }
    });
}

/// A disk with `/d` durable, for crashes.
fn memory() -> (MemoryDisk, PathBuf) {
    let (disk, dir) = (MemoryDisk::new(), PathBuf::from("/d"));
    disk.create_dir_all(&dir).expect("created");
    (disk, dir)
}

#[test]
fn name_and_content_are_durable_each_for_itself() {
    let (disk, dir) = memory();
    let [named, synced] = ["named", "synced"].map(|name| dir.join(name));
    disk.create(&named)
        .expect("created")
        .write_at(b"1", 0)
        .expect("written");
    disk.sync_dir(&dir).expect("synced");
    disk.create_with(&synced, b"1").expect("created");
    let lost = disk.crash(|| false);
    assert_eq!(lost.read(&named).expect("its name is durable"), b"");
    assert!(!lost.exists(&synced), "its name is not");
    let kept = disk.crash(|| true);
    assert_eq!(kept.read(&named).expect("read"), b"1");
    assert_eq!(kept.read(&synced).expect("read"), b"1");
}

#[test]
fn directory_is_durable_by_the_one_above_it() {
    let (disk, dir) = memory();
    let inner = dir.join("inner");
    disk.create_dir(&inner).expect("created");
    disk.create_with(&inner.join("file"), b"1")
        .expect("created");
    disk.sync_dir(&inner).expect("synced");
    assert!(!disk.crash(|| false).exists(&inner));
    disk.sync_dir(&dir).expect("synced");
    assert!(disk.crash(|| false).exists(&inner.join("file")));
    disk.rename(&inner, &dir.join("other")).expect("renamed");
    let crashed = disk.crash(|| false);
    assert!(crashed.exists(&inner.join("file")) && !crashed.exists(&dir.join("other")));
    disk.sync_dir(&dir).expect("synced");
    assert!(disk.crash(|| false).exists(&dir.join("other/file")));
}

#[test]
fn removal_may_be_cut_short_anywhere() {
    let (disk, dir) = memory();
    let inner = dir.join("inner");
    disk.create_dir_all(&inner).expect("created");
    for name in ["a", "b", "c"] {
        disk.create_with(&inner.join(name), b"1").expect("created");
    }
    disk.sync_dir(&inner).expect("synced");
    disk.fail_after(2);
    disk.remove_dir_all(&inner)
        .expect_err("the disk has failed");
    assert_eq!(names(&disk, &inner), ["c"]);
    assert_eq!(names(&disk.crash(|| false), &inner), ["a", "b", "c"]);
    let mut keep = [true, false].into_iter();
    let crashed = disk.crash(|| keep.next().unwrap_or(false));
    assert_eq!(
        names(&crashed, &inner),
        ["b", "c"],
        "a prefix of the removals"
    );
}

#[test]
fn file_with_two_names_is_one_after_a_crash() {
    let (disk, dir) = memory();
    let [a, b] = ["a", "b"].map(|name| dir.join(name));
    disk.create_with(&a, b"1").expect("created");
    disk.hard_link(&a, &b).expect("linked");
    disk.sync_dir(&dir).expect("synced");
    let crashed = disk.crash(|| false);
    crashed
        .open(&a)
        .expect("opened")
        .write_at(b"2", 0)
        .expect("written");
    assert_eq!(crashed.read(&b).expect("read"), b"2");
}

#[test]
fn crash_frees_locks() {
    let (disk, dir) = memory();
    let _held = disk.lock(&dir.join("LOCK")).expect("locked");
    let crashed = disk.crash(|| true);
    crashed.lock(&dir.join("LOCK")).expect("free");
}

#[test]
fn replace_leaves_the_old_or_the_new_after_a_power_cut() {
    let (disk, dir) = memory();
    let (path, temporary) = (dir.join("note"), dir.join("note.tmp"));
    disk.replace(&path, &temporary, b"old").expect("replaced");
    let before = disk.operations();
    disk.crash(|| true)
        .replace(&path, &temporary, b"new")
        .expect("replaced");
    for at in 0..6 {
        let disk = disk.crash(|| true);
        disk.fail_after(at);
        let replaced = disk.replace(&path, &temporary, b"new").is_ok();
        for keeps in [false, true] {
            let found = disk.crash(|| keeps).read(&path).expect("read");
            assert!(found == b"new" || (!replaced && found == b"old"), "{at}");
        }
    }
    assert_eq!(disk.operations(), before);
}

#[test]
fn spoilt_sector_cannot_be_read_until_it_is_written() {
    let (disk, dir) = memory();
    let path = dir.join("file");
    disk.overwrite(&path, &[7; 2_000]).expect("written");
    disk.spoil(&path, 600).expect("there");
    let file = disk.open(&path).expect("opened");
    let mut bytes = [0; 512];
    assert_eq!(file.read_at(&mut bytes, 0).expect("sound"), 512);
    assert_eq!(file.read_at(&mut bytes, 1_024).expect("sound"), 512);
    for crashed in [disk.clone(), disk.crash(|| true)] {
        let error = crashed.read(&path).expect_err("spoilt");
        assert!(is_unreadable(&error), "{error}");
    }
    file.write_at(&[8; 512], 512).expect("written");
    assert_eq!(file.read_at(&mut bytes, 700).expect("sound"), 512);
}
