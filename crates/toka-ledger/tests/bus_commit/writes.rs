//! Commits of many at once, writes that fail, the end of the vault, and its clock.

use super::*;

#[tokio::test]
async fn concurrent_commits_share_one_write() {
    let (engine, vault) = opened();
    let before = engine.writes();
    let (hold, commits) = held(&engine, &vault, 64).await;
    hold.open();
    let headers = join_all(commits).await;
    let mut sequences: Vec<_> = headers
        .into_iter()
        .map(|header| header.expect("committed").sequence)
        .collect();
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=64).collect::<Vec<_>>());
    assert_eq!(engine.writes() - before, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_committers_get_their_own_outcomes() {
    let vault = vault();
    let tasks: Vec<_> = (0..64_u32)
        .map(|committer| {
            let vault = vault.clone();
            tokio::spawn(async move {
                for n in 0..20_u32 {
                    let event = vault.event("n").payload(&(committer, n));
                    let header = event.commit().await.expect("committed");
                    assert_eq!(
                        vault.payload::<(u32, u32)>(&header).expect("read"),
                        (committer, n)
                    );
                    assert_eq!(vault.get(header.id).expect("read your writes"), header);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    assert_eq!(vault.position().sequence, 64 * 20);
    let report = vault.verify().expect("verified");
    assert!(report.is_intact(), "{:?}", report.problems);
}

#[tokio::test]
async fn failed_write_fails_all_that_wait_and_leaves_the_vault_readable() {
    let (engine, vault) = opened();
    let first = plain(&vault, "a").await;
    let mut events = vault.subscribe();
    let (hold, commits) = held(&engine, &vault, 8).await;
    engine.fail();
    hold.open();
    for result in join_all(commits).await {
        let Err(Error::Engine(error)) = result else {
            panic!("{result:?}")
        };
        assert!(error.is_storage_full(), "{error}");
    }
    assert!(matches!(
        vault.event("b").commit().await,
        Err(Error::Closed)
    ));
    assert_eq!(vault.get(first.id).expect("readable"), first);
    assert_eq!(vault.position().sequence, 1);
    assert!(matches!(events.recv().await, Err(Error::Closed)));
}

#[tokio::test]
async fn caller_that_gives_up_harms_nobody() {
    let (engine, vault) = opened();
    let hold = engine.hold_next_write();
    let mut commit = Box::pin(vault.event("a").commit());
    assert!(futures::poll!(&mut commit).is_pending());
    hold.wait();
    drop(commit);
    hold.open();
    assert_eq!(plain(&vault, "b").await.sequence, 2);
}

#[tokio::test]
async fn closed_vault_takes_no_commit_and_finishes_those_it_has() {
    let (engine, vault) = opened();
    let other = vault.clone();
    let (hold, commits) = held(&engine, &other, 3).await;
    let mut closing = Box::pin(vault.close());
    assert!(futures::poll!(&mut closing).is_pending());
    hold.open();
    closing.await;
    for result in join_all(commits).await {
        assert!(result.is_ok(), "{result:?}");
    }
    assert!(matches!(
        other.event("late").commit().await,
        Err(Error::Closed)
    ));
    assert_eq!(other.position().sequence, 3);
}

#[derive(Debug)]
struct FixedClock(u64);

impl Clock for FixedClock {
    fn unix_ms(&self) -> u64 {
        self.0
    }
}

#[tokio::test]
async fn time_comes_from_the_clock_that_is_passed_in() {
    let seams = Seams {
        clock: Arc::new(FixedClock(1_700_000_000_123)),
        ..Seams::system()
    };
    let vault = VaultBus::builder()
        .seams(seams)
        .open_in_memory()
        .expect("opened");
    let header = plain(&vault, "a").await;
    assert_eq!(
        (header.unix_ms, header.id.unix_ms()),
        (1_700_000_000_123, 1_700_000_000_123)
    );
    let error = vault
        .event("b")
        .precondition(Precondition::TimePassed {
            unix_ms: 1_700_000_000_124,
        })
        .commit()
        .await;
    assert!(
        matches!(error, Err(Error::Rejected(Rejection::Preconditions { .. }))),
        "{error:?}"
    );
}

#[test]
fn commit_of_a_payload_that_is_not_sync_can_be_spawned() {
    fn require_send(_: impl Send) {}
    let vault = vault();
    let not_sync = std::cell::Cell::new(7);
    require_send(vault.commit(&not_sync, &[], "k", vector()));
}
