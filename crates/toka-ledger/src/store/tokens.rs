//! `token/ID`, rows of `meta`: tokens, without their secrets.
//!
//! ```text
//! key    "token/" | id [8]
//! value  version u8 = 1 | principal text | salt [16] | hash [32] | number of roles varint | each text
//!        | grants as of a role (see store/roles.rs) | limits: requests per second varint, bytes per second varint, subscriptions varint
//!        | created unix_ms varint | expires: 0 u8, or 1 u8 and unix_ms varint | revoked: likewise
//!        | replaced by: 0 u8, or 1 u8 and id [8] | checksum
//! ```

use bytes::{BufMut, Bytes};

use super::checksum::{seal, unseal};
use super::read_version;
use crate::codec::{DecodeError, Reader, put_prefixed, put_varint};
use crate::core::PrincipalName;
use crate::core::credentials::{
    StoredToken, TokenId, check_rights, put_grants, put_limits, put_roles, put_verifier,
    read_expiry, read_grants, read_limits, read_roles, read_time, read_token_id, read_verifier,
};
use crate::core::limits::PRINCIPAL_NAME_BYTES_MAX;

/// What the keys start with.
pub const PREFIX: &[u8] = b"token/";

const VERSION: u8 = 1;

/// The key of a row.
#[must_use]
pub fn key(id: TokenId) -> Vec<u8> {
    [PREFIX, &id.0].concat()
}

/// Reads a row's key; `None` for another row's key.
///
/// # Errors
/// [`DecodeError`] if it starts as one and is none.
pub fn decode_key(key: &[u8]) -> Result<Option<TokenId>, DecodeError> {
    let Some(id) = key.strip_prefix(PREFIX) else {
        return Ok(None);
    };
    let id = <[u8; 8]>::try_from(id).map_err(|_| DecodeError::Invalid { field: "token" })?;
    Ok(Some(TokenId(id)))
}

/// The value of a row.
#[must_use]
pub fn encode(token: &StoredToken) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_prefixed(&mut out, token.principal.as_str().as_bytes());
    put_verifier(&mut out, &token.verifier);
    put_roles(&mut out, &token.roles);
    put_grants(&mut out, &token.grants);
    put_limits(&mut out, &token.limits);
    put_varint(&mut out, token.created_unix_ms);
    for time in [token.expires_unix_ms, token.revoked_unix_ms] {
        out.put_u8(time.is_some().into());
        if let Some(time) = time {
            put_varint(&mut out, time);
        }
    }
    out.put_u8(token.replaced_by.is_some().into());
    if let Some(id) = token.replaced_by {
        out.put_slice(&id.0);
    }
    seal(&key(token.id), &mut out);
    out
}

/// Reads a row's value.
///
/// # Errors
/// [`DecodeError`] if it is none.
pub fn decode(id: TokenId, value: Bytes) -> Result<StoredToken, DecodeError> {
    const PRINCIPAL: &str = "principal";
    const REPLACED: &str = "replaced by";
    let mut reader = Reader::new(unseal(&key(id), value)?);
    read_version(&mut reader, "token", VERSION)?;
    let principal = reader.text(PRINCIPAL, PRINCIPAL_NAME_BYTES_MAX)?;
    let token = StoredToken {
        id,
        principal: PrincipalName::new(&principal)
            .map_err(|_| DecodeError::Invalid { field: PRINCIPAL })?,
        verifier: read_verifier(&mut reader)?,
        roles: read_roles(&mut reader)?,
        grants: read_grants(&mut reader)?,
        limits: read_limits(&mut reader)?,
        created_unix_ms: read_time(&mut reader, "created unix_ms")?,
        expires_unix_ms: read_expiry(&mut reader, "expires")?,
        revoked_unix_ms: read_expiry(&mut reader, "revoked")?,
        replaced_by: match reader.u8(REPLACED)? {
            0 => None,
            1 => Some(read_token_id(&mut reader)?),
            _ => return Err(DecodeError::Invalid { field: REPLACED }),
        },
    };
    reader.finish()?;
    check_rights(&token.roles, &token.grants)
        .map_err(|_| DecodeError::Invalid { field: "rights" })?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::RoleName;
    use crate::core::credentials::{Action, Grant, Limits, Verifier};
    use crate::core::limits::UNIX_MS_END;

    proptest! {
        #[test]
        fn rows_round_trip(
            id: [u8; 8],
            principal in "[a-zß/]{1,20}",
            (salt, hash) in any::<([u8; 16], [u8; 32])>(),
            roles in prop::collection::btree_set("[a-z]{1,9}", 1..4),
            (requests_per_second, subscriptions, replaced_by) in any::<(u32, u32, Option<[u8; 8]>)>(),
            bytes_per_second in 0_u64..1 << 40,
            created_unix_ms in 0..UNIX_MS_END,
            expires_unix_ms in prop::option::of(0..UNIX_MS_END),
            revoked_unix_ms in prop::option::of(0..UNIX_MS_END),
        ) {
            let role = |name: &String| RoleName::new(name).expect("valid");
            let token = StoredToken {
                id: TokenId(id),
                principal: PrincipalName::new(&principal).expect("valid"),
                verifier: Verifier { salt, hash },
                roles: roles.iter().map(role).collect(),
                grants: vec![Grant { action: Action::Write, kind_prefixes: vec![principal.clone()] }],
                limits: Limits { requests_per_second, bytes_per_second, subscriptions },
                created_unix_ms,
                expires_unix_ms,
                revoked_unix_ms,
                replaced_by: replaced_by.map(TokenId),
            };
            prop_assert_eq!(decode(token.id, encode(&token).into()), Ok(token.clone()));
            prop_assert_eq!(decode_key(&key(token.id)), Ok(Some(token.id)));
        }

        #[test]
        fn any_bytes_end_in_a_value_or_an_error(bytes: Vec<u8>) {
            let id = TokenId([7; 8]);
            let mut sealed = bytes.clone();
            seal(&key(id), &mut sealed);
            let _ = decode(id, sealed.into());
            let _ = decode_key(&[PREFIX, &bytes].concat());
            let _ = decode_key(&bytes);
        }
    }
}
