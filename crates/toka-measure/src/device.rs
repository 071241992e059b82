//! What a machine writes to a disk, as its kernel counts it for the disk.
//!
//! `/proc/PID/io` counts for each process, but not what is written: a page that a process changes counts as soon as it
//! does, and with large folios (ext4 on Linux 6.18) all of a folio, up to 1 MiB, counts for the 4 KiB that are changed.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A line for each block device and each partition.
const STATISTICS: &str = "/proc/diskstats";
/// The unit of its counts, whatever a disk's own sectors are.
const SECTOR_BYTES: u64 = 512;
/// Place of the written sectors among the fields that follow a device's name.
const WRITTEN_SECTORS: usize = 6;

/// Who counted the bytes that were written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The block device: everything that the machine wrote to it, whoever did, the file system's journal included.
    Device,
    /// The processes of the nodes, where there is no such device. The kernel may count far more than is written.
    #[default]
    Process,
}

/// The block device, or the partition, that a directory is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    directory: PathBuf,
    /// Major and minor.
    number: (u32, u32),
}

impl Device {
    /// The device of `directory`; `None` where no device counts for it: overlays, memory, btrfs, a network.
    #[must_use]
    pub fn of(directory: &Path) -> Option<Self> {
        let device = Self {
            directory: directory.to_owned(),
            number: number(directory)?,
        };
        device.written_bytes().map(|_| device)
    }

    /// Bytes that were written to it since the machine began.
    #[must_use]
    pub fn written_bytes(&self) -> Option<u64> {
        let statistics = std::fs::read_to_string(STATISTICS).ok()?;
        written_bytes(&statistics, self.number)
    }

    /// Has written what the file system still has in memory; takes as long as that takes.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn flush(&self) -> Result<(), Error> {
        flush(&self.directory).map_err(Error::file("sync the file system of", &self.directory))
    }
}

/// The number of a directory's device. Major 0 is that of file systems without one.
#[cfg(target_os = "linux")]
fn number(directory: &Path) -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt as _;
    let device = std::fs::metadata(directory).ok()?.dev();
    let number = (rustix::fs::major(device), rustix::fs::minor(device));
    (number.0 != 0).then_some(number)
}

#[cfg(not(target_os = "linux"))]
fn number(_: &Path) -> Option<(u32, u32)> {
    None
}

#[cfg(target_os = "linux")]
fn flush(directory: &Path) -> std::io::Result<()> {
    rustix::fs::syncfs(std::fs::File::open(directory)?).map_err(std::io::Error::from)
}

#[cfg(not(target_os = "linux"))]
fn flush(_: &Path) -> std::io::Result<()> {
    Ok(())
}

/// What `/proc/diskstats` says of the device with this number.
fn written_bytes(statistics: &str, number: (u32, u32)) -> Option<u64> {
    let sectors = statistics.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let major: u32 = fields.next()?.parse().ok()?;
        let minor: u32 = fields.next()?.parse().ok()?;
        let _name = fields.next()?;
        let sectors = fields.nth(WRITTEN_SECTORS)?;
        let sectors: u64 = sectors.parse().ok()?;
        ((major, minor) == number).then_some(sectors)
    })?;
    Some(sectors.saturating_mul(SECTOR_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATISTICS: &str = "   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
 259       0 nvme0n1 6053216 262727 273996082 38635 11599464 1267323 846761864 5420843 0 2085296 45049 1395 302 13
 259       1 nvme0n1p1 900 20 7000 300 40 5 1600 70 0 60 50 0 0 0 0 0 0
   8      16 sdb 900 20 7000 300
";

    #[test]
    fn written_sectors_are_of_512_bytes() {
        let bytes = written_bytes(STATISTICS, (259, 0));
        assert_eq!(bytes, Some(846_761_864 * 512));
    }

    #[test]
    fn a_partition_counts_for_itself() {
        assert_eq!(written_bytes(STATISTICS, (259, 1)), Some(1_600 * 512));
    }

    #[test]
    fn a_device_that_is_idle_has_written_nothing() {
        assert_eq!(written_bytes(STATISTICS, (7, 0)), Some(0));
    }

    #[test]
    fn a_device_without_a_count_is_none() {
        assert_eq!(written_bytes(STATISTICS, (8, 16)), None);
        assert_eq!(written_bytes(STATISTICS, (0, 27)), None);
        assert_eq!(written_bytes("no numbers\n\n", (7, 0)), None);
    }

    #[test]
    fn what_is_on_no_disk_has_no_device() {
        assert_eq!(Device::of(Path::new("/proc")), None);
        assert_eq!(Device::of(Path::new("/there is no such directory")), None);
    }

    #[test]
    fn a_source_is_told_in_lower_case() {
        let told = serde_json::to_value([Source::Device, Source::Process]);
        assert_eq!(
            told.expect("texts"),
            serde_json::json!(["device", "process"])
        );
    }
}
