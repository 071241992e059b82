//! `toka auth`: tokens and roles.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use toka_auth::{Secret, Token};
use toka_client::{Client, Consistency, CredentialKind, Identity, Issued, NewToken, TokenInfo};
use toka_ledger::credentials::{Grant, Limits, Role, TokenId};
use toka_ledger::seam::Seams;
use toka_ledger::{PrincipalName, RoleName};

use crate::cli::{self, Auth, Format, Global, RoleCommand, TokenCommand, from_now};
use crate::failure::Failure;
use crate::output;
use crate::target::{Remote, endpoints, failure};

/// Readable by its owner alone.
const SECRET_MODE: u32 = 0o600;

pub(crate) async fn run(global: &Global, command: Auth, format: Format) -> Result<()> {
    if let Auth::Token(TokenCommand::Generate { file }) = command {
        return generate(file.as_deref(), format);
    }
    if global.data.is_some() {
        bail!(Failure::Usage(
            "an embedded vault (--data) has no callers who could show who they are; leave --data out".to_owned()
        ));
    }
    let remote = Remote::connect(endpoints(global)?, global.timeout).await?;
    let client = remote.client();
    match command {
        Auth::Token(command) => token(client, command, format).await,
        Auth::Role(command) => role(client, command, format).await,
        Auth::Whoami => whoami(&client.who_am_i().await.map_err(failure)?, format),
    }
}

async fn token(client: &Client, command: TokenCommand, format: Format) -> Result<()> {
    match command {
        TokenCommand::Create(flags) => create(client, flags, format).await,
        TokenCommand::List => {
            let tokens = client.tokens(Consistency::Linearizable).await;
            list_tokens(&tokens.map_err(failure)?, format)
        }
        TokenCommand::Rotate {
            id,
            grace,
            expires_in,
            file,
        } => {
            let id: TokenId = id.parse()?;
            let file = file.as_deref().map(SecretFile::create).transpose()?;
            let rotated = client.rotate_token(id, milliseconds(grace), expires_in.map(from_now));
            issued(rotated.await.map_err(failure)?, file, format)
        }
        TokenCommand::Revoke { id } => {
            let revoked = client.revoke_token(id.parse()?).await.map_err(failure)?;
            match format {
                Format::Json => output::json(&token_json(&revoked)),
                Format::Table => output::line(&format!("token {} is revoked", revoked.id)),
            }
        }
        TokenCommand::Generate { .. } => unreachable!("this was run before"),
    }
}

async fn create(client: &Client, flags: cli::CreateToken, format: Format) -> Result<()> {
    let roles = flags.role.iter().map(|name| RoleName::new(name));
    let new = NewToken {
        principal: PrincipalName::new(&flags.principal)?,
        roles: roles.collect::<Result<_, _>>()?,
        limits: flags.limits(),
        grants: flags.grant,
        expires_unix_ms: flags.expires_in.map(from_now),
    };
    // Before the token is made, so that it is not lost for want of a place.
    let file = flags.file.as_deref().map(SecretFile::create).transpose()?;
    let created = client.create_token(&new).await.map_err(failure)?;
    issued(created, file, format)
}

/// Longer than the vault allows is told by the vault.
fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

fn is_there_already(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AlreadyExists
}

/// A new file for a secret. One that holds none in the end is removed.
struct SecretFile<'a> {
    path: &'a Path,
    file: std::fs::File,
    is_kept: bool,
}

impl<'a> SecretFile<'a> {
    fn create(path: &'a Path) -> Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(SECRET_MODE)
            .open(path);
        if file.as_ref().is_err_and(is_there_already) {
            bail!(Failure::Usage(format!(
                "{} is there already; name a new file",
                path.display()
            )));
        }
        let file = file.with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self {
            path,
            file,
            is_kept: false,
        })
    }

    fn write(mut self, text: &str) -> Result<()> {
        let written = writeln!(self.file, "{text}").and_then(|()| self.file.sync_all());
        written.with_context(|| format!("cannot write {}", self.path.display()))?;
        self.is_kept = true;
        Ok(())
    }
}

impl Drop for SecretFile<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            // It is empty, and in the way of the next try.
            let _ = std::fs::remove_file(self.path);
        }
    }
}

