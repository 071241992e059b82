//! The intents are a function of the history, and of nothing else.

mod apply_support;
mod intent_support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex};

use apply_support::*;
use intent_support::*;
use toka_ledger::command::{Command, FEATURE_LEVEL_MIN, Label};
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::engine::{Batch, Direction, Durability, Engine, Table};
use toka_ledger::feed::{Message, Subscription};
use toka_ledger::intent::{IntentId, Parameters};
use toka_ledger::read::{Query, Search};
use toka_ledger::seam::{InlineThreads, JoinThread, SystemThreads, Threads};
use toka_ledger::store::clusters;
use toka_ledger::verify::verify;
use toka_ledger::{
    Digest, Embedding, EventHeader, Filter, IntentLabel, Ledger, LogMark, Outcome, Rejection, Start,
};

/// No multiple of any vector width.
const DIMENSION: usize = 23;
const EVENTS: usize = 1_500;

/// Few events do all that many do.
fn small() -> Parameters {
    Parameters {
        micro_clusters_max: 64,
        background_micro_clusters: 32,
        background_events: 10,
        save_events: 100,
        count_cap: 16,
        ..Parameters::default()
    }
    .tau(0.72)
    .expect("in range")
}

fn stream() -> Vec<Command> {
    let first = create_at(FEATURE_LEVEL_MIN);
    let mut commands = vec![with_intents(first, small())];
    commands.extend(intent_support::commands(&vectors(7, EVENTS, DIMENSION, 40)));
    commands
}

struct Replica {
    engine: Arc<MemoryEngine>,
    ledger: Ledger,
}

impl Replica {
    fn open(engine: Arc<MemoryEngine>, threads: Arc<dyn Threads>) -> Self {
        let ledger = Ledger::open(Arc::clone(&engine) as Arc<dyn Engine>, threads);
        Self {
            engine,
            ledger: ledger.expect("opens"),
        }
    }

    fn new() -> Self {
        Self::open(Arc::new(MemoryEngine::new()), Arc::new(SystemThreads))
    }

    fn apply(&mut self, commands: &[Command]) -> Vec<Outcome> {
        self.ledger
            .apply(commands, LogMark::default(), Durability::Volatile)
            .expect("applies")
    }

    /// Applies everything, `size` commands at a time.
    fn apply_in(mut self, commands: &[Command], size: usize) -> Self {
        for entry in commands.chunks(size) {
            self.apply(entry);
        }
        self
    }

    /// Digest of what decides where the next events go, made now.
    fn intents_digest(&self) -> (u64, Digest) {
        let reader = self.ledger.reader();
        reader.digest_intents();
        reader.intents_digest().expect("nothing is being applied")
    }

    fn headers(&self) -> Vec<Arc<EventHeader>> {
        let reader = self.ledger.reader();
        let mut headers = Vec::new();
        let mut next = Some(0);
        while let Some(after) = next {
            let page = reader.list(&all_after(after)).expect("readable");
            headers.extend(page.headers);
            next = page.next;
        }
        headers
    }
}

fn all_after(after: u64) -> Query {
    Query {
        after,
        until: u64::MAX,
        filter: Filter::default(),
        direction: Direction::Forward,
        limit: 1_000,
    }
}

#[test]
fn state_digest_of_a_fixed_stream_is_pinned() {
    let replica = Replica::new().apply_in(&stream(), 1);
    let digest = replica.ledger.position().state_digest.to_string();
    assert_eq!(digest, PINNED_SMALL);

    let mut commands = vec![create_at(FEATURE_LEVEL_MIN)];
    commands.extend(intent_support::commands(&vectors(11, 400, 384, 25)));
    let replica = Replica::new().apply_in(&commands, 1);
    let digest = replica.ledger.position().state_digest.to_string();
    assert_eq!(digest, PINNED_DEFAULT);
}

