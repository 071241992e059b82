//! Searches and classifications.

use super::*;

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
fn similarity_is_a_cosine_however_components_are_rounded() {
    let replica = Replica::new().apply_in(&stream(), 50);
    let reader = replica.ledger.reader();
    let mut beyond_one = 0;
    for vector in vectors(7, 1_000, DIMENSION, 40).iter().step_by(25) {
        let embedding = Embedding::from_f32(vector).expect("valid");
        let squares = embedding.iter().map(|x| i32::from(x) * i32::from(x));
        beyond_one += usize::from(squares.sum::<i32>() > 1 << 28);
        let search = Search {
            embedding,
            limit: 10,
            probes: None,
            filter: Filter::default(),
        };
        for hit in reader.search(&search).expect("readable").hits {
            let similarity = hit.similarity;
            assert!((-1.0..=1.0).contains(&similarity), "{similarity}");
        }
    }
    assert!(beyond_one > 0, "it is about these");
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
                assert!((-1.0..=1.0).contains(&similarity));
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
