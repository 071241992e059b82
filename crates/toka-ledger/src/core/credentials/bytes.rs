//! The bytes that rows and commands have in common.

use std::collections::BTreeMap;

use bytes::BufMut;

use super::{Action, Actor, AuditRecord, Grant, Limits, TokenId, Verifier};
use crate::codec::{DecodeError, Reader, put_prefixed, put_varint};
use crate::core::limits::{
    AUDIT_ACTION_BYTES_MAX, AUDIT_FIELD_NAME_BYTES_MAX, AUDIT_FIELD_VALUE_BYTES_MAX,
    AUDIT_FIELDS_MAX, GRANT_PREFIXES_MAX, KIND_BYTES_MAX, PRINCIPAL_NAME_BYTES_MAX,
    ROLE_GRANTS_MAX, ROLE_NAME_BYTES_MAX, TOKEN_ROLES_MAX, UNIX_MS_END,
};
use crate::core::{PrincipalName, RoleName};
use crate::error::Invalid;

// Tags are persisted and never reused.
const ACTION_READ: u8 = 1;
const ACTION_WRITE: u8 = 2;
const ACTION_ADMIN: u8 = 3;

fn invalid(field: &'static str) -> impl Fn(Invalid) -> DecodeError {
    move |_| DecodeError::Invalid { field }
}

/// Number of grants, and each: action u8, number of prefixes, each text.
pub(crate) fn put_grants(out: &mut impl BufMut, grants: &[Grant]) {
    put_varint(out, grants.len() as u64);
    for grant in grants {
        out.put_u8(match grant.action {
            Action::Read => ACTION_READ,
            Action::Write => ACTION_WRITE,
            Action::Admin => ACTION_ADMIN,
        });
        put_varint(out, grant.kind_prefixes.len() as u64);
        for prefix in &grant.kind_prefixes {
            put_prefixed(out, prefix.as_bytes());
        }
    }
}

/// Whoever reads them checks them too.
pub(crate) fn read_grants(reader: &mut Reader) -> Result<Vec<Grant>, DecodeError> {
    (0..reader.count("grants", ROLE_GRANTS_MAX)?)
        .map(|_| read_grant(reader))
        .collect()
}

fn read_grant(reader: &mut Reader) -> Result<Grant, DecodeError> {
    let action = match reader.u8("action")? {
        ACTION_READ => Action::Read,
        ACTION_WRITE => Action::Write,
        ACTION_ADMIN => Action::Admin,
        _ => return Err(DecodeError::Invalid { field: "action" }),
    };
    let kind_prefixes = (0..reader.count("kind prefixes", GRANT_PREFIXES_MAX)?)
        .map(|_| reader.text("kind prefix", KIND_BYTES_MAX))
        .collect::<Result<_, _>>()?;
    Ok(Grant {
        action,
        kind_prefixes,
    })
}

/// Number of roles, each text.
pub(crate) fn put_roles(out: &mut impl BufMut, roles: &[RoleName]) {
    put_varint(out, roles.len() as u64);
    for role in roles {
        put_prefixed(out, role.as_str().as_bytes());
    }
}

/// Whoever reads them checks them too.
pub(crate) fn read_roles(reader: &mut Reader) -> Result<Vec<RoleName>, DecodeError> {
    (0..reader.count("roles", TOKEN_ROLES_MAX)?)
        .map(|_| read_role_name(reader))
        .collect()
}

pub(crate) fn read_role_name(reader: &mut Reader) -> Result<RoleName, DecodeError> {
    let name = reader.text("role", ROLE_NAME_BYTES_MAX)?;
    RoleName::new(&name).map_err(invalid("role"))
}

/// Three varints.
pub(crate) fn put_limits(out: &mut impl BufMut, limits: &Limits) {
    put_varint(out, limits.requests_per_second.into());
    put_varint(out, limits.bytes_per_second);
    put_varint(out, limits.subscriptions.into());
}

