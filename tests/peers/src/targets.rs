//! The targets of Toka Vault, with what was measured beside them.

use std::fmt::Write as _;

use toka_measure::Summary;

use crate::load::Load;
use crate::results::{Results, cpu_us};
use crate::store::System;

/// How a figure is compared with its target.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    fn is_met(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(target) => figure >= target,
            Self::AtMost(target) => figure <= target,
        }
    }
}

/// One target.
struct Row {
    what: &'static str,
    /// Of whom it is a multiple; empty for a figure of its own.
    of: &'static str,
    target: Target,
    figure: Option<f64>,
}

/// All targets, as Markdown.
pub(crate) fn table(results: &Results) -> String {
    let mut table = String::from("| what | measured | target | | met |\n|---|---|---|---|---|\n");
    for row in rows(results) {
        let (sign, target) = match row.target {
            Target::AtLeast(target) => ("at least", target),
            Target::AtMost(target) => ("at most", target),
        };
        let (measured, met) = match row.figure {
            None => ("not measured".to_owned(), ""),
            Some(figure) => {
                let met = if row.target.is_met(figure) {
                    "yes"
                } else {
                    "no"
                };
                (shown(figure), met)
            }
        };
        let target = shown(target);
        // Writing to a string does not fail.
        let _ = writeln!(
            table,
            "| {} | {measured} | {sign} {target} | {} | {met} |",
            row.what, row.of
        );
    }
    table
}

fn shown(figure: f64) -> String {
    if figure.abs() >= 100.0 {
        format!("{figure:.0}")
    } else {
        format!("{figure:.2}")
    }
}

fn rows(results: &Results) -> Vec<Row> {
    let mut rows = commits(results);
    rows.extend(reads(results));
    rows.extend(costs(results));
    rows.extend(alone(results));
    rows
}

const ETCD: &str = "x etcd";
const JETSTREAM: &str = "x JetStream";
const UNSYNCED: &str = "x JetStream without syncs";

/// Toka Vault's figure, divided by another's.
fn ratio(
    results: &Results,
    load: Load,
    other: System,
    figure: fn(&Summary) -> Option<f64>,
) -> Option<f64> {
    let own = results.median(System::Toka, load, figure)?;
    Some(own / results.median(other, load, figure)?)
}

fn rate(summary: &Summary) -> Option<f64> {
    Some(summary.per_second)
}

fn p50(summary: &Summary) -> Option<f64> {
    Some(summary.p50_ms)
}

fn p99(summary: &Summary) -> Option<f64> {
    Some(summary.p99_ms)
}

fn row(what: &'static str, of: &'static str, target: Target, figure: Option<f64>) -> Row {
    Row {
        what,
        of,
        target,
        figure,
    }
}

/// Rates of commits: what, of which load, as a multiple of whose, at least.
const COMMIT_RATES: &[(&str, Load, System, f64)] = &[
    (
        "events, 64 clients, unary",
        Load::Unary64,
        System::Etcd,
        2.0,
    ),
    (
        "events, 64 clients, unary",
        Load::Unary64,
        System::Jetstream,
        1.2,
    ),
    (
        "events, 512 clients, unary",
        Load::Unary512,
        System::Etcd,
        2.0,
    ),
    (
        "events, 512 clients, unary",
        Load::Unary512,
        System::Jetstream,
        1.2,
    ),
    (
        "events, 512 in flight, stream",
        Load::Stream512,
        System::Etcd,
        6.0,
    ),
    (
        "events, 512 in flight, stream",
        Load::Stream512,
        System::Jetstream,
        3.0,
    ),
    (
        "small events, 512 clients, unary",
        Load::SmallUnary512,
        System::Etcd,
        2.0,
    ),
    (
        "small events, stream",
        Load::SmallStream512,
        System::Jetstream,
        1.5,
    ),
    (
        "small events, stream",
        Load::SmallStream512,
        System::Etcd,
        5.0,
    ),
    (
        "stretch: small events, stream",
        Load::SmallStream512,
        System::JetstreamUnsynced,
        1.0,
    ),
    (
        "stretch: events, stream",
        Load::Stream512,
        System::JetstreamUnsynced,
        1.5,
    ),
];

fn commits(results: &Results) -> Vec<Row> {
    let rates = COMMIT_RATES.iter().map(|&(what, load, other, target)| {
        let of = match other {
            System::Etcd => ETCD,
            System::Jetstream => JETSTREAM,
            System::JetstreamUnsynced => UNSYNCED,
            System::Toka => "",
        };
        let figure = ratio(results, load, other, rate);
        row(what, of, Target::AtLeast(target), figure)
    });
    // Against the better of the two.
    let better = |figure: fn(&Summary) -> Option<f64>, load| {
        let peers = [System::Etcd, System::Jetstream];
        let ratios = peers.map(|peer| ratio(results, load, peer, figure));
        ratios.into_iter().flatten().reduce(f64::max)
    };
    let mut rows: Vec<_> = rates.collect();
    rows.push(row(
        "one client, unary, p50",
        "x the faster of the two",
        Target::AtMost(1.0),
        better(p50, Load::Unary1),
    ));
    rows.push(row(
        "p99 at half of the maximum rate",
        "x the better of the two",
        Target::AtMost(1.0),
        better(p99, Load::HalfRate),
    ));
    rows
}

