//! The files of a copied memory store: one per table, `NAME.table`.
//!
//! ```text
//! magic "toka-mem" | u32 version | u64 rows | rows x (u32 len key, u32 len value, key, value) | u32 crc32c
//! ```
//!
//! Integers are little-endian; the checksum covers everything before it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};

use super::{EngineError, Rows, Table, Tables};
use crate::disk::{Disk, parent};

const MAGIC: &[u8; 8] = b"toka-mem";
const VERSION: u32 = 1;
const CHECKSUM_BYTES: usize = 4;

/// Writes `tables` to the new directory `dir`, durably and all or nothing.
pub(super) fn write(disk: &dyn Disk, dir: &Path, tables: &Tables) -> Result<(), EngineError> {
    if disk.exists(dir) {
        return Err(EngineError::AlreadyExists {
            path: dir.to_owned(),
        });
    }
    let staging = staging(dir);
    match disk.remove_dir_all(&staging) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(EngineError::io("remove", &staging)(error));
        }
        _ => {}
    }
    disk.create_dir(&staging)
        .map_err(EngineError::io("create", &staging))?;
    for table in Table::ALL {
        let path = file(&staging, table);
        disk.create_with(&path, &encode(&tables[table.index()]))
            .map_err(EngineError::io("write", &path))?;
    }
    disk.sync_dir(&staging)
        .map_err(EngineError::io("sync", &staging))?;
    disk.rename(&staging, dir)
        .map_err(EngineError::io("create", dir))?;
    disk.sync_dir(parent(dir))
        .map_err(EngineError::io("sync", parent(dir)))
}

/// Reads what [`write`] wrote.
pub(super) fn read(disk: &dyn Disk, dir: &Path) -> Result<Tables, EngineError> {
    if !disk.is_dir(dir) {
        return Err(EngineError::NotFound {
            path: dir.to_owned(),
        });
    }
    let mut tables = Tables::default();
    for table in Table::ALL {
        let path = file(dir, table);
        let bytes = match disk.read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(EngineError::corruption(&path, Some(table), "missing file"));
            }
            Err(error) => return Err(EngineError::io("read", &path)(error)),
        };
        tables[table.index()] = Arc::new(decode(&path, table, bytes.into())?);
    }
    Ok(tables)
}

/// Whether `dir` holds a copy, or some of one.
pub(super) fn is_there(disk: &dyn Disk, dir: &Path) -> bool {
    Table::ALL
        .into_iter()
        .any(|table| disk.exists(&file(dir, table)))
}

/// Removes the copy in `dir`, as far as possible.
pub(super) fn remove(disk: &dyn Disk, dir: &Path) {
    for table in Table::ALL {
        let _ = disk.remove(&file(dir, table));
    }
}

fn file(dir: &Path, table: Table) -> PathBuf {
    dir.join(format!("{table}.table"))
}

fn staging(dir: &Path) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

fn encode(rows: &Rows) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(rows.len() as u64).to_le_bytes());
    for (key, value) in rows {
        put_row(&mut bytes, key, value);
    }
    put_checksum(&mut bytes);
    bytes
}

pub(super) fn put_row(bytes: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    for part in [key, value] {
        let len = u32::try_from(part.len()).expect("keys and values are far below 4 GiB");
        bytes.extend_from_slice(&len.to_le_bytes());
    }
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(value);
}

pub(super) fn put_checksum(bytes: &mut Vec<u8>) {
    let checksum = crc32c::crc32c(bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
}

fn decode(path: &Path, table: Table, mut bytes: Bytes) -> Result<Rows, EngineError> {
    let damaged = |detail: &str| EngineError::corruption(path, Some(table), detail);
    if bytes.len() < MAGIC.len() + 4 + 8 + CHECKSUM_BYTES {
        return Err(damaged("the file is too short"));
    }
    let mut checksum = bytes.split_off(bytes.len() - CHECKSUM_BYTES);
    if crc32c::crc32c(&bytes) != checksum.get_u32_le() {
        return Err(damaged("checksum mismatch"));
    }
    if bytes.split_to(MAGIC.len()) != MAGIC[..] {
        return Err(damaged("not a table file"));
    }
    let version = bytes.get_u32_le();
    if version != VERSION {
        return Err(EngineError::WrongFormat {
            path: path.to_owned(),
            detail: format!("version {version}, expected {VERSION}"),
        });
    }
    let count = bytes.get_u64_le();
    let mut rows = Rows::new();
    for _ in 0..count {
        let row = decode_row(&mut bytes).ok_or_else(|| damaged("the last row is cut"))?;
        rows.insert(row.0, row.1);
    }
    if !bytes.is_empty() {
        return Err(damaged("bytes after the last row"));
    }
    Ok(rows)
}

/// What [`put_row`] has put there; `None` if it is cut.
pub(super) fn decode_row(bytes: &mut Bytes) -> Option<(Bytes, Bytes)> {
    let key_len = bytes.try_get_u32_le().ok()? as usize;
    let value_len = bytes.try_get_u32_le().ok()? as usize;
    if bytes.len() < key_len.checked_add(value_len)? {
        return None;
    }
    Some((bytes.split_to(key_len), bytes.split_to(value_len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Rows {
        let row = |key: &'static [u8], value: &'static [u8]| {
            (Bytes::from_static(key), Bytes::from_static(value))
        };
        Rows::from([row(b"", b"empty key"), row(b"a", b""), row(b"b", &[0; 300])])
    }

    #[test]
    fn rows_survive_the_round_trip() {
        let path = Path::new("t");
        let read = decode(path, Table::Meta, encode(&rows()).into()).expect("intact");
        assert_eq!(read, rows());
    }

    #[test]
    fn every_flipped_byte_is_found() {
        let bytes = encode(&rows());
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x40;
            let error = decode(Path::new("t"), Table::Meta, bytes.into()).expect_err("damaged");
            assert!(error.is_corruption(), "byte {at}: {error}");
        }
    }

    #[test]
    fn every_cut_is_found() {
        let bytes = encode(&rows());
        for len in 0..bytes.len() {
            let cut = bytes[..len].to_vec();
            assert!(
                decode(Path::new("t"), Table::Meta, cut.into()).is_err(),
                "{len} bytes"
            );
        }
    }
}
