//! Which node a call goes to.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use toka_proto::convert::metadata::Leader;
use tokio::time::{Duration, Instant};

/// Who a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The leader, if it is known.
    Leader,
    /// Any node; the same one until it fails.
    Any,
}

/// Endpoints, and what replies and failures have taught about them.
#[derive(Debug)]
pub(crate) struct Routes {
    endpoints: Vec<String>,
    leader_avoid: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Index of the endpoint in use.
    current: usize,
    leader: Option<Leader>,
    /// Leaders' addresses that could not be reached, and until when they are not used. A follower
    /// may go on naming a leader that is dead, or one whose address means nothing to this client.
    avoided: BTreeMap<String, Instant>,
}

impl Routes {
    /// `start` spreads clients over the endpoints. There is at least one endpoint.
    pub(crate) fn new(endpoints: Vec<String>, start: u32, leader_avoid: Duration) -> Self {
        let current = start as usize % endpoints.len();
        let state = State {
            current,
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

    pub(crate) fn leader(&self) -> Option<Leader> {
        self.lock().leader.clone()
    }

    /// The endpoint for the next try.
    pub(crate) fn pick(&self, route: Route) -> String {
        let state = self.lock();
        match (route, &state.leader) {
            (Route::Leader, Some(leader)) => leader.endpoint.clone(),
            _ => self.endpoints[state.current].clone(),
        }
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
        if state
            .leader
            .as_ref()
            .is_some_and(|leader| leader.endpoint == endpoint)
        {
            state.leader = None;
            if unreachable {
                let now = Instant::now();
                state.avoided.retain(|_, until| *until > now);
                state
                    .avoided
                    .insert(endpoint.to_owned(), now + self.leader_avoid);
            }
        }
        // Of many calls that fail at once only the first one moves on.
        if self.endpoints[state.current] == endpoint {
            state.current = (state.current + 1) % self.endpoints.len();
        }
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
}
