//! `cargo xtask story`: agents at work on a cluster, told as a story that a person can follow.
//!
//! As the demo, it knows the product through its binaries alone: `toka`, and the program of the agents
//! (`crates/toka-runtime/examples/story`).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::demo;
use crate::demo::cluster::Cluster;
use crate::demo::corpus;
use crate::demo::event::write_jsonl;
use crate::demo::progress::Progress;
use crate::demo::toka::{Toka, parse};
use crate::process::{Process, Processes};
use crate::workspace::Workspace;

/// Utterances that the agents work on.
const UTTERANCES: usize = 120;
/// Of them, those that are there before anything goes wrong.
const BEFORE: usize = 40;
/// For all of them, with an election and restarts in between.
const WORK_LIMIT: Duration = Duration::from_secs(180);
const COMMAND_LIMIT: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// In the order in which one comes of the other.
const KINDS: [&str; 4] = [
    "utterance.user",
    "task.opened",
    "task.done",
    "task.reviewed",
];

/// An event as `toka log` prints it.
#[derive(Deserialize)]
struct Logged {
    sequence: u64,
}

/// What the story is played with.
struct Stage<'a> {
    toka: &'a Toka,
    agents: &'a Path,
    processes: &'a Processes,
    endpoints: String,
    directory: &'a Path,
    progress: &'a Progress,
}

/// Builds what it needs (unless it is given), and plays the story.
///
/// # Errors
/// Something failed, or an agent has done its part twice or not at all, or a replay says otherwise than it should.
pub(crate) fn run(
    workspace: &Workspace,
    processes: &Processes,
    bin: Option<&Path>,
    agents: Option<&Path>,
) -> Result<()> {
    let progress = Progress::start();
    let bin = match bin {
        Some(bin) => bin.to_owned(),
        None => demo::build(workspace, processes, &progress)?,
    };
    let agents = match agents {
        Some(agents) => agents.to_owned(),
        None => build_agents(workspace, processes, &progress)?,
    };
    let input = workspace.root.join("tests/data/hwu64/utterances.jsonl");
    let mut input = corpus::conversations(&input)?;
    ensure!(input.len() >= UTTERANCES, "the corpus is too short");
    input.truncate(UTTERANCES);
    let directory = workspace
        .target
        .join(format!("story-{}", std::process::id()));
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("creating {}", directory.display()))?;
    write_jsonl(&directory.join("first.jsonl"), &input[..BEFORE])?;
    // Repeating what is there stores nothing, and the parents of later lines are among them.
    write_jsonl(&directory.join("all.jsonl"), &input)?;

    let toka = Toka::new(bin, processes.clone());
    progress.say("three nodes start");
    let mut cluster = Cluster::start(&toka, &directory)?;
    let stage = Stage {
        toka: &toka,
        agents: &agents,
        processes,
        endpoints: cluster.endpoints(),
        directory: &directory,
        progress: &progress,
    };
    let played = play(&stage, &mut cluster);
    if let Err(error) = played {
        eprintln!("data and logs are kept in {}", directory.display());
        return Err(error);
    }
    cluster.stop(&progress);
    std::fs::remove_dir_all(&directory).with_context(|| format!("removing {}", directory.display()))
}

fn build_agents(
    workspace: &Workspace,
    processes: &Processes,
    progress: &Progress,
) -> Result<PathBuf> {
    progress.say("building the agents");
    let mut command = workspace.cargo();
    command.args(["build", "--workspace", "--example", "story"]);
    processes.run(&mut command)?;
    Ok(workspace.target.join("debug/examples/story"))
}

fn play(stage: &Stage<'_>, cluster: &mut Cluster<'_>) -> Result<()> {
    let say = |text: &str| stage.progress.say(text);
    say(
        "three agents start: triage finds out what people say, a worker works, a reviewer looks at the work",
    );
    let mut agents = stage.start_agents()?;
    stage.import("first.jsonl")?;
    stage.wait_for(BEFORE / 2)?;

    let leader = cluster.leader()?;
    say(&format!("node {leader}, the leader, is killed"));
    cluster.kill(leader)?;
    say("and the process of the agents, in the middle of their work");
    agents.kill()?;
    say("the agents start again, and go on where they were");
    let mut agents = stage.start_agents()?;
    say("people go on talking");
    stage.import("all.jsonl")?;
    say(&format!("node {leader} comes back"));
    cluster.restart(leader)?;
    stage.wait_for(UTTERANCES)?;
    let status = agents.terminate(COMMAND_LIMIT)?;
    ensure!(status.success(), "the agents ended with {status}");
    for kind in KINDS {
        let events = stage.log(kind)?.len();
        say(&format!("{events} events of kind {kind}"));
        ensure!(events == UTTERANCES, "{kind}: not once for each utterance");
    }
    tell_causes(stage)?;
    tell_replays(stage)?;
    tell_what_if(stage)
}

