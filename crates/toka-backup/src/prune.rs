//! Removing backups, and objects that no backup names.

use std::collections::BTreeSet;

use toka_ledger::seam::Clock;

use crate::error::Error;
use crate::manifest::Manifest;
use crate::repository::Repository;

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Backups.
    pub backups: u64,
    /// Objects that no backup names any more.
    pub objects: u64,
    /// Their size.
    pub bytes: u64,
}

/// What to remove.
#[derive(Clone, Debug)]
pub struct Options {
    /// Backups to remove, by name.
    pub delete: Vec<String>,
    /// Of all backups, keep so many with the highest positions, at least 1; absent: all but those of `delete`.
    pub keep_last: Option<usize>,
    /// An object that no backup names is kept for so long after it was written: it may belong to a backup that is
    /// being made in a bucket, or to one that was broken off and is to go on.
    pub grace_ms: u64,
}

/// Removes backups as asked, then the objects that no backup names.
///
/// # Errors
/// [`Error::KeepsNone`], [`Error::NotFound`]; [`Error::Unreadable`] if a manifest that stays cannot be read,
/// since nobody can tell then which objects it needs; [`Error::InUse`], [`Error::Storage`].
pub async fn prune(
    repository: &Repository,
    options: &Options,
    clock: &dyn Clock,
) -> Result<Pruned, Error> {
    if options.keep_last == Some(0) {
        return Err(Error::KeepsNone);
    }
    let _exclusive = repository.lock()?;
    let mut pruned = Pruned::default();
    for name in &options.delete {
        crate::manifest::check_name(name)?;
        if !repository.names().await?.contains(name) {
            return Err(Error::NotFound {
                name: name.clone(),
                repository: repository.to_string(),
            });
        }
        repository.delete_manifest(name).await?;
        pruned.backups += 1;
    }
    let mut manifests = manifests(repository).await?;
    let superfluous = options
        .keep_last
        .map_or(0, |keep| manifests.len().saturating_sub(keep));
    for manifest in manifests.drain(..superfluous) {
        repository.delete_manifest(&manifest.name).await?;
        pruned.backups += 1;
    }
    let files = manifests.iter().flat_map(|manifest| &manifest.files);
    let named: BTreeSet<_> = files.map(|file| file.blake3).collect();
    let before = clock.unix_ms().saturating_sub(options.grace_ms);
    for (digest, object) in repository.objects().await? {
        if !named.contains(&digest) && object.modified_unix_ms <= before {
            repository.delete_object(&digest).await?;
            pruned.objects += 1;
            pruned.bytes += object.size_bytes;
        }
    }
    Ok(pruned)
}

/// The manifests of all backups, in the order of their positions.
async fn manifests(repository: &Repository) -> Result<Vec<Manifest>, Error> {
    let list = repository.list().await?.into_iter();
    let readable = list.map(|(name, manifest)| {
        manifest.map_err(|source| Error::Unreadable {
            path: repository.manifest_name(&name),
            name,
            source: Box::new(source),
        })
    });
    let mut manifests = readable.collect::<Result<Vec<_>, _>>()?;
    manifests.sort_by(Manifest::by_position);
    Ok(manifests)
}
