//! Values that make no sense are refused, with their name.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::helm::Helm;

#[test]
fn values_that_the_schema_does_not_allow_are_named() -> Result<()> {
    let helm = Helm::new()?;
    for (values, said) in [
        (json!({ "replicas": 2 }), "/replicas"),
        (json!({ "replicas": 4 }), "/replicas"),
        (json!({ "replicas": 0 }), "/replicas"),
        (json!({ "replicas": 9 }), "/replicas"),
        (json!({ "replicas": "3" }), "/replicas"),
        (json!({ "replica": 3 }), "'replica' not allowed"),
        (
            json!({ "settings": { "tls_cert": "x" } }),
            "'tls_cert' not allowed",
        ),
        (json!({ "tls": { "enable": true } }), "'enable' not allowed"),
        (
            json!({ "tls": { "clients": { "auth": "maybe" } } }),
            "/tls/clients/auth",
        ),
        (
            json!({ "tls": { "certManager": { "duration": "soon" } } }),
            "/tls/certManager/duration",
        ),
        (json!({ "insecure": "yes" }), "/insecure"),
        (json!({ "auth": { "enabled": "yes" } }), "/auth/enabled"),
        (
            json!({ "auth": { "rootToken": "toka_" } }),
            "'rootToken' not allowed",
        ),
        (
            json!({ "auth": { "rootTokenKey": "a/b" } }),
            "/auth/rootTokenKey",
        ),
        (
            json!({ "auth": { "jobs": { "key": "" } } }),
            "/auth/jobs/key",
        ),
        (
            json!({ "auth": { "jwt": { "jwksUrl": "https://id.example" } } }),
            "'jwksUrl' not allowed",
        ),
        (
            json!({ "auth": { "certificateRoles": ["robot"] } }),
            "/auth/certificateRoles",
        ),
        (
            json!({ "settings": { "principal_subscriptions": 0 } }),
            "/settings/principal_subscriptions",
        ),
        (
            json!({ "settings": { "principal_open_calls": 0 } }),
            "/settings/principal_open_calls",
        ),
        (
            json!({ "gateway": { "backendTls": { "ca": "x" } } }),
            "/gateway/backendTls",
        ),
        (json!({ "image": { "name": "x" } }), "/image"),
        (json!({ "image": { "digest": "latest" } }), "/image/digest"),
        (
            json!({ "image": { "pullPolicy": "Sometimes" } }),
            "/image/pullPolicy",
        ),
        (
            json!({ "settings": { "node_id": 1 } }),
            "'node_id' not allowed",
        ),
        (
            json!({ "settings": { "listen": "0.0.0.0:1" } }),
            "'listen' not allowed",
        ),
        (
            json!({ "settings": { "request_timeout": 5 } }),
            "/settings/request_timeout",
        ),
        (
            json!({ "settings": { "cache_bytes": "many" } }),
            "/settings/cache_bytes",
        ),
        (
            json!({ "settings": { "otlp_endpoint": "http://c:4317" } }),
            "'otlp_endpoint' not allowed",
        ),
        (
            json!({ "tracing": { "otlp": { "endpoint": "collector:4317" } } }),
            "/tracing/otlp/endpoint",
        ),
        (
            json!({ "tracing": { "otlp": { "endpoint": "http://me:secret@c:4317" } } }),
            "/tracing/otlp/endpoint",
        ),
        (json!({ "tracing": { "ratio": 2 } }), "/tracing/ratio"),
        (
            json!({ "tracing": { "resourceAttributes": { "a": "b,c=d" } } }),
            "/tracing/resourceAttributes",
        ),
        (json!({ "podHost": "vault.example" }), "/podHost"),
        (json!({ "listenHost": "localhost" }), "/listenHost"),
        (json!({ "ports": { "client": 0 } }), "/ports/client"),
        (
            json!({ "persistence": { "size": "20 GB" } }),
            "/persistence/size",
        ),
        (
            json!({ "persistence": { "accessModes": ["ReadWriteMany"] } }),
            "/persistence/accessModes",
        ),
        (
            json!({ "persistence": { "retention": { "whenScaled": "Keep" } } }),
            "/persistence/retention/whenScaled",
        ),
        (
            json!({ "service": { "type": "ExternalName" } }),
            "/service/type",
        ),
        (
            json!({ "service": { "nodePort": 80 } }),
            "/service/nodePort",
        ),
        (
            json!({ "podDisruptionBudget": { "maxUnavailable": 9 } }),
            "/podDisruptionBudget",
        ),
        (
            json!({ "networkPolicy": { "clients": [{ "from": {} }] } }),
            "/networkPolicy/clients",
        ),
        (
            json!({ "resources": { "limits": { "memory": "much" } } }),
            "/resources/limits",
        ),
        (
            json!({ "readinessProbe": { "type": "exec" } }),
            "/readinessProbe/type",
        ),
        (
            json!({ "livenessProbe": { "periodSeconds": 0 } }),
            "/livenessProbe/periodSeconds",
        ),
        (
            json!({ "terminationGracePeriodSeconds": 5 }),
            "/terminationGracePeriodSeconds",
        ),
        (json!({ "antiAffinity": "maybe" }), "/antiAffinity"),
        (json!({ "zoneSpread": "Never" }), "/zoneSpread"),
        (
            json!({ "commonLabels": { "app.kubernetes.io/name": "x" } }),
            "app.kubernetes.io/name",
        ),
        (json!({ "podLabels": { "a": "not a label" } }), "/podLabels"),
        (
            json!({ "extraEnv": [{ "name": "POD_INDEX", "value": "0" }] }),
            "/extraEnv",
        ),
        (
            json!({ "reconcile": { "within": "soon" } }),
            "/reconcile/within",
        ),
        (
            json!({ "backup": { "schedule": "daily" } }),
            "/backup/schedule",
        ),
        (json!({ "ingress": { "enabled": true } }), "/ingress/hosts"),
        (
            json!({ "serviceMonitor": { "interval": "15" } }),
            "/serviceMonitor/interval",
        ),
        (
            json!({ "prometheusRule": { "disabled": ["all"] } }),
            "/prometheusRule/disabled",
        ),
        (
            json!({ "prometheusRule": { "alertLabels": { "a-b": "c" } } }),
            "invalid propertyName 'a-b'",
        ),
        (
            json!({ "dashboard": { "folder": "x" } }),
            "'folder' not allowed",
        ),
    ] {
        let refused = helm.refuses(&values)?;
        ensure!(refused.contains(said), "{values}: {refused}");
    }
    Ok(())
}

