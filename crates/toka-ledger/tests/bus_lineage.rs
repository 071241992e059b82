//! Lineage in an embedded vault.

use toka_ledger::read::lineage::{Query, Relation};
use toka_ledger::{Error, EventHeader, EventId, Selector, VaultBus};

async fn commit(vault: &VaultBus, kind: &str, parents: &[&EventHeader]) -> EventHeader {
    let event = vault.event(kind);
    let event = parents
        .iter()
        .fold(event, |event, parent| event.parent(parent));
    event.commit().await.expect("committed")
}

/// 1; 2 and 3 of it; 4 of both; 5 alone.
async fn diamond() -> (VaultBus, Vec<EventHeader>) {
    let vault = VaultBus::builder().open_in_memory().expect("opens");
    let root = commit(&vault, "root", &[]).await;
    let left = commit(&vault, "side.left", &[&root]).await;
    let right = commit(&vault, "side.right", &[&root]).await;
    let end = commit(&vault, "end", &[&left, &right]).await;
    let alone = commit(&vault, "alone", &[]).await;
    (vault, vec![root, left, right, end, alone])
}

fn sequences(events: impl Iterator<Item = Result<EventHeader, Error>>) -> Vec<u64> {
    events
        .map(|header| header.expect("readable").sequence)
        .collect()
}

#[tokio::test]
async fn embedded_vault_answers_what_a_node_does() {
    let (vault, events) = diamond().await;
    let [root, left, right, end, alone] = &events[..] else {
        panic!("five events");
    };
    let up = vault.ancestors(end.id).expect("it is there");
    let up: Vec<(u64, u32)> = up
        .map(|relative| relative.expect("readable"))
        .map(|relative| (relative.header.sequence, relative.depth))
        .collect();
    assert_eq!(up, [(4, 0), (2, 1), (3, 1), (1, 2)]);
    let down = vault.descendants(root.id).expect("it is there");
    assert_eq!(down.count(), 4);
    let newer = vault.difference(left.id, end.id).expect("both are there");
    assert_eq!(sequences(newer), [4, 3]);
    let common = |first: &EventHeader, second: &EventHeader| {
        let common = vault.common_ancestors(first.id, second.id);
        common.expect("both are there")
    };
    assert_eq!(common(left, right), std::slice::from_ref(root));
    assert_eq!(common(left, end), std::slice::from_ref(left));
    assert!(common(alone, end).is_empty());
    assert_eq!(sequences(vault.heads("")), [5, 4]);
    assert_eq!(sequences(vault.heads("e")), [4]);
    let nobody = EventId::from_bytes([7; 16]);
    let missing = vault.ancestors(nobody).err();
    assert!(matches!(missing, Some(Error::NotFound { .. })));
}

#[tokio::test]
async fn walk_of_an_embedded_vault_keeps_to_its_limits() {
    let (vault, _) = diamond().await;
    let query = Query {
        depth_max: 1,
        kind_prefixes: vec!["side.".to_owned()],
        ..Query::new(Selector::Sequence(4), Relation::Ancestors)
    };
    let walk = vault.walk(&query).expect("it is there");
    let found = walk.map(|relative| relative.expect("readable").header.sequence);
    assert_eq!(found.collect::<Vec<_>>(), [2, 3]);
}
