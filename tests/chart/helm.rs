//! The real helm, on the chart of this repository.

use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;
use toka_tests::{manifest_dir, python};

/// The name of the release in all tests, and its namespace.
pub(crate) const RELEASE: &str = "vault";
pub(crate) const NAMESPACE: &str = "agents";
/// What the chart calls everything of that release.
pub(crate) const FULL_NAME: &str = "vault-toka-vault";
/// Versions of Kubernetes whose schemas have to be met: the oldest, and newer ones.
pub(crate) const KUBERNETES: [&str; 3] = ["1.28.0", "1.32.0", "1.36.0"];

/// Tests run at the same time, and one of them may have to install it.
static PYTHON: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-for-charts");
    python::with_helm(&directory).map_err(|error| format!("{error:#}"))
});

/// Values beside the chart's own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Values<'a> {
    /// None.
    Default,
    /// A file that the chart brings, by its name.
    File(&'a str),
    /// A test's.
    Given(&'a Value),
}

/// Helm, and a Python that reads what it writes.
#[derive(Clone, Debug)]
pub(crate) struct Helm {
    python: PathBuf,
}

impl Helm {
    /// Installs it first if need be.
    pub(crate) fn new() -> Result<Self> {
        let python = PYTHON.clone().map_err(|error| anyhow!(error))?;
        Ok(Self { python })
    }

    /// Where the chart is.
    pub(crate) fn chart() -> Result<PathBuf> {
        let tests = manifest_dir();
        let root = tests.parent().context("it has a parent")?;
        Ok(root.join("charts").join("toka-vault"))
    }

    /// Runs a command on the chart.
    pub(crate) fn run(&self, words: &[&str], values: Values<'_>) -> Result<Output> {
        let mut command = Command::new(self.python.with_file_name("helm"));
        command.args(words).arg(Self::chart()?);
        let mut file = tempfile::Builder::new().suffix(".json").tempfile()?;
        match values {
            Values::Default => {}
            Values::File(name) => {
                let path = Self::chart()?.join("values").join(name);
                command.arg("--values").arg(path);
            }
            Values::Given(values) => {
                serde_json::to_writer(&mut file, values)?;
                file.flush()?;
                command.arg("--values").arg(file.path());
            }
        }
        command.args(["--namespace", NAMESPACE]);
        command.output().context("cannot run helm")
    }

    /// `helm lint --strict`.
    pub(crate) fn lint(&self, values: Values<'_>) -> Result<()> {
        said(&self.run(&["lint", "--strict"], values)?).map(drop)
    }

    /// What the templates make, as YAML.
    pub(crate) fn template(&self, values: Values<'_>) -> Result<String> {
        said(&self.run(&["template", RELEASE], values)?)
    }

    /// What the templates make, as JSON.
    pub(crate) fn render(&self, values: Values<'_>) -> Result<Vec<Value>> {
        self.yaml(&self.template(values)?)
    }

    /// The documents of a YAML file, as JSON.
    pub(crate) fn yaml(&self, text: &str) -> Result<Vec<Value>> {
        let json = self.manifests(&["json"], text)?;
        Ok(serde_json::from_str(&json)?)
    }

    /// Why values are refused.
    pub(crate) fn refuses(&self, values: &Value) -> Result<String> {
        let output = self.run(&["template", RELEASE], Values::Given(values))?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(!output.status.success(), "{values} is taken");
        Ok(said)
    }

    /// What is said after an installation.
    pub(crate) fn notes(&self, values: Values<'_>) -> Result<String> {
        let output = self.run(&["install", RELEASE, "--dry-run=client"], values)?;
        let all = said(&output)?;
        let (_, notes) = all.split_once("NOTES:").context("there are no notes")?;
        Ok(notes.to_owned())
    }

    /// Checks what the templates make against the schemas of all [`KUBERNETES`].
    pub(crate) fn validate(&self, manifests: &str) -> Result<()> {
        let words: Vec<&str> = ["validate"].into_iter().chain(KUBERNETES).collect();
        self.manifests(&words, manifests).map(drop)
    }

    /// Runs `readme.py --check`.
    pub(crate) fn check_readme(&self) -> Result<()> {
        let script = manifest_dir().join("chart").join("readme.py");
        let mut command = Command::new(&self.python);
        said(&command.arg(script).arg("--check").output()?).map(drop)
    }

    fn manifests(&self, words: &[&str], text: &str) -> Result<String> {
        let mut input = tempfile::tempfile()?;
        input.write_all(text.as_bytes())?;
        input.rewind()?;
        let script = manifest_dir().join("chart").join("manifests.py");
        let mut command = Command::new(&self.python);
        said(&command.arg(script).args(words).stdin(input).output()?)
    }
}

/// Standard output of a command that must succeed.
fn said(output: &Output) -> Result<String> {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{}: {stderr}{stdout}",
        output.status
    );
    Ok(stdout.into_owned())
}
