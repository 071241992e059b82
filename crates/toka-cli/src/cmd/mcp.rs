//! `toka mcp`: the vault as a server of the Model Context Protocol.

use std::net::SocketAddr;

use anyhow::Result;
use toka_mcp::http::{Endpoint, HttpError, Settings, TlsFiles};
use toka_mcp::{Meaning, Server, Vaults, Wanted, serve_stdio};
use tokio_util::sync::CancellationToken;

use super::serve::terminated;
use crate::cli::{Global, Mcp};
use crate::failure::Failure;
use crate::log::start_log;
use crate::output;
use crate::target::{endpoints, failure};

pub(crate) async fn run(global: &Global, flags: Mcp) -> Result<()> {
    // On standard error; clients show it where something goes wrong.
    start_log("warn", false);
    match flags.http {
        Some(listen) => over_http(global, flags, listen).await,
        None => over_stdio(global, &flags).await,
    }
}

fn meaning(global: &Global, flags: &Mcp) -> Meaning {
    let wanted = match flags.embed.spec() {
        Some(spec) => Wanted::Spec(spec.clone()),
        None if flags.embed.is_none() => Wanted::Nothing,
        None => Wanted::OfVault,
    };
    Meaning::new(wanted, global.timeout)
}

async fn over_stdio(global: &Global, flags: &Mcp) -> Result<()> {
    let endpoints = endpoints(global)?;
    let builder = endpoints.builder()?.timeout(global.timeout);
    // The vault need not be there yet: clients start their servers when they start, and keep them for days.
    let client = builder.connect(endpoints.written).await.map_err(failure)?;
    let server = Server::new(Vaults::own(client), meaning(global, flags));
    let stop = CancellationToken::new();
    tokio::select! {
        served = serve_stdio(server, stop) => Ok(served?),
        // Nothing is left to be done, and a read of a terminal, which the runtime would wait for, cannot be given up.
        () = terminated() => std::process::exit(0),
    }
}

async fn over_http(global: &Global, flags: Mcp, listen: SocketAddr) -> Result<()> {
    let meaning = meaning(global, &flags);
    let (endpoints, has_token) = endpoints(global)?.of_callers()?;
    if has_token {
        eprintln!("note: the token is not used with --http, where each request shows its own");
    }
    let builder = endpoints.builder()?.timeout(global.timeout);
    endpoints.say_waiting(global.timeout);
    let nobody = builder.clone().connect(endpoints.written.clone()).await;
    let identity = nobody.map_err(failure)?.who_am_i().await.map_err(failure)?;
    let settings = Settings {
        listen,
        tls: flags
            .tls_cert
            .zip(flags.tls_key)
            .map(|(certificate, key)| TlsFiles { certificate, key }),
        hosts: flags.allow_host,
        origins: flags.allow_origin,
        insecure: flags.insecure,
    };
    let endpoint = Endpoint::bind(settings, identity.is_enforced).await;
    let endpoint = endpoint.map_err(unusable)?;
    let vaults = Vaults::of_callers(builder, endpoints.written).await;
    let server = Server::new(vaults.map_err(failure)?, meaning);
    let stop = CancellationToken::new();
    let (stopped, terminated) = (stop.clone(), terminated());
    let stopping = tokio::spawn(async move {
        terminated.await;
        stopped.cancel();
    });
    output::line(&format!("listening on {}", endpoint.url()))?;
    let served = endpoint.serve(server, stop).await;
    stopping.abort();
    Ok(served?)
}

/// Flags that cannot be, and what else may have gone wrong.
fn unusable(error: HttpError) -> anyhow::Error {
    match error.is_of_settings() {
        true => Failure::Usage(error.to_string()).into(),
        false => error.into(),
    }
}
