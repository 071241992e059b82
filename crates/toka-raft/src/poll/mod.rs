//! Asking every member each second how it is, while this node leads, and what follows from the answers.
//!
//! ```text
//! Poll -> round -> vitals; watcher -> lag
//! ```

mod lag;
mod round;
mod watcher;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use openraft::async_runtime::WatchReceiver;
use toka_proto::raft_v1 as pb;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::round::{Round, Verdict};
use self::watcher::Seen;
pub(crate) use self::watcher::Watcher;
use crate::handover::HandOver;
use crate::membership::{Membership, effective};
use crate::network::PeerNetworks;
use crate::reach::Reach;
use crate::room::Room;
use crate::ticker::ticker;
use crate::type_config::Leader;
use crate::vitals::{CLOCK_TOLERANCE_MS, StampClock, Vital, Vitals, disks_full, offset_ms};

const INTERVAL: Duration = Duration::from_secs(1);
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// Shortest time between two rounds, however many wait for one.
const PAUSE: Duration = Duration::from_millis(20);

/// The task. It asks whenever this node begins to lead, every second then, and when a commit waits for it.
pub(crate) struct Poll {
    pub(crate) membership: Arc<Membership>,
    pub(crate) networks: PeerNetworks,
    pub(crate) leader: watch::Receiver<Option<Leader>>,
    pub(crate) clock: StampClock,
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) hand_over: HandOver,
    pub(crate) reach: Arc<Reach>,
    pub(crate) room: watch::Receiver<Room>,
    pub(crate) watcher: Watcher,
}

impl Poll {
    pub(crate) async fn run(mut self, cancelled: CancellationToken) {
        let mut interval = ticker(INTERVAL);
        let mut leader = self.leader.clone();
        loop {
            tokio::select! {
                () = cancelled.cancelled() => return,
                changed = leader.changed() => if changed.is_err() { return },
                _ = interval.tick() => {}
                () = self.clock.wanted.notified() => {}
            }
            let term = leader.borrow_and_update().as_ref().and_then(|leader| {
                let leads = leader.node_id == self.hand_over.node_id;
                leads.then_some(leader.term)
            });
            let Some(term) = term else {
                self.vitals.clear();
                self.watcher.clear();
                continue;
            };
            tokio::select! {
                () = cancelled.cancelled() => return,
                () = self.round(term) => {}
            }
            sleep(PAUSE).await;
        }
    }

    async fn round(&mut self, term: u64) {
        let mut round = Round {
            term,
            this: self.hand_over.node_id,
            began: self.clock.read(),
            stored: effective(&self.membership.raft),
            known: BTreeMap::new(),
        };
        let mut leader = self.leader.clone();
        let this = round.this;
        let leads = |leader: &Leader| leader.term == term && leader.node_id == this;
        tokio::select! {
            // Whoever waits for a comparison in the next term shall not wait for the end of this one.
            _ = leader.wait_for(|leader| !leader.as_ref().is_some_and(leads)) => return,
            () = self.ask_all(&mut round) => {}
        }
        match round.verdict() {
            Some(Verdict::Right) => self.clock.trust(term, round.began),
            Some(Verdict::Ahead { by_ms }) => {
                self.clock.distrust(term, by_ms);
                tracing::error!(
                    node_id = this,
                    by_ms,
                    "this node's clock is ahead of the median of the voters': it takes no commits, and hands over"
                );
                self.give_way(&round).await;
            }
            Some(Verdict::Behind { by_ms }) => {
                self.clock.trust(term, round.began);
                tracing::warn!(
                    node_id = this,
                    by_ms,
                    "this node's clock is behind the median of the voters': it hands over, or the vault's time would \
                     stand still"
                );
                self.give_way(&round).await;
            }
            None => {}
        }
        let takes_no_log = round.known.iter().filter(|(_, vital)| vital.takes_no_log);
        let mut takes_no_log: BTreeSet<u64> = takes_no_log.map(|(id, _)| *id).collect();
        if self.room.borrow().is_spent() {
            takes_no_log.insert(round.this);
        }
        let configs = round.stored.membership().get_joint_config();
        let full = disks_full(configs, &takes_no_log);
        let alarms = self.alarms(&round);
        self.vitals.set(round.known, alarms, full);
    }

