//! TLS: files where the flags say they are, certificates for the names that are called, probes that speak it.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::documents::{arguments, containers, find, pod_specs, text};
use crate::helm::{FULL_NAME, Helm, Values};
use crate::matrix;

/// The node's container.
fn node(documents: &[Value]) -> Result<&Value> {
    let set = find(documents, "StatefulSet", FULL_NAME)?;
    let node = set.pointer("/spec/template/spec/containers/0");
    node.context("a container")
}

fn has(words: &[String], word: &str) -> Result<()> {
    let is_there = words.iter().any(|found| found == word);
    ensure!(is_there, "no {word} among {words:?}");
    Ok(())
}

#[test]
fn without_values_nodes_are_told_that_they_are_exposed() -> Result<()> {
    let helm = Helm::new()?;
    let documents = helm.render(Values::Default)?;
    let words = arguments(node(&documents)?);
    has(&words, "--insecure")?;
    ensure!(!words.iter().any(|word| word.contains("tls")), "{words:?}");
    let careful = helm.render(Values::File("production.yaml"))?;
    let words = arguments(node(&careful)?);
    ensure!(!words.contains(&"--insecure".to_owned()), "{words:?}");
    Ok(())
}

#[test]
fn probes_speak_tls_where_http_does() -> Result<()> {
    let helm = Helm::new()?;
    let documents = helm.render(Values::File("production.yaml"))?;
    let container = node(&documents)?;
    has(&arguments(container), "--http-tls")?;
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let scheme = &container[probe]["httpGet"]["scheme"];
        ensure!(*scheme == "HTTPS", "{probe}: {scheme}");
    }
    let plain = json!({
        "tls": { "enabled": true, "http": false, "nodes": { "existingSecret": "n" } },
    });
    let documents = helm.render(Values::Given(&plain))?;
    let container = node(&documents)?;
    ensure!(container["livenessProbe"]["httpGet"]["scheme"].is_null());
    ensure!(!arguments(container).contains(&"--http-tls".to_owned()));
    Ok(())
}

/// Gateways and meshes look at it.
#[test]
fn services_say_whether_there_is_tls() -> Result<()> {
    let helm = Helm::new()?;
    for (values, said) in [
        (Values::Default, "kubernetes.io/h2c"),
        (Values::File("production.yaml"), "https"),
    ] {
        let documents = helm.render(values)?;
        for name in [FULL_NAME.to_owned(), format!("{FULL_NAME}-headless")] {
            let service = find(&documents, "Service", &name)?;
            let port = &service["spec"]["ports"][0];
            ensure!(port["appProtocol"] == said, "{name}: {port}");
        }
    }
    Ok(())
}

/// A ServiceMonitor can name a secret in its own namespace alone.
#[test]
fn metrics_are_read_over_tls_with_the_ca_where_it_can_be_named() -> Result<()> {
    let helm = Helm::new()?;
    let endpoint = |namespace: &str| -> Result<Value> {
        let values = json!({
            "tls": { "enabled": true, "nodes": { "existingSecret": "n" } },
            "serviceMonitor": { "enabled": true, "namespace": namespace },
        });
        let documents = helm.render(Values::Given(&values))?;
        let monitor = find(&documents, "ServiceMonitor", FULL_NAME)?;
        Ok(monitor["spec"]["endpoints"][0].clone())
    };
    let near = endpoint("")?;
    ensure!(near["scheme"] == "https", "{near}");
    ensure!(
        near["tlsConfig"]["ca"]["secret"] == json!({ "name": "n", "key": "ca.crt" }),
        "{near}"
    );
    ensure!(near["tlsConfig"]["serverName"].is_string(), "{near}");
    let far = endpoint("monitoring")?;
    ensure!(
        far["tlsConfig"] == json!({ "insecureSkipVerify": true }),
        "{far}"
    );
    Ok(())
}