/// Who has caused what.
fn tell_causes(stage: &Stage<'_>) -> Result<()> {
    let reviews = stage.log("task.reviewed")?;
    let last = reviews.last().context("nothing was reviewed")?;
    let sequence = last.sequence.to_string();
    stage
        .progress
        .say("what the last review came of (`toka lineage`):");
    let mut arguments = vec!["--endpoint", &stage.endpoints, "lineage", &sequence];
    arguments.extend(["--format", "graph"]);
    let mut command = stage.toka.command(&arguments);
    let shown = stage.processes.run_captured(&mut command, COMMAND_LIMIT)?;
    print!("{shown}");
    Ok(())
}

/// That an agent would do the same again, and where a changed one would not.
fn tell_replays(stage: &Stage<'_>) -> Result<()> {
    stage
        .progress
        .say("the worker is replayed: what it was told then, it is told again");
    let same = stage.replay(&["--agent", "worker"], false)?;
    print!("{same}");
    ensure!(same.contains(&format!("{UTTERANCES} answered as recorded")));
    stage
        .progress
        .say("a changed triage, which knows questions, is replayed (`toka replay --diff`):");
    let differs = stage.replay(&["--agent", "triage", "--diff"], true)?;
    print!("{differs}");
    ensure!(differs.contains("recorded:"), "it does not differ");
    Ok(())
}

/// What the changed agent would have said, in a fork.
fn tell_what_if(stage: &Stage<'_>) -> Result<()> {
    let before = stage.log("")?.len();
    stage
        .progress
        .say("what if somebody had asked this, with that triage? (`toka what-if`, in a fork):");
    let at = before.to_string();
    let arguments = [
        "--endpoint",
        &stage.endpoints,
        "what-if",
        "--program",
        path(stage.agents)?,
        "--agent",
        "triage",
        "--at",
        &at,
        "--event",
        r#"utterance.user={"text":"will it rain tomorrow?"}"#,
    ];
    let mut command = stage.toka.command(&arguments);
    command.env("STORY_CHANGED", "1");
    let shown = stage.processes.run_captured(&mut command, COMMAND_LIMIT)?;
    print!("{shown}");
    ensure!(shown.contains("task.opened"), "triage has said nothing");
    ensure!(
        stage.log("")?.len() == before,
        "the fork has reached the cluster"
    );
    stage.progress.say("nothing of it has reached the cluster");
    Ok(())
}

impl Stage<'_> {
    fn start_agents(&self) -> Result<Process> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.directory.join("agents.log"))?;
        let mut command = Command::new(self.agents);
        command.args(["run", "--endpoint", &self.endpoints]);
        command.stdout(Stdio::null()).stderr(log);
        self.processes.spawn(&mut command)
    }

    fn import(&self, file: &str) -> Result<()> {
        let file = self.directory.join(file);
        let arguments = ["--endpoint", &self.endpoints, "import", path(&file)?];
        let mut command = self.toka.command(&arguments);
        self.processes.run_captured(&mut command, COMMAND_LIMIT)?;
        Ok(())
    }

    /// The events whose kinds begin with `kind`.
    fn log(&self, kind: &str) -> Result<Vec<Logged>> {
        let mut arguments = vec!["--endpoint", &self.endpoints, "log", "-o", "json"];
        arguments.push("--no-payload");
        if !kind.is_empty() {
            arguments.extend(["--kind", kind]);
        }
        let mut command = self.toka.command(&arguments);
        let lines = self.processes.run_captured(&mut command, COMMAND_LIMIT)?;
        lines.lines().map(parse).collect()
    }

    /// Waits until so many works were looked at.
    fn wait_for(&self, reviews: usize) -> Result<()> {
        let deadline = Instant::now() + WORK_LIMIT;
        loop {
            let seen = self.log("task.reviewed")?.len();
            if seen >= reviews {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("{seen} of {reviews} reviews after {WORK_LIMIT:?}");
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// `toka replay`, of the changed agents or of those that have run; what it prints.
    fn replay(&self, flags: &[&str], is_changed: bool) -> Result<String> {
        let mut arguments = vec!["--endpoint", &self.endpoints, "replay"];
        arguments.extend(["--program", path(self.agents)?]);
        arguments.extend(flags);
        let mut command = self.toka.command(&arguments);
        if is_changed {
            command.env("STORY_CHANGED", "1");
        }
        // Exit code 1 says that it differs.
        let output = command.stdin(Stdio::null()).output()?;
        let is_expected = output.status.code() == Some(i32::from(is_changed));
        ensure!(
            is_expected,
            "toka replay ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }
}

fn path(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}
