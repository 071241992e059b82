use std::collections::BTreeMap;

use toka_auth::{Limits, Role, Secret, SecretHash, TokenId};
use toka_ledger::seam::Seams;
use toka_proto::convert::status::{Detail, parse};
use tonic::Code;

use super::super::denials::Traced;
use super::super::directory::RootOnly;
use super::super::table::REQUIREMENTS;
use super::super::throttled::Throttled;
use super::*;

#[derive(Debug)]
struct Fixed;

impl Directory for Fixed {
    fn token(&self, id: TokenId) -> Option<StoredToken> {
        let past = Some(1);
        let (roles, expires_unix_ms, revoked_unix_ms): (&[&str], _, _) = match id.0 {
            1 => (&["reader"], None, None),
            2 => (&["reader"], past, None),
            3 => (&["reader"], None, past),
            4 => (&["tasks", "gone"], None, None),
            5 => (&["admin"], None, None),
            6 => (&["writer"], None, None),
            7 => (&["head of tasks"], None, None),
            _ => return None,
        };
        Some(StoredToken {
            roles: roles.iter().map(ToString::to_string).collect(),
            expires_unix_ms,
            revoked_unix_ms,
            ..stored(id.0)
        })
    }

    fn role(&self, name: &str) -> Option<Role> {
        match name {
            "tasks" => Some(Role {
                name: name.to_owned(),
                grants: vec![
                    "write:task.".parse().expect("a grant"),
                    "read:task.".parse().expect("a grant"),
                ],
            }),
            "head of tasks" => Some(Role {
                name: name.to_owned(),
                grants: vec!["admin:task.".parse().expect("a grant")],
            }),
            name => RootOnly.role(name),
        }
    }
}

fn stored(id: u64) -> StoredToken {
    StoredToken {
        id: TokenId(id),
        name: format!("principal-{id}"),
        secret: SecretHash::new([1; 16], &secret()),
        previous: None,
        roles: Vec::new(),
        grants: Vec::new(),
        limits: Limits::default(),
        created_unix_ms: 0,
        expires_unix_ms: None,
        revoked_unix_ms: None,
    }
}

fn secret() -> Secret {
    Secret::from_random([7; 32])
}

/// The role of those who show a certificate of that name.
fn bound(name: &str, role: &str) -> Arc<Bindings> {
    let roles = BTreeMap::from([(name.to_owned(), vec![role.to_owned()])]);
    Arc::new(Bindings::new(roles, None))
}

fn guard() -> Guard {
    Guard {
        directory: Arc::new(Fixed),
        root: None,
        issuer: None,
        certificate_roles: bound("robot.test", "tasks"),
        accounts: Accounts::default(),
        failures: Failures::default(),
        denials: Arc::new(Traced::default()),
        clock: Seams::system().clock,
    }
}

fn bearer(id: u64, secret: Secret) -> HeaderMap {
    let token = Token {
        id: TokenId(id),
        secret,
    };
    let mut headers = HeaderMap::new();
    let value = format!("Bearer {}", token.reveal().as_str());
    headers.insert("authorization", value.parse().expect("a value"));
    headers
}

fn call(path: &str, id: u64) -> Result<Access, Status> {
    guard().admit(path, &bearer(id, secret()), None)
}

const GET: &str = "/toka.vault.v1.VaultService/Get";
const COMMIT: &str = "/toka.vault.v1.VaultService/Commit";

#[test]
fn every_rpc_but_the_public_ones_refuses_who_shows_nothing() {
    for (method, requirement) in REQUIREMENTS {
        let path = format!("/{method}");
        let admitted = guard().admit(&path, &HeaderMap::new(), None);
        match requirement {
            Requirement::Public | Requirement::Optional => assert!(admitted.is_ok(), "{method}"),
            _ => {
                let refused = admitted.expect_err(method);
                assert_eq!(refused.code(), Code::Unauthenticated, "{method}");
            }
        }
    }
}

#[test]
fn every_rpc_but_the_public_ones_refuses_bad_tokens() {
    for (method, requirement) in REQUIREMENTS {
        if *requirement == Requirement::Public {
            continue;
        }
        let path = format!("/{method}");
        let other = Secret::from_random([8; 32]);
        for headers in [
            bearer(1, other),
            bearer(2, secret()),
            bearer(3, secret()),
            bearer(99, secret()),
        ] {
            let refused = guard().admit(&path, &headers, None).expect_err(method);
            assert_eq!(refused.code(), Code::Unauthenticated, "{method}");
        }
    }
}

#[test]
fn unknown_token_and_wrong_secret_are_told_alike() {
    let unknown = call(GET, 99).expect_err("unknown");
    let wrong = guard().admit(GET, &bearer(1, Secret::from_random([8; 32])), None);
    assert_eq!(unknown.message(), wrong.expect_err("wrong").message());
}

#[test]
fn method_that_is_not_in_the_table_is_refused_to_everybody() {
    let refused = call("/toka.vault.v1.VaultService/Other", 5).expect_err("not listed");
    assert_eq!(refused.code(), Code::PermissionDenied);
    let nobody = guard().admit("/x.Y/Z", &HeaderMap::new(), None);
    assert_eq!(nobody.expect_err("no one").code(), Code::Unauthenticated);
}

