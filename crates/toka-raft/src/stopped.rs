//! The files of a node that does not run: whether one of them is damaged.
//!
//! Nothing is changed: what opening the Raft log writes is written in memory. The ledger's rows are checked by
//! [`toka_ledger::verify`]; here is everything beside them. Not looked at are files that nobody depends on and
//! that have no checksum: locks, RocksDB's `LOG`, `OPTIONS` and `IDENTITY`, files of the Raft log that wait to
//! be written again, and what the next start removes.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toka_ledger::dir::DataDir;
use toka_ledger::disk::is_unreadable;
use toka_ledger::seam::Seams;

use crate::error::StartError;
use crate::layout::Layout;
use crate::log_store::log_problems;
use crate::scrub::is_note_damaged;
use crate::snapshot::snapshot_problems;
use crate::storage::{DiskStorage, LookedAt, Storage as _};

/// A file or directory that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileProblem {
    /// The file or directory.
    pub path: PathBuf,
    /// What is wrong.
    pub detail: String,
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.detail)
    }
}

impl From<(PathBuf, String)> for FileProblem {
    fn from((path, detail): (PathBuf, String)) -> Self {
        Self { path, detail }
    }
}

/// A node that does not run, as long as its [`DataDir`] is held.
#[derive(Debug)]
pub struct StoppedNode {
    layout: Layout,
    is_complete: bool,
    ledger: Option<PathBuf>,
    /// Of the pointer to the ledger.
    problem: Option<FileProblem>,
}

impl StoppedNode {
    /// The node whose directory is open as `data_dir`, so that nobody else has it.
    ///
    /// # Errors
    /// [`StartError::File`].
    pub fn open(data_dir: &DataDir) -> Result<Self, StartError> {
        let disk = DiskStorage::default().disk();
        let layout = Layout::new(disk, data_dir.path().to_owned());
        let is_complete = data_dir.is_complete();
        let (ledger, problem) = pointer(&layout, is_complete)?;
        Ok(Self {
            layout,
            is_complete,
            ledger,
            problem,
        })
    }

    /// Directory of its ledger; `None` if it has none, or nothing says which it is.
    #[must_use]
    pub fn ledger(&self) -> Option<&Path> {
        self.ledger.as_deref()
    }

    /// Reads everything beside the ledger, and returns what is damaged: the first damage of the Raft log and of
    /// each snapshot. Blocks.
    ///
    /// # Errors
    /// [`StartError`], if something cannot be read for another reason than damage.
    pub fn check_files(&self) -> Result<Vec<FileProblem>, StartError> {
        let mut problems: Vec<FileProblem> = self.problem.iter().cloned().collect();
        problems.extend(self.raft_log()?);
        let found = snapshot_problems(&DiskStorage::default(), &self.layout.snapshots());
        let found = found.map_err(StartError::snapshot)?;
        problems.extend(found.into_iter().map(FileProblem::from));
        let note = self.layout.scrub_note();
        if is_note_damaged(&self.layout).map_err(StartError::file("read", &note))? {
            problems.push(FileProblem {
                path: note,
                detail: "not what was written; it counts as none".to_owned(),
            });
        }
        Ok(problems)
    }

    fn raft_log(&self) -> Result<Vec<FileProblem>, StartError> {
        let dir = self.layout.raft();
        if !self.layout.disk().exists(&dir) && !self.is_complete {
            return Ok(Vec::new());
        }
        let view = LookedAt::new(DiskStorage::default(), self.layout.root());
        let entropy = Arc::clone(&Seams::system().entropy);
        let found = log_problems(&**self.layout.disk(), view.disk(), entropy, &dir)?;
        Ok(found.into_iter().map(FileProblem::from).collect())
    }
}

/// Where the pointer leads, and what is wrong with it.
fn pointer(
    layout: &Layout,
    is_complete: bool,
) -> Result<(Option<PathBuf>, Option<FileProblem>), StartError> {
    let path = layout.current_pointer();
    let detail = match layout.current() {
        Ok(Some(number)) => {
            let dir = layout.ledger(number);
            let is_exact = layout.is_current_exactly(number);
            if layout.disk().is_dir(&dir) {
                let problem = (!is_exact).then(|| FileProblem {
                    path,
                    detail: "not what was written".to_owned(),
                });
                return Ok((Some(dir), problem));
            }
            format!("it names {}, which is missing", dir.display())
        }
        // A node that was never started to the end.
        Ok(None) if !is_complete => return Ok((None, None)),
        Ok(None) => "the file is missing".to_owned(),
        Err(error) if error.kind() == io::ErrorKind::InvalidData || is_unreadable(&error) => {
            error.to_string()
        }
        Err(error) => return Err(StartError::file("read", &path)(error)),
    };
    let only = layout
        .unnamed()
        .map_err(StartError::file("list", layout.root()))?;
    let ledger = only.map(|number| layout.ledger(number));
    Ok((ledger, Some(FileProblem { path, detail })))
}
