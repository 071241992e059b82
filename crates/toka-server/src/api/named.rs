//! Events that a commit names, and groups that a request works on: those that the caller does not see are not there.

use std::collections::BTreeSet;
use std::sync::Arc;

use toka_ledger::command::{COORDINATION_LEVEL, FEATURE_LEVEL_MIN, ParentName};
use toka_ledger::core::limits::{BATCH_EVENTS_MAX, PARENTS_MAX, PRECONDITIONS_MAX};
use toka_ledger::{Error, GroupName, Reader, Rejection, Selector, Violation};
use toka_proto::convert::status;
use toka_proto::v1;
use toka_proto::v1::precondition::Condition;
use toka_raft::Consistency;
use tokio::time::Instant;
use tonic::Status;

use super::Shared;
use crate::auth::Access;
use crate::refusal;
use crate::routing::Call;

impl Shared {
    /// Refuses a commit whose parents, or those in its conditions, are not there, or are not for the caller to name: by one
    /// rule and with one answer, so that whoever guesses an event cannot find out in this way whether it was committed.
    /// Who sees all kinds is left to the commit itself: audit events cannot be guessed. On the leader, which has
    /// everything that was acknowledged.
    pub(super) async fn check_parents(
        &self,
        access: &Access,
        deadline: Instant,
        events: &[v1::NewEvent],
        preconditions: &[v1::Precondition],
    ) -> Result<(), Status> {
        let unseen = self.unseen_parents(access, deadline, events, preconditions);
        match unseen.await? {
            Some(named) => self.check_named(access, deadline, &named).await,
            None => Ok(()),
        }
    }

    /// As [`Shared::check_parents`], but for events that are not there yet: what a commit names of which some are not is
    /// given back, to be checked when they may have come.
    pub(super) async fn unseen_parents(
        &self,
        access: &Access,
        deadline: Instant,
        events: &[v1::NewEvent],
        preconditions: &[v1::Precondition],
    ) -> Result<Option<Named>, Status> {
        if access.sees_all_kinds() || !is_in_bounds(events, preconditions) {
            return Ok(None);
        }
        self.check_acknowledged(access, deadline, preconditions)
            .await?;
        let (selectors, places) = named(events, preconditions);
        if selectors.is_empty() {
            return Ok(None);
        }
        let named = Named {
            selectors: Arc::new(selectors),
            places,
        };
        let unseen = self.first_unseen(access, deadline, &named).await?;
        Ok(unseen.map(|_| named))
    }

    /// The rest of [`Shared::check_parents`].
    pub(super) async fn check_named(
        &self,
        access: &Access,
        deadline: Instant,
        named: &Named,
    ) -> Result<(), Status> {
        let mut unseen = self.first_unseen(access, deadline, named).await?;
        if unseen.is_some() {
            // It may have come a moment ago.
            let barrier = self
                .replica
                .read_barrier(Consistency::Linearizable, deadline);
            barrier.await.map_err(|error| refusal::read(&error, 0))?;
            unseen = self.first_unseen(access, deadline, named).await?;
        }
        match unseen {
            Some((at, level)) => Err(status::rejection(&named.places[at].rejection(level))),
            None => Ok(()),
        }
    }

    async fn first_unseen(
        &self,
        access: &Access,
        deadline: Instant,
        named: &Named,
    ) -> Result<Option<(usize, u32)>, Status> {
        let (selectors, access) = (Arc::clone(&named.selectors), access.clone());
        let find = move |reader: &Reader| first_unseen(reader, &selectors, &access);
        self.read(deadline, find).await
    }

    /// Refuses work on a group that delivers what the caller does not see.
    pub(super) async fn check_group(&self, call: &Call, name: &str) -> Result<(), Status> {
        if call.access.sees_everything() {
            return Ok(());
        }
        let name = GroupName::new(name).map_err(|error| status::invalid(&error))?;
        self.check_groups(&call.access, call.deadline, BTreeSet::from([name]))
            .await
    }

