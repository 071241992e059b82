//! A small real file system for one node's data, which can be filled up.
//!
//! Mounting is root's: `cargo xtask test` runs the tests in namespaces in which every user is that.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

/// Its size.
const SIZE: &str = "size=400m";
/// Written at once; at the end in small pieces.
const BLOCK_BYTES: [usize; 2] = [1 << 20, 4 << 10];

/// A file system, for as long as this lives.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts it on `path`, which is created.
    pub fn mount(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path)?;
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", SIZE, "tmpfs"])
            .arg(path)
            .output()?;
        let said = String::from_utf8_lossy(&mount.stderr);
        ensure!(
            mount.status.success(),
            "a small file system is needed, and only root can mount one; `unshare -Urm cargo test ...` makes you \
             that: {said}"
        );
        Ok(Self(path.to_owned()))
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    fn open_filler(&self) -> Result<File> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(self.filler())?;
        Ok(file)
    }

    /// Lets something else fill it until less than `left` bytes are free.
    pub fn fill(&self, left: u64) -> Result<()> {
        let mut file = self.open_filler()?;
        let block = vec![0x5a; BLOCK_BYTES[0]];
        loop {
            let found = rustix::fs::statvfs(&self.0)?;
            if found.f_bavail * found.f_frsize < left {
                return Ok(());
            }
            file.write_all(&block)?;
        }
    }

    /// Lets something else fill it to the last byte.
    pub fn fill_up(&self) -> Result<()> {
        let mut file = self.open_filler()?;
        for bytes in BLOCK_BYTES {
            let block = vec![0x5a; bytes];
            loop {
                match file.write_all(&block) {
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    written => written?,
                }
            }
        }
        Ok(())
    }

    /// Removes what it was filled with.
    pub fn make_room(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.filler())?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Also while a process that is being killed still has files there.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
