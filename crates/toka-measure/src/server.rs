//! A server process that is started, killed and started again.

use std::ffi::OsString;
use std::fs::File;
#[cfg(target_os = "linux")]
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::Error;

/// How often somebody who waits for a process looks at it.
const POLL: Duration = Duration::from_millis(5);
/// Lines of a log that are shown with an error.
const LOG_LINES: usize = 15;

/// A program with its arguments, and the process that runs it, if one does. The process is killed, by its id, when
/// this is dropped, and with the thread that has started it: start it from one that lasts.
#[derive(Debug)]
pub struct Server {
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    log: PathBuf,
    child: Option<Child>,
}

impl Server {
    /// A server that does not run yet. What it writes is appended to the file `log`.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        program: impl Into<PathBuf>,
        arguments: Vec<OsString>,
        log: impl Into<PathBuf>,
    ) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            arguments,
            log: log.into(),
            child: None,
        }
    }

    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id of the process that runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts the process, without the caller's own `TOKA_*` settings. Does not wait until it serves.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Process`].
    pub fn start(&mut self) -> Result<(), Error> {
        self.kill()?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(Error::file("open", &self.log))?;
        let errors = log.try_clone().map_err(Error::file("open", &self.log))?;
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TOKA_") {
                command.env_remove(name);
            }
        }
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        end_with_parent(&mut command);
        let child = command
            .spawn()
            .map_err(process("start", self.program.display().to_string()))?;
        self.child = Some(child);
        Ok(())
    }

    /// SIGKILL, and waits for the end. Nothing if it does not run.
    ///
    /// # Errors
    /// [`Error::Process`].
    pub fn kill(&mut self) -> Result<(), Error> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        // An error: it has ended already.
        let _ = child.kill();
        child
            .wait()
            .map(drop)
            .map_err(process("wait for", self.name.clone()))
    }

    /// SIGTERM, without waiting for the end: [`Server::ended`].
    ///
    /// # Errors
    /// [`Error::Process`].
    pub fn terminate(&self) -> Result<(), Error> {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else {
            return Ok(());
        };
        kill_process(pid, Signal::TERM)
            .map_err(std::io::Error::from)
            .map_err(process("signal", self.name.clone()))
    }

    /// Waits until the process has ended by itself.
    ///
    /// # Errors
    /// [`Error::TooLate`], and it runs on.
    pub async fn ended(&mut self, limit: Duration) -> Result<Option<ExitStatus>, Error> {
        let until = Instant::now() + limit;
        loop {
            let Some(child) = &mut self.child else {
                return Ok(None);
            };
            let status = child
                .try_wait()
                .map_err(process("look at", self.name.clone()))?;
            if status.is_some() {
                self.child = None;
                return Ok(status);
            }
            if Instant::now() >= until {
                return Err(Error::TooLate {
                    name: self.name.clone(),
                    what: "its end",
                    limit,
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// # Errors
    /// [`Error::Ended`] if the process was started and has ended since.
    pub fn check(&mut self) -> Result<(), Error> {
        let Some(child) = &mut self.child else {
            return Ok(());
        };
        let status = child
            .try_wait()
            .map_err(process("look at", self.name.clone()))?;
        match status {
            None => Ok(()),
            Some(status) => Err(Error::Ended {
                name: self.name.clone(),
                status,
                log: self.log_tail(),
            }),
        }
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = self.kill();
    }
}

/// Has the kernel kill the process when the thread that starts it is gone: a benchmark that is killed leaves nothing
/// behind.
#[cfg(target_os = "linux")]
fn end_with_parent(command: &mut Command) {
    let ask = || {
        let signal = Some(Signal::KILL);
        rustix::process::set_parent_process_death_signal(signal).map_err(std::io::Error::from)
    };
    // SAFETY: it runs between fork and exec, where nothing may allocate or lock: it is one system call.
    unsafe {
        command.pre_exec(ask);
    }
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent(_: &mut Command) {}

fn process(action: &'static str, name: String) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Process {
        action,
        name,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, directory: &tempfile::TempDir) -> Server {
        let arguments = vec!["-c".into(), script.into()];
        Server::new("sh", "/bin/sh", arguments, directory.path().join("log"))
    }

    #[tokio::test]
    async fn a_server_is_started_killed_and_started_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut server = shell("exec sleep 600", &directory);
        server.start().expect("starts");
        let first = server.pid().expect("runs");
        server.kill().expect("dies");
        assert_eq!(server.pid(), None);
        server.start().expect("starts");
        assert!(server.pid().is_some_and(|pid| pid != first));
        server.terminate().expect("is told");
        let status = server.ended(Duration::from_secs(60)).await.expect("ends");
        assert!(status.is_some_and(|status| !status.success()));
    }

    #[tokio::test]
    async fn an_end_is_an_error_with_the_log() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut server = shell("echo no room; exit 3", &directory);
        server.start().expect("starts");
        let error = loop {
            match server.check() {
                Ok(()) => tokio::time::sleep(POLL).await,
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("no room"), "{error}");
    }
}
