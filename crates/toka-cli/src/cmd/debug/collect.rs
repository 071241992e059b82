//! What is collected on this machine: versions, settings, names of variables, logs.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use serde_json::{Value, json};
use toka_ledger::command::{FEATURE_LEVEL, FEATURE_LEVEL_MIN};
use toka_server::config::{ConfigError, ConfigFile};

use super::{page, redact};

/// Where metrics are looked for if the settings cannot be read.
const HTTP_LISTEN: &str = "127.0.0.1:7313";
/// From the end of a log, however long its lines are.
const LOG_BYTES_MAX: u64 = 4 << 20;

/// This build and this machine.
pub(super) fn versions() -> Value {
    let line = |path: &str, begin: &str| {
        let text = std::fs::read_to_string(path).ok()?;
        let line = text.lines().find(|line| line.starts_with(begin))?;
        Some(line.trim().to_owned())
    };
    json!({
        "toka": env!("CARGO_PKG_VERSION"),
        "feature_levels": [FEATURE_LEVEL_MIN, FEATURE_LEVEL],
        "target": [std::env::consts::OS, std::env::consts::ARCH],
        "kernel": line("/proc/sys/kernel/osrelease", ""),
        "system": line("/etc/os-release", "PRETTY_NAME="),
        "memory": line("/proc/meminfo", "MemTotal:"),
        "open_files": line("/proc/self/limits", "Max open files"),
        "processors": std::thread::available_parallelism().ok().map(usize::from),
    })
}

/// The names, a line each. The values are nobody's business.
pub(super) fn environment(variables: impl IntoIterator<Item = (OsString, OsString)>) -> String {
    let names = variables.into_iter().map(|(name, _)| name);
    let mut names: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names.iter().map(|name| format!("{name}\n")).collect()
}

/// The settings that a node would have which is started here.
pub(super) struct Settings {
    /// As TOML, or why there are none.
    pub(super) text: Result<String, String>,
    /// Where it would have /metrics, as [`page::metrics`] takes it.
    pub(super) metrics: String,
    /// Values in the file that look as if they were secrets.
    pub(super) secrets: Vec<String>,
}

/// Reads file and environment, as `toka serve --dump-config` does.
pub(super) fn settings(file: Option<&Path>, data: Option<&Path>) -> Settings {
    let given = ConfigFile {
        data: data.map(Path::to_owned),
        ..ConfigFile::default()
    };
    let layer = layers(file).map(|lower| given.or(lower));
    Settings {
        metrics: place_of_metrics(layer.as_ref().ok()),
        text: layer
            .and_then(dump)
            .map(without_secrets)
            .map_err(|error| describe(&error)),
        secrets: file.map(secrets_in).unwrap_or_default(),
    }
}

/// Where a node with these settings has its page, for whoever is on its machine.
fn place_of_metrics(layer: Option<&ConfigFile>) -> String {
    let listen = layer.and_then(|layer| layer.http_listen);
    let address = listen.map_or_else(
        || HTTP_LISTEN.to_owned(),
        |at| on_this_machine(at).to_string(),
    );
    match layer.and_then(|layer| layer.http_tls) {
        Some(true) => format!("{}{address}", page::SECURED),
        _ => address,
    }
}

