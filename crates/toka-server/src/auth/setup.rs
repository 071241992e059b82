//! The guard of a node, as its configuration says.

use std::path::Path;
use std::sync::Arc;

use toka_auth::jwt::Issuer;
use toka_auth::{Action, Grant, Limits, SecretHash, StoredToken, Token};
use toka_ledger::seam::Clock;
use zeroize::Zeroizing;

use super::account::Accounts;
use super::bindings::Bindings;
use super::denials::Denials;
use super::directory::Directory;
use super::failures::Failures;
use super::file::read_bounded;
use super::guard::Guard;
use super::issuer::Trusted;
use super::throttled::Throttled;
use crate::config::{Auth, ConfigError};
use crate::limits::TOKEN_FILE_BYTES_MAX;

/// Name of who shows the token of the configuration.
const ROOT: &str = "root";
const ROOT_KEY: &str = "auth_root_token_file";

/// The guard; `None`: nobody has to show who they are. Blocking.
///
/// # Errors
/// [`ConfigError::Invalid`], naming the key whose file cannot be used.
pub(crate) fn guard(
    auth: &Auth,
    directory: impl Directory + 'static,
    denials: impl Denials + 'static,
    throttled: Throttled,
    clock: Arc<dyn Clock>,
) -> Result<Option<Arc<Guard>>, ConfigError> {
    if !auth.enabled {
        return Ok(None);
    }
    let root = auth.root_token_file.as_deref().map(root).transpose()?;
    let issuer = auth.jwt.as_ref().map(|jwt| {
        let issuer = Issuer {
            issuer: jwt.issuer.clone(),
            audience: jwt.audience.clone(),
            roles_claim: jwt.roles_claim.clone(),
        };
        let path = &jwt.jwks_file;
        let trusted = Trusted::load(issuer, path.clone());
        trusted.map(Arc::new).map_err(|error| {
            ConfigError::invalid("jwt_jwks_file", format!("{}: {error}", path.display()))
        })
    });
    Ok(Some(Arc::new(Guard {
        directory: Arc::new(directory),
        root,
        issuer: issuer.transpose()?,
        certificate_roles: Arc::new(Bindings::new(
            auth.certificate_roles.clone(),
            auth.certificate_roles_file.clone(),
        )),
        accounts: Accounts::new(auth.limits, auth.open_calls, throttled.clone()),
        failures: Failures::new(auth.failures_per_second, throttled),
        denials: Arc::new(denials),
        clock,
    })))
}

/// What this node shows when it calls another one for itself: `Bearer TOKEN`, the token of the configuration. Blocking.
///
/// # Errors
/// As [`guard`].
pub(crate) fn bearer(auth: &Auth) -> Result<Option<Zeroizing<String>>, ConfigError> {
    let Some(path) = auth.root_token_file.as_deref() else {
        return Ok(None);
    };
    let token = read_token(path)?;
    let mut bearer = Zeroizing::new("Bearer ".to_owned());
    bearer.push_str(&token.reveal());
    Ok(Some(bearer))
}

/// What is kept of the token of the configuration, in memory alone: its salt need not be random.
fn root(path: &Path) -> Result<StoredToken, ConfigError> {
    let token = read_token(path)?;
    if is_open_to_all(path) {
        tracing::warn!(
            key = ROOT_KEY,
            path = %path.display(),
            "everybody on this machine may read or change the file; `chmod o-rwx` keeps the token secret"
        );
    }
    Ok(StoredToken {
        id: token.id,
        name: ROOT.to_owned(),
        secret: SecretHash::new([0; 16], &token.secret),
        previous: None,
        roles: Vec::new(),
        grants: vec![Grant::of_all(Action::Admin)],
        limits: Limits::default(),
        created_unix_ms: 0,
        expires_unix_ms: None,
        revoked_unix_ms: None,
    })
}

/// Whether anybody but the file's owner and group may do anything with it. Blocking.
#[cfg(unix)]
fn is_open_to_all(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    const OTHERS: u32 = 0o007;
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & OTHERS != 0)
}

#[cfg(not(unix))]
fn is_open_to_all(_: &Path) -> bool {
    false
}

fn read_token(path: &Path) -> Result<Token, ConfigError> {
    let invalid =
        |detail: String| ConfigError::invalid(ROOT_KEY, format!("{}: {detail}", path.display()));
    let bytes = read_bounded(path, TOKEN_FILE_BYTES_MAX);
    let bytes = Zeroizing::new(bytes.map_err(|error| invalid(error.to_string()))?);
    let text = std::str::from_utf8(&bytes).map_err(|_| invalid("it is no text".to_owned()))?;
    let token = text.trim().parse::<Token>();
    token.map_err(|error| invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;
    use toka_auth::{Secret, TokenId};
    use toka_ledger::seam::Seams;

    use super::super::denials::Traced;
    use super::super::directory::RootOnly;
    use super::*;

    fn set_up(auth: &Auth) -> Result<Option<Arc<Guard>>, ConfigError> {
        guard(
            auth,
            RootOnly,
            Traced::default(),
            Throttled::default(),
            Seams::system().clock,
        )
    }

    fn with_root(text: &str) -> (TempDir, Auth) {
        let directory = TempDir::new().expect("a directory");
        let path = directory.path().join("root.token");
        std::fs::write(&path, text).expect("written");
        let auth = Auth {
            enabled: true,
            root_token_file: Some(path),
            ..Auth::default()
        };
        (directory, auth)
    }

    #[test]
    fn there_is_no_guard_unless_it_is_asked_for() {
        assert!(set_up(&Auth::default()).expect("valid").is_none());
    }

    #[test]
    fn root_token_is_read_with_its_line_end() {
        let token = Token {
            id: TokenId(5),
            secret: Secret::from_random([1; 32]),
        };
        let (_directory, auth) = with_root(&format!("{}\n", token.reveal().as_str()));
        let guard = set_up(&auth).expect("valid").expect("it is asked for");
        assert_eq!(guard.root.as_ref().map(|root| root.id), Some(TokenId(5)));
        let bearer = bearer(&auth).expect("valid").expect("there is one");
        assert!(bearer.starts_with("Bearer toka_0000000000000005_"));
    }

    #[cfg(unix)]
    #[test]
    fn file_that_everybody_reads_is_noticed() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_directory, auth) = with_root("toka_");
        let path = auth.root_token_file.expect("a file");
        for (mode, is_open) in [(0o600, false), (0o440, false), (0o644, true), (0o602, true)] {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, permissions).expect("set");
            assert_eq!(is_open_to_all(&path), is_open, "{mode:o}");
        }
    }

    #[test]
    fn bad_root_token_names_the_key_and_the_file_and_not_what_is_in_it() {
        let (_directory, auth) = with_root("toka_verysecret");
        let error = set_up(&auth).expect_err("malformed").to_string();
        assert!(error.starts_with(ROOT_KEY), "{error}");
        assert!(error.contains("root.token"), "{error}");
        assert!(!error.contains("verysecret"), "{error}");
        let (_directory, auth) = with_root(&"x".repeat(20_000));
        assert!(set_up(&auth).is_err());
    }
}
