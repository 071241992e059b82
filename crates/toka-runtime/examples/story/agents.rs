//! Three agents over what people say to their assistant: one finds out what it is about, one works on it, one looks at the
//! work.

use serde::{Deserialize, Serialize};
use toka_agents::{Agent, BoxError, Context, Event, HandlerError, Interests, NewEvent, Reaction};

/// Somebody has said something.
pub(crate) const UTTERANCE: &str = "utterance.user";
/// There is something to do.
pub(crate) const OPENED: &str = "task.opened";
/// It was done.
pub(crate) const DONE: &str = "task.done";
/// The work was looked at.
pub(crate) const REVIEWED: &str = "task.reviewed";

/// What words a topic is told by, the first topic that has one wins.
const TOPICS: [(&str, &[&str]); 7] = [
    ("alarm", &["alarm", "wake", "remind"]),
    ("light", &["light", "lamp", "bright"]),
    ("music", &["play", "song", "music", "album"]),
    ("weather", &["weather", "rain", "sunny", "temperature"]),
    ("mail", &["email", "mail", "contact"]),
    ("calendar", &["calendar", "meeting", "event", "schedule"]),
    ("food", &["restaurant", "recipe", "cook", "coffee"]),
];

#[derive(Debug, Deserialize)]
struct Utterance {
    text: String,
}

/// What is to be done.
#[derive(Debug, Serialize, Deserialize)]
struct Task {
    topic: String,
    text: String,
    /// When the agent came to it, milliseconds since the Unix epoch.
    seen_unix_ms: u64,
}

/// What was done.
#[derive(Debug, Serialize, Deserialize)]
struct Work {
    topic: String,
    reply: String,
    /// Out of a hundred.
    confidence: u8,
}

/// What was thought of it.
#[derive(Debug, Serialize, Deserialize)]
struct Review {
    is_good: bool,
    /// Works of that topic that were looked at before.
    earlier: u64,
}

/// Finds out what an utterance is about.
pub(crate) struct Triage {
    /// Takes questions for a topic of their own.
    pub(crate) knows_questions: bool,
}

impl Agent for Triage {
    type State = u64;

    fn interests(&self) -> Interests {
        Interests::kinds([UTTERANCE])
    }

    fn apply(seen: &mut u64, _: &Event) {
        *seen += 1;
    }

    async fn handle(
        &self,
        _: &u64,
        event: &Event,
        context: &mut Context,
    ) -> Result<Reaction, HandlerError> {
        let Utterance { text } = event.payload_as()?;
        let task = Task {
            topic: self.topic(&text).to_owned(),
            text,
            seen_unix_ms: context.unix_ms()?,
        };
        Ok(Reaction::none().emit(NewEvent::new(OPENED).payload(&task)))
    }
}

impl Triage {
    fn topic(&self, text: &str) -> &'static str {
        if self.knows_questions && text.ends_with('?') {
            return "question";
        }
        let text = text.to_lowercase();
        let is_told = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let found = TOPICS.iter().find(|(_, words)| is_told(words));
        found.map_or("other", |(topic, _)| *topic)
    }
}

/// Works on what there is to do.
pub(crate) struct Worker;

impl Agent for Worker {
    type State = ();

    fn interests(&self) -> Interests {
        Interests::kinds([OPENED])
    }

    fn apply(_: &mut (), _: &Event) {}

    async fn handle(
        &self,
        _: &(),
        event: &Event,
        context: &mut Context,
    ) -> Result<Reaction, HandlerError> {
        let task: Task = event.payload_as()?;
        // Where a language model would be asked. What it says is recorded, and a replay does not ask again.
        let reply = context.reply("assistant", || assistant(&task)).await?;
        let work = Work {
            topic: task.topic.clone(),
            reply,
            confidence: context.random()?[0] % 101,
        };
        Ok(Reaction::none().emit(NewEvent::new(DONE).payload(&work)))
    }
}

/// Says something of a task, as something outside would: who runs it is part of what it says.
async fn assistant(task: &Task) -> Result<String, BoxError> {
    let words = task.text.split_whitespace().count();
    let process = std::process::id();
    Ok(format!(
        "{words} words about {}, says assistant {process}",
        task.topic
    ))
}

/// Looks at what was done.
pub(crate) struct Reviewer;

/// Works that were looked at, by topic.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seen(std::collections::BTreeMap<String, u64>);

impl Agent for Reviewer {
    type State = Seen;

    fn interests(&self) -> Interests {
        Interests::kinds([DONE])
    }

    fn apply(state: &mut Seen, event: &Event) {
        if let Ok(work) = event.payload_as::<Work>() {
            *state.0.entry(work.topic).or_default() += 1;
        }
    }

    async fn handle(
        &self,
        state: &Seen,
        event: &Event,
        _: &mut Context,
    ) -> Result<Reaction, HandlerError> {
        let work: Work = event.payload_as()?;
        let seen = state.0.get(&work.topic).copied().unwrap_or(0);
        let review = Review {
            is_good: work.confidence >= 20,
            earlier: seen.saturating_sub(1),
        };
        Ok(Reaction::none().emit(NewEvent::new(REVIEWED).payload(&review)))
    }
}
