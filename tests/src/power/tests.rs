use std::fs::File;
use std::iter::once;
use std::path::PathBuf;

use super::*;

fn unsynced(record: &str) -> Unsynced {
    let record = Record::read(record).expect("it can be read");
    record.unsynced(Path::new("/data"))
}

/// Where was written in `file`, and how much was appended.
fn writes(unsynced: &Unsynced, file: &str) -> (Vec<std::ops::Range<u64>>, u64) {
    let writes = unsynced.files.get(Path::new(file));
    let writes = writes.cloned().unwrap_or_default();
    (writes.ranges, writes.appended)
}

#[test]
fn what_came_before_a_sync_is_kept() {
    let unsynced = unsynced(
        r#"7 pwrite64(3</data/log>, ""..., 4096, 0) = 4096
7 write(4</data/notes>, ""..., 5)       = 5
7 fdatasync(3</data/log>)               = 0
7 fsync(4</data/notes>)                 = 0
7 pwrite64(3</data/log>, ""..., 4096, 4096) = 4096
7 write(4</data/notes>, ""..., 3)       = 3
7 write(1</elsewhere>, ""..., 3)        = 3
7 write(5<anon_inode:[eventfd]>, ""..., 8) = 8
7 +++ killed by SIGKILL +++
"#,
    );
    assert_eq!(
        writes(&unsynced, "/data/log"),
        (once(4096..8192).collect(), 0)
    );
    assert_eq!(writes(&unsynced, "/data/notes"), (vec![], 3));
    assert_eq!(unsynced.files.len(), 2);
}

#[test]
fn sync_does_not_cover_what_ends_after_it_began() {
    let unsynced = unsynced(
        r#"7 pwrite64(3</data/log>, ""..., 10, 0 <unfinished ...>
8 fdatasync(3</data/log> <unfinished ...>
7 <... pwrite64 resumed>)               = 10
8 <... fdatasync resumed>)              = 0
7 pwrite64(3</data/log>, ""..., 10, 20) = 10
8 fdatasync(3</data/log> <unfinished ...>
7 +++ killed by SIGKILL +++
"#,
    );
    assert_eq!(writes(&unsynced, "/data/log"), (vec![0..10, 20..30], 0));
}

#[test]
fn sync_that_failed_or_that_strace_made_up_is_none() {
    let unsynced = unsynced(
        r#"7 pwrite64(3</data/log>, ""..., 10, 0) = 10
7 fdatasync(3</data/log>)               = -1 EIO (Input/output error)
7 fdatasync(3</data/log>)               = 0 (INJECTED)
"#,
    );
    assert_eq!(writes(&unsynced, "/data/log"), (once(0..10).collect(), 0));
}

#[test]
fn write_that_a_kill_interrupts_may_have_been_made() {
    let unsynced = unsynced("7 pwrite64(3</data/log>, \"\"..., 10, 30 <unfinished ...>\n");
    assert_eq!(writes(&unsynced, "/data/log"), (once(30..40).collect(), 0));
}

#[test]
fn names_that_were_made_before_a_rename_that_a_kill_interrupts_stay() {
    let unsynced = unsynced(
        r#"7 openat(AT_FDCWD</home>, "/data/a", O_RDWR|O_CREAT|O_EXCL, 0666) = 3</data/a>
7 rename("/data/b.tmp", "/data/b" <unfinished ...>
8 mkdir("/data/sub/below", 0777 <unfinished ...>
9 openat(AT_FDCWD</home>, "/data/sub/file", O_RDWR|O_CREAT|O_EXCL, 0666 <unfinished ...>
7 +++ killed by SIGKILL +++
"#,
    );
    let names = ["/data/sub/file", "/data/sub/below"].map(PathBuf::from);
    assert_eq!(unsynced.names, names);
}

#[test]
fn names_are_durable_with_their_directory() {
    let unsynced = unsynced(
        r#"7 openat(AT_FDCWD</home>, "/data/a", O_RDWR|O_CREAT|O_EXCL|O_CLOEXEC, 0666) = 3</data/a>
7 fsync(4</data>)                       = 0
7 openat(AT_FDCWD</home>, "/data/b", O_RDWR|O_CREAT|O_TRUNC|O_CLOEXEC, 0666) = 5</data/b>
7 openat(AT_FDCWD</home>, "/data/old", O_RDWR|O_CREAT|O_CLOEXEC, 0666) = 6</data/old>
7 mkdirat(AT_FDCWD</data>, "sub", 0777) = 0
7 link("/data/a", "/data/sub/a")        = 0
"#,
    );
    let names = ["/data/sub/a", "/data/sub", "/data/b"].map(PathBuf::from);
    assert_eq!(unsynced.names, names);
}

/// Changes of names become durable in their order, and a rename is not undone.
#[test]
fn names_that_were_made_before_a_rename_stay() {
    let unsynced = unsynced(
        r#"7 openat(AT_FDCWD</home>, "/data/a", O_RDWR|O_CREAT|O_EXCL, 0666) = 3</data/a>
7 openat(AT_FDCWD</home>, "/data/b.tmp", O_RDWR|O_CREAT|O_EXCL, 0666) = 4</data/b.tmp>
7 rename("/data/b.tmp", "/data/b")      = 0
7 openat(AT_FDCWD</home>, "/data/c", O_RDWR|O_CREAT|O_EXCL, 0666) = 5</data/c>
"#,
    );
    assert_eq!(unsynced.names, ["/data/c"].map(PathBuf::from));
}

#[test]
fn what_is_renamed_is_followed() {
    let unsynced = unsynced(
        r#"7 mkdir("/data/new", 0777)              = 0
7 openat(AT_FDCWD</home>, "/data/new/a", O_WRONLY|O_CREAT|O_EXCL, 0666) = 3</data/new/a>
7 write(3</data/new/a>, ""..., 5)       = 5
7 renameat2(AT_FDCWD</data>, "new", AT_FDCWD</data>, "kept", 0) = 0
7 write(3</data/kept/a>, ""..., 2)      = 2
7 unlinkat(9</data>, "gone", 0)         = 0
"#,
    );
    assert_eq!(writes(&unsynced, "/data/kept/a"), (vec![], 7));
    assert_eq!(unsynced.names, ["/data/kept/a"].map(PathBuf::from));
}

/// A file of 20 bytes, cut back.
fn file_cut(ranges: Vec<std::ops::Range<u64>>, appended: u64) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("file");
    std::fs::write(&path, [7; 20]).expect("written");
    let file = File::options().write(true).open(&path).expect("opened");
    let writes = record::Writes { appended, ranges };
    cut_file(&file, &writes).expect("cut");
    std::fs::read(&path).expect("read")
}

#[test]
fn unsynced_end_is_cut_off_and_the_rest_is_zeros() {
    assert_eq!(file_cut(vec![], 5), [7; 15]);
    assert_eq!(file_cut(vec![4..8, 12..16, 14..20], 0).len(), 12);
    let cut = file_cut(vec![16..24, 2..4], 0);
    assert_eq!(cut[..6], [7, 7, 0, 0, 7, 7]);
    assert_eq!(cut.len(), 16);
}