const PINNED_SMALL: &str = "48d967cd844b36df409b4a3a47f7948424d8e127c96d2c06be8576fe81670f0f";
const PINNED_DEFAULT: &str = "9f075c49cdcab5820861b7b3e62552ee1bd8975dfae2eea047353962747888ea";

#[test]
fn stream_does_everything_that_there_is_to_do() {
    let replica = Replica::new().apply_in(&stream(), 5);
    let rows = contents(&*replica.engine);
    let count = |prefix: &[u8]| {
        let rows = rows
            .iter()
            .filter(|(table, key, _)| *table == Table::Clusters && key.starts_with(prefix));
        rows.count()
    };
    let counts = [
        clusters::RECORD,
        clusters::ALIAS,
        clusters::SUCCESSOR,
        clusters::MICRO,
    ]
    .map(count);
    // Macro-clusterings, folded micro-clusters, retired intents, saved micro-clusters.
    for (count, least) in counts.into_iter().zip([20, 100, 10, 40]) {
        assert!(count >= least, "{counts:?}");
    }
}

#[test]
fn batches_make_no_difference() {
    let commands = stream();
    let expected = contents(&*Replica::new().apply_in(&commands, 1).engine);
    for size in [2, 7, 64, commands.len()] {
        let replica = Replica::new().apply_in(&commands, size);
        assert!(contents(&*replica.engine) == expected, "batches of {size}");
    }
}

#[test]
fn threads_make_no_difference() {
    let commands = stream();
    let inline = Replica::open(Arc::new(MemoryEngine::new()), Arc::new(InlineThreads));
    let inline = inline.apply_in(&commands, 9);
    let replica = Replica::new().apply_in(&commands, 9);
    assert!(contents(&*inline.engine) == contents(&*replica.engine));
}

#[test]
fn restarts_make_no_difference() {
    let commands = stream();
    let expected = contents(&*Replica::new().apply_in(&commands, 1).engine);
    let mut random = Lcg::new(3);
    let mut replica = Replica::new();
    let mut done = 0;
    while done < commands.len() {
        let end = commands.len().min(done + 1 + random.below(60) as usize);
        replica.apply(&commands[done..end]);
        done = end;
        replica.engine.flush().expect("flushes");
        let engine = Arc::new(replica.engine.crash_image());
        replica = Replica::open(engine, Arc::new(SystemThreads));
    }
    assert!(contents(&*replica.engine) == expected);
    let report = verify(&replica.ledger.reader(), &mut |_| {}).expect("readable");
    assert_eq!(report.problems, []);
}

#[test]
fn installed_snapshot_goes_on_to_the_same_bits() {
    let commands = stream();
    let expected = contents(&*Replica::new().apply_in(&commands, 1).engine);
    for share in [3, 4, 5] {
        let cut = commands.len() * share / 7;
        let leader = Replica::new().apply_in(&commands[..cut], 8);
        leader.engine.flush().expect("flushes");
        let mut follower = Replica::new().apply_in(&commands[..cut / 3], 3);
        let snapshot = Arc::new(leader.engine.crash_image());
        let installed = follower
            .ledger
            .install(Arc::clone(&snapshot) as Arc<dyn Engine>);
        installed.expect("installs");
        follower.engine = snapshot;
        let follower = follower.apply_in(&commands[cut..], 16);
        assert!(contents(&*follower.engine) == expected, "cut at {cut}");
    }
}

