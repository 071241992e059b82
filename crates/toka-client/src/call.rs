//! One call: tried on one node after the other until it is answered or its deadline comes.

mod tries;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, OnceLock};

use toka_ledger::seam::Entropy;
use toka_proto::convert::metadata;
use toka_proto::convert::read::Header;
use toka_proto::v1::vault_service_client::VaultServiceClient;
use tokio::time::{Duration, Instant, timeout_at};
use tonic::metadata::AsciiMetadataValue;
use tonic::{Request, Response, Status};

pub(crate) use self::tries::Tries;
use self::tries::reason;
use crate::bearer::Bearer;
use crate::channel::{Channels, Connection};
use crate::config::{Config, MESSAGE_BYTES_MAX};
use crate::error::Error;
use crate::pin::{self, ClusterPin};
use crate::reply::Reply;
use crate::retry::{Verdict, judge};
use crate::routes::{Route, Routes};
use crate::seen::Seen;

/// What the clones of a client share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) routes: Routes,
    pub(crate) channels: Channels,
    pub(crate) seen: Seen,
    pub(crate) pin: ClusterPin,
    pub(crate) bearer: Option<Bearer>,
    pub(crate) entropy: Arc<dyn Entropy>,
    /// The time of a call's first try as it stands in the head of the request: nearly all have the same.
    pub(crate) first_timeout: OnceLock<AsciiMetadataValue>,
}

const GRPC_TIMEOUT: &str = "grpc-timeout";

/// A reply, and who gave it.
pub(crate) struct Answer<T> {
    pub(crate) endpoint: String,
    pub(crate) message: T,
}

/// When a call may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeats {
    /// After every failure: it makes no difference how often it is carried out.
    Always,
    /// Where it was surely not carried out.
    IfUndone,
}

/// Whether a call may have been carried out that has failed like that. A node says so itself, of what it has taken.
fn may_be_done(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return false;
        }
        source = error.source();
    }
    matches!(judge(status).0, Verdict::Unreachable)
}

impl Shared {
    /// A request that tells the node how long it has, and for which cluster it is.
    pub(crate) fn request<M>(&self, message: M, time: Duration) -> Request<M> {
        let mut request = self.lasting_request(message);
        let is_first = time == self.config.attempt_timeout;
        match self.first_timeout.get() {
            Some(value) if is_first => {
                request.metadata_mut().insert(GRPC_TIMEOUT, value.clone());
            }
            _ => {
                request.set_timeout(time);
                if is_first && let Some(value) = request.metadata().get(GRPC_TIMEOUT) {
                    self.first_timeout.get_or_init(|| value.clone());
                }
            }
        }
        request
    }

    /// The same, of a stream that is meant to last. A node of another cluster refuses it before it does anything.
    pub(crate) fn lasting_request<M>(&self, message: M) -> Request<M> {
        let mut request = self.bare_request(message);
        if let Some(cluster) = self.pin.value() {
            request.metadata_mut().insert(metadata::CLUSTER_ID, cluster);
        }
        request
    }

    /// A request that says who calls, and nothing else.
    pub(crate) fn bare_request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        if let Some(bearer) = &self.bearer {
            bearer.show(&mut request);
        }
        request
    }
}

