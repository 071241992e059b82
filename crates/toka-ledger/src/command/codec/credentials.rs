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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::command::{Batch, CREDENTIALS_LEVEL, Command, decode_batch, encode};
    use crate::core::RoleName;
    use crate::core::credentials::{Action, Actor, AuditRecord, Grant, Limits, TokenId, Verifier};
    use crate::core::limits::UNIX_MS_END;

    fn role_name(name: &str) -> RoleName {
        RoleName::new(name).expect("valid")
    }

    fn actor(token: Option<[u8; 8]>) -> Actor {
        Actor {
            principal: PrincipalName::new("a").expect("valid"),
            token: token.map(TokenId),
        }
    }

    fn grant() -> impl Strategy<Value = Grant> {
        let action = prop::sample::select(vec![Action::Read, Action::Write, Action::Admin]);
        let prefixes = prop::collection::vec("[a-zß.]{1,9}", 0..3);
        (action, prefixes).prop_map(|(action, kind_prefixes)| Grant {
            action,
            kind_prefixes,
        })
    }

    fn create() -> impl Strategy<Value = Command> {
        let rights = (
            prop::collection::btree_set("[a-z]{1,9}", 1..4),
            prop::collection::vec(grant(), 0..3),
        );
        let secret = any::<([u8; 8], [u8; 16], [u8; 32])>();
        let rest = (
            any::<Option<[u8; 8]>>(),
            prop::option::of(0..UNIX_MS_END),
            any::<(u64, bool, u32)>(),
        );
        (rights, secret, rest).prop_map(|((roles, grants), (id, salt, hash), rest)| {
            let (token, expires_unix_ms, (unix_ms, if_no_admin, limit)) = rest;
            Command::CreateToken(CreateToken {
                unix_ms,
                actor: actor(token),
                id: TokenId(id),
                verifier: Verifier { salt, hash },
                principal: PrincipalName::new("robot").expect("valid"),
                roles: roles.iter().map(|name| role_name(name)).collect(),
                grants,
                limits: Limits {
                    requests_per_second: limit,
                    bytes_per_second: u64::from(limit) << 8,
                    subscriptions: limit / 2,
                },
                expires_unix_ms,
                if_no_admin,
            })
        })
    }

    fn command() -> impl Strategy<Value = Command> {
        let rotate = (any::<([u8; 8], [u8; 8], [u8; 32])>(), 0..604_800_001_u32).prop_map(
            |((id, new_id, hash), grace_ms)| {
                Command::RotateToken(RotateToken {
                    unix_ms: 7,
                    actor: actor(Some(id)),
                    id: TokenId(id),
                    new_id: TokenId(new_id),
                    verifier: Verifier {
                        salt: [3; 16],
                        hash,
                    },
                    grace_ms,
                    expires_unix_ms: None,
                })
            },
        );
        let revoke = any::<[u8; 8]>().prop_map(|id| {
            Command::RevokeToken(RevokeToken {
                unix_ms: 7,
                actor: actor(None),
                id: TokenId(id),
            })
        });
        let put = prop::collection::vec(grant(), 1..4).prop_map(|grants| {
            Command::PutRole(PutRole {
                unix_ms: 7,
                actor: actor(None),
                role: Role {
                    name: role_name("robots"),
                    grants,
                },
            })
        });
        let delete = "[a-z]{10,12}".prop_map(|name| {
            Command::DeleteRole(DeleteRole {
                unix_ms: 7,
                actor: actor(None),
                name: role_name(&name),
            })
        });
        let fields = prop::collection::btree_map("[a-z_]{1,9}", "[a-zß ]{0,9}", 0..4);
        let append = prop::collection::vec((fields, 1..9_u64), 1..4).prop_map(|records| {
            let record = |(fields, count): (BTreeMap<String, String>, u64)| AuditRecord {
                action: "denied".to_owned(),
                actor: actor(None),
                count,
                fields,
            };
            Command::AppendAudit(AppendAudit {
                unix_ms: 7,
                records: records.into_iter().map(record).collect(),
            })
        });
        prop_oneof![create(), rotate, revoke, put, delete, append]
    }

    proptest! {
        #[test]
        fn commands_round_trip(command in command()) {
            prop_assert_eq!(command.check(), Ok(()));
            prop_assert_eq!(command.level_needed(), CREDENTIALS_LEVEL);
            let mut batch = Batch::default();
            batch.push(&encode(&command));
            prop_assert_eq!(decode_batch(batch.finish()), Ok(vec![command]));
        }

        #[test]
        fn any_bytes_end_in_a_command_that_passes_or_an_error(tag in 13..19_u8, bytes: Vec<u8>) {
            let mut batch = Batch::default();
            batch.push(&[&[1, tag][..], &bytes].concat());
            for command in decode_batch(batch.finish()).unwrap_or_default() {
                prop_assert_eq!(command.check(), Ok(()));
            }
        }
    }

    #[test]
    fn bytes_of_level_3_stay_as_they_are() {
        let time = [0x02, 0x01, 0, 0, 0, 0, 0, 0];
        let pinned = |command: &Command, tag: u8, back: &[u8]| {
            let expected = [&[1, tag][..], &time[..], back].concat();
            assert_eq!(encode(command)[..], expected);
        };
        let unix_ms = 0x0102;
        let id = TokenId([9; 8]);
        let revoke = RevokeToken {
            unix_ms,
            actor: actor(Some([8; 8])),
            id,
        };
        let back = [&[1, b'a', 1][..], &[8; 8], &[9; 8]].concat();
        pinned(&Command::RevokeToken(revoke), 15, &back);
        let put = PutRole {
            unix_ms,
            actor: actor(None),
            role: Role {
                name: role_name("r"),
                grants: vec![Grant {
                    action: Action::Write,
                    kind_prefixes: vec!["t.".to_owned()],
                }],
            },
        };
        let back = [1, b'a', 0, 1, b'r', 1, 2, 1, 2, b't', b'.'];
        pinned(&Command::PutRole(put), 16, &back);
        let delete = DeleteRole {
            unix_ms,
            actor: actor(None),
            name: role_name("r"),
        };
        pinned(&Command::DeleteRole(delete), 17, &[1, b'a', 0, 1, b'r']);
        let create = CreateToken {
            unix_ms,
            actor: actor(None),
            id,
            verifier: Verifier {
                salt: [5; 16],
                hash: [6; 32],
            },
            principal: PrincipalName::new("p").expect("valid"),
            roles: vec![role_name("r")],
            grants: Vec::new(),
            limits: Limits {
                requests_per_second: 1,
                bytes_per_second: 300,
                subscriptions: 2,
            },
            expires_unix_ms: Some(3),
            if_no_admin: true,
        };
        let front = [&[1, b'a', 0][..], &[9; 8], &[5; 16], &[6; 32]].concat();
        let back = [1, b'p', 1, 1, b'r', 0, 1, 0xac, 0x02, 2, 1, 3, 1];
        pinned(
            &Command::CreateToken(create),
            13,
            &[&front[..], &back].concat(),
        );
        let rotate = RotateToken {
            unix_ms,
            actor: actor(None),
            id,
            new_id: TokenId([7; 8]),
            verifier: Verifier {
                salt: [5; 16],
                hash: [6; 32],
            },
            grace_ms: 300,
            expires_unix_ms: None,
        };
        let front = [&[1, b'a', 0][..], &[9; 8], &[7; 8], &[5; 16], &[6; 32]].concat();
        let rest = [0xac, 0x02, 0];
        pinned(
            &Command::RotateToken(rotate),
            14,
            &[&front[..], &rest].concat(),
        );
        let record = AuditRecord {
            action: "d".to_owned(),
            actor: actor(None),
            count: 4,
            fields: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        };
        let append = AppendAudit {
            unix_ms,
            records: vec![record],
        };
        let back = [1, 1, b'd', 1, b'a', 0, 4, 1, 1, b'k', 1, b'v'];
        pinned(&Command::AppendAudit(append), 18, &back);
    }

    #[test]
    fn a_command_that_is_out_of_bounds_names_the_field() {
        let field = |command: Command| command.check().map_err(|invalid| invalid.field());
        let rotate = |grace_ms| {
            Command::RotateToken(RotateToken {
                unix_ms: 1,
                actor: actor(None),
                id: TokenId([1; 8]),
                new_id: TokenId([2; 8]),
                verifier: Verifier {
                    salt: [0; 16],
                    hash: [0; 32],
                },
                grace_ms,
                expires_unix_ms: None,
            })
        };
        assert_eq!(field(rotate(604_800_000)), Ok(()));
        assert_eq!(field(rotate(604_800_001)), Err("grace_ms"));
        let delete = Command::DeleteRole(DeleteRole {
            unix_ms: 1,
            actor: actor(None),
            name: role_name("admin"),
        });
        assert_eq!(field(delete), Err("role"));
        let append = Command::AppendAudit(AppendAudit {
            unix_ms: 1,
            records: Vec::new(),
        });
        assert_eq!(field(append), Err("audit_records"));
    }
}
