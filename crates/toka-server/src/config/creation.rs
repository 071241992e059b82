//! What a vault is created with.

use toka_ledger::core::limits::DIMENSIONS_MAX;
use toka_ledger::intent::Parameters;
use toka_ledger::{EmbeddingModel, Invalid};
use toka_raft::config::Creation;

use super::error::ConfigError;
use super::file::ConfigFile;

/// The layer's settings of a vault that is to be created, checked.
///
/// # Errors
/// [`ConfigError::Invalid`], naming the key.
pub(super) fn creation(layer: &ConfigFile) -> Result<Creation, ConfigError> {
    let is_dimension = |&dimension: &u16| (1..=DIMENSIONS_MAX).contains(&usize::from(dimension));
    if let Some(dimension) = layer.dimension.filter(|dimension| !is_dimension(dimension)) {
        let detail = format!("{dimension} is not between 1 and {DIMENSIONS_MAX}");
        return Err(ConfigError::invalid("dimension", detail));
    }
    let model = layer.embedding_model.as_deref().map(EmbeddingModel::new);
    Ok(Creation {
        dimension: layer.dimension,
        model: model.transpose().map_err(invalid)?,
        intents: parameters(layer).map_err(invalid)?,
    })
}

fn parameters(layer: &ConfigFile) -> Result<Parameters, Invalid> {
    let mut parameters = Parameters::default();
    if let Some(tau) = layer.intents_tau {
        parameters = parameters.tau(tau)?;
    }
    if let Some(rho) = layer.intents_rho {
        parameters = parameters.rho(rho)?;
    }
    if let Some(prior) = layer.intents_prior {
        parameters = parameters.prior(prior, parameters.prior_events)?;
    }
    if let Some(floor) = layer.intents_floor {
        parameters = parameters.floor(floor)?;
    }
    for (field, value) in [
        (&mut parameters.prior_events, layer.intents_prior_events),
        (&mut parameters.mean_shrink, layer.intents_mean_shrink),
        (&mut parameters.count_cap, layer.intents_count_cap),
        (
            &mut parameters.micro_clusters_max,
            layer.intents_micro_clusters_max,
        ),
        (
            &mut parameters.background_micro_clusters,
            layer.intents_background_micro_clusters,
        ),
        (
            &mut parameters.background_events,
            layer.intents_background_events,
        ),
        (&mut parameters.save_events, layer.intents_save_events),
    ] {
        if let Some(value) = value {
            *field = value;
        }
    }
    parameters.check()?;
    Ok(parameters)
}

/// The fields of the ledger are named `intents.tau`, the keys `intents_tau`.
fn invalid(invalid: Invalid) -> ConfigError {
    let key = match invalid.field() {
        "intents.tau" => "intents_tau",
        "intents.rho" => "intents_rho",
        "intents.prior" => "intents_prior",
        "intents.prior_events" => "intents_prior_events",
        "intents.floor" => "intents_floor",
        "intents.mean_shrink" => "intents_mean_shrink",
        "intents.count_cap" => "intents_count_cap",
        "intents.micro_clusters_max" => "intents_micro_clusters_max",
        "intents.background_micro_clusters" => "intents_background_micro_clusters",
        "intents.background_events" => "intents_background_events",
        "intents.save_events" => "intents_save_events",
        other => other,
    };
    ConfigError::invalid(key, invalid.to_string())
}
