//! Changes of the membership: made by the leader, forwarded from anywhere else, and tried again with the
//! next leader, since each can be repeated.

use toka_proto::convert::status::{self, Detail, parse};
use toka_proto::v1;
use toka_proto::v1::cluster_service_client::ClusterServiceClient;
use toka_raft::{ChangeError, Leader, NewMember, Replica};
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status};

use super::Shared;
use super::commit::{Refused, forwarded};
use crate::config::check_endpoint;
use crate::limits::REASON_TIMEOUT;
use crate::refusal;
use crate::routing::{Call, Link, Pauses, Route};

/// A request to change the membership.
#[tonic::async_trait]
pub(super) trait Change: Clone + Send + Sync + Sized + 'static {
    type Response: Send + 'static;

    /// Whether it makes sense.
    fn check(&self) -> Result<(), Status> {
        Ok(())
    }

    /// What the audit calls it, and of which nodes it is.
    fn audited(&self) -> (&'static str, Vec<(&'static str, String)>);

    /// Makes the change, on the leader.
    async fn make(self, replica: &Replica) -> Result<Done<Self::Response>, ChangeError>;

    /// Asks the leader to make it.
    async fn forward(
        client: &mut ClusterServiceClient<Link>,
        request: Request<Self>,
    ) -> Result<Response<Self::Response>, Status>;
}

/// The reply to a change, once it has its header.
type Done<T> = Box<dyn FnOnce(v1::ResponseHeader) -> T + Send>;

pub(super) async fn change<C: Change>(
    shared: &Shared,
    request: Request<C>,
) -> Result<Response<C::Response>, Status> {
    let call = shared.call(&request)?;
    let left = call.deadline.saturating_duration_since(Instant::now());
    let until = match call.is_forwarded {
        // The node that has forwarded it says why it was not made.
        true => call.deadline,
        false => call.deadline - (left / 4).min(REASON_TIMEOUT),
    };
    match made(shared, request, until).await {
        Err(failed) if !call.is_forwarded => Err(explained(shared, failed, call.deadline).await),
        answered => answered,
    }
}

/// What a change that was not made for want of a quorum is answered with: who answers, and what the way out is.
async fn explained(shared: &Shared, failed: Status, deadline: Instant) -> Status {
    if !matches!(parse(&failed).detail, Some(Detail::NoLeader)) {
        return failed;
    }
    let time = deadline.saturating_duration_since(Instant::now());
    let survey = shared.replica.survey(time.min(REASON_TIMEOUT)).await;
    let is_reason = |alarm: &&v1::Alarm| {
        matches!(
            alarm.kind(),
            v1::AlarmKind::NoQuorum | v1::AlarmKind::JointConfiguration
        )
    };
    match survey.alarms.iter().find(is_reason) {
        Some(alarm) => status::no_leader(format!(
            "the change of the membership is not made, or not finished; it is safe to repeat it. {}",
            sentence(&alarm.message)
        )),
        None => failed,
    }
}

/// With a capital letter.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

/// Makes the change, or has it made, until `until`.
async fn made<C: Change>(
    shared: &Shared,
    request: Request<C>,
    until: Instant,
) -> Result<Response<C::Response>, Status> {
    let mut call = shared.admit(&request)?;
    call.deadline = call.deadline.min(until);
    let call = call;
    let request = request.into_inner();
    request.check()?;
    let mut pauses = Pauses::default();
    loop {
        let route = shared.router.route(&call).await?;
        let attempt = match &route {
            Route::Here(_) => make(shared, &call, request.clone()).await,
            Route::There(leader) => forward(shared, &call, leader, request.clone()).await,
        };
        match attempt {
            Ok(response) => return Ok(response),
            Err(refused) => {
                refused
                    .before_retry(shared, &call, &route, &mut pauses)
                    .await?
            }
        }
    }
}

async fn make<C: Change>(
    shared: &Shared,
    call: &Call,
    request: C,
) -> Result<Response<C::Response>, Refused> {
    let (action, nodes) = request.audited();
    match timeout_at(call.deadline, request.make(&shared.replica)).await {
        Ok(Ok(done)) => {
            // Noted where it is made, and not where it has come in: that a call was forwarded anybody can say.
            let fields: Vec<_> = nodes.iter().map(|(name, id)| (*name, &**id)).collect();
            shared.audit.note_of(&call.access, action, &fields);
            let header = shared.header(&shared.reader.position());
            Ok(Response::new(done(header)))
        }
        Ok(Err(error @ (ChangeError::NotLeader { .. } | ChangeError::Interrupted { .. })))
            if !call.is_forwarded =>
        {
            Err(Refused::Again(refusal::change(&error)))
        }
        Ok(Err(error)) => Err(Refused::Final(refusal::change(&error))),
        Err(_) => Err(Refused::Final(status::no_leader(
            "the change was not agreed on before the deadline; it goes on if it can, and it is safe to \
             repeat it",
        ))),
    }
}

