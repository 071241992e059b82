//! Events for a consumer: planned and leased by the leader.

use toka_ledger::command::{Command, Deliver};
use toka_ledger::core::limits::DELIVER_EVENTS_MAX;
use toka_ledger::group::{Delivery, NotDue, Plan, plan_delivery_after};
use toka_ledger::{ConsumerName, Error, GroupName, Invalid, Outcome, Reader, Rejection, Selector};
use toka_proto::convert::coordination::{Token, mixed};
use toka_proto::convert::read::check_vault;
use toka_proto::convert::status;
use toka_proto::v1;
use toka_raft::Leader;
use tokio::time::{Duration, Instant, timeout_at};
use tonic::{Request, Response, Status};

use super::idle::{Idle, Woken};
use crate::api::Shared;
use crate::api::commit::{Refused, proposed};
use crate::api::coordination::{Coordinate, caught_up, leader_header};
use crate::api::dispatchers::Dispatcher;
use crate::api::read::Include;
use crate::auth::Access;
use crate::limits::{
    PAGE_BYTES, PULL_EVENTS_DEFAULT, PULL_RETURN, PULL_ROUNDS_MAX, PULL_WAIT_MAX, RETRY_AFTER,
};
use crate::routing::Call;

/// A checked request.
#[derive(Clone, Debug)]
struct Wanted {
    group: GroupName,
    consumer: ConsumerName,
    events_max: usize,
    bytes_max: usize,
    wait: Duration,
    include: Include,
}

impl Wanted {
    fn of(request: &v1::PullRequest) -> Result<Self, Invalid> {
        check_vault(&request.vault)?;
        Ok(Self {
            group: GroupName::new(&request.group)?,
            consumer: ConsumerName::new(&request.consumer)?,
            events_max: match request.max_events {
                0 => PULL_EVENTS_DEFAULT,
                max => (max as usize).min(DELIVER_EVENTS_MAX),
            },
            bytes_max: match request.max_bytes {
                0 => PAGE_BYTES,
                max => (max as usize).min(PAGE_BYTES),
            },
            wait: Duration::from_millis(request.wait_ms.into()).min(PULL_WAIT_MAX),
            include: Include::new(request.include),
        })
    }
}

#[tonic::async_trait]
impl Coordinate for v1::PullRequest {
    type Response = v1::PullResponse;

    const WAITS: bool = true;

    fn check(&mut self, _: &Shared) -> Result<(), Status> {
        let wanted = Wanted::of(self);
        wanted.map(drop).map_err(|error| status::invalid(&error))
    }

    fn group(&self) -> Option<&str> {
        Some(&self.group)
    }

    async fn make(
        &self,
        shared: &Shared,
        call: &Call,
        leader: &Leader,
    ) -> Result<Self::Response, Refused> {
        let wanted = Wanted::of(self).map_err(|error| Refused::Final(status::invalid(&error)))?;
        let left = call.deadline.saturating_duration_since(Instant::now());
        let pull = Pull {
            shared,
            call,
            leader,
            wanted,
            margin: PULL_RETURN.min(left / 4),
        };
        pull.run().await
    }

    async fn forward(
        shared: &Shared,
        leader: &Leader,
        request: Request<Self>,
    ) -> Result<Response<Self::Response>, Status> {
        shared.router.waiting_groups(leader)?.pull(request).await
    }
}

/// A pull at work, on the leader.
struct Pull<'a> {
    shared: &'a Shared,
    call: &'a Call,
    leader: &'a Leader,
    wanted: Wanted,
    /// So long before its deadline nothing is leased any more: the answer would come too late.
    margin: Duration,
}

/// What a look at the group has come to.
enum Looked {
    /// Events for the consumer.
    Leased(v1::PullResponse),
    /// There are none.
    Nothing(Box<Idle>),
    /// There was no time to look at everything.
    TimeUp,
}

/// What is to be done next, and what is known of the group's outstanding events then.
struct Planned {
    next: Next,
    not_due: Option<NotDue>,
}

enum Next {
    Deliver { plan: Plan, ack_timeout_ms: u32 },
    Wait(Box<Idle>),
}

/// What a plan has come to.
enum Delivered {
    /// Events were leased.
    Leased {
        revision: u64,
        deliveries: Vec<Delivery>,
        /// All that was planned was done.
        is_whole: bool,
    },
    /// The group got ahead, and has to be looked at again.
    GotAhead,
    /// Nothing was done: the group had changed.
    Nothing,
}

