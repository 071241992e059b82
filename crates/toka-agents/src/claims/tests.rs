//! Chains of claims on a vault in memory, with a clock that the test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use toka_ledger::VaultBus;
use toka_ledger::seam::{Clock, Seams};

use super::*;
use crate::store::Store;

const LEASE: Duration = Duration::from_secs(10);

/// A clock that the test moves.
#[derive(Debug)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn unix_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

struct Scene {
    vault: VaultBus,
    clock: Arc<Hand>,
    task: EventHeader,
}

impl Scene {
    async fn new() -> Self {
        let clock = Arc::new(Hand(AtomicU64::new(1_700_000_000_000)));
        let seams = Seams {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            ..Seams::system()
        };
        let vault = VaultBus::builder().seams(seams).open_in_memory();
        let vault = vault.expect("opened");
        let task = vault.event("task").commit().await.expect("committed");
        Self { vault, clock, task }
    }

    fn agent(&self, name: &str) -> Claims {
        let store: Arc<dyn Store> = Arc::new(self.vault.clone());
        let kind = Kind::new("task.claim").expect("valid");
        Claims::new(store, kind, name, LEASE)
    }

    fn pass(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).expect("short");
        self.clock.0.fetch_add(ms, Ordering::SeqCst);
    }

    /// The chain as the vault has it, and that each link is the only child of the one before.
    fn chain(&self) -> Vec<EventHeader> {
        let events: Result<Vec<_>, _> = self.vault.range(1..).collect();
        let events = events.expect("readable");
        let is_link = |event: &EventHeader| event.kind == "task.claim";
        let links: Vec<_> = events.into_iter().filter(is_link).collect();
        let mut before = self.task.digest;
        for link in &links {
            assert_eq!(link.parents[0].digest, before, "{links:?}");
            assert!(!link.salt.is_empty());
            before = link.digest;
        }
        links
    }
}

#[tokio::test]
async fn a_claimed_task_is_held_until_its_lease_is_over() {
    let scene = Scene::new().await;
    let (a, b) = (scene.agent("a"), scene.agent("b"));
    let claim = a.claim(&scene.task).await.expect("claimed");
    let refused = b.acquire(&scene.task).await.expect_err("held");
    assert!(
        matches!(&refused, ClaimError::Held { number, .. } if *number == claim.number()),
        "{refused}"
    );
    scene.pass(LEASE - Duration::from_millis(1));
    assert!(b.acquire(&scene.task).await.is_err());
    scene.pass(Duration::from_millis(1));
    let taken = b.acquire(&scene.task).await.expect("taken over");
    assert!(taken.number() > claim.number());
    assert_eq!(taken.action(), Action::TakeOver);
    assert_eq!(scene.chain().len(), 2);
}

#[tokio::test]
async fn a_renewal_moves_the_end_of_the_lease() {
    let scene = Scene::new().await;
    let (a, b) = (scene.agent("a"), scene.agent("b"));
    let claim = a.claim(&scene.task).await.expect("claimed");
    scene.pass(LEASE / 2);
    let renewed = a.renew(&claim).await.expect("renewed");
    scene.pass(LEASE / 2);
    assert!(b.take_over(scene.task.id).await.is_err());
    assert!(renewed.expires_unix_ms() > claim.expires_unix_ms());
    assert_eq!(scene.chain().len(), 2);
}

#[tokio::test]
async fn a_holder_that_was_late_cannot_complete() {
    let scene = Scene::new().await;
    let (a, b) = (scene.agent("a"), scene.agent("b"));
    let late = a.claim(&scene.task).await.expect("claimed");
    scene.pass(LEASE);
    let taken = b.take_over(scene.task.id).await.expect("taken over");
    let result = || vec![EventDraft::new("task.result")];
    let refused = a.complete(&late, result()).await.expect_err("fenced off");
    assert!(matches!(refused, ClaimError::Held { number, .. } if number == taken.number()));
    let done = b.complete(&taken, result()).await.expect("completed");
    assert_eq!(done.results[0].parents[0].id, done.claim.id());
    let again = a.complete(&late, result()).await.expect_err("done");
    assert!(matches!(again, ClaimError::Completed { link } if link == done.claim.id()));
    assert_eq!(scene.chain().len(), 3);
}

#[tokio::test]
async fn a_holder_that_is_late_may_complete_while_nobody_has_taken_over() {
    let scene = Scene::new().await;
    let a = scene.agent("a");
    let claim = a.claim(&scene.task).await.expect("claimed");
    scene.pass(10 * LEASE);
    a.complete(&claim, Vec::new()).await.expect("completed");
    let b = scene.agent("b").take_over(scene.task.id).await;
    assert!(matches!(b, Err(ClaimError::Completed { .. })));
}

