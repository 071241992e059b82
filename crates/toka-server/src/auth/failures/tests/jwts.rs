//! JWTs that are shown where too much was not good.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use tempfile::TempDir;
use toka_auth::{Role, StoredToken, TokenId};
use toka_ledger::seam::Clock;

use super::super::super::account::Accounts;
use super::super::super::bindings::Bindings;
use super::super::super::denials::Traced;
use super::super::super::directory::{Directory, RootOnly};
use super::super::super::signed::{self, EXPIRES_UNIX_MS, NOW_UNIX_MS, OTHER, ROBOT};
use super::*;

const GET: &str = "/toka.vault.v1.VaultService/Get";

#[derive(Debug)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn unix_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The built-in roles, which may come to grant nothing.
#[derive(Debug, Default)]
struct Roles {
    are_empty: AtomicBool,
}

impl Directory for Roles {
    fn token(&self, _: TokenId) -> Option<StoredToken> {
        None
    }

    fn role(&self, name: &str) -> Option<Role> {
        let mut role = RootOnly.role(name)?;
        if self.are_empty.load(Ordering::Relaxed) {
            role.grants.clear();
        }
        Some(role)
    }
}

/// A node that takes the JWTs of an issuer, and one address.
struct Node {
    guard: Guard,
    clock: Arc<Hand>,
    roles: Arc<Roles>,
    _keys: TempDir,
}

impl Node {
    fn new() -> Self {
        let (keys, trusted) = signed::trusted();
        let clock = Arc::new(Hand(AtomicU64::new(NOW_UNIX_MS)));
        let roles = Arc::new(Roles::default());
        let guard = Guard {
            directory: roles.clone(),
            root: None,
            issuer: Some(Arc::new(trusted)),
            certificate_roles: Arc::new(Bindings::new(BTreeMap::new(), None)),
            accounts: Accounts::default(),
            failures: Failures::new(1, Throttled::default()),
            denials: Arc::new(Traced::default()),
            clock: clock.clone(),
        };
        Self {
            guard,
            clock,
            roles,
            _keys: keys,
        }
    }

    /// What a call from there is answered that shows the token.
    fn call(&self, jwt: &str) -> Code {
        let mut headers = HeaderMap::new();
        let bearer = format!("Bearer {jwt}").parse().expect("a value");
        headers.insert(AUTHORIZATION, bearer);
        let admitted = self.guard.admit_from(Some(v4(1)), GET, &headers, None);
        admitted.map_or_else(|status| status.code(), |_| Code::Ok)
    }

    /// So many that it takes half a minute until there is room again.
    fn hold_up(&self) {
        for _ in 0..40 {
            self.guard.failures.count(v4(1), Instant::now());
        }
    }
}

#[test]
fn jwt_that_was_found_good_is_let_in_where_too_much_was_not() {
    let node = Node::new();
    assert_eq!(node.call(ROBOT), Code::Ok);
    node.hold_up();
    assert_eq!(node.call(ROBOT), Code::Ok);
}

#[test]
fn jwt_that_is_new_there_is_not_looked_at() {
    let node = Node::new();
    assert_eq!(node.call(ROBOT), Code::Ok);
    node.hold_up();
    assert_eq!(node.call(OTHER), Code::ResourceExhausted);
}

#[test]
fn forged_jwt_is_not_let_in_with_the_one_that_it_is_made_of() {
    let node = Node::new();
    assert_eq!(node.call(ROBOT), Code::Ok);
    assert_eq!(node.call(OTHER), Code::Ok);
    node.hold_up();
    assert_eq!(node.call(&signed::forged()), Code::ResourceExhausted);
}

#[test]
fn jwt_that_has_ended_is_no_longer_let_in_there() {
    let node = Node::new();
    assert_eq!(node.call(ROBOT), Code::Ok);
    node.hold_up();
    node.clock.0.store(EXPIRES_UNIX_MS, Ordering::Relaxed);
    assert_eq!(node.call(ROBOT), Code::ResourceExhausted);
}

#[test]
fn jwt_that_was_found_good_and_has_ended_counts_as_one_that_is_not_good() {
    let node = Node::new();
    assert_eq!(node.call(ROBOT), Code::Ok);
    node.clock.0.store(EXPIRES_UNIX_MS, Ordering::Relaxed);
    assert_eq!(node.call(ROBOT), Code::Unauthenticated);
    let known = node.guard.failures.known.lock().expect("sound");
    assert!(known.by_network.contains_key(&v4(1)));
}

#[test]
fn roles_of_a_jwt_are_looked_up_with_each_call() {
    let node = Node::new();
    assert_eq!(node.call(ROBOT), Code::Ok);
    node.roles.are_empty.store(true, Ordering::Relaxed);
    assert_eq!(node.call(ROBOT), Code::PermissionDenied);
}
