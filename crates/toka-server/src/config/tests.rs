use std::path::Path;

use super::*;

fn file(text: &str) -> Result<ConfigFile, ConfigError> {
    ConfigFile::parse(text, Path::new("toka.toml"))
}

fn environment(pairs: &[(&str, &str)]) -> Result<ConfigFile, ConfigError> {
    ConfigFile::from_env(|name| {
        pairs
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| (*value).to_owned())
    })
}

fn merged(text: &str) -> Result<Config, ConfigError> {
    let minimal = format!("node_id = 1\ndata = \"/tmp/vault\"\n{text}");
    Config::merge(
        ConfigFile::default(),
        ConfigFile::default(),
        file(&minimal)?,
    )
}

fn refused(text: &str) -> String {
    merged(text).expect_err("refused").to_string()
}

#[test]
fn flags_win_over_environment_over_file_over_default() {
    let flags = ConfigFile {
        node_id: Some(1),
        ..ConfigFile::default()
    };
    let environment =
        environment(&[("TOKA_NODE_ID", "2"), ("TOKA_DATA", "/env")]).expect("readable");
    let file = file("node_id = 3\ndata = \"/file\"\nlisten = \"127.0.0.1:9\"").expect("readable");
    let config = Config::merge(flags, environment, file).expect("valid");
    assert_eq!(config.node_id, Some(1));
    assert_eq!(config.data, Path::new("/env"));
    assert_eq!(config.listen.port(), 9);
    assert_eq!(config.raft_listen, loopback(7312));
}

#[test]
fn every_key_can_be_set_by_the_file() {
    let config = merged(
        r#"
        raft_listen = "[::1]:2"
        http_listen = "127.0.0.1:0"
        advertise_client = "node-1.toka:7311"
        advertise_raft = "node-1.toka:7312"
        initial_members = ["1=node-1.toka:7312,node-1.toka:7311"]
        heartbeat_interval = "20ms"
        election_timeout_min = "60ms"
        election_timeout_max = "120ms"
        request_timeout = "5s"
        request_timeout_max = "1m"
        shutdown_grace = "2s"
        connections_max = 11
        handshake_timeout = "3s"
        ping_interval = "4s"
        ping_timeout = "5s"
        stall_timeout = "6s"
        commit_stream_idle_timeout = "7s"
        subscriptions_max = 3
        commits_max = 4
        commit_stream_window = 5
        reads_max = 6
        connection_streams_max = 7
        commit_streams_max = 9
        proposals_max = 8
        proposals_bytes_max = "1MiB"
        snapshot_log_entries = 9
        snapshot_log_bytes = "64MiB"
        keep_log_entries = 10
        keep_log_bytes = "32MiB"
        cache_bytes = "1GiB"
        insecure = true
        tls_cert = "/tls/tls.crt"
        tls_key = "/tls/tls.key"
        tls_client_ca = "/tls/clients.crt"
        tls_client_auth = "optional"
        http_tls = true
        raft_tls_cert = "/raft/tls.crt"
        raft_tls_key = "/raft/tls.key"
        raft_tls_ca = "/raft/ca.crt"
        raft_tls_names = ["*.nodes.vault"]
        raft_tls_server_name = "node.vault"
        otlp_endpoint = "http://127.0.0.1:4317"
        otlp_timeout = "8s"
        otlp_queue_spans = 12
        traces_sampler_ratio = 0.25
        "#,
    )
    .expect("valid");
    assert_eq!(config.timing.heartbeat_interval, Duration::from_millis(20));
    assert_eq!(config.limits.request_timeout, Duration::from_secs(5));
    assert_eq!(config.limits.proposals_max, 8);
    let seconds = Duration::from_secs;
    let connections = Connections {
        max: 11,
        handshake_timeout: seconds(3),
        ping_interval: seconds(4),
        ping_timeout: seconds(5),
        stall_timeout: seconds(6),
        commit_stream_idle_timeout: seconds(7),
        peer_proof_timeout: crate::limits::PEER_PROOF_TIMEOUT,
    };
    assert_eq!(config.connections, connections);
    let tls = Tls {
        certificate: "/tls/tls.crt".into(),
        key: "/tls/tls.key".into(),
        client_ca: Some("/tls/clients.crt".into()),
        client_auth: ClientAuth::Optional,
        http: true,
        raft_certificate: "/raft/tls.crt".into(),
        raft_key: "/raft/tls.key".into(),
        raft_ca: "/raft/ca.crt".into(),
        raft_names: vec!["*.nodes.vault".to_owned()],
        raft_server_name: Some("node.vault".to_owned()),
    };
    assert_eq!(config.tls, Some(tls));
    assert!(config.insecure);
    assert_eq!(config.storage.cache_bytes, Some(1 << 30));
    let tracing = Tracing {
        endpoint: Some("http://127.0.0.1:4317".to_owned()),
        timeout: seconds(8),
        queue_spans: 12,
        sampler_ratio: 0.25,
    };
    assert_eq!(config.tracing, tracing);
    assert_eq!(config.initial_members[&1].raft_endpoint, "node-1.toka:7312");
}

