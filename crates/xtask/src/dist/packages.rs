//! Which packages are in the binary: `toka-cli` and what it depends on, without what only builds or tests need.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::process::Processes;
use crate::release::captured;
use crate::workspace::Workspace;

/// The package of the binary.
const BINARY: &str = "toka-cli";

/// The packages in the binary, by name and version.
pub(super) struct Packages {
    /// All of them, that of the binary included.
    pub(super) all: Vec<Package>,
    /// Id of each and the ids of those that it depends on.
    pub(super) dependencies: BTreeMap<String, BTreeSet<String>>,
    /// Id of the binary's package.
    pub(super) binary: String,
    /// SHA-256 of an archive of the registry, by name and version.
    pub(super) checksums: BTreeMap<(String, String), String>,
}

/// A package, as `cargo metadata` tells it.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Package {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) license: Option<String>,
    pub(super) license_file: Option<PathBuf>,
    pub(super) manifest_path: PathBuf,
    pub(super) repository: Option<String>,
    pub(super) description: Option<String>,
    /// The registry; absent: it is of this workspace.
    pub(super) source: Option<String>,
}

impl Package {
    /// Its licence as SPDX has it; older packages write `/` for `OR`.
    pub(super) fn expression(&self) -> Option<String> {
        let license = self.license.as_deref()?;
        let either: Vec<&str> = license.split('/').map(str::trim).collect();
        Some(either.join(" OR "))
    }

    /// Where it comes from, as bills of materials write it.
    pub(super) fn url(&self) -> String {
        let version = self.version.replace('+', "%2B");
        format!("pkg:cargo/{}@{version}", self.name)
    }
}

#[derive(Deserialize)]
struct Graph {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

/// `dev`, `build`, or absent for what is linked.
#[derive(Deserialize)]
struct Kind {
    kind: Option<String>,
}

impl Packages {
    /// Asks `cargo metadata`, for one target.
    pub(super) fn read(workspace: &Workspace, processes: &Processes, target: &str) -> Result<Self> {
        let mut command = workspace.cargo();
        command.args(["metadata", "--format-version", "1", "--locked"]);
        command.args(["--filter-platform", target]);
        let graph = captured(processes, &mut command)?;
        let lock = std::fs::read_to_string(workspace.root.join("Cargo.lock"))?;
        Self::of(serde_json::from_str(&graph)?, &lock)
    }

    fn of(graph: Graph, lock: &str) -> Result<Self> {
        let is_binary = |package: &&Package| package.name == BINARY && package.source.is_none();
        let binary = graph.packages.iter().find(is_binary);
        let binary = binary.with_context(|| format!("there is no package {BINARY}"))?;
        let binary = binary.id.clone();
        let nodes = graph.resolve.nodes.iter();
        let nodes: BTreeMap<&str, &Node> = nodes.map(|node| (node.id.as_str(), node)).collect();
        let mut dependencies = BTreeMap::new();
        let mut open = vec![binary.clone()];
        while let Some(id) = open.pop() {
            if dependencies.contains_key(&id) {
                continue;
            }
            let node = nodes.get(id.as_str());
            let node = node.with_context(|| format!("{id} is not resolved"))?;
            let linked = node.deps.iter().filter(|edge| is_linked(edge));
            let linked: BTreeSet<String> = linked.map(|edge| edge.pkg.clone()).collect();
            open.extend(linked.iter().cloned());
            dependencies.insert(id, linked);
        }
        let mut all = graph.packages;
        all.retain(|package| dependencies.contains_key(&package.id));
        all.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        ensure!(all.len() == dependencies.len(), "packages are missing");
        Ok(Self {
            all,
            dependencies,
            binary,
            checksums: checksums(lock),
        })
    }
}

fn is_linked(edge: &Edge) -> bool {
    edge.dep_kinds.iter().any(|kind| kind.kind.is_none())
}

/// Of `Cargo.lock`: a package is a block of lines, of which each is a key and a value.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let blocks = lock.split("[[package]]").skip(1);
    let entries = blocks.filter_map(|block| {
        let value = |key: &str| {
            let lines = &mut block.lines();
            let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
            value.map(|value| value.trim_matches('"').to_owned())
        };
        Some(((value("name")?, value("version")?), value("checksum")?))
    });
    entries.collect()
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// The binary, which links `one` and builds with `two`.
    pub(in crate::dist) fn packages() -> Packages {
        let registry = "registry+https://github.com/rust-lang/crates.io-index";
        let graph = json!({
            "packages": [
                { "id": "a", "name": BINARY, "version": "1.0.0", "license": "MIT OR Apache-2.0", "manifest_path": "/a/Cargo.toml" },
                { "id": "b", "name": "one", "version": "2.0.0+x", "license": "MIT/Apache-2.0", "manifest_path": "/b/Cargo.toml",
                  "source": registry, "repository": "https://example.org/one" },
                { "id": "c", "name": "two", "version": "3.0.0", "license": "MIT", "manifest_path": "/c/Cargo.toml",
                  "source": registry },
            ],
            "resolve": { "nodes": [
                { "id": "a", "deps": [
                    { "pkg": "b", "dep_kinds": [{ "kind": "dev" }, { "kind": null }] },
                    { "pkg": "c", "dep_kinds": [{ "kind": "build" }] },
                ] },
                { "id": "b", "deps": [] },
                { "id": "c", "deps": [] },
            ] },
        });
        let lock = format!(
            "version = 4\n\n[[package]]\nname = \"one\"\nversion = \"2.0.0+x\"\nsource = \"r\"\nchecksum = \"{}\"\n",
            "ab".repeat(32)
        );
        let graph = serde_json::from_value(graph).expect("a graph");
        Packages::of(graph, &lock).expect("complete")
    }

    #[test]
    fn what_only_builds_is_not_in_the_binary() {
        let packages = packages();
        let names: Vec<_> = packages.all.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["one", BINARY]);
        let one = &packages.all[0];
        assert_eq!(one.expression().as_deref(), Some("MIT OR Apache-2.0"));
        assert_eq!(one.url(), "pkg:cargo/one@2.0.0%2Bx");
        let key = (one.name.clone(), one.version.clone());
        assert_eq!(packages.checksums[&key], "ab".repeat(32));
    }
}
