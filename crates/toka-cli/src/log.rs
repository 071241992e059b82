//! The log of a node: lines on standard error, as text or as JSON.

use std::fmt;
use std::io::IsTerminal as _;

use toka_trace::Current;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

/// Log lines on standard error, those that `RUST_LOG` chooses, else those of `default` and above. Those that are written
/// while a traced call is worked on name its trace.
pub(crate) fn start_log(default: &str, json: bool) {
    // Of a peer that is down openraft warns with every heartbeat, append and vote; the node itself says once
    // that it is unreachable. Its heartbeats have but one error: that an answer came when Raft had been stopped.
    let openraft = "openraft=error,openraft::core::heartbeat=off";
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("{default},{openraft}")));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    if json {
        lines.json().map_event_format(Traced::json).init()
    } else {
        lines.map_event_format(Traced::text).init()
    }
}

/// Lines of another format, with the trace that they belong to.
struct Traced<F> {
    format: F,
    is_json: bool,
}

impl<F> Traced<F> {
    fn json(format: F) -> Self {
        Self {
            format,
            is_json: true,
        }
    }

    fn text(format: F) -> Self {
        Self {
            format,
            is_json: false,
        }
    }
}

impl<S, N, F> FormatEvent<S, N> for Traced<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(current) = Current::get() else {
            return self.format.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.format
            .format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end();
        match line.strip_suffix('}').filter(|_| self.is_json) {
            Some(open) => writeln!(
                writer,
                "{open},\"trace_id\":\"{}\",\"span_id\":\"{}\"}}",
                current.trace_id(),
                current.span_id()
            ),
            None => writeln!(writer, "{line} {current}"),
        }
    }
}
