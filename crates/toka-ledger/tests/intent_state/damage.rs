//! What differs is found before it does harm.

use super::*;

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
