//! What is read from the configuration file again while a node runs.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::auth;
use super::{Config, ConfigError, ConfigFile};

impl Config {
    /// As [`Config::merge`]; `path` is where the `file` was read from, and is read again while the node runs: what it says of
    /// `certificate_roles` holds from then on, unless a flag or the environment says them.
    ///
    /// # Errors
    /// As [`Config::merge`].
    pub fn merge_followed(
        flags: ConfigFile,
        environment: ConfigFile,
        file: ConfigFile,
        path: Option<PathBuf>,
    ) -> Result<Self, ConfigError> {
        let is_said_above =
            flags.certificate_roles.is_some() || environment.certificate_roles.is_some();
        let mut config = Self::merge(flags, environment, file)?;
        config.auth.certificate_roles_file = path.filter(|_| !is_said_above);
        Ok(config)
    }
}

/// Roles by a name in a client certificate, as the configuration file at `path` says; none if it says nothing of them. Blocking.
///
/// # Errors
/// As [`ConfigFile::read`], [`ConfigError::Read`] also where it is no regular file, and [`ConfigError::Invalid`].
pub(crate) fn read_certificate_roles(
    path: &Path,
) -> Result<BTreeMap<String, Vec<String>>, ConfigError> {
    let unreadable = |source: io::Error| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    // Of a pipe, as `--config <(...)` is one, only the end is left, which would say that nobody has a role.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        let detail = "it is no regular file, and is not read again";
        return Err(unreadable(io::Error::other(detail)));
    }
    let file = ConfigFile::read(path)?;
    auth::certificate_roles(file.certificate_roles.as_deref())
}

#[cfg(test)]
mod tests {
    use tempfile::{NamedTempFile, TempDir};

    use super::*;

    fn minimal() -> ConfigFile {
        ConfigFile {
            node_id: Some(1),
            data: Some("/vault".into()),
            auth: Some(true),
            ..ConfigFile::default()
        }
    }

    fn with_roles() -> ConfigFile {
        ConfigFile {
            certificate_roles: Some(vec!["robot=reader".to_owned()]),
            ..ConfigFile::default()
        }
    }

    /// The file whose roles are read again, by the layers above it.
    fn followed(flags: ConfigFile, environment: ConfigFile) -> Option<PathBuf> {
        let path = Some(PathBuf::from("toka.toml"));
        let config = Config::merge_followed(flags, environment, minimal(), path);
        config.expect("valid").auth.certificate_roles_file
    }

    #[test]
    fn roles_that_the_file_may_say_are_read_again() {
        let none = ConfigFile::default();
        let path = followed(none.clone(), none);
        assert_eq!(path, Some(PathBuf::from("toka.toml")));
    }

    #[test]
    fn roles_of_flags_and_environment_stay_as_they_are() {
        let none = ConfigFile::default();
        assert_eq!(followed(with_roles(), none.clone()), None);
        assert_eq!(followed(none, with_roles()), None);
    }

    #[test]
    fn file_is_read_as_when_the_node_starts() {
        let file = NamedTempFile::new().expect("a file");
        let read = |text: &str| {
            std::fs::write(file.path(), text).expect("written");
            read_certificate_roles(file.path())
        };
        let roles = read("node_id = 1\ncertificate_roles = [\"robot=reader\"]").expect("valid");
        assert_eq!(roles["robot"], ["reader"]);
        assert!(read("node_id = 1").expect("valid").is_empty());
        assert!(matches!(
            read("certificate_roles = [\"robot\"]"),
            Err(ConfigError::Invalid { .. })
        ));
        assert!(matches!(
            read("certificate_roles = ["),
            Err(ConfigError::File { .. })
        ));
    }

    #[cfg(unix)]
    #[test]
    fn what_can_be_read_only_once_is_not_read_again() {
        // Read as a file it is valid, and empty.
        let read = read_certificate_roles(Path::new("/dev/null"));
        assert!(matches!(read, Err(ConfigError::Read { .. })), "{read:?}");
    }

    #[test]
    fn file_that_is_gone_says_nothing() {
        let directory = TempDir::new().expect("a directory");
        let read = read_certificate_roles(&directory.path().join("toka.toml"));
        assert!(matches!(read, Err(ConfigError::Read { .. })), "{read:?}");
    }
}
