//! What the chart says of itself holds.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use toka_tests::command::Toka;
use toka_tests::manifest_dir;

use crate::documents::{arguments, find, text};
use crate::helm::{FULL_NAME, Helm, Values};

/// Flags of `toka serve` that the chart gives by itself, or that are no settings of a pod.
const OWN: [&str; 43] = [
    "advertise-client",
    "advertise-raft",
    "allowed-host",
    "auth",
    "auth-root-token-file",
    "bootstrap-admin-token-file",
    "certificate-role",
    "config",
    "context",
    "data",
    "dump-config",
    "endpoint",
    "help",
    "http-listen",
    "http-tls",
    "initial-member",
    "insecure",
    "join",
    "jwt-audience",
    "jwt-issuer",
    "jwt-jwks-file",
    "jwt-roles-claim",
    "learner",
    "listen",
    "log-json",
    "node-id",
    "otlp-endpoint",
    "otlp-queue-spans",
    "otlp-timeout",
    "raft-listen",
    "raft-tls-ca",
    "raft-tls-cert",
    "raft-tls-key",
    "raft-tls-names",
    "raft-tls-server-name",
    "replace",
    "replace-lost",
    "tls-cert",
    "tls-client-auth",
    "tls-client-ca",
    "tls-key",
    "traces-sampler-ratio",
    "version",
];

#[test]
fn readme_is_made_of_the_values() -> Result<()> {
    Helm::new()?.check_readme()
}

/// A setting that the schema lacks could not be given, and one that the node lacks would do nothing.
#[tokio::test]
async fn settings_of_the_schema_are_those_of_a_node() -> Result<()> {
    let schema = std::fs::read_to_string(Helm::chart()?.join("values.schema.json"))?;
    let schema: Value = serde_json::from_str(&schema)?;
    let settings = schema.pointer("/properties/settings/properties");
    let settings = settings.and_then(Value::as_object).context("settings")?;
    let settings: BTreeSet<String> = settings.keys().map(|key| key.replace('_', "-")).collect();

    let home = tempfile::tempdir()?;
    let help = Toka::new(home.path()).ok(&["serve", "--help"]).await?;
    let flags = help.stdout.lines().filter_map(|line| {
        let flag = line.trim_start().split_once("--")?;
        let is_flag = flag.0.is_empty() || flag.0.ends_with(", ");
        let name: String = flag
            .1
            .chars()
            .take_while(|letter| letter.is_ascii_lowercase() || *letter == '-')
            .collect();
        (is_flag && !name.is_empty()).then_some(name)
    });
    let flags: BTreeSet<String> = flags.filter(|flag| !OWN.contains(&flag.as_str())).collect();
    ensure!(settings == flags, "schema: {settings:?}\nnode: {flags:?}");
    Ok(())
}

#[test]
fn settings_reach_the_node_as_they_were_written() -> Result<()> {
    let values = json!({
        "settings": { "proposals_max": 1_000_000, "cache_bytes": "2GiB", "intents_tau": 0.5 },
    });
    let documents = Helm::new()?.render(Values::Given(&values))?;
    let set = find(&documents, "StatefulSet", FULL_NAME)?;
    let env = set.pointer("/spec/template/spec/containers/0/env");
    let env = env.and_then(Value::as_array).context("env")?;
    for (name, value) in [
        ("TOKA_PROPOSALS_MAX", "1000000"),
        ("TOKA_CACHE_BYTES", "2GiB"),
        ("TOKA_INTENTS_TAU", "0.5"),
    ] {
        let variable = json!({ "name": name, "value": value });
        ensure!(env.contains(&variable), "{name}: {env:?}");
    }
    Ok(())
}

