//! Commands made of an input's bytes: such as validation admits, and such that they have to do with each other.

mod coordination;
mod credentials;

use std::collections::BTreeMap;
use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use toka_ledger::command::{
    Command, Commit, Create, FEATURE_LEVEL, Label, ParentName, Precondition, PreparedEvent,
    SetFeatureLevel,
};
use toka_ledger::intent::{IntentId, Parameters};
use toka_ledger::{
    Attributes, CursorName, Digest, Embedding, EmbeddingModel, EventHeader, EventId, IntentLabel,
    Kind, Reader, Salt, hash,
};

use self::coordination::Groups;
use self::credentials::Credentials;

const KINDS: [&str; 5] = ["a", "a.b", "b", "ab", "é"];
const CURSORS: [&str; 2] = ["c", "c/d"];
const MODELS: [&str; 2] = ["m/3", "n/3"];
const NAMES: [&str; 3] = ["x", "xy", "y"];
/// Time of most commands.
const NOW: u64 = 1_700_000_000_000;

/// Makes commands, and remembers what became of them.
#[derive(Default)]
pub(crate) struct Script {
    /// Events that are in the vault.
    headers: Vec<Arc<EventHeader>>,
    dimension: usize,
    groups: Groups,
    credentials: Credentials,
    /// Not all digests are those of their payloads.
    pub(crate) has_false_digests: bool,
}

impl Script {
    /// Takes note of stored events.
    pub(crate) fn learn(&mut self, headers: &[Arc<EventHeader>]) {
        self.headers.extend_from_slice(headers);
    }

    /// Takes note of what the vault has besides.
    pub(crate) fn look(&mut self, reader: &Reader) {
        self.groups.look(reader);
        self.credentials.look(reader);
    }

    /// The next command. May be one that validation refuses.
    pub(crate) fn command(&mut self, input: &mut Unstructured<'_>) -> Result<Command> {
        Ok(match input.int_in_range(0_u8..=31)? {
            0 => Command::Create(self.create(input)?),
            1 => Command::SetFeatureLevel(SetFeatureLevel {
                unix_ms: time(input)?,
                level: match input.int_in_range(0_u8..=7)? {
                    0 => input.arbitrary()?,
                    level => u32::from(level).min(FEATURE_LEVEL),
                },
            }),
            2..=4 => Command::Label(label(input)?),
            5..=12 => self.groups.command(input)?,
            13..=16 => self.credentials.command(input)?,
            _ => Command::Commit(self.commit(input)?),
        })
    }

    pub(crate) fn create(&mut self, input: &mut Unstructured<'_>) -> Result<Create> {
        self.dimension = input.int_in_range(1..=9)?;
        let is_known: bool = input.arbitrary()?;
        let dimension = match input.int_in_range(0_u8..=31)? {
            0 => input.arbitrary()?,
            _ => is_known.then_some(u16::try_from(self.dimension).expect("at most 9")),
        };
        Ok(Create {
            cluster_id: input.arbitrary()?,
            history_id: input.arbitrary()?,
            feature_level: match input.int_in_range(0_u8..=31)? {
                0 => input.arbitrary()?,
                _ => FEATURE_LEVEL,
            },
            dimension,
            model: model(input)?,
            intents: parameters(input)?,
            unix_ms: time(input)?,
        })
    }

    fn commit(&mut self, input: &mut Unstructured<'_>) -> Result<Commit> {
        let count = match input.int_in_range(0_u8..=15)? {
            0 => input.int_in_range(0_usize..=40)?,
            few => 1 + usize::from(few) / 6,
        };
        let preconditions = (0..input.int_in_range(0_u8..=8)?.saturating_sub(5))
            .map(|_| self.precondition(input))
            .collect::<Result<_>>()?;
        let events = (0..count)
            .map(|index| self.event(input, index))
            .collect::<Result<_>>()?;
        Ok(Commit {
            unix_ms: time(input)?,
            events,
            preconditions,
        })
    }

    fn event(&mut self, input: &mut Unstructured<'_>, index: usize) -> Result<PreparedEvent> {
        let payload = bytes(input, 40)?;
        let payload_digest = match input.int_in_range(0_u8..=63)? {
            0 => {
                self.has_false_digests = true;
                Digest([input.arbitrary()?; 32])
            }
            _ => hash::payload_digest(&payload),
        };
        let salt = bytes(input, 3)?;
        let parents = (0..input.int_in_range(0_u8..=6)?.saturating_sub(3))
            .map(|_| self.parent(input, index))
            .collect::<Result<_>>()?;
        let embedding = self.embedding(input)?;
        let model = match embedding {
            Some(_) => model(input)?,
            None => None,
        };
        Ok(PreparedEvent {
            kind: kind(input)?,
            payload_digest,
            payload,
            salt: Salt::new(&salt).expect("at most three bytes"),
            parents,
            embedding,
            model,
            attributes: attributes(input)?,
        })
    }

    /// A parent of the event at `index` of its commit.
    fn parent(&self, input: &mut Unstructured<'_>, index: usize) -> Result<ParentName> {
        Ok(match input.int_in_range(0_u8..=15)? {
            0 => ParentName::Id(EventId::from_bytes(input.arbitrary()?)),
            1 => ParentName::Digest(Digest([input.arbitrary()?; 32])),
            2..=5 if index > 0 => {
                let at = input.int_in_range(0..=index)?;
                ParentName::Batch(u16::try_from(at).expect("commits are small"))
            }
            by => match self.headers.len().checked_sub(1) {
                None => ParentName::Batch(0),
                Some(last) => {
                    let header = &self.headers[input.int_in_range(0..=last)?];
                    match by % 2 {
                        0 => ParentName::Id(header.id),
                        _ => ParentName::Digest(header.digest),
                    }
                }
            },
        })
    }

