//! Tokens, roles and the audit on clusters: kept through whatever happens to nodes, and without a secret anywhere.
//! What they allow is another test's matter: these clusters ask nobody who they are.

mod bootstrap;
mod cli;
mod levels;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::TryStreamExt as _;
use serde_json::json;
use toka_client::{
    Action, Client, Code, Consistency, Error, EventDraft, EventHeader, Filter, Grant, Issued, List,
    NewToken, PrincipalName, Read, Role, RoleName, TokenId, TokenLimits,
};
use toka_proto::v1;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::wait;

const AUDIT: &str = "toka.audit.";
/// Snapshots are made often, so that a node which was away for a moment needs one.
const SETTINGS: [&str; 4] = ["--snapshot-log-entries", "40", "--keep-log-entries", "10"];

fn new_token(principal: &str, role: &str) -> Result<NewToken> {
    Ok(NewToken {
        principal: PrincipalName::new(principal)?,
        roles: vec![RoleName::new(role)?],
        grants: Vec::new(),
        limits: TokenLimits::default(),
        expires_unix_ms: None,
    })
}

fn robots() -> Result<Role> {
    Ok(Role {
        name: RoleName::new("robots")?,
        grants: vec![Grant {
            action: Action::Write,
            kind_prefixes: vec!["task.".to_owned()],
        }],
    })
}

/// Makes a role, as soon as the vault is at the feature level that it needs: every member must have said that it knows
/// it.
async fn has_credentials(client: &Client) -> Result<()> {
    let role = robots()?;
    wait::until("the role", PATIENCE, async || {
        Ok(client.put_role(&role).await?)
    })
    .await
    .map(drop)
}

/// What there is after [`Made::make`].
struct Made {
    /// One that counts.
    valid: Issued,
    /// One that was revoked.
    revoked: TokenId,
    /// One that was rotated, and the one that is there for it.
    rotated: TokenId,
    successor: Issued,
}

impl Made {
    async fn make(client: &Client) -> Result<Self> {
        has_credentials(client).await?;
        let valid = client.create_token(&new_token("robot", "robots")?).await?;
        let gone = client.create_token(&new_token("gone", "reader")?).await?;
        client.revoke_token(gone.token.id).await?;
        let old = client.create_token(&new_token("old", "writer")?).await?;
        let successor = client.rotate_token(old.token.id, 3_600_000, None).await?;
        Ok(Self {
            valid,
            revoked: gone.token.id,
            rotated: old.token.id,
            successor,
        })
    }

    /// Whether all of it is there for `client`.
    async fn is_kept(&self, client: &Client, consistency: Consistency) -> Result<()> {
        let tokens = client.tokens(consistency).await?;
        let find = |id: TokenId| {
            let token = tokens.iter().find(|token| token.id == id);
            token.with_context(|| format!("no token {id} of {tokens:?}"))
        };
        ensure!(*find(self.valid.token.id)? == self.valid.token);
        ensure!(*find(self.successor.token.id)? == self.successor.token);
        ensure!(find(self.revoked)?.revoked_unix_ms.is_some());
        let rotated = find(self.rotated)?;
        ensure!(
            rotated.replaced_by == Some(self.successor.token.id),
            "{rotated:?}"
        );
        let roles = client.roles(consistency).await?;
        ensure!(roles.contains(&robots()?), "{roles:?}");
        Ok(())
    }

    /// Waits until each of the running nodes has it by itself.
    async fn is_on_every_node(&self, cluster: &Cluster) -> Result<()> {
        for id in cluster.running() {
            let own = cluster.client_of(id).await?;
            let kept = wait::until("tokens on the node", PATIENCE, async || {
                self.is_kept(&own, Consistency::Local).await
            });
            kept.await.with_context(|| format!("node {id}"))?;
        }
        Ok(())
    }
}

/// The audit events, in order.
async fn audited(client: &Client) -> Result<Vec<EventHeader>> {
    let list = List {
        filter: Filter {
            kind_prefixes: vec![AUDIT.to_owned()],
            ..Filter::default()
        },
        read: Read {
            consistency: Consistency::Linearizable,
            ..Read::default()
        },
        ..List::default()
    };
    let events: Vec<_> = client.list_all(list).try_collect().await?;
    Ok(events.into_iter().map(|event| event.header).collect())
}

