//! Tokens and roles.

use std::sync::Arc;

use super::audit::{self, Fields, Note, Value};
use super::write::Writer;
use super::{Outcome, Refused};
use crate::command::{
    CREDENTIALS_LEVEL, CreateToken, DeleteRole, PutRole, RevokeToken, RotateToken,
};
use crate::core::RoleName;
use crate::core::credentials::{Actor, Grant, Limits, Role, StoredToken, TokenId};
use crate::core::limits::{ROLES_MAX, TOKENS_MAX, UNIX_MS_END};
use crate::engine::Engine;
use crate::error::{Error, Rejection};
use crate::read::Credentials;
use crate::store::{roles, tokens};

pub(super) fn create_token(
    engine: &dyn Engine,
    writer: &mut Writer<'_>,
    create: &CreateToken,
) -> Result<Outcome, Refused> {
    let mut changes = Changes::begin(engine, writer, create.unix_ms)?;
    let now = changes.now();
    if create.if_no_admin && changes.all().has_admin(now) {
        return Err(Rejection::AdminExists.into());
    }
    changes.check_new(create.id)?;
    for name in &create.roles {
        if changes.all().role(name.as_str()).is_none() {
            return Err(Rejection::UnknownRole { name: name.clone() }.into());
        }
    }
    changes.check_expiry(create.expires_unix_ms)?;
    changes.make_room()?;
    let token = Arc::new(StoredToken {
        id: create.id,
        principal: create.principal.clone(),
        verifier: create.verifier,
        roles: create.roles.clone(),
        grants: create.grants.clone(),
        limits: create.limits,
        created_unix_ms: now,
        expires_unix_ms: create.expires_unix_ms,
        revoked_unix_ms: None,
        replaced_by: None,
    });
    changes.put_token(Arc::clone(&token))?;
    changes.note("token.created", &create.actor, of_token(&token))?;
    Ok(Outcome::TokenCreated {
        revision: changes.revision(),
        token,
    })
}

pub(super) fn rotate_token(
    engine: &dyn Engine,
    writer: &mut Writer<'_>,
    rotate: &RotateToken,
) -> Result<Outcome, Refused> {
    let mut changes = Changes::begin(engine, writer, rotate.unix_ms)?;
    let now = changes.now();
    let old = changes.token(rotate.id)?;
    // One that was rotated before can be again, as long as it counts: an answer may have been lost.
    if !old.is_valid_at(now) {
        return Err(Rejection::TokenEnded { id: rotate.id }.into());
    }
    changes.check_new(rotate.new_id)?;
    let until = |ms: u64| now.saturating_add(ms).min(UNIX_MS_END - 1);
    // As long as the old one was to live: where it was rotated before, the time of grace says nothing of that, and the last
    // of those that came of it does. Each is younger than the one before, so that this ends.
    let mut model = &old;
    while let Some(next) = model.replaced_by.and_then(|id| changes.all().token(id)) {
        model = next;
    }
    let lifetime = |expires: u64| until(expires.saturating_sub(model.created_unix_ms));
    let expires_unix_ms = rotate
        .expires_unix_ms
        .or_else(|| model.expires_unix_ms.map(lifetime));
    changes.check_expiry(expires_unix_ms)?;
    changes.make_room()?;
    let grace_end = until(rotate.grace_ms.into());
    let replaced = Arc::new(StoredToken {
        expires_unix_ms: Some(
            old.expires_unix_ms
                .map_or(grace_end, |old| old.min(grace_end)),
        ),
        replaced_by: Some(rotate.new_id),
        ..(*old).clone()
    });
    let token = Arc::new(StoredToken {
        id: rotate.new_id,
        verifier: rotate.verifier,
        created_unix_ms: now,
        expires_unix_ms,
        replaced_by: None,
        ..(*old).clone()
    });
    changes.put_token(replaced)?;
    changes.put_token(Arc::clone(&token))?;
    let mut fields = of_token(&token);
    fields.insert("replaces".to_owned(), Value::Text(rotate.id.to_string()));
    fields.insert("grace_ms".to_owned(), Value::Number(rotate.grace_ms.into()));
    changes.note("token.rotated", &rotate.actor, fields)?;
    Ok(Outcome::TokenCreated {
        revision: changes.revision(),
        token,
    })
}

