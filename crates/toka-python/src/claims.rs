//! Claims: who works on a task, until when, and with which number.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use pyo3::prelude::*;
use toka_agents::claims::{Action, Claim, ClaimError, Claims, Completed, Keep, Keeper};
use toka_ledger::prepare::EventDraft;
use toka_ledger::{EventId, Kind, Selector};

use crate::call::{Call, let_go};
use crate::draft::Draft;
use crate::error::Failure;
use crate::event::Event;
use crate::names::{seconds, selector};
use crate::vault::Vault;

/// A task that is claimed: the last link that is known of its chain.
#[pyclass(frozen, name = "Claim", module = "toka_vault._native")]
#[derive(Clone, Debug)]
pub(crate) struct Link(Claim);

#[pymethods]
impl Link {
    /// Id of the task.
    #[getter]
    fn task(&self) -> String {
        self.0.task().to_string()
    }

    /// Who has it.
    #[getter]
    fn holder(&self) -> &str {
        &self.0.holder().name
    }

    /// The holder's session, which tells two holders of one name apart: 32 hexadecimal digits.
    #[getter]
    fn session(&self) -> &str {
        &self.0.holder().session
    }

    /// `"claim"`, `"renew"`, `"take_over"`, `"release"` or `"complete"`.
    #[getter]
    fn action(&self) -> &'static str {
        match self.0.action() {
            Action::Claim => "claim",
            Action::Renew => "renew",
            Action::TakeOver => "take_over",
            Action::Release => "release",
            Action::Complete => "complete",
        }
    }

    /// Id of the event that says so.
    #[getter]
    fn id(&self) -> String {
        self.0.id().to_string()
    }

    /// The fencing number: it only grows along the chain of a task, so that work for an older one can be refused.
    #[getter]
    fn number(&self) -> u64 {
        self.0.number()
    }

    /// From when on others may take it over, milliseconds since the Unix epoch, of the vault's time.
    #[getter]
    fn expires_unix_ms(&self) -> u64 {
        self.0.expires_unix_ms()
    }

    /// Whether the task is done.
    #[getter]
    fn is_completed(&self) -> bool {
        self.0.is_completed()
    }

    fn __repr__(&self) -> String {
        let (task, number) = (self.0.task(), self.0.number());
        format!(
            "<Claim {task} {} {number} by {:?}>",
            self.action(),
            self.holder()
        )
    }
}

/// Makes claims for one holder.
#[pyclass(frozen, name = "NativeClaims", module = "toka_vault._native")]
pub(crate) struct Claimant(Claims);

/// Claims by links of `kind`, for a holder of that name with a session of its own; each is held for `lease` seconds.
#[pyfunction]
pub(crate) fn claims(
    vault: &Bound<'_, Vault>,
    kind: &str,
    holder: &str,
    lease: f64,
) -> Result<Claimant, Failure> {
    let (store, kind) = (vault.get().target()?.store(), Kind::new(kind)?);
    let lease = seconds("lease", lease)?;
    Ok(Claimant(Claims::new(store, kind, holder, lease)))
}

#[pymethods]
impl Claimant {
    /// The holder's name.
    #[getter]
    fn holder(&self) -> &str {
        &self.0.holder().name
    }

    /// The last link of a task's chain; `None` if nobody has claimed it.
    fn head(&self, task: Bound<'_, PyAny>) -> Result<Call, Failure> {
        let (claims, task) = (self.0.clone(), id(&task)?);
        Ok(Call::new(
            async move { Ok(claims.head(task).await?.map(Link)) },
        ))
    }

    /// Claims a task that nobody has claimed before.
    fn claim(&self, task: &Bound<'_, Event>) -> Call {
        let (claims, task) = (self.0.clone(), task.get().header.clone());
        Call::new(async move { Ok(Link(claims.claim(&task).await?)) })
    }

    /// Takes over a task whose lease is over, or that was given back.
    fn take_over(&self, task: Bound<'_, PyAny>) -> Result<Call, Failure> {
        let (claims, task) = (self.0.clone(), id(&task)?);
        Ok(Call::new(
            async move { Ok(Link(claims.take_over(task).await?)) },
        ))
    }

    /// Claims a task, or takes it over.
    fn acquire(&self, task: &Bound<'_, Event>) -> Call {
        let (claims, task) = (self.0.clone(), task.get().header.clone());
        Call::new(async move { Ok(Link(claims.acquire(&task).await?)) })
    }

