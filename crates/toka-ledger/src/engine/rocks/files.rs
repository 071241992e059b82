//! Every block of every table file, with those that reading rows does not come upon.
//!
//! RocksDB reads around a damaged filter without a word. It can check whole files, but the `rocksdb` crate has
//! no method for that; the C function is linked with it.

use std::ffi::{CStr, c_char, c_void};
use std::path::Path;

use rocksdb::{AsRawPtr, DB};

use super::EngineError;
use super::failure::read_error;

// Of RocksDB's c.h.
unsafe extern "C" {
    /// Sets `error`, which is to be null before, to a text that [`rocksdb_free`] takes, if something is wrong.
    fn rocksdb_verify_checksum(database: *mut c_void, error: *mut *mut c_char);
    fn rocksdb_free(memory: *mut c_void);
}

/// Reads all table files in use from the disk, and checks every block.
pub(super) fn verify(db: &DB, path: &Path) -> Result<(), EngineError> {
    let mut error: *mut c_char = std::ptr::null_mut();
    // SAFETY: the pointer is used while `db` is borrowed. RocksDB allows the call from any thread.
    unsafe { rocksdb_verify_checksum(pointer(db), &raw mut error) };
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: it is a string that ends in a zero, and that nobody else has.
    let message = unsafe { CStr::from_ptr(error) }
        .to_string_lossy()
        .into_owned();
    // SAFETY: RocksDB has allocated it, and it is not used any more.
    unsafe { rocksdb_free(error.cast()) };
    Err(read_error(path, message))
}

/// Valid as long as what it points to.
fn pointer(database: &DB) -> *mut c_void {
    // SAFETY: whoever uses it sees to it that it is valid.
    let pointer = unsafe { database.as_raw_ptr() };
    pointer.cast()
}
