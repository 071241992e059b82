//! Which events are wanted.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Reader;
use super::family::{Extent, Family};
use crate::core::{EventHeader, Filter};
use crate::error::Error;
use crate::intent::{IntentId, MicroClusterId};

/// A filter with the intents' micro-clusters as of some moment.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    filter: Filter,
    /// Every id under which the intents have events; `None`: intents do not matter.
    members: Option<BTreeSet<MicroClusterId>>,
    /// The descendants, and up to which sequence they are complete; `None`: they do not matter.
    family: Option<(Arc<Family>, u64)>,
}

impl Wanted {
    pub(super) const fn filter(&self) -> &Filter {
        &self.filter
    }

    pub(super) const fn members(&self) -> Option<&BTreeSet<MicroClusterId>> {
        self.members.as_ref()
    }

    pub(super) const fn family(&self) -> Option<&Arc<Family>> {
        match &self.family {
            Some((family, _)) => Some(family),
            None => None,
        }
    }

    /// Up to which sequence it can be said what matches.
    pub(super) fn complete(&self) -> u64 {
        self.family
            .as_ref()
            .map_or(u64::MAX, |(_, complete)| *complete)
    }

    pub(super) fn is_everything(&self) -> bool {
        self.filter == Filter::default()
    }

    pub(crate) fn matches(&self, header: &EventHeader) -> bool {
        self.filter.matches_header(header)
            && self.members.as_ref().is_none_or(|members| {
                header
                    .micro_cluster
                    .is_some_and(|micro| members.contains(&micro))
            })
            && self
                .family
                .as_ref()
                .is_none_or(|(family, _)| family.contains(header.sequence))
    }
}

impl Reader {
    /// The filter as of now, for events up to `until`, which is not above the head; for fewer of them if
    /// `go_on` says no before all descendants are known.
    pub(crate) fn wanted(
        &self,
        filter: &Filter,
        until: u64,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Wanted, Error> {
        let extent = Extent {
            until,
            enough: None,
        };
        self.wanted_in(filter, extent, go_on)
    }

    /// As [`Reader::wanted`]; of descendants as far as `extent` wants them.
    pub(super) fn wanted_in(
        &self,
        filter: &Filter,
        extent: Extent,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Wanted, Error> {
        let members = (!filter.intents.is_empty()).then(|| {
            let clusterer = self.clusterer();
            let intents = filter.intents.iter();
            clusterer.members(&intents.filter_map(|&of| clusterer.resolve(of)).collect())
        });
        let family = filter.descendants_of.as_ref();
        let family = family.map(|of| self.family_of(of, extent, go_on));
        Ok(Wanted {
            filter: filter.clone(),
            members,
            family: family.transpose()?,
        })
    }

    /// Puts successors in the place of the filter's intents that were retired, returns which, and drops
    /// from `headers`, which are the newest, those that are not wanted; all as of one moment.
    pub(crate) fn follow_intents(
        &self,
        filter: &mut Filter,
        headers: Option<&mut Vec<Arc<EventHeader>>>,
    ) -> Vec<(IntentId, IntentId)> {
        let clusterer = self.clusterer();
        let mut continued = Vec::new();
        let mut resolved = BTreeSet::new();
        for intent in &mut filter.intents {
            let Some(successor) = clusterer.resolve(*intent) else {
                continue;
            };
            if successor != *intent {
                continued.push((*intent, successor));
                *intent = successor;
            }
            resolved.insert(successor);
        }
        if let Some(headers) = headers {
            // One look-up for each event, not the whole grouping.
            headers.retain(|header| {
                let micro = header
                    .micro_cluster
                    .filter(|_| filter.matches_header(header));
                let intent = micro.and_then(|micro| clusterer.intent_of(micro));
                intent.is_some_and(|intent| resolved.contains(&intent))
            });
        }
        continued
    }
}
