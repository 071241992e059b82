//! The restricted policy of Pod Security Standards, and somewhat more, for every pod that the chart makes.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::documents::{containers, find, pod_specs, text};
use crate::helm::{FULL_NAME, Helm, Values};
use crate::matrix;

/// What the restricted policy lets a pod have.
const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

#[test]
fn pods_meet_the_restricted_policy() -> Result<()> {
    matrix::each(|helm, values| {
        let documents = helm.render(values)?;
        for (name, spec) in pod_specs(&documents) {
            check_pod(spec).with_context(|| name.clone())?;
            for container in containers(spec) {
                let of = || format!("container {} of {name}", text(&container["name"]));
                check_container(container).with_context(of)?;
            }
        }
        Ok(())
    })
}

fn check_pod(spec: &Value) -> Result<()> {
    for key in [
        "hostNetwork",
        "hostPID",
        "hostIPC",
        "hostUsers",
        "shareProcessNamespace",
    ] {
        ensure!(spec[key].is_null(), "{key} is {}", spec[key]);
    }
    let context = &spec["securityContext"];
    ensure!(context["runAsNonRoot"] == true);
    ensure!(context["runAsUser"].as_u64().is_some_and(|user| user > 0));
    ensure!(context["seccompProfile"] == json!({ "type": "RuntimeDefault" }));
    for key in [
        "sysctls",
        "seLinuxOptions",
        "appArmorProfile",
        "windowsOptions",
    ] {
        ensure!(context[key].is_null(), "{key} is {}", context[key]);
    }
    // Nothing of it talks to Kubernetes.
    ensure!(spec["automountServiceAccountToken"] == false);
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        let kinds = volume.as_object().context("a volume")?.keys();
        for kind in kinds.filter(|key| *key != "name") {
            ensure!(VOLUMES.contains(&kind.as_str()), "volume of kind {kind}");
        }
    }
    Ok(())
}

fn check_container(container: &Value) -> Result<()> {
    let context = &container["securityContext"];
    ensure!(context["allowPrivilegeEscalation"] == false);
    ensure!(context["privileged"] == false);
    ensure!(context["readOnlyRootFilesystem"] == true);
    ensure!(context["capabilities"] == json!({ "drop": ["ALL"] }));
    for key in ["procMount", "runAsUser", "seccompProfile", "seLinuxOptions"] {
        ensure!(context[key].is_null(), "{key} is {}", context[key]);
    }
    // The image has no shell, and its entry point is the program.
    ensure!(container["command"].is_null());
    for port in container["ports"].as_array().into_iter().flatten() {
        ensure!(port["hostPort"].is_null());
    }
    for kind in ["requests", "limits"] {
        ensure!(
            container["resources"][kind]["memory"].is_string(),
            "no memory in {kind}"
        );
    }
    Ok(())
}

#[test]
fn raft_is_for_nodes_alone_and_clients_are_of_the_namespace() -> Result<()> {
    let helm = Helm::new()?;
    let documents = helm.render(Values::Default)?;
    let policy = find(&documents, "NetworkPolicy", FULL_NAME)?;
    let set = find(&documents, "StatefulSet", FULL_NAME)?;
    let nodes = &set["spec"]["selector"];
    ensure!(policy["spec"]["podSelector"] == *nodes);
    let rules = policy["spec"]["ingress"].as_array().context("rules")?;
    let allowed = |port: &str| {
        let of = rules
            .iter()
            .filter(|rule| rule["ports"] == json!([{ "port": port }]));
        let peers = of.flat_map(|rule| rule["from"].as_array().into_iter().flatten());
        peers.cloned().collect::<Vec<Value>>()
    };
    ensure!(allowed("raft") == [json!({ "podSelector": nodes })]);
    let of_the_namespace = json!({ "podSelector": {} });
    ensure!(allowed("grpc").contains(&of_the_namespace));
    ensure!(allowed("http") == std::slice::from_ref(&of_the_namespace));

    let clients = json!([{ "namespaceSelector": { "matchLabels": { "a": "b" } } }]);
    let given = json!({ "networkPolicy": { "clients": clients } });
    let documents = helm.render(Values::Given(&given))?;
    let policy = find(&documents, "NetworkPolicy", FULL_NAME)?;
    let rules = policy["spec"]["ingress"].as_array().context("rules")?;
    let is_open = rules.iter().any(|rule| {
        rule["ports"] == json!([{ "port": "grpc" }]) && rule["from"] == json!([of_the_namespace])
    });
    ensure!(!is_open, "the whole namespace still may");
    ensure!(rules.iter().any(|rule| rule["from"] == clients));
    Ok(())
}
