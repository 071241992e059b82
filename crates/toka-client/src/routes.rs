//! Which node a call goes to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use toka_proto::convert::metadata::{self, Leader};
use tokio::time::{Duration, Instant};
use tonic::metadata::MetadataMap;

/// Who a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The leader, if it is known.
    Leader,
    /// Any node; the same one until it fails.
    Any,
}

/// Endpoints that are learned: more than a cluster has members.
const LEARNED_MAX: usize = 64;

/// Endpoints, and what replies and failures have taught about them.
#[derive(Debug)]
pub(crate) struct Routes {
    /// As given. They come before those that are learned, which may mean nothing to this client: behind a
    /// load balancer members have addresses of their own.
    endpoints: Vec<String>,
    leader_avoid: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Index of the endpoint in use, among those given and then those learned.
    current: usize,
    /// Members of the cluster that were not given.
    learned: Vec<String>,
    /// What they were learned from,
    members: String,
    /// and when a reply has said so last.
    members_at: Instant,
    leader: Option<Leader>,
    /// Learned addresses that could not be reached, and until when they are not used. A follower
    /// may go on naming a leader that is dead, or one whose address means nothing to this client.
    avoided: BTreeMap<String, Instant>,
}

impl Routes {
    /// `start` spreads clients over the endpoints. There is at least one endpoint.
    pub(crate) fn new(endpoints: Vec<String>, start: u32, leader_avoid: Duration) -> Self {
        let current = start as usize % endpoints.len();
        let state = State {
            current,
            learned: Vec::new(),
            members: String::new(),
            members_at: Instant::now(),
            leader: None,
            avoided: BTreeMap::new(),
        };
        Self {
            endpoints,
            leader_avoid,
            state: Mutex::new(state),
        }
    }

    pub(crate) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// How many endpoints there are to try.
    pub(crate) fn known(&self) -> usize {
        self.endpoints.len() + self.lock().learned.len()
    }

    /// Whether there is no endpoint to try but these.
    pub(crate) fn are_all_among(&self, these: &BTreeSet<String>) -> bool {
        let state = self.lock();
        let mut all = self.endpoints.iter().chain(&state.learned);
        all.all(|endpoint| these.contains(endpoint))
    }

    pub(crate) fn leader(&self) -> Option<Leader> {
        self.lock().leader.clone()
    }

    /// The endpoint for the next try.
    pub(crate) fn pick(&self, route: Route) -> String {
        let state = self.lock();
        match (route, &state.leader) {
            (Route::Leader, Some(leader)) => leader.endpoint.clone(),
            _ => self.at(&state, state.current).to_owned(),
        }
    }

    /// Whether no reply has named the members for `time`; if so, it is time to ask, for whoever is told
    /// first.
    pub(crate) fn are_members_stale(&self, time: Duration) -> bool {
        let mut state = self.lock();
        let is_stale = state.members_at.elapsed() >= time;
        if is_stale {
            state.members_at = Instant::now();
        }
        is_stale
    }

    fn at<'a>(&'a self, state: &'a State, index: usize) -> &'a str {
        let learned = index.checked_sub(self.endpoints.len());
        learned.map_or_else(|| &*self.endpoints[index], |index| &*state.learned[index])
    }

    /// A reply named the leader, and the members.
    pub(crate) fn learn_from(&self, metadata: &MetadataMap) {
        if let Some((node_id, endpoint)) = metadata::leader_named(metadata)
            && !self.is_leader(node_id, endpoint)
        {
            let endpoint = endpoint.to_owned();
            self.learn(Leader { node_id, endpoint });
        }
        if let Some(members) = metadata::member_endpoints(metadata) {
            self.learn_members(members);
        }
    }

    /// Whether the leader is known to be this one, as nearly every reply says.
    fn is_leader(&self, node_id: u64, endpoint: &str) -> bool {
        let state = self.lock();
        let is_this = |leader: &Leader| leader.node_id == node_id && leader.endpoint == endpoint;
        state.leader.as_ref().is_some_and(is_this)
    }

    fn learn_members(&self, members: &str) {
        let mut state = self.lock();
        state.members_at = Instant::now();
        if state.members == members {
            return;
        }
        members.clone_into(&mut state.members);
        let current = self.at(&state, state.current).to_owned();
        let new = members.split(',').filter(|member| !member.is_empty());
        let new = new.filter(|member| !self.endpoints.iter().any(|given| given == member));
        state.learned = new.take(LEARNED_MAX).map(str::to_owned).collect();
        tracing::debug!(members, "members learned");
        let mut all = 0..self.endpoints.len() + state.learned.len();
        // A member that was removed is left.
        state.current = all
            .find(|index| self.at(&state, *index) == current)
            .unwrap_or(0);
    }

    /// A reply named the leader.
    pub(crate) fn learn(&self, leader: Leader) {
        let mut state = self.lock();
        if let Some(until) = state.avoided.get(&leader.endpoint) {
            if *until > Instant::now() {
                return;
            }
            state.avoided.remove(&leader.endpoint);
        }
        if state.leader.as_ref() != Some(&leader) {
            tracing::debug!(
                node_id = leader.node_id,
                endpoint = leader.endpoint,
                "leader learned"
            );
            state.leader = Some(leader);
        }
    }

