//! The three agents.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toka_agents::{Agent, Context, Event, HandlerError, Interests, NewEvent, Reaction};

use crate::corpus::{UTTERANCE, Utterance};

/// Kind of what triage says.
pub(crate) const TICKET: &str = "ticket";
/// Kind of what work answers.
pub(crate) const ANSWER: &str = "answer";
/// Kind of what review says.
pub(crate) const REVIEW: &str = "review";

/// Payload of [`TICKET`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ticket {
    text: String,
    /// What it is about, as triage thinks.
    scenario: String,
}

/// Payload of [`ANSWER`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    text: String,
    scenario: String,
    reply: String,
}

/// Payload of [`REVIEW`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reviewed {
    text: String,
    /// What it is about.
    scenario: String,
    /// Whether triage has said so.
    pub(crate) is_right: bool,
}

/// How often words were used in what scenario, as far as reviews have said.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Words {
    scenarios: BTreeMap<String, Scenario>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Scenario {
    texts: u32,
    words: BTreeMap<String, u32>,
    total: u32,
}

impl Words {
    fn learn(&mut self, text: &str, scenario: &str) {
        let scenario = self.scenarios.entry(scenario.to_owned()).or_default();
        scenario.texts += 1;
        for word in words(text) {
            *scenario.words.entry(word).or_default() += 1;
            scenario.total += 1;
        }
    }

    /// The scenario that makes the words likeliest (naive Bayes, with one added to every count); `unknown` before the first
    /// review.
    fn guess(&self, text: &str) -> String {
        let vocabulary: usize = self.scenarios.values().map(|one| one.words.len()).sum();
        let likelihood = |scenario: &Scenario| {
            let words = words(text).map(|word| {
                let times = scenario.words.get(&word).copied().unwrap_or(0);
                (f64::from(times) + 1.0).ln() - (f64::from(scenario.total) + vocabulary as f64).ln()
            });
            f64::from(scenario.texts).ln() + words.sum::<f64>()
        };
        let guesses = self.scenarios.iter();
        let guesses = guesses.map(|(name, scenario)| (likelihood(scenario), name));
        let best = guesses.max_by(|(left, _), (right, _)| left.total_cmp(right));
        best.map_or_else(|| "unknown".to_owned(), |(_, name)| name.clone())
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

/// Says what utterances are about, and learns from reviews.
pub(crate) struct Triage;

impl Agent for Triage {
    type State = Words;

    fn interests(&self) -> Interests {
        Interests::kinds([UTTERANCE, REVIEW])
    }

    fn apply(state: &mut Words, event: &Event) {
        if event.kind() == REVIEW
            && let Ok(review) = event.payload_as::<Reviewed>()
        {
            state.learn(&review.text, &review.scenario);
        }
    }

    async fn handle(
        &self,
        state: &Words,
        event: &Event,
        _context: &mut Context,
    ) -> Result<Reaction, HandlerError> {
        if event.kind() != UTTERANCE {
            return Ok(Reaction::none());
        }
        let text: String = event.payload_as()?;
        let scenario = state.guess(&text);
        let ticket = Ticket { text, scenario };
        Ok(Reaction::none().emit(NewEvent::new(TICKET).payload(&ticket)))
    }
}

/// Answers tickets.
pub(crate) struct Work;

impl Agent for Work {
    type State = ();

    fn interests(&self) -> Interests {
        Interests::kinds([TICKET])
    }

    fn apply(_state: &mut (), _event: &Event) {}

    async fn handle(
        &self,
        _state: &(),
        event: &Event,
        _context: &mut Context,
    ) -> Result<Reaction, HandlerError> {
        let Ticket { text, scenario } = event.payload_as()?;
        let numbers: Vec<_> = words(&text)
            .filter(|word| word.chars().any(|c| c.is_ascii_digit()))
            .collect();
        let reply = match numbers.is_empty() {
            true => format!("{scenario}: as you say"),
            false => format!("{scenario}: noted {}", numbers.join(", ")),
        };
        let answer = Answer {
            text,
            scenario,
            reply,
        };
        Ok(Reaction::none().emit(NewEvent::new(ANSWER).payload(&answer)))
    }
}

/// Compares answers with what people have said that the utterances are about.
pub(crate) struct Review {
    truth: BTreeMap<String, String>,
}

impl Review {
    pub(crate) fn new(utterances: &[Utterance]) -> Self {
        let truth = utterances.iter();
        Self {
            truth: truth
                .map(|one| (one.text.clone(), one.scenario().to_owned()))
                .collect(),
        }
    }
}

impl Agent for Review {
    type State = ();

    fn interests(&self) -> Interests {
        Interests::kinds([ANSWER])
    }

    fn apply(_state: &mut (), _event: &Event) {}

    async fn handle(
        &self,
        _state: &(),
        event: &Event,
        _context: &mut Context,
    ) -> Result<Reaction, HandlerError> {
        let answer: Answer = event.payload_as()?;
        let truth = self.truth.get(&answer.text);
        let truth = truth.ok_or_else(|| HandlerError::permanent("nobody has said that"))?;
        let reviewed = Reviewed {
            text: answer.text,
            scenario: truth.clone(),
            is_right: *truth == answer.scenario,
        };
        Ok(Reaction::none().emit(NewEvent::new(REVIEW).payload(&reviewed)))
    }
}
