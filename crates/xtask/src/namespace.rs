//! Small file systems and slow disks for the tests: mounting and tracing other processes are root's. A
//! user who is not root is that within a user and a mount namespace of the tests' own.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::Processes;

/// The longest that the probe may take.
const PROBE_LIMIT: Duration = Duration::from_secs(60);
/// Mounts a file system where only this process sees it, makes a network with a bridge and a rule, and lets strace
/// attach to a process that is not its child, as the tests do.
const PROBE: &str = "PATH=\"$PATH:/usr/sbin:/sbin\"; mount -t tmpfs -o size=1m tmpfs \"$1\" && \
                     unshare --net --mount --pid --fork --mount-proc sh -c \
                     'ip link add bridge0 type bridge && nft add table bridge toka' && \
                     { sleep 2 & strace -q -e trace=none -o /dev/null -p $!; }";

/// What `unshare` makes: root needs a mount namespace alone.
fn namespaces(is_root: bool) -> &'static [&'static str] {
    if is_root {
        &["--mount"]
    } else {
        &["--user", "--map-root-user", "--mount"]
    }
}

/// Runs `command` where it may mount file systems and trace processes; what it mounts goes with it.
pub(crate) fn inside(command: &Command) -> Command {
    wrap(command, rustix::process::geteuid().is_root())
}

fn wrap(command: &Command, is_root: bool) -> Command {
    let mut wrapped = Command::new("unshare");
    wrapped.args(namespaces(is_root)).arg("--");
    wrapped.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        wrapped.current_dir(directory);
    }
    wrapped
}

/// Makes sure that [`inside`] works on this machine.
///
/// # Errors
/// It does not; the message says what to allow.
pub(crate) fn ensure(processes: &Processes) -> Result<()> {
    let mut probe = Command::new("sh");
    probe.args(["-c", PROBE, "probe"]).arg(std::env::temp_dir());
    let run = processes.run_captured(&mut inside(&probe), PROBE_LIMIT);
    run.map(drop).context(
        "the cluster tests mount small file systems, make networks, and let strace hold up the disk of a process. \
         Allow it:\n\
         - in a container: CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_SYS_PTRACE (docker run --cap-add SYS_ADMIN \
         --cap-add NET_ADMIN --cap-add SYS_PTRACE --security-opt apparmor=unconfined)\n\
         - elsewhere run them as root, or allow user namespaces: sysctl user.max_user_namespaces above 0, and on \
         Ubuntu kernel.apparmor_restrict_unprivileged_userns=0\n\
         `cargo xtask test --fast` does without the cluster tests",
    )
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn command_is_the_same_inside() {
        let mut command = Command::new("cargo");
        command.args(["test", "--workspace"]).current_dir("/here");
        command.env("GIVEN", "1").env_remove("TAKEN");
        let wrapped = wrap(&command, false);
        assert_eq!(wrapped.get_program(), "unshare");
        let arguments: Vec<&OsStr> = wrapped.get_args().collect();
        let expected = [
            "--user",
            "--map-root-user",
            "--mount",
            "--",
            "cargo",
            "test",
            "--workspace",
        ];
        assert_eq!(arguments, expected);
        assert_eq!(wrapped.get_current_dir(), command.get_current_dir());
        assert!(wrapped.get_envs().eq(command.get_envs()));
        let as_root = wrap(&command, true);
        assert_eq!(as_root.get_args().next(), Some(OsStr::new("--mount")));
    }
}