#[test]
fn values_that_contradict_each_other_are_refused_with_what_to_do() -> Result<()> {
    let helm = Helm::new()?;
    let claim = json!({ "existingClaim": "c" });
    let gateway = |route: &str| json!({ "gateway": { route: { "enabled": true } } });
    let nodes = json!({ "existingSecret": "n" });
    let tls = |mut values: Value| {
        values["enabled"] = json!(true);
        json!({ "tls": values })
    };
    let auth = |mut values: Value| {
        values["enabled"] = json!(true);
        json!({ "tls": { "enabled": true, "nodes": nodes }, "auth": values })
    };
    let jwt = |jwt: Value| auth(json!({ "existingSecret": "s", "jwt": jwt }));
    for (values, said) in [
        (auth(json!({})), "kubectl create secret generic"),
        (
            auth(json!({ "existingSecret": "s", "rootTokenKey": "" })),
            "auth.rootTokenKey or auth.bootstrapTokenKey",
        ),
        (
            json!({ "auth": { "enabled": true, "jobs": { "existingSecret": "j" } } }),
            "set tls.enabled",
        ),
        (
            auth(json!({ "existingSecret": "s", "certificateRoles": ["a=reader"] })),
            "tls.clients.auth",
        ),
        (jwt(json!({ "issuer": "i" })), "belong together"),
        (
            jwt(json!({ "issuer": "i", "audience": "a" })),
            "belong together",
        ),
        (
            jwt(json!({ "keys": { "existingSecret": "k" } })),
            "belong together",
        ),
        (
            jwt(json!({ "keys": { "existingSecret": "k", "existingConfigMap": "k" } })),
            "not both",
        ),
        (
            json!({ "insecure": false }),
            "do not start without TLS and authentication",
        ),
        (
            json!({ "insecure": false, "tls": { "enabled": true, "nodes": nodes } }),
            "do not start without authentication",
        ),
        (
            json!({ "insecure": false, "auth": { "enabled": true, "existingSecret": "s" } }),
            "do not start without TLS then",
        ),
        (json!({ "backup": { "enabled": true } }), "say where to"),
        (
            json!({ "backup": { "enabled": true, "volume": claim, "s3": { "bucket": "b" } } }),
            "not both",
        ),
        (tls(json!({})), "tls.nodes.existingSecret"),
        (
            tls(json!({ "certManager": { "enabled": true } })),
            "tls.certManager.issuerRef.name",
        ),
        (
            tls(json!({ "nodes": nodes, "clients": { "auth": "optional" } })),
            "tls.clients.caSecret",
        ),
        (
            tls(json!({ "nodes": nodes, "clients": { "auth": "required", "caSecret": "c" } })),
            "tls.clients.jobSecret",
        ),
        (
            json!({
                "tls": { "enabled": true, "nodes": nodes }, "readinessProbe": { "type": "grpc" },
            }),
            "speaks no TLS",
        ),
        (gateway("grpcRoute"), "gateway.parentRefs"),
        (gateway("httpRoute"), "gateway.parentRefs"),
        (gateway("backendTls"), "set tls.enabled"),
        (
            json!({ "prometheusRule": { "enabled": true, "disabled": ["TokaNone"] } }),
            "there is no alert TokaNone",
        ),
    ] {
        let refused = helm.refuses(&values)?;
        ensure!(refused.contains(said), "{values}: {refused}");
    }
    Ok(())
}
