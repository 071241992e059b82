//! What a call that goes on rests on.
//!
//! A call is judged when it comes. A stream, or one that waits, would outlive what its caller has shown then: a token that is
//! revoked or expires, a role that is put anew, a key that its issuer has given up. So it is looked at again while the call goes
//! on, and where anything has changed the call ends, with a status that says to call again: that one is judged anew.

use std::pin::Pin;
use std::sync::Arc;

use toka_auth::Source;
use toka_auth::jwt::Keys;
use toka_proto::convert::status;
use tokio::time::sleep;
use tonic::Status;

use super::{Access, Guard};
use crate::limits::STANDING_INTERVAL;

/// Waits for the end of what a call rests on; comes to what its caller is told.
pub(super) type Lapse = Pin<Box<dyn Future<Output = Status> + Send>>;

/// What a call rests on. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    guard: Arc<Guard>,
    access: Access,
    /// The issuer's keys as of the call, where a JWT was shown.
    keys: Option<Arc<Keys>>,
}

impl Standing {
    /// `None`: the caller has shown nothing that ends before its connection does.
    pub(super) fn of(guard: &Arc<Guard>, access: &Access) -> Option<Self> {
        let keys = match access.principal()?.source {
            Source::Node | Source::Anonymous => return None,
            Source::Jwt => guard.issuer().map(|issuer| issuer.keys()),
            Source::Token(_) | Source::Certificate => None,
        };
        Some(Self {
            guard: Arc::clone(guard),
            access: access.clone(),
            keys,
        })
    }

    /// Whether the caller may do what it might when it called, and no more.
    fn holds(&self) -> bool {
        let Some(principal) = self.access.principal() else {
            return true;
        };
        let keys = self.keys.as_ref();
        let are_keys_same = keys.is_none_or(|keys| {
            let now = self.guard.issuer().map(|issuer| issuer.keys());
            now.is_some_and(|now| Arc::ptr_eq(&now, keys))
        });
        are_keys_same && self.guard.grants_now(principal).as_ref() == Some(&principal.grants)
    }

    /// Looks at it now and then, until it does not hold.
    pub(super) fn lapse(&self) -> Lapse {
        let standing = self.clone();
        Box::pin(async move {
            loop {
                sleep(STANDING_INTERVAL).await;
                if !standing.holds() {
                    return status::no_leader(
                        "what this call has shown of its caller counts no longer, or allows something else by now; call again",
                    );
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use toka_auth::{Grant, Limits, Role, Secret, SecretHash, StoredToken, Token, TokenId};
    use toka_ledger::seam::Seams;
    use tonic::codegen::http::HeaderMap;

    use super::super::account::Accounts;
    use super::super::bindings::Bindings;
    use super::super::denials::Traced;
    use super::super::directory::Directory;
    use super::super::failures::Failures;
    use super::*;

    /// One token with one role, whose grant can be changed.
    #[derive(Debug)]
    struct Changing {
        token: Mutex<Option<StoredToken>>,
        grant: Mutex<&'static str>,
    }

    impl Directory for Changing {
        fn token(&self, _: TokenId) -> Option<StoredToken> {
            self.token.lock().expect("not poisoned").clone()
        }

        fn role(&self, name: &str) -> Option<Role> {
            let grant: Grant = self.grant.lock().expect("not poisoned").parse().ok()?;
            Some(Role {
                name: name.to_owned(),
                grants: vec![grant],
            })
        }
    }

    fn secret() -> Secret {
        Secret::from_random([7; 32])
    }

    fn stored() -> StoredToken {
        StoredToken {
            id: TokenId(1),
            name: "robot".to_owned(),
            secret: SecretHash::new([1; 16], &secret()),
            previous: None,
            roles: vec!["role".to_owned()],
            grants: Vec::new(),
            limits: Limits::default(),
            created_unix_ms: 0,
            expires_unix_ms: None,
            revoked_unix_ms: None,
        }
    }

    /// A call that goes on, and what it rests on.
    fn standing() -> (Arc<Changing>, Standing) {
        let directory = Arc::new(Changing {
            token: Mutex::new(Some(stored())),
            grant: Mutex::new("read"),
        });
        let guard = Arc::new(Guard {
            directory: Arc::<Changing>::clone(&directory),
            root: None,
            issuer: None,
            certificate_roles: Arc::new(Bindings::new(BTreeMap::new(), None)),
            accounts: Accounts::default(),
            failures: Failures::default(),
            denials: Arc::new(Traced::default()),
            clock: Seams::system().clock,
        });
        let token = Token {
            id: TokenId(1),
            secret: secret(),
        };
        let mut headers = HeaderMap::new();
        let shown = format!("Bearer {}", token.reveal().as_str());
        headers.insert("authorization", shown.parse().expect("a value"));
        let access = guard.admit("/toka.vault.v1.VaultService/Subscribe", &headers, None);
        let standing = Standing::of(&guard, &access.expect("let in"));
        (directory, standing.expect("it may end"))
    }

    fn change(directory: &Changing, change: impl FnOnce(&mut StoredToken)) {
        let mut token = directory.token.lock().expect("not poisoned");
        change(token.as_mut().expect("there is one"));
    }

    #[test]
    fn call_rests_on_its_token() {
        let (directory, standing) = standing();
        assert!(standing.holds());
        change(&directory, |token| token.expires_unix_ms = Some(u64::MAX));
        assert!(standing.holds());
        change(&directory, |token| token.expires_unix_ms = Some(1));
        assert!(!standing.holds());
    }

    #[test]
    fn revoked_token_and_one_that_is_forgotten_carry_nothing() {
        let (directory, standing) = standing();
        change(&directory, |token| token.revoked_unix_ms = Some(1));
        assert!(!standing.holds());
        *directory.token.lock().expect("not poisoned") = None;
        assert!(!standing.holds());
    }

    #[test]
    fn role_that_grants_something_else_ends_the_call() {
        let (directory, standing) = standing();
        *directory.grant.lock().expect("not poisoned") = "read:task.";
        assert!(!standing.holds());
    }

    #[tokio::test]
    async fn lapse_says_to_call_again() {
        let (directory, standing) = standing();
        change(&directory, |token| token.revoked_unix_ms = Some(1));
        let status = standing.lapse().await;
        assert_eq!(status.code(), tonic::Code::Unavailable);
    }
}
