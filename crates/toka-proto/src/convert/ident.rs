//! Identities as bytes.

use bytes::Bytes;
use toka_ledger::{Digest, EventId, Invalid};

/// The bytes of a digest.
#[must_use]
pub fn digest_bytes(digest: &Digest) -> Bytes {
    Bytes::copy_from_slice(digest.as_bytes())
}

/// A digest, 32 bytes.
///
/// # Errors
/// [`Invalid::Length`], naming `field`.
pub fn digest(field: &'static str, bytes: &[u8]) -> Result<Digest, Invalid> {
    array(field, bytes).map(Digest)
}

/// The bytes of an event id.
#[must_use]
pub fn event_id_bytes(id: &EventId) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}

/// An event id, 16 bytes.
///
/// # Errors
/// [`Invalid::Length`], naming `field`.
pub fn event_id(field: &'static str, bytes: &[u8]) -> Result<EventId, Invalid> {
    array(field, bytes).map(EventId::from_bytes)
}

/// The bytes of a cluster's or a history's identity, big-endian.
#[must_use]
pub fn u128_bytes(identity: u128) -> Bytes {
    Bytes::copy_from_slice(&identity.to_be_bytes())
}

/// The identity of a cluster or a history, 16 bytes.
///
/// # Errors
/// [`Invalid::Length`], naming `field`.
pub fn u128(field: &'static str, bytes: &[u8]) -> Result<u128, Invalid> {
    array(field, bytes).map(u128::from_be_bytes)
}

/// As `u128`; none where there are no bytes.
///
/// # Errors
/// [`Invalid::Length`], naming `field`.
pub fn u128_optional(field: &'static str, bytes: &[u8]) -> Result<Option<u128>, Invalid> {
    if bytes.is_empty() {
        Ok(None)
    } else {
        u128(field, bytes).map(Some)
    }
}

fn array<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<[u8; N], Invalid> {
    bytes.try_into().map_err(|_| Invalid::Length {
        field,
        expected: N,
        actual: bytes.len(),
    })
}