/// A node that listens everywhere is called at the loopback, which is more often in a certificate.
fn on_this_machine(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn layers(file: Option<&Path>) -> Result<ConfigFile, ConfigError> {
    let environment = ConfigFile::from_env(|name| std::env::var(name).ok())?;
    let file = file.map(ConfigFile::read).transpose()?;
    Ok(environment.or(file.unwrap_or_default()))
}

/// All settings; only those that were given where they make no node.
fn dump(layer: ConfigFile) -> Result<String, ConfigError> {
    let given = layer.clone();
    match layer.dump() {
        Ok(text) => Ok(text),
        Err(error) => {
            let given = toml::to_string(&given).map_err(|source| ConfigError::Dump { source })?;
            let reason = describe(&error);
            Ok(format!(
                "# Only what was given, since it makes no node: {reason}\n{given}"
            ))
        }
    }
}

/// The error without values: they may be secrets.
fn describe(error: &ConfigError) -> String {
    match error {
        ConfigError::Read { path, source } => format!("{}: {source}", path.display()),
        ConfigError::File { path, .. } => format!(
            "{} has an unknown key or a wrong value; `toka serve --config FILE --dump-config` says where",
            path.display()
        ),
        ConfigError::Environment { variable, .. } => {
            format!("the environment variable {variable} has a wrong value")
        }
        ConfigError::Missing { key, .. } => format!("{key} is missing"),
        ConfigError::Invalid { key, .. } => format!("{key} has a wrong value"),
        ConfigError::Exposed { key, .. } => format!("{key} would be reached without protection"),
        ConfigError::Nobody { .. } => "node_id is missing".to_owned(),
        _ => "the settings cannot be read".to_owned(),
    }
}

/// TOML with values of suspicious keys replaced, whatever type they have.
fn without_secrets(text: String) -> String {
    let Ok(mut table) = text.parse::<toml::Table>() else {
        return text;
    };
    let mut found = false;
    for (key, value) in &mut table {
        if redact::is_sensitive(key) {
            *value = redact::MARK.into();
            found = true;
        }
    }
    match toml::to_string(&table) {
        Ok(redacted) if found => redacted,
        _ => text,
    }
}

/// Strings of suspicious keys, at any depth, also of a file that is no valid configuration.
fn secrets_in(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut secrets = Vec::new();
    if let Ok(table) = text.parse::<toml::Table>() {
        look_through(&toml::Value::Table(table), false, &mut secrets);
    }
    secrets
}

fn look_through(value: &toml::Value, is_secret: bool, secrets: &mut Vec<String>) {
    match value {
        toml::Value::String(text) if is_secret => secrets.push(text.clone()),
        toml::Value::Table(table) => {
            for (key, value) in table {
                look_through(value, is_secret || redact::is_sensitive(key), secrets);
            }
        }
        toml::Value::Array(values) => {
            for value in values {
                look_through(value, is_secret, secrets);
            }
        }
        _ => {}
    }
}

/// The last lines of a file.
pub(super) fn log(path: &Path, lines: u32) -> Result<String, String> {
    let text = end_of(path).map_err(|error| error.to_string())?;
    let all: Vec<&str> = text.lines().collect();
    let skipped = all.len().saturating_sub(lines as usize);
    Ok(all[skipped..]
        .iter()
        .map(|line| format!("{line}\n"))
        .collect())
}

/// Its end, from the beginning of a line on.
fn end_of(path: &Path) -> std::io::Result<String> {
    // A pipe would be waited for.
    if !path.metadata()?.is_file() {
        return Err(std::io::Error::other("it is no file"));
    }
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(LOG_BYTES_MAX);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    match (start, text.split_once('\n')) {
        (1.., Some((_, whole))) => Ok(whole.to_owned()),
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_named_and_not_told() {
        let variables = [("B", "two"), ("A", "one")];
        let variables = variables.map(|(name, value)| (name.into(), value.into()));
        assert_eq!(environment(variables), "A\nB\n");
    }

    #[test]
    fn settings_hold_no_secret_even_if_they_are_wrong() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("toka.toml");
        std::fs::write(&path, "node_id = 1\napi_token = \"planted\"\n").expect("written");
        let settings = settings(Some(&path), None);
        let reason = settings.text.expect_err("an unknown key");
        assert!(!reason.contains("planted"), "{reason}");
        assert_eq!(settings.secrets, ["planted"]);
    }

    #[test]
    fn settings_without_a_node_are_those_that_were_given() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("toka.toml");
        std::fs::write(&path, "http_listen = \"127.0.0.9:1234\"\n").expect("written");
        let given = settings(Some(&path), None);
        assert_eq!(given.metrics, "127.0.0.9:1234");
        let text = given.text.expect("the given ones");
        assert!(text.starts_with("# Only what was given"), "{text}");
        assert!(text.contains("127.0.0.9:1234"), "{text}");
        let all = settings(Some(&path), Some(Path::new("/data")));
        let text = all.text.expect("all");
        assert!(text.contains("request_timeout"), "{text}");
    }

    #[test]
    fn metrics_are_looked_for_where_and_as_a_node_serves_them() {
        let place = |text: &str| {
            let layer = ConfigFile::parse(text, Path::new("a.toml")).expect("valid");
            place_of_metrics(Some(&layer))
        };
        assert_eq!(place_of_metrics(None), "127.0.0.1:7313");
        assert_eq!(place("http_listen = \"0.0.0.0:1\"\n"), "127.0.0.1:1");
        let secured = place("http_listen = \"[::]:1\"\nhttp_tls = true\n");
        assert_eq!(secured, "https://[::1]:1");
    }

    #[test]
    fn values_of_suspicious_keys_are_replaced() {
        let text = without_secrets("listen = \"a\"\njwt_secret = \"planted\"\n".to_owned());
        assert!(!text.contains("planted"), "{text}");
        assert!(text.contains("listen = \"a\""), "{text}");
    }

    #[test]
    fn a_log_ends_with_its_last_lines() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let line = "x".repeat(99);
        let lines = usize::try_from(LOG_BYTES_MAX).expect("small") / 100 + 10;
        let text: String = (0..lines).map(|_| format!("{line}\n")).collect();
        std::fs::write(&path, text + "last\n").expect("written");
        assert_eq!(log(&path, 1).as_deref(), Ok("last\n"));
        let whole = log(&path, u32::MAX).expect("read");
        assert!(whole.len() as u64 <= LOG_BYTES_MAX);
        assert!(whole.lines().all(|one| one == line || one == "last"));
        assert!(log(directory.path(), 1).is_err());
    }
}
