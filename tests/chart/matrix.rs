//! Values of all sorts make manifests that every supported Kubernetes takes.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::documents::{arguments, find, installed, pod_specs, text};
use crate::helm::{FULL_NAME, Helm, NAMESPACE, Values};

/// Values files of the chart.
pub(crate) const FILES: [&str; 4] = [
    "air-gapped.yaml",
    "development.yaml",
    "production.yaml",
    "tls-cert-manager.yaml",
];

/// Values that between them switch on and off whatever can be.
pub(crate) fn values() -> Vec<Value> {
    vec![
        json!({ "replicas": 1, "antiAffinity": "none", "zoneSpread": "" }),
        json!({ "replicas": 7, "antiAffinity": "hard", "zoneSpread": "DoNotSchedule" }),
        json!({
            "podDisruptionBudget": { "enabled": false }, "networkPolicy": { "enabled": false },
            "serviceAccount": { "create": false, "name": "theirs" }, "reconcile": { "enabled": false },
        }),
        json!({
            "image": {
                "registry": "registry.example:5000", "repository": "a/b",
                "digest": format!("sha256:{}", "0a".repeat(32)),
            },
            "imagePullSecrets": [{ "name": "registry" }],
        }),
        json!({
            "commonLabels": { "team": "agents" }, "commonAnnotations": { "note": "x" },
            "podLabels": { "a": "b" }, "podAnnotations": { "c": "d" },
            "extraEnv": [{ "name": "A", "value": "b" }],
            "extraEnvFrom": [{ "secretRef": { "name": "s" } }],
            "extraVolumes": [{ "name": "v", "emptyDir": {} }],
            "extraVolumeMounts": [{ "name": "v", "mountPath": "/v" }],
            "nodeSelector": { "disk": "ssd" }, "tolerations": [{ "operator": "Exists" }],
            "priorityClassName": "high", "runtimeClassName": "sandbox", "schedulerName": "theirs",
            "affinity": { "nodeAffinity": {} }, "logJson": false, "logFilter": "debug",
        }),
        json!({
            "service": {
                "type": "LoadBalancer", "loadBalancerClass": "lb", "nodePort": 30_001,
                "loadBalancerSourceRanges": ["10.0.0.0/8"], "ipFamilyPolicy": "PreferDualStack",
                "annotations": { "a": "b" }, "labels": { "c": "d" },
            },
            "listenHost": "[::]", "ports": { "client": 1, "raft": 2, "http": 65_535 },
            "readinessProbe": { "type": "grpc" },
            "allowedHosts": ["vault.example", "*.pages.example:8443"],
        }),
        json!({
            "ingress": {
                "enabled": true, "className": "nginx", "hosts": ["vault.example"],
                "tls": [{ "hosts": ["vault.example"], "secretName": "t" }],
            },
            "gateway": {
                "grpcRoute": { "enabled": true }, "httpRoute": { "enabled": true },
                "parentRefs": [{ "name": "public" }], "hostnames": ["vault.example"],
            },
        }),
        json!({
            "tls": {
                "enabled": true, "http": false, "nodes": { "existingSecret": "nodes", "names": ["*.a.b"] },
                "clients": { "auth": "required", "caSecret": "clients", "jobSecret": "jobs" },
            },
            "auth": {
                "enabled": true, "certificateRoles": ["spiffe://a/b=writer", "ops=admin"],
                "jwt": {
                    "issuer": "https://id.example", "audience": "vault", "rolesClaim": "roles",
                    "keys": { "existingConfigMap": "keys" },
                },
            },
            "insecure": false, "backup": { "enabled": true, "s3": { "bucket": "b" } },
            "gateway": { "backendTls": { "enabled": true, "caConfigMap": "ca" } },
            "extraVolumes": [{ "name": "v", "emptyDir": {} }],
        }),
        json!({
            "auth": {
                "enabled": true, "existingSecret": "first", "bootstrapTokenKey": "boot",
                "jobs": { "existingSecret": "jobs" },
                "jwt": {
                    "issuer": "https://id.example", "audience": "vault",
                    "keys": { "existingSecret": "keys", "key": "set.json" },
                },
            },
            "settings": {
                "principal_requests_per_second": 100, "principal_bytes_per_second": "1MiB",
                "principal_subscriptions": 4, "principal_open_calls": 64,
            },
            "backup": { "enabled": true, "volume": { "existingClaim": "backups" } },
        }),
        json!({
            "backup": {
                "enabled": true, "timeZone": "Etc/UTC", "keepLast": 0, "rateLimit": "",
                "volume": { "existingClaim": "backups", "subPath": "vault" },
            },
            "persistence": {
                "storageClass": "fast", "labels": { "a": "b" }, "annotations": { "c": "d" },
                "retention": { "whenScaled": "Delete" },
            },
        }),
        json!({
            "backup": {
                "enabled": true,
                "s3": {
                    "bucket": "b", "endpoint": "http://s3.example:9000", "allowHttp": true,
                    "credentialsSecret": "keys",
                },
            },
            "networkPolicy": {
                "clients": [{ "ipBlock": { "cidr": "10.0.0.0/8" } }],
                "monitoring": [{ "namespaceSelector": {} }], "restrictEgress": false,
            },
        }),
        json!({
            "serviceMonitor": {
                "enabled": true, "namespace": "monitoring", "labels": { "release": "prometheus" },
                "annotations": { "a": "b" }, "interval": "30s", "scrapeTimeout": "5s",
                "relabelings": [{ "action": "labeldrop", "regex": "x" }],
                "metricRelabelings": [{ "action": "labeldrop", "regex": "y" }],
            },
            "prometheusRule": {
                "enabled": true, "labels": { "release": "prometheus" }, "disabled": ["TokaAlarm"],
                "alertLabels": { "team": "agents" }, "runbookUrl": "https://wiki.example/toka",
                "extraGroups": [{ "name": "mine", "rules": [] }],
            },
            "dashboard": { "enabled": true, "annotations": { "grafana_folder": "Databases" } },
            "tracing": {
                "otlp": {
                    "endpoint": "http://collector:4317", "timeout": "500ms", "queueSpans": 100,
                    "headersSecret": "keys",
                },
                "ratio": 0.001, "resourceAttributes": { "team": "agents" },
            },
        }),
    ]
}

