//! A warden of tokens and roles: a client over the network, that makes, rotates and revokes, and looks whether what it
//! was told is so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use toka_client::{
    Action, Client, Consistency, Error, Grant, NewToken, PrincipalName, Role, RoleName, TokenId,
    TokenInfo, TokenLimits,
};
use toka_ledger::Rejection;
use toka_ledger::credentials::{Actor, AuditRecord};
use tokio::time::timeout;

use crate::hand::{Hand, count};
use crate::host::World;

/// Roles that come and go, by all wardens.
const ROLES: [&str; 3] = ["sim-robots", "sim-tasks", "sim-notes"];
/// One that every vault has.
const BUILT_IN: &str = "reader";
/// Tokens of one warden that were acknowledged: each node is compared with all of them.
const TOKENS_MAX: usize = 60;
/// Longest wait for a note in the audit.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is known of a token.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It was made.
    Made,
    /// Somebody was asked to revoke it.
    Asked,
    /// It was revoked.
    Revoked,
}

/// One warden.
pub(crate) struct Warden {
    hand: Hand,
    client: Client,
    tokens: BTreeMap<TokenId, Fate>,
    /// Tokens that may have ended by themselves.
    may_end: BTreeSet<TokenId>,
}

impl Warden {
    pub(crate) fn new(hand: Hand, client: Client) -> Self {
        Self {
            hand,
            client,
            tokens: BTreeMap::new(),
            may_end: BTreeSet::new(),
        }
    }

    pub(crate) async fn run(mut self) {
        while !self.hand.workload.is_ending.load(Ordering::Relaxed) {
            self.hand.pause(100, 800).await;
            self.act().await;
        }
        // Of each one more, whatever has become of the others.
        let last = loop {
            if let Some(id) = self.create(BUILT_IN).await {
                break id;
            }
            self.hand.pause(50, 500).await;
        };
        while !self.revoke(last).await {
            self.hand.pause(50, 500).await;
        }
        while !self.look().await {
            self.hand.pause(50, 500).await;
        }
        self.hand.workload.consuming.fetch_sub(1, Ordering::Relaxed);
    }

    async fn act(&mut self) {
        let role = self.hand.random.pick(&ROLES).unwrap_or(BUILT_IN);
        let made = self.tokens.iter();
        let made = made.filter(|(_, fate)| **fate == Fate::Made);
        let made: Vec<TokenId> = made.map(|(id, _)| *id).collect();
        let token = self.hand.random.pick(&made);
        let is_full = self.tokens.len() >= TOKENS_MAX;
        match (self.hand.random.between(0, 11), token) {
            (0, _) => self.delete_role(role).await,
            (1 | 2, _) => self.put_role(role).await,
            (3, _) => self.note_something().await,
            (4 | 5, Some(id)) if !is_full => self.rotate(id).await,
            (6 | 7, Some(id)) => {
                self.revoke(id).await;
            }
            (8, _) if !is_full => {
                self.create(BUILT_IN).await;
            }
            (9 | 10, _) if !is_full => {
                self.create(role).await;
            }
            _ => {
                self.look().await;
            }
        }
    }

    /// Makes a token; its name, if it is known.
    async fn create(&mut self, role: &str) -> Option<TokenId> {
        let role = RoleName::new(role).expect("valid");
        let new = NewToken {
            principal: PrincipalName::new(&self.hand.name).expect("valid"),
            roles: vec![role.clone()],
            grants: Vec::new(),
            limits: TokenLimits::default(),
            expires_unix_ms: None,
        };
        match self.client.create_token(&new).await {
            Ok(issued) => {
                let id = issued.token.id;
                if issued.token.roles != [role] || issued.token.expires_unix_ms.is_some() {
                    self.fail(format!("was given another token: {:?}", issued.token));
                }
                self.take(&issued.token);
                Some(id)
            }
            Err(Error::Rejected(Rejection::UnknownRole { name })) if name == role => None,
            Err(error) => {
                self.note(&error);
                None
            }
        }
    }

    /// Takes note of a token that was made.
    fn take(&mut self, token: &TokenInfo) {
        let id = token.id;
        let World { trace, .. } = &self.hand.world;
        trace.line(format_args!("{} has token {id}", self.hand.name));
        if token.principal.as_str() != self.hand.name || token.revoked_unix_ms.is_some() {
            self.fail(format!("was given another one's token: {token:?}"));
        }
        if token.expires_unix_ms.is_some() {
            self.may_end.insert(id);
        }
        if self.tokens.insert(id, Fate::Made).is_some() {
            self.fail(format!("was given token {id} twice"));
        }
        count(&self.hand.workload.credentials);
    }