#[test]
fn an_unknown_key_is_an_error_that_names_it() {
    let error = file("nodeid = 1").expect_err("unknown").to_string();
    assert!(error.contains("toka.toml"), "{error}");
    assert!(error.contains("nodeid"), "{error}");
}

#[test]
fn a_bad_value_is_an_error_that_shows_the_key() {
    let error = refused("shutdown_grace = \"soon\"");
    assert!(
        error.contains("shutdown_grace") && error.contains("a duration such as"),
        "{error}"
    );
    let error = refused("heartbeat_interval = 100");
    assert!(
        error.contains("heartbeat_interval") && error.contains("a duration"),
        "{error}"
    );
    let error = refused("cache_bytes = \"64MB\"");
    assert!(
        error.contains("cache_bytes") && error.contains("64MB"),
        "{error}"
    );
    let error = refused("initial_members = [\"1=a\"]");
    assert!(
        error.contains("ID=RAFT_ENDPOINT,CLIENT_ENDPOINT"),
        "{error}"
    );
}

#[test]
fn a_bad_variable_is_an_error_that_names_it() {
    let error = environment(&[("TOKA_COMMITS_MAX", "many")])
        .expect_err("bad")
        .to_string();
    assert!(
        error.starts_with("environment variable TOKA_COMMITS_MAX: \"many\""),
        "{error}"
    );
}

#[test]
fn members_in_the_environment_stand_behind_each_other() {
    let layer = environment(&[("TOKA_INITIAL_MEMBERS", "1=a:1,a:2; 2=b:1,b:2 3=c:1,c:2")])
        .expect("readable");
    let ids: Vec<u64> = layer
        .initial_members
        .iter()
        .flatten()
        .map(|member| member.node_id)
        .collect();
    assert_eq!(ids, [1, 2, 3]);
}

fn joining(text: &str) -> Result<Config, ConfigError> {
    let layer = file(&format!(
        "data = \"/tmp/vault\"\njoin = [\"a:7311\"]\n{text}"
    ))?;
    Config::merge(ConfigFile::default(), ConfigFile::default(), layer)
}

#[test]
fn a_node_that_joins_has_no_id_and_no_initial_members() {
    let config = joining("replace = 3").expect("valid");
    let join = config.join.as_ref().expect("it joins");
    assert_eq!(config.node_id, None);
    assert_eq!(join.endpoints, ["a:7311"]);
    assert_eq!((join.learner, join.replaces), (false, Some(3)));
    let bound = "127.0.0.1:1".parse().expect("an address");
    let resolved = config.resolve(bound, bound).expect("reachable");
    assert!(resolved.initial_members.is_empty());
    assert_eq!(resolved.advertised.client_endpoint, "127.0.0.1:1");
}

#[test]
fn a_node_may_be_told_both_how_to_form_and_how_to_join() {
    let text = "initial_members = [\"1=a:1,a:2\", \"2=b:1,b:2\"]\nreplace_lost = true";
    let config = joining(text).expect("valid");
    assert_eq!(config.node_id, None);
    assert!(config.join.as_ref().is_some_and(|join| join.replaces_lost));
    let bound = "127.0.0.1:1".parse().expect("an address");
    let resolved = config.resolve(bound, bound).expect("reachable");
    assert_eq!(resolved.initial_members.len(), 2);
}

#[test]
fn what_contradicts_joining_is_named() {
    for (text, key) in [
        ("node_id = 1", "node_id"),
        (
            "initial_members = [\"1=a:1,a:2\"]\nlearner = true",
            "initial_members",
        ),
        (
            "initial_members = [\"1=a:1,a:2\"]\nreplace = 3",
            "initial_members",
        ),
        ("learner = true\nreplace = 3", "learner"),
        ("replace_lost = true\nreplace = 3", "replace_lost"),
        ("replace = 0", "replace"),
    ] {
        let error = joining(text).expect_err(text).to_string();
        assert!(error.starts_with(key), "{text}: {error}");
    }
    for (text, key) in [
        ("learner = true", "learner"),
        ("replace = 3", "replace"),
        ("replace_lost = true", "replace_lost"),
        ("join = [\"http://a\"]", "join"),
        ("unreachable_after = \"1ms\"", "unreachable_after"),
        ("state_check_interval = \"9ms\"", "state_check_interval"),
        ("slow_sync = \"0ms\"", "slow_sync"),
    ] {
        let error = refused(text);
        assert!(error.starts_with(key), "{text}: {error}");
    }
}

#[test]
fn endpoints_to_join_are_separated_by_commas_in_the_environment() {
    let layer = environment(&[("TOKA_JOIN", "a:1,b:2"), ("TOKA_LEARNER", "true")]);
    let layer = layer.expect("readable");
    assert_eq!(layer.join, Some(vec!["a:1".to_owned(), "b:2".to_owned()]));
    assert_eq!(layer.learner, Some(true));
}

