//! What consumers say about their deliveries.

use toka_ledger::command::{Command, Settle, Settlement, Verdict};
use toka_ledger::core::limits::SETTLE_ITEMS_MAX;
use toka_ledger::group::SettleOutcome;
use toka_ledger::{GroupName, Invalid, Outcome, Reader};
use toka_proto::convert::coordination::{Token, mixed, settlement};
use toka_proto::convert::read::{check_count, check_vault};
use toka_proto::convert::status;
use toka_proto::v1;
use toka_raft::Leader;
use tonic::{Request, Response, Status};

use crate::api::Shared;
use crate::api::commit::Refused;
use crate::api::coordination::{Coordinate, caught_up, leader_header, propose};
use crate::routing::Call;

/// A checked request.
struct Wanted {
    group: GroupName,
    /// With the group's incarnation as the ledger has it; of another group or history it is that of no group.
    settlements: Vec<(Token, Verdict)>,
}

impl Wanted {
    fn of(request: &v1::SettleRequest, history_id: u128) -> Result<Self, Invalid> {
        check_vault(&request.vault)?;
        let settlements = &request.settlements;
        if settlements.is_empty() {
            return Err(Invalid::Empty {
                field: "settlements",
            });
        }
        check_count("settlements", SETTLE_ITEMS_MAX, settlements.len())?;
        let group = GroupName::new(&request.group)?;
        let settlements = settlements.iter().cloned().map(settlement);
        let mut settlements = settlements.collect::<Result<Vec<_>, _>>()?;
        for (token, _) in &mut settlements {
            token.incarnation = mixed(history_id, &group, token.incarnation);
        }
        Ok(Self { group, settlements })
    }

    /// Which group of that name, if all tokens are of the same.
    fn only_incarnation(&self) -> Option<u64> {
        let mut all = self.settlements.iter().map(|(token, _)| token.incarnation);
        let first = all.next()?;
        all.all(|incarnation| incarnation == first).then_some(first)
    }

    /// Which group of that name is meant: of several, the one that there is leaves the others behind.
    async fn incarnation(&self, shared: &Shared, call: &Call) -> Result<u64, Refused> {
        if let Some(only) = self.only_incarnation() {
            return Ok(only);
        }
        caught_up(shared, call).await?;
        let name = self.group.clone();
        let read = move |reader: &Reader| reader.group(&name);
        let group = shared.read(call.deadline, read).await;
        let group = group.map_err(Refused::Final)?;
        Ok(group.map_or(0, |group| group.incarnation))
    }

    /// The outcomes of all, given those of this incarnation.
    fn outcomes(&self, incarnation: u64, settled: Vec<SettleOutcome>) -> Vec<i32> {
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

    fn check(&mut self, shared: &Shared) -> Result<(), Status> {
        let wanted = Wanted::of(self, shared.history_id());
        wanted.map(drop).map_err(|error| status::invalid(&error))
    }

    fn group(&self) -> Option<&str> {
        Some(&self.group)
    }

    async fn make(
        &self,
        shared: &Shared,
        call: &Call,
        _: &Leader,
    ) -> Result<Self::Response, Refused> {
        let wanted = Wanted::of(self, shared.history_id());
        let wanted = wanted.map_err(|error| Refused::Final(status::invalid(&error)))?;
        let incarnation = wanted.incarnation(shared, call).await?;
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
            outcomes: wanted.outcomes(incarnation, outcomes),
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
        let group = GroupName::new("work").expect("valid");
        let settlement = |history_id, incarnation, sequence| {
            let token = Token {
                incarnation: mixed(history_id, &group, incarnation),
                sequence,
                delivery: 1,
            };
            settlement_message(&token, &Verdict::Acknowledge)
        };
        let request = |settlements| v1::SettleRequest {
            group: group.to_string(),
            settlements,
            ..Default::default()
        };
        let own = request(vec![settlement(7, 9, 2), settlement(7, 9, 3)]);
        let own = Wanted::of(&own, 7).expect("valid");
        assert_eq!(own.only_incarnation(), Some(9));
        // Of another history, which has a group of that incarnation too.
        let foreign = request(vec![settlement(8, 9, 2)]);
        let foreign = Wanted::of(&foreign, 7).expect("valid");
        assert_ne!(foreign.only_incarnation(), Some(9));
        let mixed = request(vec![
            settlement(7, 4, 1),
            settlement(7, 9, 2),
            settlement(7, 9, 3),
        ]);
        let wanted = Wanted::of(&mixed, 7).expect("valid");
        assert_eq!(wanted.only_incarnation(), None);
        let outcomes = wanted.outcomes(9, vec![SettleOutcome::Done, SettleOutcome::Stale]);
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
            Wanted::of(&request(bare), 7)
                .err()
                .map(|error| error.field()),
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
            Wanted::of(&request(undecided), 7)
                .err()
                .map(|error| error.field()),
            Some("settlements.verdict")
        );
    }
}
