//! Checking a backup without restoring it.

use std::path::Path;

use toka_ledger::verify::Report;

use crate::check::check;
use crate::create::Progress;
use crate::error::Error;
use crate::fetch::{check_objects, fetch, off_reactor_telling};
use crate::manifest::Manifest;
use crate::repository::Repository;

/// Reads every object of a backup, and compares size and digest with the manifest's.
///
/// # Errors
/// [`Error::Damaged`] for the first that is missing, truncated or altered; [`Error::Storage`].
pub async fn verify_objects(
    repository: &Repository,
    manifest: &Manifest,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<(), Error> {
    check_objects(repository, manifest, progress).await
}

/// As [`verify_objects`], and then checks every event of the ledger that they make: whether it is at the
/// position and of the history that the manifest says, and all that `toka verify` checks. The ledger is
/// put together in `scratch`, an empty directory of the caller's. `progress` is told of the files, then of the
/// events.
///
/// # Errors
/// As [`verify_objects`]; [`Error::Damaged`] if the ledger is not what it should be, [`Error::File`].
pub async fn verify(
    repository: &Repository,
    manifest: &Manifest,
    scratch: &Path,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Report, Error> {
    fetch(repository, manifest, scratch, progress).await?;
    let (dir, manifest) = (scratch.to_owned(), manifest.clone());
    off_reactor_telling(progress, move |tell| check(&dir, &manifest, tell)).await
}