#[test]
fn an_empty_variable_counts_as_unset() {
    assert_eq!(
        environment(&[("TOKA_LISTEN", "")]).expect("readable"),
        ConfigFile::default()
    );
}

#[test]
fn a_missing_value_says_how_to_give_it() {
    let layers = || ConfigFile::default();
    let error = Config::merge(layers(), layers(), layers())
        .expect_err("missing")
        .to_string();
    for part in ["data", "--data", "TOKA_DATA"] {
        assert!(error.contains(part), "{error}");
    }
    let nobody = ConfigError::Nobody {
        data: "/new".into(),
    };
    let error = nobody.to_string();
    for part in [
        "node_id",
        "--node-id",
        "TOKA_NODE_ID",
        "--join",
        "data directory",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn contradictions_name_the_key() {
    let zero = ConfigFile {
        node_id: Some(0),
        ..ConfigFile::default()
    };
    let with_data = ConfigFile {
        data: Some("/tmp".into()),
        ..ConfigFile::default()
    };
    let error = Config::merge(zero, with_data, ConfigFile::default()).expect_err("zero");
    assert_eq!(error.to_string(), "node_id: is 0; ids start at 1");
    for (text, start) in [
        (
            "advertise_raft = \"nowhere\"",
            "advertise_raft: \"nowhere\": an endpoint is host:port",
        ),
        (
            "initial_members = [\"2=a:1,a:2\"]",
            "initial_members: node 1 is not among 2",
        ),
        (
            "initial_members = [\"1=a:1,a:2\", \"1=b:1,b:2\"]",
            "initial_members: node 1 is listed",
        ),
        (
            "initial_members = [\"1=a:1,a:2\", \"2=a:1,b:2\"]",
            "initial_members: an endpoint of",
        ),
        (
            "election_timeout_min = \"100ms\"",
            "election_timeout_min: 100ms is not above heartbeat",
        ),
        (
            "election_timeout_max = \"250ms\"",
            "election_timeout_max: 250ms is not above election",
        ),
        ("commits_max = 0", "commits_max: 0 is not between 1 and"),
        (
            "connections_max = 0",
            "connections_max: 0 is not between 1 and",
        ),
        ("handshake_timeout = \"0s\"", "handshake_timeout: is 0"),
        ("stall_timeout = \"0s\"", "stall_timeout: is 0"),
        (
            "stall_timeout = \"1ms\"",
            "stall_timeout: 1ms is less than 1s",
        ),
        (
            "otlp_endpoint = \"collector:4317\"",
            "otlp_endpoint: its scheme is neither http nor https",
        ),
        ("otlp_timeout = \"0s\"", "otlp_timeout: is 0"),
        (
            "otlp_queue_spans = 0",
            "otlp_queue_spans: 0 is not between 1 and",
        ),
        (
            "traces_sampler_ratio = 1.5",
            "traces_sampler_ratio: 1.5 is not between 0 and 1",
        ),
        (
            "request_timeout_max = \"1s\"",
            "request_timeout_max: 1s is below request_timeout, 10s",
        ),
    ] {
        let error = refused(text);
        assert!(error.starts_with(start), "{text}: {error}");
    }
}

#[test]
fn an_even_number_of_members_is_a_warning() {
    let members = |text: &str| merged(&format!("initial_members = {text}")).expect("valid");
    let two = members("[\"1=a:1,a:2\", \"2=b:1,b:2\"]").warnings();
    assert!(
        two.iter()
            .any(|warning| warning.contains("use 1, 3, 5 or 7")),
        "{two:?}"
    );
    assert!(members("[\"1=a:1,a:2\"]").warnings().is_empty());
}

#[test]
fn a_node_alone_advertises_what_it_bound() {
    let resolved = merged("")
        .expect("valid")
        .resolve(loopback(40_001), loopback(40_002))
        .expect("resolved");
    assert_eq!(resolved.advertised.client_endpoint, "127.0.0.1:40001");
    assert_eq!(resolved.initial_members[&1], resolved.advertised);
}

#[test]
fn all_interfaces_are_nothing_to_advertise() {
    let any = SocketAddr::from(([0, 0, 0, 0], 7311));
    let error = merged("")
        .expect("valid")
        .resolve(any, loopback(1))
        .expect_err("unspecified");
    assert!(
        error
            .to_string()
            .starts_with("advertise_client: the node listens on all"),
        "{error}"
    );
}

#[test]
fn a_member_list_that_contradicts_the_node_is_refused() {
    let config = merged("initial_members = [\"1=a:1,a:2\"]").expect("valid");
    let error = config
        .resolve(loopback(2), loopback(1))
        .expect_err("contradiction")
        .to_string();
    assert!(
        error.contains("is listed with raft a:1 client a:2"),
        "{error}"
    );
    assert!(
        error.contains("advertises raft 127.0.0.1:1 client 127.0.0.1:2"),
        "{error}"
    );
}

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