    /// An embedding: few directions and a little beside them, so that there are clusters.
    pub(crate) fn embedding(&self, input: &mut Unstructured<'_>) -> Result<Option<Embedding>> {
        let dimension = match input.int_in_range(0_u8..=31)? {
            0 => input.int_in_range(1..=9)?,
            1..=9 => return Ok(None),
            _ => self.dimension.max(1),
        };
        let mut components = vec![0.0; dimension];
        let axis = input.int_in_range(0..=dimension - 1)?;
        components[axis] = if input.arbitrary()? { 64.0 } else { -64.0 };
        for component in &mut components {
            if input.ratio(1_u8, 3_u8)? {
                *component += f32::from(input.arbitrary::<i8>()?);
            }
        }
        Ok(Embedding::from_f32(&components).ok())
    }

    fn precondition(&self, input: &mut Unstructured<'_>) -> Result<Precondition> {
        Ok(match input.int_in_range(0_u8..=5)? {
            4 => coordination::prefix(input)?,
            5 => self.groups.acknowledge(input)?,
            0 => Precondition::NoChild {
                parent: self.parent(input, 0)?,
                kind: kind(input)?,
            },
            1 => Precondition::KindSequence {
                kind: kind(input)?,
                sequence: number(input)?,
            },
            2 => Precondition::TimePassed {
                unix_ms: time(input)?,
            },
            _ => Precondition::CursorMove {
                name: CursorName::new(input.choose(&CURSORS)?).expect("valid"),
                from: number(input)?,
                to: number(input)?,
            },
        })
    }
}

/// Mostly near [`NOW`].
fn time(input: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match input.int_in_range(0_u8..=31)? {
        0 => input.arbitrary()?,
        _ => NOW - 100 + u64::from(input.arbitrary::<u8>()?),
    })
}

/// Mostly small.
fn number(input: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match input.int_in_range(0_u8..=15)? {
        0 => input.arbitrary()?,
        1..=6 => 0,
        _ => input.int_in_range(0..=9)?,
    })
}

fn label(input: &mut Unstructured<'_>) -> Result<Label> {
    let text = match input.int_in_range(0_u8..=3)? {
        0 => None,
        1 => Some(input.arbitrary::<String>()?),
        _ => Some("a label".to_owned()),
    };
    Ok(Label {
        unix_ms: time(input)?,
        intent: IntentId(number(input)?),
        label: text.and_then(|text| IntentLabel::new(&text).ok()),
    })
}

fn bytes(input: &mut Unstructured<'_>, max: usize) -> Result<Bytes> {
    let len = input.int_in_range(0..=max)?;
    // Equal ones are wanted: events that were there, payloads that are shared.
    let len = if len % 2 == 0 { len % 3 } else { len };
    let bytes = input.bytes(len.min(input.len()))?;
    Ok(Bytes::copy_from_slice(bytes))
}

fn kind(input: &mut Unstructured<'_>) -> Result<Kind> {
    if input.ratio(1_u8, 32_u8)?
        && let Ok(kind) = Kind::new(&input.arbitrary::<String>()?)
    {
        return Ok(kind);
    }
    Ok(Kind::new(input.choose(&KINDS)?).expect("valid"))
}

fn model(input: &mut Unstructured<'_>) -> Result<Option<EmbeddingModel>> {
    Ok(match input.int_in_range(0_usize..=7)? {
        at @ 0..2 => Some(EmbeddingModel::new(MODELS[at]).expect("valid")),
        _ => None,
    })
}

fn attributes(input: &mut Unstructured<'_>) -> Result<Attributes> {
    let mut attributes = Attributes::default();
    let has = input.arbitrary::<u8>()?;
    if has % 4 == 1 {
        attributes.source = Some("s".to_owned());
    }
    if has % 16 == 2 {
        attributes.content_type = Some(input.arbitrary()?);
    }
    let mut pairs = BTreeMap::new();
    for _ in 0..has / 100 {
        let name = (*input.choose(&NAMES)?).to_owned();
        pairs.insert(name, format!("{}", input.int_in_range(0_u8..=3)?));
    }
    attributes.pairs = pairs;
    Ok(attributes)
}

/// With most of them a few events do all that many do: macro-clusterings, folding at the cap, saves.
fn parameters(input: &mut Unstructured<'_>) -> Result<Parameters> {
    let mut parameters = Parameters {
        micro_clusters_max: 16,
        background_micro_clusters: 8,
        background_events: 3,
        save_events: 5,
        count_cap: 4,
        ..Parameters::default()
    };
    match input.int_in_range(0_u8..=3)? {
        0 => return Ok(Parameters::default()),
        1 => {
            parameters.tau_q30 = input.int_in_range(1..=1 << 30)?;
            parameters.rho_q16 = input.int_in_range(1..=1 << 16)?;
            parameters.prior_q28 = input.int_in_range(1..=1 << 28)?;
            parameters.prior_events = input.int_in_range(1..=1 << 16)?;
            parameters.floor_q28 = input.int_in_range(1..=1 << 28)?;
            parameters.mean_shrink = input.int_in_range(1..=1 << 20)?;
            parameters.count_cap = 1 << input.int_in_range(1_u8..=12)?;
            parameters.micro_clusters_max = input.int_in_range(16..=24)?;
            parameters.background_micro_clusters = input.int_in_range(2..=24)?;
            parameters.background_events = input.int_in_range(1..=9)?;
            parameters.save_events = input.int_in_range(1..=9)?;
        }
        2 => parameters.tau_q30 = (1 << 30) - 1,
        _ => {}
    }
    Ok(parameters)
}
