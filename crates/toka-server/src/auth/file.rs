//! Files that are read as wholes.

use std::io::{self, Read as _};
use std::path::Path;

/// A whole file, if it has at most `bytes_max` bytes.
pub(super) fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = std::fs::File::open(path)?.take(bytes_max + 1);
    file.read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other(format!(
            "it has more than {bytes_max} bytes"
        )));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_above_its_bound_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), b"four").expect("written");
        assert_eq!(read_bounded(file.path(), 4).expect("short enough"), b"four");
        assert!(read_bounded(file.path(), 3).is_err());
    }
}
