//! A fork over a vault elsewhere is the vault's own fork.

use std::sync::Arc;

use bytes::Bytes;
use toka_client::{Include, StoredEvent};
use toka_ledger::engine::Direction;
use toka_ledger::fork::{Fork, Limits};
use toka_ledger::intent::Parameters;
use toka_ledger::read::Query;
use toka_ledger::{EventDraft, EventHeader, Filter, Selector, Stored, VaultBus};
use toka_runtime::base::{About, Base, BaseError, Mirror, MirrorLimits, RemoteFork};

/// An embedded vault as if it were elsewhere: pages of a few events.
#[derive(Debug)]
struct Elsewhere(VaultBus);

const PAGE: usize = 7;

impl Elsewhere {
    fn read(&self, header: &EventHeader, include: Include) -> StoredEvent {
        let payload = include
            .payload
            .then(|| self.0.reader().payload(header).expect("read"));
        let embedding = match include.embedding {
            true => self.0.reader().embedding(header).expect("read"),
            false => None,
        };
        StoredEvent {
            header: header.clone(),
            payload,
            embedding,
        }
    }
}

impl Base for Elsewhere {
    fn about(&self) -> Result<About, BaseError> {
        let settings = self.0.settings()?;
        Ok(About {
            cluster_id: settings.cluster_id,
            history_id: settings.history_id,
            feature_level: settings.feature_level,
            dimension: settings.dimension,
            model: settings.model,
            intents: settings.intents,
            created_unix_ms: settings.created_unix_ms,
            sequence: self.0.position().sequence,
        })
    }

    fn page(&self, after: u64, until: u64) -> Result<Vec<StoredEvent>, BaseError> {
        let page = self.0.list(&Query {
            after,
            until,
            filter: Filter::default(),
            direction: Direction::Forward,
            limit: PAGE,
        })?;
        let include = Include {
            payload: false,
            embedding: true,
        };
        let events = page.headers.iter();
        Ok(events.map(|header| self.read(header, include)).collect())
    }

    fn get(&self, sequences: &[u64], include: Include) -> Result<Vec<StoredEvent>, BaseError> {
        let events = sequences.iter().map(|&sequence| {
            let header = self.0.reader().header(&Selector::Sequence(sequence))?;
            let header = header.ok_or(BaseError::Missing { sequence })?;
            Ok(self.read(&header, include))
        });
        events.collect()
    }
}

/// A few intents, some of which come to be only later, and events without.
async fn filled(events: u32) -> VaultBus {
    let intents = Parameters {
        background_micro_clusters: 18,
        background_events: 3,
        save_events: 5,
        ..Parameters::default()
    };
    let vault = VaultBus::builder().intents(intents).open_in_memory();
    let vault = vault.expect("opens");
    let mut last: Option<EventHeader> = None;
    for number in 0..events {
        let angle = f64::from(number % 5) + f64::from(number) / 900.0;
        let draft = EventDraft::new(["a", "b.c", "b"][number as usize % 3])
            .payload(&format!("payload {}", number % 50))
            .salt(&number.to_be_bytes())
            .parents(&last);
        let draft = match number % 4 {
            3 => draft,
            _ => draft.embedding(&[angle.cos() as f32, angle.sin() as f32, 0.3]),
        };
        let headers = vault.commit_batch([draft]).await.expect("committed");
        last = headers.into_iter().next();
    }
    vault
}

fn remote(vault: &VaultBus, sequence: u64) -> RemoteFork {
    let base = Arc::new(Elsewhere(vault.clone()));
    let limits = (MirrorLimits::default(), Limits::default());
    RemoteFork::at(base, sequence, limits, &mut |_| {}).expect("forked")
}

#[tokio::test]
async fn intents_are_those_of_the_vault_as_of_the_event() {
    let vault = filled(300).await;
    for sequence in [0, 1, 40, 199, 300] {
        let fork = remote(&vault, sequence);
        let expected = Fork::at(vault.reader(), sequence).expect("forked");
        let (found, expected) = (fork.fork().vault(), expected.vault());
        assert_eq!(found.intents(), expected.intents());
        for vault in [found, expected] {
            vault.reader().digest_intents();
        }
        let digest = |vault: &VaultBus| vault.reader().intents_digest();
        assert_eq!(digest(found), digest(expected), "at {sequence}");
        let root = |vault: &VaultBus| vault.position().history_root;
        assert_eq!(root(found), root(expected), "at {sequence}");
        let report = found.verify().expect("readable");
        assert_eq!(report.problems, []);
    }
}

#[tokio::test]
async fn payloads_and_embeddings_are_read_through() {
    let vault = filled(120).await;
    let fork = remote(&vault, 100);
    let fork = fork.fork().vault();
    for header in fork.range(1..) {
        let header = header.expect("readable");
        let payload = |vault: &VaultBus| -> Bytes { vault.payload_bytes(&header).expect("read") };
        assert_eq!(payload(fork), payload(&vault));
        let embedding = |vault: &VaultBus| vault.embedding(&header).expect("read");
        assert_eq!(embedding(fork), embedding(&vault));
    }
    let found = fork.search(&[1.0, 0.0, 0.3], 5).expect("found");
    assert_eq!(found.hits.len(), 5);
}

#[tokio::test]
async fn difference_shows_what_the_vault_has_got_since() {
    let vault = filled(20).await;
    let fork = remote(&vault, 20);
    let event = |payload: &str| EventDraft::new("new").payload(payload);
    let own = fork
        .fork()
        .vault()
        .commit_batch([event("x"), event("y")])
        .await;
    own.expect("committed");
    let real = vault.commit_batch([event("y"), event("z")]).await;
    real.expect("committed");
    let difference = fork.difference().expect("compared");
    let count = (
        difference.both.len(),
        difference.fork_only.len(),
        difference.base_only.len(),
    );
    assert_eq!(count, (1, 1, 1));
    let only = &difference.base_only[0];
    assert_eq!(
        fork.mirror().reader().payload(only).expect("read"),
        Stored::Present(vault.payload_bytes(only).expect("read"))
    );
    assert_eq!(fork.fork().vault().position().sequence, 22);
}

#[tokio::test]
async fn vault_that_ends_before_is_told() {
    let vault = filled(3).await;
    let base = Arc::new(Elsewhere(vault.clone()));
    let limits = (MirrorLimits::default(), Limits::default());
    let error = RemoteFork::at(base, 9, limits, &mut |_| {}).expect_err("it ends at 3");
    assert!(
        matches!(error, BaseError::Missing { sequence: 9 }),
        "{error}"
    );
}

#[tokio::test]
async fn mirror_takes_no_more_than_its_limit() {
    let vault = filled(3).await;
    let limits = MirrorLimits {
        events_max: 2,
        ..MirrorLimits::default()
    };
    let mirror = Mirror::new(Arc::new(Elsewhere(vault)), limits).expect("made");
    mirror.catch_up(2, &mut |_| {}).expect("it takes two");
    let error = mirror.catch_up(3, &mut |_| {}).expect_err("too many");
    assert!(
        matches!(error, BaseError::TooLong { max: 2, .. }),
        "{error}"
    );
}
