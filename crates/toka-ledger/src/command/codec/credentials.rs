//! Bytes of the commands of tokens, roles and the audit.

use bytes::{BufMut, BytesMut};

use super::{
    COMMAND_APPEND_AUDIT, COMMAND_CREATE_TOKEN, COMMAND_DELETE_ROLE, COMMAND_PUT_ROLE,
    COMMAND_REVOKE_TOKEN, COMMAND_ROTATE_TOKEN, coordination, invalid,
};
use crate::codec::{DecodeError, Reader, put_prefixed, put_varint};
use crate::command::{AppendAudit, CreateToken, DeleteRole, PutRole, RevokeToken, RotateToken};
use crate::core::PrincipalName;
use crate::core::credentials::{
    Role, put_actor, put_audit_record, put_grants, put_limits, put_roles, put_verifier, read_actor,
    read_audit_record, read_expiry, read_grants, read_limits, read_role_name, read_roles,
    read_token_id, read_verifier,
};
use crate::core::limits::{AUDIT_RECORDS_MAX, PRINCIPAL_NAME_BYTES_MAX};

pub(super) fn put_create_token(out: &mut BytesMut, create: &CreateToken) {
    out.put_u8(COMMAND_CREATE_TOKEN);
    out.put_u64_le(create.unix_ms);
    put_actor(out, &create.actor);
    out.put_slice(&create.id.0);
    put_verifier(out, &create.verifier);
    put_prefixed(out, create.principal.as_str().as_bytes());
    put_roles(out, &create.roles);
    put_grants(out, &create.grants);
    put_limits(out, &create.limits);
    coordination::put_optional(out, create.expires_unix_ms);
    out.put_u8(create.if_no_admin.into());
}

pub(super) fn read_create_token(reader: &mut Reader) -> Result<CreateToken, DecodeError> {
    const PRINCIPAL: &str = "principal";
    let create = CreateToken {
        unix_ms: reader.u64("unix_ms")?,
        actor: read_actor(reader)?,
        id: read_token_id(reader)?,
        verifier: read_verifier(reader)?,
        principal: PrincipalName::new(&reader.text(PRINCIPAL, PRINCIPAL_NAME_BYTES_MAX)?)
            .map_err(invalid(PRINCIPAL))?,
        roles: read_roles(reader)?,
        grants: read_grants(reader)?,
        limits: read_limits(reader)?,
        expires_unix_ms: read_expiry(reader, "expiry")?,
        if_no_admin: match reader.u8("condition")? {
            0 => false,
            1 => true,
            _ => return Err(DecodeError::Invalid { field: "condition" }),
        },
    };
    create.check().map_err(invalid("token"))?;
    Ok(create)
}

pub(super) fn put_rotate_token(out: &mut BytesMut, rotate: &RotateToken) {
    out.put_u8(COMMAND_ROTATE_TOKEN);
    out.put_u64_le(rotate.unix_ms);
    put_actor(out, &rotate.actor);
    out.put_slice(&rotate.id.0);
    out.put_slice(&rotate.new_id.0);
    put_verifier(out, &rotate.verifier);
    put_varint(out, rotate.grace_ms.into());
    coordination::put_optional(out, rotate.expires_unix_ms);
}

pub(super) fn read_rotate_token(reader: &mut Reader) -> Result<RotateToken, DecodeError> {
    let rotate = RotateToken {
        unix_ms: reader.u64("unix_ms")?,
        actor: read_actor(reader)?,
        id: read_token_id(reader)?,
        new_id: read_token_id(reader)?,
        verifier: read_verifier(reader)?,
        grace_ms: coordination::read_u32(reader, "grace")?,
        expires_unix_ms: read_expiry(reader, "expiry")?,
    };
    rotate.check().map_err(invalid("rotation"))?;
    Ok(rotate)
}

pub(super) fn put_revoke_token(out: &mut BytesMut, revoke: &RevokeToken) {
    out.put_u8(COMMAND_REVOKE_TOKEN);
    out.put_u64_le(revoke.unix_ms);
    put_actor(out, &revoke.actor);
    out.put_slice(&revoke.id.0);
}

pub(super) fn read_revoke_token(reader: &mut Reader) -> Result<RevokeToken, DecodeError> {
    Ok(RevokeToken {
        unix_ms: reader.u64("unix_ms")?,
        actor: read_actor(reader)?,
        id: read_token_id(reader)?,
    })
}

pub(super) fn put_put_role(out: &mut BytesMut, put: &PutRole) {
    out.put_u8(COMMAND_PUT_ROLE);
    out.put_u64_le(put.unix_ms);
    put_actor(out, &put.actor);
    put_prefixed(out, put.role.name.as_str().as_bytes());
    put_grants(out, &put.role.grants);
}

pub(super) fn read_put_role(reader: &mut Reader) -> Result<PutRole, DecodeError> {
    let put = PutRole {
        unix_ms: reader.u64("unix_ms")?,
        actor: read_actor(reader)?,
        role: Role {
            name: read_role_name(reader)?,
            grants: read_grants(reader)?,
        },
    };
    put.role.check().map_err(invalid("role"))?;
    Ok(put)
}

pub(super) fn put_delete_role(out: &mut BytesMut, delete: &DeleteRole) {
    out.put_u8(COMMAND_DELETE_ROLE);
    out.put_u64_le(delete.unix_ms);
    put_actor(out, &delete.actor);
    put_prefixed(out, delete.name.as_str().as_bytes());
}

pub(super) fn read_delete_role(reader: &mut Reader) -> Result<DeleteRole, DecodeError> {
    let delete = DeleteRole {
        unix_ms: reader.u64("unix_ms")?,
        actor: read_actor(reader)?,
        name: read_role_name(reader)?,
    };
    delete.check().map_err(invalid("role"))?;
    Ok(delete)
}

pub(super) fn put_append_audit(out: &mut BytesMut, append: &AppendAudit) {
    out.put_u8(COMMAND_APPEND_AUDIT);
    out.put_u64_le(append.unix_ms);
    put_varint(out, append.records.len() as u64);
    for record in &append.records {
        put_audit_record(out, record);
    }
}

pub(super) fn read_append_audit(reader: &mut Reader) -> Result<AppendAudit, DecodeError> {
    let unix_ms = reader.u64("unix_ms")?;
    let records = (0..reader.count("audit records", AUDIT_RECORDS_MAX)?)
        .map(|_| read_audit_record(reader))
        .collect::<Result<_, _>>()?;
    let append = AppendAudit { unix_ms, records };
    append.check().map_err(invalid("audit records"))?;
    Ok(append)
}
