//! The configuration as it is written out.

use super::*;

/// Settings without a default, and those whose default depends on the disk, on the build, or on an address.
const NOT_FIXED: [&str; 37] = [
    "advertise_client",
    "advertise_raft",
    "allowed_hosts",
    "auth_root_token_file",
    "bootstrap_admin_token_file",
    "cache_bytes",
    "certificate_roles",
    "console",
    "dimension",
    "disk_reserve",
    "embedding_model",
    "feature_level_max",
    "http_tls",
    "initial_members",
    "insecure",
    "join",
    "jwt_audience",
    "jwt_issuer",
    "jwt_jwks_file",
    "jwt_roles_claim",
    "learner",
    "otlp_endpoint",
    "principal_bytes_per_second",
    "principal_open_calls",
    "principal_requests_per_second",
    "principal_subscriptions",
    "raft_tls_ca",
    "raft_tls_cert",
    "raft_tls_key",
    "raft_tls_names",
    "raft_tls_server_name",
    "replace",
    "replace_lost",
    "tls_cert",
    "tls_client_auth",
    "tls_client_ca",
    "tls_key",
];

#[test]
fn dump_means_the_same_when_it_is_read_again() {
    let member = r#"initial_members = ["1=node-1.toka:7312,[::1]:7311"]"#;
    for text in [
        "node_id = 1",
        "join = [\"a:1\", \"b:2\"]\nlearner = true",
        "node_id = 1\nintents_tau = 0.123456789\nintents_prior = 1e-3\nscrub_interval = \"0s\"",
        "node_id = 1\ntls_cert = \"c\"\ntls_key = \"k\"\nraft_tls_ca = \"a\"\ntls_client_ca = \"b\"\n\
         tls_client_auth = \"optional\"\nraft_tls_names = [\"*.vault\"]\ninsecure = true\nhttp_tls = true",
        "node_id = 1\notlp_endpoint = \"https://c:1\"\ntraces_sampler_ratio = 0.001",
        "node_id = 1\nallowed_hosts = [\"*.vault.example\", \"a:1\"]\nconsole = false\ndisk_reserve = 4097\nfeature_level_max = 1\nscrub_rate_limit = 0",
        &format!("node_id = 1\n{member}\nlisten = \"[::1]:1\"\nheartbeat_interval = \"99ms\""),
    ] {
        let given = || file(&format!("data = 'a \\ \"quoted\" path'\n{text}")).expect("readable");
        let holds = |layer| {
            Config::merge(layer, ConfigFile::default(), ConfigFile::default()).expect("valid")
        };
        let dump = given().dump().expect("it can be written");
        let read = || file(&dump).expect("readable");
        assert_eq!(holds(read()), holds(given()), "{dump}");
        assert_eq!(read().dump().expect("it can be written"), dump);
    }
}

#[test]
fn dump_names_every_setting_that_has_a_default() {
    let minimal = file("node_id = 1\ndata = \"/tmp/vault\"").expect("readable");
    let dump = minimal.dump().expect("it can be written");
    for key in ConfigFile::KEYS {
        let is_named = dump
            .lines()
            .any(|line| line.starts_with(&format!("{key} = ")));
        assert_eq!(is_named, !NOT_FIXED.contains(key), "{key}: {dump}");
    }
    for line in [
        "intents_rho = 0.85",
        "intents_floor = 0.05",
        "scrub_interval = \"24h\"",
        "state_check_interval = \"5s\"",
    ] {
        assert!(dump.lines().any(|found| found == line), "{line}: {dump}");
    }
}
