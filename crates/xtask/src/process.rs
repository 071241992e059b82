//! Child processes that never outlive xtask: killed when dropped and on Ctrl-C.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How often a wait with a deadline looks at the child.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The children that are alive. Clones share one set.
#[derive(Clone, Default)]
pub(crate) struct Processes(Arc<Mutex<BTreeSet<u32>>>);

impl Processes {
    /// Starts the thread that stops all children, then xtask, on SIGINT, SIGTERM and SIGHUP.
    pub(crate) fn stopped_by_signals() -> Result<Self> {
        let processes = Self::default();
        let mut signals =
            Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot catch signals")?;
        let handler = processes.clone();
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                if let Some(signal) = signals.forever().next() {
                    // The lock is kept until the end, so that nothing starts after this sweep.
                    let live = handler.live();
                    for &id in live.iter() {
                        kill_group(id);
                    }
                    eprintln!("\nxtask: stopped by signal {signal}");
                    std::process::exit(128 + signal);
                }
            })?;
        Ok(processes)
    }

    /// Starts `command` as the leader of a process group of its own, without standard input.
    pub(crate) fn spawn(&self, command: &mut Command) -> Result<Process> {
        let name = describe(command);
        // Spawned under the lock: a signal in between would miss the child.
        let mut live = self.live();
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start `{name}`"))?;
        live.insert(child.id());
        drop(live);
        Ok(Process {
            child,
            name,
            owner: self.clone(),
            exited: None,
        })
    }

    /// Runs `command` to its end; its output goes where xtask's goes.
    pub(crate) fn run(&self, command: &mut Command) -> Result<()> {
        let mut process = self.spawn(command)?;
        process.wait_success()
    }

    /// Runs `command` for at most `limit` and returns its standard output; a failure shows both outputs.
    pub(crate) fn run_captured(&self, command: &mut Command, limit: Duration) -> Result<String> {
        let mut process = self.spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
        let stdout = process.take_stdout().map(read_in_thread);
        let stderr = process.take_stderr().map(read_in_thread);
        let outcome = process.wait_within(limit);
        // Ends the readers too: the group holds the other ends of the pipes.
        process.kill()?;
        let text = |reader: Option<std::thread::JoinHandle<String>>| {
            reader
                .and_then(|thread| thread.join().ok())
                .unwrap_or_default()
        };
        let (stdout, stderr) = (text(stdout), text(stderr));
        let Some(status) = outcome? else {
            bail!(
                "`{}` did not end within {limit:?}\n{stdout}{stderr}",
                process.name
            );
        };
        if !status.success() {
            bail!("`{}` failed ({status})\n{stdout}{stderr}", process.name);
        }
        Ok(stdout)
    }

    fn live(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A child process; its group is killed and it is reaped when this is dropped.
pub(crate) struct Process {
    child: Child,
    name: String,
    owner: Processes,
    exited: Option<ExitStatus>,
}

impl Process {
    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    pub(crate) fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Waits for the end, without a deadline.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus> {
        let status = self
            .child
            .wait()
            .with_context(|| format!("waiting for `{}`", self.name))?;
        self.forget(status);
        Ok(status)
    }

    /// Waits for the end; anything but success is an error that names the command.
    pub(crate) fn wait_success(&mut self) -> Result<()> {
        let status = self.wait()?;
        if !status.success() {
            bail!("`{}` failed ({status})", self.name);
        }
        Ok(())
    }

    /// The exit status, if the child has ended.
    pub(crate) fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        if self.exited.is_none()
            && let Some(status) = self.child.try_wait()?
        {
            self.forget(status);
        }
        Ok(self.exited)
    }

    /// SIGKILL to the child's group, and reaps the child.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if self.exited.is_none() {
            kill_group(self.id());
            self.wait()?;
        }
        Ok(())
    }

    /// SIGTERM to the child, then waits up to `timeout` for its exit status.
    pub(crate) fn terminate(&mut self, timeout: Duration) -> Result<ExitStatus> {
        if let Some(pid) = pid(self.id())
            && self.exited.is_none()
        {
            kill_process(pid, Signal::TERM)
                .with_context(|| format!("cannot signal `{}`", self.name))?;
        }
        match self.wait_within(timeout)? {
            Some(status) => Ok(status),
            None => bail!("`{}` did not end within {timeout:?} of SIGTERM", self.name),
        }
    }

    /// Waits up to `limit` for the end; `None` if the child still runs.
    pub(crate) fn wait_within(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    fn forget(&mut self, status: ExitStatus) {
        self.owner.live().remove(&self.child.id());
        self.exited = Some(status);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that the child is gone already.
        let _ = self.kill();
    }
}

fn pid(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

fn kill_group(id: u32) {
    if let Some(pid) = pid(id) {
        // The group may have ended by itself.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

fn read_in_thread(
    mut stream: impl std::io::Read + Send + 'static,
) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is still worth showing.
        let _ = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The command line, for messages.
pub(crate) fn describe(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn is_alive(id: u32) -> bool {
        rustix::process::test_kill_process(pid(id).expect("a valid id")).is_ok()
    }

    #[test]
    fn drop_kills_and_reaps_the_child() {
        let processes = Processes::default();
        let process = processes
            .spawn(&mut shell("exec sleep 600"))
            .expect("sh starts");
        let id = process.id();
        assert!(is_alive(id));
        drop(process);
        assert!(!is_alive(id));
        assert!(processes.live().is_empty());
    }

    #[test]
    fn captured_failure_shows_output() {
        let error = Processes::default()
            .run_captured(
                &mut shell("echo out; echo err >&2; exit 3"),
                Duration::from_secs(10),
            )
            .expect_err("exit 3 is a failure")
            .to_string();
        assert!(error.contains("out") && error.contains("err"), "{error}");
    }

    #[test]
    fn captured_run_ends_at_its_limit() {
        let error = Processes::default()
            .run_captured(
                &mut shell("echo before; sleep 600"),
                Duration::from_millis(200),
            )
            .expect_err("the limit is a failure")
            .to_string();
        assert!(
            error.contains("did not end within") && error.contains("before"),
            "{error}"
        );
    }

    #[test]
    fn terminate_returns_the_exit_status() {
        let mut process = Processes::default()
            .spawn(
                shell("trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done")
                    .stdout(Stdio::piped()),
            )
            .expect("sh starts");
        let mut line = String::new();
        let stdout = process.take_stdout().expect("stdout is piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line)
            .expect("the shell prints a line");
        let status = process
            .terminate(Duration::from_secs(10))
            .expect("the shell ends");
        assert_eq!(status.code(), Some(7));
    }
}
