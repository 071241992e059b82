//! Who may call this node, and for what.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toka_auth::Limits;

use super::error::ConfigError;
use super::file::ConfigFile;

/// The claim with the roles, unless told otherwise.
const ROLES_CLAIM: &str = "toka_roles";
/// Calls with credentials that are not good, from one address in a second, unless told otherwise: more than a client that is
/// set up wrongly makes, and less than a node notices.
const FAILURES_PER_SECOND: u32 = 50;
/// Bindings of certificates to roles.
const CERTIFICATE_ROLES_MAX: usize = 1_024;

/// Who may call this node, and for what. The default: everybody, for everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Callers have to show who they are, and may do only what they are granted.
    pub enabled: bool,
    /// File with a token of which the holder may do everything; the same on each node, which show it to each other when
    /// they join.
    pub root_token_file: Option<PathBuf>,
    /// Whose JWTs are taken; absent: nobody's.
    pub jwt: Option<Jwt>,
    /// Roles by a name in a client certificate.
    pub certificate_roles: BTreeMap<String, Vec<String>>,
    /// The configuration file in which they are looked at again; absent: they stay as they are.
    pub certificate_roles_file: Option<PathBuf>,
    /// What each principal may use, where nothing else is said of it.
    pub limits: Limits,
    /// Calls that each principal may have open at once.
    pub open_calls: Option<u32>,
    /// Calls with credentials that are not good which are looked at from one address in a second; 0: any number.
    pub failures_per_second: u32,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            enabled: false,
            root_token_file: None,
            jwt: None,
            certificate_roles: BTreeMap::new(),
            certificate_roles_file: None,
            limits: Limits::default(),
            open_calls: None,
            failures_per_second: FAILURES_PER_SECOND,
        }
    }
}

/// Whose JWTs are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwt {
    /// The claim `iss`.
    pub issuer: String,
    /// The claim `aud`.
    pub audience: String,
    /// File with the issuer's public keys, a JWK set.
    pub jwks_file: PathBuf,
    /// The claim with the names of the roles.
    pub roles_claim: String,
}

/// The layer's settings, checked.
///
/// # Errors
/// [`ConfigError::Invalid`], naming the key.
pub(super) fn auth(layer: &ConfigFile) -> Result<Auth, ConfigError> {
    let auth = Auth {
        enabled: layer.auth.unwrap_or(false),
        root_token_file: layer.auth_root_token_file.clone(),
        jwt: jwt(layer)?,
        certificate_roles: certificate_roles(layer.certificate_roles.as_deref())?,
        certificate_roles_file: None,
        limits: limits(layer)?,
        open_calls: layer.principal_open_calls,
        failures_per_second: layer
            .failed_authentications_per_second
            .unwrap_or(FAILURES_PER_SECOND),
    };
    let without = [
        ("auth_root_token_file", auth.root_token_file.is_some()),
        ("jwt_issuer", auth.jwt.is_some()),
        ("certificate_roles", !auth.certificate_roles.is_empty()),
    ];
    match without.into_iter().find(|(_, given)| *given) {
        // Whoever gives these believes that they count.
        Some((key, _)) if !auth.enabled => Err(ConfigError::invalid(
            key,
            "is of no effect without authorization: turn auth on, or leave it out",
        )),
        _ => Ok(auth),
    }
}

fn jwt(layer: &ConfigFile) -> Result<Option<Jwt>, ConfigError> {
    let text = |key, value: &Option<String>| match value.as_deref() {
        Some("") => Err(ConfigError::invalid(key, "is empty")),
        other => Ok(other.map(str::to_owned)),
    };
    let issuer = text("jwt_issuer", &layer.jwt_issuer)?;
    let audience = text("jwt_audience", &layer.jwt_audience)?;
    let roles_claim = text("jwt_roles_claim", &layer.jwt_roles_claim)?;
    let lacks = |key: &'static str| {
        ConfigError::invalid(
            key,
            "is missing: jwt_issuer, jwt_audience and jwt_jwks_file belong together",
        )
    };
    match (issuer, audience, layer.jwt_jwks_file.clone()) {
        (None, None, None) if roles_claim.is_none() => Ok(None),
        (Some(issuer), Some(audience), Some(jwks_file)) => Ok(Some(Jwt {
            issuer,
            audience,
            jwks_file,
            roles_claim: roles_claim.unwrap_or_else(|| ROLES_CLAIM.to_owned()),
        })),
        (None, _, _) => Err(lacks("jwt_issuer")),
        (_, None, _) => Err(lacks("jwt_audience")),
        (_, _, None) => Err(lacks("jwt_jwks_file")),
    }
}