#[test]
fn every_embedded_event_is_of_exactly_one_intent() {
    let replica = Replica::new().apply_in(&stream(), 50);
    let reader = replica.ledger.reader();
    let headers = replica.headers();
    let mut sizes: BTreeMap<IntentId, u64> = BTreeMap::new();
    for header in headers.iter() {
        let Some(micro) = header.micro_cluster else {
            assert!(header.embedding.is_none() && header.intent.is_none());
            continue;
        };
        let now = reader.intent_of(micro).expect("each has one");
        *sizes.entry(now).or_default() += 1;
        // A retired id leads to one that is in use.
        let committed = header.intent.expect("each has one");
        let resolved = reader.resolve_intent(committed).expect("known");
        assert_eq!(reader.resolve_intent(resolved), Some(resolved));
        let chain = reader.intent_successors(committed).expect("known");
        assert_eq!(chain.last().unwrap_or(&committed), &resolved);
        assert_eq!(chain.iter().collect::<BTreeSet<_>>().len(), chain.len());
    }
    let listed: BTreeMap<_, _> = reader
        .intents()
        .into_iter()
        .map(|summary| (summary.intent, summary.events))
        .collect();
    assert_eq!(listed, sizes);
    assert!(reader.intent_usage().micro_clusters <= 64);
    assert_eq!(reader.intent(IntentId(u64::MAX)), None);

    // Lists by intent have just these events, in order.
    for intent in listed.keys().copied() {
        let filter = Filter {
            intents: vec![intent],
            ..Filter::default()
        };
        let query = Query {
            filter,
            ..all_after(0)
        };
        let page = reader.list(&query).expect("readable");
        let expected: Vec<_> = headers
            .iter()
            .filter(|header| {
                header.micro_cluster.and_then(|id| reader.intent_of(id)) == Some(intent)
            })
            .map(|header| header.sequence)
            .collect();
        let found: Vec<_> = page.headers.iter().map(|header| header.sequence).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn flipped_byte_in_the_state_is_found() {
    let replica = Replica::new().apply_in(&stream(), 50);
    let rows = replica
        .engine
        .scan(Table::Clusters, &[], None, Direction::Forward);
    let rows: Vec<_> = rows.collect::<Result<_, _>>().expect("readable");
    for (n, (key, value)) in rows.iter().enumerate().step_by(5) {
        let mut flipped = value.to_vec();
        let at = n * 7 % flipped.len();
        flipped[at] ^= 4;
        let mut batch = Batch::new();
        batch.put(Table::Clusters, key.clone(), flipped);
        replica
            .engine
            .write(batch, Durability::Volatile)
            .expect("writes");
        let (reader, _) = Ledger::read_only(Arc::clone(&replica.engine) as Arc<dyn Engine>)
            .expect("the state is not read");
        let report = verify(&reader, &mut |_| {}).expect("readable");
        assert_eq!(report.problems_total, 1, "{:?}", report.problems);
        assert_eq!(report.problems[0].table, Some(Table::Clusters));
        let mut batch = Batch::new();
        batch.put(Table::Clusters, key.clone(), value.clone());
        replica
            .engine
            .write(batch, Durability::Volatile)
            .expect("writes");
    }
}

#[test]
fn digest_of_the_intents_is_the_same_after_a_restart_anywhere() {
    let commands = stream();
    let mut steady = Replica::new();
    let mut restarted = Replica::new();
    assert_eq!(steady.intents_digest(), (0, Digest::ZERO));
    let mut digests = BTreeSet::new();
    for entry in commands.chunks(37) {
        steady.apply(entry);
        let Replica { engine, ledger } = restarted;
        drop(ledger);
        restarted = Replica::open(engine, Arc::new(SystemThreads));
        for command in entry {
            restarted.apply(std::slice::from_ref(command));
        }
        assert_eq!(steady.intents_digest(), restarted.intents_digest());
        let Replica { engine, ledger } = restarted;
        drop(ledger);
        restarted = Replica::open(engine, Arc::new(SystemThreads));
        assert_eq!(steady.intents_digest(), restarted.intents_digest());
        digests.insert(steady.intents_digest().1);
    }
    assert!(digests.len() > 10, "every embedded event changes it");
}

#[test]
fn centroid_that_differs_is_told_before_an_event_goes_elsewhere() {
    let commands = stream();
    let sound = Replica::new().apply_in(&commands[..901], 50);
    let other = Replica::new().apply_in(&commands[..901], 50);
    drop(other.ledger);
    // One component of one centroid, one part in 16,384 off.
    let end = clusters::end_of(clusters::MICRO);
    let rows = other.engine.scan(
        Table::Clusters,
        clusters::MICRO,
        Some(&end),
        Direction::Forward,
    );
    let (key, value) = rows.last().expect("something is saved").expect("readable");
    let id = clusters::decode_micro_key(clusters::MICRO, &key).expect("an id");
    let mut micro = clusters::decode_micro(id, value).expect("a micro-cluster");
    micro.sums[5] += 1;
    let mut batch = Batch::new();
    batch.put(Table::Clusters, key, clusters::encode_micro(id, &micro));
    let written = other.engine.write(batch, Durability::Volatile);
    written.expect("writes");

    let mut replicas = [sound, Replica::open(other.engine, Arc::new(SystemThreads))];
    let states = |replicas: &[Replica; 2]| {
        let [a, b] = replicas;
        [a, b].map(|replica| replica.ledger.position().state_digest)
    };
    let [before, same] = states(&replicas);
    assert_eq!(before, same);
    let [a, b] = &replicas;
    assert_ne!(
        a.intents_digest(),
        b.intents_digest(),
        "even if nothing comes"
    );
    let embedded = small().save_events as usize / 4;
    for replica in &mut replicas {
        replica.apply(&commands[901..901 + embedded]);
    }
    let [a, b] = states(&replicas);
    assert_ne!(a, b);
    // No header differs yet.
    let [a, b] = &replicas;
    assert_eq!(a.headers(), b.headers());
}

/// Threads whose work begins when it is let go.
#[derive(Debug, Default)]
struct HeldThreads(Arc<(Mutex<bool>, Condvar)>);

impl HeldThreads {
    fn let_go(&self) {
        let (is_free, changed) = &*self.0;
        *is_free.lock().expect("no panic") = true;
        changed.notify_all();
    }
}

impl Threads for HeldThreads {
    fn spawn(
        &self,
        name: &str,
        body: Box<dyn FnOnce() + Send + 'static>,
    ) -> std::io::Result<Box<dyn JoinThread>> {
        let gate = Arc::clone(&self.0);
        let held = move || {
            let (is_free, changed) = &*gate;
            let is_free = is_free.lock().expect("no panic");
            drop(changed.wait_while(is_free, |is_free| !*is_free));
            body();
        };
        SystemThreads.spawn(name, Box::new(held))
    }
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "a writer and a reader of the same ledger, at the same time"
)]
fn readers_do_not_wait_for_a_macro_clustering_that_is_late() {
    let commands = stream();
    let threads = Arc::new(HeldThreads::default());
    let mut replica = Replica::open(Arc::new(MemoryEngine::new()), Arc::clone(&threads) as _);
    // Up to the first one that runs beside `apply`: few enough events for the next to be in time.
    let mut done = 0;
    while replica.ledger.reader().intent_usage().micro_clusters < 40 {
        replica.apply(&commands[done..=done]);
        done += 1;
    }
    let reader = replica.ledger.reader();
    let rest = commands[done..].to_vec();
    let applying = std::thread::spawn(move || {
        replica.apply(&rest);
        replica.ledger.position().state_digest
    });
    let (sender, answers) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || {
        // Long enough for `apply` to come to where it waits.
        for _ in 0..300 {
            sender
                .send(reader.intents().len())
                .expect("somebody listens");
            std::thread::yield_now();
        }
    });
    for _ in 0..300 {
        let told = answers.recv_timeout(std::time::Duration::from_secs(20));
        assert!(told.expect("readers wait for `apply`") > 0);
    }
    assert!(!applying.is_finished(), "it waits for nothing");
    threads.let_go();
    reading.join().expect("no panic");
    let expected = Replica::new().apply_in(&commands, 1);
    assert_eq!(
        applying.join().expect("no panic"),
        expected.ledger.position().state_digest
    );
}

