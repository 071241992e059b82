//! Questions about lineage cost what they visit, however large the vault is.

mod apply_support;
#[path = "bus_support/hooked.rs"]
mod hooked;
mod lineage_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use apply_support::create;
use hooked::{Hooked, Hooks};
use lineage_support::{Agents, apply, common, difference, heads, walk};
use toka_ledger::Ledger;
use toka_ledger::engine::{Engine, Scan, Table};
use toka_ledger::read::lineage::Relation;
use toka_ledger::seam::SystemThreads;

/// Each on a chain of its own.
const AGENTS: u64 = 16;
/// An agent takes over what its neighbour has after so many events of its own.
const MERGE_EVERY: u64 = 8;
/// In a small vault and in one that is ten times as large. Both end alike.
const EVENTS: [u64; 2] = [80 * AGENTS, 800 * AGENTS];
/// Events that a walk asks for: fewer than there are relatives in either vault.
const WALKED: u64 = 200;

/// Look-ups, scans, and the rows that these come to.
#[derive(Debug, Default)]
struct Reads(AtomicU64);

impl Reads {
    fn count(&self, reads: usize) {
        self.0.fetch_add(reads as u64, Ordering::SeqCst);
    }
}

impl Hooks for Reads {
    fn looked_up(&self, _: Table, keys: usize) {
        self.count(keys);
    }

    fn scanned<'a>(&'a self, _: Table, rows: Scan<'a>) -> Scan<'a> {
        self.count(1);
        Box::new(rows.inspect(move |_| self.count(1)))
    }
}

/// A vault in which agents take turns, and its store.
fn vault(events: u64) -> (Ledger, Arc<Hooked<Reads>>) {
    let engine: Arc<Hooked<Reads>> = Arc::default();
    let mut ledger = Ledger::open(
        Arc::clone(&engine) as Arc<dyn Engine>,
        Arc::new(SystemThreads),
    )
    .expect("opens");
    apply(&mut ledger, create());
    let agents = Agents {
        count: AGENTS,
        merges: |n| ((n - 1) / AGENTS).is_multiple_of(MERGE_EVERY),
        batch: AGENTS,
    };
    agents.work(&mut ledger, events);
    (ledger, engine)
}

/// Of questions about the newest events: how many events each has found, and how many reads that took.
fn costs(events: u64) -> Vec<(&'static str, u64, u64)> {
    let (ledger, engine) = vault(events);
    let (reader, last) = (ledger.reader(), events);
    let cost = |name: &'static str, question: &dyn Fn() -> u64| {
        let reads = &engine.hooks.0;
        reads.store(0, Ordering::SeqCst);
        let found = question();
        (name, found, reads.load(Ordering::SeqCst))
    };
    vec![
        cost("ancestors", &|| {
            walk(&reader, last, Relation::Ancestors, WALKED)
        }),
        cost("descendants", &|| {
            walk(&reader, last - 600, Relation::Descendants, WALKED)
        }),
        cost("difference", &|| difference(&reader, last - 1, last)),
        cost("common ancestors", &|| common(&reader, last - 1, last)),
        cost("heads", &|| heads(&reader, AGENTS as usize / 2)),
    ]
}

#[test]
fn questions_about_the_newest_events_read_as_much_in_a_vault_ten_times_as_large() {
    let [small, large] = EVENTS.map(costs);
    assert_eq!(small, large);
    let found: Vec<_> = small.iter().map(|(_, found, _)| *found).collect();
    assert_eq!(found, [200, 200, 8, 1, 8]);
    for (name, found, reads) in small {
        assert!(reads >= found, "{name}: {reads} reads");
    }
}