pub(crate) fn read_limits(reader: &mut Reader) -> Result<Limits, DecodeError> {
    const FIELD: &str = "limits";
    let number =
        |number: u64| u32::try_from(number).map_err(|_| DecodeError::Invalid { field: FIELD });
    let limits = Limits {
        requests_per_second: number(reader.varint(FIELD)?)?,
        bytes_per_second: reader.varint(FIELD)?,
        subscriptions: number(reader.varint(FIELD)?)?,
    };
    limits.check().map_err(invalid(FIELD))?;
    Ok(limits)
}

/// Salt and hash.
pub(crate) fn put_verifier(out: &mut impl BufMut, verifier: &Verifier) {
    out.put_slice(&verifier.salt);
    out.put_slice(&verifier.hash);
}

pub(crate) fn read_verifier(reader: &mut Reader) -> Result<Verifier, DecodeError> {
    Ok(Verifier {
        salt: reader.array("salt")?,
        hash: reader.array("hash")?,
    })
}

pub(crate) fn read_token_id(reader: &mut Reader) -> Result<TokenId, DecodeError> {
    reader.array("token id").map(TokenId)
}

/// The principal's name, and 0 u8, or 1 u8 and the id of its token.
pub(crate) fn put_actor(out: &mut impl BufMut, actor: &Actor) {
    put_prefixed(out, actor.principal.as_str().as_bytes());
    out.put_u8(actor.token.is_some().into());
    if let Some(token) = &actor.token {
        out.put_slice(&token.0);
    }
}

pub(crate) fn read_actor(reader: &mut Reader) -> Result<Actor, DecodeError> {
    const PRINCIPAL: &str = "principal";
    let principal = reader.text(PRINCIPAL, PRINCIPAL_NAME_BYTES_MAX)?;
    Ok(Actor {
        principal: PrincipalName::new(&principal).map_err(invalid(PRINCIPAL))?,
        token: match reader.u8("actor's token")? {
            0 => None,
            1 => Some(read_token_id(reader)?),
            _ => {
                return Err(DecodeError::Invalid {
                    field: "actor's token",
                });
            }
        },
    })
}

/// Action text, actor, count varint, number of fields, each name text and value text.
pub(crate) fn put_audit_record(out: &mut impl BufMut, record: &AuditRecord) {
    put_prefixed(out, record.action.as_bytes());
    put_actor(out, &record.actor);
    put_varint(out, record.count);
    put_varint(out, record.fields.len() as u64);
    for (name, value) in &record.fields {
        put_prefixed(out, name.as_bytes());
        put_prefixed(out, value.as_bytes());
    }
}

pub(crate) fn read_audit_record(reader: &mut Reader) -> Result<AuditRecord, DecodeError> {
    const FIELDS: &str = "audit fields";
    let action = reader.text("audit action", AUDIT_ACTION_BYTES_MAX)?;
    let actor = read_actor(reader)?;
    let count = reader.varint("audit count")?;
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    for _ in 0..reader.count(FIELDS, AUDIT_FIELDS_MAX)? {
        let name = reader.text("audit field", AUDIT_FIELD_NAME_BYTES_MAX)?;
        let value = reader.text("audit value", AUDIT_FIELD_VALUE_BYTES_MAX)?;
        // Equal records are equal bytes.
        if fields
            .last_key_value()
            .is_some_and(|(last, _)| *last >= name)
        {
            return Err(DecodeError::Invalid { field: FIELDS });
        }
        fields.insert(name, value);
    }
    let record = AuditRecord {
        action,
        actor,
        count,
        fields,
    };
    record.check().map_err(invalid("audit record"))?;
    Ok(record)
}

/// A time behind an 1 u8, or 0 u8.
pub(crate) fn read_expiry(
    reader: &mut Reader,
    field: &'static str,
) -> Result<Option<u64>, DecodeError> {
    match reader.u8(field)? {
        0 => Ok(None),
        1 => read_time(reader, field).map(Some),
        _ => Err(DecodeError::Invalid { field }),
    }
}

/// A varint below the end of times.
pub(crate) fn read_time(reader: &mut Reader, field: &'static str) -> Result<u64, DecodeError> {
    match reader.varint(field)? {
        time if time < UNIX_MS_END => Ok(time),
        _ => Err(DecodeError::Invalid { field }),
    }
}