    /// A node cannot serve: the leader is forgotten, and any call goes to the next endpoint.
    /// `unreachable`: it did not answer at all.
    pub(crate) fn fail(&self, endpoint: &str, unreachable: bool) {
        let mut state = self.lock();
        let led = |leader: &Leader| leader.endpoint == endpoint;
        let was_leader = state.leader.as_ref().is_some_and(led);
        if was_leader {
            state.leader = None;
        }
        let is_learned = state.learned.iter().any(|learned| learned == endpoint);
        if unreachable && (was_leader || is_learned) {
            let now = Instant::now();
            state.avoided.retain(|_, until| *until > now);
            state
                .avoided
                .insert(endpoint.to_owned(), now + self.leader_avoid);
        }
        // Of many calls that fail at once only the first one moves on.
        if self.at(&state, state.current) == endpoint {
            state.current = self.after(&state);
        }
    }

    /// Index of the endpoint to use after the current one. Those that were given are always tried.
    fn after(&self, state: &State) -> usize {
        let all = self.endpoints.len() + state.learned.len();
        let now = Instant::now();
        let is_avoided = |index: usize| {
            index >= self.endpoints.len()
                && state
                    .avoided
                    .get(self.at(state, index))
                    .is_some_and(|until| *until > now)
        };
        let mut next = (1..=all).map(|step| (state.current + step) % all);
        next.find(|index| !is_avoided(*index)).unwrap_or(0)
    }

    // Nothing panics while the lock is held, so a poisoned one guards a sound state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes() -> Routes {
        Routes::new(
            vec!["a:1".to_owned(), "b:1".to_owned()],
            0,
            Duration::from_secs(5),
        )
    }

    fn leader(endpoint: &str) -> Leader {
        Leader {
            node_id: 1,
            endpoint: endpoint.to_owned(),
        }
    }

    #[test]
    fn commits_go_to_the_leader_and_reads_stay_where_they_are() {
        let routes = routes();
        assert_eq!(routes.pick(Route::Leader), "a:1");
        routes.learn(leader("c:1"));
        assert_eq!(routes.pick(Route::Leader), "c:1");
        assert_eq!(routes.pick(Route::Any), "a:1");
    }

    #[test]
    fn leader_that_a_reply_names_is_learned_and_so_is_the_next_one_at_its_address() {
        let routes = routes();
        for node_id in [1, 1, 2] {
            let named = Leader {
                node_id,
                endpoint: "c:1".to_owned(),
            };
            let mut head = MetadataMap::new();
            metadata::put_leader(&mut head, Some(&named));
            routes.learn_from(&head);
            assert_eq!(routes.leader(), Some(named));
        }
    }

    #[test]
    fn failures_of_one_node_at_once_move_on_once() {
        let routes = routes();
        routes.fail("a:1", true);
        routes.fail("a:1", true);
        assert_eq!(routes.pick(Route::Any), "b:1");
    }

    #[test]
    fn unreachable_leader_is_avoided_for_a_while() {
        for (avoid, named_again) in [(Duration::from_secs(60), "a:1"), (Duration::ZERO, "c:1")] {
            let routes = Routes::new(vec!["a:1".to_owned()], 0, avoid);
            routes.learn(leader("c:1"));
            routes.fail("c:1", true);
            assert_eq!(routes.pick(Route::Leader), "a:1");
            routes.learn(leader("c:1"));
            assert_eq!(routes.pick(Route::Leader), named_again);
        }
    }

    #[test]
    fn leader_that_stepped_down_is_not_avoided() {
        let routes = routes();
        routes.learn(leader("c:1"));
        routes.fail("c:1", false);
        assert_eq!(routes.leader(), None);
        routes.learn(leader("c:1"));
        assert_eq!(routes.leader(), Some(leader("c:1")));
    }

    #[test]
    fn members_are_learned_and_used_once_the_given_ones_fail() {
        let routes = routes();
        routes.learn_members("a:1,c:1");
        assert_eq!(routes.known(), 3);
        assert_eq!(routes.pick(Route::Any), "a:1");
        routes.fail("a:1", true);
        routes.fail("b:1", true);
        assert_eq!(routes.pick(Route::Any), "c:1");
        routes.learn_members("c:1,d:1");
        assert_eq!(routes.pick(Route::Any), "c:1");
        routes.learn_members("d:1");
        assert_eq!(routes.pick(Route::Any), "a:1", "c was removed");
    }

    #[test]
    fn learned_member_that_cannot_be_reached_is_avoided_for_a_while() {
        let routes = Routes::new(vec!["a:1".to_owned()], 0, Duration::from_secs(60));
        routes.learn_members("x:1,y:1");
        for endpoint in ["a:1", "x:1", "y:1", "a:1"] {
            assert_eq!(routes.pick(Route::Any), endpoint);
            routes.fail(endpoint, true);
        }
        assert_eq!(
            routes.pick(Route::Any),
            "a:1",
            "the others cannot be reached"
        );
    }
}