impl Pull<'_> {
    async fn run(&self) -> Result<v1::PullResponse, Refused> {
        let last = self.call.deadline - self.margin;
        let until = last.min(Instant::now() + self.wanted.wait);
        caught_up(self.shared, self.call).await?;
        let dispatcher = self.shared.dispatchers.enter(&self.wanted.group);
        match self.look(&dispatcher).await? {
            Looked::Leased(response) => return Ok(response),
            Looked::Nothing(_) if Instant::now() < until => {}
            Looked::Nothing(_) | Looked::TimeUp => return Ok(self.nothing()),
        }
        let Ok(_watch) = timeout_at(until, dispatcher.watch.lock()).await else {
            return Ok(self.nothing());
        };
        loop {
            let mut changes = dispatcher.changes();
            let mut idle = match self.look(&dispatcher).await? {
                Looked::Leased(response) => return Ok(response),
                Looked::Nothing(idle) => idle,
                Looked::TimeUp => return Ok(self.nothing()),
            };
            let woken = idle.wait(self.shared, self.call, self.leader, until, &mut changes);
            if woken.await? == Woken::TimeUp {
                return Ok(self.nothing());
            }
        }
    }

    fn nothing(&self) -> v1::PullResponse {
        v1::PullResponse {
            header: leader_header(self.shared, 0),
            ..v1::PullResponse::default()
        }
    }

    /// Leases what the group has.
    async fn look(&self, dispatcher: &Dispatcher) -> Result<Looked, Refused> {
        let turn = timeout_at(self.call.deadline, dispatcher.turn.lock()).await;
        let overloaded = || Refused::Final(status::overloaded(RETRY_AFTER));
        let mut turn = turn.map_err(|_| overloaded())?;
        let mut fruitless = 0;
        while fruitless < PULL_ROUNDS_MAX {
            let begun = Instant::now();
            let unix_ms = proposed(self.call, "delivery", self.shared.replica.stamp()).await?;
            // Not kept where nobody knows what became of a delivery.
            let known = turn.take(self.leader.term);
            let Planned { next, not_due } = self.plan(unix_ms, known).await?;
            let (plan, ack_timeout_ms) = match next {
                Next::Wait(idle) => {
                    turn.keep(not_due);
                    return Ok(Looked::Nothing(idle));
                }
                Next::Deliver {
                    plan,
                    ack_timeout_ms,
                } => (plan, ack_timeout_ms),
            };
            // Of a group far behind there may be many plans.
            if Instant::now() + self.margin >= self.call.deadline {
                return Ok(Looked::TimeUp);
            }
            let incarnation = plan.incarnation;
            match self.deliver(plan, unix_ms).await? {
                Delivered::Leased {
                    revision,
                    deliveries,
                    is_whole,
                } => {
                    turn.keep(not_due.filter(|_| is_whole).map(|mut not_due| {
                        not_due.deliver(unix_ms, ack_timeout_ms);
                        not_due
                    }));
                    drop(turn);
                    let deliveries = self.load(incarnation, deliveries).await?;
                    return Ok(Looked::Leased(v1::PullResponse {
                        header: leader_header(self.shared, revision),
                        deliveries,
                        ack_timeout_ms,
                        lease_ms_left: left(ack_timeout_ms, begun),
                    }));
                }
                Delivered::GotAhead => {}
                Delivered::Nothing => fruitless += 1,
            }
        }
        Err(overloaded())
    }

    async fn plan(&self, unix_ms: u64, known: Option<NotDue>) -> Result<Planned, Refused> {
        let wanted = self.wanted.clone();
        let read = move |reader: &Reader| plan(reader, &wanted, unix_ms, known);
        let next = self.shared.read(self.call.deadline, read).await;
        next.map_err(Refused::Final)
    }

    async fn deliver(&self, plan: Plan, unix_ms: u64) -> Result<Delivered, Refused> {
        let (moves, planned) = (plan.to > plan.from, plan.sequences.len());
        let command = Command::Deliver(Deliver {
            unix_ms,
            group: self.wanted.group.clone(),
            incarnation: plan.incarnation,
            consumer: self.wanted.consumer.clone(),
            from: plan.from,
            to: plan.to,
            sequences: plan.sequences,
        });
        let outcome = self.shared.replica.command(command);
        match proposed(self.call, "delivery", outcome).await? {
            Outcome::Delivered {
                revision,
                deliveries,
                parked,
            } => Ok(match deliveries.is_empty() {
                false => Delivered::Leased {
                    is_whole: deliveries.len() + parked as usize == planned,
                    revision,
                    deliveries,
                },
                true if moves || parked > 0 => Delivered::GotAhead,
                true => Delivered::Nothing,
            }),
            Outcome::Rejected {
                rejection: Rejection::GroupMoved { .. },
                ..
            } => Ok(Delivered::Nothing),
            Outcome::Rejected { rejection, .. } => {
                Err(Refused::Final(status::rejection(&rejection)))
            }
            other => unreachable!("events were to be delivered: {other:?}"),
        }
    }

    /// The events of deliveries, as they are sent.
    async fn load(
        &self,
        incarnation: u64,
        deliveries: Vec<Delivery>,
    ) -> Result<Vec<v1::Delivery>, Refused> {
        let include = self.wanted.include;
        let incarnation = mixed(self.shared.history_id(), &self.wanted.group, incarnation);
        let access = self.call.access.clone();
        let read = move |reader: &Reader| {
            let deliveries = deliveries.iter();
            deliveries
                .map(|delivery| message(reader, include, &access, incarnation, delivery))
                .collect()
        };
        let messages = self.shared.read(self.call.deadline, read).await;
        messages.map_err(Refused::Final)
    }
}

