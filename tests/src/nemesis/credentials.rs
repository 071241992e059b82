//! Tokens and roles that are made, changed and ended while there are faults, and what must be left of that.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use toka_client::{
    Action, Client, Code, Consistency, Error, EventHeader, Grant, NewToken, PrincipalName, Role,
    RoleName, TokenId, TokenInfo, TokenLimits,
};
use toka_ledger::credentials::{AUDIT_KIND_PREFIX, is_audit_kind};
use toka_ledger::{EventId, Rejection};
use tokio::time::sleep;

use super::Nemesis;
use crate::cluster::{Cluster, PATIENCE};
use crate::wait;

/// Longest that a call takes: it is made again then, or the next one is.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest that everything takes, the faults included.
const ENOUGH: Duration = Duration::from_secs(180);
/// How long a token that was rotated still counts, milliseconds.
const GRACE_MS: u32 = 60_000;
/// Audit events of one errand at least, by their kinds behind the prefix: a try without an answer may have left more.
const NOTED: [(&str, usize); 5] = [
    ("token.created", 3),
    ("token.rotated", 1),
    ("token.revoked", 1),
    ("role.put", 2),
    ("role.deleted", 1),
];

/// What was acknowledged of one errand.
#[derive(Clone, Debug)]
pub(super) struct Granted {
    /// A role that was put.
    role: Role,
    /// One that was put and deleted.
    deleted: RoleName,
    /// A token that counts.
    valid: TokenInfo,
    /// One that was revoked.
    revoked: TokenId,
    /// One that was rotated, and what is there for it.
    rotated: TokenId,
    successor: TokenInfo,
}

impl Granted {
    /// Asks for everything, each until it is done: by way of `endpoints`, under names with `number`.
    pub(super) async fn ask(endpoints: Vec<String>, number: u64) -> Result<Self> {
        let client = Client::builder().timeout(CALL_TIMEOUT);
        let operator = Operator {
            client: client.connect(endpoints).await?,
            started: Instant::now(),
        };
        let name = |what: &str| RoleName::new(&format!("nemesis-{number}-{what}"));
        let role = Role {
            name: name("kept")?,
            grants: vec![grant()],
        };
        operator.put(&role).await?;
        let gone = Role {
            name: name("gone")?,
            ..role.clone()
        };
        operator.put(&gone).await?;
        operator.delete(&gone.name).await?;
        let valid = operator.create(&role.name).await?;
        let revoked = operator.create(&role.name).await?.id;
        operator.revoke(revoked).await?;
        let (rotated, successor) = operator.rotate(&role.name).await?;
        Ok(Self {
            role,
            deleted: gone.name,
            valid,
            revoked,
            rotated,
            successor,
        })
    }

    /// Waits until each of the running nodes shows it by itself.
    pub(super) async fn is_on_every_node(&self, cluster: &Cluster) -> Result<()> {
        for id in cluster.running() {
            let own = cluster.client_of(id).await?;
            let kept = wait::until("tokens and roles on the node", PATIENCE, async || {
                self.is_kept(&own, Consistency::Local).await
            });
            kept.await.with_context(|| format!("node {id}"))?;
        }
        Ok(())
    }

    /// Whether all of it is there for `client`.
    async fn is_kept(&self, client: &Client, consistency: Consistency) -> Result<()> {
        let tokens = client.tokens(consistency).await?;
        let find = |id: TokenId| {
            let token = tokens.iter().find(|token| token.id == id);
            token.with_context(|| format!("token {id} is acknowledged and lost"))
        };
        for token in [&self.valid, &self.successor] {
            let found = find(token.id)?;
            ensure!(found == token, "{found:?}, acknowledged as {token:?}");
        }
        let revoked = find(self.revoked)?;
        ensure!(revoked.revoked_unix_ms.is_some(), "{revoked:?} counts");
        let rotated = find(self.rotated)?;
        let by = Some(self.successor.id);
        ensure!(rotated.replaced_by == by, "{rotated:?} was rotated");
        let roles = client.roles(consistency).await?;
        ensure!(roles.contains(&self.role), "{roles:?}");
        let is_deleted = |role: &Role| role.name != self.deleted;
        ensure!(roles.iter().all(is_deleted), "{roles:?}");
        Ok(())
    }
}

impl Nemesis {
    /// Checks, in the end, that everything that was acknowledged of tokens and roles is on every node that runs, and that
    /// the audit in their `log` is one chain which tells of it. Returns how many events the audit has.
    ///
    /// # Errors
    /// What does not hold.
    pub async fn check_credentials(&self, cluster: &Cluster, log: &[EventHeader]) -> Result<usize> {
        for granted in &self.granted {
            Box::pin(granted.is_on_every_node(cluster)).await?;
        }
        check_audit(&self.granted, log)
    }
}

/// Checks the audit in a whole log: it is one chain, which has something of all that was acknowledged. Returns how many
/// events it has.
fn check_audit(granted: &[Granted], log: &[EventHeader]) -> Result<usize> {
    let audit = log
        .iter()
        .filter(|event| is_audit_kind(event.kind.as_str()));
    let audit: Vec<&EventHeader> = audit.collect();
    let mut last: Option<EventId> = None;
    for event in &audit {
        let parents = event.parents.iter().map(|parent| parent.id);
        ensure!(parents.eq(last), "{event:?} does not follow on {last:?}");
        last = Some(event.id);
    }
    for (action, each) in NOTED {
        let kind = format!("{AUDIT_KIND_PREFIX}{action}");
        let noted = audit.iter().filter(|event| event.kind.as_str() == kind);
        let (noted, wanted) = (noted.count(), granted.len() * each);
        ensure!(noted >= wanted, "{noted} events {kind}, of {wanted}");
    }
    Ok(audit.len())
}