/// All of them, those of the files, and none.
pub(crate) fn each(check: impl Fn(&Helm, Values<'_>) -> Result<()>) -> Result<()> {
    let helm = Helm::new()?;
    check(&helm, Values::Default).context("without values")?;
    for file in FILES {
        check(&helm, Values::File(file)).context(file)?;
    }
    for values in values() {
        check(&helm, Values::Given(&values)).with_context(|| values.to_string())?;
    }
    Ok(())
}

#[test]
fn lint_has_nothing_to_say() -> Result<()> {
    each(|helm, values| helm.lint(values))
}

#[test]
fn manifests_meet_the_schemas_of_three_versions_of_kubernetes() -> Result<()> {
    each(|helm, values| helm.validate(&helm.template(values)?))
}

/// What the check above says of a manifest that does not.
#[test]
fn manifest_that_does_not_meet_a_schema_is_named() -> Result<()> {
    let helm = Helm::new()?;
    let manifests = helm.template(Values::Default)?;
    let broken = manifests.replace("podManagementPolicy: Parallel", "podManagement: Parallel");
    ensure!(broken != manifests, "nothing was broken");
    let refused = helm.validate(&broken).err().context("it is taken")?;
    let refused = format!("{refused:#}");
    ensure!(
        refused.contains("StatefulSet vault-toka-vault (1.28.0)"),
        "{refused}"
    );
    Ok(())
}

#[test]
fn without_values_there_is_what_a_cluster_needs_and_nothing_that_needs_definitions() -> Result<()> {
    let documents = Helm::new()?.render(Values::Default)?;
    let expected = [
        "NetworkPolicy vault-toka-vault",
        "PodDisruptionBudget vault-toka-vault",
        "Service vault-toka-vault",
        "Service vault-toka-vault-headless",
        "ServiceAccount vault-toka-vault",
        "StatefulSet vault-toka-vault",
    ];
    let found = installed(&documents);
    ensure!(found == expected, "{found:?}");
    let set = find(&documents, "StatefulSet", FULL_NAME)?;
    ensure!(set["spec"]["replicas"] == 3);
    ensure!(set["spec"]["podManagementPolicy"] == "Parallel");
    let kept = &set["spec"]["persistentVolumeClaimRetentionPolicy"];
    ensure!(kept["whenScaled"] == "Retain" && kept["whenDeleted"] == "Retain");
    let headless = find(&documents, "Service", "vault-toka-vault-headless")?;
    ensure!(headless["spec"]["publishNotReadyAddresses"] == true);
    ensure!(headless["spec"]["clusterIP"] == "None");
    ensure!(set["spec"]["serviceName"] == headless["metadata"]["name"]);
    Ok(())
}

#[test]
fn whatever_runs_for_a_release_goes_where_its_nodes_may_go() -> Result<()> {
    let values = json!({
        "nodeSelector": { "disk": "ssd" }, "tolerations": [{ "operator": "Exists" }],
    });
    let documents = Helm::new()?.render(Values::Given(&values))?;
    for (name, spec) in pod_specs(&documents) {
        ensure!(spec["nodeSelector"] == values["nodeSelector"], "{name}");
        ensure!(spec["tolerations"] == values["tolerations"], "{name}");
    }
    Ok(())
}

/// The schemas of these are not Kubernetes' own.
#[test]
fn routes_go_to_the_service_for_clients() -> Result<()> {
    let helm = Helm::new()?;
    let values = json!({
        "gateway": {
            "grpcRoute": { "enabled": true }, "httpRoute": { "enabled": true },
            "parentRefs": [{ "name": "public" }], "hostnames": ["vault.example"],
        },
    });
    let documents = helm.render(Values::Given(&values))?;
    for kind in ["GRPCRoute", "HTTPRoute"] {
        let route = find(&documents, kind, FULL_NAME)?;
        ensure!(text(&route["apiVersion"]) == "gateway.networking.k8s.io/v1");
        let spec = &route["spec"];
        ensure!(spec["parentRefs"] == json!([{ "name": "public" }]));
        ensure!(spec["hostnames"] == json!(["vault.example"]));
        let backend = json!([{ "backendRefs": [{ "name": FULL_NAME, "port": 7311 }] }]);
        ensure!(spec["rules"] == backend, "{spec}");
    }
    Ok(())
}

/// A browser calls the node by the name at which it has found the Ingress or the Gateway.
#[test]
fn nodes_know_the_names_by_which_browsers_call_them() -> Result<()> {
    let helm = Helm::new()?;
    let names = |values: Value| -> Result<Vec<String>> {
        let documents = helm.render(Values::Given(&values))?;
        let nodes = find(&documents, "StatefulSet", FULL_NAME)?;
        let arguments = arguments(&nodes["spec"]["template"]["spec"]["containers"][0]);
        let names = arguments
            .iter()
            .find_map(|argument| argument.strip_prefix("--allowed-host="));
        let names = names.context("no names")?.split(',');
        Ok(names.map(str::to_owned).collect())
    };
    let own = names(json!({}))?;
    ensure!(own.contains(&FULL_NAME.to_owned()), "{own:?}");
    ensure!(
        own.contains(&format!("{FULL_NAME}.{NAMESPACE}.svc")),
        "{own:?}"
    );
    let given = names(json!({
        "ingress": { "enabled": true, "hosts": ["vault.example"] },
        "gateway": {
            "httpRoute": { "enabled": true }, "parentRefs": [{ "name": "public" }],
            "hostnames": ["*.gate.example", "vault.example"],
        },
        "allowedHosts": ["page.example:8443"],
    }))?;
    let further = ["vault.example", "*.gate.example", "page.example:8443"].map(str::to_owned);
    ensure!(given == [own, further.to_vec()].concat(), "{given:?}");
    Ok(())
}

/// A certificate of the Service's own name is what cert-manager makes for it.
#[test]
fn gateway_is_told_how_to_check_the_nodes_certificate() -> Result<()> {
    let helm = Helm::new()?;
    let validation = |mut policy: Value| -> Result<Value> {
        policy["enabled"] = json!(true);
        let values = json!({
            "tls": { "enabled": true, "nodes": { "existingSecret": "n" } },
            "gateway": { "backendTls": policy },
        });
        let documents = helm.render(Values::Given(&values))?;
        let policy = find(&documents, "BackendTLSPolicy", FULL_NAME)?;
        ensure!(text(&policy["apiVersion"]) == "gateway.networking.k8s.io/v1");
        let service = find(&documents, "Service", FULL_NAME)?;
        let target = json!([{
            "group": "", "kind": "Service", "name": FULL_NAME,
            "sectionName": service["spec"]["ports"][0]["name"],
        }]);
        ensure!(policy["spec"]["targetRefs"] == target, "{policy}");
        Ok(policy["spec"]["validation"].clone())
    };
    let system = validation(json!({}))?;
    let name = format!("{FULL_NAME}.{NAMESPACE}.svc.cluster.local");
    let expected = json!({ "wellKnownCACertificates": "System", "hostname": name });
    ensure!(system == expected, "{system}");
    let own = validation(json!({ "caConfigMap": "ca", "hostname": "vault.example" }))?;
    let ca = json!([{ "group": "", "kind": "ConfigMap", "name": "ca" }]);
    let expected = json!({ "caCertificateRefs": ca, "hostname": "vault.example" });
    ensure!(own == expected, "{own}");
    Ok(())
}