fn label(intent: IntentId, label: Option<&str>) -> Command {
    Command::Label(Label {
        unix_ms: NOW,
        intent,
        label: label.map(|label| IntentLabel::new(label).expect("valid")),
    })
}

#[test]
fn label_stays_with_most_of_the_events() {
    let commands = stream();
    let mut replica = Replica::new();
    let cut = commands.len() / 3;
    replica.apply(&commands[..cut]);
    let reader = replica.ledger.reader();
    for summary in reader.intents() {
        let name = format!("was {}", summary.intent);
        let outcome = replica.apply(&[label(summary.intent, Some(&name))]);
        assert!(
            matches!(&outcome[..], [Outcome::Labelled { intent, .. }] if *intent == summary.intent)
        );
    }
    let labelled: Vec<_> = reader.intents().iter().map(|s| s.intent).collect();
    let mut replica = replica.apply_in(&commands[cut..], 10);
    let retired: Vec<_> = labelled
        .iter()
        .filter(|&&intent| reader.resolve_intent(intent) != Some(intent))
        .collect();
    assert!(!retired.is_empty(), "the stream retires intents");
    for &&intent in &retired {
        let now = reader.intent(intent).expect("known");
        assert!(now.label.is_some(), "{intent} went to {}", now.intent);
    }
    // Of a retired one its successor is meant.
    let outcome = replica.apply(&[label(*retired[0], None)]).remove(0);
    let Outcome::Labelled { intent, .. } = outcome else {
        panic!("not labelled: {outcome:?}")
    };
    assert_eq!(Some(intent), reader.resolve_intent(*retired[0]));
    assert_eq!(reader.intent(intent).and_then(|now| now.label), None);
    let unknown = label(IntentId(1 << 40), Some("none"));
    assert_eq!(
        refused(replica.apply(&[unknown]).remove(0)),
        Rejection::UnknownIntent {
            intent: IntentId(1 << 40)
        }
    );
    // A restart finds the same labels.
    replica.engine.flush().expect("flushes");
    let again = Replica::open(
        Arc::new(replica.engine.crash_image()),
        Arc::new(SystemThreads),
    );
    assert_eq!(again.ledger.reader().intents(), reader.intents());
}

