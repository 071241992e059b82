//! Named clusters in the user's configuration file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

/// `$XDG_CONFIG_HOME/toka/contexts.toml`, else `~/.config/toka/contexts.toml`.
pub(crate) fn default_path() -> Result<PathBuf> {
    let configuration = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")));
    match configuration {
        Some(directory) => Ok(directory.join("toka").join("contexts.toml")),
        None => bail!("neither XDG_CONFIG_HOME nor HOME is set, so contexts cannot be kept"),
    }
}

/// The file's content.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contexts {
    /// The one used where nothing else is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    /// By name.
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Entry>,
}

/// One cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Client endpoints, `host:port`, perhaps with `https://` before it.
    pub(crate) endpoints: Vec<String>,
    /// How TLS is made with its nodes.
    #[serde(default, skip_serializing_if = "Tls::is_empty")]
    pub(crate) tls: Tls,
    /// File with the token; the token itself is not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
}

/// How TLS is made with the nodes of a cluster. Paths: what is in the files is not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    /// CA of the nodes' certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    /// Certificate that nodes are shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cert: Option<PathBuf>,
    /// Its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<PathBuf>,
    /// Name that the nodes' certificates must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_name: Option<String>,
}

impl Tls {
    /// Whether nothing is said.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Contexts {
    /// Reads `path`; a file that does not exist is an empty one.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text)
                .with_context(|| format!("{} is not a valid contexts file", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Replaces `path` atomically.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let directory = path
            .parent()
            .context("the contexts file has no directory")?;
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        std::io::Write::write_all(&mut file, toml::to_string_pretty(self)?.as_bytes())?;
        file.persist(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(())
    }

    /// The context `name`, or the current one.
    pub(crate) fn entry(&self, name: Option<&str>) -> Result<Option<&Entry>> {
        let Some(name) = name.or(self.current.as_deref()) else {
            return Ok(None);
        };
        match self.contexts.get(name) {
            Some(entry) => Ok(Some(entry)),
            None => bail!("there is no context {name:?}; `toka context list` shows them"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_survive_a_write() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("toka/contexts.toml");
        let mut contexts = Contexts::read(&path).expect("empty");
        let entry = Entry {
            endpoints: vec!["127.0.0.1:1".to_owned()],
            tls: Tls {
                ca: Some("/tls/ca.crt".into()),
                ..Tls::default()
            },
            token_file: Some("/run/toka.token".into()),
        };
        contexts.contexts.insert("dev".to_owned(), entry.clone());
        contexts.current = Some("dev".to_owned());
        contexts.write(&path).expect("written");
        let again = Contexts::read(&path).expect("read");
        assert_eq!(again, contexts);
        assert_eq!(again.entry(None).expect("known"), Some(&entry));
        assert!(again.entry(Some("prod")).is_err());
    }
}
