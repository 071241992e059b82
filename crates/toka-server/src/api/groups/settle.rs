//! What consumers say about their deliveries.

use toka_ledger::command::{Command, Settle, Settlement, Verdict};
use toka_ledger::core::limits::SETTLE_ITEMS_MAX;
use toka_ledger::group::SettleOutcome;
use toka_ledger::{GroupName, Invalid, Outcome};
use toka_proto::convert::coordination::{Token, settlement};
use toka_proto::convert::read::{check_count, check_vault};
use toka_proto::convert::status;
use toka_proto::v1;
use toka_raft::Leader;
use tonic::{Request, Response, Status};

use crate::api::Shared;
use crate::api::commit::Refused;
use crate::api::coordination::{Coordinate, leader_header, propose};
use crate::routing::Call;

/// A checked request.
struct Wanted {
    group: GroupName,
    settlements: Vec<(Token, Verdict)>,
}

impl Wanted {
    fn of(request: &v1::SettleRequest) -> Result<Self, Invalid> {
        check_vault(&request.vault)?;
        let settlements = &request.settlements;
        if settlements.is_empty() {
            return Err(Invalid::Empty {
                field: "settlements",
            });
        }
        check_count("settlements", SETTLE_ITEMS_MAX, settlements.len())?;
        let settlements = settlements.iter().cloned().map(settlement);
        Ok(Self {
            group: GroupName::new(&request.group)?,
            settlements: settlements.collect::<Result<_, _>>()?,
        })
    }

    /// Which group of that name: a later one than that of some tokens leaves those behind.
    fn incarnation(&self) -> u64 {
        let all = self.settlements.iter();
        all.map(|(token, _)| token.incarnation).max().unwrap_or(0)
    }

    /// The outcomes of all, given those of the current incarnation.
    fn outcomes(&self, settled: Vec<SettleOutcome>) -> Vec<i32> {
        let incarnation = self.incarnation();
        let mut settled = settled.into_iter();
        let all = self.settlements.iter().map(|(token, _)| {
            let own = (token.incarnation == incarnation).then(|| settled.next());
            own.flatten().unwrap_or(SettleOutcome::Stale)
        });
        all.map(|outcome| v1::SettleOutcome::from(outcome).into())
            .collect()
    }
}

#[tonic::async_trait]
impl Coordinate for v1::SettleRequest {
    type Response = v1::SettleResponse;

    fn check(&mut self, _: &Shared) -> Result<(), Status> {
        let wanted = Wanted::of(self);
        wanted.map(drop).map_err(|error| status::invalid(&error))
    }

    async fn make(
        &self,
        shared: &Shared,
        call: &Call,
        _: &Leader,
    ) -> Result<Self::Response, Refused> {
        let wanted = Wanted::of(self).map_err(|error| Refused::Final(status::invalid(&error)))?;
        let incarnation = wanted.incarnation();
        let current = wanted.settlements.iter();
        let settlements = current
            .filter(|(token, _)| token.incarnation == incarnation)
            .map(|(token, verdict)| Settlement {
                sequence: token.sequence,
                delivery: token.delivery,
                verdict: verdict.clone(),
            })
            .collect();
        let settled = propose(shared, call, "settlement", |unix_ms| {
            Command::Settle(Settle {
                unix_ms,
                group: wanted.group.clone(),
                incarnation,
                settlements,
            })
        });
        let Outcome::Settled { revision, outcomes } = settled.await? else {
            unreachable!("deliveries were to be settled")
        };
        shared.dispatchers.changed(&wanted.group);
        Ok(v1::SettleResponse {
            header: leader_header(shared, revision),
            revision,
            outcomes: wanted.outcomes(outcomes),
        })
    }

    async fn forward(
        shared: &Shared,
        leader: &Leader,
        request: Request<Self>,
    ) -> Result<Response<Self::Response>, Status> {
        shared.router.groups(leader)?.settle(request).await
    }
}

#[cfg(test)]
mod tests {
    use toka_proto::convert::coordination::settlement_message;

    use super::*;

    #[test]
    fn tokens_of_an_earlier_group_are_stale_and_the_others_keep_their_places() {
        let settlement = |incarnation, sequence| {
            let token = Token {
                incarnation,
                sequence,
                delivery: 1,
            };
            settlement_message(&token, &Verdict::Acknowledge)
        };
        let request = v1::SettleRequest {
            group: "work".to_owned(),
            settlements: vec![settlement(4, 1), settlement(9, 2), settlement(9, 3)],
            ..Default::default()
        };
        let wanted = Wanted::of(&request).expect("valid");
        assert_eq!(wanted.incarnation(), 9);
        let outcomes = wanted.outcomes(vec![SettleOutcome::Done, SettleOutcome::Stale]);
        let expected = [
            v1::SettleOutcome::Stale,
            v1::SettleOutcome::Done,
            v1::SettleOutcome::Stale,
        ];
        assert_eq!(outcomes, expected.map(i32::from));
    }

    #[test]
    fn settlements_without_a_verdict_or_with_another_token_are_refused() {
        let request = |settlement| v1::SettleRequest {
            group: "work".to_owned(),
            settlements: vec![settlement],
            ..Default::default()
        };
        let bare = v1::Settlement::default();
        assert_eq!(
            Wanted::of(&request(bare)).err().map(|error| error.field()),
            Some("settlements.token")
        );
        let token = Token {
            incarnation: 1,
            sequence: 1,
            delivery: 1,
        };
        let undecided = v1::Settlement {
            token: token.encode(),
            verdict: None,
        };
        assert_eq!(
            Wanted::of(&request(undecided))
                .err()
                .map(|error| error.field()),
            Some("settlements.verdict")
        );
    }
}