/// What is left of a lease that was asked for at `begun` or later, milliseconds.
fn left(ack_timeout_ms: u32, begun: Instant) -> u32 {
    let passed = u32::try_from(begun.elapsed().as_millis()).unwrap_or(u32::MAX);
    ack_timeout_ms.saturating_sub(passed)
}

/// What the group has for the consumer at `unix_ms`, given what is `known` of when outstanding events are due. Blocking.
fn plan(
    reader: &Reader,
    wanted: &Wanted,
    unix_ms: u64,
    known: Option<NotDue>,
) -> Result<Planned, Error> {
    // Before everything else that is read: what comes later is looked at again.
    let seen = reader.position();
    let now = unix_ms.max(seen.unix_ms);
    let planned = plan_delivery_after(reader, &wanted.group, now, wanted.events_max, known)?;
    let (group, mut not_due) = (planned.group, planned.not_due);
    if let Some(mut plan) = planned.plan {
        let wanted_events = plan.sequences.len();
        cut(reader, &mut plan, wanted)?;
        // What was cut off is due still.
        not_due = not_due.filter(|_| plan.sequences.len() == wanted_events);
        let next = Next::Deliver {
            plan,
            ack_timeout_ms: group.settings.ack_timeout_ms,
        };
        return Ok(Planned { next, not_due });
    }
    let due_unix_ms = not_due.map_or(now, |not_due| not_due.before_unix_ms);
    let idle = Idle::new(group, seen, due_unix_ms, now);
    Ok(Planned {
        next: Next::Wait(Box::new(idle)),
        not_due,
    })
}

/// Leaves out of a plan what would make the answer too large. One event stays whatever its size.
fn cut(reader: &Reader, plan: &mut Plan, wanted: &Wanted) -> Result<(), Error> {
    let selectors = plan.sequences.iter().copied().map(Selector::Sequence);
    let selectors: Vec<_> = selectors.collect();
    let mut bytes = 0;
    for (at, header) in reader.headers(&selectors)?.into_iter().enumerate() {
        bytes += header.map_or(0, |header| wanted.include.bytes(&header));
        if at > 0 && bytes > wanted.bytes_max {
            plan.sequences.truncate(at);
            // Those that are due again are not beyond where the group is.
            let last = plan.sequences.last().copied();
            plan.to = last.unwrap_or(plan.from).max(plan.from);
            break;
        }
    }
    Ok(())
}

fn message(
    reader: &Reader,
    include: Include,
    access: &Access,
    incarnation: u64,
    delivery: &Delivery,
) -> Result<v1::Delivery, Error> {
    let Delivery {
        sequence,
        delivery,
        deadline_unix_ms,
    } = *delivery;
    let header = reader.header(&Selector::Sequence(sequence))?;
    // The group was asked about before; one that was made since, under its name, may deliver something else.
    let header = header.filter(|header| access.sees(header.kind.as_str()));
    let header = header.ok_or_else(|| Error::NotFound {
        name: format!("at sequence {sequence}"),
    })?;
    let token = Token {
        incarnation,
        sequence,
        delivery,
    };
    Ok(v1::Delivery {
        event: Some(include.load(reader, &header)?),
        delivery,
        deadline_unix_ms,
        token: token.encode(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_request_are_bounded() {
        let wanted = |max_events, max_bytes, wait_ms| {
            let request = v1::PullRequest {
                group: "work".to_owned(),
                consumer: "robot".to_owned(),
                max_events,
                max_bytes,
                wait_ms,
                ..v1::PullRequest::default()
            };
            let wanted = Wanted::of(&request).expect("valid");
            (wanted.events_max, wanted.bytes_max, wanted.wait)
        };
        let defaults = (PULL_EVENTS_DEFAULT, PAGE_BYTES, Duration::ZERO);
        assert_eq!(wanted(0, 0, 0), defaults);
        assert_eq!(wanted(7, 9, 5), (7, 9, Duration::from_millis(5)));
        let most = (DELIVER_EVENTS_MAX, PAGE_BYTES, PULL_WAIT_MAX);
        assert_eq!(wanted(u32::MAX, u32::MAX, u32::MAX), most);
    }

    #[test]
    fn names_of_a_request_are_checked() {
        let field = |group: &str, consumer: &str| {
            let request = v1::PullRequest {
                group: group.to_owned(),
                consumer: consumer.to_owned(),
                ..v1::PullRequest::default()
            };
            Wanted::of(&request).err().map(|error| error.field())
        };
        assert_eq!(field("", "robot"), Some("group"));
        assert_eq!(field("work", ""), Some("consumer"));
        assert_eq!(field("work", "robot"), None);
    }
}
