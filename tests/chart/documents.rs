//! Finding one's way in what the templates make.

use anyhow::{Context as _, Result};
use serde_json::Value;

/// The document of that kind and name.
pub(crate) fn find<'a>(documents: &'a [Value], kind: &str, name: &str) -> Result<&'a Value> {
    let is_wanted =
        |document: &&Value| document["kind"] == kind && document["metadata"]["name"] == name;
    let found = documents.iter().find(is_wanted);
    found.with_context(|| format!("there is no {kind} {name}"))
}

/// Kinds and names of what is installed, in order: hooks are not.
pub(crate) fn installed(documents: &[Value]) -> Vec<String> {
    let is_hook =
        |document: &&Value| document["metadata"]["annotations"]["helm.sh/hook"].is_string();
    let mut names: Vec<String> = documents
        .iter()
        .filter(|document| !is_hook(document))
        .map(|document| {
            format!(
                "{} {}",
                text(&document["kind"]),
                text(&document["metadata"]["name"])
            )
        })
        .collect();
    names.sort();
    names
}

/// Every specification of pods, with the name of what has it.
pub(crate) fn pod_specs(documents: &[Value]) -> Vec<(String, &Value)> {
    let spec = |document: &'_ Value| -> Option<&'static str> {
        Some(match document["kind"].as_str()? {
            "StatefulSet" | "Job" => "/spec/template/spec",
            "CronJob" => "/spec/jobTemplate/spec/template/spec",
            "Pod" => "/spec",
            _ => return None,
        })
    };
    let found = documents.iter().filter_map(|document| {
        let name = format!(
            "{} {}",
            text(&document["kind"]),
            text(&document["metadata"]["name"])
        );
        Some((name, document.pointer(spec(document)?)?))
    });
    found.collect()
}

/// All containers of a pod.
pub(crate) fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    let before = spec["initContainers"].as_array().into_iter().flatten();
    let others = spec["containers"].as_array().into_iter().flatten();
    before.chain(others)
}

/// The arguments of a container.
pub(crate) fn arguments(container: &Value) -> Vec<String> {
    let all = container["args"].as_array().into_iter().flatten();
    all.map(|word| text(word).to_owned()).collect()
}

/// A string; empty if it is none.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