/// What a subscription delivers until it has caught up.
async fn until_caught_up(events: &mut Subscription) -> Vec<Message> {
    let mut messages = Vec::new();
    loop {
        match events.next().await.expect("open") {
            Message::CaughtUp => return messages,
            message => messages.push(message),
        }
    }
}

#[tokio::test]
async fn subscription_goes_on_with_the_successor_of_a_retired_intent() {
    let commands = stream();
    let mut replica = Replica::new();
    let cut = commands.len() / 3;
    replica.apply(&commands[..cut]);
    let reader = replica.ledger.reader();
    let followed: Vec<_> = reader.intents().iter().map(|s| s.intent).collect();
    let mut streams: Vec<_> = followed
        .iter()
        .map(|&intent| {
            let filter = Filter {
                intents: vec![intent],
                ..Filter::default()
            };
            reader.subscribe(Start::Now, filter)
        })
        .collect();
    for events in &mut streams {
        assert_eq!(until_caught_up(events).await, []);
    }
    let replica = replica.apply_in(&commands[cut..], 1_000);
    let mut continued = 0;
    for (&intent, events) in followed.iter().zip(&mut streams) {
        let resolved = reader.resolve_intent(intent).expect("known");
        let messages = {
            // The shared buffer may have moved on: then the stream falls behind and catches up.
            let mut messages = Vec::new();
            while events.position() < replica.ledger.position().sequence {
                match events.next().await.expect("open") {
                    Message::Event(header) => {
                        let micro = header.micro_cluster.expect("it has one");
                        assert_eq!(reader.intent_of(micro), Some(resolved));
                        messages.push(header.sequence);
                    }
                    Message::Continued {
                        intent: from,
                        successor,
                    } => {
                        assert_eq!((from, successor), (intent, resolved));
                        assert!(messages.is_empty(), "told before the first event");
                        continued += 1;
                    }
                    Message::CaughtUp | Message::FellBehind => {}
                }
            }
            messages
        };
        assert!(messages.is_sorted());
    }
    assert!(continued > 0, "the stream retires intents");
}