#[test]
fn spans_go_to_the_collector_and_the_network_lets_them() -> Result<()> {
    let helm = Helm::new()?;
    let environment = |documents: &[Value]| -> Result<Vec<Value>> {
        let set = find(documents, "StatefulSet", FULL_NAME)?;
        let env = set.pointer("/spec/template/spec/containers/0/env");
        Ok(env.and_then(Value::as_array).context("env")?.clone())
    };
    let off = environment(&helm.render(Values::Default)?)?;
    let is_of_tracing = |variable: &&Value| {
        let name = text(&variable["name"]);
        name.contains("OTLP") || name.contains("OTEL") || name.contains("TRACES")
    };
    ensure!(!off.iter().any(|of| is_of_tracing(&of)), "{off:?}");

    let values = json!({
        "tracing": {
            "otlp": { "endpoint": "https://collector.observe:4317", "headersSecret": "keys" },
            "ratio": 0.05, "resourceAttributes": { "deployment.environment.name": "test" },
        },
    });
    let documents = helm.render(Values::Given(&values))?;
    let on = environment(&documents)?;
    let attributes = "k8s.namespace.name=agents,k8s.pod.name=$(K8S_POD_NAME),\
                      k8s.node.name=$(K8S_NODE_NAME),deployment.environment.name=test";
    for (name, value) in [
        ("TOKA_OTLP_ENDPOINT", "https://collector.observe:4317"),
        ("TOKA_OTLP_TIMEOUT", "10s"),
        ("TOKA_OTLP_QUEUE_SPANS", "8192"),
        ("TOKA_TRACES_SAMPLER_RATIO", "0.05"),
        ("OTEL_RESOURCE_ATTRIBUTES", attributes),
    ] {
        let variable = json!({ "name": name, "value": value });
        ensure!(on.contains(&variable), "{name}: {on:?}");
    }
    let headers = json!({
        "name": "OTEL_EXPORTER_OTLP_HEADERS",
        "valueFrom": { "secretKeyRef": { "name": "keys", "key": "headers" } },
    });
    ensure!(on.contains(&headers), "{on:?}");
    let policy = find(&documents, "NetworkPolicy", FULL_NAME)?;
    let egress = policy["spec"]["egress"].as_array().context("egress")?;
    let rule = json!({ "ports": [{ "port": 4317, "protocol": "TCP" }] });
    ensure!(egress.contains(&rule), "{egress:?}");
    Ok(())
}

#[test]
fn growing_beyond_three_restarts_nobody() -> Result<()> {
    let helm = Helm::new()?;
    let template = |replicas: u64| -> Result<Value> {
        let documents = helm.render(Values::Given(&json!({ "replicas": replicas })))?;
        let set = find(&documents, "StatefulSet", FULL_NAME)?;
        Ok(set["spec"]["template"].clone())
    };
    let [three, five, seven] = [template(3)?, template(5)?, template(7)?];
    ensure!(three == five && three == seven);
    Ok(())
}

#[test]
fn liveness_does_not_ask_for_a_quorum_and_readiness_does() -> Result<()> {
    let documents = Helm::new()?.render(Values::Default)?;
    let set = find(&documents, "StatefulSet", FULL_NAME)?;
    let node = &set["spec"]["template"]["spec"]["containers"][0];
    for (probe, path) in [
        ("startupProbe", "/livez"),
        ("livenessProbe", "/livez"),
        ("readinessProbe", "/readyz"),
    ] {
        ensure!(
            node[probe]["httpGet"] == json!({ "path": path, "port": "http" }),
            "{probe}"
        );
    }
    // On SIGTERM a node hands over before anything else: there is nothing left to do before it.
    ensure!(node["lifecycle"].is_null());
    Ok(())
}

#[test]
fn notes_warn_of_what_is_not_safe() -> Result<()> {
    let helm = Helm::new()?;
    let notes = helm.notes(Values::Default)?;
    ensure!(notes.contains("neither TLS\nnor authentication"), "{notes}");
    ensure!(!notes.contains("one node survives"), "{notes}");
    let secured = helm.notes(Values::File("production.yaml"))?;
    ensure!(
        secured.contains("callers are asked who they are"),
        "{secured}"
    );
    ensure!(!secured.contains("WARNING"), "{secured}");
    let create =
        "kubectl create secret generic -n agents toka-vault-auth --from-file=token=first.token";
    ensure!(secured.contains(create), "{secured}");
    ensure!(secured.contains("--token-file client.token"), "{secured}");
    let encrypted = helm.notes(Values::File("tls-cert-manager.yaml"))?;
    ensure!(
        encrypted.contains("there is no\nauthentication"),
        "{encrypted}"
    );
    let readable = json!({ "auth": { "enabled": true, "existingSecret": "s" } });
    let readable = helm.notes(Values::Given(&readable))?;
    ensure!(
        readable.contains("connections are not encrypted"),
        "{readable}"
    );
    ensure!(secured.contains("--server-name"), "{secured}");
    let single = helm.notes(Values::File("development.yaml"))?;
    ensure!(
        single.contains("WARNING: one node survives no failure"),
        "{single}"
    );
    let open = json!({ "networkPolicy": { "enabled": false }, "reconcile": { "enabled": false } });
    let open = helm.notes(Values::Given(&open))?;
    ensure!(open.contains("There is no NetworkPolicy"), "{open}");
    ensure!(open.contains("reconcile.enabled is false"), "{open}");
    Ok(())
}