/// Each is `NAME=ROLE`; a name may stand in several.
///
/// # Errors
/// [`ConfigError::Invalid`], naming the key.
pub(super) fn certificate_roles(
    bindings: Option<&[String]>,
) -> Result<BTreeMap<String, Vec<String>>, ConfigError> {
    const KEY: &str = "certificate_roles";
    let bindings = bindings.unwrap_or_default();
    if bindings.len() > CERTIFICATE_ROLES_MAX {
        let detail = format!(
            "{} bindings; at most {CERTIFICATE_ROLES_MAX}",
            bindings.len()
        );
        return Err(ConfigError::invalid(KEY, detail));
    }
    let mut roles: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for binding in bindings {
        // The last one: names of the kind URI may have some.
        let split = binding.rsplit_once('=');
        let (name, role) = split
            .filter(|(name, role)| !name.is_empty() && !role.is_empty())
            .ok_or_else(|| {
                ConfigError::invalid(KEY, format!("{binding:?} is not of the form NAME=ROLE"))
            })?;
        roles
            .entry(name.to_owned())
            .or_default()
            .push(role.to_owned());
    }
    Ok(roles)
}

fn limits(layer: &ConfigFile) -> Result<Limits, ConfigError> {
    let limits = Limits {
        requests_per_second: layer.principal_requests_per_second,
        bytes_per_second: layer.principal_bytes_per_second.map(|bytes| bytes.0),
        subscriptions: layer.principal_subscriptions,
    };
    let zero = [
        (
            "principal_requests_per_second",
            limits.requests_per_second == Some(0),
        ),
        (
            "principal_bytes_per_second",
            limits.bytes_per_second == Some(0),
        ),
        (
            "principal_open_calls",
            layer.principal_open_calls == Some(0),
        ),
    ];
    match zero.into_iter().find(|(_, is_zero)| *is_zero) {
        Some((key, _)) => Err(ConfigError::invalid(key, "is 0: nobody could do anything")),
        None => Ok(limits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(layer: &ConfigFile) -> String {
        let error = auth(layer).expect_err("invalid").to_string();
        error.split(':').next().unwrap_or_default().to_owned()
    }

    fn on() -> ConfigFile {
        ConfigFile {
            auth: Some(true),
            ..ConfigFile::default()
        }
    }

    #[test]
    fn default_is_open() {
        assert_eq!(
            auth(&ConfigFile::default()).expect("valid"),
            Auth::default()
        );
    }

    #[test]
    fn settings_without_authorization_are_refused() {
        let roles = ConfigFile {
            certificate_roles: Some(vec!["a=reader".to_owned()]),
            ..ConfigFile::default()
        };
        assert_eq!(key_of(&roles), "certificate_roles");
        let root = ConfigFile {
            auth_root_token_file: Some("/root.token".into()),
            ..ConfigFile::default()
        };
        assert_eq!(key_of(&root), "auth_root_token_file");
    }

    #[test]
    fn settings_of_an_issuer_belong_together() {
        let whole = ConfigFile {
            jwt_issuer: Some("https://issuer.test".to_owned()),
            jwt_audience: Some("toka".to_owned()),
            jwt_jwks_file: Some("/keys.json".into()),
            ..on()
        };
        let jwt = auth(&whole).expect("valid").jwt.expect("given");
        assert_eq!(jwt.roles_claim, ROLES_CLAIM);
        let without_audience = ConfigFile {
            jwt_audience: None,
            ..whole.clone()
        };
        assert_eq!(key_of(&without_audience), "jwt_audience");
        let empty = ConfigFile {
            jwt_issuer: Some(String::new()),
            ..whole
        };
        assert_eq!(key_of(&empty), "jwt_issuer");
        let claim_alone = ConfigFile {
            jwt_roles_claim: Some("roles".to_owned()),
            ..on()
        };
        assert_eq!(key_of(&claim_alone), "jwt_issuer");
    }

    #[test]
    fn name_of_a_certificate_may_have_several_roles() {
        let layer = ConfigFile {
            certificate_roles: Some(vec![
                "spiffe://a/b?c=d=reader".to_owned(),
                "robot=writer".to_owned(),
                "robot=tasks".to_owned(),
            ]),
            ..on()
        };
        let roles = auth(&layer).expect("valid").certificate_roles;
        assert_eq!(roles["robot"], ["writer", "tasks"]);
        assert_eq!(roles["spiffe://a/b?c=d"], ["reader"]);
        let bad = ConfigFile {
            certificate_roles: Some(vec!["robot".to_owned()]),
            ..on()
        };
        assert_eq!(key_of(&bad), "certificate_roles");
    }

    #[test]
    fn limits_of_nothing_are_refused() {
        let none = ConfigFile {
            principal_requests_per_second: Some(0),
            ..on()
        };
        assert_eq!(key_of(&none), "principal_requests_per_second");
        let none = ConfigFile {
            principal_open_calls: Some(0),
            ..on()
        };
        assert_eq!(key_of(&none), "principal_open_calls");
    }
}
