//! TLS for clients, between nodes, and for HTTP.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ConfigError, ConfigFile};

/// Names of nodes in the configuration.
const NAMES_MAX: usize = 64;

/// TLS of a node. There is none for clients alone: nodes forward their clients' calls to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Certificate that clients are shown, PEM, with those between it and its CA.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// CA of clients' certificates, PEM; absent: they are not asked for any.
    pub client_ca: Option<PathBuf>,
    /// Whether clients must show one.
    pub client_auth: ClientAuth,
    /// HTTP is served over TLS too, and asks for no certificate.
    pub http: bool,
    /// Certificate that nodes are shown, by the one that calls and the one that answers, PEM.
    pub raft_certificate: PathBuf,
    /// Its key, PEM.
    pub raft_key: PathBuf,
    /// CA of the nodes' certificates, PEM.
    pub raft_ca: PathBuf,
    /// Names of which the certificate of a node that calls must have one; `*.` stands for one label; empty: any will do.
    pub raft_names: Vec<String>,
    /// The name that the certificate of a node that answers must have; absent: the host at which it is reached.
    pub raft_server_name: Option<String>,
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// One that is shown must be valid.
    Optional,
    /// Each must show one.
    #[default]
    Required,
}

/// A text that does not say whether clients must show a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is neither `required` nor `optional`")]
pub struct ClientAuthError;

impl FromStr for ClientAuth {
    type Err = ClientAuthError;

    fn from_str(text: &str) -> Result<Self, ClientAuthError> {
        match text {
            "optional" => Ok(Self::Optional),
            "required" => Ok(Self::Required),
            _ => Err(ClientAuthError),
        }
    }
}

impl fmt::Display for ClientAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Optional => "optional",
            Self::Required => "required",
        })
    }
}