fn reads(results: &Results) -> Vec<Row> {
    use System::{Etcd, Jetstream, Toka};
    use Target::{AtLeast, AtMost};
    let own = |load| results.median(Toka, load, rate);
    let share = |load, of| Some(own(load)? / own(of)?);
    vec![
        row(
            "local get by id, 64 clients",
            "x etcd, serializable",
            AtLeast(1.3),
            ratio(results, Load::Get64, Etcd, rate),
        ),
        row(
            "local get by id, 64 clients",
            "x empty unary calls",
            AtLeast(0.8),
            share(Load::Get64, Load::EmptyCalls64),
        ),
        row(
            "batch get, events",
            "x single gets",
            AtLeast(4.0),
            share(Load::BatchGet64, Load::Get64),
        ),
        row(
            "linearizable get on a follower",
            "x local gets",
            AtLeast(0.6),
            share(Load::FollowerGet64, Load::Get64),
        ),
        row(
            "10 subscribers, live, deliveries",
            JETSTREAM,
            AtLeast(1.5),
            ratio(results, Load::Subscribe10, Jetstream, rate),
        ),
        row(
            "10 subscribers, 300 events/s, p99",
            JETSTREAM,
            AtMost(1.0),
            ratio(results, Load::SubscribePaced10, Jetstream, p99),
        ),
        row(
            "leader killed, time without acknowledgement",
            ETCD,
            AtMost(0.6),
            results
                .gap_ms(Toka)
                .and_then(|own| Some(own / results.gap_ms(Etcd)?)),
        ),
    ]
}

fn costs(results: &Results) -> Vec<Row> {
    let cpu = |what, load| {
        let figure = ratio(results, load, System::Jetstream, cpu_us);
        row(what, JETSTREAM, Target::AtMost(1.0), figure)
    };
    vec![
        cpu("CPU per event, three nodes, unary, 512", Load::Unary512),
        cpu("CPU per event, three nodes, stream, 512", Load::Stream512),
        cpu(
            "CPU per small event, three nodes, unary, 512",
            Load::SmallUnary512,
        ),
        cpu(
            "CPU per small event, three nodes, stream, 512",
            Load::SmallStream512,
        ),
    ]
}

/// Names of figures of Toka Vault alone, as [`crate::alone`] gives them.
pub(crate) mod name {
    pub(crate) const CATCH_UP: &str = "catch-up from a cold node, events/s";
    pub(crate) const CATCH_UP_SMALL: &str = "catch-up from a cold node, small events/s";
    pub(crate) const TRANSFER: &str = "planned transfer, ms without acknowledgement";
    pub(crate) const TERMINATE: &str = "SIGTERM to the leader, ms without acknowledgement";
    pub(crate) const ELECTIONS: &str = "changes of leader in ten minutes of full load";
    pub(crate) const RESTART_READS: &str = "restart with a million events, ms until reads";
    pub(crate) const RESTART_QUORUM: &str = "restart with a million events, ms until in quorum";
    pub(crate) const WRITTEN: &str = "bytes written per event and node, x own size";
    pub(crate) const ON_DISK: &str = "bytes on disk per event, x own size";
    pub(crate) const WRITTEN_SMALL: &str = "bytes written per small event and node, x own size";
    pub(crate) const ON_DISK_SMALL: &str = "bytes on disk per small event, x own size";
    pub(crate) const EMBEDDED_SMALL: &str = "embedded, 64 committers, small, % of bare RocksDB";
    pub(crate) const EMBEDDED: &str = "embedded, 64 committers, events, % of bare RocksDB";
    pub(crate) const EMBEDDED_BATCHES: &str = "embedded, batches, small events/s";
    pub(crate) const GROWTH: &str = "embedded, from ten thousand to ten million: last rate / first";
}

fn alone(results: &Results) -> Vec<Row> {
    use Target::{AtLeast, AtMost};
    [
        (name::CATCH_UP, AtLeast(100_000.0)),
        (name::CATCH_UP_SMALL, AtLeast(400_000.0)),
        (name::TRANSFER, AtMost(100.0)),
        (name::TERMINATE, AtMost(100.0)),
        (name::ELECTIONS, AtMost(0.0)),
        (name::RESTART_READS, AtMost(1_000.0)),
        (name::RESTART_QUORUM, AtMost(2_000.0)),
        (name::WRITTEN, AtMost(2.5)),
        (name::ON_DISK, AtMost(1.2)),
        (name::WRITTEN_SMALL, AtMost(6.0)),
        (name::ON_DISK_SMALL, AtMost(2.5)),
        (name::EMBEDDED_SMALL, AtLeast(80.0)),
        (name::EMBEDDED, AtLeast(50.0)),
        (name::EMBEDDED_BATCHES, AtLeast(100_000.0)),
        (name::GROWTH, AtLeast(0.8)),
    ]
    .map(|(name, target)| row(name, "", target, results.alone(name)))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_stands_beside_its_target() {
        let mut results = Results::default();
        for (system, per_second) in [(System::Toka, 30.0), (System::Etcd, 10.0)] {
            let summary = Summary {
                per_second,
                ..Summary::default()
            };
            results.add(system, Load::Unary64, summary);
        }
        results.add_alone(name::ELECTIONS, 1.0);
        let table = table(&results);
        let line = "| events, 64 clients, unary | 3.00 | at least 2.00 | x etcd | yes |";
        assert!(table.contains(line), "{table}");
        let line =
            "| changes of leader in ten minutes of full load | 1.00 | at most 0.00 |  | no |";
        assert!(table.contains(line), "{table}");
        assert!(table.contains("not measured"), "{table}");
    }
}
