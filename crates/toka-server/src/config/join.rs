//! How a node becomes a member of a cluster that is there.

use super::error::ConfigError;
use super::file::ConfigFile;
use super::member::check_endpoint;

/// Endpoints of a cluster that a node may be given: more than it has members.
const ENDPOINTS_MAX: usize = 64;

/// How a node becomes a member of a cluster that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Client endpoints (`host:port`) of members, or of what stands before them; one is enough.
    pub endpoints: Vec<String>,
    /// It stays a learner: a read replica.
    pub learner: bool,
    /// The member whose place and role it takes.
    pub replaces: Option<u64>,
    /// If a member has this node's addresses, that one's data is lost, and this node takes its place.
    pub replaces_lost: bool,
}

/// The layer's settings of a node that joins, checked.
///
/// # Errors
/// [`ConfigError::Invalid`], naming the key.
pub(super) fn join(layer: &ConfigFile) -> Result<Option<Join>, ConfigError> {
    let endpoints = layer.join.clone().unwrap_or_default();
    let learner = layer.learner.unwrap_or(false);
    let replaces_lost = layer.replace_lost.unwrap_or(false);
    if endpoints.is_empty() {
        let alone = [
            ("learner", learner),
            ("replace", layer.replace.is_some()),
            ("replace_lost", replaces_lost),
        ];
        return match alone.into_iter().find(|(_, given)| *given) {
            Some((key, _)) => Err(ConfigError::invalid(
                key,
                "is for a node that joins: say with join which cluster",
            )),
            None => Ok(None),
        };
    }
    if endpoints.len() > ENDPOINTS_MAX {
        let detail = format!("{} endpoints; at most {ENDPOINTS_MAX}", endpoints.len());
        return Err(ConfigError::invalid("join", detail));
    }
    for endpoint in &endpoints {
        check_endpoint(endpoint)
            .map_err(|detail| ConfigError::invalid("join", format!("{endpoint:?}: {detail}")))?;
    }
    if learner && layer.replace.is_some() {
        return Err(ConfigError::invalid(
            "learner",
            "a node that replaces another one takes its role: leave learner or replace out",
        ));
    }
    if replaces_lost && layer.replace.is_some() {
        return Err(ConfigError::invalid(
            "replace_lost",
            "finds out whose place the node takes: leave replace or replace_lost out",
        ));
    }
    if layer.replace == Some(0) {
        return Err(ConfigError::invalid("replace", "is 0; ids start at 1"));
    }
    Ok(Some(Join {
        endpoints,
        learner,
        replaces: layer.replace,
        replaces_lost,
    }))
}