pub(super) fn revoke_token(
    engine: &dyn Engine,
    writer: &mut Writer<'_>,
    revoke: &RevokeToken,
) -> Result<Outcome, Refused> {
    let mut changes = Changes::begin(engine, writer, revoke.unix_ms)?;
    let mut token = changes.token(revoke.id)?;
    // Nothing is written where nothing changes, so that it can be repeated.
    if token.revoked_unix_ms.is_none() {
        token = Arc::new(StoredToken {
            revoked_unix_ms: Some(changes.now()),
            ..(*token).clone()
        });
        changes.put_token(Arc::clone(&token))?;
        let mut fields = Fields::new();
        fields.insert("token_id".to_owned(), Value::Text(token.id.to_string()));
        let principal = Value::Text(token.principal.to_string());
        fields.insert("principal".to_owned(), principal);
        changes.note("token.revoked", &revoke.actor, fields)?;
    }
    Ok(Outcome::TokenRevoked {
        revision: changes.revision(),
        token,
    })
}

pub(super) fn put_role(
    engine: &dyn Engine,
    writer: &mut Writer<'_>,
    put: &PutRole,
) -> Result<Outcome, Refused> {
    let mut changes = Changes::begin(engine, writer, put.unix_ms)?;
    let known = changes.all().role(put.role.name.as_str()).cloned();
    let revision = changes.revision();
    if let Some(role) = known.as_ref().filter(|known| ***known == put.role) {
        let role = Arc::clone(role);
        return Ok(Outcome::RolePut { revision, role });
    }
    if known.is_none() && changes.all().is_full_of_roles() {
        return Err(Rejection::RolesFull { max: ROLES_MAX }.into());
    }
    let role = Arc::new(put.role.clone());
    changes.put_role(Arc::clone(&role))?;
    let mut fields = Fields::new();
    fields.insert("role".to_owned(), Value::Text(role.name.to_string()));
    fields.insert("grants".to_owned(), of_grants(&role.grants));
    changes.note("role.put", &put.actor, fields)?;
    Ok(Outcome::RolePut { revision, role })
}

pub(super) fn delete_role(
    engine: &dyn Engine,
    writer: &mut Writer<'_>,
    delete: &DeleteRole,
) -> Result<Outcome, Refused> {
    let mut changes = Changes::begin(engine, writer, delete.unix_ms)?;
    let name = &delete.name;
    if changes.all().role(name.as_str()).is_none() {
        return Err(Rejection::UnknownRole { name: name.clone() }.into());
    }
    let tokens = changes.all().holders(name, changes.now());
    if tokens > 0 {
        let name = name.clone();
        return Err(Rejection::RoleInUse { name, tokens }.into());
    }
    changes.remove_role(name)?;
    let mut fields = Fields::new();
    fields.insert("role".to_owned(), Value::Text(name.to_string()));
    changes.note("role.deleted", &delete.actor, fields)?;
    Ok(Outcome::RoleDeleted {
        revision: changes.revision(),
    })
}

/// What the audit says of a token that is made.
fn of_token(token: &StoredToken) -> Fields {
    let mut fields = Fields::new();
    let mut add = |name: &str, value| fields.insert(name.to_owned(), value);
    add("token_id", Value::Text(token.id.to_string()));
    add("principal", Value::Text(token.principal.to_string()));
    let roles = token.roles.iter().map(RoleName::to_string);
    add("roles", Value::Texts(roles.collect()));
    if !token.grants.is_empty() {
        add("grants", of_grants(&token.grants));
    }
    if let Some(expires) = token.expires_unix_ms {
        add("expires_unix_ms", Value::Number(expires));
    }
    let Limits {
        requests_per_second,
        bytes_per_second,
        subscriptions,
    } = token.limits;
    let limits = [
        ("requests_per_second", requests_per_second.into()),
        ("bytes_per_second", bytes_per_second),
        ("subscriptions", subscriptions.into()),
    ];
    for (name, limit) in limits.into_iter().filter(|(_, limit)| *limit > 0) {
        add(name, Value::Number(limit));
    }
    fields
}

