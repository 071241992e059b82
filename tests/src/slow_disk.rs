//! A slow disk, for one process: strace holds its syncs up.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::wait;

const PATIENCE: Duration = Duration::from_secs(10);

/// Holds up every sync of a process until it is dropped.
#[derive(Debug)]
pub struct SlowDisk(Child);

impl SlowDisk {
    /// Every sync of process `pid` takes at least `delay`, once this has returned.
    pub async fn of(pid: u32, delay: Duration) -> Result<Self> {
        let inject = format!("inject=fsync,fdatasync:delay_enter={}", delay.as_micros());
        let strace = Command::new("strace")
            .args(["-f", "-q", "-e", "trace=fsync,fdatasync", "-e", &inject])
            .args(["-p", &pid.to_string(), "-o", "/dev/null"])
            .stdin(Stdio::null())
            .spawn()
            .context("cannot start strace; `cargo xtask setup` installs it")?;
        let disk = Self(strace);
        let status = format!("/proc/{pid}/status");
        wait::until("strace is attached", PATIENCE, async || {
            let traced = std::fs::read_to_string(&status)?;
            let tracer = format!("TracerPid:\t{}", disk.0.id());
            ensure!(traced.contains(&tracer), "it is not");
            Ok(())
        })
        .await?;
        Ok(disk)
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        // The process goes on without it. Both fail only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
