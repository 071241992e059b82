//! Where a memory store keeps what was flushed: a file for each flush, in the store's directory.
//!
//! ```text
//! flush-<number, 16 hexadecimal digits>
//! magic "toka-mfl" | u32 version | u8 whole | u64 ops | ops x op | u32 crc32c
//! op: u8 table | u8 put | u32 len key | u32 len value | key | value
//! ```
//!
//! Integers are little-endian; the checksum covers everything before it. A *whole* one holds every row,
//! and makes those before it and the copy that the store began with (`image`) void. Each file gets its
//! name complete and durable, one after the other, so none is ever torn.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};

use super::{EngineError, Op, Table, Tables, apply, image};
use crate::disk::{Disk, DiskLock};

const MAGIC: &[u8; 8] = b"toka-mfl";
const VERSION: u32 = 1;
const PREFIX: &str = "flush-";
const TEMPORARY: &str = "flush.tmp";
const LOCK_FILE: &str = "engine.lock";
/// Flushes after which everything is written anew, so that files do not pile up.
const FLUSHES_MAX: u64 = 64;

/// The directory of a store that is open.
pub(super) struct Home {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Number of the last flush, and of the last whole one.
    last: u64,
    last_whole: u64,
    /// Nobody knows what a failed flush has left.
    has_failed: bool,
    _lock: Box<dyn DiskLock>,
}

struct Flush {
    is_whole: bool,
    ops: Vec<Op>,
}

impl Home {
    /// Opens the store in `dir`, or makes one, and reads its rows.
    pub(super) fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<(Self, Tables), EngineError> {
        disk.create_dir_all(dir)
            .map_err(EngineError::io("create", dir))?;
        let lock = match disk.lock(&dir.join(LOCK_FILE)) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(EngineError::Locked {
                path: dir.to_owned(),
            }),
            held => held.map_err(EngineError::io("lock", dir)),
        }?;
        let mut home = Self {
            disk,
            dir: dir.to_owned(),
            last: 0,
            last_whole: 0,
            has_failed: false,
            _lock: lock,
        };
        let tables = home.load()?;
        Ok((home, tables))
    }

    fn load(&mut self) -> Result<Tables, EngineError> {
        let numbers = self.numbers()?;
        let mut flushes = Vec::new();
        for number in numbers.iter().rev().copied() {
            let flush = self.read(number)?;
            let is_whole = flush.is_whole;
            flushes.push((number, flush));
            if is_whole {
                self.last_whole = number;
                break;
            }
        }
        let mut tables = match flushes.last() {
            Some((_, Flush { is_whole: true, .. })) => Tables::default(),
            _ if image::is_there(&*self.disk, &self.dir) => image::read(&*self.disk, &self.dir)?,
            _ => Tables::default(),
        };
        self.last = self.last_whole.saturating_sub(1);
        for (number, flush) in flushes.into_iter().rev() {
            if number != self.last + 1 {
                let detail = format!("flush {} is missing", self.last + 1);
                return Err(EngineError::corruption(&self.dir, None, detail));
            }
            flush.ops.into_iter().for_each(|op| apply(&mut tables, op));
            self.last = number;
        }
        Ok(tables)
    }

    /// Fails if an earlier flush has.
    pub(super) fn check(&self) -> Result<(), EngineError> {
        if self.has_failed {
            let error = io::Error::other("an earlier flush has failed");
            return Err(EngineError::io("write to", &self.dir)(error));
        }
        Ok(())
    }

    /// Makes `ops` durable, with which the rows are those in `tables`.
    pub(super) fn flush(&mut self, ops: &[Op], tables: &Tables) -> Result<(), EngineError> {
        self.check()?;
        let number = self.last + 1;
        let is_whole = number - self.last_whole > FLUSHES_MAX;
        let bytes = if is_whole {
            encode(true, &all_rows(tables))
        } else {
            encode(false, ops)
        };
        let path = self.path(number);
        let temporary = self.dir.join(TEMPORARY);
        let written = self.disk.replace(&path, &temporary, &bytes);
        self.has_failed = written.is_err();
        written.map_err(EngineError::io("write", &path))?;
        self.last = number;
        if is_whole {
            self.last_whole = number;
            self.remove_void();
        }
        Ok(())
    }

    /// Reads everything again.
    pub(super) fn verify(&self) -> Result<(), EngineError> {
        for number in self.last_whole.max(1)..=self.last {
            self.read(number)?;
        }
        if self.last_whole == 0 && image::is_there(&*self.disk, &self.dir) {
            image::read(&*self.disk, &self.dir)?;
        }
        Ok(())
    }

    /// Removes what the last whole flush has made void. What stays behind does no harm.
    fn remove_void(&self) {
        let older = self.numbers().unwrap_or_default().into_iter();
        for number in older.filter(|number| *number < self.last_whole) {
            let _ = self.disk.remove(&self.path(number));
        }
        image::remove(&*self.disk, &self.dir);
    }

    fn numbers(&self) -> Result<Vec<u64>, EngineError> {
        let names = self.disk.list(&self.dir);
        let names = names.map_err(EngineError::io("list", &self.dir))?;
        let number = |name: &std::ffi::OsString| {
            u64::from_str_radix(name.to_str()?.strip_prefix(PREFIX)?, 16).ok()
        };
        let mut numbers: Vec<u64> = names.iter().filter_map(number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{PREFIX}{number:016x}"))
    }

    fn read(&self, number: u64) -> Result<Flush, EngineError> {
        let path = self.path(number);
        let bytes = self.disk.read(&path);
        let bytes = bytes.map_err(EngineError::io("read", &path))?;
        decode(bytes.into()).map_err(|detail| EngineError::corruption(&path, None, detail))
    }
}