    /// As [`Shared::check_group`], for the deliveries that a commit acknowledges: that is work on a group too.
    async fn check_acknowledged(
        &self,
        access: &Access,
        deadline: Instant,
        preconditions: &[v1::Precondition],
    ) -> Result<(), Status> {
        let names = acknowledged(preconditions);
        match names.is_empty() {
            true => Ok(()),
            false => self.check_groups(access, deadline, names).await,
        }
    }

    /// Groups that are not there are left to whoever is to work on them.
    async fn check_groups(
        &self,
        access: &Access,
        deadline: Instant,
        names: BTreeSet<GroupName>,
    ) -> Result<(), Status> {
        let names = Arc::new(names);
        let find = |names: Arc<BTreeSet<GroupName>>| {
            move |reader: &Reader| {
                let groups = names.iter().map(|name| reader.group(name));
                groups.collect::<Result<Vec<_>, Error>>()
            }
        };
        let mut groups = self.read(deadline, find(Arc::clone(&names))).await?;
        if groups.iter().any(Option::is_none) {
            // It may have come a moment ago, and another node may know it already.
            let barrier = self
                .replica
                .read_barrier(Consistency::Linearizable, deadline);
            barrier.await.map_err(|error| refusal::read(&error, 0))?;
            groups = self.read(deadline, find(names)).await?;
        }
        for group in groups.into_iter().flatten() {
            access.check_delivered(&group.settings.filter)?;
        }
        Ok(())
    }
}

/// Whether a commit has no more than it may have. One that has more is refused when it is prepared, and nothing is looked up
/// for it.
fn is_in_bounds(events: &[v1::NewEvent], preconditions: &[v1::Precondition]) -> bool {
    events.len() <= BATCH_EVENTS_MAX
        && preconditions.len() <= PRECONDITIONS_MAX
        && events
            .iter()
            .all(|event| event.parents.len() <= PARENTS_MAX)
}

/// The groups of which a commit acknowledges deliveries. Malformed names are left to whoever prepares the commit.
fn acknowledged(preconditions: &[v1::Precondition]) -> BTreeSet<GroupName> {
    let names = preconditions.iter().filter_map(|of| match &of.condition {
        Some(Condition::Acknowledge(of)) => GroupName::new(&of.group).ok(),
        _ => None,
    });
    names.collect()
}

/// The first of the events that is not there, or not for the caller to name, and the vault's feature level. Blocking.
fn first_unseen(
    reader: &Reader,
    selectors: &[Selector],
    access: &Access,
) -> Result<Option<(usize, u32)>, Error> {
    let headers = reader.headers(selectors)?;
    let at = headers.iter().position(|header| {
        let header = header.as_ref();
        header.is_none_or(|header| !access.may_name(header.kind.as_str()))
    });
    let Some(at) = at else { return Ok(None) };
    let level = reader
        .settings()?
        .map_or(FEATURE_LEVEL_MIN, |settings| settings.feature_level);
    Ok(Some((at, level)))
}

/// Events that a commit names.
pub(super) struct Named {
    selectors: Arc<Vec<Selector>>,
    /// One for each of them.
    places: Vec<Place>,
}

/// Who names an event.
struct Place {
    parent: ParentName,
    /// An event of the commit, or a precondition.
    by: By,
}

#[derive(Clone, Copy)]
enum By {
    Event(usize),
    Precondition(usize),
}

impl Place {
    /// What is said where the event is not there.
    fn rejection(&self, level: u32) -> Rejection {
        let parent = self.parent;
        match self.by {
            By::Event(event) => Rejection::UnknownParent { event, parent },
            By::Precondition(precondition) if level < COORDINATION_LEVEL => {
                Rejection::UnknownPreconditionParent {
                    precondition,
                    parent,
                }
            }
            By::Precondition(precondition) => Rejection::Preconditions {
                violations: vec![Violation::UnknownEvent {
                    precondition,
                    parent,
                }],
            },
        }
    }
}

