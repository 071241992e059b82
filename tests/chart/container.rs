//! A container as a kubelet starts it: a process with the arguments and the environment that the templates give it, and
//! directories where its volumes are mounted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use toka_tests::command::Toka;
use toka_tests::process::{self, Process};

use crate::documents::{arguments, text};

/// Directories of a pod's volumes, by their names.
#[derive(Clone, Debug)]
pub(crate) struct Volumes(BTreeMap<String, PathBuf>);

/// One of a pod's containers.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    arguments: Vec<String>,
    environment: Vec<(String, PathBuf)>,
}

impl Volumes {
    /// Those in a pod's specification, made anew below `parent`, of secrets that are a directory each below `secrets`, with
    /// a file for each key.
    pub(crate) fn new(pod: &Value, secrets: &Path, parent: &Path) -> Result<Self> {
        let mut volumes = BTreeMap::new();
        for volume in pod["volumes"].as_array().into_iter().flatten() {
            let name = text(&volume["name"]);
            let directory = parent.join(name);
            if directory.exists() {
                std::fs::remove_dir_all(&directory)?;
            }
            std::fs::create_dir_all(&directory)?;
            let projected = volume["projected"]["sources"].as_array();
            let projected = projected.into_iter().flatten();
            let mut sources: Vec<(&Value, &Value)> = projected
                .map(|source| (&source["secret"]["name"], &source["secret"]["items"]))
                .collect();
            let secret = &volume["secret"];
            if secret.is_object() {
                sources.push((&secret["secretName"], &secret["items"]));
            }
            ensure!(!sources.is_empty(), "{volume} is not known here");
            for (secret, items) in sources {
                put(&secrets.join(text(secret)), items, &directory)?;
            }
            volumes.insert(name.to_owned(), directory);
        }
        Ok(Self(volumes))
    }

    /// With the volume of the pod's claim.
    #[must_use]
    pub(crate) fn with_data(mut self, directory: &Path) -> Self {
        self.0.insert("data".to_owned(), directory.to_owned());
        self
    }

    /// A text with directories in the place of where they are mounted in a container.
    fn placed(&self, container: &Value, word: &str) -> Result<String> {
        let mut placed = word.to_owned();
        for mount in container["volumeMounts"].as_array().into_iter().flatten() {
            let directory = self.0.get(text(&mount["name"]));
            let directory = directory.with_context(|| format!("{mount} is of no volume"))?;
            let directory = directory.display().to_string();
            placed = placed.replace(text(&mount["mountPath"]), &directory);
        }
        Ok(placed)
    }
}

/// The keys of a secret as files: those that are asked for, or all.
fn put(secret: &Path, items: &Value, into: &Path) -> Result<()> {
    let Some(items) = items.as_array() else {
        for entry in std::fs::read_dir(secret)? {
            let entry = entry?;
            std::fs::copy(entry.path(), into.join(entry.file_name()))?;
        }
        return Ok(());
    };
    for item in items {
        let key = secret.join(text(&item["key"]));
        let copied = std::fs::copy(&key, into.join(text(&item["path"])));
        copied.with_context(|| format!("{}", key.display()))?;
    }
    Ok(())
}

impl Container {
    /// That of the pod with an ordinal.
    pub(crate) fn new(container: &Value, ordinal: u64, volumes: &Volumes) -> Result<Self> {
        let mut environment = Vec::new();
        for variable in container["env"].as_array().into_iter().flatten() {
            let field = variable.pointer("/valueFrom/fieldRef/fieldPath");
            let value = match field.map(text) {
                None => volumes.placed(container, text(&variable["value"]))?,
                Some("metadata.labels['apps.kubernetes.io/pod-index']") => ordinal.to_string(),
                Some(other) => bail!("{other} is not known here"),
            };
            environment.push((text(&variable["name"]).to_owned(), value));
        }
        let mut arguments = arguments(container);
        for argument in &mut arguments {
            for (name, value) in &environment {
                *argument = argument.replace(&format!("$({name})"), value);
            }
            ensure!(!argument.contains("$("), "{argument} is not expanded");
            *argument = volumes.placed(container, argument)?;
        }
        let environment = environment.into_iter();
        Ok(Self {
            arguments,
            environment: environment
                .map(|(name, value)| (name, value.into()))
                .collect(),
        })
    }

    /// Starts it; what it writes is appended to `log`.
    pub(crate) fn start(&self, log: &Path) -> Result<Process> {
        let variables: Vec<(&str, &Path)> = self
            .environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_path()))
            .collect();
        Process::start_with(&process::binary()?, &self.arguments, &variables, log)
    }

    /// Runs it to its end, which must be a good one.
    pub(crate) async fn run(&self, home: &Path) -> Result<()> {
        let mut toka = Toka::new(home);
        for (name, value) in &self.environment {
            toka = toka.with_variable(name, &value.display().to_string());
        }
        let words: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        toka.ok(&words).await.map(drop)
    }
}
