//! Parked events that are replayed or discarded.

use toka_ledger::command::{Command, MoveParked, ParkedAction};
use toka_ledger::core::limits::PARKED_MOVES_MAX;
use toka_ledger::{GroupName, Invalid, Outcome, Reader};
use toka_proto::convert::read::check_count;
use toka_proto::convert::status;
use toka_proto::v1;
use toka_raft::Leader;
use tonic::{Request, Response, Status};

use super::changes::{found, group_name, name_incarnation};
use crate::api::Shared;
use crate::api::commit::Refused;
use crate::api::coordination::{Coordinate, leader_header, propose};
use crate::routing::Call;

/// Parked events that are to be moved.
struct Parked<'a> {
    vault: &'a str,
    group: &'a str,
    incarnation: u64,
    sequences: &'a [u64],
}

impl Parked<'_> {
    fn check(&self) -> Result<GroupName, Status> {
        const FIELD: &str = "sequences";
        let group = group_name(self.vault, self.group)?;
        let is_ascending = self.sequences.is_sorted_by(|a, b| a < b);
        check_count(FIELD, PARKED_MOVES_MAX, self.sequences.len())
            .and(match is_ascending {
                true => Ok(()),
                false => Err(Invalid::Syntax {
                    field: FIELD,
                    expected: "in ascending order, without repeats",
                }),
            })
            .map_err(|error| status::invalid(&error))?;
        Ok(group)
    }

    /// Moves them; returns at which revision, and how many.
    async fn carry_out(
        &self,
        shared: &Shared,
        call: &Call,
        action: ParkedAction,
    ) -> Result<(u64, u32), Refused> {
        let group = self.check().map_err(Refused::Final)?;
        let moved = propose(shared, call, "move", |unix_ms| {
            Command::MoveParked(MoveParked {
                unix_ms,
                group: group.clone(),
                incarnation: self.incarnation,
                sequences: self.sequences.to_vec(),
                action,
            })
        });
        let Outcome::ParkedMoved { revision, moved } = moved.await? else {
            unreachable!("parked events were to be moved")
        };
        shared.dispatchers.changed(&group);
        Ok((revision, moved))
    }
}

/// The first parked events that there are, by sequence.
async fn first_parked(shared: &Shared, call: &Call, group: GroupName) -> Result<Vec<u64>, Status> {
    let read = move |reader: &Reader| reader.group_parked(&group, 0, PARKED_MOVES_MAX);
    let parked = shared.read(call.deadline, read).await?.into_iter();
    Ok(parked.map(|parked| parked.sequence).collect())
}

macro_rules! moves_parked {
    ($request:ident, $response:ident, $action:expr, $forward:ident) => {
        impl<'a> From<&'a v1::$request> for Parked<'a> {
            fn from(request: &'a v1::$request) -> Self {
                Self {
                    vault: &request.vault,
                    group: &request.group,
                    incarnation: request.incarnation,
                    sequences: &request.sequences,
                }
            }
        }

        #[tonic::async_trait]
        impl Coordinate for v1::$request {
            type Response = v1::$response;

            fn check(&mut self, _: &Shared) -> Result<(), Status> {
                Parked::from(&*self).check().map(drop)
            }

            fn group(&self) -> Option<&str> {
                Some(&self.group)
            }

            /// What is parked first by the time of a second try was in nobody's list.
            async fn resolve(
                &mut self,
                shared: &Shared,
                call: &Call,
            ) -> Result<Option<Self::Response>, Status> {
                let group = group_name(&self.vault, &self.group)?;
                // Also of a request that names it: what is read has to be there.
                if self.sequences.is_empty() {
                    let found = found(shared, call, &group).await?;
                    if self.incarnation == 0 {
                        self.incarnation = found.incarnation;
                    }
                    self.sequences = first_parked(shared, call, group).await?;
                    if self.sequences.is_empty() && self.incarnation == found.incarnation {
                        return Ok(Some(v1::$response {
                            header: leader_header(shared, 0),
                            revision: shared.reader.position().revision,
                            moved: 0,
                        }));
                    }
                    return Ok(None);
                }
                name_incarnation(shared, call, &group, &mut self.incarnation).await?;
                Ok(None)
            }

            async fn make(
                &self,
                shared: &Shared,
                call: &Call,
                _: &Leader,
            ) -> Result<Self::Response, Refused> {
                let parked = Parked::from(self);
                let (revision, moved) = parked.carry_out(shared, call, $action).await?;
                Ok(v1::$response {
                    header: leader_header(shared, revision),
                    revision,
                    moved,
                })
            }

            async fn forward(
                shared: &Shared,
                leader: &Leader,
                request: Request<Self>,
            ) -> Result<Response<Self::Response>, Status> {
                shared.router.groups(leader)?.$forward(request).await
            }
        }
    };
}

moves_parked!(
    ReplayParkedRequest,
    ReplayParkedResponse,
    ParkedAction::Replay,
    replay_parked
);
moves_parked!(
    DiscardParkedRequest,
    DiscardParkedResponse,
    ParkedAction::Discard,
    discard_parked
);
