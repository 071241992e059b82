//! Lineage, of a cluster or an embedded vault.

use std::sync::Arc;

use anyhow::Result;
use futures::StreamExt as _;
use toka_ledger::read::PAGE_EVENTS_MAX;
use toka_ledger::read::lineage::{DifferenceQuery, Heads, Query, Relation, Relative};
use toka_ledger::{Error, EventHeader, Selector};

use super::embedded::failure as local_failure;
use super::{Include, Target, cluster, failure};
use crate::cli::Consistency;
use crate::failure::Failure;

/// How much of a lineage is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// Steps away from the event; `None`: any number.
    pub(crate) depth_max: Option<u32>,
    pub(crate) events_max: u32,
    /// Kinds of what comes; empty: every kind.
    pub(crate) kind_prefixes: Vec<String>,
    pub(crate) consistency: Consistency,
}

/// Events, and whether there may be more than the bounds admit.
pub(crate) type Bounded<T> = (Vec<T>, bool);

impl Target {
    /// The ancestors or descendants of an event, itself first.
    pub(crate) async fn walk(
        &self,
        event: Selector,
        relation: Relation,
        bounds: &Bounds,
    ) -> Result<Bounded<Relative>> {
        match self {
            Self::Cluster(remote) => {
                let lineage = toka_client::Lineage {
                    depth_max: bounds.depth_max.unwrap_or(0),
                    events_max: bounds.events_max,
                    kind_prefixes: bounds.kind_prefixes.clone(),
                    consistency: consistency(bounds.consistency),
                    ..toka_client::Lineage::of(event, relation)
                };
                remote_walk(remote.client().walk(&lineage).await).await
            }
            Self::Embedded(local) => {
                local.check_revision(bounds.consistency)?;
                let query = Query {
                    depth_max: bounds.depth_max.unwrap_or(u32::MAX),
                    events_max: bounds.events_max.into(),
                    kind_prefixes: bounds.kind_prefixes.clone(),
                    ..Query::new(event, relation)
                };
                let mut walk = local.reader().walk(&query).map_err(told)?;
                let mut relatives = Vec::new();
                while let Some(found) = walk.step().map_err(told)? {
                    relatives.extend(found);
                }
                Ok((relatives, !walk.is_complete()))
            }
        }
    }

    /// What `of` has in its history and `without` has not, newest first.
    pub(crate) async fn difference(
        &self,
        without: Selector,
        of: Selector,
        bounds: &Bounds,
    ) -> Result<Bounded<EventHeader>> {
        match self {
            Self::Cluster(remote) => {
                let difference = toka_client::Difference {
                    without,
                    of,
                    events_max: bounds.events_max,
                    kind_prefixes: bounds.kind_prefixes.clone(),
                    consistency: consistency(bounds.consistency),
                };
                remote_walk(remote.client().difference(&difference).await).await
            }
            Self::Embedded(local) => {
                local.check_revision(bounds.consistency)?;
                let query = DifferenceQuery {
                    without,
                    of,
                    until: u64::MAX,
                    events_max: bounds.events_max.into(),
                    kind_prefixes: bounds.kind_prefixes.clone(),
                };
                let mut difference = local.reader().difference(&query).map_err(told)?;
                let mut headers = Vec::new();
                while let Some(found) = difference.step().map_err(told)? {
                    headers.extend(found.into_iter().map(Arc::unwrap_or_clone));
                }
                Ok((headers, !difference.is_complete()))
            }
        }
    }

    /// The nearest common ancestors of two events, newest first.
    pub(crate) async fn common_ancestors(
        &self,
        first: Selector,
        second: Selector,
        seen: Consistency,
    ) -> Result<Bounded<EventHeader>> {
        match self {
            Self::Cluster(remote) => {
                let client = remote.client();
                let found = client.common_ancestors(&first, &second, consistency(seen));
                let found = found.await.map_err(failure)?;
                Ok((found.headers, !found.end.is_complete))
            }
            Self::Embedded(local) => {
                local.check_revision(seen)?;
                let search = local.reader().common_ancestors(&first, &second, u64::MAX);
                let mut search = search.map_err(told)?;
                let mut headers = Vec::new();
                while let Some(found) = search.step().map_err(told)? {
                    headers.extend(found.into_iter().map(Arc::unwrap_or_clone));
                }
                Ok((headers, !search.is_complete()))
            }
        }
    }

    /// The events without children, newest first.
    pub(crate) async fn heads(&self, bounds: &Bounds) -> Result<Bounded<EventHeader>> {
        // One more, to know whether there is one.
        let wanted = bounds.events_max as usize + 1;
        let mut headers = match self {
            Self::Cluster(remote) => {
                let prefixes = bounds.kind_prefixes.clone();
                let heads = remote
                    .client()
                    .heads_all(prefixes, consistency(bounds.consistency));
                let heads = heads.take(wanted).collect::<Vec<_>>().await;
                heads
                    .into_iter()
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(failure)?
            }
            Self::Embedded(local) => {
                local.check_revision(bounds.consistency)?;
                let mut heads = Heads {
                    as_of: u64::MAX,
                    from: u64::MAX,
                    kind_prefixes: bounds.kind_prefixes.clone(),
                    limit: wanted.min(PAGE_EVENTS_MAX),
                };
                let mut headers = Vec::new();
                loop {
                    let page = local.reader().heads(&heads).map_err(told)?;
                    headers.extend(page.headers.into_iter().map(Arc::unwrap_or_clone));
                    match page.next {
                        Some(next) if headers.len() < wanted => {
                            (heads.from, heads.as_of) = (next, page.as_of);
                        }
                        _ => break headers,
                    }
                }
            }
        };
        let has_more = headers.len() >= wanted;
        headers.truncate(bounds.events_max as usize);
        Ok((headers, has_more))
    }
}

/// All that a cluster's walk comes to.
async fn remote_walk<T: Send + 'static>(
    begun: Result<toka_client::Walk<T>, toka_client::Error>,
) -> Result<Bounded<T>> {
    let mut walk = begun.map_err(failure)?;
    let mut found = Vec::new();
    while let Some(next) = walk.next().await.map_err(failure)? {
        found.push(next);
    }
    let is_complete = walk.end().is_some_and(|end| end.is_complete);
    Ok((found, !is_complete))
}

fn consistency(of: Consistency) -> toka_client::Consistency {
    cluster::read(Include::default(), of).consistency
}

/// Gives what an embedded vault says of a lineage the exit code that it has of a cluster's.
fn told(error: Error) -> anyhow::Error {
    match error {
        Error::NotFound { name } => Failure::NotFound(format!("event {name}")).into(),
        Error::LineageLimit { .. } => Failure::Refused(error.to_string()).into(),
        other => local_failure(other),
    }
}
