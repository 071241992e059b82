//! The agents of `cargo xtask story`. With `STORY_CHANGED` in the environment, triage is another one than it was.

mod agents;

use std::process::ExitCode;

use agents::{Reviewer, Triage, Worker};
use toka_agents::{Error, Settings};
use toka_runtime::Program;

fn main() -> ExitCode {
    match program() {
        Ok(program) => program.main(),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn program() -> Result<Program, Error> {
    let knows_questions = std::env::var_os("STORY_CHANGED").is_some();
    Ok(Program::new("story")
        .agent(Settings::new("triage")?, move || Triage { knows_questions })
        .agent(Settings::new("worker")?, || Worker)
        .agent(Settings::new("reviewer")?, || Reviewer))
}
