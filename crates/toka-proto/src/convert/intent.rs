//! Intents, vectors to search with, and the settings of both.

use bytes::Bytes;
use toka_ledger::intent::{IntentId, Parameters, Summary};
use toka_ledger::{Embedding, Invalid, Settings};

use crate::v1;
use crate::v1::query_vector::Vector;

impl From<&Summary> for v1::Intent {
    /// Without examples and centre.
    fn from(summary: &Summary) -> Self {
        Self {
            intent: summary.intent.0,
            label: summary.label.clone().unwrap_or_default(),
            events: summary.events,
            micro_clusters: summary.micro_clusters,
            coherence: summary.coherence,
            first_sequence: summary.first,
            last_sequence: summary.last,
            tentative: summary.is_tentative,
            examples: Vec::new(),
            centre: Bytes::new(),
        }
    }
}

impl From<&v1::Intent> for Summary {
    fn from(intent: &v1::Intent) -> Self {
        Self {
            intent: IntentId(intent.intent),
            label: (!intent.label.is_empty()).then(|| intent.label.clone()),
            events: intent.events,
            micro_clusters: intent.micro_clusters,
            coherence: intent.coherence,
            first: intent.first_sequence,
            last: intent.last_sequence,
            is_tentative: intent.tentative,
        }
    }
}

impl From<&Embedding> for v1::QueryVector {
    fn from(embedding: &Embedding) -> Self {
        Self {
            vector: Some(Vector::Quantized(embedding.as_bytes().clone())),
        }
    }
}

/// The vector of a request, normalised and quantised.
///
/// # Errors
/// [`Invalid`] for one that is missing, or that no event could have.
pub fn vector(message: Option<v1::QueryVector>) -> Result<Embedding, Invalid> {
    match message.and_then(|message| message.vector) {
        Some(Vector::Values(vector)) => Embedding::from_f32(&vector.components),
        Some(Vector::Quantized(components)) => Embedding::from_quantized_bytes(components),
        None => Err(Invalid::Empty { field: "vector" }),
    }
}

impl From<&Settings> for v1::VaultSettings {
    fn from(settings: &Settings) -> Self {
        let model = settings.model.as_ref();
        Self {
            feature_level: settings.feature_level,
            dimension: settings.dimension.map(u32::from),
            created_unix_ms: settings.created_unix_ms,
            embedding_model: model.map(ToString::to_string).unwrap_or_default(),
            intents: Some((&settings.intents).into()),
        }
    }
}

impl TryFrom<&v1::IntentSettings> for Parameters {
    type Error = Invalid;

    fn try_from(settings: &v1::IntentSettings) -> Result<Self, Invalid> {
        let parameters = Self {
            mean_shrink: settings.mean_shrink,
            count_cap: settings.count_cap,
            micro_clusters_max: settings.micro_clusters_max,
            background_micro_clusters: settings.background_micro_clusters,
            background_events: settings.background_events,
            save_events: settings.save_events,
            ..Self::default()
        };
        let parameters = parameters
            .tau(settings.tau)?
            .rho(settings.rho)?
            .prior(settings.prior, settings.prior_events)?
            .floor(settings.floor)?;
        parameters.check()?;
        Ok(parameters)
    }
}

impl From<&Parameters> for v1::IntentSettings {
    fn from(parameters: &Parameters) -> Self {
        let point = |value: u32, bits: u32| f64::from(value) / f64::from(1_u32 << bits);
        Self {
            tau: point(parameters.tau_q30, 30),
            rho: point(parameters.rho_q16, 16),
            prior: point(parameters.prior_q28, 28),
            prior_events: parameters.prior_events,
            floor: point(parameters.floor_q28, 28),
            mean_shrink: parameters.mean_shrink,
            count_cap: parameters.count_cap,
            micro_clusters_max: parameters.micro_clusters_max,
            background_micro_clusters: parameters.background_micro_clusters,
            background_events: parameters.background_events,
            save_events: parameters.save_events,
        }
    }
}
