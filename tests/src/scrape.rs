//! What a node answers to a scrape.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::cluster::Node;
use crate::{manifest_dir, promtool};

/// The documents' table of metrics stands between these.
const TABLE: (&str, &str) = ("<!-- metrics:", "<!-- end of metrics -->");

/// The metrics of a node at some moment.
#[derive(Clone, Debug)]
pub struct Scrape {
    text: String,
}

impl Scrape {
    /// Asks `node`.
    pub async fn of(node: &Node) -> Result<Self> {
        let text = node.metrics().await?;
        Ok(Self { text })
    }

    /// The value of a series, such as `toka_alarm{kind="clock"}`.
    pub fn value(&self, series: &str) -> Result<f64> {
        let value = |line: &str| Some(line.strip_prefix(series)?.strip_prefix(' ')?.to_owned());
        let found = self.text.lines().find_map(value);
        let found = found.with_context(|| format!("there is no {series}: {}", self.text))?;
        found
            .parse()
            .with_context(|| format!("{series} is {found}"))
    }

    /// The series of a metric that have all of `labels` (`kind="clock"`), with their values summed up.
    pub fn sum(&self, metric: &str, labels: &[&str]) -> Result<f64> {
        let mut sum = 0.0;
        for line in self.text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let (name, of) = series.split_once('{').unwrap_or((series, ""));
            if name == metric && labels.iter().all(|label| of.contains(label)) {
                let value: f64 = value.parse().with_context(|| line.to_owned())?;
                sum += value;
            }
        }
        Ok(sum)
    }

    /// Names of the metrics that are described,
    #[must_use]
    pub fn described(&self) -> BTreeSet<String> {
        let lines = self.text.lines();
        let types = lines.filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        types.map(str::to_owned).collect()
    }

    /// and of those that have values.
    #[must_use]
    pub fn valued(&self) -> BTreeSet<String> {
        let lines = self.text.lines().filter(|line| !line.starts_with('#'));
        let series = lines.filter_map(|line| line.split([' ', '{']).next());
        let described = self.described();
        let of = |name: &str| {
            let mut suffixes = ["_bucket", "_sum", "_count"].into_iter();
            let stem = suffixes.find_map(|suffix| name.strip_suffix(suffix));
            let stem = stem.filter(|stem| described.contains(*stem));
            stem.unwrap_or(name).to_owned()
        };
        series.map(of).collect()
    }

    /// Has promtool look at it.
    pub fn check(&self) -> Result<()> {
        promtool::run(&["check", "metrics"], &self.text, Path::new("."))
    }
}

/// The metrics that docs/metrics.md has.
pub fn documented() -> Result<BTreeSet<String>> {
    let tests = manifest_dir();
    let root = tests.parent().context("it has a parent")?;
    let text = std::fs::read_to_string(root.join("docs").join("metrics.md"))?;
    let (_, rest) = text.split_once(TABLE.0).context("the table begins")?;
    let (table, _) = rest.split_once(TABLE.1).context("it ends")?;
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let names: BTreeSet<String> = rows
        .filter_map(|row| Some(row.split_once('`')?.0.to_owned()))
        .collect();
    ensure!(!names.is_empty(), "no metric is documented");
    Ok(names)
}
