//! What the nodes spend while a load counts.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

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
    /// Memory of the largest node at the end, bytes.
    pub resident_bytes_max: u64,
    /// CPU time of all nodes, seconds.
    pub cpu_seconds: f64,
    /// Bytes that all nodes had written to disk.
    pub written_bytes: u64,
}

/// Reads what processes use, as a load begins to count and when it has ended.
#[derive(Debug)]
pub struct Meter {
    pids: Vec<u32>,
    before: JoinHandle<Result<Vec<Usage>, Error>>,
}

impl Meter {
    /// Looks at the processes at the end of the warm-up.
    #[must_use]
    pub fn start(pids: Vec<u32>, pace: &Arc<Pace>) -> Self {
        let (all, from) = (pids.clone(), pace.counted_from());
        let before = tokio::spawn(async move {
            tokio::time::sleep_until(from.into()).await;
            all.into_iter().map(Usage::of).collect()
        });
        Self { pids, before }
    }

    /// What was spent on `items`; `None` if there are no processes to look at, or the load ended before it counted.
    ///
    /// # Errors
    /// [`Error::File`]: a process is gone.
    pub async fn read(self, items: u64) -> Result<Option<Cost>, Error> {
        if self.pids.is_empty() || !self.before.is_finished() {
            self.before.abort();
            return Ok(None);
        }
        let before = self.before.await??;
        let mut spent = Usage::default();
        for (pid, before) in self.pids.iter().zip(&before) {
            let node = Usage::of(*pid)?.since(before);
            spent.cpu += node.cpu;
            spent.written_bytes += node.written_bytes;
            spent.resident_bytes = spent.resident_bytes.max(node.resident_bytes);
        }
        let items = items.max(1) as f64;
        let nodes = self.pids.len() as f64;
        Ok(Some(Cost {
            cpu_us_per_item: spent.cpu.as_secs_f64() * 1e6 / items,
            written_bytes_per_item: spent.written_bytes as f64 / nodes / items,
            resident_bytes_max: spent.resident_bytes,
            cpu_seconds: spent.cpu.as_secs_f64(),
            written_bytes: spent.written_bytes,
        }))
    }
}
