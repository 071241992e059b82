//! `toka otel`: traces of OpenTelemetry as events.

use anyhow::{Result, bail};
use futures::TryStreamExt as _;
use smart_embedder::SmartEmbedder;
use toka_client::Client;
use toka_ledger::read::{Filter, Selector};
use toka_otel::anchor::{KIND_PREFIX, SPAN_ID, STEP, STEP_OF, TRACE_ID};
use toka_otel::serve::{Endpoint, ServeError, Settings, TlsFiles};
use toka_otel::{Callers, Receiver, SpanRef, anchor};
use tokio_util::sync::CancellationToken;

use super::read;
use super::serve::terminated;
use crate::cli::{self, Format, Global};
use crate::embed::Embedder;
use crate::failure::Failure;
use crate::log::start_log;
use crate::output;
use crate::target::{Include, Listing, Record, Target, Times, endpoints, failure};

pub(crate) async fn serve(global: &Global, flags: cli::Receive) -> Result<()> {
    start_log("info", false);
    let (endpoints, has_token) = endpoints(global)?.of_callers()?;
    if has_token {
        eprintln!("note: the token is not used here, where each request shows its own");
    }
    let builder = endpoints.builder()?.timeout(global.timeout);
    endpoints.say_waiting(global.timeout);
    let nobody = builder.clone().connect(endpoints.written.clone()).await;
    let nobody = nobody.map_err(failure)?;
    let identity = nobody.who_am_i().await.map_err(failure)?;
    let embedder = Embedder::wanted(&flags.embed, global.timeout).await?;
    let embedder = embedder.map(Embedder::into_smart);
    if let Some(embedder) = &embedder {
        check_model(&nobody, embedder).await?;
    }
    let files = flags.tls_cert.zip(flags.tls_key);
    let settings = Settings {
        listen: flags.listen,
        tls: files.map(|(certificate, key)| TlsFiles { certificate, key }),
        insecure: flags.insecure,
    };
    let endpoint = Endpoint::bind(settings, identity.is_enforced).await;
    let endpoint = endpoint.map_err(unusable)?;
    let callers = Callers::new(builder, endpoints.written).await;
    let callers = callers.map_err(failure)?;
    let receiver = Receiver::new(flags.content.into(), embedder);
    let stop = CancellationToken::new();
    let (stopped, terminated) = (stop.clone(), terminated());
    let stopping = tokio::spawn(async move {
        terminated.await;
        stopped.cancel();
    });
    for url in endpoint.urls() {
        output::line(&format!("listening on {url}"))?;
    }
    let served = Box::pin(endpoint.serve(receiver, callers, stop)).await;
    stopping.abort();
    Ok(served?)
}

/// Vectors of another model than the vault's would be refused with every request; a vault that does not say which one it is
/// to just anybody does so then.
async fn check_model(nobody: &Client, embedder: &SmartEmbedder) -> Result<()> {
    let settings = nobody.node_status().await.ok();
    let settings = settings.and_then(|status| status.settings);
    let model = settings.map(|settings| settings.embedding_model);
    match model.filter(|model| !model.is_empty()) {
        Some(model) if model != embedder.model_id() => bail!(Failure::Refused(format!(
            "the embeddings of this vault are of {model:?}, this embedder makes those of {:?}; give another --embedder, \
             or none",
            embedder.model_id()
        ))),
        _ => Ok(()),
    }
}

/// Flags that cannot be, and what else may have gone wrong.
fn unusable(error: ServeError) -> anyhow::Error {
    match error.is_of_settings() {
        true => Failure::Usage(error.to_string()).into(),
        false => error.into(),
    }
}

pub(crate) async fn find(target: &Target, flags: cli::Find, format: Format) -> Result<()> {
    let listing = Listing {
        after: 0,
        until: None,
        times: Times::default(),
        filter: wanted(&flags),
        reverse: false,
        include: Include {
            payload: !flags.no_payload,
            embedding: false,
        },
        consistency: flags.read.consistency,
    };
    let mut records = target.list(listing);
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut found = 0_u64;
    while let Some(record) = next(&mut records, &flags, found).await? {
        found += 1;
        match format {
            Format::Json => output::json(&read::json(&record))?,
            Format::Table => rows.push(read::cells(&record, false)),
        }
    }
    if found == 0 {
        bail!(missing(&flags));
    }
    match format {
        Format::Json => Ok(()),
        Format::Table => output::line(&read::table(rows, false)),
    }
}

/// The next event. A trace of which nothing is there has no anchor either from which its steps could descend.
async fn next(
    records: &mut futures::stream::BoxStream<'_, Result<Record>>,
    flags: &cli::Find,
    found: u64,
) -> Result<Option<Record>> {
    match records.try_next().await {
        Err(error) if found == 0 && is_not_found(&error) => bail!(missing(flags)),
        next => next,
    }
}

fn is_not_found(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Failure::NotFound(_)))
}

fn missing(flags: &cli::Find) -> Failure {
    let what = if flags.steps { "step of" } else { "event of" };
    Failure::NotFound(match flags.span {
        Some(span) => format!("{what} span {span} in trace {}", flags.trace),
        None => format!("{what} a span in trace {}", flags.trace),
    })
}

fn wanted(flags: &cli::Find) -> Filter {
    let trace = flags.trace;
    let kind = if flags.steps { STEP } else { KIND_PREFIX };
    let kind_prefixes = vec![kind.to_owned()];
    let of_trace = (TRACE_ID.to_owned(), trace.to_string());
    match (flags.steps, flags.span) {
        (true, Some(span)) => Filter {
            kind_prefixes,
            attributes: vec![(STEP_OF.to_owned(), SpanRef { trace, span }.to_string())],
            ..Filter::default()
        },
        (true, None) => Filter {
            kind_prefixes,
            descendants_of: Some(Selector::Digest(anchor::trace(trace).digest)),
            ..Filter::default()
        },
        (false, Some(span)) => Filter {
            kind_prefixes,
            attributes: vec![(SPAN_ID.to_owned(), span.to_string()), of_trace],
            ..Filter::default()
        },
        (false, None) => Filter {
            kind_prefixes,
            attributes: vec![of_trace],
            ..Filter::default()
        },
    }
}
