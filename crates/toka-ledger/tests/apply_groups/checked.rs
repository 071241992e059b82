//! Groups in restores, in verification and in sums.

use super::*;

#[test]
fn sums_are_kept_at_every_256th_revision() {
    let mut vault = with_tasks(1, settings());
    vault.pull(NOW, "a", 1);
    let incarnation = vault.group().incarnation;
    let extends = (0..600).map(|ms| settle(NOW + ms, incarnation, [(1, 1, Verdict::Extend)]));
    let extends: Vec<_> = extends.collect();
    let (before, rest) = extends.split_at(300);
    vault.apply(before);
    let kept = vault.ledger.reader().group_sums();
    assert_eq!(kept.iter().map(|sum| sum.0).collect::<Vec<_>>(), [256]);
    vault.apply(rest);
    let kept = vault.ledger.reader().group_sums();
    assert_eq!(kept.iter().map(|sum| sum.0).collect::<Vec<_>>(), [512, 256]);
    assert_ne!(kept[0].1, kept[1].1);
}

/// A vault with two tasks outstanding, one parked and one acknowledged.
fn busy() -> Vault {
    let mut vault = with_tasks(6, settings());
    vault.pull(NOW, "a", 3);
    let reason = "broken".to_owned();
    let verdicts = [
        (1, 1, Verdict::Acknowledge),
        (2, 1, Verdict::Park { reason }),
    ];
    vault.settle(NOW, verdicts);
    vault.pull(NOW, "b", 1);
    vault
}

#[test]
fn restore_to_an_event_keeps_groups_up_to_it_and_no_lease() {
    let vault = busy();
    let source = vault.ledger.reader();
    let before = vault.group();
    assert_eq!((before.position, before.unacknowledged), (4, 2));
    let (restored, engine) = repeated(&source, 3);
    assert_eq!(problems(&restored), []);
    let group = restored.group(&name()).expect("readable").expect("kept");
    assert_eq!((group.position, group.unacknowledged), (3, 1));
    assert_eq!((group.parked, &group.settings), (1, &before.settings));
    assert_eq!(group.incarnation, restored.position().revision);
    let items = restored.group_items(&name(), 0, 9).expect("readable");
    assert_eq!((items[0].sequence, items[0].deliveries), (3, 1));
    assert!(matches!(items[0].state, ItemState::Waiting { .. }));
    // Again, over what is there: the groups of then go.
    let threads: Arc<dyn Threads> = Arc::new(InlineThreads);
    repeat(&engine, &source, 6, &threads, &mut |_| {}).expect("repeated");
    let (restored, _) = Ledger::read_only(engine).expect("opens");
    assert_eq!(problems(&restored), []);
    let group = restored.group(&name()).expect("readable").expect("kept");
    assert_eq!((group.position, group.unacknowledged), (4, 2));
}

#[test]
fn damaged_row_of_a_group_is_found() {
    let vault = busy();
    let rows = contents(&*vault.engine);
    let is_group = |key: &[u8]| key.starts_with(b"group");
    let rows = rows.into_iter().filter(|(_, key, _)| is_group(key));
    let rows: Vec<_> = rows.collect();
    // The group, two that are outstanding, one that is parked, the sum.
    assert_eq!(rows.len(), 5);
    for (_, key, row) in rows {
        let mut damaged = row.to_vec();
        damaged[1] ^= 4;
        for changed in [Some(damaged), None] {
            let mut batch = Batch::new();
            match changed {
                Some(row) => batch.put(Table::Meta, &key, row),
                None => batch.delete(Table::Meta, &key),
            }
            let engine = &vault.engine;
            engine.write(batch, Durability::Volatile).expect("written");
            let problems = problems(&vault.ledger.reader());
            assert!(!problems.is_empty(), "{key:?}");
        }
        let mut batch = Batch::new();
        batch.put(Table::Meta, &key, &row);
        let engine = &vault.engine;
        engine.write(batch, Durability::Volatile).expect("written");
    }
    assert_eq!(problems(&vault.ledger.reader()), []);
}

#[test]
fn digest_says_whether_two_vaults_have_the_same_groups() {
    let digest = |vault: &Vault| {
        let digest = vault.ledger.reader().groups_digest();
        digest.expect("readable")
    };
    let (mut one, other) = (busy(), busy());
    assert_eq!(digest(&one), digest(&other));
    let revision = one.ledger.position().revision;
    assert_eq!(digest(&one).0, revision);
    one.settle(NOW, [(3, 1, Verdict::Acknowledge)]);
    assert_ne!(digest(&one).1, digest(&other).1);
    let incarnation = one.group().incarnation;
    one.apply(&[delete_group(NOW, incarnation)]);
    assert_eq!(digest(&one).1, digest(&Vault::new()).1);
}
