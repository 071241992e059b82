//! How a cluster is reached: where, and with which TLS.

use std::path::PathBuf;

use anyhow::Result;
use toka_client::Tls;

use crate::cli::Global;
use crate::context::{self, Entry};

/// Where clients look if nothing else is said.
pub(crate) const DEFAULT_ENDPOINT: &str = "127.0.0.1:7311";

/// How a cluster is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoints {
    /// As they were written: `host:port`, perhaps with a scheme before it.
    pub(crate) written: Vec<String>,
    /// Absent: the schemes say whether there is TLS.
    pub(crate) tls: Option<Tls>,
}

impl Endpoints {
    /// Another address, reached in the same way.
    pub(crate) fn at(&self, address: &str) -> Self {
        let is_secured = |endpoint: &String| endpoint.trim().starts_with("https://");
        let written = if self.written.iter().any(is_secured) {
            format!("https://{address}")
        } else {
            address.to_owned()
        };
        Self {
            written: vec![written],
            tls: self.tls.clone(),
        }
    }
}

/// `--endpoint`, `TOKA_ENDPOINTS`, the context, the default; with the TLS of the flags, the environment, and of the context
/// where the endpoints are the context's.
pub(crate) fn endpoints(global: &Global) -> Result<Endpoints> {
    if !global.endpoint.is_empty() {
        return Ok(given(global, global.endpoint.clone(), None));
    }
    if let Some(list) = std::env::var("TOKA_ENDPOINTS")
        .ok()
        .filter(|list| !list.is_empty())
    {
        let written = list
            .split(',')
            .map(|endpoint| endpoint.trim().to_owned())
            .collect();
        return Ok(given(global, written, None));
    }
    let default = || given(global, vec![DEFAULT_ENDPOINT.to_owned()], None);
    // Without a home directory there are no contexts, unless one was asked for.
    let path = match (context::default_path(), &global.context) {
        (Err(error), Some(_)) => return Err(error),
        (Err(_), None) => return Ok(default()),
        (Ok(path), _) => path,
    };
    let contexts = context::Contexts::read(&path)?;
    let entry = contexts.entry(global.context.as_deref())?;
    Ok(match entry {
        Some(entry) => given(global, entry.endpoints.clone(), Some(entry)),
        None => default(),
    })
}

fn given(global: &Global, written: Vec<String>, entry: Option<&Entry>) -> Endpoints {
    let of = |flag: &Option<PathBuf>, entry: Option<&PathBuf>| flag.clone().or(entry.cloned());
    let entry = entry.map(|entry| &entry.tls);
    let tls = Tls {
        ca: of(&global.ca, entry.and_then(|tls| tls.ca.as_ref())),
        certificate: of(&global.cert, entry.and_then(|tls| tls.cert.as_ref())),
        key: of(&global.key, entry.and_then(|tls| tls.key.as_ref())),
        server_name: global
            .server_name
            .clone()
            .or_else(|| entry.and_then(|tls| tls.server_name.clone())),
    };
    Endpoints {
        written,
        tls: Some(tls).filter(|tls| *tls != Tls::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_address_is_reached_in_the_same_way() {
        let tls = Tls {
            ca: Some("ca.pem".into()),
            ..Tls::default()
        };
        let by_scheme = Endpoints {
            written: vec!["https://a:1".to_owned()],
            tls: None,
        };
        assert_eq!(by_scheme.at("b:2").written, ["https://b:2"]);
        let by_ca = Endpoints {
            written: vec!["a:1".to_owned()],
            tls: Some(tls.clone()),
        };
        let other = by_ca.at("b:2");
        assert_eq!(
            (other.written, other.tls),
            (vec!["b:2".to_owned()], Some(tls))
        );
    }
}