#[test]
fn backups_go_where_they_are_sent_and_old_ones_go() -> Result<()> {
    let helm = Helm::new()?;
    let steps = |backup: Value| -> Result<Vec<Vec<String>>> {
        let values = json!({ "backup": backup });
        let documents = helm.render(Values::Given(&values))?;
        let name = format!("{FULL_NAME}-backup");
        let spec =
            find(&documents, "CronJob", &name)?.pointer("/spec/jobTemplate/spec/template/spec");
        let spec = spec.context("a pod")?;
        Ok(crate::documents::containers(spec).map(arguments).collect())
    };
    let s3 = steps(json!({ "enabled": true, "keepLast": 7, "s3": { "bucket": "b" } }))?;
    ensure!(s3.len() == 2, "{s3:?}");
    ensure!(
        s3[0][..3] == ["backup", "create", "s3://b/toka-vault"],
        "{s3:?}"
    );
    ensure!(
        s3[1] == ["backup", "prune", "s3://b/toka-vault", "--keep-last=7"],
        "{s3:?}"
    );
    let claim = json!({ "enabled": true, "keepLast": 0, "volume": { "existingClaim": "c" } });
    let claim = steps(claim)?;
    ensure!(claim.len() == 1, "{claim:?}");
    ensure!(
        claim[0][..3] == ["backup", "create", "/backups"],
        "{claim:?}"
    );
    Ok(())
}

/// No Docker is here to build it.
#[test]
fn image_has_the_toolchain_of_the_repository_and_the_user_of_the_chart() -> Result<()> {
    let root = manifest_dir();
    let root = root.parent().context("it has a parent")?;
    let toolchain = std::fs::read_to_string(root.join("rust-toolchain.toml"))?;
    let channel = toolchain
        .lines()
        .find_map(|line| line.strip_prefix("channel = "));
    let channel = channel.context("a channel")?.trim_matches('"');
    let image = std::fs::read_to_string(root.join("Dockerfile"))?;
    let documents = Helm::new()?.render(Values::Default)?;
    let set = find(&documents, "StatefulSet", FULL_NAME)?;
    let context = &set["spec"]["template"]["spec"]["securityContext"];
    for line in [
        format!("FROM docker.io/library/rust:{channel}-trixie AS build"),
        format!("ENV RUSTUP_TOOLCHAIN={channel}"),
        format!("USER {}:{}", context["runAsUser"], context["runAsGroup"]),
        "ENTRYPOINT [\"/usr/local/bin/toka\"]".to_owned(),
    ] {
        ensure!(
            image.lines().any(|found| found == line),
            "there is no {line}"
        );
    }
    // And `cargo xtask image` makes one for the same user.
    let source = root
        .join("crates")
        .join("xtask")
        .join("src")
        .join("image.rs");
    let user = format!("const USER: u32 = {};", context["runAsUser"]);
    ensure!(std::fs::read_to_string(source)?.contains(&user), "{user}");
    Ok(())
}

#[test]
fn image_may_come_from_a_mirror_by_its_digest() -> Result<()> {
    let helm = Helm::new()?;
    let image = |values: Values<'_>| -> Result<String> {
        let documents = helm.render(values)?;
        let set = find(&documents, "StatefulSet", FULL_NAME)?;
        Ok(text(&set["spec"]["template"]["spec"]["containers"][0]["image"]).to_owned())
    };
    ensure!(image(Values::Default)? == "toka-vault:0.1.0");
    let mirrored = image(Values::File("air-gapped.yaml"))?;
    ensure!(
        mirrored == "registry.internal:5000/toka/toka-vault:0.1.0",
        "{mirrored}"
    );
    let digest = format!("sha256:{}", "0a".repeat(32));
    let pinned = json!({ "image": { "digest": digest } });
    ensure!(image(Values::Given(&pinned))? == format!("toka-vault@{digest}"));
    Ok(())
}
