//! What holds, as a file that `--config` takes.

use toka_ledger::Invalid;
use toka_ledger::intent::Parameters;

use super::error::ConfigError;
use super::file::ConfigFile;
use super::units::{ByteSize, Span};
use super::{Config, Connections, Limits, Storage, Timing, Tracing};

/// Digits behind the point of a setting that is a fraction; all defaults have fewer.
const DIGITS_MAX: i32 = 9;

impl ConfigFile {
    /// This layer over the defaults, as a TOML file that means the same to this build. What was not given and has no
    /// fixed default stays out: `disk_reserve` goes by the disk, `cache_bytes` by the memory, and `feature_level_max` by
    /// the build, so that the file does not hold a newer build back.
    ///
    /// # Errors
    /// As [`Config::merge`]; [`ConfigError::Dump`] for what TOML cannot hold, as a path that is not UTF-8.
    pub fn dump(self) -> Result<String, ConfigError> {
        let config = Config::from_layer(self.clone())?;
        let all = self
            .or(network(&config))
            .or(intents(&config.creation.intents))
            .or(timing(&config.timing))
            .or(limits(&config.limits))
            .or(connections(&config.connections))
            .or(storage(&config.storage))
            .or(tracing(&config.tracing));
        toml::to_string(&all).map_err(|source| ConfigError::Dump { source })
    }
}

fn network(config: &Config) -> ConfigFile {
    ConfigFile {
        listen: Some(config.listen),
        raft_listen: Some(config.raft_listen),
        http_listen: Some(config.http_listen),
        auth: Some(config.auth.enabled),
        failed_authentications_per_second: Some(config.auth.failures_per_second),
        ..ConfigFile::default()
    }
}

fn intents(parameters: &Parameters) -> ConfigFile {
    let Parameters {
        tau_q30,
        rho_q16,
        prior_q28,
        prior_events,
        floor_q28,
        mean_shrink,
        count_cap,
        micro_clusters_max,
        background_micro_clusters,
        background_events,
        save_events,
    } = *parameters;
    let of = Parameters::default;
    ConfigFile {
        intents_tau: Some(decimal(tau_q30, 30, |tau| Ok(of().tau(tau)?.tau_q30))),
        intents_rho: Some(decimal(rho_q16, 16, |rho| Ok(of().rho(rho)?.rho_q16))),
        intents_prior: Some(decimal(prior_q28, 28, |prior| {
            Ok(of().prior(prior, prior_events)?.prior_q28)
        })),
        intents_prior_events: Some(prior_events),
        intents_floor: Some(decimal(floor_q28, 28, |floor| {
            Ok(of().floor(floor)?.floor_q28)
        })),
        intents_mean_shrink: Some(mean_shrink),
        intents_count_cap: Some(count_cap),
        intents_micro_clusters_max: Some(micro_clusters_max),
        intents_background_micro_clusters: Some(background_micro_clusters),
        intents_background_events: Some(background_events),
        intents_save_events: Some(save_events),
        ..ConfigFile::default()
    }
}

/// The shortest decimal that is read as `stored`, a fixed-point number with so many bits behind the point.
fn decimal(stored: u32, bits: u32, read: impl Fn(f64) -> Result<u32, Invalid>) -> f64 {
    let exact = f64::from(stored) / f64::from(1_u32 << bits);
    let rounded = (1..=DIGITS_MAX).map(|digits| {
        let scale = 10_f64.powi(digits);
        (exact * scale).round() / scale
    });
    let mut same = rounded.filter(|rounded| read(*rounded).is_ok_and(|read| read == stored));
    same.next().unwrap_or(exact)
}

fn timing(timing: &Timing) -> ConfigFile {
    let Timing {
        heartbeat_interval,
        election_timeout_min,
        election_timeout_max,
        unreachable_after,
        state_check_interval,
        slow_sync,
    } = *timing;
    ConfigFile {
        heartbeat_interval: Some(Span(heartbeat_interval)),
        election_timeout_min: Some(Span(election_timeout_min)),
        election_timeout_max: Some(Span(election_timeout_max)),
        unreachable_after: Some(Span(unreachable_after)),
        state_check_interval: Some(Span(state_check_interval)),
        slow_sync: Some(Span(slow_sync)),
        ..ConfigFile::default()
    }
}

fn limits(limits: &Limits) -> ConfigFile {
    let Limits {
        request_timeout,
        request_timeout_max,
        shutdown_grace,
        subscriptions_max,
        commits_max,
        commit_streams_max,
        commit_stream_window,
        reads_max,
        connection_streams_max,
        proposals_max,
        proposals_bytes_max,
    } = *limits;
    ConfigFile {
        request_timeout: Some(Span(request_timeout)),
        request_timeout_max: Some(Span(request_timeout_max)),
        shutdown_grace: Some(Span(shutdown_grace)),
        subscriptions_max: Some(subscriptions_max),
        commits_max: Some(commits_max),
        commit_streams_max: Some(commit_streams_max),
        commit_stream_window: Some(commit_stream_window),
        reads_max: Some(reads_max),
        connection_streams_max: Some(connection_streams_max),
        proposals_max: Some(proposals_max),
        proposals_bytes_max: Some(ByteSize(proposals_bytes_max)),
        ..ConfigFile::default()
    }
}

fn connections(connections: &Connections) -> ConfigFile {
    let Connections {
        max,
        handshake_timeout,
        ping_interval,
        ping_timeout,
        stall_timeout,
        commit_stream_idle_timeout,
        peer_proof_timeout: _,
    } = *connections;
    ConfigFile {
        connections_max: Some(max),
        handshake_timeout: Some(Span(handshake_timeout)),
        ping_interval: Some(Span(ping_interval)),
        ping_timeout: Some(Span(ping_timeout)),
        stall_timeout: Some(Span(stall_timeout)),
        commit_stream_idle_timeout: Some(Span(commit_stream_idle_timeout)),
        ..ConfigFile::default()
    }
}

fn tracing(tracing: &Tracing) -> ConfigFile {
    let Tracing {
        endpoint,
        timeout,
        queue_spans,
        sampler_ratio,
    } = tracing;
    ConfigFile {
        otlp_endpoint: endpoint.clone(),
        otlp_timeout: Some(Span(*timeout)),
        otlp_queue_spans: Some(*queue_spans),
        traces_sampler_ratio: Some(*sampler_ratio),
        ..ConfigFile::default()
    }
}

fn storage(storage: &Storage) -> ConfigFile {
    let Storage {
        snapshot_log_entries,
        snapshot_log_bytes,
        keep_log_entries,
        keep_log_bytes,
        cache_bytes: _,
        disk_reserve_bytes: _,
        scrub,
        feature_level_max: _,
    } = *storage;
    ConfigFile {
        snapshot_log_entries: Some(snapshot_log_entries),
        snapshot_log_bytes: Some(ByteSize(snapshot_log_bytes)),
        keep_log_entries: Some(keep_log_entries),
        keep_log_bytes: Some(ByteSize(keep_log_bytes)),
        scrub_interval: Some(Span(scrub.interval.unwrap_or_default())),
        scrub_rate_limit: Some(ByteSize(scrub.rate_bytes)),
        ..ConfigFile::default()
    }
}
