//! Dependencies between the crates run one way, as the table of crates in docs/ARCHITECTURE.md allows.

use crate::metadata::{Dependency, Metadata, Package};

/// What each crate of the workspace may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    ("smart-embedder", &[]),
    ("toka-ledger", &[]),
    ("toka-auth", &[]),
    ("toka-console", &[]),
    ("toka-tls", &[]),
    ("toka-picture", &[]),
    ("toka-proto", &["toka-ledger"]),
    ("toka-trace", &[]),
    ("toka-raft", &["toka-ledger", "toka-proto", "toka-trace"]),
    (
        "toka-server",
        &[
            "toka-raft",
            "toka-proto",
            "toka-ledger",
            "toka-auth",
            "toka-console",
            "toka-tls",
            "toka-trace",
        ],
    ),
    (
        "toka-client",
        &["toka-proto", "toka-ledger", "toka-tls", "toka-trace"],
    ),
    ("toka-bridge", &["toka-client", "toka-tls"]),
    (
        "toka-backup",
        &["toka-client", "toka-ledger", "toka-proto", "toka-raft"],
    ),
    (
        "toka-measure",
        &["toka-client", "toka-ledger", "toka-proto"],
    ),
    (
        "toka-agents",
        &["smart-embedder", "toka-client", "toka-ledger"],
    ),
    (
        "toka-python",
        &[
            "smart-embedder",
            "toka-agents",
            "toka-client",
            "toka-ledger",
        ],
    ),
    (
        "toka-runtime",
        &["toka-agents", "toka-client", "toka-ledger"],
    ),
    (
        "toka-mcp",
        &[
            "smart-embedder",
            "toka-agents",
            "toka-bridge",
            "toka-client",
            "toka-ledger",
        ],
    ),
    (
        "toka-otel",
        &[
            "smart-embedder",
            "toka-bridge",
            "toka-client",
            "toka-ledger",
        ],
    ),
    (
        "toka-cli",
        &[
            "smart-embedder",
            "toka-agents",
            "toka-auth",
            "toka-backup",
            "toka-client",
            "toka-ledger",
            "toka-mcp",
            "toka-measure",
            "toka-otel",
            "toka-picture",
            "toka-proto",
            "toka-raft",
            "toka-runtime",
            "toka-server",
            "toka-tls",
            "toka-trace",
        ],
    ),
    (
        "toka-tests",
        &[
            "toka-auth",
            "toka-ledger",
            "toka-proto",
            "toka-client",
            "toka-agents",
            "toka-raft",
            "toka-runtime",
            "toka-server",
            "toka-tls",
        ],
    ),
    (
        "toka-simulation",
        &[
            "toka-client",
            "toka-ledger",
            "toka-proto",
            "toka-raft",
            "toka-server",
        ],
    ),
    ("xtask", &[]),
];

/// Crates that use the ledger's types and must not make their users build RocksDB.
const TYPES_ONLY: &[&str] = &[
    "toka-proto",
    "toka-client",
    "toka-agents",
    "toka-mcp",
    "toka-otel",
];