/// Each audit event has the one before it as its parent, and no other.
fn is_chain(events: &[EventHeader]) -> Result<()> {
    ensure!(events.first().is_some_and(|first| first.parents.is_empty()));
    for pair in events.windows(2) {
        let parents: Vec<_> = pair[1].parents.iter().map(|parent| parent.id).collect();
        ensure!(parents == [pair[0].id], "{pair:?}");
    }
    Ok(())
}

/// Commits until every running node has purged its log beyond `index`; the last sequence.
async fn purge_beyond(cluster: &Cluster, client: &Client, index: u64) -> Result<u64> {
    let (mut number, mut last) = (0_u64, 0);
    wait::until("logs are purged", PATIENCE, async || {
        for _ in 0..40 {
            number += 1;
            let filler = EventDraft::new("filler").payload(&json!({ "number": number }));
            last = client.commit(filler).await?.sequence;
        }
        cluster.check_purged(index)
    })
    .await?;
    Ok(last)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_survive_the_loss_of_the_leader_and_are_revoked_on_every_node() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let made = Made::make(&client).await?;
        made.is_on_every_node(cluster).await?;
        let leader = cluster.leader().await?;
        cluster.kill(leader)?;
        cluster.led_by_another_than(leader).await?;
        let client = Client::connect(cluster.endpoints_of_running()).await?;
        made.is_kept(&client, Consistency::Linearizable).await?;
        let id = made.valid.token.id;
        client.revoke_token(id).await?;
        cluster.restart(leader).await?;
        for node in cluster.running() {
            let own = cluster.client_of(node).await?;
            wait::until("the revocation on the node", PATIENCE, async || {
                let tokens = own.tokens(Consistency::Local).await?;
                let token = tokens.iter().find(|token| token.id == id);
                let is_revoked = token.is_some_and(|token| token.revoked_unix_ms.is_some());
                ensure!(is_revoked, "node {node}: {token:?}");
                Ok(())
            })
            .await?;
        }
        is_chain(&audited(&client).await?)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_that_joins_by_a_snapshot_has_the_tokens_and_goes_on_with_the_audit() -> Result<()> {
    cluster::run(1, &SETTINGS, async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let made = Made::make(&client).await?;
        let last = cluster.state(1).await?.node.last_log_index;
        let sequence = purge_beyond(cluster, &client, last).await?;
        let joined = cluster.join(&[]).await?;
        cluster.wait_ready(joined).await?;
        cluster.has_members(&[1, joined], &[]).await?;
        cluster.converged(sequence).await?;
        cluster.logs(joined, "snapshot installed").await?;
        made.is_on_every_node(cluster).await?;
        let own = cluster.client_of(joined).await?;
        own.transfer_leadership(Some(joined)).await?;
        wait::until("the leader", PATIENCE, async || {
            let leader = cluster.leader().await?;
            ensure!(leader == joined, "node {leader} leads");
            Ok(())
        })
        .await?;
        own.revoke_token(made.valid.token.id).await?;
        is_chain(&audited(&own).await?)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_restored_from_a_backup_and_what_was_revoked_stays_revoked() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let made = Made::make(&client).await?;
        let event = client
            .commit(EventDraft::new("before").payload("x"))
            .await?;
        let late = client.create_token(&new_token("late", "reader")?).await?;
        client.revoke_token(late.token.id).await?;
        let toka = cluster.toka();
        let at = cluster.directory().join("backups").display().to_string();
        toka.ok(&["backup", "create", &at]).await?;
        for id in cluster.running() {
            cluster.terminate(id).await?;
        }
        let sequence = event.sequence.to_string();
        // As it was, and as of an event before the last token was made.
        for point in [&[][..], &["--sequence", &sequence][..]] {
            let mut new = cluster.prepare_beside(1)?;
            let data = new.node(1).data.display().to_string();
            let restore = ["restore", &at, "--data", &data, "--node-id", "1"];
            toka.ok(&[&restore[..], point].concat()).await?;
            new.launch_all()?;
            new.wait_all_ready().await?;
            let client = new.client().await?;
            made.is_kept(&client, Consistency::Linearizable).await?;
            let tokens = client.tokens(Consistency::Linearizable).await?;
            let found = tokens.iter().find(|token| token.id == late.token.id);
            let is_revoked = found.is_some_and(|token| token.revoked_unix_ms.is_some());
            ensure!(is_revoked, "{found:?}");
            client.revoke_token(made.valid.token.id).await?;
            is_chain(&audited(&client).await?)?;
        }
        Ok(())
    })
    .await
}

