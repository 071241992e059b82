//! One `toka` process.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Lines of a log that are shown when something fails.
const TAIL_LINES: usize = 40;

/// The `toka` binary: `TOKA_BIN`, else the one beside the test's own executable.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("TOKA_BIN") {
        return Ok(path.into());
    }
    let test = std::env::current_exe()?;
    let profile = test
        .parent()
        .and_then(Path::parent)
        .context("the test has no directory")?;
    let binary = profile.join("toka");
    if !binary.exists() {
        bail!(
            "{} is missing; run `cargo build -p toka-cli` or `cargo xtask test`",
            binary.display()
        );
    }
    Ok(binary)
}

/// `xtask`, beside the test's own executable: `cargo xtask` and `cargo build --workspace` build it.
pub fn xtask() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let profile = test.parent().and_then(Path::parent);
    let binary = profile.context("the test has no directory")?.join("xtask");
    if !binary.exists() {
        bail!(
            "{} is missing; run `cargo build -p xtask` or `cargo xtask test`",
            binary.display()
        );
    }
    Ok(binary)
}

/// The `toka` of a build that differs in its feature level: `TOKA_NEXT_BIN`, else `toka-next` beside the
/// other one. Only `cargo xtask test` builds it by itself.
pub fn next_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("TOKA_NEXT_BIN") {
        return Ok(path.into());
    }
    let binary = binary()?.with_file_name("toka-next");
    if !binary.exists() {
        bail!(
            "{} is missing; `cargo xtask next` builds it, as `cargo xtask test` does",
            binary.display()
        );
    }
    Ok(binary)
}

/// Variables of the caller's environment that would change what `toka` does.
pub fn foreign_variables() -> Vec<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let is_foreign = |name: &String| name.starts_with("TOKA_") || name.starts_with("OTEL_");
    names.filter(is_foreign).collect()
}

/// A running process; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Where its standard output and error go.
    pub log: PathBuf,
}

impl Process {
    /// Starts `toka` with `arguments`; what it writes is appended to `log`.
    pub fn start(arguments: &[String], log: &Path) -> Result<Self> {
        Self::start_with(&binary()?, arguments, &[], log)
    }

    /// As [`Process::start`], of any build, with further variables in its environment.
    pub fn start_with(
        binary: &Path,
        arguments: &[String],
        variables: &[(&str, &Path)],
        log: &Path,
    ) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(binary);
        for name in foreign_variables() {
            command.env_remove(name);
        }
        let child = command
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("cannot start toka")?;
        Ok(Self {
            child,
            log: log.to_owned(),
        })
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    pub async fn terminate(&mut self, within: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(within).await
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal)?;
        Ok(())
    }

    /// Waits until the process ends by itself.
    pub async fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("the process did not end within {within:?}");
            }
            tokio::time::sleep(crate::wait::STEP).await;
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that it has had at a time so far, bytes.
    pub fn memory_max(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib: u64 = kib.context("no VmHWM in kB")?.trim().parse()?;
        Ok(kib << 10)
    }

    /// Its state, as the kernel names it: `T` is stopped, `Z` has ended.
    pub fn state(&self) -> Result<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        // The name before it may have anything in it.
        let state = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next());
        state.with_context(|| format!("no state: {stat}"))
    }

    /// How it has ended; `None`: it still runs.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last lines of a log.
pub fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