/// Violations of the table, dev-dependencies included.
pub(crate) fn check(metadata: &Metadata) -> Vec<String> {
    let mut problems = Vec::new();
    for package in &metadata.packages {
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == package.name) else {
            problems.push(format!(
                "crate {} is not in tidy's table of crates",
                package.name
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let internal = metadata
                .packages
                .iter()
                .any(|member| member.name == dependency.name);
            let itself = dependency.name == package.name;
            if internal && !itself && !allowed.contains(&dependency.name.as_str()) {
                problems.push(format!(
                    "{} must not depend on {}",
                    package.name, dependency.name
                ));
            }
        }
        if TYPES_ONLY.contains(&package.name.as_str()) {
            problems.extend(check_types_only(package));
        }
    }
    problems
}

fn check_types_only(package: &Package) -> Vec<String> {
    let by_dependency = package
        .dependencies
        .iter()
        .filter(|dependency| dependency.name == "toka-ledger" && enables_storage(dependency))
        .map(|_| {
            format!(
                "{} must use toka-ledger without its `storage` feature",
                package.name
            )
        });
    let by_feature = package
        .features
        .iter()
        .filter(|(_, enabled)| {
            enabled.iter().any(|feature| {
                matches!(
                    feature.as_str(),
                    "toka-ledger/storage"
                        | "toka-ledger?/storage"
                        | "toka-ledger/default"
                        | "toka-ledger?/default"
                )
            })
        })
        .map(|(name, _)| {
            format!(
                "feature {name} of {} must not enable toka-ledger's `storage`",
                package.name
            )
        });
    by_dependency.chain(by_feature).collect()
}

/// Dev-dependencies may: they reach no user.
fn enables_storage(dependency: &Dependency) -> bool {
    let named = dependency
        .features
        .iter()
        .any(|feature| feature == "storage" || feature == "default");
    dependency.kind.as_deref() != Some("dev") && (dependency.uses_default_features || named)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn package(name: &str, dependencies: Value, features: Value) -> Value {
        json!({ "name": name, "dependencies": dependencies, "features": features })
    }

    fn dependency(name: &str, kind: Option<&str>, defaults: bool) -> Value {
        json!({ "name": name, "kind": kind, "uses_default_features": defaults, "features": [] })
    }

    fn problems(packages: Vec<Value>) -> Vec<String> {
        let metadata = serde_json::from_value(json!({ "packages": packages })).expect("metadata");
        check(&metadata)
    }

    #[test]
    fn allowed_edges_pass() {
        let none = problems(vec![
            package(
                "toka-ledger",
                json!([dependency("serde", None, true)]),
                json!({}),
            ),
            package(
                "toka-proto",
                json!([dependency("toka-ledger", None, false)]),
                json!({}),
            ),
            package(
                "toka-raft",
                json!([dependency("toka-ledger", None, true)]),
                json!({}),
            ),
        ]);
        assert_eq!(none, Vec::<String>::new());
    }

    #[test]
    fn upward_edge_fails_even_for_tests() {
        for kind in [None, Some("dev"), Some("build")] {
            let found = problems(vec![
                package(
                    "toka-ledger",
                    json!([dependency("toka-raft", kind, true)]),
                    json!({}),
                ),
                package("toka-raft", json!([]), json!({})),
            ]);
            assert_eq!(found, ["toka-ledger must not depend on toka-raft"]);
        }
    }

    #[test]
    fn xtask_uses_no_product_crate() {
        let found = problems(vec![
            package(
                "xtask",
                json!([dependency("toka-ledger", None, false)]),
                json!({}),
            ),
            package("toka-ledger", json!([]), json!({})),
        ]);
        assert_eq!(found, ["xtask must not depend on toka-ledger"]);
    }

    #[test]
    fn unknown_crate_fails() {
        let found = problems(vec![package("toka-types", json!([]), json!({}))]);
        assert_eq!(found, ["crate toka-types is not in tidy's table of crates"]);
    }

    #[test]
    fn client_with_storage_fails() {
        let ledger = || package("toka-ledger", json!([]), json!({}));
        let by_default = problems(vec![
            package(
                "toka-client",
                json!([dependency("toka-ledger", None, true)]),
                json!({}),
            ),
            ledger(),
        ]);
        assert_eq!(by_default.len(), 1, "{by_default:?}");
        let mut named = dependency("toka-ledger", None, false);
        named["features"] = json!(["storage"]);
        let by_name = problems(vec![
            package("toka-proto", json!([named]), json!({})),
            ledger(),
        ]);
        assert_eq!(by_name.len(), 1, "{by_name:?}");
        let by_feature = problems(vec![
            package(
                "toka-proto",
                json!([]),
                json!({ "default": ["toka-ledger/storage"] }),
            ),
            ledger(),
        ]);
        assert_eq!(by_feature.len(), 1, "{by_feature:?}");
    }
}