/// The vault, behind a connection.
pub(crate) fn vault(channel: Connection) -> VaultServiceClient<Connection> {
    VaultServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

impl Shared {
    /// Makes a call: `attempt` is given a connection, and the time that it has.
    pub(crate) async fn call<T, F, A>(
        &self,
        route: Route,
        deadline: Instant,
        attempt: F,
    ) -> Result<Answer<T>, Error>
    where
        F: FnMut(Connection, Duration) -> A,
        A: Future<Output = Result<Response<T>, Status>>,
        T: Reply,
    {
        self.make(route, deadline, Repeats::Always, attempt).await
    }

    /// As [`Shared::call`]. A call that must not be carried out twice is only repeated where it was surely not carried
    /// out.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`], beside those of every call.
    pub(crate) async fn make<T, F, A>(
        &self,
        route: Route,
        deadline: Instant,
        repeats: Repeats,
        mut attempt: F,
    ) -> Result<Answer<T>, Error>
    where
        F: FnMut(Connection, Duration) -> A,
        A: Future<Output = Result<Response<T>, Status>>,
        T: Reply,
    {
        let mut tries = self.tries(deadline);
        loop {
            let endpoint = self.routes.pick(route);
            let (time, until) = tries.next()?;
            let channel = self.channels.get(&endpoint)?;
            let status = match timeout_at(until, attempt(channel, time)).await {
                Ok(Ok(response)) => match self.check_reply(&endpoint, &response) {
                    Ok(()) => {
                        let message = response.into_inner();
                        return Ok(Answer { endpoint, message });
                    }
                    Err(other @ Error::OtherCluster { .. }) => {
                        // Boxed, as what follows from a failure: a call that does not fail is not to carry the room for it.
                        Box::pin(self.foreign(&mut tries, &endpoint, other)).await?;
                        continue;
                    }
                    Err(error) => return Err(error),
                },
                Ok(Err(status)) => {
                    // The connection watches the time too, and may be first to see it run out.
                    if Instant::now() >= until {
                        tries.slower();
                    }
                    status
                }
                Err(_) => tries.no_answer(),
            };
            if repeats == Repeats::IfUndone && may_be_done(&status) {
                return Err(Error::OutcomeUnknown {
                    reason: reason(&status),
                    endpoint,
                });
            }
            Box::pin(self.failed(&mut tries, &endpoint, &status)).await?;
        }
    }

    /// Learns from a reply, unless it is another cluster's.
    ///
    /// # Errors
    /// [`Error::OtherCluster`], [`Error::Reply`].
    fn check_reply<T: Reply>(&self, endpoint: &str, reply: &Response<T>) -> Result<(), Error> {
        let in_head = pin::named(endpoint, reply.metadata())?;
        let header = reply.get_ref().header().cloned();
        let header = header.map(|header| Header::try_from(Some(header)));
        let header = header
            .transpose()
            .map_err(|error| Error::reply(endpoint, error))?;
        let in_message = header.map(|header| header.cluster_id);
        let only = || BTreeSet::from([endpoint.to_owned()]);
        let settles = reply.get_ref().settles() || self.routes.are_all_among(&only());
        for cluster_id in in_head.into_iter().chain(in_message) {
            let checked = if settles {
                self.pin.check(endpoint, cluster_id)
            } else {
                self.pin.compare(endpoint, cluster_id)
            };
            checked.map_err(Error::after_answer)?;
        }
        if settles || self.pin.get().is_some() {
            self.routes.learn_from(reply.metadata());
        }
        Ok(())
    }

    /// Remembers the position that a reply shows.
    pub(crate) fn observe(
        &self,
        endpoint: &str,
        header: Option<toka_proto::v1::ResponseHeader>,
    ) -> Result<Header, Error> {
        let header = Header::try_from(header).map_err(|error| Error::reply(endpoint, error))?;
        let checked = self.pin.check(endpoint, header.cluster_id);
        checked.map_err(Error::after_answer)?;
        self.seen.observe(&header);
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use toka_proto::convert::status;
    use tonic::Code;

    use super::*;

    #[test]
    fn what_a_node_has_answered_or_never_got_was_not_done() {
        for undone in [
            status::not_leader(None),
            status::no_leader("election"),
            status::stopping(),
            status::overloaded(Duration::from_millis(1)),
        ] {
            assert!(!may_be_done(&undone), "{undone:?}");
        }
        let broken = Status::from_error(Box::new(std::io::Error::other("connection reset")));
        let silent = Status::new(Code::DeadlineExceeded, "no answer in time");
        for unknown in [broken, silent, Status::unavailable("")] {
            assert!(may_be_done(&unknown), "{unknown:?}");
        }
    }
}