async fn forward<C: Change>(
    shared: &Shared,
    call: &Call,
    leader: &Leader,
    request: C,
) -> Result<Response<C::Response>, Refused> {
    let mut client = shared.router.cluster(leader).map_err(Refused::Again)?;
    let request = shared.router.timed_request(call, request);
    forwarded(shared, call, leader, C::forward(&mut client, request)).await
}

#[tonic::async_trait]
impl Change for v1::AddNodeRequest {
    type Response = v1::AddNodeResponse;

    fn check(&self) -> Result<(), Status> {
        if self.token.len() != 16 {
            return Err(refusal::field("token", "16 bytes"));
        }
        for (field, endpoint) in [
            ("client_endpoint", &self.client_endpoint),
            ("raft_endpoint", &self.raft_endpoint),
        ] {
            check_endpoint(endpoint).map_err(|_| refusal::field(field, "host:port"))?;
        }
        Ok(())
    }

    fn audited(&self) -> (&'static str, Vec<(&'static str, String)>) {
        let replaces = self.replaces_node_id.map(|id| ("replaces", id.to_string()));
        let mut fields = vec![("raft_endpoint", self.raft_endpoint.clone())];
        fields.extend(replaces);
        ("node.added", fields)
    }

    async fn make(self, replica: &Replica) -> Result<Done<Self::Response>, ChangeError> {
        let token: [u8; 16] = self.token[..].try_into().expect("checked");
        let new = NewMember {
            token: u128::from_be_bytes(token),
            raft_endpoint: self.raft_endpoint,
            client_endpoint: self.client_endpoint,
            learner: self.learner,
            replaces: self.replaces_node_id,
            feature_level: self.feature_level,
        };
        let node_id = replica.add_node(new).await?;
        Ok(Box::new(move |header| v1::AddNodeResponse {
            header: Some(header),
            node_id,
        }))
    }

    async fn forward(
        client: &mut ClusterServiceClient<Link>,
        request: Request<Self>,
    ) -> Result<Response<Self::Response>, Status> {
        client.add_node(request).await
    }
}

#[tonic::async_trait]
impl Change for v1::RemoveNodeRequest {
    type Response = v1::RemoveNodeResponse;

    fn audited(&self) -> (&'static str, Vec<(&'static str, String)>) {
        ("node.removed", vec![("node", self.node_id.to_string())])
    }

    async fn make(self, replica: &Replica) -> Result<Done<Self::Response>, ChangeError> {
        replica.remove_node(self.node_id, self.force).await?;
        Ok(Box::new(|header| v1::RemoveNodeResponse {
            header: Some(header),
        }))
    }

    async fn forward(
        client: &mut ClusterServiceClient<Link>,
        request: Request<Self>,
    ) -> Result<Response<Self::Response>, Status> {
        client.remove_node(request).await
    }
}

#[tonic::async_trait]
impl Change for v1::PromoteNodeRequest {
    type Response = v1::PromoteNodeResponse;

    fn audited(&self) -> (&'static str, Vec<(&'static str, String)>) {
        ("node.promoted", vec![("node", self.node_id.to_string())])
    }

    async fn make(self, replica: &Replica) -> Result<Done<Self::Response>, ChangeError> {
        replica.promote_node(self.node_id).await?;
        Ok(Box::new(|header| v1::PromoteNodeResponse {
            header: Some(header),
        }))
    }

    async fn forward(
        client: &mut ClusterServiceClient<Link>,
        request: Request<Self>,
    ) -> Result<Response<Self::Response>, Status> {
        client.promote_node(request).await
    }
}

#[tonic::async_trait]
impl Change for v1::ReplaceNodeRequest {
    type Response = v1::ReplaceNodeResponse;

    fn audited(&self) -> (&'static str, Vec<(&'static str, String)>) {
        let with = ("with", self.with_node_id.to_string());
        let fields = vec![("node", self.node_id.to_string()), with];
        ("node.replaced", fields)
    }

    async fn make(self, replica: &Replica) -> Result<Done<Self::Response>, ChangeError> {
        replica
            .replace_node(self.node_id, self.with_node_id)
            .await?;
        Ok(Box::new(|header| v1::ReplaceNodeResponse {
            header: Some(header),
        }))
    }

    async fn forward(
        client: &mut ClusterServiceClient<Link>,
        request: Request<Self>,
    ) -> Result<Response<Self::Response>, Status> {
        client.replace_node(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_begins_as_a_sentence_does() {
        assert_eq!(sentence("there is no quorum"), "There is no quorum");
        assert_eq!(sentence(""), "");
    }
}
