//! Lineage: what an event comes from, and what came of it.

use std::sync::Arc;

use pyo3::prelude::*;
use toka_client::{Lineage, Relation, Relative};
use toka_ledger::VaultBus;
use toka_ledger::read::lineage::Query;

use crate::call::{Call, off_reactor};
use crate::error::Failure;
use crate::event::Event;
use crate::names;
use crate::vault::{Target, Vault};

/// Events of one walk, where nothing else is said.
const EVENTS: u32 = 1_000;
/// Events of one walk at most.
const EVENTS_MAX: u32 = 100_000;

/// What is related to an event, by depth: itself first, each with its depth, headers only.
#[pyfunction]
#[pyo3(signature = (vault, event, *, descendants=false, depth_max=None, limit=EVENTS, kinds=None, consistency=None))]
pub(crate) fn walk(
    vault: &Bound<'_, Vault>,
    event: Bound<'_, PyAny>,
    descendants: bool,
    depth_max: Option<u32>,
    limit: u32,
    kinds: Option<Vec<String>>,
    consistency: Option<Bound<'_, PyAny>>,
) -> Result<Call, Failure> {
    if !(1..=EVENTS_MAX).contains(&limit) {
        let message = format!("it must be between 1 and {EVENTS_MAX}");
        return Err(Failure::invalid("limit", message));
    }
    if depth_max == Some(0) {
        let message = "it must be 1 or more; without it every depth is walked";
        return Err(Failure::invalid("depth_max", message));
    }
    let target = vault.get().target()?;
    let relation = match descendants {
        true => Relation::Descendants,
        false => Relation::Ancestors,
    };
    let lineage = Lineage {
        depth_max: depth_max.unwrap_or(0),
        events_max: limit,
        kind_prefixes: kinds.unwrap_or_default(),
        consistency: names::consistency(consistency.as_ref())?,
        ..Lineage::of(names::selector(&event)?, relation)
    };
    Ok(Call::new(async move {
        let relatives = match target {
            Target::Cluster(client) => {
                let mut walk = client.walk(&lineage).await?;
                let mut relatives = Vec::new();
                while let Some(relative) = walk.next().await? {
                    relatives.push(relative);
                }
                relatives
            }
            Target::Embedded(bus) => off_reactor(move || walk_embedded(&bus, lineage)).await?,
        };
        let relatives = relatives.into_iter().map(|Relative { header, depth }| {
            let header = Arc::unwrap_or_clone(header);
            (Event::bare(header), depth)
        });
        Ok(relatives.collect::<Vec<_>>())
    }))
}

fn walk_embedded(bus: &VaultBus, lineage: Lineage) -> Result<Vec<Relative>, Failure> {
    let walk = bus.walk(&Query {
        depth_max: match lineage.depth_max {
            0 => u32::MAX,
            depth => depth,
        },
        events_max: lineage.events_max.into(),
        kind_prefixes: lineage.kind_prefixes,
        ..Query::new(lineage.event, lineage.relation)
    })?;
    Ok(walk.collect::<Result<Vec<_>, _>>()?)
}
