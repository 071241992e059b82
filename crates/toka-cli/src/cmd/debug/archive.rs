//! The archive: a tar of texts, compressed.

use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header};
use tempfile::NamedTempFile;

/// All files are below it, so that unpacking leaves one directory.
const DIRECTORY: &str = "toka-debug";
/// Read by its owner alone, as the archive itself.
const MODE: u32 = 0o600;

/// Writes `files`, names and texts, into a new archive, that is there as a whole or not at all.
pub(super) fn write(path: &Path, files: &[(String, String)]) -> Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let file = NamedTempFile::new_in(directory.unwrap_or(Path::new(".")));
    let mut file = file.with_context(cannot)?;
    pack(file.as_file_mut(), files).with_context(cannot)?;
    file.persist_noclobber(path).with_context(cannot)?;
    Ok(())
}

fn pack(into: impl std::io::Write, files: &[(String, String)]) -> std::io::Result<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = now.map_or(0, |now| now.as_secs());
    let mut archive = Builder::new(GzEncoder::new(into, Compression::default()));
    for (name, text) in files {
        let mut header = Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(MODE);
        header.set_mtime(seconds);
        archive.append_data(&mut header, format!("{DIRECTORY}/{name}"), text.as_bytes())?;
    }
    archive.into_inner()?.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn what_was_packed_is_unpacked_and_nothing_is_overwritten() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.tar.gz");
        let files = [("b/c.txt".to_owned(), "some text\n".repeat(1_000))];
        write(&path, &files).expect("written");
        let packed = std::fs::read(&path).expect("read");
        assert!(packed.len() < files[0].1.len() / 10);
        let mut archive = tar::Archive::new(GzDecoder::new(&packed[..]));
        let mut entries = archive.entries().expect("a tar");
        let mut entry = entries.next().expect("one").expect("sound");
        let name = entry.path().expect("a name").into_owned();
        assert_eq!(name, Path::new("toka-debug/b/c.txt"));
        let mut text = String::new();
        entry.read_to_string(&mut text).expect("text");
        assert_eq!(text, files[0].1);
        assert!(entries.next().is_none());
        write(&path, &files).expect_err("it is there");
    }
}