/// Shows a token that was made, and its text, once.
fn issued(issued: Issued, file: Option<SecretFile<'_>>, format: Format) -> Result<()> {
    let Issued { token, text } = issued;
    let shown = match file {
        Some(file) => {
            file.write(&text)?;
            None
        }
        None => Some(text),
    };
    match format {
        Format::Json => {
            let mut object = token_json(&token);
            if let (Some(text), Value::Object(fields)) = (shown, &mut object) {
                fields.insert("token".to_owned(), text.into());
            }
            output::json(&object)
        }
        Format::Table => {
            eprintln!(
                "token {} of {} is made; its text is shown this once",
                token.id, token.principal
            );
            shown.map_or(Ok(()), |text| output::line(&text))
        }
    }
}

fn generate(file: Option<&Path>, format: Format) -> Result<()> {
    let entropy = Seams::system().entropy;
    let (mut id, mut secret) = ([0_u8; 8], [0_u8; 32]);
    entropy.fill(&mut id);
    entropy.fill(&mut secret);
    let token = Token {
        id: toka_auth::TokenId(u64::from_be_bytes(id)),
        secret: Secret::from_random(secret),
    };
    let text = token.reveal();
    if let Some(path) = file {
        SecretFile::create(path)?.write(&text)?;
        return match format {
            Format::Json => output::json(&json!({ "id": token.id.to_string() })),
            Format::Table => output::line(&format!("token {} is in {}", token.id, path.display())),
        };
    }
    match format {
        Format::Json => {
            output::json(&json!({ "id": token.id.to_string(), "token": text.as_str() }))
        }
        Format::Table => output::line(&text),
    }
}

fn list_tokens(tokens: &[TokenInfo], format: Format) -> Result<()> {
    if format == Format::Json {
        return tokens
            .iter()
            .try_for_each(|token| output::json(&token_json(token)));
    }
    let mut table = output::table(&["id", "principal", "roles", "grants", "expires", "state"]);
    let now = from_now(Duration::ZERO);
    for token in tokens {
        let roles: Vec<_> = token.roles.iter().map(RoleName::as_str).collect();
        table.add_row([
            token.id.to_string(),
            token.principal.to_string(),
            roles.join(" "),
            grants_text(&token.grants),
            token
                .expires_unix_ms
                .map_or_else(|| "never".to_owned(), time),
            state(token, now).to_owned(),
        ]);
    }
    output::line(&table.to_string())
}

fn state(token: &TokenInfo, now_unix_ms: u64) -> &'static str {
    let has_expired = |expires: u64| expires <= now_unix_ms;
    match token {
        TokenInfo {
            revoked_unix_ms: Some(_),
            ..
        } => "revoked",
        token if token.expires_unix_ms.is_some_and(has_expired) => "expired",
        TokenInfo {
            replaced_by: Some(_),
            ..
        } => "rotated",
        _ => "valid",
    }
}

fn time(unix_ms: u64) -> String {
    let time = std::time::UNIX_EPOCH + Duration::from_millis(unix_ms);
    humantime::format_rfc3339_seconds(time).to_string()
}

fn token_json(token: &TokenInfo) -> Value {
    json!({
        "id": token.id,
        "principal": token.principal,
        "roles": token.roles,
        "grants": grants_json(&token.grants),
        "limits": limits_json(token.limits),
        "created_unix_ms": token.created_unix_ms,
        "expires_unix_ms": token.expires_unix_ms,
        "revoked_unix_ms": token.revoked_unix_ms,
        "replaced_by": token.replaced_by,
    })
}

fn limits_json(limits: Limits) -> Value {
    let some = |limit: u64| Some(limit).filter(|limit| *limit > 0);
    json!({
        "requests_per_second": some(limits.requests_per_second.into()),
        "bytes_per_second": some(limits.bytes_per_second),
        "subscriptions": some(limits.subscriptions.into()),
    })
}

fn grants_json(grants: &[Grant]) -> Vec<Value> {
    let grant = |grant: &Grant| json!({ "action": grant.action.name(), "kind_prefixes": grant.kind_prefixes });
    grants.iter().map(grant).collect()
}

