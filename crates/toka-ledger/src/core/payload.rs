//! Typed payloads.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Invalid};

/// Any value that serde can write as MessagePack.
///
/// The encoding is canonical: structures as maps from field names, map keys sorted bytewise in
/// their encoded form, so that equal values are equal bytes and are stored once.
pub trait EventPayload {
    /// The payload's bytes.
    ///
    /// # Errors
    /// [`Invalid::Payload`] if the value's `Serialize` fails.
    fn to_bytes(&self) -> Result<Bytes, Invalid>;
}

impl<T: Serialize + ?Sized> EventPayload for T {
    fn to_bytes(&self) -> Result<Bytes, Invalid> {
        let named = rmp_serde::to_vec_named(self).map_err(|error| Invalid::Payload {
            detail: error.to_string(),
        })?;
        canonical(&named)
    }
}

/// Reads a typed payload back.
///
/// # Errors
/// [`Error::PayloadType`] if the bytes are not MessagePack of a `T`.
pub(crate) fn from_bytes<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Error> {
    rmp_serde::from_slice(payload).map_err(|source| Error::PayloadType { source })
}

/// Sorts the keys of every map in a MessagePack value.
fn canonical(message: &[u8]) -> Result<Bytes, Invalid> {
    let detail = |error: &dyn std::fmt::Display| Invalid::Payload {
        detail: error.to_string(),
    };
    let mut value = rmpv::decode::read_value(&mut &message[..]).map_err(|error| detail(&error))?;
    if !sort_maps(&mut value)? {
        return Ok(Bytes::copy_from_slice(message));
    }
    let mut sorted = Vec::with_capacity(message.len());
    rmpv::encode::write_value(&mut sorted, &value).map_err(|error| detail(&error))?;
    Ok(sorted.into())
}

/// Returns whether anything moved.
fn sort_maps(value: &mut rmpv::Value) -> Result<bool, Invalid> {
    match value {
        rmpv::Value::Array(items) => items
            .iter_mut()
            .try_fold(false, |moved, item| Ok(sort_maps(item)? | moved)),
        rmpv::Value::Map(entries) => sort_entries(entries),
        _ => Ok(false),
    }
}

fn sort_entries(entries: &mut Vec<(rmpv::Value, rmpv::Value)>) -> Result<bool, Invalid> {
    let mut moved = false;
    let mut keyed = Vec::with_capacity(entries.len());
    for (mut key, mut value) in entries.drain(..) {
        moved |= sort_maps(&mut key)? | sort_maps(&mut value)?;
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &key).map_err(|error| Invalid::Payload {
            detail: error.to_string(),
        })?;
        keyed.push((bytes, (key, value)));
    }
    if !keyed.is_sorted_by(|a, b| a.0 <= b.0) {
        keyed.sort_by(|a, b| a.0.cmp(&b.0));
        moved = true;
    }
    entries.extend(keyed.into_iter().map(|(_, entry)| entry));
    Ok(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Login {
        user_id: String,
        at: u64,
    }

    #[test]
    fn fields_are_named_and_sorted() {
        let bytes = Login {
            user_id: "a".to_owned(),
            at: 1,
        }
        .to_bytes()
        .expect("serializes");
        assert_eq!(&bytes[..], b"\x82\xa2at\x01\xa7user_id\xa1a");
    }

    #[test]
    #[allow(
        clippy::disallowed_types,
        reason = "a payload may be one; its keys are sorted"
    )]
    fn a_map_and_a_structure_with_equal_fields_are_equal_bytes() {
        let map = std::collections::HashMap::from([("user_id", "a")]);
        #[derive(Serialize)]
        struct Same {
            user_id: &'static str,
        }
        assert_eq!(map.to_bytes(), Same { user_id: "a" }.to_bytes());
    }
}
