//! Faults while they last: begun, seen to do something, undone.

use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;
use toka_proto::v1;
use tokio::time::{sleep, timeout};

use super::Nemesis;
use super::fault::Fault;
use crate::cluster::{Cluster, PATIENCE};
use crate::netns::Lost;
use crate::proxy::Quality;
use crate::{request, wait};

/// A clock that is wrong is read within a second, and compared by the leader once a second.
const CLOCK_HOLD: Duration = Duration::from_secs(5);
/// Longest that a node takes to say what it knows.
const ASK_TIMEOUT: Duration = Duration::from_millis(500);
/// How the log names the alarm of a node without room, and what one says that has ended for want of it.
const FULL: [&str; 2] = ["disk_nearly_full", "the disk is full"];
/// How the kernel names processes that are stopped, and such that have ended.
const STOPPED: char = 'T';
const ENDED: char = 'Z';

/// A fault that lasts.
#[derive(Debug)]
pub(super) struct Inflicted {
    pub(super) fault: Fault,
    /// Processes that were ended or stopped.
    processes: u64,
    /// Length of the log of the node that it is about, before; 0: it is not about one.
    log_bytes: usize,
}

impl Nemesis {
    /// Lets it go wrong.
    pub(super) async fn inflict(&self, cluster: &mut Cluster, fault: Fault) -> Result<Inflicted> {
        let (mut processes, mut log_bytes) = (0, 0);
        match &fault {
            Fault::Kill(ids) => {
                ids.iter().try_for_each(|id| cluster.kill(*id))?;
                processes = ids.len() as u64;
            }
            Fault::Pause(ids) => processes = stop(cluster, ids).await?,
            Fault::FullDisk(id, left) => {
                log_bytes = cluster.log(*id).len();
                self.place(*id)?.disk.fill(*left)?;
            }
            Fault::Clock(id, offset) => self.place(*id)?.clock.set(offset)?,
            Fault::Delay(id, delay) => self.place(*id)?.proxy.set(Quality {
                delay: *delay,
                ..Quality::default()
            }),
            Fault::Cut(..) | Fault::Clients(..) | Fault::Loss(_) | Fault::Bandwidth(..) => {
                lose(cluster, &fault)?;
            }
        }
        Ok(Inflicted {
            fault,
            processes,
            log_bytes,
        })
    }

    /// What a fault has done, counted as [`super::Kind::does`] says. To be asked before anything is made good.
    pub(super) fn effect(
        &self,
        cluster: &Cluster,
        inflicted: &Inflicted,
        clock_noticed: bool,
    ) -> Result<u64> {
        let network = cluster.network()?;
        match &inflicted.fault {
            Fault::Kill(_) | Fault::Pause(_) => Ok(inflicted.processes),
            Fault::Cut(..) => network.lost(Lost::Cut),
            Fault::Clients(..) => Ok(network.lost(Lost::Requests)? + network.lost(Lost::Answers)?),
            Fault::Loss(_) => network.lost(Lost::Lossy),
            Fault::Delay(id, _) => Ok(self.place(*id)?.proxy.late()),
            Fault::Bandwidth(id, _) => network.held_up(*id),
            Fault::FullDisk(id, _) => {
                let log = cluster.log(*id);
                let since = log.get(inflicted.log_bytes..).unwrap_or_default();
                let says_so = |line: &&str| FULL.iter().any(|full| line.contains(full));
                Ok(since.lines().filter(says_so).count() as u64)
            }
            Fault::Clock(..) => Ok(u64::from(clock_noticed)),
        }
    }