    async fn rotate(&mut self, id: TokenId) {
        let grace_ms = u32::try_from(self.hand.random.between(0, 3_000)).expect("small");
        let could_end = !self.may_end.insert(id);
        match self.client.rotate_token(id, grace_ms, None).await {
            Ok(issued) => self.take(&issued.token),
            Err(Error::Rejected(Rejection::TokenEnded { .. })) if could_end => {}
            // Its successor lives no longer than until now.
            Err(Error::InvalidField { .. }) if could_end => {}
            Err(error) => self.note(&error),
        }
    }

    /// Whether the token is known to be revoked.
    async fn revoke(&mut self, id: TokenId) -> bool {
        self.tokens.insert(id, Fate::Asked);
        match self.client.revoke_token(id).await {
            Ok(token) => {
                let World { trace, .. } = &self.hand.world;
                trace.line(format_args!("{} has revoked token {id}", self.hand.name));
                if token.id != id || token.revoked_unix_ms.is_none() {
                    self.fail(format!("has revoked token {id}, and got {token:?}"));
                }
                self.tokens.insert(id, Fate::Revoked);
                count(&self.hand.workload.credentials);
                true
            }
            Err(error) => {
                self.note(&error);
                false
            }
        }
    }

    async fn put_role(&mut self, name: &str) {
        let prefix = format!("sim.{}", self.hand.random.between(0, 3));
        let role = Role {
            name: RoleName::new(name).expect("valid"),
            grants: vec![Grant {
                action: Action::Write,
                kind_prefixes: vec![prefix],
            }],
        };
        match self.client.put_role(&role).await {
            Ok(put) if put == role => count(&self.hand.workload.credentials),
            Ok(put) => self.fail(format!("has put {role:?}, and got {put:?}")),
            Err(error) => self.note(&error),
        }
    }

    async fn delete_role(&mut self, name: &str) {
        let name = RoleName::new(name).expect("valid");
        match self.client.delete_role(&name).await {
            Ok(_) => count(&self.hand.workload.credentials),
            // By an earlier try, or by another warden; or it was never there.
            Err(Error::Rejected(Rejection::UnknownRole { .. })) => {}
            // One that tokens have is a refusal too.
            Err(error) => self.note(&error),
        }
    }

    /// As a node does that has to say something for the audit, on any node.
    async fn note_something(&mut self) {
        let nodes = self.hand.world.directory.ready();
        let Some(node) = self.hand.random.pick(&nodes) else {
            return;
        };
        let record = AuditRecord {
            action: "sim.noted".to_owned(),
            actor: Actor::anonymous(),
            count: self.hand.random.between(1, 9),
            fields: BTreeMap::from([("by".to_owned(), self.hand.name.clone())]),
        };
        let replica = node.replica.clone();
        let noted = node
            .handle
            .spawn(async move { replica.append_audit(vec![record]).await });
        if let Ok(Ok(Ok(()))) = timeout(PATIENCE, noted).await {
            count(&self.hand.workload.credentials);
        }
    }

    /// Whether all tokens could be read; what was acknowledged before must be among them.
    async fn look(&mut self) -> bool {
        let tokens = match self.client.tokens(Consistency::Linearizable).await {
            Ok(tokens) => tokens,
            Err(error) => {
                self.note(&error);
                return false;
            }
        };
        count(&self.hand.workload.reads);
        let tokens = tokens.iter().map(|token| (token.id, token.revoked_unix_ms));
        let found: BTreeMap<TokenId, Option<u64>> = tokens.collect();
        for (id, fate) in &self.tokens {
            let is_right = match (found.get(id), fate) {
                (None, _) => false,
                (Some(revoked), Fate::Made) => revoked.is_none(),
                (Some(_), Fate::Asked) => true,
                (Some(revoked), Fate::Revoked) => revoked.is_some(),
            };
            if !is_right {
                self.fail(format!("finds token {id} as {:?}", found.get(id)));
            }
        }
        true
    }

    fn fail(&self, what: String) {
        let World { oracle, .. } = &self.hand.world;
        oracle.fail(format!("{} {what}", self.hand.name));
    }

    /// Only what may succeed later, or may have been done, is an answer to a call that nothing is wrong with.
    fn note(&self, error: &Error) {
        let World { trace, .. } = &self.hand.world;
        trace.line(format_args!("{}: {error}", self.hand.name));
        let is_passing = matches!(
            error,
            Error::Refused { .. } | Error::LimitReached { .. } | Error::OutcomeUnknown { .. }
        );
        if !error.is_retryable() && !is_passing {
            self.fail(format!("is told: {error}"));
        }
    }
}
