use super::*;
use crate::intent::table::SKETCH_MICROS_MIN;
use crate::seam::InlineThreads;

const DIMENSION: usize = 24;
const EVENTS: u64 = 3_600;

/// Nearly every event is a micro-cluster of its own, and macro-clusterings take effect at once.
fn parameters() -> Parameters {
    Parameters {
        background_micro_clusters: 4_096,
        ..Parameters::default()
    }
    .tau(0.93)
    .expect("in range")
}

/// Vectors about 40 topics, the same on every run.
fn embedding(n: u64) -> Embedding {
    let mut state = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let centre = |at: usize| ((n % 40 + 1) as f32 * (at + 2) as f32 * 0.7).sin();
    let components: Vec<f32> = (0..DIMENSION).map(|at| centre(at) + noise()).collect();
    Embedding::from_f32(&components).expect("not zero")
}

/// Takes the sketch away, if there is one; whether there was.
fn without_sketch(clusterer: &mut Clusterer) -> bool {
    let table = clusterer
        .space
        .as_mut()
        .and_then(|space| space.table.as_mut());
    let table = table.expect("there are events");
    let had = table.has_sketch();
    table.forget_sketch();
    had
}

/// Goes on with `kernel`, after the first event.
fn use_kernel(clusterer: &mut Clusterer, kernel: Kernel) {
    let space = clusterer.space.as_mut().expect("there is an event");
    space.kernel = kernel;
    space.table = Some(Table::new(space.dimension, kernel));
    space.rebuild_table();
}

#[test]
fn kernels_assign_alike() {
    const EVENTS: u64 = 600;
    // Nearly every micro-cluster is full.
    let parameters = Parameters {
        count_cap: 2,
        ..Parameters::default()
    };
    let mut expected = None;
    for kernel in Kernel::available() {
        let mut clusterer = Clusterer::new(Arc::new(InlineThreads));
        let mut assigned = Vec::new();
        for sequence in 1..=EVENTS {
            let embedding = embedding(sequence);
            assigned.push(clusterer.assign(parameters, &embedding, sequence));
            let _ = clusterer.settle(sequence);
            if sequence == 1 {
                use_kernel(&mut clusterer, kernel);
            }
        }
        let found = (assigned, clusterer.digest_after(EVENTS));
        let expected = expected.get_or_insert_with(|| found.clone());
        assert_eq!(found, *expected, "{}", kernel.name());
    }
}

#[test]
fn sketch_changes_no_assignment_and_no_record() {
    let new = || Clusterer::new(Arc::new(InlineThreads));
    let (mut sketched, mut plain) = (new(), new());
    let mut with_sketch = 0;
    for batch in (1..=EVENTS).collect::<Vec<_>>().chunks(48) {
        let embeddings: Vec<_> = batch.iter().map(|&n| embedding(n)).collect();
        sketched.expect(embeddings.clone());
        for (&sequence, embedding) in batch.iter().zip(&embeddings) {
            let assigned = sketched.assign(parameters(), embedding, sequence);
            // Alone: neither sketch nor block.
            assert_eq!(plain.assign(parameters(), embedding, sequence), assigned);
            let changes = sketched.settle(sequence);
            let expected = plain.settle(sequence);
            assert_eq!(
                (changes.rows, changes.links),
                (expected.rows, expected.links)
            );
            with_sketch += u64::from(without_sketch(&mut plain));
        }
    }
    let space = sketched.space().expect("there are events");
    let table = space.table.as_ref().expect("no replay");
    assert!(
        table.has_sketch() && table.len() > SKETCH_MICROS_MIN,
        "{}",
        table.len()
    );
    // It was made anew a few times, and used in between.
    assert!(with_sketch > 2, "{with_sketch}");
}
