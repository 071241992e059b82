//! What happened, in order: two runs of one seed must not differ in a byte of it.

use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Takes lines. Clones share it.
#[derive(Clone)]
pub(crate) struct Trace(Arc<Mutex<State>>);

struct State {
    now_ms: u64,
    hasher: blake3::Hasher,
    out: Option<BufWriter<File>>,
    lines: u64,
    /// What the product has said is wrong with what it has stored.
    damage: Option<String>,
}

impl Trace {
    /// A trace that is hashed, and written to `path` too where there is one.
    pub(crate) fn new(path: Option<&Path>) -> std::io::Result<Self> {
        let out = path.map(File::create).transpose()?.map(BufWriter::new);
        Ok(Self(Arc::new(Mutex::new(State {
            now_ms: 0,
            hasher: blake3::Hasher::new(),
            out,
            lines: 0,
            damage: None,
        }))))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_now(&self, now_ms: u64) {
        self.lock().now_ms = now_ms;
    }

    pub(crate) fn line(&self, text: fmt::Arguments<'_>) {
        let mut state = self.lock();
        let line = format!("{:>9} {text}\n", state.now_ms);
        state.hasher.update(line.as_bytes());
        state.lines += 1;
        if let Some(out) = &mut state.out {
            let written = out.write_all(line.as_bytes());
            written.expect("the trace can be written");
        }
    }

    /// Its hash and the number of lines, once it is complete.
    pub(crate) fn finish(&self) -> (String, u64) {
        let mut state = self.lock();
        if let Some(out) = &mut state.out {
            out.flush().expect("the trace can be written");
        }
        let hash = state.hasher.finalize().to_hex();
        (hash[..32].to_owned(), state.lines)
    }

    /// The first complaint about damage.
    pub(crate) fn damage(&self) -> Option<String> {
        self.lock().damage.clone()
    }

    /// Puts what the product logs into the trace.
    pub(crate) fn subscribe(&self) {
        let set = tracing::subscriber::set_global_default(Log(self.clone()));
        set.expect("there is one simulation in a process");
    }
}

/// The product's log.
struct Log(Trace);

/// An event's fields, as text.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write as _;
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("toka") && *metadata.level() <= Level::INFO
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let level = event.metadata().level();
        self.0.line(format_args!("log {level}{}", text.0));
        let is_damage = ["damaged", "contradict", "differs"];
        if *level == Level::ERROR && is_damage.iter().any(|word| text.0.contains(word)) {
            self.0.lock().damage.get_or_insert(text.0);
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
