//! What all runs came to.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;
use toka_measure::Summary;

use crate::load::Load;
use crate::store::System;

/// One load of one run.
#[derive(Clone, Debug, Serialize)]
struct Sample {
    system: System,
    load: Load,
    #[serde(flatten)]
    summary: Summary,
}

/// How long nothing was acknowledged after one leader was killed.
#[derive(Clone, Copy, Debug, Serialize)]
struct Gap {
    system: System,
    ms: f64,
}

/// Everything that was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Results {
    samples: Vec<Sample>,
    gaps: Vec<Gap>,
    /// Figures of Toka Vault alone, by name.
    alone: BTreeMap<String, f64>,
}

impl Results {
    pub(crate) fn add(&mut self, system: System, load: Load, summary: Summary) {
        self.samples.push(Sample {
            system,
            load,
            summary,
        });
    }

    pub(crate) fn add_gap(&mut self, system: System, gap: Duration) {
        let ms = gap.as_secs_f64() * 1e3;
        eprintln!("  {:<34} {ms:>10.0} ms", Load::Failover);
        self.gaps.push(Gap { system, ms });
    }

    pub(crate) fn add_alone(&mut self, name: &str, figure: f64) {
        self.alone.insert(name.to_owned(), figure);
    }

    /// What a load came to the last time.
    pub(crate) fn last(&self, system: System, load: Load) -> Option<&Summary> {
        self.of(system, load).last()
    }

    fn of(&self, system: System, load: Load) -> impl Iterator<Item = &Summary> {
        let samples = self.samples.iter();
        samples
            .filter(move |sample| sample.system == system && sample.load == load)
            .map(|sample| &sample.summary)
    }

    /// The median of a figure over all runs.
    pub(crate) fn median(
        &self,
        system: System,
        load: Load,
        figure: impl Fn(&Summary) -> Option<f64>,
    ) -> Option<f64> {
        median(self.of(system, load).filter_map(figure))
    }

    /// The median of the gaps after a killed leader, milliseconds.
    pub(crate) fn gap_ms(&self, system: System) -> Option<f64> {
        let gaps = self.gaps.iter().filter(|gap| gap.system == system);
        median(gaps.map(|gap| gap.ms))
    }

    /// A figure of Toka Vault alone.
    pub(crate) fn alone(&self, name: &str) -> Option<f64> {
        self.alone.get(name).copied()
    }

    /// Writes every single figure, if there is a file to write to.
    pub(crate) fn write(&self, file: Option<&Path>) -> Result<()> {
        let Some(file) = file else { return Ok(()) };
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Medians of all loads, as Markdown.
    pub(crate) fn table(&self) -> String {
        let mut table = String::from(
            "| load | store | runs | per second | p50 ms | p99 ms | max ms | CPU us each | bytes written each, a node | \
             memory MiB | errors |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for load in Load::ALL {
            for system in System::ALL {
                let runs = self.of(system, load).count();
                if runs == 0 {
                    continue;
                }
                let of = |figure: fn(&Summary) -> Option<f64>, digits: usize| {
                    let median = self.median(system, load, figure);
                    median.map_or_else(String::new, |median| format!("{median:.digits$}"))
                };
                let errors: u64 = self.of(system, load).map(|summary| summary.errors).sum();
                // Writing to a string does not fail.
                let _ = writeln!(
                    table,
                    "| {load} | {system} | {runs} | {} | {} | {} | {} | {} | {} | {} | {errors} |",
                    of(|summary| Some(summary.per_second), 0),
                    of(|summary| Some(summary.p50_ms), 2),
                    of(|summary| Some(summary.p99_ms), 2),
                    of(|summary| Some(summary.max_ms), 1),
                    of(cpu_us, 1),
                    of(
                        |summary| Some(summary.cost.as_ref()?.written_bytes_per_item),
                        0
                    ),
                    of(
                        |summary| Some(
                            summary.cost.as_ref()?.resident_bytes_max as f64 / f64::from(1 << 20)
                        ),
                        0
                    ),
                );
            }
        }
        for system in System::ALL {
            if let Some(ms) = self.gap_ms(system) {
                let gaps = self.gaps.iter().filter(|gap| gap.system == system).count();
                let _ = writeln!(
                    table,
                    "\n{system}: nothing acknowledged for {ms:.0} ms after the leader was killed (median of {gaps})"
                );
            }
        }
        table
    }
}

/// CPU time of all three nodes for one event.
pub(crate) fn cpu_us(summary: &Summary) -> Option<f64> {
    Some(summary.cost.as_ref()?.cpu_us_per_item)
}

/// The middle of some figures; between two of an even number.
fn median(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<_> = figures.collect();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    Some(if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[sorted.len() / 2 - 1], upper)
    } else {
        upper
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_of_one_store_and_one_load() {
        let mut results = Results::default();
        for (system, per_second) in [
            (System::Toka, 1.0),
            (System::Toka, 9.0),
            (System::Toka, 2.0),
            (System::Etcd, 100.0),
        ] {
            let summary = Summary {
                per_second,
                ..Summary::default()
            };
            results.add(system, Load::Unary1, summary);
        }
        let rate = |summary: &Summary| Some(summary.per_second);
        assert_eq!(results.median(System::Toka, Load::Unary1, rate), Some(2.0));
        assert_eq!(results.median(System::Toka, Load::Get64, rate), None);
    }
}