#[test]
fn roles_decide_what_is_called() {
    assert!(call(GET, 1).is_ok());
    let refused = call(COMMIT, 1).expect_err("a reader");
    assert_eq!(refused.code(), Code::PermissionDenied);
    let missing = "write".to_owned();
    assert_eq!(
        parse(&refused).detail,
        Some(Detail::PermissionDenied { missing })
    );
    assert!(call(COMMIT, 6).is_ok());
    assert!(call("/toka.vault.v1.ClusterService/RemoveNode", 6).is_err());
    assert!(call("/toka.vault.v1.ClusterService/RemoveNode", 5).is_ok());
    // Only nodes say that to each other, and no token makes one.
    assert!(call("/toka.raft.v1.RaftService/Vote", 5).is_err());
}

#[test]
fn narrow_role_is_not_enough_for_what_concerns_all_kinds() {
    assert!(call(COMMIT, 4).is_ok());
    for method in ["ClassifyVector", "LabelIntent"] {
        let path = format!("/toka.vault.v1.IntentService/{method}");
        let refused = call(&path, 4).expect_err(method);
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(call(&path, 6).is_ok(), "{method}");
    }
}

#[test]
fn administrator_of_some_kinds_administers_no_vault() {
    for (method, requirement) in REQUIREMENTS {
        if matches!(requirement, Requirement::Admin | Requirement::Node) {
            let refused = call(&format!("/{method}"), 7).expect_err(method);
            assert_eq!(refused.code(), Code::PermissionDenied, "{method}");
        }
    }
    let access = call(COMMIT, 7).expect("a writer of tasks");
    assert!(access.sees("task.new"));
    assert!(!access.sees("toka.audit.token.created"));
}

#[test]
fn name_of_a_method_that_there_is_not_is_told_to_nobody() {
    let path = format!("/{}", "x".repeat(10_000));
    let refused = call(&path, 5).expect_err("not listed");
    assert!(!refused.message().contains("xx"), "{refused:?}");
}

#[test]
fn certificate_gives_the_roles_of_its_first_bound_name() {
    let peer = |names: &[&str], is_node| PeerIdentity {
        names: names.iter().map(ToString::to_string).collect(),
        is_node,
    };
    let none = HeaderMap::new();
    let robot = peer(&["other.test", "robot.test"], false);
    let access = guard().admit(COMMIT, &none, Some(&robot)).expect("bound");
    assert_eq!(access.on_behalf_of(), Some("robot.test"));
    let unbound = peer(&["other.test"], false);
    let refused = guard().admit(COMMIT, &none, Some(&unbound));
    assert_eq!(refused.expect_err("unbound").code(), Code::PermissionDenied);
    let node = peer(&["node.test"], true);
    let add = "/toka.vault.v1.ClusterService/AddNode";
    assert!(guard().admit(add, &none, Some(&node)).is_ok());
}

fn robot() -> PeerIdentity {
    PeerIdentity {
        names: vec!["robot.test".to_owned()],
        is_node: false,
    }
}

#[test]
fn certificate_has_the_roles_that_are_bound_to_it_by_now() {
    let guard = guard();
    let call = || guard.admit(COMMIT, &HeaderMap::new(), Some(&robot()));
    assert!(call().is_ok());
    guard.certificate_roles.take(BTreeMap::new());
    let refused = call().expect_err("bound no more");
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[test]
fn call_that_goes_on_has_no_grants_of_a_role_that_its_certificate_lost() {
    let guard = guard();
    let access = guard.admit(COMMIT, &HeaderMap::new(), Some(&robot()));
    let access = access.expect("bound");
    let principal = access.principal().expect("known");
    assert_eq!(
        guard.grants_now(principal).as_ref(),
        Some(&principal.grants)
    );
    guard.certificate_roles.take(BTreeMap::new());
    assert_eq!(guard.grants_now(principal), Some(Vec::new()));
}

#[test]
fn root_token_is_that_of_the_configuration() {
    let root = StoredToken {
        grants: vec![Grant::of_all(Action::Admin)],
        ..stored(9)
    };
    let guard = Guard {
        root: Some(root),
        ..guard()
    };
    let verify = "/toka.vault.v1.ClusterService/Verify";
    assert!(guard.admit(verify, &bearer(9, secret()), None).is_ok());
    let wrong = bearer(9, Secret::from_random([8; 32]));
    assert!(guard.admit(verify, &wrong, None).is_err());
}

#[test]
fn jwt_without_an_issuer_is_refused() {
    let mut headers = HeaderMap::new();
    headers.insert(
        "authorization",
        "Bearer e30.e30.e30".parse().expect("a value"),
    );
    let refused = guard().admit(GET, &headers, None).expect_err("no issuer");
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[test]
fn who_calls_too_often_is_throttled() {
    let limits = Limits {
        requests_per_second: Some(1),
        ..Limits::default()
    };
    let guard = Guard {
        accounts: Accounts::new(limits, None, Throttled::default()),
        ..guard()
    };
    let headers = bearer(1, secret());
    assert!(guard.admit(GET, &headers, None).is_ok());
    let refused = guard.admit(GET, &headers, None).expect_err("too often");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(parse(&refused).retry_after.is_some());
}