fn all_rows(tables: &Tables) -> Vec<Op> {
    let rows = Table::ALL.into_iter().flat_map(|table| {
        tables[table.index()].iter().map(move |(key, value)| Op {
            table,
            key: key.clone(),
            value: Some(value.clone()),
        })
    });
    rows.collect()
}

fn encode(is_whole: bool, ops: &[Op]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.push(is_whole.into());
    bytes.extend_from_slice(&(ops.len() as u64).to_le_bytes());
    for Op { table, key, value } in ops {
        bytes.push(u8::try_from(table.index()).expect("there are twelve tables"));
        bytes.push(value.is_some().into());
        image::put_row(&mut bytes, key, value.as_deref().unwrap_or_default());
    }
    image::put_checksum(&mut bytes);
    bytes
}

fn decode(mut bytes: Bytes) -> Result<Flush, &'static str> {
    const CUT: &str = "the file is cut";
    let body = bytes.len().checked_sub(4).ok_or(CUT)?;
    let mut checksum = bytes.split_off(body);
    if crc32c::crc32c(&bytes) != checksum.get_u32_le() {
        return Err("checksum mismatch");
    }
    if bytes.len() < MAGIC.len() || bytes.split_to(MAGIC.len()) != MAGIC[..] {
        return Err("not a flush");
    }
    if bytes.try_get_u32_le().map_err(|_| CUT)? != VERSION {
        return Err("another version");
    }
    let is_whole = bytes.try_get_u8().map_err(|_| CUT)? != 0;
    let count = bytes.try_get_u64_le().map_err(|_| CUT)?;
    let mut ops = Vec::new();
    for _ in 0..count {
        ops.push(decode_op(&mut bytes).ok_or(CUT)?);
    }
    Ok(Flush { is_whole, ops })
}

fn decode_op(bytes: &mut Bytes) -> Option<Op> {
    let table = *Table::ALL.get(usize::from(bytes.try_get_u8().ok()?))?;
    let is_put = bytes.try_get_u8().ok()? != 0;
    let (key, value) = image::decode_row(bytes)?;
    let value = is_put.then_some(value);
    Some(Op { table, key, value })
}
