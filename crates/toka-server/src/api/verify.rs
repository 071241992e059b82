//! Checking everything that this node has of the vault.
//!
//! One task for each check hands over how far it is, where the caller takes that, and the report. It ends with
//! its caller.

use std::sync::Arc;

use futures::stream;
use toka_proto::convert::read::{Header, check_vault};
use toka_proto::convert::status;
use toka_proto::convert::verify::{Part, Verified};
use toka_proto::v1;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use super::Shared;
use super::vault::Answers;
use crate::limits::{VERIFY_DAMAGE_TIMEOUT, VERIFY_PARTS_AHEAD, VERIFY_STALL_TIMEOUT};
use crate::refusal;

type Parts = mpsc::Sender<Result<v1::VerifyResponse, Status>>;

pub(super) async fn open(
    shared: &Arc<Shared>,
    request: Request<v1::VerifyRequest>,
) -> Result<Response<Answers<v1::VerifyResponse>>, Status> {
    shared.admit(&request)?;
    let permit = shared.gates.verifications.enter_or_leave("verifications")?;
    let request = request.into_inner();
    check_vault(&request.vault).map_err(|error| status::invalid(&error))?;
    let (parts, queue) = mpsc::channel(VERIFY_PARTS_AHEAD);
    let verifying = Verifying {
        shared: Arc::clone(shared),
        parts,
        rate_limit_bytes_per_s: request.rate_limit_bytes_per_s,
        threads: usize::try_from(request.threads).unwrap_or(usize::MAX),
        permit: Arc::new(permit),
    };
    // It ends with its queue, or when the node stops.
    tokio::spawn(toka_trace::with_current(verifying.run()));
    let answers = stream::unfold(queue, |mut queue| async move {
        let part = queue.recv().await?;
        Some((part, queue))
    });
    Ok(Response::new(Box::pin(answers)))
}

/// One check.
struct Verifying {
    shared: Arc<Shared>,
    parts: Parts,
    /// 0: none.
    rate_limit_bytes_per_s: u64,
    /// 0: the node decides.
    threads: usize,
    permit: Arc<OwnedSemaphorePermit>,
}

impl Verifying {
    async fn run(self) {
        let node_id = self.shared.replica.node_id();
        tracing::info!(node_id, "verifying the vault");
        let verified = tokio::select! {
            biased;
            // First: what was found counts, also if its caller has just gone. What was found until then is noted
            // when this is dropped.
            verified = self.verify() => verified,
            () = self.shared.draining.cancelled() => Err(status::stopping()),
            () = self.parts.closed() => {
                tracing::info!(node_id, "verification broken off by its caller");
                return;
            }
        };
        match verified {
            Ok(verified) => self.tell(verified).await,
            Err(status) => {
                tracing::warn!(node_id, reason = status.message(), "vault not verified");
                // A caller that takes nothing is not waited for.
                let _ = self.parts.try_send(Err(status));
            }
        }
    }

    async fn verify(&self) -> Result<Verified, Status> {
        let replica = &self.shared.replica;
        let (parts, permit) = (self.parts.clone(), Arc::clone(&self.permit));
        let progress = move |progress| {
            // Until the reading has ended, which is after a caller has gone away.
            let _held = &permit;
            // Left out while the caller takes none.
            let _ = parts.try_send(Ok(Part::Progress(progress).into()));
        };
        let verified = replica
            .verify(self.rate_limit_bytes_per_s, self.threads, progress)
            .await
            .map_err(|error| refusal::copy(&error))?;
        Ok(Verified {
            header: Header {
                cluster_id: replica.cluster_id().unwrap_or_default(),
                history_id: self.shared.history_id(),
                node_id: replica.node_id(),
                term: replica.term(),
                revision: verified.position.revision,
                sequence: verified.position.sequence,
            },
            report: verified.report,
        })
    }

    /// Tells the caller, and then, if something cannot be read, stops the node.
    async fn tell(&self, verified: Verified) {
        let (node_id, problems) = (verified.header.node_id, verified.report.problems_total);
        let report = verified.report.clone();
        let part = Part::Report(Box::new(verified));
        let told = timeout(VERIFY_STALL_TIMEOUT, self.parts.send(Ok(part.into()))).await;
        let is_told = matches!(told, Ok(Ok(())));
        if report.is_intact() {
            tracing::info!(node_id, events = report.events, is_told, "vault verified");
            return;
        }
        tracing::error!(node_id, problems, is_told, "the vault is not sound");
        // A caller that has the report lets go of the stream.
        let _ = timeout(VERIFY_DAMAGE_TIMEOUT, self.parts.closed()).await;
        self.shared.replica.note_damage(&report);
    }
}