    /// Keeps a task for another lease.
    fn renew(&self, claim: &Bound<'_, Link>) -> Call {
        let (claims, claim) = (self.0.clone(), claim.get().0.clone());
        Call::new(async move { Ok(Link(claims.renew(&claim).await?)) })
    }

    /// Gives a task back.
    fn release(&self, claim: &Bound<'_, Link>) -> Call {
        let (claims, claim) = (self.0.clone(), claim.get().0.clone());
        Call::new(async move { Ok(claims.release(&claim).await?) })
    }

    /// Is done with a task, and commits the results with that, or neither. Returns the last link, and the results.
    fn complete(&self, claim: &Bound<'_, Link>, results: Vec<Bound<'_, Draft>>) -> Call {
        let (claims, claim) = (self.0.clone(), claim.get().0.clone());
        let (drafts, payloads) = parts(&results);
        Call::new(async move {
            let completed = claims.complete(&claim, drafts).await?;
            Ok(completed_with(completed, payloads))
        })
    }

    /// Renews a claim in the background, three times a lease, until it is done with, lost, or was renewed so often.
    #[pyo3(signature = (claim, *, renewals_max=None))]
    fn keep(&self, claim: &Bound<'_, Link>, renewals_max: Option<u32>) -> Call {
        let (claims, claim) = (self.0.clone(), claim.get().0.clone());
        let renewals_max = renewals_max.unwrap_or(Keep::default().renewals_max);
        // On the runtime, which renews it.
        Call::new(async move {
            let keeper = Keeper::start(claims, claim, Keep { renewals_max });
            Ok(Kept(Arc::new(Mutex::new(Some(keeper)))))
        })
    }
}

/// Keeps a claim while its task is worked on. When it is gone, the lease runs out by itself.
#[pyclass(frozen, name = "NativeKeeper", module = "toka_vault._native")]
pub(crate) struct Kept(Arc<Mutex<Option<Keeper>>>);

impl Kept {
    fn with<T>(&self, ask: impl FnOnce(&Keeper) -> T) -> Option<T> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .map(ask)
    }
}

/// Takes the keeper out, to end it.
fn take(keeper: &Mutex<Option<Keeper>>) -> Result<Keeper, Failure> {
    let mut keeper = keeper.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(keeper.take().ok_or(ClaimError::Unclaimed)?)
}

#[pymethods]
impl Kept {
    /// The claim with its newest number; `None` if it is not kept any more.
    #[getter]
    fn claim(&self) -> Option<Link> {
        self.with(Keeper::claim).flatten().map(Link)
    }

    /// Returns once the claim is not kept any more.
    fn lost(&self) -> Call {
        let held = self.with(Keeper::watch);
        Call::new(async move {
            if let Some(mut held) = held {
                // It fails when the keeper has ended, and then it is not kept either.
                let _ = held.wait_for(Option::is_none).await;
            }
            Ok(())
        })
    }

    /// Ends the renewals, and is done with the task.
    fn complete(&self, results: Vec<Bound<'_, Draft>>) -> Call {
        let keeper = Arc::clone(&self.0);
        let (drafts, payloads) = parts(&results);
        Call::new(async move {
            let completed = take(&keeper)?.complete(drafts).await?;
            Ok(completed_with(completed, payloads))
        })
    }

    /// Ends the renewals, and no more: the lease runs out by itself.
    fn stop(&self) {
        let keeper = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let_go(keeper);
    }

    /// Ends the renewals, and gives the task back.
    fn release(&self) -> Call {
        let keeper = Arc::clone(&self.0);
        Call::new(async move { Ok(take(&keeper)?.release().await?) })
    }
}

/// The task that is named by an event or its id.
fn id(task: &Bound<'_, PyAny>) -> Result<EventId, Failure> {
    match selector(task)? {
        Selector::Id(id) => Ok(id),
        Selector::Digest(_) | Selector::Sequence(_) => {
            Err(Failure::invalid("task", "give the event, or its id"))
        }
    }
}

fn parts(results: &[Bound<'_, Draft>]) -> (Vec<EventDraft>, Vec<Bytes>) {
    let results = results.iter().map(|result| result.get());
    results
        .map(|result| (result.draft.clone(), result.payload.clone()))
        .unzip()
}

fn completed_with(completed: Completed, payloads: Vec<Bytes>) -> (Link, Vec<Event>) {
    let results = completed.results.into_iter().zip(payloads);
    let results = results.map(|(header, payload)| Event::committed(header, payload));
    (Link(completed.claim), results.collect())
}