/// The layer's settings of TLS, checked but for what the files hold.
///
/// # Errors
/// [`ConfigError::Invalid`], naming the key.
pub(super) fn tls(layer: &ConfigFile) -> Result<Option<Tls>, ConfigError> {
    let (Some(certificate), Some(key), Some(raft_ca)) = (
        layer.tls_cert.clone(),
        layer.tls_key.clone(),
        layer.raft_tls_ca.clone(),
    ) else {
        return without(layer);
    };
    let (raft_certificate, raft_key) = match (&layer.raft_tls_cert, &layer.raft_tls_key) {
        (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        (None, None) => (certificate.clone(), key.clone()),
        (Some(_), None) => return Err(alone("raft_tls_cert", "raft_tls_key")),
        (None, Some(_)) => return Err(alone("raft_tls_key", "raft_tls_cert")),
    };
    if layer.tls_client_auth.is_some() && layer.tls_client_ca.is_none() {
        return Err(alone("tls_client_auth", "tls_client_ca"));
    }
    let raft_names = layer.raft_tls_names.clone().unwrap_or_default();
    check_names(&raft_names)?;
    Ok(Some(Tls {
        certificate,
        key,
        client_ca: layer.tls_client_ca.clone(),
        client_auth: layer.tls_client_auth.unwrap_or_default(),
        http: layer.http_tls.unwrap_or(false),
        raft_certificate,
        raft_key,
        raft_ca,
        raft_names,
        raft_server_name: layer.raft_tls_server_name.clone(),
    }))
}

/// Where one of those is missing without which there is no TLS, none of the others may be there: whoever gives one wants
/// it.
fn without(layer: &ConfigFile) -> Result<Option<Tls>, ConfigError> {
    let necessary = [
        ("tls_cert", layer.tls_cert.is_some()),
        ("tls_key", layer.tls_key.is_some()),
        ("raft_tls_ca", layer.raft_tls_ca.is_some()),
    ];
    let others = [
        ("tls_client_ca", layer.tls_client_ca.is_some()),
        ("tls_client_auth", layer.tls_client_auth.is_some()),
        ("http_tls", layer.http_tls == Some(true)),
        ("raft_tls_cert", layer.raft_tls_cert.is_some()),
        ("raft_tls_key", layer.raft_tls_key.is_some()),
        ("raft_tls_names", layer.raft_tls_names.is_some()),
        ("raft_tls_server_name", layer.raft_tls_server_name.is_some()),
    ];
    let mut all = necessary.into_iter().chain(others);
    let given = all.find(|(_, is_given)| *is_given);
    let missing = necessary.into_iter().find(|(_, is_given)| !*is_given);
    match (given, missing) {
        (Some((given, _)), Some((missing, _))) => Err(alone(given, missing)),
        _ => Ok(None),
    }
}

fn alone(given: &'static str, missing: &'static str) -> ConfigError {
    let why = match missing {
        "raft_tls_ca" => {
            " (the CA of the nodes' certificates: TLS for clients is TLS between nodes too)"
        }
        "tls_cert" => {
            " (nodes forward their clients' calls: TLS between nodes is TLS for clients too)"
        }
        _ => "",
    };
    ConfigError::invalid(given, format!("is given without {missing}{why}"))
}

fn check_names(names: &[String]) -> Result<(), ConfigError> {
    let invalid = |detail: String| Err(ConfigError::invalid("raft_tls_names", detail));
    if names.len() > NAMES_MAX {
        return invalid(format!("{} names; at most {NAMES_MAX}", names.len()));
    }
    let is_wrong = |name: &&String| {
        let rest = name.strip_prefix("*.").unwrap_or(name);
        rest.is_empty() || rest.contains('*')
    };
    match names.iter().find(is_wrong) {
        Some(name) => invalid(format!(
            "{name:?} is no name; `*` stands for a whole first label alone, as in *.vault.svc"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minimal() -> ConfigFile {
        ConfigFile {
            tls_cert: Some("c".into()),
            tls_key: Some("k".into()),
            raft_tls_ca: Some("ca".into()),
            ..ConfigFile::default()
        }
    }

    fn refused(layer: &ConfigFile) -> String {
        tls(layer).expect_err("refused").to_string()
    }

    #[test]
    fn nothing_given_is_no_tls() {
        assert_eq!(tls(&ConfigFile::default()).expect("valid"), None);
    }

    #[test]
    fn nodes_show_what_clients_are_shown_unless_told_otherwise() {
        let one = tls(&minimal()).expect("valid").expect("TLS");
        assert_eq!(
            (one.raft_certificate, one.raft_key),
            ("c".into(), "k".into())
        );
        let layer = ConfigFile {
            raft_tls_cert: Some("rc".into()),
            raft_tls_key: Some("rk".into()),
            ..minimal()
        };
        let two = tls(&layer).expect("valid").expect("TLS");
        assert_eq!(
            (two.raft_certificate, two.raft_key),
            ("rc".into(), "rk".into())
        );
        assert_eq!((two.certificate, two.key), ("c".into(), "k".into()));
    }

    #[test]
    fn half_of_tls_is_an_error_that_names_what_is_missing() {
        let without_ca = ConfigFile {
            raft_tls_ca: None,
            ..minimal()
        };
        let said = refused(&without_ca);
        assert!(
            said.starts_with("tls_cert: is given without raft_tls_ca"),
            "{said}"
        );
        let nodes_alone = ConfigFile {
            tls_cert: None,
            tls_key: None,
            ..minimal()
        };
        let said = refused(&nodes_alone);
        assert!(
            said.starts_with("raft_tls_ca: is given without tls_cert"),
            "{said}"
        );
        let http_alone = ConfigFile {
            http_tls: Some(true),
            ..ConfigFile::default()
        };
        let said = refused(&http_alone);
        assert!(
            said.starts_with("http_tls: is given without tls_cert"),
            "{said}"
        );
        let half_a_pair = ConfigFile {
            raft_tls_key: Some("rk".into()),
            ..minimal()
        };
        let said = refused(&half_a_pair);
        assert!(
            said.contains("raft_tls_key: is given without raft_tls_cert"),
            "{said}"
        );
        let nobody_to_ask = ConfigFile {
            tls_client_auth: Some(ClientAuth::Optional),
            ..minimal()
        };
        let said = refused(&nobody_to_ask);
        assert!(said.contains("without tls_client_ca"), "{said}");
    }

    #[test]
    fn clients_with_a_ca_must_show_a_certificate_unless_told_otherwise() {
        let layer = ConfigFile {
            tls_client_ca: Some("cca".into()),
            ..minimal()
        };
        let tls = tls(&layer).expect("valid").expect("TLS");
        assert_eq!(tls.client_auth, ClientAuth::Required);
        for auth in [ClientAuth::Optional, ClientAuth::Required] {
            assert_eq!(auth.to_string().parse::<ClientAuth>(), Ok(auth));
        }
        assert!("maybe".parse::<ClientAuth>().is_err());
    }

    #[test]
    fn names_of_nodes_have_a_star_for_a_first_label_alone() {
        for (name, is_valid) in [
            ("*.vault.svc", true),
            ("node-1", true),
            ("spiffe://vault/node", true),
            ("", false),
            ("*.", false),
            ("*", false),
            ("a.*.svc", false),
        ] {
            assert_eq!(
                check_names(&[name.to_owned()]).is_ok(),
                is_valid,
                "{name:?}"
            );
        }
    }
}