    /// Asks everybody at once. As soon as the answers leave no doubt that this clock is right, commits go on:
    /// a member that is down would hold them up.
    async fn ask_all(&self, round: &mut Round) {
        let members = round.stored.membership().nodes();
        let others = members.filter(|(id, _)| **id != round.this);
        let mut answers: FuturesUnordered<_> = others
            .map(|(id, member)| self.ask(*id, member.raft_endpoint.clone()))
            .collect();
        let mut is_certain = false;
        loop {
            if !is_certain && round.is_certainly_right() {
                is_certain = true;
                self.clock.trust(round.term, round.began);
            }
            let Some((id, answer)) = answers.next().await else {
                return;
            };
            round.known.extend(answer.map(|vital| (id, vital)));
        }
    }

    async fn ask(&self, id: u64, endpoint: String) -> (u64, Option<Vital>) {
        let asking = async {
            let mut client = self.networks.control(&endpoint).ok()?;
            let peer = Some(self.networks.identity.peer(id));
            let (asked, began) = (self.clock.unix_ms(), Instant::now());
            let request = pb::GetVitalsRequest { peer };
            let answer = client.get_vitals(request).await.ok()?.into_inner();
            Some(Vital {
                offset_ms: offset_ms(answer.unix_ms, asked, self.clock.unix_ms()),
                round_trip: began.elapsed(),
                feature_level: answer.feature_level,
                takes_no_log: answer.takes_no_log,
                log_lacks_beginning: answer.log_lacks_beginning,
            })
        };
        (id, timeout(ASK_TIMEOUT, asking).await.ok().flatten())
    }

    /// One whose clock is right shall lead.
    async fn give_way(&self, round: &Round) {
        let node_id = round.this;
        let is_fit = |id: u64| {
            round.known.get(&id).is_some_and(|vital| {
                let off_by_ms = round.off_by_ms(vital.offset_ms);
                off_by_ms.unsigned_abs() <= CLOCK_TOLERANCE_MS && !vital.takes_no_log
            })
        };
        match self.hand_over.to_fit(is_fit).await {
            Ok(to) => tracing::info!(node_id, to, "leadership handed over"),
            Err(error) => tracing::warn!(node_id, %error, "leadership was not handed over"),
        }
    }

    fn alarms(&mut self, round: &Round) -> Vec<toka_proto::v1::Alarm> {
        let metrics = self.membership.raft.metrics().borrow_watched().clone();
        let last = metrics.last_log_index.unwrap_or(0);
        let matched = |id: &u64| {
            let replicated = metrics.replication.as_ref()?.get(id)?;
            Some(replicated.as_ref().map_or(0, |log_id| log_id.index))
        };
        let unreachable = self.reach.unreachable();
        let membership = round.stored.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let members = membership.nodes().map(|(id, member)| {
            let vital = round.known.get(id);
            let is_this = *id == round.this;
            let joins = !voters.contains(id) && member.joined.is_some_and(|joined| joined.votes);
            let is_followed = !is_this && !joins && !unreachable.contains_key(id);
            Seen {
                node_id: *id,
                off_by_ms: round
                    .offset_ms(*id)
                    .filter(|_| round.is_quorum())
                    .map(|offset_ms| round.off_by_ms(offset_ms)),
                matched: is_followed.then(|| matched(id)).flatten(),
                round_trip: vital.map(|vital| vital.round_trip),
            }
        });
        let members: Vec<Seen> = members.collect();
        self.watcher
            .alarms(&members, last, Instant::now(), self.clock.unix_ms())
    }
}