/// Whatever the values are: a file that a container is told of is in a volume of its pod, and the key that it is to have
/// there is asked for.
#[test]
fn files_are_where_containers_look_for_them() -> Result<()> {
    matrix::each(|helm, values| {
        let documents = helm.render(values)?;
        for (name, spec) in pod_specs(&documents) {
            for container in containers(spec) {
                let mut paths: Vec<String> = Vec::new();
                for word in arguments(container) {
                    paths.extend(
                        word.split_once("=/etc/toka/")
                            .map(|(_, path)| path.to_owned()),
                    );
                }
                for variable in container["env"].as_array().into_iter().flatten() {
                    let path = text(&variable["value"]).strip_prefix("/etc/toka/");
                    paths.extend(path.map(str::to_owned));
                }
                for path in paths {
                    is_mounted(spec, container, &format!("/etc/toka/{path}"))
                        .with_context(|| format!("{path} of {name}"))?;
                }
            }
        }
        Ok(())
    })
}

fn is_mounted(spec: &Value, container: &Value, path: &str) -> Result<()> {
    let (directory, _) = path.rsplit_once('/').context("a directory")?;
    let mounts = container["volumeMounts"].as_array().context("no mounts")?;
    let mount = mounts.iter().find(|mount| mount["mountPath"] == directory);
    let mount = mount.context("it is not mounted")?;
    ensure!(mount["readOnly"] == true);
    // A file that is mounted alone does not change with its secret.
    ensure!(mount["subPath"].is_null());
    let volumes = spec["volumes"].as_array().context("no volumes")?;
    let is_there = volumes.iter().any(|volume| volume["name"] == mount["name"]);
    ensure!(is_there, "there is no volume {}", mount["name"]);
    Ok(())
}

#[test]
fn secrets_that_are_given_are_mounted_and_none_is_made() -> Result<()> {
    let documents = Helm::new()?.render(Values::File("production.yaml"))?;
    let set = find(&documents, "StatefulSet", FULL_NAME)?;
    let volumes = set.pointer("/spec/template/spec/volumes");
    let volumes = volumes.and_then(Value::as_array).context("volumes")?;
    for (volume, secret) in [
        ("tls-server", "toka-vault-server-tls"),
        ("tls-nodes", "toka-vault-nodes-tls"),
        ("auth-first", "toka-vault-auth"),
    ] {
        let found = volumes.iter().find(|found| found["name"] == volume);
        let found = found.with_context(|| volume.to_owned())?;
        ensure!(found["secret"]["secretName"] == secret, "{found}");
    }
    for kind in ["Secret", "Certificate"] {
        ensure!(documents.iter().all(|document| document["kind"] != kind));
    }
    Ok(())
}

/// The schema of these is not Kubernetes' own.
#[test]
fn certificates_have_the_names_that_are_called() -> Result<()> {
    let documents = Helm::new()?.render(Values::File("tls-cert-manager.yaml"))?;
    let pods = "*.vault-toka-vault-headless.agents.svc.cluster.local";
    let service = "vault-toka-vault.agents.svc.cluster.local";
    for (name, issuer, usages) in [
        (
            "server",
            "toka-vault-clients",
            json!(["digital signature", "server auth"]),
        ),
        (
            "nodes",
            "toka-vault-nodes",
            json!(["digital signature", "server auth", "client auth"]),
        ),
    ] {
        let certificate = find(&documents, "Certificate", &format!("{FULL_NAME}-{name}"))?;
        ensure!(certificate["apiVersion"] == "cert-manager.io/v1");
        let spec = &certificate["spec"];
        ensure!(spec["secretName"] == format!("{FULL_NAME}-{name}-tls"));
        ensure!(
            spec["issuerRef"] == json!({ "name": issuer, "kind": "Issuer" }),
            "{spec}"
        );
        ensure!(spec["usages"] == usages, "{spec}");
        ensure!(spec["privateKey"]["rotationPolicy"] == "Always");
        let names = spec["dnsNames"].as_array().context("names")?;
        for wanted in [pods, service] {
            ensure!(names.contains(&json!(wanted)), "no {wanted}: {spec}");
        }
    }
    // The names of the pods are those of nodes, and those of the Service are not.
    let words = arguments(node(&documents)?);
    has(&words, &format!("--raft-tls-names={pods}"))
}