#[tokio::test]
async fn a_task_that_is_given_back_is_free_at_once() {
    let scene = Scene::new().await;
    let a = scene.agent("a");
    let claim = a.claim(&scene.task).await.expect("claimed");
    a.release(&claim).await.expect("given back");
    let taken = scene.agent("b").acquire(&scene.task).await;
    assert_eq!(taken.expect("taken").holder().name, "b");
}

#[tokio::test]
async fn who_does_not_know_of_its_own_renewal_goes_on_after_it() {
    let scene = Scene::new().await;
    let a = scene.agent("a");
    let claim = a.claim(&scene.task).await.expect("claimed");
    // Its answer is lost.
    let renewed = a.renew(&claim).await.expect("renewed");
    let done = a.complete(&claim, Vec::new()).await.expect("completed");
    assert!(done.claim.number() > renewed.number());
    assert_eq!(scene.chain().len(), 3);
}

#[tokio::test]
async fn two_sessions_of_one_name_are_two_holders() {
    let scene = Scene::new().await;
    let first = scene.agent("a").claim(&scene.task).await;
    first.expect("claimed");
    let second = scene.agent("a").claim(&scene.task).await;
    assert!(matches!(second, Err(ClaimError::Held { .. })));
}

#[tokio::test]
async fn of_many_that_take_over_at_once_one_succeeds() {
    let scene = Scene::new().await;
    scene.agent("a").claim(&scene.task).await.expect("claimed");
    scene.pass(LEASE);
    let agents: Vec<_> = (0..20).map(|n| scene.agent(&format!("b{n}"))).collect();
    let tries = agents.iter().map(|agent| agent.take_over(scene.task.id));
    let got = futures::future::join_all(tries).await;
    assert_eq!(got.iter().filter(|got| got.is_ok()).count(), 1);
    assert_eq!(scene.chain().len(), 2);
}

#[tokio::test]
async fn leases_are_bounded() {
    let scene = Scene::new().await;
    let holder = scene.agent("a").holder().clone();
    let kind = Kind::new("task.claim").expect("valid");
    for lease in [Duration::ZERO, LEASE_MAX + Duration::from_millis(1)] {
        let refused = ClaimStep::claim(&kind, &scene.task, &holder, lease);
        assert!(matches!(
            refused,
            Err(Invalid::OutOfRange {
                field: "lease_ms",
                ..
            })
        ));
    }
}

#[tokio::test]
async fn a_claim_that_was_given_back_can_be_taken_over_and_not_renewed() {
    let scene = Scene::new().await;
    let a = scene.agent("a");
    let claim = a.claim(&scene.task).await.expect("claimed");
    a.release(&claim).await.expect("given back");
    a.release(&claim).await.expect("it is already");
    let refused = a.renew(&claim).await.expect_err("it is nobody's");
    assert!(matches!(refused, ClaimError::Held { .. }), "{refused}");
    assert_eq!(scene.chain().len(), 2);
    let again = a.take_over(scene.task.id).await.expect("taken over");
    assert_eq!(again.lease(), LEASE);
}

/// A keeper counts on the clock of the machine for when to renew, and for when it says that it may be too late.
#[tokio::test]
async fn a_kept_claim_is_renewed_until_it_is_completed() {
    let vault = VaultBus::builder().open_in_memory().expect("opened");
    let task = vault.event("task").commit().await.expect("committed");
    let store: Arc<dyn Store> = Arc::new(vault.clone());
    let kind = Kind::new("task.claim").expect("valid");
    let claims = Claims::new(store, kind, "a", LEASE_MIN);
    let claim = claims.claim(&task).await.expect("claimed");
    let keeper = Keeper::start(claims, claim.clone(), Keep::default());
    let mut held = keeper.watch();
    let is_renewed = |held: &Option<Claim>| {
        held.as_ref()
            .is_some_and(|held| held.number() >= claim.number() + 2)
    };
    held.wait_for(is_renewed).await.expect("it is kept");
    let done = keeper.complete(Vec::new()).await.expect("completed");
    assert!(done.claim.number() > claim.number() + 2);
}

#[tokio::test]
async fn a_claim_that_was_renewed_as_often_as_it_may_is_let_go() {
    let vault = VaultBus::builder().open_in_memory().expect("opened");
    let task = vault.event("task").commit().await.expect("committed");
    let store: Arc<dyn Store> = Arc::new(vault.clone());
    let kind = Kind::new("task.claim").expect("valid");
    let claims = Claims::new(store, kind, "a", 10 * LEASE_MIN);
    let claim = claims.claim(&task).await.expect("claimed");
    let keeper = Keeper::start(claims, claim, Keep { renewals_max: 2 });
    keeper.lost().await;
    assert_eq!(keeper.claim(), None);
    let ended = keeper.complete(Vec::new()).await;
    assert!(matches!(ended, Err(ClaimError::Exhausted { renewals: 2 })));
}
