//! Keeps a claim while its task is worked on.

use std::pin::pin;

use toka_ledger::EventDraft;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Claim, ClaimError, Claims, Completed, LEASE_MIN};

/// Renewals for each lease: two may fail before others can have the task.
const RENEWALS_A_LEASE: u32 = 3;

/// How long a claim is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Renewals at most. After them the lease runs out, so that a task whose work hangs is not kept for ever.
    pub renewals_max: u32,
}

impl Default for Keep {
    /// A thousand renewals: more than five hours of leases of a minute.
    fn default() -> Self {
        Self {
            renewals_max: 1_000,
        }
    }
}

/// Renews a claim in the background, three times a lease, until it is done with, lost, or renewed as often as it may be.
///
/// While the vault is away for longer than a lease the claim counts as not kept: others may have reached it, and the task.
/// Should nobody have, the next renewal keeps it again.
///
/// Dropped, it stops, and the lease runs out by itself.
#[derive(Debug)]
pub struct Keeper {
    claims: Claims,
    /// `None`: it is not held any more.
    held: watch::Receiver<Option<Claim>>,
    stop: CancellationToken,
    task: Option<JoinHandle<Result<Claim, ClaimError>>>,
}

impl Keeper {
    /// Begins to keep a claim.
    #[must_use]
    pub fn start(claims: Claims, claim: Claim, keep: Keep) -> Self {
        let (told, held) = watch::channel(Some(claim.clone()));
        let stop = CancellationToken::new();
        let task = tokio::spawn(renew(claims.clone(), claim, keep, told, stop.clone()));
        Self {
            claims,
            held,
            stop,
            task: Some(task),
        }
    }

    /// The claim with its newest fencing number; `None` if it is not kept any more.
    #[must_use]
    pub fn claim(&self) -> Option<Claim> {
        self.held.borrow().clone()
    }

    /// Follows what [`Keeper::claim`] says.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Option<Claim>> {
        self.held.clone()
    }

    /// Returns once the claim is not kept any more, as by [`Keeper::claim`]: whoever works on the task stops then. To be
    /// selected over with the work.
    pub async fn lost(&self) {
        let mut held = self.held.clone();
        // It fails when the task has ended, and then it is not kept either.
        let _ = held.wait_for(Option::is_none).await;
    }

    /// Ends the renewals, and is done with the task: see [`Claims::complete`].
    ///
    /// # Errors
    /// As [`Claims::complete`]; [`ClaimError::Exhausted`] where that is why it was not kept.
    pub async fn complete(mut self, results: Vec<EventDraft>) -> Result<Completed, ClaimError> {
        let claim = self.end().await?;
        self.claims.complete(&claim, results).await
    }

    /// Ends the renewals, and gives the task back.
    ///
    /// # Errors
    /// As [`Claims::release`].
    pub async fn release(mut self) -> Result<(), ClaimError> {
        let claim = self.end().await?;
        self.claims.release(&claim).await
    }

    /// Stops, and returns the last link that is known. A renewal that is under way is left to itself: what the holder does
    /// next goes on after it, should it be made.
    async fn end(&mut self) -> Result<Claim, ClaimError> {
        self.stop.cancel();
        let task = self
            .task
            .take()
            .expect("it is ended once: `self` is used up");
        match task.await {
            Ok(ended) => ended,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(crate::store::StoreError::Interrupted.into()),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Renews until it is told to stop, and returns the last link then.
async fn renew(
    claims: Claims,
    mut claim: Claim,
    keep: Keep,
    told: watch::Sender<Option<Claim>>,
    stop: CancellationToken,
) -> Result<Claim, ClaimError> {
    let mut renewals = 0;
    // By this machine's clock, and counted from before the link was asked for: so it is over before the lease is.
    let mut over = Instant::now() + claim.lease();
    loop {
        let pause = claim.lease().max(LEASE_MIN) / RENEWALS_A_LEASE;
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(claim),
            () = until_over(over, &told, sleep(pause)) => {}
        }
        if renewals >= keep.renewals_max {
            told.send_replace(None);
            tracing::warn!(task = %claim.task(), holder = %claim.holder(), renewals, "claim was renewed as often as it may");
            return Err(ClaimError::Exhausted { renewals });
        }
        renewals += 1;
        let asked = Instant::now();
        let renewed = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(claim),
            renewed = until_over(over, &told, claims.renew(&claim)) => renewed,
        };
        match renewed {
            Ok(renewed) => {
                claim = renewed;
                over = asked + claim.lease();
                told.send_replace(Some(claim.clone()));
            }
            // The vault is away. The next renewal may find it held still.
            Err(ClaimError::Store(error)) if error.class() == crate::store::Class::Transient => {
                tracing::warn!(task = %claim.task(), %error, "claim was not renewed");
            }
            Err(error) => {
                told.send_replace(None);
                tracing::info!(task = %claim.task(), holder = %claim.holder(), %error, "claim was lost");
                return Err(error);
            }
        }
    }
}

/// Goes on with a call, and says at `over` that the claim is not kept.
async fn until_over<T>(
    over: Instant,
    told: &watch::Sender<Option<Claim>>,
    call: impl Future<Output = T>,
) -> T {
    let mut call = pin!(call);
    tokio::select! {
        biased;
        done = &mut call => return done,
        () = sleep_until(over) => {}
    }
    told.send_if_modified(|claim| claim.take().is_some());
    call.await
}
