//! `toka`, the one binary of Toka Vault: node, client and tools.

mod allocator;
mod cli;
mod cmd;
mod context;
mod embed;
mod failure;
mod log;
mod output;
mod payload;
mod progress;
mod target;
mod traced;

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::{Cli, Command, Format, Global, Otel};
use crate::target::Target;
use crate::traced::Traced;

fn main() -> ExitCode {
    let cli = cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run_traced(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", failure::describe(&error));
            failure::exit_code(&error)
        }
    }
}

async fn run_traced(cli: Cli) -> Result<()> {
    let traced = Traced::of(&cli)?;
    let command = Box::pin(run(cli));
    match traced {
        Some(traced) => traced.run(command).await,
        None => command.await,
    }
}

async fn run(cli: Cli) -> Result<()> {
    let Cli { global, command } = cli;
    let format = output::format(global.output);
    // What is said about a single thing is for people unless JSON was asked for.
    let brief = global.output.unwrap_or(Format::Table);
    match command {
        Command::Serve(flags) => cmd::serve::run(*flags, global.data, global.otlp_endpoint).await,
        Command::Dev(flags) => cmd::dev::run(flags, global.data).await,
        Command::Cluster(command) => cmd::cluster::run(&global, command, brief).await,
        Command::Auth(command) => cmd::auth::run(&global, command, brief).await,
        Command::Bench(bench) => cmd::bench::run(&global, *bench, brief).await,
        Command::Context(command) => cmd::context::run(&global, command, brief),
        Command::Debug(command) => cmd::debug::run(&global, command, brief).await,
        Command::Backup(command) => cmd::backup::run(&global, command, brief).await,
        Command::Restore(flags) => cmd::restore::run(&global, flags, brief).await,
        Command::Verify(flags) => cmd::verify::run(&global, flags, brief).await,
        Command::Mcp(flags) => Box::pin(cmd::mcp::run(&global, *flags)).await,
        Command::Otel(Otel::Serve(flags)) => Box::pin(cmd::otel::serve(&global, *flags)).await,
        Command::Replay(flags) => cmd::agent::replay(&global, flags),
        Command::WhatIf(flags) => cmd::agent::what_if(&global, flags),
        Command::Completions { shell } => cmd::shell::completions(shell),
        Command::Man { directory } => cmd::shell::man(directory),
        on_a_vault => {
            let may_create = matches!(on_a_vault, Command::Commit(_) | Command::Import(_));
            let target = Target::open(&global, may_create).await?;
            let result = run_on(&target, &global, on_a_vault, format, brief).await;
            result.and(target.close().await)
        }
    }
}

async fn run_on(
    target: &Target,
    global: &Global,
    command: Command,
    format: Format,
    brief: Format,
) -> Result<()> {
    match command {
        Command::Commit(flags) => cmd::commit::run(target, global, *flags, brief).await,
        Command::Get(flags) => cmd::read::get(target, flags, brief).await,
        Command::Log(flags) => cmd::read::log(target, flags, format).await,
        Command::Watch(flags) => cmd::watch::run(target, flags, format).await,
        Command::Lineage(flags) => cmd::lineage::run(target, flags, format).await,
        Command::Import(flags) => cmd::import::run(target, global, flags, brief).await,
        Command::Export(flags) => cmd::export::run(target, flags).await,
        Command::Intents(flags) => {
            let past = match flags.at {
                Some(sequence) => Some(target.at(global, sequence).await?),
                None => None,
            };
            let target = past.as_ref().unwrap_or(target);
            cmd::intents::run(target, global, flags, brief).await
        }
        Command::Search(flags) => cmd::intents::search(target, global, flags, brief).await,
        Command::Otel(Otel::Find(flags)) => cmd::otel::find(target, flags, format).await,
        Command::Cursor(command) => cmd::cursor::run(target, command, format).await,
        Command::Group(command) => cmd::group::run(target, command, format).await,
        Command::Reembed(flags) => cmd::reembed::run(target, global, flags, brief).await,
        Command::Serve(_)
        | Command::Dev(_)
        | Command::Cluster(_)
        | Command::Auth(_)
        | Command::Bench(_)
        | Command::Context(_)
        | Command::Debug(_)
        | Command::Backup(_)
        | Command::Restore(_)
        | Command::Verify(_)
        | Command::Mcp(_)
        | Command::Otel(Otel::Serve(_))
        | Command::Replay(_)
        | Command::WhatIf(_)
        | Command::Completions { .. }
        | Command::Man { .. } => unreachable!("these need no vault and were run before"),
    }
}
