//! Metrics, in Prometheus' text format.
//!
//! What is written has a line in [`table`], and so has docs/metrics.md.

mod api;
mod coordination;
mod page;
mod process;
mod raft;
mod storage;
mod table;

use toka_ledger::command::FEATURE_LEVEL;

use self::page::Page;
use crate::api::Shared;
use crate::status::Readiness;
use crate::transport::Security;

/// What a disk that hangs, or an `apply` that does, keeps from being known.
#[derive(Debug)]
pub(crate) struct Measured(Page);

/// Measures the storage, the intents, consumer groups and cursors. Blocks.
pub(crate) fn measure(shared: &Shared) -> Measured {
    let mut page = Page::default();
    storage::measure(&mut page, &shared.replica);
    coordination::write(&mut page, shared);
    Measured(page)
}

/// The node in Prometheus' text format; before its stores are open (`shared` is absent), the process. Without what was
/// `measured` it has everything else, and waits for nothing: what hangs has to be seen.
pub(crate) fn text(
    shared: Option<&Shared>,
    measured: Option<Measured>,
    readiness: &Readiness,
    security: Option<&Security>,
) -> String {
    let is_measured = u64::from(measured.is_some());
    let mut page = measured.map_or_else(Page::default, |Measured(page)| page);
    let is_ready = u64::from(*readiness == Readiness::Ready);
    page.set(&table::READY, is_ready);
    let feature_level = FEATURE_LEVEL.to_string();
    let build = [env!("CARGO_PKG_VERSION"), feature_level.as_str()];
    page.set_of(&table::BUILD_INFO, &build, 1);
    process::write(&mut page);
    if let Some(shared) = shared {
        let status = shared.replica.status();
        let position = &status.position;
        page.set(&table::REVISION, position.revision);
        page.set(&table::SEQUENCE, position.sequence);
        let node_id = status.node_id.to_string();
        let cluster_id = format!("{:032x}", status.cluster_id.unwrap_or(0));
        let role = raft::role(status.role);
        let version = env!("CARGO_PKG_VERSION");
        let identity = [node_id.as_str(), cluster_id.as_str(), role, version];
        page.set_of(&table::NODE_INFO, &identity, 1);
        raft::write(&mut page, &shared.replica, &status);
        storage::write(&mut page, &shared.replica, &status);
        page.set(&table::STORAGE_RESPONSIVE, is_measured);
        api::write(&mut page, shared);
    }
    if let Some(security) = security {
        if let Some(end) = security.first_end() {
            page.set(&table::TLS_NOT_AFTER, end);
        }
        page.set(&table::TLS_RELOAD_FAILURES, count(security.failures()));
        page.set(&table::TLS_REFUSED, security.refused());
    }
    page.text()
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::table::{ALL, Kind, Metric};

    const DOCUMENT: &str = include_str!("../../../docs/metrics.md");
    const BEGIN: &str = "<!-- metrics: as in crates/toka-server/src/metrics/table.rs -->\n";
    const END: &str = "<!-- end of metrics -->";

    fn row(metric: &Metric) -> String {
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        format!(
            "| `{}` | {} | {} | {} | {} |\n",
            metric.name,
            metric.kind.name(),
            metric.unit,
            labels.join(", "),
            metric.help
        )
    }

    #[test]
    fn the_table_is_documented_as_it_is() {
        let rows: String = ALL.iter().map(|metric| row(metric)).collect();
        let head = "| name | type | unit | labels | what it is |\n|---|---|---|---|---|\n";
        let (_, rest) = DOCUMENT.split_once(BEGIN).expect("a table begins");
        let (documented, _) = rest.split_once(END).expect("it ends");
        let expected = format!("{head}{rows}");
        assert!(
            documented == expected,
            "put this into docs/metrics.md:\n{expected}"
        );
    }

    #[test]
    fn names_are_unique_and_end_with_their_units() {
        let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            let (name, unit) = (metric.name, metric.unit);
            assert!(name.starts_with("toka_"), "{name}");
            let is_counter = metric.kind == Kind::Counter;
            assert_eq!(name.ends_with("_total"), is_counter, "{name}");
            let stem = name.strip_suffix("_total").unwrap_or(name);
            let is_in = |unit: &str| stem.ends_with(&format!("_{unit}"));
            match unit {
                "bytes" | "seconds" => assert!(is_in(unit), "{name} is in {unit}"),
                "unix seconds" => assert!(is_in("seconds"), "{name} is in {unit}"),
                _ => assert!(!is_in("bytes") && !is_in("seconds"), "{name} is in {unit}"),
            }
        }
    }
}