#[test]
fn search_with_a_filter_looks_where_its_events_are() {
    let replica = Replica::new().apply_in(&stream(), 50);
    let reader = replica.ledger.reader();
    let vector = &vectors(7, 1, DIMENSION, 40)[0];
    let search = |probes, filter: &Filter| {
        let search = Search {
            embedding: Embedding::from_f32(vector).expect("valid"),
            limit: 5,
            probes,
            filter: filter.clone(),
        };
        reader.search(&search).expect("readable").hits
    };
    let intents = reader.intents();
    assert!(intents.len() > 10, "most are far from the vector");
    for intent in intents {
        let filter = Filter {
            intents: vec![intent.intent],
            ..Filter::default()
        };
        let exact = search(None, &filter);
        assert!(!exact.is_empty());
        assert_eq!(search(Some(1), &filter), exact, "intent {}", intent.intent);
    }
    let rare = Filter {
        kind_prefixes: vec!["again".to_owned()],
        ..Filter::default()
    };
    assert_eq!(search(Some(1), &rare).len(), 5);
}

#[test]
fn search_finds_what_an_exact_search_finds() {
    let replica = Replica::new().apply_in(&stream(), 50);
    let reader = replica.ledger.reader();
    let (mut found, mut wanted) = (0, 0);
    for vector in vectors(7, 1_000, DIMENSION, 40).iter().step_by(50) {
        let search = |probes| {
            let search = Search {
                embedding: Embedding::from_f32(vector).expect("valid"),
                limit: 10,
                probes,
                filter: Filter::default(),
            };
            reader.search(&search).expect("readable")
        };
        let exact = search(None);
        assert!(exact.is_exact);
        assert!((exact.hits[0].similarity - 1.0).abs() < 1e-3, "itself");
        assert!(exact.hits.is_sorted_by(|a, b| a.similarity >= b.similarity));
        let probed = search(Some(8));
        let nearest: BTreeSet<_> = probed.hits.iter().map(|hit| hit.header.sequence).collect();
        wanted += exact.hits.len();
        found += exact
            .hits
            .iter()
            .filter(|hit| nearest.contains(&hit.header.sequence))
            .count();
        // All intents are all embedded events.
        let all = search(Some(usize::MAX));
        assert!(all.is_exact && all.hits == exact.hits);
    }
    assert!(found * 10 >= wanted * 8, "{found} of {wanted}");
}

#[test]
fn classification_tells_where_an_event_would_go() {
    let mut replica = Replica::new().apply_in(&stream(), 50);
    let reader = replica.ledger.reader();
    for (n, vector) in vectors(7, 60, DIMENSION, 40).iter().enumerate() {
        let embedding = Embedding::from_f32(vector).expect("valid");
        let told = reader.classify(&embedding, 3).expect("readable");
        let event = event("classified", &n.to_string()).embedded(vector);
        let outcome = replica.apply(&[Command::Commit(commit([event]))]).remove(0);
        let header = accepted(outcome).remove(0);
        match told.micro_cluster {
            Some((micro, similarity)) => {
                assert_eq!(header.micro_cluster, Some(micro));
                assert!((-1.0..=1.001).contains(&similarity));
            }
            None => assert!(header.micro_cluster.is_some()),
        }
        if told.intent.is_some() {
            assert_eq!(header.intent, told.intent);
        }
        assert_eq!(told.nearest.len(), 3);
        assert!(told.nearest.is_sorted_by(|a, b| a.1 >= b.1));
    }
    let other = Embedding::from_f32(&[1.0, 2.0]).expect("valid");
    assert!(reader.classify(&other, 3).is_err());
}