/// The events that a commit names, and who names each. Malformed names are left to whoever prepares the commit.
fn named(
    events: &[v1::NewEvent],
    preconditions: &[v1::Precondition],
) -> (Vec<Selector>, Vec<Place>) {
    let of_events = events.iter().enumerate().flat_map(|(event, new)| {
        let parents = new.parents.iter();
        parents.map(move |parent| (parent, By::Event(event)))
    });
    let conditions = preconditions.iter().enumerate();
    let of_conditions = conditions.filter_map(|(at, of)| match &of.condition {
        Some(Condition::NoChild(of)) => Some((of.parent.as_ref()?, By::Precondition(at))),
        _ => None,
    });
    let (mut selectors, mut places) = (Vec::new(), Vec::new());
    for (parent, by) in of_events.chain(of_conditions) {
        let selector = match ParentName::try_from(parent.clone()) {
            Ok(ParentName::Id(id)) => (Selector::Id(id), ParentName::Id(id)),
            Ok(ParentName::Digest(digest)) => {
                (Selector::Digest(digest), ParentName::Digest(digest))
            }
            Ok(ParentName::Batch(_)) | Err(_) => continue,
        };
        let (selector, parent) = selector;
        selectors.push(selector);
        places.push(Place { parent, by });
    }
    (selectors, places)
}

#[cfg(test)]
mod tests {
    use toka_proto::v1::parent_name::Name;

    use super::*;

    #[test]
    fn every_group_of_which_a_commit_acknowledges_is_asked_for_once() {
        let acknowledge = |group: &str| v1::Precondition {
            condition: Some(Condition::Acknowledge(v1::AcknowledgeDelivery {
                group: group.to_owned(),
                ..Default::default()
            })),
        };
        let other = v1::Precondition { condition: None };
        let names = acknowledged(&[acknowledge("b"), other, acknowledge("a"), acknowledge("b")]);
        let names: Vec<_> = names.iter().map(GroupName::as_str).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn nothing_is_looked_up_for_a_commit_that_is_refused_anyway() {
        let events = |parents: usize| {
            [v1::NewEvent {
                parents: vec![v1::ParentName::default(); parents],
                ..Default::default()
            }]
        };
        assert!(is_in_bounds(&events(PARENTS_MAX), &[]));
        assert!(!is_in_bounds(&events(PARENTS_MAX + 1), &[]));
        let many = vec![v1::Precondition::default(); PRECONDITIONS_MAX + 1];
        assert!(!is_in_bounds(&[], &many));
    }

    #[test]
    fn every_event_that_a_commit_names_is_asked_for() {
        let parent = |name| v1::ParentName { name: Some(name) };
        let digest = Name::Digest(vec![7; 32].into());
        let event = v1::NewEvent {
            parents: vec![
                parent(Name::BatchIndex(0)),
                parent(digest.clone()),
                parent(Name::Id(vec![1].into())),
            ],
            ..Default::default()
        };
        let claim = v1::Precondition {
            condition: Some(Condition::NoChild(v1::NoChild {
                parent: Some(parent(digest)),
                ..Default::default()
            })),
        };
        let (selectors, places) = named(&[v1::NewEvent::default(), event], &[claim]);
        assert_eq!(selectors.len(), 2);
        let rejection = places[0].rejection(COORDINATION_LEVEL);
        assert!(matches!(
            rejection,
            Rejection::UnknownParent { event: 1, .. }
        ));
        let rejection = places[1].rejection(COORDINATION_LEVEL);
        assert!(matches!(rejection, Rejection::Preconditions { .. }));
        assert!(matches!(
            places[1].rejection(FEATURE_LEVEL_MIN),
            Rejection::UnknownPreconditionParent {
                precondition: 0,
                ..
            }
        ));
    }
}
