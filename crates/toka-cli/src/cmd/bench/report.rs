//! What a benchmark says.

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};
use toka_measure::Summary;

use crate::cli::Format;
use crate::failure::Failure;
use crate::output;
use crate::target::failure;

/// One thing that was measured.
pub(super) struct Row {
    what: String,
    summary: Summary,
    /// Further figures, by name.
    more: Map<String, Value>,
}

impl Row {
    pub(super) fn new(what: impl Into<String>, summary: Summary) -> Self {
        Self {
            what: what.into(),
            summary,
            more: Map::new(),
        }
    }

    /// With one more figure.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    fn json(&self) -> Result<Value> {
        let mut object = Map::from_iter([("what".to_owned(), json!(self.what))]);
        if let Value::Object(fields) = serde_json::to_value(&self.summary)? {
            object.extend(fields);
        }
        object.extend(self.more.clone());
        Ok(Value::Object(object))
    }

    fn cells(&self) -> Vec<String> {
        let summary = &self.summary;
        let cost = summary.cost.as_ref();
        let known = |figure: Option<f64>| figure.map(|figure| format!("{figure:.1}"));
        let mut cells = vec![
            self.what.clone(),
            format!("{:.0}", summary.per_second),
            format!("{:.2}", summary.p50_ms),
            format!("{:.2}", summary.p95_ms),
            format!("{:.2}", summary.p99_ms),
            format!("{:.2}", summary.max_ms),
            known(cost.map(|cost| cost.cpu_us_per_item)).unwrap_or_default(),
            known(cost.map(|cost| cost.written_bytes_per_item)).unwrap_or_default(),
            summary.errors.to_string(),
        ];
        let more = self.more.iter().map(|(name, value)| {
            let name = name.replace('_', " ");
            match value.as_f64() {
                Some(number) if value.is_f64() => format!("{name} {number:.1}"),
                _ => format!("{name} {value}"),
            }
        });
        cells.push(more.collect::<Vec<_>>().join(", "));
        cells
    }
}

/// Writes all rows: a table, or a line of JSON for each.
pub(super) fn rows(rows: &[Row], format: Format) -> Result<()> {
    match format {
        Format::Json => rows.iter().try_for_each(|row| output::json(&row.json()?)),
        Format::Table => {
            let mut table = output::table(&[
                "what",
                "per second",
                "p50 ms",
                "p95 ms",
                "p99 ms",
                "max ms",
                "CPU us each",
                "bytes written each, a node",
                "errors",
                "besides",
            ]);
            for row in rows {
                table.add_row(row.cells());
            }
            output::line(&table.to_string())
        }
    }?;
    let missed: u64 = rows.iter().map(|row| row.summary.missed).sum();
    if missed > 0 {
        eprintln!(
            "note: {missed} calls were due and not begun before the end: the rate was too high, and latencies say \
             less than the truth"
        );
    }
    Ok(())
}

/// Fails if calls have.
pub(super) fn outcome(errors: u64, first: Option<toka_client::Error>) -> Result<()> {
    match first {
        None => Ok(()),
        Some(error) if error.is_retryable() => bail!(Failure::Unavailable(format!(
            "{errors} calls failed; the first: {error}"
        ))),
        Some(error) => Err(failure(error).context(format!("{errors} calls failed"))),
    }
}

/// The middle of `values`; 0 of none.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.get(sorted.len() / 2), sorted.len() % 2) {
        (None, _) => 0.0,
        (Some(middle), 1) => *middle,
        (Some(upper), _) => f64::midpoint(sorted[sorted.len() / 2 - 1], *upper),
    }
}

#[cfg(test)]
mod tests {
    use toka_measure::Cost;

    use super::*;

    #[test]
    fn a_row_of_json_has_all_figures_side_by_side() {
        let summary = Summary {
            per_second: 5.0,
            cost: Some(Cost {
                cpu_us_per_item: 6.0,
                ..Cost::default()
            }),
            ..Summary::default()
        };
        let row = Row::new("commit", summary).with("commits_per_second", 5.0);
        let json = row.json().expect("numbers");
        assert_eq!(json["what"], "commit");
        assert_eq!(json["per_second"], 5.0);
        assert_eq!(json["cpu_us_per_item"], 6.0);
        assert_eq!(json["commits_per_second"], 5.0);
    }

    #[test]
    fn the_median_of_an_even_number_is_between_two() {
        for (values, expected) in [
            (vec![], 0.0),
            (vec![3.0], 3.0),
            (vec![3.0, 1.0], 2.0),
            (vec![9.0, 1.0, 2.0], 2.0),
        ] {
            assert!(
                (median(&values) - expected).abs() < f64::EPSILON,
                "{values:?}"
            );
        }
    }
}
