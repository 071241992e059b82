//! `toka debug bundle`: what a report of a bug needs, in one archive.
//!
//! Everything that goes into it is text, and goes through the redactor. Payloads and embeddings are never asked for;
//! the redactor is for what others have written: logs, reasons, settings.

mod archive;
mod collect;
mod page;
mod redact;

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use serde_json::{Value, json};
use toka_client::ClusterStatus;

use self::collect::settings;
use self::redact::Redactor;
use crate::cli::{Bundle, Debug, Format, Global};
use crate::cmd::cluster::status_json;
use crate::failure::Failure;
use crate::target::{Endpoints, Remote, endpoints, failure};
use crate::{failure, output};

/// Longest that one node, or one page, is waited for.
const PART_MAX: Duration = Duration::from_secs(5);

pub(crate) async fn run(global: &Global, command: Debug, format: Format) -> Result<()> {
    let Debug::Bundle(flags) = command;
    if flags.file.exists() {
        bail!(Failure::Usage(format!(
            "{} is there already; name a new file",
            flags.file.display()
        )));
    }
    let settings = settings(flags.config.as_deref(), global.data.as_deref());
    let redactor = Redactor::new(std::env::vars_os(), settings.secrets.clone());
    let mut parts = Parts::new(redactor);
    parts.add("versions.json", pretty(&collect::versions()));
    parts.take("configuration.toml", settings.text);
    parts.add("environment.txt", collect::environment(std::env::vars_os()));
    cluster(&mut parts, global).await;
    let pages = match flags.metrics.is_empty() {
        true => vec![settings.metrics],
        false => flags.metrics.clone(),
    };
    // The cluster's part says it if they cannot be had.
    let tls = endpoints(global).ok().and_then(|known| known.tls);
    let tls = tls.unwrap_or_default();
    for place in pages {
        let text = page::metrics(&place, &tls, PART_MAX).await;
        let name = file_name(page::address(&place));
        parts.take(&format!("metrics/{name}.txt"), text);
    }
    logs(&mut parts, &flags);
    parts.add_contents();
    archive::write(&flags.file, &parts.files)?;
    report(&flags.file, &parts, format)
}

/// What was collected, and what could not be.
struct Parts {
    redactor: Redactor,
    /// Name in the archive and text.
    files: Vec<(String, String)>,
    /// Name in the archive and reason.
    missing: Vec<(String, String)>,
}

impl Parts {
    fn new(redactor: Redactor) -> Self {
        Self {
            redactor,
            files: Vec::new(),
            missing: Vec::new(),
        }
    }

    /// The only way into the archive.
    fn add(&mut self, name: &str, text: String) {
        let text = self.redactor.text(&text);
        self.files.push((name.to_owned(), text));
    }

    fn take(&mut self, name: &str, text: Result<String, String>) {
        match text {
            Ok(text) => self.add(name, text),
            Err(reason) => {
                let reason = self.redactor.text(&reason);
                self.missing.push((name.to_owned(), reason));
            }
        }
    }

    /// What is in the archive, and what is not.
    fn add_contents(&mut self) {
        let contents = json!({
            "time": humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            "files": self.files.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            "missing": self.missing_json(),
        });
        self.add("contents.json", pretty(&contents));
    }

    fn missing_json(&self) -> Vec<Value> {
        let missing = self.missing.iter();
        missing
            .map(|(name, reason)| json!({ "name": name, "reason": reason }))
            .collect()
    }
}

/// The state of the cluster, as each of its nodes tells it.
async fn cluster(parts: &mut Parts, global: &Global) {
    const NAME: &str = "cluster/status.json";
    let timeout = global.timeout.min(PART_MAX);
    let known = endpoints(global).map_err(|error| failure::describe(&error));
    let status = match &known {
        Ok(endpoints) => status(endpoints.clone(), timeout).await,
        Err(reason) => Err(reason.clone()),
    };
    let (known, status) = match known.and_then(|known| Ok((known, status?))) {
        Ok(both) => both,
        Err(reason) => return parts.take(NAME, Err(reason)),
    };
    let whole = status_json(&status);
    parts.add(NAME, pretty(&whole));
    parts.add("cluster/alarms.json", pretty(&whole["alarms"]));
    let nodes = status.nodes.iter().map(|node| &node.node);
    let views = nodes.map(|node| {
        let one = known.at(&node.client_endpoint);
        async move { (node.node_id, self::status(one, timeout).await) }
    });
    for (node_id, view) in futures::future::join_all(views).await {
        let view = view.map(|view| pretty(&status_json(&view)));
        parts.take(&format!("cluster/seen-by-node-{node_id}.json"), view);
    }
}

async fn status(endpoints: Endpoints, timeout: Duration) -> Result<ClusterStatus, String> {
    let asked = async {
        let remote = Remote::connect(endpoints, timeout).await?;
        remote.client().cluster_status().await.map_err(failure)
    };
    asked.await.map_err(|error| failure::describe(&error))
}

fn logs(parts: &mut Parts, flags: &Bundle) {
    for (number, path) in (1..).zip(&flags.log) {
        let name = path.file_name().unwrap_or(path.as_os_str());
        // Two nodes' logs may have the same name.
        let name = format!("logs/{number}-{}", file_name(&name.to_string_lossy()));
        parts.take(&name, collect::log(path, flags.log_lines));
    }
}

fn report(file: &Path, parts: &Parts, format: Format) -> Result<()> {
    if format == Format::Json {
        return output::json(&json!({
            "file": file.display().to_string(),
            "files": parts.files.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            "missing": parts.missing_json(),
        }));
    }
    for (name, reason) in &parts.missing {
        output::line(&format!("missing: {name}: {reason}"))?;
    }
    output::line(&format!(
        "{} files are in {}; look through them before you send it: addresses and names are in them",
        parts.files.len(),
        file.display()
    ))
}

/// Over lines of its own, so that what is redacted in one leaves the others.
fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// A name for a file, of what may have any characters.
fn file_name(text: &str) -> String {
    let kept = |c: char| match c {
        '.' | '-' | '_' => c,
        c if c.is_ascii_alphanumeric() => c,
        _ => '_',
    };
    text.chars().map(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_around_the_redactor() {
        let variables = [("API_TOKEN".into(), "hunter2hunter2".into())];
        let mut parts = Parts::new(Redactor::new(variables, Vec::new()));
        parts.add("a", "said hunter2hunter2".to_owned());
        parts.take("b", Ok("hunter2hunter2".to_owned()));
        parts.take("c", Err("no hunter2hunter2".to_owned()));
        parts.add_contents();
        let texts = parts.files.iter().chain(&parts.missing);
        for (name, text) in texts {
            assert!(!text.contains("hunter2"), "{name}: {text}");
        }
        let contents = &parts.files.last().expect("contents").1;
        assert!(contents.contains("[redacted]"), "{contents}");
    }

    #[test]
    fn names_of_files_stay_in_their_directory() {
        assert_eq!(file_name("127.0.0.1:7313"), "127.0.0.1_7313");
        assert_eq!(file_name("../a b"), ".._a_b");
    }
}