/// All files below `dir`.
fn files(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        match path.is_dir() {
            true => files(&path, found)?,
            false => found.push(path),
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_in_no_log_and_no_store() -> Result<()> {
    cluster::run(3, &SETTINGS, async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        let made = Made::make(&client).await?;
        let last = cluster.state(1).await?.node.last_log_index;
        purge_beyond(cluster, &client, last).await?;
        let toka = cluster.toka();
        let at = cluster.directory().join("backups").display().to_string();
        toka.ok(&["backup", "create", &at]).await?;
        for id in cluster.running() {
            cluster.terminate(id).await?;
        }
        let mut all = Vec::new();
        files(cluster.directory(), &mut all)?;
        let mut has_ids = 0;
        for issued in [&made.valid, &made.successor] {
            let prefix = format!("toka_{}_", issued.token.id);
            let secret = issued.text.strip_prefix(&*prefix).context("a secret")?;
            let raw = URL_SAFE_NO_PAD.decode(secret)?;
            ensure!(raw.len() == 32, "{} bytes", raw.len());
            for path in &all {
                let bytes = std::fs::read(path)?;
                let has = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
                let shown = path.display();
                ensure!(
                    !has(secret.as_bytes()),
                    "{shown} holds the text of a secret"
                );
                ensure!(!has(&raw), "{shown} holds a secret");
                has_ids += usize::from(has(issued.token.id.to_string().as_bytes()));
            }
        }
        // The search finds what is there.
        ensure!(
            has_ids > 0,
            "no file names the tokens, of {} files",
            all.len()
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_is_one_chain_that_says_who_did_what_through_any_node() -> Result<()> {
    cluster::run(3, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        has_credentials(&client).await?;
        for id in cluster.ids() {
            let own = cluster.client_of(id).await?;
            let token = own.create_token(&new_token("robot", "robots")?).await?;
            own.commit(EventDraft::new("between").payload(&id)).await?;
            own.revoke_token(token.token.id).await?;
        }
        let events = audited(&client).await?;
        is_chain(&events)?;
        let kinds: Vec<_> = events
            .iter()
            .map(|event| &event.kind.as_str()[AUDIT.len()..])
            .collect();
        let pair = ["token.created", "token.revoked"];
        let expected = [&["role.put"][..], &pair, &pair, &pair].concat();
        ensure!(kinds == expected, "{kinds:?}");
        let sources = events
            .iter()
            .map(|event| event.attributes.source.as_deref());
        ensure!(
            sources
                .into_iter()
                .all(|source| source == Some("anonymous"))
        );
        // The same on every node, down to the last bit.
        let sequence = events.last().context("some")?.sequence;
        cluster.converged(sequence).await.map(drop)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_commits_audit_events() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let request = v1::CommitRequest {
            events: vec![v1::NewEvent {
                kind: "toka.audit.token.created".to_owned(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = cluster.node(1).vault().commit(request).await;
        let refused = answer.err().context("it was taken")?;
        ensure!(refused.code() == Code::InvalidArgument, "{refused:?}");
        ensure!(refused.message().contains("reserved"), "{refused:?}");
        let client = cluster.client().await?;
        let drafted = client.commit(EventDraft::new("toka.audit.x")).await;
        ensure!(matches!(drafted, Err(Error::Invalid(_))), "{drafted:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_refused_with_its_name() -> Result<()> {
    cluster::run(1, &[], async |cluster: &mut Cluster| {
        let client = cluster.client().await?;
        has_credentials(&client).await?;
        let unknown = client.create_token(&new_token("robot", "nobodys")?).await;
        let unknown = unknown.err().context("made")?.to_string();
        ensure!(unknown.contains("nobodys"), "{unknown}");
        client.create_token(&new_token("robot", "robots")?).await?;
        let in_use = client.delete_role(&RoleName::new("robots")?).await;
        let in_use = in_use.err().context("deleted")?.to_string();
        ensure!(in_use.contains("1 valid token"), "{in_use}");
        let built_in = Role {
            name: RoleName::new("admin")?,
            ..robots()?
        };
        let put = client.put_role(&built_in).await;
        ensure!(matches!(put, Err(Error::Invalid(_))), "{put:?}");
        let who = client.who_am_i().await?;
        ensure!(!who.is_enforced && who.principal == "anonymous", "{who:?}");
        Ok(())
    })
    .await
}
