//! What a place for backups has in it, and whether a directory may be one: it is new, empty, or holds backups already. What a vault lives in
//! does not, nor what is below it: such a backup would be lost with the vault, and take its room.

use std::path::Path;

use toka_ledger::dir::DataDir;
use toka_ledger::disk::{Disk as _, SystemDisk};

use crate::error::Error;

pub(crate) const OBJECTS: &str = "objects";
pub(crate) const BACKUPS: &str = "backups";
pub(crate) const LOCK: &str = "LOCK";
/// What file systems, and machines that share them, put into directories by themselves, beside names that begin with
/// a dot: snapshots of the volume, indexes, what was deleted.
const NOBODYS: [&str; 4] = ["lost+found", "@eaDir", "#recycle", "#snapshot"];

/// Looks at `place` before anything is made there.
///
/// # Errors
/// [`Error::InDataDirectory`], [`Error::NotEmpty`], [`Error::File`].
pub(crate) fn check(place: &Path) -> Result<(), Error> {
    let absolute = std::path::absolute(place).map_err(Error::file("find", place))?;
    // Symbolic links may lead into a data directory. What is not there yet is none.
    let mut above = absolute.ancestors();
    let there = above.find_map(|above| std::fs::canonicalize(above).ok());
    let mut above = there.iter().flat_map(|there| there.ancestors());
    if let Some(data) = above.find(|above| is_data_directory(above)) {
        return Err(Error::InDataDirectory {
            place: place.to_owned(),
            data: data.to_owned(),
        });
    }
    if !SystemDisk.is_dir(place) {
        return Ok(());
    }
    let names = SystemDisk.list(place).map_err(Error::file("list", place))?;
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    // A copy of a place for backups may be without the lock; a lock alone is left by a backup that was refused.
    if [LOCK, OBJECTS, BACKUPS]
        .into_iter()
        .filter(|own| has(own))
        .count()
        >= 2
    {
        return Ok(());
    }
    let known = [OBJECTS, BACKUPS, LOCK].into_iter().chain(NOBODYS);
    let known: Vec<&str> = known.collect();
    let foreign = names.iter().find(|name| {
        let is_hidden = name.to_string_lossy().starts_with('.');
        !is_hidden && known.iter().all(|own| name != own)
    });
    match foreign {
        None => Ok(()),
        Some(found) => Err(Error::NotEmpty {
            place: place.to_owned(),
            found: found.to_string_lossy().into_owned(),
        }),
    }
}

/// Also one that is damaged, of a newer format, or being restored into.
fn is_data_directory(path: &Path) -> bool {
    use toka_ledger::Error as Found;
    match DataDir::read(&SystemDisk, path) {
        Ok(mode) => mode.is_some(),
        Err(Found::NotAVault { .. } | Found::File { .. }) => false,
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::PathBuf;
    use std::sync::Arc;

    use toka_ledger::dir::Mode;

    use super::*;
    use crate::repository::Repository;

    fn create(place: &Path) -> Result<Repository, Error> {
        Repository::create(place.to_str().expect("UTF-8"))
    }

    fn names(dir: &Path) -> BTreeSet<PathBuf> {
        let entries = std::fs::read_dir(dir).expect("listed");
        entries.map(|entry| entry.expect("listed").path()).collect()
    }

    #[test]
    fn data_directory_and_what_is_below_it_hold_no_backups() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let data = dir.path().join("data");
        let mode = Mode::Node {
            cluster_id: Some(1),
            node_id: 2,
        };
        drop(DataDir::open_or_create(Arc::new(SystemDisk), &data, mode).expect("created"));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&data, &link).expect("linked");
        let before = names(&data);
        for place in [data.clone(), data.join("new/backups"), link.join("backups")] {
            let refused = create(&place).expect_err("it is a vault's");
            assert!(
                matches!(&refused, Error::InDataDirectory { data: found, .. } if found.ends_with("data")),
                "{refused}"
            );
            assert!(!refused.is_retryable());
            let said = refused.to_string();
            assert!(said.contains("move"), "what to do with older ones: {said}");
        }
        assert_eq!(names(&data), before, "something was written");
    }

    #[test]
    fn directory_with_something_else_holds_no_backups() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("a file"), "x").expect("written");
        // Of a repository of git.
        std::fs::create_dir(dir.path().join(OBJECTS)).expect("created");
        let before = names(dir.path());
        let refused = create(dir.path()).expect_err("it is not empty");
        assert!(
            matches!(&refused, Error::NotEmpty { found, .. } if found == "a file"),
            "{refused}"
        );
        assert_eq!(names(dir.path()), before, "something was written");
    }

    #[test]
    fn new_and_empty_directories_and_places_with_backups_hold_backups() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for name in NOBODYS.into_iter().chain([".snapshot", ".DS_Store"]) {
            std::fs::create_dir(dir.path().join(name)).expect("created");
        }
        create(dir.path()).expect("as good as empty");
        create(&dir.path().join("a/b")).expect("new");
        let used = dir.path().join("used");
        for name in [OBJECTS, BACKUPS] {
            std::fs::create_dir_all(used.join(name)).expect("created");
            create(&used).expect("a copy without the lock");
        }
        let copied = dir.path().join("copied");
        for name in [OBJECTS, BACKUPS, "README"] {
            std::fs::create_dir_all(copied.join(name)).expect("created");
        }
        create(&copied).expect("a note does not matter in a copy either");
        std::fs::write(used.join(LOCK), "").expect("written");
        std::fs::write(used.join("README"), "ours").expect("written");
        create(&used).expect("a note does not matter");
    }
}