/// Each as `write:task.`, or `write:*` for all kinds.
fn of_grants(grants: &[Grant]) -> Value {
    let mut texts = Vec::new();
    for grant in grants {
        let action = grant.action.name();
        if grant.kind_prefixes.is_empty() {
            texts.push(format!("{action}:*"));
        }
        let prefixes = grant.kind_prefixes.iter();
        texts.extend(prefixes.map(|prefix| format!("{action}:{prefix}")));
    }
    Value::Texts(texts)
}

/// Changes credentials: in memory and as rows.
struct Changes<'a, 'w> {
    engine: &'a dyn Engine,
    writer: &'a mut Writer<'w>,
}

impl<'a, 'w> Changes<'a, 'w> {
    /// Begins a command, which adds at most one audit event.
    fn begin(
        engine: &'a dyn Engine,
        writer: &'a mut Writer<'w>,
        unix_ms: u64,
    ) -> Result<Self, Refused> {
        writer.state.begin_at(unix_ms, CREDENTIALS_LEVEL)?;
        audit::check_room(writer, 1)?;
        Ok(Self { engine, writer })
    }

    fn all(&self) -> &Credentials {
        self.writer.state.credentials()
    }

    fn revision(&self) -> u64 {
        self.writer.state.revision
    }

    /// The vault's time.
    fn now(&self) -> u64 {
        self.writer.state.unix_ms
    }

    fn token(&self, id: TokenId) -> Result<Arc<StoredToken>, Rejection> {
        let token = self.all().token(id).cloned();
        token.ok_or(Rejection::UnknownToken { id })
    }

    fn check_new(&self, id: TokenId) -> Result<(), Rejection> {
        match self.all().token(id) {
            Some(_) => Err(Rejection::TokenExists { id }),
            None => Ok(()),
        }
    }

    fn check_expiry(&self, expires_unix_ms: Option<u64>) -> Result<(), Rejection> {
        let unix_ms = self.now();
        match expires_unix_ms {
            Some(expires_unix_ms) if expires_unix_ms <= unix_ms => Err(Rejection::TokenExpiry {
                expires_unix_ms,
                unix_ms,
            }),
            _ => Ok(()),
        }
    }

    /// Makes room for one more token, by forgetting one that counts for nothing any more.
    fn make_room(&mut self) -> Result<(), Refused> {
        if !self.all().is_full_of_tokens() {
            return Ok(());
        }
        let ended = self.all().first_ended(self.now());
        let id = ended.ok_or(Rejection::TokensFull { max: TOKENS_MAX })?;
        self.writer.put_summed(self.engine, tokens::key(id), None)?;
        let revision = self.revision();
        self.writer
            .state
            .credentials_mut()
            .remove_token(id, revision);
        Ok(())
    }

    fn put_token(&mut self, token: Arc<StoredToken>) -> Result<(), Error> {
        let row = Some(tokens::encode(&token));
        self.writer
            .put_summed(self.engine, tokens::key(token.id), row)?;
        let revision = self.revision();
        self.writer
            .state
            .credentials_mut()
            .put_token(token, revision);
        Ok(())
    }

    fn put_role(&mut self, role: Arc<Role>) -> Result<(), Error> {
        let row = Some(roles::encode(&role));
        self.writer
            .put_summed(self.engine, roles::key(&role.name), row)?;
        let revision = self.revision();
        self.writer.state.credentials_mut().put_role(role, revision);
        Ok(())
    }

    fn remove_role(&mut self, name: &RoleName) -> Result<(), Error> {
        self.writer
            .put_summed(self.engine, roles::key(name), None)?;
        let revision = self.revision();
        self.writer
            .state
            .credentials_mut()
            .remove_role(name, revision);
        Ok(())
    }

    /// Adds to the audit what was done.
    fn note(&mut self, action: &str, actor: &Actor, fields: Fields) -> Result<(), Refused> {
        let note = Note {
            action,
            actor,
            fields,
        };
        audit::note(self.engine, self.writer, 0, note).map(drop)
    }
}
