//! `role/NAME`, rows of `meta`: roles. The built-in ones have none.
//!
//! ```text
//! key    "role/" | name
//! value  version u8 = 1 | number of grants varint
//!        | each: action u8 (1 read, 2 write, 3 admin), number of kind prefixes varint, each text | checksum
//! ```

use bytes::Bytes;

use super::checksum::{seal, unseal};
use super::read_version;
use crate::codec::{DecodeError, Reader};
use crate::core::RoleName;
use crate::core::credentials::{Role, put_grants, read_grants};

/// What the keys start with.
pub const PREFIX: &[u8] = b"role/";

const VERSION: u8 = 1;

/// The key of a row.
#[must_use]
pub fn key(name: &RoleName) -> Vec<u8> {
    [PREFIX, name.as_str().as_bytes()].concat()
}

/// Reads a row's key; `None` for another row's key.
///
/// # Errors
/// [`DecodeError`] if it starts as one and is none.
pub fn decode_key(key: &[u8]) -> Result<Option<RoleName>, DecodeError> {
    let Some(name) = key.strip_prefix(PREFIX) else {
        return Ok(None);
    };
    std::str::from_utf8(name)
        .ok()
        .and_then(|name| RoleName::new(name).ok())
        .map(Some)
        .ok_or(DecodeError::Invalid { field: "role" })
}

/// The value of a row.
#[must_use]
pub fn encode(role: &Role) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_grants(&mut out, &role.grants);
    seal(&key(&role.name), &mut out);
    out
}

/// Reads a row's value.
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode(name: &RoleName, value: Bytes) -> Result<Role, DecodeError> {
    let mut reader = Reader::new(unseal(&key(name), value)?);
    read_version(&mut reader, "role", VERSION)?;
    let role = Role {
        name: name.clone(),
        grants: read_grants(&mut reader)?,
    };
    reader.finish()?;
    role.check()
        .map_err(|_| DecodeError::Invalid { field: "role" })?;
    Ok(role)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::credentials::{Action, Grant};

    fn grant() -> impl Strategy<Value = Grant> {
        let action = prop::sample::select(vec![Action::Read, Action::Write, Action::Admin]);
        (action, prop::collection::vec("[a-zß.]{1,20}", 0..4)).prop_map(
            |(action, kind_prefixes)| Grant {
                action,
                kind_prefixes,
            },
        )
    }

    proptest! {
        #[test]
        fn rows_round_trip(name in "[a-zß/]{1,20}", grants in prop::collection::vec(grant(), 1..5)) {
            let name = RoleName::new(&name).expect("valid");
            let role = Role { name: name.clone(), grants };
            prop_assert_eq!(decode(&name, encode(&role).into()), Ok(role));
            prop_assert_eq!(decode_key(&key(&name)), Ok(Some(name)));
        }

        #[test]
        fn any_bytes_end_in_a_value_or_an_error(bytes: Vec<u8>) {
            let name = RoleName::new("name").expect("valid");
            let mut sealed = bytes.clone();
            seal(&key(&name), &mut sealed);
            let _ = decode(&name, sealed.into());
            let _ = decode_key(&[PREFIX, &bytes].concat());
            let _ = decode_key(&bytes);
        }
    }
}
