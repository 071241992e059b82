//! Authorization: what nodes are told, and what the chart's own Jobs show.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::documents::{arguments, containers, find, pod_specs, text};
use crate::helm::{FULL_NAME, Helm, Values};
use crate::matrix;

/// The specification of the nodes' pods.
fn pods(documents: &[Value]) -> Result<&Value> {
    let set = find(documents, "StatefulSet", FULL_NAME)?;
    set.pointer("/spec/template/spec").context("pods")
}

/// What nodes are told of authorization.
fn flags(documents: &[Value]) -> Result<Vec<String>> {
    let words = arguments(&pods(documents)?["containers"][0]);
    let of_auth = |word: &String| {
        let names = [
            "--auth",
            "--bootstrap",
            "--jwt",
            "--certificate",
            "--insecure",
        ];
        names.iter().any(|name| word.starts_with(name))
    };
    Ok(words.into_iter().filter(of_auth).collect())
}

/// The source of a volume of a pod.
fn volume<'a>(pod: &'a Value, name: &str) -> Result<&'a Value> {
    let volumes = pod["volumes"].as_array().context("volumes")?;
    let found = volumes.iter().find(|volume| volume["name"] == name);
    found.with_context(|| format!("there is no volume {name}"))
}

/// With TLS, and what is given of authorization.
fn with(mut auth: Value) -> Value {
    auth["enabled"] = json!(true);
    json!({ "tls": { "enabled": true, "nodes": { "existingSecret": "n" } }, "auth": auth })
}

#[test]
fn production_values_turn_on_tls_and_authorization_and_expose_nothing() -> Result<()> {
    let documents = Helm::new()?.render(Values::File("production.yaml"))?;
    let found = flags(&documents)?;
    let expected = ["--auth", "--auth-root-token-file=/etc/toka/auth/first/root"];
    ensure!(found == expected, "{found:?}");
    let words = arguments(&pods(&documents)?["containers"][0]);
    ensure!(words.iter().any(|word| word.starts_with("--raft-tls-ca=")));
    Ok(())
}

#[test]
fn insecure_is_said_only_where_something_is_missing() -> Result<()> {
    let helm = Helm::new()?;
    let is_said = |values: &Value| -> Result<bool> {
        let documents = helm.render(Values::Given(values))?;
        Ok(flags(&documents)?.contains(&"--insecure".to_owned()))
    };
    let first = json!({ "existingSecret": "s" });
    ensure!(!is_said(&with(first.clone()))?);
    let mut plain = with(first);
    plain["tls"]["enabled"] = json!(false);
    ensure!(is_said(&plain)?);
    let tls = json!({ "tls": { "enabled": true, "nodes": { "existingSecret": "n" } } });
    ensure!(is_said(&tls)?);
    ensure!(is_said(&json!({}))?);
    Ok(())
}

/// All of these ask nodes; whatever else there is gets no credential.
#[test]
fn whatever_calls_nodes_shows_the_token() -> Result<()> {
    let documents = Helm::new()?.render(Values::File("production.yaml"))?;
    let file = json!({ "name": "TOKA_TOKEN_FILE", "value": "/etc/toka/auth/client/token" });
    let mut shown = Vec::new();
    for (name, spec) in pod_specs(&documents) {
        for container in containers(spec) {
            let env = container["env"].as_array();
            if env.is_some_and(|env| env.contains(&file)) {
                shown.push(format!("{name}: {}", text(&container["name"])));
                let source = &volume(spec, "auth-client")?["secret"];
                ensure!(source["secretName"] == "toka-vault-auth", "{source}");
                let items = json!([{ "key": "token", "path": "token" }]);
                ensure!(source["items"] == items, "{source}");
            }
        }
    }
    shown.sort();
    let expected = [
        "CronJob vault-toka-vault-backup: create",
        "Job vault-toka-vault-reconcile-after: reconcile",
        "Job vault-toka-vault-reconcile-before: reconcile",
        "Pod vault-toka-vault-test: commit",
        "Pod vault-toka-vault-test: read",
        "StatefulSet vault-toka-vault: toka",
        "StatefulSet vault-toka-vault: vacate",
    ];
    ensure!(shown == expected, "{shown:?}");
    Ok(())
}

#[test]
fn jobs_may_have_a_token_of_their_own_and_pods_a_bootstrap_token() -> Result<()> {
    let values = with(json!({
        "existingSecret": "first", "rootTokenKey": "", "bootstrapTokenKey": "boot",
        "jobs": { "existingSecret": "jobs", "key": "mine" },
    }));
    let documents = Helm::new()?.render(Values::Given(&values))?;
    let found = flags(&documents)?;
    let expected = [
        "--auth",
        "--bootstrap-admin-token-file=/etc/toka/auth/first/bootstrap",
    ];
    ensure!(found == expected, "{found:?}");
    let pods = pods(&documents)?;
    let first = &volume(pods, "auth-first")?["secret"];
    ensure!(first["items"] == json!([{ "key": "boot", "path": "bootstrap" }]));
    let client = &volume(pods, "auth-client")?["secret"];
    ensure!(client["secretName"] == "jobs", "{client}");
    ensure!(client["items"] == json!([{ "key": "mine", "path": "token" }]));
    Ok(())
}

#[test]
fn jwts_are_checked_with_keys_that_may_change() -> Result<()> {
    let helm = Helm::new()?;
    let source = |keys: Value| -> Result<Value> {
        let values = with(json!({
            "existingSecret": "s",
            "jwt": {
                "issuer": "https://id.example", "audience": "vault", "rolesClaim": "groups",
                "keys": keys,
            },
        }));
        let documents = helm.render(Values::Given(&values))?;
        let found = flags(&documents)?;
        let expected = [
            "--auth",
            "--auth-root-token-file=/etc/toka/auth/first/root",
            "--jwt-issuer=https://id.example",
            "--jwt-audience=vault",
            "--jwt-jwks-file=/etc/toka/auth/jwt/jwks.json",
            "--jwt-roles-claim=groups",
        ];
        ensure!(found == expected, "{found:?}");
        Ok(volume(pods(&documents)?, "auth-jwt")?.clone())
    };
    let secret = source(json!({ "existingSecret": "k" }))?;
    ensure!(secret["secret"]["secretName"] == "k", "{secret}");
    let map = source(json!({ "existingConfigMap": "k", "key": "keys" }))?;
    ensure!(map["configMap"]["name"] == "k", "{map}");
    let items = json!([{ "key": "keys", "path": "jwks.json" }]);
    ensure!(map["configMap"]["items"] == items, "{map}");
    Ok(())
}

#[test]
fn client_certificates_have_roles() -> Result<()> {
    let mut values = with(json!({ "certificateRoles": ["robot.example=writer", "ops=admin"] }));
    values["tls"]["clients"] = json!({ "auth": "optional", "caSecret": "c", "jobSecret": "j" });
    let documents = Helm::new()?.render(Values::Given(&values))?;
    let found = flags(&documents)?;
    let expected = [
        "--auth",
        "--certificate-role=robot.example=writer",
        "--certificate-role=ops=admin",
    ];
    ensure!(found == expected, "{found:?}");
    Ok(())
}

/// It would be another one at each rendering.
#[test]
fn no_secret_is_made_and_rendering_again_makes_the_same() -> Result<()> {
    matrix::each(|helm, values| {
        let documents = helm.render(values)?;
        ensure!(
            documents
                .iter()
                .all(|document| document["kind"] != "Secret")
        );
        ensure!(documents == helm.render(values)?, "it differs");
        Ok(())
    })
}