    /// Makes it good again; what gets lost ends with [`crate::netns::Network::heal`].
    pub(super) fn undo(&self, cluster: &mut Cluster, fault: &Fault) -> Result<()> {
        match fault {
            Fault::Kill(ids) => {
                // One that does not come up waits for the others.
                for id in ids.iter().filter(|id| self.places.contains_key(id)) {
                    if !cluster.running().contains(id) {
                        cluster.launch(*id)?;
                    }
                }
                Ok(())
            }
            Fault::Pause(ids) => signal(cluster, ids, Signal::CONT),
            Fault::Cut(..) | Fault::Clients(..) | Fault::Loss(_) => Ok(()),
            Fault::Delay(id, _) => {
                self.place(*id)?.proxy.set(Quality::default());
                Ok(())
            }
            Fault::Bandwidth(id, _) => cluster.network()?.limit(*id, None),
            Fault::FullDisk(id, _) => {
                self.place(*id)?.disk.make_room()?;
                self.revive(cluster, *id)
            }
            Fault::Clock(id, _) => self.place(*id)?.clock.set("+0"),
        }
    }
}

/// Lets faults last so long; whether the cluster has noticed meanwhile that a clock is wrong.
pub(super) async fn hold(cluster: &Cluster, faults: &[Inflicted], hold: Duration) -> bool {
    let wrong = faults.iter().find_map(|inflicted| match inflicted.fault {
        Fault::Clock(id, _) => Some(id),
        _ => None,
    });
    let Some(id) = wrong else {
        sleep(hold).await;
        return false;
    };
    let hold = hold.max(CLOCK_HOLD);
    let noticed = timeout(hold, clock_is_noticed(cluster, id));
    let (noticed, ()) = tokio::join!(noticed, sleep(hold));
    noticed.is_ok()
}

/// What the network does.
fn lose(cluster: &Cluster, fault: &Fault) -> Result<()> {
    let network = cluster.network()?;
    match fault {
        Fault::Cut(_, pairs) => {
            let mut pairs = pairs.iter();
            pairs.try_for_each(|(from, to)| network.cut(*from, *to))
        }
        Fault::Loss(pairs) => {
            let mut pairs = pairs.iter();
            pairs.try_for_each(|(from, to)| network.lose_some(*from, *to))
        }
        Fault::Clients(_, deaf, mute) => {
            deaf.iter().try_for_each(|id| network.lose_requests(*id))?;
            mute.iter().try_for_each(|id| network.lose_answers(*id))
        }
        Fault::Bandwidth(id, rate) => network.limit(*id, Some(*rate)),
        Fault::Kill(_)
        | Fault::Pause(_)
        | Fault::Delay(..)
        | Fault::FullDisk(..)
        | Fault::Clock(..) => Ok(()),
    }
}

/// Sends a signal to those of `ids` that run.
fn signal(cluster: &mut Cluster, ids: &[u64], signal: Signal) -> Result<()> {
    let running = cluster.running();
    for id in ids.iter().filter(|id| running.contains(id)) {
        cluster.process(*id)?.signal(signal)?;
    }
    Ok(())
}

/// Stops those of `ids` that run, and says how many have been.
async fn stop(cluster: &mut Cluster, ids: &[u64]) -> Result<u64> {
    signal(cluster, ids, Signal::STOP)?;
    let running = cluster.running();
    let mut stopped = 0;
    for id in ids.iter().filter(|id| running.contains(id)) {
        let process = cluster.process(*id)?;
        let state = wait::until("a process is stopped", PATIENCE, async || {
            let state = process.state()?;
            ensure!([STOPPED, ENDED].contains(&state), "its state is {state}");
            Ok(state)
        });
        stopped += u64::from(state.await? == STOPPED);
    }
    Ok(stopped)
}

/// Returns once a node tells of an alarm of node `id`'s clock.
async fn clock_is_noticed(cluster: &Cluster, id: u64) {
    loop {
        for asked in cluster.running() {
            // The leader knows, without asking anybody else.
            let own = v1::GetStatusRequest {
                this_node_only: true,
            };
            let mut node = cluster.node(asked).cluster();
            let status = node.get_status(request::within(ASK_TIMEOUT, own));
            // One that is cut off does not hold up the others.
            let Ok(Ok(status)) = timeout(ASK_TIMEOUT, status).await else {
                continue;
            };
            let is_it = |alarm: &v1::Alarm| {
                alarm.kind == i32::from(v1::AlarmKind::Clock) && alarm.node_id == Some(id)
            };
            if status.get_ref().alarms.iter().any(is_it) {
                return;
            }
        }
        sleep(wait::STEP).await;
    }
}