/// As `--grant` takes them, with spaces between.
fn grants_text(grants: &[Grant]) -> String {
    let text = |grant: &Grant| match grant.kind_prefixes.is_empty() {
        true => grant.action.name().to_owned(),
        false => format!("{}:{}", grant.action.name(), grant.kind_prefixes.join(",")),
    };
    let texts: Vec<_> = grants.iter().map(text).collect();
    texts.join(" ")
}

async fn role(client: &Client, command: RoleCommand, format: Format) -> Result<()> {
    match command {
        RoleCommand::Put { name, grant } => {
            let role = Role {
                name: RoleName::new(&name)?,
                grants: grant,
            };
            show_role(&client.put_role(&role).await.map_err(failure)?, format)
        }
        RoleCommand::List => {
            let roles = client.roles(Consistency::Linearizable).await;
            let roles = roles.map_err(failure)?;
            if format == Format::Json {
                return roles.iter().try_for_each(|role| show_role(role, format));
            }
            let mut table = output::table(&["role", "grants"]);
            for role in &roles {
                table.add_row([role.name.to_string(), grants_text(&role.grants)]);
            }
            output::line(&table.to_string())
        }
        RoleCommand::Delete { name } => {
            let name = RoleName::new(&name)?;
            client.delete_role(&name).await.map_err(failure)?;
            match format {
                Format::Json => output::json(&json!({ "role": name, "deleted": true })),
                Format::Table => output::line(&format!("role {name} is deleted")),
            }
        }
    }
}

fn show_role(role: &Role, format: Format) -> Result<()> {
    match format {
        Format::Json => output::json(&json!({
            "role": role.name,
            "grants": grants_json(&role.grants),
            "built_in": role.is_built_in(),
        })),
        Format::Table => output::line(&format!(
            "role {}: {}",
            role.name,
            grants_text(&role.grants)
        )),
    }
}

fn whoami(identity: &Identity, format: Format) -> Result<()> {
    let (kind, token_id) = match identity.credential {
        CredentialKind::Token(id) => ("token", Some(id)),
        CredentialKind::Certificate => ("certificate", None),
        CredentialKind::Jwt => ("jwt", None),
        CredentialKind::Node => ("node", None),
        _ => ("none", None),
    };
    match format {
        Format::Json => output::json(&json!({
            "principal": identity.principal,
            "credential": kind,
            "token_id": token_id,
            "grants": grants_json(&identity.grants),
            "limits": limits_json(identity.limits),
            "enforced": identity.is_enforced,
        })),
        Format::Table => {
            let by = token_id.map_or_else(|| kind.to_owned(), |id| format!("token {id}"));
            output::line(&format!("{} (credential: {by})", identity.principal))?;
            output::line(&format!("may: {}", grants_text(&identity.grants)))?;
            if identity.is_enforced {
                return Ok(());
            }
            output::line("the node does not ask callers who they are: everybody may do everything")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_file_is_the_owners_alone_and_overwrites_nothing() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("token");
        drop(SecretFile::create(&path).expect("made"));
        assert!(!path.exists(), "nothing was written into it");
        let file = SecretFile::create(&path).expect("made");
        file.write("secret").expect("written");
        let mode = std::fs::metadata(&path).expect("there").permissions();
        assert_eq!(mode.mode() & 0o777, SECRET_MODE);
        assert!(SecretFile::create(&path).is_err(), "it is there");
        assert_eq!(
            std::fs::read_to_string(&path).expect("readable"),
            "secret\n"
        );
    }

    #[test]
    fn states_of_a_token_are_told_apart() {
        let token = |expires, revoked, replaced: Option<u8>| TokenInfo {
            id: TokenId([1; 8]),
            principal: PrincipalName::new("robot").expect("valid"),
            roles: Vec::new(),
            grants: Vec::new(),
            limits: Limits::default(),
            created_unix_ms: 0,
            expires_unix_ms: expires,
            revoked_unix_ms: revoked,
            replaced_by: replaced.map(|id| TokenId([id; 8])),
        };
        assert_eq!(state(&token(None, None, None), 5), "valid");
        assert_eq!(state(&token(Some(5), None, None), 5), "expired");
        assert_eq!(state(&token(Some(6), None, Some(2)), 5), "rotated");
        assert_eq!(state(&token(Some(6), Some(4), Some(2)), 5), "revoked");
    }
}
