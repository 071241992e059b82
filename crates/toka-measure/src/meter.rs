//! What the nodes spend while a load counts.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::device::{Device, Source};
use crate::error::Error;
use crate::pace::Pace;
use crate::usage::Usage;

/// What a load cost the nodes, from the end of the warm-up until the meter was read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// CPU time of all nodes for one item, microseconds.
    pub cpu_us_per_item: f64,
    /// Bytes written to disk for one item, on the average of the nodes.
    pub written_bytes_per_item: f64,
    /// Who counted these bytes.
    pub written_bytes_source: Source,
    /// Memory of the largest node at the end, bytes.
    pub resident_bytes_max: u64,
    /// CPU time of all nodes, seconds.
    pub cpu_seconds: f64,
    /// Bytes that all nodes had written to disk.
    pub written_bytes: u64,
}

/// Reads what processes and their disk have used, as a load begins to count and when it has ended.
#[derive(Debug)]
pub struct Meter {
    pids: Vec<u32>,
    device: Option<Device>,
    before: JoinHandle<Result<Reading, Error>>,
}

impl Meter {
    /// Looks at the processes of the nodes at the end of the warm-up, and at the device that `data`, a directory that
    /// has all their data, is on. Where there is no such device, what the processes wrote is what they say themselves.
    #[must_use]
    pub fn start(pids: Vec<u32>, data: Option<&Path>, pace: &Arc<Pace>) -> Self {
        let device = data.and_then(Device::of);
        let (all, disk, from) = (pids.clone(), device.clone(), pace.counted_from());
        let before = tokio::spawn(async move {
            if let Some(disk) = disk.clone() {
                // What was stored before the load is none of its cost. Nobody waits: the load has begun.
                drop(spawn_blocking(move || disk.flush()));
            }
            tokio::time::sleep_until(from.into()).await;
            usages(&all).map(|processes| Reading {
                processes,
                device_bytes: disk.as_ref().and_then(Device::written_bytes),
            })
        });
        Self {
            pids,
            device,
            before,
        }
    }

    /// What was spent on `items`; `None` if there are no processes to look at, or the load ended before it counted.
    /// What the file system still has in memory is written first.
    ///
    /// # Errors
    /// [`Error::File`]: a process or the directory is gone.
    pub async fn read(self, items: u64) -> Result<Option<Cost>, Error> {
        if self.pids.is_empty() || !self.before.is_finished() {
            self.before.abort();
            return Ok(None);
        }
        let before = self.before.await??;
        let processes = usages(&self.pids)?;
        let device_bytes = match self.device {
            Some(disk) => {
                spawn_blocking(move || disk.flush().map(|()| disk.written_bytes())).await??
            }
            None => None,
        };
        let after = Reading {
            processes,
            device_bytes,
        };
        Ok(Some(after.cost_since(&before, items)))
    }
}

fn usages(pids: &[u32]) -> Result<Vec<Usage>, Error> {
    pids.iter().map(|pid| Usage::of(*pid)).collect()
}

/// What was used until a moment.
#[derive(Debug)]
struct Reading {
    /// By each node.
    processes: Vec<Usage>,
    /// Of the device that all nodes write to.
    device_bytes: Option<u64>,
}

impl Reading {
    fn cost_since(&self, before: &Self, items: u64) -> Cost {
        let mut spent = Usage::default();
        for (after, before) in self.processes.iter().zip(&before.processes) {
            let node = after.since(before);
            spent.cpu += node.cpu;
            spent.written_bytes += node.written_bytes;
            spent.resident_bytes = spent.resident_bytes.max(node.resident_bytes);
        }
        let on_device = before.device_bytes.zip(self.device_bytes);
        let (written_bytes, written_bytes_source) = match on_device {
            Some((before, after)) => (after.saturating_sub(before), Source::Device),
            None => (spent.written_bytes, Source::Process),
        };
        let items = items.max(1) as f64;
        let nodes = self.processes.len().max(1) as f64;
        Cost {
            cpu_us_per_item: spent.cpu.as_secs_f64() * 1e6 / items,
            written_bytes_per_item: written_bytes as f64 / nodes / items,
            written_bytes_source,
            resident_bytes_max: spent.resident_bytes,
            cpu_seconds: spent.cpu.as_secs_f64(),
            written_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two nodes that say that they have written so much each, on a device that says this.
    fn reading(written_bytes: u64, device_bytes: Option<u64>) -> Reading {
        let node = Usage {
            written_bytes,
            ..Usage::default()
        };
        Reading {
            processes: vec![node; 2],
            device_bytes,
        }
    }

    #[test]
    fn bytes_of_the_device_are_divided_among_the_nodes() {
        let (before, after) = (reading(0, Some(50)), reading(9_000, Some(450)));
        let cost = after.cost_since(&before, 10);
        assert_eq!(cost.written_bytes_source, Source::Device);
        assert_eq!(cost.written_bytes, 400);
        assert!((cost.written_bytes_per_item - 20.0).abs() < f64::EPSILON);
    }

    #[test]
    fn without_a_device_the_bytes_are_those_of_the_processes() {
        for device_bytes in [None, Some(50)] {
            let (before, after) = (reading(100, device_bytes), reading(400, None));
            let cost = after.cost_since(&before, 10);
            assert_eq!(cost.written_bytes_source, Source::Process);
            assert_eq!(cost.written_bytes, 600);
            assert!((cost.written_bytes_per_item - 30.0).abs() < f64::EPSILON);
        }
    }
}