fn grant() -> Grant {
    Grant {
        action: Action::Write,
        kind_prefixes: vec!["nemesis".to_owned()],
    }
}

/// Somebody who does not give up while there are faults.
struct Operator {
    client: Client,
    started: Instant,
}

impl Operator {
    /// Waits before another try, if faults excuse why there has to be one.
    async fn pause(&self, error: Error) -> Result<()> {
        let is_excused = error.is_retryable()
            || matches!(
                error,
                Error::LimitReached { .. } | Error::OutcomeUnknown { .. }
            );
        ensure!(
            is_excused && self.started.elapsed() < ENOUGH,
            "after {:?}: {error}",
            self.started.elapsed()
        );
        sleep(PAUSE).await;
        Ok(())
    }

    async fn put(&self, role: &Role) -> Result<()> {
        loop {
            match self.client.put_role(role).await {
                Ok(put) => {
                    ensure!(put == *role, "{put:?} was put, not {role:?}");
                    return Ok(());
                }
                // The vault is not at the feature level yet: every member must have said that it knows it.
                Err(Error::Refused {
                    code: Code::FailedPrecondition,
                    ..
                }) if self.started.elapsed() < ENOUGH => sleep(PAUSE).await,
                Err(error) => self.pause(error).await.context("to put a role")?,
            }
        }
    }

    async fn delete(&self, name: &RoleName) -> Result<()> {
        loop {
            match self.client.delete_role(name).await {
                // By an earlier try, where it is not there.
                Ok(_) | Err(Error::Rejected(Rejection::UnknownRole { .. })) => return Ok(()),
                Err(error) => self.pause(error).await.context("to delete a role")?,
            }
        }
    }

    /// Makes a token. Tries without an answer may have made more, which nobody knows.
    async fn create(&self, role: &RoleName) -> Result<TokenInfo> {
        let new = NewToken {
            principal: PrincipalName::new("nemesis")?,
            roles: vec![role.clone()],
            grants: vec![grant()],
            limits: TokenLimits::default(),
            expires_unix_ms: None,
        };
        loop {
            match self.client.create_token(&new).await {
                Ok(issued) => {
                    let token = issued.token;
                    ensure!(token.roles == new.roles, "{token:?} was made of {new:?}");
                    return Ok(token);
                }
                Err(error) => self.pause(error).await.context("to make a token")?,
            }
        }
    }

    async fn revoke(&self, id: TokenId) -> Result<()> {
        loop {
            match self.client.revoke_token(id).await {
                Ok(token) => {
                    ensure!(token.revoked_unix_ms.is_some(), "{token:?} was revoked");
                    return Ok(());
                }
                Err(error) => self.pause(error).await.context("to revoke a token")?,
            }
        }
    }

    /// Makes a token and rotates it; both. Where it is not known whether that was done, another one is made: clocks jump,
    /// and the first one may be past its time of grace.
    async fn rotate(&self, role: &RoleName) -> Result<(TokenId, TokenInfo)> {
        loop {
            let old = self.create(role).await?.id;
            match self.client.rotate_token(old, GRACE_MS, None).await {
                Ok(issued) => return Ok((old, issued.token)),
                Err(error) => self.pause(error).await.context("to rotate a token")?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use toka_ledger::{Attributes, Digest, Kind, Parent, Salt};

    use super::*;

    /// An event of the kind, which follows on `parent`.
    fn event(sequence: u64, kind: &str, parent: Option<&EventHeader>) -> EventHeader {
        let digest = Digest([u8::try_from(sequence).expect("small"); 32]);
        let parent = parent.map(|parent| Parent {
            digest: parent.digest,
            id: parent.id,
        });
        EventHeader {
            id: EventId::new(sequence, sequence, &digest),
            sequence,
            unix_ms: sequence,
            kind: Kind::new(kind).expect("valid"),
            digest,
            payload_digest: digest,
            payload_bytes: 0,
            payload_sequence: sequence,
            salt: Salt::default(),
            parents: parent.into_iter().collect(),
            embedding: None,
            attributes: Attributes::default(),
            micro_cluster: None,
            intent: None,
            deduplicated: false,
        }
    }

    #[test]
    fn audit_that_is_one_chain_passes_whatever_is_in_between() {
        let first = event(1, "toka.audit.role.put", None);
        let between = event(2, "nemesis", None);
        let second = event(3, "toka.audit.token.created", Some(&first));
        let log = [first, between, second];
        assert_eq!(check_audit(&[], &log).expect("a chain"), 2);
    }

    #[test]
    fn audit_with_two_ends_is_found() {
        let first = event(1, "toka.audit.role.put", None);
        let second = event(2, "toka.audit.role.put", Some(&first));
        let beside = event(3, "toka.audit.role.put", Some(&first));
        let error = check_audit(&[], &[first, second, beside]).expect_err("two ends");
        assert!(error.to_string().contains("does not follow"), "{error}");
    }
}
