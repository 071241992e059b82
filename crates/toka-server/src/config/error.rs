//! What can be wrong with a configuration; every error names the key.

use std::net::SocketAddr;
use std::path::PathBuf;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML, or has an unknown key or a value of the wrong type.
    #[error("configuration file {}: {detail}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and where, with the key.
        detail: String,
    },
    /// An environment variable has a value that cannot be read.
    #[error("environment variable {variable}: {detail}")]
    Environment {
        /// The variable.
        variable: String,
        /// What is wrong.
        detail: String,
    },
    /// A value that has no default is not given.
    #[error(
        "{key} is missing: give {flag}, the environment variable {variable}, \
         or `{key}` in the configuration file"
    )]
    Missing {
        /// The key.
        key: &'static str,
        /// The flag of the same meaning.
        flag: String,
        /// The environment variable of the same meaning.
        variable: String,
    },
    /// Nothing says which node this is.
    #[error(
        "node_id is missing, and the data directory {} is new or empty, so that it does not tell: give {}, the \
         environment variable {}, or `node_id` in the configuration file, for a node that forms a cluster; \
         --join for a new node of a cluster that is there; or, to start a node again, the data directory that it \
         had",
        data.display(),
        flag("node_id"),
        variable("node_id")
    )]
    Nobody {
        /// The data directory.
        data: PathBuf,
    },
    /// The settings cannot be written as a file.
    #[error("the settings cannot be written as TOML: {source}")]
    Dump {
        /// What TOML cannot hold.
        #[source]
        source: toml::ser::Error,
    },
    /// Others than the node's own machine would be listened to without protection.
    #[error(
        "{key}: {address} is not a loopback address, and there the node would be reached without {lacks}: {remedy}; or \
         say that it is meant, where the network keeps everybody else away, with {}, the environment variable {}=true, \
         or `insecure = true` in the configuration file",
        flag("insecure"),
        variable("insecure")
    )]
    Exposed {
        /// The key of the address.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What is missing.
        lacks: &'static str,
        /// What would provide it.
        remedy: &'static str,
    },
    /// A value that contradicts itself or another one.
    #[error("{key}: {detail}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// What is wrong, and what it should be.
        detail: String,
    },
}

impl ConfigError {
    pub(crate) fn missing(key: &'static str) -> Self {
        Self::Missing {
            key,
            flag: flag(key),
            variable: variable(key),
        }
    }

    pub(crate) fn invalid(key: &'static str, detail: impl Into<String>) -> Self {
        Self::Invalid {
            key,
            detail: detail.into(),
        }
    }
}

/// The environment variable of a key: `node_id` is `TOKA_NODE_ID`.
pub(crate) fn variable(key: &str) -> String {
    format!("TOKA_{}", key.to_ascii_uppercase())
}

/// The flag of a key: `node_id` is `--node-id`.
fn flag(key: &str) -> String {
    match key {
        // One member per flag, and one list in the file.
        "initial_members" => "--initial-member".to_owned(),
        "allowed_hosts" => "--allowed-host".to_owned(),
        "certificate_roles" => "--certificate-role".to_owned(),
        _ => format!("--{}", key.replace('_', "-")),
    }
}
